"""The hidden checks of a lesson called directly, without pytest's runner: the floor that every grader stands on."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from autograder.course import Lesson
from autograder.inputs import Inputs, derive_seed


def checks(lesson: Lesson, exercise: str) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Name, function and parameters of each check of an exercise."""
    path = lesson.suites / f"test_{exercise}.py"
    spec = importlib.util.spec_from_file_location(f"checks_{exercise}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, function in vars(module).items():
        if name.startswith("test_") and callable(function):
            for number, given in enumerate(_parameters(function)):
                yield f"{name}[{number}]", function, given


def _parameters(function: Callable[..., Any]) -> list[dict[str, Any]]:
    """Every combination of a test's parametrize marks."""
    choices = []
    for mark in getattr(function, "pytestmark", []):
        if mark.name == "parametrize":
            names = [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else mark.args[0]
            rows = [getattr(row, "values", row) if hasattr(row, "marks") else row for row in mark.args[1]]
            choices.append([dict(zip(names, row if len(names) > 1 else (_only(row),), strict=True)) for row in rows])
    return [dict(itertools.chain.from_iterable(part.items() for part in each)) for each in itertools.product(*choices)]


def _only(row: Any) -> Any:
    return row[0] if isinstance(row, tuple) and len(row) == 1 else row


def run(lesson: Lesson, exercise: str, student: Any, reference: Any) -> int:
    """Calls all checks of an exercise; the number of them. Raises what the first that fails raises."""
    count = 0
    for name, function, given in checks(lesson, exercise):
        call(name, function, given, lesson, student, reference)
        count += 1
    return count


def call(
    name: str, function: Callable[..., Any], given: dict[str, Any], lesson: Lesson, student: Any, reference: Any
) -> None:
    """Calls one check with the fixtures that it asks for."""
    fixtures = {"student": student, "reference": reference, "device": "cpu"}
    fixtures["inputs"] = Inputs(derive_seed(b"benchmark", "floor", lesson.name, name))
    wanted = _taken(function)
    function(**{**given, **{key: value for key, value in fixtures.items() if key in wanted}})


@functools.cache
def _taken(function: Callable[..., Any]) -> frozenset[str]:
    """Names of a function's parameters; looked up once, for this is no mathematics."""
    return frozenset(inspect.signature(function).parameters)
