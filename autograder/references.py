"""What library names a piece of code refers to, whatever it calls them, and where.

Enters: top-level statements. Leaves: `Reference`s: a dotted path in a library ("torch.nn.functional.softmax"), or an
attribute of a value that is not known ("softmax" of `x.softmax`), each with its line. What a name is bound to, bindings.py
says; source text in `exec` is walked as well. Annotations and plain strings are not code. Runs nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from autograder.bindings import ATTRIBUTE_TAKERS, Bindings
from autograder.names import COMPREHENSION, Function
from autograder.scopes import FUNCTIONS, NOTHING, Scope, arguments, is_argument, stored

SOURCE_TAKERS = frozenset(("exec", "eval", "compile", "torch.jit.CompilationUnit", "torch._C.CompilationUnit"))


@dataclass(frozen=True)
class Reference:
    """A use of a library's name, or of an attribute of something unknown (`path` is then "" and `attribute` set)."""

    line: int  # inside the cell
    cell: int
    path: str
    attribute: str = ""
    of_argument: bool = False  # the attribute is one of an exercise's own argument, which is a tensor


def references(
    statements: Iterable[tuple[int, int, ast.stmt]], own: Iterable[str], watched: Iterable[str]
) -> list[Reference]:
    """What statements, each with cell and line, refer to.

    `own` are names that are never a library's, whoever wrote them: the exercises. A class that defines one of the `watched`
    names is the student's own, whatever it inherits.
    """
    statements = list(statements)
    bindings = Bindings(own, watched)
    for _, _, node in statements:  # all are bound before any is looked at, since functions run later
        bindings.bind_body([node], bindings.top)
    walk = _Walk(bindings)
    for cell, line, node in statements:
        walk.visit(node, cell, line)
    return walk.found


class _Walk:
    """Goes through statements with their scopes; keeps what it finds in `found`."""

    def __init__(self, bindings: Bindings) -> None:
        self.found: list[Reference] = []
        self._bindings = bindings
        self._place = (0, 0)  # cell, and line before the statement's first

    def visit(self, node: ast.stmt, cell: int, line: int) -> None:
        """A top-level statement that begins in this line of this cell."""
        self._place = (cell, line - 1)
        try:
            self._visit(node, self._bindings.top)
        except RecursionError:
            return  # a statement that is too deep at its top; at run time the kernels see what it uses

    def _visit(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, FUNCTIONS):
            self._visit_function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self._visit_class(node, scope)
        elif isinstance(node, COMPREHENSION):
            inner = self._bindings.inner(scope)
            for generator in node.generators:
                for name in stored(generator.target):
                    inner.bind(name, NOTHING)
            self._visit_all(ast.iter_child_nodes(node), inner)
        elif isinstance(node, ast.AnnAssign):
            self._visit_all([node.target, *([node.value] if node.value else [])], scope)
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
            self._visit_expression(node, scope)
        else:
            self._visit_all(ast.iter_child_nodes(node), scope)

    def _visit_all(self, nodes: Iterable[ast.AST], scope: Scope) -> None:
        for node in nodes:
            try:
                self._visit(node, scope)
            except RecursionError:
                continue  # what is this deep is lost, what stands beside it is not

    def _visit_function(self, node: Function | ast.Lambda, scope: Scope) -> None:
        """Decorators and defaults run outside, the body inside; annotations are not looked at."""
        self._visit_all([*node.args.defaults, *(default for default in node.args.kw_defaults if default)], scope)
        names = tuple(arguments(node.args))
        is_exercise = scope is self._bindings.top and isinstance(node, ast.FunctionDef) and node.name in self._bindings.own
        inner = self._bindings.inner(scope, tensors=frozenset(names if is_exercise else ()))
        for name in names:
            inner.bind(name, NOTHING)
        if isinstance(node, ast.Lambda):
            self._visit(node.body, inner)
            return
        self._visit_all(node.decorator_list, scope)
        self._bindings.bind_body(node.body, inner)
        self._visit_all(node.body, inner)

    def _visit_class(self, node: ast.ClassDef, scope: Scope) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords], scope)
        inner = self._bindings.inner(scope, is_class=True)
        self._bindings.bind_body(node.body, inner)
        self._visit_all(node.body, inner)

    def _visit_expression(self, node: ast.expr, scope: Scope) -> None:
        paths = self._bindings.paths(node, scope)
        if isinstance(node, ast.Call):
            self._visit_call(node, scope)
        if paths and not isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            for path in sorted(paths):
                self._add(node, path)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            self._add(node, "", node.attr, is_argument(node.value, scope))
        if not paths or not isinstance(node, ast.Attribute | ast.Name):
            self._visit_all(ast.iter_child_nodes(node), scope)

    def _visit_call(self, node: ast.Call, scope: Scope) -> None:
        """Strings that name an attribute or hold source text."""
        function = self._bindings.paths(node.func, scope)
        if function & ATTRIBUTE_TAKERS or (
            function & {"getattr"} and not self._bindings.paths(node.args[0] if node.args else None, scope)
        ):
            for argument in node.args[:2]:
                for name in filter(None, self._bindings.text(argument, scope).split(".")):
                    self._add(node, "", name)
        takes_source = function & SOURCE_TAKERS or (isinstance(node.func, ast.Attribute) and node.func.attr == "define")
        if takes_source and (source := self._bindings.text(node.args[0] if node.args else None, scope)):
            self._visit_source(source, scope)

    def _visit_source(self, source: str, scope: Scope) -> None:
        statements = self._bindings.parsed(source)
        inner = self._bindings.inner(scope)
        if not self._bindings.paths_of_name("torch", scope):
            inner.bind("torch", frozenset(("torch",)))  # TorchScript knows it without an import
        self._bindings.bind_body(statements, inner)
        for statement in statements:
            ast.increment_lineno(statement, -statement.lineno + 1)
            self._visit(statement, inner)

    def _add(self, node: ast.expr, path: str, attribute: str = "", of_argument: bool = False) -> None:
        cell, before = self._place
        self.found.append(Reference(before + node.lineno, cell, path, attribute, of_argument))
