"""Read secrets, or get out: held in both boxes, real without them."""

import os
import platform

import pytest
from attacks.escape import ATTACKS, PRELUDE

from autograder.sandbox import Sandbox

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls have the numbers of x86-64")
BY_NAME = {attack.name: attack for attack in ATTACKS}
TRIED = {name: attack for name, attack in BY_NAME.items() if attack.real in ("open", "naive")}


@pytest.fixture(scope="module")
def open_box():
    """No wall: student code runs with this process's rights."""
    with Sandbox("none") as sandbox:
        yield sandbox


def got(student, at):
    """Did it get what it wanted? What it could not do is an error, and no success."""
    try:
        return bool(student.f(at))
    except Exception:
        return False


@pytest.mark.parametrize("box", ["bubblewrap", "landlock"])
@pytest.mark.parametrize("name", BY_NAME)
def test_it_is_held(box, name, sandbox_named, student_of, as_function, surroundings):
    """In each box: nothing is got, and nothing beside the box has changed."""
    before = {path: os.stat(path) for path in [surroundings["folder"], surroundings["secret"]]}
    student = student_of(as_function("f", BY_NAME[name].code, PRELUDE), box=sandbox_named(box))
    assert not got(student, surroundings)
    for path, old in before.items():
        now = os.stat(path)
        assert (now.st_mtime_ns, now.st_mode, now.st_nlink) == (old.st_mtime_ns, old.st_mode, old.st_nlink)


@pytest.mark.parametrize("name", TRIED)
def test_it_is_real(name, open_box, naive, student_of, as_function, surroundings):
    """Without the layer it gets what it wants."""
    attack = BY_NAME[name]
    if attack.needs_root and os.geteuid() != 0:
        pytest.skip("nobody but root could do this in the first place")
    source = as_function("f", attack.code, PRELUDE)
    if attack.real == "naive":
        assert naive(source, surroundings)
    else:
        assert got(student_of(source, box=open_box), surroundings)
