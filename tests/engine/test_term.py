"""A whole term by the commands that an instructor types; after each step, each mark is where it should be."""

import csv
import io
from importlib import util
from pathlib import Path

import pytest

spec = util.spec_from_file_location("term", Path(__file__).with_name("term.py"))
term = util.module_from_spec(spec)
spec.loader.exec_module(term)

ADA, BELA, CHEN = term.ADA, term.BELA, term.CHEN


def scores(course, *students):
    found = term.marks(course)
    return [found[student]["score"] for student in students]


@pytest.mark.slow
def test_a_term(tmp_path):
    """New course, publish, Canvas zip, grades, written answers, feedback, an appeal, and the marks back in Canvas."""
    course, students = term.prepare(tmp_path)
    published = (students / "release" / term.LESSON / f"{term.LESSON}.ipynb").read_text(encoding="utf-8")
    assert "raise NotImplementedError" in published

    collected = term.collect(course, term.canvas_zip(students, tmp_path / "submissions.zip", term.UPLOADS, term.CUT_OFF))
    assert sorted(path.name for path in (course / "submitted").iterdir()) == sorted([ADA, BELA, CHEN, "noetheremmy"])
    assert "doradoe" in collected.stderr or "Dora" in collected.stderr  # she is on the roster, and nobody disappears

    graded = term.grade(course)
    assert graded.returncode == 1, graded.stderr  # one file is cut off, one student handed in nothing
    standing = term.marks(course)
    assert (standing[ADA]["score"], standing[ADA]["waits_for_a_person"]) == (90, [term.WRITTEN])
    first = standing[CHEN]["score"]
    assert 45 < first < 90  # one test of the exercise fails
    assert standing[BELA]["score"] < 45
    assert {name for name, each in standing.items() if each["score"] is None} == {"Dora, Doe", "Noether, Emmy"}

    for student, points in {ADA: 9.5, BELA: 6, CHEN: 7}.items():
        term.mark(course, student, points)
    assert scores(course, ADA, CHEN) == [99.5, first + 7]
    reported = term.report(course)
    assert (reported[ADA], reported[CHEN]) == (99.5, first + 7)
    assert "99.5" in (course / ".autograder" / term.LESSON / "feedback" / f"{ADA}.txt").read_text(encoding="utf-8")

    feedback = term.nbgrader(course, "generate_feedback", term.LESSON)
    assert feedback.returncode == 0, feedback.stderr
    page = (course / "feedback" / CHEN / term.LESSON / f"{term.LESSON}.html").read_text(encoding="utf-8")
    assert "the arguments are not modified" in page
    assert "BEGIN SOLUTION" not in page

    # Two appeals: Béla handed in a draft, and Chen says that a hidden test asks for what the lesson does not.
    term.collect(course, term.canvas_zip(students, tmp_path / "again.zip", term.AGAIN), "--replace")
    term.take_back_a_test(course, "test_arguments_stay_as_they_are")
    refused = term.grade(course)
    assert refused.returncode == 2  # Chen's mark would change under unchanged code: nobody has agreed to it
    assert scores(course, CHEN) == [first + 7]
    assert term.grade(course, "--yes").returncode == 1

    standing = term.marks(course)
    assert [standing[each]["score"] for each in (ADA, BELA, CHEN)] == [99.5, 96, 97]
    waits = {name for name, each in standing.items() if each.get("waits_for_a_person")}
    assert waits == set()  # the written answers are those that were marked: nobody has to read them again
    assert canvas(course) == {"101": "99.5", "102": "96", "103": "97"}
    assert [term.report(course)[each] for each in (ADA, BELA, CHEN)] == [99.5, 96, 97]


def canvas(course):
    """The marks by Canvas's number, in the file that goes back to it; the roster that it wrote is the template."""
    done = term.autograder(course, "export", term.LESSON, "--to", "canvas")
    assert done.returncode == 0, done.stderr
    header, possible, *rows = csv.reader(io.StringIO(done.stdout))
    assert (header[-1], possible[-1]) == ("My lesson (77)", "100.00")
    return {row[1]: row[-1] for row in rows}
