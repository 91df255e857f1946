"""Marks in nbgrader's gradebook: fractions arrive, people's marks stay, what was not read changes nothing."""

import resource
import shutil
from contextlib import closing
from types import SimpleNamespace

import nbformat
import pytest
from nbgrader import api

from autograder import gradebook
from autograder.errors import GraderError
from autograder.notebook import read_notebook
from autograder.program import slice_program
from autograder.results import ExerciseResult, SubmissionResult, TestResult

LESSON = "attention_from_scratch"
WRITTEN = "The variance of a dot product grows with d_k."


@pytest.fixture
def lesson(course, empty_gradebook):
    shutil.copy(empty_gradebook, course.root)
    return course.lesson(LESSON)


@pytest.fixture
def graded(lesson, filled, hand_in, model_answers):
    """What the engine says of a student, without the engine: graded("ada", softmax=7.5)."""

    def make(student="ada", status="graded", message="", unjudged=(), text=WRITTEN, **scores):
        path = hand_in(student, filled(**model_answers, **({"why_scale": text} if text else {})))
        notebook = read_notebook(path)
        exercises = tuple(
            ExerciseResult(one.name, scores.get(one.name, one.points), one.points, (test(one.name in unjudged),))
            for one in lesson.exercises
        )
        score = sum(one.score for one in exercises)
        result = SubmissionResult(student, str(path), status, message, score, lesson.max_score, exercises=exercises)
        return SimpleNamespace(result=result, notebook=notebook, program=slice_program(notebook, lesson), judged={})

    return make


def test(unjudged):
    return TestResult("rows sum to one", "not_judged" if unjudged else "passed")


test.__test__ = False


@pytest.fixture
def record(course, lesson):
    """Opens the gradebook, records one submission after the other, closes it."""

    def run(*submissions):
        with gradebook.open_marks(course, lesson) as marks:
            for submission in submissions:
                marks.record(submission)

    return run


@pytest.fixture
def grades(course):
    """A student's grades by exercise, read as nbgrader reads them."""

    def read(student="ada"):
        with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
            submitted = book.find_submission_notebook(LESSON, LESSON, student)
            return {grade.name: grade.to_dict() | {"score": grade.score} for grade in submitted.grades}

    return read


@pytest.fixture
def by_hand(course):
    """What a teaching assistant does in formgrader: by_hand("softmax", manual_score=3)."""

    def change(name, student="ada", **fields):
        with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
            grade = book.find_grade(name, LESSON, LESSON, student)
            for field, value in fields.items():
                setattr(grade, field, value)
            book.db.commit()

    return change


def test_partial_credit_arrives_as_a_fraction(record, graded, grades):
    """7.5 of 15 points is 7.5 in the gradebook, and nobody has to look."""
    record(graded(softmax=7.5))
    assert grades()["softmax"]["auto_score"] == 7.5
    assert not grades()["softmax"]["needs_manual_grade"]


def test_a_written_answer_waits_for_a_person(record, graded, grades):
    """It has no score of ours and is listed for manual grading."""
    record(graded())
    assert grades()["why_scale"]["auto_score"] is None
    assert grades()["why_scale"]["needs_manual_grade"]


def test_an_untouched_written_answer_is_zero_and_needs_nobody(record, graded, grades):
    """As nbgrader does it, by the checksum of the released cell."""
    record(graded(text=None))
    assert grades()["why_scale"]["auto_score"] == 0
    assert not grades()["why_scale"]["needs_manual_grade"]


def test_the_assignment_is_made_from_the_source(record, graded, course):
    """Points, kinds and released text are what generate_assignment would have stored."""
    record(graded())
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        notebook = book.find_notebook(LESSON, LESSON)
        assert sum(cell.max_score for cell in notebook.grade_cells) == 100
        assert "raise NotImplementedError" in book.find_source_cell("softmax", LESSON, LESSON).source


def test_regrading_keeps_what_people_gave(record, graded, grades, by_hand):
    """Manual marks and extra credit stay; the mark asks to be looked at again, as nbgrader has it."""
    record(graded(softmax=7.5))
    by_hand("why_scale", manual_score=8, needs_manual_grade=False)
    by_hand("softmax", manual_score=12, extra_credit=1.5)
    record(graded(softmax=15))
    after = grades()
    assert (after["why_scale"]["manual_score"], after["why_scale"]["score"]) == (8, 8)
    assert (after["softmax"]["auto_score"], after["softmax"]["score"]) == (15, 13.5)
    assert after["softmax"]["needs_manual_grade"]


def test_an_unreadable_submission_leaves_the_earlier_mark(record, graded, grades, course):
    """A corrupt second upload costs nothing that was earned, and its notebook stays."""
    record(graded(softmax=7.5))
    result = SubmissionResult("ada", "x.ipynb", "unreadable", "x.ipynb is cut off")
    record(SimpleNamespace(result=result, notebook=None, program=None, judged={}))
    assert grades()["softmax"]["auto_score"] == 7.5
    assert (course.root / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb").exists()


def test_an_unreadable_first_submission_gets_no_zero(record, course):
    """Without a mark there is none: the student is not in the gradebook with 0 points."""
    record(SimpleNamespace(result=SubmissionResult("eve", "x.ipynb", "unreadable"), notebook=None, program=None, judged={}))
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book, pytest.raises(api.MissingEntry):
        book.find_submission(LESSON, "eve")


def test_review_marks_the_exercises_that_the_message_names(record, graded, grades):
    """A person is sent to softmax, not through the whole notebook."""
    record(graded(status="needs_review", message="softmax has two different answers (cells 4 and 9)"))
    waiting = {name for name, grade in grades().items() if grade["needs_manual_grade"]}
    assert waiting == {"softmax", "why_scale"}


def test_review_without_a_name_marks_all_exercises(record, graded, grades):
    """Where the message names none, a person looks at each."""
    record(graded(status="needs_review", message="two notebooks were handed in"))
    assert all(grade["needs_manual_grade"] for grade in grades().values())


def test_what_was_not_judged_keeps_its_earlier_score(record, graded, grades):
    """Our failure is nobody's zero."""
    record(graded(softmax=7.5))
    message = "softmax could not be judged: 15 points are held back"
    record(graded(status="needs_review", message=message, unjudged=("softmax",), softmax=0))
    assert grades()["softmax"]["auto_score"] == 7.5
    assert grades()["softmax"]["needs_manual_grade"]


def test_what_was_never_judged_has_no_score(record, graded, grades):
    """It waits for a person instead of being a zero."""
    record(graded(status="needs_review", message="softmax: no verdict", unjudged=("softmax",), softmax=0))
    assert grades()["softmax"]["auto_score"] is None
    assert grades()["softmax"]["needs_manual_grade"]


def test_the_autograded_notebook_lies_where_nbgrader_looks(record, graded, course):
    """Feedback and formgrader open it; it is read-only, and written again by the next run."""
    record(graded(), graded())
    path = course.root / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_mode & 0o777 == 0o444
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("rows sum to one" in output.data["text/plain"] for output in outputs)


def test_a_time_stamp_is_recorded_and_goes_along(record, graded, hand_in, course):
    """nbgrader tells late and newer submissions by it."""
    late = graded()
    (course.root / "submitted" / "ada" / LESSON / "timestamp.txt").write_text("2026-02-03 04:05:06 UTC")
    record(late)
    assert (course.root / "autograded" / "ada" / LESSON / "timestamp.txt").exists()
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        assert book.find_submission(LESSON, "ada").timestamp.isoformat() == "2026-02-03T04:05:06"


def test_a_late_penalty_of_the_course_is_kept(record, graded, course, lesson):
    """The course's late plugin speaks here as it does in nbgrader."""
    (course.root / "nbgrader_config.py").unlink()
    (course.root / "nbgrader_config.py").write_text("get_config().LateSubmissionPlugin.penalty_method = 'zero'\n")
    record(graded())
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        book.update_or_create_assignment(LESSON, duedate="2026-01-01 00:00:00 UTC")
    (course.root / "submitted" / "ada" / LESSON / "timestamp.txt").write_text("2026-02-03 04:05:06 UTC")
    record(graded())
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        assert book.find_submission(LESSON, "ada").late_submission_penalty == lesson.max_score


def test_changed_points_reach_the_gradebook(record, graded, course):
    """A lesson that was built anew with other points is stored anew."""
    record(graded())
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        book.find_grade_cell("softmax", LESSON, LESSON).max_score = 99
        book.db.commit()
    record()
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        assert book.find_grade_cell("softmax", LESSON, LESSON).max_score == 15


def test_a_lesson_whose_cells_changed_is_refused(record, graded, course):
    """nbgrader cannot add cells to what was handed in; the message says what to do."""
    record(graded())
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        book.find_grade_cell("softmax", LESSON, LESSON).name = "old_name"
        book.db.commit()
    with pytest.raises(GraderError, match="changed after submissions were recorded"):
        record()


@pytest.mark.parametrize("name", ["../eve", "a/b", "..", ""])
def test_a_name_that_is_no_folder_is_refused(record, graded, name):
    """Nothing is written outside of autograded/."""
    one = graded()
    fields = {field: getattr(one.result, field) for field in one.result.__struct_fields__} | {"student": name}
    one.result = SubmissionResult(**fields)
    with pytest.raises(GraderError, match="--student"):
        record(one)


def test_a_broken_database_is_our_failure(lesson, record, course):
    """A file that is no database is named."""
    (course.root / "gradebook.db").write_text("this is no database " * 100)
    with pytest.raises(GraderError, match=r"gradebook\.db cannot be opened"):
        record()


def test_a_database_that_refuses_is_our_failure(graded, course, lesson):
    """The message says what is wrong, and nothing is half written."""
    one = graded()
    with gradebook.open_marks(course, lesson) as marks:
        with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
            book.db.execute(api.text("DROP TABLE grade"))
            book.db.commit()
        with pytest.raises(GraderError, match="cannot be written"):
            marks.record(one)


def test_a_broken_nbgrader_config_is_named(record, course):
    """The instructor learns which file to mend."""
    (course.root / "nbgrader_config.py").unlink()
    (course.root / "nbgrader_config.py").write_text("c = get_config(\n")
    with pytest.raises(GraderError, match=r"nbgrader_config\.py cannot be loaded"):
        record()


def test_a_folder_that_cannot_be_written_is_named(record, graded, course):
    """A file in the place of a folder, for example."""
    (course.root / "autograded").write_text("in the way")
    with pytest.raises(GraderError, match="cannot be written"):
        record(graded())


def test_recording_is_cheap(graded, course, lesson):
    """Less than 60 ms of CPU a submission, the autograded notebook included."""
    class_of = [graded(f"student-{number}") for number in range(10)]
    with gradebook.open_marks(course, lesson) as marks:
        marks.record(class_of[0])
        before = resource.getrusage(resource.RUSAGE_SELF)
        for one in class_of[1:]:
            marks.record(one)
        after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent / 9 < 0.060


def test_a_manual_mark_on_the_same_answer_stays_final(record, graded, grades, by_hand):
    """A suite that is corrected writes every submission anew; nobody has to read 300 written answers again."""
    record(graded(softmax=7.5))
    by_hand("why_scale", manual_score=8, needs_manual_grade=False)
    by_hand("softmax", manual_score=12, needs_manual_grade=False)
    record(graded(softmax=7.5, causal_mask=0, status="needs_review", message="softmax has two different answers"))
    assert not grades()["why_scale"]["needs_manual_grade"]
    assert not grades()["softmax"]["needs_manual_grade"]
    record(graded(softmax=7.5, text="Another answer."))
    assert grades()["why_scale"]["needs_manual_grade"]


def test_a_manual_mark_that_waits_goes_on_waiting(record, graded, grades, by_hand):
    """Writing the same once more settles nothing that nobody has looked at."""
    record(graded(softmax=7.5))
    by_hand("why_scale", manual_score=8, needs_manual_grade=True)
    record(graded(softmax=8))
    assert grades()["why_scale"]["needs_manual_grade"]
