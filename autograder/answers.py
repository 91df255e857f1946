"""Which of a notebook's bindings of an exercise's name is graded.

Enters: the statements of a notebook. Leaves: a `Choice` for each exercise: the binding that counts, with what was
passed over. The last binding that is not the untouched stub counts; `softmax = wrap(softmax)` goes on with the answer
before it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from autograder.course import Exercise
from autograder.needs import Namespace
from autograder.shadows import is_fragment
from autograder.statements import Piece, compile_complaint
from autograder.stubs import fingerprint, is_compiled, is_stub, is_value, released_stub

BREAKS_OFF = "a copy of it that breaks off"
MAX_COMPARED = 50  # answers of one name, word for word


@dataclass(frozen=True)
class Choice:
    """The graded binding of an exercise's name (several statements where one wraps another), and all others."""

    exercise: str
    graded: tuple[Piece, ...] = ()
    different: tuple[Piece, ...] = ()  # earlier answers that are not the same program
    alike: tuple[Piece, ...] = ()  # earlier copies of the graded answer
    passed_over: tuple[tuple[Piece, str], ...] = ()  # bindings that are no answer, each with what it is
    stubs: tuple[Piece, ...] = ()
    refused: tuple[tuple[Piece, str], ...] = ()  # bindings that Python does not compile, each with its complaint


def choose(exercise: Exercise, namespace: Namespace, answers: frozenset[str]) -> Choice:
    """Looks at all bindings of one exercise's name; `answers` are the names of all exercises."""
    name = exercise.name
    released = released_stub(exercise.stub, name)
    stubs: list[Piece] = []
    passed_over: list[tuple[Piece, str]] = []
    refused: list[tuple[Piece, str]] = []
    groups: list[list[Piece]] = []
    for piece in namespace.binders.get(name, []):
        kind = _kind(piece, name, released, answers, namespace)
        if kind == "stub":
            stubs.append(piece)
        elif complaint := compile_complaint(piece):
            refused.append((piece, complaint))
        elif kind != "answer":
            passed_over.append((piece, kind))
        elif groups and _goes_on(piece, name, namespace):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    if not groups and not stubs and not refused:  # better a library's function or a value than nothing at all
        last = [piece for piece, _ in passed_over[-1:]] or namespace.made_by_exec(name)[-1:]
        groups, passed_over = [[piece] for piece in last], passed_over[:-1]
    choice = Choice(name, passed_over=tuple(passed_over), stubs=tuple(stubs), refused=tuple(refused))
    return _with_groups(choice, groups, namespace) if groups else choice


def _kind(piece: Piece, name: str, released: str, answers: Iterable[str], namespace: Namespace) -> str:
    if is_stub(piece.node, name, released):
        return "stub"
    if isinstance(piece.node, ast.Import | ast.ImportFrom):
        return "an import from a library"
    if is_compiled(piece.node, name):
        return "itself, compiled by torch.compile"
    if is_value(piece.node, name, answers):
        return "a value, no function"
    if _is_librarys(piece.node, namespace):
        return "something of a library's"
    return "answer"


def _is_librarys(node: ast.stmt, namespace: Namespace) -> bool:
    """Whether a statement binds a name to what a library has or makes: `softmax = nn.Softmax(dim=-1)`."""
    match node:
        case ast.Assign([ast.Name()], ast.Call() | ast.Attribute() as value):
            names = {inner.id for inner in ast.walk(value) if isinstance(inner, ast.Name)}
            return bool(names) and all(name in namespace.binders and namespace.is_module(name) for name in names)
    return False


def _goes_on(piece: Piece, name: str, namespace: Namespace) -> bool:
    """Whether a binding uses what the name was bound to before: a wrapper, a decorator, a subclass of itself."""
    return name in namespace.uses(piece).now


def _with_groups(choice: Choice, groups: list[list[Piece]], namespace: Namespace) -> Choice:
    broken = [_breaks_off(group, groups) for group in groups]
    earlier = [group for group, breaks_off in zip(groups, broken, strict=True) if not breaks_off]
    fragments = tuple((group[-1], BREAKS_OFF) for group, breaks_off in zip(groups, broken, strict=True) if breaks_off)
    graded = _with_predecessors(earlier, choice.exercise, namespace)
    mine = [fingerprint(piece.node) for piece in graded]
    same = [[fingerprint(piece.node) for piece in group] == mine for group in earlier]
    return replace(
        choice,
        graded=tuple(graded),
        different=tuple(group[-1] for group, is_same in zip(earlier, same, strict=True) if not is_same),
        alike=tuple(group[-1] for group, is_same in zip(earlier, same, strict=True) if is_same),
        passed_over=(*choice.passed_over, *fragments),
    )


def _breaks_off(group: list[Piece], groups: list[list[Piece]]) -> bool:
    """Whether an answer is the beginning of another one, word for word: a copy that was cut."""
    return (
        len(group) == 1
        and len(groups) <= MAX_COMPARED
        and any(is_fragment(group[0].source, other[0].source) for other in groups)
    )


def _with_predecessors(groups: list[list[Piece]], name: str, namespace: Namespace) -> list[Piece]:
    """Takes the last group, and those before it that it calls by another name: `old = softmax` before `def softmax(x):
    return old(x)`.
    """
    known: set[str] = set()  # names that the groups taken use
    kept_at = math.inf  # the first statement that keeps a predecessor under one of them
    taken: list[list[Piece]] = []
    while groups and (not taken or kept_at < taken[-1][0].index):
        taken.append(groups.pop())
        new = {each for piece in taken[-1] for each in namespace.uses(piece).all} - namespace.exercises - known
        known |= new
        kept_at = min([kept_at, *(piece.index for helper in new for piece in _keepers(helper, name, namespace))])
    return [piece for group in reversed(taken) for piece in group]


def _keepers(helper: str, name: str, namespace: Namespace) -> list[Piece]:
    """Assignments of what a name is bound to, to another."""
    return [
        piece
        for piece in namespace.binders.get(helper, [])
        if isinstance(piece.node, ast.Assign | ast.AnnAssign) and name in namespace.uses(piece).now
    ]
