"""The hidden suites of all lessons, proved both ways; and `prove` itself, which must see what does not hold."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.boxes import choose_box
from autograder.course import Course
from autograder.longway import through_the_box
from autograder.misconception import Alternative, Misconception
from autograder.mutation import SHORT, Effort, mutate
from autograder.prove import failing_right, prove_course, prove_exercise, uncaught
from autograder.workbench import bench, deadline

ROOT = Path(__file__).resolve().parents[2]
LESSONS = Course(ROOT).lessons()
EXERCISES = [(name, each.name) for name in LESSONS for each in Course(ROOT).lesson(name).exercises]
FIRST = "attention_from_scratch"


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES)
def test_suites_hold(lesson, exercise):
    """In short: right answers pass, each misconception is caught by its test, nonsense earns nothing, mutants die."""
    proof = prove_exercise(ROOT, lesson, exercise, SHORT)
    assert (proof.problems, proof.survivors) == ((), ())
    assert proof.right >= 3
    assert proof.wrong >= 3


@pytest.fixture
def ready():
    """Lesson 1, ready to be proved."""
    return bench(ROOT, FIRST)


@pytest.fixture
def softmax(ready):
    """The first exercise of that lesson that has a dim."""
    return next(each for each in ready.lesson.exercises if each.name == "softmax")


class Toothless:
    """A suite in which every test passes."""

    def __init__(self, suite):
        self.outcomes = suite.outcomes

    def attempt(self, exercise, test, case):
        return None, None


def test_a_mutant_that_no_test_notices_survives(ready, softmax):
    """A mutant that differs on random inputs, and that no test kills, is listed with the lines that were changed."""
    found = mutate(replace(ready, suite=Toothless(ready.suite)), softmax, Effort(every=9, inputs=20))
    assert found.killed <= 1  # what cannot even be defined
    assert found.survivors
    assert found.survivors[0].diff(softmax.model).startswith("@@")


def test_without_samples_nothing_is_called_equivalent(ready, softmax):
    """A lesson without random inputs cannot say that a mutant is equivalent."""
    found = mutate(replace(ready, suite=Toothless(ready.suite), samples={}), softmax, Effort(every=9))
    assert not found.equivalent


def test_a_right_answer_that_fails_is_a_problem(ready):
    """An alternative that is wrong is named, with the test that it fails."""
    wrong = next(each for each in ready.wrong if each.name == "powers_of_two")
    called_right = Alternative(wrong.exercise, wrong.name, wrong.definition, how="by mistake")
    problems = list(failing_right(replace(ready, right=[called_right]), "softmax", seeds=1))
    assert any(problem.startswith("powers_of_two fails test_values_worked_by_hand") for problem in problems)


def test_a_misconception_that_passes_is_a_problem(ready):
    """A misconception that its test lets through is named."""
    right = next(each for each in ready.right if each.exercise == "softmax")
    called_wrong = Misconception("softmax", right.name, right.definition, idea="None.", caught_by="test_large_scores")
    problems = list(uncaught(replace(ready, wrong=[called_wrong]), "softmax"))
    assert problems == [f"{right.name} is not caught by test_large_scores"]


def test_a_deadline_ends_what_loops():
    """A mutant that never ends is ended."""
    started = time.monotonic()
    with pytest.raises(TimeoutError), deadline(0.05):
        time.sleep(60)
    assert time.monotonic() - started < 1


@pytest.mark.slow
def test_every_lesson_is_proved():
    """The whole of it: all mutants, and a sample through the box, in under ten minutes on two cores."""
    from rich.console import Console

    started = time.monotonic()
    assert prove_course(Course(ROOT), LESSONS, Effort(), 2, choose_box("auto"), Console())
    assert time.monotonic() - started < 600


@pytest.mark.slow
@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES)
def test_right_answers_pass_with_200_secrets(lesson, exercise):
    """No right answer fails by bad luck, whatever numbers its student draws."""
    assert list(failing_right(bench(ROOT, lesson), exercise, seeds=200)) == []


@pytest.mark.slow
def test_a_sample_goes_the_long_way():
    """Notebooks of right answers get all points in the box, the release none, a wrong one loses only its exercise."""
    found = through_the_box(Course(ROOT), "positional_encoding", choose_box("auto"))
    assert found.problems == []
    assert found.notebooks > 8
