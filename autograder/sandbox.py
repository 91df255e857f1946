"""The box as the grader sees it: which one this machine can have, its zygote, and channels to its children.

    bubblewrap   namespaces around the zygote: it sees the interpreter, torch and the inside of this package,
                 read-only; no course, no home, no /proc but cpuinfo, no network, an empty environment, no capability
    landlock     no wall around the zygote; the child's own confinement (inside/confine.py) holds alone
    none         nothing but rlimits; only by an explicit wish

In each, the child confines itself the same way. Nothing that comes out of a channel is trusted: frames are cut at a
size, waits end at a deadline, and a child that breaks either is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec
import torch

from autograder.errors import GraderError, StudentCrash, StudentError, StudentMemory, StudentOutput, StudentTimeout
from autograder.inside import confine, wire
from autograder.inside.confine import Limits
from autograder.inside.worker import CONTROL_BYTES, End, Fork, Status, Warm

BOXES = ("bubblewrap", "landlock", "none")
START_S = 120.0  # importing torch from a cold disk
CONTROL_S = 30.0
PRELOAD = ("torch.fx.experimental.symbolic_shapes",)  # autograd.grad(grad_outputs=...) wants it, for 0.4 s in each fork

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TORCHINDUCTOR_CACHE_DIR": "/usr",  # torch._dynamo makes its cache folder when imported, unless it exists
    "TMPDIR": "/",  # a library that wants a temporary folder at import finds one that exists, not one to write to
}
_PACKAGE = Path(__file__).resolve().parent
_START = "import sys; sys.path[:0] = [sys.argv[1]]; from autograder.inside.worker import main; main(int(sys.argv[2]), sys.argv[3])"


# --- which box


def available_boxes() -> list[tuple[str, bool, str]]:
    """Each box with whether this machine can have it, and why or why not; the strongest first."""
    kernel = _confinement()
    bubblewrap = _bubblewrap()
    return [
        (
            "bubblewrap",
            not kernel and not bubblewrap,
            kernel or bubblewrap or "bwrap starts, Landlock and seccomp work",
        ),
        ("landlock", not kernel, kernel or f"Landlock version {confine.landlock_version()} and seccomp work"),
        ("none", True, "student code runs with your rights: only by --sandbox none"),
    ]


def choose_box(wanted: str = "auto") -> str:
    """The box to use: the strongest for "auto"; raises GraderError where there is none, or not the wanted one."""
    if wanted not in ("auto", *BOXES):
        raise GraderError(f"no box is called {wanted!r}: choose auto, {', '.join(BOXES)}")
    boxes = {name: (usable, why) for name, usable, why in available_boxes()}
    if wanted != "auto":
        usable, why = boxes[wanted]
        if not usable:
            raise GraderError(f"the box {wanted!r} cannot be had here: {why}; see `autograder doctor`")
        return wanted
    for name in ("bubblewrap", "landlock"):
        if boxes[name][0]:
            return name
    raise GraderError(
        f"no box can be had here: {boxes['landlock'][1]}; --sandbox none runs student code with your rights"
    )


def _confinement() -> str:
    """Why a child could not confine itself here, or nothing: tried in a fresh process."""
    code = "from autograder.inside.confine import Limits, confine; confine(Limits(), ['/usr'])"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(_PACKAGE.parent)!r}]; {code}"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
    return "" if tried.returncode == 0 else f"Landlock or seccomp: {_last_line(tried.stderr)}"


def _bubblewrap() -> str:
    """Why bubblewrap does not work here, or nothing."""
    if shutil.which("bwrap") is None:
        return "bwrap is not installed: apt-get install bubblewrap"
    tried = subprocess.run([*_wall([]), "/usr/bin/env", "true"], capture_output=True, text=True, check=False, env={})  # noqa: S603
    return "" if tried.returncode == 0 else f"bwrap does not start: {_last_line(tried.stderr)}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


# --- what the box can see


def readable_paths() -> list[str]:
    """What a child may read: the system's libraries, the interpreter with its packages, the inside of this package."""
    interpreter = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}
    packages = {Path(torch.__file__).resolve().parent.parent, Path(msgspec.__file__).resolve().parent.parent}
    own = (_PACKAGE / "__init__.py", _PACKAGE / "inside")
    system = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/proc/cpuinfo")
    return [*system, *sorted(str(path) for path in {*interpreter, *packages, *own, Path(sys.prefix)})]


def refuse_exposed(course: Path) -> None:
    """Raises GraderError where the course lies in a folder that a child may read."""
    for path in readable_paths():
        if course.resolve().is_relative_to(Path(path).resolve()):
            raise GraderError(
                f"the course lies in {path}, which student code can read: move it, for example to your home folder"
            )


def _wall(visible: Sequence[str]) -> list[str]:
    """The bwrap command in front of the zygote's own."""
    command = [
        "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
        "--uid", "65534", "--gid", "65534", "--hostname", "box",
        "--ro-bind", "/usr", "/usr",
        "--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom",
        "--ro-bind-try", "/proc/cpuinfo", "/proc/cpuinfo", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache",
    ]  # fmt: skip
    for path in ("/lib", "/lib64", "/bin"):
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind-try", path, path]
    for path in visible:
        if not path.startswith(("/usr/", "/lib", "/bin", "/etc/", "/dev/", "/proc/")) and path != "/usr":
            command += ["--ro-bind", path, path]
    for name, value in _ENVIRONMENT.items():
        command += ["--setenv", name, value]
    return [*command, "--remount-ro", "/", "--chdir", "/", "--"]


# --- the zygote


class Sandbox:
    """A box with a warm zygote in it; a context manager. `child()` is a fork of it, milliseconds away."""

    def __init__(self, box: str, limits: Limits | None = None, warm: Warm | None = None) -> None:
        self.box = box
        self.limits = limits or Limits()
        self._readable = readable_paths()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(START_S)
        zygote = [sys.executable, "-s", "-P", "-c", _START, str(_PACKAGE.parent), str(theirs.fileno())]
        zygote.append(msgspec.json.encode(warm or Warm(list(PRELOAD))).decode())
        wall = _wall(self._readable) if box == "bubblewrap" else []
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, in a box
            [*wall, *zygote],
            pass_fds=[theirs.fileno()],
            env=_ENVIRONMENT if box != "bubblewrap" else {"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
        )
        theirs.close()
        self._ready = False

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the zygote and with it all children."""
        self._control.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def child(self) -> Channel:
        """A fresh child; raises GraderError where the box does not work."""
        self._wait_until_ready()
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writing, True)
        try:
            closed = self.box == "none"
            request = Fork(self.limits, self._readable, landlock=not closed, seccomp=not closed)
            socket.send_fds(self._control, [msgspec.json.encode(request)], [theirs.fileno(), writing])
            status = self._status()
        finally:
            theirs.close()
            os.close(writing)
        ours.setblocking(False)
        return Channel(self, status.pid, ours, reading)

    def end(self, pid: int) -> int:
        """Kills a child if it still lives; the signal that had ended it before, or 0."""
        self._control.send(msgspec.json.encode(End(pid)))
        return self._status().signal

    def _status(self) -> Status:
        try:
            data = self._control.recv(CONTROL_BYTES)
            return msgspec.json.decode(data, type=Status)
        except (OSError, msgspec.DecodeError) as error:
            raise self._broken() from error

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
        self._process.kill()
        _, errors = self._process.communicate()
        reason = _last_line((errors or b"").decode(errors="replace"))
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

    def close(self) -> int:
        """Ends the child; the signal that had ended it before, or 0."""
        if not self.alive:
            return 0
        self.alive = False
        ended_by = self.sandbox.end(self.pid)
        with contextlib.suppress(BlockingIOError):
            while self._drain():
                continue
        self.socket.close()
        os.close(self.pipe)
        return ended_by

    def send(self, data: bytes, deadline: float) -> None:
        """Sends a frame; a child that does not read it before the deadline (time.monotonic) is ended."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.socket.send(rest) :]
            except BlockingIOError:
                self._wait(deadline, select.POLLOUT)
            except OSError as error:
                raise self._died() from error

    def receive(self, deadline: float) -> tuple[wire.ToOutside, list[torch.UntypedStorage]]:
        """The next message; whatever goes wrong ends the child and is raised as a StudentError."""
        n_header, n_body = wire.LENGTHS.unpack(self._take(wire.LENGTHS.size, deadline))
        if n_header + n_body > self.sandbox.limits.reply_bytes:
            raise self._ended(
                StudentOutput("OverflowError", f"the reply is larger than {self.sandbox.limits.reply_bytes >> 20} MB")
            )
        data = self._take(n_header + n_body, deadline)
        try:
            return wire.read_outside(data[:n_header]), wire.storages_of(data[n_header:])
        except (msgspec.DecodeError, wire.ProtocolError, RecursionError) as error:
            raise self._ended(StudentOutput("RuntimeError", f"the reply is no message: {error}")) from error

    def malformed(self, error: Exception) -> StudentError:
        """Ends the child because of a reply that is well formed but means nothing."""
        return self._ended(StudentOutput("RuntimeError", f"the reply means nothing: {error}"))

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
            left_ms = (deadline - time.monotonic()) * 1000
            if left_ms <= 0:
                raise self._ended(StudentTimeout("TimeoutError", "no answer before the deadline"))
            ready = dict(poll.poll(left_ms))
            if self.pipe in ready and not self._drain():
                poll.unregister(self.pipe)
            if self.socket.fileno() in ready:
                return

    def _drain(self) -> bool:
        """Reads once from the pipe; False when nobody can write to it any more."""
        try:
            text = os.read(self.pipe, 65_536)
        except BlockingIOError:
            return False if not self.alive else True
        self.printed += text[: max(self.sandbox.limits.kept_bytes - len(self.printed), 0)]
        self.printed_bytes += len(text)
        if self.printed_bytes > self.sandbox.limits.printed_bytes and self.alive:
            raise self._ended(StudentOutput("RuntimeError", "more text was printed than the limit allows"))
        return bool(text)

    def _ended(self, error: StudentError) -> StudentError:
        self.close()
        return error

    def _died(self) -> StudentError:
        ended_by = self.close()
        text = self.printed.decode(errors="replace")
        if ended_by == signal.SIGXCPU:
            return StudentTimeout("TimeoutError", "the process used more CPU time than a submission may")
        if ended_by == signal.SIGKILL or (ended_by == signal.SIGABRT and "bad_alloc" in text):
            return StudentMemory("MemoryError", "the process was ended for want of memory")
        name = signal.Signals(ended_by).name if ended_by else "exit"
        return StudentCrash("RuntimeError", f"the process died ({name})")
