"""A class on a `dask.distributed` cluster: the same papers, judged by a job process (job.py) beside each Dask worker.

Dask moves functions and objects between machines by pickle, which is why whoever can reach a scheduler can run code on its
workers. So this file hands Dask nothing but its own functions and plain bytes (the JSON of job.py), and refuses a scheduler
that is neither on this machine nor behind TLS unless that is asked for. Student code meets neither Dask nor pickle: it runs
in the job's box.

A worker needs the package and the course's folder, at the same path; no submission, no gradebook. Results stream back as
they end. A worker that is lost loses no paper: Dask gives it to another, and one that kills worker after worker is left
for review. Workers with a GPU are asked for by the Dask resource `GPU`.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from autograder.errors import GraderError
from autograder.job import Broke, Done, Ready, Setup, Task, encode, read_answer
from autograder.pool import SILENT_S, Job, physical_cores

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "local-cluster"
AHEAD = 3  # papers on their way for each thread of the cluster: none waits for the coordinator
TRIES = 2  # jobs that may break over a paper


def refuse_open(address: str, *, insecure: bool) -> None:
    """Raises GraderError where anybody who reaches the scheduler could run code on its workers, and on us."""
    parts = urlsplit(address)
    if address == LOCAL or parts.scheme == "tls" or insecure or (parts.scheme == "tcp" and _is_loopback(parts.hostname)):
        return
    raise GraderError(
        f"--scheduler {address} is neither tls:// nor on this machine: whoever reaches it can run code on its workers, and "
        "read the course's secret; set up TLS, or pass --insecure-scheduler on a network that you trust"
    )


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


@contextmanager
def connect(setup: Setup, address: str, *, insecure: bool = False, workers: int | None = None) -> Iterator[Cluster]:
    """Workers of a cluster, ready to judge; raises GraderError where there is none to be had.

    `workers` is how many a cluster on this machine gets: the physical cores if not given.
    """
    refuse_open(address, insecure=insecure)
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise GraderError("--scheduler needs dask: pip install 'deep-learning-abc[dask]'") from error
    try:
        if address == LOCAL:
            n_workers = workers or physical_cores()
            with (
                LocalCluster(n_workers=n_workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as local,
                Client(local) as client,
            ):
                yield Cluster(client, setup)
        else:
            with Client(address, timeout=30) as client:
                yield Cluster(client, setup)
    except OSError as error:
        raise GraderError(f"no Dask scheduler answers at {address} ({error})") from error


class Cluster:
    """A connected cluster; `run` is what class_run.py asks for."""

    def __init__(self, client: Client, setup: Setup) -> None:
        self.client, self._setup = client, encode(setup)
        self._resources = {"resources": {"GPU": 1}} if setup.device != "cpu" else {}
        self.broken: dict[str, str] = {}

    def run(self, tasks: Iterator[Task]) -> Iterator[Done]:
        """The verdicts on all tasks, as they come; raises GraderError where workers cannot judge at all."""
        from distributed import as_completed

        numbers: dict[Any, int] = {}
        futures = as_completed()
        for future in self._submitted(tasks, self._ahead()):
            numbers[future.key] = _number(future)
            futures.add(future)
        for future in futures:
            yield self._done(future, numbers.pop(future.key))
            for further in self._submitted(tasks, 1):
                numbers[further.key] = _number(further)
                futures.add(further)

    def _ahead(self) -> int:
        threads = sum(self.client.nthreads().values())
        return AHEAD * max(int(threads), 1)

    def _submitted(self, tasks: Iterator[Task], most: int) -> Iterator[Future[Any]]:
        for _ in range(most):
            task = next(tasks, None)
            if task is None:
                return
            key = f"autograder-{id(self)}-{task.number}"
            yield self.client.submit(judge_on_worker, self._setup, encode(task), key=key, pure=False, **self._resources)

    def _done(self, future: Future[Any], number: int) -> Done:
        from distributed import KilledWorker

        try:
            answer, broken = future.result()
        except KilledWorker:
            return Done(number, fault="every worker that graded it died")
        said = read_answer(answer)
        if isinstance(said, Broke):
            raise GraderError(f"a worker of the cluster cannot grade: {said.why}")
        self.broken.update(broken)
        return said if isinstance(said, Done) else Done(number, fault="a worker gave no verdict")


def _number(future: Future[Any]) -> int:
    return int(str(future.key).rpartition("-")[2])


# --- on a worker


class Bench:
    """The job processes beside one Dask worker: one for each thread that judges, kept between papers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[bytes, list[Job]] = {}

    def take(self, setup: bytes) -> Job | None:
        """A job that is ready for this lesson, if one is free."""
        with self._lock:
            free = self._free.get(setup, [])
            return free.pop() if free else None

    def put(self, setup: bytes, job: Job) -> None:
        """Gives a job back; those of other lessons end."""
        with self._lock:
            for other in [key for key in self._free if key != setup]:
                for old in self._free.pop(other):
                    old.end()
            self._free.setdefault(setup, []).append(job)


def judge_on_worker(setup: bytes, task: bytes) -> tuple[bytes, dict[str, str]]:
    """Runs on a Dask worker: a Done or Broke as bytes, and the exercises whose suite is broken there."""
    from distributed import get_worker

    worker: Any = get_worker()
    bench: Bench = worker.__dict__.setdefault("_autograder_bench", Bench())
    answer = Done(msgspec.json.decode(task, type=Task).number, fault="nobody tried")
    for _ in range(TRIES):
        try:
            job = bench.take(setup) or _started(setup)
        except GraderError as error:
            return encode(Broke(str(error))), {}
        answer = _asked(job, task, answer.number)
        if not answer.fault:
            bench.put(setup, job)
            return encode(answer), job.broken
        job.end()
    return encode(msgspec.structs.replace(answer, fault=f"{answer.fault} (it was tried {TRIES} times)")), {}


def _started(setup: bytes) -> Job:
    """A job that is ready; raises GraderError where it cannot be."""
    job = Job(msgspec.json.decode(setup, type=Setup))
    try:
        said = job.take()
    except EOFError:
        raise GraderError(f"a job process died before it was ready: {job.end()}") from None
    if isinstance(said, Broke):
        job.end()
        raise GraderError(said.why)
    job.broken = said.broken if isinstance(said, Ready) else {}
    return job


def _asked(job: Job, task: bytes, number: int) -> Done:
    """What a job says to a paper, or how it died over it."""
    job.give(msgspec.json.decode(task, type=Task))
    if not job.waits(SILENT_S):
        return Done(number, fault=f"gave no verdict in {SILENT_S:g} s")
    try:
        said = job.take()
    except EOFError:
        return Done(number, fault="the process that graded it died")
    return said if isinstance(said, Done) else Done(number, fault="it gave no verdict")
