"""Finds written answers: by grade id, else under their prompt.

Enters: cells and what the lesson asks for in words. Leaves: the text of each answer, empty where nothing was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from autograder.course import Written
from autograder.notebook import Cell
from autograder.statements import MAX_CHARACTERS_KEPT

WORD = re.compile(r"[^\W_]+")
MARKUP = re.compile(r"</?[A-Za-z][^<>\n]*>|\]\([^()\s]*\)|^[ \t]*\d+[.)][ \t]", re.M)  # tags, links' ends, list numbers
HEADING = re.compile(r"^#{1,6} (?!(?:BEGIN|END) SOLUTION)", re.M)  # those stand in a model answer


@dataclass(frozen=True)
class WrittenAnswer:
    """One written answer and where it came from."""

    grade_id: str
    text: str
    repair: str = ""


def find_written(cells: Iterable[Cell], wanted: Iterable[Written]) -> list[WrittenAnswer]:
    """The last text that is not the stub, in a cell with the grade id; else what follows the prompt."""
    cells, wanted = list(cells), list(wanted)
    prompts = {_words(each.prompt) for each in wanted}
    return [_find(cells, each, prompts) for each in wanted]


def _find(cells: list[Cell], written: Written, prompts: set[str]) -> WrittenAnswer:
    stub = _words(written.stub)
    own = [cell for cell in cells if cell.grade_id == written.grade_id]
    texts = [cell for cell in own if cell.source.strip() and _words(cell.source) != stub]
    if texts:
        repair = ""
        if len({_words(cell.source) for cell in texts}) > 1:
            repair = f"{written.grade_id} is answered {len(texts)} times; the last was taken, cell {texts[-1].number}."
        return WrittenAnswer(written.grade_id, texts[-1].source, repair)
    found = _under_prompt(cells, written, stub, prompts)
    if found is None:
        return WrittenAnswer(written.grade_id, "")
    number, text = found
    return WrittenAnswer(
        written.grade_id, text, f"{written.grade_id} was found under its prompt, cell {number}, not by its grade id."
    )


def _under_prompt(cells: list[Cell], written: Written, stub: str, prompts: set[str]) -> tuple[int, str] | None:
    """Cell number and text of what stands in the prompt's own cell behind it, or in the next cell of text."""
    prompt = _words(written.prompt)
    for place, cell in enumerate(cells):
        rest = _behind(prompt, cell.source) if prompt and cell.kind != "code" else None
        if rest is None:
            continue
        if _words(rest) not in ("", stub):
            return cell.number, rest
        for after in cells[place + 1 :]:
            text = _words(after.source)
            if after.kind == "code" or _is_heading(after.source) or text in prompts:
                break
            if after.source.strip() and text != stub:
                return after.number, after.source
    return None


def _behind(prompt: str, text: str) -> str | None:
    """What stands behind the prompt up to the next heading; None where the prompt is not in the text."""
    line, ends = _kept_words(text) if len(text) <= MAX_CHARACTERS_KEPT else _as_words(text)
    at = line.find(f" {prompt} ")
    if at < 0:
        return None
    last = ends[line[:at].count(" ") + prompt.count(" ")]
    rest = text[last:].lstrip(" .,:;?!)*_`>\"'¶\n")
    heading = HEADING.search(rest)
    return (rest[: heading.start()] if heading and heading.start() else rest).strip()


def _as_words(text: str) -> tuple[str, tuple[int, ...]]:
    """The words of a text without markup, a blank around each, and where each ends in the text."""
    plain = MARKUP.sub(lambda match: " " * len(match[0]), text)
    words = list(WORD.finditer(plain))
    return f" {' '.join(word[0].lower() for word in words)} ", tuple(word.end() for word in words)


_kept_words = lru_cache(maxsize=512)(_as_words)


def _is_heading(text: str) -> bool:
    return HEADING.match(text.lstrip()) is not None


def _words(text: str) -> str:
    """The words of a text without markup, which is the same before and after it was rendered."""
    return " ".join(word.lower() for word in WORD.findall(MARKUP.sub(" ", text)))
