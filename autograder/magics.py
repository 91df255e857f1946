"""Takes IPython's magics, shell lines and help marks out of a cell, keeping every line at its number.

Enters: the source of a code cell that plain Python cannot parse. Leaves: Python, and the numbers of the lines left out.
Nothing is run; a `%%time` keeps its body, a `%%bash` does not. IPython is imported only when a cell needs it.
"""

from __future__ import annotations

import ast
import re
import tokenize
from dataclasses import dataclass
from typing import Any

MAX_TRANSFORMS = 100  # each one tokenises the cell again
MAX_CHARACTERS = 10_000  # a longer cell is cleared line by line, without the tokeniser
FOREIGN = frozenset(
    [
        "!",
        "HTML",
        "SVG",
        "bash",
        "bigquery",
        "cmd",
        "cpp",
        "cython",
        "file",
        "html",
        "javascript",
        "js",
        "julia",
        "latex",
        "markdown",
        "perl",
        "powershell",
        "pypy",
        "R",
        "ruby",
        "script",
        "sh",
        "shell",
        "sql",
        "svg",
        "sx",
        "system",
        "writefile",
        "writetemplate",
    ]
)
MAGIC_LIKE = re.compile(r"^[ \t]*(?:[%!?]|>>> |In ?\[)|\?[ \t]*$|=[ \t]*[%!]|\A[ \t]+\S", re.M)


@dataclass(frozen=True)
class Plain:
    """Source without magics, as many lines as before, and which lines (1-based) were left out."""

    source: str
    left_out: frozenset[int]


def without_magics(source: str) -> Plain:
    """Python of a cell; empty where the whole cell is another language's."""
    if not MAGIC_LIKE.search(source):
        return Plain(source, frozenset())
    lines = source.split("\n")
    left_out: set[int] = set()
    first = -1
    while (first := _first_line(lines, first + 1)) < len(lines) and (magic := re.match(r"[ \t]*%%(!|\w+)", lines[first])):
        if magic[1] in FOREIGN:
            return Plain("\n" * (len(lines) - 1), frozenset(range(1, len(lines) + 1)))
        lines[first] = ""
        left_out.add(first + 1)
    rest = "\n".join(lines)
    if MAGIC_LIKE.search(rest):
        lines, more = _without_line_magics(lines)
        left_out |= more
    return Plain("\n".join(lines), frozenset(left_out))


def _first_line(lines: list[str], start: int) -> int:
    """The first line from `start` on that is neither blank nor a comment; their number where there is none."""
    code = (i for i in range(start, len(lines)) if lines[i].strip() and not lines[i].lstrip().startswith("#"))
    return next(code, len(lines))


def _without_line_magics(lines: list[str]) -> tuple[list[str], set[int]]:
    if sum(map(len, lines)) > MAX_CHARACTERS:
        return _cleared(lines)
    try:
        return _transformed([line + "\n" for line in lines])
    except (SyntaxError, ValueError, IndexError, RecursionError, tokenize.TokenError):
        return _cleared(lines)  # IPython's tokeniser gives up on some broken code


def _cleared(lines: list[str]) -> tuple[list[str], set[int]]:
    magic = {i for i, line in enumerate(lines) if line.lstrip().startswith(("%", "!", "?"))}
    return [_indent(line) + "pass" if i in magic else line for i, line in enumerate(lines)], {i + 1 for i in magic}


def _transformed(lines: list[str]) -> tuple[list[str], set[int]]:
    from IPython.core import inputtransformer2

    ipython: Any = inputtransformer2  # it has no annotations
    left_out: set[int] = set()
    for transform in (ipython.leading_indent, ipython.classic_prompt, ipython.ipython_prompt):
        lines = transform(lines)
    transformers = ipython.TransformerManager().token_transformers
    for _ in range(MAX_TRANSFORMS):
        tokens = ipython.make_tokens_by_line(lines)
        found = [magic for kind in transformers if (magic := kind.find(tokens))]
        changed = _first_change(sorted(found, key=lambda magic: magic.sortby()), lines)
        if changed is None:
            return [line.rstrip("\n") for line in lines], left_out
        start, new = changed
        lines = new[: start + 1] + ["\n"] * (len(lines) - len(new)) + new[start + 1 :]
        if lines[start].lstrip().startswith("get_ipython()."):
            lines[start] = _indent(lines[start]) + _kept_code(lines[start]) + "\n"
            left_out.add(start + 1)
    return _cleared([line.rstrip("\n") for line in lines])


def _first_change(magics: list[Any], lines: list[str]) -> tuple[int, list[str]] | None:
    for magic in magics:
        try:
            return magic.start_line, magic.transform(lines)
        except SyntaxError:
            continue  # as IPython does: not a magic after all
    return None


def _kept_code(line: str) -> str:
    """The statement behind `%time`, which IPython runs in the notebook's namespace; `pass` for every other magic."""
    match = re.match(r"get_ipython\(\)\.run_line_magic\('time', (.+)\)$", line.strip())
    code = ast.literal_eval(match[1]) if match else "pass"
    return code if code.strip() and "\n" not in code else "pass"


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
