"""Take the machine, or the run, along. Each is the body of `f(at)`, held in the boxes and let through in a roomy one.

`at["seconds"]` and `at["bytes"]` are how long and how much: held where they are beyond the limits, real where they are not
and the attack comes to its end. What it ends with in the box is `cause`; "" where the call is answered and costs nothing.
"""

from __future__ import annotations

from attacks.attack import Attack

ROOMY = "roomy"
DEADLINE, DATA, COUNT, FRAME, PIPE, DEATH = (
    "the deadline of a call",
    "RLIMIT_DATA",
    "the zygote counts threads",
    "limits of the protocol's frames",
    "the limit on printed text",
    "the child is a process of its own, whose death costs one test",
)
PRELUDE = """
import os, signal, sys, threading, time
import torch

def talk(message, body=b''):
    'A frame of the protocol, past the engine.'
    os.write(3, len(message).to_bytes(4, 'little') + len(body).to_bytes(4, 'little') + message + body)
"""

ATTACKS = [
    Attack(
        "a loop",
        "Never come back.",
        DEADLINE,
        "until = time.monotonic() + at['seconds']\nwhile time.monotonic() < until:\n    pass\nreturn True",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "a sleep",
        "The same, and use no processor time.",
        DEADLINE,
        "time.sleep(at['seconds'])\nreturn True",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "a loop without Python",
        "Stay in C, where no signal handler of Python's is ever run.",
        DEADLINE,
        "return 3 ** int(at['seconds'] * 4e6) > 0",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "exceptions refused",
        "Catch whatever would end it.",
        DEADLINE,
        "until = time.monotonic() + at['seconds']\nwhile time.monotonic() < until:\n    try:\n        time.sleep(0.01)\n"
        "    except BaseException:\n        pass\nreturn True",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "a destructor",
        "Hang where the call is already over.",
        DEADLINE,
        "class Late:\n    def __del__(self):\n        time.sleep(at['seconds'])\nLate()\nreturn True",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "the text of an error",
        "Hang when somebody wants to know what is wrong.",
        DEADLINE,
        "class Slow(Exception):\n    def __str__(self):\n        time.sleep(at['seconds'])\n        return 'x'\nraise Slow",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "a gradient",
        "Hang in the backward pass that the grader asks for.",
        DEADLINE,
        "class Slow(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        return x.clone()\n"
        "    @staticmethod\n    def backward(ctx, g):\n        time.sleep(at['seconds'])\n        return g\n"
        "return Slow.apply(at['x'])",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "stop itself",
        "Be neither dead nor alive.",
        DEADLINE,
        "at['seconds'] > 10 and os.kill(os.getpid(), signal.SIGSTOP)\nreturn True",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "only the first thread ends",
        "Leave a process whose first thread is gone.",
        DEADLINE,
        "import ctypes\nthreading.Thread(target=time.sleep, args=(at['seconds'],), daemon=True).start()\n"
        "at['seconds'] > 10 and ctypes.CDLL(None).syscall(60, 0)\nreturn True",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "no answer is read",
        "Never read, so that the grader waits in its own sending.",
        DEADLINE,
        "return 1",
        "not tried as a call: test_sandbox.py fills a channel to a child that never reads",
        cause="",
    ),
    Attack(
        "memory at once",
        "Ask for more than there is.",
        DATA,
        "return len(bytearray(at['bytes'])) > 0",
        ROOMY,
        cause="memory",
    ),
    Attack(
        "memory in steps",
        "Ask for it bit by bit.",
        DATA,
        "kept = []\nwhile len(kept) << 24 < at['bytes']:\n"
        "    kept.append(torch.empty(1 << 24, dtype=torch.uint8))\nreturn True",
        ROOMY,
        cause="memory",
    ),
    Attack(
        "memory that is shared",
        "Take memory that the limit on data does not count.",
        "seccomp: private memory only",
        "import mmap\nreturn len(mmap.mmap(-1, at['bytes'])) > 0",
        "not tried in a roomy box, which has the filter too; test_confine.py tries it without",
        cause="error",
    ),
    Attack(
        "memory that grows like a stack",
        "The same by another flag.",
        "seccomp: private memory only",
        "import mmap\nreturn len(mmap.mmap(-1, at['bytes'], flags=0x122)) > 0",
        "not tried in a roomy box, which has the filter too; test_confine.py tries it without",
        cause="error",
    ),
    Attack(
        "page tables",
        "Have tables made for memory that is only looked at.",
        "RLIMIT_AS",
        "import mmap\nmade = [mmap.mmap(-1, 1 << 34, flags=0x4022, prot=1) for _ in range(at['bytes'] >> 30)]\nreturn True",
        ROOMY,
        cause="error",
    ),
    Attack(
        "memory swallowed",
        "Go on after each refusal, for ever.",
        DEADLINE,
        "kept, until = [], time.monotonic() + at['seconds']\nwhile time.monotonic() < until:\n    try:\n"
        "        kept.append(torch.empty(1 << 26, dtype=torch.uint8))\n    except RuntimeError:\n        time.sleep(0.01)\n"
        "    if at['seconds'] < 10:\n        break\nreturn True",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "threads",
        "Make threads until there are no more.",
        COUNT,
        "threading.stack_size(1 << 16)\nfor _ in range(at['threads']):\n"
        "    threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\nreturn True",
        ROOMY,
        cause="error",
    ),
    Attack(
        "files",
        "Open files until there are no more.",
        "RLIMIT_NOFILE",
        "kept = [os.open('/dev/null', os.O_RDONLY) for _ in range(at['files'])]\nreturn True",
        ROOMY,
        cause="error",
    ),
    Attack(
        "signals",
        "Fill the queue of signals that all processes of this user share.",
        "RLIMIT_SIGPENDING",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [40])\n"
        "for _ in range(100_000):\n    os.kill(os.getpid(), 40)\nreturn True",
        "not tried in a roomy box, which has this limit too; test_confine.py tries it without",
        cause="",
    ),
    Attack(
        "text",
        "Print for ever.",
        PIPE,
        "for _ in range(at['lines']):\n    print('x' * 99)\nsys.stdout.flush()\nreturn True",
        ROOMY,
        cause="output",
    ),
    Attack(
        "text past Python",
        "Write into the pipe itself, in one line without an end.",
        PIPE,
        "for _ in range(at['lines']):\n    os.write(2, b'x' * 99)\nreturn True",
        ROOMY,
        cause="output",
    ),
    Attack(
        "text of a thread",
        "Print while the answer is on its way.",
        PIPE,
        "def shout():\n    for _ in range(at['lines']):\n        os.write(1, b'x' * 99)\n"
        "t = threading.Thread(target=shout)\nt.start()\nt.join()\nreturn True",
        ROOMY,
        cause="output",
    ),
    Attack(
        "a large result", "Send back more than fits.", FRAME, "return torch.zeros(at['lines'] * 100)", ROOMY, cause="error"
    ),
    Attack(
        "a result that expands",
        "Send back one number that claims to be 10^12.",
        FRAME,
        "return torch.zeros(1).expand(at['lines'], 10**3)",
        ROOMY,
        cause="output",
    ),
    Attack(
        "many results",
        "Send back a list that takes the grader's memory when it is read.",
        FRAME,
        "return [0] * (at['lines'] * 100)",
        "not tried: the number of values in a message is fixed",
        cause="error",
    ),
    Attack(
        "a tree of results",
        "Send back a nest that would take ages to walk.",
        FRAME,
        "t = []\nfor _ in range(at['depth']):\n    t = [t, t]\nreturn t",
        ROOMY,
        cause="error",
    ),
    Attack(
        "a result in itself",
        "Send back a list that holds itself.",
        FRAME,
        "t = []\nt.append(t)\nreturn t",
        "not tried: no limit could be lifted for it; a naive walk would never end",
        cause="",
    ),
    Attack(
        "a claim of length",
        "Announce four gigabytes and send none.",
        FRAME,
        "at['seconds'] > 10 and os.write(3, b'\\xff' * 8)\nreturn True",
        ROOMY,
        cause="output",
    ),
    Attack(
        "half a message",
        "Announce a message and keep the rest.",
        DEADLINE,
        "if at['seconds'] > 10:\n    os.write(3, (100).to_bytes(4, 'little') + bytes(4) + b'{')\n"
        "    time.sleep(60)\nreturn True",
        ROOMY,
        cause="timeout",
    ),
    Attack(
        "questions without end",
        "Ask the reference again and again, so that the grader works.",
        "the oracle gives lost exercises only",
        "while at['seconds'] > 10:\n"
        '    talk(b\'{"type":"Ask","name":"f","args":{"u":[]},"kwargs":{"d":[]},"views":[]}\')\n'
        "return True",
        ROOMY,
        cause="output",
    ),
    Attack(
        "recursion",
        "Go deeper than the stack.",
        DEATH,
        "sys.setrecursionlimit(10**8)\ndef down(n):\n    return n and sorted([n], key=lambda _: down(n - 1)) and 0\n"
        "down(at['depth'] * 20_000)\nreturn True",
        "not tried: how much stack there is depends on the machine",
        cause="crash",
    ),
    Attack(
        "a wild pointer",
        "Crash in C.",
        DEATH,
        "import ctypes\nat['seconds'] > 10 and ctypes.string_at(0)\nreturn True",
        ROOMY,
        cause="crash",
    ),
    Attack(
        "leave",
        "End the process with a status that says all is well.",
        DEATH,
        "at['seconds'] > 10 and os._exit(0)\nreturn True",
        ROOMY,
        cause="crash",
    ),
    Attack("abort", "End it by a signal.", DEATH, "at['seconds'] > 10 and os.abort()\nreturn True", ROOMY, cause="crash"),
    Attack(
        "kill",
        "End it so that it looks as if memory was short.",
        DEATH,
        "at['seconds'] > 10 and os.kill(os.getpid(), 9)\nreturn True",
        ROOMY,
        cause="crash",
    ),
    Attack(
        "hang up",
        "Close the channel to the grader.",
        DEATH,
        "at['seconds'] > 10 and os.close(3)\nreturn True",
        ROOMY,
        cause="crash",
    ),
    Attack(
        "sys.exit",
        "End the grader by an exception that is no error.",
        "what is raised inside is raised outside as an error",
        "at['seconds'] > 10 and sys.exit(0)\nreturn True",
        ROOMY,
        cause="error",
    ),
    Attack(
        "Ctrl-C",
        "End the run as if the instructor had stopped it.",
        "what is raised inside is raised outside as an error",
        "if at['seconds'] > 10:\n    raise KeyboardInterrupt\nreturn True",
        ROOMY,
        cause="error",
    ),
    Attack(
        "an exception that is none",
        "Raise what breaks whoever asks for its name.",
        "types are told by their built-in base",
        "class Odd(BaseException):\n    __module__ = 3\n    def __str__(self):\n        raise Odd\n    __repr__ = __str__\n"
        "if at['seconds'] > 10:\n    raise Odd\nreturn True",
        ROOMY,
        cause="error",
    ),
]
