"""Files that Canvas, Moodle or nbgrader know a class by, and whose row is whose.

Enters: a CSV that one of them wrote, with commas, semicolons or tabs. Leaves: a `Sheet`, and for each standing the row
of its student. What makes a file theirs:

    canvas   a gradebook export: Student (or LastName, FirstName), ID, ..., Section, assignments as "Title (1234)"
    moodle   an offline grading worksheet: Identifier, Grade, Last modified (grade), ...
    people   anything else that names students: nbgrader's roster (id, first_name, ...), Moodle's list of participants

The columns are those of Canvas's lib/gradebook_exporter.rb and of Moodle's mod/assign (English).
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autograder.errors import GraderError, SubmissionError
from autograder.roster import NOT_PEOPLE, plain_name
from autograder.standings import Standing
from autograder.textfile import decode, read_regular_file

# Columns that say who somebody is; of Identifier and e-mail a part counts too.
IDS = (
    *("lms_user_id", "sis user id", "sis login id", "integration id", "id number", "username", "id"),
    *("email address", "email", "identifier", "full name", "student", "name"),
)
FIRST, LAST = ("first_name", "first name", "firstname"), ("last_name", "last name", "lastname", "surname")
MAIL = ("email", "email address")
OF_THE_LMS = ("lms_user_id", "id number", "sis user id")


@dataclass(frozen=True)
class Sheet:
    """A table of students."""

    name: str  # of its file
    kind: str  # canvas, moodle or people
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # each as long as the header

    def place(self, *names: str) -> int | None:
        """The first column that has one of these names, whatever its case."""
        heads = [head.lower() for head in self.header]
        return next((heads.index(name) for name in names if name in heads), None)

    def value(self, row: Sequence[str], *names: str) -> str:
        """What a row says in the first of these columns that says anything."""
        places = [place for name in names if (place := self.place(name)) is not None]
        return next((row[place] for place in places if row[place]), "")

    def people(self) -> list[int]:
        """The rows that are students."""
        return [place for place, row in enumerate(self.rows) if called(self, row)]


def read_sheet(path: Path) -> Sheet:
    """A platform's file; raises GraderError where it is none."""
    try:
        text = decode(read_regular_file(path))[0]
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        read = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]
    except (SubmissionError, ValueError, csv.Error) as error:
        raise GraderError(f"{path} cannot be read as a table ({error}). Export it again.") from error
    lines = [row for row in read if any(row)]
    header = tuple(lines[0]) if lines else ()
    rows = tuple(tuple((row + [""] * len(header))[: len(header)]) for row in lines[1:])
    sheet = Sheet(path.name, _kind({head.lower() for head in header}), header, rows)
    if not sheet.people():
        raise GraderError(
            f"{path} names nobody. Give Canvas's gradebook export, Moodle's grading worksheet in English, or a roster "
            "with nbgrader's columns (id, first_name, last_name, email)."
        )
    return sheet


def _kind(heads: set[str]) -> str:
    if {"id", "section"} <= heads and ("student" in heads or {"lastname", "firstname"} <= heads):
        return "canvas"
    return "moodle" if {"identifier", "grade"} <= heads else "people"


def called(sheet: Sheet, row: Sequence[str]) -> frozenset[str]:
    """All that a row's student may be called; nothing where the row is nobody's."""
    whole = sheet.value(row, "student", "full name", "name")
    if (whole or row[0]).lower().startswith(NOT_PEOPLE):
        return frozenset()
    first, last = sheet.value(row, *FIRST), sheet.value(row, *LAST)
    if "," in whole:
        last, _, first = (part.strip() for part in whole.partition(","))
    names = {sheet.value(row, column) for column in IDS} | {f"{first} {last}", f"{last} {first}"}
    names |= {name.partition("@")[0] for name in names if "@" in name} | {sheet.value(row, "identifier").rpartition(" ")[2]}
    return frozenset(name for each in names if (name := plain_name(each)))


@dataclass(frozen=True)
class Pairs:
    """Which row is whose."""

    standing: dict[int, Standing]  # by row
    without_row: tuple[str, ...]  # students who have a mark and no row
    without_mark: tuple[str, ...]  # rows of students who have no mark


def pair(sheet: Sheet, standings: Sequence[Standing]) -> Pairs:
    """Finds each standing's row by number, user name, e-mail or name; what two rows are called finds neither."""
    names = {row: called(sheet, sheet.rows[row]) for row in sheet.people()}
    times = Counter(name for each in names.values() for name in each)
    row_of = {name: row for row, each in names.items() for name in each if times[name] == 1}
    wanted = {each.student: next((row_of[key] for key in _keys(each) if key in row_of), None) for each in standings}
    claims = Counter(wanted.values())
    found = {row: each for each in standings if (row := wanted[each.student]) is not None and claims[row] == 1}
    paired = {each.student for each in found.values()}
    left = tuple(each.student for each in standings if each.student not in paired)
    return Pairs(found, left, tuple(_shown(sheet, row) for row in names if row not in found))


def named(standings: Sequence[Standing], sheet: Sheet) -> tuple[list[Standing], Pairs]:
    """The standings with the names, addresses and numbers that a sheet has of them, and who is whose."""
    pairs = pair(sheet, standings)
    rows = {each.student: sheet.rows[row] for row, each in pairs.standing.items()}
    return [_named(each, sheet, rows[each.student]) if each.student in rows else each for each in standings], pairs


def _named(standing: Standing, sheet: Sheet, row: Sequence[str]) -> Standing:
    return replace(
        standing,
        first_name=sheet.value(row, *FIRST) or standing.first_name,
        last_name=sheet.value(row, *LAST) or standing.last_name,
        email=sheet.value(row, *MAIL) or standing.email,
        lms_id=sheet.value(row, *OF_THE_LMS) or standing.lms_id,
    )


def _keys(standing: Standing) -> list[str]:
    """What a student may be called in a sheet, the surest first; two of one name have a platform's number behind it."""
    name, _, number = standing.student.rpartition("_")
    split = (name, number) if name and number.isdigit() else ()
    ours = (standing.lms_id, standing.student, standing.email, *split)
    full = (f"{standing.first_name} {standing.last_name}", f"{standing.last_name} {standing.first_name}")
    return [key for each in (*ours, *full) if (key := plain_name(each))]


def _shown(sheet: Sheet, row: int) -> str:
    """A row's student, for a message."""
    cells = sheet.rows[row]
    both = f"{sheet.value(cells, *LAST)}, {sheet.value(cells, *FIRST)}".strip(", ")
    return sheet.value(cells, "student", "full name", "name") or both or sheet.value(cells, *IDS)
