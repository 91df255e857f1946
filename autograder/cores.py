"""One processor for a grader and the children that answer it, for as long as nobody else wants that one.

The two take turns: one waits while the other works. On a processor each, every turn wakes one that had gone to sleep, some
hundred times a submission. Sharing one is only worth it while turns are short and it is free: a child that works for long
may run where there is room (`part`), and the time that the grader stood in the queue for its processor is looked at after
each submission. Where that cannot be seen, or processors cannot be chosen, nothing is chosen.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

QUEUE = Path("/proc/thread-self/schedstat")  # ns on a processor, ns in the queue for one, turns
MOST_QUEUED = 0.25  # of the time; more, and another process works there
APART = 20  # submissions that the scheduler may place after that


class Cores:
    """The processors on which this thread, and each child made meanwhile, may run."""

    def __init__(self) -> None:
        self.allowed: list[int] = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.chosen = self.allowed  # those of the children
        self._apart = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keeps this thread and the children made in the with statement on the processor where it is now."""
        queued = _queued_s()
        if self._apart or len(self.allowed) < 2 or queued is None:
            self._apart = max(self._apart - 1, 0)
            yield
            return
        started = time.monotonic()
        try:
            self._choose([ctypes.CDLL(None).sched_getcpu()])
            yield
        finally:
            self._choose(self.allowed)
            if (_queued_s() or 0) - queued > MOST_QUEUED * (time.monotonic() - started):
                self._apart = APART

    def part(self) -> bool:
        """Ends the sharing before the with statement does; whether there was any."""
        was_shared = self.chosen != self.allowed
        if was_shared:
            self._choose(self.allowed)
        return was_shared

    def _choose(self, processors: list[int]) -> None:
        with suppress(OSError):  # taken from us meanwhile, or not ours to choose: then where the kernel puts us
            os.sched_setaffinity(0, processors)
            self.chosen = processors


def _queued_s() -> float | None:
    """How long this thread has waited for a processor; None where the kernel does not say."""
    try:
        return int(QUEUE.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None
