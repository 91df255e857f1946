"""The box as the grader sees it: its zygote, and channels to its children. Which boxes there are: boxes.py.

In each, the child confines itself the same way. Nothing that comes out of a channel is trusted: frames are cut at a
size, waits end at a deadline, and a child that breaks either is killed.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType

import msgspec
import torch

from autograder.boxes import ENVIRONMENT, PACKAGE, gpu_environment, last_line, readable_paths, wall
from autograder.errors import (
    GraderError,
    StudentCrash,
    StudentError,
    StudentMalformed,
    StudentMemory,
    StudentOutput,
    StudentTimeout,
)
from autograder.inside import wire
from autograder.inside.confine import Limits
from autograder.inside.gpu import Gpu
from autograder.inside.worker import CONTROL_BYTES, End, Fork, Status, Warm

START_S = 120.0  # importing torch from a cold disk
CONTROL_S = 30.0
PRELOAD = ("torch.fx.experimental.symbolic_shapes",)  # autograd.grad(grad_outputs=...) wants it, for 0.4 s in each fork

_START = (
    "import sys; sys.path[:0] = [sys.argv[1]]; "
    "from autograder.inside.worker import main; main(int(sys.argv[2]), sys.argv[3])"
)


# --- the zygote


class Sandbox:
    """A box with a warm zygote in it; a context manager. `child()` is a fork of it, milliseconds away."""

    def __init__(
        self,
        box: str,
        limits: Limits | None = None,
        warm: Warm | None = None,
        gpu: Gpu | None = None,
        *,
        ahead: bool = False,
    ) -> None:
        self.box = box
        self.gpu, self._ahead = gpu, ahead and gpu is not None
        self._spare: Channel | None = None  # a child whose CUDA starts while others work
        self.limits = limits or Limits()
        self._warm = warm or Warm(list(PRELOAD))
        self._readable = readable_paths()
        self._start()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(START_S)
        zygote = [sys.executable, "-s", "-P", "-c", _START, str(PACKAGE.parent), str(theirs.fileno())]
        zygote.append(msgspec.json.encode(self._warm).decode())
        devices, environment = (self.gpu.devices, gpu_environment()) if self.gpu else ((), ENVIRONMENT)
        around = wall(self._readable, devices, environment) if self.box == "bubblewrap" else []
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, in a box
            [*around, *zygote],
            pass_fds=[theirs.fileno()],
            env=environment if self.box != "bubblewrap" else {"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the grader, which ends the box in order
        )
        theirs.close()
        self._ready = False
        self._is_broken = False

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the zygote and with it all children."""
        if self._spare is not None:
            spare, self._spare = self._spare, None
            spare.close()
        self._control.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    @property
    def pid(self) -> int:
        """The outermost process of the box."""
        return self._process.pid

    def begin(self) -> None:
        """Starts the first child's CUDA, if one may be started ahead."""
        if self._ahead and self._spare is None:
            self._spare = self._fork()

    def child(self) -> Channel:
        """A fresh child; raises GraderError where the box does not work. A box that broke is started anew.

        With a GPU it is one whose CUDA has started, and the next one starts it from now on.
        """
        if self.gpu is None:
            return self._fork()
        child = self._spare if self._spare is not None and not self._is_broken else self._fork()
        self._spare = None
        child.await_start()
        self._spare = self._fork() if self._ahead else None
        return child

    def _fork(self) -> Channel:
        if self._is_broken:
            self.close()
            self._start()
        self._wait_until_ready()
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writing, True)
        try:
            closed = self.box == "none"
            request = Fork(self.limits, self._readable, landlock=not closed, seccomp=not closed, gpu=self.gpu)
            status = self._asked(request, [theirs.fileno(), writing])
        except BaseException:
            ours.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            os.close(writing)
        ours.setblocking(False)
        return Channel(self, status.pid, ours, reading)

    def end(self, pid: int, dying: bool = False) -> Status:
        """Kills a child if it still lives; how it had ended before that."""
        if self._is_broken or self._process.poll() is not None:
            return Status(pid)  # it ended with the box
        return self._asked(End(pid, dying), [])

    def _asked(self, request: Fork | End, descriptors: list[int]) -> Status:
        try:
            socket.send_fds(self._control, [msgspec.json.encode(request)], descriptors)
            return msgspec.json.decode(self._control.recv(CONTROL_BYTES), type=Status)
        except (OSError, msgspec.DecodeError) as error:
            raise self._broken() from error
        except BaseException:  # Ctrl-C between question and answer: the next answer would be to another question
            self._broken()
            raise

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        try:
            answer = self._control.recv(CONTROL_BYTES)
        except OSError as error:
            raise self._broken() from error
        if answer != b"ready":
            raise self._broken()
        self._control.settimeout(CONTROL_S)
        self._ready = True

    def _broken(self) -> GraderError:
        self._is_broken = True
        self._process.kill()
        _, errors = self._process.communicate()
        reason = last_line((errors or b"").decode(errors="replace"))
        return GraderError(f"the box {self.box!r} broke: {reason}; see `autograder doctor`")


# --- one child


@dataclass
class Channel:
    """The socket and the pipe of one child."""

    sandbox: Sandbox
    pid: int
    socket: socket.socket
    pipe: int
    printed: bytearray = field(default_factory=bytearray)  # the first `kept_bytes` of what it printed
    printed_bytes: int = 0
    alive: bool = True

    def close(self, dying: bool = False) -> Status:
        """Ends the child; how it had ended before that. `dying`: it may be about to end by itself."""
        if not self.alive:
            return Status(self.pid)
        self.alive = False
        try:
            ended = self.sandbox.end(self.pid, dying)
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
                self._wait(deadline, select.POLLOUT)
            except OSError as error:
                raise self._died() from error

    def await_start(self) -> None:
        """Waits until CUDA runs in it; raises GraderError where it does not: our machine's fault, nobody's submission's."""
        try:
            message, _ = self.receive(time.monotonic() + START_S)
        except StudentError as error:
            raise GraderError(f"a child on the GPU ended before CUDA ran: {error.text}; see docs/gpu.md") from error
        if not isinstance(message, wire.Started) or message.why:
            why = message.why if isinstance(message, wire.Started) else "it said something else"
            self.close()
            raise GraderError(f"CUDA does not start in the box: {why}; see docs/gpu.md, or use --device cpu")

    def receive(self, deadline: float) -> tuple[wire.ToOutside, list[torch.UntypedStorage]]:
        """The next message; whatever goes wrong ends the child and is raised as a StudentError."""
        self._check(deadline)  # a child that always has something to say would never be waited for
        n_header, n_body = wire.LENGTHS.unpack(self._take(wire.LENGTHS.size, deadline))
        most = self.sandbox.limits.reply_bytes
        if n_header > wire.MAX_HEADER or n_header + n_body > most:
            limit = wire.MAX_HEADER if n_header > wire.MAX_HEADER else most
            raise self._ended(self._too_large(limit))
        data = self._take(n_header + n_body, deadline)
        try:
            return wire.read_outside(data[:n_header]), wire.storages_of(data[n_header:])
        except wire.ProtocolError as error:
            raise self._ended(StudentMalformed("RuntimeError", f"the reply is no message: {error}")) from error

    def malformed(self, error: Exception) -> StudentError:
        """Ends the child because of a reply that is well formed but means nothing, or is too much."""
        if isinstance(error, wire.SizeError):
            return self._ended(self._too_large(self.sandbox.limits.reply_bytes))
        return self._ended(StudentMalformed("RuntimeError", f"the reply means nothing: {error}"))

    def _refuse_unasked(self) -> None:
        try:
            said = self.socket.recv(1, socket.MSG_PEEK)
        except OSError:  # nothing to read; or it is gone, and sending will tell how it went
            return
        if said:
            raise self.malformed(ValueError("it came unasked"))

    def _too_large(self, limit: int) -> StudentOutput:
        return StudentOutput("OverflowError", f"the reply is larger than {limit >> 20} MB")

    def _take(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                more = self.socket.recv(min(size - len(data), 1 << 20))
            except BlockingIOError:
                self._wait(deadline, select.POLLIN)
                continue
            except OSError as error:
                raise self._died() from error
            if not more:
                raise self._died()
            data += more
        return bytes(data)

    def _wait(self, deadline: float, event: int) -> None:
        """Returns when the socket is ready; drains the pipe meanwhile."""
        poll = select.poll()
        poll.register(self.socket, event)
        poll.register(self.pipe, select.POLLIN)
        while True:
            self._check(deadline)
            ready = dict(poll.poll(max(deadline - time.monotonic(), 0) * 1000))
            if self.pipe in ready and not self._drain():
                poll.unregister(self.pipe)
            if self.socket.fileno() in ready:
                return

    def _check(self, deadline: float) -> None:
        if time.monotonic() < deadline:
            return
        if self.close().grown_bytes >= self.sandbox.limits.memory_bytes // 2:  # filling it takes a slow machine that long
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
        self.printed += text[: max(self.sandbox.limits.kept_bytes - len(self.printed), 0)]
        self.printed_bytes += len(text)
        if self.printed_bytes > self.sandbox.limits.printed_bytes and self.alive:
            raise self._ended(StudentOutput("RuntimeError", "more text was printed than the limit allows"))
        return bool(text)

    def _ended(self, error: StudentError) -> StudentError:
        self.close()
        return error

    def _died(self) -> StudentError:
        ended, limits = self.close(dying=True), self.sandbox.limits
        is_killed = ended.signal == signal.SIGKILL  # by itself, or by a kernel that says no more than this
        if ended.signal == signal.SIGXCPU or (is_killed and ended.cpu_s >= limits.submission_s):
            return StudentTimeout("TimeoutError", "the process used more CPU time than a submission may")
        is_large = ended.grown_bytes >= limits.memory_bytes // 4
        text = self.printed.decode(errors="replace")
        if (is_killed and is_large) or (ended.signal == signal.SIGABRT and "bad_alloc" in text):
            return StudentMemory("MemoryError", "the process was ended for want of memory")
        name = signal.Signals(ended.signal).name if ended.signal else "exit"
        return StudentCrash("RuntimeError", f"the process died ({name})")
