"""Python's scopes, as far as the rules need them: what a name is bound to, and where it is looked up.

Enters: syntax trees. Leaves: names, and the expressions or library paths that they are bound to.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

Paths = frozenset[str]
NOTHING: Paths = frozenset()
MAX_PATHS = 50  # of one expression
MAX_PARTS = 12  # of one path
MAX_NAME = 100  # characters of one of its parts


@dataclass
class Scope:
    """Names of one function, class or the top level, with the expressions or paths that they are bound to."""

    parent: Scope | None = None
    is_class: bool = False
    tensors: frozenset[str] = frozenset()  # arguments of an exercise
    values: dict[str, list[ast.expr | Paths]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)  # modules of `from m import *`, top level only

    def bind(self, name: str, value: ast.expr | Paths) -> None:
        """Adds a binding; an empty set of paths says: the student's own, or unknown."""
        self.values.setdefault(name, []).append(value)


def is_argument(node: ast.expr, scope: Scope) -> bool:
    """Whether an expression is an exercise's argument that is never bound to anything else."""
    here: Scope | None = scope
    while here is not None and isinstance(node, ast.Name):
        if node.id in here.values:
            return node.id in here.tensors and len(here.values[node.id]) == 1
        here = here.parent
    return False


def own_scope(node: ast.AST) -> Iterator[ast.AST]:
    """A statement with everything that binds in the same scope; of inner functions and classes only the head."""
    stack = [node]
    while stack:
        inner = stack.pop()
        yield inner
        if not isinstance(inner, (*FUNCTIONS, ast.ClassDef)):
            stack += reversed(list(ast.iter_child_nodes(inner)))


def stored(node: ast.AST) -> set[str]:
    """Names that a statement or a target stores to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}


def arguments(of: ast.arguments) -> Iterator[str]:
    """Names of a function's arguments."""
    for each in (*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg):
        if each is not None:
            yield each.arg


def union(sets: Iterable[Paths]) -> Paths:
    """All paths of all sets."""
    return frozenset(path for paths in sets for path in paths)


def extended(paths: Paths, attribute: str) -> Paths:
    """The paths of an attribute of what the given paths lead to; none that is longer than any library's."""
    return frozenset(f"{path}.{attribute}" for path in paths if path.count(".") < MAX_PARTS and len(attribute) <= MAX_NAME)


def limited(paths: Paths) -> Paths:
    """The shortest of many paths: each step could double them."""
    return paths if len(paths) <= MAX_PATHS else frozenset(sorted(paths, key=lambda path: (len(path), path))[:MAX_PATHS])
