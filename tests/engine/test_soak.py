"""Thousands of submissions in one run, attacks among them: the grader holds no more at the end than after the first quarter.

What grows is looked at from outside, in /proc: memory that a process has for itself and descriptors, of the coordinator, of
the job process and of the box's zygote.
"""

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `from attacks.exhaust import ATTACKS`

from attacks.escape import ATTACKS as ESCAPES
from attacks.exhaust import ATTACKS as EXHAUSTIONS
from attacks.exhaust import DEADLINE, PRELUDE

ROOT = Path(__file__).resolve().parents[2]
LESSON = "attention_from_scratch"
GROWTH = 1.05
COMMAND = [sys.executable, "-c", "from autograder.cli import main; main()", "grade", "submitted", "--lesson", LESSON]
AT = {
    "seconds": 1000, "bytes": 1 << 36, "secret": "/etc/shadow", "folder": "/root", "tcp": 22, "socket": "/tmp/s",  # noqa: S108
    "abstract": "nobody", "pid": 1, "descriptor": 5, "address": 0, "package": "/root",
}  # fmt: skip


def submissions(count, filled, model_answers):
    """So many notebooks by student: right, open, wrong, broken, and one attack in five, each of the corpus in its turn."""
    brief = [attack for attack in (*EXHAUSTIONS, *ESCAPES) if attack.layer != DEADLINE]
    slow = [attack for attack in EXHAUSTIONS if attack.layer == DEADLINE]
    honest = [
        filled(**model_answers),
        filled(**model_answers | {"softmax": "def softmax(x, dim=-1):\n    return x.exp()"}),
        filled(**model_answers | {"causal_mask": "def causal_mask(seq_len, device=None):\n    return None"}),
        filled(),
    ]
    for number in range(count):
        if number % 100 == 99:
            yield f"slow{number:05}", attacked(slow[number // 100 % len(slow)], filled, model_answers)
        elif number % 5 == 4:
            yield f"attack{number:05}", attacked(brief[number // 5 % len(brief)], filled, model_answers)
        elif number % 50 == 3:
            yield f"broken{number:05}", "no notebook"
        else:
            yield f"honest{number % 5}x{number:05}", honest[number % 5]


def attacked(attack, filled, model_answers):
    """A notebook whose softmax does it before it answers."""
    body = "".join(f"    {line}\n" for line in attack.code.splitlines())
    source = f"{PRELUDE}\ndef attack(at):\n{body}\n\ndef softmax(x, dim=-1):\n    attack({AT!r})\n    return x.exp()\n"
    return filled(**model_answers | {"softmax": source} | attack.answers)


def look(root):
    """What each process of a run holds: (memory of its own in bytes, descriptors) by what it is."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
    held = {"coordinator": _held(root)}
    for job in sorted(pid for pid, parent in parents.items() if parent == root):
        held.setdefault("job", _held(job))  # the first one: what holds for it holds for its twin
        for box in sorted(box for box, parent in parents.items() if parent == job):
            held.setdefault("box", _held(box))
    return {what: each for what, each in held.items() if each}


def _held(pid):
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        anonymous = next(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Anonymous:"))
        return anonymous, len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, StopIteration):
        return None


def soak(course, count):
    """Grades them in one run; what was held by how many were done: {process: [(done, bytes, descriptors)]}."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (course.root / "told").open("w") as told:
        run = subprocess.Popen([*COMMAND, "--jobs", "2"], cwd=course.root, env=environment, stdout=told, stderr=told)
        looks, feedback = defaultdict(list), course.state / LESSON / "feedback"
        while run.poll() is None:
            time.sleep(0.5)
            done = sum(1 for path in feedback.glob("*.txt")) if feedback.is_dir() else 0
            for what, held in look(run.pid).items():
                if done < count:  # at the end reports are drawn, and libraries for it loaded
                    looks[what].append((done, *held))
    return run.returncode, looks


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, 2000])
def test_a_long_run_does_not_grow(course, hand_in, filled, model_answers, count):
    """Between the first quarter and the last one: memory and descriptors within 5 %, and honest results alike."""
    for student, notebook in submissions(count, filled, model_answers):
        hand_in(student, notebook)
    code, looks = soak(course, count)
    assert code == 1, (course.root / "told").read_text()[-2000:]  # there are files that are no notebooks
    quarter, grown = count // 4, {}
    for what in ("coordinator", "job"):
        first = [each for each in looks[what] if quarter * 0.9 <= each[0] <= quarter * 1.2]
        last = looks[what][-5:]
        assert first, looks[what]
        grown[what] = tuple(max(each[n] for each in last) / max(each[n] for each in first) for n in (1, 2))
    print(json.dumps(grown))
    assert all(growth <= GROWTH for each in grown.values() for growth in each), grown
    results = json.loads((course.state / LESSON / "results.json").read_text())["submissions"]
    assert len(results) == count
    alike = defaultdict(set)
    for one in results:
        if one["student"].startswith("honest"):
            alike[one["student"].partition("x")[0]].add(one["score"])  # messages go by inputs, which are each student's own
    assert {name: len(each) for name, each in alike.items()} == dict.fromkeys(alike, 1)
