"""A child's GPU: first touched here, after the fork and before any student code, with its memory capped.

    grader ── Fork with a Gpu ── child: confine, prepare ── Started ── serve as always

The numbers are made as like those of the CPU as torch can: deterministic algorithms where there are any, half types
summed in float32, TF32 only where it is asked for. Grader and child settle this alike, since the reference runs there.

The cap holds for torch's allocator, and student code could lift it; so the grader looks from outside too (gpu_watch.py).
"""

from __future__ import annotations

import os

import msgspec
import torch

WORKSPACE = ":4096:8"  # without it cuBLAS may sum in another order from stream to stream
_SPENT = ("CUDA error", "CUDA out of memory", "device-side assert", "CUBLAS_STATUS_", "CUDNN_STATUS_")


class Gpu(msgspec.Struct, frozen=True):
    """What a child may have of a GPU."""

    devices: tuple[str, ...]  # device nodes that the driver is reached by, opened for writing
    memory_bytes: int  # of the GPU's, beside what CUDA itself takes for a process
    tf32: bool = False
    environment: dict[str, str] = {}  # what CUDA reads when it starts


def settle(*, tf32: bool = False) -> None:
    """Makes what is computed on CUDA repeatable, and as precise as its types are."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", WORKSPACE)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # as on the CPU
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def prepare(gpu: Gpu) -> None:
    """Starts CUDA in this process and caps its memory; raises what CUDA raises where it cannot be had."""
    os.environ.update(gpu.environment, CUDA_CACHE_DISABLE="1")  # there is nowhere to write a cache to
    settle(tf32=gpu.tf32)
    torch.cuda.init()  # type: ignore[no-untyped-call]
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gpu.memory_bytes / total), 0)
    torch.ones(1, device="cuda").mul_(2).cpu()  # loads the kernels' module, and proves that they run


def is_spent(error: BaseException) -> bool:
    """Has the GPU been left in a state that would cost later calls of this process something?

    After an assert on the device every call fails; after a lack of memory what filled it may still be there.
    """
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SPENT)
