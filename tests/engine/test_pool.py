"""Job processes: an idle one takes the next paper, a dead one is replaced, nobody pays for another's death."""

import os
import time
from pathlib import Path

import pytest

from autograder import pool
from autograder.errors import GraderError
from autograder.job import Setup, Task
from autograder.keys import Salts
from autograder.notebook import Cell
from autograder.pool import Pool, physical_cores
from autograder.program import Program

PACKAGE = Path(pool.__file__).parent
SETUP = Setup("/course", "lesson", "cpu", "landlock", b"secret", "engine")
# A job that does what a paper's student is called, in place of judging; the paper's cell names a file to leave a mark in.
STAND_IN = """
import os, signal, socket, sys, time
sys.path[:0] = [sys.argv[2]]
import msgspec
from autograder.job import Broke, Done, Ready, Setup, Task, encode, receive, send
channel = socket.socket(fileno=int(sys.argv[1]))
setup = msgspec.json.decode(receive(channel), type=Setup)
if setup.box == "dies":
    sys.exit("no torch here")
send(channel, encode(Broke("no suite")) if setup.box == "broken" else encode(Ready({"softmax": "SyntaxError"})))
try:
    while True:
        task = msgspec.json.decode(receive(channel), type=Task)
        place = task.cells[0].source
        first = not os.path.exists(place)
        with open(place, "a") as file:
            file.write(str(os.getpid()) + chr(10))
        if task.student == "kills" or (task.student == "kills once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if task.student == "silent":
            time.sleep(60)
        if task.student == "slow":
            time.sleep(1)
        broke = task.student == "breaks" or (task.student == "breaks once" and first)
        send(channel, encode(Done(task.number, fault="the box broke" if broke else "")))
        if broke:
            break
except EOFError:
    pass
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs papers of students by these names over stand-in jobs; verdicts by number, and marks of who judged what."""
    monkeypatch.setattr(pool, "_START", STAND_IN)

    def start(*students, jobs=2, box="landlock"):
        def tasks():
            for number, student in enumerate(students):
                cell = Cell(1, "code", str(tmp_path / str(number)))
                yield Task(number, student, (cell,), Program((), {}, {}, (), ()), Salts("", {}, ""), {})

        setup = Setup("/course", "lesson", "cpu", box, b"secret", "engine")
        with Pool(setup, jobs) as workers:
            found = {done.number: done for done in workers.run(tasks())}
            pids = [job.pid for job in workers.jobs]
        marks = {int(path.name): path.read_text().split() for path in tmp_path.iterdir()}
        return found, marks, pids, workers

    return start


def test_every_paper_is_judged_once(run):
    """Ten papers, two jobs: each paper has one verdict from one of the two."""
    found, marks, pids, _ = run(*["right"] * 10)
    assert sorted(found) == list(range(10))
    assert not any(done.fault for done in found.values())
    assert all(len(judges) == 1 for judges in marks.values())
    assert {judge for judges in marks.values() for judge in judges} <= {str(pid) for pid in pids}


def test_an_idle_job_takes_the_next_paper(run):
    """While one job is busy for a second, the other judges the rest."""
    _, marks, _, _ = run("slow", *["right"] * 8)
    assert sum(judges != marks[0] for number, judges in marks.items() if number) >= 6


def test_no_more_jobs_than_papers(run):
    """One paper, eight jobs allowed: one is started."""
    _, _, pids, _ = run("right", jobs=8)
    assert len(pids) == 1


def test_nothing_to_judge_starts_nothing(run):
    """A class of which everything is known costs no process."""
    found, _, pids, _ = run()
    assert (found, pids) == ({}, [])


@pytest.mark.parametrize("trouble", ["kills once", "breaks once"])
def test_a_paper_over_which_a_job_is_lost_gets_a_second_one(run, trouble):
    """Its verdict is that of the second; nobody else notices."""
    found, marks, _, _ = run("right", trouble, "right", "right")
    assert not any(done.fault for done in found.values())
    assert len(set(marks[1])) == 2


@pytest.mark.parametrize(("trouble", "why"), [("kills", "SIGKILL"), ("breaks", "the box broke")])
def test_after_the_second_it_is_left_for_review(run, trouble, why):
    """The reason is said; all others have their verdicts."""
    found, marks, _, _ = run("right", trouble, "right", "right", jobs=1)
    assert why in found[1].fault
    assert "tried twice" in found[1].fault
    assert len(marks[1]) == 2
    assert not any(found[number].fault for number in (0, 2, 3))


def test_a_silent_job_is_given_up(run, monkeypatch):
    """A job that says nothing for too long is ended, like one that died."""
    monkeypatch.setattr(pool, "SILENT_S", 0.5)
    started = time.monotonic()
    found, _, _, _ = run("silent", "right")
    assert "no verdict" in found[0].fault
    assert not found[1].fault
    assert time.monotonic() - started < 30


def test_jobs_end_with_the_pool(run):
    """No process is left, idle or busy."""
    _, _, pids, _ = run("right", "right", "right")
    assert pids
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_a_busy_job_ends_with_the_pool(monkeypatch, tmp_path):
    """Ctrl-C while a job is busy: it is ended at once."""
    monkeypatch.setattr(pool, "_START", STAND_IN)
    cell = Cell(1, "code", str(tmp_path / "0"))
    task = Task(0, "silent", (cell,), Program((), {}, {}, (), ()), Salts("", {}, ""), {})
    jobs = []

    def interrupt(self):
        jobs[:] = self.jobs
        if self.jobs[0].task is not None:
            raise KeyboardInterrupt
        return heard(self)

    heard = Pool._heard
    monkeypatch.setattr(Pool, "_heard", interrupt)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Pool(SETUP, 1) as workers:
        list(workers.run(iter([task])))
    assert time.monotonic() - started < 10
    assert not os.path.exists(f"/proc/{jobs[0].pid}")


def test_what_is_broken_everywhere_stops_the_run(run):
    """A lesson that cannot be made ready is our fault, and said once."""
    with pytest.raises(GraderError, match="no suite"):
        run("right", box="broken")


def test_jobs_that_never_get_ready_stop_the_run(run):
    """After three in a row, with their last words."""
    with pytest.raises(GraderError, match="no torch here"):
        run("right", box="dies")


def test_broken_suites_are_told(run):
    """What jobs say of suites reaches the run."""
    *_, workers = run("right")
    assert workers.broken == {"softmax": "SyntaxError"}


def test_physical_cores():
    """At least one, and not more than this process may use."""
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))


def test_nothing_is_pickled():
    """What crosses between processes is JSON and tensors' bytes: no module of the package unpickles."""
    words = ("import pickle", "import dill", "import cloudpickle", "import shelve", "import marshal", "torch.load(")
    guilty = [path.name for path in PACKAGE.rglob("*.py") if any(word in path.read_text() for word in words)]
    assert guilty == []
