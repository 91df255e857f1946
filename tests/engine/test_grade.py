"""A submission's whole way, with a lesson of two small exercises: who pays for what, and what a student may read."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import pytest

from autograder.build import build
from autograder.canonical import add_feedback, canonical
from autograder.collection import Submission
from autograder.course import Course
from autograder.errors import GraderError
from autograder.grade import grade as grade_one
from autograder.grader import Grader
from autograder.results import Results, to_json
from autograder.sandbox import Sandbox
from autograder.suite import Suite

MARKS = '"grade": true, "locked": false, "schema_version": 3, "solution": true, "task": false, "cell_type": "code"'
LESSON = f"""
# %% [markdown]
# # Small things

# %%
import torch

# %% nbgrader={{"grade_id": "double", "points": 10, {MARKS}}}
def double(x):
    \"\"\"Twice x.\"\"\"
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% nbgrader={{"grade_id": "Net", "points": 10, {MARKS}}}
class Net(torch.nn.Module):
    \"\"\"Twice x, as a module.\"\"\"

    def __init__(self):
        ### BEGIN SOLUTION
        super().__init__()
        self.w = torch.nn.Parameter(torch.full((2,), 2.0))
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        return double(x) * self.w / 2
        ### END SOLUTION
"""
SUITE_DOUBLE = '''
import pytest
import torch
from autograder.checking import Mismatch, agree, agree_gradients, agree_types, close, covers, raises

@covers(1)
def test_by_hand(student):
    """worked by hand"""
    close(student.double(torch.tensor([0.1973, -1973.0])), [0.3946, -3946.0])

@covers(2)
def test_random(student, reference, inputs):
    """any numbers"""
    agree(student.double, reference.double, inputs.randn(2, 3))
    agree(student.double, reference.double, inputs.randn(3))

@covers(5)
def test_types(student, reference, inputs):
    """the type stays"""
    agree_types(student.double, reference.double, inputs.randn(2, dtype=torch.float64))

@covers(6)
def test_gradients(student, reference, inputs):
    """gradients flow"""
    agree_gradients(student.double, reference.double, inputs.randn(2, 3))

@covers(7)
def test_plain(student):
    """a plain assertion"""
    assert student.double(torch.tensor([1973.0])).tolist() == [3946.0]
'''
SUITE_NET = '''
import torch
from autograder.checking import Mismatch, close, covers

@covers(1)
def test_forward(student):
    """worked by hand"""
    net = student.Net()
    net.load_state_dict({"w": torch.tensor([0.1973, 1973.0])})
    close(net(torch.ones(2)), [0.1973, 1973.0])

@covers(11)
def test_names(student):
    """the state dict's names"""
    student.Net()(torch.tensor([0.1973, 1973.0]))
    names = sorted(student.Net().state_dict())
    if names != ["w"]:
        raise Mismatch("the name w", str(names), "call it w")
'''
DOUBLE, NET = "def double(x):\n    return 2 * x", LESSON.partition("class Net")[2]
NET = "class Net" + "\n".join(line for line in NET.splitlines() if "###" not in line)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The course, built once; not to be changed."""
    root = tmp_path_factory.mktemp("tiny")
    (root / "solutions").mkdir()
    (root / "solutions" / "tiny.py").write_text(LESSON.strip() + "\n")
    (root / "tests" / "tiny").mkdir(parents=True)
    (root / "tests" / "tiny" / "test_double.py").write_text(SUITE_DOUBLE)
    (root / "tests" / "tiny" / "test_Net.py").write_text(SUITE_NET)
    course = Course(root)
    build(course)
    return course


@pytest.fixture(scope="session")
def tiny_grader(tiny):
    """The lesson made ready, in the box without walls."""
    with Grader(tiny, tiny.lesson("tiny"), box="landlock") as grader:
        yield grader


def notebook(course, **answers):
    """The release with answers filled in."""
    made = nbformat.read(course.release("tiny"), as_version=4)
    for cell in made.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(grade_id, cell.source)
    return made


@pytest.fixture
def grade(tiny, tiny_grader, tmp_path):
    """Grades a notebook with these answers: grade(double="...")."""

    def run(grader=tiny_grader, **answers):
        path = tmp_path / "submission.ipynb"
        nbformat.write(notebook(tiny, **{"double": DOUBLE, "Net": NET, **answers}), path)
        return grader.grade(Submission("ada", path))

    return run


def exercise(graded, name):
    return next(each for each in graded.result.exercises if each.name == name)


def test_right_answers_get_all_points(grade):
    """And nothing is said."""
    result = grade().result
    assert (result.status, result.score, result.max_score, result.message) == ("graded", 20.0, 20.0, "")
    assert {test.outcome for each in result.exercises for test in each.tests} == {"passed"}


def test_an_untouched_release_gets_nothing(grade, tiny, tiny_grader):
    """Graded, 0 points, missing."""
    result = tiny_grader.grade(Submission("ada", tiny.release("tiny"))).result
    assert (result.status, result.score) == ("graded", 0.0)
    assert {test.cause for each in result.exercises for test in each.tests} == {"missing"}


def test_a_mistake_costs_once(grade):
    """The reference stands in for an earlier exercise that is wrong, where a later one calls it."""
    graded = grade(double="def double(x):\n    return 3 * x")
    assert exercise(graded, "double").score == 0
    assert exercise(graded, "Net").score == 10
    assert "with a right double" in exercise(graded, "Net").tests[0].message


@pytest.mark.parametrize(
    "answer",
    ["return x", "return x * 0", "return torch.ones_like(x)", "return torch.rand_like(x)", "return None", "return 2.0"],
)
def test_nonsense_earns_nothing(grade, answer):
    """The input, zeros, ones, noise, nothing."""
    assert exercise(grade(double=f"def double(x):\n    {answer}"), "double").score <= 0.5


def test_mess_left_behind_costs_its_own_exercise_only(grade):
    """What an exercise does to torch itself is gone with its process."""
    mess = "def double(x):\n    torch.Tensor.__mul__ = torch.Tensor.__rmul__ = lambda a, b: a\n    return x"
    graded = grade(double=mess, Net=NET.replace("double(x)", "x.add(x)"))
    assert exercise(graded, "double").score == 0
    assert exercise(graded, "Net").score == 10


def test_the_same_submission_gives_the_same_bytes(grade, tiny):
    """Random answers, addresses and set order aside: two runs say the same, but for the seconds."""
    wrong = 'def double(x):\n    raise ValueError(f\'{object()} {hash("x")} {set("abcdef")}\')'

    def said():
        graded = grade(double=wrong)
        assert any("0x…" in each for each in graded.details)
        data = json.loads(to_json(Results("tiny", "cpu", "landlock", (graded.result,))))
        data["submissions"][0].pop("seconds")
        return json.dumps(data), graded.details

    assert said() == said()


# --- what a student may read

FORGED = """
    import json, os
    m = json.dumps({}).encode()
    os.write(3, len(m).to_bytes(8, 'little') + m)"""
ANSWER = (
    "{'type': 'Returned', 'call': 0, 'value': 1, 'views': [], 'same': [], 'state': ['float32', True, 'cpu', 0, False],"
    " 'arguments': [[False, -1]]}"
)
N = "int(round(float(x.detach().flatten()[-1].abs())))"  # 1973 in the tests that are worked by hand
LEAKS = {
    "a message": f"raise ValueError(f'input {{{N}}}')",
    "a number raised": f"raise KeyError({N})",
    "an exception's class": f"raise type(f'E{{{N}}}', (ValueError,), {{}})()",
    "an exception's module": f"raise type('E', (ValueError,), {{'__module__': f'm{{{N}}}'}})()",
    "a result's class": f"return type(f'R{{{N}}}', (), {{}})()",
    "a result's shape": f"return torch.zeros({N})",
    "a result's length": f"return [0] * {N}",
    "a dict's keys": f"return {{{N}: 1}}",
    "a text": f"return str({N})",
    "what is printed": f"print({N}); import sys; print({N}, file=sys.stderr); return x",
    "a line that is made up": f"exec(compile('\\n' * ({N} - 1) + 'raise ValueError', '<cell 3>', 'exec'))",
    "a line of its own file": f"""
    import sys
    exec(compile('\\n' * ({N} - 1) + 'raise ValueError', sys._getframe().f_code.co_filename, 'exec'))""",
    "a file's name": f"exec(compile('raise ValueError', f'<cell {{{N}}}>', 'exec'))",
    "a syntax error": f"compile('\\n' * ({N} - 1) + '(', '<cell 3>', 'exec')",
    "a warning": f"import warnings; warnings.warn(str({N})); return x",
    "how many entries are off": f"y = 2 * x.repeat({N}); y[0] += 1; return y",
    "how far": f"return 2 * x + {N}",
    "an error in backward": f"""
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x): return x * 2
        @staticmethod
        def backward(ctx, g): raise ValueError({N.replace('x', 'g')})
    return F.apply(x) * 1.5""",
    "a forged reply": f"""
    import json, os
    m = json.dumps({{"type": "Raised", "kind": str({N}), "text": str({N}), "lines": [[{N}, {N}]]}}).encode()
    os.write(3, len(m).to_bytes(8, 'little') + m)""",
    "a forged operator": f"""
    import json, os
    m = json.dumps({{"type": "Raised", "kind": "E", "text": "", "lines": [], "forbidden": str({N})}}).encode()
    os.write(3, len(m).to_bytes(8, 'little') + m)""",
    "a message of its own kind": FORGED.format(f"{{'type': str({N})}}"),
    "a field of its own": FORGED.format(f"{{'type': 'Ran', str({N}): 1}}"),
    "a value of its own kind": FORGED.format(f"{ANSWER} | {{'value': {{str({N}): 1}}}}"),
    "a length that is none": FORGED.format(f"{ANSWER} | {{'value': {{'t': {N}}}}}"),
    "a dtype of its own": FORGED.format(f"{ANSWER} | {{'views': [[0, str({N}), [], [], 0]]}}"),
    "a text that is far too long": FORGED.format(f"{{'type': 'Raised', 'kind': 'E', 'text': str({N}) * 900, 'lines': []}}"),
}  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS)
def test_a_hidden_input_cannot_be_read(grade, tiny, leak):
    """Neither in results.json nor in the notebook that goes back, in whatever way the code tries to say it."""
    filler = "\n" + "# a long cell\n" * 2000
    graded = grade(double=f"def double(x):\n    {LEAKS[leak]}{filler}")
    assert exercise(graded, "double").score < 5
    assert "1973" not in told(graded, tiny)


# --- what is no tensor of numbers

NASTY = {
    "a subclass that is equal to all": """
    class T(torch.Tensor):
        __eq__ = __le__ = __ge__ = __ne__ = allclose = equal = lambda *a: torch.tensor(True)
        __hash__ = torch.Tensor.__hash__
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None): return torch.tensor(True)
    return x.as_subclass(T)""",
    "a wrapper of nothing": """
    class T(torch.Tensor):
        @staticmethod
        def __new__(cls): return torch.Tensor._make_wrapper_subclass(cls, x.shape, dtype=x.dtype)
        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None): return NotImplemented
    return T()""",
    "meta": "return torch.empty_like(x, device='meta')",
    "sparse": "return (2 * x).to_sparse()",
    "sparse rows": "return (2 * x).reshape(1, -1).to_sparse_csr()",
    "quantized": "return torch.quantize_per_tensor(2 * x.detach().float(), 0.1, 0, torch.qint8)",
    "nested": "return torch.nested.nested_tensor([2 * x.detach()])",
    "jagged": "return torch.nested.nested_tensor([2 * x.detach()], layout=torch.jagged)",
    "fake": """
    from torch._subclasses import FakeTensorMode
    with FakeTensorMode(): return torch.ones(2)""",
    "a giant": "return torch.ones(1, dtype=x.dtype).expand(1 << 40)",
    "giants together": "return [torch.ones(1).expand(1 << 23) for _ in range(9)]",
    "one number for all": "return x.sum().expand(x.shape)",
    "memory that is gone": "y = 2 * x.detach()\n    y.untyped_storage().resize_(0)\n    return y",
    "complex": "return torch.complex(2 * x, x)",
    "truth values": "return x > 0",
    "small floats": "return (2 * x).to(torch.float8_e5m2)",
    "unsigned": "return x.detach().to(torch.uint16)",
    "empty": "return x[:0]",
    "nan": "return x * float('nan')",
    "infinities": "return x * float('inf')",
    "None": "return None",
    "a generator": "return (2 * y for y in x)",
    "a generator function": "yield 2 * x",
    "a coroutine": "return type((lambda: (yield))())",
    "itself": "return double",
    "an object that is equal to all": "return type('E', (), {'__eq__': lambda *a: True, 'shape': x.shape})()",
    "a number that is equal to all": "return type('I', (int,), {'__eq__': lambda *a: True, '__float__': lambda s: 1.0})(3)",
    "a list that lies": "return type('L', (list,), {'__len__': lambda s: 2, '__iter__': lambda s: iter([2 * x])})()",
    "a dict that lies": "return type('D', (dict,), {'__getitem__': lambda s, k: 2 * x, '__eq__': lambda *a: True})()",
    "a list in itself": "y = []\n    y.append(y)\n    return y",
    "a hundred thousand numbers": "return list(range(100_000))",
    "ten thousand keys": "return {str(n): n for n in range(10_000)}",
    "an array": "return (2 * x.detach()).numpy()",
    "a text": "return str(2 * x)",
    "a module": "return torch.nn.Linear(2, 2)",
    "an exception": "return ValueError('x')",
    "a class": "return torch.Tensor",
}  # fmt: skip


@pytest.mark.parametrize("nasty", NASTY)
def test_what_is_no_tensor_of_numbers_is_wrong(grade, nasty):
    """Whatever it says of itself: no points, under a cause that says whose fault, and in words."""
    graded = grade(double=f"def double(x):\n    {NASTY[nasty]}", Net=NET.replace("double(x)", "x.add(x)"))
    failed = [test for test in exercise(graded, "double").tests if test.outcome == "failed"]
    assert exercise(graded, "double").score == 0
    assert len(failed) >= 4
    assert {test.cause for test in failed} <= {"wrong", "error", "output"}
    assert all(test.message or test.name == "a plain assertion" for test in failed)
    assert exercise(graded, "Net").score == 10


def told(graded, course):
    """All that a student gets back of a submission."""
    data = to_json(Results("tiny", "cpu", "landlock", (graded.result,))).decode()
    release = nbformat.read(course.release("tiny"), as_version=4)
    feedback = canonical(release, graded.notebook, graded.program)
    add_feedback(feedback, graded.result)
    outputs = [cell.get("outputs", []) for cell in feedback.cells]
    seconds = f'"seconds": {graded.result.seconds}'
    return data.replace(seconds, "") + json.dumps(outputs)


@pytest.mark.parametrize("name", ["f'w{N}'", "f'w{N}' if SEEN else 'w'", "'a' * N"])
def test_a_state_dict_cannot_spell_an_input(grade, tiny, name):
    """A parameter that is named after what an earlier call was given."""
    net = f"""
SEEN = []
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        N = int(SEEN[-1]) if SEEN else 1
        setattr(self, {name}, torch.nn.Parameter(torch.ones(2)))
    def forward(self, x):
        SEEN.append(float(x[-1]))
        return x
"""
    graded = grade(Net=net)
    assert exercise(graded, "Net").score < 10
    assert "1973" not in told(graded, tiny)
    assert "a" * 100 not in told(graded, tiny)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return x + undefined", "NameError was raised in cell 3, line 2: return x + undefined"),
        ("raise ValueError('text')", "ValueError was raised in cell 3, line 2: raise ValueError('text')"),
        ("return torch.mm(x, x)", "RuntimeError was raised in cell 3, line 2: return torch.mm(x, x)"),
        ("return x[0]", "got (3,)"),
        ("return [x]", "got a list of 1"),
        ("return (2 * x).to(torch.float16)", "float16"),
        ("return 3 * x", "got all entries off, far"),
        ("return 2 * x * float('nan')", "NaN in all entries"),
    ],
)
def test_an_honest_mistake_is_told(grade, body, said):
    """Type, line, shape: what does not depend on the hidden numbers is said."""
    graded = grade(double=f"def double(x):\n    {body}")
    assert any(said in test.message for test in exercise(graded, "double").tests), exercise(graded, "double").tests


def test_what_student_code_said_is_for_the_instructor(grade):
    """The text of an error and what was printed are among the details."""
    graded = grade(double="def double(x):\n    print('look here')\n    raise ValueError('because of this')")
    assert any("because of this" in each for each in graded.details)
    assert any("look here" in each for each in graded.details)


# --- our faults


@pytest.fixture
def with_suite(tiny, tiny_grader, tmp_path):
    """The lesson with another suite for double, None for none at all: with_suite("...")."""
    with ExitStack() as stack:

        def make(text):
            suites = tmp_path / f"suites_{abs(hash((str(tmp_path), text)))}"  # pytest keeps modules by their name
            shutil.copytree(tiny.root / "tests" / "tiny", suites)
            (suites / "test_double.py").unlink() if text is None else (suites / "test_double.py").write_text(text)
            lesson = replace(tiny.lesson("tiny"), suites=suites)
            suite = stack.enter_context(Suite(lesson))
            return SimpleNamespace(
                suite=suite,
                grade=lambda one: grade_one(one, replace(tiny_grader.workshop, lesson=lesson, suite=suite)),
            )

        yield make


@pytest.mark.parametrize(
    ("suite", "why"),
    [
        ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
        ("def test_(:", "SyntaxError"),
        (None, "there is no"),
        ("x = 1", "there is no"),
    ],
)
def test_a_suite_that_cannot_be_run_holds_its_points_back(grade, with_suite, suite, why):
    """Not judged, ten points held back, the other exercise graded."""
    ready = with_suite(suite)
    assert why in ready.suite.broken("double")
    graded = grade(ready)
    result = graded.result
    assert result.status == "needs_review"
    assert "10 points" in result.message
    assert {test.outcome for test in exercise(graded, "double").tests} == {"not_judged"}
    assert (exercise(graded, "double").score, exercise(graded, "Net").score) == (0, 10)


def test_a_test_that_the_reference_fails_is_not_counted(grade, with_suite):
    """Held back, named for the instructor; the other tests of the exercise count."""
    broken = SUITE_DOUBLE + (
        "\n\n@covers(2)\ndef test_broken(student):\n    "
        '"""a broken test"""\n    close(student.double(torch.ones(1)), [5.0])\n'
    )
    ready = with_suite(broken)
    graded, wrong = grade(ready), grade(ready, double="def double(x):\n    return x")
    outcomes = {test.name: test.outcome for test in exercise(graded, "double").tests}
    assert outcomes.pop("a broken test") == "not_judged"
    assert set(outcomes.values()) == {"passed"}
    assert graded.result.status == "needs_review"
    assert any("reference fails" in each for each in graded.details)
    assert exercise(wrong, "double").score == 0


def test_a_box_that_breaks_in_a_test_is_our_fault(grade, monkeypatch):
    """No test fails for it: the error goes up, and the submission is held back."""

    def broken(self):
        raise GraderError("the box broke")

    monkeypatch.setattr(Sandbox, "child", broken)
    with pytest.raises(GraderError):
        grade()


def test_a_box_that_breaks_between_two_calls_is_our_fault(grade, tiny_grader, monkeypatch):
    """Also where a test's own code would have swallowed it."""
    real, count = Sandbox.child, []

    def breaking(self):
        count.append(1)
        if len(count) > 1:
            raise GraderError("the box broke")
        return real(self)

    monkeypatch.setattr(Sandbox, "child", breaking)
    with pytest.raises(GraderError):
        grade(double="import os\ndef double(x):\n    os._exit(1)")


def test_a_submission_whose_time_is_over_is_graded(grade, tiny_grader, monkeypatch):
    """Statements that hang use up the time; what comes after is a time-out, and the run goes on."""
    sandbox = tiny_grader.workshop.sandbox
    monkeypatch.setattr(sandbox, "limits", type(sandbox.limits)(call_s=0.3, submission_s=0.8))
    hanging = "\n".join(f"{name} = [0 for _ in iter(int, 1)]" for name in "abcd")
    graded = grade(double=f"{hanging}\ndef double(x):\n    return a, b, c, d")
    assert graded.result.score == 0
    assert {test.cause for each in graded.result.exercises for test in each.tests} <= {"timeout", "missing"}
