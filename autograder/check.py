"""The visible checks of one notebook, run as its own student would: top to bottom, in a fresh kernel, without Jupyter open.

Enters: a notebook, on the machine of whoever wrote it. Leaves: for each exercise what its check cell says, and for
every other cell that broke, where. Needs no course, no hidden suite and no network. The code runs in a process of its own,
with all rights of who calls it and with a time limit for each cell; pictures and shell lines are left out. It is no
grading: there is no box, so nobody should run another person's notebook this way.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from autograder.build import nbgrader_settings
from autograder.errors import SubmissionError
from autograder.magics import without_magics
from autograder.notebook import Cell, read_notebook
from autograder.textfile import ASK

NOT_RUN = frozenset(("picture", "showing"))  # the toolbox's blocks that show and do not check
EMPTY = nbgrader_settings()["ClearSolutions"]["text_stub"]
LATE = "CellLimit"  # what nbclient is told to say of a cell that met its limit
OPTIONS: dict[str, Any] = {
    "kernel_name": "python3",
    "allow_errors": True,
    "interrupt_on_timeout": True,
    "error_on_timeout": {"ename": LATE, "evalue": "", "traceback": []},
    "shutdown_kernel": "immediate",
}
STUCK = 2  # cells in a row that meet their limit: the first one was not to be interrupted
PLACE = re.compile(r"\(\d+\.py, (line \d+)\)")  # IPython's own name for a cell says nothing to a student
VERDICT = re.compile(r"^([✔✘○]) ", re.MULTILINE)
AGAIN = "Save it once more, or download it anew as .ipynb."


@dataclass(frozen=True)
class Line:
    """What the checks say of one exercise: ✔ right, ✘ wrong, ○ open, · not checked, ✎ read by a person."""

    mark: str
    exercise: str
    message: str = ""
    written: bool = False


@dataclass
class Checked:
    """All that one run found."""

    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # of other cells: what a fresh run from the top meets

    @property
    def count(self) -> tuple[int, int]:
        """How many exercises pass, and of how many."""
        marks = [line.mark for line in self.lines if not line.written]
        return marks.count("✔"), len(marks)

    @property
    def done(self) -> bool:
        """Do all visible checks pass?"""
        return all(line.mark in "✔✎" for line in self.lines)


def check(path: Path, cell_s: int) -> Checked:
    """Runs a notebook's cells, each for at most `cell_s` seconds; raises SubmissionError where there is nothing to check."""
    try:
        cells = read_notebook(path).cells
    except SubmissionError as error:
        raise SubmissionError(str(error).replace(ASK, AGAIN)) from None
    code = [cell for cell in cells if cell.kind == "code"]
    checks = {cell.number: name for cell in code for name in _checked(cell)}
    names, written = _asked_for(code)
    if not checks and not names:
        raise SubmissionError(f"There is no visible check in {path.name}; is it one of the course's notebooks?")
    ran = _run(path, code, cell_s)
    found = Checked()
    for cell in code:
        if cell.number in checks:
            found.lines.append(_line(checks[cell.number], *_verdict(ran.get(cell.number), cell_s)))
        elif cell.number in ran and (broke := _broke(ran[cell.number], cell_s)):
            found.notes.append(f"cell {cell.number}: {broke}")
    known = {line.exercise for line in found.lines}
    gone = "its check cell is not in this notebook; take it from the notebook as it was released"
    found.lines += [Line("·", name, gone) for name in names if name not in known]
    found.lines += [_written(name, cells) for name in written]
    return found


def _checked(cell: Cell) -> list[str]:
    """The exercise that a cell checks, by the toolbox's `with checking(...)`, else by its grade id."""
    for call in _calls(cell, "checking"):
        if call.args and isinstance(call.args[0], ast.Constant):
            return [str(call.args[0].value)]
    grade_id = cell.grade_id or ""
    return [grade_id.removeprefix("check_")] if grade_id.startswith("check_") else []


def _asked_for(code: list[Cell]) -> tuple[list[str], list[str]]:
    """Exercises and written answers that the table at the end, `ready(...)`, asks for."""
    for call in (call for cell in code for call in _calls(cell, "ready")):
        texts = [node.value for arg in call.args for node in ast.walk(arg) if isinstance(node, ast.Constant)]
        later = [node.value for word in call.keywords for node in ast.walk(word) if isinstance(node, ast.Constant)]
        return [str(text) for text in texts], [str(text) for text in later]
    return [], []


def _calls(cell: Cell, function: str) -> Iterator[ast.Call]:
    """Calls of a function of the toolbox by a cell's top-level statements."""
    for node in _body(cell.source):
        expressions = [item.context_expr for item in node.items] if isinstance(node, ast.With) else []
        expressions += [node.value] if isinstance(node, ast.Expr) else []
        for each in expressions:
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == function:
                yield each


def _body(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(without_magics(source).source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # the kernel will say what is wrong with it


def _to_run(cell: Cell) -> str:
    """A cell's source without shell lines and pictures, every other line at its number."""
    source = without_magics(cell.source).source
    lines = source.split("\n")
    for node in _body(source):
        if isinstance(node, ast.With) and any(_is_shown(item.context_expr) for item in node.items):
            lines[node.lineno - 1 : node.end_lineno] = [""] * len(lines[node.lineno - 1 : node.end_lineno])
    return "\n".join(lines)


def _is_shown(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name) and expression.func.id in NOT_RUN


def _run(path: Path, code: list[Cell], cell_s: int) -> dict[int, NotebookNode]:
    """The cells with their outputs, by number; those after the kernel died or hung for good are missing."""
    cells = {cell.number: nbformat.v4.new_code_cell(_to_run(cell)) for cell in code}
    notebook = nbformat.v4.new_notebook(cells=list(cells.values()))
    place = {"metadata": {"path": str(path.resolve().parent)}}
    client = NotebookClient(notebook, resources=place, on_cell_executed=_note_time, **OPTIONS, timeout=cell_s)
    client.log.disabled = True  # what happened is told in the table
    ran: dict[int, NotebookNode] = {}
    late = 0
    with client.setup_kernel(stderr=subprocess.DEVNULL):  # where a kernel logs; what cells print comes back with them
        for index, (number, cell) in enumerate(cells.items()):
            ran[number] = cell
            try:
                client.execute_cell(cell, index)
            except DeadKernelError:
                cell.outputs = [nbformat.v4.new_output("error", ename="the Python process ended", evalue="", traceback=[])]
                return ran
            late = late + 1 if cell.metadata.get("late") else 0
            if late == STUCK:
                return dict(list(ran.items())[: 1 - STUCK])
    return ran


def _note_time(cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
    """Marks a cell that met its limit."""
    cell.metadata["late"] = execute_reply["content"].get("ename") == LATE


def _verdict(cell: NotebookNode | None, cell_s: int) -> tuple[str, str]:
    """A mark and what a check says."""
    if cell is None:
        return "·", "was not reached: an earlier cell did not end"
    if broke := _broke(cell, cell_s):
        return "✘", broke
    printed = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    said = VERDICT.search(printed)
    return (said[1], printed[said.end() :].strip()) if said else ("✔", "")


def _broke(cell: NotebookNode, cell_s: int) -> str:
    """How a cell ended, where it did not end well."""
    if cell.metadata.get("late"):
        return f"did not end within {cell_s} s"
    for output in cell.outputs:
        if output.output_type == "error":
            return ": ".join(part for part in (output.ename, PLACE.sub(r"(\1)", output.evalue)) if part)
    return ""


def _line(exercise: str, mark: str, message: str) -> Line:
    return Line(mark, exercise, message.removeprefix(exercise).lstrip(": "))


def _written(name: str, cells: Sequence[Cell]) -> Line:
    """A written answer: open where it is still the stub; nobody but a person can say more."""
    text = next((cell.source.strip() for cell in cells if cell.grade_id == name), None)
    if text is not None and (not text or EMPTY in text):
        return Line("○", name, "is still open", written=True)
    return Line("✎", name, "in your own words: a person will read it", written=True)
