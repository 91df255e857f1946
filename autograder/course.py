"""A course on disk: where its parts lie, and what a lesson asks for.

Points, grade ids and stubs come from here, never from a submission. Enters: the course's root folder. Leaves:
`Lesson` values. Must not run student code, or read a submission.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.errors import GraderError

SECRET_BYTES = 32


@dataclass(frozen=True)
class Exercise:
    """A stub that students fill; `name` is its function or class, its grade id, its suite and its key everywhere."""

    name: str
    points: float
    stub: str  # the cell as released
    model: str  # the cell with the model answer


@dataclass(frozen=True)
class Written:
    """A written answer, marked by hand in formgrader."""

    grade_id: str
    points: float
    prompt: str  # text of the cell before the answer
    stub: str  # what the release says in the answer's cell


@dataclass(frozen=True)
class Lesson:
    """What a lesson asks for, read from its built notebooks."""

    name: str
    exercises: tuple[Exercise, ...]
    written: tuple[Written, ...]
    imports: dict[str, str]  # name bound by a top-level import of the release -> that import as a statement
    suites: Path  # tests/<lesson>
    model_cells: tuple[str, ...]  # sources of all code cells of the solved notebook, in order
    given: frozenset[str]  # functions and classes that the release itself defines, ready to use

    @property
    def max_score(self) -> float:
        """Points of the exercises; written answers are added by nbgrader."""
        return sum(exercise.points for exercise in self.exercises)

    @property
    def rules(self) -> Path | None:
        """The lesson's from-scratch rules, if it has any."""
        path = self.suites / "rules.toml"
        return path if path.exists() else None


@dataclass(frozen=True)
class Course:
    """A folder with `solutions/`, `source/`, `release/` and `tests/`."""

    root: Path

    @property
    def solutions(self) -> Path:
        """Folder of the lessons' percent scripts."""
        return self.root / "solutions"

    @property
    def state(self) -> Path:
        """Git-ignored folder of the engine's own files: secret, logs, reports."""
        return self.root / ".autograder"

    def source(self, lesson: str) -> Path:
        """The solved notebook, which nbgrader reads."""
        return self.root / "source" / lesson / f"{lesson}.ipynb"

    def release(self, lesson: str) -> Path:
        """The notebook that students get."""
        return self.root / "release" / lesson / f"{lesson}.ipynb"

    def lessons(self) -> list[str]:
        """Names of all lessons that have a solution script, sorted."""
        return sorted(path.stem for path in self.solutions.glob("*.py") if not path.name.startswith("_"))

    def lesson(self, name: str) -> Lesson:
        """Reads a built lesson; raises GraderError where it does not exist or was not built."""
        if name not in self.lessons():
            known = ", ".join(self.lessons()) or "none"
            raise GraderError(f"no lesson {name!r} in {self.solutions}: known are {known}")
        source, release = (_read(path) for path in (self.source(name), self.release(name)))
        stubs = {_grade_id(cell): _text(cell) for cell in release["cells"] if _grade_id(cell)}
        released = [_text(cell) for cell in release["cells"] if cell["cell_type"] == "code"]
        return Lesson(
            name=name,
            exercises=tuple(
                Exercise(_grade_id(cell), float(cell["metadata"]["nbgrader"]["points"]), stubs[_grade_id(cell)], _text(cell))
                for cell in _exercises(source)
            ),
            written=tuple(_written_answers(source["cells"], stubs)),
            imports=_imports(released),
            suites=self.root / "tests" / name,
            model_cells=tuple(_text(cell) for cell in source["cells"] if cell["cell_type"] == "code"),
            given=_definitions(released) - {_grade_id(cell) for cell in source["cells"]},
        )

    def other_exercises(self, lesson: str) -> dict[str, tuple[str, ...]]:
        """The exercises of all other built lessons: what a notebook handed in by mistake may hold."""
        others = (name for name in self.lessons() if name != lesson and self.source(name).exists())
        return {name: tuple(map(_grade_id, _exercises(_read(self.source(name))))) for name in others}

    def secret(self) -> bytes:
        """The course's secret, from AUTOGRADER_SECRET or `.autograder/secret`, which is made if it is not there."""
        if value := os.environ.get("AUTOGRADER_SECRET"):
            return value.encode()
        path = self.state / "secret"
        if not path.exists() or not path.read_bytes().strip():  # empty: who made it was killed before it was whole
            _make_secret(path)
        return path.read_bytes().strip()


def find_course(start: Path) -> Course:
    """The course whose root is `start` or one of its parents; raises GraderError where there is none."""
    for folder in (start.resolve(), *start.resolve().parents):
        if _is_course(folder):
            return Course(folder)
    raise GraderError(
        f"{start} is not in a course: no nbgrader_config.py beside a solutions/ folder; change to the course's folder, "
        "or make a course with `autograder new LESSON` in an empty one"
    )


def _is_course(folder: Path) -> bool:
    try:
        return (folder / "nbgrader_config.py").exists() and (folder / "solutions").is_dir()
    except PermissionError:  # a parent that is closed to us, or a link into one: not where we could work
        return False


def _make_secret(path: Path) -> None:
    part = path.with_name(f".secret.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and not path.read_bytes().strip():
            path.unlink()
        os.link(part, path)
    except FileExistsError:
        return  # another process was first: its secret is the course's
    except OSError as error:
        raise GraderError(f"{path} cannot be written ({error.strerror}); set AUTOGRADER_SECRET instead") from error
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GraderError(f"{path} is missing; run `autograder build`") from error
    except (OSError, ValueError) as error:
        raise GraderError(f"{path} cannot be read ({error}); run `autograder build`") from error
    return notebook


def _text(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _grade_id(cell: dict[str, Any]) -> str:
    grade_id: str = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
    return grade_id


def _is_answer(cell: dict[str, Any]) -> bool:
    marks = cell["metadata"].get("nbgrader", {})
    return bool(marks.get("grade") and marks.get("solution"))


def _exercises(source: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in source["cells"] if _is_answer(cell) and cell["cell_type"] == "code"]


def _written_answers(cells: list[dict[str, Any]], stubs: dict[str, str]) -> list[Written]:
    found = []
    for before, cell in itertools.pairwise(cells):
        if _is_answer(cell) and cell["cell_type"] == "markdown":
            grade_id = _grade_id(cell)
            points = float(cell["metadata"]["nbgrader"]["points"])
            found.append(Written(grade_id, points, _text(before), stubs[grade_id]))
    return found


def _statements(sources: list[str]) -> list[ast.stmt]:
    return [statement for source in sources for statement in ast.parse(source).body]


def _imports(sources: list[str]) -> dict[str, str]:
    found = {}
    for statement in _statements(sources):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                found[alias.asname or alias.name.split(".")[0]] = ast.unparse(statement)
    return found


def _definitions(sources: list[str]) -> frozenset[str]:
    kinds = ast.FunctionDef | ast.ClassDef
    return frozenset(statement.name for statement in _statements(sources) if isinstance(statement, kinds))
