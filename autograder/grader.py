"""A class: what is made ready once, and the submissions graded one after another with it.

Enters: a course, a lesson, submissions, where to run them. Leaves: Results, and each Graded as it comes. A
submission over which we break is left for review with its points held back; the run goes on and the error is
raised at its end, so nobody gets a zero for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType

import torch

from autograder.collection import Submission
from autograder.course import Course, Lesson
from autograder.diagnosis import Bank
from autograder.errors import GraderError
from autograder.grade import Graded as Graded
from autograder.grade import Workshop, grade
from autograder.inside.confine import Limits
from autograder.inside.worker import Warm
from autograder.reference import load_reference
from autograder.results import ExerciseResult, Results, SubmissionResult, TestResult
from autograder.rules import read_rules
from autograder.sandbox import PRELOAD, Sandbox, refuse_exposed
from autograder.suite import Suite

DEVICES = {"cpu": ("cpu",), "cuda": ("cuda",), "both": ("cpu", "cuda")}
DYNAMO = "torch._dynamo"  # optimisers import it when they are first used, for a second in each fork


class Grader:
    """A lesson made ready: its suites collected, its reference loaded, a zygote warm in its box. A context manager."""

    def __init__(
        self, course: Course, lesson: Lesson, *, device: str = "cpu", box: str, limits: Limits | None = None
    ) -> None:
        self.course, self.lesson, self.box = course, lesson, box
        self.device = "+".join(DEVICES[device])
        self._devices, self._limits = DEVICES[device], limits
        self._stack = ExitStack()
        self._workshop: Workshop | None = None

    def __enter__(self) -> Grader:
        torch.set_num_threads(1)
        refuse_exposed(self.course.root)
        with ExitStack() as stack:
            sandbox = stack.enter_context(Sandbox(self.box, self._limits, _warm(self.lesson)))  # it starts while we collect
            suite = stack.enter_context(Suite(self.lesson, self._devices))
            reference, secret = load_reference(self.lesson), self.course.secret()
            bank = Bank(self.lesson, reference)
            self._workshop = Workshop(self.lesson, suite, sandbox, reference, secret, bank, self.course.other_exercises(self.lesson.name))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workshop = None
        self._stack.close()

    @property
    def broken_suites(self) -> dict[str, str]:
        """Exercises whose hidden suite cannot be run, and why."""
        suite = self.workshop.suite
        return {each.name: why for each in self.lesson.exercises if (why := suite.broken(each.name))}

    def grade(self, submission: Submission) -> Graded:
        """Grades one submission; raises GraderError where we break."""
        return grade(submission, self.workshop)

    @property
    def workshop(self) -> Workshop:
        """What is ready; raises GraderError outside the with statement."""
        if self._workshop is None:
            raise GraderError("a Grader is used within a with statement")
        return self._workshop


def _warm(lesson: Lesson) -> Warm:
    preload = [*PRELOAD, DYNAMO] if any("torch.optim" in cell for cell in lesson.model_cells) else [*PRELOAD]
    if lesson.rules is None:
        return Warm(preload)
    rules = read_rules(lesson.rules)
    judged = [exercise.name for exercise in lesson.exercises if rules.exercises is None or exercise.name in rules.exercises]
    return Warm(preload, list(rules.forbidden_operators), judged)


def grade_class(
    course: Course,
    lesson: Lesson,
    submissions: Sequence[Submission],
    *,
    device: str,
    box: str,
    on_result: Callable[[Graded], None],
) -> Results:
    """Grades all submissions and hands each to `on_result` as it comes.

    Raises GraderError at the end where a suite or the box broke; results of the others are out by then.
    """
    results: list[SubmissionResult] = []
    faults: list[str] = []
    with Grader(course, lesson, device=device, box=box) as grader:
        faults += [
            f"tests/{lesson.name}/test_{name}.py: {_first_line(why)}" for name, why in grader.broken_suites.items()
        ]
        for submission in submissions:
            try:
                graded = grader.grade(submission)
            except GraderError as error:
                faults.append(f"{submission.student}: {error}")
                graded = Graded(_held(submission, lesson, str(error)))
            results.append(graded.result)
            on_result(graded)
    return Results(lesson.name, grader.device, box, tuple(results), faults=tuple(dict.fromkeys(faults)))


def _held(submission: Submission, lesson: Lesson, why: str) -> SubmissionResult:
    """The result of a submission over which we broke: everything held back, nothing lost."""
    test = TestResult(
        "the hidden suite", "not_judged", None, "it could not be judged through our fault; it was not counted"
    )
    exercises = tuple(ExerciseResult(each.name, 0.0, each.points, (test,)) for each in lesson.exercises)
    return SubmissionResult(
        student=submission.student,
        path=str(submission.path or ""),
        status="needs_review",
        message=f"{lesson.max_score:g} points hang on tests that could not be judged through our fault: {why}",
        max_score=lesson.max_score,
        exercises=exercises,
    )


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
