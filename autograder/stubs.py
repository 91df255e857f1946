"""Is a binding of an exercise's name the untouched stub, an answer, a mere value; and are two answers the same?

Enters: syntax trees. Docstrings, comments and formatting never count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache

from autograder.kept import kept
from autograder.names import Function, shallow

BODIES = ("body", "orelse", "finalbody", "handlers")
VALUES = (
    *(ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr, ast.Compare, ast.BinOp),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)


@kept
def fingerprint(node: ast.AST) -> str:
    """A statement as text; equal for two statements that differ in docstrings, comments and formatting only."""
    try:
        return ast.dump(_bare(node))
    except RecursionError:
        return f"deeper than can be compared, {id(node)}"


def is_stub(node: ast.stmt, name: str, released: str) -> bool:
    """Whether a statement binds `name` to nothing but the stub: the release's (as fingerprint), or bodies with
    nothing in them.
    """
    definitions = list(_definitions(node, name))
    return bool(definitions) and all(
        _is_empty(definition) or (released and fingerprint(definition) == released) for definition in definitions
    )


@cache
def released_stub(source: str, name: str) -> str:
    """Fingerprint of the stub in a released cell; empty where it defines no such name, or a body with nothing in it."""
    found = [definition for node in ast.parse(source).body for definition in _definitions(node, name)]
    return fingerprint(found[-1]) if found and not _is_empty(found[-1]) else ""


def is_value(node: ast.stmt, name: str, exercises: Iterable[str]) -> bool:
    """Whether a statement binds `name` to a number, a list or what an exercise returned: to no function or class."""
    if isinstance(node, ast.AugAssign):
        return True
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if all(isinstance(target, ast.Name) for target in targets) and isinstance(node.value, VALUES):
        return True
    return isinstance(node.value, ast.Call | ast.Attribute | ast.Subscript) and _called(node.value) in {
        name,
        *exercises,
    }


def is_compiled(node: ast.stmt, name: str) -> bool:
    """Whether a statement binds a name to what `torch.compile` makes of it, which computes the same."""
    match node:
        case ast.Assign([ast.Name(bound)], ast.Call(function, [ast.Name(argument), *_])):
            return bound == argument == name and is_torch_compile(function)
    return False


def is_torch_compile(node: ast.expr) -> bool:
    """Whether an expression is `torch.compile`, or that with options."""
    match node:
        case ast.Attribute(ast.Name("torch"), "compile"):
            return True
        case ast.Call(function, []):
            return is_torch_compile(function)
    return False


def _called(node: ast.expr) -> str:
    """Name of the function at the bottom of `f(x).sum()[0]`; empty where nothing named is called."""
    name = ""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            node = node.func
        else:
            node = node.value
    return name


def _definitions(node: ast.stmt, name: str) -> list[Function | ast.ClassDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [inner for inner in shallow(node) if isinstance(inner, kinds) and inner.name == name]


def _is_empty(node: ast.AST) -> bool:
    """A function or class in which no statement does anything."""
    if isinstance(node, ast.ClassDef):
        return all(_is_empty(inner) for inner in node.body)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return all(_does_nothing(statement) for statement in node.body)
    return _does_nothing(node)


def _does_nothing(node: ast.AST) -> bool:
    match node:
        case ast.Pass() | ast.Expr(ast.Constant()):
            return True
        case ast.Raise(ast.Name("NotImplementedError") | ast.Call(ast.Name("NotImplementedError"))):
            return True
    return False


def _bare(node: ast.AST) -> ast.AST:
    """A copy without docstrings, with empty bodies alike; leaves are shared with the original."""
    fields = dict(ast.iter_fields(node))
    for name in BODIES:
        if isinstance(fields.get(name), list):
            fields[name] = [_bare(inner) for inner in fields[name]]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = [] if _is_empty(node) else [inner for inner in fields["body"] if not _is_text(inner)]
    elif isinstance(node, ast.ClassDef):
        fields["body"] = [inner for inner in fields["body"] if not _is_text(inner)]
    return type(node)(**fields)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
