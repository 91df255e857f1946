"""nbgrader's gradebook and `autograded/`, as if nbgrader had graded: formgrader, feedback and export go on from here.

Enters: a graded submission. Leaves: rows in nbgrader's database, through its own models, and a notebook in
`autograded/<student>/<lesson>/`. One commit a submission. A manual mark, extra credit and a comment are never
touched, and a submission that could not be read changes nothing: an earlier mark outlives it. The notebook is written
beside its place first and put there just after the commit: a full disk or a locked database leaves both as they were.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader import api
from nbgrader import preprocessors as steps
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import compute_checksum, is_locked, is_solution
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import undefer
from traitlets.config.loader import PyFileConfigLoader

from autograder.canonical import add_feedback, canonical, graded_cells
from autograder.course import Course, Lesson
from autograder.errors import GraderError
from autograder.outcome import pictures
from autograder.quickly import stamp_if_new
from autograder.results import ExerciseResult, SubmissionResult
from autograder.whole import prepare, put

if TYPE_CHECKING:
    from autograder.paper import Graded

SQLITE = "sqlite:///"
NO_RESPONSE = "No response."  # nbgrader's own words for an untouched answer
# Of a submission in nbgrader's folders: by the first nbgrader sees what is newer, by the second release_feedback finds whose
# the feedback is.
BESIDE = ("timestamp.txt", "submission_secret.txt")
READ_ONLY = 0o444  # as nbgrader leaves autograded notebooks
# What `nbgrader generate_assignment` does to a source notebook up to the step that fills the gradebook.
SAVING_STEPS = (
    steps.LockCells,
    steps.ClearSolutions,
    steps.ClearOutput,
    steps.CheckCellMetadata,
    steps.ComputeChecksums,
    steps.SaveCells,
)


class Marks:
    """The gradebook of one lesson, open for one run."""

    def __init__(self, course: Course, lesson: Lesson, directory: CourseDirectory, gradebook: api.Gradebook) -> None:
        self._course, self._directory, self._gradebook = course, directory, gradebook
        self._release = nbformat.read(course.release(lesson.name), as_version=4)
        self._lesson = lesson.name
        self._file = _file_of(self.database)
        self._opened = _identity(self._file) if self._file else (0, 0)
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
        with _database_errors(self.database):
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
        try:
            with _database_errors(self.database), _one_commit(self._gradebook.db):
                self._mark(result, notebook, earlier)
        except BaseException:
            self._gradebook.db.rollback()
            for part in parts.values():
                part.unlink(missing_ok=True)
            raise
        with _database_errors(self.database):
            for (
                place,
                part,
            ) in parts.items():  # after the commit: what it was before tells the next run which answers are new
                put(part, place)
        self._look_after()

    def _look_after(self) -> None:
        """Raises GraderError where the database is not the one that was opened: what went into it is not in the course."""
        if self._file is not None and _identity(self._file) != self._opened:
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
        for grade, name in _with_names(session, api.Grade, submitted):
            if name in cells:
                alike = earlier.get(name) == cells[name].source
                set_grade(grade, exercises.get(name), name in review, untouched(cells[name]), alike)
        for comment, name in _with_names(session, api.Comment, submitted):
            comment.auto_comment = NO_RESPONSE if name in cells and untouched(cells[name]) else None
        session.flush()
        submitted.late_submission_penalty = self._late_penalty(submission, submitted)
        session.flush()

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
        parts = {f"{self._lesson}.ipynb": (nbformat.v4.writes(notebook) + "\n").encode()}
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
    with _database_errors(directory.db_url):
        ensure_assignment(course, lesson.name, directory)
    with closing(_open(directory)) as gradebook:
        yield Marks(course, lesson, directory, gradebook)


def course_directory(course: Course) -> CourseDirectory:
    """nbgrader's view of the course: its nbgrader_config.py, folders and database."""
    try:
        config = PyFileConfigLoader("nbgrader_config.py", path=str(course.root)).load_config()
    except Exception as error:  # a config file is a program: anything may come of it
        raise GraderError(f"{course.root / 'nbgrader_config.py'} cannot be loaded ({error}); mend it") from error
    return CourseDirectory(config=config, root=str(course.root))


def ensure_assignment(course: Course, lesson: str, directory: CourseDirectory) -> None:
    """Puts the lesson's cells and points into the gradebook where they are not there as the source has them.

    nbgrader writes them one by one; where a run was killed meanwhile, the next completes them. Raises GraderError where
    nbgrader refuses: cells cannot come or go once submissions are recorded.
    """
    wanted = nbformat.read(course.source(lesson), as_version=4)
    with closing(_open(directory)) as gradebook:
        if _recorded(gradebook, lesson) == _cells(wanted):
            return
        gradebook.update_or_create_assignment(lesson)
    names = {"notebook": lesson, "assignment": lesson, "student": ".", "db_url": directory.db_url}
    resources = ResourcesDict(nbgrader=names)
    try:
        for step in SAVING_STEPS:
            wanted, resources = step(config=directory.config)(wanted, resources)
    except RuntimeError as error:
        told = f"{lesson} changed after submissions were recorded: {error}"
        raise GraderError(f"{told}; build the lesson they had, or move the gradebook away") from error


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


def _open(directory: CourseDirectory) -> api.Gradebook:
    """Opens or makes the database; nbgrader calls `alembic` by name, which stands beside this Python."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        _make_if_missing(directory)
        stamp_if_new(directory.db_url)
        return api.Gradebook(directory.db_url, directory.course_id)
    except (SQLAlchemyError, OSError) as error:
        told = f"{directory.db_url} cannot be opened ({_reason(error)})"
        raise GraderError(f"{told}; {_advice(error)}") from error
    finally:
        os.environ["PATH"] = before


def _make_if_missing(directory: CourseDirectory) -> None:
    """Puts a new database in its place as a whole: of one that was half made nbgrader would not notice."""
    path = _file_of(directory.db_url)
    if path is None or _identity(path) != (0, 0) or not path.parent.is_dir():
        return
    part = path.with_name(f".{path.name}.part")
    for each in (part, part.with_name(f"{part.name}-journal")):
        each.unlink(missing_ok=True)
    stamp_if_new(f"{SQLITE}{part}")
    api.Gradebook(f"{SQLITE}{part}", directory.course_id).close()
    put(part, path)


def _file_of(url: str) -> Path | None:
    """The file that a database is; None for one on a server."""
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


def _with_names(session: Any, kind: type[Any], submitted: api.SubmittedNotebook) -> list[tuple[Any, str]]:
    """Grades or comments of a submitted notebook, each with its cell's name, in one query."""
    named = select(kind, api.BaseCell.name).join(api.BaseCell, kind.cell_id == api.BaseCell.id)
    return [tuple(row) for row in session.execute(named.where(kind.notebook_id == submitted.id))]


Cells = tuple[dict[str, float], set[str], set[str]]  # points of what is graded, what students fill in, what is kept


def _recorded(gradebook: api.Gradebook, lesson: str) -> Cells | None:
    """All cells that the gradebook has of a lesson: a run may have been killed while nbgrader put them there, one by one."""
    try:
        notebook = gradebook.find_notebook(lesson, lesson)
    except api.MissingEntry:
        return None
    points = {cell.name: float(cell.max_score) for cell in notebook.grade_cells}
    return points, {cell.name for cell in notebook.solution_cells}, {cell.name for cell in notebook.source_cells}


def _cells(notebook: NotebookNode) -> Cells:
    """The same as the source has them."""
    named = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    points = {cell.metadata.nbgrader.grade_id: float(cell.metadata.nbgrader.points) for cell in graded_cells(notebook)}
    filled = {name for name, cell in named.items() if is_solution(cell)}
    return points, filled, {name for name, cell in named.items() if name in {*points, *filled} or is_locked(cell)}


@contextmanager
def _one_commit(session: Any) -> Iterator[None]:
    """One commit at the end of the block: nbgrader's own, after each row, only flush meanwhile."""
    real = session()
    real.commit = real.flush
    try:
        yield
    finally:
        del real.commit
    real.commit()


@contextmanager
def _database_errors(url: str) -> Iterator[None]:
    """What the database or the disk refuses, as our failure: locked, full, read-only, broken."""
    try:
        yield
    except (SQLAlchemyError, api.InvalidEntry) as error:
        told = f"{url} cannot be written ({_reason(error)})"
        raise GraderError(f"{told}; {_advice(error)}") from error
    except OSError as error:
        told = f"{error.filename or 'a file'} cannot be written ({error.strerror})"
        raise GraderError(f"{told}; see to space and rights, and grade again") from error


def _identity(path: Path) -> tuple[int, int]:
    """Which file it is, whatever its name; zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _advice(error: Exception) -> str:
    """What to do about it: only a file that is broken may be moved away, with all the marks that are in it."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "check the file, or move it away"
    return "close what holds it open, see to space and rights, and grade again"


def _reason(error: Exception) -> str:
    """The first line of a database's complaint."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]
