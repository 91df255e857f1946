"""What a hidden test checks, the notebook has said: each test has its sentence in the release."""

from __future__ import annotations

from pathlib import Path

import pytest

from autograder.build import build
from autograder.course import Course
from autograder.errors import GraderError
from autograder.new import new_lesson
from autograder.promises import broken_promises

ROOT = Path(__file__).resolve().parents[2]
LESSONS = [path.parent.name for path in sorted((ROOT / "tests").glob("*/promises.toml"))]


@pytest.fixture
def course(tmp_path):
    """A course of one new lesson, built."""
    course, _ = new_lesson(tmp_path, "my_lesson")
    build(course)
    return course


def test_every_lesson_with_suites_has_a_table():
    """No lesson goes without."""
    assert {path.parent.name for path in (ROOT / "tests").glob("*/misconceptions.py")} == set(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_test_and_the_lesson_agree(lesson):
    """Each test has its promise, in the release's own words, and no promise is left over."""
    assert broken_promises(Course(ROOT), lesson) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "test_sizes_of_one = ",
            "test_other_sizes = ",
            "squared_distances: promises.toml has no words of the lesson for test_size",
        ),
        (
            "test_sizes_of_one = ",
            "test_other_sizes = ",
            "squared_distances: promises.toml names test_other_sizes, which is no test",
        ),
        ("test_gradients = ", "test_slopes = ", "every: promises.toml names test_slopes, which is no test"),
        (
            "Moving all points",
            "Turning all points",
            "squared_distances: the release does not say what test_moving_all_points",
        ),
        ('"Moving all points by the same vector changes nothing"', '"Moving"', "does not say what test_moving_all_points"),
    ],
)
def test_what_breaks_a_promise(course, old, new, said):
    """A test that nobody was told of, words that the notebook does not have, a line without a test."""
    table = course.root / "tests" / "my_lesson" / "promises.toml"
    text = table.read_text(encoding="utf-8")
    assert old in text
    table.write_text(text.replace(old, new), encoding="utf-8")
    assert [line for line in broken_promises(course, "my_lesson") if said in line]


def test_prove_says_it(course, autograder_in):
    """An author hears of it where the suite is proved."""
    script = course.solutions / "my_lesson.py"
    words = "Any number of leading dimensions works, also none"
    script.write_text(script.read_text(encoding="utf-8").replace(words, "Leading dimensions work"), encoding="utf-8")
    build(course)
    done = autograder_in(course, "prove", "my_lesson", "--short", "--jobs", "1")
    assert done.returncode == 2
    assert "does not say what test_any_leading_dimensions is promised by" in done.stdout


def test_a_lesson_may_go_without(course):
    """Somebody's own lesson without a table is asked nothing."""
    (course.root / "tests" / "my_lesson" / "promises.toml").unlink()
    assert broken_promises(course, "my_lesson") == []


def test_a_table_that_is_none(course):
    """A broken file is named, with what it should hold."""
    (course.root / "tests" / "my_lesson" / "promises.toml").write_text('test_values = "no table"\n')
    with pytest.raises(GraderError, match=r"promises\.toml is no table of promises"):
        broken_promises(course, "my_lesson")
