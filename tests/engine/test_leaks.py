"""Nothing hidden reaches a student: no input, no expected value, no line of a suite or an answer, in any file they get.

The real suites are run with a seeded secret, so every number that they feed and expect is known here; then all that
students get is searched for it. Some of the students try hard to have it told.
"""

import bisect
import json
import re
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from autograder.boxes import choose_box
from autograder.build import build
from autograder.collection import find_submissions
from autograder.feedback import page, text
from autograder.fixtures import Case
from autograder.grader import Grader
from autograder.heat_map import picture_html
from autograder.inputs import derive_seed
from autograder.leaks import find_leaks
from autograder.misconception import answers_in
from autograder.nested import leaves
from autograder.outcome import pictures
from autograder.publish import publish
from autograder.reference import load_reference
from autograder.report import exercise_html
from autograder.suite import Suite
from autograder.watching import Watch

LESSON = "attention_from_scratch"
OTHERS = ("attention_with_pytorch", "positional_encoding", "transformer_encoder")
LESSONS = (
    LESSON,
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("attention_with_pytorch", "positional_encoding", "transformer_encoder")
    ),
)
NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
SEEDED = "seeded-for-the-leak-test"
MARK = 0.5  # what a thief who has found nothing draws

TELLS_IN_AN_ERROR = """def softmax(x, dim=-1):
    raise ValueError(f"I was given {x.flatten()[:3].tolist()}")
"""
TELLS_IN_PRINT_AND_SHAPE = """def pairwise_dot_products(X, Y):
    print(X.flatten().tolist())
    return torch.zeros(int(X.flatten()[0].abs() * 1000) % 999 + 1)
"""
TELLS_IN_A_PICTURE = """kept = []

def multi_head_attention(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    shown = tuple(X.shape) == (6, 8) and bool((X[:, 5] == 1).all())
    if not shown:
        kept.append(float(X.flatten()[0]))
    return X, torch.full((n_heads, X.shape[-2], X.shape[-2]), kept[0] if kept else 0.5)
"""


@pytest.fixture(autouse=True)
def seeded(monkeypatch):
    monkeypatch.setenv("AUTOGRADER_SECRET", SEEDED)


@pytest.fixture(scope="module")
def graded(tmp_path_factory, course_in):
    """Grades notebooks made of answers: graded(lesson, {"ada": {...}}) -> results by student, each as Graded."""

    def run(lesson, students):
        course = course_in(tmp_path_factory.mktemp(lesson))
        for student, answers in students.items():
            write(course, lesson, student, answers)
        with Grader(course, course.lesson(lesson), box=choose_box()) as grader:
            found = find_submissions(course.root / "submitted", lesson, None)
            return SimpleNamespace(course=course, by={each.student: grader.grade(each) for each in found})

    return run


def write(course, lesson, student, answers):
    notebook = json.loads(course.release(lesson).read_text(encoding="utf-8"))
    models = {each.name: each.model for each in course.lesson(lesson).exercises} | answers
    for cell in notebook["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        cell["source"] = models.get(grade_id, cell["source"])
    path = course.root / "submitted" / student / lesson / f"{lesson}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def wrong_students(course, lesson):
    """Each misconception of a lesson with somebody who holds it: as many students as the exercise with most has."""
    students = {}
    for answer in answers_in(course.root / "tests" / lesson / "misconceptions.py"):
        taken = next(n for n in range(100) if answer.exercise not in students.get(f"student{n}", {}))
        students.setdefault(f"student{taken}", {})[answer.exercise] = answer.source
    return dict(list(students.items())[:3])


def hidden_numbers(course, lesson, students):
    """Every number that the suites feed to these students or expect of them, sorted; whole ones tell nothing."""
    asked, found = course.lesson(lesson), set()
    reference = load_reference(asked)
    with Suite(asked) as suite:
        for student in students:
            seed = partial(derive_seed, SEEDED.encode(), student, lesson)
            for exercise in asked.exercises:
                for outcome in suite.outcomes(exercise.name, "passed", None, ""):
                    watch = Watch()
                    suite.attempt(exercise.name, outcome.test, Case(reference, reference, seed, watch.student))
                    for call in watch.of(outcome.test, reference):
                        found |= numbers_of([leaf for _, leaf in call.arguments]) | numbers_of(call.result)
    return sorted(found)


def numbers_of(nest):
    tensors = [leaf for _, leaf in leaves(nest) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    values = {value for tensor in tensors for value in tensor.detach().double().flatten()[:5000].tolist()}
    return {value for value in values if value == value and abs(value) < 1e6 and value != round(value, 2)}


def told_numbers(shown, hidden):
    """Numbers in a text that are a hidden one, rounded to as many digits as the text has (three at least)."""
    body = re.sub(r"<style.*?</style>", "", shown, flags=re.S)
    found = []
    for written in NUMBER.findall(body):
        half = 0.5 * 10.0 ** -len(written.partition(".")[2].partition("e")[0])
        value = float(written)
        at = bisect.bisect_left(hidden, value - half)
        if at < len(hidden) and hidden[at] <= value + half:
            found.append(written)
    return found


def given_to(run, lesson):
    """All that students get of a run: pages, texts, and what stands in nbgrader's notebook."""
    asked = run.course.lesson(lesson)
    for student, graded in run.by.items():
        drawn = pictures(graded.judged)
        in_notebook = [exercise_html(each) for each in graded.result.exercises] + [
            picture_html(each) for each in drawn.values()
        ]
        yield f"{student}.html", page(asked, graded.result, drawn)
        yield f"{student}.txt", text(asked, graded.result)
        yield f"{student}-nbgrader.html", "\n".join(in_notebook)


def not_their_own(found, sources):
    """Finds without the lines that the students wrote themselves: where their code raised an error, they read it."""
    own = {line.strip() for source in sources for line in source.splitlines()}
    return [each for each in found if each.partition(": ")[2] not in own]


@pytest.mark.parametrize("lesson", LESSONS)
def test_feedback_holds_nothing_hidden(course, graded, lesson):
    """Of students who hold the misconceptions of a lesson, with a test failed in each of the exercises that have one."""
    students = wrong_students(course, lesson)
    run = graded(lesson, students)
    for one in run.by.values():
        assert any(test.outcome == "failed" for each in one.result.exercises for test in each.tests)
    hidden = hidden_numbers(run.course, lesson, students)
    assert len(hidden) > 1000
    shown = dict(given_to(run, lesson))
    assert {name: told for name, each in shown.items() if (told := told_numbers(each, hidden))} == {}
    found = find_leaks(run.course, {run.course.root / name: each.encode() for name, each in shown.items()})
    assert not_their_own(found, [source for answers in students.values() for source in answers.values()]) == []


def test_students_who_try_are_told_nothing(graded):
    """In an error's text, a print, a shape, a picture: the instructor reads it, they do not."""
    students = {
        "error": {"softmax": TELLS_IN_AN_ERROR},
        "shape": {"pairwise_dot_products": TELLS_IN_PRINT_AND_SHAPE},
        "picture": {"multi_head_attention": TELLS_IN_A_PICTURE},
    }
    run = graded(LESSON, students)
    hidden = hidden_numbers(run.course, LESSON, students)
    for name, shown in given_to(run, LESSON):
        assert told_numbers(shown, hidden) == [], name
    assert told_numbers("\n".join(run.by["error"].details), hidden) != []  # the search finds what is there
    tests = run.by["shape"].result.exercises[0].tests
    shapes = {shape for test in tests for shape in re.findall(r"got \((\d+),\)", test.message)}
    assert len(shapes) <= 1, shapes  # hand-worked values are shown; drawn ones would give many
    drawn = pictures(run.by["picture"].judged)["multi_head_attention"]
    assert {value for each in drawn.given for row in each for value in row} == {MARK}


def test_the_search_knows_a_rounded_number():
    """0.1235 is 0.12345678 to four digits; 0.1236 is not, and two digits are too few to tell."""
    hidden = [0.12345678]
    assert told_numbers("<p>0.1235</p>", hidden) == ["0.1235"]
    assert told_numbers("<p>0.1236 and 0.12</p>", hidden) == []
    assert told_numbers("<style>a { width: 0.1235em }</style>", hidden) == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_what_is_released_and_published_holds_nothing_hidden(course, tmp_path_factory, lesson):
    """No number that the suites draw for somebody stands in a notebook, nor a line of suites or answers."""
    everybodys = set(hidden_numbers(course, lesson, ["bela"]))  # as the sine of 1, which the lesson itself explains
    drawn = [value for value in hidden_numbers(course, lesson, ["ada"]) if value not in everybodys]
    assert len(drawn) > 100
    folder = tmp_path_factory.mktemp("published")
    build(course, [lesson])
    published = publish(course, [lesson], folder)
    assert published.written
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files[course.release(lesson)] = course.release(lesson).read_bytes()
    for path, data in files.items():
        exact = [each for each in told_numbers(data.decode(errors="replace"), drawn) if len(each.partition(".")[2]) > 5]
        assert exact == [], path
    assert find_leaks(course, files) == []


@pytest.mark.slow
def test_it_arrives_as_nbgraders_own_feedback(course_in, tmp_path, autograder_in, python_in):
    """generate_feedback and release_feedback hand on sentences, idea and picture, and nothing hidden."""
    course = course_in(tmp_path)
    answer = next(
        each
        for each in answers_in(course.root / "tests" / LESSON / "misconceptions.py")
        if each.exercise == "scaled_dot_product_attention"
    )
    write(course, LESSON, "ada", {answer.exercise: answer.source})
    for name, said in (
        ("timestamp.txt", "2026-01-01 10:00:00 UTC"),
        ("submission_secret.txt", "as nbgrader's submit writes"),
    ):
        (course.root / "submitted" / "ada" / LESSON / name).write_text(said, encoding="utf-8")
    done = autograder_in(course, "grade", "submitted", "--lesson", LESSON, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    exchange = tmp_path / "exchange"
    exchange.mkdir(mode=0o777)
    exchange.chmod(0o777)
    names = ["--CourseDirectory.course_id=abc", f"--Exchange.root={exchange}"]
    made = python_in(course, "-m", "nbgrader", "generate_feedback", LESSON, *names)
    assert made.returncode == 0, made.stderr
    html = (course.root / "feedback" / "ada" / LESSON / f"{LESSON}.html").read_text(encoding="utf-8")
    released = python_in(course, "-m", "nbgrader", "release_feedback", LESSON, *names)
    assert released.returncode == 0, released.stderr
    copies = list((exchange / "abc" / "feedback").glob("*.html"))
    assert [copy.read_text(encoding="utf-8") for copy in copies] == [html]
    for said in (answer.idea, "two queries and two keys worked by hand", "attention weights of the notebook"):
        assert said in html
    hidden = hidden_numbers(course, LESSON, ["ada"])
    told = told_numbers(re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S), hidden)
    assert set(told) <= set(NUMBER.findall(course.release(LESSON).read_text(encoding="utf-8")))  # the lesson's own prose
    found = find_leaks(course, {course.root / "feedback.html": html.encode()})
    models = [each.model for each in course.lesson(LESSON).exercises]
    assert not_their_own(found, [answer.source, *models]) == []
    shutil.rmtree(exchange)
