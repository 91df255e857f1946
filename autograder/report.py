"""What a result says to people: a terminal table, text for a file, HTML for an autograded notebook.

Enters: results. Leaves: text without control characters, cut to a stated length, escaped for where it is shown.
Every word that may come from a student (names, paths, messages) passes through `clean`; a terminal can be told by
control characters to lie, and a line by direction marks to read backwards. Must not open a file.
"""

from __future__ import annotations

from functools import lru_cache

from rich.table import Table

from autograder.results import ExerciseResult, Results, SubmissionResult, TestResult
from autograder.safetext import MESSAGE_LIMIT, clean, html, markup, one_line

PAGE_LIMIT = 100_000  # characters of all that is said of one exercise
MARKS = {"passed": "✔", "failed": "✘", "not_judged": "○"}
STATUS = {"graded": "[green]graded[/]", "needs_review": "[yellow]needs review[/]", "unreadable": "[red]unreadable[/]"}
CAUSES = {
    "wrong": "wrong result",
    "error": "raises an error",
    "missing": "not answered",
    "timeout": "does not end in time",
    "memory": "takes too much memory",
    "crash": "kills its process",
    "forbidden": "uses what the lesson forbids",
    "output": "floods its output",
}


def points(value: float) -> str:
    """A score without needless zeros, at most two digits after the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def in_words(result: SubmissionResult) -> str:
    """One plain sentence: what happened to a submission, and what to look at."""
    message = one_line(result.message)
    if result.status == "unreadable":
        return message
    lost = [exercise for exercise in result.exercises if exercise.score < exercise.max_score]
    if result.exercises and not lost:
        happened = "every test passes"
    elif lost and all(_causes(exercise) == ["missing"] for exercise in lost) and result.score == 0:
        happened = "nothing is answered"
    else:
        happened = "; ".join(_loss(exercise) for exercise in lost)
    return " ".join(part for part in (message, happened) if part)


def table(results: Results) -> Table:
    """The class as a table for the terminal: student, status, points, what happened."""
    box = results.sandbox if results.sandbox != "none" else "none: students' code could do whatever you can"
    title = f"{results.lesson} on {results.device}, box: {box}"
    rows = Table(title=markup(title), title_justify="left")
    for heading in ("student", "status", "points", "what happened"):
        rows.add_column(heading, justify="right" if heading == "points" else "left")
    for result in results.submissions:
        score = f"{points(result.score)} / {points(result.max_score)}" if result.status != "unreadable" else "-"
        rows.add_row(markup(result.student, 40), STATUS[result.status], score, markup(in_words(result), MESSAGE_LIMIT))
    return rows


def feedback(result: SubmissionResult) -> str:
    """All that a student gets back, as plain text: points, repairs, each test of each exercise."""
    notes = [clean(note) for note in (result.message, *result.repairs) if note]
    if result.status == "unreadable":
        return "\n\n".join([f"{one_line(result.student)}: could not be read", *notes]) + "\n"
    head = f"{one_line(result.student)}: {points(result.score)} of {points(result.max_score)} points ({result.status})"
    return "\n\n".join([head, *notes, *(exercise_text(exercise) for exercise in result.exercises)]) + "\n"


@lru_cache(maxsize=256)  # a student's page, file and notebook say it, and most students' right answers say the same
def exercise_text(exercise: ExerciseResult) -> str:
    """One exercise's points, the ideas behind what is wrong, then a line a test; what failed says why, indented."""
    head = f"{exercise.name}: {points(exercise.score)} of {points(exercise.max_score)} points"
    if untouched(exercise):
        return f"{head}\n  ○ {_message(exercise.tests[0]) or 'not answered'}"
    told: set[str] = set()
    found = ideas(exercise)
    lines = [head, *(f"  → {one_line(idea)}" for idea in found)]
    for test in exercise.tests:
        lines += _test_lines(test, told, "" if len(found) == 1 else clean(test.misconception or ""))
    return "\n".join(lines)


def exercise_html(exercise: ExerciseResult) -> str:
    """The same for a notebook's output; all text is escaped."""
    return f'<pre class="autograder" style="white-space: pre-wrap">{html(exercise_text(exercise), PAGE_LIMIT)}</pre>'


def untouched(exercise: ExerciseResult) -> bool:
    """Was nothing handed in for it?"""
    return exercise.score == 0 and _causes(exercise) == ["missing"]


def _causes(exercise: ExerciseResult) -> list[str]:
    """Why tests of an exercise failed, each cause once, in the order of the tests."""
    return list(dict.fromkeys(test.cause for test in exercise.tests if test.outcome == "failed" and test.cause))


def ideas(exercise: ExerciseResult) -> list[str]:
    """What explains the failed tests of an exercise, the idea that explains most of them first."""
    named = [test.misconception for test in exercise.tests if test.misconception]
    return sorted(dict.fromkeys(named), key=named.count, reverse=True)


def sentence(test: TestResult) -> str:
    """What a test claims, and where, if not on the CPU."""
    return one_line(test.name) + ("" if test.device == "cpu" else f" [{test.device}]")


def told_cause(test: TestResult) -> str:
    """Why a test failed, in words; nothing for a wrong result, of which the message says more."""
    return CAUSES[test.cause] if test.outcome == "failed" and test.cause not in (None, "wrong") else ""


def _loss(exercise: ExerciseResult) -> str:
    unjudged = any(test.outcome == "not_judged" for test in exercise.tests)
    reasons = ideas(exercise) or [CAUSES[cause] for cause in _causes(exercise)] or ["not judged"] * unjudged
    score = f"{exercise.name} {points(exercise.score)}/{points(exercise.max_score)}"
    return f"{score} ({one_line(', '.join(reasons))})" if reasons else score


def _test_lines(test: TestResult, told: set[str], idea: str) -> list[str]:
    """A test's line and, unless it passed, why, the idea first; a reason that was `told` before is not told again."""
    line = f"  {MARKS[test.outcome]} {sentence(test)}"
    if test.outcome == "passed":
        return [line]
    if cause := told_cause(test):
        line += f": {cause}"
    reason = "\n".join(text for text in (idea, _message(test)) if text)
    if reason in told:
        return [f"{line} (as above)"]
    told |= {reason} - {""}
    return [line, *(f"      {part}".rstrip() for part in reason.splitlines())]


def _message(test: TestResult) -> str:
    return clean(test.message).strip()
