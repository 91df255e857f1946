"""What people are shown: plain words, nothing that a terminal or a browser would obey."""

import io

from rich.console import Console

from autograder import report
from autograder.results import ExerciseResult, Results, SubmissionResult, TestResult

PASSED = TestResult("rows sum to one", "passed")
WRONG = TestResult("all -inf gives zeros", "failed", "wrong", "weights must be zero\n\nhint: count <what> is left")
LATE = TestResult("long rows", "failed", "timeout", "no answer after 5 s")
MISSING = TestResult("rows sum to one", "failed", "missing", "softmax is not in the notebook")


def submission(*exercises, student="ada", status="graded", message="", repairs=()):
    score, most = sum(one.score for one in exercises), sum(one.max_score for one in exercises)
    return SubmissionResult(student, "x.ipynb", status, message, score, most, 0.5, tuple(repairs), exercises)


def printed(*submissions):
    console = Console(file=io.StringIO(), width=160)
    console.print(report.table(Results("lesson", "cpu", "landlock", submissions)))
    return console.file.getvalue()


def test_points_have_no_needless_zeros():
    """87.5 is 87.5 and 90.0 is 90."""
    assert [report.points(value) for value in (90.0, 87.5, 0.0, 3.333333)] == ["90", "87.5", "0", "3.33"]


def test_a_loss_is_told_in_plain_words():
    """The table says what went wrong, not the engine's code for it."""
    result = submission(ExerciseResult("softmax", 9, 15, (PASSED, WRONG, LATE)))
    assert report.in_words(result) == "softmax 9/15 (wrong result, does not end in time)"


def test_a_known_idea_is_told_instead_of_its_cause():
    """Where a misconception explains the outputs, it is named."""
    failed = TestResult("scaled", "failed", "wrong", misconception="the scores are not scaled")
    assert "the scores are not scaled" in report.in_words(submission(ExerciseResult("attention", 1, 5, (failed,))))


def test_full_marks_no_answers_and_held_back_points_are_told():
    """Each of the plain cases has its sentence."""
    unjudged = TestResult("device", "not_judged")
    assert report.in_words(submission(ExerciseResult("softmax", 15, 15, (PASSED,)))) == "every test passes"
    assert report.in_words(submission(ExerciseResult("softmax", 0, 15, (MISSING,)))) == "nothing is answered"
    assert report.in_words(submission(ExerciseResult("softmax", 0, 15, (unjudged,)))) == "softmax 0/15 (not judged)"


def test_markup_in_names_and_messages_is_shown_as_text():
    """A student called [red] is not a colour."""
    text = printed(submission(student="[red]eve[/red]", status="unreadable", message="[link=x]is no notebook[/link]"))
    assert "[red]eve[/red]" in text
    assert "[link=x]is no notebook" in text


def test_an_unreadable_submission_has_no_points_in_the_table():
    """A dash, since nobody gets a zero for a file that was not read."""
    assert "0 / 0" not in printed(submission(status="unreadable", message="is cut off"))


def test_feedback_holds_repairs_and_each_test():
    """What a student gets back: points, what was repaired, why a test failed."""
    text = report.feedback(submission(ExerciseResult("softmax", 9, 15, (PASSED, WRONG, LATE)), repairs=["a repair"]))
    assert "a repair" in text
    assert "✔ rows sum to one" in text
    assert "hint: count <what> is left" in text
    assert "✘ long rows: does not end in time" in text


def test_feedback_of_a_missing_exercise_is_one_line():
    """Nobody reads the same message for each of its tests."""
    assert report.exercise_text(ExerciseResult("softmax", 0, 15, (MISSING, MISSING))).count("softmax") == 2


def test_a_reason_is_told_once():
    """Ten tests that fail in the same line do not repeat it ten times."""
    same = TestResult("long rows", "failed", "wrong", WRONG.message)
    text = report.exercise_text(ExerciseResult("softmax", 0, 15, (WRONG, same)))
    assert text.count("weights must be zero") == 1
    assert "long rows (as above)" in text


def test_feedback_says_on_which_device_a_test_ran():
    """A failure on the GPU is told as one."""
    on_gpu = TestResult("rows sum to one", "failed", "wrong", device="cuda")
    assert "rows sum to one [cuda]" in report.exercise_text(ExerciseResult("softmax", 0, 15, (on_gpu,)))


def test_html_feedback_is_escaped():
    """No message becomes markup in formgrader."""
    html = report.exercise_html(ExerciseResult("softmax", 9, 15, (WRONG,)))
    assert "&lt;what&gt;" in html
    assert "<what>" not in html
