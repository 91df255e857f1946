"""The `autograder` command. Data go to stdout, everything for the eye to stderr.

Exit codes: 0 every submission is graded or in review; 1 at least one could not be read; 2 we broke, or a wrong call.
An error is one line that says whose fault it is and what to do; a traceback goes to a log that the line names.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from autograder import __version__
from autograder.commands import BROKEN, OK, UNREADABLE, authoring, exporting, grading, publishing, reporting
from autograder.course import find_course
from autograder.errors import AutograderError, GraderError, SubmissionError
from autograder.safetext import MESSAGE_LIMIT, markup, terminal

INTERRUPTED = 130  # as a shell names a command that Ctrl-C ended

app = typer.Typer(
    help="Grades notebooks in which students build the Transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


for command in (
    grading.demo,
    grading.doctor,
    authoring.new,
    authoring.build,
    grading.collect,
    grading.grade,
    reporting.report,
    grading.replay,
    exporting.export,
    exporting.gradescope,
    exporting.classroom,
    authoring.prove,
    publishing.publish,
    publishing.check,
):
    app.command()(command)


def main() -> None:
    """Entry point of the `autograder` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code; whatever happens, no traceback reaches the terminal."""
    console = terminal()
    try:
        code = int(app(arguments, prog_name="autograder", standalone_mode=False) or OK)
        if code == INTERRUPTED:
            console.print("stopped; what was graded so far is in the gradebook")
        return code
    except AutograderError as error:
        return _complain(console, error)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own: the call is wrong
            return _wrong_call(console, error)
        log = _log(error)
        what = f"{markup(repr(error))}; report it with {markup(str(log), MESSAGE_LIMIT)}"
        console.print(f"[red]internal error[/] (ours, no submission's): {what}", soft_wrap=True)
        return BROKEN


@app.callback(invoke_without_command=True)
def _version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


def _wrong_call(console: Console, error: Any) -> int:
    """What is wrong with the command line, and where its help is; the help itself where nothing was asked for."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if "\n" not in message:
        command = context.command_path if context else "autograder"
        message = f"[red]wrong call[/]: {markup(message, MESSAGE_LIMIT)} See `{command} --help`."
    console.print(message, soft_wrap=True)
    return BROKEN


def _complain(console: Console, error: AutograderError) -> int:
    """One line: whose fault, what, and what to do."""
    theirs = isinstance(error, SubmissionError)
    head = "[red]cannot be read[/]" if theirs else "[red]error[/]"
    console.print(f"{head}: {markup(str(error), MESSAGE_LIMIT)}", soft_wrap=True)
    return UNREADABLE if theirs else BROKEN


def _log(error: Exception) -> Path:
    """Writes the traceback where the course keeps its logs, or among temporary files."""
    text = "".join(traceback.format_exception(error))
    try:
        path = find_course(Path.cwd()).state / "error.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
    except (GraderError, OSError):
        handle, name = tempfile.mkstemp(suffix=".log", prefix="autograder-")
        os.close(handle)
        path = Path(name)
        path.write_text(text, encoding="utf-8", errors="replace")
    return path
