"""Inside the box: a zygote that has torch imported forks one child for each submission.

    grader ── control socket ── zygote          imports torch, runs no operator, never sees a submission
       │                          │ fork
       └────── socket, pipe ──── child           confines itself, then serves (child.py)

The zygote listens to the grader only: "fork" (a socket and a pipe come along) and "end" (a child). The child listens
to its socket; what it prints leaves by the pipe. It knows the student's statements and the arguments of calls, no
test, no answer, no mark, and is killed before its result counts.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from functools import cache
from typing import NoReturn

import msgspec
import torch

from autograder.inside import child as child_module
from autograder.inside.child import SOCKET, Child
from autograder.inside.confine import Limits, confine
from autograder.inside.forbidden import code_in, install, seal
from autograder.inside.gpu import Gpu
from autograder.inside.linux import die_with_parent
from autograder.inside.threads import Threads, let_count

CONTROL_BYTES = 65_536
GRACE_S = 0.05  # for a child that is dying by itself: its signal tells why


class Warm(msgspec.Struct):
    """What the zygote makes ready: modules that children would import, operators that the lesson forbids."""

    preload: list[str] = []
    forbidden: list[str] = []  # families of operators (forbidden.py)
    judged: list[str] = []  # exercises that may not use them


class Fork(msgspec.Struct, tag=True):
    """Make a child with these limits; its socket and its pipe come with the message."""

    limits: Limits
    readable: list[str]
    landlock: bool = True
    seccomp: bool = True
    gpu: Gpu | None = None
    processors: list[int] = []  # where it may run; empty: where the zygote may


class End(msgspec.Struct, tag=True):
    """Kill the child if it still lives; answered by its Status. One that is `dying` gets a moment to do so itself."""

    pid: int
    dying: bool = False


class Move(msgspec.Struct, tag=True):
    """Let the child run on these processors from now on; answered by its Status."""

    pid: int
    processors: list[int]


class Status(msgspec.Struct, tag=True):
    """A child: its process id; once ended, the signal that ended it before we did, or 0."""

    pid: int
    signal: int = 0
    cpu_s: float = 0.0
    grown_bytes: int = 0  # its peak, beyond what the zygote has: what a SIGKILL may have been for


def main(control_descriptor: int, settings: str) -> None:
    """Serves the grader until it closes the control socket; `settings` is a Warm as JSON."""
    warm = msgspec.json.decode(settings, type=Warm)
    _warm_up(warm.preload)
    own = (*code_in(child_module), *code_in(sys.modules[__name__]))
    install(warm.forbidden, warm.judged, own)
    _idle_kb()  # measured while there is no other child
    control = socket.socket(fileno=control_descriptor)
    control.send(b"ready")
    poll = select.poll()
    poll.register(control, select.POLLIN)
    threads = Threads(poll)
    while True:
        for descriptor, event in poll.poll():
            if descriptor == control_descriptor:
                _serve(control, is_sealed=bool(warm.forbidden), threads=threads)
            else:
                threads.hear(descriptor, event)


def _serve(control: socket.socket, *, is_sealed: bool, threads: Threads) -> None:
    """Does what the grader asks for; ends when it hangs up."""
    data, descriptors, _, _ = socket.recv_fds(control, CONTROL_BYTES, 2)
    if not data:
        os._exit(0)  # the kernel ends what children there are; torch need not be taken down
    match msgspec.json.decode(data, type=Fork | End | Move):
        case Fork() as request:
            status = _fork(request, descriptors, is_sealed, threads)
        case End() as request:
            status = _end(request)
        case Move(pid, processors):
            _place(pid, processors)
            status = Status(pid)
    control.send(msgspec.json.encode(status))


def _warm_up(preload: list[str]) -> None:
    """Imports what children would import lazily, and runs no operator: a fork with torch's threads is unsafe."""
    for name in preload:
        importlib.import_module(name)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def _fork(request: Fork, descriptors: list[int], is_sealed: bool, threads: Threads) -> Status:
    zygote = os.getpid()
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        die_with_parent(zygote)
        if request.seccomp:
            let_count(theirs.fileno())
        _become_child(request, is_sealed, *descriptors)
    theirs.close()
    threads.expect(ours, request.limits.threads)
    for descriptor in descriptors:
        os.close(descriptor)
    return Status(pid)


def _place(pid: int, processors: list[int]) -> None:
    if processors:
        with suppress(OSError):  # it is gone, or they are: this costs time only
            os.sched_setaffinity(pid, processors)


def _end(request: End) -> Status:
    pid, until = request.pid, time.monotonic() + (GRACE_S if request.dying else 0)
    while True:
        try:
            if ended := _waited(pid, os.WNOHANG):
                return ended
        except ChildProcessError:  # a child of a zygote before this one
            return Status(pid)
        if time.monotonic() >= until:
            break
        time.sleep(GRACE_S / 20)
    os.kill(pid, signal.SIGKILL)
    ended = _waited(pid, 0) or Status(pid)
    ended.signal = 0
    return ended


def _waited(pid: int, options: int) -> Status | None:
    """How a child ended; None where it has not."""
    ended, status, used = os.wait4(pid, options)
    if not ended:
        return None
    grown = used.ru_maxrss - _idle_kb()
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return Status(pid, ended_by, used.ru_utime + used.ru_stime, max(grown, 0) << 10)


@cache
def _idle_kb() -> int:
    """The peak of a child that does nothing. The zygote's own is no measure: it holds that of whoever started the zygote."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.wait4(pid, 0)[2].ru_maxrss


def _become_child(request: Fork, is_sealed: bool, channel: int, pipe: int) -> NoReturn:
    try:
        channel, pipe = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (channel, pipe))
        for standard in (0, 1, 2):
            os.dup2(pipe, standard)
        os.dup2(channel, SOCKET)
        os.closerange(SOCKET + 1, os.sysconf("SC_OPEN_MAX"))
        os.environ.clear()
        _place(0, request.processors)
        child = Child(request.limits)  # before seccomp: asking a socket for its kind is a system call of its own
        devices = request.gpu.devices if request.gpu else ()
        confine(request.limits, request.readable, devices, landlock=request.landlock, seccomp=request.seccomp)
        if request.gpu is not None:
            child.start(request.gpu)
        if is_sealed:
            seal()
        child.serve()
    except BaseException:  # whatever it is, this copy of the zygote must not go on as one; the sandbox reads why in the pipe
        traceback.print_exc()
    finally:
        os._exit(1)
