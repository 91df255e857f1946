"""The banks that hidden suites are proved with: large enough, well formed, no two alike. test_prove.py proves."""

from pathlib import Path

import pytest

from autograder.course import Course
from autograder.diagnosis import namespace
from autograder.misconception import answers_in
from autograder.reference import load_reference

ROOT = Path(__file__).resolve().parents[2]
LESSONS = Course(ROOT).lessons()


def bank(lesson, name):
    """The answers of one of a lesson's banks."""
    return answers_in(ROOT / "tests" / lesson / f"{name}.py")


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_bank_is_large_enough(lesson):
    """At least three wrong and two right answers an exercise."""
    wrong, right = bank(lesson, "misconceptions"), bank(lesson, "alternatives")
    for exercise in Course(ROOT).lesson(lesson).exercises:
        assert len([answer for answer in wrong if answer.exercise == exercise.name]) >= 3, exercise.name
        assert len([answer for answer in right if answer.exercise == exercise.name]) >= 2, exercise.name


def test_there_are_a_hundred_wrong_answers_and_forty_held_back():
    """All lessons together: the bank, and what diagnosis is measured with."""
    assert sum(len(bank(lesson, "misconceptions")) for lesson in LESSONS) >= 100
    assert sum(len(bank(lesson, "held_back")) for lesson in LESSONS) >= 40


@pytest.mark.parametrize("lesson", LESSONS)
def test_ideas_are_sentences_and_no_two_alike(lesson):
    """Each idea of an exercise is one sentence of its own."""
    wrong = bank(lesson, "misconceptions")
    ideas = [(answer.exercise, answer.idea) for answer in wrong]
    assert len(set(ideas)) == len(ideas)
    assert all(answer.idea.endswith(".") and "\n" not in answer.idea for answer in wrong)
    names = [answer.name for answer in (*wrong, *bank(lesson, "alternatives"), *bank(lesson, "held_back"))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("lesson", LESSONS)
def test_held_back_answers_point_to_the_bank(lesson):
    """What is held back is a case of an idea of the bank, or of none."""
    known = {(answer.exercise, answer.name) for answer in bank(lesson, "misconceptions")} | {None}
    for answer in bank(lesson, "held_back"):
        assert ((answer.exercise, answer.of) if answer.of else None) in known, answer.name


@pytest.mark.parametrize("lesson", LESSONS)
def test_an_answer_is_a_cell(lesson):
    """The source of an answer binds its exercise and nothing else, so it can stand in a notebook."""
    names = namespace(load_reference(Course(ROOT).lesson(lesson)))
    for file in ("misconceptions", "alternatives", "held_back"):
        for answer in bank(lesson, file):
            assert answer.source.startswith((f"def {answer.exercise}(", f"class {answer.exercise}("))
            assert answer.bound(names).keys() - names.keys() <= {answer.exercise}
