"""The protocol between the grader (outside) and a child that runs student code (inside), and how values travel.

Frame
    Two little-endian uint32: length of the header, length of the body; then the header, JSON; then the body,
    safetensors bytes, empty where no tensor travels. Header plus body are at most `Limits.reply_bytes` (64 MB), the
    header at most MAX_HEADER (JSON takes many times its length once it is read), the body's own header MAX_INDEX.
    A header is one of the messages below, told apart by its field "type"; unknown fields, types or values, a body
    that is not safetensors, a tensor that reaches beyond its storage, tensors that together expand beyond
    `Limits.reply_bytes`, or a truth value that is neither 0 nor 1 are a ProtocolError, which ends that child.

Order
    Outside speaks first and waits. Load is answered by one Ran for each statement and one Loaded; Call by
    Returned or Raised; Vjp by Gradients or Raised. Between a Call or Vjp and its answer the inside may send Ask (an
    exercise that the student lost, computed outside by the reference) and gets Returned, Gradients or Refused.
    Every wait outside has a deadline. Nothing the inside sends is evaluated, unpickled or used as a name to look up.

Values
    A value is a tree: null, true, false, number, string; [..] a list; and objects with one key:
    {"t": i} tensor i of the message; {"u": [..]} a tuple; {"d": [[key, value]..]} a dict; {"f": "nan"} a float that
    JSON lacks; {"i": "123"} a large integer; {"c": [re, im]} a complex number; {"m": i} module number i of
    the child; {"x": "generator"} something that cannot travel, named by its type.
    Tensors travel as *storages*, each once, as a one-dimensional uint8 tensor named "0", "1", ... and views on
    them: dtype, shape, stride, offset. So strides, expanded dimensions and aliasing arrive as they were.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import torch
from safetensors import SafetensorError, TensorSpec, deserialize, serialize

LENGTHS = struct.Struct("<II")
MAX_DIMENSIONS = 64
MAX_DEPTH = 32
MAX_TEXT = 2_000
MAX_TENSORS = 10_000
MAX_HEADER = 4 << 20  # bytes
MAX_INDEX = 2 << 20  # bytes: names, types and places of the storages in a body
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    )
}  # fmt: skip
_UNUSUAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # floats that JSON lacks
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


# What a message counts by: never more than 64 bits, or it could not be sent back.
Number = Annotated[int, msgspec.Meta(ge=-1, le=1 << 62)]


class ProtocolError(Exception):
    """The other side sent something that is not a message of this protocol."""


class View(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A tensor: which storage it looks at, and how; `grad` is the number of the tensor that is its .grad."""

    storage: Number
    dtype: str
    shape: list[Number]
    stride: list[Number]
    offset: Number
    device: str = "cpu"
    requires_grad: bool = False
    grad: Number = -1


class State(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Global state that a plain function call would share with its caller."""

    dtype: str = "float32"  # default dtype
    grad: bool = True  # grad mode
    device: str = "cpu"  # default device
    seed: int = 0  # of torch's generator before the call
    drawn: bool = False  # after it: were random numbers drawn, or the generator seeded anew?


class Load(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Run these statements (cell, line, source) in order; then `exercises` are the names that will be called."""

    statements: list[tuple[Number, Number, str]]
    exercises: list[str]
    lost: list[str]  # exercises that Ask supplies


class Ran(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """One statement is done; `kind` is empty or the exception that it raised."""

    kind: str = ""
    text: str = ""
    memory: bool = False


class Loaded(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """All statements are done; these exercises are bound to something that can be called."""

    found: list[str]


class Module(msgspec.Struct, forbid_unknown_fields=True):
    """State of a module inside, sent along with a call and its answer: names and tensors of its state dict."""

    number: Number
    names: list[str]
    tensors: list[Number]
    training: bool = True
    parameters: list[str] = []


class Call(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Call an exercise, or a module inside by its number in `target`, or make a built-in module."""

    target: str
    args: Any
    kwargs: Any
    views: list[View]
    state: State
    modules: list[Module] = []
    dropped: list[Number] = []  # calls whose gradients nobody can ask for any more
    keep: bool = False  # keep the graph: a Vjp may follow


class Returned(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """What a call returned, and what it did to its arguments."""

    call: Number
    value: Any
    views: list[View]
    same: list[Number]  # for each tensor of the result: the number of the argument that it is, or -1
    state: State
    written: list[tuple[Number, Number]] = []  # storage of the call -> storage of this message with its bytes now
    moved: list[tuple[Number, Number]] = []  # argument whose shape, strides or storage changed -> tensor that it is now
    arguments: list[tuple[bool, Number]] = []  # each tensor argument now: requires_grad, tensor that is its .grad or -1
    containers: Any = None  # [args, kwargs] now, where a list or dict among them has other content than before
    origins: list[Number] = []  # with `containers`: the argument that each tensor of this message is, or -1
    modules: list[Module] = []
    forbidden: str = ""  # the operator that the exercise under test used and may not


class Raised(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """A call raised: the built-in exception type nearest to what was raised, its text, the student's lines."""

    kind: str
    text: str
    lines: list[tuple[Number, Number]]
    memory: bool = False
    forbidden: str = ""


class Vjp(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Vector-Jacobian product of an earlier call: gradients arriving at results -> gradients at arguments."""

    call: Number
    results: list[Number]
    gradients: list[Number]
    wanted: list[Number]
    views: list[View]


class Gradients(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """One tensor number for each wanted argument, -1 where no gradient arrives."""

    tensors: list[Number]
    views: list[View]


class Ask(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """From inside: what does the lost exercise `name` give for these? (`vjp` >= 0: gradients of that ask.)"""

    name: str
    args: Any
    kwargs: Any
    views: list[View]
    vjp: Number = -1
    results: list[Number] = []
    gradients: list[Number] = []
    wanted: list[Number] = []


class Refused(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Answer to an Ask that raises: the exception's built-in type."""

    kind: str
    text: str


ToInside = Load | Call | Vjp | Returned | Gradients | Refused
ToOutside = Ran | Loaded | Returned | Raised | Gradients | Ask
_encode = msgspec.json.Encoder().encode
read_inside: Callable[[bytes], ToInside] = msgspec.json.Decoder(ToInside).decode
_read_outside: Callable[[bytes], ToOutside] = msgspec.json.Decoder(ToOutside).decode


def read_outside(header: bytes) -> ToOutside:
    """The message in a frame from inside; raises ProtocolError where it is none."""
    try:
        return _read_outside(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the header is no message: {str(error)[:200]}") from error


# --- frames


def frame(message: object, storages: list[torch.UntypedStorage]) -> bytes:
    """A message and the storages that it refers to, as bytes for the socket."""
    header = _encode(message)
    body = _body(storages) if storages else b""
    return LENGTHS.pack(len(header), len(body)) + header + body


def _body(storages: list[torch.UntypedStorage]) -> bytes:
    specs, kept = {}, []  # kept: what is on another device must live until it is written
    for number, storage in enumerate(storages):
        size, near = storage.nbytes(), storage if storage.device.type == "cpu" else storage.cpu()  # type: ignore[no-untyped-call]
        specs[str(number)] = TensorSpec(dtype="uint8", shape=[size], data_ptr=near.data_ptr(), data_len=size)
        kept.append(near)
    return bytes(serialize(specs))


def storages_of(body: bytes) -> list[torch.UntypedStorage]:
    """The storages in a frame's body, in the order of their numbers; raises ProtocolError."""
    if not body:
        return []
    if int.from_bytes(body[:8], "little") > MAX_INDEX:
        raise ProtocolError("the body has too many tensors")
    try:
        found = {name: entry["data"] for name, entry in deserialize(body)}  # type: ignore[no-untyped-call]
        data = [found[str(number)] for number in range(len(found))]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ProtocolError("the body is not safetensors with tensors 0, 1, ...") from error
    return [_storage(piece) for piece in data]


def _storage(data: bytes | bytearray) -> torch.UntypedStorage:
    if not data:
        return torch.UntypedStorage(0)  # type: ignore[no-untyped-call]
    writable = data if isinstance(data, bytearray) else bytearray(data)
    return torch.frombuffer(writable, dtype=torch.uint8).clone().untyped_storage()  # a storage of torch's own can grow


# --- values


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
        self._module_number = module_number

    def value(self, value: object, depth: int = 0) -> object:
        """The tree that stands for `value`; what cannot travel becomes {"x": its type's name}."""
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
            return (
                number
                if abs(number) < 1 << 53
                else {"i": str(number)}
                if abs(number) < 1 << 1024
                else {"x": "huge int"}
            )
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
        plain = tensor.detach()
        if plain.is_conj() or plain.is_neg():
            plain = plain.resolve_conj().resolve_neg()
        if plain.layout is not torch.strided or plain.is_meta or plain.is_quantized:
            raise TypeError("no plain storage")
        where, place = "cpu" if plain.is_cpu else str(plain.device), self.storage(plain.untyped_storage())
        number = len(self.tensors)
        self._seen[id(tensor)] = number
        self.tensors.append(tensor)
        shape, stride, grad_needed = list(plain.shape), list(plain.stride()), tensor.requires_grad
        view = View(place, _NAMES[plain.dtype], shape, stride, int(plain.storage_offset()), where, grad_needed)
        self.views.append(view)
        if tensor.is_leaf and tensor.grad is not None:
            view.grad = self.tensor(tensor.grad)
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

    def inner(part: Any) -> Any:
        return unpack(part, tensors, module, foreign, depth + 1)

    if node is None or isinstance(node, bool | int | float | str):
        return node
    if depth > MAX_DEPTH + 1:
        raise ProtocolError("a value that is nested too deeply")
    if isinstance(node, list):
        return [inner(item) for item in node]
    if not (isinstance(node, dict) and len(node) == 1):
        raise ProtocolError("a value is an object with one key")
    ((kind, content),) = node.items()
    try:
        if kind == "t":
            return tensors[_index(content, tensors)]
        if kind in ("u", "d", "c") and isinstance(content, list):
            return _container(kind, content, inner)
        if kind == "m" and type(content) is int:
            return module(content)
        if kind == "x" and isinstance(content, str):
            return foreign(content[:100])
        return _UNUSUAL[content] if kind == "f" else _integer(kind, content)
    except (TypeError, KeyError, ValueError) as error:
        raise ProtocolError(f"a malformed value of kind {str(kind)[:20]!r}") from error


def _container(kind: str, parts: list[Any], inner: Callable[[Any], Any]) -> Any:
    if kind == "u":
        return tuple(inner(part) for part in parts)
    if kind == "d":
        return {inner(key): inner(value) for key, value in parts}
    real, imaginary = (inner(part) for part in parts)
    if not (isinstance(real, int | float) and isinstance(imaginary, int | float)):
        raise ProtocolError("a complex number of something else than two numbers")
    return complex(real, imaginary)


def _index(number: object, items: list[Any]) -> int:
    if type(number) is not int or not 0 <= number < len(items):
        raise ProtocolError("a number that names nothing")
    return number


def _integer(kind: str, digits: object) -> int:
    if kind != "i" or not isinstance(digits, str) or len(digits) > 320:
        raise ProtocolError(f"a value of unknown kind {kind[:20]!r}, or an integer that is too long")
    return int(digits)


def build(views: list[View], storages: list[torch.UntypedStorage], limit_bytes: int) -> list[torch.Tensor]:
    """The tensors of a message; raises ProtocolError where one reaches beyond its storage or expands too far.

    `requires_grad` and `.grad` are left to the caller: they are facts about arguments, not about results.
    """
    if len(views) > MAX_TENSORS:
        raise ProtocolError("too many tensors")
    built, left = [], limit_bytes
    for view in views:
        built.append(_view(view, storages, limit_bytes))
        left -= built[-1].nbytes
        if left < 0:
            raise ProtocolError("tensors that together expand beyond the size limit")
    return built


def _view(view: View, storages: list[torch.UntypedStorage], limit_bytes: int) -> torch.Tensor:
    storage, dtype = storages[_index(view.storage, storages)], DTYPES.get(view.dtype)
    if dtype is None or len(view.shape) != len(view.stride) or len(view.shape) > MAX_DIMENSIONS:
        raise ProtocolError("a tensor with an unknown dtype, or strides that do not fit its shape")
    if min(view.offset, *view.shape, *view.stride) < 0 if view.shape else view.offset < 0:
        raise ProtocolError("a tensor with a negative size")
    reach = view.offset + sum((n - 1) * stride for n, stride in zip(view.shape, view.stride, strict=True))
    count = math.prod(view.shape)
    if count and (reach + 1) * dtype.itemsize > storage.nbytes():
        raise ProtocolError("a tensor that reaches beyond its storage")
    if max(count * dtype.itemsize, view.offset, *view.shape, *view.stride) > limit_bytes:
        raise ProtocolError("a tensor that expands beyond the size limit")
    if view.device != "cpu":
        storage = torch.empty(0, dtype=torch.uint8).set_(storage).to(_device(view.device)).untyped_storage()
    tensor = torch.empty(0, dtype=dtype, device=storage.device).set_(storage, view.offset, view.shape, view.stride)
    if dtype is torch.bool and count and bool((tensor.view(torch.uint8) > 1).any()):
        raise ProtocolError("a truth value that is neither 0 nor 1")  # it could be both true and false
    return tensor


def _device(name: str) -> torch.device:
    """The device of this name; raises ProtocolError where this machine has none."""
    kind, _, number = name.partition(":")
    if name == "cpu":
        return torch.device("cpu")
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
