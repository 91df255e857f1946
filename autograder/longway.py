"""A sample of the bank the long way: put into notebooks, read, run in the box, graded. What `prove` does is in-process.

Enters: a lesson. Leaves: how many notebooks were graded, and what did not hold. The model notebook and notebooks full
of alternatives must get all points, the release none; a notebook with one misconception loses points there and nowhere
else, and is told that idea or none.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from autograder.collection import Submission
from autograder.course import Course, Lesson
from autograder.grader import Grader
from autograder.misconception import Answer, Misconception, answers_in
from autograder.results import ExerciseResult, SubmissionResult


@dataclass
class LongWay:
    """What came of it."""

    notebooks: int = 0
    problems: list[str] = field(default_factory=list)


def through_the_box(course: Course, name: str, box: str, secret: bytes = b"proof") -> LongWay:
    """Grades the sample of one lesson; some seconds."""
    lesson, found = course.lesson(name), LongWay()
    with Grader(course, lesson, box=box, secret=secret) as grader, tempfile.TemporaryDirectory() as folder:

        def graded(who: str, path: Path) -> SubmissionResult:
            found.notebooks += 1
            return grader.grade(Submission(who, path)).result

        found.problems += _full("the model", graded("model", course.source(name)))
        released = graded("release", course.release(name))
        found.problems += [f"the release gets {released.score:g} points"] if released.score else []
        for number, answers in enumerate(_rows(lesson)):
            path = _notebook(course, name, Path(folder) / f"right{number}.ipynb", answers)
            found.problems += _full(", ".join(each.name for each in answers.values()), graded("right", path))
        for wrong in _one_each(lesson):
            path = _notebook(course, name, Path(folder) / f"{wrong.name}.ipynb", {wrong.exercise: wrong})
            found.problems += _caught(wrong, graded("wrong", path), lesson)
    return found


def _full(what: str, result: SubmissionResult) -> Iterator[str]:
    for exercise in result.exercises:
        if exercise.score != exercise.max_score or result.status != "graded":
            yield f"{what}: {exercise.name} gets {exercise.score:g} of {exercise.max_score:g}: {_failed(exercise)}"


def _caught(wrong: Misconception, result: SubmissionResult, lesson: Lesson) -> Iterator[str]:
    for exercise in result.exercises:
        lost = exercise.score < exercise.max_score
        if exercise.name != wrong.exercise and lost:
            yield f"{wrong.name} costs {exercise.name} points: {_failed(exercise)}"
        if exercise.name == wrong.exercise:
            ideas = {test.misconception for test in exercise.tests if test.misconception}
            if not lost:
                yield f"{wrong.name} gets all points"
            if ideas - {wrong.idea}:
                yield f"{wrong.name} is taken for {sorted(ideas)}"


def _failed(exercise: ExerciseResult) -> str:
    return ", ".join(f"{test.name} ({test.cause})" for test in exercise.tests if test.outcome != "passed")


def _rows(lesson: Lesson) -> Iterator[dict[str, Answer]]:
    """Alternatives of all exercises, the first of each, then the second of each ..."""
    path = lesson.suites / "alternatives.py"
    right = answers_in(path) if path.exists() else []
    columns = [[answer for answer in right if answer.exercise == exercise.name] for exercise in lesson.exercises]
    for row in zip_longest(*columns):
        yield {answer.exercise: answer for answer in row if answer is not None}


def _one_each(lesson: Lesson) -> Iterator[Misconception]:
    """The first misconception of each exercise."""
    path = lesson.suites / "misconceptions.py"
    wrong = answers_in(path) if path.exists() else []
    for exercise in lesson.exercises:
        yield from [answer for answer in wrong if answer.exercise == exercise.name][:1]


def _notebook(course: Course, name: str, path: Path, answers: Mapping[str, Answer]) -> Path:
    """The solved notebook with these answers in place of the model's."""
    notebook = json.loads(course.source(name).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if grade_id in answers:
            cell["source"] = answers[grade_id].source
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path
