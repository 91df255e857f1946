"""Outcomes and points become marks. Pure: no clock, no file, no process.

Values come first: tests of points 1 to 4 (worked values, agreement with the reference, properties, extremes) carry
60 % of an exercise; the others (types, gradients, strides, devices ...) share 40 %, times the share of the first that
passed. So an answer that returns its input, zeros or noise earns next to nothing, though it keeps dtype and strides.

A test that was not judged through our fault earns nothing yet and is named as held back; it is not lost. One that this
machine cannot judge (placement.py) counts as passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autograder.outcome import Outcome
from autograder.results import ExerciseResult, TestResult

VALUES_SHARE = 0.6


def score_exercise(name: str, points: float, outcomes: Sequence[Outcome]) -> ExerciseResult:
    """The points of one exercise for the outcomes of its tests, rounded to hundredths."""
    values = _share([outcome for outcome in outcomes if outcome.values])
    others = [outcome for outcome in outcomes if not outcome.values]
    earned = values * (VALUES_SHARE + (1 - VALUES_SHARE) * _share(others)) if others else values
    tests = tuple(
        TestResult(each.title, each.verdict, each.cause, each.message, each.misconception, each.device)
        for each in outcomes
    )
    return ExerciseResult(name, round(points * earned, 2), points, tests)


def held_back(points: float, outcomes: Sequence[Outcome]) -> float:
    """How many points hang on tests that were not judged through our fault."""
    if all(outcome.verdict != "not_judged" or outcome.earns for outcome in outcomes):
        return 0.0
    best = [outcome if outcome.verdict != "not_judged" else _as_passed(outcome) for outcome in outcomes]
    return round(score_exercise("", points, best).score - score_exercise("", points, outcomes).score, 2)


def _as_passed(outcome: Outcome) -> Outcome:
    return replace(outcome, verdict="passed")


def _share(outcomes: Sequence[Outcome]) -> float:
    """The share of tests that passed or count as if they had; all of none."""
    return sum(outcome.has_points for outcome in outcomes) / len(outcomes) if outcomes else 1.0
