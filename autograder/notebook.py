"""A submitted file, whatever it went through, becomes cells.

Enters: the path of a file that nobody has looked at yet. Leaves: a `Notebook`, with a sentence for each way in which
the file was read other than it claims to be; or a SubmissionError that says what the file is and what to ask the
student for. Reads regular files only, up to a stated size, and never follows a link. Runs nothing. No content may crash
it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from autograder.errors import SubmissionError
from autograder.pages import is_exported_page, is_markdown, markdown_cells, page_cells
from autograder.safetext import NAME_LIMIT, one_line
from autograder.scripts import ScriptCell, is_script, script_cells
from autograder.textfile import ASK, NotANotebookError, clean, decode, read_regular_file

SHORTCUT = re.compile(r"\[(?:InternetShortcut|Desktop Entry)\]|https?://\S+\s*\Z", re.I)


@dataclass(frozen=True)
class Cell:
    """One cell as text; `grade_id` is what the file claims, never to be trusted."""

    number: int  # 1-based place in the file
    kind: str  # code, markdown or raw
    source: str  # lines end with \n, no lone surrogates
    grade_id: str | None = None


@dataclass(frozen=True)
class Notebook:
    """The cells of a submission, in order."""

    cells: tuple[Cell, ...]
    repairs: tuple[str, ...] = ()
    name: str = "the notebook"  # of its file, for messages


def read_notebook(path: Path) -> Notebook:
    """Reads a notebook or its .py export; raises SubmissionError naming the file, what it is and what to ask for."""
    return notebook_of(read_regular_file(path), path)


def notebook_of(data: bytes, path: Path) -> Notebook:
    """What a file holds, `path` naming it; raises SubmissionError as `read_notebook` does. Looks at no other file."""
    name = one_line(path.name, NAME_LIMIT)
    try:
        text, repairs = decode(data)
        cells, more = _cells_of_text(text, path)
    except NotANotebookError as error:
        raise SubmissionError(f"{name} {error}. {ASK}") from None
    except RecursionError:
        raise SubmissionError(f"{name} is nested too deeply to be a notebook. {ASK}") from None
    if not any(cell.source.strip() for cell in cells):
        raise SubmissionError(f"{name} is a notebook without any text. {ASK}")
    if path.suffix.lower() not in (".ipynb", ".py", ".json", ".md", ".qmd", ".rmd", ".html", ".htm"):
        repairs.append(f"{name} is not named .ipynb; it was read as a notebook, which it is.")
    return Notebook(tuple(cells), tuple(repairs + more), name)


def _cells_of_text(text: str, path: Path) -> tuple[list[Cell], list[str]]:
    stripped = text.strip(" \t\r\n\0\ufeff")
    if stripped.startswith("{") or (stripped.startswith("<<<<<<<") and "{" in stripped):
        return _cells_of_json(stripped)
    if stripped.startswith("<"):
        if is_exported_page(stripped):
            return _numbered(page_cells(stripped)), ["The file is an HTML page of a notebook; its cells were read."]
        login = " (it asks for a login)" if re.search(r"log.?in|sign.?in|password", stripped, re.I) else ""
        raise NotANotebookError(f"is a web page{login}, not a notebook")
    if path.suffix.lower() == ".py" or is_script(stripped):
        export = path.suffix.lower() == ".py"
        claim = "The .py export was read" if export else "The file is a Python script; it was read"
        return _numbered(script_cells(text)), [f"{claim} instead of a notebook."]
    if is_markdown(stripped):
        return _numbered(markdown_cells(stripped)), ["The file is Markdown; the Python in its fences was read."]
    if SHORTCUT.match(stripped):
        raise NotANotebookError("is a shortcut to a notebook, which is somewhere else, not the notebook")
    raise NotANotebookError("is not a notebook: it is no JSON")


def _numbered(cells: Iterable[ScriptCell]) -> list[Cell]:
    return [Cell(number, kind, clean(source), grade_id) for number, (kind, source, grade_id) in enumerate(cells, start=1)]


def _cells_of_json(text: str) -> tuple[list[Cell], list[str]]:
    if sides := conflict_sides(text):
        return _cells_of_conflict(sides), [
            "The file holds marks of a merge conflict; both sides have the same cells, which were read."
        ]
    parsed, repairs = _parse_json(text)
    if isinstance(parsed, dict) and "cells" not in parsed and isinstance(parsed.get("content"), dict):
        parsed = parsed["content"]
        repairs.append("The notebook was wrapped in a server's reply; it was taken out of it.")
    cells = list(_raw_cells(parsed))
    return [_cell(number, raw) for number, raw in enumerate(cells, start=1) if isinstance(raw, dict)], repairs


def conflict_sides(text: str) -> tuple[str, str] | None:
    """Our and their side of a text with git's conflict marks at the margin; None where it has none."""
    if not re.search(r"^<{7}(?: |$|\r)", text, re.M):
        return None
    sides: tuple[list[str], list[str]] = ([], [])
    taking = (True, True)
    for line in text.split("\n"):
        mark = line[:7]
        if mark in ("<<<<<<<", "|||||||", "=======", ">>>>>>>"):
            taking = {"<": (True, False), "|": (False, False), "=": (False, True), ">": (True, True)}[mark[0]]
            continue
        for side, takes in zip(sides, taking, strict=True):
            if takes:
                side.append(line)
    return "\n".join(sides[0]), "\n".join(sides[1])


def _cells_of_conflict(sides: tuple[str, str]) -> list[Cell]:
    """Cells of a file with merge marks outside of its cells' text; raises NotANotebookError where the two sides
    differ.
    """
    read = []
    for side in sides:
        try:
            read.append(_cells_of_json(side)[0])
        except NotANotebookError:
            read.append([])
    if read[0] and read[0] == read[1]:
        return read[0]
    raise NotANotebookError("holds marks of a merge conflict (<<<<<<<, >>>>>>>), and which side is meant cannot be told")


def _parse_json(text: str) -> tuple[Any, list[str]]:
    """Fast parser first; the lenient one knows NaN, lone surrogates and raw line breaks in strings."""
    try:
        return msgspec.json.decode(text), []
    except (msgspec.DecodeError, UnicodeEncodeError):
        pass  # the lenient parser decides what it is
    try:
        parsed, end = json.JSONDecoder(strict=False, parse_int=_small_int).raw_decode(text)
    except json.JSONDecodeError as error:
        at_end = not text[error.pos :].strip() or error.msg.startswith("Unterminated string")
        what = (
            "ends in the middle: the download or upload was cut off"
            if at_end
            else f"is broken JSON ({error.msg}, line {error.lineno})"
        )
        raise NotANotebookError(what) from None
    if text[end:].strip(" \t\r\n\0"):
        raise NotANotebookError(f"is broken JSON (more text after its end, character {end})")
    try:
        json.loads(text[:end], parse_int=_small_int)
    except ValueError:
        return parsed, ["The file is not strict JSON (raw control characters in its text); it was read all the same."]
    return parsed, []


def _small_int(digits: str) -> int:
    return int(digits) if len(digits) < 20 else 0  # no number in a notebook matters; a huge one would cost time


def _raw_cells(parsed: Any) -> list[Any]:
    if not isinstance(parsed, dict):
        raise NotANotebookError("is JSON but not a notebook")
    if isinstance(parsed.get("cells"), list):
        cells: list[Any] = parsed["cells"]
        return cells
    sheets = parsed.get("worksheets")  # nbformat 3
    if isinstance(sheets, list):
        return [cell for sheet in sheets if isinstance(sheet, dict) for cell in _list(sheet.get("cells"))]
    if set(parsed) & {"url", "doc_id", "resource_id"}:
        raise NotANotebookError("is a shortcut to a notebook on a drive, not the notebook")
    raise NotANotebookError("is JSON but not a notebook: it has no cells")


def _cell(number: int, raw: dict[str, Any]) -> Cell:
    kind = raw.get("cell_type")
    if kind == "heading":  # nbformat 3
        kind = "markdown"
    text = raw.get("source", raw.get("input", ""))
    if isinstance(text, list):
        text = "".join(line for line in text if isinstance(line, str))
    kind = kind if kind in ("code", "markdown") else "raw"
    return Cell(number, kind, clean(text) if isinstance(text, str) else "", _claimed_id(raw.get("metadata")))


def _claimed_id(metadata: Any) -> str | None:
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = marks.get("grade_id") if isinstance(marks, dict) else None
    return grade_id if isinstance(grade_id, str) and grade_id else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
