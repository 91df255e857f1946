"""What is said about a submission's reading: repairs, one sentence each, and reasons for a person to look at it.

A repair is reported when an answer was taken from another place than its cell, a choice between bindings was made, or
lines of an exercise's cell were left out; never for ungraded cells.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

from autograder.answers import BREAKS_OFF, Choice
from autograder.needs import Namespace, Needs
from autograder.notebook import Notebook
from autograder.plainer import compiled_by
from autograder.statements import Piece, Pieces

MAX_PLACES = 5  # named in one sentence
MAX_SENTENCES = 50  # of a kind about one submission
UNSEEN = frozenset(("exec", "eval", "__builtins__"))
UNSEEN_ATTRIBUTES = frozenset(("FunctionType", "CodeType", "__code__", "exec", "run_path", "run_module"))
BY_NAME = frozenset(("getattr", "attrgetter", "methodcaller", "__getattribute__", "__getattr__", "__dict__", "vars"))
SPELLING = frozenset(("chr", "bytes", "bytearray", "decode", "fromhex", "b64decode", "translate", "reversed"))


def some(sentences: Iterable[str], most: int = MAX_SENTENCES) -> tuple[str, ...]:
    """The first of many sentences, and how many more there are: results and pages are no larger for more of them."""
    every = tuple(sentences)
    return every if len(every) <= most else (*every[:most], f"There is more of this kind: {len(every) - most} times.")


def remarks(
    notebook: Notebook, choices: Mapping[str, Choice], pieces: Pieces, run: set[int], from_text: frozenset[int]
) -> Iterator[str]:
    """Repairs, in the order of the lesson's exercises, then of cells."""
    claimed: dict[str, list[int]] = {}
    for cell in notebook.cells:
        if cell.grade_id in choices:
            claimed.setdefault(cell.grade_id or "", []).append(cell.number)
    for _name, choice in choices.items():
        yield from _moved(choice, claimed, from_text)
        yield from _chosen(choice)
    yield from _left_out(choices, pieces, run, from_text)


def _moved(choice: Choice, claimed: Mapping[str, list[int]], from_text: frozenset[int]) -> Iterator[str]:
    if not choice.graded:
        return
    name, number = choice.exercise, choice.graded[-1].cell.number
    if number in from_text:
        yield f"{name} was taken from cell {number}, which is not a code cell that runs."
    elif name in claimed and number not in claimed[name]:
        yield f"{name} was taken from cell {number}, not from its own cell {claimed[name][-1]}."
    elif claimed and name not in claimed:
        yield f"{name} was taken from cell {number}; its own cell is gone or lost its mark."


def _chosen(choice: Choice) -> Iterator[str]:
    if not choice.graded:
        return
    name, taken = choice.exercise, choice.graded[-1].place
    if choice.different:
        yield f"{name} has different answers: {_places(choice.different)} and {taken}; the last was graded."
    if choice.alike:
        yield f"{name} is there more than once, alike: {_places(choice.alike)} and {taken}; the last was graded."
    if choice.stubs:
        yield f"{name}: the answer of {taken} was graded, the open stub of {_places(choice.stubs)} was not."
    if any(compiled_by(piece) for piece in choice.graded):
        yield f"{name}: `@torch.compile` was left out; it changes no result."
    for piece, what in choice.passed_over:
        yield f"{name}: {piece.place} binds the name to {what}; {taken} was graded."


def _left_out(choices: Mapping[str, Choice], pieces: Pieces, run: set[int], from_text: frozenset[int]) -> Iterator[str]:
    owners: dict[int, list[str]] = {}
    told: set[int] = set()
    for name, choice in choices.items():
        for piece, complaint in choice.refused:
            told.add(piece.index)
            yield f"{name}: a binding that does not compile was left out: {complaint.partition(chr(10))[0]}."
        for number in sorted({piece.cell.number for piece in choice.graded} - from_text):
            owners.setdefault(number, []).append(name)
        told |= {piece.index for piece in (*choice.different, *choice.alike, *choice.stubs)}
        told |= {piece.index for piece, _ in choice.passed_over}
    for number, lines in sorted(_lines_left_out(owners, pieces, run | told).items()):
        names = ", ".join(owners[number])
        yield f"Cell {number} ({names}): {_ranges(lines)} left out; no exercise needs what stands there."
    for number in sorted(owners.keys() & pieces.mended.keys()):
        for how in pieces.mended[number]:
            yield f"Cell {number} ({', '.join(owners[number])}): {how}."
    for chunk in pieces.broken:
        if chunk.cell.number in owners or chunk.cell.grade_id in choices:
            yield f"Lines that are not Python were left out: {chunk.message.partition(chr(10))[0]}."


def _lines_left_out(owners: Iterable[int], pieces: Pieces, known: set[int]) -> dict[int, set[int]]:
    """Lines of the exercises' cells that are not run, by cell; `known` are statements that are, or were told of."""
    lines: dict[int, set[int]] = {number: set(pieces.left_out.get(number, ())) for number in owners}
    for piece in pieces.code:
        if piece.cell.number in lines and piece.index not in known and not _is_text(piece):
            lines[piece.cell.number] |= set(range(piece.line, piece.end_line + 1))
    return {number: left for number, left in lines.items() if left}


def reviews(
    choices: Mapping[str, Choice],
    pieces: Pieces,
    needs: Mapping[str, Needs],
    namespace: Namespace,
    from_text: frozenset[int],
    given: frozenset[str],
) -> Iterator[str]:
    """Why a person should look: different answers, code found in text, code that static rules cannot see into."""
    run = {index for each in needs.values() for index in each.pieces}
    hidden = {piece.index: piece for piece in pieces.code if piece.index in run and _is_hidden(piece, namespace)}
    for name, choice in choices.items():
        if choice.graded and choice.different:
            places = f"{_places(choice.different)} and {choice.graded[-1].place}"
            yield f"{name} has different answers, in {places}; the last was graded: ask the student which one is meant."
        for piece in _shorter_below(choice):
            yield (
                f"{name}: {piece.place} is the beginning of the answer of {choice.graded[-1].place} and stands below it; "
                "the whole one was graded: ask the student which one is meant."
            )
        if choice.graded and choice.graded[-1].cell.number in from_text:
            number = choice.graded[-1].cell.number
            yield f"{name} was found in cell {number}, no code cell that runs: ask whether it is meant."
        for index in sorted(needs[name].pieces & hidden.keys()):
            yield f"{name} runs code that is made at run time (exec, eval or the like), {hidden[index].place}: read it."
        own = [piece for piece in pieces.code if piece.index in needs[name].pieces and piece.source.strip() not in given]
        for piece in _by_spelt_names(own):
            yield f"{name} takes things by names that it spells at run time, {piece.place}: read it."


def _shorter_below(choice: Choice) -> Iterator[Piece]:
    """Copies that break off, but could be meant so: they stand below the whole answer, and return something."""
    for piece, what in choice.passed_over:
        last = piece.node.body[-1] if isinstance(piece.node, ast.FunctionDef) else None
        if what == BREAKS_OFF and piece.index > choice.graded[-1].index and isinstance(last, ast.Return):
            yield piece


def _is_hidden(piece: Piece, namespace: Namespace) -> bool:
    used = namespace.uses(piece).all
    if any(name in used and name not in namespace.binders for name in UNSEEN):
        return True
    return any(isinstance(node, ast.Attribute) and node.attr in UNSEEN_ATTRIBUTES for node in ast.walk(piece.node))


def _by_spelt_names(own: list[Piece]) -> list[Piece]:
    """Statements that look attributes up by name, where the exercise makes text of numbers or bytes: no rule reads that."""
    if not any(_words(piece) & SPELLING for piece in own):
        return []
    return [piece for piece in own if _words(piece) & BY_NAME]


def _words(piece: Piece) -> set[str]:
    """The names and attributes that a statement uses."""
    used = (node for node in ast.walk(piece.node) if isinstance(node, ast.Name | ast.Attribute))
    return {node.id if isinstance(node, ast.Name) else node.attr for node in used}


def _is_text(piece: Piece) -> bool:
    return (isinstance(piece.node, ast.Expr) and isinstance(piece.node.value, ast.Constant)) or isinstance(
        piece.node, ast.Pass
    )


def _places(pieces: Iterable[Piece]) -> str:
    places = [piece.place for piece in pieces]
    more = [f"{len(places) - MAX_PLACES} more"] if len(places) > MAX_PLACES else []
    return ", ".join(places[:MAX_PLACES] + more)


def _ranges(lines: set[int]) -> str:
    """`lines 2-4 and 9 were`."""
    runs: list[list[int]] = []
    for line in sorted(lines):
        if runs and line == runs[-1][-1] + 1:
            runs[-1].append(line)
        else:
            runs.append([line])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    text = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"line {text} was" if len(lines) == 1 else f"lines {text} were"
