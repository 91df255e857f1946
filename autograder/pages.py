"""Notebooks that were saved as a page: nbconvert's HTML, and Markdown with the code in fences.

Enters: text. Leaves: (kind, source, grade id) for each cell. A page keeps code as it is; of prose it keeps the words.
Runs nothing.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from autograder.scripts import GRADE_ID, ScriptCell

NBCONVERT = re.compile(r'class="[^"]*\b(?:jp-CodeCell|code_cell|jp-InputArea|input_area)\b')
PYTHON_FENCE = re.compile(r"^(`{3,}|~{3,})[ \t]*\{?(?:python3?|ipython3?|py|code-cell)\b([^\n]*)$", re.I | re.M)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
BLOCKS = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "tr", "br", "div", "pre", "blockquote", "table"))
VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"))
OUTPUT = ("jp-OutputArea", "output_wrapper", "output_area", "output")
MAX_DEPTH = 500


def is_exported_page(text: str) -> bool:
    """Whether a web page is a notebook that nbconvert wrote."""
    return NBCONVERT.search(text) is not None


def is_markdown(text: str) -> bool:
    """Whether a text holds Python in fences."""
    return PYTHON_FENCE.search(text) is not None


def page_cells(text: str) -> list[ScriptCell]:
    """The cells of nbconvert's HTML."""
    reader = _Page()
    reader.feed(text)
    reader.close()
    return [cell for cell in reader.cells if cell[1].strip()]


def markdown_cells(text: str) -> list[ScriptCell]:
    """The cells of a Markdown document: fenced Python is code, all else is text."""
    text = FRONT_MATTER.sub("", text.replace("\r\n", "\n"))
    cells: list[ScriptCell] = []
    body: list[str] = []
    fence, grade_id = "", None
    for line in text.split("\n"):
        start = None if fence else PYTHON_FENCE.match(line)
        ends = fence and line.strip().startswith(fence) and not line.strip().strip(fence[0])
        if start or ends:
            cells.append(("code" if fence else "markdown", "\n".join(body).strip("\n"), grade_id))
            mark = GRADE_ID.search(start[2]) if start else None
            body, fence, grade_id = [], start[1] if start else "", mark[1] if mark else None
        else:
            body.append(line)
    cells.append(("code" if fence else "markdown", "\n".join(body).strip("\n"), grade_id))
    return [cell for cell in cells if cell[1].strip()]


class _Page(HTMLParser):
    """Follows which cell a text stands in."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.cells: list[ScriptCell] = []
        self._open: list[tuple[str, str]] = []  # tags that are open, each with the part of a cell that it begins

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A part of a cell begins with a class that nbconvert writes."""
        if tag in BLOCKS and self._part == "markdown":
            self._add("\n")
        if tag in VOID or len(self._open) > MAX_DEPTH:
            return
        classes = next((value or "" for name, value in attrs if name == "class"), "").split()
        part = self._part
        if part == "" and any(name in OUTPUT for name in classes):
            part = "output"
        elif part == "" and any("RenderedMarkdown" in name or name == "text_cell_render" for name in classes):
            part = "markdown"
            self.cells.append(("markdown", "", None))
        elif part == "" and "highlight" in classes:
            part = "code"
            self.cells.append(("code", "", None))
        elif tag in ("style", "script") or "anchor-link" in classes:
            part = "output"
        self._open.append((tag, part))

    def handle_endtag(self, tag: str) -> None:
        """Closes a tag and what was left open in it."""
        for place in range(len(self._open) - 1, -1, -1):
            if self._open[place][0] == tag:
                del self._open[place:]
                break

    def handle_data(self, data: str) -> None:
        """Text goes to the cell that is open."""
        if self._part in ("code", "markdown"):
            self._add(data)

    @property
    def _part(self) -> str:
        return self._open[-1][1] if self._open else ""

    def _add(self, text: str) -> None:
        kind, before, grade_id = self.cells[-1]
        self.cells[-1] = (kind, before + text, grade_id)
