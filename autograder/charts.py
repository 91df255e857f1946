"""Charts as SVG that a page may hold under a strict policy: matplotlib draws them, the page's style sheet colours them.

matplotlib writes style attributes, which a policy without 'unsafe-inline' ignores: they become plain attributes here, and
colours that stand for a role become classes. Numbers stand in a table beside each chart; the picture itself is one image to
a screen reader.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BAR, GRID = "#010101", "#010102", "#010103"  # colours that are replaced
CLASSES = {INK: "ink", BAR: "bar", GRID: "grid"}
SETTINGS = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "autograder",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_STYLE = re.compile(r'style="([^"]*)"')
_DROPPED = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.S)
_ID = re.compile(r' id="[^"]*"')  # nothing refers to one


def columns(labels: Sequence[str], values: Sequence[int], what: str, alt: str) -> str:
    """A column for each label."""
    figure, axes = _axes(6.4, 2.4)
    with _settings():
        bars = axes.bar(range(len(values)), values, color=BAR, width=0.86, clip_on=False)
        axes.bar_label(bars, labels=[str(value) if value else "" for value in values], padding=2, fontsize=9, color=INK)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(what)
        axes.tick_params(length=0)
        return _svg(figure, alt)


def bars(labels: Sequence[str], shares: Sequence[float], alt: str) -> str:
    """A horizontal bar for each label, 0 to 1, the first on top."""
    figure, axes = _axes(6.4, 0.34 * len(labels) + 0.5)
    with _settings():
        drawn = axes.barh(range(len(labels)), shares, color=BAR, height=0.62, clip_on=False)
        axes.bar_label(drawn, labels=[f"{share:.0%}" for share in shares], padding=4, fontsize=9, color=INK)
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.08)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
        return _svg(figure, alt)


def _settings() -> AbstractContextManager[None]:
    import matplotlib as mpl

    return mpl.rc_context(SETTINGS)  # type: ignore[arg-type]  # its keys are literals there


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # without pyplot: no state, no window

    with _settings():
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def _svg(figure: Figure, alt: str) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    svg = _ID.sub("", _DROPPED.sub("", written.getvalue()))
    svg = _STYLE.sub(lambda found: _attributes(found[1]), svg)
    head = f'<svg class="chart" role="img" aria-label="{html.escape(alt)}" '
    return re.sub(r"<svg ", head, svg, count=1).strip()


def _attributes(style: str) -> str:
    """A style as attributes; a colour that stands for a role is a class."""
    kept, classes = [], []
    for name, _, value in (part.strip().partition(": ") for part in style.split(";") if part.strip()):
        if name in ("fill", "stroke") and value in CLASSES:
            classes.append(f"{CLASSES[value]}-{name}")
        elif name != "font-family":  # the page's own
            kept.append(f'{name}="{value}"')
    return " ".join([*kept, *([f'class="{" ".join(classes)}"'] if classes else [])])
