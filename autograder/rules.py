"""The static half of the from-scratch rules: which ready-made operators does the code of an exercise refer to?

Enters: an exercise's own statements and the lesson's rules.toml. Leaves: sentences, none for clean code. It judges only
what the exercise itself runs, and only what is certain: what it cannot see, the operators' replaced kernels see at run
time.

rules.toml:

    reason                what to use instead, shown to the student
    exercises             names of the exercises that are judged; all where it is absent
    forbidden_modules     paths of which nothing may be used: "torch.nn"
    forbidden_operators   families; each forbids every library name that holds it ("softmax": torch.softmax,
                          torch._safe_softmax, scipy.special.softmax), and every attribute of an unknown value that
                          is called so: x.softmax
    forbidden_attributes  names of attributes that lead into the engine beside the code: "f_back"
    forbidden_functions   single paths, for what no family names
    [gradients] of        functions of which no gradient may be taken
    [gradients] except_in exercises in which gradients are the subject
"""

from __future__ import annotations

import ast
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from autograder.course import Lesson
from autograder.errors import GraderError
from autograder.program import Answer, Program, Statement
from autograder.references import Reference, references
from autograder.remarks import some
from autograder.statements import parse
from autograder.supplies import own_statements

MAX_NAMED = 10  # places of one answer
GRADIENTS = ("torch.autograd.", "torch.func.", "functorch.")
GRADIENT_METHODS = frozenset(("backward",))
NO_GRADIENT = frozenset(
    ("Function", "no_grad", "enable_grad", "set_grad_enabled", "inference_mode", "vmap", "functional_call")
)


@dataclass(frozen=True)
class Rules:
    """A lesson's rules.toml."""

    reason: str
    exercises: frozenset[str] | None
    forbidden_modules: tuple[str, ...]
    forbidden_operators: tuple[str, ...]
    forbidden_attributes: frozenset[str]
    forbidden_functions: frozenset[str]
    no_gradient_of: frozenset[str]
    gradients_allowed_in: frozenset[str]


@lru_cache(maxsize=16)
def read_rules(path: Path) -> Rules:
    """Reads rules.toml; raises GraderError where it is broken."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        gradients = raw.get("gradients", {})
        return Rules(
            reason=str(raw["reason"]),
            exercises=frozenset(raw["exercises"]) if "exercises" in raw else None,
            forbidden_modules=tuple(raw["forbidden_modules"]),
            forbidden_operators=tuple(raw["forbidden_operators"]),
            forbidden_attributes=frozenset(raw.get("forbidden_attributes", [])),
            forbidden_functions=frozenset(raw.get("forbidden_functions", [])),
            no_gradient_of=frozenset(gradients.get("of", [])),
            gradients_allowed_in=frozenset(gradients.get("except_in", [])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraderError(f"{path} cannot be used as rules ({type(error).__name__}: {error}). Correct the file.") from error


def violations(answer: Answer, program: Program, lesson: Lesson) -> list[str]:
    """What of an answer the lesson does not allow, one sentence each with cell and line; empty where it is clean."""
    if lesson.rules is None or answer.state != "answered":
        return []
    rules = read_rules(lesson.rules)
    if rules.exercises is not None and answer.exercise not in rules.exercises:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        released = own_statements(lesson.model_cells, (ast.FunctionDef, ast.ClassDef))
        trees = [(each, tree) for each in answer.statements if each.source.strip() not in released for tree in _trees(each)]
    placed = [(each.cell, each.line, tree) for each, tree in trees]
    used = references(placed, (exercise.name for exercise in lesson.exercises), rules.forbidden_operators)
    own = _own_attributes([tree for _, tree in trees])
    found = [(ref.cell, ref.line, _forbidden(ref, rules, own)) for ref in used]
    found += [
        (each.cell, each.line, path) for each, tree in trees for path in _imported_answer(tree, answer.exercise, rules)
    ]
    found += _gradients(used, rules, answer.exercise)
    places = sorted({(cell, line, what) for cell, line, what in found if what})
    named = [f"{answer.exercise} uses {what} (cell {cell}, line {line}): {rules.reason}" for cell, line, what in places]
    return list(some(named, MAX_NAMED))


def _trees(statement: Statement) -> list[ast.stmt]:
    try:
        return parse(statement.source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # it does not run either


def _forbidden(reference: Reference, rules: Rules, own: frozenset[str]) -> str:
    """What to call a forbidden use; empty where it is none."""
    if reference.path:
        return reference.path if is_forbidden_path(reference.path, rules) else ""
    if reference.attribute in rules.forbidden_attributes:
        return reference.attribute
    known = reference.attribute in own and not reference.of_argument
    names = {_plain(family) for family in rules.forbidden_operators}
    return f"Tensor.{reference.attribute}" if not known and _plain(reference.attribute) in names else ""


def is_forbidden_path(path: str, rules: Rules) -> bool:
    """Whether a dotted path in a library is under a forbidden module or names an operator of a forbidden family."""
    if path in rules.forbidden_functions:
        return True
    if any(path == module or path.startswith(module + ".") for module in rules.forbidden_modules):
        return True
    parts = [_plain(part) for part in path.split(".")[1:]]
    return any(_plain(family) in part for family in rules.forbidden_operators for part in parts)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _own_attributes(trees: list[ast.stmt]) -> frozenset[str]:
    """Attributes that the student's code itself defines: methods, stores, fields of a named tuple."""
    found: set[str] = set()
    for node in (inner for tree in trees for inner in ast.walk(tree)):
        match node:
            case ast.ClassDef():
                found |= {name for each in node.body for name in _defined(each)}
            case ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case ast.Call(ast.Name("SimpleNamespace") | ast.Attribute(attr="SimpleNamespace"), _, keywords):
                found |= {keyword.arg for keyword in keywords if keyword.arg}
            case ast.Call(ast.Name("namedtuple") | ast.Attribute(attr="namedtuple"), [_, fields, *_]):
                for inner in ast.walk(fields):
                    if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                        found |= set(inner.value.replace(",", " ").split())
    return frozenset(found)


def _defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
            yield name
        case ast.Assign(targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(ast.Name(name)):
            yield name


def _imported_answer(tree: ast.stmt, exercise: str, rules: Rules) -> Iterator[str]:
    """An exercise that is nothing but an import: `from torch import softmax`."""
    if isinstance(tree, ast.ImportFrom):
        for alias in tree.names:
            path = f"{tree.module}.{alias.name}"
            if (alias.asname or alias.name) == exercise and is_forbidden_path(path, rules):
                yield path


def _gradients(references: list[Reference], rules: Rules, exercise: str) -> list[tuple[int, int, str]]:
    """A gradient taken where a function is used whose gradient would be the forbidden operator."""
    if exercise in rules.gradients_allowed_in:
        return []
    names = {reference.path.rpartition(".")[2] or reference.attribute for reference in references}
    used = sorted(names & rules.no_gradient_of)
    if not used and not {"exp", "log"} <= names:
        return []
    what = f"the gradient of {used[0] if used else 'log of exp'} in place of the operator"
    return [(each.cell, each.line, what) for each in references if rules.no_gradient_of and _takes_gradient(each)]


def _takes_gradient(reference: Reference) -> bool:
    if reference.attribute in GRADIENT_METHODS:
        return True
    return reference.path.startswith(GRADIENTS) and not NO_GRADIENT & set(reference.path.split("."))
