"""Maps of weights in shades, for people: what a page's templates ask of a number, and a picture for a notebook's output.

Enters: pictures of plain numbers (picture.py). Leaves: words, steps of a scale, escaped HTML. A page colours the steps by
its style sheet; in a notebook there is none of ours, so each cell brings its colour with it.
"""

from __future__ import annotations

from autograder.outcome import Map, Picture
from autograder.report import points
from autograder.safetext import html

STEPS = 10  # shades


def shade(value: float | None) -> int:
    """A number's step among the shades of a map of weights, 0 to 10."""
    return 0 if value is None else round(STEPS * min(max(value, 0.0), 1.0))


def number(value: float | None) -> str:
    """A number of a map; what is not finite has a name."""
    if value is None:
        return "NaN"
    return points(value) if value == int(value) else f"{value:.2f}"


def picture_html(picture: Picture) -> str:
    """A picture for a notebook's output."""
    named = [*_named("right", picture.right), *_named("yours", picture.given)]
    maps = "".join(_map_html(name, picture, each) for name, each in named)
    return f'<p style="margin: 1em 0 .3em"><b>{html(picture.title)}</b></p><div>{maps}</div>'


def _named(title: str, maps: tuple[Map, ...]) -> list[tuple[str, Map]]:
    return [(title if len(maps) == 1 else f"{title}, head {place}", each) for place, each in enumerate(maps)]


def _map_html(name: str, picture: Picture, rows: Map) -> str:
    cell = '<td style="padding: .15em .45em; text-align: right; border: 0; background: rgba(35, 105, 190, {})">{}</td>'
    head = "".join(f"<th>{html(column)}</th>" for column in picture.columns)
    body = "".join(
        f"<tr><th>{html(label)}</th>{''.join(cell.format(shade(value) * 0.06, number(value)) for value in row)}</tr>"
        for label, row in zip(picture.rows, rows, strict=False)
    )
    return (
        '<table style="display: inline-block; margin: 0 1.5em 1em 0; vertical-align: top">'
        f"<caption>{name}</caption><tr><td></td>{head}</tr>{body}</table>"
    )
