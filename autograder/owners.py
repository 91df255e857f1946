"""Whose is each file of a download? A platform's pattern says it, else the folder, else the file's own name.

Enters: what lies at a path. Leaves: a `Claim` for each file, or None where nobody can be told. Reads only what a
platform puts beside the files: Gradescope's metadata, Blackboard's text files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from autograder.archives import Item, Listing, Refused
from autograder.choosing import Wanted, holds
from autograder.errors import SubmissionError
from autograder.layouts import (
    GRADESCOPE,
    Claim,
    blackboard_user,
    claim_of,
    classroom_users,
    gradescope_claims,
    is_notebook_name,
    plain_stem,
)
from autograder.textfile import decode, read_regular_file

MAX_METADATA = 20_000_000  # bytes
READ_FOR_CONTENT = (
    "",
    ".txt",
    ".json",
    ".html",
    ".htm",
    ".md",
    ".qmd",
    ".rmd",
)  # endings under which a notebook may hide


class Owners:
    """What is known of a whole download, to tell whose each of its files is."""

    def __init__(self, listing: Listing, wanted: Wanted, names: tuple[str, ...]) -> None:
        self._wanted, self._names = wanted, names
        everything = listing.everything
        self._gradescope = gradescope_claims(_metadata(listing.files))
        self._users = _blackboard_users(listing.files)
        loose = [each for each in everything if len(each.parts) == 1]
        tops = {each.parts[0] for each in everything if len(each.parts) > 1}
        self._classroom = classroom_users(tops, names[-1], wanted.lesson) if tops else {}
        canvas = [each for each in everything if (claim := claim_of(each.parts)) and claim.platform == "Canvas"]
        self._is_canvas = 2 * len(canvas) >= len(everything)
        called = [each for each in loose if is_lessons(each.parts[0], wanted.lesson)]
        self._nobodys = len(called) > 1 and len(called) < len(loose) + len(tops)

    @property
    def known(self) -> Iterable[Claim]:
        """Whom the platform names, with files or without."""
        return self._gradescope.values()

    def claim(self, each: Item | Refused) -> Claim | None:
        """Whose a file is; None where it is loose, no notebook, and of no platform's pattern."""
        claim = self._gradescope.get(each.parts[0]) or claim_of(each.parts, self._users)
        if claim and (claim.platform != "Canvas" or self._is_canvas):
            return claim
        if len(each.parts) > 1:
            top = each.parts[0]
            return Claim(self._classroom.get(top) or by_place((*self._names, top), self._wanted.lesson))
        if is_notebook_name(each.parts[0]) or each.parts[0].lower().endswith(".zip") or self._is_notebook(each):
            return Claim(self._of_loose(each.parts[0]))
        return None

    def _of_loose(self, name: str) -> str:
        """A loose notebook's student; several that are called by the lesson alone, among others', are nobody's."""
        if self._nobodys and is_lessons(name, self._wanted.lesson):
            return Path(name).stem
        return by_place((*self._names, name), self._wanted.lesson)

    def _is_notebook(self, each: Item | Refused) -> bool:
        hidden = isinstance(each, Item) and each.path.suffix.lower() in READ_FOR_CONTENT
        return hidden and isinstance(each, Item) and bool(holds(each.path, self._wanted))


def by_place(parts: tuple[str, ...], lesson: str) -> str:
    """`Ada - lesson.ipynb` and `lesson_ada.ipynb` are Ada's; `lesson.ipynb` is its folder's."""
    *folders, name = parts
    stem, called = plain_stem(name), _called(lesson)
    if match := re.fullmatch(rf"{called}[ _-]+(?=.*[^\W\d])(.+)|(.+?)[ _-]+{called}", stem, re.I):
        return str(match[1] or match[2]).strip(" -_")
    if not is_lessons(name, lesson):
        return stem
    return next((folder for folder in reversed(folders) if folder not in (lesson, "/")), stem)


def is_lessons(name: str, lesson: str) -> bool:
    """Whether a file is called as the lesson is, and so by nobody's name."""
    return re.fullmatch(rf"{_called(lesson)}(?:[ _-]+\d+)?", plain_stem(name), re.I) is not None


def _called(lesson: str) -> str:
    return re.escape(lesson).replace("_", "[ _-]?")


def _metadata(files: Iterable[Item]) -> str:
    """Gradescope's metadata at the top of a download; empty where there are none."""
    path = next((each.path for each in files if each.parts == (GRADESCOPE,)), None)
    return _text(path) if path and path.lstat().st_size <= MAX_METADATA else ""


def _blackboard_users(files: Iterable[Item]) -> Mapping[str, str]:
    """User names that Blackboard's text files name, by what stands before `_attempt_` in their own names."""
    texts = [each for each in files if each.parts[-1].lower().endswith(".txt") and "_attempt_" in each.parts[-1]]
    users = {each.parts[-1].rpartition("_attempt_")[0]: blackboard_user(_text(each.path)) for each in texts}
    return {before: user for before, user in users.items() if user and before.endswith(f"_{user}")}


def _text(path: Path) -> str:
    try:
        return decode(read_regular_file(path))[0]
    except (SubmissionError, ValueError):
        return ""  # the file itself is named where it counts
