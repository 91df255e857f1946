"""It stays an ordinary nbgrader course: nbgrader's own commands run on it, and give the engine's marks."""

import csv
import json
import re
import shutil
from contextlib import closing
from types import SimpleNamespace

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter
from nbgrader import api
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory

from autograder import nbgrader_hook
from autograder.canonical import canonical
from autograder.database import course_directory
from autograder.errors import GraderError
from autograder.notebook import read_notebook
from autograder.program import slice_program
from autograder.results import ExerciseResult, SubmissionResult, TestResult

LESSON = "attention_from_scratch"

# nbgrader 0.9 builds a submission's rows before it adds them, of which SQLAlchemy 2 warns.
pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted:sqlalchemy.exc.SAWarning")


def scores(course):
    """What the gradebook holds: {student: {exercise: auto_score}}."""
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        submissions = book.notebook_submissions(LESSON, LESSON)
        return {one.student.id: {grade.name: grade.auto_score for grade in one.grades} for one in submissions}


@pytest.fixture(scope="module")
def regraded(graded_course, tmp_path_factory, python_in):
    """The graded class again, in a fresh course, by nbgrader's commands alone."""
    root = tmp_path_factory.mktemp("nbgrader") / "course"
    made = shutil.ignore_patterns("gradebook.db", "autograded")
    shutil.copytree(graded_course.course.root, root, symlinks=True, ignore=made)
    course = type(graded_course.course)(root)
    done = {
        "autograde": python_in(course, "-m", "nbgrader", "autograde", LESSON),
        "feedback": python_in(course, "-m", "nbgrader", "generate_feedback", LESSON),
        "export": python_in(course, "-m", "nbgrader", "export"),
    }
    return SimpleNamespace(course=course, done=done)


def test_autograde_gives_the_engines_marks(graded_course, regraded):
    """The same scores in results.json, in the engine's gradebook and in nbgrader's."""
    submissions = json.loads(graded_course.command.stdout)["submissions"]
    ours = {one["student"]: {each["name"]: each["score"] for each in one["exercises"]} for one in submissions}
    by_engine, by_nbgrader = scores(graded_course.course), scores(regraded.course)
    for student in ("ada", "bela"):
        assert by_nbgrader[student] == by_engine[student]
        assert {name: by_nbgrader[student][name] for name in ours[student]} == ours[student]


def test_the_model_gets_all_and_the_release_nothing(regraded):
    """Full marks for the reference, exactly 0 for the untouched release."""
    marks = scores(regraded.course)
    assert sum(mark for mark in marks["ada"].values() if mark is not None) == 90
    assert sum(marks["bela"].values()) == 0


def test_a_written_answer_waits_for_manual_grading(regraded):
    """why_scale has no score until a person gives one; untouched it needs nobody."""
    marks = scores(regraded.course)
    assert marks["ada"]["why_scale"] is None
    assert marks["bela"]["why_scale"] == 0


def test_a_file_that_is_no_notebook_stops_nobody_else(regraded):
    """nbgrader names the student, says what the file is, and graded the others."""
    log = regraded.done["autograde"].stderr
    assert "'attention_from_scratch' for student 'eve'" in log
    assert "ends in the middle" in log
    assert "for student 'ada'" not in log


def test_feedback_and_export_go_on_from_there(regraded):
    """generate_feedback shows each test; export lists the class."""
    page = (regraded.course.root / "feedback" / "bela" / LESSON / f"{LESSON}.html").read_text(encoding="utf-8")
    assert "0 of 15 points" in page
    with (regraded.course.root / "grades.csv").open() as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert float(rows["ada"]["score"]) == 90


def test_feedback_works_after_autograder_grade(graded_course, python_in):
    """What the engine wrote to autograded/ is what nbgrader takes."""
    done = python_in(graded_course.course, "-m", "nbgrader", "generate_feedback", LESSON, "--student=ada")
    assert done.returncode == 0, done.stderr
    page = graded_course.course.root / "feedback" / "ada" / LESSON / f"{LESSON}.html"
    assert "15 of 15 points" in page.read_text(encoding="utf-8")


@pytest.fixture
def converter(course, empty_gradebook):
    """nbgrader's Autograde in this process, with a stand-in for the warm grader."""
    shutil.copy(empty_gradebook, course.root)
    config = course_directory(course).config
    converter = Autograde(coursedir=CourseDirectory(root=str(course.root), config=config), config=config)
    converter.coursedir.assignment_id = LESSON
    return converter


@pytest.fixture
def grade_by(monkeypatch, course):
    """Lets a function of (student, exercises) stand for the engine."""

    def stand_in(judge):
        lesson = course.lesson(LESSON)

        def grade(self, resources):
            path = self._submitted(resources)
            notebook = read_notebook(path)
            result = judge(resources["nbgrader"]["student"], lesson.exercises)
            return SimpleNamespace(result=result, notebook=notebook, program=slice_program(notebook, lesson), judged={})

        monkeypatch.setattr(nbgrader_hook.EngineExporter, "grade", grade)

    return stand_in


def half_marks(student, exercises):
    test = TestResult("rows sum to one", "failed", "wrong", "hint: <b>look</b>")
    judged = tuple(ExerciseResult(one.name, one.points / 2, one.points, (test,)) for one in exercises)
    return SubmissionResult(student, "", "graded", score=45, max_score=90, exercises=judged)


def test_partial_credit_and_feedback_arrive(converter, grade_by, hand_in, filled, course):
    """A fraction in the gradebook, the tests under the exercise, and nbgrader's marks where the answer is."""
    grade_by(half_marks)
    hand_in("ada", filled(softmax="def softmax(x, dim=-1):\n    return x"))
    converter.start()
    assert scores(course)["ada"]["softmax"] == 7.5
    notebook = nbformat.read(course.root / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb", as_version=4)
    cell = next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "softmax")
    assert "&lt;b&gt;look" in cell.outputs[0].data["text/html"]


def test_duplicated_and_lost_metadata_do_not_stop_nbgrader(converter, grade_by, hand_in, filled, course):
    """nbgrader alone would abort on the first and find nothing in the second."""
    grade_by(half_marks)
    twice, lost = filled(), filled()
    twice["cells"] += [cell | {"id": f"{cell['id']}-2"} for cell in twice["cells"]]
    for cell in lost["cells"]:
        cell["metadata"] = {}
    hand_in("twice", twice)
    hand_in("lost", lost)
    converter.start()
    assert scores(course)["twice"]["softmax"] == scores(course)["lost"]["softmax"] == 7.5


def test_regrading_keeps_manual_marks(converter, grade_by, hand_in, filled, course):
    """The score of a person outlives the engine's next one."""
    grade_by(half_marks)
    hand_in("ada", filled(why_scale="Because."))
    converter.start()
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        book.find_grade("why_scale", LESSON, LESSON, "ada").manual_score = 8
        book.db.commit()
    converter.force = True
    converter.start()
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        assert book.find_grade("why_scale", LESSON, LESSON, "ada").score == 8


def test_an_engine_that_cannot_read_leaves_the_earlier_mark(converter, grade_by, hand_in, filled, course):
    """nbgrader reports the student; the gradebook stays as it was."""
    grade_by(half_marks)
    hand_in("ada", filled())
    converter.start()
    grade_by(lambda student, _: SubmissionResult(student, "", "unreadable", "the box says no"))
    converter.force = True
    with pytest.raises(Exception, match="errors on the above failures"):
        converter.start()
    assert scores(course)["ada"]["softmax"] == 7.5


def test_an_unreadable_file_has_a_clear_line_in_the_log(converter, grade_by, hand_in, caplog):
    """The line says what the file is and what to ask for, before nbgrader's own traceback."""
    grade_by(half_marks)
    hand_in("eve", "<html>please log in</html>")
    converter.log.disabled = False  # logging set up by another program in this process switches loggers off
    converter.log.addHandler(caplog.handler)
    try:
        with pytest.raises(Exception, match="errors on the above failures"):
            converter.start()
    finally:
        converter.log.removeHandler(caplog.handler)
    assert any("earlier marks stay" in line and "web page" in line for line in caplog.messages)


def test_the_grader_is_made_once_and_ended_with_the_run(monkeypatch, converter, hand_in, filled):
    """One warm box serves all students of a lesson."""
    life = []

    class Grader:
        def __init__(self, course, lesson, *, device, box):
            life.append(("made", device, box))
            self.exercises = lesson.exercises

        def __enter__(self):
            return self

        def __exit__(self, *_):
            life.append("ended")

        def grade(self, submission):
            life.append(submission.student)
            return SimpleNamespace(result=half_marks(submission.student, self.exercises), judged={})

    monkeypatch.setattr("autograder.grader.Grader", Grader)
    monkeypatch.setattr(nbgrader_hook, "choose_box", lambda wanted: "landlock")
    hand_in("ada", filled())
    hand_in("bela", filled())
    converter.start()
    assert life == [("made", "cpu", "landlock"), "ada", "bela"]
    converter.exporter.close()
    assert life[-1] == "ended"


def test_a_students_text_runs_no_script_in_formgrader(course, hand_in, filled):
    """Whoever marks is logged in there; formulas, hints and links still work."""
    evil = (
        "<script>evil()</script>\n\n<img src=x onerror=evil()>\n\n[link](javascript:evil()) $a < b$ **bold**"
        "\n\n[site](https://example.org)\n\n<details><summary>Hint</summary>text</details>"
    )
    submitted = filled(why_scale=evil)
    submitted["cells"].append({"cell_type": "raw", "id": "raw", "metadata": {}, "source": "<script>evil()</script>"})
    notebook = read_notebook(hand_in("eve", submitted))
    release = nbformat.read(course.release(LESSON), as_version=4)
    rebuilt = canonical(release, notebook, slice_program(notebook, course.lesson(LESSON)))
    page, _ = HTMLExporter(config=course_directory(course).config).from_notebook_node(rebuilt)
    assert "<script>evil" not in page
    assert not re.search(r"<[^>&]*onerror", page)
    assert 'href="javascript' not in page
    for kept in ("a &lt; b", "<strong>bold</strong>", "<summary>Hint</summary>", 'href="https://example.org"'):
        assert kept in page


def test_a_lesson_that_is_not_ours_is_left_to_nbgrader(course):
    """An assignment without a solution script is nobody's business of the hook."""
    nbgrader_hook.ensure_assignment(assignment="homework 7", student="ada", notebooks=[])
    assert not (course.root / "gradebook.db").exists()


def test_the_hook_needs_a_course(tmp_path, monkeypatch):
    """Away from a course the message says so."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GraderError, match="is not in a course"):
        nbgrader_hook.ensure_assignment(assignment=LESSON)

