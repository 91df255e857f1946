"""The marks of one lesson as they stand in the gradebook, for whoever hands them on: export, reports.

Enters: nbgrader's database. Leaves: one `Standing` for each submission in it, sums as nbgrader makes them: a mark by hand
counts in place of the machine's, extra credit is added, the late penalty taken off. nbgrader asks its late policy when a
submission is autograded, so marks given by hand afterwards would escape it: here the policy is asked again, of the
whole score, and what it says is written back, so that formgrader and feedback say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autograder.course import Course, Lesson

if TYPE_CHECKING:
    from datetime import datetime

    from autograder.gradebook import Marks


@dataclass(frozen=True)
class CellMark:
    """The points on one exercise or written answer."""

    name: str
    score: float  # extra credit included
    max_score: float
    by_hand: bool
    waits: bool  # for a person: not marked yet, or marked and graded again since


@dataclass(frozen=True)
class Standing:
    """What one student has for a lesson."""

    student: str
    first_name: str
    last_name: str
    email: str
    lms_id: str
    cells: tuple[CellMark, ...]
    penalty: float  # points taken off for being late
    late_s: float
    handed_in: datetime | None  # UTC

    @property
    def raw_score(self) -> float:
        """The sum before the late penalty."""
        return sum(cell.score for cell in self.cells)

    @property
    def score(self) -> float:
        """The mark, never below zero."""
        return max(0.0, self.raw_score - self.penalty)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The cells that a person has to look at before this is final."""
        return tuple(cell.name for cell in self.cells if cell.waits)


def read_standings(course: Course, lesson: Lesson) -> tuple[Standing, ...]:
    """All submissions of a lesson in the gradebook, by student; raises GraderError where it cannot be read."""
    from autograder.gradebook import open_marks  # nbgrader takes more than a second to import

    with open_marks(course, lesson) as marks:
        marks.settle_penalties()
        cells = _cells(marks, {name: place for place, name in enumerate(cell_names(lesson))})
        found = [_standing(each, cells.get(each.student_id, [])) for each in marks.submissions()]
    return tuple(sorted(found, key=lambda standing: standing.student))


def max_score(lesson: Lesson) -> float:
    """Points of the exercises and of the written answers together."""
    return lesson.max_score + sum(written.points for written in lesson.written)


def cell_names(lesson: Lesson) -> list[str]:
    """What the cells with points are called: exercises, then written answers, each in the order in which it is asked."""
    return [each.name for each in lesson.exercises] + [each.grade_id for each in lesson.written]


def _cells(marks: Marks, places: dict[str, int]) -> dict[str, list[CellMark]]:
    found: dict[str, list[CellMark]] = {}
    for student, name, grade in marks.grades():
        score, most = float(grade.score), float(grade.max_score)
        by_hand = grade.manual_score is not None
        found.setdefault(student, []).append(CellMark(name, score, most, by_hand, bool(grade.needs_manual_grade)))
    for cells in found.values():
        cells.sort(key=lambda cell: places.get(cell.name, len(places)))
    return found


def _standing(submission: Any, cells: list[CellMark]) -> Standing:
    student = submission.student
    return Standing(
        student=submission.student_id,
        first_name=student.first_name or "",
        last_name=student.last_name or "",
        email=student.email or "",
        lms_id=student.lms_user_id or "",
        cells=tuple(cells),
        penalty=float(submission.late_submission_penalty or 0.0),
        late_s=float(submission.total_seconds_late),
        handed_in=submission.timestamp,
    )
