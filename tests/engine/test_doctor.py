"""What the doctor finds, and what `auto` stands for."""

import shutil
from pathlib import Path

import pytest

from autograder import doctor
from autograder.course import find_course
from autograder.errors import GraderError

BOTH = [("bubblewrap", True, "all works"), ("landlock", True, "all works"), ("none", True, "")]
WEAK = [("bubblewrap", False, "bwrap is not installed"), ("landlock", True, ""), ("none", True, "")]
NEITHER = [("bubblewrap", False, "no"), ("landlock", False, "no Landlock"), ("none", True, "")]


@pytest.fixture
def findings(course, monkeypatch):
    """What the doctor says of a machine with these boxes and so many GPUs, by its first words."""

    def examine(boxes=BOTH, gpus=0):
        monkeypatch.setattr(doctor, "available_boxes", lambda: boxes)
        monkeypatch.setattr(doctor, "cuda_devices", lambda: gpus)
        return {finding.what: finding for finding in doctor.examine(course.root)}

    return examine


def test_the_box_that_will_be_used_is_named(findings):
    """The strongest usable one."""
    assert findings()["box bubblewrap"].found == "will be used: all works"
    assert findings()["box landlock"].found == "usable: all works"
    assert findings(WEAK)["box landlock"].found.startswith("will be used")


def test_a_stronger_box_comes_with_what_to_install(findings):
    """Why it cannot be used, and what to do."""
    weak = findings(WEAK)["box bubblewrap"]
    assert not weak.good
    assert weak.found == "bwrap is not installed"
    assert "apt install bubblewrap" in weak.advice


def test_a_machine_without_any_box_is_told_so(findings):
    """Grading would refuse to start there."""
    assert "--sandbox none" in findings(NEITHER)["box"].advice


def test_gpus_are_counted(findings):
    """Their tests are skipped where there is none."""
    assert "skipped" in findings(gpus=0)["GPU"].found
    assert findings(gpus=1)["GPU"].found == "1 CUDA device"
    assert findings(gpus=2)["GPU"].found == "2 CUDA devices"


def test_versions_are_listed_and_a_missing_package_named(findings, monkeypatch):
    """As they are installed, and what to run where one is not."""
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package-at-all"))
    found = findings()
    assert found["torch"].good
    assert (found["no-such-package-at-all"].good, found["no-such-package-at-all"].advice) == (False, "run `make setup`")


def test_a_course_is_described(findings, course):
    """Where it lies; and what is not built, if anything."""
    assert "attention_from_scratch" in findings()["course"].found
    shutil.rmtree(course.root / "release")
    assert "autograder build" in findings()["course"].advice


def test_no_course_is_no_error(tmp_path):
    """The doctor works anywhere."""
    finding = {one.what: one for one in doctor.examine(tmp_path)}["course"]
    assert not finding.good
    assert "change to the course's folder" in finding.advice


@pytest.mark.parametrize(
    ("wanted", "gpus", "chosen"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 1, "cpu"), ("cuda", 1, "cuda"), ("both", 1, "both")],
)
def test_a_device_is_chosen(monkeypatch, wanted, gpus, chosen):
    """auto falls back; the others are what they say."""
    monkeypatch.setattr(doctor, "cuda_devices", lambda: gpus)
    assert doctor.choose_device(wanted) == chosen


@pytest.mark.parametrize("wanted", ["cuda", "both"])
def test_a_gpu_that_is_not_there_is_refused(monkeypatch, wanted):
    """With what to use instead."""
    monkeypatch.setattr(doctor, "cuda_devices", lambda: 0)
    with pytest.raises(GraderError, match="use --device cpu or auto"):
        doctor.choose_device(wanted)


def test_an_unknown_device_is_refused():
    """With the ones there are."""
    with pytest.raises(GraderError, match="known are auto, cpu, cuda, both"):
        doctor.choose_device("tpu")


def test_the_machine_is_asked_for_real(course):
    """On this machine, whatever it is, the doctor comes to an end."""
    assert all(finding.found for finding in doctor.examine(course.root))
    assert doctor.cuda_devices() >= 0


def test_a_folder_that_is_closed_to_us_is_no_course(tmp_path, monkeypatch):
    """Nor is one whose files are links into such a folder: said as ever, not as a fault of ours."""

    def closed(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(GraderError, match="is not in a course"):
        find_course(tmp_path)
