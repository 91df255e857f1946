"""A course of its own for each test: lessons and suites are the real ones, submissions and gradebook are not."""

import ast
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace as replaced
from selenium import webdriver

from autograder.boxes import available_boxes, choose_box
from autograder.course import Course
from autograder.gradebook import open_marks
from autograder.inside.confine import Limits
from autograder.latest import Entry, Latest
from autograder.notebook import read_notebook
from autograder.program import Answer, Program, Statement, slice_program
from autograder.results import ExerciseResult, SubmissionResult, TestResult
from autograder.sandbox import Sandbox
from autograder.session import Session
from autograder.student import Student

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("nbgrader_config.py", "pyproject.toml", "solutions", "tests")
BUILT = ("source", "release")  # copied: a test may build
LESSON = "attention_from_scratch"


def make_course(folder: Path) -> Course:
    """A course in `folder` whose lessons are this one's."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    for name in BUILT:
        shutil.copytree(ROOT / name, folder / name)
    return Course(folder)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """An empty course, which is also the current folder."""
    monkeypatch.chdir(tmp_path)
    return make_course(tmp_path)


@pytest.fixture(scope="session")
def empty_gradebook(tmp_path_factory):
    """nbgrader's database with the lesson in it and nobody else; made once, since that takes seconds."""
    made = make_course(tmp_path_factory.mktemp("gradebook"))
    with open_marks(made, made.lesson(LESSON)):
        return made.root / "gradebook.db"


@pytest.fixture(scope="session")
def filled():
    """The release as a notebook's parsed JSON, with some of its graded cells filled in: filled(softmax="...")."""

    def fill(**answers):
        notebook = json.loads((ROOT / "release" / LESSON / f"{LESSON}.ipynb").read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            cell["source"] = answers.get(grade_id, cell["source"])
        return notebook

    return fill


@pytest.fixture
def hand_in(course):
    """Writes a notebook where nbgrader expects a student's submission, and returns its path."""
    return lambda student, notebook: submit(course, student, notebook)


@pytest.fixture
def recorded(course, empty_gradebook, hand_in, filled, model_answers):
    """Puts a right submission's marks into the gradebook without the engine: recorded("ada", softmax=7.5, stamp="...")."""
    shutil.copy(empty_gradebook, course.root)
    lesson = course.lesson(LESSON)

    def record(student, text="The variance grows with d_k.", stamp="", **scores):
        path = hand_in(student, filled(**model_answers, **({"why_scale": text} if text else {})))
        if stamp:
            (path.parent / "timestamp.txt").write_text(stamp, encoding="utf-8")
        notebook = read_notebook(path)
        exercises = tuple(
            ExerciseResult(each.name, scores.get(each.name, each.points), each.points, (TestResult("t", "passed"),))
            for each in lesson.exercises
        )
        score = sum(each.score for each in exercises)
        result = SubmissionResult(student, str(path), "graded", "", score, lesson.max_score, exercises=exercises)
        with open_marks(course, lesson) as marks:
            marks.record(
                SimpleNamespace(result=result, notebook=notebook, program=slice_program(notebook, lesson), judged={})
            )

    return record


@pytest.fixture(scope="session")
def graded_course(tmp_path_factory, filled, model_answers):
    """A course whose class was graded by the command itself: ada has all right, bela the release, eve a broken file.

    `command` is the finished process. Made once, and not to be changed.
    """
    made = make_course(tmp_path_factory.mktemp("course"))
    submit(made, "ada", filled(**model_answers, why_scale="The variance of the scores grows with d_k."))
    submit(made, "bela", filled())
    submit(made, "eve", json.dumps(filled())[:5000])
    command = autograder(made, "grade", "submitted", "--lesson", LESSON, "--device", "cpu", "--json", "-")
    return SimpleNamespace(course=made, command=command)


@pytest.fixture(scope="session")
def course_in():
    """Makes a course in a folder: course_in(path)."""
    return make_course


@pytest.fixture(scope="session")
def open_to():
    """A folder as somebody else can read it: itself, or its files again below `made` where it lies in a closed one.

    open_to(beginning of a command that runs as them, ROOT or where packages are, made)
    """

    def get(become, place, made):
        if subprocess.run([*become, "/usr/bin/test", "-r", place], check=False).returncode == 0:
            return place
        package, again = ("autograder", "course") if place == ROOT else (".", f"packages{len(list(made.iterdir()))}")
        try:
            shutil.copytree(Path(place, package), made / again / package, copy_function=os.link, symlinks=True)
        except OSError as error:
            pytest.skip(f"{place} is closed to others, and its files cannot be linked elsewhere: {error}")
        return made / again

    return get


@pytest.fixture(scope="session")
def python_in():
    """Runs Python in a course's folder: python_in(course, "-m", "nbgrader", ...)."""
    return python


@pytest.fixture(scope="session")
def autograder_in():
    """Runs the command in a course's folder: autograder_in(course, "grade", ...)."""
    return autograder


def submit(course: Course, student: str, notebook: dict[str, Any] | str) -> Path:
    """Writes a notebook into nbgrader's `submitted/`."""
    path = course.root / "submitted" / student / LESSON / f"{LESSON}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")
    return path


def autograder(course: Course, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own, as an instructor would in the course's folder."""
    return python(course, "-c", "from autograder.cli import main; main()", *arguments)


def python(course: Course, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in a course's folder; PATH holds nothing of this environment, as where it is not activated."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=course.root, env=environment, capture_output=True, text=True, check=False)


IDEA = "The scores are divided by the root of d_k before the softmax; here they are not divided at all."
CLASS = Random(7)  # noqa: S311 - made-up students


@pytest.fixture(scope="session")
def class_of():
    """The results of a made-up class, without the engine: class_of(300) as autograder.latest keeps them.

    Every 50th is missing, every 49th unreadable, every 20th in review; most lose points somewhere, one idea is common.
    """
    lesson = Course(ROOT).lesson(LESSON)

    def make(size):
        students = {f"student{number:03}": _made_up(lesson, number) for number in range(size)}
        entries = {name: Entry(replaced(result, student=name), {}, "") for name, result in students.items()}
        return Latest(LESSON, "cpu", "bubblewrap", entries)

    return make


def _made_up(lesson, number):
    path, most = f"submitted/{number}.ipynb", lesson.max_score
    if number % 50 == 3 or number % 49 == 4:
        why = "handed in nothing" if number % 50 == 3 else "the notebook ends in the middle"
        blank = tuple(ExerciseResult(each.name, 0.0, each.points) for each in lesson.exercises)
        path = "" if number % 50 == 3 else path
        return SubmissionResult("", path, "unreadable", why, 0.0, most, exercises=blank)
    exercises = tuple(_answered(each, CLASS.random()) for each in lesson.exercises)
    score = sum(each.score for each in exercises)
    status, why = ("needs_review", "softmax has different answers") if number % 20 == 5 else ("graded", "")
    repairs = (f"softmax was taken from cell {number}.",) if number % 10 == 1 else ()
    return SubmissionResult("", path, status, why, score, most, 0.3, repairs, exercises)


def _answered(exercise, skill):
    tests = tuple(_test(f"{exercise.name} does what sentence {number} claims", skill) for number in range(20))
    share = sum(test.outcome == "passed" for test in tests) / len(tests)
    return ExerciseResult(exercise.name, round(exercise.points * share, 2), exercise.points, tests)


def _test(name, skill):
    if CLASS.random() < 0.5 + skill:
        return TestResult(name, "passed")
    idea = IDEA if CLASS.random() < 0.1 else None
    return TestResult(name, "failed", "wrong", "wanted result right up to rounding\ngot most entries off, far", idea)


@pytest.fixture(scope="session")
def model_answers():
    """The reference's code by exercise."""
    return {exercise.name: exercise.model for exercise in Course(ROOT).lesson(LESSON).exercises}


# --- boxes: one warm zygote for each, and submissions made of plain code

LIMITS = Limits(
    call_s=5.0, submission_s=60.0, memory_bytes=1 << 30, reply_bytes=8 << 20, printed_bytes=100_000, kept_bytes=2_000
)


@pytest.fixture(scope="session")
def sandbox_named():
    """A warm box by its name, made when it is first needed; skips where this machine cannot have it."""
    with ExitStack() as stack:
        made = {}

        def get(box):
            usable, why = {name: (usable, why) for name, usable, why in available_boxes()}[box]
            if not usable:
                pytest.skip(why)
            if box not in made:
                made[box] = stack.enter_context(Sandbox(box, LIMITS))
            return made[box]

        yield get


@pytest.fixture
def sandbox(sandbox_named, monkeypatch):
    """The strongest box that this machine has; what a test sets in its `limits` lasts for the test."""
    strongest = sandbox_named(choose_box())
    monkeypatch.setattr(strongest, "limits", LIMITS)
    return strongest


@pytest.fixture
def open_session():
    """Makes a submission of plain code: open_session(sandbox, "def f(x): ...", "f", lost=("g",), reference={...})."""
    with ExitStack() as stack:

        def make(sandbox, source, *exercises, lost=(), reference=None):
            exercises = exercises or ("f",)
            statements = tuple(Statement(1, line, text) for line, text in top_level(textwrap.dedent(source)))
            states = {name: "stub" if name in lost else "answered" for name in exercises}
            answers = {name: Answer(name, statements, 1, state) for name, state in states.items()}
            cells = {1: textwrap.dedent(source)}
            session = Session(sandbox, Program(statements, answers, {}, (), ()), exercises, reference or {}, cells)
            stack.callback(session.renew)
            return session

        yield make


@pytest.fixture
def student_of(sandbox, open_session):
    """The proxy of a submission made of plain code: student_of("def f(x): ...").f(x)."""

    def make(source, *exercises, **options):
        session = open_session(options.pop("box", sandbox), source, *exercises, **options)
        student = Student(session, session.exercises)
        vars(student)["session"] = session
        return student

    return make


def top_level(source: str) -> list[tuple[int, str]]:
    """The statements of a piece of code, each with its first line's number."""
    body = ast.parse(source).body
    starts = [min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]) for node in body]
    lines = source.splitlines(keepends=True)
    return [(start, "".join(lines[start - 1 : node.end_lineno])) for start, node in zip(starts, body, strict=True)]


BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def open_browser():
    """Opens a headless Chromium, or the Chrome that stands in for it: an empty profile, and no host but `reachable`."""
    return _open_browser


@contextmanager
def _open_browser(profile: Path, reachable: str | None = None) -> Iterator[webdriver.Chrome]:
    chromium, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND" + (f", EXCLUDE {reachable}" if reachable else ""))
    options.add_argument(f"--user-data-dir={profile}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()
