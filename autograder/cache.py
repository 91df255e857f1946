"""What earlier runs found, in SQLite beside the gradebook: verdicts by their keys, and what was recorded of whom.

    papers     what was read of a student's file, by the file's content: reading is what an unchanged class would cost
    verdicts   one for each student, exercise and device: its key (keys.py) and the verdict, compressed JSON
    notes      what was seen of a submission beside the tests, for the instructor
    marks      the code and the score that the gradebook had of an exercise last: to tell which marks a new suite changes
    records    what stands in the gradebook and in autograded/, so that an unchanged class leaves both alone
    standing   how the gradebook and the lesson looked when a run ended: if they look so still, nobody else wrote there

Each row carries a digest of itself. A row that does not match, or a file that SQLite refuses, is as if it were not there:
it is made anew, never trusted. Written by the coordinator only, one commit a submission, so a killed run goes on where
it was. JSON in, JSON out: nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from autograder.errors import GraderError
from autograder.notebook import Notebook
from autograder.outcome import Judged
from autograder.program import Program

VERSION = 1
_NOT_THE_FILE = (  # results of SQLite that say nothing about what is in the file
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)  # fmt: skip
TABLES = """
    CREATE TABLE papers   (lesson TEXT, student TEXT, key TEXT, data BLOB, digest BLOB,
                           PRIMARY KEY (lesson, student)) WITHOUT ROWID;
    CREATE TABLE verdicts (lesson TEXT, student TEXT, exercise TEXT, device TEXT, key TEXT, data BLOB, digest BLOB,
                           PRIMARY KEY (lesson, student, exercise, device)) WITHOUT ROWID;
    CREATE TABLE notes    (lesson TEXT, student TEXT, key TEXT, data BLOB, digest BLOB,
                           PRIMARY KEY (lesson, student)) WITHOUT ROWID;
    CREATE TABLE marks    (lesson TEXT, student TEXT, exercise TEXT, data BLOB, digest BLOB,
                           PRIMARY KEY (lesson, student, exercise)) WITHOUT ROWID;
    CREATE TABLE records  (lesson TEXT, student TEXT, data BLOB, digest BLOB,
                           PRIMARY KEY (lesson, student)) WITHOUT ROWID;
    CREATE TABLE standing (lesson TEXT PRIMARY KEY, data BLOB, digest BLOB) WITHOUT ROWID;
"""
T = TypeVar("T")


class Read(msgspec.Struct, frozen=True):
    """What was read of a file."""

    notebook: Notebook
    program: Program


class Mark(msgspec.Struct, frozen=True):
    """What the gradebook had of an exercise last."""

    code: str  # digest of the code that was graded
    score: float
    tests: tuple[tuple[str, str], ...]  # name and outcome


class Record(msgspec.Struct, frozen=True):
    """What was written for a student, and how the files looked after it."""

    content: str  # digest of all that the gradebook and the autograded notebook were made from
    notebook: str  # path of the autograded notebook
    looks: tuple[int, int]  # its size, and the time of its last change in ns


class Cache:
    """The cache of one course; a context manager."""

    def __init__(self, path: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        self.path, self._tell = path, tell
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = self._open()
        except (sqlite3.DatabaseError, OSError) as error:
            self._raise_if_whole(error)
            self._base = self._anew()

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._base.close()

    # --- papers and verdicts

    def paper(self, lesson: str, student: str, key: str) -> Read | None:
        """What was read of a file that had this key."""
        where = "SELECT data, digest FROM papers WHERE lesson = ? AND student = ? AND key = ?"
        rows = self._read(where, lesson, student, key)
        return next((_unpacked(data, Read, digest, student, key) for data, digest in rows), None)

    def keep_paper(self, lesson: str, student: str, key: str, read: Read) -> None:
        """Keeps what was read of a student's file."""
        with self._writing() as base:
            row = (lesson, student, key, *_packed(read, student, key))
            base.execute("REPLACE INTO papers VALUES (?, ?, ?, ?, ?)", row)

    def verdicts(self, lesson: str, student: str, device: str) -> dict[str, Judged]:
        """The verdicts on a student's exercises by their keys."""
        where = "SELECT exercise, key, data, digest FROM verdicts WHERE lesson = ? AND student = ? AND device = ?"
        rows = self._read(where, lesson, student, device)
        found = ((key, _unpacked(data, Judged, digest, student, exercise, key)) for exercise, key, data, digest in rows)
        return {key: verdict for key, verdict in found if verdict is not None}

    def keep(
        self, lesson: str, student: str, device: str, verdicts: dict[str, tuple[str, Judged]], notes: tuple[str, list[str]]
    ) -> None:
        """Keeps verdicts by exercise, each with its key, and the notes of the run with a key of their own."""
        with self._writing() as base:
            for exercise, (key, verdict) in verdicts.items():
                row = (lesson, student, exercise, device, key, *_packed(verdict, student, exercise, key))
                base.execute("REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            noted = (lesson, student, notes[0], *_packed(notes[1], student, notes[0]))
            base.execute("REPLACE INTO notes VALUES (?, ?, ?, ?, ?)", noted)

    def notes(self, lesson: str, student: str, key: str) -> list[str]:
        """The notes that were kept with this key."""
        where = "SELECT data, digest FROM notes WHERE lesson = ? AND student = ? AND key = ?"
        rows = self._read(where, lesson, student, key)
        return next((found for data, digest in rows if (found := _unpacked(data, list[str], digest, student, key))), [])

    # --- what the gradebook had

    def marks(self, lesson: str, student: str) -> dict[str, Mark]:
        """The marks by exercise that were recorded last."""
        rows = self._read("SELECT exercise, data, digest FROM marks WHERE lesson = ? AND student = ?", lesson, student)
        found = ((exercise, _unpacked(data, Mark, digest, student, exercise)) for exercise, data, digest in rows)
        return {exercise: mark for exercise, mark in found if mark is not None}

    def record(self, lesson: str, student: str) -> Record | None:
        """What was written for a student last."""
        rows = self._read("SELECT data, digest FROM records WHERE lesson = ? AND student = ?", lesson, student)
        return next((_unpacked(data, Record, digest, student) for data, digest in rows), None)

    def recorded(self, lesson: str, student: str, record: Record, marks: dict[str, Mark]) -> None:
        """Notes that all this stands in the gradebook now."""
        with self._writing() as base:
            for exercise, mark in marks.items():
                row = (lesson, student, exercise, *_packed(mark, student, exercise))
                base.execute("REPLACE INTO marks VALUES (?, ?, ?, ?, ?)", row)
            base.execute("REPLACE INTO records VALUES (?, ?, ?, ?)", (lesson, student, *_packed(record, student)))

    def standing(self, lesson: str) -> str:
        """How the gradebook and the lesson looked when the last run ended."""
        rows = self._read("SELECT data, digest FROM standing WHERE lesson = ?", lesson)
        return next((found for data, digest in rows if (found := _unpacked(data, str, digest, lesson))), "")

    def stands(self, lesson: str, looks: str) -> None:
        """Notes how they look now."""
        with self._writing() as base:
            base.execute("REPLACE INTO standing VALUES (?, ?, ?)", (lesson, *_packed(looks, lesson)))

    # --- the file

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        try:
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError("another version's file")
            if version == 0:
                base.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.DatabaseError:
            base.close()
            raise
        return base

    def _anew(self) -> sqlite3.Connection:
        """An empty file in place of one that cannot be used; raises GraderError where that is not possible."""
        self._tell(f"{self.path} could not be used and was made anew: everything is graded once more")
        try:
            for name in (self.path.name, f"{self.path.name}-wal", f"{self.path.name}-shm"):
                self.path.with_name(name).unlink(missing_ok=True)
            return self._open()
        except (sqlite3.DatabaseError, OSError) as error:
            raise GraderError(f"{self.path} cannot be written ({error}); make its folder writable") from error

    def _read(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            return self._base.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._give_up(error)
            return []

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._base.execute("BEGIN IMMEDIATE")
            yield self._base
            self._base.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._give_up(error)
        except BaseException:  # not the file's fault: it takes the next change as before
            self._base.execute("ROLLBACK")
            raise

    def _give_up(self, error: sqlite3.DatabaseError) -> None:
        """Goes on with an empty file; raises GraderError where this one is whole and another thing is amiss."""
        self._base.close()
        self._raise_if_whole(error)
        self._base = self._anew()

    def _raise_if_whole(self, error: Exception) -> None:
        """Raises GraderError where the file is not to blame: what it knows is lost for no full disk and no other run."""
        if _is_locked(error):
            raise GraderError(f"{self.path} is held by another run; wait until it has ended") from error
        code = getattr(error, "sqlite_errorcode", 0)
        is_outside = code & 0xFF in _NOT_THE_FILE and code != sqlite3.SQLITE_IOERR_SHORT_READ
        if is_outside or isinstance(error, OSError | sqlite3.ProgrammingError):
            told = f"{self.path} cannot be written ({getattr(error, 'strerror', None) or error})"
            raise GraderError(f"{told}; see to space and rights, and grade again: what it knows stays known") from error


def _packed(value: object, *belongs: str) -> tuple[bytes, bytes]:
    data = zlib.compress(msgspec.json.encode(value), 1)
    return data, _digest(data, belongs)


def _unpacked(data: bytes, kind: type[T], digest: bytes, *belongs: str) -> T | None:
    """What was packed; None where it is not what was packed."""
    if not isinstance(data, bytes) or _digest(data, belongs) != digest:
        return None
    try:
        return msgspec.json.decode(zlib.decompress(data), type=kind)
    except msgspec.DecodeError:  # an earlier version's
        return None


def _is_locked(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _digest(data: bytes, belongs: tuple[str, ...]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(belongs) + data).digest()
