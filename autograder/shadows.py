"""Names of Python's or a module's that a scratch cell gave to a number: `max = 3`, `F = Q @ K`, `math = 95`.

When the answer was written the name meant what it means everywhere; the cell below is nobody's answer. So code that
calls a built-in by its name, or asks a module for something, goes on with the built-in and the module, unless the name
was bound to a function or class of the student's own. Runs nothing.
"""

from __future__ import annotations

import ast
import builtins
import re

from autograder.statements import Piece

CALLABLE = frozenset(name for name in dir(builtins) if callable(getattr(builtins, name)))
MAKES_FUNCTIONS = re.compile(r"partial|compile|script|vmap|wraps|vectorize|cache|lambda|grad\b|jit")


def without_shadows(name: str, binders: list[Piece], source: str, modules: frozenset[str]) -> list[Piece]:
    """The statements that bind a name for code that uses it; `modules` are names that the release imports."""
    if name in CALLABLE:
        return [each for each in binders if not _is_value(each)] if _is_called(name, source) else binders
    is_module = name in modules or any(isinstance(each.node, ast.Import | ast.ImportFrom) for each in binders)
    if is_module and re.search(rf"\b{re.escape(name)}\s*\.", source):
        return [each for each in binders if not _is_value(each)]
    return binders


def without_fragments(binders: list[Piece], released: str) -> list[Piece]:
    """The statements that bind a helper, without copies that break off of the release's own."""
    return [each for each in binders if not is_fragment(each.source, released)] if released else binders


def is_fragment(source: str, whole: str) -> bool:
    """Whether a definition is the beginning of another one, word for word, and not all of it."""
    return whole.startswith(("def ", "class ", "@")) and len(source) < len(whole) and whole.startswith(source.rstrip())


def _is_called(name: str, source: str) -> bool:
    return re.search(rf"(?<![.\w]){re.escape(name)}\s*\(", source) is not None


def _is_value(piece: Piece) -> bool:
    """Whether a statement can bind its names to no function, class or module."""
    node = piece.node
    if isinstance(node, ast.For | ast.AugAssign | ast.With):
        return not piece.binds & {
            inner.name for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef | ast.ClassDef)
        }
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    if isinstance(node.value, ast.Name | ast.Lambda | ast.Attribute | ast.IfExp | ast.Subscript):
        return isinstance(node.value, ast.Subscript)
    return not (isinstance(node.value, ast.Call) and MAKES_FUNCTIONS.search(ast.unparse(node.value)))
