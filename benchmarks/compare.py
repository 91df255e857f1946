"""`make bench`: what a further submission costs here, in plain nbgrader, and at the floor, interleaved in one run.

    floor      the lesson's hidden checks, called directly in one warm process: their mathematics and nothing else
    autograder `autograder grade`: box, border, suites, results, gradebook
    nbgrader   plain `nbgrader autograde` with its own Execute; the same checks stand in the notebook's cells

CPU time of all processes is compared, since it does not depend on what else the machine does; wall time is beside it. A
further submission costs (many - one) / (number - 1), so start-up is left out; that of a class of one is its own line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import torch
from nbformat.v4 import new_code_cell

from autograder.course import Course, find_course
from autograder.reference import load_reference
from benchmarks import checks

ROOT = find_course(Path(__file__).parent).root
LESSON = "attention_from_scratch"
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


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU (all processes) and of wall time."""

    cpu_s: float
    wall_s: float


def cost_of(command: list[str], folder: Path) -> Cost:
    """Runs a command to its end; raises CalledProcessError where it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu_s, time.perf_counter() - started)


def floor(repeats: int = 5) -> float:
    """Seconds of CPU that the checks take with the reference as the student; the median of some runs."""
    lesson = Course(ROOT).lesson(LESSON)
    reference = load_reference(lesson)
    collected = [each for exercise in lesson.exercises for each in checks.checks(lesson, exercise.name)]
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        started = time.process_time()
        for name, function, given in collected:
            checks.call(name, function, given, lesson, reference, reference)
        times.append(time.process_time() - started)
    return statistics.median(times[1:])


def solved(course: Course) -> nbformat.NotebookNode:
    """A student's notebook with all answers right."""
    models = {exercise.name: exercise.model for exercise in course.lesson(LESSON).exercises}
    notebook = nbformat.read(course.release(LESSON), as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        cell.source = models.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""), cell.source)
    return notebook


def our_class(folder: Path, students: int) -> list[str]:
    """Makes a course with a class in it; the command that grades it."""
    course = Course(ROOT)
    for name in ("nbgrader_config.py", "pyproject.toml", "solutions", "source", "release", "tests"):
        (folder / name).symlink_to(ROOT / name)
    text = json.dumps(solved(course))
    for number in range(students):
        place = folder / "submitted" / f"s{number:03}" / LESSON
        place.mkdir(parents=True)
        (place / f"{LESSON}.ipynb").write_text(text, encoding="utf-8")
    grade = "from autograder.cli import main; main()"
    return [sys.executable, "-c", grade, "grade", "submitted", "--lesson", LESSON, "--device", "cpu"]


def nbgraders_class(folder: Path, students: int) -> list[str]:
    """The same class for plain nbgrader: each exercise is followed by a cell with its checks."""
    course = Course(ROOT)
    notebook = solved(course)
    for exercise in reversed(course.lesson(LESSON).exercises):
        at = next(i for i, c in enumerate(notebook.cells) if c.metadata.get("nbgrader", {}).get("grade_id") == exercise.name)
        notebook.cells[at].metadata["nbgrader"].update(grade=False)
        notebook.cells[at].metadata["nbgrader"].pop("points")
        cell = new_code_cell(CHECK.format(root=str(ROOT), lesson=LESSON, exercise=exercise.name))  # type: ignore[no-untyped-call]
        cell.metadata["nbgrader"] = {
            "cell_type": "code", "grade": True, "grade_id": f"points_{exercise.name}", "locked": True,
            "points": exercise.points, "schema_version": 3, "solution": False, "task": False,
        }  # fmt: skip
        notebook.cells.insert(at + 1, cell)
    (folder / "nbgrader_config.py").write_text("c = get_config()\nc.ClearSolutions.enforce_metadata = False\n")
    for place in (folder / "source" / LESSON, *(folder / "submitted" / f"s{n:03}" / LESSON for n in range(students))):
        place.mkdir(parents=True)
        nbformat.write(notebook, place / f"{LESSON}.ipynb")  # type: ignore[no-untyped-call]
    cost_of([sys.executable, "-m", "nbgrader", "generate_assignment", LESSON, "--create"], folder)
    return [sys.executable, "-m", "nbgrader", "autograde", LESSON, "--create"]


def measure(make: Callable[[Path, int], list[str]], students: int) -> Cost:
    """The cost of grading a class of this size in a fresh course."""
    folder = Path(tempfile.mkdtemp())
    try:
        command = make(folder, students)
        return cost_of(command, folder)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measures and prints the table; exits with 1 where a bound that the project states does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--students", type=int, default=11, help="size of our class; nbgrader's is a third of it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    theirs_n = max(options.students // 3, 2)
    rows = []
    for number in range(options.rounds):
        ours = measure(our_class, 1), measure(our_class, options.students)
        theirs = measure(nbgraders_class, 1), measure(nbgraders_class, theirs_n)
        rows.append((floor(), further(*ours, options.students), further(*theirs, theirs_n), ours[0], theirs[0]))
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    sys.exit(report(rows))


def further(one: Cost, many: Cost, students: int) -> Cost:
    """What each further submission costs."""
    return Cost((many.cpu_s - one.cpu_s) / (students - 1), (many.wall_s - one.wall_s) / (students - 1))


def report(rows: list[tuple[float, Cost, Cost, Cost, Cost]]) -> int:
    """Prints medians; 1 where a further submission costs over 6 floors, or over a fifth of nbgrader's."""
    base = statistics.median(row[0] for row in rows)
    print(f"{'':34}{'CPU ms':>9}{'floors':>9}{'wall ms':>9}")
    print(f"{'floor: the checks, warm':34}{base * 1e3:9.0f}{1:9.1f}")
    for at, name in enumerate(("autograder, a further one", "nbgrader, a further one", "autograder, class of one", "nbgrader, class of one"), 1):
        costs = [row[at] for row in rows]
        cpu, wall = (statistics.median(getattr(cost, what) for cost in costs) for what in ("cpu_s", "wall_s"))
        print(f"{name:34}{cpu * 1e3:9.0f}{cpu / base:9.1f}{wall * 1e3:9.0f}")
    floors = statistics.median(row[1].cpu_s / row[0] for row in rows)
    times = statistics.median(row[2].cpu_s / row[1].cpu_s for row in rows)
    print(f"a further submission: {floors:.1f} floors (at most 6), {times:.1f} times less than nbgrader (at least 5)")
    return int(floors > 6 or times < 5)


if __name__ == "__main__":
    main()
