"""The command for what a class understood: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autograder.commands import OK
from autograder.course import find_course
from autograder.safetext import MESSAGE_LIMIT, markup, terminal


def report(lesson: Annotated[str, typer.Argument(help="The lesson.")]) -> int:
    """Write the class report and everybody's feedback anew, with the marks as they stand in the gradebook."""
    from autograder.reports import write_reports

    course = find_course(Path.cwd())
    course.lesson(lesson)
    written, console = write_reports(course, lesson), terminal()
    places = {
        "class report": written.page,
        "the same as a table": written.page.with_suffix(".csv"),
        "the same for programs": written.page.with_suffix(".json"),
        "feedback, a page and a text a student": written.feedback,
    }
    for name, place in places.items():
        console.print(f"{name}: {markup(str(place), MESSAGE_LIMIT)}", soft_wrap=True)
    return OK
