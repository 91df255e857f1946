"""What the suites cost by themselves: a lesson's floor, and what running a test adds to its function.

python -m benchmarks.suites
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch

from autograder.course import Course
from autograder.fixtures import Case
from autograder.reference import load_reference
from autograder.suite import Suite
from benchmarks.contenders import LESSON, ROOT
from benchmarks.rows import Row, keep, report

RECORD = Path(__file__).parent / "suites.json"
TESTS = 300  # of each kind, to tell what one costs
TRIVIAL = """import pytest
from autograder.checking import covers, close

@covers(1)
@pytest.mark.parametrize("number", range({tests}))
def test_trivial(student, reference, inputs, number):
    \"\"\"a sentence\"\"\"
    close(student.one(), [1.0], hint="make it one")
"""


def floor(name: str, repeats: int = 7) -> float:
    """Seconds of CPU that a lesson's whole suite takes in a warm process, the reference as the student."""
    lesson = Course(ROOT).lesson(name)
    reference = load_reference(lesson)
    case, times = Case(reference, reference, lambda test: b"seed of all tests"), []
    with Suite(lesson) as suite:
        for _ in range(repeats + 1):  # the first one warms up
            started = time.process_time()
            for exercise in lesson.exercises:
                suite.run(exercise.name, case)
            times.append(time.process_time() - started)
    return statistics.median(times[1:])


def overhead(repeats: int = 5) -> tuple[float, float]:
    """Seconds of CPU for a trivial test that passes, and for one that fails, its message made."""
    answers = SimpleNamespace(one=lambda: torch.ones(1)), SimpleNamespace(one=lambda: torch.zeros(1))
    with tempfile.TemporaryDirectory() as folder:
        exercise = Course(ROOT).lesson(LESSON).exercises[0]
        lesson = replace(Course(ROOT).lesson(LESSON), exercises=(exercise,), suites=Path(folder) / "trivial")
        lesson.suites.mkdir()
        (lesson.suites / f"test_{exercise.name}.py").write_text(TRIVIAL.format(tests=TESTS))
        with Suite(lesson) as suite:
            found = []
            for answer in answers:
                case, times = Case(answer, answers[0], lambda test: b"seed of all tests"), []
                for _ in range(repeats + 1):
                    started = time.process_time()
                    outcomes = suite.run(exercise.name, case)
                    times.append((time.process_time() - started) / len(outcomes))
                found.append(statistics.median(times[1:]))
    return found[0], found[1]


def main() -> None:
    """Prints both, with what is promised, and keeps them."""
    torch.set_num_threads(1)
    rows = [Row(f"the suite of {name}", floor(name) * 1e3, 150, "ms") for name in Course(ROOT).lessons()]
    passing, failing = overhead()
    rows.append(Row("pytest's overhead on a test that passes", passing * 1e3, 0.35, "ms"))
    rows.append(Row("on one that fails, message and second run included", failing * 1e3, 1.5, "ms"))
    keep(RECORD, None, rows)
    sys.exit(report(rows))


if __name__ == "__main__":
    main()
