"""What this machine offers: the box, the devices, the versions, and what is missing.

Enters: nothing but the machine. Leaves: findings, and the choice that `auto` stands for. Must not change anything.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autograder.boxes import available_boxes
from autograder.course import find_course
from autograder.errors import GraderError

PACKAGES = ("torch", "numpy", "matplotlib", "nbgrader", "jupytext", "pytest", "safetensors", "msgspec")
STRONGER = {
    "bubblewrap": "install bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap)",
    "landlock": "needs Linux 5.13 or newer with Landlock switched on (lsm= in the kernel's command line)",
}
DRIVERS = ("/dev/nvidiactl", "/dev/nvhost-ctrl-gpu", "/dev/dxg")  # Linux, Tegra, WSL: without one there is no CUDA
DEVICES = ("auto", "cpu", "cuda", "both")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report; `advice` says what to do where `good` is False."""

    what: str
    good: bool
    found: str
    advice: str = ""


def choose_device(wanted: str) -> str:
    """The device to grade on: cpu, cuda or both; `auto` is cuda where there is a GPU.

    Raises GraderError where a GPU is asked for and there is none.
    """
    if wanted not in DEVICES:
        raise GraderError(f"no device is called {wanted!r}; known are {', '.join(DEVICES)}")
    if wanted == "cpu":
        return "cpu"
    if cuda_devices():
        return "cuda" if wanted == "auto" else wanted
    if wanted == "auto":
        return "cpu"
    raise GraderError(f"--device {wanted} needs a CUDA GPU and torch finds none here; use --device cpu or auto")


def fall_back(wanted: str, chosen: str) -> str:
    """What to say where `auto` found no GPU; nothing where it did, or was not asked."""
    if (wanted, chosen) != ("auto", "cpu"):
        return ""
    return "no CUDA GPU here: graded on the CPU; whether code keeps to the device of its arguments is checked all the same"


def cuda_devices() -> int:
    """How many GPUs torch can use; asked in a way that leaves CUDA uninitialised, so a fork can still use it."""
    if not any(Path(path).exists() for path in DRIVERS):
        return 0  # torch takes a second to import
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def examine(start: Path) -> list[Finding]:
    """All findings: Python, packages, boxes, GPU, and the course that `start` lies in."""
    return [_python(), *map(_package, PACKAGES), *_boxes(available_boxes()), _gpu(), *_course(start)]


def _python() -> Finding:
    return Finding("Python", True, f"{platform.python_version()} on {platform.system()} {platform.release()}")


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed", "run `make setup`")


def _boxes(boxes: Iterable[tuple[str, bool, str]]) -> list[Finding]:
    """A line for each box, the first usable one named as the one that will be used."""
    findings, chosen = [], ""
    for name, usable, why in boxes:
        if name == "none":
            continue
        first = usable and not chosen
        chosen = name if first else chosen
        found = f"{'will be used' if first else 'usable'}: {why}" if usable else why
        findings.append(Finding(f"box {name}", usable, found, "" if usable else STRONGER.get(name, "")))
    if not chosen:
        advice = "grading refuses to start without one, unless you pass --sandbox none"
        findings.append(Finding("box", False, "none can be used", advice))
    return findings


def _gpu() -> Finding:
    count = cuda_devices()
    found = f"{count} CUDA device{'s' * (count > 1)}" if count else "none: tests on CUDA are skipped"
    return Finding("GPU", True, found)


def _course(start: Path) -> list[Finding]:
    try:
        course = find_course(start)
    except GraderError as error:
        return [Finding("course", False, "none here", str(error))]
    unbuilt = [name for name in course.lessons() if not course.release(name).exists()]
    found = f"{course.root} with {', '.join(course.lessons()) or 'no lessons'}"
    advice = f"not built: {', '.join(unbuilt)}; run `autograder build`" if unbuilt else ""
    return [Finding("course", not unbuilt, found, advice)]
