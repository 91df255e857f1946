"""The messages of the protocol (wire.py says how they are framed and in which order), and what each field may hold.

Limits are of decoding: msgspec refuses what is more, before anything is built of it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

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


class View(msgspec.Struct, array_like=True, forbid_unknown_fields=True, omit_defaults=True):
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


class Call(msgspec.Struct, tag=True, forbid_unknown_fields=True, omit_defaults=True):
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


class Returned(msgspec.Struct, tag=True, forbid_unknown_fields=True, omit_defaults=True):
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


class Ask(msgspec.Struct, tag=True, forbid_unknown_fields=True, omit_defaults=True):
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
