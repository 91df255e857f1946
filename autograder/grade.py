"""One submission's way, from a file to a grade.

    file ── notebook.py ── cells ── program.py ── what to run, what to grade ── paper.py
                                       │ rules.py: what is forbidden
    sandbox.py ── session.py ── student.py ── suite.py ── outcomes ── score.py ── SubmissionResult
                                                              │ diagnosis.py: which known wrong answer explains them

Enters: a submission and what was made ready once for the class. Leaves: `Graded`. Raises GraderError for our faults
only; a file that cannot be graded is a result with the status "unreadable".
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autograder.collection import Submission
from autograder.course import Exercise, Lesson
from autograder.diagnosis import Bank, Diagnosis
from autograder.errors import StudentError, SubmissionError
from autograder.fixtures import Case
from autograder.inputs import derive_seed
from autograder.keys import Known, one_by_one
from autograder.notebook import read_notebook
from autograder.outcome import Judged, Picture
from autograder.paper import Graded as Graded
from autograder.paper import Paper, graded, read_paper, unreadable
from autograder.picture import Gallery
from autograder.program import Program, slice_program
from autograder.reference import Reference
from autograder.rules import violations
from autograder.sandbox import Sandbox
from autograder.session import Session
from autograder.student import Student
from autograder.suite import Outcome, Suite
from autograder.telling import PATIENCE_S, Rehearsal
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
    gallery: Gallery | None = None


def grade(submission: Submission, workshop: Workshop) -> Graded:
    """Reads, runs and judges one submission."""
    started = time.monotonic()
    try:
        paper = read_paper(submission, workshop.lesson, workshop.others)
    except SubmissionError as error:
        return unreadable(submission, workshop.lesson, str(error))
    judged, notes = judge(paper, workshop)
    return graded(paper, workshop.lesson, judged, time.monotonic() - started, notes)


def judge(paper: Paper, workshop: Workshop, known: Known | None = None) -> tuple[dict[str, Judged], tuple[str, ...]]:
    """Runs and judges the exercises of a paper that are not known; what was seen beside the tests comes along."""
    cells = {cell.number: cell.source for cell in paper.notebook.cells}
    with workshop.sandbox.together(), _open_session(workshop, cells, paper.program) as session:
        case, diagnosis = _case(paper.submission.student, workshop, session), Diagnosis(workshop.suite, workshop.bank)

        def by_running(exercise: Exercise, judged: Mapping[str, Judged]) -> Judged:
            session.know_paid(frozenset(name for name, each in judged.items() if _forbidden(each.outcomes)))
            diagnosis.found = {name: each.idea for name, each in judged.items() if each.idea}
            outcomes = _judge(exercise, _wrong(judged, workshop), case, workshop, session, diagnosis)
            drawn = _picture(exercise, outcomes, _wrong(judged, workshop), workshop, session)
            return Judged(tuple(outcomes), diagnosis.found.get(exercise.name, ""), drawn)

        judged = one_by_one(paper, workshop.lesson, known, by_running)
    return judged, _notes(session)


@contextmanager
def _open_session(workshop: Workshop, cells: Mapping[int, str], program: Program) -> Iterator[Session]:
    names = tuple(exercise.name for exercise in workshop.lesson.exercises)
    session = Session(workshop.sandbox, program, names, vars(workshop.reference), cells)
    try:
        yield session
    finally:
        session.renew()


@contextmanager
def open_case(path: Path, student: str, workshop: Workshop) -> Iterator[Case]:
    """A submission ready for tests, without a grade: for running suites by hand. Raises SubmissionError."""
    notebook = read_notebook(path)
    cells = {cell.number: cell.source for cell in notebook.cells}
    with _open_session(workshop, cells, slice_program(notebook, workshop.lesson, workshop.others)) as session:
        yield _case(student, workshop, session)


def _case(student: str, workshop: Workshop, session: Session) -> Case:
    seed = partial(derive_seed, workshop.secret, student, workshop.lesson.name)
    return Case(Student(session, session.exercises), workshop.reference, seed)


def _wrong(judged: Mapping[str, Judged], workshop: Workshop) -> frozenset[str]:
    """The functions that were judged and found wrong: they shall cost no other exercise its points."""
    names = {name for name, each in judged.items() if each.is_wrong}
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

    There the reference stands in for the earlier exercises that are wrong, if this one calls them: a mistake costs
    once. What is told of it is rehearsed there.
    """
    suite, program = workshop.suite, session.program
    if broken := suite.broken(exercise.name):
        held = suite.outcomes(exercise.name, "not_judged", None, "the hidden suite is broken; it was not counted")
        return [replace(outcome, details=broken) for outcome in held]
    if found := violations(program.answers[exercise.name], program, workshop.lesson):
        return suite.outcomes(exercise.name, "failed", "forbidden", " ".join(found))
    try:
        session.prepare(exercise.name)
    except StudentError as error:  # it is not there, or the submission's time is over
        return suite.outcomes(exercise.name, "failed", error.cause, error.text)  # type: ignore[arg-type]
    outcomes = suite.run(exercise.name, case)
    if not _forbidden(outcomes) and any(outcome.verdict == "failed" and outcome.cause != "timeout" for outcome in outcomes):
        session.renew()
        session.replaced, watch = wrong, Watch()
        with Rehearsal(replace(case, watch=watch.student), session) as rehearsal:
            outcomes = _noted(suite.run(exercise.name, rehearsal.case), session)
        outcomes = diagnosis.explain(exercise.name, case, outcomes, watch)
        session.replaced = frozenset()
        session.renew()
    if forbidden := _forbidden(outcomes):
        return suite.outcomes(exercise.name, "failed", "forbidden", forbidden[0].message)
    return outcomes


def _picture(
    exercise: Exercise, outcomes: Sequence[Outcome], wrong: frozenset[str], workshop: Workshop, session: Session
) -> Picture | None:
    """What wrong values look like on a shown example, drawn by a child of its own, which has seen no hidden input."""
    if workshop.gallery is None or not any(outcome.cause == "wrong" for outcome in outcomes):
        return None
    session.replaced, apart = wrong, session.beside(PATIENCE_S)
    session.replaced = frozenset()
    try:
        return workshop.gallery.draw(exercise.name, Student(apart, apart.exercises))
    finally:
        apart.renew()


def _forbidden(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.cause == "forbidden"]


def _noted(outcomes: list[Outcome], session: Session) -> list[Outcome]:
    """Says in the tests that passed which exercises the reference stood in for."""
    names = ", ".join(name for name in session.asked() if name in session.replaced)
    note = f"with a right {names} in place of yours"
    passed = [outcome.verdict == "passed" and bool(names) for outcome in outcomes]
    return [replace(each, message=note) if noted else each for each, noted in zip(outcomes, passed, strict=True)]


def _notes(session: Session) -> tuple[str, ...]:
    printed = [f"printed: {text}" for text in session.printed if text.strip()]
    problems = [
        f"statement in cell {session.program.statements[n].cell}: {p.kind}: {p.text}"
        for n, p in session.problems.items()
    ]
    return (*problems, *printed)
