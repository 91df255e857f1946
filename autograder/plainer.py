"""Statements made to run where a notebook's surroundings are missing: without `await`, `torch.compile`, annotations.

Enters: a statement. Leaves: its source as it is run, on the same lines. What is taken out changes no result: compiling
makes code faster, annotations are for readers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from autograder.asyncs import without_await
from autograder.statements import Piece
from autograder.stubs import is_torch_compile

Definition = ast.FunctionDef | ast.AsyncFunctionDef


def runnable(piece: Piece) -> str:
    """The source of a statement as it is run."""
    source = without_await(piece.source, piece.node, piece.binds)
    return _without_lines(source, piece, compiled_by(piece))


def compiled_by(piece: Piece) -> list[ast.expr]:
    """Decorators of a statement that compile it."""
    return [each for each in getattr(piece.node, "decorator_list", ()) if is_torch_compile(each)]


def _without_lines(source: str, piece: Piece, decorators: Iterable[ast.expr]) -> str:
    """Decorators stand on lines of their own, which are blanked."""
    lines = source.split("\n")
    for each in decorators:
        for number in range(each.lineno, (each.end_lineno or each.lineno) + 1):
            at = number - _first_line(piece.node)
            lines[at] = ""
    return "\n".join(lines)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min(node.lineno, *(each.lineno for each in decorators)) if decorators else node.lineno


def annotation_names(pieces: Iterable[Piece]) -> Iterator[str]:
    """Names in the annotations of functions, which are read while a function is defined."""
    for piece in pieces:
        for inner in ast.walk(piece.node):
            if isinstance(inner, Definition):
                yield from _names_in(inner)
        if isinstance(piece.node, ast.AnnAssign):
            yield from _names_of(piece.node.annotation)


def _names_in(function: Definition) -> Iterator[str]:
    arguments = function.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    for annotation in (function.returns, *(each.annotation for each in every if each)):
        if annotation is not None:
            yield from _names_of(annotation)


def _names_of(annotation: ast.expr) -> Iterator[str]:
    yield from (inner.id for inner in ast.walk(annotation) if isinstance(inner, ast.Name))
