"""`autograder collect`: a platform's download into nbgrader's `submitted/`, with time stamps, by nbgrader's collector.

Enters: a collection. Leaves: submitted/<student>/<lesson>/<lesson>.ipynb, with timestamp.txt where the platform says.
nbgrader's own zip collector copies the files, makes the folders by the course's settings and writes the time stamps;
who handed in what is read by collection.py, since nbgrader asks for one regular expression a platform and unpacks
whatever an archive holds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nbgrader.apps.zipcollectapp import ZipCollectApp
from nbgrader.plugins import FileNameCollectorPlugin

from autograder.collection import Collection, Submission
from autograder.course import Course
from autograder.database import course_directory
from autograder.errors import GraderError
from autograder.intake import write_notes
from autograder.textfile import read_regular_file


@dataclass(frozen=True)
class Collected:
    """What came of a collection."""

    placed: tuple[Path, ...]
    kept: tuple[str, ...]  # students who had a submission already, which was left as it is


class _Known(FileNameCollectorPlugin):  # type: ignore[misc]  # nbgrader has no types
    """Tells nbgrader of each file whose it is, which we know already."""

    whose: dict[str, dict[str, Any]]

    def collect(self, submitted_file: str) -> dict[str, Any] | None:
        """What nbgrader asks of a file."""
        return self.whose.get(Path(submitted_file).parent.name)


def collect(course: Course, lesson: str, collection: Collection, *, zone: str = "UTC", replace: bool = False) -> Collected:
    """Puts each submission where nbgrader looks for it; one that lies there already stays, unless `replace` is set.

    `zone` is where the platform's dates are written that name no zone. Raises GraderError where nbgrader cannot write.
    """
    where = _zone(zone)
    directory = course_directory(course)
    handed = [each for each in collection.submissions if each.path is not None]
    folders = {each.student: _folder(directory, each.student, lesson) for each in handed}
    kept = [each for each in handed if not replace and _is_filled(folders[each.student])]
    new = [each for each in handed if each not in kept]
    with TemporaryDirectory(dir=course.state) as downloaded:
        _extracted(Path(downloaded) / lesson / "extracted", new)
        _run_nbgrader(directory, lesson, downloaded, _whose(new, lesson, where), replace)
    placed = {folders[each.student] / f"{lesson}{_ending(each)}": each for each in new}
    write_notes(course, lesson, placed)
    return Collected(tuple(placed), tuple(each.student for each in kept))


def _extracted(folder: Path, submissions: Sequence[Submission]) -> None:
    """Each file in a folder of its own, as nbgrader's extractor would leave them."""
    for place, each in enumerate(submissions):
        assert each.path is not None  # noqa: S101 - only those were chosen
        target = folder / str(place) / f"submission{_ending(each)}"
        target.parent.mkdir(parents=True)
        target.write_bytes(read_regular_file(each.path))


def _whose(submissions: Sequence[Submission], lesson: str, zone: ZoneInfo) -> dict[str, dict[str, Any]]:
    return {
        str(place): {"student_id": each.student, "file_id": lesson, "timestamp": _stamp(each.when, zone)}
        for place, each in enumerate(submissions)
    }


def _stamp(when: datetime | None, zone: ZoneInfo) -> datetime | None:
    """A date as nbgrader keeps it: in UTC, without a zone."""
    if when is None:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=zone)).astimezone(ZoneInfo("UTC")).replace(tzinfo=None)


def _ending(submission: Submission) -> str:
    """An export of a notebook stays one; everything else is read by its content and may be called a notebook."""
    path = submission.path
    return ".py" if path is not None and path.suffix.lower() == ".py" else ".ipynb"


def _run_nbgrader(directory: Any, lesson: str, downloaded: str, whose: dict[str, dict[str, Any]], replace: bool) -> None:
    app = ZipCollectApp(config=directory.config, log=_quiet(), parent=None)
    app.coursedir = directory
    app.coursedir.assignment_id = lesson
    plain = downloaded.replace("{", "{{").replace("}", "}}")
    app.collect_directory_structure = str(Path(plain) / "{assignment_id}" / "{collect_step}")
    app.force = replace
    app.collector_plugin_inst = _Known(parent=app)
    app.collector_plugin_inst.whose = whose
    try:
        app.process_extracted_files()
    except (OSError, SystemExit) as error:  # nbgrader ends the program where it gives up
        raise GraderError(f"nbgrader could not put the submissions into their folders ({error})") from error


def _quiet() -> logging.Logger:
    logger = logging.getLogger("autograder.nbgrader")
    logger.setLevel(logging.ERROR)
    return logger


def _folder(directory: Any, student: str, lesson: str) -> Path:
    return Path(directory.format_path(directory.submitted_directory, student, lesson))


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise GraderError(f"{name!r} is no time zone; write it as in Europe/Berlin") from error
