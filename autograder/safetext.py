"""Text that may come from a student, made fit for the place where people read it.

    clean      any place: no control characters, nothing invisible, no direction marks, not too long
    one_line   the same on one line: tables, logs, messages
    visible    code, where nothing may be left out: what cannot be seen is written as its escape
    markup     the terminal, between rich's tags; a Console that prints it is made by `terminal`
    json_text  JSON, with the same values
    html       a page written by hand, as text or in a quoted attribute
    pages      a jinja2 environment that does this to every value; `content_policy` goes with its pages
    cell       a CSV cell that no spreadsheet takes for a formula; csv_text makes a table of them
    file_name  a name for a file: one for each student, whatever the file system

Names, paths, messages, prints and code come from students; so does all that a hidden test says about their values.
Whoever shows text takes the function for the place, once, where it is shown: text that was escaped before is not safe
in another place. Must not open a file, and must not fail on any text.
"""

from __future__ import annotations

import csv
import hashlib
import html as html_entities
import io
import json
import re
import unicodedata
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from rich.console import Console

MESSAGE_LIMIT = 2000  # characters of a message that anybody is shown
LINE_LIMIT = 300  # characters of a message in a table
NAME_LIMIT = 100  # characters of a file's name in a message
NAME_BYTES = 100  # of a file's name, without its ending; file systems allow 255

# --- any place

# Control characters but newline and tab, surrogates, line separators, and all that Unicode shows as nothing: it can
# reverse a line, or make one student's name look like another's. Selectors of a glyph's variant (emoji, Han) stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]+"
)
_PILE = re.compile("([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
                   "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")  # fmt: skip


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """`text` without what cannot be seen (newline and tab stay) and without accents in piles, cut to `limit`."""
    if not (text.isascii() and text.isprintable()):  # nearly every text is
        text = _PILE.sub(r"\1", _UNSEEN.sub("", text))
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def visible(code: str) -> str:
    """Code for a reader who has to judge it: what cannot be seen is written as Python's escape for it."""
    return code if code.isascii() and code.isprintable() else _UNSEEN.sub(_escapes, code)


def json_text(encoded: str) -> str:
    """JSON in which what cannot be seen stands as its escape: the same values, and a terminal that shows it obeys none."""
    return _UNSEEN.sub(lambda unseen: json.dumps(unseen[0])[1:-1], encoded)


def encodable(name: str) -> str:
    """A file's name that no encoding fits, with its strange bytes as escapes: what is written in UTF-8 takes no other."""
    return name.encode("utf-8", "backslashreplace").decode()


def one_line(text: str, limit: int = LINE_LIMIT) -> str:
    """`text` cleaned and on one line."""
    return clean(" ".join(clean(text, max(limit, MESSAGE_LIMIT)).split()), limit)


def _escapes(unseen: re.Match[str]) -> str:
    return unseen[0].encode("unicode_escape").decode()


# --- the terminal


def terminal(*, stderr: bool = True) -> Console:
    """A console that takes no word between colons for an emoji."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False)


def markup(text: str, limit: int = LINE_LIMIT) -> str:
    """`text` on one line, where rich reads markup: neither a tag nor, with what stands beside it, a part of one.

    rich.markup.escape escapes whole tags only: half of one in one name and half in the next would be a tag.
    """
    shown = re.sub(r"(\\*)\[", lambda found: 2 * found[1] + r"\[", one_line(text, limit))
    return shown + "\\" * ((len(shown) - len(shown.rstrip("\\"))) % 2)  # or it would escape the tag that follows


# --- pages


def html(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """`text` between tags or in a quoted attribute that holds no address and no script."""
    return html_entities.escape(clean(text, limit), quote=True)


def pages(loader: jinja2.BaseLoader | None = None, limit: int = MESSAGE_LIMIT) -> jinja2.Environment:
    """A jinja2 environment for HTML: every value is cleaned and escaped, and one that is missing is an error."""
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return clean(value, limit) if isinstance(value, str) and not isinstance(value, Markup) else value

    return jinja2.Environment(loader=loader, autoescape=True, finalize=shown, undefined=jinja2.StrictUndefined)


def content_policy(styles: Iterable[str] = (), scripts: Iterable[str] = ()) -> str:
    """A Content-Security-Policy for one page's <meta>: the exact texts of its <style> and <script> elements, nothing else.

    No address is ever asked, no form is sent, no style attribute or handler counts; pictures may be data only.
    """
    allowed = (f"style-src {_sources(styles)}", f"script-src {_sources(scripts)}")
    return "; ".join(["default-src 'none'", *allowed, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _sources(texts: Iterable[str]) -> str:
    digests = (b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


# --- CSV

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_STARTS = re.compile(r"(?:^|[,;|\"])(?=[\s\"']*(\S))")  # of a cell, here or after another separator
_HARMLESS = frozenset("([{#_.…✔✘○→,;|")


def cell(value: object, limit: int = LINE_LIMIT) -> str | int | float:
    """A value for csv.writer. Text that a spreadsheet could take for a formula gets an apostrophe before it.

    Not only at the start: a program that splits at another separator than the file's sees a cell begin inside of a text.
    """
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = one_line(str(value), limit)
    return text if _NUMBER.fullmatch(text) else _STARTS.sub(_as_text, text)


def csv_text(rows: Iterable[Iterable[object]], limit: int = LINE_LIMIT) -> str:
    """Rows as CSV, each value as `cell` makes it."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([cell(value, limit) for value in row] for row in rows)
    return out.getvalue()


def _as_text(start: re.Match[str]) -> str:
    """An apostrophe goes before what begins neither a word nor a number: = + - @ and whatever a program takes for them."""
    harmless = unicodedata.category(start[1])[0] in "LN" or start[1] in _HARMLESS
    return start[0] if harmless else f"{start[0]}'"


# --- files

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.I)  # devices, on Windows
_MARKED = re.compile(r".*-[0-9a-f]{10}", re.S)


def file_name(name: str, limit: int = NAME_BYTES) -> str:
    """A name for a file, without its ending: `name` where it can be one everywhere, else what is left of it and a mark.

    Two names get the same one only if they are the same to a file system that knows no case: see `file_names`. `limit`
    counts bytes. No quote, bracket or backslash is left, for nbgrader writes students' ids into its pages as they are.
    """
    safe = _cut(_words(name).strip(" .-"), limit)
    if safe == unicodedata.normalize("NFC", name) and safe and not _RESERVED.fullmatch(safe) and not _MARKED.fullmatch(safe):
        return safe
    return marked_file_name(name, limit)


def marked_file_name(name: str, limit: int = NAME_BYTES) -> str:
    """What can be kept of `name`, and ten hexadecimal digits that no other name gets."""
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    kept = _cut(_words(name).replace(".", "_").strip(" -"), limit - len(mark) - 1)
    return f"{kept or 'student'}-{mark}"


def file_names(names: Iterable[str], limit: int = NAME_BYTES) -> dict[str, str]:
    """Each name's file name; names that a file system without upper and lower case takes for one are all marked."""
    plain = {name: file_name(name, limit) for name in names}
    alike = Counter(_folded(name) for name in plain.values())
    return {name: marked_file_name(name, limit) if alike[_folded(safe)] > 1 else safe for name, safe in plain.items()}


def _words(name: str) -> str:
    return "".join(each if _may_name_a_file(each) else "_" for each in unicodedata.normalize("NFC", clean(name)))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _may_name_a_file(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or character in " ._-@+'’,()"


def _cut(text: str, limit: int) -> str:
    """The beginning of `text` that takes at most `limit` bytes, with no space or point at its end."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").rstrip(" .")
