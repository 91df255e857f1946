"""Which of a student's files is graded: the newest that holds the lesson.

Enters: the files of one student, and what the lesson is told by. Leaves: one of them. Reads files, runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.archives import Item
from autograder.course import Course
from autograder.errors import SubmissionError
from autograder.layouts import Claim, plain_stem
from autograder.notebook import read_notebook
from autograder.statements import defined_names


@dataclass(frozen=True)
class Wanted:
    """A lesson as its files are told by: its name, its exercises' names, those of the other lessons."""

    lesson: str
    exercises: frozenset[str] = frozenset()
    others: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Attempt:
    """One file of a student, and what its place says."""

    item: Item
    claim: Claim

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return "/".join(self.item.parts)


def wanted_of(course: Course, lesson: str) -> Wanted:
    """What tells a lesson's notebooks from the other lessons'."""
    asked = course.lesson(lesson)
    exercises = frozenset(exercise.name for exercise in asked.exercises)
    others = {name: frozenset(names) - asked.given for name, names in course.other_exercises(lesson).items()}
    return Wanted(lesson, exercises, others)


def choose(attempts: Sequence[Attempt], wanted: Wanted) -> Attempt:
    """The newest of the files that hold the lesson; of all where none does. A notebook goes before an export of it."""
    if len(attempts) == 1:
        return attempts[0]
    holding = {attempt.item.path: holds(attempt.item.path, wanted) for attempt in attempts}
    names = {wanted.lesson, *(_stem(each) for each in attempts if holding[each.item.path])}
    pool = [each for each in attempts if _could_be(each, holding[each.item.path], names)] or list(attempts)
    return max(pool, key=_age)


def holds(path: Path, wanted: Wanted) -> bool | None:
    """Whether a file is a notebook with the lesson's exercises; None where it cannot be read as a notebook."""
    try:
        cells = read_notebook(path).cells
    except SubmissionError:
        return None
    names = defined_names("\n".join(cell.source for cell in cells if cell.kind == "code"))
    count = len(names & wanted.exercises)
    return count > 0 and all(count >= len(names & other) for other in wanted.others.values())


def _could_be(attempt: Attempt, held: bool | None, names: set[str]) -> bool:
    """Whether a file is the lesson, or a broken one that is called as one that is."""
    return bool(held) or (held is None and _stem(attempt) in names)


def _stem(attempt: Attempt) -> str:
    """What a student called a file; Canvas, and browsers, number later ones."""
    return re.sub(r"-\d{1,2}$", "", plain_stem(attempt.claim.file or attempt.item.parts[-1]))


def _age(attempt: Attempt) -> tuple[bool, float, float, str]:
    path = attempt.item.path
    return path.suffix.lower() != ".py", attempt.claim.order, path.lstat().st_mtime, path.name
