"""What Linux offers a process that gives something up, and Python has no function for: system calls by their numbers.

Whatever is refused raises OSError, but for `die_with_parent`. Machines are x86-64 and AArch64; any other is a KeyError.

Sources: prctl(2), capset(2), linux/audit.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of all tables of numbers, AUDIT_ARCH_*
_PR_SET_NO_NEW_PRIVS, _PR_SET_PDEATHSIG = 38, 1
_CAPSET, _CAPABILITIES_3 = (126, 91), 0x20080522


def machine() -> tuple[int, int]:
    """The column of this machine in a table of (number on x86-64, number on AArch64), and what seccomp calls it."""
    return _MACHINES[platform.machine()]


def call(number: int, *arguments: object) -> int:
    """What a system call returns; raises OSError where it fails."""
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return result


def no_new_privileges() -> None:
    """No program that this process becomes has more rights than it; Landlock and seccomp ask for that."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def drop_capabilities() -> None:
    """Gives up what root may do beyond others."""
    header, none = struct.pack("<Ii", _CAPABILITIES_3, 0), bytes(24)
    no_new_privileges()
    call(_CAPSET[machine()[0]], header, none)


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when the parent ends, however it ends; at once if it has ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
