"""The last result of each student of a class, across runs: what `autograder report` speaks of.

A run may hold one student only (an appeal, a late notebook); results.json is about that run, `class.json` about the class.
Enters: runs. Leaves: `.autograder/<lesson>/class.json`, written by the coordinator only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from autograder.errors import GraderError
from autograder.outcome import Picture
from autograder.results import Results, SubmissionResult
from autograder.safetext import encodable
from autograder.whole import SPACE, write_file

FILE = "class.json"


class Entry(msgspec.Struct, frozen=True):
    """What a student's last run came to."""

    result: SubmissionResult
    pictures: dict[str, Picture] = {}
    graded: str = ""  # when, UTC


class Latest(msgspec.Struct, frozen=True):
    """A class: entries by student."""

    lesson: str
    device: str
    sandbox: str
    entries: dict[str, Entry]
    schema: int = 1


def read_latest(folder: Path) -> Latest | None:
    """The class as runs left it in `.autograder/<lesson>`; None before the first. Raises GraderError."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Latest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise GraderError(f"{path} cannot be read ({error}); delete it and grade the class again") from error


def keep_latest(folder: Path, results: Results, pictures: Mapping[str, dict[str, Picture]]) -> bool:
    """Puts a run's results in place of what stood there of its students; whether that changed anything."""
    before = read_latest(folder)
    entries = dict(before.entries) if before else {}
    for result in results.submissions:
        plain = msgspec.structs.replace(result, student=encodable(result.student), path=encodable(result.path))
        drawn, stood = pictures.get(result.student, {}), entries.get(plain.student)
        if stood is None or not _same(stood, plain, drawn):
            entries[plain.student] = Entry(plain, drawn, datetime.now(UTC).isoformat(timespec="seconds"))
    now = Latest(results.lesson, results.device, results.sandbox, entries)
    if now != before:
        write_file(folder / FILE, msgspec.json.encode(now), SPACE)
    return now != before


def _same(stood: Entry, result: SubmissionResult, pictures: dict[str, Picture]) -> bool:
    """Is it the same but for the time it took?"""
    return msgspec.structs.replace(stood.result, seconds=result.seconds) == result and stood.pictures == pictures
