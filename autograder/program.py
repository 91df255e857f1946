"""The part of a notebook that the exercises need: what is run and graded, what was repaired, what a person should see.

Enters: the cells of a submission and the lesson's stubs. Leaves: a `Program`. Nothing is run here.

    cells -> statements (statements.py) -> the binding of each exercise that counts (answers.py)
          -> what it needs, name by name (needs.py) -> statements in notebook order, repairs, reasons for review

Names of exercises that a notebook lost stay unbound: the engine supplies them when it runs the others.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from autograder.answers import Choice, choose
from autograder.course import Lesson
from autograder.leads import lead
from autograder.needs import Namespace, Needs
from autograder.notebook import Notebook
from autograder.ordering import in_order
from autograder.ownfiles import with_own_files
from autograder.plainer import annotation_names, runnable
from autograder.remarks import remarks, reviews, some
from autograder.rightlesson import check_lesson
from autograder.statements import Broken, Piece, Pieces, defined_names, read_pieces
from autograder.supplies import Supply, given_sources, own_statements, supplies_for
from autograder.textcode import merged, pieces_of_text
from autograder.written import find_written

SUPPLIED = 0  # cell number of a statement that the reader added


@dataclass(frozen=True)
class Statement:
    """One top-level statement to be run in the notebook's namespace."""

    cell: int  # number of its cell in the file; SUPPLIED for one that the reader added
    line: int  # 1-based line of its first line inside its cell
    source: str


@dataclass(frozen=True)
class Answer:
    """What a notebook says to one exercise; `statements` are all that it runs but other exercises."""

    exercise: str
    statements: tuple[Statement, ...]
    cell: int | None
    state: str  # answered, stub or missing
    message: str = ""  # why it is missing: place, Python's complaint, line and caret


@dataclass(frozen=True)
class Program:
    """What is run of a notebook, in order, and what was found for each exercise and written answer."""

    statements: tuple[Statement, ...]
    answers: dict[str, Answer]
    written: dict[str, str]
    repairs: tuple[str, ...]
    review: tuple[str, ...]


def slice_program(notebook: Notebook, lesson: Lesson, others: Mapping[str, Iterable[str]] | None = None) -> Program:
    """Finds the answers and what they need; raises SubmissionError for another lesson's notebook, or one without any.

    `others` maps the names of other lessons to the names of their exercises, so that a mistaken hand-in can be named.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python's parser thinks of a student's escapes is no message of ours
        return _slice(notebook, lesson, others or {})


def _slice(notebook: Notebook, lesson: Lesson, others: Mapping[str, Iterable[str]]) -> Program:
    names = frozenset(exercise.name for exercise in lesson.exercises)
    pieces = read_pieces(with_own_files([cell for cell in notebook.cells if cell.kind == "code"]))
    namespace, choices = _choices(pieces, lesson, names)
    extra = pieces_of_text(notebook, pieces, frozenset(name for name in names if not choices[name].graded))
    from_text = frozenset(piece.cell.number for piece in extra)
    if extra:
        pieces = merged(pieces, extra)
        namespace, choices = _choices(pieces, lesson, names)
    written = find_written(notebook.cells, lesson.written)
    check_lesson(notebook, lesson, pieces, choices, written, others)
    owners = {piece.index: name for name, choice in choices.items() for piece in choice.graded}
    needs = {name: _needs(choice, namespace, owners) for name, choice in choices.items()}
    future = {
        piece.index: piece.node
        for piece in pieces.code
        if isinstance(piece.node, ast.ImportFrom) and piece.node.module == "__future__"
    }
    supplied = _supplied(needs, lesson)
    unread = _unread_annotations(needs, namespace, supplied, future.values())
    added = {name: Statement(SUPPLIED, 1, each.source) for name, each in supplies_for(_unbound(needs), lesson).items()}
    run = {index for each in needs.values() for index in each.pieces} | future.keys()
    made = {piece.index: _statement(piece) for piece in pieces.code if piece.index in run}
    given = {name: [added[each] for each in supplies] for name, supplies in supplied.items()}
    answers = {
        name: _answer(choice, needs[name], made, given[name], set(future), pieces.broken) for name, choice in choices.items()
    }
    taken = names | lesson.given
    for name in answers:
        if not answers[name].statements and not answers[name].message:
            answers[name] = replace(answers[name], message=lead(name, pieces.code, notebook.cells, taken))
    return Program(
        statements=(*_future(unread), *added.values(), *(made[index] for index in in_order(run, namespace))),
        answers=answers,
        written={answer.grade_id: answer.text for answer in written},
        repairs=(
            *notebook.repairs,
            *some(remarks(notebook, choices, pieces, run, from_text)),
            *_supplies_told(supplied),
            *_unread_told(unread),
            *(answer.repair for answer in written if answer.repair),
        ),
        review=some(reviews(choices, pieces, needs, namespace, from_text, own_statements(lesson.model_cells))),
    )


def _choices(pieces: Pieces, lesson: Lesson, names: frozenset[str]) -> tuple[Namespace, dict[str, Choice]]:
    namespace = Namespace(pieces.code, names, frozenset(lesson.imports), given_sources(lesson))
    return namespace, {exercise.name: choose(exercise, namespace, names) for exercise in lesson.exercises}


def _needs(choice: Choice, namespace: Namespace, owners: Mapping[int, str]) -> Needs:
    if not choice.graded:
        return Needs(frozenset(), frozenset())
    first = choice.graded[0].index
    patches = [piece for piece in namespace.changes_of(choice.exercise) if piece.index > first]
    mine = frozenset(piece.index for piece in choice.graded)
    return namespace.follow([*choice.graded, *patches], mine, owners)


def _unread_annotations(
    needs: Mapping[str, Needs],
    namespace: Namespace,
    supplied: Mapping[str, Mapping[str, Supply]],
    future: Iterable[ast.ImportFrom],
) -> dict[str, list[str]]:
    """For each exercise the names in annotations that nothing binds, or an import of what need not be here; none where
    the notebook itself says that annotations are not to be looked up.
    """
    if any(alias.name == "annotations" for node in future for alias in node.names):
        return {}
    found = {}
    for exercise, each in needs.items():
        names = set(annotation_names(namespace.pieces[index] for index in each.pieces)) - supplied[exercise].keys()
        found[exercise] = sorted(name for name in names if name in each.unbound or namespace.is_foreign(name))
    return {exercise: names for exercise, names in found.items() if names}


def _unread_told(unread: Mapping[str, list[str]]) -> Iterator[str]:
    for name, missing in unread.items():
        yield f"{name}: annotations that name what is not there ({', '.join(missing)}) were not looked up."


def _future(unread: Mapping[str, list[str]]) -> list[Statement]:
    """With this line Python does not look annotations up."""
    return [Statement(SUPPLIED, 1, "from __future__ import annotations")] if unread else []


def _unbound(needs: Mapping[str, Needs]) -> set[str]:
    return {name for each in needs.values() for name in each.unbound}


def _supplied(needs: Mapping[str, Needs], lesson: Lesson) -> dict[str, dict[str, Supply]]:
    """For each exercise what the release gives of the names that its answer needs and the notebook lost."""
    return {name: supplies_for(each.unbound, lesson) for name, each in needs.items()}


def _supplies_told(supplied: Mapping[str, Mapping[str, Supply]]) -> Iterator[str]:
    every = {name: supply for supplies in supplied.values() for name, supply in supplies.items()}
    for name, supply in every.items():
        users = sorted(exercise for exercise, supplies in supplied.items() if name in supplies)
        yield f"{', '.join(users)}: {supply.called} was supplied."


def _statement(piece: Piece) -> Statement:
    return Statement(piece.cell.number, piece.line, runnable(piece))


def _answer(
    choice: Choice,
    needs: Needs,
    made: Mapping[int, Statement],
    added: Iterable[Statement],
    always: set[int],
    broken: Iterable[Broken],
) -> Answer:
    lost = [(chunk.cell.number, chunk.message) for chunk in broken if choice.exercise in defined_names(chunk.source)]
    lost += [(piece.cell.number, complaint) for piece, complaint in choice.refused]
    cell, message = max(lost) if lost else (None, "")
    if choice.graded:
        own = tuple(made[index] for index in sorted(needs.pieces | always))
        return Answer(choice.exercise, (*added, *own), choice.graded[-1].cell.number, "answered", message)
    if lost:
        return Answer(choice.exercise, (), cell, "missing", message)
    if choice.stubs:
        return Answer(choice.exercise, (), choice.stubs[-1].cell.number, "stub")
    return Answer(choice.exercise, (), None, "missing")
