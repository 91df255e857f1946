"""f-strings of Python 3.12, in which an expression may hold the string's own quotes, for an older Python.

Enters: source text. Leaves: the same with each f-string that this Python refuses as a call: `f"{d["a"]:>5}"` becomes
`"{:>5}".format(d["a"])`, on as many lines. What is not surely an f-string stays as it is. Runs nothing.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

START = re.compile(r"(?:[fF][rR]?|[rR][fF])(\"\"\"|'''|\"|')")
STRING = re.compile(r"[rRbBuU]{0,2}(\"\"\"|'''|\"|')")
NAME = re.compile(r"\w+")
CONVERSION = re.compile(r"\s*(=)?\s*(![rsa])?\s*(?=[:}])")
NAMED_CHARACTER = re.compile(r"\\N\{[^}]*\}")
MAX_DEPTH = 10  # of f-strings in f-strings
MAX_STEPS = 100_000
PAIRS = {"(": ")", "[": "]", "{": "}"}


class _NoFStringError(ValueError):
    """The text is not what it seemed, or takes too long to read."""


@dataclass
class _Made:
    """An f-string as a template and what goes into it."""

    template: str = ""
    values: list[str] = field(default_factory=list)


def with_old_fstrings(source: str) -> str:
    """The text with every f-string that this Python refuses as a call of `format`."""
    reader = _Reader(source)
    try:
        return reader.rewritten(0, len(source), 0)
    except _NoFStringError:
        return source


class _Reader:
    """One text, read with a budget of steps."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.steps = 0

    def _count(self, depth: int) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS or depth > MAX_DEPTH:
            raise _NoFStringError

    def rewritten(self, at: int, end: int, depth: int) -> str:
        """The text between two places, its f-strings as calls."""
        made = []
        while at < end:
            self._count(depth)
            if start := START.match(self.source, at):
                text, at = self._call(start, depth)
            else:
                after = self._after(at)
                text, at = self.source[at:after], after
            made.append(text)
        return "".join(made)

    def _after(self, at: int) -> int:
        """Where the next comment, ordinary string, name or character ends."""
        if self.source[at] == "#":
            end = self.source.find("\n", at)
            return len(self.source) if end < 0 else end
        if match := STRING.match(self.source, at):
            return self._end_of_string(match)
        name = NAME.match(self.source, at)
        return name.end() if name else at + 1

    def _end_of_string(self, start: re.Match[str]) -> int:
        at, quote = start.end(), start[1]
        while at < len(self.source):
            self._count(0)
            if self.source.startswith(quote, at):
                return at + len(quote)
            if self.source[at] == "\n" and len(quote) == 1:
                break
            at += 2 if self.source[at] == "\\" else 1
        return start.end()  # never closed: the quote alone

    def _call(self, start: re.Match[str], depth: int) -> tuple[str, int]:
        """An f-string as a call, and where it ends; as it is where this Python reads it."""
        quote, made, at = start[1], _Made(), start.end()
        while not self.source.startswith(quote, at):
            at = self._piece(at, quote, made, depth)
        end = at + len(quote)
        if _is_read(self.source[start.start() : end]):
            return self.source[start.start() : end], end
        prefix = "r" if "r" in start[0].lower() else ""
        values = ", ".join(f"({value})" for value in made.values)
        return f"{prefix}{quote}{made.template}{quote}.format({values})", end

    def _piece(self, at: int, quote: str, made: _Made, depth: int) -> int:
        """A character of the text, or a field."""
        self._count(depth)
        two = self.source[at : at + 2]
        if not two or two == "\n" or (two[0] == "\n" and len(quote) == 1):
            raise _NoFStringError
        if two[0] == "{" and two != "{{":
            return self._field(at + 1, quote, made, depth)
        if two[0] == "}" and two != "}}":
            raise _NoFStringError
        named = NAMED_CHARACTER.match(self.source, at)
        text = named[0] if named else two if two[0] == "\\" or two in ("{{", "}}") else two[0]
        made.template += text
        return at + len(text)

    def _field(self, at: int, quote: str, made: _Made, depth: int) -> int:
        """`{expression=!r:format}`; the format may hold fields."""
        end = self._end_of_expression(at, depth)
        match = CONVERSION.match(self.source, end)
        if not match or not self.source[at:end].strip():
            raise _NoFStringError
        if match[1]:  # f"{x=}" shows its own text
            shown = self.source[at : match.end()].removesuffix(match[2] or "")
            made.template += shown.replace("{", "{{").replace("}", "}}").replace(quote[0], f"\\{quote[0]}")
        made.values.append(self.rewritten(at, end, depth + 1))
        made.template += "{" + (match[2] or ("!r" if match[1] and self.source[match.end()] == "}" else ""))
        at = match.end()
        if self.source[at] == ":":
            made.template += ":"
            at += 1
            while self.source[at : at + 1] != "}":
                at = self._piece(at, quote, made, depth + 1)
        made.template += "}"
        return at + 1

    def _end_of_expression(self, at: int, depth: int) -> int:
        """Where an expression ends: before `=}`, `!r`, `:` or `}` outside of brackets and strings."""
        closing: list[str] = []
        while at < len(self.source):
            self._count(depth)
            character = self.source[at]
            if start := START.match(self.source, at):
                at = self._call(start, depth + 1)[1]
                continue
            if not closing and (character in ":}" or self._converts(at)):
                return at
            if character in PAIRS:
                closing.append(PAIRS[character])
            elif closing and character == closing[-1]:
                closing.pop()
            at = self._after(at)
        raise _NoFStringError

    def _converts(self, at: int) -> bool:
        """Whether `!r`, or a `=` that is no comparison, stands here."""
        character, before = self.source[at], self.source[at - 1]
        if character == "!":
            return self.source[at : at + 2] != "!="
        return character == "=" and before not in "=!<>:" and CONVERSION.match(self.source, at) is not None


def _is_read(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
