"""Commands for what students get and see: publish and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autograder.commands import OK
from autograder.course import find_course
from autograder.safetext import markup, terminal


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
