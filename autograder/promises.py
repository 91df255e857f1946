"""What a hidden test checks, the notebook has said: `tests/<lesson>/promises.toml` holds for each test the notebook's words.

Enters: a built lesson. Leaves: a sentence for each test without words, words that the release does not have, and lines of
the table without a test. A lesson without a table promises nothing, and nothing is asked.
"""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

from autograder.course import Course
from autograder.errors import GraderError

EVERY = "every"  # the table for what holds in all exercises
SHORTEST = 10  # characters: fewer say nothing


def broken_promises(course: Course, lesson: str) -> list[str]:
    """What is wrong with a lesson's promises, a sentence each."""
    path = course.root / "tests" / lesson / "promises.toml"
    if not path.exists():
        return []
    table, tests, text = _table(path), _tests(path.parent), _said(course.release(lesson))
    return [*_unpromised(table, tests), *_unsaid(table, text), *_left_over(table, tests)]


def _unpromised(table: dict[str, dict[str, str]], tests: dict[str, list[str]]) -> Iterator[str]:
    everywhere = table.get(EVERY, {})
    for exercise, names in tests.items():
        for name in names:
            if name not in everywhere and name not in table.get(exercise, {}):
                yield f"{exercise}: promises.toml has no words of the lesson for {name}, so it checks what nobody was told"


def _unsaid(table: dict[str, dict[str, str]], text: str) -> Iterator[str]:
    for exercise, promises in table.items():
        for name, words in promises.items():
            if len(_one_line(words)) < SHORTEST or _one_line(words) not in text:
                yield f"{exercise}: the release does not say what {name} is promised by: {words}"


def _left_over(table: dict[str, dict[str, str]], tests: dict[str, list[str]]) -> Iterator[str]:
    everywhere = [name for names in tests.values() for name in names]
    for exercise, promises in table.items():
        known = everywhere if exercise == EVERY else tests.get(exercise, [])
        yield from (f"{exercise}: promises.toml names {name}, which is no test" for name in promises if name not in known)


def _table(path: Path) -> dict[str, dict[str, str]]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return {str(name): {test: str(words) for test, words in each.items()} for name, each in raw.items()}
    except (ValueError, AttributeError) as error:
        raise GraderError(f'{path} is no table of promises ({error}): [exercise], then test_name = "words"') from error


def _tests(folder: Path) -> dict[str, list[str]]:
    """Exercise -> names of its hidden tests."""
    return {path.stem.removeprefix("test_"): _test_names(path) for path in sorted(folder.glob("test_*.py"))}


def _test_names(path: Path) -> list[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def _said(release: Path) -> str:
    """All that a release tells a student: its Markdown, and the docstrings of its code."""
    parts = []
    for cell in json.loads(release.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
            parts += [ast.get_docstring(node) or "" for node in nodes]
    return _one_line("\n".join(parts))


def _one_line(text: str) -> str:
    return " ".join(text.split())
