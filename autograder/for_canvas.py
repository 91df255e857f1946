"""A gradebook CSV that Canvas imports.

What it asks for, by its public lib/gradebook_importer.rb: the columns Student, ID, SIS User ID, SIS Login ID, Section, then
assignments as "Title (id)"; a row "Points Possible". A student is found by ID, else by SIS ids, else by name; an
assignment by its id, else by its title, else it is made. An empty cell leaves a mark as it is. A value in the row
"Points Possible" changes the assignment. Not tried on a real Canvas.
"""

from __future__ import annotations

import re
from typing import Any

from autograder.errors import GraderError
from autograder.outgoing import Export, Wanted, as_number, unmatched
from autograder.roster import plain_name
from autograder.safetext import csv_text
from autograder.sheets import Sheet, pair
from autograder.standings import max_score

STUDENT = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
POINTS_POSSIBLE = "Points Possible"
TITLE_AND_ID = re.compile(r"(?P<title>.*?)\s*\((?P<id>\d+)\)")
HOW = "export the gradebook in Canvas (Grades, Export) and give it by --template"


def without_template(wanted: Wanted) -> Export:
    """A gradebook without Canvas's own numbers: it finds students by login or name, and makes the assignment."""
    rows: list[list[Any]] = [[*STUDENT, wanted.title], [POINTS_POSSIBLE, "", "", "", "", wanted.possible]]
    for each in wanted.standings:
        name = f"{each.last_name}, {each.first_name}".strip(", ") or each.student
        rows.append([name, each.lms_id if each.lms_id.isdigit() else "", "", each.student, "", wanted.mark(each)])
    return Export(csv_text(rows), (f"Canvas's own numbers are not in it; surer: {HOW}",))


def with_template(wanted: Wanted, sheet: Sheet) -> Export:
    """Canvas's export with the lesson's column filled, and nothing else that an import could overwrite."""
    student = len(sheet.header[: (sheet.place("section") or 0) + 1])  # columns that say who it is
    place, told = _assignment(wanted, sheet, student)
    possible, said = _points_possible(wanted, sheet, place)
    head = wanted.title if place is None else sheet.header[place]
    rows: list[list[Any]] = [[*sheet.header[:student], head], [POINTS_POSSIBLE, *[""] * (student - 1), possible]]
    pairs = pair(sheet, wanted.standings)
    for row, standing in sorted(pairs.standing.items()):
        rows.append([*sheet.rows[row][:student], wanted.mark(standing)])
    return Export(csv_text(rows), told + said + unmatched(sheet, pairs))


def _assignment(wanted: Wanted, sheet: Sheet, student: int) -> tuple[int | None, tuple[str, ...]]:
    """The column of the lesson's assignment, or what will come of there being none."""
    heads = list(enumerate(sheet.header))[student:]
    found = [place for place, head in heads if plain_name(wanted.title) in _called(head)]
    if len(found) > 1:
        names = ", ".join(sheet.header[place] for place in found)
        raise GraderError(f"{sheet.name} has more than one column for {wanted.title}: {names}; say which by --column")
    if found:
        return found[0], ()
    known = ", ".join(head for _, head in heads if TITLE_AND_ID.fullmatch(head)) or "none"
    return None, (f"{sheet.name} has no assignment {wanted.title} (known: {known}); Canvas would make one: see --column",)


def _called(head: str) -> set[str]:
    match = TITLE_AND_ID.fullmatch(head)
    return {plain_name(each) for each in (head, *(match.groups() if match else ()))}


def _points_possible(wanted: Wanted, sheet: Sheet, place: int | None) -> tuple[Any, tuple[str, ...]]:
    """What Canvas says the assignment is worth stays; a difference is said."""
    row = next((row for row in sheet.rows if row[0].lower().startswith("points possible")), None)
    said = row[place] if row is not None and place is not None else ""
    if "read only" in said and place is not None:
        raise GraderError(f"{sheet.header[place]} is a column that Canvas reckons itself; name another by --column")
    if not said or as_number(said) == max_score(wanted.lesson):
        return said or wanted.possible, ()
    return said, (f"Canvas has {said} points for it, the lesson {wanted.possible}: marks are sent as they are",)
