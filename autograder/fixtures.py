"""What a hidden test asks for, as a pytest plugin: `student`, `reference` and `inputs`, on each device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.errors import GraderError
from autograder.inputs import Inputs

GIVEN = frozenset({"student", "reference", "inputs"})


@dataclass(frozen=True)
class Case:
    """Whom the tests are run for."""

    student: Any
    reference: Any
    seed: Callable[[str], bytes]  # test id -> seed of its inputs
    watch: Callable[[str, Any], Any] = lambda test, student: student  # what a test gets for its student
    may_tell: Callable[[], bool] = lambda: True  # may the student read what became of the test that ran last?


class Fixtures:
    """The pytest plugin that gives tests what they ask for; `case` is whom they are run for now."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.devices = devices
        self.case: Case | None = None
        self.raised: BaseException | None = None
        self.drawn: Inputs | None = None  # the inputs of the test that ran last
        self.broken: dict[str, str] = {}  # exercise -> why its suite cannot be collected

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Runs a test that draws inputs on each device."""
        on_each_device(metafunc, self.devices)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remembers which suite is broken."""
        if report.failed:
            name = os.path.basename(report.nodeid.split("::")[0])
            self.broken[name.removeprefix("test_").removesuffix(".py")] = str(report.longrepr).strip()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[None]:
        """Keeps what a test raised, as an exception rather than as text."""
        if call.excinfo is not None and self.raised is None:
            self.raised = call.excinfo.value
        return (yield)

    @pytest.fixture
    def student(self, request: pytest.FixtureRequest) -> Any:
        """The submission's exercises."""
        case = self._case()
        return case.watch(request.node.name, case.student)

    @pytest.fixture
    def reference(self) -> Any:
        """The model answers."""
        return self._case().reference

    @pytest.fixture
    def inputs(self, request: pytest.FixtureRequest, device: str) -> Inputs:
        """Random inputs on the test's device, the same whenever this student is graded."""
        self.drawn = draw_inputs(self._case(), request.node, device)
        return self.drawn

    def given(self, item: pytest.Function) -> dict[str, Any]:
        """The same three for a test that is called without pytest."""
        case, given = self._case(), dict[str, Any]()
        if "student" in item.fixturenames:
            given["student"] = case.watch(item.name, case.student)
        if "inputs" in item.fixturenames:
            given["inputs"] = self.drawn = draw_inputs(case, item, str(item.callspec.params["device"]))
        return {**given, "reference": case.reference}

    def _case(self) -> Case:
        if self.case is None:
            raise GraderError("a suite was run for nobody")
        return self.case


def on_each_device(metafunc: pytest.Metafunc, devices: tuple[str, ...]) -> None:
    """Makes a test that asks for a device run on each of `devices`; skipped where that does not exist."""
    if "device" in metafunc.fixturenames:
        no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
        marks: dict[str, list[pytest.MarkDecorator]] = {"cpu": [], "cuda": [no_cuda]}
        metafunc.parametrize("device", [pytest.param(device, marks=marks[device], id=device) for device in devices])


def draw_inputs(case: Case, item: pytest.Item, device: str) -> Inputs:
    """The inputs of a test, the same on each device."""
    return Inputs(case.seed(without_device(item)), device)


def without_device(item: pytest.Item) -> str:
    """A test's name with its parameters but the device: the same inputs are drawn for each device."""
    return _without_device(item.path, item.name)


@lru_cache(maxsize=10_000)
def _without_device(path: Path, test: str) -> str:
    name, bracket, rest = test.partition("[")
    if not bracket:
        return f"{path.stem}::{name}"
    kept = [part for part in rest.removesuffix("]").split("-") if part not in ("cpu", "cuda")]
    return f"{path.stem}::{name}" + (f"[{'-'.join(kept)}]" if kept else "")
