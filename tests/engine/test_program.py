"""Reading by meaning: which statements of a notebook are graded and run, rule by rule, on a lesson of three small
exercises.
"""

from __future__ import annotations

import ast
import gc
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autograder.course import Course, Exercise, Lesson, Written
from autograder.errors import SubmissionError
from autograder.notebook import Cell, Notebook, read_notebook
from autograder.program import Program, slice_program

ROOT = Path(__file__).parents[2]
STUB = 'def {name}(x):\n    """Text.\n\n    Shape: any\n    """\n    raise NotImplementedError\n'
CLASS_STUB = (
    'class Counter:\n    """Counts."""\n\n    def __init__(self, start):\n        """Text."""\n'
    "        super().__init__()\n        raise NotImplementedError\n\n"
    "    def up(self, n):\n        raise NotImplementedError\n"
)
PROMPT = "### Why\nWhy does it double? Write two sentences."
DOUBLE = "def double(x):\n    return 2 * x\n"
TRIPLE = "def triple(x):\n    return double(x) + x\n"
COUNTER = (
    "class Counter:\n    def __init__(self, start):\n        self.n = start\n"
    "    def up(self, n):\n        return self.n + n\n"
)


def lesson() -> Lesson:
    return Lesson(
        name="tiny",
        exercises=(
            Exercise("double", 10, STUB.format(name="double"), DOUBLE),
            Exercise("triple", 10, STUB.format(name="triple"), TRIPLE),
            Exercise("Counter", 10, CLASS_STUB, COUNTER),
        ),
        written=(Written("why", 10, PROMPT, "YOUR ANSWER HERE"),),
        imports={"math": "import math", "plt": "import matplotlib.pyplot as plt"},
        suites=ROOT / "tests" / "tiny",
        model_cells=(DOUBLE, TRIPLE, COUNTER),
        given=frozenset(),
    )


def notebook(*sources: str | tuple[str, str] | tuple[str, str, str]) -> Notebook:
    """Cells from source, (kind, source) or (kind, source, grade id)."""
    cells = []
    for number, each in enumerate(sources, start=1):
        kind, source, *grade_id = ("code", each) if isinstance(each, str) else each
        cells.append(Cell(number, kind, source, grade_id[0] if grade_id else None))
    return Notebook(tuple(cells))


def read(*sources: Any) -> Program:
    return slice_program(notebook(*sources), lesson())


def run(program: Program) -> dict[str, Any]:
    """The notebook's namespace after all of its statements, as the box runs them."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    flags = 0
    for each in program.statements:
        code = compile("\n" * (each.line - 1) + each.source, f"cell {each.cell}", "exec", flags, dont_inherit=True)
        flags |= code.co_flags & 0x1FF0000
        exec(code, namespace)  # noqa: S102 - statements of this file
    return namespace


def sources(program: Program) -> str:
    return "\n".join(each.source for each in program.statements)


def numbered(text: str, *places: int) -> list[bool]:
    return [f"cell {place}" in text for place in places]


# Which binding counts. Each gives double(3) == 6 without a remark.
CLEAN = {
    "def": [DOUBLE],
    "assignment of a lambda": ["double = lambda x: 2 * x"],
    "annotated assignment": ["from collections.abc import Callable\ndouble: Callable = lambda x: 2 * x"],
    "assignment of a helper": ["def mine(x):\n    return 2 * x\n", "double = mine"],
    "partial": ["from functools import partial\ndef times(n, x):\n    return n * x\n", "double = partial(times, 2)"],
    "walrus": ["print((double := lambda x: 2 * x)(1))"],
    "decorator": ["def same(f):\n    return f\n", "@same\ndef double(x):\n    return 2 * x\n"],
    "callable class": ["class Two:\n    def __call__(self, x):\n        return 2 * x\n", "double = Two()"],
    "conditional definition": [
        "FAST = False",
        "if FAST:\n    double = None\nelse:\n    def double(x):\n        return 2 * x\n",
    ],
    "try and except": [
        "try:\n    from no_such_module import double\nexcept ImportError:\n    def double(x):\n        return 2 * x\n"
    ],
    "with": ["import contextlib", "with contextlib.suppress(ValueError):\n    double = lambda x: 2 * x"],
    "for": ["for double in [lambda x: 2 * x]:\n    pass"],
    "unpacking": ["double, other = (lambda x: 2 * x), 3"],
    "globals": ["globals()['double'] = lambda x: 2 * x"],
    "globals update": ["globals().update(double=lambda x: 2 * x)"],
    "its own file": ["%%writefile mine.py\ndef twice(x):\n    return 2 * x\n", "from mine import twice as double"],
    "its own file as a module": [
        "%%writefile mine.py\nN = 1\ndef twice(x):\n    return 2 * x\n",
        "import mine as m",
        "double = m.twice",
    ],
    "main": ["def twice(x):\n    return 2 * x\n", "from __main__ import twice as double"],
    "global in a function": ["def setup():\n    global double\n    double = lambda x: 2 * x", "setup()"],
    "a wrapper is one answer": [DOUBLE, "def same(f):\n    return lambda x: f(x)\n", "double = same(double)"],
    "a wrapper by another name": [DOUBLE, "old = double", "def double(x):\n    return old(x)\n"],
    "helper below": ["def double(x):\n    return times(x, 2)\n", "def times(x, n):\n    return x * n\n"],
    "constant from another cell": ["N = 2", "def double(x):\n    return N * x\n"],
    "helper bound twice": ["N = 1", "N = N + 1", "def double(x):\n    return N * x\n"],
    "augmented": ["N = 1", "N += 1", "def double(x):\n    return N * x\n"],
    "table filled by a loop": ["T = {}", "for i in range(9):\n    T[i] = 2 * i", "def double(x):\n    return T[x]\n"],
    "item stored": ["T = [0, 0, 0, 0]", "T[3] = 6", "def double(x):\n    return T[x]\n"],
    "list appended": ["T = [0, 2, 4]", "T.append(6)", "def double(x):\n    return T[x]\n"],
    "appended inside an assignment": ["T = [0, 2, 4]", "_ = T.append(6)", "def double(x):\n    return T[x]\n"],
    "filled by a function": [
        "T = [0]",
        "def fill(t):\n    t.extend([2, 4, 6])\n",
        "fill(T)",
        "def double(x):\n    return T[x]\n",
    ],
    "global set by a function": [
        "def setup():\n    global N\n    N = 2\n",
        "setup()",
        "def double(x):\n    return N * x\n",
    ],
    "filled by a result's function": [
        "T = {}",
        "def fill():\n    T[3] = 6\n    return T\n",
        "out = fill()",
        "def double(x):\n    return T[x]\n",
    ],
    "filled two calls down": [
        "T = {}",
        "def a():\n    T[3] = 6\n",
        "def b():\n    a()\n",
        "b()",
        "def double(x):\n    return T[x]\n",
    ],
    "filled by a decorator": [
        "T = {}",
        "def keep(f):\n    T[0] = f\n    return f\n",
        "@keep\ndef other(x):\n    return 2 * x\n",
        "double = T[0]",
    ],
    "changed by another name": ["T = [1]", "U = T", "U[0] = 2", "def double(x):\n    return T[0] * x\n"],
    "counts its calls": ["count = 0", "def double(x):\n    global count\n    count += 1\n    return 2 * x\n"],
    "object with a method": [
        "class C:\n    def set(self):\n        self.n = 2\n",
        "c = C()",
        "c.set()",
        "def double(x):\n    return c.n * x\n",
    ],
    "display in the function": ["exec('print(1)')", "def double(x):\n    return display(x) if x < 0 else 2 * x\n"],
    "shuffled in place": ["import random", "T = [2]", "random.shuffle(T)", "def double(x):\n    return T[0] * x\n"],
    "attribute of a function": ["def double(x):\n    return double.n * x\n", "double.n = 2"],
    "attribute of a helper": ["class C:\n    pass\n", "C.n = 2", "def double(x):\n    return C.n * x\n"],
    "setattr of a helper": ["class C:\n    pass\n", "setattr(C, 'n', 2)", "def double(x):\n    return C.n * x\n"],
    "stored on a module": ["import math", "math.two = 2", "def double(x):\n    return math.two * x\n"],
    "star import": ["from operator import *", "def double(x):\n    return mul(2, x)\n"],
    "import at the bottom": ["def double(x):\n    return operator.mul(2, x)\n", "import operator"],
    "import inside": ["def double(x):\n    import operator\n    return operator.mul(2, x)\n"],
    "shadowed builtin": ["sum = lambda x: 2 * x", "def double(x):\n    return sum(x)\n"],
    "await": ["async def two():\n    return 2\n", "N = await two()", "def double(x):\n    return N * x\n"],
    "unbound but by a print": ["print(N := 2)", "def double(x):\n    return N * x\n"],
    "future": ["from __future__ import annotations", "def double(x: Unknown) -> Unknown:\n    return 2 * x\n"],
    "recursion": ["def double(x):\n    return 2 * x if x < 9 else double(x - 1) + 2\n"],
    "two on a line": ["N = 2; M = 3", "def double(x): return N * x"],
    "non-ASCII text": ["größe = 2; π = 'ü'", "def double(x):\n    return größe * x  # ü\n"],
    "Windows line ends": ["def double(x):\n    y = '''a\n    b'''\n    return 2 * x\n"],
    "class attribute": ["class C:\n    n = 2\n", "def double(x):\n    return C.n * x\n"],
    "nested function uses a global": [
        "N = 2",
        "def double(x):\n    def inner():\n        return N\n    return inner() * x\n",
    ],
    "comprehension uses a global": ["N = 2", "def double(x):\n    return sum([x for _ in range(N)])\n"],
    "default argument": ["N = 2", "def double(x, n=N):\n    return n * x\n"],
    "match": ["match 2:\n    case N:\n        pass", "def double(x):\n    return N * x\n"],
}


@pytest.mark.parametrize("cells", CLEAN.values(), ids=CLEAN.keys())
def test_whatever_binds_the_name_is_the_answer(cells: list[str]) -> None:
    """A binding of any kind is found, with all that it needs, and nothing is reported."""
    program = read(*cells)
    assert program.answers["double"].state == "answered"
    assert run(program)["double"](3) == 6
    assert program.repairs == ()
    assert program.review == ()


# What is run, reported and asked: each gives double(3) == 6, with these words among the repairs.
REPAIRED = {
    "stub after the answer": ([DOUBLE, STUB.format(name="double")], "stub"),
    "stub before the answer": ([STUB.format(name="double"), DOUBLE], "stub"),
    "stub after it in one cell": ([DOUBLE + "\n" + STUB.format(name="double")], "stub"),
    "pass is a stub": ([DOUBLE, "def double(x):\n    pass\n"], "stub"),
    "dots are a stub": ([DOUBLE, "def double(x):\n    ...\n"], "stub"),
    "nbgrader's stub": ([DOUBLE, "def double(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()\n"], "stub"),
    "the same twice": ([DOUBLE, DOUBLE.replace("2 * x", "2*x  # again")], "more than once, alike"),
    "its result under its name": ([DOUBLE, "double = double(4)"], "a value, no function"),
    "a value under its name": ([DOUBLE, "double = 7"], "a value, no function"),
    "a library's function beside it": ([DOUBLE, "from numbers_lib import double"], "an import from a library"),
    "missing import": (["def double(x):\n    return int(math.pow(2, 1)) * x\n"], "`import math` was supplied"),
    "time magic": (["%%time\n" + DOUBLE], "line 1 was left out"),
    "two cell magics": (["%%capture out\n%%time\n" + DOUBLE], "lines 1-2 were left out"),
    "comment before the magic": (["# mine\n%%time\n" + DOUBLE], "line 2 was left out"),
    "shell line": (["!pip install einops\n" + DOUBLE], "line 1 was left out"),
    "help line": (["?print\n" + DOUBLE + "double?\n"], "lines 1 and 4 were left out"),
    "magic in the function": (["def double(x):\n    %time y = 2 * x\n    return y\n"], "line 2 was left out"),
    "shell line in the function": (["def double(x):\n    !ls \\\n      -la\n    return 2 * x\n"], "left out"),
    "doctest prompts": ([">>> def double(x):\n...     return 2 * x\n>>> print(1)"], "left out"),
    "print in the cell": ([DOUBLE + "print(double(2))\n"], "line 3 was left out"),
    "check in the cell": ([DOUBLE + "\nassert double(2) == 4\n"], "line 4 was left out"),
    "syntax error beside it": ([DOUBLE + "\nprint(double(2)\n"], "cell 1, line 4: '(' was never closed"),
    "indentation error above it": (["  x = 3\n y = 4\n" + DOUBLE], "cell 1"),
    "a version that does not compile": (
        [DOUBLE, ("code", "def double(x, x):\n    return x\n")],
        "duplicate argument 'x'",
    ),
    "broken rewrite below": ([DOUBLE, ("code", "def double(x):\n    return 2 *\n", "double")], "cell 2, line 2"),
}


@pytest.mark.parametrize(("cells", "words"), REPAIRED.values(), ids=REPAIRED.keys())
def test_repairs_say_what_was_done(cells: list[Any], words: str) -> None:
    """The answer counts, and one sentence says in what way it was read."""
    program = read(*cells)
    assert run(program)["double"](3) == 6
    assert words in "\n".join(program.repairs)
    assert program.review == ()
    assert all("\n" not in repair and repair.endswith(".") for repair in program.repairs)


NOT_RUN = {
    "print": "print(double(2))",
    "plot": "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([double(1)])\nplt.show()",
    "assert": "assert double(1) == 3, 'wrong'",
    "training loop": "for step in range(10**9):\n    loss = double(step)\n    print(loss)",
    "endless loop": "while True:\n    pass",
    "del": "del double",
    "seed": "import random\nrandom.seed(0)",
    "global state": "import torch as t\nt.set_default_dtype(t.float64)\nt.manual_seed(0)\nt.set_grad_enabled(False)",
    "device": "import torch\ndevice = 'cuda' if torch.cuda.is_available() else 'cpu'\ntorch.set_default_device(device)",
    "magics": "%matplotlib inline\n!pip install torch\n%load_ext autoreload",
    "bash": "%%bash\nrm -rf /",
    "html": "%%html\n<b>def double(x): return 1</b>",
    "input": "name = input('your name')",
    "colab": "from google.colab import drive\ndrive.mount('/content/drive')",
    "widgets": "import ipywidgets\nipywidgets.interact(double, x=(0, 3))",
    "exit": "import sys\nsys.exit()",
    "failing experiment": "1 / 0",
    "broken cell": "for i in range(3) print(i)",
    "a check of one's own": "import torch.nn.functional as F\ndef check():\n    assert double(1) == F.relu(1)\ncheck()",
    "module patched elsewhere": "import math\nmath.pi = 3",
    "another object changed": "log = []\nlog.append(double(2))",
}


@pytest.mark.parametrize("cell", NOT_RUN.values(), ids=NOT_RUN.keys())
def test_what_no_exercise_needs_is_not_run(cell: str) -> None:
    """Only the answer is run, wherever the other cell stands, and nothing is reported of an ungraded cell."""
    for cells in ([DOUBLE, cell], [cell, DOUBLE]):
        program = read(*cells)
        assert sources(program).strip() == DOUBLE.strip()
        assert program.repairs == ()
        assert program.review == ()


def test_statements_keep_cell_and_line() -> None:
    """Each statement knows where it stands, below decorators, magics and blank lines too."""
    program = read("import functools", "%%time\n\n@functools.cache\ndef double(x):\n    return 2 * x\n")
    assert [(each.cell, each.line) for each in program.statements] == [(1, 1), (2, 3)]


def test_different_answers_are_reviewed() -> None:
    """The last of two different answers is graded; the reason for review names both places."""
    program = read("def double(x):\n    return x + x\n", "print(1)", "\n" + DOUBLE)
    assert run(program)["double"](3) == 6
    assert len(program.review) == 1
    assert "cell 1, line 1" in program.review[0]
    assert "cell 3, line 2" in program.review[0]
    assert any("double has different answers" in each for each in program.repairs)


def test_formatting_makes_no_difference() -> None:
    """Docstrings, comments and formatting do not make two answers different."""
    program = read('def double(x):\n    """Mine."""\n    # so\n    return (2 * x)\n', DOUBLE)
    assert program.review == ()


@pytest.mark.parametrize("kind", ["markdown", "raw"])
@pytest.mark.parametrize("fence", ["```python\n{}```\n", "text\n\n```\n{}```\nmore text\n", "{}", "~~~py\n{}~~~"])
def test_code_in_text_is_graded_and_reviewed(kind: str, fence: str) -> None:
    """An answer in a cell of text counts where no code cell has one, with its helpers, and a person has to look."""
    program = read(STUB.format(name="double"), (kind, fence.format("N = 2\ndef double(x):\n    return N * x\n")))
    assert run(program)["double"](3) == 6
    assert "cell 2" in program.review[0]
    assert "not a code cell" in "\n".join(program.repairs)


def test_code_in_text_does_not_beat_code() -> None:
    """An answer in a code cell stands, whatever a text says."""
    program = read(DOUBLE, ("markdown", "```python\ndef double(x):\n    return 0\n```"))
    assert run(program)["double"](3) == 6
    assert program.review == ()


def test_a_formula_in_prose_is_no_answer() -> None:
    """A line of prose that looks like an assignment is not taken for code."""
    program = read(STUB.format(name="double"), ("markdown", "double = x + x\n\nsays it all"))
    assert program.answers["double"].state == "stub"


@pytest.mark.parametrize(
    "cells",
    [
        ["def double(x):\n    return eval('2 * x')\n"],
        ["exec('def double(x):\\n    return 2 * x\\n')"],
        ["code = 'def double(x): return 2 * x'", "exec(code)"],
        ["def double(x):\n    y = {}\n    exec('z = 2', y)\n    return y['z'] * x\n"],
        ["def helper(x):\n    return eval('2') * x\n", "def double(x):\n    return helper(x)\n"],
        ["def double(x):\n    return __builtins__.eval('2') * x if 0 else 2 * x\n"],
    ],
)
def test_exec_and_eval_are_reviewed(cells: list[str]) -> None:
    """Code that is made at run time is graded, and a person is asked to read it."""
    program = read(*cells)
    if program.answers["double"].state == "answered":
        assert run(program)["double"](3) == 6
    assert program.review


@pytest.mark.parametrize(
    "cells",
    [
        ["def double(x):\n    return getattr(x, '__mu' + chr(108) + '__')(2)\n"],
        ["NAME = bytes([95, 95, 109, 117, 108, 95, 95]).decode()", "def double(x):\n    return getattr(x, NAME)(2)\n"],
        ["import operator\n", "def double(x):\n    return operator.methodcaller('X__mul__'.translate({88: ''}), 2)(x)\n"],
    ],
)
def test_names_spelt_at_run_time_are_reviewed(cells: list[str]) -> None:
    """No rule can read what they reach: graded, and a person is asked."""
    program = read(*cells)
    assert run(program)["double"](3) == 6
    assert "spells at run time" in " ".join(program.review)


def test_names_by_number_are_nobodys_business() -> None:
    """`getattr(self, f"W_{i}")` is ordinary, and so is text made elsewhere."""
    double = "def double(x):\n    return sum(getattr(x, f'{part}') for part in ('real', 'real'))\n"
    program = read("LETTERS = chr(97)", double)
    assert run(program)["double"](3) == 6
    assert program.review == ()


def test_the_lessons_own_lookups_by_name_accuse_nobody() -> None:
    """A toolbox may look names up and decode bytes; an answer that needs it is not for a person to read."""
    tools = "def tool(x):\n    return getattr(x, bytes([114, 101, 97, 108]).decode())\n"
    cells = notebook(tools, "def double(x):\n    return 2 * tool(x)\n")
    assert slice_program(cells, replace(lesson(), model_cells=(tools,))).review == ()
    assert slice_program(cells, lesson()).review


def test_exec_beside_an_answer_is_nobodys_business() -> None:
    """A left-out exec costs nothing; nor does a method called eval."""
    program = read(
        "exec('print(1)')",
        "class M:\n    def eval(self):\n        return 2\n",
        "m = M()",
        "def double(x):\n    return m.eval() * x\n",
    )
    assert run(program)["double"](3) == 6
    assert program.review == ()


def test_untouched_release_is_all_stubs() -> None:
    """Stubs are not run, and are no reason to refuse the notebook."""
    program = read(STUB.format(name="double"), STUB.format(name="triple"), CLASS_STUB)
    assert {answer.state for answer in program.answers.values()} == {"stub"}
    assert program.statements == ()
    assert program.repairs == ()


def test_partly_written_class_is_an_answer() -> None:
    """A class of which one method is written is no stub."""
    half = CLASS_STUB.replace(
        "    def up(self, n):\n        raise NotImplementedError", "    def up(self, n):\n        return n"
    )
    assert read(half).answers["Counter"].state == "answered"
    assert read("class Counter:\n    pass").answers["Counter"].state == "stub"


def test_class_patches_belong_to_the_answer() -> None:
    """Methods that are stored on a class later are part of it; those of an older class are not."""
    program = read(
        "class Counter:\n    pass\n",
        "class Counter:\n    def __init__(self, start):\n        self.n = start\n",
        "def up(self, n):\n    return self.n + n\n",
        "Counter.up = up",
    )
    assert run(program)["Counter"](2).up(3) == 5
    assert program.review == ()


def test_lost_exercise_stays_unbound() -> None:
    """An exercise that calls a lost one is answered; the name is left to the engine."""
    program = read(STUB.format(name="double"), TRIPLE)
    assert program.answers["triple"].state == "answered"
    assert [each.source.split("(")[0] for each in program.statements] == ["def triple"]
    assert program.repairs == ()


def test_arguments_of_a_function_called_top_are_its_own() -> None:
    """Python's symbol table calls the module "top", too."""
    program = read("def top(math):\n    return 2 * math\n", "def double(x):\n    return top(x)\n")
    assert not any("supplied" in repair for repair in program.repairs)


def test_answers_hold_their_own_code_only() -> None:
    """Helpers belong to an exercise's statements, other exercises do not."""
    program = read("N = 2", "def double(x):\n    return N * x\n", "M = 1", "def triple(x):\n    return double(x) + M * x\n")
    own = {name: [each.source[:10] for each in answer.statements] for name, answer in program.answers.items()}
    assert own["double"] == ["N = 2", "def double"]
    assert own["triple"] == ["M = 1", "def triple"]


def test_syntax_error_loses_only_what_it_defines() -> None:
    """The rest of the cell counts; the lost exercise's message has line and caret."""
    program = read(
        "def double(x):\n    return 2 *\n\n@property\ndef broken(:\n    pass\n\ndef triple(x):\n    return 3 * x\n"
    )
    assert program.answers["triple"].state == "answered"
    lost = program.answers["double"]
    assert (lost.state, lost.cell) == ("missing", 1)
    assert lost.message == "cell 1, line 2: invalid syntax\n    return 2 *\n              ^".replace(
        "    return", "        return"
    ).replace("              ^", "                  ^")


def test_what_does_not_compile_is_lost() -> None:
    """A definition that parses but does not compile is missing, with line and caret."""
    answer = read("\ndef double(x):\n    break\n", TRIPLE).answers["double"]
    assert answer.state == "missing"
    assert answer.message.startswith("cell 1, line 3: 'break' outside loop\n        break")


def test_moved_answers_are_reported() -> None:
    """An answer outside its own cell is a repair; lost metadata alone are none."""
    moved = read(("code", STUB.format(name="double"), "double"), ("code", "pass", "triple"), "\n" + DOUBLE)
    assert any("taken from cell 3, not from its own cell 1" in each for each in moved.repairs)
    merged = read(("code", DOUBLE + "\n" + TRIPLE, "double"))
    assert any("triple was taken from cell 1; its own cell is gone" in each for each in merged.repairs)
    assert read(DOUBLE, TRIPLE).repairs == ()


def test_forged_metadata_change_nothing() -> None:
    """A grade id on the wrong cell is a hint that is not followed."""
    program = read(("code", "print(1)", "double"), ("code", DOUBLE, "triple"))
    assert program.answers["double"].state == "answered"
    assert program.answers["triple"].state == "missing"


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([("markdown", PROMPT), ("markdown", "Because.", "why")], "Because."),
        ([("markdown", PROMPT), ("markdown", "YOUR ANSWER HERE", "why")], ""),
        ([("markdown", PROMPT), ("markdown", "Because.")], "Because."),
        ([("markdown", PROMPT), ("raw", "Because.")], "Because."),
        ([("markdown", PROMPT + "\n\nBecause\nof it.")], "Because\nof it."),
        ([("markdown", PROMPT), ("markdown", "YOUR ANSWER HERE"), ("markdown", "Because.")], "Because."),
        ([("markdown", PROMPT), ("markdown", "# Next section")], ""),
        ([("code", "Because.", "why")], "Because."),
        ([("markdown", PROMPT), ("markdown", "YOUR ANSWER HERE", "why"), ("markdown", "Because.", "why")], "Because."),
        ([], ""),
    ],
)
def test_written_answers(cells: list[Any], text: str) -> None:
    """A written answer is found by its grade id, else under its prompt; the stub is no answer."""
    assert read(DOUBLE, *cells).written == {"why": text}


@pytest.mark.parametrize(
    "cells",
    [
        ["print(1)"],
        ["def other(x):\n    return x\n"],
        [("markdown", "# Hello")],
        [("code", DOUBLE, "layer_norm"), ("code", "def f(): pass", "batch_norm")],
        [("code", DOUBLE, "double"), ("code", "x = 1", "layer_norm"), ("code", "def f(): pass", "batch_norm")],
    ],
)
def test_another_lessons_notebook_is_refused(cells: list[Any]) -> None:
    """None of the exercises, or another lesson's grade ids: an error that asks for the right one."""
    with pytest.raises(SubmissionError, match="tiny"):
        read(*cells)


def test_the_lesson_that_fits_better_is_named() -> None:
    """Given the other lessons' exercises, a mistaken hand-in is named."""
    cells = notebook("def count(x):\n    return 1\n", DOUBLE, "def layer(x):\n    return x\n")
    with pytest.raises(SubmissionError, match="lesson second"):
        slice_program(cells, lesson(), {"second": ["count", "layer"], "tiny": ["double", "triple", "Counter"]})


HOSTILE = {
    "deep brackets": "(" * 100_000,
    "deep closed brackets": "x = " + "[" * 90 + "]" * 90,
    "deep minus": "x = " + "-" * 100_000 + "1",
    "deep attributes": "x = a" + ".b" * 50_000,
    "long sum": "x = " + "1+" * 50_000 + "1",
    "deep lambda": "x = " + "lambda:" * 20_000 + "1",
    "deep not": "x = " + "not " * 50_000 + "1",
    "deep if": "\n".join(" " * i + "if 1:" for i in range(99)) + "\n" + " " * 99 + "pass",
    "deep f-string": 'x = f"{f' * 500,
    "line ends in a magic": 'get_ipython().run_cell_magic("time", "", "x = 1\\rdef f():\\r    return 1\\r\\n")\n',
    "long elif": "if 1:\n  pass\n" + "elif 1:\n  pass\n" * 5_000,
    "long line": "x = '" + "a" * 5_000_000 + "'",
    "many lines": "x = 1\n" * 15_000,
    "many statements": "x=1;" * 20_000,
    "NUL": "x = 1\0\n" + DOUBLE,
    "surrogate": "x = '\ud800'\n",
    "form feed": "\x0cx = 1\x0b\n",
    "line separators": "x = 'a\u2028b'\ny = 2\n",
    "invalid escape": "x = '\\d \\w'\n",
    "is literal": "x = 1 is 1\n",
    "huge int": "x = " + "9" * 20_000,
    "magics": "!ls\n" * 5_000,
    "magic of magics": "%%time\n" * 5_000,
    "unclosed string": 'x = """\n' * 2_000,
    "broken lines": "x = (\n" * 2_000,
    "chain": "\n".join(f"a{i} = a{i - 1}" for i in range(1, 5_000)) + "\ndef double(x):\n    return a4999\n",
    "redefinitions": "".join(f"def double(x):\n    return {i}\n" for i in range(3_000)),
    "wrappers": DOUBLE + "double = wrap(double)\n" * 3_000,
    "inner functions": "def double(x):\n" + "".join(f"    def f{i}(): return x\n" for i in range(4_000)),
    "return": "return 3\n",
    "tabs": "if 1:\n\tx = 1\n        y = 2\n",
    "BOM inside": "\ufeffx = 1\n",
    "unicode name": "𝐝𝐨𝐮𝐛𝐥𝐞 = lambda x: 2 * x\n",
    "keyword": "class = 3\nNone = 4\ndef f(None): pass\n",
    "nonlocal": "nonlocal x\n",
    "duplicate argument": "def double(x, x):\n    return x\n",
    "tilde fence": "~~~\n" * 1_000,
}


def seconds(*sources: str | tuple[str, str]) -> float:
    """Processor time that reading these cells takes, without what it takes to look for garbage."""
    gc.disable()
    try:
        start = time.process_time()
        read(*sources)
        return time.process_time() - start
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def plain_s() -> float:
    """Processor time that a large cell takes in which nothing is odd."""
    return min(seconds(HOSTILE["many lines"], TRIPLE) for _ in range(2))


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("kind", ["code", "markdown"])
def test_hostile_sources_harm_nobody(source: str, kind: str, plain_s: float) -> None:
    """Any source is read in the time that plain ones take, without a warning, and the other exercises are found."""
    cells = (kind, source), TRIPLE, (kind, "def Counter(" + source)
    assert read(*cells).answers["triple"].state == "answered"
    assert seconds(*cells) < 10 * plain_s


GROWING: dict[str, Callable[[int], str]] = {  # what could be compared with all that stands there already
    "answers": lambda n: "".join(f"def double(x):\n    return {i}\n" for i in range(n)),
    "answers alike": lambda n: DOUBLE * n,
    "classes": lambda n: COUNTER * n,
    "stubs": lambda n: STUB.format(name="double") * n,
    "wrappers": lambda n: DOUBLE + "double = wrap(double)\n" * n,
    "subclasses": lambda n: COUNTER + "class Counter(Counter):\n    pass\n" * n,
    "predecessors": lambda n: DOUBLE + "".join(f"a{i} = double\ndef double(x):\n    return a{i}(x)\n" for i in range(n)),
    "one predecessor": lambda n: DOUBLE + "a = double\ndef double(x):\n    return a(x)\n" * n,
    "values": lambda n: "double = 3\n" * n,
    "a library's": lambda n: "import math\n" + "double = math.sin\n" * n,
    "refused": lambda n: "def double(x, x):\n    return 1\n" * n,
    "attributes": lambda n: DOUBLE + "double.x = 1\n" * n,
    "decorators": lambda n: "@wrap\n" * n + DOUBLE,
    "chain": lambda n: "".join(f"a{i + 1} = a{i}\n" for i in range(n)) + f"def double(x):\n    return a{n}\n",
    "changes": lambda n: "t = []\n" + "t.append(1)\n" * n + "def double(x):\n    return t\n",
    "methods": lambda n: "t = []\n" + "t.use()\nt = t\n" * n + "def double(x):\n    return t\n",
    "aliases": lambda n: (
        "t = []\n" + "".join(f"a{i} = t\na{i}.pop()\n" for i in range(n)) + "def double(x):\n    return t\n"
    ),
    "one alias": lambda n: "t = []\n" + "a = t\na.pop()\n" * n + "def double(x):\n    return t\n",
    "alias of alias": lambda n: (
        "a0 = []\n" + "".join(f"a{i + 1} = a{i}\na{i}.pop()\n" for i in range(n)) + "def double(x):\n    return a0\n"
    ),
    "effects": lambda n: "def f():\n    global t\n    t = 1\n" + "f()\n" * n + "def double(x):\n    return t\n",
    "functions with effects": lambda n: (
        "".join(f"def f{i}():\n    global t\n    t = f{i}\nf{i}()\n" for i in range(n)) + "def double(x):\n    return t\n"
    ),
    "made by exec": lambda n: "".join(f"a{i} = 'double'\nexec(a{i})\n" for i in range(n)),
    "imports": lambda n: "import math\n" * n + "def double(x):\n    return math.pi\n",
    "star imports": lambda n: (
        "from math import *\n" * n + "def double(x):\n    return " + "+".join(f"a{i}" for i in range(n)) + "\n"
    ),
    "changes of a module": lambda n: (
        "import math\n"
        + "".join(f"math.a{i} = 1\n" for i in range(n))
        + "def double(x):\n    return "
        + "+".join(f"math.a{i}" for i in range(n))
        + "\n"
    ),
    "shadows": lambda n: "math = 3\n" * n + "def double(x):\n    return math.pi\n",
    "copies that break off": lambda n: "def f(x):\n    y = 1\n" * n + "def double(x):\n    return f(x)\n",
    "cell magics": lambda n: "%%time\n" * n + DOUBLE,
    "line magics": lambda n: "!ls\n" * n + DOUBLE,
    "IPython's own calls": lambda n: "get_ipython().run_cell_magic('time', '', 'x = 1')\n" * n + DOUBLE,
    "prompts": lambda n: ">>> x = 1\n" * n,
    "broken definitions": lambda n: "def double(x:\n    return 1\n" * n,
    "broken names": lambda n: "def a\n" * n,
    "open brackets": lambda n: "(\n" * n,
    "open strings": lambda n: "x = '\n" * n,
    "long strings": lambda n: 'x = """\n' * n,
    "new f-strings": lambda n: "x = f'{a['b']}'\n" * n,
    "line ends": lambda n: "\\\n" * n,
    "typed signs": lambda n: "x = \u201ca\u201d\n" * n,
    "indents": lambda n: "  x = 1\n" * n,
    "fences": lambda n: "~~~python\nx = 1\n~~~\n" * n,
}


@pytest.mark.parametrize("made", GROWING.values(), ids=GROWING.keys())
@pytest.mark.parametrize("kind", ["code", "markdown"])
def test_time_grows_as_a_cell_does(made: Callable[[int], str], kind: str) -> None:
    """A cell sixteen times as long takes about sixteen times as long, not 256 times, whatever stands in it."""

    def took(n: int) -> float:
        return seconds((kind, f"{made(n)}# {kind}\n"), TRIPLE)

    took(2)
    most = 4 * 16 * max(min(took(250 + place) for place in range(3)), 0.005)  # of sources that are alike the reading is kept
    assert any(took(4_000 + place) < most for place in range(3))  # a machine has slow moments


@pytest.mark.parametrize("name", ["answers", "values", "refused", "wrappers", "broken definitions", "made by exec"])
def test_what_is_said_is_no_longer_for_more_of_it(name: str) -> None:
    """Of thousands of copies, values and broken lines the first are named, and how many more there are."""
    program = read(DOUBLE, TRIPLE, GROWING[name](2_000))
    assert len("".join((*program.repairs, *program.review))) < 20_000


def test_time_grows_as_the_files_do_that_a_notebook_writes() -> None:
    """Each of many files may be imported in each of many cells, each import stands for all of a file's names."""

    def took(n: int) -> float:
        written = [f"%%writefile a{i}.py\nx{i} = 1\n" for i in range(n)]
        return seconds(DOUBLE, *written, *[f"from a{i} import x{i}\n" for i in range(n)])

    took(2)
    assert took(1_600) < 4 * 16 * max(took(100), took(101), 0.005)
    names = "".join(f"name_{i} = 1\n" for i in range(4_000))
    assert seconds(DOUBLE, f"%%writefile a.py\n{names}", *["import a\n" * 50] * 100) < 20 * seconds(DOUBLE, names)


def test_statements_in_all_are_limited() -> None:
    """A cell that makes a notebook's statements too many is not read, and said to be so; the others are."""
    program = read(DOUBLE, "x = 1\n" * 6_000, "x = 1\n" * 6_000 + COUNTER, TRIPLE)
    assert [program.answers[name].state for name in ("double", "triple", "Counter")] == ["answered", "answered", "missing"]
    assert "cell 3 was not read" in program.answers["Counter"].message
    program = read(DOUBLE, COUNTER + "x = 1\n" * 12_000)
    assert program.answers["Counter"].state == "missing"
    assert "cell 2 was not read" in program.answers["Counter"].message


@pytest.fixture(scope="module")
def real() -> Lesson:
    """The first lesson, as built."""
    return Course(ROOT).lesson("attention_from_scratch")


@pytest.fixture(scope="module")
def solved(real: Lesson) -> Notebook:
    """Its solved notebook."""
    return read_notebook(Course(ROOT).source(real.name))


def test_solved_notebook_needs_no_repair(real: Lesson, solved: Notebook) -> None:
    """Every exercise of the model notebook is answered, and nothing is reported."""
    program = slice_program(solved, real)
    assert {answer.state for answer in program.answers.values()} == {"answered"}
    assert program.repairs == program.review == ()
    assert program.written["why_scale"]


def test_lost_metadata_change_nothing(real: Lesson, solved: Notebook) -> None:
    """Colab's round trip: without any metadata the same statements are run, and the written answer is found."""
    bare = Notebook(tuple(Cell(cell.number, cell.kind, cell.source) for cell in solved.cells))
    program, before = slice_program(bare, real), slice_program(solved, real)
    assert program.statements == before.statements
    assert program.answers == before.answers
    assert program.written == before.written


def test_time_is_linear_in_size(real: Lesson, solved: Notebook) -> None:
    """Eight times as many cells take at most about eight times as long."""

    def took(times: int) -> float:
        cells = [cell for _ in range(times) for cell in solved.cells]
        many = Notebook(tuple(Cell(number, cell.kind, cell.source) for number, cell in enumerate(cells, start=1)))
        start = time.process_time()
        slice_program(many, real)
        return time.process_time() - start

    took(1)
    assert took(16) < 4 * 8 * max(took(2), 0.01)


def messed_up(chance: random.Random, steps: int, cut: bool) -> list[str]:
    """Cells of a small notebook, swapped, doubled, merged and, if asked for, cut at random."""
    cells = [DOUBLE, "N = 3\n", TRIPLE, "print(triple(N))\n", COUNTER, "%%time\nc = Counter(1)\n", "# end\n"]
    for _ in range(steps):
        i, j = chance.randrange(len(cells)), chance.randrange(len(cells))
        match chance.choice(["swap", "double", "merge", *(["cut"] if cut else [])]):
            case "swap":
                cells[i], cells[j] = cells[j], cells[i]
            case "double":
                cells.insert(j, cells[i])
            case "merge":
                cells[i] = cells[i] + "\n" + cells[j]
            case "cut":
                cells[i] = cells[i][: chance.randrange(len(cells[i]) + 1)]
    return cells


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 12))
def test_a_mess_keeps_its_answers(seed: int, steps: int) -> None:
    """Cells swapped, doubled and merged at random: every answer is still the right one, and nobody has to look."""
    program = read(*messed_up(random.Random(seed), steps, cut=False))  # noqa: S311 - a shuffle, no secret
    names = run(program)
    assert (names["double"](3), names["triple"](3), names["Counter"](1).up(2)) == (6, 9, 3)
    assert program.review == ()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 12))
def test_cut_cells_lose_only_their_own(seed: int, steps: int) -> None:
    """Cells cut at random too: no crash, and whatever stands there whole is answered."""
    cells = messed_up(random.Random(seed), steps, cut=True)  # noqa: S311 - a shuffle, no secret
    whole = [name for name, source in (("double", DOUBLE), ("triple", TRIPLE), ("Counter", COUNTER)) if source in cells]
    try:
        program = read(*cells)
    except SubmissionError:
        assert not whole
        return
    assert all(program.answers[name].state == "answered" for name in whole)
    for each in program.statements:
        ast.parse(each.source)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_solved_notebook_survives_swaps_and_copies(real: Lesson, solved: Notebook, seed: int) -> None:
    """Cells of the solved notebook in any order, some twice, without metadata: every exercise is answered by the same
    code.
    """
    chance = random.Random(seed)  # noqa: S311 - a shuffle, no secret
    cells = [*solved.cells, *chance.choices(solved.cells, k=10)]
    chance.shuffle(cells)
    shuffled = Notebook(tuple(Cell(number, cell.kind, cell.source) for number, cell in enumerate(cells, start=1)))
    program = slice_program(shuffled, real)
    assert {answer.state for answer in program.answers.values()} == {"answered"}
    assert {each.source for each in program.statements} == {each.source for each in slice_program(solved, real).statements}
    assert program.review == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["code", "markdown", "raw"]), st.text(max_size=80)), max_size=6))
def test_any_text_is_read(texts: list[tuple[str, str]]) -> None:
    """No text in any cell crashes the reader."""
    program = read(*texts, DOUBLE)
    assert program.answers["double"].state == "answered" or "double" in "".join(text for _, text in texts)
