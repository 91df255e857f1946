"""Answers that stand where no code runs: in Markdown, in a raw cell, in a file that a cell writes and nobody imports.

Enters: a notebook, and the exercises that its code cells lack. Leaves: statements that define those, with the helpers
beside them. Whoever takes one of them has to ask a person: it may be a quotation.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from autograder.notebook import Cell, Notebook
from autograder.statements import FENCE, Piece, Pieces, defined_names, read_pieces

WRITTEN = re.compile(r"\A\s*%%(?:(?:writefile|file)\b.*\.py\b.*|(?:script|python3?|pypy)\b.*)$", re.M)


def pieces_of_text(notebook: Notebook, pieces: Pieces, lost: frozenset[str]) -> list[Piece]:
    """Statements in text that define a lost exercise, with the helpers beside them that no code cell binds."""
    found = read_pieces([code for code in _codes(notebook.cells) if defined_names(code.source) & lost]).code
    bound = {name for piece in pieces.code for name in piece.binds} - lost
    useful = {piece.cell.number for piece in found if _answers_one(piece, lost)}
    return [piece for piece in found if piece.cell.number in useful and piece.binds and not piece.binds & bound]


def merged(pieces: Pieces, extra: Iterable[Piece]) -> Pieces:
    """All statements in the notebook's order, numbered anew."""
    together = sorted((*pieces.code, *extra), key=lambda piece: (piece.cell.number, piece.line))
    return replace(pieces, code=tuple(replace(piece, index=index) for index, piece in enumerate(together)))


def code_in_text(cell: Cell) -> Cell:
    """A Markdown or raw cell with all but its code blanked: fenced blocks, or all of it where there is no fence."""
    lines, kept, fence = cell.source.split("\n"), list[str](), ""
    for line in lines:
        match = FENCE.match(line)
        if match and not fence:
            fence = match[1]
        elif match and match[1].startswith(fence) and not match[2]:
            fence = ""
        elif fence:
            kept.append(line)
            continue
        kept.append("")
    has_fence = any(FENCE.match(line) for line in lines)
    return Cell(cell.number, "code", "\n".join(kept) if has_fence else cell.source, None)


def _codes(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Text that may be code, each cell of it as a code cell."""
    for cell in cells:
        if cell.kind != "code":
            yield code_in_text(cell)
        elif match := WRITTEN.match(cell.source):
            yield Cell(cell.number, "code", "\n" * match[0].count("\n") + cell.source[match.end() :])


def _answers_one(piece: Piece, lost: frozenset[str]) -> bool:
    """Whether a statement found in text defines a lost exercise; a formula `softmax = exp(x) / sum` in prose does
    not.
    """
    if isinstance(piece.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return piece.node.name in lost
    return isinstance(piece.node, ast.Assign) and isinstance(piece.node.value, ast.Lambda) and bool(piece.binds & lost)
