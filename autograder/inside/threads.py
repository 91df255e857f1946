"""How many threads a child may have alive: the kernel asks the zygote about each that begins, and tells of each that ends.

    child                          zygote
      clone() ── waits ──────────▶ fewer than the limit alive? then go on, else EAGAIN: "can't start new thread"
      exit() ─── waits ──────────▶ one less, go on

No limit of the kernel's does this: RLIMIT_NPROC does not bind root, and counts all that a user runs. The child cannot
reach the count. What is asked about are numbers in registers, so a "go on" cannot become something else meanwhile.
Where the kernel gives no such descriptor (a container that listens itself), a child can make no thread at all.

Sources: seccomp_unotify(2), linux/seccomp.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
from dataclasses import dataclass

from autograder.inside import seccomp

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND
_NOTICE = struct.Struct("<QIIi")  # struct seccomp_notif: id, pid, flags, number of the call; 80 bytes with what follows
_ANSWER = struct.Struct("<QqiI")  # struct seccomp_notif_resp: id, value, error, flags
_NOTICE_BYTES, _GO_ON = 80, 1


def let_count(mailbox: int) -> None:
    """In the child: from now on whoever has the descriptor sent through `mailbox` decides about each thread."""
    try:
        listener = seccomp.ask_about_threads(listened=True)
    except OSError:
        seccomp.ask_about_threads(listened=False)
        return
    with socket.socket(fileno=os.dup(mailbox)) as post:
        socket.send_fds(post, [b"."], [listener])
    os.close(listener)


@dataclass
class _Child:
    most: int
    alive: int = 0  # threads besides the first


class Threads:
    """The threads of all children of this zygote; what is waited for is in `poll`."""

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._expected: dict[int, tuple[socket.socket, int]] = {}
        self._children: dict[int, _Child] = {}  # by the descriptor that the kernel asks through

    def expect(self, mailbox: socket.socket, most: int) -> None:
        """A child will send its descriptor through `mailbox`; it may have `most` threads besides the first."""
        self._expected[mailbox.fileno()] = mailbox, most
        self._poll.register(mailbox, select.POLLIN)

    def hear(self, descriptor: int, event: int) -> None:
        """Deals with what `poll` told of a descriptor."""
        if descriptor in self._expected:
            self._adopt(*self._expected.pop(descriptor))
        elif descriptor in self._children and event & select.POLLIN:
            self._decide(descriptor)
        elif descriptor in self._children:  # all that could ask have ended
            self._poll.unregister(descriptor)
            del self._children[descriptor]
            os.close(descriptor)

    def _adopt(self, mailbox: socket.socket, most: int) -> None:
        self._poll.unregister(mailbox)
        with mailbox:
            _, descriptors, _, _ = socket.recv_fds(mailbox, 1, 1)
        for descriptor in descriptors:
            self._children[descriptor] = _Child(most)
            self._poll.register(descriptor, select.POLLIN)

    def _decide(self, descriptor: int) -> None:
        notice = bytearray(_NOTICE_BYTES)
        try:
            fcntl.ioctl(descriptor, _RECEIVE, notice)
            fcntl.ioctl(descriptor, _SEND, _answer(self._children[descriptor], notice))
        except OSError as error:
            if error.errno != errno.ENOENT:  # who asked was killed meanwhile
                raise


def _answer(child: _Child, notice: bytearray) -> bytes:
    number, _, _, call = _NOTICE.unpack_from(notice)
    begins = call == seccomp.clone_number()
    if begins and child.alive >= child.most:
        return _ANSWER.pack(number, 0, -errno.EAGAIN, 0)
    child.alive += 1 if begins else -1
    return _ANSWER.pack(number, 0, 0, _GO_ON)
