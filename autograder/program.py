"""The part of a notebook that the exercises need: what is run and graded, what was repaired, what a person should see.

Enters: the cells of a submission and the lesson's stubs. Leaves: a `Program`. Nothing is run here.

    cells -> statements (statements.py) -> the binding of each exercise that counts (answers.py)
          -> what it needs, name by name (needs.py) -> statements in notebook order, repairs, reasons for review

Names of exercises that a notebook lost stay unbound: the engine supplies them when it runs the others.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from autograder.answers import Choice, choose
from autograder.asyncs import without_await
from autograder.course import Lesson
from autograder.errors import SubmissionError
from autograder.needs import Namespace, Needs
from autograder.notebook import Notebook
from autograder.ownfiles import with_own_files
from autograder.remarks import remarks, reviews
from autograder.statements import Broken, Piece, Pieces, code_in_text, read_pieces
from autograder.textfile import ASK
from autograder.written import WrittenAnswer, find_written

SUPPLIED = 0  # cell number of a statement that the reader added
DEFINES = re.compile(r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)", re.M)


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
    extra = _pieces_of_text(notebook, pieces, frozenset(name for name in names if not choices[name].graded))
    from_text = frozenset(piece.cell.number for piece in extra)
    if extra:
        pieces = _merged(pieces, extra)
        namespace, choices = _choices(pieces, lesson, names)
    written = find_written(notebook.cells, lesson.written)
    _check_lesson(notebook, lesson, pieces, choices, written, others)
    owners = {piece.index: name for name, choice in choices.items() for piece in choice.graded}
    needs = {name: _needs(choice, namespace, owners) for name, choice in choices.items()}
    future = [
        piece for piece in pieces.code if isinstance(piece.node, ast.ImportFrom) and piece.node.module == "__future__"
    ]
    supplied = _supplied(needs, lesson)
    run = {index for each in needs.values() for index in each.pieces} | {piece.index for piece in future}
    made = {piece.index: _statement(piece) for piece in pieces.code if piece.index in run}
    always = {piece.index for piece in future}
    answers = {
        name: _answer(choice, needs[name], made, supplied, always, pieces.broken) for name, choice in choices.items()
    }
    return Program(
        statements=(*supplied.values(), *(made[index] for index in sorted(made))),
        answers=answers,
        written={answer.grade_id: answer.text for answer in written},
        repairs=(
            *notebook.repairs,
            *remarks(notebook, choices, pieces, run, from_text),
            *(
                f"{', '.join(sorted(_users(needs, name)))}: the missing `{each.source}` was supplied."
                for name, each in supplied.items()
            ),
            *(answer.repair for answer in written if answer.repair),
        ),
        review=tuple(reviews(choices, pieces, needs, namespace, from_text)),
    )


def _choices(pieces: Pieces, lesson: Lesson, names: frozenset[str]) -> tuple[Namespace, dict[str, Choice]]:
    namespace = Namespace(pieces.code, names)
    return namespace, {exercise.name: choose(exercise, namespace, names) for exercise in lesson.exercises}


def _pieces_of_text(notebook: Notebook, pieces: Pieces, lost: frozenset[str]) -> list[Piece]:
    """Statements in Markdown and raw cells that define a lost exercise, with the helpers beside them that no code
    cell binds.
    """
    texts = [cell for cell in notebook.cells if cell.kind != "code" and _defined(cell.source) & lost]
    found = read_pieces([code_in_text(cell) for cell in texts]).code if texts else ()
    bound = {name for piece in pieces.code for name in piece.binds} - lost
    useful = {piece.cell.number for piece in found if _answers_one(piece, lost)}
    return [piece for piece in found if piece.cell.number in useful and piece.binds and not piece.binds & bound]


def _merged(pieces: Pieces, extra: Iterable[Piece]) -> Pieces:
    merged = sorted((*pieces.code, *extra), key=lambda piece: (piece.cell.number, piece.line))
    return replace(pieces, code=tuple(replace(piece, index=index) for index, piece in enumerate(merged)))


def _answers_one(piece: Piece, lost: frozenset[str]) -> bool:
    """Whether a statement found in text defines a lost exercise; a formula `softmax = exp(x) / sum` in prose does
    not.
    """
    if isinstance(piece.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return piece.node.name in lost
    return isinstance(piece.node, ast.Assign) and isinstance(piece.node.value, ast.Lambda) and bool(piece.binds & lost)


def _needs(choice: Choice, namespace: Namespace, owners: Mapping[int, str]) -> Needs:
    if not choice.graded:
        return Needs(frozenset(), frozenset())
    first = choice.graded[0].index
    patches = [piece for piece in namespace.changes_of(choice.exercise) if piece.index > first]
    mine = frozenset(piece.index for piece in choice.graded)
    return namespace.follow([*choice.graded, *patches], mine, owners)


def _supplied(needs: Mapping[str, Needs], lesson: Lesson) -> dict[str, Statement]:
    """Imports of the release that the notebook needs and lost, by the name that they bind."""
    unbound = {name for each in needs.values() for name in each.unbound}
    return {name: Statement(SUPPLIED, 1, text) for name, text in lesson.imports.items() if name in unbound}


def _users(needs: Mapping[str, Needs], name: str) -> list[str]:
    return [exercise for exercise, each in needs.items() if name in each.unbound]


def _statement(piece: Piece) -> Statement:
    return Statement(piece.cell.number, piece.line, without_await(piece.source, piece.node, piece.binds))


def _answer(
    choice: Choice,
    needs: Needs,
    made: Mapping[int, Statement],
    supplied: Mapping[str, Statement],
    always: set[int],
    broken: Iterable[Broken],
) -> Answer:
    lost = [(chunk.cell.number, chunk.message) for chunk in broken if choice.exercise in _defined(chunk.source)]
    lost += [(piece.cell.number, complaint) for piece, complaint in choice.refused]
    cell, message = max(lost) if lost else (None, "")
    if choice.graded:
        added = tuple(statement for name, statement in supplied.items() if name in needs.unbound)
        own = tuple(made[index] for index in sorted(needs.pieces | always))
        return Answer(choice.exercise, added + own, choice.graded[-1].cell.number, "answered", message)
    if lost:
        return Answer(choice.exercise, (), cell, "missing", message)
    if choice.stubs:
        return Answer(choice.exercise, (), choice.stubs[-1].cell.number, "stub")
    return Answer(choice.exercise, (), None, "missing")


def _defined(text: str) -> set[str]:
    """Names that a text would define at its margin, whether or not it parses."""
    return {name for match in DEFINES.finditer(text) for name in match.groups() if name}


def _check_lesson(
    notebook: Notebook,
    lesson: Lesson,
    pieces: Pieces,
    choices: Mapping[str, Choice],
    written: Iterable[WrittenAnswer],
    others: Mapping[str, Iterable[str]],
) -> None:
    """Raises SubmissionError where another lesson explains the notebook better, or nothing of this one is in it."""
    bound = {name for piece in pieces.code for name in piece.binds}
    bound |= {name for chunk in pieces.broken for name in _defined(chunk.source)}
    names = {exercise.name for exercise in lesson.exercises}
    found = names & bound | {name for name, choice in choices.items() if choice.graded}
    ids = {cell.grade_id for cell in notebook.cells if cell.grade_id}
    best = max(others, key=lambda other: len(bound & set(others[other])), default="")
    if best and best != lesson.name and len(bound & set(others[best])) > len(found):
        raise SubmissionError(
            f"{notebook.name} is a notebook of lesson {best}, not of {lesson.name}. Ask the student for the right one."
        )
    known = ids & {each for name in names for each in (name, f"check_{name}")}
    known |= ids & {each.grade_id for each in lesson.written}
    if len(ids - known) > len(known) and len(found) < len(names) / 2:
        raise SubmissionError(
            f"{notebook.name} is another lesson's notebook, not {lesson.name}. Ask the student for the right one."
        )
    if not found and not known and not any(answer.text for answer in written):
        raise SubmissionError(f"None of the exercises of {lesson.name} is in {notebook.name}. {ASK}")
