"""What holds for any mess: cells cut, swapped, doubled and merged at random never crash the reader nor raise a score,
and cost nothing as long as every answer's text is still there.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autograder.errors import SubmissionError
from autograder.notebook import Cell, Notebook, read_notebook
from autograder.program import slice_program

MESSES = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def answer_of(cell: dict[str, Any]) -> str:
    marks = cell["metadata"].get("nbgrader", {})
    return str(marks["grade_id"]) if marks.get("grade") and cell["cell_type"] == "code" else ""


def messed_up(cells: list[dict[str, Any]], chance: random.Random, steps: int) -> list[dict[str, Any]]:
    """Cells cut, swapped, doubled, merged and stripped of their metadata."""
    cells = [dict(cell) for cell in cells]
    for _ in range(steps):
        i, j = (chance.choice(_likely(cells, chance)) for _ in range(2))
        match chance.choice(["swap", "double", "merge", "cut", "strip"]):
            case "swap":
                cells[i], cells[j] = cells[j], cells[i]
            case "double":
                cells.insert(j, dict(cells[i]))
            case "merge" if cells[i]["cell_type"] == cells[j]["cell_type"] and i != j:
                cells[i]["source"] = text(cells[i]) + "\n" + text(cells[j])
            case "cut":
                cells[i]["source"] = text(cells[i])[: chance.randrange(len(text(cells[i])) + 1)]
            case "strip":
                cells[i]["metadata"] = {}
    return cells


def _likely(cells: list[dict[str, Any]], chance: random.Random) -> list[int]:
    """Places of all cells, or, more often than they would come up, of the answers."""
    answers = [place for place, cell in enumerate(cells) if answer_of(cell)]
    return answers if answers and chance.random() < 0.5 else list(range(len(cells)))


def score(student: Any, notebook: dict[str, Any]) -> dict[str, float]:
    """Points by exercise: all or nothing, by whether it computes what the model computes."""
    try:
        program = student.read(notebook)
    except SubmissionError:
        return {}
    right = student.right(program)
    return {each.name: each.points * right[each.name] for each in student.lesson.exercises}


@MESSES
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 15))
def test_whole_answers_keep_their_marks(student: Any, seed: int, steps: int) -> None:
    """While the whole text of every answer stands in some cell, every exercise is right."""
    notebook, chance = student.copy(), random.Random(seed)  # noqa: S311 - a shuffle, no secret
    answers = [text(cell).strip() for cell in notebook["cells"] if answer_of(cell)]
    notebook["cells"] = messed_up(notebook["cells"], chance, steps)
    code = [text(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    points = score(student, notebook)
    if all(any(answer in source for source in code) for answer in answers):
        assert points == {each.name: each.points for each in student.lesson.exercises}


@MESSES
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 15))
def test_a_mess_never_raises_a_score(student: Any, seed: int, steps: int) -> None:
    """A notebook of which some exercises are still open gains nothing by any mess."""
    notebook, chance = student.copy(), random.Random(seed)  # noqa: S311 - a shuffle, no secret
    for exercise in student.lesson.exercises:
        cell = next(each for each in notebook["cells"] if answer_of(each) == exercise.name)
        cell["source"] = chance.choice([exercise.stub, text(cell)])
    before = score(student, notebook)
    after = score(student, {**notebook, "cells": messed_up(notebook["cells"], chance, steps)})
    assert all(points <= before[name] for name, points in after.items())


def test_reading_costs_what_compiling_does(student: Any) -> None:
    """Reading and slicing a solved notebook takes at most four times as long as Python's own compiler for its cells."""
    path = student.folder / "work.ipynb"
    student.read(student.copy())
    sources = [cell.source for cell in read_notebook(path).cells if cell.kind == "code"]

    def reading() -> None:
        slice_program(read_notebook(path), student.lesson, student.others)

    def compiling() -> None:
        for source in sources:
            compile(source, "cell", "exec")

    reading_s, compiling_s = in_turn(reading, compiling)
    assert reading_s < 4 * compiling_s


def in_turn(*actions: Callable[[], None], rounds: int = 15) -> list[float]:
    """The median of each action's processor time in seconds, one after another in each round."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, taken in zip(actions, times, strict=True):
            start = time.process_time()
            action()
            taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in times]


def test_time_grows_as_the_notebook_does(student: Any) -> None:
    """Eight times as many cells of one's own take about eight times as long."""
    student.read(student.copy())
    cells = read_notebook(student.folder / "work.ipynb").cells

    def seconds(times: int) -> float:
        extra = [f"value_{n} = {n}\ndef helper_{n}(x):\n    return x + value_{n}\n" for n in range(100 * times)]
        many = (*cells, *(Cell(len(cells) + n, "code", source) for n, source in enumerate(extra, start=1)))
        start = time.process_time()
        slice_program(Notebook(many), student.lesson, student.others)
        return time.process_time() - start

    seconds(1)
    assert seconds(16) < 4 * 8 * max(seconds(2), 0.01)
