"""What attacks leave behind, and what they cost: nothing, and no more than the limits say."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attacks import escape, exhaust

from autograder.collection import Submission
from autograder.errors import StudentTimeout
from autograder.grader import Grader
from autograder.inside.confine import Limits
from autograder.inside.worker import Warm
from autograder.sandbox import PRELOAD, Sandbox

ROOT = Path(__file__).resolve().parents[3]
LESSON = "attention_from_scratch"
BOXES = pytest.mark.parametrize("box", ["bubblewrap", "landlock"])
QUICK = [attack for attack in exhaust.ATTACKS if attack.cause in ("", "crash", "error")]
AT = {"seconds": 1e4, "bytes": 64 << 30, "threads": 500, "files": 500, "lines": 100_000, "depth": 40}


def processes_with(text):
    """Processes whose command line holds a text, with their states."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@BOXES
def test_no_process_file_or_shared_memory_is_left(
    box, sandbox_named, student_of, as_function, surroundings, shared_memory, tmp_path
):
    """After all that would read, escape or exhaust in one box: what there was before, and nothing else."""
    sandbox_named(box)  # skips where this machine cannot have it
    mark = f"left-{os.getpid()}-{box}"
    files = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    memory, descriptors = shared_memory(), len(os.listdir("/proc/self/fd"))
    temporary = set(os.listdir("/tmp"))  # noqa: S108 - looked at, not written to
    tried = [(each, escape.PRELUDE) for each in escape.ATTACKS] + [(each, exhaust.PRELUDE) for each in QUICK]
    with Sandbox(box, Limits(call_s=2, memory_bytes=1 << 30), Warm(list(PRELOAD), judged=[mark])) as sandbox:
        sandbox.child().close()  # it has started
        assert processes_with(mark)
        for attack, prelude in tried:
            student = student_of(as_function("f", attack.code, prelude), box=sandbox)
            try:
                student.f({**surroundings, **AT})
            except Exception:  # noqa: S112 - held; test_escape.py and test_exhaust.py look at how
                continue
            finally:
                student.session.renew()
        children = Path(f"/proc/{sandbox._process.pid}/task/{sandbox._process.pid}/children").read_text().split()
        assert len(children) <= 1  # bubblewrap's own
    until = time.monotonic() + 5
    while processes_with(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes_with(mark) == []
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == files
    assert (shared_memory(), len(os.listdir("/proc/self/fd"))) == (memory, descriptors)
    assert {name for name in set(os.listdir("/tmp")) - temporary if "autograder" in name} == set()  # noqa: S108


@BOXES
def test_a_hang_costs_its_deadline(box, sandbox_named, student_of, monkeypatch):
    """And a fifth of a second at most; the least of three, since a busy machine is no fault of the box."""
    sandbox = sandbox_named(box)
    monkeypatch.setattr(sandbox, "limits", Limits(call_s=0.5))
    costs = []
    for _ in range(3):
        student = student_of("import time\ndef f():\n    time.sleep(1e6)\ndef g():\n    return 1\n", "f", "g", box=sandbox)
        student.g()
        started = time.monotonic()
        with pytest.raises(StudentTimeout):
            student.f()
        costs.append(time.monotonic() - started)
    assert min(costs) <= 0.7


def test_a_submission_that_hangs_everywhere_costs_two_deadlines_an_exercise(course, filled, model_answers):
    """And two seconds, however many tests there are."""
    hang = {name: f"def {name}(*args, **kwargs):\n    import time\n    time.sleep(1e6)\n" for name in model_answers}
    path = course.root / "hang.ipynb"
    path.write_text(json.dumps(filled(**hang)), encoding="utf-8")
    with Grader(course, course.lesson(LESSON), box="landlock", limits=Limits(call_s=0.5)) as grader:
        grader.grade(Submission("warm", path))
        started = time.monotonic()
        result = grader.grade(Submission("mallory", path)).result
        spent = time.monotonic() - started
    assert {test.cause for exercise in result.exercises for test in exercise.tests} == {"timeout"}
    assert spent <= len(result.exercises) * 2 * 0.5 + 2


GRADE = """
import json, resource, sys
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from autograder.collection import Submission
from autograder.course import Course
from autograder.grader import Grader
course = Course(Path.cwd())
with Grader(course, course.lesson("attention_from_scratch"), box=sys.argv[2]) as grader:
    result = grader.grade(Submission("mallory", Path("hoard.ipynb"))).result
causes = sorted({str(test.cause) for each in result.exercises if each.name == "causal_mask" for test in each.tests})
print(json.dumps([causes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10]))
"""


@pytest.mark.slow
@BOXES
def test_sixty_four_gigabytes_in_steps_end_the_test(box, course, filled, sandbox_named):
    """Under the limits that a class is graded with: cause `memory`, and the grader's own peak stays below a gigabyte."""
    sandbox_named(box)  # skips where this machine cannot have it
    hoard = "def causal_mask(seq_len, device=None):\n    return [bytearray(16 << 20) for _ in range(4096)]\n"
    (course.root / "hoard.ipynb").write_text(json.dumps(filled(causal_mask=hoard)), encoding="utf-8")
    command = [sys.executable, "-c", GRADE, str(ROOT), box]
    ran = subprocess.run(command, cwd=course.root, capture_output=True, text=True, check=True, timeout=600)
    causes, peak = json.loads(ran.stdout)
    assert causes == ["memory"]
    assert peak < 1 << 30
