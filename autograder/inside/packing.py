"""How values travel: a value as a tree of JSON and tensors, and back (the form is in wire.py, section Values)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from autograder.inside.messages import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_DIMENSIONS,
    MAX_KEYS,
    MAX_PLAIN,
    MAX_TENSORS,
    MAX_TEXT,
    MAX_VALUES,
    ProtocolError,
    SizeError,
    State,
    View,
)
from autograder.inside.wire import CPU, frame

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    )
}  # fmt: skip
_UNUSUAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # floats that JSON lacks
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Packer:
    """Collects the tensors of a message: each tensor once, each storage once.

    `module_number` says which number a module has that is met in a value, or None where it cannot travel.
    """

    def __init__(self, module_number: Callable[[object], int | None] = lambda value: None) -> None:
        self.tensors: list[torch.Tensor] = []
        self.views: list[View] = []
        self.storages: list[torch.UntypedStorage] = []
        self._seen: dict[int, int] = {}  # id of a tensor -> its number
        self._places: dict[int, int] = {}  # address of a storage's struct -> its number
        self.modules: list[int] = []  # numbers of the modules met
        self._values = 0
        self._module_number = module_number

    def value(self, value: object, depth: int = 0) -> object:
        """The tree that stands for `value`; what cannot travel becomes {"x": its type's name}.

        Raises OverflowError where the values of this message are more than one may have.
        """
        self._values += 1
        if self._values > MAX_VALUES or (isinstance(value, dict) and dict.__len__(value) > MAX_KEYS):
            raise OverflowError(f"more than {MAX_VALUES} values, or {MAX_KEYS} keys of a dict, at once")
        if depth > MAX_DEPTH:
            return {"x": "deeply nested " + type(value).__name__}
        if value is None or type(value) is bool:
            return value
        if isinstance(value, torch.Tensor):
            return self._tensor_node(value)
        if isinstance(value, tuple):
            return {"u": [self.value(item, depth + 1) for item in tuple.__iter__(value)]}
        if isinstance(value, list):
            return [self.value(item, depth + 1) for item in list.__iter__(value)]
        if isinstance(value, dict):
            pairs = dict.items(value)
            return {"d": [[self.value(key, depth + 1), self.value(item, depth + 1)] for key, item in pairs]}
        return self._scalar(value)

    def _tensor_node(self, value: torch.Tensor) -> object:
        try:
            return {"t": self.tensor(value)}
        except (RuntimeError, NotImplementedError, TypeError, KeyError):
            return {"x": f"{_layout(value)} tensor"}

    def _scalar(self, value: object) -> object:
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            value = value.item()  # type: ignore[attr-defined]
        if isinstance(value, bool):
            return bool(value)
        if isinstance(value, int):
            number = int(value)
            if abs(number) < MAX_PLAIN:
                return number
            return {"i": str(number)} if abs(number) < 1 << 1024 else {"x": "huge int"}
        if isinstance(value, float):
            real = float(value)
            return real if math.isfinite(real) else {"f": str(real)}
        if isinstance(value, complex):
            return {"c": [self._scalar(value.real), self._scalar(value.imag)]}
        if isinstance(value, str):
            return str(value)[:MAX_TEXT].encode(errors="replace").decode()
        number_inside = self._module_number(value)
        if number_inside is None:
            return {"x": type(value).__name__[:100]}
        self.modules.append(number_inside)
        return {"m": number_inside}

    def tensor(self, tensor: torch.Tensor) -> int:
        """The number of `tensor` in the message; raises where its layout has no storage."""
        if id(tensor) in self._seen:
            return self._seen[id(tensor)]
        plain = tensor
        if plain.is_conj() or plain.is_neg():
            plain = plain.detach().resolve_conj().resolve_neg()
        shape, stride, offset = list(plain.shape), list(plain.stride()), int(plain.storage_offset())
        storage, dtype = plain.untyped_storage(), NAMES[plain.dtype]
        is_cut = plain.numel() and (_reach(shape, stride, offset) + 1) * plain.element_size() > storage.nbytes()
        if plain.layout is not torch.strided or plain.is_meta or is_cut:
            raise TypeError("no plain storage")
        where, number = "cpu" if plain.is_cpu else str(plain.device), len(self.tensors)
        self._seen[id(tensor)] = number
        self.tensors.append(tensor)
        view = View(self.storage(storage), dtype, shape, stride, offset, where, tensor.requires_grad)
        self.views.append(view)
        if tensor.is_leaf and (gradient := tensor.grad) is not None:
            view.grad = self.tensor(gradient)
        return number

    def storage(self, storage: torch.UntypedStorage) -> int:
        """The number of `storage` in the message."""
        place = self._places.setdefault(storage._cdata, len(self.storages))
        if place == len(self.storages):
            self.storages.append(storage)
        return place

    def frame(self, message: object) -> bytes:
        """The bytes of `message`, with this packer's storages as its body."""
        return frame(message, self.storages)


def _reach(shape: list[int], stride: list[int], offset: int) -> int:
    """Where in its storage the last number of a tensor lies."""
    for n, step in zip(shape, stride, strict=True):
        offset += (n - 1) * step
    return offset


def _layout(tensor: torch.Tensor) -> str:
    if tensor.is_meta:
        return "meta"
    return "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")


def unpack(  # noqa: C901 - one case for each kind of value
    node: Any,
    tensors: list[torch.Tensor],
    module: Callable[[int], object],
    foreign: Callable[[str], object],
    depth: int = 0,
) -> Any:
    """The value that a tree stands for; raises ProtocolError where it is none."""
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if depth > MAX_DEPTH + 1:
        raise ProtocolError("a value that is nested too deeply")
    if isinstance(node, list):
        return [unpack(part, tensors, module, foreign, depth + 1) for part in node]
    if not (isinstance(node, dict) and len(node) == 1):
        raise ProtocolError("a value is an object with one key")
    ((kind, content),) = node.items()
    if kind == "t":
        return tensors[_index(content, tensors)]
    try:
        if kind == "u" and isinstance(content, list):
            return tuple([unpack(part, tensors, module, foreign, depth + 1) for part in content])
        if kind == "d" and isinstance(content, list):
            return dict([unpack(part, tensors, module, foreign, depth + 1) for part in pair] for pair in content)
        if kind == "c" and isinstance(content, list):
            return _complex(*[unpack(part, tensors, module, foreign, depth + 1) for part in content])
        if kind == "m" and type(content) is int:
            return module(content)
        if kind == "x" and isinstance(content, str):
            return foreign(content[:100])
        return _UNUSUAL[content] if kind == "f" else _integer(kind, content)
    except (TypeError, KeyError, ValueError) as error:
        raise ProtocolError("a malformed value") from error


def _complex(real: Any, imaginary: Any) -> complex:
    if not (isinstance(real, int | float) and isinstance(imaginary, int | float)):
        raise ProtocolError("a complex number of something else than two numbers")
    return complex(real, imaginary)


def _index(number: object, items: list[Any]) -> int:
    if type(number) is not int or not 0 <= number < len(items):
        raise ProtocolError("a number that names nothing")
    return number


def _integer(kind: str, digits: object) -> int:
    if kind != "i" or not isinstance(digits, str) or len(digits) > MAX_DIGITS or not digits.isascii():
        raise ProtocolError("a value of unknown kind, or an integer that is too long")
    return int(digits)


def build(
    views: list[View], pieces: list[bytes], limit_bytes: int
) -> tuple[list[torch.Tensor], list[torch.UntypedStorage]]:
    """The tensors of a message, and its storages, made of their bytes.

    Raises ProtocolError where one reaches beyond its storage or expands too far. `requires_grad` and `.grad` are left to
    the caller: they are facts about arguments, not about results.
    """
    if len(views) > MAX_TENSORS:
        raise ProtocolError("too many tensors")
    storages = [_storage(piece) for piece in pieces]
    _place(views, storages)
    built, left = [], limit_bytes
    for view in views:
        built.append(_view(view, pieces, storages, limit_bytes))
        left -= built[-1].nbytes
        if left < 0:
            raise SizeError("tensors that together expand beyond the size limit")
    return built, storages


def _storage(piece: bytes) -> torch.UntypedStorage:
    """A storage of torch's own, which can grow, filled without a tensor operator: a call has several."""
    if not piece:
        return torch.UntypedStorage(0)  # type: ignore[no-untyped-call]
    return torch.UntypedStorage.from_buffer(piece, dtype=torch.uint8)


def _place(views: list[View], storages: list[torch.UntypedStorage]) -> None:
    """Moves storages to where their views say that they are; all views of one share it there."""
    devices: dict[int, str] = {}
    for view in views:
        if devices.setdefault(_index(view.storage, storages), view.device) != view.device:
            raise ProtocolError("a storage on two devices")
    for number, name in devices.items():
        if name != "cpu":
            here = torch.empty(0, dtype=torch.uint8, device=CPU).set_(storages[number])
            storages[number] = here.to(_device(name)).untyped_storage()


def _view(view: View, pieces: list[bytes], storages: list[torch.UntypedStorage], limit_bytes: int) -> torch.Tensor:
    storage, dtype = storages[view.storage], DTYPES.get(view.dtype)
    shape, stride, offset = view.shape, view.stride, view.offset
    if dtype is None or len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise ProtocolError("a tensor with an unknown dtype, or strides that do not fit its shape")
    numbers = [offset, *shape, *stride]
    if min(numbers) < 0:
        raise ProtocolError("a tensor with a negative size")
    count = math.prod(shape)
    if count and (_reach(shape, stride, offset) + 1) * dtype.itemsize > storage.nbytes():
        raise ProtocolError("a tensor that reaches beyond its storage")
    if count * dtype.itemsize > limit_bytes or max(numbers) > limit_bytes:
        raise SizeError("a tensor that expands beyond the size limit")
    tensor = torch.empty(0, dtype=dtype, device=storage.device).set_(storage, offset, shape, stride)
    if dtype is torch.bool and pieces[view.storage].strip(b"\0\1") and bool((tensor.view(torch.uint8) > 1).any()):
        raise ProtocolError("a truth value that is neither 0 nor 1")  # it could be both true and false
    return tensor


def _device(name: str) -> torch.device:
    """The device of this name; raises ProtocolError where this machine has none."""
    if name == "cpu":
        return CPU
    kind, _, number = name.partition(":")
    if kind == "cuda" and number in map(str, range(torch.cuda.device_count())):
        return torch.device(name)
    raise ProtocolError("a device that is not here")


def is_state(state: State) -> bool:
    """Could torch's global state be this?"""
    try:
        _device(state.device)
    except ProtocolError:
        return False
    dtype = DTYPES.get(state.dtype)
    return dtype is not None and dtype.is_floating_point
