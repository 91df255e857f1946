"""Grader and child share a processor while it is free, leave it when it is not; with no choice nothing is lost."""

import os
import time

import pytest

from autograder import cores
from autograder.cores import APART, Cores

TWO = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


@pytest.fixture
def queued(monkeypatch):
    """What the kernel says about waiting, as the test wants it: a list whose entries are given one after another."""
    answers = []
    monkeypatch.setattr(cores, "_queued_s", lambda: answers.pop(0) if answers else 0.0)
    return answers


@TWO
def test_one_processor_for_both_and_all_of_them_afterwards(queued):
    """Inside the with statement there is one, for this thread and for children."""
    mine, before = Cores(), os.sched_getaffinity(0)
    with mine.shared():
        assert os.sched_getaffinity(0) == set(mine.chosen)
        assert len(mine.chosen) == 1
    assert os.sched_getaffinity(0) == before == set(mine.chosen)


@TWO
def test_a_processor_that_others_want_is_left_to_them(queued):
    """Where the grader stood in the queue, the scheduler places the next submissions; then it is tried again."""
    mine = Cores()
    queued[:] = [0.0, 5.0]
    with mine.shared():
        assert len(mine.chosen) == 1
    for _ in range(APART):
        with mine.shared():
            assert mine.chosen == mine.allowed
    with mine.shared():
        assert len(mine.chosen) == 1


@TWO
def test_standing_in_the_queue_is_seen():
    """The kernel's own figure grows where two processes want one processor, and not where one is alone."""
    before = cores._queued_s()
    assert before is not None
    mine = Cores()
    busy = os.fork()
    if busy == 0:
        os.sched_setaffinity(0, mine.allowed[:1])
        while True:
            pass
    try:
        os.sched_setaffinity(0, mine.allowed[:1])
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            pass
        assert cores._queued_s() - before > 0.1
    finally:
        os.sched_setaffinity(0, mine.allowed)
        os.kill(busy, 9)
        os.waitpid(busy, 0)


@pytest.mark.parametrize("broken", [OSError("no such file"), None], ids=["a kernel that does not say", "one that says"])
def test_no_choice_is_no_fault(monkeypatch, broken):
    """No figure, or a processor that may not be chosen: everything goes on, where it was."""
    before = os.sched_getaffinity(0)

    def refuse(*_):
        raise OSError("not yours to choose")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(cores, "_queued_s", lambda: None if broken else 0.0)
    mine = Cores()
    with mine.shared():
        assert mine.chosen == mine.allowed
    assert os.sched_getaffinity(0) == before


@TWO
def test_a_child_runs_where_the_grader_does(sandbox_named):
    """Its processors are those that were chosen when it was made."""
    sandbox = sandbox_named("landlock")  # here its process id is ours too
    with sandbox.together():
        assert len(os.sched_getaffinity(0)) == 1
        near = sandbox.child()
        assert _settles_on(near.pid, os.sched_getaffinity(0))
        near.close()
    apart = sandbox.child()
    assert _settles_on(apart.pid, os.sched_getaffinity(0))
    apart.close()


@TWO
def test_a_child_that_works_for_long_runs_where_there_is_room(sandbox_named, student_of):
    """A turn that takes a tenth of a second ends the sharing: a function's time must not hang on who else is there."""
    sandbox = sandbox_named("landlock")
    source = "import time\ndef quick():\n    return 1\ndef slow():\n    time.sleep(0.3)\n    return 2\n"
    with sandbox.together():
        student = student_of(source, "quick", "slow", box=sandbox)
        assert student.quick() == 1
        child = student.session._channel.pid
        assert len(os.sched_getaffinity(child)) == len(os.sched_getaffinity(0)) == 1
        assert student.slow() == 2
        assert os.sched_getaffinity(child) == os.sched_getaffinity(0) == set(sandbox._cores.allowed)


def _settles_on(pid, processors):
    """Whether the process, which has only just been made, comes to run on these."""
    until = time.monotonic() + 10
    while os.sched_getaffinity(pid) != processors and time.monotonic() < until:
        time.sleep(0.01)
    return os.sched_getaffinity(pid) == processors
