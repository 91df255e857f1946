"""Whose file is it? What the names say that Canvas, Moodle, Brightspace, Blackboard, Gradescope and GitHub give.

Enters: the place of a file in a download, and for Gradescope the text of its metadata. Leaves: a `Claim`, or None where
no platform's pattern fits. Opens nothing. The patterns come from the platforms' public code and documentation:

    Canvas       lovelaceada_LATE_340934_208490284_homework-1.ipynb      name, late, user, attachment, file
    Moodle       Ada Lovelace_657737_assignsubmission_file/...           name, participant; flat or as a folder
    Brightspace  397063-2557369 - Ada Lovelace - Sep 24, 2024 926 PM/... assignment and user, name, date; flat or folder
    Blackboard   homework_alovelace_attempt_2024-09-24-21-26-00_x.ipynb  assignment, user name, date, file
    Gradescope   submission_1234/...                                     submitters and date in submission_metadata.yml
    GitHub       homework-submissions/homework-adal/...                  assignment, user name
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml  # type: ignore[import-untyped]

CANVAS = re.compile(r"(?P<name>[^_].*?)(?P<late>_LATE)?_(?P<user>\d+)_(?P<file>\d+)_(?P<rest>.+)", re.I)
CANVAS_ANONYMOUS = re.compile(r"(?P<late>LATE_)?(?P<name>anon_[^\W_]+)_(?P<file>\d+)_(?P<rest>.+)", re.I)
CANVAS_NO_FILE = re.compile(r"(?P<name>[^_].*?)(?P<late>_LATE)?_(?P<user>\d+)_(?P<rest>(?:text|link)\.html)", re.I)
MOODLE = re.compile(r"(?P<name>.+?)(?:_(?P<user>\d+))?_assignsubmission_[a-z]+(?:_(?P<rest>.*))?", re.I)
BRIGHTSPACE = re.compile(r"(?P<user>\d+-\d+) - (?P<rest>.+)")
BLACKBOARD = re.compile(r"(?P<before>.+)_attempt_(?P<date>\d{4}(?:-\d\d){5})(?:_(?P<rest>.*)|\.txt)?", re.I)
GRADESCOPE = "submission_metadata.yml"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
CLOCK = r"(?P<hour>\d{1,2}?)[:.]?(?P<minute>\d\d)(?:[:.]\d\d)?(?: ?(?P<half>[AP]M))?"
DATES = (
    re.compile(rf"(?P<month>[A-Za-z]{{3,9}})\.? (?P<day>\d{{1,2}}),? (?P<year>\d{{4}}),? {CLOCK}", re.I),
    re.compile(rf"(?P<day>\d{{1,2}})\.? (?P<month>[A-Za-z]{{3,9}})\.?,? (?P<year>\d{{4}}),? {CLOCK}", re.I),
)

COPY = re.compile(
    r"^(?:(?:Copy|Kopie|Copie|Copia|Cópia) (?:of|von|van|de|di) )+|(?: ?\(\d+\)| - Copy(?: \(\d+\))?|-Copy\d*)+$", re.I
)
ENDINGS = (".ipynb", ".txt", ".py", ".json", ".html", ".htm", ".zip")


@dataclass(frozen=True)
class Claim:
    """What a file's place says about who handed it in and when."""

    student: str
    number: str = ""  # by which the platform tells two people of one name apart
    order: float = 0.0  # newer is larger, among one student's attempts
    when: datetime | None = None  # as the platform wrote it, without a zone unless it wrote one
    late: bool = False
    platform: str = ""
    file: str = ""  # the file's own name, where the platform put something before it
    group: tuple[tuple[str, str], ...] = ()  # names and numbers of all its members, where a group handed in

    @property
    def who(self) -> Claim:
        """The same for all attempts of one student, or of one group."""
        return Claim(self.student, self.number, group=self.group)


def claim_of(parts: Sequence[str], users: Mapping[str, str] = MappingProxyType({})) -> Claim | None:
    """What the first part that a platform could have named says; for Gradescope see `gradescope_claims`.

    `users` are Blackboard's user names, by what stands before `_attempt_`, where they are known.
    """
    for part in parts:
        if claim := _moodle(part) or _brightspace(part) or _blackboard(part, users) or _canvas(part):
            return claim
    return None


def _canvas(name: str) -> Claim | None:
    for pattern in (CANVAS_ANONYMOUS, CANVAS, CANVAS_NO_FILE):
        if match := pattern.fullmatch(name):
            found = match.groupdict()
            student, number = found["name"], found.get("user") or ""
            order, late = float(found.get("file") or 0), bool(found["late"])
            return Claim(student, number, order, late=late, platform="Canvas", file=found["rest"])
    return None


def _moodle(name: str) -> Claim | None:
    match = MOODLE.fullmatch(name)
    if not match:
        return None
    return Claim(match["name"].strip(), match["user"] or "", platform="Moodle", file=match["rest"] or "")


def _brightspace(name: str) -> Claim | None:
    """The name stands between the numbers and the date; a file may follow the date."""
    match = BRIGHTSPACE.fullmatch(name)
    if not match:
        return None
    pieces = match["rest"].split(" - ")
    place = next((place for place, piece in enumerate(pieces) if place and read_date(piece)), min(1, len(pieces)))
    when = read_date(pieces[place]) if place < len(pieces) else None
    student, file = " - ".join(pieces[:place]), " - ".join(pieces[place + 1 :])
    return Claim(student, match["user"], when.timestamp() if when else 0.0, when, platform="Brightspace", file=file)


def _blackboard(name: str, users: Mapping[str, str]) -> Claim | None:
    match = BLACKBOARD.fullmatch(name)
    if not match:
        return None
    try:
        when = datetime.strptime(match["date"], "%Y-%m-%d-%H-%M-%S")
    except ValueError:
        return None
    user = users.get(match["before"]) or match["before"].rpartition("_")[2]
    return Claim(user, "", when.timestamp(), when, platform="Blackboard", file=match["rest"] or "")


def read_date(text: str) -> datetime | None:
    """The date in `Sep 24, 2024 926 PM` or `24 September, 2024 9:26 PM`; None for anything else."""
    for pattern in DATES:
        match = pattern.fullmatch(text.strip())
        if match and match["month"][:3].lower() in MONTHS:
            half, hour = (match["half"] or "").upper(), int(match["hour"])
            hour = hour % 12 + 12 * (half == "PM") if half else hour
            month = MONTHS.index(match["month"][:3].lower()) + 1
            try:
                return datetime(int(match["year"]), month, int(match["day"]), hour, int(match["minute"]))
            except ValueError:
                return None
    return None


def blackboard_user(text: str) -> str:
    """The user name in the text file that Blackboard puts beside an attempt; empty where there is none."""
    match = re.search(r"^Name:[ \t]*.*\(([^()\s]+)\)[ \t]*$", text, re.M)
    return match[1] if match else ""


# --- Gradescope


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML as Ruby writes it: what has a type of its own is left out."""


_PlainLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def gradescope_claims(text: str) -> dict[str, Claim]:
    """Claims by folder, from the text of submission_metadata.yml; empty where it cannot be read."""
    try:
        parsed = yaml.load(text, _PlainLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError):
        return {}
    found = {str(folder): _gradescope(entry) for folder, entry in parsed.items()} if isinstance(parsed, dict) else {}
    return {folder: claim for folder, claim in found.items() if claim}


def _gradescope(entry: Any) -> Claim | None:
    people = _field(entry, "submitters")
    members = [(_first(each, "name", "email"), _first(each, "sid", "email")) for each in _list(people)]
    members = [(name, number) for name, number in members if name]
    if not members:
        return None
    when = _field(entry, "created_at")
    moment = when if isinstance(when, datetime) else _iso(when)
    claim = Claim(*members[0], moment.timestamp() if moment else 0.0, moment, platform="Gradescope")
    late = bool(_field(entry, "late") or _field(entry, "lateness"))
    return replace(claim, late=late, group=tuple(members) if len(members) > 1 else ())


def _first(person: Any, *names: str) -> str:
    """The first of some fields that holds anything."""
    values = (_field(person, name) for name in names)
    return next((str(value) for value in values if isinstance(value, str | int) and value), "")


def _iso(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _field(entry: Any, name: str) -> Any:
    return (entry.get(f":{name}") or entry.get(name)) if isinstance(entry, Mapping) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- GitHub Classroom


def classroom_users(folders: Iterable[str], wrapper: str, lesson: str) -> dict[str, str]:
    """Folder -> user name, where all folders are named after one assignment; empty where they are not."""
    names = sorted(set(folders))
    prefix = _assignment(names, wrapper, lesson)
    if not prefix:
        return {}
    users = {name: name[len(prefix) :] for name in names}
    for branch in ("-main", "-master"):  # GitHub's own zips
        if all(user.endswith(branch) for user in users.values()):
            return {name: user.removesuffix(branch) for name, user in users.items()}
    return users


def _assignment(names: Sequence[str], wrapper: str, lesson: str) -> str:
    """What all names begin with, if it is the wrapper's or the lesson's name."""
    named = wrapper.removesuffix("-submissions") if wrapper.endswith("-submissions") else ""
    for assignment in (named, lesson, lesson.replace("_", "-")):
        if assignment and names and all(name.lower().startswith(f"{assignment.lower()}-") for name in names):
            return names[0][: len(assignment) + 1]
    return ""


# --- names of files


def plain_stem(name: str) -> str:
    """A file's name without its endings and without what browsers and drives add: `Copy of X (1).ipynb.txt` is `X`."""
    stem = name
    while (ending := Path(stem).suffix.lower()) in ENDINGS or (ending and re.fullmatch(r"\.ipynb ?\(\d+\)", ending)):
        stem = stem[: -len(ending)]
    return COPY.sub("", stem).strip() or stem or name


def is_notebook_name(name: str) -> bool:
    """Whether a file is named like a notebook or its export."""
    return re.search(r"\.ipynb\b|\.py$", name, re.I) is not None
