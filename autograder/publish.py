"""What students get, as a folder to push: notebooks, a README with Colab badges, requirements, the licence.

Enters: a course, lessons that are built, a folder. Leaves: files in that folder, where earlier lessons stay. Nothing is
written before leaks.py has found nothing of answers, hidden tests or the course's secret in what the folder will hold,
files that lay there before included.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions
from pathlib import Path
from urllib.parse import unquote

from autograder.build import COLAB, address, badge, build
from autograder.course import Course, Lesson
from autograder.errors import GraderError
from autograder.leaks import find_leaks
from autograder.requirements import needed
from autograder.standings import max_score
from autograder.whole import write_file

BEGIN, END = "<!-- lessons: written by `autograder publish` -->", "<!-- end of lessons -->"
LINK = re.compile(re.escape(COLAB) + r"/github/([^\s)\"]+)")
PLACEHOLDER = "OWNER/REPO"
IGNORED = ".venv/\n.ipynb_checkpoints/\n__pycache__/\n"

README = """# {name}

{table}

## How to work

**In Colab**, with nothing to install: open a notebook by its badge, then *File → Save a copy in Drive*. Fill in the
exercises, run the checks below them. At the end of each notebook, *Ready to hand in?* says what is still open. Then
*File → Download → Download .ipynb*, and hand in that file.

**On your own machine**, with Python 3.11 or newer:

    git clone https://github.com/{repository}
    cd {name}
    python3 -m venv .venv
    . .venv/bin/activate
    pip install -r requirements.txt
    jupyter lab

You may hand in at any time: each exercise counts for itself.
"""


@dataclass(frozen=True)
class Published:
    """What was put into the folder, and what the instructor should know before it is pushed."""

    written: tuple[Path, ...]
    lessons: tuple[str, ...]  # all that the folder holds now
    warnings: tuple[str, ...]


def publish(course: Course, names: Sequence[str], folder: Path) -> Published:
    """Puts lessons, all if none is named, into a folder beside those that are there; raises GraderError on any leak."""
    names = list(names) or course.lessons()
    _check_folder(course, folder)
    if stale := [str(path.relative_to(course.root)) for built in build(course, names, check=True) for path in built.changed]:
        raise GraderError(f"stale: {', '.join(stale)}; run `autograder build`, look at what it wrote, and publish again")
    there = [name for name in course.lessons() if (folder / _place(course, name)).exists()]
    lessons = [course.lesson(name) for name in course.lessons() if name in names or name in there]
    new = {folder / _place(course, name): course.release(name).read_bytes() for name in names}
    files, remarks = _around(course, lessons, folder)
    new |= files
    if leaks := find_leaks(course, _all_files(folder) | new):
        raise GraderError(f"nothing was published: {'; '.join(leaks[:5])}")
    written = [path for path, data in new.items() if not path.is_file() or path.read_bytes() != data]
    for path in written:
        write_file(path, new[path], "make its folder writable", lasting=False)
    remarks += [*_giving_away(lessons), *_lost_links(course, lessons, new), *_address(course, folder)]
    return Published(tuple(written), tuple(lesson.name for lesson in lessons), tuple(remarks))


def _place(course: Course, name: str) -> Path:
    """Where a notebook lies in the students' repository: where its badge says."""
    return course.release(name).relative_to(course.root)


def _check_folder(course: Course, folder: Path) -> None:
    folder, root = folder.resolve(), course.root.resolve()
    parts = [root / part for part in ("solutions", "source", "release", "tests", "submitted", ".autograder")]
    if folder == root or root.is_relative_to(folder) or any(folder.is_relative_to(part) for part in parts):
        raise GraderError(f"{folder} belongs to the course, with its answers; name a folder of its own, as ../students")
    if folder.exists() and not folder.is_dir():
        raise GraderError(f"{folder} is a file; name a folder")


def _around(course: Course, lessons: Sequence[Lesson], folder: Path) -> tuple[dict[Path, bytes], list[str]]:
    """The files beside the notebooks, and what to say about those that could not be written."""
    text, remarks = _readme(course, lessons, folder / "README.md")
    files = {"README.md": text, "requirements.txt": "\n".join([*_requirements(lessons), "jupyterlab"]) + "\n"}
    if not (folder / ".gitignore").exists():
        files[".gitignore"] = IGNORED
    licence = course.root / "LICENSE"
    if licence.exists():
        files["LICENSE"] = licence.read_text(encoding="utf-8")
    elif not (folder / "LICENSE").exists():
        remarks.append("there is no LICENSE in the course, so there is none in what you publish: nobody may reuse it")
    return {folder / name: text.encode() for name, text in files.items()}, remarks


def _readme(course: Course, lessons: Sequence[Lesson], path: Path) -> tuple[str, list[str]]:
    """A new README, or the one that is there with a new table of lessons between its two marks."""
    table = "\n".join([BEGIN, "", *_table(course, lessons), "", END])
    repository = address(course)["repository"]
    if not path.exists():
        name = repository.rpartition("/")[2]
        return README.format(name=name, table=table, repository=repository), []
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return text, [f"{path} is yours and stays as it is; for a table of lessons put these lines in: {BEGIN} {END}"]
    return before + table + after, []


def _table(course: Course, lessons: Sequence[Lesson]) -> Iterator[str]:
    yield "| lesson | open | exercises | points |"
    yield "| --- | --- | --- | --- |"
    for lesson in lessons:
        written = f" + {len(lesson.written)} in your own words" if lesson.written else ""
        title = f"[{_title(course, lesson.name)}]({_place(course, lesson.name).as_posix()})"
        yield f"| {title} | {badge(course, lesson.name)} | {len(lesson.exercises)}{written} | {max_score(lesson):g} |"


def _title(course: Course, name: str) -> str:
    """The notebook's first heading."""
    for cell in json.loads(course.release(name).read_text(encoding="utf-8"))["cells"]:
        for line in "".join(cell["source"]).splitlines() if cell["cell_type"] == "markdown" else []:
            if line.startswith("# "):
                return line[2:].strip().replace("|", "·")
    return name


def _requirements(lessons: Iterable[Lesson]) -> list[str]:
    """What the notebooks import, with the versions that the kit asks for."""
    roots: set[str] = set()
    for statement in (ast.parse(source).body[0] for lesson in lessons for source in lesson.imports.values()):
        if isinstance(statement, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            roots.add(statement.module.partition(".")[0])
    names, lines = packages_distributions(), _lines_of_the_kit()
    wanted = {names.get(root, [root])[0] for root in roots - sys.stdlib_module_names}
    return sorted(lines.get(name.lower(), name) for name in wanted)


def _lines_of_the_kit() -> dict[str, str]:
    try:
        return needed()
    except PackageNotFoundError:
        return {}


def _all_files(folder: Path) -> dict[Path, bytes]:
    """What lies in the folder already and would be pushed with the rest; git's own files are not."""
    paths = (path for path in sorted(folder.rglob("*")) if ".git" not in path.relative_to(folder).parts)
    return {path: path.read_bytes() for path in paths if path.is_file() and not path.is_symlink()}


def _giving_away(lessons: Sequence[Lesson]) -> Iterator[str]:
    """Lessons that hold, ready to use, what another published one asks for."""
    for giver in lessons:
        for asker in lessons:
            names = [exercise.name for exercise in asker.exercises if exercise.name in giver.given]
            if names and giver is not asker:
                what = f"{giver.name} gives {', '.join(names)} ready to use, which {asker.name} asks for"
                yield f"{what}: push it when {asker.name} has been handed in"


def _lost_links(course: Course, lessons: Sequence[Lesson], files: dict[Path, bytes]) -> Iterator[str]:
    """Colab links of these notebooks that lead to a notebook of this repository which is not in it."""
    repository = address(course)
    start = f"{repository['repository']}/blob/{repository['branch']}/"
    there = {start + _place(course, lesson.name).as_posix() for lesson in lessons}
    for path, data in files.items():
        for link in LINK.findall(data.decode(errors="replace")) if path.suffix == ".ipynb" else []:
            if unquote(link).startswith(start) and unquote(link) not in there:
                yield f"{path.name} links to {link}, which is not published"


def _address(course: Course, folder: Path) -> Iterator[str]:
    """The badges' address against that of the folder's remote, if it has one."""
    repository = address(course)["repository"]
    if repository == PLACEHOLDER:
        yield f"the badges lead nowhere: put your students' repository for {PLACEHOLDER} in pyproject.toml, and build"
        return
    command = ["git", "-C", str(folder), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - git, and no shell
    except OSError:
        return  # no git here
    origin = done.stdout.strip().removesuffix(".git").replace(":", "/")
    if (folder / ".git").exists() and origin and not origin.lower().endswith("/" + repository.lower()):
        yield f"the badges lead to {repository}, and this folder is pushed to {done.stdout.strip()}; correct pyproject.toml"
