"""Read secrets, or get out. Each is the body of `f(at)`; what it returns is true where it got what it wanted.

`at` holds what a grader has beside it: a file with a secret in a folder, listening sockets, its own process id. Tried in
both boxes, and in the box `none` or in a process like a naive grader's, where it succeeds.
"""

from __future__ import annotations

from attacks.attack import Attack

PRELUDE = """
import ctypes, os, socket, sys

def call(number, *arguments):
    'A system call by its number on x86-64; raises OSError.'
    result = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""
OPEN, NAIVE = "open", "naive"
FILES, CALLS, WALL, FRESH = "Landlock", "seccomp", "nothing is handed down", "a fork of a process that has seen nothing"

ATTACKS = [
    # --- read
    Attack("open a file", "Read the answers by their path.", FILES, "return open(at['secret']).read()", OPEN),
    Attack("list a folder", "Find out who handed in.", FILES, "return os.listdir(at['folder'])", OPEN),
    Attack(
        "a folder as a descriptor",
        "Go through a descriptor that was opened for its place only, past the check of paths.",
        FILES,
        "place = os.open(at['folder'], os.O_PATH)\nreturn os.read(os.open('answer.txt', os.O_RDONLY, dir_fd=place), 100)",
        OPEN,
    ),
    Attack(
        "dots from a readable folder",
        "Climb from a folder that may be read.",
        FILES,
        "return open('/usr/lib/../..' + at['secret']).read()",
        OPEN,
    ),
    Attack(
        "the root of another process",
        "Read through /proc, where each process shows its own view of the files.",
        FILES,
        "return open(f\"/proc/{at['pid']}/root{at['secret']}\").read()",
        OPEN,
    ),
    Attack(
        "the grader's environment",
        "Read the course's secret where a variable holds it.",
        FILES,
        "return open(f\"/proc/{at['pid']}/environ\", 'rb').read()",
        OPEN,
    ),
    Attack(
        "the grader's memory",
        "Read hidden tests out of the process that has them.",
        FILES,
        "return os.open(f\"/proc/{at['pid']}/mem\", os.O_RDONLY)",
        OPEN,
    ),
    Attack(
        "the grader's descriptors",
        "Open again what the grader has open.",
        FILES,
        "return os.open(f\"/proc/{at['pid']}/fd/{at['descriptor']}\", os.O_RDONLY)",
        OPEN,
    ),
    Attack(
        "where the grader's descriptors lead",
        "Learn paths of the course by the links in /proc, which no rule about files covers.",
        "Landlock's own rule about other processes",
        "return os.readlink(f\"/proc/{at['pid']}/fd/{at['descriptor']}\")",
        OPEN,
    ),
    Attack(
        "copy memory of another process",
        "Read the grader's memory by process_vm_readv.",
        CALLS,
        "mine = ctypes.create_string_buffer(8)\n"
        "vector = (ctypes.c_uint64 * 2)(ctypes.addressof(mine), 8)\n"
        "there = (ctypes.c_uint64 * 2)(at['address'], 8)\n"
        "return call(310, at['pid'], vector, 1, there, 1, 0) == 8",
        OPEN,
    ),
    Attack(
        "trace the grader",
        "Stop and steer it by ptrace.",
        CALLS,
        "return call(101, 16902, at['pid'], 0, 0) == 0",
        "not tried: it would stop the process that runs this test; PTRACE_TRACEME below goes the same way",
    ),
    Attack("be traced", "Open the way to ptrace from the other side.", CALLS, "return call(101, 0, 0, 0, 0) == 0", OPEN),
    Attack(
        "take the grader's descriptor",
        "Have a copy of an open file made by pidfd_getfd.",
        CALLS,
        "return call(438, call(434, at['pid'], 0), at['descriptor'], 0) >= 0",
        OPEN,
    ),
    Attack("its own environment", "Find the secret in a variable.", WALL, "return os.environ.get('SECRET')", NAIVE),
    Attack(
        "the environment as the kernel knows it",
        "Find the secret where clearing os.environ does not reach.",
        FILES,
        "return b'SECRET' in open('/proc/self/environ', 'rb').read()",
        NAIVE,
    ),
    Attack(
        "a descriptor left open",
        "Read a file that the grader had open when it started the process.",
        WALL,
        "for number in range(3, 64):\n"
        "    try:\n        os.lseek(number, 0, 0)\n        return os.read(number, 100)\n    except OSError:\n        pass",
        NAIVE,
    ),
    Attack(
        "the stack above",
        "Find the expected result among the caller's variables.",
        FRESH,
        "frame = sys._getframe()\nwhile frame:\n    if 'expected' in frame.f_locals:\n"
        "        return True\n    frame = frame.f_back",
        NAIVE,
    ),
    Attack(
        "all objects",
        "Find the model answer among all that the process has allocated.",
        FRESH,
        "import gc\nreturn any(getattr(each, '__name__', '') == 'the_model' for each in gc.get_objects() if callable(each))",
        NAIVE,
    ),
    Attack(
        "imported modules",
        "Import hidden tests or answers by the name that they have in this process.",
        FRESH,
        "return any('the_model' in vars(each) for each in list(sys.modules.values()))",
        NAIVE,
    ),
    Attack(
        "import the grader",
        "Import the parts of the engine that know answers.",
        FILES,
        "from pathlib import Path\nsys.path.insert(0, at['package'])\nimport autograder.roster\nreturn True",
        OPEN,
    ),
    Attack(
        "the grader's source",
        "Read how it judges, to look for holes.",
        FILES,
        "return open(at['package'] + '/autograder/grade.py').read()",
        OPEN,
    ),
    Attack(
        "who else runs",
        "Read the list of processes and their command lines.",
        FILES,
        "return open(f\"/proc/{at['pid']}/cmdline\").read()",
        OPEN,
    ),
    Attack("other users' settings", "Read the system's accounts.", FILES, "return open('/etc/passwd').read()", OPEN),
    Attack("a watch on files", "See when the grader writes which file (inotify).", CALLS, "return call(294, 0) >= 0", OPEN),
    Attack(
        "be told of changes to a folder",
        "Be sent a signal at each change to a folder (dnotify).",
        CALLS,
        "import fcntl\nfcntl.fcntl(os.open('/usr', os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_CREATE)\nreturn True",
        OPEN,
    ),
    # --- write
    Attack(
        "make a file",
        "Leave a message for the next submission.",
        FILES,
        "open(at['folder'] + '/new', 'w').close()\nreturn True",
        OPEN,
    ),
    Attack("change a file", "Change a mark in the grade book.", FILES, "return os.open(at['secret'], os.O_RDWR)", OPEN),
    Attack(
        "write into a file",
        "Fill a file, wherever one can be opened.",
        "RLIMIT_FSIZE",
        "return os.write(os.open(at['folder'] + '/x', os.O_RDWR | os.O_CREAT), b'x')",
        "not tried in the box none, which keeps this limit; test_confine.py tries it with nothing",
    ),
    Attack("make a folder", "Build a place to hide things in.", CALLS, "os.mkdir(at['folder'] + '/d')\nreturn True", OPEN),
    Attack(
        "link a secret",
        "Give a secret a name below a folder that may be read.",
        CALLS,
        "os.link(at['secret'], at['folder'] + '/link')\nreturn True",
        OPEN,
    ),
    Attack(
        "a symbolic link",
        "Lead the grader to another file when it writes feedback.",
        CALLS,
        "os.symlink('/etc/passwd', at['folder'] + '/soft')\nreturn True",
        OPEN,
    ),
    Attack(
        "rename",
        "Put one file in the place of another.",
        CALLS,
        "os.rename(at['folder'] + '/answer.txt', at['folder'] + '/a')\n"
        "os.rename(at['folder'] + '/a', at['secret'])\nreturn True",
        OPEN,
    ),
    Attack("delete", "Remove another student's work.", CALLS, "os.unlink(at['folder'] + '/spare')\nreturn True", OPEN),
    Attack("change a mode", "Open a file to everybody.", CALLS, "os.chmod(at['secret'], 0o666)\nreturn True", OPEN),
    Attack(
        "change a time",
        "Hand in before the deadline, afterwards.",
        CALLS,
        "os.utime(at['secret'], (0, 0))\nreturn True",
        OPEN,
    ),
    Attack(
        "hang a note on a file",
        "Write extended attributes.",
        CALLS,
        "os.setxattr(at['secret'], 'user.note', b'x')\nreturn True",
        OPEN,
    ),
    Attack(
        "a pipe with a name",
        "Let whoever opens it wait for ever.",
        CALLS,
        "os.mkfifo(at['folder'] + '/fifo')\nreturn True",
        OPEN,
    ),
    Attack(
        "lock a shared file",
        "Hold a lock that others wait for.",
        CALLS,
        "import fcntl\nfcntl.flock(os.open('/usr/bin/env', os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)\nreturn True",
        OPEN,
    ),
    # --- shared memory and messages that outlive a process
    Attack(
        "memory that is a file",
        "Keep memory that no limit on files or data counts.",
        CALLS,
        "return os.memfd_create('x')",
        OPEN,
    ),
    Attack(
        "shared memory by name",
        "Leave a segment for an accomplice.",
        FILES,
        "name = '/autograder-attack'\nmade = os.open('/dev/shm' + name, os.O_CREAT | os.O_RDWR)\n"
        "os.unlink('/dev/shm' + name)\nreturn True",
        OPEN,
    ),
    Attack(
        "shared memory by number",
        "The same by System V, which has no file.",
        CALLS,
        "found = call(29, 0, 4096, 0o1600)\ncall(31, found, 0, 0)\nreturn True",
        OPEN,
    ),
    Attack(
        "a queue of messages",
        "Leave a message in the kernel.",
        CALLS,
        "found = call(68, 0, 0o1600)\ncall(71, found, 0, 0)\nreturn True",
        OPEN,
    ),
    Attack(
        "semaphores",
        "Leave a set of semaphores.",
        CALLS,
        "found = call(64, 0, 1, 0o1600)\ncall(66, found, 0, 0)\nreturn True",
        OPEN,
    ),
    Attack("a pair of sockets", "Make a channel of its own.", CALLS, "return socket.socketpair()", OPEN),
    Attack("a pipe", "Make one, whose buffer is kernel memory.", CALLS, "return os.pipe()", OPEN),
    Attack(
        "a counter of events", "Make kernel objects that no limit on memory counts.", CALLS, "return os.eventfd(0)", OPEN
    ),
    # --- network
    Attack(
        "TCP",
        "Send answers home.",
        CALLS,
        "with socket.create_connection(('127.0.0.1', at['tcp']), timeout=3) as s:\n    return s.send(b'x')",
        OPEN,
    ),
    Attack(
        "UDP",
        "The same without a connection.",
        CALLS,
        "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', at['tcp']))",
        OPEN,
    ),
    Attack(
        "a socket in the file system",
        "Talk to a service of this machine, such as Docker's.",
        CALLS,
        "s = socket.socket(socket.AF_UNIX)\ns.connect(at['socket'])\nreturn True",
        OPEN,
    ),
    Attack(
        "a socket without a file",
        "The same by an abstract name, which no mount hides.",
        CALLS,
        "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + at['abstract'])\nreturn True",
        OPEN,
    ),
    Attack(
        "the kernel's own socket",
        "Ask for routes and addresses (netlink).",
        CALLS,
        "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        OPEN,
    ),
    Attack(
        "listen",
        "Wait for a connection.",
        CALLS,
        "s = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\nreturn True",
        OPEN,
    ),
    Attack(
        "the channel to the grader, elsewhere",
        "Turn the socket that there is to another address.",
        CALLS,
        "s = socket.socket(fileno=os.dup(3))\ntry:\n"
        "    s.connect(at['socket'])\nexcept IsADirectoryError:\n    pass\nreturn True",
        "not tried: a connected pair refuses it anyhow; seccomp refuses before",
    ),
    # --- processes, privileges, the machine
    Attack(
        "fork",
        "Be two, of which one stays.",
        CALLS,
        "pid = os.fork()\nif pid == 0:\n    os._exit(0)\nos.waitpid(pid, 0)\nreturn True",
        OPEN,
    ),
    Attack(
        "a program in its place",
        "Become a shell.",
        CALLS,
        "import subprocess\nreturn subprocess.run(['/usr/bin/env', 'true']).returncode == 0",
        OPEN,
    ),
    Attack(
        "signal the zygote",
        "Kill the process that all others are forked from.",
        CALLS,
        "os.kill(os.getppid(), 0)\nreturn True",
        OPEN,
    ),
    Attack("signal everybody", "Kill all of this user's processes.", CALLS, "os.kill(-1, 0)\nreturn True", OPEN),
    Attack(
        "have signals sent",
        "Have the kernel signal somebody when a descriptor is ready.",
        CALLS,
        "import fcntl\nfcntl.fcntl(3, fcntl.F_SETOWN, os.getppid())\nreturn True",
        OPEN,
    ),
    Attack(
        "type into the terminal",
        "Put a command into the instructor's terminal (TIOCSTI).",
        CALLS,
        "import fcntl, termios\ntry:\n    fcntl.ioctl(0, termios.TIOCSTI, b'x')\nexcept OSError as error:\n"
        "    return error.errno == 25  # no terminal, but nobody refused to ask",
        OPEN,
    ),
    Attack(
        "a namespace of its own",
        "Become root in a user namespace, and reach the kernel's soft parts.",
        CALLS,
        "return call(272, 0x20000) == 0",
        OPEN,
        needs_root=True,
    ),
    Attack(
        "another root folder",
        "Leave the folder that a wall is built on.",
        CALLS,
        "os.chroot('/')\nreturn True",
        OPEN,
        needs_root=True,
    ),
    Attack(
        "open by handle",
        "Open files by number, past every check of a path.",
        CALLS,
        "import struct\nhandle = ctypes.create_string_buffer(struct.pack('<Ii', 128, 0) + bytes(128))\n"
        "return call(303, -100, at['secret'].encode(), handle, ctypes.byref(ctypes.c_int()), 0) == 0",
        OPEN,
    ),
    Attack(
        "a ring of requests",
        "Have the kernel open files on another way (io_uring).",
        CALLS,
        "return call(425, 1, ctypes.create_string_buffer(120)) >= 0",
        "not tried: many kernels have it switched off",
    ),
    Attack(
        "count the processor's events",
        "Measure other processes through the caches (perf_event_open).",
        CALLS,
        "return call(298, ctypes.create_string_buffer(b'\\1\\0\\0\\0\\x78', 128), 0, -1, -1, 0) >= 0",
        "not tried: most kernels allow it to nobody",
    ),
    Attack(
        "keep a key",
        "Leave a key in the kernel's keyring for whoever comes next.",
        CALLS,
        "return call(248, b'user', b'x', b'y', 1, -3) > 0",
        "not tried: a container may refuse it by itself",
    ),
    Attack(
        "raise a limit",
        "Take away the limit on memory.",
        CALLS,
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "return True",
        OPEN,
    ),
    Attack("a higher priority", "Slow all others down.", CALLS, "os.setpriority(os.PRIO_PROCESS, 0, 5)\nreturn True", OPEN),
    Attack(
        "a processor of its own",
        "Choose where it runs.",
        CALLS,
        "os.sched_setaffinity(0, os.sched_getaffinity(0))\nreturn True",
        OPEN,
    ),
    Attack("another user", "Become whoever owns the files.", CALLS, "os.setuid(os.getuid())\nreturn True", OPEN),
    Attack(
        "an alarm",
        "Have a handler called inside the engine's own code, whose variables it can see.",
        CALLS,
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 100)\nsignal.setitimer(signal.ITIMER_REAL, 0)\nreturn True",
        OPEN,
    ),
    Attack(
        "outlive the parent",
        "Take back that the kernel ends it with the zygote.",
        CALLS,
        "return call(157, 1, 0, 0, 0, 0) == 0",
        OPEN,
    ),
    Attack(
        "turn the filter round",
        "Put a filter of its own on top, that lies to the engine.",
        CALLS,
        "return call(157, 38, 1, 0, 0, 0) == 0",
        OPEN,
    ),
]
