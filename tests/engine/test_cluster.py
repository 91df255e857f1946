"""A class on a Dask cluster: the same results, one worker killed or not, and no scheduler that anybody can reach."""

import json
import os
import signal
from contextlib import contextmanager

import pytest

from autograder.boxes import choose_box
from autograder.class_run import grade_class
from autograder.cluster import LOCAL, connect, refuse_open
from autograder.collection import Submission
from autograder.errors import GraderError
from autograder.results import to_json

LESSON = "attention_from_scratch"
STUDENTS = 6


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.5:8786", "tcp://scheduler:8786", "ws://127.0.0.1:1", "tcp://0.0.0.0:8786", "scheduler", ""]
)
def test_an_open_scheduler_is_refused(address):
    """Whoever reaches it could run code on its workers: it takes an explicit word."""
    with pytest.raises(GraderError, match="--insecure-scheduler"):
        refuse_open(address, insecure=False)
    refuse_open(address, insecure=True)


@pytest.mark.parametrize(
    "address", ["tls://10.0.0.5:8786", "tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:1", LOCAL]
)
def test_a_guarded_scheduler_is_taken(address):
    """TLS, or this machine."""
    refuse_open(address, insecure=False)


def test_the_command_refuses_an_open_scheduler(course, hand_in, filled, autograder_in):
    """Before anything is sent there."""
    hand_in("ada", filled())
    run = autograder_in(course, "grade", "submitted", "--lesson", LESSON, "--scheduler", "tcp://10.0.0.5:8786")
    assert run.returncode == 2
    assert "--insecure-scheduler" in run.stderr


def test_nobody_answers(monkeypatch):
    """A scheduler that is not there is our fault, and said in a line."""
    import distributed

    def nobody(*args, **options):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", nobody)
    with pytest.raises(GraderError, match="no Dask scheduler answers"), connect(None, "tcp://127.0.0.1:9"):
        pass


@pytest.mark.slow
def test_a_cluster_of_two_loses_a_worker(course, hand_in, filled, model_answers):
    """Same results as with job processes here, though one of two workers is killed after the first verdict."""
    wrong = {"causal_mask": "def causal_mask(seq_len, device=None):\n    return None"}
    for number in range(STUDENTS):
        hand_in(f"s{number}", filled(**model_answers | (wrong if number % 2 else {})))
    submissions = [
        Submission(one.name, one / LESSON / f"{LESSON}.ipynb") for one in sorted((course.root / "submitted").iterdir())
    ]
    killed = []

    @contextmanager
    def cluster(setup):
        with connect(setup, LOCAL, workers=2) as made:
            workers.append(made)
            yield made

    workers = []

    def kill_one(graded, number):
        if not killed:
            killed.append(next(iter(workers[0].client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    here = grade(course, submissions, None, lambda graded, number: None)
    there = grade(course, submissions, cluster, kill_one)
    assert killed
    assert here == there


def grade(course, submissions, hire, on_result):
    lesson = course.lesson(LESSON)
    results = grade_class(
        course, lesson, submissions, device="cpu", box=choose_box(), on_result=on_result, hire=hire
    )
    assert not results.faults
    data = json.loads(to_json(results))
    for one in data["submissions"]:
        one["seconds"] = 0
    return data
