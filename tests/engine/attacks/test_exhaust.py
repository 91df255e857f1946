"""Take the machine along: each ends with a cause and in time in both boxes, and comes to its end where there is room."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from attacks.exhaust import ATTACKS, PRELUDE

from autograder.errors import StudentError
from autograder.inside.confine import Limits
from autograder.sandbox import Sandbox

BY_NAME = {attack.name: attack for attack in ATTACKS}
DEADLINE_S = 0.8
LITTLE = {"call_s": DEADLINE_S, "reply_bytes": 8 << 20, "printed_bytes": 100_000, "memory_bytes": 1 << 30}
MUCH = {"seconds": 1e4, "bytes": 64 << 30, "threads": 500, "files": 500, "lines": 100_000, "depth": 40}
ROOM = {"seconds": 0.1, "bytes": 300 << 20, "threads": 70, "files": 70, "lines": 2_000, "depth": 3}
ROOMY = Limits(call_s=60, memory_bytes=3 << 30, open_files=200, threads=100, printed_bytes=10 << 20, reply_bytes=200 << 20)
GROWTH_BYTES = 150 << 20


@pytest.fixture(scope="module")
def roomy_box():
    """Landlock with room enough for the small form of each attack, which is more than the boxes have for the large one."""
    with Sandbox("landlock", ROOMY) as sandbox:
        yield sandbox


def called(student, at):
    """The cause that a call ends with, "" if it is answered; gradients of what is returned are asked for."""
    x = torch.ones(2, requires_grad=True)
    try:
        result = student.f({**at, "x": x})
        if isinstance(result, torch.Tensor) and result.requires_grad:
            result.sum().backward()
        student.g()
    except Exception as error:
        cause = error if isinstance(error, StudentError) else error.__cause__
        return cause.cause
    return ""


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("box", ["bubblewrap", pytest.param("landlock", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", BY_NAME)
def test_it_is_held(box, name, sandbox_named, student_of, as_function, monkeypatch):
    """It ends in time and with its cause, the grader does not grow, and the next call is answered."""
    sandbox = sandbox_named(box)
    monkeypatch.setattr(sandbox, "limits", replace(sandbox.limits, **LITTLE))
    source = as_function("f", BY_NAME[name].code, PRELUDE) + "def g():\n    return 1\n"
    student = student_of(source, "f", "g", box=sandbox)
    assert student.g() == 1
    before, started = resident(), time.monotonic()
    assert called(student, MUCH) == BY_NAME[name].cause
    assert time.monotonic() - started < DEADLINE_S + 2
    assert resident() - before < GROWTH_BYTES
    assert student.g() == 1


@pytest.mark.parametrize("name", [name for name, attack in BY_NAME.items() if attack.real == "roomy"])
def test_it_is_real(name, roomy_box, student_of, as_function):
    """Where there is room it does what it set out to do."""
    source = as_function("f", BY_NAME[name].code, PRELUDE) + "def g():\n    return 1\n"
    ended = called(student_of(source, "f", "g", box=roomy_box), ROOM)
    assert ended == ("error" if "raise Slow" in BY_NAME[name].code else "")
