"""One child as the grader sees it: frames go in and come out, what it prints is kept, how it ended has a name.

Nothing that comes out is trusted: frames are cut at a size, waits end at a deadline, a child that breaks either is killed.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from autograder.errors import (
    GraderError,
    StudentCrash,
    StudentError,
    StudentMalformed,
    StudentMemory,
    StudentOutput,
    StudentTimeout,
)
from autograder.inside import messages, wire
from autograder.inside.confine import Limits
from autograder.inside.worker import Status

START_S = 120.0  # importing torch from a cold disk
LONG_S = 0.1  # an answer that takes longer is a computation, not a turn in a conversation


@dataclass
class Channel:
    """The socket and the pipe of one child; `end` is the box's, which ends it and says how it had ended."""

    pid: int
    limits: Limits
    end: Callable[[int, bool], Status]
    socket: socket.socket
    pipe: int
    slow: Callable[[int], None] = lambda pid: None  # told once, when an answer takes long
    printed: bytearray = field(default_factory=bytearray)  # the first `kept_bytes` of what it printed
    printed_bytes: int = 0
    inbox: wire.Inbox = field(default_factory=wire.Inbox)
    alive: bool = True
    is_slow: bool = False
    _ready: select.poll = field(default_factory=select.poll)  # for what it says and what it prints

    def __post_init__(self) -> None:
        self._ready.register(self.socket, select.POLLIN)
        self._ready.register(self.pipe, select.POLLIN)

    def close(self, dying: bool = False) -> Status:
        """Ends the child; how it had ended before that. `dying`: it may be about to end by itself."""
        if not self.alive:
            return Status(self.pid)
        self.alive = False
        try:
            ended = self.end(self.pid, dying)
            while self._drain():
                continue
        finally:
            self.socket.close()
            os.close(self.pipe)
        return ended

    def send(self, data: bytes, deadline: float) -> None:
        """Sends a frame; a child that does not read it before the deadline (time.monotonic) is ended.

        So is one that has said something unasked: it would stand for the answer.
        """
        self._refuse_unasked()
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.socket.send(rest) :]
            except BlockingIOError:
                self._wait(deadline, to_send=True)
            except OSError as error:
                raise self._died() from error

    def await_start(self) -> None:
        """Waits until CUDA runs in it; raises GraderError where it does not: our machine's fault, nobody's submission's."""
        try:
            message, _ = self.receive(time.monotonic() + START_S)
        except StudentError as error:
            raise GraderError(f"a child on the GPU ended before CUDA ran: {error.text}; see docs/gpu.md") from error
        if not isinstance(message, messages.Started) or message.why:
            why = message.why if isinstance(message, messages.Started) else "it said something else"
            self.close()
            raise GraderError(f"CUDA does not start in the box: {why}; see docs/gpu.md, or use --device cpu")

    def receive(self, deadline: float) -> tuple[messages.ToOutside, list[bytes]]:
        """The next message and its storages' bytes; whatever goes wrong ends the child and is raised as a StudentError."""
        self._check(deadline)  # a child that always has something to say would never be waited for
        self._refuse_large()
        while missing := self.inbox.missing():
            self._read(missing, deadline)
            self._refuse_large()
        header, body = self.inbox.take()
        try:
            return wire.read_outside(header), wire.pieces_of(body)
        except messages.ProtocolError as error:
            raise self._ended(StudentMalformed("RuntimeError", f"the reply is no message: {error}")) from error

    def malformed(self, error: Exception) -> StudentError:
        """Ends the child because of a reply that is well formed but means nothing, or is too much."""
        if isinstance(error, messages.SizeError):
            return self._ended(self._too_large(self.limits.reply_bytes))
        return self._ended(StudentMalformed("RuntimeError", f"the reply means nothing: {error}"))

    def _refuse_unasked(self) -> None:
        if not self.inbox.held and not any(descriptor == self.socket.fileno() for descriptor, _ in self._ready.poll(0)):
            return
        try:
            said = self.inbox.held or self.socket.recv(1, socket.MSG_PEEK)
        except OSError:  # it is gone, and sending will tell how it went
            return
        if said:
            raise self.malformed(ValueError("it came unasked"))

    def _refuse_large(self) -> None:
        n_header, n_body = self.inbox.lengths()
        for size, most in ((n_header, messages.MAX_HEADER), (n_header + n_body, self.limits.reply_bytes)):
            if size > most:
                raise self._ended(self._too_large(most))

    def _too_large(self, limit: int) -> StudentOutput:
        return StudentOutput("OverflowError", f"the reply is larger than {limit >> 20} MB")

    def _read(self, missing: int, deadline: float) -> None:
        """Reads once."""
        self._wait(deadline)
        try:
            more = self.socket.recv(min(max(missing, wire.AT_ONCE), 1 << 20))
        except BlockingIOError:
            return
        except OSError as error:
            raise self._died() from error
        if not more:
            raise self._died()
        self.inbox.held += more

    def _wait(self, deadline: float, *, to_send: bool = False) -> None:
        """Returns when something can be read, or sent; drains the pipe meanwhile."""
        wanted, long_from = self.socket.fileno(), math.inf if self.is_slow else time.monotonic() + LONG_S
        if to_send:
            self._ready.modify(wanted, select.POLLOUT)
        try:
            while True:
                rest_s = min(deadline, long_from) - time.monotonic()
                if rest_s <= 0:
                    self._check(deadline)
                    long_from, self.is_slow = math.inf, True
                    self.slow(self.pid)
                    continue
                ready = [descriptor for descriptor, _ in self._ready.poll(math.ceil(rest_s * 1000))]
                if self.pipe in ready and not self._drain():
                    self._ready.unregister(self.pipe)
                if wanted in ready:
                    return
        finally:
            if to_send:
                self._ready.modify(wanted, select.POLLIN)

    def _check(self, deadline: float) -> None:
        if time.monotonic() < deadline:
            return
        if self.close().grown_bytes >= self.limits.memory_bytes // 2:  # filling it takes a slow machine that long
            raise StudentMemory(
                "MemoryError", "no answer before the deadline, and most of the memory taken that it may take"
            )
        raise StudentTimeout("TimeoutError", "no answer before the deadline")

    def _drain(self) -> bool:
        """Reads once from the pipe; False when nobody can write to it any more."""
        try:
            text = os.read(self.pipe, 65_536)
        except BlockingIOError:
            return self.alive
        self.printed += text[: max(self.limits.kept_bytes - len(self.printed), 0)]
        self.printed_bytes += len(text)
        if self.printed_bytes > self.limits.printed_bytes and self.alive:
            raise self._ended(StudentOutput("RuntimeError", "more text was printed than the limit allows"))
        return bool(text)

    def _ended(self, error: StudentError) -> StudentError:
        self.close()
        return error

    def _died(self) -> StudentError:
        ended, limits = self.close(dying=True), self.limits
        is_killed = ended.signal == signal.SIGKILL  # by itself, or by a kernel that says no more than this
        if ended.signal == signal.SIGXCPU or (is_killed and ended.cpu_s >= limits.submission_s):
            return StudentTimeout("TimeoutError", "the process used more CPU time than a submission may")
        is_large = ended.grown_bytes >= limits.memory_bytes // 4
        text = self.printed.decode(errors="replace")
        if (is_killed and is_large) or (ended.signal == signal.SIGABRT and "bad_alloc" in text):
            return StudentMemory("MemoryError", "the process was ended for want of memory")
        name = signal.Signals(ended.signal).name if ended.signal else "exit"
        return StudentCrash("RuntimeError", f"the process died ({name})")
