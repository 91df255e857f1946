"""The protocol between the grader (outside) and a child that runs student code (inside), and how values travel.

Frame
    Two little-endian uint32: length of the header, length of the body; then the header, JSON; then the body,
    safetensors bytes, empty where no tensor travels. Header and body together are at most `Limits.reply_bytes` (64 MB),
    the header at most MAX_HEADER (JSON takes up to 40 times its length once it is read), the body's own header MAX_INDEX.
    A header is one of the messages below, told apart by its field "type". What else comes, unknown fields, types or
    values, more than a field may hold, a body that is not safetensors, a tensor that reaches beyond its storage, tensors
    that together expand beyond `Limits.reply_bytes`, a truth value that is neither 0 nor 1, a number that names nothing:
    each is a ProtocolError, which costs the call that met it, ends that child, and has its reason in the result.

Order
    A child with a GPU says Started. Then outside speaks first and waits; a byte that comes unasked is an error like
    any other. Load is answered by one Ran for each statement and one Loaded; Call by Returned (Placed, where its
    tensors are tagged) or Raised; Vjp by Gradients or Raised. Between a Call or Vjp and its answer the inside may send
    Ask (an exercise that the student lost, computed outside by the reference) and gets Returned, Gradients or Refused.
    Every wait outside has a deadline, and what is done with an answer is bounded by the limits of its fields, so it
    adds no more than moments to it. Nothing the inside sends is evaluated, unpickled or used as a name to look up, but
    for the names of built-in exceptions.

Fields
    Number       a whole number from -1 (none) to 2^62, because torch counts by 64 bits
    Name         a text of at most MAX_NAME characters; Text one of at most MAX_TEXT
    Numbers, Pairs, Views   at most MAX_TENSORS entries: so many tensors or storages may one message have
    Sizes        at most MAX_DIMENSIONS entries
    Tree         a value as below. All trees of a message together have at most MAX_NODES nodes (MAX_VALUES
                 values), a dict MAX_KEYS keys (whoever chooses the keys can make all of them collide), a text MAX_TEXT
                 characters, depth MAX_DEPTH; an integer of 2^53 or more is {"i": ..} with at most MAX_DIGITS digits
    Modules      at most MAX_MODULES, each with a number of its own
    In Returned, `same`, `written`, `moved`, `arguments`, `origins` and `modules` name tensors and storages of the call or
    of the message, each argument, storage or module at most once (`check_answer`): to fill one storage a million times over
    would take hours.

Values
    A value is a tree: null, true, false, number, string; [..] a list; and objects with one key:
    {"t": i} tensor i of the message; {"u": [..]} a tuple; {"d": [[key, value]..]} a dict; {"f": "nan"} a float that
    JSON lacks; {"i": "123"} a large integer; {"c": [re, im]} a complex number; {"m": i} module number i of
    the child; {"x": "generator"} something that cannot travel, named by its type.
    Tensors travel as *storages*, each once, as a one-dimensional uint8 tensor named "0", "1", ... and views on
    them: dtype, shape, stride, offset. So strides, expanded dimensions and aliasing arrive as they were, and what arrives
    is a plain strided torch.Tensor whatever it was inside.
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
MAX_TEXT = 2_000  # characters
MAX_NAME = 500
MAX_DIGITS = 320  # of an integer: 2^1024 and its sign
MAX_PLAIN = 1 << 53  # integers beyond this are written out in digits
MAX_TENSORS = 10_000
MAX_VALUES = 16_000  # of all trees that are sent
MAX_NODES = 100_000  # of all trees that are read: no value has more than six
MAX_KEYS = 1_000
MAX_MODULES = 100
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


# The types of fields; what each may hold is decoded, and refused, by msgspec.
Number = Annotated[int, msgspec.Meta(ge=-1, le=1 << 62)]
Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Numbers = Annotated[list[Number], msgspec.Meta(max_length=MAX_TENSORS)]
Names = Annotated[list[Name], msgspec.Meta(max_length=MAX_TENSORS)]
Sizes = Annotated[list[Number], msgspec.Meta(max_length=MAX_DIMENSIONS)]
Pairs = Annotated[list[tuple[Number, Number]], msgspec.Meta(max_length=MAX_TENSORS)]
Flags = Annotated[list[tuple[bool, Number]], msgspec.Meta(max_length=MAX_TENSORS)]
Origin = tuple[Number, Number] | None  # cell, line
Origins = Annotated[list[Origin], msgspec.Meta(max_length=MAX_TENSORS)]
Places = Annotated[list[tuple[Number, Number]], msgspec.Meta(max_length=20)]  # cell, line
Tree = Any


class ProtocolError(Exception):
    """The other side sent something that is not a message of this protocol."""


class SizeError(ProtocolError):
    """The other side sent more than the limit, or what would expand to more."""


class View(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A tensor: which storage it looks at, and how; `grad` is the number of the tensor that is its .grad."""

    storage: Number
    dtype: Name
    shape: Sizes
    stride: Sizes
    offset: Number
    device: Name = "cpu"
    requires_grad: bool = False
    grad: Number = -1


Views = Annotated[list[View], msgspec.Meta(max_length=MAX_TENSORS)]


class State(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Global state that a plain function call would share with its caller."""

    dtype: Name = "float32"  # default dtype
    grad: bool = True  # grad mode
    device: Name = "cpu"  # default device
    seed: int = 0  # of torch's generator before the call
    drawn: bool = False  # after it: were random numbers drawn, or the generator seeded anew?


class Load(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Run these statements (cell, line, source) in order; then `exercises` are the names that will be called."""

    statements: list[tuple[Number, Number, str]]
    exercises: list[str]
    lost: list[str]  # exercises that Ask supplies
    paid: list[str] = []  # exercises that were found to use what they may not: who calls them pays for nothing more


class Started(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """CUDA runs in this child, or why it does not; said once, unasked, by children that have a GPU."""

    why: Name = ""


class Ran(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """One statement is done; `kind` is empty or the exception that it raised."""

    kind: Name = ""
    text: Text = ""
    memory: bool = False


class Loaded(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """All statements are done; these exercises are bound to something that can be called."""

    found: Names


class Module(msgspec.Struct, forbid_unknown_fields=True):
    """State of a module inside, sent along with a call and its answer: names and tensors of its state dict."""

    number: Number
    names: Names
    tensors: Numbers
    training: bool = True
    parameters: Names = []


ModuleStates = Annotated[list[Module], msgspec.Meta(max_length=MAX_MODULES)]


class Call(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Call an exercise, or a module inside by its number in `target`, or make a built-in module."""

    target: Name
    args: Tree
    kwargs: Tree
    views: Views
    state: State
    modules: ModuleStates = []
    dropped: list[Number] = []  # calls whose gradients nobody can ask for any more
    keep: bool = False  # keep the graph: a Vjp may follow
    elsewhere: bool = False  # on tensors that say they are on a GPU (tagged.py): answered by Placed


class Returned(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """What a call returned, and what it did to its arguments."""

    call: Number
    value: Tree
    views: Views
    same: Numbers  # for each tensor of the result: the number of the argument that it is, or -1
    state: State
    written: Pairs = []  # storage of the call -> storage of this message with its bytes now
    moved: Pairs = []  # argument whose shape, strides or storage changed -> tensor that it is now
    arguments: Flags = []  # each tensor argument now: requires_grad, tensor that is its .grad or -1
    containers: Tree = None  # [args, kwargs] now, where a list or dict among them has other content than before
    origins: Numbers = []  # with `containers`: the argument that each tensor of this message is, or -1
    modules: ModuleStates = []
    forbidden: Name = ""  # the operator that the exercise under test used and may not


class Raised(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """A call raised: the built-in exception type nearest to what was raised, its text, the student's lines."""

    kind: Name
    text: Text
    lines: Places
    memory: bool = False
    forbidden: Name = ""
    is_spent: bool = False  # the GPU is left in a state that would cost later calls: another child is needed


class Placed(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """What a call on tagged tensors came to: where its results are, or what CUDA would refuse, or why neither is known."""

    value: Tree = None
    devices: Names = []  # of each tensor of the value
    origins: Origins = []  # the line that made it, where that is on the CPU
    fault: Name = ""  # what brought two devices together
    at: Origin = None
    made: Origin = None  # the line that made the tensor that is on the CPU
    left: bool = False  # has a module among the arguments numbers on the CPU now?
    unable: Name = ""


class Vjp(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Vector-Jacobian product of an earlier call: gradients arriving at results -> gradients at arguments."""

    call: Number
    results: Numbers
    gradients: Numbers
    wanted: Numbers
    views: Views


class Gradients(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """One tensor number for each wanted argument, -1 where no gradient arrives."""

    tensors: Numbers
    views: Views


class Ask(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """From inside: what does the lost exercise `name` give for these? (`vjp` >= 0: gradients of that ask.)"""

    name: Name
    args: Tree
    kwargs: Tree
    views: Views
    vjp: Number = -1
    results: Numbers = []
    gradients: Numbers = []
    wanted: Numbers = []


class Refused(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Answer to an Ask that raises: the exception's built-in type."""

    kind: Name
    text: Text


ToInside = Load | Call | Vjp | Returned | Gradients | Refused
ToOutside = Ran | Loaded | Returned | Raised | Gradients | Ask | Placed | Started
_encode = msgspec.json.Encoder().encode
read_inside: Callable[[bytes], ToInside] = msgspec.json.Decoder(ToInside).decode
_read_outside: Callable[[bytes], ToOutside] = msgspec.json.Decoder(ToOutside).decode


def read_outside(header: bytes) -> ToOutside:
    """The message in a frame from inside; raises ProtocolError where it is none."""
    try:
        message = _read_outside(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the header is no message: {str(error)[:200]}") from error
    if isinstance(message, Returned):
        check_trees(message.value, message.containers)
    elif isinstance(message, Placed):
        check_trees(message.value)
    elif isinstance(message, Ask):
        check_trees(message.args, message.kwargs)
    return message


def check_trees(*trees: Tree, most: int = MAX_NODES) -> None:
    """Raises ProtocolError where these have more than `most` nodes, or a node more than it may hold."""
    waiting, seen = list(trees), 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if isinstance(node, dict):
            waiting.extend(_content(node))
        elif isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, str) and len(node) > MAX_TEXT:
            raise ProtocolError("a text that is too long")
        elif isinstance(node, int | float) and not abs(node) <= (math.inf if type(node) is float else MAX_PLAIN):
            raise ProtocolError("a number that is too large")
        if seen + len(waiting) > most:
            raise ProtocolError("a value of too many parts")


def _content(node: dict[str, Any]) -> tuple[Any, ...]:
    """What an object of a tree holds: one thing, as its one key says."""
    if len(node) != 1:
        raise ProtocolError("a value is an object with one key")
    ((kind, content),) = node.items()
    if kind == "d" and isinstance(content, list) and len(content) > MAX_KEYS:
        raise ProtocolError("a dict with too many keys")
    return (content,)


def check_answer(answer: Returned, call: Call, sent: int, arrived: int) -> None:
    """Raises ProtocolError where an answer names what is not there, or one thing twice.

    `sent` storages went with the call, `arrived` came with the answer.
    """
    given, tensors = len(call.views), len(answer.views)
    states = answer.modules
    fits = (
        len(answer.same) <= tensors
        and all(number < given for number in answer.same)
        and _are_places(answer.written, sent, arrived)
        and _are_places(answer.moved, given, tensors)
        and len(answer.arguments) == given
        and all(gradient < tensors for _, gradient in answer.arguments)
        and len(answer.origins) <= tensors
        and all(number < given for number in answer.origins)
        and len({state.number for state in states}) == len(states)
        and sum(len(state.names) for state in states) <= MAX_TENSORS
        and all(_is_state_of(state, tensors) for state in states)
    )
    if not fits:
        raise ProtocolError("an answer that names what is not there, or one thing twice")


def _are_places(pairs: list[tuple[int, int]], mine: int, now: int) -> bool:
    return len({number for number, _ in pairs}) == len(pairs) and all(
        0 <= number < mine and 0 <= place < now for number, place in pairs
    )


def _is_state_of(state: Module, tensors: int) -> bool:
    unique = len(set(state.names)) == len(state.names) == len(state.tensors)
    return state.number >= 0 and unique and all(0 <= number < tensors for number in state.tensors)


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
        raise ProtocolError("the body has too many storages")
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
        plain = tensor.detach()
        if plain.is_conj() or plain.is_neg():
            plain = plain.resolve_conj().resolve_neg()
        if plain.layout is not torch.strided or plain.is_meta or plain.is_quantized or not _is_within_storage(plain):
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


def _is_within_storage(tensor: torch.Tensor) -> bool:
    """Is all of a tensor there? Its memory may have been cut under it."""
    reach = tensor.storage_offset() + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.numel() == 0 or (reach + 1) * tensor.element_size() <= tensor.untyped_storage().nbytes()


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
        raise ProtocolError("a malformed value") from error


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
    if kind != "i" or not isinstance(digits, str) or len(digits) > MAX_DIGITS or not digits.isascii():
        raise ProtocolError("a value of unknown kind, or an integer that is too long")
    return int(digits)


def build(views: list[View], storages: list[torch.UntypedStorage], limit_bytes: int) -> list[torch.Tensor]:
    """The tensors of a message; raises ProtocolError where one reaches beyond its storage or expands too far.

    `requires_grad` and `.grad` are left to the caller: they are facts about arguments, not about results. A storage that
    belongs on a GPU takes the place of the one that travelled, in `storages` too: all its views share it there.
    """
    if len(views) > MAX_TENSORS:
        raise ProtocolError("too many tensors")
    _place(views, storages)
    built, left = [], limit_bytes
    for view in views:
        built.append(_view(view, storages, limit_bytes))
        left -= built[-1].nbytes
        if left < 0:
            raise SizeError("tensors that together expand beyond the size limit")
    return built


def _place(views: list[View], storages: list[torch.UntypedStorage]) -> None:
    devices: dict[int, str] = {}
    for view in views:
        if devices.setdefault(_index(view.storage, storages), view.device) != view.device:
            raise ProtocolError("a storage on two devices")
    for number, name in devices.items():
        if (device := _device(name)) != storages[number].device:
            moved = torch.empty(0, dtype=torch.uint8).set_(storages[number]).to(device)
            storages[number] = moved.untyped_storage()


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
        raise SizeError("a tensor that expands beyond the size limit")
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
