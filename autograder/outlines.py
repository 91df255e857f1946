"""What can be seen of a call without any value: structure, types, shapes, the place of an error.

A test may repeat it to the student (telling.py), so it holds no number of an input and no name that a student chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autograder.errors import StudentError
from autograder.handles import Handle
from autograder.inside import messages

_SPEAKABLE = frozenset(("generator", "function", "ndarray", "method", "module", "map", "zip", "range", "set", "type"))
_SPEAKABLE |= {f"{layout} tensor" for layout in ("meta", "quantized", "sparse_coo", "sparse_csr", "jagged", "strided")}


@dataclass
class Noted:
    """One call that a test made, and what could be seen of it without any value."""

    callee: str | Handle
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    seen: str = ""
    is_elsewhere: bool = False  # was it on tagged tensors?


@dataclass(frozen=True)
class Foreign:
    """Stands for something that a student returned and that cannot leave the box, named by its type.

    A class of the student's own is called "object": its name could spell out a hidden input.
    """

    kind: str

    @classmethod
    def of(cls, kind: str) -> Foreign:
        """What to call a thing whose type calls itself `kind`."""
        return cls(kind if kind in _SPEAKABLE else "object")


def outline_of(answer: messages.Returned) -> str:
    """What a test can see of an answer, and may repeat to the student: structure, and the state of modules."""
    states = sorted(  # modules have other numbers in another child
        sorted((name, answer.views[number].shape) for name, number in zip(state.names, state.tensors, strict=True))
        for state in answer.modules
    )
    return f"{_outline(answer.value, answer.views)} {states}"


def _outline(node: Any, views: list[messages.View]) -> str:
    """The structure of a result: containers, types, shapes; no value, and no name that a student chose."""
    if isinstance(node, list):
        return f"[{', '.join(_outline(part, views) for part in node)}]"
    if not isinstance(node, Mapping):
        return type(node).__name__
    ((kind, content),) = node.items()
    if kind == "t":
        return f"{views[content].dtype}{views[content].shape}"
    if kind in ("u", "d"):
        return f"{kind}{_outline(content, views)}"
    return f"{kind} {Foreign.of(content).kind}" if kind == "x" else str(kind)


def outline_of_error(error: BaseException) -> str:
    """Type and place of what was raised."""
    cause = error if isinstance(error, StudentError) else error.__cause__
    if isinstance(cause, StudentError):
        return f"{cause.cause} {cause.kind} {cause.lines[-1:]}"
    return type(error).__name__
