"""The same lesson and the same checks, graded by what a user could take instead; each as a class in a folder of its own.

    autograder  `autograder grade`: box, border, suites, results, gradebook
    pytest      one cold `pytest tests/<lesson> --submission FILE` for each submission, in the box too
    nbgrader    plain `nbgrader autograde` with its own Execute; the checks stand in the notebook's cells; no box
    otter       `otter run`, without a container; the checks are its tests. Left out where otter-grader is not installed

Cost is CPU time of all processes, those of the box included, and wall time beside it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from autograder.course import Course, find_course

ROOT = find_course(Path(__file__).parent).root
LESSON = "attention_from_scratch"
OTTER = ROOT / ".venv" / "otter"  # where `make bench` installs it, apart from everything else
PR_SET_CHILD_SUBREAPER = 36
CHECK = """import sys
sys.path.insert(0, {root!r})
from types import SimpleNamespace
from pathlib import Path
from autograder.course import Course
from autograder.reference import load_reference
from benchmarks import checks
_lesson = Course(Path({root!r})).lesson({lesson!r})
_ = checks.run(_lesson, {exercise!r}, SimpleNamespace(**globals()), load_reference(_lesson))
"""
COMMAND = "from autograder.cli import main; main()"


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU (all processes) and of wall time."""

    cpu_s: float
    wall_s: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu_s - other.cpu_s, self.wall_s - other.wall_s)

    def __truediv__(self, number: float) -> Cost:
        return Cost(self.cpu_s / number, self.wall_s / number)


def cost_of(commands: list[list[str]], folder: Path) -> Cost:
    """Runs commands to their ends, one after another; raises CalledProcessError where one fails."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # bubblewrap does not wait for what it starts: then we do
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    modules = os.pathsep.join([str(ROOT), str(OTTER)])
    environment = {**os.environ, "PYTHONPATH": modules, "PATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second run finds everything compiled, for each contender
    for command in commands:
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S603
    wall_s = time.perf_counter() - started
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s)


def measure(make: Callable[[Path, int], list[list[str]]], students: int) -> Cost:
    """The cost of grading a class of this size in a fresh course."""
    folder = Path(tempfile.mkdtemp())
    try:
        return cost_of(make(folder, students), folder)
    finally:
        shutil.rmtree(folder)


def solved() -> nbformat.NotebookNode:
    """A student's notebook with all answers right."""
    course = Course(ROOT)
    models = {exercise.name: exercise.model for exercise in course.lesson(LESSON).exercises}
    notebook = nbformat.read(course.release(LESSON), as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        cell.source = models.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""), cell.source)
    return notebook


def hand_in(folder: Path, students: int) -> list[Path]:
    """A course like this one with a class in `submitted/`; the notebooks."""
    for name in ("nbgrader_config.py", "pyproject.toml", "solutions", "source", "release", "tests"):
        (folder / name).symlink_to(ROOT / name)
    text, paths = json.dumps(solved()), []
    for number in range(students):
        paths.append(folder / "submitted" / f"s{number:05}" / LESSON / f"{LESSON}.ipynb")
        paths[-1].parent.mkdir(parents=True)
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def grade(*options: str) -> list[str]:
    """The command that grades what is handed in."""
    return [sys.executable, "-P", "-c", COMMAND, "grade", "submitted", "--lesson", LESSON, "--device", "cpu", *options]


def autograder(folder: Path, students: int) -> list[list[str]]:
    """This engine, with one job process."""
    hand_in(folder, students)
    return [grade("--jobs", "1")]


def cold_pytest(folder: Path, students: int) -> list[list[str]]:
    """The same suites by hand, a process for each submission."""
    run = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    run += [str(ROOT / "tests" / LESSON), "--device", "cpu", "--submission"]
    return [[*run, str(path)] for path in hand_in(folder, students)]


def nbgrader(folder: Path, students: int) -> list[list[str]]:
    """Plain nbgrader: each exercise is followed by a cell with its checks."""
    notebook = solved()
    ids = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
    for exercise in reversed(Course(ROOT).lesson(LESSON).exercises):
        at = ids.index(exercise.name)
        notebook.cells[at].metadata["nbgrader"].update(grade=False)
        notebook.cells[at].metadata["nbgrader"].pop("points")
        cell = new_code_cell(CHECK.format(root=str(ROOT), lesson=LESSON, exercise=exercise.name))  # type: ignore[no-untyped-call]
        cell.metadata["nbgrader"] = {
            "cell_type": "code", "grade": True, "grade_id": f"points_{exercise.name}", "locked": True,
            "points": exercise.points, "schema_version": 3, "solution": False, "task": False,
        }  # fmt: skip
        notebook.cells.insert(at + 1, cell)
    (folder / "nbgrader_config.py").write_text("c = get_config()\nc.ClearSolutions.enforce_metadata = False\n")
    for place in (folder / "source" / LESSON, *(folder / "submitted" / f"s{n:05}" / LESSON for n in range(students))):
        place.mkdir(parents=True)
        nbformat.write(notebook, place / f"{LESSON}.ipynb")  # type: ignore[no-untyped-call]
    run = [sys.executable, "-m", "nbgrader"]
    cost_of([[*run, "generate_assignment", LESSON, "--create"]], folder)
    return [[*run, "autograde", LESSON, "--create"]]


def otter(folder: Path, students: int) -> list[list[str]]:
    """otter without a container: each exercise is a test with one case."""
    (folder / "checks").mkdir()
    for exercise in Course(ROOT).lesson(LESSON).exercises:
        code = CHECK.format(root=str(ROOT), lesson=LESSON, exercise=exercise.name).strip()
        case = {"code": "".join(f">>> {line}\n" for line in code.splitlines()), "hidden": False, "locked": False}
        suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
        test = {"name": exercise.name, "points": exercise.points, "suites": [suite]}
        (folder / "checks" / f"{exercise.name}.py").write_text(f"OK_FORMAT = True\n\ntest = {test!r}\n")
    run = [sys.executable, "-m", "otter"]
    cost_of([[*run, "generate", "-t", "checks", "-o", "grader.zip"]], folder)
    (folder / "out").mkdir()
    return [[*run, "run", "--no-logo", "-a", "grader.zip", "-o", "out", str(path)] for path in hand_in(folder, students)]
