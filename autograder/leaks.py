"""Does a file hold what students must not see: a model answer, a hidden test, the course's secret?

Enters: a course, and files as bytes. Leaves: a sentence for each find. A line counts where it says something: long
enough, and no import or signature. A lesson's notebook may hold what *another* lesson asks for (lesson 4 gives lesson 1's
functions); every other file may hold nothing of any lesson.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from autograder.course import Course
from autograder.errors import GraderError

ANSWER_LINE = 16  # characters: shorter lines, as `return output`, give nothing away
TEST_LINE = 32  # of a hidden test; shorter ones are numbers and names that a notebook has too
REGION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
COMMON = ("import ", "from ", "def ", "class ", "@")


def find_leaks(course: Course, files: Mapping[Path, bytes]) -> list[str]:
    """What of answers, hidden tests and secret stands in these files, a sentence each with the file and the line."""
    secret, answers = course.secret().decode(), {name: answer_lines(course, name) for name in course.lessons()}
    tests = {name: suite_lines(course, name) for name in answers}
    found = []
    for path, data in files.items():
        text = _text(path, data)
        own = [path.stem] if path.suffix == ".ipynb" and path.stem in answers else list(answers)
        found += [f"{path} holds the course's secret"] if secret in text else []
        found += [f"{path} holds a solution region" for mark in ("### BEGIN SOLUTION", "### END SOLUTION") if mark in text]
        for name in own:
            found += _said(path, text, answers[name], f"an answer of {name}")
            found += _said(path, text, tests[name], f"a line of tests/{name}")
    return found


def answer_lines(course: Course, name: str) -> list[str]:
    """The lines of a lesson's model answers and rubrics that would give something away."""
    try:
        notebook = json.loads(course.source(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraderError(f"{course.source(name)} cannot be read ({error}); run `autograder build`") from error
    regions = (region for cell in notebook["cells"] for region in REGION.findall("".join(cell["source"])))
    return _telling("\n".join(regions), ANSWER_LINE)


def suite_lines(course: Course, name: str) -> list[str]:
    """The lines of code of a lesson's hidden suites and banks that would give something away.

    Sentences do not count: feedback repeats them. Nor does a plain call of an exercise, as a notebook's check has it.
    """
    exercises = "|".join(sorted(exercise.name for exercise in course.lesson(name).exercises)) or r"(?!)"
    plain_call = re.compile(rf"(?:return |[\w, ]+ = )?(?:{exercises})\([\w ,.=]*\)")
    code = "\n".join(_code(path) for path in sorted((course.root / "tests" / name).glob("*.py")))
    return [line for line in _telling(code, TEST_LINE) if not plain_call.fullmatch(line)]


def _code(path: Path) -> str:
    """A file's statements without imports, decorators and docstrings."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    try:
        statements = list(_statements(ast.parse(text).body))
    except SyntaxError as error:
        raise GraderError(f"{path} is no Python (line {error.lineno}: {error.msg}); correct it") from error
    return "\n".join(line for each in statements for line in lines[each.lineno - 1 : each.end_lineno])


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for each in body:
        if isinstance(each, ast.FunctionDef | ast.ClassDef):
            yield from _statements(each.body)
        elif not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)):
            yield each


def _telling(text: str, length: int) -> list[str]:
    lines = dict.fromkeys(line.strip() for line in text.splitlines())
    return [line for line in lines if len(line) >= length and not line.startswith(COMMON)]


def _said(path: Path, text: str, lines: Iterable[str], what: str) -> Iterator[str]:
    return (f"{path} holds {what}: {line}" for line in lines if line in text)


def _text(path: Path, data: bytes) -> str:
    """The text of a file; of a notebook, its cells and outputs as they are read, not as JSON writes them."""
    text = data.decode(errors="replace")
    if path.suffix != ".ipynb":
        return text
    try:
        return "\n".join(_strings(json.loads(text)))
    except ValueError:
        return text


def _strings(value: object) -> Iterator[str]:
    """Every string in parsed JSON; a cell's lines as one text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        texts = [each for each in value if isinstance(each, str)]
        yield "".join(texts)
        for each in value:
            if not isinstance(each, str):
                yield from _strings(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
