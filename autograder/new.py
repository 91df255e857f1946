"""A lesson to start from, and a course around it where there is none yet.

Enters: a folder and a name. Leaves: files under `solutions/` and `tests/<lesson>/`, copied from `templates/`, which build,
grade and prove as they are. Writes over nothing: what is there already is named, and nothing is written at all.
"""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from autograder.course import Course, find_course
from autograder.errors import GraderError
from autograder.whole import write_file

NAME = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = frozenset(("engine", "tests", "source", "release", "solutions"))
COURSE = {
    "nbgrader_config.py": "nbgrader_config.py",
    "pyproject.toml": "pyproject.toml",
    "gitignore": ".gitignore",
    "_toolbox.py": "solutions/_toolbox.py",
}
HARMLESS = frozenset((".git", ".venv", ".gitignore", ".gitattributes", "README.md", "LICENSE", ".DS_Store"))


def new_lesson(start: Path, name: str) -> tuple[Course, list[Path]]:
    """Writes a lesson into the course of `start`, or into a new course there; returns the course and the files written.

    Raises GraderError where the name cannot be a lesson's, a file is there already, or the folder is not free.
    """
    _check_name(name)
    root, course_files = _course_at(start)
    new = {root / path: text for path, text in [*course_files, *_lesson_files(name)]}
    taken = [path for path in new if path.exists() and path.name not in HARMLESS]
    if taken:
        raise GraderError(f"{taken[0]} is there already, and `new` writes over nothing; choose another name")
    written = [path for path in new if not path.exists()]
    for path in written:
        write_file(path, new[path].encode(), "make its folder writable", lasting=False)
    return Course(root), written


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name in RESERVED:
        why = f"{name!r} cannot be a lesson's name: it names files, folders and a Python module"
        raise GraderError(f"{why}; take small letters, digits and _, as in my_lesson")


def _course_at(start: Path) -> tuple[Path, list[tuple[str, str]]]:
    """The root of the course that the lesson goes to, and the files of that course that are still to be written."""
    try:
        root = find_course(start).root
    except GraderError:
        return start, _new_course(start)
    toolbox = [] if (root / "solutions" / "_toolbox.py").exists() else ["_toolbox.py"]
    return root, [(COURSE[name], _read(_templates() / "new_course" / name)) for name in toolbox]


def _new_course(start: Path) -> list[tuple[str, str]]:
    others = sorted(path.name for path in start.iterdir() if path.name not in HARMLESS)
    if others:
        shown = ", ".join(others[:3])
        raise GraderError(
            f"{start} is neither in a course nor empty ({shown}); change to your course, or to an empty folder for a new one"
        )
    return [(place, _read(_templates() / "new_course" / name)) for name, place in COURSE.items()]


def _lesson_files(name: str) -> list[tuple[str, str]]:
    """The lesson's files, from the root of the course, with its name in place of the template's."""
    title = name.replace("_", " ").capitalize()
    found = []
    for file in (_templates() / "new_lesson").iterdir():
        if file.name.endswith((".py", ".toml")):
            place = f"solutions/{name}.py" if file.name == "lesson.py" else f"tests/{name}/{file.name}"
            found.append((place, _read(file).replace("# My lesson", f"# {title}")))
    return sorted(found)


def _templates() -> Traversable:
    return files("autograder") / "templates"


def _read(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")
