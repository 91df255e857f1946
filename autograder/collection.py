"""Which submissions a path holds: a notebook, a flat folder of notebooks, or nbgrader's folders.

Enters: a path and the lesson. Leaves: one `Submission` a student, sorted by name; of a student without a notebook too,
so that nobody disappears. Opens no notebook and follows no link.

    ROOT/submitted/<student>/<lesson>/<notebook>.ipynb     a course root, its submitted/ or a folder of students like it
    FOLDER/<student>.ipynb                                 a flat folder
    FILE.ipynb                                             one notebook
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from autograder.errors import GraderError

PASSED_OVER = frozenset((".ipynb_checkpoints", "__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"))
COPY = re.compile(r"^(?:(?:Copy|Kopie|Copie|Copia) (?:of|von|de|di) )+|(?: ?\(\d+\)| - Copy|-Copy\d*)+$", re.IGNORECASE)


@dataclass(frozen=True)
class Submission:
    """One student's notebook; `path` is None where there is none, and `message` says so or names files not taken."""

    student: str
    path: Path | None
    message: str = ""


def find_submissions(path: Path, lesson: str, student: str | None = None) -> list[Submission]:
    """All submissions at a path, or the one of `student`; raises GraderError where the path holds none."""
    if not os.path.lexists(path):
        raise GraderError(f"{path} does not exist. Give a notebook, a folder of notebooks or a course folder.")
    if path.is_symlink() or not path.is_dir():
        return [Submission(student or student_of_file(path, lesson), path)]
    found = _in_folder(path, lesson)
    if student is not None:
        found = [each for each in found if each.student == student]
        if not found:
            raise GraderError(
                f"{path} has no submission of {student!r} to {lesson}. Check the name: the folder's or the file's."
            )
    if not found:
        raise GraderError(
            f"{path} holds no submission to {lesson}. Give a notebook, a folder of notebooks, or a folder with "
            f"submitted/<student>/{lesson}/."
        )
    return sorted(found, key=lambda each: each.student)


def student_of_file(path: Path, lesson: str) -> str:
    """The student's name that a file's place says: its stem, or its folder's name where the stem is only the
    lesson's.
    """
    stem = plain_stem(path)
    if stem != lesson:
        return stem
    folder = path.absolute().parent
    if folder.name == lesson and folder.parent.name:  # nbgrader: <student>/<lesson>/<lesson>.ipynb
        folder = folder.parent
    return folder.name or stem


def plain_stem(path: Path) -> str:
    """A file's name without its endings and without what browsers and drives add: `Copy of X (1).ipynb.txt` is `X`."""
    name = path.name
    while (ending := Path(name).suffix.lower()) in (".ipynb", ".txt", ".py", ".json"):
        name = name[: -len(ending)]
    return COPY.sub("", name) or name


def is_notebook_name(name: str) -> bool:
    """Whether a file is named like a notebook or its export."""
    lower = name.lower()
    return lower.endswith((".ipynb", ".py")) or ".ipynb." in lower


def _in_folder(folder: Path, lesson: str) -> list[Submission]:
    submitted = folder / "submitted"
    if submitted.is_dir() and not submitted.is_symlink():
        folder = submitted
    entries = _entries(folder)
    students = [entry for entry in entries if _is_folder(entry) and _is_folder(entry / lesson)]
    if students or folder == submitted:
        return [_of_student(entry, lesson) for entry in entries if _is_folder(entry)]
    notebooks = [entry for entry in entries if not entry.is_dir() and is_notebook_name(entry.name)]
    if notebooks:
        return _flat(notebooks, lesson)
    return _flat([each for entry in entries if _is_folder(entry) for each in _notebooks(entry)], lesson)


def _of_student(folder: Path, lesson: str) -> Submission:
    """nbgrader's folder of one student."""
    student, place = folder.name, folder / lesson
    notebooks = _notebooks(place) if _is_folder(place) else []
    if not notebooks:
        where = f"{lesson}/" if _is_folder(place) else f"{lesson}/, which does not exist"
        return Submission(student, None, f"{student} has no notebook in {where}. Ask the student to hand it in.")
    return _newest(student, [each for each in notebooks if plain_stem(each) == lesson] or notebooks)


def _flat(notebooks: list[Path], lesson: str) -> list[Submission]:
    """One student a name; copies of one file are attempts of one student."""
    attempts: dict[str, list[Path]] = {}
    for path in notebooks:
        attempts.setdefault(student_of_file(path, lesson), []).append(path)
    return [_newest(student, paths) for student, paths in attempts.items()]


def _newest(student: str, paths: list[Path]) -> Submission:
    """The newest file counts, a notebook before an export; the others are named."""
    *others, taken = sorted(paths, key=lambda path: (path.suffix.lower() != ".py", _modified(path), path.name))
    names = ", ".join(path.name for path in others)
    message = f"{taken.name} is the newest of {len(paths)} files and was taken; not {names}." if others else ""
    return Submission(student, taken, message)


def _modified(path: Path) -> float:
    return path.lstat().st_mtime


def _notebooks(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if not _is_folder(entry) and is_notebook_name(entry.name)]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise GraderError(
            f"{folder} cannot be listed ({error.strerror}). Give yourself the right to read it."
        ) from error
    return [entry for entry in entries if entry.name not in PASSED_OVER and not entry.name.startswith("._")]
