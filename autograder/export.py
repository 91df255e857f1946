"""Marks for other systems: Canvas, Moodle, a table, a program.

Enters: standings, and where there is one a file that the system wrote itself, so that its own numbers of students and
assignments stand in what it gets back. Leaves: text, and sentences about whose mark is not in it and why.

A mark that still waits for a person is not for students' eyes: its cell is empty in what goes to Canvas and Moodle, unless
`provisional` is set. A table and JSON are for the instructor: they hold the sums as they stand, and what each waits for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autograder import for_canvas, for_moodle
from autograder.errors import GraderError
from autograder.outgoing import Export, Wanted, lines, number, unmatched
from autograder.safetext import csv_text
from autograder.sheets import Sheet, named
from autograder.standings import Standing, cell_names, max_score

FORMATS = ("canvas", "moodle", "csv", "json")
HOW = {"canvas": for_canvas.HOW, "moodle": for_moodle.HOW}
SUMS = ("raw_score", "late_penalty", "score", "max_score", "handed_in_utc", "waits_for_a_person")
KINDS = {"canvas": "Canvas's gradebook", "moodle": "Moodle's worksheet", "people": "a list of students"}


def export(to: str, wanted: Wanted, template: Sheet | None = None, roster: Sheet | None = None) -> Export:
    """The marks of a lesson in a format; raises GraderError where a template is of another kind, or has no place for it."""
    if to not in FORMATS:
        raise GraderError(f"no export is called {to!r}: choose {', '.join(FORMATS)}")
    template, roster = _sorted(to, template, roster)
    told = _waiting(to, wanted)
    if roster is not None:
        standings, pairs = named(wanted.standings, roster)
        wanted = replace(wanted, standings=tuple(standings), missing=pairs.without_mark)
        told += unmatched(roster, pairs) if template is None else ()
    made = _made(to, wanted, template)
    return Export(made.text, (*told, *made.told))


def _sorted(to: str, template: Sheet | None, roster: Sheet | None) -> tuple[Sheet | None, Sheet | None]:
    """A template that only names people is a roster, and a roster that the system wrote is a template."""
    if template is None:
        return (roster, None) if roster is not None and roster.kind == to else (None, roster)
    if template.kind == to:
        return template, roster
    if to in HOW and (template.kind != "people" or to == "canvas"):
        raise GraderError(f"{template.name} is {KINDS[template.kind]}, no template for {to}; {HOW[to]}")
    return None, template


def _made(to: str, wanted: Wanted, template: Sheet | None) -> Export:
    if to == "canvas":
        return for_canvas.with_template(wanted, template) if template else for_canvas.without_template(wanted)
    if to == "moodle":
        return for_moodle.with_template(wanted, template) if template else for_moodle.without_template(wanted)
    return _table(wanted) if to == "csv" else _json(wanted)


def _table(wanted: Wanted) -> Export:
    """A row a student, a column an exercise; sums as they stand, and what they wait for."""
    lesson = wanted.lesson
    names = cell_names(lesson)
    rows: list[list[Any]] = [["student", "last_name", "first_name", "email", *names, *SUMS]]
    for each in wanted.standings:
        scores = {mark.name: number(mark.score) for mark in each.cells}
        sums = [number(value) for value in (each.raw_score, each.penalty, each.score, max_score(lesson))]
        when = each.handed_in.isoformat(sep=" ", timespec="seconds") if each.handed_in else ""
        who = each.student, each.last_name, each.first_name, each.email
        rows.append([*who, *(scores.get(name) for name in names), *sums, when, "; ".join(each.waiting)])
    rows += [[name, *[""] * (len(rows[0]) - 1)] for name in wanted.missing]
    return Export(csv_text(rows))


def _json(wanted: Wanted) -> Export:
    """All that is known; the score of somebody without a mark is null."""
    students = [_student(each) for each in wanted.standings]
    students += [{"student": name, "score": None} for name in wanted.missing]
    body = {"schema": 1, "lesson": wanted.lesson.name, "max_score": max_score(wanted.lesson), "students": students}
    return Export(json.dumps(body, indent=2, ensure_ascii=False) + "\n")


def _student(standing: Standing) -> dict[str, Any]:
    cells = [
        {"name": each.name, "score": each.score, "max_score": each.max_score, "by_hand": each.by_hand, "waits": each.waits}
        for each in standing.cells
    ]
    return {
        "student": standing.student,
        "first_name": standing.first_name,
        "last_name": standing.last_name,
        "email": standing.email,
        "score": standing.score,
        "raw_score": standing.raw_score,
        "late_penalty": standing.penalty,
        "late_s": standing.late_s,
        "handed_in_utc": standing.handed_in.isoformat() if standing.handed_in else None,
        "waits_for_a_person": list(standing.waiting),
        "cells": cells,
    }


def _waiting(to: str, wanted: Wanted) -> tuple[str, ...]:
    """Whose mark is not final, and what came of it."""
    waits: Sequence[Standing] = [each for each in wanted.standings if each.waiting]
    if not waits:
        return ()
    cells = sorted({name for each in waits for name in each.waiting})
    is_empty = to in HOW and not wanted.provisional
    left = "; their cells are empty (--provisional fills them)" if is_empty else ""
    what = f"{len(waits)} of {len(wanted.standings)} marks wait for a person ({', '.join(cells)}): mark them in formgrader"
    return (f"{what}{left}", *lines("not final", [each.student for each in waits]))
