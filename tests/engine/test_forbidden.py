"""Forbidden operators at run time, where the static rules have looked away: the kernels see who really called."""

import json

import pytest

from autograder import grade as grade_module
from autograder.boxes import choose_box
from autograder.collection import Submission
from autograder.grader import Grader

SOFTMAX = {
    "torch.softmax": "return torch.softmax(x, dim)",
    "a method": "return x.softmax(dim)",
    "F.softmax": "import torch.nn.functional as F\n    return F.softmax(x, dim)",
    "a module": "return torch.nn.Softmax(dim)(x)",
    "torch.special": "return torch.special.softmax(x, dim)",
    "exp of log_softmax": "return torch.log_softmax(x, dim).exp()",
    "softmin": "return torch.nn.functional.softmin(-x, dim)",
    "a private function": "return torch._softmax(x, dim, False)",
    "an operator by name": "return getattr(torch.ops.aten, '_soft' + 'max').default(x, dim, False)",
    "the out variant": "return torch.ops.aten._softmax.out(x, dim, False, out=torch.empty_like(x))",
    "TorchScript": "return torch.jit.CompilationUnit('def f(x):\\n  return torch.softmax(x, -1)\\n').f(x)",
    "masked": "return torch._masked_softmax(x, torch.zeros_like(x, dtype=torch.bool), dim)",
    "safe": "return torch._safe_softmax(x, dim)",
    "inside a helper": "return (lambda z: torch.softmax(z, dim))(x)",
    "with modes disabled": """
    from torch.utils._python_dispatch import _disable_current_modes
    with _disable_current_modes():
        return torch.softmax(x, dim)""",
    "the exception swallowed": """
    try:
        return torch.softmax(x, dim)
    except BaseException:
        m = x.amax(dim, keepdim=True)
        e = torch.exp(x - m)
        return e / e.sum(dim, keepdim=True)""",
    "in a thread": """
    import threading
    out = []
    t = threading.Thread(target=lambda: out.append(torch.softmax(x, dim)))
    t.start()
    t.join()
    return out[0]""",
    "as attention": """
    z = x.transpose(dim, -1)
    eye = torch.eye(z.shape[-1], dtype=x.dtype)
    return torch.nn.functional.scaled_dot_product_attention(z, eye, eye, scale=1.0).transpose(dim, -1)""",
}


@pytest.fixture(scope="module")
def kernels_alone(tmp_path_factory, course_in, filled, model_answers):
    """Grades lesson 1 with some answers replaced, and without the static rules."""
    course = course_in(tmp_path_factory.mktemp("kernels"))
    patch = pytest.MonkeyPatch()
    patch.setattr(grade_module, "violations", lambda answer, program, lesson: [])
    with Grader(course, course.lesson("attention_from_scratch"), box=choose_box()) as grader:

        def grade(**answers):
            path = course.root / "kernels.ipynb"
            path.write_text(json.dumps(filled(**{**model_answers, **answers})), encoding="utf-8")
            result = grader.grade(Submission("kernels", path)).result
            return {exercise.name: exercise for exercise in result.exercises}

        yield grade
    patch.undo()


@pytest.mark.parametrize("spelling", SOFTMAX)
def test_a_ready_made_softmax_costs_its_exercise(kernels_alone, spelling):
    """Whatever the spelling: each test of softmax is forbidden, and no other exercise loses a point."""
    exercises = kernels_alone(softmax=f"def softmax(x, dim=-1):\n    {SOFTMAX[spelling].strip()}\n")
    assert exercises["softmax"].score == 0
    assert {test.cause for test in exercises["softmax"].tests} == {"forbidden"}
    others = [exercise for name, exercise in exercises.items() if name != "softmax"]
    assert all(exercise.score == exercise.max_score for exercise in others if exercise.name == "causal_mask")
    assert not any(test.cause == "forbidden" for exercise in others for test in exercise.tests)


def test_who_calls_a_guilty_exercise_is_not_blamed(kernels_alone):
    """Attention that calls a softmax made of torch.softmax keeps all that torch's softmax gets right."""
    body = (
        "def softmax(x, dim=-1):\n    blocked = (x == -math.inf).all(dim, keepdim=True)\n"
        "    return torch.softmax(x.masked_fill(blocked, 0), dim).masked_fill(blocked, 0)\n"
    )
    exercises = kernels_alone(softmax=body)
    assert exercises["softmax"].score == 0
    for name in ("scaled_dot_product_attention", "multi_head_attention_loop", "multi_head_attention"):
        assert exercises[name].score == exercises[name].max_score


def test_the_model_is_not_accused(kernels_alone):
    """The model answers keep full marks with the kernels replaced."""
    assert all(exercise.score == exercise.max_score for exercise in kernels_alone().values())


@pytest.mark.parametrize(
    "listing",
    ["gc.get_objects()", "gc.get_referrers(torch.softmax)", "[sys.settrace(print)]", "[threading.setprofile(print)]"],
)
def test_the_watch_cannot_be_looked_for(kernels_alone, listing):
    """The functions that list or trace objects are gone, so an answer that would switch the watch off earns nothing."""
    exercises = kernels_alone(
        softmax=f"""import gc, sys, threading
def softmax(x, dim=-1):
    for found in {listing}:
        if type(found).__name__ == "Watch":
            found.judged = frozenset()
    return torch.softmax(x, dim)
"""
    )
    assert exercises["softmax"].score == 0
