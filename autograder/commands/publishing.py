"""Commands for what students get and see: publish and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autograder.commands import OK, UNREADABLE
from autograder.course import find_course
from autograder.safetext import clean, markup, terminal


def publish(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The students' repository; made if it is not there.")],
    lessons: Annotated[list[str] | None, typer.Argument(help="Lessons to add; all if none is named.")] = None,
) -> int:
    """Put what students get into a folder that is ready to push, and prove that it holds no answer and no hidden test."""
    from autograder.publish import publish as put

    console = terminal()
    course = find_course(Path.cwd())
    published = put(course, lessons or [], folder)
    for path in published.written:
        console.print(f"wrote {markup(str(path))}", soft_wrap=True)
    if not published.written:
        console.print("all of it is there already")
    for warning in published.warnings:
        console.print(f"[yellow]note[/]: {markup(warning)}", soft_wrap=True)
    held = ", ".join(published.lessons)
    console.print(f"{markup(str(folder))} holds {markup(held)}; no answer, hidden test or secret is in it", soft_wrap=True)
    return OK


def check(
    notebook: Annotated[Path, typer.Argument(help="Your notebook; its code runs on this machine, so check no one else's.")],
    seconds: Annotated[int, typer.Option(min=1, help="How long one cell may run.")] = 60,
) -> int:
    """Run the visible checks of a notebook from the top, as 'Restart and run all' would; for students, needs no course."""
    from rich.box import SIMPLE
    from rich.table import Table

    from autograder.check import check as run_checks

    found = run_checks(notebook, seconds)
    rows = Table("", "exercise", "what the visible checks say", box=SIMPLE, pad_edge=False)
    for line in found.lines:
        message = "\n  ".join(markup(part) for part in clean(line.message).split("\n"))
        rows.add_row(line.mark, markup(line.exercise), message)
    console = terminal(stderr=False)
    console.print(rows)
    for note in found.notes:
        console.print(f"[yellow]note[/]: {markup(note)}", soft_wrap=True)
    passed, exercises = found.count
    console.print(f"{passed} of {exercises} exercises pass their visible checks")
    return OK if found.done else UNREADABLE
