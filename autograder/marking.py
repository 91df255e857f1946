"""One run as an instructor meets it: progress, marks in the gradebook, results.json and feedback on disk.

Enters: submissions and where to run them. Leaves: results, files under the course's `.autograder/<lesson>/`, marks.
Everything is written by this process only, as each result comes; marks that would change though the code did not are
written at the end, once somebody has agreed to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from rich.console import Console

from autograder.cache import Cache
from autograder.class_run import Graded, Hire, grade_class
from autograder.cluster import connect
from autograder.collection import Submission
from autograder.course import Course
from autograder.errors import GraderError
from autograder.job import Setup
from autograder.latest import keep_latest
from autograder.outcome import Picture, pictures
from autograder.pool import Pool, physical_cores
from autograder.progress import Shown, Tally, progress
from autograder.records import Change, Records, open_records
from autograder.report import feedback
from autograder.results import Results, to_json
from autograder.safetext import clean, file_names
from autograder.whole import SPACE, keep_file, only_run, write_file

DETAIL_LIMIT = 100_000  # characters of details a student
CACHE = "cache.db"
OF_REPORTS = ("jinja2", "matplotlib.figure", "matplotlib.backends.backend_svg")  # reports.py draws with them


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    results: Results
    results_json: Path
    feedback: Path  # a folder with a text file a student
    details: Path  # a folder with what the instructor alone may see: what student code said, why we could not judge
    known: int = 0  # submissions of which nothing had to be run again
    changed: bool = False  # is anybody's recorded result another than before?


@dataclass(frozen=True)
class Options:
    """How a class is run, beside where."""

    jobs: int | None = None  # job processes; the physical cores if None
    scheduler: str | None = None  # of a Dask cluster, in place of job processes here
    insecure: bool = False  # may the scheduler be one that anybody can send code to?
    resume: bool = True  # use what earlier runs found
    gradebook: bool = True
    agree: Callable[[list[Change]], bool] = field(default=lambda changes: True)  # may these marks change?


def grade_into_course(
    course: Course,
    lesson: str,
    submissions: list[Submission],
    *,
    device: str,
    box: str,
    console: Console,
    options: Options | None = None,
) -> Run:
    """Grades `submissions`, records each as it comes, and writes results.json and feedback.

    Raises GraderError where the course, the machine or a suite is broken, or where marks would change and may not.
    """
    options, asked = options or Options(), course.lesson(lesson)
    tally, folder = Tally(len(submissions)), course.state / lesson
    with ExitStack() as stack:
        stack.enter_context(_only_run(folder, lesson))
        cache = stack.enter_context(Cache(course.state / CACHE, lambda text: console.print(clean(text), markup=False)))
        records = stack.enter_context(open_records(course, asked, cache) if options.gradebook else nullcontext())
        shown = Shown(console, tally, stack.enter_context(progress(console, tally)))
        settle = _Settle(folder, records, file_names(each.student for each in submissions))

        def on_result(graded: Graded, number: int) -> None:
            settle.take(graded, number)
            tally.add(graded.result, known=graded.notebook is not None and not graded.fresh)
            shown.step()

        results = grade_class(
            course,
            asked,
            submissions,
            device=device,
            box=box,
            on_result=on_result,
            hire=_hire(options, records),
            cache=cache,
            resume=options.resume,
        )
        settle.the_rest(options.agree)
        write_file(folder / "results.json", to_json(results), SPACE)
        changed = options.gradebook and keep_latest(folder, results, settle.pictures)
    return Run(results, folder / "results.json", folder / "feedback", folder / "details", tally.known, changed)


def _hire(options: Options, records: Records | None) -> Hire:
    """Who judges; the gradebook is opened while they make themselves ready."""
    if options.scheduler is not None:
        return lambda setup: connect(setup, options.scheduler or "", insecure=options.insecure)
    jobs = options.jobs or physical_cores()

    def hire(setup: Setup) -> Pool:
        most = jobs if setup.device == "cpu" else _fitting(jobs)
        return Pool(setup, most, lambda: _get_ready(records)) if records else Pool(setup, most)

    return hire


def _get_ready(records: Records) -> None:
    """What the end of a run needs and takes a second to import: now, while job processes import torch."""
    records.open()
    for name in OF_REPORTS:
        import_module(name)


def _fitting(jobs: int) -> int:
    """So many of these jobs as the GPU's memory holds."""
    from autograder.gpu import queue  # torch, which this process does without on the CPU

    return queue().jobs(jobs)


class _Settle:
    """Records results and writes their feedback, or holds them back where a mark would change under unchanged code."""

    def __init__(self, folder: Path, records: Records | None, names: Mapping[str, str]) -> None:
        self._folder, self._records, self._names = folder, records, names
        self._held: list[tuple[Graded, int, list[Change]]] = []
        self.pictures: dict[str, dict[str, Picture]] = {}  # by student and exercise

    def take(self, graded: Graded, number: int) -> None:
        """Settles one result, or holds it back."""
        drawn = pictures(graded.judged)
        if drawn:
            self.pictures[graded.result.student] = drawn
        if changes := self._records.changes(graded) if self._records else []:
            self._held.append((graded, number, changes))
        else:
            self._settle(graded)

    def the_rest(self, agree: Callable[[list[Change]], bool]) -> None:
        """Settles what was held back if its changes are agreed to; raises GraderError if not."""
        held = sorted(self._held, key=lambda each: each[1])
        changes = [change for _, _, some in held for change in some]
        if changes and not agree(changes):
            raise GraderError(
                f"{len(changes)} marks would change though the code did not; they were left as they are, and results.json "
                "too: look at the list, then pass --yes"
            )
        for graded, _, _ in held:
            self._settle(graded)

    def _settle(self, graded: Graded) -> None:
        if self._records is not None:
            self._records.write(graded)
        name = f"{self._names[graded.result.student]}.txt"
        if self._records is None or graded.fresh or not (self._folder / "feedback" / name).exists():
            self._file("feedback", name, feedback(graded.result))  # what stands may hold marks by hand (reports.py)
        self._file("details", name, clean("\n\n".join(graded.details), DETAIL_LIMIT))

    def _file(self, folder: str, name: str, text: str) -> None:
        """What is told of a submission; a later run makes it again, so it need not outlive a power cut."""
        path = self._folder / folder / name
        if text:
            keep_file(path, text.encode("utf-8", "replace"), SPACE, lasting=False)
        elif path.exists():
            path.unlink()


@contextmanager
def _only_run(folder: Path, lesson: str) -> Iterator[None]:
    """No second run of a lesson beside this one; raises GraderError where the folder cannot be written either."""
    with ExitStack() as stack:
        try:
            stack.enter_context(only_run(folder, lesson))
        except OSError as error:
            raise GraderError(f"{folder} cannot be written ({error.strerror}); {SPACE}") from error
        yield
