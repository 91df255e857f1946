"""Rules of reading that the corpus meets only in part: mending, supplies, leads, fragments, order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autograder.course import Course, Exercise, Lesson
from autograder.fstrings import with_old_fstrings
from autograder.mending import TABBED, TYPED, mended
from autograder.notebook import Cell, Notebook
from autograder.program import Program, slice_program

ROOT = Path(__file__).parents[2]
STUB = "def double(x):\n    raise NotImplementedError\n"
DOUBLE = "def double(x):\n    return 2 * x\n"


def read(*sources: str, given: tuple[str, ...] = (), cells: tuple[str, ...] = ()) -> Program:
    lesson = Lesson(
        "tiny", (Exercise("double", 10, STUB, DOUBLE),), (), {"math": "import math"}, ROOT, cells, frozenset(given)
    )
    notebook = [Cell(number, "code", source) for number, source in enumerate(sources, start=1)]
    return slice_program(Notebook(tuple(notebook)), lesson)


def value(program: Program) -> object:
    space: dict[str, object] = {}
    for each in program.statements:
        exec(each.source, space)  # noqa: S102 - statements of this file
    return space["double"](3)  # type: ignore[operator]


# --- f-strings

D, N, X = {"a": 1.5}, 6, 3
NEW = {
    'f"{D["a"]}"': "1.5",
    'f"{D["a"]:>{N}}|{X=}|{X!r}"': "   1.5|X=3|3",
    'f"{", ".join(f"{k}={v}" for k, v in {"u": D["a"]}.items())}"': "u=1.5",
    'f"{X == 3 and D["a"] != 2}"': "True",
    'rf"\\d{D["a"]}"': "\\d1.5",
    "f'{D['a']=:.2f}'": "D['a']=1.50",
    'f"{{}}{D["a"]}"': "{}1.5",
    'f"{(lambda y: y["a"])(D)}"': "1.5",
    'f"\\N{BULLET}{D["a"]}"': "•1.5",
    'f"{"\\n".join(["a", "b"])}"': "a\nb",
}


@pytest.mark.parametrize("source", NEW)
def test_new_fstrings_are_read(source: str) -> None:
    """An f-string of Python 3.12 gives what it gives there."""
    assert eval(with_old_fstrings(source)) == NEW[source]  # noqa: S307 - texts of this file


@pytest.mark.parametrize(
    "source",
    ['f"{X}"', '"plain {D["', "# f'{D['a']}'", 'f"{D["a"]', 'f"{"', "x = 'f\"{'", 'f"{x}}"', 'f""', '"a" f"{X}"', "f'{x!}'"],
)
def test_all_else_stays(source: str) -> None:
    """What this Python reads, and what no Python does, is left alone."""
    assert with_old_fstrings(source) == source


@pytest.mark.parametrize(
    "source", ['f"{' * 3_000, 'f"' * 5_000, 'f"{x' + "(" * 5_000, 'f"{a["b"]}"\n' * 3_000, "f'{" + '"' * 3_000]
)
def test_any_text_ends(source: str) -> None:
    """No text makes it hang or fall."""
    with_old_fstrings(source)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python reads them itself")
def test_an_answer_in_the_language_of_colab() -> None:
    """An answer with an f-string of Python 3.12 counts where it is graded by 3.11, with a repair."""
    program = read('def double(x):\n    note = f"{"twice"} {x}"\n    return 2 * x\n')
    assert value(program) == 6
    assert "Python 3.12" in program.repairs[0]


# --- typing


@pytest.mark.parametrize(
    ("source", "read_as", "how"),
    [
        ("x = “a”", 'x = "a"', (TYPED,)),
        ("x = 'it’s' + ‘b’", "x = 'it’s' + 'b'", (TYPED,)),
        ("x\u00a0= 3 # “kept”", "x = 3 # “kept”", (TYPED,)),
        ("x = 3 − 2", "x = 3 - 2", (TYPED,)),
        ("ｘ ＝ ｆ（３）", "x = f(3)", (TYPED,)),
        ("if a ≤ b： pass", "if a <= b: pass", (TYPED,)),
        ("if 1:\n    if 2:\n\tx = 1", "if 1:\n    if 2:\n        x = 1", (TABBED,)),
        ("if 1:\n\tif 2:\n            x = 1\n        y = 1", "if 1:\n\tif 2:\n            x = 1\n        y = 1", None),
        ("x = (", "x = (", ()),
    ],
)
def test_mending(source: str, read_as: str, how: tuple[str, ...] | None) -> None:
    """Signs and tabs are read as they look; strings and comments stay."""
    assert how is None or (mended(source).source, mended(source).how) == (read_as, how)


# --- supplies


def test_a_lost_helper_of_the_release_is_supplied() -> None:
    """Functions that the lesson gives are supplied with what they need, as a repair; cut copies do not count."""
    cells = (
        "import math\nTWO = 2",
        "def twice(x):\n    return times(math.floor(2.0), x)\n\ndef times(a, b):\n    return a * b\n",
    )
    uses = "def double(x):\n    return twice(x)\n"
    program = read(uses, given=("twice", "times"), cells=cells)
    assert value(program) == 6
    assert [each.source.split("(")[0] for each in program.answers["double"].statements] == [
        "import math",
        "def twice",
        "def times",
        "def double",
    ]
    assert "double: the lesson's own `twice`, which is lost, was supplied." in program.repairs
    assert value(read("def twice(x):\n    return x * 2\n", uses, given=("twice", "times"), cells=cells)) == 6
    assert value(read("def twice(x):\n    return times(math.floor(2.0)", uses, given=("twice", "times"), cells=cells)) == 6


def test_the_last_lesson_without_its_given_cells() -> None:
    """Lesson 4's answers run though the cells that it gives are gone."""
    lesson = Course(ROOT).lesson("transformer_encoder")
    cells = [Cell(number, "code", exercise.model) for number, exercise in enumerate(lesson.exercises, start=1)]
    program = slice_program(Notebook(tuple(cells)), lesson, Course(ROOT).other_exercises(lesson.name))
    told = " ".join(program.repairs)
    for name in ("softmax", "scaled_dot_product_attention", "multi_head_attention", "sinusoidal_positional_encoding"):
        assert f"`{name}`, which is lost, was supplied" in told


# --- copies that break off

LONG = "def double(x):\n    y = x\n    y = y + x\n    return y\n"


def test_a_copy_that_breaks_off_is_no_answer() -> None:
    """Above or below: the whole answer is graded, and nobody has to look."""
    for cells in ([LONG, LONG[:35]], [LONG[:35], LONG]):
        program = read(*cells)
        assert value(program) == 6
        assert "a copy of it that breaks off" in " ".join(program.repairs)
        assert program.review == ()


def test_a_shorter_answer_below_is_asked_about() -> None:
    """A beginning that returns something could be meant: the whole one is graded, and a person has to look."""
    program = read("def double(x):\n    return x + x\n", "def double(x):\n    return x\n")
    assert value(program) == 6
    assert "stands below it" in program.review[0]


# --- order


def test_what_is_read_at_once_runs_first() -> None:
    """Decorators, bases and defaults that stand below run before what needs them; all else as it stands."""
    program = read(
        "@same\ndef double(x, n=N):\n    return n * x\n",
        "def same(f):\n    return wraps(f)\n",
        "N = M",
        "M = 2",
        "from functools import wraps as _w\ndef wraps(f):\n    return f\n",
    )
    assert value(program) == 6
    assert [each.source.split("\n")[0] for each in program.statements][-1] == "@same"


def test_circles_end() -> None:
    """Two statements that need each other run as they stand."""
    assert len(read("a = b", "b = a", "def double(x, y=a):\n    return 2 * x\n").statements) == 3


# --- leads


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def my_double(x):\n    return 2 * x\n", "but my_double is (cell 1, line 1)"),
        ("def Double(x):\n    return 2 * x\n", "but Double is"),
        ("def doubel(x):\n    return 2 * x\n", "but doubel is"),
        ("class Solution:\n    def double(self, x):\n        return 2 * x\n", "it is inside Solution (cell 1, line 1)"),
        ("# def double(x):\n#     return 2 * x\n", "double is commented out in cell 1"),
        ("def trouble(x):\n    return x\n", ""),
    ],
)
def test_leads(source: str, words: str) -> None:
    """A missing exercise's message says what may have been meant; it changes no mark."""
    answer = read(source, STUB).answers["double"]
    assert answer.state == "stub"
    assert words in answer.message
    assert bool(answer.message) == bool(words)
