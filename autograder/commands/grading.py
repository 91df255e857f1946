"""Commands that deal with submissions: collect, grade, replay; and demo and doctor, with which one starts."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from autograder.commands import BROKEN, OK, UNREADABLE
from autograder.course import find_course
from autograder.errors import GraderError
from autograder.report import points
from autograder.results import Results
from autograder.safetext import MESSAGE_LIMIT, markup, one_line, terminal

if TYPE_CHECKING:
    from autograder.collection import Collection
    from autograder.records import Change


def demo() -> int:
    """Build, make a sample class, grade it, and say what happened to each."""
    from autograder.demo import show

    show(find_course(Path.cwd()), terminal())
    return OK


def doctor() -> int:
    """Say what this machine offers: box, devices, versions, and what is missing."""
    from autograder.doctor import examine

    rows = Table("what", "", "found", "what to do")
    for finding in examine(Path.cwd()):
        mark = "[green]✔[/]" if finding.good else "[yellow]○[/]"
        rows.add_row(markup(finding.what), mark, markup(finding.found), markup(finding.advice))
    terminal(stderr=False).print(rows)
    return OK


def collect(
    path: Annotated[Path, typer.Argument(metavar="ZIP", help="A platform's download: a zip, or a folder.")],
    lesson: Annotated[str, typer.Option(help="The lesson that it answers.")],
    zone: Annotated[str, typer.Option("--timezone", help="Of dates that the platform wrote without one.")] = "UTC",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite submissions that lie there.")] = False,
) -> int:
    """Put a download into submitted/, where nbgrader and `autograder grade submitted` look."""
    from autograder.collecting import collect as put
    from autograder.intake import open_collection

    console = terminal()
    course = find_course(Path.cwd())
    course.lesson(lesson)
    with open_collection(course, lesson, [path]) as collection:
        collected = put(course, lesson, collection, zone=zone, replace=replace)
    for place in collected.placed:
        print(place)
    for name in collected.kept:
        console.print(f"{markup(name)} has a submission already; it stays (see --replace)", soft_wrap=True)
    _account(console, collection)
    return UNREADABLE if any(each.path is None for each in collection.submissions) else OK


def grade(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Notebooks, a folder of them, or a zip.")],
    lesson: Annotated[str, typer.Option(help="The lesson they answer.")],
    student: Annotated[str | None, typer.Option(help="Whose notebook it is, or the only one to grade.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or both.")] = "auto",
    sandbox: Annotated[str, typer.Option(help="auto, bubblewrap, landlock, or none: no box at all.")] = "auto",
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write results here too; - is stdout.")] = None,
    gradebook: Annotated[bool, typer.Option("--gradebook/--no-gradebook", help="Record marks for nbgrader.")] = True,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that grade; one for each physical core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, or local-cluster, instead of --jobs.")
    ] = None,
    insecure_scheduler: Annotated[
        bool, typer.Option("--insecure-scheduler", help="Allow one that anybody can send code to.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Use what earlier runs found, or nothing.")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Write marks that change under unchanged code, unasked.")] = False,
) -> int:
    """Grade submissions of one lesson."""
    from autograder.boxes import choose_box
    from autograder.doctor import choose_device, fall_back
    from autograder.intake import open_collection
    from autograder.marking import Options, grade_into_course
    from autograder.report import table
    from autograder.reports import is_current, write_reports
    from autograder.results import to_json
    from autograder.whole import write_file

    console = terminal()
    course = find_course(Path.cwd())
    course.lesson(lesson)
    asked, device, box = device, choose_device(device), choose_box(sandbox)
    with open_collection(course, lesson, paths, _checked(student)) as collection:
        submissions = list(collection.submissions)
        options = Options(jobs, scheduler, insecure_scheduler, resume, gradebook, partial(_agree, console, yes))
        run = grade_into_course(course, lesson, submissions, device=device, box=box, console=console, options=options)
    if json == "-":
        _to_stdout(to_json(run.results))
    elif json is not None:
        write_file(Path(json), to_json(run.results))
    console.print(table(run.results))
    if run.known:
        console.print(f"{run.known} of {len(submissions)} are as they were: nothing of them was run again")
    if note := fall_back(asked, device):
        console.print(note, soft_wrap=True)
    if box == "none":
        console.print("[red]warning:[/] no box: students' code ran with all your rights")
    places = {"results": run.results_json, "feedback": run.feedback, "details, for you only": run.details}
    if gradebook:
        if run.changed or not is_current(course, lesson):
            write_reports(course, lesson)
        places["class report"] = course.state / lesson / "report.html"
    for name, place in places.items():
        console.print(f"{name}: {markup(str(place), MESSAGE_LIMIT)}", soft_wrap=True)
    _account(console, collection)
    return _exit_code(console, run.results)


def replay(
    student: Annotated[str, typer.Argument(help="Whose submission, as in the reports.")],
    test: Annotated[str, typer.Argument(help="A test's sentence or name, or EXERCISE::NAME.")],
    lesson: Annotated[str, typer.Option(help="The lesson.")],
    submission: Annotated[Path | None, typer.Option(help="The notebook; without it, the one in submitted/.")] = None,
    sandbox: Annotated[str, typer.Option(help="auto, bubblewrap, landlock or none.")] = "auto",
) -> int:
    """Show exactly what a hidden test fed to a student's code, and what it got: for your eyes only."""
    from autograder.boxes import choose_box
    from autograder.replay import replay as replayed

    course = find_course(Path.cwd())
    typer.echo(replayed(course, lesson, student, test, submission, choose_box(sandbox)), nl=False)
    return OK


def _agree(console: Console, yes: bool, changes: list[Change]) -> bool:
    """Shows the marks that would change though the code did not, and asks whether they may."""
    rows = Table("student", "exercise", "old", "new", "because of", title="marks that change though the code did not")
    for change in changes:
        cells = change.student, change.exercise, points(change.old), points(change.new), "; ".join(change.tests)
        rows.add_row(*(markup(cell) for cell in cells))
    console.print(rows)
    return yes or (sys.stdin.isatty() and typer.confirm("Write these marks?", err=True))


def _to_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise GraderError(f"stdout cannot be written ({error.strerror}); the results lie in the course, too") from error


def _exit_code(console: Console, results: Results) -> int:
    """What a run comes to; what broke on our side is named, and weighs more than a file that could not be read."""
    for fault in results.faults:
        console.print(f"[red]error[/] (ours; the points are held back): {markup(fault, 400)}", soft_wrap=True)
    if results.faults:
        return BROKEN
    return UNREADABLE if any(one.status == "unreadable" for one in results.submissions) else OK


def _checked(student: str | None) -> str | None:
    """A student's name that can be a folder's; raises GraderError for any other."""
    if student is not None and (Path(student).name != student or student in (".", "..")):
        raise GraderError(f"--student {one_line(student)} cannot be the name of a folder; take out its slashes")
    return student


def _account(console: Console, collection: Collection) -> None:
    """Names who handed in no notebook, and what was not understood: nobody disappears."""
    from autograder.intake import account

    for line in account(collection):
        console.print(f"[yellow]note[/]: {markup(line, 400)}", soft_wrap=True)
