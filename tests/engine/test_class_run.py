"""A class run: nothing twice, nothing lost, no mark changed in silence."""

import gc
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nbgrader import api
from rich.console import Console

from autograder import class_run, keys, marking
from autograder.cache import Cache
from autograder.collection import Submission
from autograder.course import Course
from autograder.errors import GraderError
from autograder.job import Done
from autograder.keys import Known, one_by_one
from autograder.marking import Options, grade_into_course
from autograder.notebook import Notebook
from autograder.outcome import Judged, Outcome
from autograder.paper import Paper, read_paper
from autograder.results import to_json

LESSON = "attention_from_scratch"
RIGHT = "def softmax(x, dim=-1):\n    return x.exp()"
WRONG = "def softmax(x, dim=-1):\n    'wrong'\n    return x"
SLOW = "def softmax(x, dim=-1):\n    'timeout'\n    return x"


class Judges:
    """Stands for job processes: an exercise passes unless its code says what becomes of it."""

    def __init__(self):
        self.ran = []  # (student, exercise)
        self.broken = {}
        self.strict = frozenset()  # exercises whose suite has a second test that fails
        self.fault = {}  # student -> how we break over their paper
        self.backwards = False

    def run(self, tasks):
        """Judges all papers, in their order or the other way round."""
        dones = map(self._judge, tasks)
        yield from reversed(list(dones)) if self.backwards else dones

    def _judge(self, task):
        if task.student in self.fault:
            return Done(task.number, fault=self.fault[task.student], notes=("a traceback",))
        paper = Paper(Submission(task.student, None), Notebook(task.cells), task.program)

        def judge(exercise, judged):
            self.ran.append((task.student, exercise.name))
            return self._verdict(exercise.name, task.program.answers[exercise.name])

        judged = one_by_one(paper, self.lesson, Known(task.salts, task.known), judge)
        return Done(task.number, judged, ("printed: hello",), 0.5)

    def _verdict(self, name, answer):
        code = " ".join(each.source for each in answer.statements)
        cause = next((word for word in ("wrong", "timeout") if word in code), None)
        cause = "missing" if answer.state != "answered" else cause
        first = Outcome("test_one", "values", True, verdict="failed" if cause else "passed", cause=cause)
        second = Outcome("test_two", "one more", True, verdict="failed", cause="wrong")
        return Judged((first, second) if name in self.strict else (first,))


@pytest.fixture
def judges(monkeypatch):
    """Who judges in place of job processes."""
    made = Judges()

    @contextmanager
    def hire(setup):
        yield made

    monkeypatch.setattr(marking, "_hire", lambda options, records: hire)
    return made


@pytest.fixture
def grade(course, judges, empty_gradebook):
    """Grades what was handed in; the finished Run. What was run is in `judges.ran`, from this run only."""
    shutil.copy(empty_gradebook, course.root / "gradebook.db")
    judges.lesson = course.lesson(LESSON)

    def run(students=None, **options):
        judges.ran.clear()
        found = sorted((course.root / "submitted").iterdir())
        every = [Submission(one.name, one / LESSON / f"{LESSON}.ipynb") for one in found]
        submissions = options.pop("submissions", every)
        wanted = [one for one in submissions if students is None or one.student in students]
        console = Console(file=io.StringIO())
        return grade_into_course(
            course, LESSON, wanted, device="cpu", box="landlock", console=console, options=Options(**options)
        )

    return run


def without_seconds(run):
    results = json.loads(to_json(run.results))
    for one in results["submissions"]:
        one["seconds"] = 0
    return results


@pytest.fixture
def score_in_gradebook(course):
    """The score that nbgrader has: score_in_gradebook("ada", "softmax", manual=None) -> (auto, manual)."""
    from nbgrader.api import Gradebook

    from autograder.database import course_directory

    def look(student, exercise, manual=None):
        with Gradebook(course_directory(course).db_url) as gradebook:
            grade = gradebook.find_grade(exercise, LESSON, LESSON, student)
            if manual is not None:
                grade.manual_score, grade.needs_manual_grade = manual, False
                gradebook.db.commit()
            return grade.auto_score, grade.manual_score, grade.needs_manual_grade

    return look


def test_an_unchanged_class_is_not_graded_again(grade, judges, hand_in, filled):
    """The second run asks nobody, says so, and comes to the same results but for the seconds."""
    hand_in("ada", filled(softmax=RIGHT))
    hand_in("bela", filled(softmax=WRONG))
    first = grade()
    assert len(judges.ran) == 2 * 8
    second = grade()
    assert judges.ran == []
    assert (first.known, second.known) == (0, 2)
    assert without_seconds(first) == without_seconds(second)
    assert (second.details / "ada.txt").read_text() == "printed: hello"


@pytest.fixture
def read(monkeypatch):
    """Whose files were read rather than known."""
    students, original = [], class_run.paper_of

    def noted(data, path, submission, *rest):
        students.append(submission.student)
        return original(data, path, submission, *rest)

    monkeypatch.setattr(class_run, "paper_of", noted)
    return students


def test_an_unchanged_file_is_not_read_again(grade, read, hand_in, filled):
    """Its content decides: another date of the same does not matter, another content under the same date and size does."""
    path = hand_in("ada", filled(softmax=RIGHT))
    grade()
    os.utime(path, (1, 1))
    assert grade().known == 1
    assert read == ["ada"]
    path.write_text(path.read_text().replace("x.exp()", "x.sin()"))
    os.utime(path, (1, 1))
    assert grade().known == 0
    assert read == ["ada", "ada"]


def test_a_file_that_became_a_link_is_refused_though_it_is_known(grade, hand_in, filled, tmp_path):
    """What a link points to is nobody's submission, be its content known."""
    path = hand_in("ada", filled(softmax=RIGHT))
    grade()
    (tmp_path / "elsewhere.ipynb").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.ipynb")
    assert [one.status for one in grade().results.submissions] == ["unreadable"]


def test_another_name_is_read_anew(grade, read, hand_in, filled):
    """Messages hold a file's name, and its ending decides how it is read."""
    path = hand_in("ada", filled(softmax=RIGHT))
    grade()
    submission = Submission("ada", path.rename(path.with_name("renamed.ipynb")))
    assert grade(submissions=[submission]).results.submissions[0].path == str(submission.path)
    assert read == ["ada", "ada"]


@pytest.mark.parametrize("changed", ["engine", "lesson", "other lesson"])
def test_a_changed_reader_reads_anew(grade, read, hand_in, filled, monkeypatch, changed):
    """Another version of this package, another release, other lessons: what was read by the old ones does not count."""
    hand_in("ada", filled(softmax=RIGHT))
    grade()
    if changed == "engine":
        monkeypatch.setattr(keys, "engine", lambda: "another")
    elif changed == "lesson":
        original = Course.lesson
        exercises = lambda lesson: (replace(lesson.exercises[0], stub="def softmax(x): ..."), *lesson.exercises[1:])  # noqa: E731
        monkeypatch.setattr(Course, "lesson", lambda *a: replace(one := original(*a), exercises=exercises(one)))
    else:
        monkeypatch.setattr(Course, "other_exercises", lambda *a: {"one_more": ("softmax",)})
    grade()
    assert read == ["ada", "ada"]


def test_what_was_read_comes_back_as_it_was(grade, hand_in, filled, course):
    """A kept paper holds everything: repairs, written answers, what has to be looked at, the notebook itself."""
    notebook = filled(softmax=RIGHT + "\n!pip install torch", split_heads="def other(): pass")
    extra = {"cell_type": "code", "source": WRONG, "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"] += [extra, {"cell_type": "markdown", "source": "\u00e9\u4e2d eval(1)", "metadata": {}}]
    path = hand_in("ada", notebook)
    grade()
    lesson = course.lesson(LESSON)
    paper = read_paper(Submission("ada", path), lesson, course.other_exercises(LESSON))
    assert paper.program.repairs
    assert paper.program.review
    with sqlite3.connect(course.state / "cache.db") as base:
        ((key,),) = base.execute("SELECT key FROM papers")
    with Cache(course.state / "cache.db") as cache:
        kept = cache.paper(LESSON, "ada", key)
    assert (kept.notebook, kept.program) == (paper.notebook, paper.program)


def test_a_kept_paper_that_somebody_wrote_into_is_not_believed(grade, read, hand_in, filled, course):
    """Each row has a digest of its own: one that was exchanged is read from the file."""
    hand_in("ada", filled(softmax=RIGHT))
    hand_in("bela", filled(softmax=WRONG))
    grade()
    with sqlite3.connect(course.state / "cache.db") as base:
        base.execute("UPDATE papers SET data = (SELECT data FROM papers WHERE student = 'ada')")
    grade()
    assert read == ["ada", "bela", "bela"]


def test_fresh_grades_all_again(grade, judges, hand_in, filled):
    """--fresh ignores what is known."""
    hand_in("ada", filled(softmax=RIGHT))
    grade()
    assert grade(resume=False).known == 0
    assert len(judges.ran) == 8


def test_only_the_changed_exercise_runs_again(grade, judges, hand_in, filled):
    """One student changes one exercise: that one, and of the others who call it, only theirs."""
    attention = "def scaled_dot_product_attention(Q, K, V, mask=None):\n    return softmax(Q)"
    hand_in("ada", filled(softmax=RIGHT, scaled_dot_product_attention=attention))
    hand_in("bela", filled(softmax=RIGHT))
    grade()
    hand_in("bela", filled(softmax=WRONG))
    assert grade().known == 1
    assert judges.ran == [("bela", "softmax")]
    hand_in("ada", filled(softmax=WRONG, scaled_dot_product_attention=attention))
    grade()
    assert judges.ran == [("ada", "softmax"), ("ada", "scaled_dot_product_attention")]


def test_a_verdict_by_the_clock_is_not_kept(grade, judges, hand_in, filled):
    """A machine may be slow once: what timed out is run again, nothing else is."""
    hand_in("ada", filled(softmax=SLOW))
    grade()
    grade()
    assert judges.ran == [("ada", "softmax")]


def test_results_stand_in_the_order_of_the_submissions(grade, judges, hand_in, filled):
    """Whoever is judged first; the same bytes for any number of jobs."""
    for student in ("ada", "bela", "chen"):
        hand_in(student, filled(softmax=RIGHT))
    hand_in("bela", "no notebook")
    first = grade()
    judges.backwards = True
    assert without_seconds(grade(resume=False)) == without_seconds(first)
    assert [one.student for one in first.results.submissions] == ["ada", "bela", "chen"]


def test_our_fault_is_nobodys_zero(grade, judges, hand_in, filled, score_in_gradebook):
    """The submission is left for review with the reason; the run goes on, and its earlier mark stays."""
    hand_in("ada", filled(softmax=RIGHT))
    hand_in("bela", filled(softmax=RIGHT))
    grade()
    judges.fault["ada"] = "the process that graded it died: ended by SIGKILL (it was tried twice)"
    run = grade(resume=False)
    ada, bela = run.results.submissions
    assert (ada.status, bela.status) == ("needs_review", "graded")
    assert "SIGKILL" in ada.message
    assert "90 points" in ada.message
    assert all(test.outcome == "not_judged" for exercise in ada.exercises for test in exercise.tests)
    assert "ada" in run.results.faults[0]
    assert score_in_gradebook("ada", "softmax")[0] == 15
    judges.fault.clear()
    assert grade().results.submissions[0].status == "graded"


def test_a_bug_in_reading_is_our_fault(grade, judges, hand_in, filled, monkeypatch):
    """Whatever reading does with one file, the others are graded."""
    paper_of = class_run.paper_of

    def fails(data, path, submission, *rest):
        if submission.student == "ada":
            raise KeyError("a bug")
        return paper_of(data, path, submission, *rest)

    monkeypatch.setattr(class_run, "paper_of", fails)
    hand_in("ada", filled(softmax=RIGHT))
    hand_in("bela", filled(softmax=RIGHT))
    ada, bela = grade().results.submissions
    assert (ada.status, bela.status) == ("needs_review", "graded")
    assert "internal error" in ada.message


# --- marks that change though the code did not


@pytest.fixture
def corrected(course, judges):
    """Makes the suite of softmax stricter, as an instructor would who found a gap in it."""

    def correct():
        if (course.root / "tests").is_symlink():
            (course.root / "tests").unlink()
            shutil.copytree(Path(__file__).resolve().parents[1] / LESSON, course.root / "tests" / LESSON)
        suite = course.root / "tests" / LESSON / "test_softmax.py"
        suite.write_text(suite.read_text() + "\n# corrected\n")
        judges.strict = frozenset({"softmax"})

    return correct


def test_a_corrected_suite_says_which_marks_change_before_it_writes_them(
    grade, judges, hand_in, filled, corrected, score_in_gradebook
):
    """Student, exercise, old, new, tests; only that exercise runs again, and only what changes is asked about."""
    hand_in("ada", filled(softmax=RIGHT))
    hand_in("bela", filled(softmax=WRONG))
    grade()
    corrected()
    asked = []
    with pytest.raises(GraderError, match="--yes"):
        grade(agree=lambda changes: asked.extend(changes) or False)
    assert judges.ran == [("ada", "softmax"), ("bela", "softmax")]
    (change,) = asked
    assert (change.student, change.exercise, change.old, change.new) == ("ada", "softmax", 15, 7.5)
    assert change.tests == ("one more: not there, now failed",)
    assert score_in_gradebook("ada", "softmax")[0] == 15


def test_agreed_changes_are_written(grade, judges, hand_in, filled, corrected, score_in_gradebook):
    """And a run after that asks nobody."""
    hand_in("ada", filled(softmax=RIGHT))
    grade()
    corrected()
    assert grade(agree=lambda changes: True).results.submissions[0].score == 7.5
    assert score_in_gradebook("ada", "softmax")[0] == 7.5

    def never(changes):
        raise AssertionError

    assert grade(agree=never).known == 1


def test_a_refused_change_is_asked_again(grade, hand_in, filled, corrected):
    """Until somebody agrees; what is known is not run a second time for that."""
    hand_in("ada", filled(softmax=RIGHT))
    grade()
    corrected()
    for _ in range(2):
        with pytest.raises(GraderError, match="1 marks"):
            grade(agree=lambda changes: False)


def test_a_new_answer_asks_nobody(grade, hand_in, filled):
    """The student handed in again: that a mark changes then is the point of it."""
    hand_in("ada", filled(softmax=WRONG))
    grade()
    hand_in("ada", filled(softmax=RIGHT))
    assert grade(agree=lambda changes: False).results.submissions[0].score == 15


def test_manual_marks_stay(grade, hand_in, filled, corrected, score_in_gradebook):
    """Whatever the machine thinks now; an unchanged submission does not ask to be looked at again."""
    hand_in("ada", filled(softmax=RIGHT))
    grade()
    score_in_gradebook("ada", "softmax", manual=12)
    grade()
    assert score_in_gradebook("ada", "softmax") == (15, 12, False)
    corrected()
    grade()
    assert score_in_gradebook("ada", "softmax") == (7.5, 12, True)


# --- what stands in the gradebook


@pytest.mark.parametrize("lost", ["gradebook.db", "autograded"])
def test_what_is_gone_is_written_again(grade, judges, hand_in, filled, course, score_in_gradebook, lost):
    """A gradebook or notebook that somebody removed comes back without running anything."""
    hand_in("ada", filled(softmax=RIGHT))
    grade()
    path = course.root / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    grade()
    assert judges.ran == []
    assert score_in_gradebook("ada", "softmax")[0] == 15
    assert (course.root / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb").exists()


def test_a_mark_that_somebody_changed_is_set_right(grade, hand_in, filled, course, score_in_gradebook):
    """The machine's score is the machine's."""
    from nbgrader.api import Gradebook

    from autograder.database import course_directory

    hand_in("ada", filled(softmax=RIGHT))
    grade()
    with Gradebook(course_directory(course).db_url) as gradebook:
        gradebook.find_grade("softmax", LESSON, LESSON, "ada").auto_score = 3
        gradebook.db.commit()
    grade()
    assert score_in_gradebook("ada", "softmax")[0] == 15


def test_an_untouched_gradebook_is_not_opened(grade, hand_in, filled, monkeypatch):
    """nbgrader takes longer to import than a class takes to look up."""
    from autograder import gradebook

    hand_in("ada", filled(softmax=RIGHT))
    grade()
    monkeypatch.setattr(gradebook, "open_marks", None)
    assert grade().known == 1


def test_no_gradebook_leaves_none(grade, hand_in, filled, course):
    """--no-gradebook: results only, and no marks that a later run would compare with."""
    hand_in("ada", filled(softmax=RIGHT))
    before = (course.root / "gradebook.db").read_bytes()
    grade(gradebook=False)
    assert (course.root / "gradebook.db").read_bytes() == before
    assert not (course.root / "autograded").exists()


# --- the whole way, with job processes


@pytest.fixture
def real_class(course, hand_in, filled, model_answers):
    """Five students: right, open, wrong, forbidden, no notebook."""
    hand_in("ada", filled(**model_answers))
    hand_in("bela", filled())
    hand_in("chen", filled(**model_answers | {"causal_mask": "def causal_mask(seq_len, device=None):\n    return None"}))
    hand_in("dora", filled(**model_answers | {"softmax": "def softmax(x, dim=-1):\n    return torch.softmax(x, dim)"}))
    hand_in("eve", "no notebook")
    return course


def results_of(course):
    found = json.loads((course.state / LESSON / "results.json").read_text())
    for one in found["submissions"]:
        one["seconds"] = 0
    return found


def test_the_number_of_jobs_changes_nothing(real_class, autograder_in):
    """One job, two jobs, and a second run that knows all: the same results."""
    grade = ("grade", "submitted", "--lesson", LESSON, "--device", "cpu")
    one = autograder_in(real_class, *grade, "--jobs", "1")
    first = results_of(real_class)
    two = autograder_in(real_class, *grade, "--jobs", "2", "--fresh")
    assert results_of(real_class) == first, two.stderr
    again = autograder_in(real_class, *grade)
    assert results_of(real_class) == first
    assert [run.returncode for run in (one, two, again)] == [1, 1, 1]
    assert "4 of 5 are as they were" in again.stderr
    scores = {each["student"]: each["score"] for each in first["submissions"]}
    assert scores == {"ada": 90, "bela": 0, "chen": 85, "dora": 75, "eve": 0}


def test_nothing_is_made_anew_for_an_unchanged_class(real_class, autograder_in):
    """A second run leaves in the course's folder what the first one left, and no younger; results.json is its own."""
    grade = ("grade", "submitted", "--lesson", LESSON, "--device", "cpu")

    def ages():
        folder, apart = real_class.state / LESSON, {"results.json", "lock", "unpacked.lock"}
        files = [path for path in folder.rglob("*") if path.is_file() and path.name not in apart]
        return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}

    autograder_in(real_class, *grade)
    first = ages()
    autograder_in(real_class, *grade)
    assert ages() == first
    assert {"collection.txt", "report.html", "feedback/ada.html"} <= first.keys()


def test_an_unchanged_class_keeps_marks_by_hand_in_its_feedback(real_class, autograder_in):
    """The text for a comment says what the gradebook does, after another run that changes nothing too."""
    grade = ("grade", "submitted", "--lesson", LESSON, "--device", "cpu")
    autograder_in(real_class, *grade)
    with closing(api.Gradebook(f"sqlite:///{real_class.root}/gradebook.db")) as book:
        mark = book.find_grade("why_scale", LESSON, LESSON, "ada")
        mark.manual_score, mark.needs_manual_grade = 8.5, False
        book.db.commit()
    autograder_in(real_class, "report", LESSON)
    told = real_class.state / LESSON / "feedback" / "ada.txt"
    before = told.read_text()
    assert "98.5" in before
    for _ in range(2):
        autograder_in(real_class, *grade)
        assert told.read_text() == before


def test_ctrl_c_keeps_what_is_done(real_class, hand_in, filled, model_answers, python_in):
    """A clean end, no process left behind, and the next run knows what the first one found."""
    endless = "def causal_mask(seq_len, device=None):\n    while True:\n        pass"
    hand_in("zoe", filled(**model_answers | {"causal_mask": endless}))
    command = [sys.executable, "-c", "from autograder.cli import main; main()", "grade", "submitted", "--lesson", LESSON]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    run = subprocess.Popen(
        [*command, "--jobs", "1"], cwd=real_class.root, env=environment, stderr=subprocess.PIPE, text=True, process_group=0
    )
    deadline = time.monotonic() + 60
    while not (real_class.root / "autograded" / "dora" / LESSON).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    _, told = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "stopped" in told
    assert "Traceback" not in told
    again = python_in(real_class, *command[1:])
    assert "4 of 6 are as they were" in again.stderr


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(real_class, autograder_in, course_in, tmp_path_factory):
    """SIGKILL at random moments, then started again: results, gradebook and notebooks of an undisturbed run."""
    calm = tmp_path_factory.mktemp("calm")
    other = course_in(calm)
    shutil.copytree(real_class.root / "submitted", calm / "submitted")
    (calm / ".autograder").mkdir()
    real_class.secret()
    shutil.copy(real_class.state / "secret", calm / ".autograder" / "secret")
    grade = ("grade", "submitted", "--lesson", LESSON, "--device", "cpu")
    autograder_in(other, *grade)
    moments = random.Random(0)  # noqa: S311 - any moments will do
    command = [sys.executable, "-c", "from autograder.cli import main; main()", *grade]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    for _ in range(20):
        run = subprocess.Popen(command, cwd=real_class.root, env=environment, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.2, 12))
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert autograder_in(real_class, *grade).returncode == 1
    ours, theirs = results_of(real_class), results_of(other)
    assert ours == theirs
    assert marks_of(real_class) == marks_of(other)


def marks_of(course):
    """All scores in the gradebook, and the texts in autograded/."""
    from autograder.gradebook import open_marks

    with open_marks(course, course.lesson(LESSON)) as marks:
        scores = marks.scores()
    texts = {path.name: path.read_text() for path in sorted((course.root / "autograded").rglob("*.ipynb"))}
    return scores, texts


def test_a_call_leaves_nothing_behind(student_of):
    """A job process lives for thousands of submissions: a call's tensors and graph go with it, with gradients or without."""
    student = student_of("def f(x):\n    return x * 2, x")
    for _ in range(3):
        x = torch.ones(3, requires_grad=True)
        student.f(x)[0].sum().backward()
        student.f(x)
    del x
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each).__name__ in ("_OneCall", "_RemoteBackward")]


def test_what_is_made_ready_is_what_reports_draw_with():
    """Modules imported while jobs start are those that the end of a run would import; nothing is imported for nothing."""
    code = (
        "import sys\nfrom autograder import charts, marking, reports\nfrom autograder.page_frame import environment\n"
        "assert not set(marking.OF_REPORTS) & set(sys.modules)\n"
        "environment()\ncharts.columns(['a'], [1], 'what', 'alt')\n"
        "assert set(marking.OF_REPORTS) <= set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
