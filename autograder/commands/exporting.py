"""Commands that hand marks and grading on to other systems: export, gradescope, classroom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autograder.commands import OK
from autograder.course import Course, find_course
from autograder.errors import GraderError


def export(
    lesson: Annotated[str, typer.Argument(help="The lesson.")],
    to: Annotated[str, typer.Option("--to", help="canvas, moodle, csv or json.")],
    template: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The system's own export, so that its numbers match.")
    ] = None,
    roster: Annotated[Path | None, typer.Option(metavar="FILE", help="Who is who; roster.csv if there is one.")] = None,
    column: Annotated[str, typer.Option(metavar="NAME", help="The assignment there, if it is not called so.")] = "",
    provisional: Annotated[bool, typer.Option("--provisional", help="Marks that wait for a person, too.")] = False,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE|-", help="Where to; - is stdout.")] = "-",
) -> int:
    """Marks as they stand in the gradebook, late penalties taken off, for Canvas, Moodle, a table or a program."""
    from autograder.export import export as make
    from autograder.outgoing import Wanted
    from autograder.safetext import markup, terminal
    from autograder.sheets import read_sheet
    from autograder.standings import read_standings
    from autograder.whole import write_file

    course = find_course(Path.cwd())
    asked = course.lesson(lesson)
    people = roster or _roster(course)
    own, known = read_sheet(template) if template else None, read_sheet(people) if people else None
    standings = read_standings(course, asked)
    if not standings:
        raise GraderError(f"nobody has a mark for {lesson} yet; run `autograder grade` first")
    made = make(to, Wanted(asked, standings, column=column, provisional=provisional), own, known)
    if output == "-":
        typer.echo(made.text, nl=False)
    else:
        write_file(Path(output), made.text.encode())
    for line in made.told:
        terminal().print(f"[yellow]note[/]: {markup(line, 2000)}", soft_wrap=True)
    return OK


def _roster(course: Course) -> Path | None:
    path = course.root / "roster.csv"
    return path if path.exists() else None


def gradescope(
    lesson: Annotated[str, typer.Argument(help="The lesson.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="X.zip", help="Where to.")],
    visibility: Annotated[
        str, typer.Option(help="When students see points and reasons: visible, after_due_date, after_published, hidden.")
    ] = "after_published",
) -> int:
    """An autograder zip for Gradescope: suites, answers and secret in it, student code in the box there too."""
    from autograder.gradescope import package
    from autograder.safetext import markup, terminal

    course = find_course(Path.cwd())
    asked = course.lesson(lesson)
    path, console = package(course, lesson, output, visibility), terminal()
    console.print(f"wrote {markup(str(path))}: it holds answers, hidden tests and the secret", soft_wrap=True)
    console.print(
        f"on Gradescope: {asked.max_score:g} autograder points, base image with Python 3.11 or newer", soft_wrap=True
    )
    return OK


def classroom(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Where the two workflows are written.")] = None,
    summary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show the points in a results.json as Markdown instead.")
    ] = None,
) -> int:
    """GitHub workflows: visible checks in students' repositories, hidden suites in the instructor's private one."""
    from autograder.classroom import summary_of, write_workflows
    from autograder.safetext import markup, terminal

    if summary is not None:
        typer.echo(summary_of(summary), nl=False)
        return OK
    if folder is None:
        raise GraderError("name the folder to write to, as in `autograder classroom ../workflows`")
    for path in write_workflows(folder):
        terminal().print(f"wrote {markup(str(path))}", soft_wrap=True)
    return OK
