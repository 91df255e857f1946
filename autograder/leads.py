"""What a student may have meant where an exercise was not found: a function of a like name, one inside a class, a
comment.

Enters: the statements and cells of a notebook that lacks an exercise. Leaves: a sentence, empty where nothing is like
it. It changes no mark: whoever reads it can ask, or rename and grade again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from autograder.notebook import Cell
from autograder.statements import Piece

LIKE = 0.8  # of two names, by difflib's ratio


def lead(exercise: str, pieces: Iterable[Piece], cells: Iterable[Cell], taken: frozenset[str]) -> str:
    """The likeliest thing that was meant; `taken` are names that mean something else, such as the other exercises."""
    pieces = list(pieces)
    if inside := next(filter(None, (_inside(exercise, piece) for piece in pieces)), ""):
        return f"{exercise} is not at the top level of the notebook: {inside}"
    defined = [piece for piece in pieces if isinstance(piece.node, ast.FunctionDef | ast.ClassDef)]
    alike = [(_likeness(exercise, name), piece) for piece in defined for name in piece.binds - taken]
    best, place = max(((ratio, piece) for ratio, piece in alike), key=lambda each: each[0], default=(0.0, None))
    if place is not None and best >= LIKE:
        (name,) = place.binds
        return f"{exercise} is not in the notebook, but {name} is ({place.place}): is that what was meant?"
    comment = re.compile(rf"^[ \t]*#[ \t#]*(?:def|class)[ \t]+{re.escape(exercise)}\b", re.M)
    commented = next((cell for cell in cells if cell.kind == "code" and comment.search(cell.source)), None)
    return f"{exercise} is commented out in cell {commented.number}" if commented else ""


def _inside(exercise: str, piece: Piece) -> str:
    """Where in a class or function an exercise is defined."""
    if not isinstance(piece.node, ast.FunctionDef | ast.ClassDef) or piece.node.name == exercise:
        return ""
    for inner in ast.walk(piece.node):
        if isinstance(inner, ast.FunctionDef | ast.ClassDef) and inner.name == exercise:
            return f"it is inside {piece.node.name} ({piece.place})"
    return ""


def _likeness(exercise: str, name: str) -> float:
    """1 for names that differ in case, signs, numbers or a word like `my`; difflib's ratio for others."""
    one, other = _plain(exercise), _plain(name)
    if one == other:
        return 1.0
    return SequenceMatcher(None, one, other).ratio() if one[:1] == other[:1] else 0.0


def _plain(name: str) -> str:
    words = [word for word in re.split(r"[_\d]+", name.lower()) if word not in ("", "my", "own", "new", "solution", "v")]
    return "".join(words)
