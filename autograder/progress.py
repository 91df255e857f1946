"""How far a run is: a bar on a terminal, a line every few seconds anywhere else.

Enters: each result as it comes. Leaves: text on the console, and counts of what was graded, known and broken.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from autograder.results import SubmissionResult

LINE_S = 5.0  # between two lines where there is no terminal
WORDS = {"graded": "graded", "needs_review": "to review", "unreadable": "unreadable"}


@dataclass
class Tally:
    """What has come so far."""

    total: int
    known: int = 0  # submissions of which nothing had to be run
    status: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Submissions that are dealt with."""
        return self.status.total()

    def add(self, result: SubmissionResult, *, known: bool) -> None:
        """Counts one more."""
        self.status[result.status] += 1
        self.known += known

    def rate(self) -> float:
        """Submissions a second since the start."""
        return self.done / max(time.monotonic() - self.started, 1e-3)

    def in_words(self) -> str:
        """Counts by status."""
        return ", ".join(f"{self.status[status]} {word}" for status, word in WORDS.items() if self.status[status])


@contextmanager
def progress(console: Console, tally: Tally) -> Iterator[Progress | None]:
    """A bar that `show` moves; None where there is no terminal."""
    if not console.is_terminal:
        yield None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True) as bar:
        bar.add_task("starting", total=tally.total)
        yield bar


class Shown:
    """Moves the bar, or writes a line where one is due."""

    def __init__(self, console: Console, tally: Tally, bar: Progress | None) -> None:
        self._console, self._tally, self._bar = console, tally, bar
        self._next_line = time.monotonic() + LINE_S

    def step(self) -> None:
        """Shows the counts as they are."""
        tally = self._tally
        rate = f"{tally.rate():.1f} a second"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=tally.done, description=f"{rate}; {tally.in_words()}")
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_S
            left = (tally.total - tally.done) / tally.rate()
            self._console.print(f"{tally.done} of {tally.total}, {rate}, {left:.0f} s left; {tally.in_words()}")
