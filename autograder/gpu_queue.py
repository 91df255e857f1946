"""Who may have a child on the GPU: as many as its memory holds, over all processes of this machine.

    job ── admitted(...) ── a place for itself and for each child that it may have at a time ── its children

The GPU's memory is cut into places of equal size. A place is a file that is locked (flock) while somebody has it, so the
kernel gives it back however its holder ends, and processes that know nothing of each other share one GPU. A job waits for
all its places before it takes a paper and holds none while it waits: so nobody starves, and no two wait for each other.

Enters: a device's memory, what a child takes. Leaves: a context in which that much of the GPU is kept. Knows nothing of
CUDA: the device may be a stand-in.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from autograder.errors import GraderError

CONTEXT_BYTES = 600 << 20  # what CUDA takes for a process before the first tensor: an estimate, see docs/gpu.md
LEAST = 3  # places of one job: itself, for the reference, the submission's child, one beside it (telling.py)
MOST = 4  # and a child that starts up meanwhile
SPARE_SHARE = 0.1  # of the memory that is left alone
POLL_S = 0.2
PATIENCE_S = 540.0  # a job that is silent for longer counts as lost (pool.py)


@dataclass(frozen=True)
class Device:
    """A GPU, or what stands in for one."""

    name: str  # tells one from another on this machine; a file's name
    memory_bytes: int


@dataclass(frozen=True)
class Queue:
    """The places on one device; `folder` is where all processes look for them."""

    folder: Path
    device: Device
    child_bytes: int

    @property
    def places(self) -> int:
        """How many children there may be at a time."""
        return int(self.device.memory_bytes * (1 - SPARE_SHARE)) // self.child_bytes

    def jobs(self, wanted: int) -> int:
        """How many jobs of those wanted can work at a time; raises GraderError where none can."""
        if self.places < LEAST:
            raise GraderError(
                f"{self.device.name} has {self.device.memory_bytes >> 20} MB, and one job takes "
                f"{LEAST * self.child_bytes >> 20}: use --device cpu"
            )
        return max(1, min(wanted, self.places // MOST))

    @property
    def taken(self) -> int:
        """The places that one job takes: fewer on a small device, where it starts no child ahead."""
        return min(MOST, self.places)

    @contextmanager
    def admitted(self, patience_s: float = PATIENCE_S) -> Iterator[int]:
        """Waits for the places of one job and holds them; gives how many they are.

        Raises GraderError where the device is too small, or where others hold it for longer than `patience_s`.
        """
        self.jobs(1)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        until = time.monotonic() + patience_s
        with ExitStack() as held:
            while not self._take(held):
                if time.monotonic() >= until:
                    raise GraderError(f"{self.device.name} is held by others; wait for their end, or use --device cpu")
                time.sleep(POLL_S)
            yield self.taken

    def _take(self, held: ExitStack) -> bool:
        """Locks as many places as a job needs, or none."""
        door = _locked(self.folder / f"{self.device.name}.door")  # one looks at a time: two would take half each
        with ExitStack() as trying, door:
            free = 0
            for number in range(self.places):
                if (place := _lock(self.folder / f"{self.device.name}.{number}")) is not None:
                    trying.callback(os.close, place)
                    free += 1
                if free == self.taken:
                    held.push(trying.pop_all())
                    return True
        return False


def _lock(path: Path) -> int | None:
    """The descriptor of a locked file, None where somebody else has it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def shared_folder() -> Path:
    """Where the places of this user's processes lie."""
    return Path(os.environ.get("XDG_RUNTIME_DIR", tempfile.gettempdir())) / f"autograder-gpu-{os.getuid()}"
