"""Outcomes and points become marks: values first, what was not judged is held back."""

import pytest

from autograder.outcome import Outcome
from autograder.score import held_back, score_exercise


def outcomes(values, others=""):
    """One outcome for each letter: p passed, f failed, n not judged."""
    words = {"p": "passed", "f": "failed", "n": "not_judged"}
    kinds = [(letter, True) for letter in values] + [(letter, False) for letter in others]
    return [Outcome(f"test_{i}", f"claim {i}", wants, verdict=words[w]) for i, (w, wants) in enumerate(kinds)]


@pytest.mark.parametrize(
    ("values", "others", "score"),
    [
        ("pppp", "pp", 10), ("ffff", "pp", 0), ("pppp", "ff", 6), ("ppff", "pp", 5), ("ppff", "ff", 3),
        ("pppp", "", 10), ("ppff", "", 5), ("", "pp", 10), ("", "pf", 8), ("ppp", "pff", 7.33), ("", "", 10),
        ("nnnn", "pp", 0),
    ],
)  # fmt: skip
def test_values_earn_first(values, others, score):
    """60 % for the values' share, 40 % for the others' share of it."""
    assert score_exercise("f", 10, outcomes(values, others)).score == score


@pytest.mark.parametrize(
    ("values", "others", "held"),
    [
        ("pppp", "pp", 0), ("ffff", "ff", 0), ("nnnn", "nn", 10), ("pppn", "pp", 2.5), ("pppp", "pn", 2),
        ("fffn", "pp", 2.5),
    ],
)  # fmt: skip
def test_what_was_not_judged_is_held_back(values, others, held):
    """As much as the exercise would earn more, had those tests passed."""
    assert held_back(10, outcomes(values, others)) == held


def test_results_keep_the_order_and_the_words():
    """One entry for each test, under the sentence that it claims."""
    result = score_exercise("f", 10, outcomes("pf", "n"))
    assert [(test.name, test.outcome) for test in result.tests] == [
        ("claim 0", "passed"), ("claim 1", "failed"), ("claim 2", "not_judged")
    ]  # fmt: skip
