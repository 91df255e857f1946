"""This machine's GPU, as the grader uses it: what a child may have of it, and when a job is let in.

Enters: the limits of a child. Leaves: a `Gpu` for the box while a job has its places on the device (gpu_queue.py), which
is watched from outside meanwhile (gpu_watch.py). Only the first GPU that CUDA shows is used; CUDA_VISIBLE_DEVICES says
which that is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from autograder.boxes import gpu_nodes, gpu_variables, wants_tf32
from autograder.errors import GraderError
from autograder.gpu_queue import CONTEXT_BYTES, MOST, Device, Queue, shared_folder
from autograder.inside.confine import Limits
from autograder.inside.gpu import Gpu, settle

CHILD_BYTES = 512 << 20  # of the GPU's memory: an exercise takes a few MB
MOST_BYTES = CHILD_BYTES + CONTEXT_BYTES  # with what CUDA takes for the process
HOST_BYTES = 4 << 30  # what CUDA's libraries and pinned memory take on the host: an estimate, see docs/gpu.md
OPEN_FILES = 256  # CUDA opens its nodes many times
ADDRESSES = 1 << 47  # it reserves address space for all memory of host and GPU


def queue() -> Queue:
    """The places on this machine's GPU; raises GraderError where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise GraderError("torch finds no CUDA GPU here; use --device cpu or auto")
    properties = torch.cuda.get_device_properties(0)
    name = f"gpu-{getattr(properties, 'uuid', os.environ.get('CUDA_VISIBLE_DEVICES', '0'))}".replace("/", "_")
    return Queue(shared_folder(), Device(name, properties.total_memory), MOST_BYTES)


def on_gpu(limits: Limits) -> Limits:
    """The limits of a child that has a GPU: what CUDA itself takes comes on top."""
    files = max(limits.open_files, OPEN_FILES)
    memory = limits.memory_bytes + HOST_BYTES
    return replace(limits, memory_bytes=memory, open_files=files, address_bytes=ADDRESSES)


@contextmanager
def admitted() -> Iterator[tuple[Gpu, bool]]:
    """What each child may have, and whether one may start ahead, while this job's places on the device are held."""
    tf32 = wants_tf32()
    with queue().admitted() as taken:
        settle(tf32=tf32)
        yield Gpu(tuple(gpu_nodes()), CHILD_BYTES, tf32, gpu_variables()), taken == MOST
