"""One submission's way, from a file to a grade.

    file ── notebook.py ── cells ── program.py ── what to run, what to grade
                                       │ rules.py: what is forbidden
    sandbox.py ── session.py ── student.py ── suite.py ── outcomes ── score.py ── SubmissionResult
                                                              │ diagnosis.py: which known wrong answer explains them

Enters: a submission and what was made ready once for the class. Leaves: `Graded`. Raises GraderError for our faults
only; a file that cannot be graded is a result with the status "unreadable".
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autograder.collection import Submission
from autograder.course import Exercise, Lesson
from autograder.diagnosis import Bank, Diagnosis
from autograder.errors import StudentMissing, SubmissionError
from autograder.inputs import derive_seed
from autograder.notebook import Notebook, read_notebook
from autograder.program import Program, slice_program
from autograder.reference import Reference
from autograder.results import ExerciseResult, SubmissionResult
from autograder.rules import violations
from autograder.sandbox import Sandbox
from autograder.score import held_back, score_exercise
from autograder.session import Session
from autograder.student import Student
from autograder.suite import Case, Outcome, Suite
from autograder.watching import Watch


@dataclass(frozen=True)
class Workshop:
    """What is made ready once and used for every submission of a lesson."""

    lesson: Lesson
    suite: Suite
    sandbox: Sandbox
    reference: Reference
    secret: bytes
    bank: Bank
    others: Mapping[str, tuple[str, ...]]  # other lessons -> their exercises


@dataclass(frozen=True)
class Graded:
    """A submission's result, and what it was made from where the file could be read."""

    result: SubmissionResult
    notebook: Notebook | None = None
    program: Program | None = None
    details: tuple[str, ...] = ()  # for the instructor: what student code said, why tests were not judged


def grade(submission: Submission, workshop: Workshop) -> Graded:
    """Reads, runs and judges one submission."""
    started = time.monotonic()
    lesson = workshop.lesson
    try:
        if submission.path is None:
            raise SubmissionError(submission.message)
        notebook = read_notebook(submission.path)
        program = slice_program(notebook, lesson, workshop.others)
    except SubmissionError as error:
        return Graded(_unreadable(submission, lesson, str(error)))
    with _open_session(workshop, notebook, program) as session:
        case, diagnosis = _case(submission.student, workshop, session), Diagnosis(workshop.suite, workshop.bank)
        judged: dict[Exercise, list[Outcome]] = {}
        for each in lesson.exercises:
            judged[each] = _judge(each, _wrong(judged, workshop), case, workshop, session, diagnosis)
    exercises = tuple(score_exercise(each.name, each.points, outcomes) for each, outcomes in judged.items())
    result = _result(submission, program, exercises, judged, time.monotonic() - started)
    return Graded(result, notebook, program, _details(judged, session))


@contextmanager
def _open_session(workshop: Workshop, notebook: Notebook, program: Program) -> Iterator[Session]:
    names = tuple(exercise.name for exercise in workshop.lesson.exercises)
    cells = {cell.number: cell.source for cell in notebook.cells}
    session = Session(workshop.sandbox, program, names, vars(workshop.reference), cells)
    try:
        yield session
    finally:
        session.renew()


@contextmanager
def open_case(path: Path, student: str, workshop: Workshop) -> Iterator[Case]:
    """A submission ready for tests, without a grade: for running suites by hand. Raises SubmissionError."""
    notebook = read_notebook(path)
    with _open_session(workshop, notebook, slice_program(notebook, workshop.lesson, workshop.others)) as session:
        yield _case(student, workshop, session)


def _case(student: str, workshop: Workshop, session: Session) -> Case:
    seed = partial(derive_seed, workshop.secret, student, workshop.lesson.name)
    return Case(Student(session, session.exercises), workshop.reference, seed)


def _wrong(judged: Mapping[Exercise, list[Outcome]], workshop: Workshop) -> frozenset[str]:
    """The functions that were judged and found wrong: they shall cost no other exercise its points."""
    names = {each.name for each, outcomes in judged.items() if any(outcome.verdict == "failed" for outcome in outcomes)}
    return frozenset(name for name in names if not isinstance(getattr(workshop.reference, name), type))


def _judge(
    exercise: Exercise,
    wrong: frozenset[str],
    case: Case,
    workshop: Workshop,
    session: Session,
    diagnosis: Diagnosis,
) -> list[Outcome]:
    """The outcomes of an exercise; one that fails is run once more in a fresh fork, and that verdict counts.

    There the reference stands in for the earlier exercises that are wrong, if this one calls them: a mistake costs once.
    """
    suite, program = workshop.suite, session.program
    if broken := suite.broken(exercise.name):
        held = suite.outcomes(exercise.name, "not_judged", None, "the hidden suite is broken; it was not counted")
        return [replace(outcome, details=broken) for outcome in held]
    if found := violations(program.answers[exercise.name], program, workshop.lesson):
        return suite.outcomes(exercise.name, "failed", "forbidden", " ".join(found))
    try:
        session.prepare(exercise.name)
    except StudentMissing as error:
        return suite.outcomes(exercise.name, "failed", "missing", error.text)
    outcomes, watch = suite.run(exercise.name, case), Watch()
    if any(outcome.verdict == "failed" and outcome.cause != "timeout" for outcome in outcomes):
        session.renew()
        session.replaced = wrong
        outcomes = _noted(suite.run(exercise.name, replace(case, watch=watch.student)), session)
        session.replaced = frozenset()
        session.renew()
    if forbidden := next((outcome for outcome in outcomes if outcome.cause == "forbidden"), None):
        return suite.outcomes(exercise.name, "failed", "forbidden", forbidden.message)
    return diagnosis.explain(exercise.name, case, outcomes, watch)


def _noted(outcomes: list[Outcome], session: Session) -> list[Outcome]:
    """Says in the tests that passed which exercises the reference stood in for."""
    names = ", ".join(name for name in session.asked() if name in session.replaced)
    note = f"with a right {names} in place of yours"
    passed = [outcome.verdict == "passed" and bool(names) for outcome in outcomes]
    return [replace(each, message=note) if noted else each for each, noted in zip(outcomes, passed, strict=True)]


def _result(
    submission: Submission,
    program: Program,
    exercises: tuple[ExerciseResult, ...],
    judged: Mapping[Exercise, list[Outcome]],
    seconds: float,
) -> SubmissionResult:
    hanging = sum(held_back(exercise.points, outcomes) for exercise, outcomes in judged.items())
    reasons = [*program.review]
    if hanging:
        reasons.append(
            f"{hanging:g} points hang on tests that could not be judged through our fault; they are held back, not lost."
        )
    return SubmissionResult(
        student=submission.student,
        path=str(submission.path or ""),
        status="needs_review" if reasons else "graded",
        message=" ".join([*([submission.message] if submission.message else []), *reasons]),
        score=round(sum(exercise.score for exercise in exercises), 2),
        max_score=sum(exercise.max_score for exercise in exercises),
        seconds=round(seconds, 3),
        repairs=program.repairs,
        exercises=exercises,
    )


def _unreadable(submission: Submission, lesson: Lesson, message: str) -> SubmissionResult:
    nothing = tuple(ExerciseResult(exercise.name, 0.0, exercise.points) for exercise in lesson.exercises)
    return SubmissionResult(
        student=submission.student,
        path=str(submission.path or ""),
        status="unreadable",
        message=message,
        max_score=lesson.max_score,
        exercises=nothing,
    )


def _details(judged: Mapping[Exercise, list[Outcome]], session: Session) -> tuple[str, ...]:
    said = [f"{each.test}: {each.details}" for outcomes in judged.values() for each in outcomes if each.details]
    printed = [f"printed: {text}" for text in session.printed if text.strip()]
    problems = [
        f"statement in cell {session.program.statements[n].cell}: {p.kind}: {p.text}"
        for n, p in session.problems.items()
    ]
    return (*said, *problems, *printed)
