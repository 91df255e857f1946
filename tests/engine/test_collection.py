"""Who handed in what: nbgrader's folders, a flat folder, one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autograder.collection import Submission, find_submissions
from autograder.errors import GraderError

LESSON = "attention_from_scratch"


def make(root: Path, *names: str) -> Path:
    """Files under a folder, each a little newer than the one before; a name with / at its end is an empty folder."""
    for number, name in enumerate(names):
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    return root


def found(submissions: list[Submission], root: Path) -> dict[str, str | None]:
    return {each.student: each.path and str(each.path.relative_to(root)) for each in submissions}


@pytest.mark.parametrize("start", ["", "submitted"])
def test_nbgrader_layout(tmp_path: Path, start: str) -> None:
    """A course root and its submitted folder give nbgrader's students, also those without a notebook."""
    make(
        tmp_path,
        f"submitted/ann/{LESSON}/{LESSON}.ipynb",
        f"submitted/ann/{LESSON}/timestamp.txt",
        f"submitted/ann/{LESSON}/.ipynb_checkpoints/{LESSON}-checkpoint.ipynb",
        f"submitted/bob/{LESSON}/",
        "submitted/cid/another_lesson/another_lesson.ipynb",
        "submitted/.DS_Store",
        "submitted/__MACOSX/x/y.ipynb",
        f"release/{LESSON}/{LESSON}.ipynb",
    )
    submissions = find_submissions(tmp_path / start, LESSON)
    assert found(submissions, tmp_path) == {
        "ann": f"submitted/ann/{LESSON}/{LESSON}.ipynb",
        "bob": None,
        "cid": None,
    }
    assert "bob has no notebook" in submissions[1].message
    assert "Ask the student" in submissions[2].message


@pytest.mark.parametrize(
    "name",
    [
        f"Copy of {LESSON}.ipynb",
        f"{LESSON} (1).ipynb",
        f"{LESSON}.ipynb.txt",
        f"{LESSON}.py",
        "homework.ipynb",
        f"{LESSON}-Copy1.ipynb",
    ],
)
def test_nbgrader_layout_with_odd_names(tmp_path: Path, name: str) -> None:
    """In a student's own folder any notebook is theirs, whatever it is called."""
    make(tmp_path, f"submitted/ann/{LESSON}/{name}")
    assert found(find_submissions(tmp_path, LESSON), tmp_path) == {"ann": f"submitted/ann/{LESSON}/{name}"}


def test_flat_folder(tmp_path: Path) -> None:
    """In a flat folder the file's name is the student's; other files are passed over."""
    make(
        tmp_path,
        "ann.ipynb",
        "Copy of bob.ipynb",
        "cid (2).ipynb",
        "dan.ipynb.txt",
        "eve.py",
        "notes.txt",
        ".DS_Store",
        "._ann.ipynb",
    )
    assert list(found(find_submissions(tmp_path, LESSON), tmp_path)) == ["ann", "bob", "cid", "dan", "eve"]


def test_folders_of_students(tmp_path: Path) -> None:
    """Where the file is only called as the lesson is, the folder's name is the student's."""
    make(tmp_path, f"ann/{LESSON}.ipynb", f"bob/Copy of {LESSON}.ipynb")
    assert list(found(find_submissions(tmp_path, LESSON), tmp_path)) == ["ann", "bob"]


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("ann.ipynb", "ann"),
        (f"ann/{LESSON}.ipynb", "ann"),
        (f"ann/{LESSON}/{LESSON}.ipynb", "ann"),
        ("Copy of Copy of ann (1).ipynb", "ann"),
        ("Ann-Lee 2.ipynb", "Ann-Lee 2"),
        ("x-1.ipynb", "x-1"),
    ],
)
def test_one_file(tmp_path: Path, name: str, student: str) -> None:
    """One file is one student's, by its name or its folder's."""
    make(tmp_path, name)
    assert find_submissions(tmp_path / name, LESSON) == [Submission(student, tmp_path / name)]
    assert find_submissions(tmp_path / name, LESSON, "zoe") == [Submission("zoe", tmp_path / name)]


def test_newest_attempt_counts(tmp_path: Path) -> None:
    """Of several files of one student the newest is taken and the others are named."""
    make(tmp_path, "ann (1).ipynb", "ann.ipynb", "ann.py")
    (only,) = find_submissions(tmp_path, LESSON)
    assert only.path == tmp_path / "ann.ipynb"
    assert "ann (1).ipynb" in only.message


def test_one_student_of_many(tmp_path: Path) -> None:
    """Only the student asked for; an unknown one is a wrong call."""
    make(tmp_path, "ann.ipynb", "bob.ipynb")
    assert found(find_submissions(tmp_path, LESSON, "bob"), tmp_path) == {"bob": "bob.ipynb"}
    with pytest.raises(GraderError, match="no submission of 'eve'"):
        find_submissions(tmp_path, LESSON, "eve")


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("__MACOSX/ann.ipynb",), ("submitted/",)])
def test_empty_folder(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A folder without a submission is a wrong call: the message says what to give."""
    make(tmp_path, *names)
    with pytest.raises(GraderError, match="holds no submission"):
        find_submissions(tmp_path, LESSON)


def test_no_such_path(tmp_path: Path) -> None:
    """A path that is not there is named."""
    with pytest.raises(GraderError, match="does not exist"):
        find_submissions(tmp_path / "nothing", LESSON)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link to a folder is no student's folder; a link to a file is left to the reader, which refuses it."""
    make(tmp_path, f"submitted/ann/{LESSON}/{LESSON}.ipynb", "elsewhere/x.ipynb")
    (tmp_path / "submitted" / "bob").symlink_to(tmp_path / "submitted" / "ann")
    assert list(found(find_submissions(tmp_path, LESSON), tmp_path)) == ["ann"]


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be listed is our trouble, named with the cause."""

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(GraderError, match="cannot be listed"):
        find_submissions(tmp_path, LESSON)
