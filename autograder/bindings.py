"""What an expression may be of a library's, whatever a student calls it: "torch.nn.functional.softmax" for `F.softmax`.

Enters: statements, whose names are bound in a scope, and expressions of that scope. Leaves: dotted paths, none where an
expression is the student's own or unknown. Names are followed through imports, assignments, scopes, `getattr` with a
foldable string, `__import__` and `sys.modules`. Runs nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from autograder.scopes import NOTHING, Paths, Scope, extended, limited, own_scope, stored, union
from autograder.strings import fold

ATTRIBUTE_TAKERS = frozenset(
    ("operator.attrgetter", "operator.methodcaller", "_operator.attrgetter", "_operator.methodcaller")
)
MAX_STARS = 50  # modules of which everything is imported


@dataclass
class _Named:
    """What the bindings of a name come to."""

    paths: Paths = NOTHING
    seen: int = 0  # bindings that count already
    is_open: bool = False  # are they being looked at?
    was_in_vain: bool = False  # did one of them ask meanwhile, when nothing was known?


class Bindings:
    """What the names of some statements are bound to, from the top level down."""

    def __init__(self, own: Iterable[str], watched: Iterable[str]) -> None:
        self.top = Scope()
        self.own = frozenset(own)  # never a library's, whoever wrote them
        self._watched = frozenset(watched)  # a class that defines one of these is the student's own, whatever it inherits
        self._alive: list[object] = []  # `_known` goes by identity
        self._known: dict[tuple[int, int], Paths] = {}  # (node, scope) -> its paths; what is being looked up has none yet
        self._named: dict[tuple[str, int], _Named] = {}  # (name, scope) -> what its bindings come to
        self._made: list[list[tuple[int, int]]] = [[]]  # keys of `_known` by the name for which they were made

    def paths(self, node: ast.AST | None, scope: Scope) -> Paths:
        """Dotted paths that an expression may be; empty where it is the student's own, or unknown."""
        if not isinstance(node, ast.expr):
            return NOTHING
        key = (id(node), id(scope))
        if key not in self._known:
            self._known[key] = NOTHING
            self._made[-1].append(key)
            try:
                self._known[key] = limited(self._paths(node, scope))
            except RecursionError:
                return NOTHING  # too deep to be followed; what was on the way may be asked again
        return self._known[key]

    def paths_of_name(self, name: str, scope: Scope) -> Paths:
        """The same of a name, as it is looked up in a scope."""
        if name in self.own:
            return NOTHING
        here: Scope | None = scope
        while here is not None:
            if name in here.values and not (here.is_class and here is not scope):
                return self._bound(name, here)
            here = here.parent
        if name in ("getattr", "__import__", "vars", "exec", "eval", "compile"):
            return frozenset((name,))
        return frozenset(f"{module}.{name}" for module in self.top.stars)

    def _bound(self, name: str, scope: Scope) -> Paths:
        """What a name may be by its bindings: by any of them in a function, whose order is unknown; by the last one at
        the top level.

        A binding that uses the name itself sees what those above it come to. Where they come to nothing it may have meant
        one below, in a loop: then all are looked at once more.
        """
        named = self._named.setdefault((name, id(scope)), _Named())
        if named.is_open:
            named.was_in_vain |= not named.paths and scope.parent is not None
            return named.paths
        values = scope.values[name]
        start, named.seen, named.is_open, named.was_in_vain = named.seen, len(values), True, False
        try:
            self._look(values[start:], named, scope)
            if named.was_in_vain:
                self._look(values, named, scope)
        except RecursionError:
            named.seen = start  # whoever asks next looks again
            raise
        finally:
            named.is_open = False
        return named.paths

    def _look(self, values: list[ast.expr | Paths], named: _Named, scope: Scope) -> None:
        """Adds what values come to; forgets what was found on the way where some of it was asked for in vain."""
        made: list[tuple[int, int]] = []
        self._made.append(made)
        try:
            for value in values:
                paths = value if isinstance(value, frozenset) else self.paths(value, scope)
                named.paths = limited(named.paths | paths) if scope.parent else paths
        finally:
            self._made.pop()
        for key in made if named.was_in_vain else ():
            self._known.pop(key, None)

    def text(self, node: ast.AST | None, scope: Scope) -> str:
        """The string that an expression folds to, through names that are bound to one expression."""

        def value_of(name: str) -> ast.expr | None:
            here: Scope | None = scope
            while here is not None and name not in here.values:
                here = here.parent
            values = here.values[name] if here else []
            return values[-1] if values and isinstance(values[-1], ast.expr) else None

        return fold(node, value_of) or ""

    def bind_body(self, body: Iterable[ast.AST], scope: Scope) -> None:
        """Binds what statements bind in their own scope, before they are visited."""
        declared: set[str] = set()
        for inner in (inner for node in body for inner in own_scope(node)):
            declared |= set(inner.names) if isinstance(inner, ast.Global) else set()
            self._bind(inner, scope)
        for name in declared if scope is not self.top else ():
            scope.values.pop(name, None)  # looked up at the top level

    def inner(self, scope: Scope, is_class: bool = False, tensors: frozenset[str] = frozenset()) -> Scope:
        """A scope inside of another."""
        inner = Scope(scope, is_class, tensors)
        self._alive.append(inner)
        return inner

    def parsed(self, source: str) -> list[ast.stmt]:
        """The statements of source text that is handed to Python as a string; none where it is no Python."""
        try:
            tree = ast.parse(source.strip())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []  # it raises where it is run
        self._alive.append(tree)
        return tree.body

    def _paths(self, node: ast.expr, scope: Scope) -> Paths:
        match node:
            case ast.Name(name):
                return self.paths_of_name(name, scope)
            case ast.Attribute(value, attribute):
                return extended(self.paths(value, scope), attribute)
            case ast.NamedExpr(value=value) | ast.Starred(value) | ast.Await(value):
                return self.paths(value, scope)
            case ast.IfExp(_, body, orelse):
                return self.paths(body, scope) | self.paths(orelse, scope)
            case ast.BoolOp(_, values) | ast.Tuple(values) | ast.List(values) | ast.Dict(_, values):
                return union(self.paths(value, scope) for value in values)
            case ast.Subscript(value, key):
                return self._paths_of_item(value, key, scope)
            case ast.Call():
                return self._paths_of_call(node, scope)
        return NOTHING

    def _paths_of_item(self, value: ast.expr, key: ast.expr, scope: Scope) -> Paths:
        """`torch.__dict__["softmax"]`, `sys.modules["torch.nn"]`, `[torch][0]`."""
        base, name = self.paths(value, scope), self.text(key, scope)
        if "sys.modules" in base and name:
            return frozenset((name,))
        if name and any(path.endswith(".__dict__") for path in base):
            return extended(frozenset(path.removesuffix(".__dict__") for path in base), name)
        return base if isinstance(value, ast.Tuple | ast.List | ast.Dict | ast.Name) else NOTHING

    def _paths_of_call(self, node: ast.Call, scope: Scope) -> Paths:
        function = self.paths(node.func, scope)
        first = node.args[0] if node.args else None
        text = self.text(first, scope)
        if "__import__" in function and text:
            has_list = len(node.args) > 3 or any(keyword.arg == "fromlist" for keyword in node.keywords)
            return frozenset((text if has_list else text.split(".")[0],))
        if function & {"importlib.import_module", "importlib.__import__"} and text:
            return frozenset((text,))
        if "getattr" in function and len(node.args) > 1:
            name = self.text(node.args[1], scope)
            return extended(self.paths(first, scope), name) if name else NOTHING
        if "vars" in function:
            return extended(self.paths(first, scope), "__dict__")
        if any(path.endswith((".__getattribute__", ".__getattr__")) for path in function) and text:
            return extended(frozenset(path.rpartition(".")[0] for path in function), text)
        if any(path.endswith(".__dict__.get") for path in function) and text:
            return extended(frozenset(path.removesuffix(".__dict__.get") for path in function), text)
        if isinstance(node.func, ast.Call) and self.paths(node.func.func, scope) & ATTRIBUTE_TAKERS:
            name = self.text(node.func.args[0], scope) if node.func.args else ""
            return extended(self.paths(first, scope), name) if name else NOTHING
        return NOTHING

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name):
                scope.bind(name, NOTHING)
            case ast.ClassDef(name, bases):
                defined = {name for inner in node.body for name in stored(inner)}
                inherits = union(self.paths(base, scope) for base in bases)
                scope.bind(name, NOTHING if defined & self._watched else inherits)
            case ast.Import(names):
                for alias in names:
                    top = alias.name.split(".")[0]
                    scope.bind(alias.asname or top, frozenset((alias.name if alias.asname else top,)))
            case ast.ImportFrom(module, names):
                self._bind_import_from(module or "", names, scope)
            case _:
                self._bind_assigned(node, scope)

    def _bind_assigned(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.Assign(targets, value):
                for target in targets:
                    self._bind_target(target, value, scope)
            case ast.AnnAssign(target, _, ast.expr() as value) | ast.NamedExpr(target, value):
                self._bind_target(target, value, scope)
            case ast.withitem(value, ast.expr() as target):
                self._bind_target(target, value, scope)
            case ast.For(target, value) | ast.AsyncFor(target, value):
                self._bind_target(target, value, scope)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                scope.bind(name, NOTHING)

    def _bind_import_from(self, module: str, names: list[ast.alias], scope: Scope) -> None:
        for alias in names:
            if alias.name == "*":
                if module not in self.top.stars and len(self.top.stars) < MAX_STARS:
                    self.top.stars.append(module)
            else:
                scope.bind(alias.asname or alias.name, frozenset((f"{module}.{alias.name}",)))

    def _bind_target(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        """A tuple is bound part by part where the value is one too, else each name to the whole."""
        if isinstance(target, ast.Tuple | ast.List):
            parts = value.elts if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts) else None
            for place, each in enumerate(target.elts):
                self._bind_target(each, parts[place] if parts else value, scope)
        elif isinstance(target, ast.Starred):
            self._bind_target(target.value, value, scope)
        elif isinstance(target, ast.Name) and not (isinstance(value, ast.Name) and value.id == target.id):
            scope.bind(target.id, value)
