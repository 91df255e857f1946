"""What became of the tests of an exercise: plain data, known to whoever judges, keeps or counts it.

Stands apart from suite.py so that marks can be counted without torch and pytest.
"""

from __future__ import annotations

from dataclasses import dataclass

from autograder.results import Cause
from autograder.results import Outcome as Verdict


@dataclass(frozen=True)
class Outcome:
    """What became of one test."""

    test: str  # pytest's name of the test, parameters included
    title: str  # the sentence that it claims
    values: bool  # does it ask for values (points 1 to 4)?
    device: str = "cpu"
    verdict: Verdict = "passed"
    cause: Cause | None = None
    message: str = ""  # for the student
    misconception: str | None = None
    details: str = ""  # for the instructor
    earns: bool = False  # not judged on this machine, and through nobody's fault: it counts as passed

    @property
    def has_points(self) -> bool:
        """Does it count as passed?"""
        return self.verdict == "passed" or self.earns


@dataclass(frozen=True)
class Judged:
    """The outcomes of an exercise's tests, and the idea of the bank that explains what is wrong, if one does."""

    outcomes: tuple[Outcome, ...]
    idea: str = ""

    @property
    def is_wrong(self) -> bool:
        """Did a test fail?"""
        return any(outcome.verdict == "failed" for outcome in self.outcomes)

    @property
    def is_lasting(self) -> bool:
        """Would the same code get the same verdict again? Not where time ran out, or where we could not judge."""
        return all(
            outcome.cause != "timeout" and (outcome.verdict != "not_judged" or outcome.earns) for outcome in self.outcomes
        )
