"""Hidden suites: imported and collected by pytest once, run again for each submission.

Enters: a case (a student, the reference, the seed of each test). Leaves: one Outcome for each test. pytest's own hooks
are kept (fixtures, marks, parameters, assertion rewriting), its plugins that a suite does without are not.

A test that fails is run once more with the reference in place of the student: if it fails then too, the suite is
broken, and the test is `not_judged`. What student code says in an exception stays in `details`, for the instructor;
`message` holds what the suite itself says, and of the student's side what the case says may be told (telling.py).
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType

import pytest
import torch
from _pytest.config import _prepareconfig
from _pytest.main import Session as PytestSession
from _pytest.runner import runtestprotocol

from autograder.comparing import Mismatch
from autograder.course import Lesson
from autograder.direct import call, plan
from autograder.errors import GraderError, StudentError, StudentMalformed, StudentMemory
from autograder.fixtures import GIVEN, Case, Fixtures, without_device
from autograder.inputs import Inputs
from autograder.inside.traces import present, set_modes
from autograder.outcome import Outcome as Outcome
from autograder.placement import NotJudged
from autograder.results import Cause
from autograder.results import Outcome as Verdict

VALUES = frozenset({1, 2, 3, 4})  # numbers of LESSONS.md's points that ask for values
_UNUSED = [
    "capture",
    "logging",
    "faulthandler",
    "unraisableexception",
    "threadexception",
    "warnings",
    "tmpdir",
    "pastebin",
    "junitxml",
    "stepwise",
    "cacheprovider",
    "debugging",
    "setuponly",
    "setupplan",
    "recwarn",
    "timeout",
    "anyio",
    "unittest",
    "autograder.byhand",
    "hypothesispytest",
]


class Suite:
    """The collected hidden suites of one lesson; a context manager."""

    def __init__(self, lesson: Lesson, devices: tuple[str, ...] = ("cpu",)) -> None:
        self.lesson = lesson
        self._fixtures = Fixtures(devices)
        if not lesson.suites.is_dir():
            raise GraderError(f"{lesson.suites} is missing: the lesson {lesson.name} has no hidden suites")
        arguments = [str(lesson.suites), "-q", "--tb=line", "-c", os.devnull]
        arguments += ["--rootdir", str(lesson.suites.parent)]  # modules are named from here: lessons may share a name
        arguments += ["--import-mode=importlib", "--disable-plugin-autoload", "-W", "ignore"]
        arguments += [part for name in _UNUSED for part in ("-p", f"no:{name}")]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self._config = _prepareconfig(arguments, [self._fixtures])
            self._config.addinivalue_line("markers", "covers(point): LESSONS.md's point that a test belongs to")
            self._session = PytestSession.from_config(self._config)
            self._config._do_configure()
            self._config.hook.pytest_sessionstart(session=self._session)
            self._config.hook.pytest_collection(session=self._session)
        self._items: dict[str, list[pytest.Function]] = {exercise.name: [] for exercise in lesson.exercises}
        for item in self._session.items:
            exercise = item.path.stem.removeprefix("test_")
            if exercise in self._items and isinstance(item, pytest.Function):
                self._items[exercise].append(item)
        self._plans = {item.nodeid: plan(item, GIVEN) for items in self._items.values() for item in items}
        self._blanks = {item.nodeid: _blank(item) for items in self._items.values() for item in items}

    def __enter__(self) -> Suite:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends pytest's session."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._config.hook.pytest_sessionfinish(session=self._session, exitstatus=0)
            self._config._ensure_unconfigure()

    def broken(self, exercise: str) -> str:
        """Why the suite of an exercise cannot be run, or nothing."""
        if exercise in self._fixtures.broken:
            return self._fixtures.broken[exercise]
        return "" if self._items[exercise] else f"there is no {self.lesson.suites / f'test_{exercise}.py'} with a test in it"

    def outcomes(self, exercise: str, verdict: Verdict, cause: Cause | None, message: str) -> list[Outcome]:
        """The same outcome for each test of an exercise that is not run at all."""
        blank = [self._blanks[item.nodeid] for item in self._items[exercise]] or [
            Outcome(exercise, "the hidden suite", True)
        ]
        return [replace(each, verdict=verdict, cause=cause, message=message) for each in blank]

    def run(self, exercise: str, case: Case) -> list[Outcome]:
        """Runs the tests of one exercise; tests that are skipped leave no outcome."""
        found = []
        items = self._items[exercise]
        for item, following in zip(items, [*items[1:], None], strict=True):  # None: fixtures end with this exercise
            raised = self._run_one(item, following, case)
            if isinstance(raised, pytest.skip.Exception):
                continue
            found.append(self._judged(item, raised, case))
        return found

    def attempt(self, exercise: str, test: str, case: Case) -> tuple[BaseException | None, Inputs | None]:
        """Runs one test by its name in `Outcome.test`, without a verdict: what it raised, and the inputs it drew."""
        item = next(item for item in self._items[exercise] if item.name == test)
        self._fixtures.drawn = None
        raised = self._run_one(item, None, case)
        return None if isinstance(raised, NotJudged) else raised, self._fixtures.drawn

    def _run_one(self, item: pytest.Function, following: pytest.Item | None, case: Case) -> BaseException | None:
        self._fixtures.case, self._fixtures.raised = case, None
        try:
            with _global_state_kept():
                if (planned := self._plans[item.nodeid]) is not None:
                    return call(item, planned, self._fixtures.given(item))
                runtestprotocol(item, log=False, nextitem=following)
            return self._fixtures.raised
        finally:
            self._fixtures.raised, self._fixtures.case = None, None
            item._report_sections.clear()
            item.user_properties.clear()

    def _judged(self, item: pytest.Function, raised: BaseException | None, case: Case) -> Outcome:
        blank = self._blanks[item.nodeid]
        if raised is None:
            return blank
        if isinstance(raised, NotJudged):
            return replace(blank, verdict="not_judged", message=str(raised), earns=True)
        student_error = _student_error(raised)
        if student_error is not None and student_error.cause != "error":
            return _failed(blank, student_error.cause, _told(student_error), student_error.text)
        with_reference = self._run_one(item, None, replace(case, student=case.reference))
        if with_reference is None and (ours := _grader_error(raised)):
            raise ours  # the box, not the answer
        if with_reference is not None:
            details = f"the reference fails this test: {type(with_reference).__name__}: {with_reference}"
            return replace(blank, verdict="not_judged", message="this test is broken; it was not counted", details=details)
        details = f"{type(raised).__name__}: {raised}"
        if isinstance(raised, Mismatch):
            return _failed(blank, "wrong", str(raised) if case.may_tell() else raised.wanted_only, details)
        if student_error is not None:
            message = _told(student_error) if case.may_tell() else "an error was raised"
            return _failed(blank, "error", message, f"{student_error}: {student_error.text}")
        if isinstance(raised, AssertionError):
            return _failed(blank, "wrong", "", details)
        return _failed(blank, "wrong", "what was returned could not be used as the exercise asks", details)


def _failed(blank: Outcome, cause: str, message: str, details: str) -> Outcome:
    return replace(blank, verdict="failed", cause=cause, message=message, details=details)  # type: ignore[arg-type]


def _told(error: StudentError) -> str:
    """What a student may read of an exception: its type and the line; its text could hold hidden inputs."""
    where = f" in {error.lines[-1]}" if error.lines else ""
    if error.cause == "forbidden":
        return f"a ready-made operator that this lesson does not allow was used{where}"
    if isinstance(error, StudentMalformed):
        return f"what came back is no answer to a call{where}"
    if isinstance(error, StudentMemory):
        return f"more memory was asked for than the limit allows{where}"
    return f"{error.kind} was raised{where}" if error.cause == "error" else error.text


def _student_error(raised: BaseException) -> StudentError | None:
    """The StudentError that an exception is or comes from."""
    return next((error for error in _chain(raised) if isinstance(error, StudentError)), None)


def _grader_error(raised: BaseException) -> GraderError | None:
    """The GraderError that an exception is or comes from."""
    return next((error for error in _chain(raised) if isinstance(error, GraderError)), None)


def _chain(raised: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = raised
    for _ in range(20):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _blank(item: pytest.Function) -> Outcome:
    point = next((mark.args[0] for mark in item.iter_markers("covers")), 2)
    callspec = getattr(item, "callspec", None)
    device = callspec.params.get("device", "cpu") if callspec else "cpu"
    sentence = (item.function.__doc__ or item.originalname.removeprefix("test_").replace("_", " ")).strip().splitlines()[0]
    parameters = without_device(item).partition("[")[2]
    title = sentence.rstrip(".") + (f" [{parameters}" if parameters else "")
    return Outcome(item.name, title, point in VALUES, device)


@contextlib.contextmanager
def _global_state_kept() -> Iterator[None]:
    """What a student's code leaves behind is seen by the test that met it, and by no other."""
    modes, random_state = present(), torch.get_rng_state()
    try:
        yield
    finally:
        set_modes(modes)
        torch.set_rng_state(random_state)
