"""What became of the tests of an exercise: plain data, known to whoever judges, keeps or counts it.

Stands apart from suite.py so that marks can be counted without torch and pytest.
"""

from __future__ import annotations

from collections.abc import Mapping
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


Map = tuple[tuple[float | None, ...], ...]  # rows of numbers; None: not finite


@dataclass(frozen=True)
class Picture:
    """What an answer gives on an example that the notebook shows (picture.py): maps of one shape, right and given."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    right: tuple[Map, ...]
    given: tuple[Map, ...]


@dataclass(frozen=True)
class Judged:
    """The outcomes of an exercise's tests, the idea of the bank that explains what is wrong, and a picture of it."""

    outcomes: tuple[Outcome, ...]
    idea: str = ""
    picture: Picture | None = None

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


def pictures(judged: Mapping[str, Judged]) -> dict[str, Picture]:
    """The pictures among verdicts, by exercise."""
    return {name: each.picture for name, each in judged.items() if each.picture is not None}
