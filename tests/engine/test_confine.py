"""Each layer of the child's confinement denies by itself what it is there for; without any, the attack works."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autograder.inside import seccomp

ROOT = Path(__file__).resolve().parents[2]
READABLE = ["/usr", "/lib", "/lib64", str(Path(sys.base_prefix).resolve()), str(Path(sys.prefix)), "/dev/urandom"]
LAYERS = {
    "nothing": "",
    "rlimits": "limit_resources(Limits(memory_bytes=200 << 20, open_files=16))",
    "landlock": f"restrict_files({READABLE!r})",
    "seccomp": "restrict_system_calls()",
    "capabilities": "drop_capabilities()",
}
PREPARED = """
import ctypes, os, resource, signal, socket, subprocess, threading
from autograder.inside.confine import Limits, confine, limit_resources
from autograder.inside.landlock import restrict_files
from autograder.inside.linux import die_with_parent, drop_capabilities
from autograder.inside.seccomp import restrict_system_calls

def call(*numbers):
    if ctypes.CDLL(None, use_errno=True).syscall(*numbers) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""


def attempt(layer, attack, *arguments):
    """Runs an attack in a process that has put on one layer: "done", or the name of the error that it met."""
    code = [f"import sys; sys.path[:0] = [{str(ROOT)!r}]", PREPARED, LAYERS[layer], "try:"]
    code += [f"    {line}" for line in attack.splitlines()]
    code += ["    print('done', flush=True)", "except BaseException as error:"]
    code += ["    print(type(error).__name__, getattr(error, 'errno', '') or '', flush=True)", "os._exit(0)"]
    command = [sys.executable, "-c", "\n".join(code), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return (ran.stdout.split() or [f"exit {ran.returncode} {ran.stderr[-300:]}"])[0]


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A file that lies where students' code may not look."""
    path = tmp_path_factory.mktemp("course") / "answer.txt"
    path.write_text("the answer")
    return path


ATTACKS = {
    "read a file": ("landlock", "open(sys.argv[1]).read()"),
    "list a folder": ("landlock", "os.listdir(os.path.dirname(sys.argv[1]))"),
    "read by a path with dots": ("landlock", "open('/usr/../' + sys.argv[1]).read()"),
    "read by a descriptor of the folder": (
        "landlock",
        "os.open(os.path.basename(sys.argv[1]), os.O_RDONLY, dir_fd=os.open(os.path.dirname(sys.argv[1]), os.O_PATH))",
    ),
    "write a file": ("landlock", "open(sys.argv[1] + '.new', 'w').close(); os.unlink(sys.argv[1] + '.new')"),
    "write a byte to a file": (
        "rlimits",
        "open(sys.argv[1] + '2', 'wb', buffering=0).write(b'x'); os.unlink(sys.argv[1] + '2')",
    ),
    "make a folder": ("seccomp", "os.mkdir(sys.argv[1] + '.d'); os.rmdir(sys.argv[1] + '.d')"),
    "delete a file": ("seccomp", "open(sys.argv[1] + '.x', 'w').close(); os.unlink(sys.argv[1] + '.x')"),
    "make a link": ("seccomp", "os.symlink(sys.argv[1], sys.argv[1] + '.l'); os.unlink(sys.argv[1] + '.l')"),
    "change a file's mode": ("seccomp", "os.chmod(sys.argv[1], 0o600)"),
    "open a socket": ("seccomp", "socket.socket().close()"),
    "open a socket in the file system": ("seccomp", "socket.socket(socket.AF_UNIX).close()"),
    "make a pair of sockets": ("seccomp", "socket.socketpair()"),
    "connect by TCP": (
        "landlock",
        "try: socket.create_connection(('127.0.0.1', 9), timeout=5)\nexcept ConnectionRefusedError: pass",
    ),
    "fork": ("seccomp", "pid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)"),
    "run a program": ("seccomp", "subprocess.run(['/usr/bin/env', 'true'], check=True)"),
    "become a program": ("seccomp", "os.execv('/bin/sh', ['sh', '-c', 'echo done'])"),
    "signal the parent": ("seccomp", "os.kill(os.getppid(), 0)"),
    "signal everyone": ("seccomp", "os.killpg(0, 0)"),
    "signal the parent past seccomp": ("landlock", "os.kill(os.getppid(), 0)"),
    "signal a thread of the parent": ("seccomp", "call(234, os.getppid(), os.getppid(), 0)"),
    "be traced": ("seccomp", "call(101, 0, 0, 0, 0)"),
    "make memory that is a file": ("seccomp", "os.memfd_create('x')"),
    "raise a limit": ("seccomp", "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"),
    "change the priority": ("seccomp", "os.nice(1)"),
    "change the user": ("seccomp", "os.setuid(os.getuid())"),
    "make a namespace": ("seccomp", "call(272, 0)"),
    "have signals sent by a descriptor": ("seccomp", "import fcntl; fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())"),
    "turn a shared descriptor's flags": (
        "seccomp",
        "import fcntl; fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL))",
    ),
    "control a terminal": ("seccomp", "import fcntl; fcntl.ioctl(1, 0x5421, b'\\0' * 4)"),
    "take much memory at once": ("rlimits", "bytearray(300 << 20)"),
    "take much memory in steps": ("rlimits", "[bytearray(1 << 20) for _ in range(300)]"),
    "take much memory that is shared": (
        "seccomp",
        "import mmap; whole = mmap.mmap(-1, 300 << 20)\nfor place in range(0, len(whole), 1 << 20): whole[place] = 1",
    ),
    "take much memory that grows like a stack": ("seccomp", f"import mmap; mmap.mmap(-1, 300 << 20, flags={0x122})"),
    "reserve address space without end": (
        "rlimits",
        "import mmap; [mmap.mmap(-1, 1 << 40, flags=0x4022, prot=mmap.PROT_READ) for _ in range(8)]",
    ),
    "make a thread in a namespace of its own": (
        "seccomp",  # the thread's stack is the address of pause(), to which the system call returns
        "pause = ctypes.cast(ctypes.CDLL(None).pause, ctypes.c_void_p).value\n"
        "stack = (ctypes.c_uint64 * 4096)(*[pause] * 4096)\n"
        "call(56, 0x00030900, ctypes.c_void_p(ctypes.addressof(stack) + 16384), 0, 0, 0)",
    ),
    "do what root alone may": ("capabilities", "os.chroot('/'); os.nice(-1)"),
    "queue signals without end": (
        "rlimits",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])\n"
        "for _ in range(500): os.kill(os.getpid(), signal.SIGRTMIN)\n"
        "assert int(open('/proc/self/status').read().partition('SigQ:')[2].partition('/')[0]) > 400",
    ),
    "open many files": ("rlimits", "[os.open('/dev/null', os.O_RDONLY) for _ in range(40)]"),
}  # fmt: skip


ONLY_ROOT = ("make a thread in a namespace of its own", "do what root alone may")


@pytest.mark.parametrize("name", ATTACKS)
def test_a_layer_alone_denies_what_it_is_for(name, secret):
    """Held with one layer; that it is a real attack shows when it succeeds with none."""
    layer, attack = ATTACKS[name]
    if "call(" in attack and platform.machine() != "x86_64":
        pytest.skip("this attack has the numbers of x86-64")
    if name in ONLY_ROOT and os.geteuid() != 0:
        pytest.skip("nobody but root could do this in the first place")
    held = attempt(layer, attack, secret)
    assert held not in ("done", "exit"), held
    assert attempt("nothing", attack, secret) == "done"


@pytest.mark.parametrize("layer", ["rlimits", "landlock", "seccomp", "capabilities"])
@pytest.mark.parametrize(
    "work",
    [
        "sum(bytearray(1 << 20))",
        "t = threading.Thread(target=lambda: None); t.start(); t.join()",
        "open('/dev/urandom', 'rb').read(8)",
        "os.listdir('/usr'); os.getcwd(); os.getpid()",
        "os.write(1, b''); os.read(os.open('/dev/urandom', os.O_RDONLY), 1)",
        "os.kill(os.getpid(), 0)",
        "import json, decimal, random, time; time.sleep(0.001); random.random()",
    ],
)
def test_honest_work_goes_on(layer, work):
    """Memory, threads, clocks, reading what may be read, signals to oneself."""
    assert attempt(layer, work) == "done"


def test_a_limit_cannot_be_lifted_again(secret):
    """All layers together: memory stays limited for a process that is root, too."""
    code = "resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))"
    LAYERS["all"] = f"confine(Limits(), {READABLE!r})"
    assert attempt("all", code) in ("PermissionError", "ValueError", "OSError")
    assert attempt("all", "open(sys.argv[1])", secret) == "PermissionError"
    assert attempt("all", "os.fork()") == "PermissionError"
    assert attempt("all", "bytearray(100 << 20)") == "done"


def test_a_child_does_not_outlive_its_parent():
    """Killed with SIGKILL, a zygote takes its sleeping children along."""
    lines = [f"import sys, time; sys.path[:0] = [{str(ROOT)!r}]", PREPARED, "parent = os.getpid()"]
    lines += ["if os.fork() == 0: die_with_parent(parent); print(os.getpid(), flush=True); time.sleep(60)"]
    code = "\n".join([*lines, "signal.pause()"])
    started = time.monotonic()
    zygote = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert int(zygote.stdout.readline()) != zygote.pid
    finally:
        zygote.kill()
        zygote.wait()
    with zygote.stdout:
        zygote.stdout.read()  # ends when the child, who holds the other end, has ended
    assert time.monotonic() - started < 30


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the other tables of x86-64")
def test_other_tables_of_system_calls_kill():
    """x32's numbers and i386's gate reach the kernel by other numbers: the process is killed, not asked."""
    x32 = "ctypes.CDLL(None).syscall(0x40000000 | 39)"
    assert attempt("seccomp", x32).startswith("exit")
    gate = (  # mov eax, 20; int 0x80; ret
        "import mmap; code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)\n"
        "code.write(bytes.fromhex('b814000000cd80c3'))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()"
    )
    assert attempt("nothing", gate) == "done"
    assert attempt("seccomp", gate).startswith("exit")


def test_both_machines_have_a_number_for_each_call():
    """The columns for x86-64 and AArch64 are numbers without doubles; only old names are missing on AArch64."""
    for column in (0, 1):
        numbers = [each[column] for each in seccomp._SYSTEM_CALLS.values() if each[column] is not None]
        numbers += [each[column] for each in (seccomp._CLONE, seccomp._CLONE3, seccomp._KILL, seccomp._TGKILL)]
        numbers += [each[column] for each in (seccomp._FCNTL, seccomp._IOCTL, seccomp._PRLIMIT, seccomp._MMAP)]
        assert len(set(numbers)) == len(numbers)
    old = {name for name, (_, number) in seccomp._SYSTEM_CALLS.items() if number is None}
    assert old == {"open", "stat", "lstat", "access", "readlink", "poll", "select", "time"}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_jumps_only_within_itself(machine, monkeypatch):
    """Every jump of the program lands on an instruction, and it ends with a refusal."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    program = seccomp._filter(os.getpid())
    for at, (code, yes, no, _) in enumerate(program):
        assert max(yes, no) < 256
        if code in (seccomp._JEQ, seccomp._JGE):
            assert max(at + 1 + yes, at + 1 + no) < len(program)
    assert program[-1][0] == seccomp._RET
    assert program[-1][3] & 0xFFFF0000 == seccomp._ERRNO


def test_a_path_that_is_not_there_is_passed_over():
    """A machine without /lib64 is no reason to fail."""
    LAYERS["gone"] = f"restrict_files({[*READABLE, '/no/such/place']!r})"
    assert attempt("gone", "os.listdir('/usr')") == "done"
