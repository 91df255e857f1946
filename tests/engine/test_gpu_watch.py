"""Who takes more of the GPU than it may is found from outside: by what nvidia-smi and /proc say."""

import os

from autograder.gpu_watch import descendants, parents_now, too_large, usage

GB = 1 << 30


def test_what_nvidia_smi_says_is_read():
    """A line a process; what it does not know is left out."""
    report = "1234, 612\n77, 5000\n99, [N/A]\n[Not Found], 3\n\n"
    assert usage(report) == {1234: 612 << 20, 77: 5000 << 20}


def test_only_our_children_are_too_large():
    """Others on the same GPU are none of our business."""
    used = {1: 9 * GB, 2: 3 * GB, 3: GB}
    assert too_large(used, {2, 3, 4}, 2 * GB) == [2]


def test_children_are_found_through_those_between():
    """The box's process is the ancestor, whatever stands between; a circle ends."""
    assert descendants(1, {2: 1, 3: 2, 4: 3, 9: 8, 8: 9}) == {2, 3, 4}


def test_the_processes_of_this_machine():
    """This one is a child of the one that started it."""
    assert parents_now()[os.getpid()] == os.getppid()
