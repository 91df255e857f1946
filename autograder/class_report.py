"""What a class understood: counted from results and marks, as plain data. Pure: opens no file.

Enters: the last result of each student, the marks as they stand in the gradebook. Leaves: a `ClassReport`, which is the JSON
of the report as it stands; class_page.py draws it. Every count is a list of students, so each number can say whose it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from autograder.course import Lesson
from autograder.latest import Latest
from autograder.report import CAUSES, ideas, points, untouched
from autograder.results import ExerciseResult, SubmissionResult
from autograder.safetext import MESSAGE_LIMIT, csv_text, file_names, one_line
from autograder.standings import CellMark, Standing, max_score

BINS = 10
State = Literal["graded", "needs_review", "unreadable", "missing"]


class Row(msgspec.Struct, frozen=True):
    """One student."""

    student: str
    name: str  # as the gradebook has it; the id where it has none
    page: str  # name of the file with their feedback, without ending
    state: State
    score: float | None  # the mark as it stands, marks by hand in it; None: nothing was graded
    exercises: dict[str, float | None]
    written: dict[str, float | None]  # None: waits for a person
    why: str  # why a person has to look, or why it could not be read
    ideas: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()  # cells that a person has to mark
    repairs: tuple[str, ...] = ()
    penalty: float = 0.0
    seconds: float = 0.0
    graded: str = ""


class Count(msgspec.Struct, frozen=True):
    """A number, as the students behind it."""

    students: tuple[str, ...]
    label: str
    exercise: str = ""
    of: int = 0  # how many it could have been


class Cause(msgspec.Struct, frozen=True):
    """One way in which tests failed."""

    cause: str
    students: tuple[str, ...]
    exercises: tuple[str, ...]
    tests: int


class ClassReport(msgspec.Struct, frozen=True):
    """The report of one lesson."""

    lesson: str
    device: str
    sandbox: str
    max_score: float
    exercises: dict[str, float]  # name -> points
    written: dict[str, float]
    rows: tuple[Row, ...]
    bins: tuple[Count, ...]  # of scores, in tenths of what can be had
    ideas: tuple[Count, ...]  # misconceptions, the most frequent first
    tests: tuple[Count, ...]  # hidden tests that somebody failed, the hardest first
    means: dict[str, float]  # exercise -> mean share of its points
    causes: tuple[Cause, ...]
    account: tuple[str, ...]  # who is missing and what was not understood, as the last collection says
    schema: int = 1

    @property
    def scores(self) -> list[float]:
        """The marks of all who have one."""
        return [row.score for row in self.rows if row.score is not None]

    def in_state(self, *states: State) -> tuple[str, ...]:
        """The students whose submission is in one of these states."""
        return tuple(row.student for row in self.rows if row.state in states)


def class_report(lesson: Lesson, latest: Latest, standings: Iterable[Standing], account: Iterable[str]) -> ClassReport:
    """Counts a class."""
    marks = {standing.student: standing for standing in standings}
    entries = sorted(latest.entries.items())
    pages = file_names([student for student, _ in entries])
    rows = tuple(_row(lesson, entry.result, marks.get(student), pages[student], entry.graded) for student, entry in entries)
    results = [entry.result for _, entry in entries]
    return ClassReport(
        lesson=lesson.name,
        device=latest.device,
        sandbox=latest.sandbox,
        max_score=max_score(lesson),
        exercises={each.name: each.points for each in lesson.exercises},
        written={each.grade_id: each.points for each in lesson.written},
        rows=rows,
        bins=_bins(rows, max_score(lesson)),
        ideas=_ideas(results),
        tests=_tests(results),
        means=_means(lesson, rows),
        causes=_causes(results),
        account=tuple(account),
    )


def median(report: ClassReport) -> str:
    """The middle score, in words for an empty class too."""
    return points(statistics.median(report.scores)) if report.scores else "–"


def to_csv(report: ClassReport) -> str:
    """A row a student: state, marks, exercises, ideas."""
    heads = ["student", "name", "state", "score", "max_score", *report.exercises, *report.written]
    rows: list[list[object]] = [[*heads, "late_penalty", "seconds", "misconceptions", "repairs", "why", "waits_for"]]
    for row in report.rows:
        marks = [row.exercises.get(name) for name in report.exercises] + [row.written.get(name) for name in report.written]
        said = ("; ".join(row.ideas), "; ".join(row.repairs), row.why, "; ".join(row.waits))
        values = [row.student, row.name, row.state, row.score, report.max_score, *marks, row.penalty, row.seconds]
        rows.append([*values, *said])
    return csv_text(rows, MESSAGE_LIMIT)


def _row(lesson: Lesson, result: SubmissionResult, standing: Standing | None, page: str, graded: str) -> Row:
    by_name = {mark.name: mark for mark in standing.cells} if standing else {}
    readable = result.status != "unreadable"
    exercises = {each.name: _exercise(each, by_name.get(each.name), readable=readable) for each in result.exercises}
    named = f"{standing.first_name} {standing.last_name}".strip() if standing else ""
    return Row(
        student=result.student,
        name=one_line(named or result.student),
        page=page,
        state="missing" if not readable and not result.path else result.status,
        score=round(standing.score, 2) if standing else result.score if readable else None,
        exercises=exercises,
        written={each.grade_id: _written(by_name.get(each.grade_id)) for each in lesson.written},
        why=one_line(result.message, 600),
        ideas=tuple(dict.fromkeys(idea for each in result.exercises for idea in ideas(each))),
        waits=standing.waiting if standing else (),
        repairs=tuple(one_line(repair) for repair in result.repairs),
        penalty=round(standing.penalty, 2) if standing else 0.0,
        seconds=result.seconds,
        graded=graded,
    )


def _exercise(exercise: ExerciseResult, mark: CellMark | None, *, readable: bool) -> float | None:
    """The mark as it stands; None where nothing was graded."""
    if mark is not None:
        return round(mark.score, 2)
    return exercise.score if readable else None


def _written(mark: CellMark | None) -> float | None:
    return None if mark is None or mark.waits else round(mark.score, 2)


def _bins(rows: tuple[Row, ...], most: float) -> tuple[Count, ...]:
    """Ten bins; full marks belong to the last."""
    found: list[list[str]] = [[] for _ in range(BINS)]
    for row in rows:
        if row.score is not None:
            found[min(int(BINS * row.score / most), BINS - 1) if most else 0].append(row.student)
    width = 100 // BINS
    return tuple(
        Count(tuple(students), f"{width * n} to {width * (n + 1)} %", of=len(rows)) for n, students in enumerate(found)
    )


def _ideas(results: Iterable[SubmissionResult]) -> tuple[Count, ...]:
    found: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for exercise in result.exercises:
            for idea in ideas(exercise):
                found.setdefault((exercise.name, idea), []).append(result.student)
    counts = [Count(tuple(students), one_line(idea), exercise) for (exercise, idea), students in found.items()]
    return tuple(sorted(counts, key=lambda count: (-len(count.students), count.exercise)))


def _tests(results: Iterable[SubmissionResult]) -> tuple[Count, ...]:
    """What was handed in and failed; an untouched exercise says nothing of a test."""
    failed: dict[tuple[str, str], list[str]] = {}
    judged: dict[tuple[str, str], set[str]] = {}
    for result in results:
        for exercise in result.exercises:
            for test in () if untouched(exercise) else exercise.tests:
                key = exercise.name, test.name
                judged.setdefault(key, set()).add(result.student)
                if test.outcome == "failed" and result.student not in failed.setdefault(key, [])[-1:]:
                    failed[key].append(result.student)
    counts = [Count(tuple(who), one_line(key[1]), key[0], len(judged[key])) for key, who in failed.items() if who]
    return tuple(sorted(counts, key=lambda count: (-len(count.students), count.exercise, count.label)))


def _means(lesson: Lesson, rows: tuple[Row, ...]) -> dict[str, float]:
    found = {}
    for exercise in lesson.exercises:
        scores = [score for row in rows if (score := row.exercises.get(exercise.name)) is not None]
        found[exercise.name] = round(statistics.fmean(scores) / exercise.points, 4) if scores and exercise.points else 0.0
    return found


def _causes(results: Iterable[SubmissionResult]) -> tuple[Cause, ...]:
    students: dict[str, dict[str, None]] = {}
    exercises: dict[str, dict[str, None]] = {}
    tests: dict[str, int] = {}
    for result in results:
        for exercise in result.exercises:
            for test in exercise.tests:
                why = "not judged" if test.outcome == "not_judged" else CAUSES[test.cause] if test.cause else ""
                if why and test.outcome != "passed":
                    students.setdefault(why, {})[result.student] = None
                    exercises.setdefault(why, {})[exercise.name] = None
                    tests[why] = tests.get(why, 0) + 1
    found = [Cause(why, tuple(who), tuple(exercises[why]), tests[why]) for why, who in students.items()]
    return tuple(sorted(found, key=lambda cause: -cause.tests))


def groups(report: ClassReport) -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Every number of the report by a short key: what it counts, and whom."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    states: dict[str, tuple[State, ...]] = {
        "review": ("needs_review",),
        "unreadable": ("unreadable",),
        "missing": ("missing",),
        "handed-in": ("graded", "needs_review", "unreadable"),
    }
    for key, wanted in states.items():
        found[key] = (key.replace("-", " "), report.in_state(*wanted))
    found["repaired"] = ("repaired notebooks", tuple(row.student for row in report.rows if row.repairs))
    found["waiting"] = ("written answers to mark", tuple(row.student for row in report.rows if row.waits))
    for letter, counts in (("b", report.bins), ("m", report.ideas), ("t", report.tests)):
        for number, count in enumerate(counts):
            label = f"{count.exercise}: {count.label}" if count.exercise else f"scores of {count.label}"
            found[f"{letter}{number}"] = (label, count.students)
    for number, cause in enumerate(report.causes):
        found[f"c{number}"] = (cause.cause, cause.students)
    return found
