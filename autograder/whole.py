"""Files that are there as a whole, or as they were: whoever is killed, or finds the disk full, leaves no half of one.

What is written goes beside its place under another name (`.results.json.part`), reaches the disk, and is then renamed,
which the system does in one step. A part that a killed run left behind is written over by the next. Raises OSError as the
system does, but for `write_file`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from autograder.errors import GraderError

SPACE = "see to space and rights there, and grade again: what was recorded is known"


def write_file(path: Path, data: bytes, advice: str = "name another place", *, lasting: bool = True) -> None:
    """Writes a file as a whole; raises GraderError where it cannot be, and leaves what was there."""
    try:
        write_whole(path, data, lasting=lasting)
    except OSError as error:
        raise GraderError(f"{path} cannot be written ({error.strerror}); {advice}") from error


def keep_file(path: Path, data: bytes, advice: str = "name another place", *, lasting: bool = True) -> None:
    """The same, but a file that says so already stays, and its age: what was made from it need not be made anew."""
    try:
        stands = path.read_bytes() == data
    except OSError:  # it is not there; or it is closed to us, and then writing says why
        stands = False
    if not stands:
        write_file(path, data, advice, lasting=lasting)


def write_whole(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Puts a file in its place, making its folders; `lasting`: it outlives a power cut from here on.

    What is no regular file (a terminal, a pipe, /dev/null) is written to as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()  # a link stays a link
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    put(prepare(path, data, lasting=lasting), path)


def prepare(path: Path, data: bytes, mode: int | None = None, *, lasting: bool = True) -> Path:
    """Writes what shall stand at `path` beside it; where."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with ExitStack() as unfinished:
        unfinished.callback(_removed, part)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        if mode is not None:
            part.chmod(mode)
        unfinished.pop_all()
    return part


def _removed(part: Path) -> None:
    with suppress(OSError):  # what made the writing fail is what its caller has to hear
        part.unlink(missing_ok=True)


def put(part: Path, path: Path) -> None:
    """Puts what was prepared in its place."""
    os.replace(part, path)


@contextmanager
def only_run(folder: Path, what: str) -> Iterator[None]:
    """Raises GraderError where another process is in here for this folder; one that was killed is not."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GraderError(f"another run is at {what}; wait until it has ended") from error
        yield
    finally:
        os.close(descriptor)
