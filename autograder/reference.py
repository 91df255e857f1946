"""The model answers as a module: what hidden tests compare with, in the grader's own process."""

from __future__ import annotations

import types
from typing import Any

import torch

from autograder.course import Lesson
from autograder.errors import GraderError
from autograder.notebook import Cell, Notebook
from autograder.program import slice_program


class Reference(types.SimpleNamespace):
    """The lesson's exercises as attributes."""

    @staticmethod
    def builtin(kind: str, *args: Any, **kwargs: Any) -> torch.nn.Module:
        """A built-in module, as `Student.builtin` makes one in the box."""
        module: torch.nn.Module = getattr(torch.nn, kind)(*args, **kwargs)
        return module


def load_reference(lesson: Lesson) -> Reference:
    """Runs what the exercises of the solved notebook need; raises GraderError where it does not run."""
    cells = [Cell(number, "code", source) for number, source in enumerate(lesson.model_cells, start=1)]
    space: dict[str, Any] = {"__name__": f"reference_of_{lesson.name}"}
    for statement in slice_program(Notebook(tuple(cells)), lesson).statements:
        try:
            exec(compile(statement.source, f"<model cell {statement.cell}>", "exec"), space)  # noqa: S102 - our own code
        except Exception as error:
            raise GraderError(f"solutions/{lesson.name}.py: the model answers do not run: {error!r}") from error
    missing = [exercise.name for exercise in lesson.exercises if exercise.name not in space]
    if missing:
        raise GraderError(f"solutions/{lesson.name}.py: no model answer for {', '.join(missing)}")
    return Reference(**{exercise.name: space[exercise.name] for exercise in lesson.exercises})
