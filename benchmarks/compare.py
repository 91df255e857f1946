"""`make bench`: what a further submission costs here, elsewhere, and at the floor, interleaved in one run.

The floor is the lesson's hidden checks, called directly in one warm process: their mathematics and nothing else. CPU time
of all processes is compared, since it does not depend on what else the machine does; wall time is beside it. A further
submission costs (many - one) / (number - 1), so start-up is left out; that of a class of one is its own line.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

from autograder.course import Course
from autograder.reference import load_reference
from benchmarks import checks, contenders
from benchmarks.contenders import LESSON, OTTER, ROOT, Cost, measure
from benchmarks.rows import Row, keep, report

RECORD = Path(__file__).parent / "compare.json"
ONE = "autograder, class of one"


def floor(name: str, repeats: int = 5) -> float:
    """Seconds of CPU that a lesson's checks take with the reference as the student; the median of some runs."""
    lesson = Course(ROOT).lesson(name)
    reference = load_reference(lesson)
    collected = [each for exercise in lesson.exercises for each in checks.checks(lesson, exercise.name)]
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        started = time.process_time()
        for check, function, given in collected:
            checks.call(check, function, given, lesson, reference, reference)
        times.append(time.process_time() - started)
    return statistics.median(times[1:])


def round_of(students: int) -> dict[str, Cost]:
    """One interleaved round: the cost of a class of one, and of a further submission, for each contender.

    The floor is looked at before, between and after our own runs: it takes a second, and a machine has slow minutes.
    """
    names = ["autograder", "nbgrader", "cold_pytest", *(["otter"] if OTTER.is_dir() else [])]
    costs, floors = dict[str, Cost](), [floor(LESSON)]

    def run(name: str, size: int) -> Cost:
        cost = measure(getattr(contenders, name), size)
        if name == "autograder":
            floors.append(floor(LESSON))
        return cost

    for name in names:
        number = students if name == "autograder" else 2
        one, many = run(name, 1), run(name, number)
        costs[f"{name}, class of one"], costs[f"{name}, a further one"] = one, (many - one) / (number - 1)
    return {"floor": Cost(statistics.mean(floors), 0.0), **costs}


def main() -> None:
    """Measures, prints the table and keeps it; exits with 1 where a bound that the project states does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--students", type=int, default=21, help="size of our class; the others' is 2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure(contenders.autograder, 1)  # compiles what is imported; the others are compiled
    rounds = []
    for number in range(options.rounds):
        rounds.append(round_of(options.students))
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    medians = {name: median([one[name] for one in rounds]) for name in rounds[0]}
    show(medians)
    rows = promised(rounds)
    keep(RECORD, {name: [cost.cpu_s, cost.wall_s] for name, cost in medians.items()}, rows)
    sys.exit(report(rows))


def median(costs: list[Cost]) -> Cost:
    """CPU and wall, each by itself."""
    return Cost(statistics.median(cost.cpu_s for cost in costs), statistics.median(cost.wall_s for cost in costs))


def show(medians: dict[str, Cost]) -> None:
    """Prints what each contender costs."""
    base = medians["floor"].cpu_s
    print(f"{'':30}{'CPU ms':>9}{'floors':>9}{'wall ms':>9}")
    for name, cost in medians.items():
        print(f"{name:30}{cost.cpu_s * 1e3:9.0f}{cost.cpu_s / base:9.1f}{cost.wall_s * 1e3:9.0f}")


def promised(rounds: list[dict[str, Cost]]) -> list[Row]:
    """Each promise with the median of the rounds' own ratios: what is slow for all in one round counts for none."""
    ours = "autograder, a further one"

    def ratio(above: str, below: str, part: str = "cpu_s") -> float:
        return statistics.median(getattr(one[above], part) / getattr(one[below], part) for one in rounds)

    rows = [
        Row("a further submission, in floors of CPU", ratio(ours, "floor"), 3.5),
        Row("nbgrader's CPU for one, in ours", ratio("nbgrader, a further one", ours), 10, at_least=True),
        Row("cold pytest's CPU for one, in ours", ratio("cold_pytest, a further one", ours), 1, at_least=True),
        Row("a class of one, in nbgrader's wall time", ratio(ONE, "nbgrader, class of one", "wall_s"), 0.6),
        Row("a class of one, in nbgrader's CPU", ratio(ONE, "nbgrader, class of one"), 0.6),
    ]
    if "otter, a further one" in rounds[0]:
        rows.insert(2, Row("otter's CPU for one, in ours", ratio("otter, a further one", ours), 20, at_least=True))
    return rows


if __name__ == "__main__":
    main()
