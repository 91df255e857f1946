"""Landlock: the file system as a child sees it is what it may read, and the kernel refuses the rest.

Where the kernel knows these parts of Landlock, a child has no TCP either (version 4), and no signal and no abstract socket
reaches a process outside it (version 6). What an older one does not know is left to the other layers (confine.py).

Sources: landlock(7), linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from autograder.inside.linux import call, no_new_privileges

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_WRITE_FILE, _READ_FILE, _READ_DIR, _IOCTL_DEVICE = 1 << 1, 1 << 2, 1 << 3, 1 << 15
_FILE_SYSTEM_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # Landlock version -> how many rights it knows
_NO_TCP = 0b11  # bind, connect
_SCOPED = 0b11  # abstract sockets, signals
_O_PATH = 0o10000000


def landlock_version() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    try:
        return call(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def restrict_files(readable: list[str], devices: Sequence[str] = ()) -> None:
    """Lets this process read below `readable`, talk to `devices` and touch no other file.

    Raises OSError where the kernel refuses.
    """
    version = landlock_version()
    rights = (1 << _FILE_SYSTEM_RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("<QQQ", rights, _NO_TCP if version >= 4 else 0, _SCOPED if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = call(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    for path in readable:
        _allow(ruleset, path, _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0))
    for path in devices:
        _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _IOCTL_DEVICE) & rights)
    no_new_privileges()
    call(_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, _O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    rule = struct.pack("<Qi", rights, place)
    call(_LANDLOCK_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
    os.close(place)
