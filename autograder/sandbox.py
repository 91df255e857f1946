"""The box as the grader sees it: a warm zygote, of which each child is a fork. Which boxes there are: boxes.py.

In each, the child confines itself the same way; what is said to a child and what it says goes through channel.py.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from types import TracebackType

import msgspec

from autograder.boxes import ENVIRONMENT, PACKAGE, gpu_environment, last_line, readable_paths, wall
from autograder.channel import START_S, Channel
from autograder.cores import Cores
from autograder.errors import GraderError
from autograder.inside.confine import Limits
from autograder.inside.gpu import Gpu
from autograder.inside.worker import CONTROL_BYTES, End, Fork, Move, Status, Warm

CONTROL_S = 30.0
PRELOAD = ("torch.fx.experimental.symbolic_shapes",)  # autograd.grad(grad_outputs=...) wants it, for 0.4 s in each fork

_START = (
    "import sys; sys.path[:0] = [sys.argv[1]]; "
    "from autograder.inside.worker import main; main(int(sys.argv[2]), sys.argv[3])"
)


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
        self._cores = Cores()
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

    def together(self) -> AbstractContextManager[None]:
        """Keeps this thread and the children made meanwhile on one processor while it is free; not with a GPU."""
        return nullcontext() if self.gpu else self._cores.shared()

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
        with ExitStack() as mine:  # closed again where no child comes of it
            mine.callback(ours.close)
            mine.callback(os.close, reading)
            with closing(theirs), closing(os.fdopen(writing, "wb", 0)):
                closed = self.box == "none"
                walls = {"landlock": not closed, "seccomp": not closed}
                request = Fork(self.limits, self._readable, **walls, gpu=self.gpu, processors=self._cores.chosen)
                status = self._asked(request, [theirs.fileno(), writing])
            ours.setblocking(False)
            mine.pop_all()
        return Channel(status.pid, self.limits, self.end, ours, reading, self.spread)

    def end(self, pid: int, dying: bool = False) -> Status:
        """Kills a child if it still lives; how it had ended before that."""
        if self._is_broken or self._process.poll() is not None:
            return Status(pid)  # it ended with the box
        return self._asked(End(pid, dying), [])

    def spread(self, pid: int) -> None:
        """Lets a child that is at work for long run where there is room, and this thread too."""
        if self._cores.part() and not self._is_broken and self._process.poll() is None:
            self._asked(Move(pid, self._cores.allowed), [])

    def _asked(self, request: Fork | End | Move, descriptors: list[int]) -> Status:
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
