"""What stands in the gradebook, and what a run changes there.

A mark never changes silently: where unchanged code gets another score (a corrected suite, another engine), the change is
held back until somebody has agreed to it. What stands already is not written again, so a manual mark on it asks for
nobody's attention; where the gradebook looks as this engine left it, it is not even opened.

Enters: graded submissions. Leaves: rows and notebooks by gradebook.py, and notes of them in the cache. Used by the
coordinator only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from autograder.cache import Cache, Mark, Record
from autograder.collection import Submission
from autograder.course import Course, Lesson
from autograder.keys import Keys, digest
from autograder.outcome import pictures
from autograder.paper import Graded, Paper
from autograder.quickly import no_address_grammar
from autograder.results import ExerciseResult, TestResult

if TYPE_CHECKING:
    from autograder.gradebook import Marks

SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Change:
    """A mark that is another than the one recorded, though the code is the same."""

    student: str
    exercise: str
    old: float
    new: float
    tests: tuple[str, ...]  # whose outcome is another, as "rows sum to one: passed, now failed"


class Records:
    """The gradebook of one lesson as a run finds and leaves it."""

    def __init__(self, course: Course, lesson: Lesson, cache: Cache) -> None:
        self._course, self._lesson, self._cache = course, lesson, cache
        self._stack = ExitStack()
        self._marks: Marks | None = None
        self._scores: dict[str, dict[str, float | None]] = {}
        looks = self._looks()
        self._untouched = looks != "" and looks == cache.standing(lesson.name)

    def open(self) -> Marks:
        """nbgrader's database, opened when it is first needed; raises GraderError where it cannot be."""
        if self._marks is None:
            with no_address_grammar():
                from autograder.gradebook import open_marks  # nbgrader takes about a second to import

            self._marks = self._stack.enter_context(open_marks(self._course, self._lesson))
            self._scores = self._marks.scores()
        return self._marks

    def close(self, *, finished: bool) -> None:
        """Closes the database; a run that came to its end notes how it looks now."""
        database = self._marks.database if self._marks else None
        self._stack.close()
        if finished and database is not None:
            self._cache.stands(self._lesson.name, self._looks(database))

    def changes(self, graded: Graded) -> list[Change]:
        """The recorded marks that would change though the code did not."""
        if graded.notebook is None:
            return []
        before, now = self._cache.marks(self._lesson.name, graded.result.student), self._marks_of(graded)
        points = {exercise.name: exercise for exercise in graded.result.exercises}
        changed = [name for name, mark in now.items() if name in before and _changes(before[name], mark, points[name])]
        return [_change(graded.result.student, name, before[name], now[name]) for name in changed]

    def write(self, graded: Graded) -> None:
        """Records a graded submission, unless just that stands already; raises GraderError."""
        student, lesson = graded.result.student, self._lesson.name
        if graded.result.status == "unreadable" or graded.notebook is None:
            return
        content = self._content(graded)
        if self._stands(graded, self._cache.record(lesson, student), content):
            return
        marks = self.open()
        marks.record(graded)
        place = marks.notebook(student)
        self._cache.recorded(lesson, student, Record(content, str(place), _looks(place)), self._marks_of(graded))

    def _stands(self, graded: Graded, record: Record | None, content: str) -> bool:
        if record is None or record.content != content or record.looks != _looks(Path(record.notebook)):
            return False
        if self._untouched:
            return True
        self.open()
        scores = self._scores.get(graded.result.student, {})
        judged = [each for each in graded.result.exercises if _is_judged(each.tests)]
        return all(scores.get(exercise.name) == exercise.score for exercise in judged)

    def _marks_of(self, graded: Graded) -> dict[str, Mark]:
        """The marks of all exercises of which something was judged."""
        if graded.notebook is None or graded.program is None:
            return {}
        keys = Keys(Paper(Submission(graded.result.student, None), graded.notebook, graded.program), self._lesson)
        return {
            each.name: Mark(keys.code(each.name), each.score, tuple((test.name, test.outcome) for test in each.tests))
            for each in graded.result.exercises
            if _is_judged(each.tests)
        }

    def _content(self, graded: Graded) -> str:
        """Digest of all that is written for a submission."""
        result = {**msgspec.to_builtins(graded.result), "seconds": 0}
        assert graded.notebook is not None  # noqa: S101 - the caller has looked
        assert graded.program is not None  # noqa: S101 - the same
        stamp = Path(graded.result.path).parent / "timestamp.txt"
        return digest(
            [
                result,
                msgspec.to_builtins(pictures(graded.judged)),
                graded.notebook.cells,
                graded.program.written,
                stamp.read_bytes() if graded.result.path and stamp.is_file() else b"",
                self._course.release(self._lesson.name).read_bytes(),
            ]
        )

    def _looks(self, database: str | None = None) -> str:
        """How the lesson, nbgrader's settings and the database look, where that is a file; else nothing."""
        name = (database or f"{SQLITE}{self._course.root / 'gradebook.db'}").removeprefix(SQLITE)
        if not Path(name).is_file() or "://" in name:
            return ""
        root = self._course.root
        files = (self._course.source(self._lesson.name), root / "nbgrader_config.py")
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()]
        return digest([name, _looks(Path(name)), Path(name).stat().st_ino, contents])


@contextmanager
def open_records(course: Course, lesson: Lesson, cache: Cache) -> Iterator[Records]:
    """The records of a run; what stands is noted only where it came to its end."""
    records = Records(course, lesson, cache)
    finished = False
    try:
        yield records
        finished = True
    finally:
        records.close(finished=finished)


def _looks(path: Path) -> tuple[int, int]:
    """Size and time of the last change; zeros where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _is_judged(tests: tuple[TestResult, ...]) -> bool:
    return any(test.outcome != "not_judged" for test in tests)


def _changes(before: Mark, now: Mark, exercise: ExerciseResult) -> bool:
    """Another score for the same code, and not because something could not be judged now."""
    judged = all(test.outcome != "not_judged" for test in exercise.tests)
    return judged and before.code == now.code and before.score != now.score


def _change(student: str, exercise: str, before: Mark, now: Mark) -> Change:
    old, new = dict(before.tests), dict(now.tests)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    tests = tuple(f"{name}: {old.get(name, 'not there')}, now {new.get(name, 'gone')}" for name in names)
    return Change(student, exercise, before.score, now.score, tests)
