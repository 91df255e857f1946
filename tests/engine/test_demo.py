"""The demo: a class that shows each kind of notebook, graded beside the instructor's own course."""

import io
import json

import pytest
from rich.console import Console

from autograder import demo
from autograder.errors import GraderError


@pytest.fixture(scope="module")
def shown(tmp_path_factory, course_in):
    """The demo as it runs, once: (course, run, what it printed)."""
    course = course_in(tmp_path_factory.mktemp("demo"))
    console = Console(file=io.StringIO(), width=300)
    return course, demo.show(course, console), console.file.getvalue()


def by_student(run):
    return {result.student: result for result in run.results.submissions}


def test_the_class_has_each_kind(course):
    """At least 14 notebooks, each with a word on what it is; nobody twice."""
    samples = demo.make_class(course)
    assert len(samples) >= 14
    assert len({sample.student for sample in samples}) == len(samples)
    assert all(sample.handed_in for sample in samples)
    assert sum(sample.hostile for sample in samples) >= 4


def test_right_answers_get_full_marks_however_they_are_handed_in(shown):
    """All right, saved by Colab, cluttered, two in one cell: 90 of 90."""
    results = by_student(shown[1])
    assert {results[name].score for name in ("ada", "dora", "emil", "fay")} == {90}


def test_the_untouched_release_gets_nothing(shown):
    """Exactly 0, and it is graded."""
    bela = by_student(shown[1])["bela"]
    assert (bela.status, bela.score) == ("graded", 0)


def test_wrong_answers_lose_points_where_they_are_wrong(shown):
    """Neither all nor nothing."""
    results = by_student(shown[1])
    for name in ("gus", "hana", "ivo", "jun", "kofi", "lena", "mara"):
        assert 0 < results[name].score < 90, name


def test_what_is_no_notebook_is_unreadable(shown):
    """And the run goes on."""
    results = by_student(shown[1])
    assert {results[name].status for name in ("nils", "olga")} == {"unreadable"}


def test_an_attack_costs_the_attacker_only(shown):
    """The exercise of the attack has no points, with its cause; what does not need it keeps its own."""
    results = by_student(shown[1])
    for student, name, causes in (
        ("paul", "causal_mask", {"timeout"}),
        ("quin", "multi_head_attention_loop", {"crash"}),
        ("rosa", "multi_head_attention", {"memory"}),
        ("sven", "softmax", {"error"}),
        ("tara", "causal_mask", {"output", "timeout"}),
    ):
        exercises = {exercise.name: exercise for exercise in results[student].exercises}
        assert exercises[name].score == 0, student
        assert {test.cause for test in exercises[name].tests if test.outcome == "failed"} & causes, student
        assert exercises["pairwise_dot_products"].score == 10, student


def test_it_says_what_happened_and_where_things_are(shown):
    """A line a student in plain words, then the paths."""
    course, run, text = shown
    assert "does not end in time" in text
    assert "nothing is answered" in text
    report = run.results_json.with_name("report.html")
    assert (run.feedback / "jun.html").exists()
    assert (run.feedback / "jun.txt").exists()
    for path in (report, run.results_json, run.feedback, course.root / "demo" / "gradebook.db"):
        assert path.exists()
        assert str(path.relative_to(course.root)) in text


def test_the_instructors_own_course_is_left_alone(shown):
    """Submissions, gradebook and reports of the demo lie in demo/."""
    course = shown[0]
    for name in ("submitted", "autograded", "gradebook.db"):
        assert not (course.root / name).exists()
        assert (course.root / "demo" / name).exists()


def test_without_a_box_hostile_notebooks_are_left_out(course, monkeypatch):
    """And the demo says so."""

    def no_box(wanted):
        raise GraderError("no box can be had here")

    graded = {}

    def stand_in(own, lesson, submissions, **options):
        graded.update(options, students={one.student for one in submissions})
        raise GraderError("far enough")

    monkeypatch.setattr(demo, "choose_box", no_box)
    monkeypatch.setattr(demo, "grade_into_course", stand_in)
    console = Console(file=io.StringIO(), width=300)
    with pytest.raises(GraderError, match="far enough"):
        demo.show(course, console)
    hostile = {sample.student for sample in demo.make_class(course) if sample.hostile}
    assert graded["box"] == "none"
    assert not graded["students"] & hostile
    assert "left out" in console.file.getvalue()


def test_a_second_demo_replaces_the_first(course):
    """What the first made is gone; what somebody else put into demo/ is not."""
    samples = demo.make_class(course)
    demo.set_up(course, samples)
    (course.root / "demo" / "notes.txt").write_text("mine")
    demo.set_up(course, samples[:1])
    assert [path.name for path in (course.root / "demo" / "submitted").iterdir()] == [samples[0].student]
    assert (course.root / "demo" / "notes.txt").exists()


def test_a_demo_that_cannot_be_made_is_our_failure(course):
    """A file in its way is named."""
    (course.root / "demo").write_text("in the way")
    with pytest.raises(GraderError, match="move what is in its way"):
        demo.set_up(course, [])


def test_a_colab_notebook_holds_no_marks_of_nbgrader(course):
    """The sample is what it says it is."""
    dora = next(sample for sample in demo.make_class(course) if sample.student == "dora")
    assert "nbgrader" not in json.dumps([cell["metadata"] for cell in json.loads(dora.text)["cells"]])

