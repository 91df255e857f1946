"""What a hidden test checks, the notebook has said: each test has its sentence in the release."""

import ast
import json
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLES = sorted((ROOT / "tests").glob("*/promises.toml"))
LESSONS = [path.parent.name for path in TABLES]


def one_line(text):
    """Text with every run of white space as one blank."""
    return " ".join(text.split())


def said(lesson):
    """All that the release tells a student: Markdown, and docstrings of its code."""
    cells = json.loads((ROOT / "release" / lesson / f"{lesson}.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
            parts += [ast.get_docstring(node) or "" for node in nodes]
    return one_line("\n".join(parts))


def claims_in(path):
    """Names of the test functions of a suite."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def promises(lesson):
    """The table of a lesson."""
    return tomllib.loads((ROOT / "tests" / lesson / "promises.toml").read_text(encoding="utf-8"))


def suites(lesson):
    """Exercise -> names of its tests."""
    paths = sorted((ROOT / "tests" / lesson).glob("test_*.py"))
    return {path.stem.removeprefix("test_"): claims_in(path) for path in paths}


def test_every_lesson_with_suites_has_a_table():
    """No lesson goes without."""
    assert {path.parent.name for path in (ROOT / "tests").glob("*/misconceptions.py")} == set(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_test_has_its_promise(lesson):
    """A test that the table does not know checks what nobody was told."""
    table = promises(lesson)
    missing = [
        f"{exercise}: {test}"
        for exercise, tests in suites(lesson).items()
        for test in tests
        if test not in table.get(exercise, {}) and test not in table["every"]
    ]
    assert missing == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_promise_is_in_the_notebook(lesson):
    """The words are the release's own."""
    text = said(lesson)
    broken = [
        f"{exercise}: {test}: {words}"
        for exercise, table in promises(lesson).items()
        for test, words in table.items()
        if len(one_line(words)) < 10 or one_line(words) not in text
    ]
    assert broken == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_promise_is_left_over(lesson):
    """The table has no line for a test that is gone."""
    known = suites(lesson)
    everywhere = {test for tests in known.values() for test in tests}
    stale = [
        f"{exercise}: {test}"
        for exercise, table in promises(lesson).items()
        for test in table
        if test not in (everywhere if exercise == "every" else known.get(exercise, []))
    ]
    assert stale == []
