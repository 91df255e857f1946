"""Grades that Moodle imports.

    worksheet   Assignment, "Upload grading worksheet" (mod/assign/feedback/offline): columns Identifier, Grade and "Last
                modified (grade)" by these names, as they were downloaded. A grade above the maximum is passed over
                without a word; so is one that was changed in Moodle since.
    else        Grades, Import, CSV (grade/import/csv): one chooses the column by which students are found; an empty
                cell would delete a grade.

Both by Moodle's public code; not tried on a real Moodle.
"""

from __future__ import annotations

from typing import Any

from autograder.errors import GraderError
from autograder.outgoing import Export, Wanted, as_number, unmatched
from autograder.safetext import csv_text
from autograder.sheets import Sheet, pair
from autograder.standings import Standing

STUDENT = ("ID number", "First name", "Last name", "Email address")
KEPT = ("identifier", "full name", "first name", "last name", "id number", "email address", "status")
MODIFIED = "last modified (grade)"
HOW = "download the assignment's grading worksheet from Moodle, in English, and give it by --template"


def without_template(wanted: Wanted) -> Export:
    """For the import of grades; who has no mark is left out, since an empty cell would delete one."""
    rows: list[list[Any]] = [[*STUDENT, wanted.title]]
    for each in wanted.standings:
        if (mark := wanted.mark(each)) is not None:
            rows.append([each.lms_id or each.student, each.first_name, each.last_name, each.email, mark])
    return Export(csv_text(rows), (f"Moodle asks by which column it finds students; surer: {HOW}",))


def with_template(wanted: Wanted, sheet: Sheet) -> Export:
    """The worksheet with grades filled in; comments and online texts are left out, so that none is overwritten."""
    grade, modified, most = (
        sheet.place(wanted.column.lower() or "grade"),
        sheet.place(MODIFIED),
        sheet.place("maximum grade"),
    )
    if grade is None or modified is None:
        lacks = (wanted.column or "Grade") if grade is None else "Last modified (grade)"
        raise GraderError(f"{sheet.name} has no column {lacks!r}; {HOW}")
    kept = [place for place, head in enumerate(sheet.header) if head.lower() in KEPT]
    kept += [place for place in (grade, most, modified) if place is not None]
    rows: list[list[Any]] = [[sheet.header[place] for place in kept]]
    pairs, locked = pair(sheet, wanted.standings), []
    for row, standing in sorted(pairs.standing.items()):
        cells: list[Any] = list(sheet.rows[row])
        if (mark := wanted.mark(standing)) is not None:
            _check(standing, mark, cells[most] if most is not None else "")
            cells[grade] = mark
        elif as_number(cells[grade]) is None:
            cells[grade] = ""  # Moodle's dash says the same, and looks like a formula
        rows.append([cells[place] for place in kept])
        if sheet.value(sheet.rows[row], "grade can be changed").lower() == "no":
            locked.append(f"{standing.student}: Moodle says that this grade cannot be changed")
    return Export(csv_text(rows), (*locked, *unmatched(sheet, pairs)))


def _check(standing: Standing, mark: float, most: str) -> None:
    limit = as_number(most)
    if limit is not None and mark > limit:
        what = f"{standing.student} has {mark} points, and Moodle's maximum is {most}: it would pass over the grade"
        raise GraderError(f"{what}; set the assignment's maximum in Moodle, and download the worksheet again")
