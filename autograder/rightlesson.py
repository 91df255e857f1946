"""Is this notebook an answer to this lesson? Told by the exercises that it defines; grade ids count least.

Enters: what was found in a notebook. Leaves: nothing, or a SubmissionError that says what it is instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autograder.answers import Choice
from autograder.course import Lesson
from autograder.errors import SubmissionError
from autograder.notebook import Notebook
from autograder.statements import Pieces, defined_names
from autograder.textfile import ASK
from autograder.written import WrittenAnswer


def check_lesson(
    notebook: Notebook,
    lesson: Lesson,
    pieces: Pieces,
    choices: Mapping[str, Choice],
    written: Iterable[WrittenAnswer],
    others: Mapping[str, Iterable[str]],
) -> None:
    """Raises SubmissionError where another lesson explains the notebook better, or nothing of this one is in it."""
    bound = {name for piece in pieces.code for name in piece.binds}
    bound |= {name for chunk in pieces.broken for name in defined_names(chunk.source)}
    names = {exercise.name for exercise in lesson.exercises}
    found = names & bound | {name for name, choice in choices.items() if choice.graded}
    ids = {cell.grade_id for cell in notebook.cells if cell.grade_id}
    theirs = {other: bound & set(others[other]) - lesson.given for other in others if other != lesson.name}
    best = max(theirs, key=lambda other: len(theirs[other]), default="")
    if best and len(theirs[best]) > len(found):
        raise SubmissionError(
            f"{notebook.name} is a notebook of lesson {best}, not of {lesson.name}. Ask the student for the right one."
        )
    known = ids & {each for name in names for each in (name, f"check_{name}")}
    known |= ids & {each.grade_id for each in lesson.written}
    if len(ids - known) > len(known) and len(found) < len(names) / 2:
        raise SubmissionError(
            f"{notebook.name} is another lesson's notebook, not {lesson.name}. Ask the student for the right one."
        )
    if not found and not known and not any(answer.text for answer in written):
        raise SubmissionError(f"None of the exercises of {lesson.name} is in {notebook.name}. {ASK}")
