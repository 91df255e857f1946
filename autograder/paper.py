"""A submission before and after it is judged: what was read of it, and the result that its outcomes come to.

Enters: a submission's file; later what its exercises were judged to be. Leaves: a `Paper`, or `Graded`. Runs no student
code and knows no suite, so that a class of which everything is known is marked without torch, pytest or a box.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autograder.collection import Submission
from autograder.course import Exercise, Lesson
from autograder.errors import SubmissionError
from autograder.notebook import Notebook, notebook_of
from autograder.outcome import Judged, Outcome
from autograder.program import Program, slice_program
from autograder.results import ExerciseResult, SubmissionResult, TestResult
from autograder.score import held_back, score_exercise
from autograder.textfile import read_regular_file

NOT_JUDGED = "it could not be judged through our fault; it was not counted"


@dataclass(frozen=True)
class Paper:
    """A submission that could be read."""

    submission: Submission
    notebook: Notebook
    program: Program


@dataclass(frozen=True)
class Graded:
    """A submission's result, and what it was made from where the file could be read."""

    result: SubmissionResult
    notebook: Notebook | None = None
    program: Program | None = None
    details: tuple[str, ...] = ()  # for the instructor: what student code said, why tests were not judged
    judged: Mapping[str, Judged] = field(default_factory=dict)  # by exercise
    fresh: tuple[str, ...] = ()  # exercises that were run for it now; the others were known


def read_paper(submission: Submission, lesson: Lesson, others: Mapping[str, Iterable[str]]) -> Paper:
    """Reads a submission; raises SubmissionError where it cannot be graded."""
    path, data = read_file(submission)
    return paper_of(data, path, submission, lesson, others)


def read_file(submission: Submission) -> tuple[Path, bytes]:
    """A submission's file and all that is in it; raises SubmissionError where there is none, or it may not be read."""
    if submission.path is None:
        raise SubmissionError(submission.message)
    return submission.path, read_regular_file(submission.path)


def paper_of(data: bytes, path: Path, submission: Submission, lesson: Lesson, others: Mapping[str, Iterable[str]]) -> Paper:
    """What a file comes to. It hangs on these arguments and on nothing else; raises SubmissionError as `read_paper`."""
    notebook = notebook_of(data, path)
    return Paper(submission, notebook, slice_program(notebook, lesson, others))


def graded(paper: Paper, lesson: Lesson, judged: Mapping[str, Judged], seconds: float, notes: Iterable[str] = ()) -> Graded:
    """What a paper comes to; `notes` are what was seen beside the tests, for the instructor."""
    points = {each: judged[each.name].outcomes for each in lesson.exercises}
    exercises = tuple(score_exercise(each.name, each.points, outcomes) for each, outcomes in points.items())
    said = [f"{each.test}: {each.details}" for outcomes in points.values() for each in outcomes if each.details]
    result = _result(paper, exercises, points, seconds)
    return Graded(result, paper.notebook, paper.program, (*said, *notes), judged)


def _result(
    paper: Paper,
    exercises: tuple[ExerciseResult, ...],
    points: Mapping[Exercise, tuple[Outcome, ...]],
    seconds: float,
) -> SubmissionResult:
    hanging = sum(held_back(exercise.points, outcomes) for exercise, outcomes in points.items())
    reasons = [*paper.program.review]
    if hanging:
        reasons.append(
            f"{hanging:g} points hang on tests that could not be judged through our fault; they are held back, not lost."
        )
    submission = paper.submission
    return SubmissionResult(
        student=submission.student,
        path=str(submission.path or ""),
        status="needs_review" if reasons else "graded",
        message=" ".join([*([submission.message] if submission.message else []), *reasons]),
        score=round(sum(exercise.score for exercise in exercises), 2),
        max_score=sum(exercise.max_score for exercise in exercises),
        seconds=round(seconds, 3),
        repairs=paper.program.repairs,
        exercises=exercises,
    )


def unreadable(submission: Submission, lesson: Lesson, message: str) -> Graded:
    """The result of a file that cannot be graded."""
    nothing = tuple(ExerciseResult(exercise.name, 0.0, exercise.points) for exercise in lesson.exercises)
    return Graded(
        SubmissionResult(
            student=submission.student,
            path=str(submission.path or ""),
            status="unreadable",
            message=message,
            max_score=lesson.max_score,
            exercises=nothing,
        )
    )


def held(submission: Submission, lesson: Lesson, why: str) -> Graded:
    """The result of a submission over which we broke: everything held back, nothing lost."""
    test = TestResult("the hidden suite", "not_judged", None, NOT_JUDGED)
    exercises = tuple(ExerciseResult(each.name, 0.0, each.points, (test,)) for each in lesson.exercises)
    return Graded(
        SubmissionResult(
            student=submission.student,
            path=str(submission.path or ""),
            status="needs_review",
            message=f"{lesson.max_score:g} points hang on tests that could not be judged through our fault: {why}",
            max_score=lesson.max_score,
            exercises=exercises,
        )
    )
