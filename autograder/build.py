"""A lesson's script becomes the notebook that nbgrader reads and the one that students get.

    solutions/<lesson>.py  --jupytext-->  source/<lesson>/<lesson>.ipynb  --nbgrader-->  release/<lesson>/<lesson>.ipynb

Enters: a course and names of lessons. Leaves: files, the same bytes for the same script on every machine. Both
notebooks are made in memory and moved into place when both are right, so a script that is broken changes nothing.
The release comes from the steps of `nbgrader generate_assignment` in its own order, all but the one that writes
to the gradebook. Must not run a lesson's code.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveCells
from traitlets.config import Config

from autograder.course import Course
from autograder.errors import GraderError
from autograder.whole import write_file

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
INCLUDE = re.compile(r"^(?:# )?include: (\S+)$", re.MULTILINE)  # jupytext has taken the "# " off a Markdown cell
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # included code is for use, not for reading
COLAB = "https://colab.research.google.com"


@dataclass(frozen=True)
class Built:
    """One lesson's notebooks, and which of the two files were written (or, with `check`, are stale)."""

    lesson: str
    source: Path
    release: Path
    changed: tuple[Path, ...]


def build(course: Course, lessons: Sequence[str] = (), check: bool = False) -> list[Built]:
    """Builds the lessons named, all if none is; with `check` nothing is written and `changed` names what is stale.

    Raises GraderError where a script is missing or broken; then nothing of any lesson has been written.
    """
    names = list(lessons) or course.lessons()
    texts = {name: _notebook_texts(course, name) for name in names}
    return [_place(course, name, *texts[name], check=check) for name in names]


def nbgrader_settings() -> dict[str, dict[str, Any]]:
    """nbgrader's options that shape a release, for `c.merge(Config(nbgrader_settings()))` in nbgrader_config.py."""
    return {
        "ClearSolutions": {
            "code_stub": {"python": "# Your code here, in place of the line below.\nraise NotImplementedError"},
            "text_stub": "*Your answer here, in place of this line.*",
        }
    }


def _notebook_texts(course: Course, lesson: str) -> tuple[str, str]:
    """The bytes, as text, of a lesson's source and release notebooks."""
    script = course.solutions / f"{lesson}.py"
    try:
        notebook = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    except FileNotFoundError as error:
        known = ", ".join(course.lessons()) or "none"
        raise GraderError(f"{script} does not exist, so there is no lesson {lesson!r}; known are: {known}") from error
    except (OSError, ValueError) as error:
        raise GraderError(f"{script} cannot be read as a percent script ({error}); mend it and build again") from error
    source = _source(notebook, course, script)
    return _dumps(source), _dumps(_release(source, script))


def _source(notebook: NotebookNode, course: Course, script: Path) -> NotebookNode:
    """The solved notebook: includes put in, cells named, metadata down to what every machine agrees on."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and INCLUDE.fullmatch(cell.source.strip()):
            cell.metadata.update(FOLDED)
        cell.source = INCLUDE.sub(lambda match: _included(match[1], course, script), cell.source)
    _check_exercises(notebook, script)
    for cell, cell_id in zip(notebook.cells, cell_ids(notebook.cells), strict=True):
        cell.id = cell_id
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _release(source: NotebookNode, script: Path) -> NotebookNode:
    """What nbgrader makes of a source notebook for students."""
    exporter = NotebookExporter(config=Config(nbgrader_settings() | {"Exporter": {"default_preprocessors": []}}))
    for step in GenerateAssignment(coursedir=CourseDirectory()).preprocessors:
        if step is not SaveCells:  # the gradebook belongs to nbgrader's own commands
            exporter.register_preprocessor(step, enabled=True)
    resources = {"nbgrader": {"assignment": script.stem, "notebook": script.stem, "student": "."}}
    try:
        text, _ = exporter.from_notebook_node(source, resources=resources)
    except Exception as error:  # nbgrader raises RuntimeError, ValueError and its own: all mean the script is wrong
        raise GraderError(f"{script}: nbgrader cannot make a release of it ({error}); mend that cell") from error
    release: NotebookNode = nbformat.reads(text, as_version=4)
    return release


def _included(name: str, course: Course, script: Path) -> str:
    """What an `include:` line stands for: the Colab badge, or a file beside the script."""
    if name == "badge":
        return badge(course, script.stem)
    try:
        return (script.parent / name).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise GraderError(f"{script} includes {name}, which cannot be read ({error.strerror}); rename it") from error


def badge(course: Course, lesson: str) -> str:
    """The link that opens a release in Colab."""
    where = address(course)
    path = f"{where['repository']}/blob/{where['branch']}/release/{lesson}/{lesson}.ipynb"
    return f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/github/{path})"


def address(course: Course) -> dict[str, str]:
    """`repository` and `branch` of what students get: pyproject.toml says it and nothing else does."""
    settings = course.root / "pyproject.toml"
    try:
        found = tomllib.loads(settings.read_text(encoding="utf-8"))["tool"]["autograder"]
        return {"repository": str(found["repository"]), "branch": str(found["branch"])}
    except (OSError, KeyError, ValueError) as error:
        wanted = '[tool.autograder] with repository = "OWNER/REPO" and branch = "main"'
        raise GraderError(f"{settings} does not say where releases are published; add {wanted}") from error


def _check_exercises(notebook: NotebookNode, script: Path) -> None:
    """Raises GraderError for an answer that nbgrader would clear together with its signature, or let through."""
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        grade_id, has_region = marks.get("grade_id"), "### BEGIN SOLUTION" in cell.source
        if marks.get("solution") and not has_region:
            raise GraderError(f"{script}: {grade_id} has no ### BEGIN SOLUTION region; mark its model answer")
        if has_region and not marks.get("solution"):
            first = cell.source.splitlines()[0]
            raise GraderError(f"{script}: the cell {first!r} has a solution region but no nbgrader metadata; add them")


def cell_ids(cells: Sequence[NotebookNode]) -> list[str]:
    """The grade id, else a hash of the text: an edit renames one cell only, and every rebuild gives the same."""
    seen: Counter[str] = Counter()
    ids = []
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        name = cell.metadata.get("nbgrader", {}).get("grade_id") or digest
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return ids


def _dumps(notebook: NotebookNode) -> str:
    text: str = nbformat.writes(notebook, version=4)
    return text.rstrip("\n") + "\n"


def _place(course: Course, lesson: str, source: str, release: str, *, check: bool) -> Built:
    """Writes those of a lesson's two files that differ from what was built."""
    files = {course.source(lesson): source, course.release(lesson): release}
    changed = tuple(path for path, text in files.items() if not _same(path, text))
    for path in () if check else changed:
        write_file(path, files[path].encode(), "make its folder writable", lasting=False)
    return Built(lesson, course.source(lesson), course.release(lesson), changed)


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
