"""A job: a process with a lesson made ready, which judges one paper after another until its socket is closed.

    coordinator -> Setup, then Task after Task          job -> Ready or Broke, then a Done for each Task

Frames are a length and JSON; nothing is unpickled. Whoever starts a job (pool.py on this machine, cluster.py on others)
gives it papers that were read already: it needs the course's lessons and suites, no submission, no gradebook. When its
parent dies, the kernel ends it. Ctrl-C is the coordinator's: a job does not hear it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from autograder.collection import Submission
from autograder.course import Course
from autograder.errors import GraderError
from autograder.keys import Known, Salts, engine
from autograder.notebook import Cell, Notebook
from autograder.outcome import Judged
from autograder.paper import Paper
from autograder.program import Program

LENGTH = struct.Struct("<Q")
PR_SET_PDEATHSIG = 1


class Setup(msgspec.Struct, frozen=True):
    """What a job makes ready. `engine` is the coordinator's (keys.py); a job of another one refuses to work."""

    root: str
    lesson: str
    device: str
    box: str
    secret: bytes
    engine: str


class Task(msgspec.Struct, frozen=True):
    """A paper to judge, and the verdicts that are known of it."""

    number: int
    student: str
    cells: tuple[Cell, ...]
    program: Program
    salts: Salts
    known: dict[str, Judged]  # key (keys.py) -> verdict


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The lesson is ready; exercises whose suite cannot be run, and why."""

    broken: dict[str, str]


class Broke(msgspec.Struct, tag=True, frozen=True):
    """The lesson cannot be made ready here."""

    why: str


class Done(msgspec.Struct, tag=True, frozen=True):
    """The verdicts on a paper; none where we broke over it, and `fault` says how."""

    number: int
    judged: dict[str, Judged] = {}
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    fault: str = ""


encode = msgspec.json.Encoder().encode
read_answer: Callable[[bytes], Ready | Broke | Done] = msgspec.json.Decoder(Ready | Broke | Done).decode


def task_of(number: int, paper: Paper, known: Known) -> Task:
    """A paper as it travels to a job."""
    return Task(number, paper.submission.student, paper.notebook.cells, paper.program, known.salts, dict(known.verdicts))


def serve(descriptor: int) -> None:
    """The life of a job process, at the other end of the socket `descriptor`; it does not return."""
    gc.disable()  # what is imported stays: looking through it again and again takes a seventh of the start
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    channel = socket.socket(fileno=descriptor)
    setup = msgspec.json.decode(receive(channel), type=Setup)
    try:
        _work(channel, setup)
    except EOFError:
        pass
    except GraderError as error:
        send(channel, encode(Broke(str(error))))
    except Exception as error:
        traceback.print_exc()
        send(channel, encode(Broke(_internal(error))))
    sys.stderr.flush()
    os._exit(0)  # the box is closed; torch need not be taken down, module by module


def _work(channel: socket.socket, setup: Setup) -> None:
    if engine() != setup.engine:
        raise GraderError("the engine or its packages are others here than where the run was started: install the same")
    from autograder.grader import Grader  # torch, pytest: what starting costs

    course = Course(Path(setup.root))
    lesson = course.lesson(setup.lesson)
    with Grader(course, lesson, device=setup.device, box=setup.box, secret=setup.secret) as grader:
        gc.freeze()
        gc.enable()
        send(channel, encode(Ready(grader.broken_suites)))
        read = msgspec.json.Decoder(Task).decode
        while True:
            done = _judged(read(receive(channel)), grader)
            send(channel, encode(done))
            if done.fault:
                return  # what broke once may stay broken: a fresh job takes the next paper


def _judged(task: Task, grader: object) -> Done:
    from autograder.grade import judge

    started = time.monotonic()
    paper = Paper(Submission(task.student, None), Notebook(task.cells), task.program)
    try:
        judged, notes = judge(paper, grader.workshop, Known(task.salts, task.known))  # type: ignore[attr-defined]
    except GraderError as error:
        return Done(task.number, fault=str(error))
    except Exception as error:
        return Done(task.number, fault=_internal(error), notes=(traceback.format_exc(),))
    return Done(task.number, judged, notes, time.monotonic() - started)


def _internal(error: Exception) -> str:
    return f"internal error: {type(error).__name__}: {error}"


def send(channel: socket.socket, data: bytes) -> None:
    """Sends one frame."""
    channel.sendall(LENGTH.pack(len(data)) + data)


def receive(channel: socket.socket) -> bytes:
    """Waits for one frame; raises EOFError where the other side is gone."""
    return _take(channel, LENGTH.unpack(_take(channel, LENGTH.size))[0])


def _take(channel: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            more = channel.recv(min(size - len(data), 1 << 20))
        except ConnectionError as error:
            raise EOFError from error
        if not more:
            raise EOFError
        data += more
    return bytes(data)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
