"""Diagnosis names the idea behind a wrong result, or the fault, or says what the result looks like: never a number."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autograder.course import Course
from autograder.diagnosis import Bank, Diagnosis, beside
from autograder.fixtures import Case
from autograder.hints import FAULTS, looks_like
from autograder.misconception import answers_in
from autograder.nested import map_leaves
from autograder.reference import Reference, load_reference
from autograder.score import score_exercise
from autograder.suite import Suite
from autograder.watching import Call, Watch

ROOT = Path(__file__).resolve().parents[2]
LESSONS = Course(ROOT).lessons()
DTYPE, CUT_OFF, WRITTEN, LAYOUT, DEFAULT = (
    next(sentence for sentence in FAULTS if words in sentence)
    for words in ("keeps the dtype", "cut off", "written into", "`view` refuses", "torch's default")
)


class Lesson:
    """A lesson's suites with answers that run in this process."""

    def __init__(self, name):
        torch.set_num_threads(1)
        self.lesson = Course(ROOT).lesson(name)
        self.suite, self.reference = Suite(self.lesson), load_reference(self.lesson)
        self.bank = Bank(self.lesson, self.reference)
        self.wrong = answers_in(self.lesson.suites / "misconceptions.py")

    def diagnosed(self, exercise, definition, bank=None, seed=0):
        """Outcomes of one exercise for this answer, with what diagnosis says."""
        student = Reference(**{**vars(self.reference), exercise: definition})
        case = Case(student, self.reference, lambda test: hashlib.sha256(f"{seed} {test}".encode()).digest())
        watch = Watch()
        outcomes = self.suite.run(exercise, replace(case, watch=watch.student))
        return Diagnosis(self.suite, bank or self.bank).explain(exercise, case, outcomes, watch)

    def answer(self, answer):
        """The definition of an answer of a bank."""
        return getattr(beside(self.reference, answer.exercise, answer.source), answer.exercise)


@pytest.fixture(scope="module")
def lesson():
    """lesson(name): ready, each made once."""
    made = {}
    yield lambda name: made.get(name) or made.setdefault(name, Lesson(name))
    for each in made.values():
        each.suite.close()


def ideas(outcomes):
    """What was named."""
    return {outcome.misconception for outcome in outcomes if outcome.misconception}


@pytest.mark.parametrize("exercise", ["softmax", "scaled_dot_product_attention"])
def test_an_idea_of_the_bank_is_named(lesson, exercise):
    """What a misconception gives is known for it, and taken for no other.

    Those that ignore the device give the right values: the test of that name tells the line, and no idea is needed.
    """
    one = lesson("attention_from_scratch")
    for wrong in [each for each in one.wrong if each.exercise == exercise and "device" not in each.caught_by][::4]:
        assert ideas(one.diagnosed(exercise, one.answer(wrong))) == {wrong.idea}, wrong.name


def test_the_model_answer_is_told_nothing(lesson):
    """Where nothing fails there is nothing to say."""
    one = lesson("attention_from_scratch")
    for outcome in one.diagnosed("softmax", one.reference.softmax):
        assert (outcome.verdict, outcome.misconception, outcome.message) == ("passed", None, "")


def test_a_mistake_beside_the_idea_does_not_hide_it(lesson):
    """The textbook's softmax overflows, and is NaN where all is blocked: both are said, each where it is."""
    one = lesson("attention_from_scratch")

    def softmax(x, dim=-1):
        return x.exp() / x.exp().sum(dim=dim, keepdim=True)

    told = {outcome.test.partition("[")[0]: outcome.misconception for outcome in one.diagnosed("softmax", softmax)}
    assert "leave the range" in told["test_large_scores"]
    assert "minus infinity minus itself" in told["test_slices_of_minus_infinity_only"]


def test_two_ideas_that_explain_the_same_are_not_named(lesson):
    """An idea is named only if it alone explains what was given."""
    one = lesson("attention_from_scratch")
    wrong = next(each for each in one.wrong if each.name == "not_scaled")
    twice = Bank(one.lesson, one.reference, [wrong, replace(wrong, idea="Another sentence.")])
    assert ideas(one.diagnosed(wrong.exercise, one.answer(wrong), twice)) == set()


def test_unknown_wrong_results_are_told_what_they_look_like(lesson):
    """No idea of the bank fits: the student reads in what way the result is off."""
    one = lesson("attention_from_scratch")
    outcomes = one.diagnosed("pairwise_dot_products", lambda X, Y: 7 * (X @ Y.mT), Bank(one.lesson, one.reference, []))
    assert any("looks like: the right result times a constant" in outcome.message for outcome in outcomes)


def call(result, *arguments):
    """A call with this result."""
    return Call("f", [(str(n + 1), argument) for n, argument in enumerate(arguments)], torch.float32, result)


A = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
W = A.softmax(-1)
HEADS = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(1))
PATTERNS = {
    "argument 1 itself": (A, A @ A),
    "last two dimensions exchanged": (A.T, A),
    "second and third dimension": (HEADS.transpose(1, 2), HEADS),
    "in another shape": (A.flatten(), A),
    "other sign": (-A, A),
    "times a constant": (A / 5**0.5, A),
    "plus a constant": (A + 1, A),
    "rows in reverse": (A.flip(0), A),
    "columns in reverse": (A.flip(1), A),
    "one row too late": (A.roll(1, 0), A),
    "one column too early": (A.roll(-1, 1), A),
    "heads, or batch elements": (HEADS[:, [2, 0, 3, 1]], HEADS),
    "at other places": (A.flatten()[[4, 2, 0, 1, 3, 8, 7, 6, 5]].view(3, 3), A),
    "NaN everywhere": (A * torch.nan, A),
    "whole rows of NaN, where zeros belong": (
        A.index_fill(0, torch.tensor([1]), torch.nan),
        A.index_fill(0, torch.tensor([1]), 0.0),
    ),
    "along another dimension": (A.softmax(0), W),
    "sum to one all together": (A.flatten().softmax(0).view(3, 3), W),
    "below one": (W.square(), W),
    "zeros everywhere": (A * 0, A),
    "same number everywhere": (A * 0 + 2, A),
    "stretched by a factor of its own": (A * torch.tensor([[1.0], [2.0], [3.0]]), A),
    "True and False exchanged": (~(A > 0), A > 0),
    "square of": (A.abs().square(), A.abs()),
    "first row only": (torch.cat((A[:1], A[1:].cos())), A),
    "but for the last column": (torch.cat((A[:, :2], A[:, 2:].cos()), 1), A),
    "in the other order": ((A, W), (W, A)),
    "without the rest": (A, (A, W)),
}


@pytest.mark.parametrize("phrase", PATTERNS)
def test_patterns(phrase):
    """Each pattern is recognised, and the phrase for it holds no number."""
    got, wanted = PATTERNS[phrase]
    said = looks_like(call(got, A), call(wanted, A))
    assert phrase in said
    assert not re.search(r"\d", said.replace("argument 1", ""))


def changed(change):
    """Right, but for what becomes of its floating results."""

    def make(model):
        if isinstance(model, type):
            forward = model.forward
            return type(model.__name__, (model,), {"forward": lambda *a, **k: map_leaves(each, forward(*a, **k))})
        return lambda *args, **kwargs: map_leaves(each, model(*args, **kwargs))

    def each(leaf):
        return change(leaf) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf

    return make


def first(change):
    """Right, but for what it does to its first floating argument."""

    def make(model):
        if isinstance(model, type):
            forward = model.forward
            forwards = {"forward": lambda self, x, *a, **k: forward(self, change(x), *a, **k)}
            return type(model.__name__, (model,), forwards)
        return lambda x, *args, **kwargs: model(change(x), *args, **kwargs)

    return make


def written(tensor):
    """Moves the numbers of a tensor by writing into it, and hands on what was there."""
    before = tensor.clone()
    if not tensor.requires_grad and tensor.is_floating_point():
        tensor += 1
    return before


TENSORS = {
    "attention_from_scratch": (
        "pairwise_dot_products", "softmax", "scaled_dot_product_attention", "multi_head_attention_loop", "split_heads",
        "merge_heads", "multi_head_attention",
    ),
    "attention_with_pytorch": ("ScaledDotProductAttention", "MultiHeadAttention"),
    "positional_encoding": ("LearnedPositionalEmbedding",),
    "transformer_encoder": ("layer_norm", "batch_norm", "feed_forward", "encoder_layer"),
}  # fmt: skip
ONES = {
    "dtype": (changed(lambda tensor: tensor.float()), DTYPE),
    "gradient": (changed(lambda tensor: tensor.detach()), CUT_OFF),
    "view": (first(lambda x: x.view(-1).view(x.shape)), LAYOUT),
    "written into": (first(written), WRITTEN),
    "default dtype": (changed(lambda tensor: tensor * torch.ones(tensor.shape, device=tensor.device)), DEFAULT),
}
NAMED = {  # what the test that is named for a fault is called
    "dtype": "dtype", "gradient": "gradient", "view": "layout|contiguous", "written into": "stay|not_modified",
    "default dtype": "default_dtype",
}  # fmt: skip
WORDS = {
    "dtype": ("dtype", "type"),
    "gradient": ("gradient", "cut off", "graph", "detach"),
    "view": ("contiguous", "view", "memory"),
    "written into": ("written", "writes", "stay", "caller", "in place"),
    "default dtype": ("default", "dtype"),
}


@pytest.mark.parametrize("fault", ONES)
@pytest.mark.parametrize(("name", "exercise"), [(name, each) for name, all_of in TENSORS.items() for each in all_of])
def test_one_fault_keeps_half_and_is_said_wherever_it_shows(lesson, name, exercise, fault):
    """An answer that is right but for one fault fails the test of that name, keeps half, and hears of that fault only."""
    one, (make, _) = lesson(name), ONES[fault]
    outcomes = one.diagnosed(exercise, make(getattr(one.reference, exercise)))
    failed = [outcome for outcome in outcomes if outcome.verdict == "failed"]
    assert any(re.search(NAMED[fault], outcome.test) for outcome in failed), [outcome.test for outcome in failed]
    assert score_exercise(exercise, 1.0, outcomes).score >= 0.5
    said = [outcome.misconception or outcome.message for outcome in failed]
    assert all(any(word in text for word in WORDS[fault]) for text in said), said


def test_an_attention_for_square_tables_keeps_half(lesson):
    """An attention that fails where queries and keys differ in number fails the test of that name and keeps half."""
    one = lesson("attention_from_scratch")
    (answer,) = [each for each in one.wrong if each.name == "square_tables_only"]
    outcomes = one.diagnosed(answer.exercise, one.answer(answer))
    assert answer.caught_by in {outcome.test.partition("[")[0] for outcome in outcomes if outcome.verdict == "failed"}
    assert score_exercise(answer.exercise, 1.0, outcomes).score >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_no_idea_is_taken_for_another(lesson, name):
    """Over the whole bank: nine in ten are named, and none is taken for another."""
    one, right = lesson(name), 0
    for wrong in one.wrong:
        named = ideas(one.diagnosed(wrong.exercise, one.answer(wrong)))
        assert named <= {wrong.idea}, wrong.name
        right += named == {wrong.idea}
    assert right >= 0.85 * len(one.wrong)


@pytest.mark.slow
def test_wrong_answers_that_are_not_in_the_bank(lesson):
    """Right idea or none in 95 of 100, the right one in half: cases of known ideas written otherwise, and strangers."""
    counted = {"right": 0, "none": 0, "another": 0}
    for name in LESSONS:
        one = lesson(name)
        sentences = {wrong.name: wrong.idea for wrong in one.wrong}
        for answer in answers_in(one.lesson.suites / "held_back.py"):
            named, wanted = ideas(one.diagnosed(answer.exercise, one.answer(answer))), sentences.get(answer.of)
            kind = "right" if wanted in named else "another" if named else "none"
            counted[kind] += 1
            print(kind, name, answer.name)
    total = sum(counted.values())
    assert total >= 40
    assert counted["another"] <= 0.05 * total
    assert counted["right"] >= 0.5 * total


@pytest.mark.slow
def test_two_in_ten_kept_back(lesson):
    """Ideas that are taken out of the bank, every fifth of each exercise, are hardly ever taken for another."""
    taken = another = 0
    for name in LESSONS:
        one = lesson(name)
        for task in one.lesson.exercises:
            wrong = [each for each in one.wrong if each.exercise == task.name]
            bank = Bank(one.lesson, one.reference, [each for n, each in enumerate(wrong) if n % 5 != 2])
            for each in wrong[2::5]:
                named = ideas(one.diagnosed(task.name, one.answer(each), bank)) - set(FAULTS)
                taken, another = taken + 1, another + bool(named)
                if named:
                    print(each.name, "is taken for", named)
    assert taken >= 40
    assert another <= 0.05 * taken
