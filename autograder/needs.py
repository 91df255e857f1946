"""What a statement needs to run: the slice of a notebook, followed name by name.

Enters: the statements of a notebook and which of them are the graded answers. Leaves: for each exercise the statements
that its answer runs, in notebook order. Plots, prints, checks and training loops stay out unless a needed name hangs on
them.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from autograder.calls import called_names, effects_in, effects_of_calls
from autograder.kept import kept
from autograder.names import INNER, Change, Uses, used_attributes, used_names
from autograder.shadows import without_fragments, without_shadows
from autograder.statements import Piece

BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", "display", "get_ipython"}
Import = ast.Import | ast.ImportFrom
HERE = sys.stdlib_module_names | {"torch", "numpy", "matplotlib"}


@dataclass(frozen=True)
class Needs:
    """What one exercise's answer runs besides its own binding, and the names that nothing binds."""

    pieces: frozenset[int]
    unbound: frozenset[str]


@dataclass
class Namespace:
    """The statements of a notebook by the names that they bind and change."""

    pieces: tuple[Piece, ...]
    exercises: frozenset[str]
    modules: frozenset[str] = frozenset()  # names that the release imports
    given: Mapping[str, str] = field(default_factory=dict)  # functions that the release gives, and their text
    binders: dict[str, list[Piece]] = field(default_factory=dict)
    changers: dict[str, list[tuple[Piece, Change]]] = field(default_factory=dict)
    stars: list[Piece] = field(default_factory=list)
    hidden: list[Piece] = field(default_factory=list)  # exec and the like at top level: they may bind anything
    _uses: dict[int, Uses] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for piece in self.pieces:
            for name in piece.binds:
                self.binders.setdefault(name, []).append(piece)
            for change in piece.changes:
                self.changers.setdefault(change.root, []).append((piece, change))
            if isinstance(piece.node, ast.ImportFrom) and piece.node.names[0].name == "*":
                self.stars.append(piece)
            if isinstance(piece.node, ast.Expr) and "exec" in piece.source and "exec" in self.uses(piece).now:
                self.hidden.append(piece)
        self._add_effects_of_calls()
        self._add_aliases()

    def uses(self, piece: Piece) -> Uses:
        """Names that a statement reads; none where Python's symbol table refuses it (it cannot run either)."""
        if piece.index not in self._uses:
            self._uses[piece.index] = _uses(piece.node, piece.source)
        return self._uses[piece.index]

    def _add_effects_of_calls(self) -> None:
        """Calls of a student's own functions can bind and change globals, and fill their arguments."""
        functions = {
            name: piece.node
            for name, pieces in self.binders.items()
            for piece in pieces
            if isinstance(piece.node, ast.FunctionDef) and name not in self.exercises
        }
        callers = {
            piece.index: called_names(piece.node, piece.source)
            for piece in self.pieces
            if not isinstance(piece.node, INNER) or "@" in piece.source
        }
        known = effects_of_calls(functions, {name for names in callers.values() for name in names})
        for piece in self.pieces:
            if known.keys() & callers.get(piece.index, set()):
                for binds, changes in effects_in(piece.node, known):
                    for name in binds - piece.binds:
                        self.binders.setdefault(name, []).append(piece)
                    for name in changes - self.exercises:
                        self.changers.setdefault(name, []).append((piece, Change(name, "")))

    def _add_aliases(self) -> None:
        """After `u = t` a change of u changes t."""
        linked: set[tuple[str, str]] = set()  # what comes after a second `u = t` comes after the first
        for piece in self.pieces:
            match piece.node:
                case ast.Assign([ast.Name(alias)], ast.Name(name)) if (
                    alias in self.changers and alias != name and (alias, name) not in linked
                ):
                    linked.add((alias, name))
                    later = [each for each in self.changers[alias] if each[0].index > piece.index]
                    self.changers.setdefault(name, []).extend(later)

    def made_by_exec(self, name: str) -> list[Piece]:
        """Top-level `exec`s whose text, or the text that they are given, speaks of a name."""
        return [
            piece
            for piece in self.hidden
            if any(name in each.source for used in self.uses(piece).now for each in self.binders.get(used, []))
        ]

    def is_module(self, name: str) -> bool:
        """Whether a name is bound by imports only."""
        return all(isinstance(piece.node, Import) for piece in self.binders.get(name, []))

    def is_foreign(self, name: str) -> bool:
        """Whether a name is imported from a package that need not be here."""
        nodes = [piece.node for piece in self.binders.get(name, [])]
        return any(package not in HERE for node in nodes for package in packages_of(node))

    def _is_object(self, name: str) -> bool:
        """Whether a name is bound to something that a method can change: not only to functions, classes and modules."""
        return any(not isinstance(piece.node, (*INNER, ast.Import, ast.ImportFrom)) for piece in self.binders.get(name, []))

    def changes_of(self, name: str, attributes: Iterable[str] = ()) -> list[Piece]:
        """Statements that change what a needed name is bound to; of a module only the given attributes."""
        changers, is_object = self.changers.get(name, []), self._is_object(name)
        if self.is_module(name):
            return [piece for piece, change in changers if not change.is_call and change.attribute in attributes]
        return [piece for piece, change in changers if not change.is_call or is_object]

    def follow(self, start: Iterable[Piece], mine: frozenset[int], answers: Mapping[int, str]) -> Needs:
        """All statements that the given ones need; `answers` are those of graded answers (piece -> exercise), of
        which only `mine` are followed.
        """
        found: set[int] = set()
        names: set[str] = set()
        shadowed: set[str] = set()
        attributes: set[str] = set()
        fresh: set[str] = set()  # names whose changes were not looked for yet
        modules: set[str] = set()  # names of modules that statements change
        queue = list(start)
        while queue:
            piece = queue.pop()
            if piece.index not in found and (piece.index not in answers or piece.index in mine):
                found.add(piece.index)
                new = self.uses(piece).all - self.exercises - names
                names |= new
                fresh |= new
                for name in new:
                    wanted = self._wanted(name, piece)
                    queue += wanted
                    lost = not wanted and (name in self.modules or name in self.given)
                    shadowed |= {name} if lost else set()
                if self.changers:
                    attributes |= used_attributes(piece.node)
            if not queue:
                wanting = (fresh & self.changers.keys()) | modules  # of modules what matters grows with the attributes
                modules |= {name for name in wanting if self.is_module(name)}
                fresh = set()
                changed = (each for name in wanting for each in self.changes_of(name, attributes))
                queue = [each for each in changed if each.index not in found and each.index not in answers]
        unbound = {name for name in names if name not in self.binders and name not in BUILTINS}
        return Needs(frozenset(found), frozenset(unbound | shadowed))

    def _wanted(self, name: str, piece: Piece) -> list[Piece]:
        """The statements that bind a name for the one that uses it."""
        if name in self.binders:
            return without_shadows(name, self._binders_of_helper(name), piece.source, self.modules)
        return [] if name in BUILTINS else self.stars + self.hidden

    def _binders_of_helper(self, name: str) -> list[Piece]:
        """All bindings of a helper; those that bind an exercise too only where there is no other."""
        pieces = without_fragments(self.binders.get(name, []), self.given.get(name, ""))
        return [piece for piece in pieces if not piece.binds & self.exercises] or pieces


@kept
def _uses(node: ast.stmt, source: str) -> Uses:
    try:
        return used_names(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Uses(frozenset(), frozenset())


def packages_of(node: ast.stmt) -> list[str]:
    """The packages that an import is from; none for any other statement."""
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    return [alias.name.partition(".")[0] for alias in node.names] if isinstance(node, ast.Import) else []
