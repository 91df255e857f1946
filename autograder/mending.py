"""Code that Python refuses for how it was typed: a word processor's quotes, tabs among spaces, f-strings too new.

Enters: the source of a cell that does not parse. Leaves: what a person would read there, as many lines as before, and
a sentence that says so. What stands in ordinary strings and comments is never touched. Runs nothing.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from autograder.fstrings import with_old_fstrings

LOOK_ALIKES = {
    **dict.fromkeys("“”„‟″＂", '"'),
    **dict.fromkeys("‘’‚‛′＇", "'"),
    **dict.fromkeys("\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))), " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
    **dict.fromkeys("−–‐‑", "-"),
    **dict(zip("×∗÷…≤≥≠、", ("*", "*", "/", "...", "<=", ">=", "!=", ","), strict=True)),
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code) not in "＂＇"},
}
TABLE = str.maketrans(LOOK_ALIKES)
ANY = re.compile(f"[{re.escape(''.join(LOOK_ALIKES))}]")
# comments, and strings in Python's own quotes; where one is not closed on its line, its quote alone
KEPT = re.compile(
    r"#[^\n]*"
    r"|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''"
    r"|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
    r"|[^#\"']+|.",
    re.S,
)
REFUSED = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
TYPED = "signs as they are typed in a word processor (quotes, spaces, dashes) were read as Python's"
TABBED = "tabs and spaces are mixed in a way that Python refuses; they were read as they look"
NEW_FSTRINGS = "f-strings that only Python 3.12 reads were read as it does"


@dataclass(frozen=True)
class Mended:
    """A source text and how it was read."""

    source: str
    how: tuple[str, ...] = ()


def mended(source: str) -> Mended:
    """The text, mended where that is needed; it may not parse all the same."""
    how = []
    if ANY.search(source) and (plain := _with_plain_signs(source)) != source:
        source = plain
        how.append(TYPED)
    if (fault := _fault(source)) and isinstance(fault, TabError) and (spaced := _with_spaces(source)):
        source = spaced
        how.append(TABBED)
    if _fault(source) and (old := with_old_fstrings(source)) != source and _fault(old) is None:
        source = old
        how.append(NEW_FSTRINGS)
    return Mended(source, tuple(how))


def _with_plain_signs(source: str) -> str:
    return KEPT.sub(lambda match: match[0] if match[0][0] in "#\"'" else match[0].translate(TABLE), source)


def _with_spaces(source: str) -> str:
    """The text with spaces for the tabs at its lines' starts; empty where four and eight of them mean two things."""
    lines = source.split("\n")
    read: dict[str, str] = {}
    for width in (4, 8):
        text = "\n".join(_expanded(line, width) for line in lines)
        if _fault(text) is None:
            read[ast.dump(ast.parse(text))] = text
    return next(iter(read.values())) if len(read) == 1 else ""


def _expanded(line: str, width: int) -> str:
    rest = line.lstrip(" \t")
    return line[: len(line) - len(rest)].expandtabs(width) + rest


def _fault(source: str) -> BaseException | None:
    try:
        compile(source, "cell", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    except REFUSED as error:
        return error
    return None
