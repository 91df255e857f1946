"""What a student reads under an exercise: open, right, wrong, or broken, and never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLBOX = Path(__file__).resolve().parents[2] / "solutions" / "_toolbox.py"
STUB = "def double(x):\n    raise NotImplementedError\n"
RIGHT = "def double(x):\n    return 2 * x\n"
CHECK = """
with checking("double") as check:
    check.equal("twice three", double(torch.tensor([3.0])), torch.tensor([6.0]), hint="add it to itself")
"""


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Runs cells after the toolbox, all in one namespace, and returns what they printed."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {"__name__": "notebook"}
    exec(compile(TOOLBOX.read_text(encoding="utf-8"), "toolbox", "exec"), names)  # noqa: S102

    def run(cells: str) -> str:
        exec(compile(cells, "cell", "exec"), names)  # noqa: S102
        return capsys.readouterr().out

    return run


def test_open(notebook: Callable[[str], str]) -> None:
    """An untouched stub is called open."""
    assert notebook(STUB + CHECK) == "○ double is still open\n"


def test_waiting(notebook: Callable[[str], str]) -> None:
    """An exercise that calls an open one says which it waits for."""
    cells = STUB + "def quadruple(x):\n    return double(double(x))\n" + CHECK.replace("double", "quadruple")
    assert notebook(cells) == "○ quadruple waits for double, which is still open\n"


def test_open_class(notebook: Callable[[str], str]) -> None:
    """An open method is named by its class."""
    cells = "class double:\n    def __init__(self, x):\n        raise NotImplementedError\n"
    expected = "double is still open" if sys.version_info >= (3, 11) else "still open"
    assert expected in notebook(cells + CHECK)


def test_not_run(notebook: Callable[[str], str]) -> None:
    """A stub's cell that was never run is asked for."""
    assert notebook(CHECK) == "○ double is not there yet: run the cell that defines it\n"


def test_right(notebook: Callable[[str], str]) -> None:
    """A right answer is told so."""
    assert notebook(RIGHT + CHECK) == "✔ double: all visible checks pass\n"


@pytest.mark.parametrize(
    ("body", "got"),
    [
        ("3 * x", "[9.0]  (shape (1,), float32)"),
        ("(2 * x)[None]", "shape (1, 1)"),
        ("(2 * x).double()", "torch.float64"),
        ("None", "None (is a `return` missing?)"),
        ("x * float('nan')", "[nan]  (shape (1,), float32)"),
        ("6.0", "6.0 (float)"),
    ],
)
def test_wrong(notebook: Callable[[str], str], body: str, got: str) -> None:
    """A wrong answer is told what was wanted, what it got, and a hint."""
    printed = notebook(f"def double(x):\n    return {body}\n{CHECK}")
    assert printed.startswith("✘ double: twice three\n    wanted: ")
    assert f"    got:    {got}\n    hint:   add it to itself\n" in printed


def test_large_tensors_are_located(notebook: Callable[[str], str]) -> None:
    """Of a large tensor the first wrong entry is shown, and how many there are."""
    cells = 'with checking("a") as check:\n    check.equal("b", torch.zeros(5, 5), torch.eye(5))\n'
    assert "wanted: 1 at (0, 0), and 5 of 25 entries are off" in notebook(cells)


def test_error_in_the_answer(notebook: Callable[[str], str]) -> None:
    """An error is shown by type and message, and the cells after it run."""
    printed = notebook("def double(x):\n    return x + 'a'\n" + CHECK + "print('after')\n")
    assert printed.startswith("✘ double: TypeError: ")
    assert printed.endswith("after\n")


@pytest.mark.parametrize(
    ("call", "verdict"), [("int('a')", "✔"), ("int('1')", "no error, but 1 (int)"), ("[][1]", "IndexError: ")]
)
def test_raises(notebook: Callable[[str], str], call: str, verdict: str) -> None:
    """A promised error must come, and be of its kind."""
    cells = f'with checking("a") as check:\n    check.raises("b", ValueError, lambda: {call})\n'
    assert verdict in notebook(cells)


def test_picture(notebook: Callable[[str], str]) -> None:
    """A picture has its text; one that fails half-way says why and leaves no figure behind."""
    draw = 'with picture("double", alt="a line\\nup"):\n    fig, ax = plt.subplots()\n    ax.plot([0, double(1)])\n'
    left = "print(plt.get_fignums())\n"
    assert notebook(RIGHT + draw + left) == "[picture: a line up]\n[]\n"
    assert notebook(STUB + draw + left) == "○ no picture yet: double is still open\n[]\n"


def test_showing(notebook: Callable[[str], str]) -> None:
    """A block that shows something says what it waits for."""
    show = 'with showing("double"):\n    print(double(4))\n'
    assert notebook(RIGHT + show) == "8\n"
    assert notebook(STUB + show) == "○ nothing to show yet: double is still open\n"


def test_heatmap(notebook: Callable[[str], str]) -> None:
    """Half types, booleans, gradients and infinities can all be drawn."""
    for matrix in ("torch.eye(2).half()", "torch.eye(2) > 0", "torch.eye(2).requires_grad_()", "torch.eye(2).log()"):
        cells = f'heatmap(ax, {matrix}, "t", "x", "y", ["a", "b"], ["c", "d"], annotate=True)'
        assert notebook(f'with picture("a", "b"):\n    fig, ax = plt.subplots()\n    {cells}\n') == "[picture: b]\n"


def test_ready(notebook: Callable[[str], str]) -> None:
    """The last table has a line for each exercise, and knows an answer that was changed after its check."""
    table = 'ready("double", "other", written=["why"])\n'
    printed = notebook(RIGHT + CHECK + table)
    assert "✔ double | all visible checks pass\n· other  | its check cell has not been run\n✎ why " in printed
    assert "1 of 2 exercises pass" in printed
    assert "· double | changed since its checks ran" in notebook(RIGHT + table)
