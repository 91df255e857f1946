"""This machine's GPU, as the grader uses it: what a child may have of it, who is let in, who takes too much.

Enters: the limits of a child. Leaves: a `Gpu` for the box while a job has its places on the device (gpu_queue.py), with
somebody watching from outside. Only the first GPU that CUDA shows is used; CUDA_VISIBLE_DEVICES says which that is.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from autograder.boxes import GPU_VARIABLES, gpu_nodes
from autograder.errors import GraderError
from autograder.gpu_queue import (
    CONTEXT_BYTES,
    MOST,
    Device,
    Queue,
    descendants,
    parents_now,
    shared_folder,
    too_large,
    usage,
)
from autograder.inside.confine import Limits
from autograder.inside.gpu import Gpu, settle

CHILD_BYTES = 512 << 20  # of the GPU's memory: an exercise takes a few MB
HOST_BYTES = 4 << 30  # what CUDA's libraries and pinned memory take on the host: an estimate, see docs/gpu.md
OPEN_FILES = 256  # CUDA opens its nodes many times
ADDRESSES = 1 << 47  # it reserves address space for all memory of host and GPU
LOOK_S = 2.0
_ASK = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


def queue() -> Queue:
    """The places on this machine's GPU; raises GraderError where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise GraderError("torch finds no CUDA GPU here; use --device cpu or auto")
    properties = torch.cuda.get_device_properties(0)
    name = f"gpu-{getattr(properties, 'uuid', os.environ.get('CUDA_VISIBLE_DEVICES', '0'))}".replace("/", "_")
    return Queue(shared_folder(), Device(name, properties.total_memory), CHILD_BYTES + CONTEXT_BYTES)


def on_gpu(limits: Limits) -> Limits:
    """The limits of a child that has a GPU: what CUDA itself takes comes on top."""
    files = max(limits.open_files, OPEN_FILES)
    memory = limits.memory_bytes + HOST_BYTES
    return replace(limits, memory_bytes=memory, open_files=files, address_bytes=ADDRESSES)


@contextmanager
def admitted() -> Iterator[tuple[Gpu, bool]]:
    """What each child may have, and whether one may start ahead, while this job's places on the device are held.

    AUTOGRADER_TF32=1 lets float32 be multiplied in TF32, to try whether verdicts stay what they are.
    """
    tf32 = os.environ.get("AUTOGRADER_TF32") == "1"
    with queue().admitted() as taken:
        settle(tf32=tf32)
        environment = {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ}
        yield Gpu(tuple(gpu_nodes()), CHILD_BYTES, tf32, environment), taken == MOST


@contextmanager
def watched(box: Callable[[], int], report: Callable[[], str] | None = None) -> Iterator[None]:
    """Ends children of the process `box()` that take more of the GPU than they may, seen from outside.

    Where the driver says nothing of processes (in many containers), torch's own cap holds alone.
    """
    report = report or nvidia_smi
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_S):
            children = descendants(box(), parents_now())
            for pid in too_large(usage(report()), children, CHILD_BYTES + CONTEXT_BYTES):
                end(pid)

    watcher = threading.Thread(target=look, name="gpu watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def end(pid: int) -> None:
    """Kills a process, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def nvidia_smi() -> str:
    """What nvidia-smi says of processes; nothing where it is not there or does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run([program, *_ASK], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603 - nvidia-smi
    except subprocess.TimeoutExpired:
        return ""
