"""The pages of a lesson on disk: the class report, and each student's feedback as a page and as text.

Enters: what runs left in `.autograder/<lesson>/`, the gradebook. Leaves, in the same folder:

    report.html, report.csv, report.json     for the instructor
    feedback/<student>.html, .txt            for the student: a page, and the text for a comment
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from autograder.class_page import class_page
from autograder.class_report import ClassReport, class_report, to_csv
from autograder.course import Course, Lesson
from autograder.errors import GraderError
from autograder.feedback import page, text
from autograder.intake import ACCOUNT, ALL_WELL
from autograder.latest import FILE, Latest, read_latest
from autograder.standings import Standing, read_standings
from autograder.whole import SPACE, write_file


@dataclass(frozen=True)
class Reports:
    """Where things are, and what they say."""

    page: Path
    feedback: Path  # a folder
    report: ClassReport


def write_reports(course: Course, name: str) -> Reports:
    """Writes all pages of a lesson; raises GraderError where nothing was graded yet, or a file cannot be written."""
    lesson, folder = course.lesson(name), course.state / name
    latest = read_latest(folder)
    if latest is None:
        raise GraderError(f"nobody's work on {name} was graded yet; run `autograder grade` first")
    standings = {standing.student: standing for standing in read_standings(course, lesson)}
    report = class_report(lesson, latest, standings.values(), _account(folder))
    _write(folder / "report.html", class_page(report))
    _write(folder / "report.csv", to_csv(report))
    _write(folder / "report.json", msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    _write_feedback(folder / "feedback", lesson, latest, standings, report)
    return Reports(folder / "report.html", folder / "feedback", report)


def _write_feedback(
    folder: Path, lesson: Lesson, latest: Latest, standings: Mapping[str, Standing], report: ClassReport
) -> None:
    for row in report.rows:
        entry, standing = latest.entries[row.student], standings.get(row.student)
        if row.state != "missing":
            _write(folder / f"{row.page}.html", page(lesson, entry.result, entry.pictures, standing))
            _write(folder / f"{row.page}.txt", text(lesson, entry.result, standing))


def _account(folder: Path) -> list[str]:
    """Who handed in nothing and what was not understood, as the last collection said."""
    try:
        lines = (folder / ACCOUNT).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if line != ALL_WELL]


def _write(path: Path, content: str) -> None:
    write_file(path, content.encode("utf-8", "replace"), SPACE, lasting=False)


def is_current(course: Course, name: str) -> bool:
    """Is the class report younger than all it was made from?"""
    report = course.state / name / "report.html"
    made_from = [report.with_name(FILE), report.with_name(ACCOUNT), course.root / "gradebook.db"]
    if not report.exists():
        return False
    return all(not path.exists() or path.stat().st_mtime_ns <= report.stat().st_mtime_ns for path in made_from)
