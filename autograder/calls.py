"""What calls of a student's own functions change outside of these functions.

Enters: function definitions and statements that may call them. Leaves: names that a call binds or changes: `fill(t)`
and `setup()` are found, also as decorators and through further functions of the student's; nothing is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autograder.kept import kept
from autograder.names import Function, effects, shallow

CALLED = re.compile(r"\b([^\W\d]\w*)[ \t]*\(|^@([^\W\d]\w*)", re.M)
MAX_ROUNDS = 4  # of functions that call functions


@dataclass(frozen=True)
class Effect:
    """What one call does outside of the function."""

    binds: frozenset[str] = frozenset()  # names declared global
    changes: frozenset[str] = frozenset()  # globals whose items or attributes are stored to
    fills: frozenset[int] = frozenset()  # positions of arguments that are changed
    calls: frozenset[str] = frozenset()  # other functions


@kept
def called_names(node: ast.stmt, source: str) -> frozenset[str]:
    """Names that a statement's text seems to call; more than it does at worst."""
    return frozenset(name or decorator for name, decorator in CALLED.findall(source))


def effects_of_calls(functions: Mapping[str, Function], called: set[str]) -> dict[str, Effect]:
    """What calls of the named functions do, with what they call in turn; those that do nothing are left out."""
    names = {name for name in called if name in functions}
    for _ in range(MAX_ROUNDS):
        names |= {inner for name in names for inner in effect_of(functions[name]).calls if inner in functions}
    known = {name: effect_of(functions[name]) for name in names}
    for _ in range(MAX_ROUNDS):
        known = {name: _with_callees(effect, known) for name, effect in known.items()}
    return {name: effect for name, effect in known.items() if effect.binds or effect.changes or effect.fills}


def _with_callees(effect: Effect, known: Mapping[str, Effect]) -> Effect:
    inner = [known[name] for name in effect.calls if name in known]
    binds = effect.binds.union(*(each.binds for each in inner))
    return Effect(binds, effect.changes.union(*(each.changes for each in inner)), effect.fills, effect.calls)


@kept
def effect_of(function: Function) -> Effect:
    """What a call of a function does by its own statements."""
    inside = list(ast.walk(function))
    declared = {name for inner in inside if isinstance(inner, ast.Global) for name in inner.names}
    stored = {inner.id for inner in inside if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}
    stored |= {inner.name for inner in inside if isinstance(inner, ast.FunctionDef | ast.ClassDef)}
    arguments = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    roots = {change.root for each in function.body for change in effects(each)[1] if not change.is_call}
    return Effect(
        binds=frozenset(declared & stored),
        changes=frozenset(roots - (stored - declared) - set(arguments)),
        fills=frozenset(place for place, name in enumerate(arguments) if name in roots),
        calls=frozenset(
            inner.func.id for inner in inside if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name)
        ),
    )


def effects_in(node: ast.stmt, known: Mapping[str, Effect]) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Names that each call in a statement binds, and those that it changes."""
    for call in _calls(node):
        effect = known.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if effect is not None:
            filled = [call.args[place] for place in effect.fills if place < len(call.args)]
            yield effect.binds, effect.changes | {each.id for each in filled if isinstance(each, ast.Name)}


@kept
def _calls(node: ast.stmt) -> tuple[ast.Call, ...]:
    """The calls that a statement makes while it runs; a decorator is one."""
    calls = [inner for inner in shallow(node) if isinstance(inner, ast.Call)]
    for decorator in getattr(node, "decorator_list", ()):
        calls.append(decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], []))
    return tuple(calls)
