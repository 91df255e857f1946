"""Progress: counts that add up, a bar for a terminal, a line now and then for a log."""

import io

import pytest
from rich.console import Console

from autograder import progress
from autograder.progress import Shown, Tally
from autograder.results import SubmissionResult


@pytest.fixture
def tally():
    """Three of ten are done: two graded, one of them known before, one unreadable."""
    made = Tally(10)
    for status, known in (("graded", True), ("graded", False), ("unreadable", False)):
        made.add(SubmissionResult("ada", "", status), known=known)
    return made


def test_counts_add_up(tally):
    """Done, known, and by status in words."""
    assert (tally.done, tally.known) == (3, 1)
    assert tally.in_words() == "2 graded, 1 unreadable"
    assert tally.rate() > 0


def test_a_log_gets_a_line_now_and_then(tally, monkeypatch):
    """No bar, no control characters; not a line for each submission."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    tally.started = 70.0
    console = Console(file=io.StringIO(), width=200)
    with progress.progress(console, tally) as bar:
        assert bar is None
        shown = Shown(console, tally, bar)
        for moment in (101.0, 104.0, 106.0, 107.0):
            now[0] = moment
            shown.step()
    assert console.file.getvalue() == "3 of 10, 0.1 a second, 84 s left; 2 graded, 1 unreadable\n"


def test_a_terminal_gets_a_bar(tally):
    """Done and total, rate, counts, time left."""
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with progress.progress(console, tally) as bar:
        Shown(console, tally, bar).step()
        bar.refresh()
    text = console.file.getvalue()
    assert "3/10" in text
    assert "2 graded, 1 unreadable" in text
    assert "a second" in text
    assert "left" in text
