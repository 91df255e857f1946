"""Poison what people later read. Each is a text that a student can put somewhere, and what obeys it.

`code` raises the text, as the body of `f(at)`. It is real where it is shown raw: whoever reads it obeys. It is held by the
function of safetext.py for the place where it is shown. That all commands use these is test_poison.py's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from attacks.attack import Attack

RAISE = "raise ValueError({text!r})"


@dataclass(frozen=True)
class Poison:
    """An attack by text: where it is shown, and the pattern of what would be obeyed there."""

    attack: Attack
    text: str
    place: str  # name of a function in safetext.py
    obeyed: str  # regular expression


def poison(name: str, goal: str, text: str, place: str, obeyed: str) -> Poison:
    """An entry that raises its text."""
    return Poison(Attack(name, goal, f"safetext.{place}", RAISE.format(text=text), "raw"), text, place, obeyed)


ATTACKS = [
    poison("a script", "Run in the instructor's browser.", "<script>steal()</script>", "html", r"<script"),
    poison("an image that tells", "Call a server when the page is opened.", "<img src=x onerror=steal()>", "html", r"<img"),
    poison("out of an attribute", "End the attribute that it stands in, and add one.", '" onload="steal()', "html", r'"'),
    poison("a page within the page", "Show a page of its own.", "<iframe src=//evil.example>", "html", r"<iframe"),
    poison(
        "the terminal's colours", "Write a mark in green over the real one.", "\x1b[2K\x1b[1A\x1b[32m15/15", "clean", "\x1b"
    ),
    poison(
        "the terminal's title", "Set a title, which some terminals type back.", "\x1b]0;rm -rf ~\x07", "clean", "\x1b|\x07"
    ),
    poison(
        "a link in the terminal", "Lead to another address than is shown.", "\x1b]8;;http://evil\x1b\\ok", "clean", "\x1b"
    ),
    poison("back to the line's start", "Write over what the line said before.", "failed\rpassed", "one_line", "\r"),
    poison("lines of its own", "Add a line that looks like the program's.", "x\n  ✔ all tests passed", "one_line", "\n"),
    poison("read backwards", "Make one name look like another.", "\u202egnp.exe", "clean", "[\u202a-\u202e\u2066-\u2069]"),
    poison("letters that nobody sees", "Be two students who look like one.", "ad\u200ba", "clean", "\u200b"),
    poison("accents without end", "Cover the lines above and below.", "a" + "\u0301" * 200, "clean", "\u0301{10}"),
    poison(
        "the program's own tags", "Write with rich's markup.", "[link=http://evil]15/15[/link]", "markup", r"(?<!\\)\[link"
    ),
    poison("a formula", "Have a spreadsheet run a command.", "=cmd|'/c calc'!A1", "cell", r"^[=+\-@\t\r]"),
    poison("a formula behind a blank", "Be taken for one where blanks are cut.", " \t=HYPERLINK(1)", "cell", r"^\s*[=+\-@]"),
    poison("a path", "Have feedback written elsewhere.", "../../../etc/cron.d/x", "file_name", r"/|^\.\."),
    poison("a name that some systems keep", "Write to a device.", "CON", "file_name", r"^(?i:con|nul|aux|prn)$"),
    poison("a name without end", "Have writing fail, and the run with it.", "x" * 5000, "file_name", r".{256}"),
    poison("megabytes", "Fill the pages that are shown.", "x" * 1_000_000, "html", r".{100000}"),
]
