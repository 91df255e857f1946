"""Job processes on this machine: each takes paper after paper, an idle one the next; a dead one is replaced.

A paper over which a job died, fell silent or broke is given to another job once more; then it is left for review. The
processes are plain subprocesses, one socket each: the death of one ends no other (job.py is what they run).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from autograder.errors import GraderError
from autograder.job import Broke, Done, Ready, Setup, Task, encode, read_answer, receive, send

SILENT_S = 600.0  # a submission has 120 s; what the suites and the diagnosis add stays far below the rest
LEAVE_S = 5.0  # for an idle job to end its box
STARTS = 3  # job processes in a row that may die before they are ready
_START = "import sys; sys.path[:0] = [sys.argv[2]]; from autograder.job import serve; serve(int(sys.argv[1]))"
_PACKAGES = str(Path(__file__).resolve().parent.parent)


def _nothing() -> None:
    """What there is to do while the first job starts, if nobody says."""


def physical_cores() -> int:
    """Cores that this process may use, each counted once however many threads it has."""
    cores = set()
    for number in os.sched_getaffinity(0):
        place = Path(f"/sys/devices/system/cpu/cpu{number}/topology")
        try:
            cores.add(((place / "physical_package_id").read_text(), (place / "core_id").read_text()))
        except OSError:  # a machine that does not say: every processor counts
            cores.add(("", str(number)))
    return len(cores)


class Job:
    """One job process and what it is doing."""

    def __init__(self, setup: Setup) -> None:
        self.socket, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        command = [sys.executable, "-s", "-P", "-c", _START, str(theirs.fileno()), _PACKAGES]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command,
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        theirs.close()
        send(self.socket, encode(setup))
        self.is_ready = False
        self.broken: dict[str, str] = {}  # exercises whose suite it cannot run, and why
        self.task: Task | None = None
        self.since = time.monotonic()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_idle(self) -> bool:
        """Is it waiting for a paper?"""
        return self.is_ready and self.task is None

    def give(self, task: Task) -> None:
        """Hands it a paper; a job that is gone shows when it is listened to."""
        self.task, self.since = task, time.monotonic()
        with suppress(OSError):
            send(self.socket, encode(task))

    def waits(self, seconds: float) -> bool:
        """Waits until it says something; False where it stays silent."""
        return bool(select.select([self.socket], [], [], seconds)[0])

    def take(self) -> Ready | Broke | Done:
        """What it says; raises EOFError where it is gone."""
        return read_answer(receive(self.socket))

    def dismiss(self) -> None:
        """Tells an idle job to end by itself: nothing comes from here any more."""
        self.socket.shutdown(socket.SHUT_WR)

    def end(self, patience_s: float = 0) -> str:
        """Ends it, at once or if it has not ended in time; says how it had ended before, if it had."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self.socket.close()
        code = self._process.poll()
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._errors.close()
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return lines[-1][:300] if lines else "it said nothing"


class Pool:
    """At most `jobs` job processes; they are started when there is work for them. A context manager."""

    def __init__(self, setup: Setup, jobs: int, meanwhile: Callable[[], object] = _nothing) -> None:
        self._setup, self._most, self._meanwhile = setup, jobs, meanwhile
        self.jobs: list[Job] = []
        self.broken: dict[str, str] = {}  # exercises whose suite cannot be run, and why
        self._ahead: deque[Task] = deque()  # read, and waiting for a job
        self._troubled: dict[int, str] = {}  # number of a paper over which a job broke -> how
        self._failed_starts = 0
        self._poll = select.poll()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        idle = [job for job in self.jobs if job.is_idle]
        for job in idle:
            job.dismiss()
        for job in self.jobs:
            job.end(patience_s=LEAVE_S if job in idle else 0)
        self.jobs.clear()

    def run(self, tasks: Iterator[Task]) -> Iterator[Done]:
        """The verdicts on all tasks, as they come; raises GraderError where jobs cannot be started."""
        while True:
            self._look_ahead(tasks)
            for job in [job for job in self.jobs if job.is_idle and self._ahead]:
                job.give(self._ahead.popleft())
            if not self._ahead and all(job.task is None for job in self.jobs):
                return
            self._look_ahead(tasks)  # papers are read while jobs work
            for job in self._heard():
                yield from self._hear(job)

    def _look_ahead(self, tasks: Iterator[Task]) -> None:
        """Has a paper ready for each job, and a job for each paper that waits."""
        for task in tasks if len(self._ahead) < self._most else ():
            self._ahead.append(task)
            self._start_for_those_that_wait()
            if len(self._ahead) >= self._most:
                break
        self._start_for_those_that_wait()

    def _start_for_those_that_wait(self) -> None:
        free = sum(job.task is None for job in self.jobs)
        if free >= len(self._ahead) or len(self.jobs) >= self._most:
            return
        job = Job(self._setup)
        self._poll.register(job.socket, select.POLLIN)
        self.jobs.append(job)
        meanwhile, self._meanwhile = self._meanwhile, _nothing
        meanwhile()

    def _heard(self) -> list[Job]:
        """Waits for jobs that have something to say, or have said nothing for too long."""
        ready = {descriptor for descriptor, _ in self._poll.poll(1000)}
        late = time.monotonic() - SILENT_S
        return [
            job
            for job in self.jobs
            if job.socket.fileno() in ready or (not job.is_idle and job.since < late)
        ]

    def _hear(self, job: Job) -> Iterator[Done]:
        if not job.waits(0):
            yield from self._lost(job, f"gave no verdict in {SILENT_S:g} s")
            return
        try:
            answer = job.take()
        except EOFError:
            yield from self._lost(job, "")
            return
        if isinstance(answer, Broke):
            raise GraderError(answer.why)
        if isinstance(answer, Ready):
            job.is_ready, self.broken, self._failed_starts = True, answer.broken, 0
        elif answer.fault:
            yield from self._lost(job, answer.fault)
        else:
            job.task = self._ahead.popleft() if self._ahead else None
            if job.task is not None:
                job.give(job.task)  # before the coordinator does anything else
            yield answer

    def _lost(self, job: Job, why: str) -> Iterator[Done]:
        """Takes leave of a job; its paper is given to another, or left for review if that happened before."""
        self._poll.unregister(job.socket)
        self.jobs.remove(job)
        died = job.end(patience_s=0 if why else LEAVE_S)  # it closed its socket: it is about to end by itself
        if job.task is None:
            self._failed_starts += not job.is_ready
            if self._failed_starts >= STARTS:
                raise GraderError(f"{STARTS} job processes in a row died before they were ready: {died}")
            return
        number, why = job.task.number, why or f"the process that graded it died: {died}"
        if number in self._troubled:
            yield Done(number, fault=f"{why} (it was tried twice)")
        else:
            self._troubled[number] = why
            self._ahead.appendleft(job.task)
