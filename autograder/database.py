"""nbgrader's database as a file: opened, made as a whole, with a lesson's cells in it; what it refuses is said in our words.

Enters: a course. Leaves: nbgrader's own connection. What is written into it is gradebook.py's.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader import api
from nbgrader import preprocessors as steps
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import is_locked, is_solution
from sqlalchemy.exc import SQLAlchemyError
from traitlets.config.loader import PyFileConfigLoader

from autograder.canonical import graded_cells
from autograder.course import Course
from autograder.errors import GraderError
from autograder.quickly import stamp_if_new
from autograder.whole import put

SQLITE = "sqlite:///"
# What `nbgrader generate_assignment` does to a source notebook up to the step that fills the gradebook.
SAVING_STEPS = (
    steps.LockCells,
    steps.ClearSolutions,
    steps.ClearOutput,
    steps.CheckCellMetadata,
    steps.ComputeChecksums,
    steps.SaveCells,
)


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
    with closing(open_database(directory)) as gradebook:
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


def open_database(directory: CourseDirectory) -> api.Gradebook:
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
    path = file_of(directory.db_url)
    if path is None or identity(path) != (0, 0) or not path.parent.is_dir():
        return
    part = path.with_name(f".{path.name}.part")
    for each in (part, part.with_name(f"{part.name}-journal")):
        each.unlink(missing_ok=True)
    stamp_if_new(f"{SQLITE}{part}")
    api.Gradebook(f"{SQLITE}{part}", directory.course_id).close()
    put(part, path)


def file_of(url: str) -> Path | None:
    """The file that a database is; None for one on a server."""
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


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
def one_commit(session: Any) -> Iterator[None]:
    """One commit at the end of the block: nbgrader's own, after each row, only flush meanwhile."""
    real = session()
    real.commit = real.flush
    try:
        yield
    finally:
        del real.commit
    real.commit()


@contextmanager
def database_errors(url: str) -> Iterator[None]:
    """What the database or the disk refuses, as our failure: locked, full, read-only, broken."""
    try:
        yield
    except (SQLAlchemyError, api.InvalidEntry) as error:
        told = f"{url} cannot be written ({_reason(error)})"
        raise GraderError(f"{told}; {_advice(error)}") from error
    except OSError as error:
        told = f"{error.filename or 'a file'} cannot be written ({error.strerror})"
        raise GraderError(f"{told}; see to space and rights, and grade again") from error


def identity(path: Path) -> tuple[int, int]:
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
