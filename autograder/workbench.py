"""A lesson made ready to be proved: its suites, model answers and banks, in this process, without a box."""

from __future__ import annotations

import contextlib
import runpy
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from autograder.course import Course, Lesson
from autograder.errors import GraderError
from autograder.fixtures import Case
from autograder.inputs import derive_seed
from autograder.misconception import Alternative, Misconception, answers_in
from autograder.reference import Reference, load_reference
from autograder.suite import Outcome, Suite


@dataclass
class Bench:
    """A lesson made ready to be proved."""

    lesson: Lesson
    suite: Suite
    reference: Reference
    right: list[Alternative]
    wrong: list[Misconception]
    samples: dict[str, Any]

    def case(self, exercise: str, answers: Any, seed: int = 0) -> Case:
        """Somebody's answers, with the inputs that the course secret of this number would draw."""
        return Case(answers, self.reference, partial(derive_seed, f"secret {seed}".encode(), "proof", self.lesson.name))

    def tests(self, exercise: str) -> list[Outcome]:
        """The tests of an exercise."""
        return self.suite.outcomes(exercise, "passed", None, "")

    def failed(self, exercise: str, answers: Any, seed: int = 0) -> list[Outcome]:
        """The tests that these answers do not pass."""
        outcomes = self.suite.run(exercise, self.case(exercise, answers, seed))
        return [outcome for outcome in outcomes if outcome.verdict != "passed"]


@lru_cache(maxsize=4)
def bench(root: Path, name: str) -> Bench:
    """The bench of a lesson; raises GraderError where a suite or a bank is broken."""
    torch.set_num_threads(1)  # tensors are small: threads would only wait for each other
    lesson = Course(root).lesson(name)
    suite = Suite(lesson)
    for exercise in lesson.exercises:
        if broken := suite.broken(exercise.name):
            raise GraderError(f"tests/{name}/test_{exercise.name}.py: {broken}")
    banks = [lesson.suites / f"{bank}.py" for bank in ("alternatives", "misconceptions")]
    right, wrong = (answers_in(path) if path.exists() else [] for path in banks)
    samples = lesson.suites / "samples.py"
    drawn = runpy.run_path(str(samples)) if samples.exists() else {}
    return Bench(lesson, suite, load_reference(lesson), right, wrong, drawn)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """TimeoutError in the block when it takes longer; in a process's main thread only."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
