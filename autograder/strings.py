"""Folds expressions that are strings whatever runs: `"soft" + "max"`, f-strings, joins, slices, names bound to one.

Enters: an expression and a way to look names up. Leaves: the string, or None. Runs nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

MAX_DEPTH = 20
MAX_STEPS = 1_000
MAX_CHARACTERS = 10_000
Lookup = Callable[[str], ast.expr | None]


def fold(node: ast.AST | None, value_of: Lookup) -> str | None:
    """The string that an expression always is; None where that cannot be told, or only with more than a few steps."""
    return _Folding(value_of).fold(node)


class _Folding:
    """One expression's folding, with its budget."""

    def __init__(self, value_of: Lookup) -> None:
        self.value_of = value_of
        self.steps = 0

    def fold(self, node: ast.AST | None, depth: int = 0) -> str | None:
        self.steps += 1
        if node is None or depth > MAX_DEPTH or self.steps > MAX_STEPS:
            return None
        text = self._fold(node, depth + 1)
        return text if text is not None and len(text) <= MAX_CHARACTERS else None

    def _fold(self, node: ast.AST, depth: int) -> str | None:
        match node:
            case ast.Constant(str(text)):
                return text
            case ast.Name(name):
                return self.fold(self.value_of(name), depth)
            case ast.BinOp(left, ast.Add(), right):
                return self._joined([left, right], "", depth)
            case ast.JoinedStr(parts):
                values = [part.value if isinstance(part, ast.FormattedValue) else part for part in parts]
                return self._joined(values, "", depth)
            case ast.Call(ast.Attribute(between, "join"), [ast.List(parts) | ast.Tuple(parts)]):
                separator = self.fold(between, depth)
                return None if separator is None else self._joined(parts, separator, depth)
            case ast.Call(ast.Attribute(inner, "lower" | "upper" | "strip" | "title" as method), []):
                folded = self.fold(inner, depth)
                return None if folded is None else str(getattr(folded, method)())
            case ast.Call(ast.Attribute(inner, "replace"), [old, new]):
                return self._replaced(inner, old, new, depth)
            case ast.Subscript(inner, ast.Slice(lower, upper, step)):
                folded, bounds = self.fold(inner, depth), [_integer(bound) for bound in (lower, upper, step)]
                return None if folded is None or bounds[2] == 0 else folded[slice(*bounds)]
        return None

    def _joined(self, parts: list[ast.expr], separator: str, depth: int) -> str | None:
        texts = []
        for part in parts:
            text = self.fold(part, depth)
            if text is None:
                return None
            texts.append(text)
        return separator.join(texts)

    def _replaced(self, inner: ast.expr, old: ast.expr, new: ast.expr, depth: int) -> str | None:
        text, before, after = (self.fold(part, depth) for part in (inner, old, new))
        if text is None or not before or after is None or len(text) * (len(after) + 1) > MAX_CHARACTERS:
            return None
        return text.replace(before, after)


def _integer(node: ast.expr | None) -> int | None:
    match node:
        case ast.Constant(int(value)):
            return value
        case ast.UnaryOp(ast.USub(), ast.Constant(int(value))):
            return -value
    return None
