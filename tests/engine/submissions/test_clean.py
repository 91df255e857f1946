"""The corpus' own ground: a solved notebook is right in every exercise, the release in none."""

from __future__ import annotations

import json
from typing import Any

from autograder.course import Course


def test_a_solved_notebook_is_right(student: Any) -> None:
    """Everything is answered, computes what the model computes, and nothing is said."""
    program = student.read(student.copy())
    assert student.right(program) == {exercise.name: True for exercise in student.lesson.exercises}
    assert program.repairs == program.review == ()
    assert all(program.written.values())


def test_the_release_is_right_in_nothing(student: Any) -> None:
    """The untouched release is read, and has no answer."""
    root = student.lesson.suites.parents[1]
    program = student.read(json.loads(Course(root).release(student.lesson.name).read_text(encoding="utf-8")))
    assert {answer.state for answer in program.answers.values()} == {"stub"}
    assert not any(student.right(program).values())
    assert program.repairs == program.review == ()
    assert not any(program.written.values())
