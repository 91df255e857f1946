"""The solved notebook of each lesson as a student hands it in, and what its answers compute.

The corpus makes its messes of it by functions. Reading and slicing is the code under test; what it says is to be run is
run here, in the test's own process, and its answers' values are compared with those of the model.
"""

from __future__ import annotations

import ast
import copy
import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.course import Course, Lesson
from autograder.inside.loading import run_statement
from autograder.notebook import read_notebook
from autograder.program import Program, slice_program

ROOT = Path(__file__).resolve().parents[3]
LESSONS = ("attention_from_scratch", "attention_with_pytorch", "positional_encoding", "transformer_encoder")
MARKS = re.compile(r"^[ \t]*### (?:BEGIN|END) SOLUTION[ \t]*\n?", re.M)


@dataclass(frozen=True)
class Student:
    """One lesson as a student solved it."""

    lesson: Lesson
    others: dict[str, tuple[str, ...]]
    notebook: dict[str, Any]  # the release with the model's answers in it
    folder: Path

    def __repr__(self) -> str:
        return f"student of {self.lesson.name}"

    def copy(self) -> dict[str, Any]:
        """The notebook, to be changed."""
        return copy.deepcopy(self.notebook)

    def read(self, content: Any, name: str = "work.ipynb") -> Program:
        """What the grader makes of a file: a notebook's parsed JSON, text or bytes."""
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        path = self.folder / name
        path.write_bytes(content)
        return slice_program(read_notebook(path), self.lesson, self.others)

    def right(self, program: Program) -> dict[str, bool]:
        """For each exercise whether it was answered and computes what the model computes."""
        if self.lesson.name not in MODELS:
            MODELS[self.lesson.name] = model(self.lesson)
        lost = [name for name, answer in program.answers.items() if answer.state != "answered"]
        space = run(program, {name: MODELS[self.lesson.name][name] for name in lost})
        return {
            name: answer.state == "answered" and same(space, name, self.lesson) for name, answer in program.answers.items()
        }

    @property
    def first(self) -> str:
        """The lesson's first exercise."""
        return self.lesson.exercises[0].name


@pytest.fixture(scope="session", params=LESSONS)
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    """The solved notebook of each lesson in turn."""
    return made(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def first_student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """The solved notebook of the first lesson."""
    return made(LESSONS[0], tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="session")
def last_student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """The solved notebook of the last lesson, which gives functions ready to use."""
    return made(LESSONS[3], tmp_path_factory.mktemp("last"))


def made(name: str, folder: Path) -> Student:
    course = Course(ROOT)
    notebook = json.loads(course.source(name).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        text = MARKS.sub("", "".join(cell["source"]))
        cell["source"] = text.splitlines(keepends=True)
    return Student(course.lesson(name), course.other_exercises(name), notebook, folder)


def run(program: Program, lost: dict[str, Any]) -> dict[str, Any]:
    """The namespace after all statements but those that fail, run as the box runs them; what is lost is the model's."""
    space: dict[str, Any] = {"__name__": "__main__", **lost}
    future = 0
    for each in program.statements:
        try:
            future = run_statement(each.cell, each.line, each.source, space, future)
        except Exception as error:
            space.setdefault("failed", []).append((each, error))
    return space


# --- what the answers compute

GIVEN = frozenset(
    ("softmax", "scaled_dot_product_attention", "multi_head_attention", "sinusoidal_positional_encoding")
)  # by lesson 4
CALL_S = 2
MODELS: dict[str, dict[str, Any]] = {}


def same(space: dict[str, Any], exercise: str, lesson: Lesson) -> bool:
    """Whether an exercise computes what the model's does."""
    try:
        with limited(CALL_S):
            got = VALUES[lesson.name, exercise](space)
    except Exception:
        return False
    return equal(got, VALUES[lesson.name, exercise](MODELS[lesson.name]))


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in what takes longer: an answer that was cut can loop for ever."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def model(lesson: Lesson) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec("import math\nimport functools\nimport torch\nfrom torch import nn\nimport torch.nn.functional as F", space)  # noqa: S102
    given = [node for cell in lesson.model_cells for node in ast.parse(cell).body if getattr(node, "name", "") in GIVEN]
    exec(compile(ast.Module(given, []), "given", "exec"), space)  # noqa: S102 - our own notebook
    for exercise in lesson.exercises:
        exec(exercise.model, space)  # noqa: S102 - our own notebook
    return space


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def numbers(*shape: int) -> torch.Tensor:
    return torch.sin(torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64) * 1.3).reshape(shape)


def parameters() -> dict[str, torch.Tensor]:
    square = {name: numbers(4, 4) + place for place, name in enumerate(("W_Q", "W_K", "W_V", "W_O"))}
    norms = {"gamma1": numbers(4), "beta1": numbers(4) + 1, "gamma2": numbers(4) + 2, "beta2": numbers(4) + 3}
    return square | norms | {"W1": numbers(4, 6), "b1": numbers(6), "W2": numbers(6, 4), "b2": numbers(4)}


def seeded(space: dict[str, Any], name: str, *arguments: int) -> torch.nn.Module:
    torch.manual_seed(0)
    module: torch.nn.Module = space[name](*arguments)
    return module.double()


def trained(space: dict[str, Any]) -> list[float]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 4, dtype=torch.float64), Twice())
    losses: list[float] = space["train_to_copy"](module, numbers(2, 3, 4), steps=2, lr=0.1)
    return [float(loss) for loss in losses]


class Twice(torch.nn.Module):
    """Returns a pair, as attention does."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return x, None


def copied(space: dict[str, Any]) -> torch.Tensor:
    torch.manual_seed(0)
    builtin = torch.nn.MultiheadAttention(4, 2, bias=False, batch_first=True, dtype=torch.float64)
    module = torch.nn.Module()
    for name in ("W_Q", "W_K", "W_V", "W_O"):
        setattr(module, name, torch.nn.Linear(4, 4, bias=False, dtype=torch.float64))
    space["copy_builtin_weights"](module, builtin)
    return torch.cat([each.weight.detach() for each in (module.W_Q, module.W_K, module.W_V, module.W_O)])


X, HEADS = numbers(2, 3, 4), [numbers(4, 2), numbers(4, 2) + 1]
IDS = torch.tensor([[0, 2, 1]])
FUNCTIONS: dict[str, dict[str, Callable[[dict[str, Any]], Any]]] = {
    LESSONS[0]: {
        "pairwise_dot_products": lambda s: s["pairwise_dot_products"](X, X),
        "softmax": lambda s: s["softmax"](X, dim=-1),
        "causal_mask": lambda s: s["causal_mask"](3),
        "scaled_dot_product_attention": lambda s: s["scaled_dot_product_attention"](X, X, X),
        "multi_head_attention_loop": lambda s: s["multi_head_attention_loop"](X, HEADS, HEADS, HEADS, numbers(4, 4)),
        "split_heads": lambda s: s["split_heads"](X, 2),
        "merge_heads": lambda s: s["merge_heads"](numbers(2, 2, 3, 2)),
        "multi_head_attention": lambda s: s["multi_head_attention"](X, *[numbers(4, 4)] * 4, n_heads=2),
    },
    LESSONS[1]: {
        "ScaledDotProductAttention": lambda s: seeded(s, "ScaledDotProductAttention", 4, 3, 2)(X),
        "MultiHeadAttention": lambda s: seeded(s, "MultiHeadAttention", 4, 2)(X),
        "count_parameters": lambda s: s["count_parameters"](torch.nn.Linear(3, 4)),
        "train_to_copy": trained,
        "copy_builtin_weights": copied,
    },
    LESSONS[2]: {
        "sinusoidal_positional_encoding": lambda s: s["sinusoidal_positional_encoding"](4, 5),
        "wavelengths": lambda s: s["wavelengths"](5),
        "relative_shift": lambda s: s["relative_shift"](2, 4),
        "embed": lambda s: s["embed"](IDS, numbers(3, 4)),
        "LearnedPositionalEmbedding": lambda s: seeded(s, "LearnedPositionalEmbedding", 5, 4)(X).shape,
    },
    LESSONS[3]: {
        "layer_norm": lambda s: s["layer_norm"](X, numbers(4), numbers(4)),
        "batch_norm": lambda s: s["batch_norm"](X, numbers(4), numbers(4)),
        "feed_forward": lambda s: s["feed_forward"](X, numbers(4, 6), numbers(6), numbers(6, 4), numbers(4)),
        "encoder_layer": lambda s: s["encoder_layer"](X, parameters(), 2),
        "encoder": lambda s: s["encoder"](IDS, {"W_embed": numbers(3, 4), "layers": [parameters()]}, 2),
        "count_parameters": lambda s: s["count_parameters"](parameters()),
        "gradient_norms": lambda s: s["gradient_norms"](X, [parameters()], 2, numbers(2, 3, 4)),
    },
}
VALUES = {(lesson, name): call for lesson, calls in FUNCTIONS.items() for name, call in calls.items()}
