"""`pytest tests/<lesson> --submission FILE [--device cuda]`: the hidden suites by hand, with all that pytest offers.

Without --submission the model answer is run, in the box, as a student's notebook would be. Each file of tests gets a
fresh fork. Runs of a class do without this plugin: suite.py gives them the same fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.boxes import choose_box
from autograder.course import find_course
from autograder.errors import AutograderError
from autograder.fixtures import Case, draw_inputs, on_each_device
from autograder.grade import open_case
from autograder.grader import DEVICES, Grader
from autograder.inputs import Inputs


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the hidden suites."""
    group = parser.getgroup("autograder")
    group.addoption("--submission", type=Path, help="notebook to run the hidden suites on; the model answer without it")
    group.addoption("--student", default="by-hand", help="whose random inputs the suites draw")
    group.addoption("--device", choices=sorted(DEVICES), default="both", help="where the suites run")
    group.addoption("--sandbox", default="auto", help="auto, bubblewrap, landlock or none")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that draws inputs on each device."""
    on_each_device(metafunc, DEVICES[metafunc.config.getoption("--device")])


@pytest.fixture(scope="session")
def graders(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Grader]]:
    """Makes a lesson ready when its first suite is run: graders(name)."""
    course, box = find_course(request.config.rootpath), choose_box(request.config.getoption("--sandbox"))
    device = request.config.getoption("--device") if torch.cuda.is_available() else "cpu"  # tests on CUDA are skipped then
    ready: dict[str, Grader] = {}
    with ExitStack() as stack:

        def grader(name: str) -> Grader:
            if name not in ready:
                ready[name] = stack.enter_context(Grader(course, course.lesson(name), device=device, box=box))
            return ready[name]

        yield grader


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, graders: Callable[[str], Grader]) -> Iterator[Case]:
    """The submission in a fresh fork, for the suites of one file."""
    grader = graders(request.path.parent.name)
    option = request.config.getoption
    path = option("--submission") or grader.course.source(grader.lesson.name)
    try:
        with open_case(path, option("--student"), grader.workshop) as case:
            yield case
    except AutograderError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def student(case: Case) -> Any:
    """The submission's exercises."""
    return case.student


@pytest.fixture
def reference(case: Case) -> Any:
    """The model answers."""
    return case.reference


@pytest.fixture
def inputs(request: pytest.FixtureRequest, case: Case, device: str) -> Inputs:
    """Random inputs on the test's device."""
    return draw_inputs(case, request.node, device)
