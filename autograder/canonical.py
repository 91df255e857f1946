"""The notebook that goes to `autograded/`: a student's cells in their order, nbgrader's marks where the answers are.

Colab drops nbgrader's metadata, people duplicate and merge cells, and nbgrader stops at the first of these. So nothing
of a submission's metadata or output is kept: what an answer's cell is worth comes from the release, and where the
answer is, from the reader of submissions. Enters: the release, a read submission. Leaves: a notebook that nbgrader
takes. Must not change what a student wrote.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import nbformat
from nbformat import NotebookNode
from nbformat.v4.rwbase import split_lines

from autograder.heat_map import picture_html
from autograder.outcome import Picture
from autograder.report import exercise_html, exercise_text
from autograder.results import SubmissionResult

if TYPE_CHECKING:
    from autograder.notebook import Cell, Notebook
    from autograder.program import Answer, Program


@dataclass(frozen=True)
class Place:
    """Where an answer was found, and its text there and by itself."""

    number: int | None  # of the submitted cell; None: it was not handed in
    whole: str | None  # that cell's text, where it may become the graded cell
    own: str  # the answer alone, for a cell of its own


def canonical(release: NotebookNode, notebook: Notebook, program: Program) -> NotebookNode:
    """`notebook` rebuilt: every graded cell of `release` occurs in it once, all other cells carry no marks.

    An answer that shares its cell with another, or was found in no code cell, gets a cell of its own after the place
    it was found in; what was not handed in comes last, as it was released, so that nbgrader knows it for untouched.
    """
    homes: dict[int, NotebookNode] = {}  # number of a submitted cell -> the graded cell that it becomes
    extra: dict[int | None, list[NotebookNode]] = {}  # cells put in after that number; None: at the end
    for graded in graded_cells(release):
        place = _place(graded, notebook, program)
        if place.whole is not None and place.number is not None and place.number not in homes:
            homes[place.number] = _graded(graded, place.whole)
        else:
            extra.setdefault(place.number, []).append(_graded(graded, place.own))
    cells = [
        node for cell in notebook.cells for node in (homes.get(cell.number) or _plain(cell), *extra.get(cell.number, ()))
    ]
    every = [*cells, *extra.get(None, ())]
    return NotebookNode(nbformat=4, nbformat_minor=5, metadata=release.metadata, cells=every)


def graded_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """Cells that nbgrader asks points for, in order."""
    return (cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade"))


def add_feedback(
    notebook: NotebookNode, result: SubmissionResult, pictures: Mapping[str, Picture] = MappingProxyType({})
) -> None:
    """Puts each exercise's tests under its cell, as text and as escaped HTML, with a picture where there is one."""
    results = {exercise.name: exercise for exercise in result.exercises}
    for cell in graded_cells(notebook):
        exercise = results.get(cell.metadata.nbgrader.grade_id)
        if exercise is not None and cell.cell_type == "code":
            drawn = picture_html(pictures[exercise.name]) if exercise.name in pictures else ""
            data = {"text/plain": exercise_text(exercise), "text/html": exercise_html(exercise) + drawn}
            cell.outputs = [nbformat.from_dict({"output_type": "display_data", "metadata": {}, "data": data})]


def as_file(notebook: NotebookNode) -> bytes:
    """What `nbformat.v4.writes` would write, in a quarter of the time; the notebook stays as it is."""
    cells = [NotebookNode(cell) for cell in notebook.cells]  # it splits the texts of what it gets
    for cell in cells:
        if cell.get("outputs"):
            cell.outputs = copy.deepcopy(cell.outputs)
    lined = split_lines(NotebookNode(notebook, cells=cells))
    return msgspec.json.format(msgspec.json.encode(lined, order="sorted"), indent=1) + b"\n"


def _place(graded: NotebookNode, notebook: Notebook, program: Program) -> Place:
    grade_id = graded.metadata.nbgrader.grade_id
    if graded.cell_type == "markdown":
        return _place_written(grade_id, graded, notebook.cells, program)
    answer = program.answers.get(grade_id)
    home = next((cell for cell in notebook.cells if answer is not None and cell.number == answer.cell), None)
    own = (_own_code(answer) if answer is not None else "") or graded.source
    if answer is None or home is None:
        return Place(None, None, own)
    guests = {other.exercise for other in program.answers.values() if other.cell == answer.cell} - {grade_id}
    fits = home.kind == "code" and home.grade_id not in guests
    return Place(home.number, home.source if fits else None, own)


def _place_written(grade_id: str, graded: NotebookNode, cells: Iterable[Cell], program: Program) -> Place:
    text = program.written.get(grade_id)
    if not text:
        text = graded.source
    same = [cell for cell in cells if cell.kind == "markdown" and cell.source.strip() == text.strip()]
    home = next((cell for cell in same if cell.grade_id == grade_id), same[0] if same else None)
    return Place(home.number, home.source, text) if home else Place(None, None, text)


def _own_code(answer: Answer) -> str:
    """An answer that gets a cell of its own, with a note of where it was found; nothing where there is no code."""
    code = "\n\n".join(statement.source for statement in answer.statements if statement.cell == answer.cell)
    return f"# {answer.exercise} was found in cell {answer.cell} of the submitted notebook\n{code}" if code else ""


def _plain(cell: Cell) -> NotebookNode:
    """A cell without marks; a raw one is declared plain text, or HTML pages would take it for markup."""
    metadata = {"raw_mimetype": "text/plain"} if cell.kind == "raw" else {}
    return _new_cell(cell.kind, cell.source, id=f"cell-{cell.number}", metadata=metadata)


def _graded(released: NotebookNode, source: str) -> NotebookNode:
    """A released cell's marks around a student's text."""
    marks = {"nbgrader": dict(released.metadata.nbgrader)}
    return _new_cell(released.cell_type, source, id=released.metadata.nbgrader.grade_id, metadata=marks)


def _new_cell(kind: str, source: str, **fields: Any) -> NotebookNode:
    """A cell of nbformat 4.5; nbformat's own makers check all that they make against its schema, which costs more than
    all else.
    """
    empty: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    cell: NotebookNode = nbformat.from_dict({**empty, "cell_type": kind, "source": source, **fields})
    return cell
