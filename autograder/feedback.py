"""What a student gets back: one self-contained page, and the text of it for a comment in a learning platform.

Enters: a result, its pictures, and the marks as they stand in the gradebook, if they do. Leaves: HTML and text. Nothing here
knows a hidden input: messages come from telling.py, pictures from picture.py. Every value is cleaned and escaped by the
templates' environment (page_frame.py); the page runs no script, asks for nothing and has a strict policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autograder import report
from autograder.course import Lesson
from autograder.outcome import Picture
from autograder.page_frame import rendered
from autograder.report import MARKS, points
from autograder.results import ExerciseResult, SubmissionResult, TestResult
from autograder.safetext import clean, one_line
from autograder.standings import CellMark, Standing, max_score

HINT = "hint:"
OUTCOMES = {"passed": "passed", "failed": "failed", "not_judged": "not judged"}


@dataclass(frozen=True)
class Line:
    """One test as a student reads it."""

    mark: str
    outcome: str  # passed, failed, not judged
    sentence: str
    cause: str = ""
    wanted: str = ""
    got: str = ""
    hint: str = ""
    note: str = ""
    as_above: bool = False


@dataclass(frozen=True)
class Block:
    """One exercise or written answer as a student reads it."""

    name: str
    score: str  # "" while it waits for a person
    max_score: str
    state: str  # full, part, none, waits
    note: str = ""
    ideas: tuple[str, ...] = ()
    failed: tuple[Line, ...] = ()
    passed: tuple[Line, ...] = ()
    picture: Picture | None = None


@dataclass(frozen=True)
class Sum:
    """What it comes to."""

    score: str
    max_score: str
    notes: tuple[str, ...] = ()


def page(lesson: Lesson, result: SubmissionResult, pictures: Mapping[str, Picture], standing: Standing | None = None) -> str:
    """A student's page."""
    return rendered(
        "feedback.html",
        title=lesson.name.replace("_", " "),
        student=one_line(result.student),
        unreadable=result.status == "unreadable" and standing is None,
        sum=total(lesson, result, standing),
        message=result.message,
        repairs=result.repairs,
        blocks=blocks(lesson, result, pictures, standing),
    )


def text(lesson: Lesson, result: SubmissionResult, standing: Standing | None = None) -> str:
    """The same for a comment in a learning platform: the sum with marks by hand in front, then each test."""
    if standing is None:
        return report.feedback(result)
    made = total(lesson, result, standing)
    lines = [f"{one_line(result.student)}: {made.score} of {made.max_score} points in all", *made.notes]
    by_hand = [f"{each.name}: {each.score} of {each.max_score} points, {each.note}" for each in _by_hand(lesson, standing)]
    return "\n".join([*lines, *by_hand]) + "\n\nthe hidden tests: " + report.feedback(result)


def total(lesson: Lesson, result: SubmissionResult, standing: Standing | None) -> Sum:
    """The score, and what stands behind it or is still to come."""
    if standing is None:
        come = sum(each.points for each in lesson.written)
        notes = (f"{points(come)} more points for what is marked by hand.",) if come else ()
        return Sum(points(result.score), points(result.max_score), notes)
    late = f"{points(standing.penalty)} points were taken off for being late." if standing.penalty else ""
    waits = f"Still to be looked at: {', '.join(standing.waiting)}." if standing.waiting else ""
    return Sum(points(standing.score), points(max_score(lesson)), tuple(note for note in (late, waits) if note))


def blocks(
    lesson: Lesson, result: SubmissionResult, pictures: Mapping[str, Picture], standing: Standing | None
) -> tuple[Block, ...]:
    """Each exercise, then each written answer."""
    marks = {cell.name: cell for cell in standing.cells} if standing else {}
    told = tuple(
        _block(each, pictures.get(each.name), marks[each.name].score if each.name in marks else None)
        for each in result.exercises
        if each.tests or each.name in marks
    )
    return told + (_by_hand(lesson, standing) if standing else ())


def _block(exercise: ExerciseResult, picture: Picture | None, stands: float | None) -> Block:
    score = exercise.score if stands is None else stands
    note = "a person changed this mark" if stands is not None and abs(stands - exercise.score) > 0.005 else ""
    state = _state(score, exercise.max_score)
    ideas = tuple(one_line(idea) for idea in report.ideas(exercise))
    if report.untouched(exercise):
        return Block(exercise.name, points(score), points(exercise.max_score), state, exercise.tests[0].message)
    told: set[tuple[str, str]] = set()
    lines = [_line(test, told) for test in exercise.tests]
    failed = tuple(line for line in lines if line.outcome != "passed")
    passed = tuple(line for line in lines if line.outcome == "passed")
    return Block(
        exercise.name,
        points(score),
        points(exercise.max_score),
        state,
        note,
        ideas,
        failed,
        passed,
        picture if failed else None,
    )


def _by_hand(lesson: Lesson, standing: Standing) -> tuple[Block, ...]:
    """The written answers and other cells that no test marks."""
    exercises = {exercise.name for exercise in lesson.exercises}
    return tuple(_mark(cell) for cell in standing.cells if cell.name not in exercises)


def _mark(cell: CellMark) -> Block:
    """nbgrader gives a cell that nobody wrote into 0 points, and asks no person."""
    if cell.waits:
        return Block(cell.name, "", points(cell.max_score), "waits", "not marked yet")
    note = "marked by a person" if cell.by_hand else "not answered" if cell.score == 0 else ""
    return Block(cell.name, points(cell.score), points(cell.max_score), _state(cell.score, cell.max_score), note)


def _state(score: float, max_score: float) -> str:
    return "full" if score >= max_score else "part" if score > 0 else "none"


def _line(test: TestResult, told: set[tuple[str, str]]) -> Line:
    """A test's line; a reason that was told before is not told again."""
    mark, outcome = MARKS[test.outcome], OUTCOMES[test.outcome]
    sentence, cause = report.sentence(test), report.told_cause(test)
    if test.outcome == "passed":
        return Line(mark, outcome, sentence, note=one_line(test.message))
    reason = cause, clean(test.message).strip()
    if reason[1] and reason in told:
        return Line(mark, outcome, sentence, cause, as_above=True)
    told.add(reason)
    said = parts(reason[1])
    return Line(mark, outcome, sentence, cause, said["wanted"], said["got"], said["hint"], said["note"])


def parts(message: str) -> dict[str, str]:
    """A message taken apart: wanted, got, hint, and what is none of these."""
    found: dict[str, list[str]] = {"wanted": [], "got": [], "hint": [], "note": []}
    at = "note"
    for line in message.splitlines():
        word = next((word for word in ("wanted ", "got ", HINT) if line.startswith(word)), "")
        at = word.strip(": ") or (at if line.strip() else "note")
        found[at].append(line.removeprefix(word).strip())
    return {name: "\n".join(lines).strip() for name, lines in found.items()}
