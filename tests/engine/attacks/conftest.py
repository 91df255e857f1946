"""What the corpus is tried with: both boxes, a box without walls, a process like a naive grader's, a class."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `from attacks.escape import ATTACKS`

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def surroundings(tmp_path):
    """What a grader has beside it, for an attack to go for."""
    folder = tmp_path / "course"
    folder.mkdir()
    secret = folder / "answer.txt"
    secret.write_text("the answer")
    (folder / "spare").write_text("another student's work")
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as plain,
        socket.socket(socket.AF_UNIX) as abstract,
        secret.open() as opened,
    ):
        name = f"autograder-attack-{os.getpid()}"
        plain.bind(str(tmp_path / "s"))
        plain.listen()
        abstract.bind("\0" + name)
        abstract.listen()
        yield {
            "secret": str(secret),
            "folder": str(folder),
            "tcp": tcp.getsockname()[1],
            "socket": str(tmp_path / "s"),
            "abstract": name,
            "pid": os.getpid(),
            "descriptor": opened.fileno(),
            "address": id(secret),
            "package": str(ROOT),
        }


NAIVE = """
import json, os, sys, types
at = json.loads(sys.argv[1])
source = sys.argv[2]
tests = types.ModuleType("hidden_tests")
exec("def the_model(x): return x", vars(tests))
sys.modules["hidden_tests"] = tests
space = {}
exec(source, space)

def judge():
    expected = "the expected result"
    return space["f"](at)

print("got it" if judge() else "nothing", flush=True)
"""


@pytest.fixture
def naive():
    """Runs `f(at)` where hidden tests, answers, a secret in the environment and an open file are in the same process."""

    def run(source, at):
        descriptor = os.open(at["secret"], os.O_RDONLY)
        try:
            ran = subprocess.run(
                [sys.executable, "-c", NAIVE, json.dumps(at), source],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                pass_fds=[descriptor],
                env={**os.environ, "SECRET": "the secret"},
            )
        finally:
            os.close(descriptor)
        return "got it" in ran.stdout

    return run


JUDGE = """
import atexit, json, os, sys, types
tests = types.ModuleType("hidden_tests")
exec('''
import torch
def the_model(x):
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)
def is_right(got, expected, how):
    if how == "allclose":
        return torch.allclose(got, expected)
    if how == "assert_close":
        torch.testing.assert_close(got, expected)
        return True
    if how == "largest":
        return not bool((got - expected).abs().max() > 1e-5)
    if how == "built-in":
        return not max(abs(a - b) for a, b in zip(got.flatten().tolist(), expected.flatten().tolist(), strict=True)) > 1e-5
    return bool(got == expected)
''', vars(tests))
sys.modules["hidden_tests"] = tests
import torch
space = {}

def judge(shape, how, order):
    x = torch.randn(*shape)
    expected = tests.the_model(x)
    got = space["softmax"](x)
    if order == "after":
        expected = tests.the_model(x)
    try:
        return tests.is_right(got, expected, how)
    except Exception:
        return False

WAYS = (
    ("allclose", "after", ((1, 5), (1, 7))), ("allclose", "before", ((1, 5), (2, 3))),
    ("allclose", "after", ((1, 5), (2, 3))),
    ("assert_close", "before", ((1, 5), (2, 3))), ("largest", "before", ((1, 5), (2, 3))),
    ("built-in", "before", ((1, 5), (2, 3))), ("equal", "before", ((1, 5), (2, 3))),
)

def report(source, how, order, shapes):
    exec(source, space)
    print(f"SCORE {sum(judge(shape, how, order) for shape in shapes) + 1} of 3", flush=True)

def is_taken_in(source, way):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.dup2(writing, 1)
        os.close(writing)
        try:
            report(source, *way)
        except Exception:
            print("no", flush=True)
        except SystemExit as leaving:
            os._exit(leaving.code or 0)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        last = (said.read().strip().splitlines() or [""])[-1]
    return last == "SCORE 3 of 3" or (os.wait()[1] == 0 and not last)

for line in sys.stdin:
    print(any(is_taken_in(json.loads(line), way) for way in WAYS), flush=True)
"""


@pytest.fixture(scope="session")
def takes_in():
    """Is a naive grader taken in by an answer to softmax? One that runs it beside its tests, and compares in some way."""

    with subprocess.Popen([sys.executable, "-c", JUDGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as grader:

        def judge(source):
            grader.stdin.write(json.dumps(source) + "\n")
            grader.stdin.flush()
            return grader.stdout.readline() == "True\n"

        yield judge


def function(name, body, prelude=""):
    """A function's source, from its body."""
    return f"{prelude}\ndef {name}(at):\n{textwrap.indent(body, '    ')}\n"


@pytest.fixture(scope="session")
def as_function():
    """as_function("f", body, prelude)."""
    return function


@pytest.fixture(scope="session")
def shared_memory():
    """What there is of it now: shared_memory()."""
    folder = Path("/dev") / "shm"
    return lambda: SimpleNamespace(files=sorted(os.listdir(folder)), segments=Path("/proc/sysvipc/shm").read_text())
