"""The class report: what it counts, as a page, a table and JSON, and after marks by hand."""

import csv
import io
import json
import re
import time
import tomllib
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from msgspec.structs import replace
from nbgrader import api

from autograder.class_page import class_page
from autograder.class_report import class_report, groups, to_csv
from autograder.commands import reporting
from autograder.errors import GraderError
from autograder.latest import FILE, Entry, Latest, keep_latest, read_latest
from autograder.outcome import Picture
from autograder.reports import is_current, write_reports
from autograder.results import ExerciseResult, Results, SubmissionResult, TestResult

LESSON = "attention_from_scratch"
IDEA = "Only differences count."


@pytest.fixture
def lesson(course):
    return course.lesson(LESSON)


def wrong(name="sums to one", idea=IDEA):
    return TestResult(name, "failed", "wrong", "wanted x\ngot y", idea)


def one(lesson, student, *tests, softmax=15.0, status="graded", **fields):
    """A result with `tests` in softmax and all else right."""
    exercises = tuple(
        ExerciseResult(each.name, softmax, 15.0, tests or (TestResult("sums to one", "passed"),))
        if each.name == "softmax"
        else ExerciseResult(each.name, each.points, each.points, (TestResult("fine", "passed"),))
        for each in lesson.exercises
    )
    score = sum(each.score for each in exercises)
    return SubmissionResult(
        student, fields.pop("path", "x.ipynb"), status, score=score, max_score=90.0, exercises=exercises, **fields
    )


def latest(*results):
    return Latest(LESSON, "cpu", "bubblewrap", {each.student: Entry(each) for each in results})


def test_misconceptions_are_counted_by_who_shows_them(lesson):
    """Once a student, however many tests show it; the most frequent first."""
    rare = "Another idea."
    report = class_report(
        lesson,
        latest(
            one(lesson, "ada", wrong(), wrong("another test"), softmax=5.0),
            one(lesson, "bela", wrong(), softmax=5.0),
            one(lesson, "chen", wrong(idea=rare), softmax=5.0),
            one(lesson, "dora"),
        ),
        [],
        [],
    )
    assert [(each.label, each.students) for each in report.ideas] == [(IDEA, ("ada", "bela")), (rare, ("chen",))]
    assert [(each.label, each.students, each.of) for each in report.tests] == [
        ("sums to one", ("ada", "bela", "chen"), 4),
        ("another test", ("ada",), 1),
    ]
    assert [(each.cause, each.students, each.tests) for each in report.causes] == [
        ("wrong result", ("ada", "bela", "chen"), 4)
    ]


def test_an_exercise_nobody_touched_makes_no_test_hard(lesson):
    """It says nothing of the test, though it is a cause."""
    report = class_report(lesson, latest(one(lesson, "ada", TestResult("t", "failed", "missing"), softmax=0.0)), [], [])
    assert report.tests == ()
    assert report.causes[0].cause == "not answered"


def test_everybody_is_somewhere(lesson):
    """Missing, unreadable, in review: each in its state, with no score where nothing was graded."""
    report = class_report(
        lesson,
        latest(
            one(lesson, "ada"),
            replace(one(lesson, "bela"), status="unreadable", message="cut off"),
            replace(one(lesson, "chen"), status="unreadable", message="handed in nothing", path=""),
            one(lesson, "dora", status="needs_review", message="two answers"),
        ),
        [],
        ["no notebook of: chen"],
    )
    assert [(row.student, row.state, row.score) for row in report.rows] == [
        ("ada", "graded", 90),
        ("bela", "unreadable", None),
        ("chen", "missing", None),
        ("dora", "needs_review", 90),
    ]
    assert groups(report)["missing"][1] == ("chen",)
    assert groups(report)["review"][1] == ("dora",)
    page = class_page(report)
    for said in ("two answers", "cut off", "no notebook of: chen"):
        assert said in page


def test_the_bins_hold_everybody_once(lesson, class_of):
    """Full marks and zero too."""
    report = class_report(lesson, class_of(120), [], [])
    binned = [student for each in report.bins for student in each.students]
    assert sorted(binned) == sorted(row.student for row in report.rows if row.score is not None)


def test_every_number_has_its_students(lesson, class_of):
    """Each link of the page names a group that is there, and the number shown is how many are in it."""
    page = class_page(class_report(lesson, class_of(60), [], []))
    known = json.loads(re.search(r'id="groups">(.*?)</script>', page, re.S)[1])
    links = re.findall(r'<a href="#who=([\w-]+)">(\d+)<', page)
    assert len(links) > 20
    assert all(len(known[key]["who"]) == int(number) for key, number in links)


def test_a_students_name_cannot_speak(lesson):
    """Neither in the page, nor in the script's data, nor to a spreadsheet."""
    evil = "</script><script>alert(1)</script>"
    report = class_report(lesson, latest(one(lesson, evil, wrong(evil, evil), message=evil), one(lesson, "=1+1")), [], [])
    page = class_page(report)
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    rows = list(csv.reader(io.StringIO(to_csv(report))))
    assert "'=1+1" in [row[0] for row in rows]


def test_the_table_has_a_row_a_student(lesson, class_of):
    """The same marks as the page."""
    report = class_report(lesson, class_of(30), [], [])
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [row["student"] for row in rows] == [row.student for row in report.rows]
    assert next(row["score"] for row in rows if row["state"] == "graded") == str(report.rows[0].score)


def test_three_hundred_students_fit_into_three_megabytes(lesson, class_of):
    """And counting and writing them takes each of them about as long as each of thirty."""
    few, many = class_of(30), class_of(300)

    def made(students):
        started = time.process_time()
        page = class_page(class_report(lesson, students, [], []))
        return page, time.process_time() - started

    made(few)
    page, seconds = made(many)
    assert len(page.encode()) < 3_000_000
    assert seconds < 3 * 10 * min(made(few)[1] for _ in range(3))


# --- the class across runs


def test_a_later_run_replaces_only_its_students(lesson, tmp_path):
    """An appeal regraded alone leaves the others in the report."""
    picture = Picture("t", ("a",), ("b",), (((1.0,),),), (((None,),),))
    first = Results(LESSON, "cpu", "bubblewrap", (one(lesson, "ada", wrong(), softmax=5.0), one(lesson, "bela")))
    assert keep_latest(tmp_path, first, {"ada": {"softmax": picture}})
    assert read_latest(tmp_path).entries["ada"].pictures == {"softmax": picture}
    assert not keep_latest(tmp_path, first, {"ada": {"softmax": picture}})
    assert keep_latest(tmp_path, Results(LESSON, "cpu", "bubblewrap", (one(lesson, "ada"),)), {})
    entries = read_latest(tmp_path).entries
    assert {name: entry.result.score for name, entry in entries.items()} == {"ada": 90, "bela": 90}
    assert entries["ada"].pictures == {}


def test_a_broken_class_file_is_named(course, lesson):
    """With what to do."""
    folder = course.state / LESSON
    folder.mkdir(parents=True)
    (folder / FILE).write_text("{")
    with pytest.raises(GraderError, match=r"class\.json cannot be read .* grade the class again"):
        write_reports(course, LESSON)


def test_a_report_before_the_first_run_says_so(course):
    """Ours to say, nobody's fault."""
    with pytest.raises(GraderError, match="run `autograder grade` first"):
        reporting.report(LESSON)


def test_marks_by_hand_are_in_report_and_feedback(course, lesson, recorded, capsys):
    """90 by tests and 8.5 given in formgrader: 98.5, in the page, the table, JSON and the student's feedback."""
    recorded("ada")
    folder = course.state / LESSON
    folder.mkdir(parents=True)
    keep_latest(folder, Results(LESSON, "cpu", "bubblewrap", (one(lesson, "ada"),)), {})
    waiting = write_reports(course, LESSON)
    assert waiting.report.rows[0].waits == ("why_scale",)
    assert is_current(course, LESSON)
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        grade = book.find_grade("why_scale", LESSON, LESSON, "ada")
        grade.manual_score, grade.needs_manual_grade = 8.5, False
        book.db.commit()
    assert not is_current(course, LESSON)

    assert reporting.report(LESSON) == 0

    assert "report.html" in capsys.readouterr().err
    made = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert (made["rows"][0]["score"], made["rows"][0]["waits"]) == (98.5, [])
    assert "98.5" in (folder / "report.csv").read_text(encoding="utf-8")
    assert "98.5" in (folder / "report.html").read_text(encoding="utf-8")
    for ending in ("html", "txt"):
        assert "98.5" in (folder / "feedback" / f"ada.{ending}").read_text(encoding="utf-8")


def test_templates_are_in_the_package():
    """A wheel holds what a report is made of: package data are the templates folder, and it has these."""
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["package-data"]["autograder"] == ["templates/**"]
    for name in ("feedback.html", "page.css", "report.html", "report.css", "report.js"):
        assert files("autograder").joinpath("templates", name).is_file()
