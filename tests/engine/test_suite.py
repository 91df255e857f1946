"""Warm suites: collected once, run for one after another, and nothing of the one is left for the next."""

import types
from dataclasses import replace

import pytest
import torch

from autograder.course import Course, Exercise, Lesson
from autograder.errors import GraderError, StudentCrash, StudentError
from autograder.fixtures import Case
from autograder.suite import Suite

SUITE = '''
import pytest
import torch
from autograder.checking import Mismatch, covers

MADE = []

@pytest.fixture(scope="module")
def shared():
    MADE.append(1)
    return len(MADE)

@covers(1)
def test_values(student):
    """a value. And more"""
    assert student.f(1) == 2

@covers(5)
@pytest.mark.parametrize("n", [1, 2])
def test_parameters(student, inputs, n):
    """numbers"""
    assert inputs.randn(n).tolist() == student.f(inputs.randn(n)) or student.f(1) == 2

@covers(9)
def test_skipped(student):
    pytest.skip("not here")

def test_shared(student, shared):
    print("printed by", student.f(1))
    assert shared == 1 or student.f(1) == 2

@covers(12)
def test_state(student):
    """leaves state"""
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(1)

@covers(3)
def test_mismatch(student):
    """a mismatch"""
    if student.f(1) != 2:
        raise Mismatch("two", "another", "count")

@covers(3)
def test_context(student):
    """swallows what the student raised"""
    try:
        student.f(1)
    except Exception:
        raise AssertionError("hidden 3.14")
'''


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesson") / "suite_of_f"
    folder.mkdir()
    (folder / "test_f.py").write_text(SUITE)
    exercises = (Exercise("f", 10.0, "", ""), Exercise("g", 10.0, "", ""))
    with Suite(Lesson("lesson", exercises, (), {}, folder, (), frozenset())) as collected:
        yield collected


def right(x):
    return 2


@pytest.fixture
def run(suite):
    """The outcomes for an answer, by the test's name."""

    def outcomes(f, **more):
        case = Case(types.SimpleNamespace(f=f), types.SimpleNamespace(f=right), lambda test: test.encode().ljust(8))
        return {outcome.test: outcome for outcome in suite.run("f", replace(case, **more))}

    return outcomes


def student_raises(error):
    def f(x):
        raise ValueError("text") from error

    return f


def test_titles_and_groups(run):
    """The first sentence of the docstring, parameters in brackets, values or not; a skipped test leaves nothing."""
    found = run(right)
    assert [outcome.title for outcome in found.values()] == [
        "a value. And more", "numbers [1]", "numbers [2]", "shared", "leaves state", "a mismatch",
        "swallows what the student raised",
    ]  # fmt: skip
    assert [outcome.values for outcome in found.values()] == [True, False, False, True, False, True, True]
    assert {outcome.verdict for outcome in found.values()} == {"passed"}


def test_nobody_inherits_anything(run, suite):
    """A right answer after a wrong one passes, and torch is as it was."""
    state = torch.get_rng_state()
    for _ in range(3):
        assert run(lambda x: 3)["test_values"].verdict == "failed"
        assert {outcome.verdict for outcome in run(right).values()} == {"passed"}
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(item._report_sections == [] for item in suite._items["f"])


def test_what_is_said(run):
    """A plain assertion says nothing, a Mismatch its text, an error its type and line; details are the instructor's."""
    found = run(lambda x: 3)
    assert (found["test_values"].cause, found["test_values"].message) == ("wrong", "")
    assert found["test_mismatch"].message == "wanted two\ngot another\n\nhint: count"
    found = run(student_raises(StudentError("ValueError", "text")))
    assert (found["test_values"].cause, found["test_values"].message) == ("error", "ValueError was raised")
    assert "text" in found["test_values"].details
    assert found["test_context"].message == "ValueError was raised"
    assert run(student_raises(StudentCrash("RuntimeError", "died")))["test_values"].cause == "crash"


def test_what_may_not_be_told_is_not(run):
    """Then a student reads what was wanted, and that something was raised."""
    found = run(lambda x: 3, may_tell=lambda: False)
    assert found["test_mismatch"].message == "wanted two\ngot something else\n\nhint: count"
    found = run(student_raises(StudentError("ValueError", "text")), may_tell=lambda: False)
    assert found["test_values"].message == "an error was raised"


def test_our_own_error_is_no_outcome(run):
    """A GraderError in a test goes up."""

    def f(x):
        raise GraderError("the box broke")

    with pytest.raises(GraderError):
        run(f)


def test_a_test_that_nobody_passes_is_not_judged(run):
    """The reference fails it too."""
    found = run(lambda x: 3, reference=types.SimpleNamespace(f=lambda x: 3))
    assert found["test_values"].verdict == "not_judged"
    assert "the reference fails" in found["test_values"].details


def test_an_exercise_without_a_suite(suite):
    """Said with the file's name; its outcomes stand for one hidden suite."""
    assert suite.broken("f") == ""
    assert "test_g.py" in suite.broken("g")
    (outcome,) = suite.outcomes("g", "not_judged", None, "held back")
    assert (outcome.title, outcome.verdict, outcome.message) == ("the hidden suite", "not_judged", "held back")


def test_a_lesson_without_suites(tmp_path):
    """A GraderError that names the folder."""
    lesson = Lesson("lesson", (), (), {}, Course(tmp_path).root / "nowhere", (), frozenset())
    with pytest.raises(GraderError, match="nowhere"):
        Suite(lesson)


def test_the_same_inputs_again(suite):
    """A test draws the same numbers whenever it is run for the same seed, and others for another."""

    def drawn(seed):
        case = Case(types.SimpleNamespace(f=right), types.SimpleNamespace(f=right), lambda test: seed)
        return suite.attempt("f", "test_parameters[cpu-2]", case)[1].made[0][1]

    names = [item.name for item in suite._items["f"]]
    assert "test_parameters[cpu-2]" in names, names
    assert torch.equal(drawn(b"a" * 8), drawn(b"a" * 8))
    assert not torch.equal(drawn(b"a" * 8), drawn(b"b" * 8))
