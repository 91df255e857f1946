"""In which order needed statements run: as they stand, but for what one needs of a later one at once.

A class below its base's import, a decorator above its definition: in the student's session the cells ran in another
order than they stand. Enters: statements. Leaves: their numbers, each after what it reads while it runs.
"""

from __future__ import annotations

import ast

from autograder.needs import Namespace
from autograder.statements import Piece

MAX_NAMES = 100  # that one statement is followed through


def in_order(run: set[int], namespace: Namespace) -> list[int]:
    """Numbers of the statements in the order in which they run; star imports go first, so that they hide nothing."""
    pieces = sorted((namespace.pieces[index] for index in run), key=lambda piece: (not _is_star(piece), piece.index))
    first: dict[str, Piece] = {}
    for piece in pieces:
        for name in piece.binds:
            first.setdefault(name, piece)
    ordered: dict[int, None] = {}
    visited: set[int] = set()
    stack = pieces[::-1]
    while stack:
        piece = stack.pop()
        later = [] if piece.index in visited else _read_at_once(piece, first, namespace)
        visited.add(piece.index)
        if wanted := [each for each in later if each.index not in visited]:
            stack += [piece, *reversed(wanted)]
        else:
            ordered.setdefault(piece.index)
    return list(ordered)


def _read_at_once(piece: Piece, first: dict[str, Piece], namespace: Namespace) -> list[Piece]:
    """Statements further down that bind for the first time what a statement, or a function that it may call, reads
    while it runs.
    """
    names = sorted(namespace.uses(piece).now & first.keys())
    for name in names:  # it grows
        binder = first[name]
        if isinstance(binder.node, ast.FunctionDef) and len(names) < MAX_NAMES:
            names += sorted((namespace.uses(binder).later & first.keys()) - set(names))
    found = {first[name].index: first[name] for name in names if first[name].index > piece.index}
    return [found[index] for index in sorted(found)]


def _is_star(piece: Piece) -> bool:
    return isinstance(piece.node, ast.ImportFrom) and piece.node.names[0].name == "*"
