"""The hidden suites proved both ways: right answers pass everything, wrong ones fail the test that is named for them.

All answers run in this process, as plain functions. Adding a lesson to `LESSONS` proves its suites too.
"""

import hashlib
import types
from pathlib import Path

import pytest
import torch

from autograder.course import Course
from autograder.misconception import answers_in
from autograder.nested import map_leaves
from autograder.reference import load_reference
from autograder.suite import Case, Suite

ROOT = Path(__file__).resolve().parents[2]
LESSON = "attention_from_scratch"
SUITES = ROOT / "tests" / LESSON
WRONG = answers_in(SUITES / "misconceptions.py")
RIGHT = answers_in(SUITES / "alternatives.py")
EXERCISES = sorted({answer.exercise for answer in WRONG})


@pytest.fixture(scope="module")
def reference():
    """The model answers."""
    return load_reference(Course(ROOT).lesson(LESSON))


@pytest.fixture(scope="module")
def suite():
    """The hidden suites, collected once."""
    with Suite(Course(ROOT).lesson(LESSON)) as collected:
        yield collected


@pytest.fixture
def failures(suite, reference):
    """failures(exercise, function, seed): title by name of the tests that this answer fails."""

    def run(exercise, function, seed=0):
        student = types.SimpleNamespace(**{**vars(reference), exercise: function})
        case = Case(student, reference, lambda test: hashlib.sha256(f"{seed} {test}".encode()).digest())
        outcomes = suite.run(exercise, case)
        assert [o.details for o in outcomes if o.verdict == "not_judged"] == []
        return [outcome for outcome in outcomes if outcome.verdict == "failed"]

    return run


@pytest.fixture
def bound(reference):
    """The function of an answer of the bank, beside the model answers."""

    def bind(answer):
        return answer.bound({**vars(reference), "torch": torch, "math": __import__("math")})[answer.exercise]

    return bind


def names(outcomes):
    """Names of tests without their parameters."""
    return {outcome.test.split("[")[0] for outcome in outcomes}


def told(outcomes):
    """What failed and why, for the message of a failing proof."""
    return [f"{outcome.test}: {outcome.details}" for outcome in outcomes]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_model_answer_passes(exercise, seed, reference, failures):
    """Every test passes for the model answer, whatever the seed."""
    assert told(failures(exercise, getattr(reference, exercise), seed)) == []


@pytest.mark.parametrize("answer", RIGHT, ids=lambda answer: answer.name)
def test_other_right_answers_pass(answer, bound, failures):
    """Every test passes for a right answer that is written otherwise."""
    for seed in range(2):
        assert told(failures(answer.exercise, bound(answer), seed)) == []


@pytest.mark.parametrize("answer", WRONG, ids=lambda answer: answer.name)
def test_wrong_answers_are_caught(answer, bound, failures):
    """Each wrong answer fails the test that is named for its idea."""
    assert answer.caught_by in names(failures(answer.exercise, bound(answer)))


def like(change, reference_function):
    """An answer of the right structure, shapes and types whose numbers are nonsense."""

    def answer(*args, **kwargs):
        return map_leaves(change, reference_function(*args, **kwargs))

    return answer


def noise(tensor):
    """Random numbers in place of a tensor's."""
    drawn = torch.rand(tensor.shape, device=tensor.device)
    return drawn < 0.5 if tensor.dtype == torch.bool else drawn.to(tensor.dtype)


NONSENSE = {
    "zeros": lambda function: like(torch.zeros_like, function),
    "ones": lambda function: like(torch.ones_like, function),
    "noise": lambda function: like(noise, function),
    "first argument": lambda function: lambda *args, **kwargs: args[0],
    "first argument, as often as asked": lambda function: (
        lambda *args, **kwargs: map_leaves(lambda leaf: args[0], function(*args, **kwargs))
    ),
    "nothing": lambda function: lambda *args, **kwargs: None,
}


@pytest.mark.parametrize("kind", NONSENSE)
@pytest.mark.parametrize("exercise", EXERCISES)
def test_nonsense_fails_every_test_of_values(exercise, kind, suite, reference, failures):
    """Nonsense of the right shape passes no test of values, so it earns nothing."""
    values = {item.test.split("[")[0] for item in suite.outcomes(exercise, "passed", None, "") if item.values}
    assert values - names(failures(exercise, NONSENSE[kind](getattr(reference, exercise)))) == set()


def changed(change):
    """An answer that is right but for what becomes of its floating results."""
    return lambda function: like(lambda tensor: change(tensor) if tensor.is_floating_point() else tensor, function)


def first_changed(change):
    """An answer that is right but for what it does to its first argument."""

    def make(function):
        def answer(first, *args, **kwargs):
            return function(change(first), *args, **kwargs)

        return answer

    return make


def written(tensor):
    """Moves the numbers of a tensor by writing into it, and hands on what was there."""
    before = tensor.clone()
    if not tensor.requires_grad:
        tensor += 1
    return before


def refuse(condition, message):
    """Passes a tensor on unless the condition holds."""

    def check(tensor):
        if condition(tensor):
            raise RuntimeError(message)
        return tensor

    return check


FAULTS = {
    "test_dtype_is_kept": changed(lambda tensor: tensor.float()),
    "test_gradient_is_the_slope": changed(lambda tensor: tensor.detach()),
    "test_memory_layout_does_not_matter": first_changed(refuse(lambda x: not x.is_contiguous(), "view size")),
    "test_input_stays_as_it_is": first_changed(written),
    "test_default_dtype_does_not_matter": changed(lambda tensor: tensor * torch.ones(tensor.shape)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("exercise", [name for name in EXERCISES if name != "causal_mask"])
def test_one_fault_costs_less_than_half(exercise, fault, suite, reference, failures):
    """An answer that is right but for one fault fails the test of that name and keeps half of the exercise."""
    failed = failures(exercise, FAULTS[fault](getattr(reference, exercise)))
    plural = fault.replace("test_input_stays_as_it_is", "test_inputs_stay_as_they_are")
    assert {fault, plural} & names(failed)
    assert earned(suite.outcomes(exercise, "passed", None, ""), failed) >= 0.5, told(failed)


def test_square_tables_only_costs_less_than_half(suite, bound, failures):
    """An attention that fails where queries and keys differ in number keeps half of the exercise."""
    answer = next(answer for answer in WRONG if answer.name == "square_tables_only")
    failed = failures(answer.exercise, bound(answer))
    assert earned(suite.outcomes(answer.exercise, "passed", None, ""), failed) >= 0.5, told(failed)


def earned(tests, failed):
    """The share of an exercise: 60 % for values, 40 % for the rest times the share of values."""
    missed = {outcome.test for outcome in failed}
    shares = [
        sum(test.test not in missed for test in group) / len(group)
        for group in ([t for t in tests if t.values], [t for t in tests if not t.values])
    ]
    return 0.6 * shares[0] + 0.4 * shares[1] * shares[0]


def test_the_bank_is_large_enough_and_well_formed():
    """At least five wrong and two right answers an exercise, each idea one sentence, no two alike."""
    for exercise in EXERCISES:
        assert len([a for a in WRONG if a.exercise == exercise]) >= 5
        assert len([a for a in RIGHT if a.exercise == exercise]) >= 2
    assert len({answer.name for answer in WRONG + RIGHT}) == len(WRONG + RIGHT)
    ideas = [(answer.exercise, answer.idea) for answer in WRONG]
    assert len(set(ideas)) == len(ideas)
    assert all(answer.idea.endswith(".") for answer in WRONG)


def test_an_answer_is_a_cell(bound):
    """The source of an answer of the bank binds its exercise and nothing else, so it can stand in a notebook."""
    for answer in WRONG + RIGHT:
        assert answer.source.startswith(f"def {answer.exercise}(")
        assert bound(answer).__name__ == answer.exercise
