"""How a child locks itself in before it runs a student's code: rlimits, capabilities, Landlock, seccomp, in this order.

Every layer is irrevocable and works without privilege, in a container too, on Linux for x86-64 and AArch64.

    rlimits   memory (RLIMIT_DATA: RLIMIT_AS would count address space that is only reserved; that has a wide limit of
              its own, since page tables take memory too), CPU seconds, open files, no file may grow, no core dump, few
              pending signals
    privilege no capability, whoever started the grader (linux.py)
    Landlock  the file system: reading below the paths given, nothing else; no TCP; no signal and no abstract
              socket to a process outside this child (landlock.py)
    seccomp   an allow-list of system calls (seccomp.py)

Sources: getrlimit(2).
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass

from autograder.inside.landlock import restrict_files
from autograder.inside.linux import drop_capabilities
from autograder.inside.seccomp import restrict_system_calls

PENDING_SIGNALS = 64  # of this user; a queue that is full would be full for the user's other processes too
STACK_BYTES = 8 << 20


@dataclass(frozen=True)
class Limits:
    """What one child may use; each is named in the result when it is met."""

    call_s: float = 5.0
    submission_s: float = 120.0
    memory_bytes: int = 2 << 30
    reply_bytes: int = 64 << 20
    printed_bytes: int = 1 << 20
    kept_bytes: int = 10_000
    open_files: int = 64
    threads: int = 64  # alive at a time
    address_bytes: int = 64 << 30  # that may be reserved: page tables for them take 128 MB


def confine(
    limits: Limits, readable: list[str], devices: Sequence[str] = (), *, landlock: bool = True, seccomp: bool = True
) -> None:
    """All layers; after this the process can read below `readable`, compute, and talk over what it has open.

    `devices` are a GPU's nodes, which it may also write to: nothing of what it does there outlives it.
    """
    limit_resources(limits)
    if seccomp:
        drop_capabilities()
    if landlock:
        restrict_files(readable, devices)
    if seccomp:
        restrict_system_calls(gpu=bool(devices))


def limit_resources(limits: Limits) -> None:
    """Sets hard limits that the child cannot raise again."""
    cpu_s = int(limits.submission_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))  # SIGXCPU first, which says why; then SIGKILL
    for what, most in (
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.address_bytes),
        (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, PENDING_SIGNALS),
    ):
        hard = resource.getrlimit(what)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))
