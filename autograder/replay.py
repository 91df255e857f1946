"""What one hidden test fed to one student's code, and what it got: for an instructor who is asked why.

Enters: a student, a test by its name or its sentence, and the submission. Leaves: text, with hidden inputs and the
student's own words in it: it is not for students. The inputs are those of every grading: they hang on the course
secret, the student and the test, and on nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autograder.course import Course, Lesson
from autograder.errors import GraderError, SubmissionError
from autograder.fixtures import Case
from autograder.grade import open_case
from autograder.inputs import Inputs
from autograder.safetext import clean
from autograder.suite import Outcome, Suite
from autograder.watching import Call, Watch, same

FEW = 200  # numbers of a tensor that are shown in full; a larger one shows its edges
LIMIT = 4000  # characters of one value


def replay(course: Course, lesson: str, student: str, test: str, path: Path | None, box: str) -> str:
    """Runs one test again on a submission and tells all that went in and came out."""
    from autograder.grader import Grader

    path = path or submitted(course, lesson, student)
    with Grader(course, course.lesson(lesson), box=box) as grader:
        suite = grader.workshop.suite
        exercise, found = find_test(grader.lesson, suite, test)
        with open_case(path, student, grader.workshop) as case:
            return _told(suite, exercise, found, case, student)


def submitted(course: Course, lesson: str, student: str) -> Path:
    """The notebook that nbgrader's folders have of a student; raises SubmissionError where there is none."""
    folder = course.root / "submitted" / student / lesson
    notebooks = sorted(folder.glob("*.ipynb"))
    if not notebooks:
        raise SubmissionError(f"there is no notebook in {folder}; name one by --submission")
    return next((path for path in notebooks if path.stem == lesson), notebooks[0])


def find_test(lesson: Lesson, suite: Suite, wanted: str) -> tuple[str, Outcome]:
    """The exercise and the test that `test_x`, `test_x[cpu]`, `exercise::test_x` or a test's sentence means."""
    name, _, rest = wanted.rpartition("::")
    tests = [
        (exercise.name, outcome)
        for exercise in lesson.exercises
        if name in ("", exercise.name, f"test_{exercise.name}", f"test_{exercise.name}.py")
        for outcome in suite.outcomes(exercise.name, "passed", None, "")
    ]
    found = [each for each in tests if rest in (each[1].test, each[1].title)]
    found = found or [each for each in tests if rest == each[1].test.partition("[")[0]]
    if len(found) == 1:
        return found[0]
    known = found or [each for each in tests if rest.lower() in f"{each[1].test} {each[1].title}".lower()]
    listed = "\n".join(f"  {exercise}::{outcome.test}  {outcome.title}" for exercise, outcome in known or tests)
    what = "more than one test" if found else "no test"
    raise GraderError(f"{wanted!r} is {what} of {lesson.name}; there are\n{listed}")


def _told(suite: Suite, exercise: str, outcome: Outcome, case: Case, student: str) -> str:
    watch = Watch()
    raised, inputs = suite.attempt(exercise, outcome.test, replace(case, watch=watch.student))
    suite.attempt(exercise, outcome.test, replace(case, student=case.reference, watch=watch.student))
    ours, right = watch.of(outcome.test, case.student), watch.of(outcome.test, case.reference)
    head = f"{exercise}: {outcome.title}\n{outcome.test}, for {student}"
    parts = [head, _drawn(inputs), *(_call(n, ours, right) for n in range(len(ours))), _verdict(raised)]
    return clean("\n\n".join(part for part in parts if part), limit=1_000_000) + "\n"


def _drawn(inputs: Inputs | None) -> str:
    if inputs is None or not inputs.made:
        return "drawn: nothing, its inputs stand in the test"
    return "\n".join(["drawn:", *(f"  {description} = {_value(tensor)}" for description, tensor in inputs.made)])


def _call(number: int, ours: list[Call], right: list[Call]) -> str:
    """One call, and beside it what the model answer gave to the same arguments."""
    call = ours[number]
    lines = [f"call {number + 1}: {call.name}"]
    lines += [f"  argument {place} = {_value(leaf)}" for place, leaf in call.arguments]
    if call.default_dtype != torch.float32:
        lines.append(f"  while the default dtype is {call.default_dtype}")
    lines += _results("gave", call)
    wanted = right[number] if number < len(right) and right[number].key == call.key else None
    if wanted is not None:
        lines += ["  the model answer gives the same"] if same(call, wanted) else _results("the model answer", wanted)
    return "\n".join(lines)


def _results(who: str, call: Call) -> list[str]:
    if call.raised:
        return [f"  {who} raised {call.raised}: {call.text}"]
    lines = [f"  {who}: {_value(call.result)}"]
    lines += [f"  {who}, {place} changed to {_value(tensor)}" for place, tensor in call.changed.items()]
    lines += [f"  {who}, gradient at {place.lstrip('[') or 'it'}: {_value(g)}" for place, g in call.gradients.items()]
    return lines + ([f"  {who}, left behind: another {call.left}"] if call.left else [])


def _value(leaf: Any) -> str:
    """A value in full where it is small, else its edges; a tensor with shape and dtype."""
    if isinstance(leaf, tuple | list):
        opening, closing = "()" if isinstance(leaf, tuple) else "[]"
        return opening + ", ".join(map(_value, leaf)) + closing
    if isinstance(leaf, dict):
        return "{" + ", ".join(f"{key!r}: {_value(value)}" for key, value in leaf.items()) + "}"
    if not isinstance(leaf, Tensor):
        return repr(leaf)[:LIMIT]
    kind = f"{str(leaf.dtype).removeprefix('torch.')} {tuple(leaf.shape)}"
    strided = "" if leaf.is_contiguous() else f", strides {leaf.stride()}"
    numbers = repr(leaf.tolist()) if leaf.numel() <= FEW else repr(leaf)
    return f"{kind}{strided} {numbers}"[:LIMIT]


def _verdict(raised: BaseException | None) -> str:
    if raised is None:
        return "passed"
    return f"failed: {type(raised).__name__}: {raised}"
