"""Proves hidden suites both ways: what is right passes, what is wrong does not.

Enters: a lesson with its model answers, `alternatives.py`, `misconceptions.py` and `samples.py`. Leaves: a `Proof` for
each exercise. Right answers must pass every test, whatever the seed; nonsense earns next to nothing; each
misconception fails the test that is named for it; each mutant of the model answer fails some test, or is equivalent: no
difference on a thousand random inputs. All of these run in this process, as plain functions; `longway.py` takes a
sample from notebooks to grades.

Work is spread over processes by exercise. A mutant may loop for ever or ask for all memory, so each has a deadline, and
the processes a limit.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from autograder.course import Course, Exercise
from autograder.diagnosis import beside
from autograder.mutation import Effort, mutate
from autograder.nonsense import nonsense
from autograder.promises import broken_promises
from autograder.safetext import MESSAGE_LIMIT, markup
from autograder.score import score_exercise
from autograder.workbench import Bench, bench

MAY_EARN = 0.05  # share of an exercise that nonsense may get
MEMORY_BYTES = 6 << 30


@dataclass(frozen=True)
class Proof:
    """What was tried on the suite of one exercise, and what did not hold."""

    lesson: str
    exercise: str
    tests: int
    right: int  # right answers, the model's included
    wrong: int  # misconceptions
    nonsense: float  # largest share of the exercise that nonsense earned
    killed: int
    equivalent: tuple[str, ...]  # what was changed in mutants that differ nowhere
    survivors: tuple[str, ...]  # diffs of mutants that differ, and that no test noticed
    problems: tuple[str, ...]  # everything else that did not hold
    seconds: float

    @property
    def different(self) -> int:
        """How many mutants are not equivalent."""
        return self.killed + len(self.survivors)

    @property
    def holds(self) -> bool:
        """Is the suite proved?"""
        return not self.survivors and not self.problems


def prove_course(
    course: Course, lessons: Sequence[str], effort: Effort, jobs: int, box: str | None, console: Console
) -> bool:
    """Proves lessons and shows a table; `box` is where a sample goes the long way, None for nowhere."""
    proofs = list(prove(course, lessons, effort, jobs))
    untold = [f"{name}, {problem}" for name in lessons for problem in broken_promises(course, name)]
    for name in lessons:
        console.print(_table(name, [proof for proof in proofs if proof.lesson == name]))
    problems = untold + [f"{proof.exercise}: {problem}" for proof in proofs for problem in proof.problems]
    from autograder.longway import through_the_box  # the processes that prove need no box

    problems += [f"{proof.exercise}: a mutant survives:\n{diff}" for proof in proofs for diff in proof.survivors]
    for name in lessons if box else ():
        found = through_the_box(course, name, box or "")
        console.print(f"{name}: {found.notebooks} notebooks graded in the box", highlight=False)
        problems += [f"{name}, in the box: {problem}" for problem in found.problems]
    for problem in problems:
        console.print(f"[red]does not hold[/] {markup(problem, MESSAGE_LIMIT)}", soft_wrap=True, highlight=False)
    killed, all_of_them = sum(proof.killed for proof in proofs), sum(proof.different for proof in proofs)
    console.print(f"mutants killed: {killed} of {all_of_them} that differ; problems: {len(problems)}", highlight=False)
    return not problems


def prove(course: Course, lessons: Sequence[str], effort: Effort, jobs: int) -> Iterator[Proof]:
    """Proves all exercises of these lessons, in their order; longest work is not known, so each is a task."""
    tasks = [(course.root, name, each.name, effort) for name in lessons for each in course.lesson(name).exercises]
    context = multiprocessing.get_context("spawn")  # a fork would take over torch's threads
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_confine) as pool:
        yield from pool.map(prove_exercise, *zip(*tasks, strict=True))


def _table(lesson: str, proofs: Sequence[Proof]) -> Table:
    rows = Table("", title=lesson, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("tests", "right", "wrong", "nonsense", "killed", "equal", "s"):
        rows.add_column(heading, justify="right")
    rows.columns[0].no_wrap = True
    for proof in proofs:
        rows.add_row(*_row(proof))
    return rows


def _row(proof: Proof) -> list[str]:
    held = f"{proof.killed}/{proof.different}"
    numbers = [proof.tests, proof.right, proof.wrong, f"{proof.nonsense:.0%}", held, len(proof.equivalent)]
    mark = "✔" if proof.holds else "✘"
    return [f"{mark} {proof.exercise}", *map(str, numbers), f"{proof.seconds:.0f}"]


def prove_exercise(root: Path, lesson: str, exercise: str, effort: Effort) -> Proof:
    """Tries everything on the suite of one exercise, in this process."""
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ready = bench(root, lesson)
        task = next(each for each in ready.lesson.exercises if each.name == exercise)
        problems = [*failing_right(ready, exercise, effort.seeds), *uncaught(ready, exercise)]
        earned = {kind: _earned(ready, task, answers) for kind, answers in nonsense(ready.reference, exercise).items()}
        problems += [f"{kind} earn {share:.0%}" for kind, share in earned.items() if share > MAY_EARN]
        found = mutate(ready, task, effort)
        return Proof(
            lesson=lesson,
            exercise=exercise,
            tests=len(ready.tests(exercise)),
            right=1 + sum(answer.exercise == exercise for answer in ready.right),
            wrong=sum(answer.exercise == exercise for answer in ready.wrong),
            nonsense=max(earned.values()),
            killed=found.killed,
            equivalent=tuple(f"line {mutant.line}: {mutant.change}" for mutant in found.equivalent),
            survivors=tuple(mutant.diff(task.model) for mutant in found.survivors),
            problems=tuple(problems),
            seconds=time.monotonic() - started,
        )


def failing_right(ready: Bench, exercise: str, seeds: int) -> Iterator[str]:
    """Tests that a right answer fails."""
    answers = {"the model answer": ready.reference}
    answers |= {
        each.name: beside(ready.reference, exercise, each.source) for each in ready.right if each.exercise == exercise
    }
    for name, answer in answers.items():
        for seed in range(seeds):
            for outcome in ready.failed(exercise, answer, seed):
                yield f"{name} fails {outcome.test} with secret {seed}: {outcome.details}"


def uncaught(ready: Bench, exercise: str) -> Iterator[str]:
    """Misconceptions that the test named for them does not catch."""
    for wrong in (each for each in ready.wrong if each.exercise == exercise):
        answers = beside(ready.reference, exercise, wrong.source)
        named = [each.test for each in ready.tests(exercise) if each.test.partition("[")[0] == wrong.caught_by]
        case = ready.case(exercise, answers)
        if not any(ready.suite.attempt(exercise, test, case)[0] is not None for test in named):
            yield f"{wrong.name} is not caught by {wrong.caught_by}"


def _earned(ready: Bench, task: Exercise, answers: Any) -> float:
    """The share of an exercise that these answers get."""
    outcomes = ready.suite.run(task.name, ready.case(task.name, answers))
    return score_exercise(task.name, 1.0, outcomes).score


def _confine() -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
