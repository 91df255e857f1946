"""Replay: what a test fed to a student's code and what it got, the same as when it was graded."""

import pytest

from autograder.boxes import choose_box
from autograder.errors import GraderError, SubmissionError
from autograder.misconception import answers_in
from autograder.replay import find_test, replay, submitted
from autograder.suite import Suite

LESSON = "attention_from_scratch"


@pytest.fixture
def ada(course, hand_in, filled, model_answers):
    """A submission whose softmax is one over the whole tensor."""
    bank = answers_in(course.lesson(LESSON).suites / "misconceptions.py")
    wrong = next(each for each in bank if each.name == "whole_tensor")
    return hand_in("ada", filled(**{**model_answers, "softmax": wrong.source}))


def test_a_failed_test_is_told_in_full(course, ada):
    """What was drawn, each call with its arguments and result, what the model gives, and how it ended."""
    told = replay(course, LESSON, "ada", "softmax::test_slices_sum_to_one", None, choose_box("auto"))
    assert told.startswith("softmax: ")
    parts = ("for ada", "drawn:\n  randn", "call 1: softmax", "argument 1 = float", "gave: ", "the model answer: ")
    for part in (*parts, "failed: Mismatch"):
        assert part in told
    other = replay(course, LESSON, "bela", "softmax::test_slices_sum_to_one", ada, choose_box("auto"))
    assert other.replace("bela", "ada") != told  # others draw other numbers


def test_a_test_that_passes(course, ada):
    """Where nothing is wrong the model gives the same."""
    told = replay(course, LESSON, "ada", "test_mask_is_boolean", None, choose_box("auto"))
    assert told.endswith("passed\n")


def test_tests_are_found_by_name_and_by_sentence(course):
    """A name without parameters will do if it is the only one; what is not known is answered with what is."""
    lesson = course.lesson(LESSON)
    with Suite(lesson) as suite:
        exercise, outcome = find_test(lesson, suite, "softmax::test_large_scores")
        assert (exercise, outcome.test) == ("softmax", "test_large_scores[cpu]")
        assert find_test(lesson, suite, f"softmax::{outcome.title}") == (exercise, outcome)
        with pytest.raises(GraderError, match="more than one test"):
            find_test(lesson, suite, "test_values_worked_by_hand")
        with pytest.raises(GraderError, match=r"(?s)no test of .*softmax::test_large_scores"):
            find_test(lesson, suite, "large scores please")


def test_a_student_who_handed_in_nothing(course):
    """Without a notebook the error says where one was looked for."""
    with pytest.raises(SubmissionError, match="submitted"):
        submitted(course, LESSON, "nobody")
