"""Pictures for students: what their answer gives on an example that the notebook shows, beside what is right.

`tests/<lesson>/pictures.py` holds, under `@picture(...)`, a function for an exercise that has a picture: it calls the
answers it is given on a shown example and returns one map, or one map a head. A picture is drawn by a child that has seen
no hidden input: student code that kept one from a test could show it here otherwise. Leaves: plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autograder.errors import GraderError
from autograder.outcome import Map, Picture

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

MOST_NUMBERS = 400  # of one picture


@dataclass(frozen=True)
class Shown:
    """A shown example of one exercise, and how its picture is called."""

    exercise: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    run: Callable[[Any], Any]  # answers -> a map, or a list of maps


def picture(title: str, rows: Sequence[str], columns: Sequence[str]) -> Callable[[Callable[[Any], Any]], Shown]:
    """Makes a Shown of the function below it; its name is the exercise's."""
    return lambda run: Shown(run.__name__, title, tuple(rows), tuple(columns), run)


def shown_in(path: Path) -> dict[str, Shown]:
    """The pictures of a file by exercise, none where there is no file; raises GraderError where it cannot be run."""
    if not path.is_file():
        return {}
    space: dict[str, Any] = {"__name__": f"pictures:{path}"}
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)  # noqa: S102 - the course's own file
    except Exception as error:
        raise GraderError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return {value.exercise: value for value in space.values() if isinstance(value, Shown)}


@dataclass
class Gallery:
    """The pictures of a lesson, and the right ones, which are made when they are first asked for."""

    path: Path
    reference: Any
    _right: dict[str, tuple[Map, ...]] = field(default_factory=dict)

    @cached_property
    def shown(self) -> Mapping[str, Shown]:
        """By exercise."""
        return shown_in(self.path)

    def draw(self, exercise: str, student: Any) -> Picture | None:
        """A student's picture beside the right one; None where there is none, or theirs has another shape or is right."""
        shown = self.shown.get(exercise)
        if shown is None:
            return None
        if exercise not in self._right:
            self._right[exercise] = _maps(shown.run(self.reference))
        right = self._right[exercise]
        try:
            given = _maps(shown.run(student))
        except Exception:  # whatever their code does instead, the tests have said it
            return None
        if given == right or [_shape(each) for each in given] != [_shape(each) for each in right]:
            return None
        return Picture(shown.title, shown.rows, shown.columns, right, given)


def _maps(result: Any) -> tuple[Map, ...]:
    """A map, a list of maps, or a tensor of maps, as numbers to two digits; what is not finite is None."""
    tensors: list[Tensor] = [result] if hasattr(result, "dim") else list(result)
    split = [part for each in tensors for part in (each if each.dim() == 3 else [each])]
    if sum(part.numel() for part in split) > MOST_NUMBERS or any(part.dim() != 2 for part in split):
        raise ValueError("a picture is one map or a few")
    return tuple(tuple(tuple(map(_number, row)) for row in part.detach().tolist()) for part in split)


def _number(value: float) -> float | None:
    return round(float(value), 2) + 0.0 if math.isfinite(value) else None  # no -0.0


def _shape(rows: Map) -> tuple[int, int]:
    return len(rows), len(rows[0]) if rows else 0
