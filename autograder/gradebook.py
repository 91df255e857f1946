"""nbgrader's gradebook and `autograded/`, as if nbgrader had graded: formgrader, feedback and export go on from here.

Enters: a graded submission. Leaves: rows in nbgrader's database, through its own models, and a notebook in
`autograded/<student>/<lesson>/`. One commit a submission. A manual mark, extra credit and a comment are never
touched, and a submission that could not be read changes nothing: an earlier mark outlives it. The notebook is written
beside its place first and put there just after the commit: a full disk or a locked database leaves both as they were.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbformat import NotebookNode
from nbgrader import api
from nbgrader import preprocessors as steps
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import compute_checksum
from sqlalchemy import select
from sqlalchemy.orm import undefer

from autograder.canonical import add_feedback, as_file, canonical, graded_cells
from autograder.course import Course, Lesson
from autograder.database import (
    course_directory,
    database_errors,
    ensure_assignment,
    file_of,
    identity,
    one_commit,
    open_database,
)
from autograder.errors import GraderError
from autograder.outcome import pictures
from autograder.results import ExerciseResult, SubmissionResult
from autograder.whole import prepare, put

if TYPE_CHECKING:
    from autograder.paper import Graded

NO_RESPONSE = "No response."  # nbgrader's own words for an untouched answer
# Of a submission in nbgrader's folders: by the first nbgrader sees what is newer, by the second release_feedback finds whose
# the feedback is.
BESIDE = ("timestamp.txt", "submission_secret.txt")
READ_ONLY = 0o444  # as nbgrader leaves autograded notebooks


class Marks:
    """The gradebook of one lesson, open for one run."""

    def __init__(self, course: Course, lesson: Lesson, directory: CourseDirectory, gradebook: api.Gradebook) -> None:
        self._course, self._directory, self._gradebook = course, directory, gradebook
        self._release = nbformat.read(course.release(lesson.name), as_version=4)
        self._lesson = lesson.name
        self._file = file_of(self.database)
        self._opened = identity(self._file) if self._file else (0, 0)
        self._late = steps.AssignLatePenalties(config=directory.config)
        self._late.init_plugin()

    def notebook(self, student: str) -> Path:
        """Where a student's autograded notebook lies."""
        step = self._directory.autograded_directory
        return Path(self._directory.format_path(step, student, self._lesson)) / f"{self._lesson}.ipynb"

    def scores(self) -> dict[str, dict[str, float | None]]:
        """The scores by the machine that stand in the database: student -> cell -> score."""
        named = select(api.SubmittedAssignment.student_id, api.BaseCell.name, api.Grade.auto_score)
        named = named.join(api.SubmittedNotebook, api.SubmittedNotebook.assignment_id == api.SubmittedAssignment.id)
        named = named.join(api.Grade, api.Grade.notebook_id == api.SubmittedNotebook.id)
        named = named.join(api.BaseCell, api.Grade.cell_id == api.BaseCell.id)
        named = named.join(api.Assignment, api.Assignment.id == api.SubmittedAssignment.assignment_id)
        found: dict[str, dict[str, float | None]] = {}
        with database_errors(self.database):
            rows = self._gradebook.db.execute(named.where(api.Assignment.name == self._lesson)).all()
        for student, cell, score in rows:
            found.setdefault(student, {})[cell] = score
        return found

    @property
    def database(self) -> str:
        """nbgrader's URL of the database."""
        return str(self._directory.db_url)

    def record(self, graded: Graded) -> None:
        """Writes one submission's marks and its autograded notebook; leaves all as it is where it could not be read.

        Raises GraderError where the database refuses, or where a student's name is no folder's name.
        """
        result = graded.result
        if result.status == "unreadable" or graded.notebook is None or graded.program is None:
            return
        notebook = canonical(self._release, graded.notebook, graded.program)
        add_feedback(notebook, result, pictures(graded.judged))
        earlier = self._answers(result.student)
        parts = self._prepared(result, notebook)
        with ExitStack() as undo:  # both are as they were where anything is refused, or the run is stopped
            undo.callback(self._gradebook.db.rollback)
            for part in parts.values():
                undo.callback(part.unlink, missing_ok=True)
            with database_errors(self.database), one_commit(self._gradebook.db):
                self._mark(result, notebook, earlier)
            undo.pop_all()
        with database_errors(self.database):
            for place, part in parts.items():  # after the commit: what stood there tells the next run which answers are new
                put(part, place)
        self._look_after()

    def _look_after(self) -> None:
        """Raises GraderError where the database is not the one that was opened: what went into it is not in the course."""
        if self._file is not None and identity(self._file) != self._opened:
            told = f"{self._file} was moved, deleted or replaced while it was open"
            raise GraderError(f"{told}; leave it in its place and grade again")

    def _answers(self, student: str) -> dict[str, str]:
        """The answers that were marked before, by their cell's name."""
        path = self.notebook(student)
        cells = graded_cells(nbformat.read(path, as_version=4)) if path.is_file() else []
        return {cell.metadata.nbgrader.grade_id: cell.source for cell in cells}

    def _mark(self, result: SubmissionResult, notebook: NotebookNode, earlier: dict[str, str]) -> None:
        session = self._gradebook.db
        self._gradebook.update_or_create_student(result.student)
        stamp = {"timestamp": stamp} if (stamp := self._timestamp(result)) else {}
        with session.no_autoflush:  # nbgrader builds the submission's rows before it adds them
            submission = self._gradebook.update_or_create_submission(self._lesson, result.student, **stamp)
        submitted = next(one for one in submission.notebooks if one.name == self._lesson)
        cells = {cell.metadata.nbgrader.grade_id: cell for cell in graded_cells(notebook)}
        exercises, review = {one.name: one for one in result.exercises}, to_review(result)
        for grade in submitted.grades:
            if (name := self._cell_names.get(grade.cell_id, "")) in cells:
                alike = earlier.get(name) == cells[name].source
                set_grade(grade, exercises.get(name), name in review, untouched(cells[name]), alike)
        for comment in submitted.comments:
            name = self._cell_names.get(comment.cell_id, "")
            comment.auto_comment = NO_RESPONSE if name in cells and untouched(cells[name]) else None
        session.flush()
        submitted.late_submission_penalty = self._late_penalty(submission, submitted)
        session.flush()

    @cached_property
    def _cell_names(self) -> dict[str, str]:
        """The names of the lesson's cells by their numbers: asked cell by cell, they would cost a query each."""
        cells = select(api.BaseCell.id, api.BaseCell.name).join(api.Notebook, api.BaseCell.notebook_id == api.Notebook.id)
        cells = cells.join(api.Assignment, api.Notebook.assignment_id == api.Assignment.id)
        rows = self._gradebook.db.execute(cells.where(api.Assignment.name == self._lesson))
        return {row.id: row.name for row in rows}

    def submissions(self) -> list[api.SubmittedAssignment]:
        """All submissions of the lesson, as nbgrader's rows."""
        asked = select(api.SubmittedAssignment).join(api.Assignment).where(api.Assignment.name == self._lesson)
        return list(self._gradebook.db.execute(asked).scalars())

    def grades(self) -> Iterator[tuple[str, str, Any]]:
        """Each grade of the lesson with its student and its cell's name, in one query."""
        asked = select(api.SubmittedAssignment.student_id, api.BaseCell.name, api.Grade)
        asked = asked.join(api.SubmittedNotebook, api.SubmittedNotebook.assignment_id == api.SubmittedAssignment.id)
        asked = asked.join(api.Grade, api.Grade.notebook_id == api.SubmittedNotebook.id)
        asked = asked.join(api.BaseCell, api.Grade.cell_id == api.BaseCell.id).options(undefer(api.Grade.max_score))
        asked = asked.join(api.Assignment, api.Assignment.id == api.SubmittedAssignment.assignment_id)
        for row in self._gradebook.db.execute(asked.where(api.Assignment.name == self._lesson)):
            yield tuple(row)

    def settle_penalties(self) -> None:
        """Asks the late policy again of each late submission: marks were given, or a due date moved, since it was graded."""
        for submission in self.submissions():
            for submitted in submission.notebooks:
                if submitted.late_submission_penalty is None and not submission.total_seconds_late:
                    continue
                penalty = self._late_penalty(submission, submitted)
                if penalty != submitted.late_submission_penalty:
                    submitted.late_submission_penalty = penalty
        self._gradebook.db.commit()

    def _late_penalty(self, submission: api.SubmittedAssignment, submitted: api.SubmittedNotebook) -> float | None:
        """What the course's late plugin takes off, between 0 and the score, as nbgrader's own step does."""
        seconds = submission.total_seconds_late
        if not seconds:
            return None
        penalty = self._late.plugin_inst.late_submission_penalty(submission.student_id, submitted.score, seconds)
        return None if penalty is None else min(max(penalty, 0.0), submitted.score)

    def _timestamp(self, result: SubmissionResult) -> Any:
        """When a submission came in, where nbgrader's `timestamp.txt` lies beside it."""
        return self._directory.get_existing_timestamp(str(Path(result.path).parent)) if result.path else None

    def _prepared(self, result: SubmissionResult, notebook: NotebookNode) -> dict[Path, Path]:
        """The student's autograded notebook, and what nbgrader asks for beside it: place -> its part."""
        if Path(result.student).name != result.student or result.student in ("", "..", "."):
            raise GraderError(f"{result.student!r} cannot be a student's folder; name them by --student")
        folder = self.notebook(result.student).parent
        parts = {f"{self._lesson}.ipynb": as_file(notebook)}
        beside = [Path(result.path).parent / name for name in BESIDE]
        parts |= {path.name: path.read_bytes() for path in beside if path.is_file() and not path.is_symlink()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return {folder / name: prepare(folder / name, part, READ_ONLY) for name, part in parts.items()}
        except OSError as error:
            raise GraderError(f"{folder} cannot be written ({error.strerror}); make it writable") from error


@contextmanager
def open_marks(course: Course, lesson: Lesson) -> Iterator[Marks]:
    """The gradebook where nbgrader puts it, with the lesson in it; closed at the end."""
    # nbgrader writes the traceback of a database error to this log, and raises; a message of ours is enough.
    logging.getLogger("tornado.application").addHandler(logging.NullHandler())
    directory = course_directory(course)
    with database_errors(directory.db_url):
        ensure_assignment(course, lesson.name, directory)
    with closing(open_database(directory)) as gradebook:
        yield Marks(course, lesson, directory, gradebook)


def set_grade(
    grade: api.Grade, exercise: ExerciseResult | None, review: bool, unanswered: bool, alike: bool = False
) -> None:
    """What nbgrader's SaveAutoGrades would write; a score of ours in place of one read from a cell's output.

    A manual mark stays, and asks to be looked at again unless answer and score are what they were (`alike`: the answer
    is). Where nothing of an exercise was judged, its score stays.
    """
    before, settled = grade.auto_score, grade.manual_score is not None and not grade.needs_manual_grade
    if exercise is None:
        grade.auto_score = 0.0 if unanswered else None
    elif _is_judged(exercise):
        grade.auto_score = exercise.score
    waits = review or grade.manual_score is not None or grade.auto_score is None
    grade.needs_manual_grade = waits and not (settled and alike and grade.auto_score == before)


def to_review(result: SubmissionResult) -> frozenset[str]:
    """The exercises that a person has to look at: named in the message, or without any verdict; all if that is none."""
    if result.status != "needs_review":
        return frozenset()
    names = frozenset(exercise.name for exercise in result.exercises)
    named = {name for name in names if re.search(rf"\b{re.escape(name)}\b", result.message)}
    named |= {exercise.name for exercise in result.exercises if not _is_judged(exercise)}
    return frozenset(named) or names


def untouched(cell: NotebookNode) -> bool:
    """Whether a graded cell is still as it was released."""
    return bool(cell.metadata.nbgrader.get("checksum") == compute_checksum(cell))


def _is_judged(exercise: ExerciseResult) -> bool:
    return any(test.outcome != "not_judged" for test in exercise.tests)
