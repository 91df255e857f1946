"""What a student gets back: a page that says what to fix, escaped, without a script, and its text."""

import re
from dataclasses import replace

import pytest
import torch

from autograder.feedback import page as made
from autograder.feedback import parts, text
from autograder.heat_map import picture_html
from autograder.outcome import Picture
from autograder.picture import Gallery, shown_in
from autograder.reference import load_reference
from autograder.results import ExerciseResult, SubmissionResult, TestResult
from autograder.standings import CellMark, Standing

LESSON = "attention_from_scratch"
IDEA = "Only differences between scores count."
WRONG = TestResult("slices sum to one", "failed", "wrong", "wanted shape (2, 4)\ngot (4, 2)\n\nhint: which axis?", IDEA)
MAP = ((0.5, 0.5), (0.25, 0.75))
PICTURE = Picture("weights of the sentence", ("the", "cat"), ("the", "cat"), (MAP,), (((1.0, None), (0.0, 1.0)),))


@pytest.fixture
def lesson(course):
    return course.lesson(LESSON)


def result(*tests, student="ada", score=9.0, **fields):
    return SubmissionResult(
        student,
        "x.ipynb",
        "graded",
        score=score,
        max_score=90.0,
        exercises=(ExerciseResult("softmax", score, 15.0, tests),),
        **fields,
    )


def standing(by_hand=None, penalty=0.0):
    cells = (
        CellMark("softmax", 9.0, 15.0, False, False),
        CellMark("why_scale", by_hand or 0.0, 10.0, by_hand is not None, by_hand is None),
    )
    return Standing("ada", "Ada", "Lovelace", "", "", cells, penalty, 0.0, None)


def words(html):
    return " ".join(re.sub(r"<style.*?</style>|<[^>]+>", " ", html, flags=re.S).split())


def test_a_page_says_all_that_is_known(lesson):
    """Score, sentence, wanted, got, hint, idea, repair, and what was not judged."""
    unjudged = TestResult("on the other device", "not_judged", None, "no such device here")
    told = words(made(lesson, result(WRONG, TestResult("any shape", "passed"), unjudged, repairs=("Read as text.",)), {}))
    for wanted in (
        "9 of 90 points",
        "✘ failed: slices sum to one",
        "wanted shape (2, 4) got (4, 2) hint which axis?",
        IDEA,
        "✔ passed: any shape",
        "○ not judged: on the other device",
        "Read as text.",
    ):
        assert wanted in told


def test_a_reason_is_told_once(lesson):
    """The second test with the same message points to the first."""
    told = words(made(lesson, result(WRONG, WRONG), {}))
    assert told.count("which axis?") == 1
    assert "(as above)" in told


def test_names_and_messages_cannot_speak_html(lesson):
    """Whatever a student writes is text; what cannot be seen is gone."""
    evil = '"><script>alert(1)</script>\u202e\x1b[31m'
    page = made(lesson, result(TestResult(evil, "failed", "error", evil, evil), student=evil, repairs=(evil,)), {})
    assert "<script" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page


def test_a_page_asks_for_nothing(lesson):
    """No address in it, and a policy that would not let one be fetched."""
    page = made(lesson, result(WRONG), {"softmax": PICTURE})
    assert "default-src &#39;none&#39;" in page
    assert not re.search(r"(?:src|href)=|url\(|@import|https?:", page)


def test_a_picture_shows_right_and_given(lesson):
    """Two maps with numbers; NaN has its name; no picture where nothing failed."""
    page = made(lesson, result(WRONG), {"softmax": PICTURE})
    assert "weights of the sentence" in page
    assert re.search(r"<caption>right</caption>.*0\.25.*<caption>yours</caption>.*NaN", page, re.S)
    assert "<caption>" not in made(lesson, result(TestResult("fine", "passed")), {"softmax": PICTURE})


def test_a_picture_for_nbgrader_is_escaped():
    """It stands in a notebook's output, where no policy is."""
    evil = Picture("<b>", ("<i>",), ("<u>",), (((0.5,),),), (((None,),),))
    html = picture_html(evil)
    assert not re.search(r"<[iu]>", html)
    assert "&lt;u&gt;" in html
    assert "NaN" in html


def test_marks_by_hand_are_in_the_sum(lesson):
    """9 by tests, 8.5 by hand, 1 off for being late: 16.5 of 100; page and text say so."""
    stands = standing(8.5, penalty=1.0)
    page, told = words(made(lesson, result(WRONG), {}, stands)), text(lesson, result(WRONG), stands)
    for said in (page, told):
        assert "16.5" in said
        assert "of 100 points" in said
        assert "1 points were taken off" in said
        assert "marked by a person" in said
        assert "8.5 of 10" in said


def test_what_waits_for_a_person_has_no_score_yet(lesson):
    """It is named, not counted as zero."""
    page = words(made(lesson, result(WRONG), {}, standing()))
    assert "Still to be looked at: why_scale." in page
    assert "not marked yet" in page


def test_what_nobody_wrote_was_marked_by_nobody(lesson):
    """nbgrader gives an untouched written answer 0 points itself: the page says why, and not that a person did."""
    untouched = replace(standing(8.5), cells=(CellMark("why_scale", 0.0, 10.0, by_hand=False, waits=False),))
    page = made(lesson, result(WRONG), {}, untouched)
    assert "not answered" in words(page)
    assert "marked by a person" not in words(page)
    assert re.search(r'class="score none">0 of 10<', page)


def test_an_exercise_nobody_touched_has_one_line(lesson):
    """Not a failed test for each sentence."""
    page = made(lesson, result(*[TestResult(f"t{n}", "failed", "missing", "still the stub") for n in range(9)], score=0), {})
    assert words(page).count("still the stub") == 1


def test_a_message_comes_apart():
    """Wanted, got and hint; what is none of these is a note; more lines stay together."""
    assert parts("wanted a\nmore\ngot b\n\nhint: c") == {"wanted": "a\nmore", "got": "b", "hint": "c", "note": ""}
    assert parts("raised in cell 3")["note"] == "raised in cell 3"


def test_a_class_of_pages_takes_seconds(lesson):
    """300 pages, each with 150 failing tests, must not be felt: a tenth of a second each would already fail."""
    import time

    made(lesson, result(WRONG), {})
    started = time.process_time()
    for _ in range(20):
        made(lesson, result(*[WRONG] * 150), {})
    assert (time.process_time() - started) / 20 < 0.1


# --- pictures


def shown_sentence(course):
    """What the release itself binds to X_sentence."""
    import json

    cells = json.loads(course.release(LESSON).read_text(encoding="utf-8"))["cells"]
    source = next(text for cell in cells if "X_sentence = torch.tensor(" in (text := "".join(cell["source"])))
    space = {"torch": torch, "math": __import__("math")}
    exec(source.partition("alt =")[0], space)  # noqa: S102 - our own notebook
    return space["X_sentence"]


def test_pictures_show_what_the_notebook_shows(course):
    """Their sentence is the release's, number for number: never a hidden input."""
    space = {}
    path = course.root / "tests" / LESSON / "pictures.py"
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)  # noqa: S102
    assert torch.equal(space["X"], shown_sentence(course))


def test_a_right_answer_has_no_picture(course):
    """And every picture's maps fit its labels."""
    lesson = course.lesson(LESSON)
    gallery = Gallery(lesson.suites / "pictures.py", reference := load_reference(lesson))
    assert set(shown_in(gallery.path)) <= {each.name for each in lesson.exercises}
    for name, shown in gallery.shown.items():
        assert gallery.draw(name, reference) is None
        for rows in gallery._right[name]:
            assert (len(rows), len(rows[0])) == (len(shown.rows), len(shown.columns))


def test_an_answer_of_another_kind_has_no_picture(course):
    """A wrong shape, an error, no tensor: the tests say it."""
    lesson = course.lesson(LESSON)
    gallery = Gallery(lesson.suites / "pictures.py", load_reference(lesson))

    def draws(given):
        answers = type("Answers", (), {"causal_mask": staticmethod(given)})
        return gallery.draw("causal_mask", answers)

    assert draws(lambda n: torch.zeros(n, n + 1)) is None
    assert draws(lambda n: "nothing") is None
    assert draws(lambda n: 1 / 0) is None
    assert draws(lambda n: torch.zeros(n, n)).given[0][0][1] == 0
    assert draws(lambda n: torch.full((n, n), float("nan"))).given[0][0][0] is None
