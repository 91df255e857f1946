"""The protocol between the grader (outside) and a child that runs student code (inside): its specification, and its frames.

The messages are in messages.py; packing.py turns values into trees and tensors, and back.

Frame
    Two little-endian uint32: length of the header, length of the body; then the header, JSON; then the body,
    safetensors bytes, empty where no tensor travels. Header and body together are at most `Limits.reply_bytes` (64 MB),
    the header at most MAX_HEADER (JSON takes up to 40 times its length once it is read), the body's own header MAX_INDEX.
    A header is one of the messages of messages.py, told apart by its field "type". What else comes, unknown fields, types or
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
from typing import Any, Literal

import msgspec
import torch
from safetensors import TensorSpec, serialize

from autograder.inside.messages import (
    MAX_INDEX,
    MAX_KEYS,
    MAX_NODES,
    MAX_PLAIN,
    MAX_TENSORS,
    MAX_TEXT,
    Ask,
    Call,
    Module,
    Placed,
    ProtocolError,
    Returned,
    ToInside,
    ToOutside,
    Tree,
)

LENGTHS = struct.Struct("<II")
CPU = torch.device("cpu")
AT_ONCE = 1 << 16  # bytes to ask a socket for: most frames are smaller
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
        kind = type(node)  # JSON has no subclasses
        if kind is dict:
            waiting.extend(_content(node))
        elif kind is list:
            waiting.extend(node)
        elif kind is str and len(node) > MAX_TEXT:
            raise ProtocolError("a text that is too long")
        elif (kind is int and not abs(node) <= MAX_PLAIN) or (kind is float and not abs(node) <= math.inf):
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
        and max(answer.same, default=-1) < given
        and _are_places(answer.written, sent, arrived)
        and _are_places(answer.moved, given, tensors)
        and len(answer.arguments) == given
        and all(gradient < tensors for _, gradient in answer.arguments)
        and len(answer.origins) <= tensors
        and max(answer.origins, default=-1) < given
        and (not states or _are_states(states, tensors))
    )
    if not fits:
        raise ProtocolError("an answer that names what is not there, or one thing twice")


def _are_places(pairs: list[tuple[int, int]], mine: int, now: int) -> bool:
    return not pairs or (
        len({number for number, _ in pairs}) == len(pairs)
        and all(0 <= number < mine and 0 <= place < now for number, place in pairs)
    )


def _are_states(states: list[Module], tensors: int) -> bool:
    return (
        len({state.number for state in states}) == len(states)
        and sum(len(state.names) for state in states) <= MAX_TENSORS
        and all(_is_state_of(state, tensors) for state in states)
    )


def _is_state_of(state: Module, tensors: int) -> bool:
    unique = len(set(state.names)) == len(state.names) == len(state.tensors)
    return state.number >= 0 and unique and all(0 <= number < tensors for number in state.tensors)


class Inbox:
    """The bytes that have arrived of a frame, and perhaps of those behind it."""

    def __init__(self) -> None:
        self.held = bytearray()

    def lengths(self) -> tuple[int, int]:
        """Those of the frame's header and body; nothing, as long as they have not arrived."""
        n_header, n_body = LENGTHS.unpack_from(self.held) if len(self.held) >= LENGTHS.size else (0, 0)
        return n_header, n_body

    def missing(self) -> int:
        """How many bytes are known to be missing of the frame; 0 where it is whole."""
        return max(LENGTHS.size + sum(self.lengths()) - len(self.held), 0)

    def take(self) -> tuple[bytes, bytes]:
        """The header and the body of the frame, which is whole."""
        n_header, n_body = self.lengths()
        middle, end = LENGTHS.size + n_header, LENGTHS.size + n_header + n_body
        with memoryview(self.held) as held:
            header, body = bytes(held[LENGTHS.size : middle]), bytes(held[middle:end])
        del self.held[:end]
        return header, body


def frame(message: object, storages: list[torch.UntypedStorage]) -> bytes:
    """A message and the storages that it refers to, as bytes for the socket."""
    header = _encode(message)
    body = body_of(storages)
    return LENGTHS.pack(len(header), len(body)) + header + body


def body_of(storages: list[torch.UntypedStorage]) -> bytes:
    """The bytes of these storages as a frame's body: the same bytes as long as nothing is written to them."""
    if not storages:
        return b""
    specs, kept = {}, []  # kept: what is on another device must live until it is written
    for number, storage in enumerate(storages):
        size, near = storage.nbytes(), storage if storage.device == CPU else storage.cpu()  # type: ignore[no-untyped-call]
        specs[str(number)] = TensorSpec(dtype="uint8", shape=[size], data_ptr=near.data_ptr(), data_len=size)
        kept.append(near)
    return bytes(serialize(specs))


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One storage in a body's index."""

    dtype: Literal["U8"]
    shape: tuple[int]
    data_offsets: tuple[int, int]


_read_index = msgspec.json.Decoder(dict[str, Entry]).decode


def pieces_of(body: bytes) -> list[bytes]:
    """The bytes of each storage in a frame's body, in the order of their numbers; raises ProtocolError.

    Safetensors' own reader takes any type and shape and what else a file may hold, and three times as long.
    """
    if not body:
        return []
    start = 8 + int.from_bytes(body[:8], "little")
    if start > 8 + MAX_INDEX:
        raise ProtocolError("the body has too many storages")
    pieces, at = {}, start
    try:
        index = _read_index(body[8:start])
        for name in sorted(index):  # the order in which the library writes them
            (size,), (begin, end) = index[name].shape, index[name].data_offsets
            if (begin, end) != (at - start, at - start + size) or size < 0:
                raise ProtocolError("the body's storages do not lie one behind the other")
            pieces[name] = body[at : at + size]
            at += size
        if at != len(body):
            raise ProtocolError("the body has other bytes than its index says")
        return [pieces[str(number)] for number in range(len(pieces))]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise ProtocolError("the body is not safetensors with tensors 0, 1, ...") from error
