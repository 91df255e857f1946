"""Wrong and right answers that a lesson keeps to prove its suites, and to say what a wrong output means.

`tests/<lesson>/misconceptions.py` and `alternatives.py` hold ordinary functions under `@wrong(...)` and `@right(...)`.
Each may use `torch`, `math` and the lesson's other answers by their names, nothing else of its file; so its source
is a submission's cell as it stands, and `bound` runs it beside any set of answers.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autograder.errors import GraderError


@dataclass(frozen=True)
class Answer:
    """A function or class that answers an exercise, right or wrong."""

    exercise: str
    name: str
    definition: Callable[..., Any]

    @property
    def source(self) -> str:
        """The definition under the exercise's own name, as a student would have written it."""
        return _renamed(self.definition, self.name, self.exercise)

    def bound(self, namespace: dict[str, Any]) -> dict[str, Any]:
        """A copy of the namespace, in which this answer stands for its exercise."""
        filled = dict(namespace)
        exec(compile(self.source, f"<{self.name}>", "exec"), filled)  # noqa: S102 - the course's own file
        return filled


@dataclass(frozen=True)
class Misconception(Answer):
    """A wrong answer that students give.

    `idea` is one sentence that helps who holds it and gives nothing away; `caught_by` is the test that is named for it.
    """

    idea: str
    caught_by: str


@dataclass(frozen=True)
class Alternative(Answer):
    """A right answer that is written in another way than the model's; `how` says in which."""

    how: str


@dataclass(frozen=True)
class HeldBack(Answer):
    """A wrong answer that is not in the bank, to measure diagnosis with.

    `of` is the name of the misconception that it is a case of; "" where the bank has none.
    """

    of: str


def wrong(exercise: str, *, idea: str, caught_by: str) -> Callable[[Callable[..., Any]], Misconception]:
    """Makes a Misconception of the function or class below it, under that one's name."""
    return lambda definition: Misconception(exercise, definition.__name__, definition, idea, caught_by)


def right(exercise: str, *, how: str) -> Callable[[Callable[..., Any]], Alternative]:
    """Makes an Alternative of the function or class below it, under that one's name."""
    return lambda definition: Alternative(exercise, definition.__name__, definition, how)


def held_back(exercise: str, *, of: str) -> Callable[[Callable[..., Any]], HeldBack]:
    """Makes a HeldBack of the function or class below it, under that one's name."""
    return lambda definition: HeldBack(exercise, definition.__name__, definition, of)


def answers_in(path: Path) -> list[Any]:
    """The Misconceptions or Alternatives of a file, in order; raises GraderError where it cannot be run.

    The file's path is the name of its module, by which an answer's source is found again.
    """
    namespace: dict[str, Any] = {"__name__": f"answers:{path}", "__file__": str(path)}
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)  # noqa: S102 - the course's own file
    except Exception as error:
        raise GraderError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return [value for value in namespace.values() if isinstance(value, Answer)]


def _renamed(definition: Callable[..., Any], name: str, exercise: str) -> str:
    """Source of a definition without its decorators, and with the exercise's name."""
    path = Path(definition.__module__.removeprefix("answers:"))
    lines, nodes = _parsed(path)
    node = nodes[name]
    body = lines[node.lineno - 1 : node.end_lineno]  # from the line of `def` or `class`; decorators stand above it
    keyword = "class" if isinstance(node, ast.ClassDef) else "def"
    body[0] = body[0].replace(f"{keyword} {name}", f"{keyword} {exercise}", 1)
    return "\n".join(body) + "\n"


@lru_cache(maxsize=16)
def _parsed(path: Path) -> tuple[list[str], dict[str, ast.FunctionDef | ast.ClassDef]]:
    """Lines of a file of answers, and its definitions by name."""
    text = path.read_text(encoding="utf-8")
    nodes = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return text.splitlines(), {node.name: node for node in nodes}
