"""In Gradescope's container: one submission is graded, and results.json says so in Gradescope's words.

    /autograder/submission/, submission_metadata.json  ──►  the same box as everywhere  ──►  results/results.json

The container is one student's, but answers, hidden tests and the course's secret lie in it too. So student code runs in the
box here as well, and where the machine has none nothing is graded: no results.json, which Gradescope reports to the staff.
What is printed here only instructors see.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autograder.boxes import choose_box
from autograder.choosing import wanted_of
from autograder.collection import Submission, read_own
from autograder.course import Course, Lesson
from autograder.errors import AutograderError
from autograder.grader import Grader
from autograder.paper import Graded
from autograder.report import exercise_text
from autograder.results import ExerciseResult, SubmissionResult
from autograder.safetext import clean

DETAIL_LIMIT = 10_000  # characters of one detail that instructors see
BROKEN = 2


def grade_submission(root: Path) -> Path:
    """Grades what lies in `root`/submission; the path of results.json. Raises GraderError where we break."""
    settings = json.loads((root / "source" / "gradescope.json").read_text(encoding="utf-8"))
    course = Course(root / "source" / "course")
    lesson = course.lesson(settings["lesson"])
    with TemporaryDirectory() as scratch:
        submission = read_own(root / "submission", _student(root), wanted_of(course, lesson.name), Path(scratch))
        graded = _graded(course, lesson, submission)
    for detail in graded.details:
        print(clean(detail, DETAIL_LIMIT))
    path = root / "results" / "results.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(as_gradescope(graded.result, lesson, settings["visibility"]), indent=1), encoding="utf-8")
    return path


def _graded(course: Course, lesson: Lesson, submission: Submission) -> Graded:
    box = choose_box()
    print(f"{submission.student}: {lesson.name}, box: {box}")
    with Grader(course, lesson, box=box) as grader:
        return grader.grade(submission)


def _student(root: Path) -> str:
    """Whose submission it is: random inputs hang on it. A group is one student, called by the first of its addresses."""
    metadata = json.loads((root / "submission_metadata.json").read_text(encoding="utf-8"))
    emails = sorted(str(user["email"]) for user in metadata.get("users") or () if user.get("email"))
    return emails[0] if emails else str(metadata.get("id", "nobody"))


def as_gradescope(result: SubmissionResult, lesson: Lesson, visibility: str) -> dict[str, Any]:
    """results.json as Gradescope documents it: a test for each exercise, its hidden tests as that test's text.

    What was wrong with the file is always visible. Points hide with their tests, and with one hidden test the sum does.
    """
    tests = [_test(number, exercise, visibility) for number, exercise in enumerate(result.exercises, 1)]
    if result.status == "unreadable":
        tests = [_unreadable(result, lesson)]
    notes = [result.message, *result.repairs] if result.status != "unreadable" else []
    notes += [f"{each.grade_id} ({each.points:g} points) is read and marked by a person" for each in lesson.written]
    return {
        "output": clean("\n\n".join(note for note in notes if note)),
        "output_format": "text",
        "stdout_visibility": "hidden",
        "execution_time": round(result.seconds),
        "tests": tests,
    }


def _test(number: int, exercise: ExerciseResult, visibility: str) -> dict[str, Any]:
    return {
        "number": str(number),
        "name": exercise.name,
        "name_format": "text",
        "score": round(exercise.score, 4),
        "max_score": exercise.max_score,
        "status": "passed" if exercise.score >= exercise.max_score else "failed",
        "output": exercise_text(exercise),
        "output_format": "text",
        "visibility": visibility,
    }


def _unreadable(result: SubmissionResult, lesson: Lesson) -> dict[str, Any]:
    return {
        "number": "1",
        "name": "the notebook can be read",
        "score": 0.0,
        "max_score": lesson.max_score,
        "status": "failed",
        "output": clean(result.message),
        "output_format": "text",
        "visibility": "visible",
    }


def main() -> int:
    """Entry point of run_autograder: `python -m autograder.gradescope_run /autograder`."""
    try:
        print(f"wrote {grade_submission(Path(sys.argv[1]).resolve())}")
    except (AutograderError, OSError, ValueError, KeyError) as error:
        print(f"not graded, through our fault: {clean(str(error))}", file=sys.stderr)
        return BROKEN
    return 0


if __name__ == "__main__":
    sys.exit(main())
