"""Finds written answers: by grade id, else under their prompt.

Enters: cells and what the lesson asks for in words. Leaves: the text of each answer, empty where nothing was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from autograder.course import Written
from autograder.notebook import Cell


@dataclass(frozen=True)
class WrittenAnswer:
    """One written answer and where it came from."""

    grade_id: str
    text: str
    repair: str = ""


def find_written(cells: Iterable[Cell], wanted: Iterable[Written]) -> list[WrittenAnswer]:
    """The last text that is not the stub, in a cell with the grade id; else what follows the prompt."""
    cells = list(cells)
    prompts = {_words(each.prompt) for each in wanted}
    return [_find(cells, each, prompts) for each in wanted]


def _find(cells: list[Cell], written: Written, prompts: set[str]) -> WrittenAnswer:
    stub = _words(written.stub)
    own = [cell for cell in cells if cell.grade_id == written.grade_id]
    texts = [cell for cell in own if _words(cell.source) not in ("", stub)]
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
        words = _words(cell.source) if cell.kind != "code" else ""
        if not prompt or not words.startswith(prompt):
            continue
        rest = words[len(prompt) :].strip()
        if rest and rest != stub:
            return cell.number, _original(cell.source, rest)
        for after in cells[place + 1 :]:
            text = _words(after.source)
            if after.kind == "code" or _is_heading(text) or text in prompts:
                break
            if text not in ("", stub):
                return after.number, after.source
    return None


def _is_heading(text: str) -> bool:
    return text.startswith("#") and not text.startswith("### BEGIN SOLUTION")  # which opens a model answer


def _original(source: str, rest: str) -> str:
    """The end of a text whose words are `rest`, with its own line breaks."""
    words = len(rest.split(" "))
    return re.split(r"\s+", source.strip(), maxsplit=len(source.split()) - words)[-1]


def _words(text: str) -> str:
    return " ".join(text.split())
