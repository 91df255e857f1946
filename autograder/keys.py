"""What a verdict hangs on, as a key: equal keys promise equal verdicts.

    salt   engine, Python, torch, machine, device (and TF32 on it), box, course secret; the model answers; the exercise's
           suite and what all suites share (conftest, misconceptions, rules)
    key    salt, student, the exercise's own statements with their places and the lines that messages show, the same of
           every exercise that it may call, which of those were found wrong, and the ideas behind what is wrong

What an exercise may call is read from the words of its code; code that could reach a name in other ways may call all.
Verdicts by the clock, and those that we could not reach through our own fault, have no key. Enters: papers and files of the
course. Leaves: digests. Runs nothing, and needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from autograder.boxes import wants_tf32
from autograder.course import Exercise, Lesson
from autograder.outcome import Judged
from autograder.paper import Paper
from autograder.program import SUPPLIED, Answer, Statement

PACKAGES = ("torch", "numpy", "pytest", "safetensors", "msgspec")
NOT_RUN = ("promises.toml", "samples.py", "alternatives.py", "held_back.py")  # of a lesson's suites; for proving them
WORD = re.compile(r"[^\W\d]\w*")
REACHES_ALL = frozenset(
    "globals locals vars eval exec getattr sys inspect gc importlib __dict__ __main__ __globals__".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Salts:
    """What verdicts hang on besides the submission."""

    engine: str  # digest of this package, Python and the packages that decide numbers
    suites: Mapping[str, str]  # exercise -> digest of its suite and the lesson
    run: str  # digest of device and TF32, box and secret

    def of(self, exercise: str) -> str:
        """All that the verdict on an exercise hangs on besides the submission."""
        return digest([self.engine, self.suites[exercise], self.run])


@dataclass(frozen=True)
class Known:
    """Verdicts of earlier runs by their keys, and how keys are made."""

    salts: Salts
    verdicts: Mapping[str, Judged] = field(default_factory=dict)


def salts(lesson: Lesson, *, device: str, box: str, secret: bytes) -> Salts:
    """The salts of a run."""
    suites = lesson.suites
    shared = [suites.parent / "conftest.py", *sorted([*suites.glob("*.py"), *suites.glob("*.toml")])]
    shared = [path for path in shared if not path.name.startswith("test_") and path.name not in NOT_RUN]
    common = [lesson.name, list(lesson.model_cells), *map(_file, shared)]
    own = {each.name: digest([common, _file(suites / f"test_{each.name}.py")]) for each in lesson.exercises}
    computed_on = [device, device != "cpu" and wants_tf32()]
    return Salts(engine(), own, digest([computed_on, box, hashlib.sha256(secret).hexdigest()]))


def engine() -> str:
    """Digest of this package's sources and of the versions that it runs with."""
    package = Path(__file__).parent
    sources = [(str(path.relative_to(package)), _file(path)) for path in sorted(package.rglob("*.py"))]
    versions = [(name, _version(name)) for name in PACKAGES]
    return digest([sources, versions, sys.version, platform.machine(), platform.system()])


def one_by_one(
    paper: Paper, lesson: Lesson, known: Known | None, judge: Callable[[Exercise, Mapping[str, Judged]], Judged]
) -> dict[str, Judged]:
    """The verdict on each exercise in the lesson's order: the known one, else what `judge` says, told all earlier ones."""
    keys, judged = Keys(paper, lesson), dict[str, Judged]()
    for exercise in lesson.exercises:
        kept = known.verdicts.get(keys.key(known.salts, exercise.name, judged)) if known and known.verdicts else None
        judged[exercise.name] = kept or judge(exercise, judged)
    return judged


class Keys:
    """The keys of one paper."""

    def __init__(self, paper: Paper, lesson: Lesson) -> None:
        self.paper, self.lesson = paper, lesson
        self._cells = {cell.number: cell.source.splitlines() for cell in paper.notebook.cells}

    def key(self, salts: Salts, exercise: str, judged: Mapping[str, Judged]) -> str:
        """The key of the verdict on an exercise, after those that `judged` has."""
        called = self._called[exercise]
        wrong = sorted(name for name, each in judged.items() if name in called and each.is_wrong)
        ideas = [(name, each.idea) for name, each in judged.items() if each.idea and name in self._model_called[exercise]]
        return digest([salts.of(exercise), self.paper.submission.student, self.code(exercise), wrong, ideas])

    def code(self, exercise: str) -> str:
        """Digest of an exercise's code and of all that it may call."""
        return digest([(name, self._own[name]) for name in sorted(self._called[exercise] | {exercise})])

    @cached_property
    def _own(self) -> dict[str, object]:
        return {name: self._of_answer(answer) for name, answer in self.paper.program.answers.items()}

    @cached_property
    def _called(self) -> dict[str, frozenset[str]]:
        answers = self.paper.program.answers
        return calls({name: [each.source for each in answer.statements] for name, answer in answers.items()})

    @cached_property
    def _model_called(self) -> dict[str, frozenset[str]]:
        models = {each.model for each in self.lesson.exercises}
        common = [cell for cell in self.lesson.model_cells if cell not in models]
        uses = {each.name: not self.lesson.given.isdisjoint(WORD.findall(each.model)) for each in self.lesson.exercises}
        return calls({each.name: [each.model, *(common if uses[each.name] else ())] for each in self.lesson.exercises})

    def _of_answer(self, answer: Answer) -> object:
        return [answer.state, answer.message, [(*self._place(each), each.source) for each in answer.statements]]

    def _place(self, statement: Statement) -> tuple[int, int, list[str]]:
        """Where a statement stands, and the lines there, which messages show."""
        if statement.cell == SUPPLIED:
            return SUPPLIED, 1, []
        first = statement.line - 1
        lines = self._cells.get(statement.cell, [])[first : first + statement.source.count("\n") + 1]
        return statement.cell, statement.line, lines


def calls(sources: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """For each name the others that its texts mention, and those that they mention in turn."""
    words = {name: {word for text in texts for word in WORD.findall(text)} for name, texts in sources.items()}
    every = frozenset(sources)
    mentioned = {name: every if each & REACHES_ALL else every & each for name, each in words.items()}
    while True:
        further = {name: each.union(*(mentioned[other] for other in each)) for name, each in mentioned.items()}
        if further == mentioned:
            return {name: each - {name} for name, each in mentioned.items()}
        mentioned = further


def digest(value: object) -> str:
    """SHA-256 of a value's JSON."""
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:  # the name of a file that is no text
        data = json.dumps(msgspec.to_builtins(value)).encode()
    return hashlib.sha256(data).hexdigest()


def _file(path: Path) -> tuple[str, str]:
    return path.name, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
