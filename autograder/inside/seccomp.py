"""seccomp: the system calls that a child may make, as a program that the kernel runs before each.

On the list are memory, threads, clocks, reading files, the socket that is already open. Not on it: new processes, programs,
sockets, signals to anyone else, tracing, mounts, keys ... `mmap` makes private memory only: what is shared, grows like a
stack or is huge, RLIMIT_DATA does not count. A call that is not allowed fails with EPERM, so student code sees an ordinary
OSError. `clone3` fails with ENOSYS, whereupon glibc falls back to `clone`, whose flags a filter can see: threads yes (the
zygote counts them, threads.py), processes no.

Sources: seccomp(2), linux/seccomp.h, linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from autograder.inside.linux import call, machine, no_new_privileges

_SYSTEM_CALLS = {  # name: (number on x86-64, on AArch64); None where the machine has no such call
    "futex": (202, 98), "sendto": (44, 206), "recvfrom": (45, 207), "munmap": (11, 215),
    "madvise": (28, 233), "brk": (12, 214), "mprotect": (10, 226), "mremap": (25, 216), "read": (0, 63),
    "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "close": (3, 57),
    "open": (2, None), "openat": (257, 56), "stat": (4, None), "lstat": (6, None), "fstat": (5, 80),
    "newfstatat": (262, 79), "statx": (332, 291), "lseek": (8, 62), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61),
    "getcwd": (79, 17), "dup": (32, 23), "fadvise64": (221, 223), "poll": (7, None), "ppoll": (271, 73),
    "select": (23, None), "pselect6": (270, 72), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "get_mempolicy": (239, 236), "membarrier": (324, 283),
    "rseq": (334, 293), "set_robust_list": (273, 99), "set_tid_address": (218, 96), "futex_waitv": (449, 449),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "getrusage": (98, 165),
    "sysinfo": (99, 179), "uname": (63, 160), "getrandom": (318, 278), "getpid": (39, 172), "gettid": (186, 178),
    "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_CLONE, _CLONE3, _KILL, _TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
_FCNTL, _IOCTL, _PRLIMIT, _MMAP = (72, 25), (16, 29), (302, 261), (9, 222)
_EXIT, _SECCOMP = (60, 93), (317, 277)
_X32_BIT = 0x40000000
_THREADS = (0x003D0F00, 0x007D0F00)  # flags of clone() as glibc and musl make a thread, and no other: no new namespace
_MAP_KIND, _MAP_PRIVATE = 0x0F | 0x100 | 0x40000, 0x02  # MAP_TYPE, MAP_GROWSDOWN, MAP_HUGETLB
_FCNTL_COMMANDS = (1, 2, 3, 1030)  # F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: not F_SETOWN, which sends signals
_TCGETS = 0x5401  # isatty()
_GPU_CALLS = {"eventfd2": (290, 19), "pipe2": (293, 59), "mincore": (27, 232)}
_PRCTL, _PR_SET_NAME = (157, 167), 15
_MAP_ANONYMOUS, _MAP_SHARED = 0x20, 0x01  # a file shared: the driver's, for none other can be written to
_UVM_BEGIN, _UVM_END = 0x30000001, 0x30000002  # UVM_INITIALIZE, UVM_DEINITIALIZE (uvm_linux_ioctl.h)

_LD, _JEQ, _JGE, _AND, _RET = 0x20, 0x15, 0x35, 0x54, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, ...
_ALLOW, _KILL_PROCESS, _ERRNO, _ASK = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def restrict_system_calls(*, gpu: bool = False) -> None:
    """Installs the allow-list for this process and all threads it will make; raises OSError where refused.

    `gpu` adds what NVIDIA's driver is talked to by: its ioctls, shared memory of files, event counters and pipes.
    """
    _install(_filter(os.getpid(), gpu=gpu), 0)


def clone_number() -> int:
    """The number of the system call that begins a thread."""
    return _CLONE[machine()[0]]


def ask_about_threads(*, listened: bool) -> int:
    """Each thread waits for leave to begin: of whoever has the descriptor that is returned, or for ever refused.

    Raises OSError where the kernel has no such descriptor to give.
    """
    column, architecture = machine()
    return _install(
        [
            (_LD, 0, 0, _ARCHITECTURE),
            (_JEQ, 0, 4, architecture),  # another one is killed by the allow-list
            (_LD, 0, 0, _NUMBER),
            (_JEQ, 1, 0, _CLONE[column]),
            (_JEQ, 0, 1, _EXIT[column]),
            (_RET, 0, 0, _ASK),
            (_RET, 0, 0, _ALLOW),
        ],
        _NEW_LISTENER if listened else 0,
    )


def _install(instructions: list[Instruction], flags: int) -> int:
    no_new_privileges()
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    return call(_SECCOMP[machine()[0]], ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(flags), program)


def _filter(pid: int, *, gpu: bool = False) -> list[Instruction]:
    column, architecture = machine()
    filters = [
        (_LD, 0, 0, _ARCHITECTURE),
        (_JEQ, 1, 0, architecture),
        (_RET, 0, 0, _KILL_PROCESS),
        (_LD, 0, 0, _NUMBER),
        (_JGE, 0, 1, _X32_BIT),
        (_RET, 0, 0, _KILL_PROCESS),
    ]
    for numbers in (*_SYSTEM_CALLS.values(), *(_GPU_CALLS.values() if gpu else ())):
        number = numbers[column]
        if number is not None:
            filters += [(_JEQ, 0, 1, number), (_RET, 0, 0, _ALLOW)]
    kinds = (_MAP_PRIVATE, _MAP_PRIVATE | _MAP_ANONYMOUS, _MAP_SHARED) if gpu else (_MAP_PRIVATE,)
    filters += _rule(_MMAP[column], (3, _MAP_KIND | (_MAP_ANONYMOUS if gpu else 0), kinds))
    filters += _rule(_CLONE[column], (0, 0xFFFFFFFF, _THREADS))
    filters += _rule(_KILL[column], (0, 0xFFFFFFFF, (pid,)))
    filters += _rule(_TGKILL[column], (0, 0xFFFFFFFF, (pid,)))
    filters += _rule(_FCNTL[column], (1, 0xFFFFFFFF, _FCNTL_COMMANDS))
    filters += _driver_rule(_IOCTL[column]) if gpu else _rule(_IOCTL[column], (1, 0xFFFFFFFF, (_TCGETS,)))
    filters += _rule(_PRCTL[column], (0, 0xFFFFFFFF, (_PR_SET_NAME,))) if gpu else []
    filters += _rule(_PRLIMIT[column], (0, 0xFFFFFFFF, (0,)), (2, 0xFFFFFFFF, (0,)))
    return [
        *filters,
        (_JEQ, 0, 1, _CLONE3[column]),
        (_RET, 0, 0, _ERRNO | errno.ENOSYS),
        (_RET, 0, 0, _ERRNO | errno.EPERM),
    ]


def _driver_rule(number: int) -> list[Instruction]:
    """Allows the ioctls of NVIDIA's device nodes, and the one that isatty() makes.

    nvidiactl and nvidia0 have the type 'F'; nvidia-uvm numbers from 1, and has two that begin and end its use. On what else
    a child has open, a socket and a pipe, none of these has a meaning.
    """
    body: list[Instruction] = [
        (_LD, 0, 0, _ARGUMENTS + 8),
        (_JEQ, 7, 0, _TCGETS),
        (_JEQ, 6, 0, _UVM_BEGIN),
        (_JEQ, 5, 0, _UVM_END),
        (_AND, 0, 0, 0xFFFFFF00),
        (_JEQ, 3, 0, 0),
        (_AND, 0, 0, 0xFF00),
        (_JEQ, 1, 0, ord("F") << 8),
        (_RET, 0, 0, _ERRNO | errno.EPERM),
        (_RET, 0, 0, _ALLOW),
    ]
    return [(_JEQ, 0, len(body), number), *body]


def _rule(number: int, *conditions: tuple[int, int, tuple[int, ...]]) -> list[Instruction]:
    """Allows call `number` where each (argument, mask, values) holds: argument & mask is one of the values.

    Only the low halves are masked; the high half of each argument must be zero, or a 64-bit pointer whose low half
    is zero would pass for none.
    """
    body: list[Instruction] = []
    for argument, mask, values in conditions:
        body += [(_LD, 0, 0, _ARGUMENTS + 8 * argument + 4), (_JEQ, 1, 0, 0), (_RET, 0, 0, _ERRNO | errno.EPERM)]
        body += [(_LD, 0, 0, _ARGUMENTS + 8 * argument), (_AND, 0, 0, mask)]
        body += [(_JEQ, len(values) - i, 0, value) for i, value in enumerate(values)]
        body += [(_RET, 0, 0, _ERRNO | errno.EPERM)]
    body += [(_RET, 0, 0, _ALLOW)]
    return [(_JEQ, 0, len(body), number), *body]
