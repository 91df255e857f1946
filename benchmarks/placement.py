"""What the placement check adds to a submission: CPU time with it and without it, in turn, grader and box together.

    python -m benchmarks.placement [--rounds 7] [--each 5]

The model's notebook is graded, which meets every check and stops at none. The box is `landlock`: there the zygote is a
child of this process, and the kernel adds up what its own children have used.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autograder.collection import Submission
from autograder.course import Course
from autograder.grader import Grader
from benchmarks.contenders import ROOT

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def used_s(zygote: int) -> float:
    """CPU seconds of this process, the zygote and all children that it had."""
    times = Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()[11:15]
    return time.process_time() + sum(map(int, times)) * TICK_S


@contextmanager
def unchecked() -> Iterator[None]:
    """Takes the placement check out of every suite that is loaded."""
    places = [module for module in list(sys.modules.values()) if "check_placement" in getattr(module, "__dict__", {})]
    assert len(places) > 2, "no suite checks placement"
    checks: list[Callable[..., Any]] = [vars(module)["check_placement"] for module in places]
    try:
        for module in places:
            vars(module)["check_placement"] = lambda *args, **kwargs: None
        yield
    finally:
        for module, check in zip(places, checks, strict=True):
            vars(module)["check_placement"] = check


def measured(name: str, rounds: int, each: int) -> tuple[float, float]:
    """Seconds of CPU for one submission of a lesson without the check and with it, the least of all rounds.

    Others on the machine make CPU time longer, never shorter.
    """
    course = Course(ROOT)
    with Grader(course, course.lesson(name), box="landlock", secret=b"benchmark") as grader:
        submission, zygote = Submission("model", course.source(name)), grader.workshop.sandbox._process.pid

        def cost() -> float:
            started = used_s(zygote)
            for _ in range(each):
                result = grader.grade(submission).result
                assert result.score == result.max_score
            return (used_s(zygote) - started) / each

        def cost_without() -> float:
            with unchecked():
                return cost()

        cost()  # warms up
        found: dict[Callable[[], float], list[float]] = {cost_without: [], cost: []}
        for number in range(rounds):
            for measure in (cost_without, cost) if number % 2 else (cost, cost_without):
                found[measure].append(measure())
    return min(found[cost_without]), min(found[cost])


def main() -> None:
    """Prints both for each lesson."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--each", type=int, default=5, help="submissions between two looks at the clock")
    chosen = parser.parse_args()
    for name in Course(ROOT).lessons():
        without, with_it = measured(name, chosen.rounds, chosen.each)
        more = with_it / without - 1
        print(f"{name:26} {without * 1e3:5.0f} ms without, {with_it * 1e3:5.0f} ms with it: {more:+.1%}", flush=True)


if __name__ == "__main__":
    main()
