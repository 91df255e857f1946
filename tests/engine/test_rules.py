"""The static from-scratch rules: every spelling of a forbidden operator is named, and no right answer is ever
accused.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autograder.course import Exercise, Lesson
from autograder.errors import GraderError
from autograder.notebook import Cell, Notebook
from autograder.program import slice_program
from autograder.rules import read_rules, violations

ROOT = Path(__file__).parents[2]
EXERCISES = {
    "attention_from_scratch": ["softmax", "scaled_dot_product_attention", "multi_head_attention"],
    "attention_with_pytorch": [
        "ScaledDotProductAttention",
        "MultiHeadAttention",
        "count_parameters",
        "copy_builtin_weights",
    ],
    "positional_encoding": ["embed"],
    "transformer_encoder": ["layer_norm", "feed_forward", "encoder", "gradient_norms"],
}
USUAL = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def lesson(name: str) -> Lesson:
    exercises = tuple(
        Exercise(each, 10, f"def {each}():\n    raise NotImplementedError\n", "") for each in EXERCISES[name]
    )
    return Lesson(name, exercises, (), {}, ROOT / "tests" / name, (), frozenset())


def judge(exercise: str, *cells: str, lesson_name: str = "attention_from_scratch") -> list[str]:
    which = lesson(lesson_name)
    notebook = Notebook(tuple(Cell(number, "code", source) for number, source in enumerate((USUAL, *cells), start=1)))
    program = slice_program(notebook, which)
    return violations(program.answers[exercise], program, which)


def function(body: str) -> str:
    return "def softmax(x, dim=-1):\n" + "".join(f"    {line}\n" for line in body.split("\n"))


BODIES = [
    "import gc\nreturn gc.get_objects()[0]",
    "import sys\nreturn sys._getframe(1).f_locals['self']",
    "import inspect\nreturn inspect.stack()",
    "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    return error.__traceback__.tb_frame",
    "return torch.library.get_kernel('aten::_softmax', 'CPU')",
    "from autograder.inside import child\nreturn child",
    "return torch.softmax(x, dim)",
    "return x.softmax(dim)",
    "return (x * 1).softmax(dim)",
    "return x.float().softmax(dim)",
    "return x.log_softmax(dim).exp()",
    "return F.softmax(x, dim)",
    "return nn.Softmax(dim)(x)",
    "return torch.nn.functional.softmax(x, dim)",
    "return torch.special.softmax(x, dim)",
    "return torch.log_softmax(x, dim).exp()",
    "return -F.softmin(-x, dim)",
    "return torch._softmax(x, dim, False)",
    "return torch._safe_softmax(x, dim)",
    "return torch._C._VariableFunctions._softmax(x, dim, False)",
    "return torch._C._nn.scaled_dot_product_attention(x, x, x)",
    "return torch.ops.aten.softmax.int(x, dim)",
    "return torch.ops.aten._softmax.default(x, dim, False)",
    "return torch.ops.aten._softmax.out(x, dim, False, out=torch.empty(3))",
    "return torch._masked_softmax(x, torch.zeros(1), dim)",
    "return torch.masked.softmax(x, dim)",
    "return torch.sparse.softmax(x.to_sparse(), dim).to_dense()",
    "return x.to_mkldnn().softmax(dim).to_dense()",
    "return torch._refs.softmax(x, dim)",
    "return torch._decomp.decompositions._softmax(x, dim, False)",
    "return torch.Tensor.softmax(x, dim)",
    "return torch.Tensor.__dict__['softmax'](x, dim)",
    "return type(x).softmax(x, dim)",
    "return x.__class__.softmax(x, dim)",
    "return getattr(torch, 'softmax')(x, dim)",
    "return getattr(torch, 'soft' + 'max')(x, dim)",
    "return getattr(x, f\"{'soft'}max\")(dim)",
    "return getattr(torch, ''.join(['soft', 'max']))(x, dim)",
    "return getattr(torch, 'xamtfos'[::-1])(x, dim)",
    "return getattr(torch, 'SOFTMAX'.lower())(x, dim)",
    "return getattr(torch, 'softMIN'.replace('MIN', 'max'))(x, dim)",
    "name = 'softmax'\nreturn getattr(torch, name)(x, dim)",
    "return vars(torch)['softmax'](x, dim)",
    "return torch.__dict__['softmax'](x, dim)",
    "return torch.__dict__.get('softmax')(x, dim)",
    "return torch.__getattribute__('softmax')(x, dim)",
    "return __import__('torch').softmax(x, dim)",
    "return __import__('torch.nn.functional', fromlist=['f']).softmax(x, dim)",
    "import importlib\nreturn importlib.import_module('torch.nn.functional').softmax(x, dim)",
    "from importlib import import_module as get\nreturn get('torch.nn' + '.functional').softmax(x, dim)",
    "import sys\nreturn sys.modules['torch'].softmax(x, dim)",
    "import sys\nreturn sys.modules['torch.nn.functional'].softmax(x, dim)",
    "import operator\nreturn operator.methodcaller('softmax', dim)(x)",
    "from operator import methodcaller as call\nreturn call('softmax', dim)(x)",
    "import operator\nreturn operator.attrgetter('softmax')(torch)(x, dim)",
    "import operator\nreturn operator.attrgetter('nn.functional.softmax')(torch)(x, dim)",
    "from torch import softmax as s\nreturn s(x, dim)",
    "from torch.nn import functional as G\nreturn G.softmax(x, dim)",
    "import torch as t\nreturn t.softmax(x, dim)",
    "t = torch\nreturn t.softmax(x, dim)",
    "a, t = 3, torch\nreturn t.softmax(x, dim)",
    "t = [torch][0]\nreturn t.softmax(x, dim)",
    "return {'t': torch}['t'].softmax(x, dim)",
    "return (torch if True else None).softmax(x, dim)",
    "return (t := torch).softmax(x, dim)",
    "s = torch.special\nreturn s.softmax(x, dim)",
    "f = torch.softmax\nreturn f(x, dim)",
    "return (lambda y: torch.softmax(y, dim))(x)",
    "return torch.func.vmap(lambda r: torch.softmax(r, -1))(x)",
    "return [torch.softmax(y, dim) for y in x]",
    "def inner(y):\n    return torch.softmax(y, dim)\nreturn inner(x)",
    "return torch.jit.CompilationUnit('def f(x):\\n    return torch.softmax(x, -1)\\n').f(x)",
    "return eval('torch.softmax(x, dim)')",
    "y = {}\nexec('y = x.softmax(dim)', {'x': x}, y)\nreturn y['y']",
    "import scipy.special\nreturn torch.from_numpy(scipy.special.softmax(x.numpy(), dim))",
    "from scipy.special import softmax as s\nreturn s(x)",
    "import jax\nreturn jax.nn.softmax(x)",
    "import tensorflow as tf\nreturn tf.nn.softmax(x)",
    "import ctypes\nreturn ctypes.CDLL('libtorch_cpu.so')",
    "y = x.detach().requires_grad_()\nreturn torch.autograd.grad(torch.logsumexp(y, dim).sum(), y)[0]",
    "y = x.detach().requires_grad_()\ntorch.logsumexp(y, dim).sum().backward()\nreturn y.grad",
    "y = x.detach().requires_grad_()\ny.logsumexp(dim).sum().backward()\nreturn y.grad",
    "y = x.detach().requires_grad_()\ny.exp().sum(dim).log().sum().backward()\nreturn y.grad",
    "return torch.func.grad(lambda y: torch.logsumexp(y, dim).sum())(x)",
    "return torch.func.jacrev(lambda y: y.logsumexp(dim))(x)",
    "return F.scaled_dot_product_attention(x, x, x)",
    "return torch.nn.MultiheadAttention(4, 1)(x, x, x)",
    "return torch._native_multi_head_attention(x)",
    "return torch.ops.aten._scaled_dot_product_attention_math(x, x, x)[0]",
    "return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(x, x, x)[0]",
]


@pytest.mark.parametrize("body", BODIES)
def test_every_spelling_is_named(body: str) -> None:
    """A ready-made operator is found under any spelling; the sentence says what, where and what to do instead."""
    found = judge("softmax", function(body))
    assert found
    assert all(
        each.startswith("softmax uses ") and "(cell 2, line " in each and "raw operations" in each for each in found
    )


ELSEWHERE = {
    "top-level alias": ["s = torch.softmax", function("return s(x, dim)")],
    "top-level module alias": ["G = torch.special", function("return G.softmax(x, dim)")],
    "import in another cell": [function("return s(x, dim)"), "from torch import softmax as s"],
    "helper": ["def h(x, dim):\n    return x.softmax(dim)\n", function("return h(x, dim)")],
    "star import": ["from torch.nn.functional import *", function("return log_softmax(x, dim).exp()")],
    "the binding itself": ["softmax = torch.softmax"],
    "partial": ["from functools import partial", "softmax = partial(F.softmax, dim=-1)"],
    "import as the answer": ["from torch import softmax"],
    "renamed import as the answer": ["from torch.special import log_softmax as softmax"],
    "lambda": ["softmax = lambda x, dim=-1: F.softmax(x, dim=dim)"],
    "default argument": ["def softmax(x, dim=-1, f=torch.softmax):\n    return f(x, dim)\n"],
    "decorator": [
        "def use(f):\n    return lambda g: f\n",
        "@use(torch.softmax)\ndef softmax(x, dim=-1):\n    return x\n",
    ],
    "subclass": ["class S(torch.Tensor):\n    pass\n", function("return S.softmax(x, dim)")],
    "static method": ["class H:\n    f = staticmethod(torch.softmax)\n", function("return H.f(x, dim)")],
    "attribute": ["class H:\n    pass\n", "H.f = torch.softmax", function("return H.f(x, dim)")],
    "own method as a cover": [
        "class H:\n    def softmax(self):\n        return 1\n",
        function("H()\nreturn x.softmax(dim)"),
    ],
    "autograd function": [
        "class S(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, x):\n        return torch.softmax(x, -1)\n",
        function("return S.apply(x)"),
    ],
    "torch function": [
        "class T(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, f, types, args=(), kwargs=None):\n"
        "        return torch.Tensor.softmax(args[0], -1)\n",
        function("return T(x).exp()"),
    ],
    "constant name": ["NAME = 'soft'", "WHICH = NAME + 'max'", function("return getattr(torch, WHICH)(x, dim)")],
    "global module": [function("global t\nt = torch\nreturn t.special.softmax(x, dim)")],
    "helper of logsumexp": [
        "def lse(y):\n    return torch.logsumexp(y, -1).sum()\n",
        function("return torch.func.grad(lse)(x)"),
    ],
}


@pytest.mark.parametrize("cells", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_other_cells_that_an_answer_runs_count(cells: list[str]) -> None:
    """What an answer uses from other cells is judged with it."""
    assert judge("softmax", *cells)


def test_line_and_cell_are_named() -> None:
    """The sentence leads to the line."""
    (found,) = judge("softmax", "\n# mine\ndef softmax(x, dim=-1):\n    y = x\n    return torch.softmax(y, dim)\n")
    assert found.startswith(
        "softmax uses torch.softmax (cell 2, line 5): softmax and attention are what you build here"
    )


PLAIN = "e = (x - x.amax(dim, keepdim=True)).exp()\nreturn e / e.sum(dim, keepdim=True)"
RIGHT = {
    "plain": [function(PLAIN)],
    "logsumexp": [function("return (x - torch.logsumexp(x, dim, keepdim=True)).exp()")],
    "variable": [function("softmax_out = x.exp()\nlog_softmax = x\nreturn softmax_out / softmax_out.sum(dim)")],
    "local called softmax": [function("softmax = x.exp()\nreturn softmax / softmax.sum(dim)")],
    "docstring": [function('"""As F.softmax(x), torch.softmax and nn.Softmax do."""\n' + PLAIN)],
    "comment": [function("# F.softmax(x, dim) would do\n" + PLAIN)],
    "message": [function("if x is None:\n    raise ValueError('use torch.softmax, F.softmax(x)')\n" + PLAIN)],
    "print": [function("print('softmax', 'torch.softmax')\n" + PLAIN)],
    "annotation": [
        "def softmax(x: nn.Parameter, dim: int = -1) -> 'nn.Module':\n    m: nn.Softmax\n"
        "    e = x.exp()\n    return e / e.sum(dim, keepdim=True)\n"
    ],
    "nn as loop variable": [function("for nn in range(3):\n    y = nn + 1\n" + PLAIN)],
    "nn as parameter": [
        "def softmax(x, dim=-1, nn=None, F=3):\n    y = F * 2 if nn else 1\n    return x.exp() * y / y\n"
    ],
    "F as a number": ["F = 4", function("y = F\n" + PLAIN)],
    "F as a comprehension's variable": [function("y = [F.real for F in x]\n" + PLAIN)],
    "own class": [
        "class Ops:\n    def softmax(self, x):\n        return x.exp() / x.exp().sum()\n",
        function("return Ops().softmax(x)"),
    ],
    "own class in a variable": [
        "class Ops:\n    @staticmethod\n    def softmax(x):\n        return x.exp()\n",
        "ops = Ops()",
        function("return ops.softmax(x)"),
    ],
    "own tensor class": [
        "class T(torch.Tensor):\n    def softmax(self):\n        return self.exp()\n",
        function("return T.softmax(x)"),
    ],
    "own attribute": [
        "class Ops:\n    def __init__(self):\n        self.softmax = lambda x: x.exp()\n"
        "    def go(self, x):\n        return self.softmax(x)\n",
        function("return Ops().go(x)"),
    ],
    "named tuple": [
        "from collections import namedtuple",
        "R = namedtuple('R', 'softmax total')",
        function("r = R(x.exp(), 1)\nreturn r.softmax"),
    ],
    "own log_softmax": [
        "def log_softmax(x, dim):\n    return x - torch.logsumexp(x, dim, keepdim=True)\n",
        function("return log_softmax(x, dim).exp()"),
    ],
    "own layer_norm": ["def layer_norm(x):\n    return x\n", function("return layer_norm(x).exp()")],
    "a check beside it": [
        function(PLAIN),
        "assert torch.allclose(softmax(torch.ones(3)), F.softmax(torch.ones(3), -1))",
    ],
    "a check in the cell": [function(PLAIN) + "print(F.softmax(torch.ones(3), -1))\n"],
    "a checking function": [
        function(PLAIN),
        "def check(x):\n    return torch.softmax(x, -1) - softmax(x)\ncheck(torch.ones(2))",
    ],
    "numpy": ["import numpy as np", function("return (x - np.inf * 0) * np.sqrt(np.pi)")],
    "unused imports": [
        "from torch.nn.functional import softmax as theirs, relu\nfrom torch import nn",
        function(PLAIN),
    ],
    "dtype by name": [function("y = getattr(torch, 'float64')\nz = getattr(torch, 'float' + str(32))\n" + PLAIN)],
    "torch.nn imported as torch": [
        "import torch.nn\nimport torch.nn.functional",
        function(PLAIN.replace("x.amax", "torch.Tensor.amax(x, dim) + x.amax")),
    ],
    "no_grad": [
        function(
            "with torch.no_grad():\n    m = x.amax(dim, keepdim=True)\nreturn (x - m).exp() / (x - m).exp().sum(dim)"
        )
    ],
    "own autograd function": [
        "class S(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        return x.exp().log()\n"
        "    @staticmethod\n    def backward(ctx, g):\n        return g\n",
        function("return S.apply(x)"),
    ],
    "dict key": [function("d = {'softmax': x.exp()}\nreturn d['softmax']")],
    "keyword": ["def f(x, softmax=True):\n    return x\n", function("return f(x, softmax=True)")],
    "compiled": [function(PLAIN), "softmax = torch.jit.script(softmax)"],
    "eval": [
        "class M:\n    def eval(self, s):\n        return 1\n",
        function("M().eval('torch.softmax(x)')\n" + PLAIN),
    ],
}


@pytest.mark.parametrize("cells", RIGHT.values(), ids=RIGHT.keys())
def test_no_right_answer_is_accused(cells: list[str]) -> None:
    """Words, names and checks are no use of an operator."""
    assert judge("softmax", *cells) == []


def test_only_the_guilty_exercise_is_judged() -> None:
    """An exercise that calls a forbidden softmax of the student's is itself clean."""
    cells = [
        "from torch import softmax",
        "def scaled_dot_product_attention(Q, K, V, mask=None):\n    return softmax(Q @ K.mT, -1) @ V\n",
    ]
    assert judge("softmax", *cells)
    assert judge("scaled_dot_product_attention", *cells) == []


def test_star_import_does_not_take_an_exercises_name() -> None:
    """The lesson's own softmax stays the student's, whatever a star import would bind."""
    cells = [
        "from torch import *",
        "def scaled_dot_product_attention(Q, K, V, mask=None):\n    return softmax(matmul(Q, K.mT), -1) @ V\n",
    ]
    assert judge("scaled_dot_product_attention", *cells) == []


MODULE = (
    "class MultiHeadAttention(nn.Module):\n    def __init__(self, d_model, n_heads):\n        super().__init__()\n"
    "        {init}\n    def forward(self, X, mask=None):\n        {body}\n"
)


@pytest.mark.parametrize(
    ("init", "body", "guilty"),
    [
        ("self.W_Q = nn.Linear(3, 3, bias=False)", "return F.softmax(X @ X.mT, -1)", False),
        ("self.attention = ScaledDotProductAttention(3, 3, 3)", "return self.attention(X)", False),
        ("self.multi_head_attention = nn.Linear(3, 3)", "return self.multi_head_attention(X)", False),
        ("self.mha = nn.MultiheadAttention(3, 1)", "return self.mha(X, X, X)", True),
        ("pass", "return F.scaled_dot_product_attention(X, X, X)", True),
        ("pass", "return F.multi_head_attention_forward(X)", True),
        ("self.t = nn.TransformerEncoderLayer(3, 1)", "return self.t(X)", True),
        ("pass", "return torch._native_multi_head_attention(X)", True),
        ("pass", "return torch.ops.aten._transformer_encoder_layer_fwd(X)", True),
        ("pass", "return torch._C._nn.scaled_dot_product_attention(X, X, X)", True),
    ],
)
def test_modules_may_use_nn_but_no_attention(init: str, body: str, guilty: bool) -> None:
    """In the PyTorch lesson only ready-made attention is forbidden, and only inside the modules."""
    found = judge("MultiHeadAttention", MODULE.format(init=init, body=body), lesson_name="attention_with_pytorch")
    assert bool(found) == guilty


def test_other_exercises_of_the_pytorch_lesson_are_free() -> None:
    """`copy_builtin_weights` is about the built-in module, and may name it."""
    source = "def copy_builtin_weights(mha, builtin):\n    assert isinstance(builtin, nn.MultiheadAttention)\n"
    assert judge("copy_builtin_weights", source, lesson_name="attention_with_pytorch") == []


def test_nothing_is_forbidden_in_positional_encoding() -> None:
    """The lesson without rules accuses nobody."""
    source = "def embed(ids, W):\n    return F.embedding(ids, W)\n"
    assert judge("embed", source, lesson_name="positional_encoding") == []


ENCODER = [
    ("layer_norm", "return F.layer_norm(x, x.shape)", True),
    ("layer_norm", "return nn.LayerNorm(3)(x)", True),
    ("layer_norm", "return torch.native_layer_norm(x, [3], None, None, 1e-5)[0]", True),
    ("layer_norm", "return torch.ops.aten.native_group_norm(x)", True),
    ("layer_norm", "return torch.rms_norm(x, [3])", True),
    ("layer_norm", "layer = x.mean(-1)\nnorm = x.var(-1)\nlayer_norm_out = layer + norm\nreturn layer_norm_out", False),
    ("feed_forward", "return torch.relu(x)", True),
    ("feed_forward", "return x.relu()", True),
    ("feed_forward", "return x.relu_()", True),
    ("feed_forward", "return torch.threshold(x, 0, 0)", True),
    ("feed_forward", "return torch.prelu(x, x)", True),
    ("feed_forward", "return torch.ops.aten.hardtanh(x)", True),
    ("feed_forward", "return torch.ops.aten.leaky_relu(x, 0)", True),
    ("feed_forward", "threshold = 0\nrelu = x.clamp(min=0)\nreturn relu", False),
    ("feed_forward", "return torch.where(x > 0, x, 0) + torch.maximum(x, x * 0)", False),
    ("encoder", "return F.embedding(x, x)", True),
    ("encoder", "return torch.embedding(x, x)", True),
    ("encoder", "embedding = x['W_embed'][x]\nreturn embedding", False),
    ("gradient_norms", "return torch.autograd.grad(torch.logsumexp(x, -1).sum(), x)", False),
    ("gradient_norms", "return torch.autograd.grad(torch.softmax(x, -1).sum(), x)", True),
]


@pytest.mark.parametrize(("exercise", "body", "guilty"), ENCODER)
def test_encoder_lesson(exercise: str, body: str, guilty: bool) -> None:
    """Norms, relu and embedding are built there; gradients are one exercise's subject."""
    source = f"def {exercise}(x, *rest):\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    assert bool(judge(exercise, source, lesson_name="transformer_encoder")) == guilty


def test_given_functions_are_the_students_own() -> None:
    """The lesson's ready-made softmax and attention are ordinary code."""
    given = "def softmax(x, dim=-1):\n    return (x - torch.logsumexp(x, dim, keepdim=True)).exp()\n"
    source = "def encoder(x, params, n_heads, mask=None):\n    return softmax(x)\n"
    assert judge("encoder", given, source, lesson_name="transformer_encoder") == []


def test_model_answers_are_clean() -> None:
    """The model answer of every lesson that is built obeys its own rules."""
    from autograder.course import Course
    from autograder.notebook import read_notebook

    course = Course(ROOT)
    for name in course.lessons():
        if course.source(name).exists():
            which = course.lesson(name)
            program = slice_program(read_notebook(course.source(name)), which)
            for answer in program.answers.values():
                assert violations(answer, program, which) == []


def test_stubs_and_lost_exercises_are_not_judged() -> None:
    """What was not answered breaks no rule."""
    assert judge("softmax", "def softmax(x, dim=-1):\n    raise NotImplementedError\n") == []


def long(lines: int) -> str:
    """A function of many lines, each of them allowed."""
    return function("\n".join(f"y{i} = x.exp() + torch.exp(x)" for i in range(lines)) + "\nreturn x")


HOSTILE = {
    "fan-out": "a0 = torch\n"
    + "".join(f"a{i} = (a{i - 1}, a{i - 1}, a{i - 1})\n" for i in range(1, 200))
    + function("return a199"),
    "strings": "s0 = 'a'\n"
    + "".join(f"s{i} = s{i - 1} + s{i - 1} + s{i - 1}\n" for i in range(1, 60))
    + function("return getattr(x, s59)"),
    "cycle": "a = b\nb = a\n" + function("return a.c + getattr(b, a)"),
    "deep": function("return " + "1+" * 2_000 + "x"),
    "long": long(4_000),
    "alias chain": "a0 = torch\n"
    + "".join(f"a{i} = a{i - 1}\n" for i in range(1, 3_000))
    + function("return a2999.exp(x)"),
}


def seconds(source: str) -> float:
    """Processor time that judging takes, which finds nothing; without what it takes to look for garbage."""
    gc.disable()
    try:
        start = time.process_time()
        assert judge("softmax", source) == []
        return time.process_time() - start
    finally:
        gc.enable()


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_code_takes_no_time(source: str) -> None:
    """No code crashes the rules or takes much longer than long and plain code, and none of this is forbidden."""
    assert seconds(source) < 10 * seconds(long(4_000))


GROWING: dict[str, Callable[[int], str]] = {
    "lines": long,
    "bindings of one name": lambda n: function("x = x + x\n" * n + "return x"),
    "bindings at the top": lambda n: "t = 1\n" + "t = t + 1\n" * n + function("return t"),
    "a library's at the top": lambda n: "t = torch\n" + "t = (t, t)\n" * n + function("return t"),
    "loops": lambda n: function("for i in range(3): x = x + i\n" * n + "return x"),
    "functions in a row": lambda n: (
        "".join(f"def f{i + 1}(x):\n    return f{i}(x)\n" for i in range(n)) + function(f"return f{n}(x)")
    ),
    "functions inside": lambda n: function("".join(f"def f{i}(y):\n    return x\n" for i in range(n)) + "return x"),
    "lambdas": lambda n: function("f = lambda y: y + x\n" * n + "return x"),
    "looked up by name": lambda n: function("y = getattr(x, 'e' + 'xp')\n" * n + "return x"),
    "strings": lambda n: function("s = ''\n" + "s = s + 'a'\n" * n + "return getattr(x, s)"),
    "globals": lambda n: function(
        f"global {', '.join(f'a{i}' for i in range(n))}\n" + "".join(f"a{i} = x\n" for i in range(n)) + "return x"
    ),
    "classes in a row": lambda n: (
        "class A0:\n    a = 1\n"
        + "".join(f"class A{i + 1}(A{i}):\n    def f(self): return self.a\n" for i in range(n))
        + function(f"return A{n}")
    ),
    "methods": lambda n: (
        "class A:\n" + "".join(f"    def f{i}(self): return self.f{i - 1}()\n" for i in range(n)) + function("return A()")
    ),
    "code in strings": lambda n: function("exec('y = x')\n" * n + "return x"),
    "in parentheses": lambda n: function("(y := x)\n" * n + "return y"),
    "star imports": lambda n: (
        "".join(f"from m{i} import *\n" for i in range(n)) + function(f"return ({''.join(f'a{i}, ' for i in range(n))})")
    ),
    "a dict": lambda n: function(f"d = {{{', '.join(f'{i}: x' for i in range(n))}}}\nreturn d[3]"),
}


@pytest.mark.parametrize("made", GROWING.values(), ids=GROWING.keys())
def test_time_grows_as_code_does(made: Callable[[int], str]) -> None:
    """Sixteen times as much code takes about sixteen times as long, not 256 times, whatever it is."""
    seconds(made(2))
    most = 4 * 16 * max(min(seconds(made(250 + place)) for place in range(3)), 0.005)
    assert any(seconds(made(4_000 + place)) < most for place in range(3))  # a machine has slow moments


def test_what_is_said_is_no_longer_for_more_of_it() -> None:
    """Of thousands of places a student reads the first."""
    told = judge("softmax", function(f"torch.softmax_{'a' * 80}(x)\n" + "x.softmax(0)\n" * 3_000 + "return x"))
    assert len(told) == 11
    assert "2991 times" in told[-1]
    assert max(map(len, told)) < 500


def test_what_a_name_may_be_does_not_double() -> None:
    """Each of these names may be twice as many things as the one before; the likeliest are still seen."""
    pairs = "".join(f"a{i + 1} = (a{i}.x, a{i}.y)\n" for i in range(200))
    seconds("a0 = torch\n" + pairs + function("return a200"))
    assert judge("softmax", "a0 = torch\n" + pairs + function("b = a0\nb = a9\nreturn b.softmax(x, dim)"))


@pytest.mark.parametrize("where", ["function", "top"])
def test_a_name_that_is_bound_to_what_it_was(where: str) -> None:
    """`t = t.functional` goes on with what `t` was in the line above."""
    lines = "t = torch\nt = t.nn\nt = t.functional\n"
    ends = "return t.softmax(x, dim)"
    cells = [function(lines + ends)] if where == "function" else [lines, function(ends)]
    assert any("torch.nn.functional.softmax" in found for found in judge("softmax", *cells))


def test_a_statement_that_is_too_deep_hides_no_other() -> None:
    """A name that could not be followed in one statement is followed in the next."""
    deep = f"v = torch\nw = v{'.T' * 2_000}\n"
    assert any("torch.softmax" in found for found in judge("softmax", deep, function("w\nreturn v.softmax(x)")))
    assert any("torch.softmax" in found for found in judge("softmax", function(f"x{'.T' * 2_000}\nreturn torch.softmax(x)")))
    chain = "a0 = torch\n" + "".join(f"a{i + 1} = (a{i}, a{i}{'.T' * 100})\n" for i in range(20))
    assert any("torch.softmax" in found for found in judge("softmax", chain, function("a20\nreturn a0.softmax(x)")))


def test_a_name_that_is_bound_below_in_a_loop() -> None:
    """In the second round it is what the line below says."""
    body = "t = None\nfor i in range(2):\n    if i:\n        t = t.softmax\n    else:\n        t = torch\nreturn t(x, dim)"
    assert any("torch.softmax" in found for found in judge("softmax", function(body)))


@pytest.mark.parametrize(
    "text", ["", "reason = 3", "reason = ", "forbidden_modules = 3\nreason = ''\nforbidden_operators = 3"]
)
def test_broken_rules_are_our_fault(tmp_path: Path, text: str) -> None:
    """A broken rules.toml is named, and nobody pays for it."""
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(GraderError, match="rules"):
        read_rules(path)


def test_what_the_lesson_gives_accuses_nobody() -> None:
    """A helper by the name of one in the lesson's toolbox runs that one too, which is not the student's; imports count."""
    given = "def ready(x):\n    return x.__traceback__.tb_frame\n"
    which = Lesson(
        "attention_from_scratch",
        (Exercise("softmax", 10, "def softmax(x, dim=-1):\n    raise NotImplementedError\n", ""),),
        (),
        {},
        ROOT / "tests" / "attention_from_scratch",
        (given, "import torch"),
        frozenset(),
    )
    sources = (given, "def ready(x):\n    return x.exp()\n", "def softmax(x, dim=-1):\n    return ready(x)\n")
    notebook = Notebook(tuple(Cell(number, "code", source) for number, source in enumerate(sources, start=1)))
    program = slice_program(notebook, which)
    assert any("tb_frame" in each.source for each in program.answers["softmax"].statements)
    assert violations(program.answers["softmax"], program, which) == []
    spelt = ("import torch", "def softmax(x, dim=-1):\n    return torch.softmax(x, dim)\n")
    notebook = Notebook(tuple(Cell(number, "code", source) for number, source in enumerate(spelt, start=1)))
    program = slice_program(notebook, which)
    assert violations(program.answers["softmax"], program, which)
