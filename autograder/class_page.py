"""The class report as one page: no network, a strict policy, light and dark, paper, keyboard and screen reader.

Enters: a `ClassReport`. Leaves: HTML, by templates/report.html in the frame of all our pages (page_frame.py). Links to
students' feedback go to files beside the page.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from urllib.parse import quote

from autograder import charts
from autograder.class_report import ClassReport, Row, groups, median
from autograder.page_frame import rendered
from autograder.report import points
from autograder.safetext import one_line

STATES = {"graded": "graded", "needs_review": "needs review", "unreadable": "unreadable", "missing": "missing"}
COLOURS = {"graded": "soft", "needs_review": "part", "unreadable": "none", "missing": "none"}


@dataclass(frozen=True)
class Cells:
    """A student's row as the page shows it."""

    row: Row
    href: str
    page_there: bool
    colour: str
    score: str
    marks: tuple[tuple[str, str], ...]  # class and text of each cell
    words: str  # what the filter looks in
    seconds: str


def class_page(report: ClassReport) -> str:
    """The page."""
    from jinja2.utils import htmlsafe_json_dumps
    from markupsafe import Markup

    heat = [_cells(report, row) for row in report.rows]
    place = {row.student: number for number, row in enumerate(report.rows)}
    counted = groups(report)
    told = {
        key: {"label": one_line(label), "who": [place[each] for each in who]} for key, (label, who) in counted.items() if who
    }
    return rendered(
        "report.html",
        css="report.css",
        js="report.js",
        title=report.lesson.replace("_", " "),
        report=report,
        groups=counted,
        groups_json=htmlsafe_json_dumps(told, separators=(",", ":")),
        heat=heat,
        row_of={cells.row.student: cells for cells in heat},
        queue=[cells for cells in heat if cells.row.state != "graded"],
        waiting=_waiting(report),
        repaired=[(cells, repair) for cells in heat for repair in cells.row.repairs],
        states=STATES,
        median=median(report),
        seconds=_seconds(report),
        scores_chart=Markup(_scores(report)),  # noqa: S704 - charts.py escapes what it is given
        means_chart=Markup(_means(report)),  # noqa: S704 - numbers
    )


def _cells(report: ClassReport, row: Row) -> Cells:
    most = report.exercises | report.written
    marks = {**row.exercises, **row.written}
    return Cells(
        row=row,
        href=quote(row.page),
        page_there=row.state != "missing",
        colour=COLOURS[row.state],
        score="" if row.score is None else points(row.score),
        marks=tuple(_mark(marks.get(name), best) for name, best in most.items()),
        words=one_line(" ".join([row.name, row.student, *row.ideas, row.why]), 1000).lower(),
        seconds=f"{row.seconds:.1f}" if row.state in ("graded", "needs_review") else "",
    )


def _mark(score: float | None, most: float) -> tuple[str, str]:
    if score is None:
        return "n soft", ""
    share = score / most if most else 1.0
    return f"h h{int(10 * min(max(share, 0.0), 1.0) + 1e-9)}", points(score)


def _waiting(report: ClassReport) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in report.rows:
        for name in row.waits:
            found.setdefault(name, []).append(row.student)
    return found


def _seconds(report: ClassReport) -> str:
    took = [row.seconds for row in report.rows if row.seconds > 0]
    if not took:
        return "Nothing had to be run."
    slowest = max(report.rows, key=lambda row: row.seconds)
    return (
        f"Judging took {sum(took):.1f} s in all, {statistics.median(took):.2f} s for the middle submission; "
        f"the longest, {slowest.seconds:.1f} s, was {slowest.name}'s."
    )


def _scores(report: ClassReport) -> str:
    labels = [f"{10 * number}–{10 * number + 10}" for number in range(len(report.bins))]
    values = [len(each.students) for each in report.bins]
    alt = "Students by score: " + ", ".join(f"{bin.label}: {len(bin.students)}" for bin in report.bins if bin.students)
    return charts.columns(labels, values, "score in % of all points", alt)


def _means(report: ClassReport) -> str:
    alt = "Mean share of points: " + ", ".join(f"{name} {share:.0%}" for name, share in report.means.items())
    return charts.bars(list(report.means), list(report.means.values()), alt)
