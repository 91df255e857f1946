"""One run as an instructor meets it: a progress bar, marks in the gradebook, results.json and feedback on disk.

Enters: submissions and where to run them. Leaves: results, files under the course's `.autograder/<lesson>/`, marks.
The gradebook is written by this process only, as each result comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from autograder.class_run import Graded, grade_class
from autograder.collection import Submission
from autograder.course import Course, Lesson
from autograder.errors import GraderError
from autograder.report import clean, feedback, one_line
from autograder.results import Results, to_json

DETAIL_LIMIT = 100_000  # characters of details a student


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    results: Results
    results_json: Path
    feedback: Path  # a folder with a text file a student
    details: Path  # a folder with what the instructor alone may see: what student code said, why we could not judge


def grade_into_course(
    course: Course,
    lesson: str,
    submissions: list[Submission],
    *,
    device: str,
    box: str,
    console: Console,
    gradebook: bool = True,
) -> Run:
    """Grades `submissions`, records each as it comes, and writes results.json and feedback.

    Raises GraderError where the course, the machine or a suite is broken.
    """
    asked = course.lesson(lesson)
    details: list[str] = []
    marks = _marks(course, asked) if gradebook else nullcontext(_nothing)
    with marks as record, _progress(console, len(submissions)) as step:

        def on_result(graded: Graded) -> None:
            record(graded)
            details.append("\n\n".join(graded.details))
            step(graded)

        results = grade_class(course, asked, submissions, device=device, box=box, on_result=on_result)
    return _write(course.state / lesson, results, details)


def write_file(path: Path, data: bytes) -> None:
    """Writes a file that was asked for; raises GraderError where it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise GraderError(f"{path} cannot be written ({error.strerror}); name another place") from error


def _nothing(graded: Graded) -> None:
    """What --no-gradebook records."""


@contextmanager
def _marks(course: Course, lesson: Lesson) -> Iterator[Callable[[Graded], None]]:
    from autograder.gradebook import open_marks  # nbgrader takes a second to import, which not every run needs

    with open_marks(course, lesson) as marks:
        yield marks.record


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[Graded], None]]:
    """A bar on the console that names who was graded last."""
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)
        yield lambda graded: bar.update(task, advance=1, description=escape(one_line(graded.result.student, 40)))


def _write(folder: Path, results: Results, details: list[str]) -> Run:
    """Writes results.json, and for each student the feedback and, where there is any, the details."""
    run = Run(results, folder / "results.json", folder / "feedback", folder / "details")
    write_file(run.results_json, to_json(results))
    for number, (result, detail) in enumerate(zip(results.submissions, details, strict=True), start=1):
        name = f"{_file_name(result.student, number)}.txt"
        write_file(run.feedback / name, feedback(result).encode("utf-8", "replace"))
        (run.details / name).unlink(missing_ok=True)
        if detail:
            write_file(run.details / name, clean(detail, DETAIL_LIMIT).encode("utf-8", "replace"))
    return run


def _file_name(student: str, number: int) -> str:
    """A student's name where it can name a file, else their number in the run."""
    return student if Path(student).name == student == one_line(student, 100) else f"submission-{number}"
