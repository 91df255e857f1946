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
