"""Steal points: next to nothing is earned in both boxes, honest neighbours get what is theirs, and each attack is real."""

import json
from types import SimpleNamespace

import pytest
from attacks.steal import ATTACKS

from autograder import grade as grade_module
from autograder import grader as grader_module
from autograder.collection import Submission
from autograder.grader import Grader
from autograder.inside.confine import Limits
from autograder.inside.worker import Warm
from autograder.oracle import Oracle
from autograder.results import Results, to_json

LESSON = "attention_from_scratch"
BY_NAME = {attack.name: attack for attack in ATTACKS}
LIMITS = Limits(call_s=2.0, submission_s=30.0, memory_bytes=1 << 30)


def notebook_of(attack, filled):
    """A submission with the attack as its answer to softmax, and nothing else of this lesson's."""
    notebook = filled(softmax=attack.code, **attack.answers)
    if attack.name == "points in the notebook":
        for cell in notebook["cells"]:
            if "nbgrader" in cell["metadata"]:
                cell["metadata"]["nbgrader"] |= {"points": 1000, "locked": False}
    return notebook


@pytest.fixture(scope="module", params=["bubblewrap", pytest.param("landlock", marks=pytest.mark.slow)])
def graded(request, tmp_path_factory, course_in, filled, model_answers, sandbox_named):
    """All attacks graded by one grader, three honest submissions among them, which were graded alone before."""
    sandbox_named(request.param)  # skips where this machine cannot have it
    course = course_in(tmp_path_factory.mktemp("steal"))
    wrong = "def softmax(x, dim=-1):\n    return x.exp() / x.exp().sum()\n"
    honest = {"ada": filled(**model_answers), "bela": filled(), "chen": filled(softmax=wrong)}

    def grade(grader, student, notebook):
        path = course.root / f"{student}.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return grader.grade(Submission(student, path)).result

    with Grader(course, course.lesson(LESSON), box=request.param, limits=LIMITS, secret=b"s" * 32) as grader:
        alone = {student: grade(grader, student, notebook) for student, notebook in honest.items()}
    among, found = dict.fromkeys(honest), {}
    with Grader(course, course.lesson(LESSON), box=request.param, limits=LIMITS, secret=b"s" * 32) as grader:
        for number, attack in enumerate(ATTACKS):
            found[attack.name] = grade(grader, f"mallory-{number}", notebook_of(attack, filled))
            if number % (len(ATTACKS) // 3) == 5:
                student = list(honest)[number // (len(ATTACKS) // 3)]
                among[student] = grade(grader, student, honest[student])
    return SimpleNamespace(alone=alone, among=among, found=found)


def softmax_of(result):
    return next(exercise for exercise in result.exercises if exercise.name == "softmax")


@pytest.mark.parametrize("name", BY_NAME)
def test_it_is_held(name, graded):
    """Next to nothing for a wrong answer, nothing for a forbidden one; the rest is worth what it would be without."""
    softmax = softmax_of(graded.found[name])
    assert softmax.max_score == 15
    assert softmax.score <= (0 if BY_NAME[name].cause == "forbidden" else 0.1 * softmax.max_score)
    if BY_NAME[name].cause:
        assert BY_NAME[name].cause in {test.cause for test in softmax.tests}
    if BY_NAME[name].cause == "forbidden":  # the static rules, which name a place, could not read it
        assert softmax.tests[0].message.startswith("a ready-made operator")


def test_honest_neighbours_get_what_they_get_alone(graded):
    """Byte for byte, in results.json."""
    for student, alone in graded.alone.items():
        one, other = (
            to_json(Results(LESSON, "cpu", "", (type(each)(**{**as_fields(each), "seconds": 0.0}),), faults=()))
            for each in (alone, graded.among[student])
        )
        assert one == other
    assert [each.score for each in graded.alone.values()][:2] == [90, 0]


def as_fields(result):
    return {name: getattr(result, name) for name in result.__struct_fields__}


# --- real


@pytest.mark.parametrize("name", [name for name, attack in BY_NAME.items() if attack.real == "naive"])
def test_a_naive_grader_is_taken_in(name, takes_in):
    """Full marks, from a grader that runs it beside its tests."""
    assert takes_in(BY_NAME[name].code)


def test_a_naive_grader_is_not_always_taken_in(takes_in):
    """It gives a wrong answer by itself nothing."""
    assert not takes_in("import torch\ndef softmax(x, dim=-1):\n    return torch.zeros_like(x)\n")


@pytest.fixture(scope="module")
def without_rules(tmp_path_factory, course_in, filled):
    """Grades with neither the static rules nor the replaced kernels."""
    course = course_in(tmp_path_factory.mktemp("free"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade_module, "violations", lambda answer, program, lesson: [])
        patch.setattr(grader_module, "_warm", lambda lesson: Warm(list(grader_module.PRELOAD)))
        with Grader(course, course.lesson(LESSON), box="landlock", limits=LIMITS) as grader:

            def grade(attack):
                path = course.root / "free.ipynb"
                path.write_text(json.dumps(notebook_of(attack, filled)), encoding="utf-8")
                return softmax_of(grader.grade(Submission("free", path)).result)

            yield grade


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, attack in BY_NAME.items() if attack.real == "rules off"])
def test_without_the_rules_it_is_worth_having(name, without_rules):
    """Full marks, or nearly: it is a right answer but for what it is made of."""
    softmax = without_rules(BY_NAME[name])
    assert softmax.score >= 0.8 * softmax.max_score, [test.message for test in softmax.tests]


def test_an_oracle_that_gives_everything_would_answer():
    """The question is well formed: what refuses it is that softmax is not lost."""
    from autograder.inside import messages

    ask = messages.Ask("softmax", {"u": []}, {"d": []}, [])
    assert b"Returned" in Oracle({"softmax": lambda: 1.0}, Limits()).answer(ask, [], None)
    with pytest.raises(messages.ProtocolError):
        Oracle({}, Limits()).answer(ask, [], None)


def test_the_notebook_says_what_it_is_worth(filled):
    """Whoever believes it gives a thousand points."""
    cells = notebook_of(BY_NAME["points in the notebook"], filled)["cells"]
    assert {cell["metadata"]["nbgrader"]["points"] for cell in cells if "nbgrader" in cell["metadata"]} == {1000}
