"""Children that take more of the GPU than they may, found from outside and ended.

    nvidia-smi ── memory by process ──┐
    /proc ── who is whose child ──────┴─▶ a child of our box above its limit: SIGKILL

torch's own cap (inside/gpu.py) lies in the child, where student code could lift it. Where the driver says nothing of
processes (in many containers), it holds alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOK_S = 2.0
_ASK = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


@contextmanager
def watched(box: Callable[[], int], most_bytes: int) -> Iterator[None]:
    """Ends children of the process `box()` that take more of the GPU than `most_bytes`."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_S):
            children = descendants(box(), parents_now())
            for pid in too_large(usage(nvidia_smi()), children, most_bytes):
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL)

    watcher = threading.Thread(target=look, name="gpu watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def nvidia_smi() -> str:
    """What nvidia-smi says of processes; nothing where it is not there or does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run([program, *_ASK], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603 - nvidia-smi
    except subprocess.TimeoutExpired:
        return ""


def usage(report: str) -> dict[int, int]:
    """Bytes of GPU memory by process, from nvidia-smi's `pid, used_memory` in MiB; what it cannot say is left out."""
    rows = (line.split(",") for line in report.splitlines())
    pairs = ([part.strip() for part in row] for row in rows if len(row) == 2)
    return {int(pid): int(used) << 20 for pid, used in pairs if pid.isdigit() and used.isdigit()}


def too_large(used: dict[int, int], children: set[int], most_bytes: int) -> list[int]:
    """The children that take more than they may."""
    return sorted(pid for pid in children & used.keys() if used[pid] > most_bytes)


def descendants(ancestor: int, parents: dict[int, int]) -> set[int]:
    """All processes below one, by the parent of each."""
    found, waiting = set[int](), [ancestor]
    while waiting:
        below = [pid for pid, parent in parents.items() if parent == waiting[-1] and pid not in found]
        waiting.pop()
        found |= set(below)
        waiting += below
    return found


def parents_now() -> dict[int, int]:
    """The parent of each process that can be seen, as this machine numbers them."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):  # it has ended meanwhile
                continue
    return found
