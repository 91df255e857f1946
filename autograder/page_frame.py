"""What all our pages have in common: templates that escape whatever they show, a style sheet, and a policy.

Enters: the names of a template, a style sheet and a script in templates/, and values. Leaves: HTML whose policy lets exactly
these run, by their digests, and asks nothing of any address. Files are read once a process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder import heat_map
from autograder.report import points
from autograder.safetext import content_policy, one_line, pages

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Frame:
    template: jinja2.Template
    style: str
    script: str
    policy: str


def rendered(template: str, *, css: str = "", js: str = "", **values: Any) -> str:
    """A page; `css` is a style sheet of its own, beside the one that all have."""
    frame = _frame(template, css, js)
    return frame.template.render(style=frame.style, script=frame.script, policy=frame.policy, **values)


@cache
def environment() -> jinja2.Environment:
    """The templates, with what they call."""
    import jinja2

    made = pages(jinja2.FileSystemLoader(TEMPLATES))
    made.filters.update(shade=heat_map.shade, number=heat_map.number, points=points, breaks=_breaks)
    made.trim_blocks = made.lstrip_blocks = True
    return made


@cache
def _frame(template: str, css: str, js: str) -> _Frame:
    from markupsafe import Markup

    style, script = _read("page.css") + (_read(css) if css else ""), _read(js) if js else ""
    policy = content_policy([style], [script] if script else [])
    return _Frame(environment().get_template(template), Markup(style), Markup(script), policy)  # noqa: S704 - our own files


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _breaks(name: str) -> str:
    """A long name that may go on in the next line after each underscore."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(one_line(name)).split("_"))
