"""Which names a statement binds, changes and uses, found without running it.

Enters: one top-level statement as tree or text. Leaves: sets of names. Function and class bodies count for what is
used, not for what is bound at top level.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from autograder.kept import kept

Function = ast.FunctionDef | ast.AsyncFunctionDef
INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
COMPREHENSION_NAMES = frozenset(["listcomp", "setcomp", "dictcomp", "genexpr"])
MUTATORS = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "popleft",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
        "register",
        "__setitem__",
        "__setattr__",
        "__delitem__",
    ]
)
FUNCTION_MUTATORS = frozenset(["setattr", "delattr", "shuffle", "heappush", "heapify", "insort", "setitem", "copyto"])
DEEP = (
    *(":=", "exec", "globals", "locals", "vars", "_("),
    *(f".{name}(" for name in MUTATORS),
    *(f"{name}(" for name in FUNCTION_MUTATORS),
)
HOLDERS = frozenset(
    [
        "body",
        "orelse",
        "finalbody",
        "handlers",
        "items",
        "cases",
        "targets",
        "target",
        "optional_vars",
        "names",
        "pattern",
        "patterns",
        "elts",
    ]
)


@dataclass(frozen=True)
class Change:
    """A statement changes what `root` is bound to; `attribute` is what is stored, "" for items and method calls."""

    root: str
    attribute: str
    is_call: bool = False  # a call that may change it, not a store


@dataclass(frozen=True)
class Uses:
    """Global names that a statement reads: while it runs, and later, when its functions are called."""

    now: frozenset[str]
    later: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """Both."""
        return self.now | self.later


def effects(node: ast.stmt, deep: bool = True) -> tuple[frozenset[str], frozenset[Change]]:
    """Names that a top-level statement binds, and what it changes without binding it; `deep` looks into expressions,
    see `is_deep`.
    """
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return frozenset((node.name,)), frozenset()
    parts = list(shallow(node) if deep else _statements_and_targets(node))
    bound = frozenset(name for part in parts for name in _bound_by(part))
    if isinstance(node, ast.Import | ast.ImportFrom):
        return bound, frozenset()
    return bound, frozenset(change for part in parts for change in _changes_by(part))


def is_deep(source: str) -> bool:
    """Whether expressions of a cell may bind or change something: `:=`, `exec`, `globals()`, `x.append()`,
    `fill_(x)`.
    """
    return any(sign in source for sign in DEEP)


def shallow(node: ast.AST) -> Iterator[ast.AST]:
    """The node and everything in it that runs in its own scope; of comprehensions only `:=`, which binds outside."""
    stack: list[ast.AST] = [node]
    while stack:
        inner = stack.pop()
        yield inner
        if isinstance(inner, COMPREHENSION):
            stack += [walrus for walrus in ast.walk(inner) if isinstance(walrus, ast.NamedExpr)]
        elif not isinstance(inner, INNER):
            stack += _children(inner)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What ast.iter_child_nodes gives, in half the time."""
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            yield from [part for part in value if isinstance(part, ast.AST)]
        elif isinstance(value, ast.AST):
            yield value


def _statements_and_targets(node: ast.stmt) -> Iterator[ast.AST]:
    """What `shallow` gives, without expressions that are only read: many times faster."""
    stack: list[Any] = [node]
    while stack:
        inner = stack.pop()
        yield inner
        if not isinstance(inner, INNER):
            for name in inner._fields:
                if name in HOLDERS:
                    value = getattr(inner, name)
                    stack += [
                        each for each in (value if isinstance(value, list) else [value]) if isinstance(each, ast.AST)
                    ]


def _bound_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(name, ast.Store()):
            yield name
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
            yield name
        case ast.alias(name, asname):
            if name != "*":
                yield asname or name.split(".")[0]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case ast.Subscript(ast.Call(ast.Name("globals" | "locals" | "vars")), ast.Constant(str(name)), ast.Store()):
            yield name
        case ast.Call():
            yield from _written_by_call(node)


def _written_by_call(node: ast.expr) -> Iterator[str]:
    """`globals().update(f=...)`, `globals().__setitem__("f", ...)`, `exec("def f(): ...")`,
    `setattr(sys.modules[__name__], "f", ...)`.
    """
    match node:
        case ast.Call(ast.Attribute(ast.Call(ast.Name("globals" | "locals" | "vars")), "update"), arguments, keywords):
            yield from (keyword.arg for keyword in keywords if keyword.arg)
            yield from (
                key.value
                for each in arguments
                if isinstance(each, ast.Dict)
                for key in each.keys
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            )
        case ast.Call(
            ast.Attribute(ast.Call(ast.Name("globals" | "locals" | "vars")), "__setitem__" | "setdefault"),
            [ast.Constant(str(name)), *_],
        ):
            yield name
        case ast.Call(ast.Name("setattr"), [ast.Subscript(ast.Attribute(attr="modules")), ast.Constant(str(name)), _]):
            yield name
        case ast.Call(ast.Name("exec"), [ast.Constant(str(source)), *_]):
            try:
                inner = ast.parse(source)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return  # it raises when it is run, and binds nothing
            for statement in inner.body:
                yield from effects(statement)[0]


def _changes_by(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Attribute(value, attribute, ast.Store()):
            if root := _root(value):
                yield Change(root, attribute)
        case ast.Subscript(value, _, ast.Store()):
            if root := _root(value):
                yield Change(root, _last_attribute(value))
        case ast.Expr(ast.Call(ast.Attribute(value, method))) if method not in MUTATORS and (root := _root(value)):
            yield Change(root, "", is_call=True)
        case ast.Call(ast.Attribute(value, method)) if (method in MUTATORS or _in_place(method)) and (
            root := _root(value)
        ):
            yield Change(root, _last_attribute(value))
    if isinstance(node, ast.Call) and node.args and _fills_argument(node.func):
        yield from _change_of_argument(node)


def _change_of_argument(node: ast.Call) -> Iterator[Change]:
    root = _root(node.args[0])
    if root:
        name = node.args[1] if len(node.args) > 1 else None
        constant = name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
        yield Change(root, constant or _last_attribute(node.args[0]))


def _fills_argument(function: ast.expr) -> bool:
    name = (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )
    return name in FUNCTION_MUTATORS or _in_place(name)


def _in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def _root(node: ast.expr) -> str:
    """The name at the bottom of `a.b[0].c`; empty where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _last_attribute(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else ""


def used_names(source: str) -> Uses:
    """Global names that a statement reads; raises SyntaxError where Python's symbol table does."""
    top = symtable.symtable(source, "cell", "exec")
    now = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    later: set[str] = set()
    stack = [(table, True) for table in top.get_children()]
    while stack:
        table, in_reach = stack.pop()
        runs_now = in_reach and (table.get_type() == "class" or table.get_name() in COMPREHENSION_NAMES)
        stack += [(child, runs_now) for child in table.get_children()]
        names: Iterable[str] = table.get_globals() if isinstance(table, symtable.Function) else _globals_of(table)
        (now if runs_now else later).update(names)
    return Uses(frozenset(now), frozenset(later))


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    """The globals that a class body reads or declares."""
    for symbol in table.get_symbols():
        if symbol.is_declared_global() or (symbol.is_referenced() and symbol.is_global()):
            yield symbol.get_name()


@kept
def used_attributes(node: ast.AST) -> frozenset[str]:
    """Attributes that code reads, and strings that could name one."""
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute):
            found.add(inner.attr)
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            found.add(inner.value)
    return frozenset(found)
