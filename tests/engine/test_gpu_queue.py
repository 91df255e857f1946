"""The device queue, tried with stand-in devices that have a memory budget and no GPU behind them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autograder import gpu_queue
from autograder.errors import GraderError
from autograder.gpu_queue import MOST, Device, Queue

GB = 1 << 30
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Looks again after moments."""
    monkeypatch.setattr(gpu_queue, "POLL_S", 0.01)


@pytest.fixture
def queue(tmp_path):
    """A stand-in device of so many GB, on which a child takes one."""

    def make(gigabytes):
        return Queue(tmp_path / "places", Device("stand-in", int(gigabytes * GB)), GB)

    return make


@pytest.mark.parametrize(
    ("gigabytes", "places", "jobs", "taken"),
    [(3.4, 3, 1, 3), (4.5, 4, 1, 4), (7, 6, 1, 4), (9, 8, 2, 4), (16, 14, 3, 4), (80, 72, 8, 4)],
)
def test_memory_says_how_many(queue, gigabytes, places, jobs, taken):
    """Nine tenths of the memory, in places of one child; each of at most eight jobs takes up to four."""
    device = queue(gigabytes)
    assert (device.places, device.jobs(8), device.taken) == (places, jobs, taken)
    assert places * GB <= gigabytes * GB * 0.9 < (places + 1) * GB


def test_no_more_jobs_than_are_wanted(queue):
    """A large device makes no jobs."""
    assert queue(80).jobs(2) == 2


def test_a_device_that_is_too_small_is_refused(queue):
    """By name, with what there is and what it takes."""
    with pytest.raises(GraderError, match="stand-in has 2048 MB, and one job takes 3072"), queue(2).admitted():
        pass


def test_the_budget_is_never_exceeded(queue):
    """Jobs are let in until the memory is used up, the next one waits and is told so."""
    device = queue(9)
    with device.admitted() as first, device.admitted() as second:
        assert first + second <= device.places
        with pytest.raises(GraderError, match="held by others"), device.admitted(patience_s=0.05):
            pass
    with device.admitted(patience_s=0):
        pass


def test_who_waits_holds_nothing(queue):
    """A job that needs more than is left takes none of it meanwhile."""
    device = queue(7)  # six places, of which two are left
    with device.admitted():
        with pytest.raises(GraderError), device.admitted(patience_s=0.05):
            pass
        left = [gpu_queue._lock(device.folder / f"stand-in.{number}") for number in range(6)]
        assert [place is not None for place in left] == [False] * 4 + [True] * 2
        for place in left[4:]:
            os.close(place)


def test_devices_do_not_share_places(tmp_path):
    """Each GPU has its own."""
    one, other = (Queue(tmp_path, Device(name, 4 * GB), GB) for name in ("gpu-0", "gpu-1"))
    with one.admitted(), other.admitted(patience_s=0):
        pass


def _work(folder: str, log: str, number: int) -> None:
    queue = Queue(Path(folder), Device("stand-in", 9 * GB), GB)
    with queue.admitted(patience_s=60) as children:
        with Path(log).open("a") as file:
            file.write(f"+{children}\n")
        time.sleep(0.05)
        with Path(log).open("a") as file:
            file.write(f"-{children}\n")


def test_processes_share_one_device(tmp_path):
    """Eight jobs on a device that holds two: all get their turn, at no time more than fit."""
    log = tmp_path / "log"
    jobs = [SPAWN.Process(target=_work, args=(str(tmp_path / "places"), str(log), number)) for number in range(8)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(90)
    changes = [int(line) for line in log.read_text().split()]
    inside = [sum(changes[: number + 1]) for number in range(len(changes))]
    assert [job.exitcode for job in jobs] == [0] * 8
    assert len(changes) == 16
    assert max(inside) <= 8
    assert inside[-1] == 0


HOLDER = """
import sys, time
from pathlib import Path
from autograder.gpu_queue import Device, Queue
with Queue(Path(sys.argv[1]), Device("stand-in", 5 << 30), 1 << 30).admitted():
    print("in", flush=True)
    time.sleep(60)
"""


def test_a_holder_that_dies_gives_its_places_back(queue):
    """The kernel does it, whatever the holder was doing."""
    device = queue(5)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(device.folder)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(GraderError), device.admitted(patience_s=0.05):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        with device.admitted(patience_s=30) as children:
            assert children == MOST


def test_a_link_in_the_folder_is_not_followed(queue, tmp_path):
    """Who can write there cannot make us lock, or make, another file."""
    device = queue(4)
    device.folder.mkdir()
    (device.folder / "stand-in.door").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), device.admitted():
        pass
    assert not (tmp_path / "elsewhere").exists()
