"""What is graded in one run: the submissions at all paths of a command, with the roster, until the run ends.

Enters: paths. Leaves: a Collection, and beside the lesson's results a text that names who is missing and what was not
understood. Archives are unpacked into `.autograder/<lesson>/unpacked/`, which one run has to itself and leaves empty.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from autograder.archives import is_archive
from autograder.choosing import wanted_of
from autograder.collection import Collection, Submission, read_collection
from autograder.course import Course
from autograder.errors import GraderError, SubmissionError
from autograder.roster import missing, read_roster, with_roster
from autograder.textfile import read_regular_file
from autograder.whole import keep_file, write_file

ACCOUNT = "collection.txt"
ALL_WELL = "every file was understood"
RIGHTS = "see to space and rights there"
NOTES = "collected.json"  # what `autograder collect` knew of a submission and nbgrader's folders do not hold


@contextmanager
def open_collection(course: Course, lesson: str, paths: Sequence[Path], student: str | None = None) -> Iterator[Collection]:
    """The submissions at all paths, one for each student; raises GraderError where a path holds none.

    The roster is the course's roster.csv; it is asked only where a path is a class's, and no student is named.
    """
    wanted = wanted_of(course, lesson)
    holds_many = any(path.is_dir() or is_archive(path) for path in paths)
    with _scratch(course.state / lesson) if holds_many else nullcontext(course.state) as scratch:
        found = [read_collection(path, wanted, student, scratch / str(place)) for place, path in enumerate(paths)]
        collection = _with_notes(_together(found), _notes(course, lesson))
        roster = course.root / "roster.csv"
        if collection.is_class and student is None and roster.exists():
            collection = with_roster(collection, read_roster(roster))
        if holds_many:
            _write_account(course.state / lesson / ACCOUNT, collection)
        yield collection


def account(collection: Collection) -> tuple[str, ...]:
    """Lines that name whoever handed in no notebook and every file that was not understood; none where all is well."""
    people, files = missing(collection), collection.not_understood
    lines = [f"no notebook of: {', '.join(people)}"] if people else []
    return (*lines, *(f"not understood, nobody's submission: {name}" for name in files))


def _write_account(path: Path, collection: Collection) -> None:
    text = "".join(f"{line}\n" for line in account(collection) or [ALL_WELL])
    keep_file(path, text.encode("utf-8", "replace"), RIGHTS, lasting=False)


def write_notes(course: Course, lesson: str, collected: Mapping[Path, Submission]) -> None:
    """Keeps what was said of submissions that now lie at these paths, where no student can write it."""
    said = {_digest(path): submission.message for path, submission in collected.items() if submission.message}
    path = course.state / lesson / NOTES
    text = json.dumps(_notes(course, lesson) | said, indent=1, ensure_ascii=False) + "\n"
    write_file(path, text.encode(), RIGHTS)


def _notes(course: Course, lesson: str) -> dict[str, str]:
    """What was said of a collected file, by the digest of its student and content."""
    path = course.state / lesson / NOTES
    try:
        read: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise GraderError(f"{path} cannot be read ({error}). Delete it; `autograder collect` writes it anew.") from error
    return read


def _with_notes(collection: Collection, notes: Mapping[str, str]) -> Collection:
    """Late marks and the like, for notebooks that lie where `autograder collect` put them."""
    noted = []
    for each in collection.submissions:
        is_collected = notes and each.path is not None and "submitted" in each.path.absolute().parts
        note = notes.get(_digest(each.path), "") if is_collected and each.path else ""
        noted.append(replace(each, message=f"{note} {each.message}".strip()))
    return replace(collection, submissions=tuple(noted))


def _digest(path: Path) -> str:
    """Of a collected file and the student whose it is: submitted/<student>/<lesson>/<file>."""
    try:
        content = read_regular_file(path)
    except SubmissionError:
        return ""  # whoever reads the submission says what is wrong with it
    return hashlib.sha256(path.absolute().parts[-3].encode() + b"/" + content).hexdigest()


def _together(found: Sequence[Collection]) -> Collection:
    """One collection of all; raises GraderError where a student is in more than one."""
    together: dict[str, Submission] = {}
    for each in (submission for collection in found for submission in collection.submissions):
        if each.student in together:
            raise GraderError(f"{each.student} is in more than one PATH; grade those one by one")
        together[each.student] = each
    left = tuple(name for collection in found for name in collection.not_understood)
    return Collection(tuple(together.values()), left, any(collection.is_class for collection in found))


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder that is empty before and gone after; raises GraderError where another run has it."""
    unpacked = folder / "unpacked"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / "unpacked.lock").open("w")
    except OSError as error:
        raise GraderError(f"{folder} cannot be written ({error.strerror}); {RIGHTS}") from error
    with held as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise GraderError("another run is grading this lesson. Wait for its end.") from error
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            yield unpacked
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
