"""A class: each paper is read, looked up, judged by whoever does that, and marked, as the verdicts come.

    submissions ── read ── known? ──────────────────────────── Graded
                             │ no                                ^
                             └── workers (pool.py, cluster.py) ──┘ kept in the cache

Enters: submissions and where to judge them. Leaves: Results in the order of the submissions, and each Graded as it comes. A
submission over which we break is left for review with its points held back; the run goes on and the fault is named at its
end, so nobody gets a zero for it. This process runs no student code and needs no torch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from autograder.cache import Cache, Read
from autograder.collection import Submission
from autograder.course import Course, Exercise, Lesson
from autograder.errors import GraderError, SubmissionError
from autograder.job import Done, Setup, Task, task_of
from autograder.keys import Keys, Known, Salts, digest, one_by_one, salts
from autograder.outcome import Judged
from autograder.paper import Graded as Graded
from autograder.paper import Paper, graded, held, paper_of, read_file, unreadable
from autograder.pool import Pool
from autograder.results import DEVICES, Results, SubmissionResult, TestResult


class Workers(Protocol):
    """Who judges: job processes here, or a cluster."""

    broken: dict[str, str]  # exercises whose suite cannot be run, and why

    def run(self, tasks: Iterator[Task]) -> Iterator[Done]:
        """The verdicts on all tasks, as they come."""


Hire = Callable[[Setup], AbstractContextManager[Workers]]


class _UnknownError(Exception):
    """A verdict that no earlier run left."""


def grade_class(
    course: Course,
    lesson: Lesson,
    submissions: Sequence[Submission],
    *,
    device: str,
    box: str,
    on_result: Callable[[Graded, int], None],
    hire: Hire | None = None,
    cache: Cache | None = None,
    resume: bool = True,
) -> Results:
    """Grades all submissions and hands each to `on_result` as it comes, with its number from 0.

    `hire` starts who judges, one job process if it is not given. What `cache` knows is not judged again, unless
    `resume` is off: then it only learns. Raises GraderError where nothing can be judged at all.
    """
    secret = course.secret()
    salted = salts(lesson, device=device, box=box, secret=secret)
    run = _Run(course, lesson, submissions, device, salted, on_result, cache, resume)
    setup = Setup(str(course.root.resolve()), lesson.name, device, box, secret, run.salts.engine)
    with (hire or _one_job)(setup) as workers:
        for done in workers.run(run.tasks()):
            run.take(done)
        suites = [f"tests/{lesson.name}/test_{name}.py: {_first_line(why)}" for name, why in workers.broken.items()]
    results = tuple(run.results[number] for number in range(len(submissions)))
    faults = [*suites, *(run.faults[number] for number in sorted(run.faults))]
    return Results(lesson.name, "+".join(DEVICES[device]), box, results, faults=tuple(dict.fromkeys(faults)))


def _one_job(setup: Setup) -> AbstractContextManager[Workers]:
    return Pool(setup, 1)


@dataclass
class _Run:
    """One run over a class, as the coordinator sees it."""

    course: Course
    lesson: Lesson
    submissions: Sequence[Submission]
    device: str
    salts: Salts
    on_result: Callable[[Graded, int], None]
    cache: Cache | None
    resume: bool
    results: dict[int, SubmissionResult] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)
    _judging: dict[int, tuple[Paper, Known]] = field(default_factory=dict)
    _alike: dict[TestResult, TestResult] = field(default_factory=dict)

    def tasks(self) -> Iterator[Task]:
        """The papers that have to be judged; all other submissions are dealt with on the way."""
        for number, submission in enumerate(self.submissions):
            started = time.monotonic()
            try:
                paper = self._read(submission)
            except SubmissionError as error:
                self._finish(number, unreadable(submission, self.lesson, str(error)))
                continue
            except GraderError:  # what it is kept in is full, or read-only: so it is for all that follow
                raise
            except Exception as error:  # reading must not fail in any other way: ours, and no reason to stop
                self._break(number, f"internal error in reading it: {type(error).__name__}: {error}")
                continue
            known = Known(self.salts, self._verdicts(submission.student))
            if (judged := recalled(paper, self.lesson, known)) is None:
                self._judging[number] = paper, known
                yield task_of(number, paper, known)
            else:
                notes = self._notes(paper)
                self._finish(number, graded(paper, self.lesson, judged, time.monotonic() - started, notes))

    def _read(self, submission: Submission) -> Paper:
        """The paper as it is kept, if its file holds what it held; else made anew. Raises SubmissionError."""
        path, data = read_file(submission)
        key = digest([self.salts.engine, self._read_by, path.name, hashlib.sha256(data).hexdigest()])
        if self.cache and self.resume and (kept := self.cache.paper(self.lesson.name, submission.student, key)):
            return Paper(submission, kept.notebook, kept.program)
        paper = paper_of(data, path, submission, self.lesson, self._others)
        if self.cache:
            self.cache.keep_paper(self.lesson.name, submission.student, key, Read(paper.notebook, paper.program))
        return paper

    @cached_property
    def _others(self) -> dict[str, tuple[str, ...]]:
        return self.course.other_exercises(self.lesson.name)

    @cached_property
    def _read_by(self) -> str:
        """Digest of what reading goes by, besides the file and this package."""
        return digest([{**vars(self.lesson), "suites": "", "given": sorted(self.lesson.given)}, self._others])

    def take(self, done: Done) -> None:
        """Marks what was judged, and keeps it."""
        paper, known = self._judging.pop(done.number)
        if done.fault:
            self._break(done.number, done.fault, done.notes)
            return
        fresh = self._keep(paper, known, done)
        result = graded(paper, self.lesson, done.judged, done.seconds, done.notes)
        self._finish(done.number, replace(result, fresh=fresh))

    def _keep(self, paper: Paper, known: Known, done: Done) -> tuple[str, ...]:
        """Puts new verdicts into the cache; the exercises that were run."""
        keys = keyed(paper, self.lesson, self.salts, done.judged)
        new = {name: key for name, key in keys.items() if key not in known.verdicts}
        if self.cache is not None:
            kept = {name: (key, done.judged[name]) for name, key in new.items() if done.judged[name].is_lasting}
            student = paper.submission.student
            self.cache.keep(self.lesson.name, student, self.device, kept, (_code(paper), list(done.notes)))
        return tuple(new)

    def _verdicts(self, student: str) -> dict[str, Judged]:
        return self.cache.verdicts(self.lesson.name, student, self.device) if self.cache and self.resume else {}

    def _notes(self, paper: Paper) -> list[str]:
        return self.cache.notes(self.lesson.name, paper.submission.student, _code(paper)) if self.cache else []

    def _break(self, number: int, why: str, notes: tuple[str, ...] = ()) -> None:
        submission = self.submissions[number]
        self.faults[number] = f"{submission.student}: {why}"
        self._finish(number, replace(held(submission, self.lesson, why), details=notes))

    def _finish(self, number: int, one: Graded) -> None:
        self.results[number] = self._shared(one.result)
        self.on_result(one, number)

    def _shared(self, result: SubmissionResult) -> SubmissionResult:
        """The result with one object for all tests that say the same: most of a class does."""
        alike = self._alike.setdefault
        exercises = tuple(
            type(each)(each.name, each.score, each.max_score, tuple(alike(test, test) for test in each.tests))
            for each in result.exercises
        )
        fields = {name: getattr(result, name) for name in result.__struct_fields__}
        return SubmissionResult(**{**fields, "exercises": exercises})


def recalled(paper: Paper, lesson: Lesson, known: Known) -> dict[str, Judged] | None:
    """The verdicts on a paper of which everything is known."""

    def unknown(exercise: Exercise, judged: object) -> Judged:
        raise _UnknownError

    try:
        return one_by_one(paper, lesson, known, unknown)
    except _UnknownError:
        return None


def keyed(paper: Paper, lesson: Lesson, salts: Salts, judged: dict[str, Judged]) -> dict[str, str]:
    """The key of each verdict, made from those before it."""
    keys, before, found = Keys(paper, lesson), dict[str, Judged](), dict[str, str]()
    for exercise in lesson.exercises:
        found[exercise.name] = keys.key(salts, exercise.name, before)
        before[exercise.name] = judged[exercise.name]
    return found


def _code(paper: Paper) -> str:
    """Digest of all that is run of a paper."""
    return digest([(each.cell, each.line, each.source) for each in paper.program.statements])


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
