"""A lesson made ready: suites collected, model answers loaded, a zygote warm in its box.

Enters: a course, a lesson, where to run it. Leaves: what grade.py needs, for one submission after another. Starting
takes seconds; a class does it once in each of its job processes (job.py).
"""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from types import TracebackType

import torch

from autograder.boxes import refuse_exposed
from autograder.collection import Submission
from autograder.course import Course, Lesson
from autograder.diagnosis import Bank
from autograder.errors import GraderError
from autograder.gpu import MOST_BYTES, admitted, on_gpu
from autograder.gpu_watch import watched
from autograder.grade import Graded, Workshop, grade
from autograder.inside.confine import Limits
from autograder.inside.worker import Warm
from autograder.picture import Gallery
from autograder.reference import load_reference
from autograder.results import DEVICES as DEVICES
from autograder.rules import read_rules
from autograder.sandbox import PRELOAD, Sandbox
from autograder.suite import Suite

DYNAMO = "torch._dynamo"  # optimisers import it when they are first used, for a second in each fork


class Grader:
    """A lesson made ready: its suites collected, its reference loaded, a zygote warm in its box. A context manager."""

    def __init__(
        self,
        course: Course,
        lesson: Lesson,
        *,
        device: str = "cpu",
        box: str,
        limits: Limits | None = None,
        secret: bytes | None = None,
    ) -> None:
        self.course, self.lesson, self.box = course, lesson, box
        self.device = "+".join(DEVICES[device])
        self._devices, self._limits, self._secret = DEVICES[device], limits, secret
        self._stack = ExitStack()
        self._workshop: Workshop | None = None

    def __enter__(self) -> Grader:
        torch.set_num_threads(1)
        refuse_exposed(self.course.root)
        with ExitStack() as stack:
            sandbox = self._sandbox(stack)  # it starts while we collect
            suite = stack.enter_context(Suite(self.lesson, self._devices))
            reference, secret = load_reference(self.lesson), self._secret or self.course.secret()
            others = self.course.other_exercises(self.lesson.name)
            bank = Bank(self.lesson, reference)
            for name in PRELOAD:
                import_module(name)  # here too gradients want it; the zygote is not ready yet
            gallery = Gallery(self.lesson.suites / "pictures.py", reference)
            sandbox.begin()
            self._workshop = Workshop(self.lesson, suite, sandbox, reference, secret, bank, others, gallery)
            self._stack = stack.pop_all()
        return self

    def _sandbox(self, stack: ExitStack) -> Sandbox:
        """The box; on a GPU once there is room for this job, and watched from outside."""
        if "cuda" not in self._devices:
            return stack.enter_context(Sandbox(self.box, self._limits, _warm(self.lesson)))
        gpu, ahead = stack.enter_context(admitted())
        limits = on_gpu(self._limits or Limits())
        sandbox = stack.enter_context(Sandbox(self.box, limits, _warm(self.lesson), gpu, ahead=ahead))
        stack.enter_context(watched(lambda: sandbox.pid, MOST_BYTES))
        return sandbox

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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
