"""What learning platforms let one download, packed and unpacked, built from their public code and documentation."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from pathlib import Path

import pytest

from autograder.archives import MAX_ARCHIVE_MB, MAX_FILES
from autograder.choosing import Wanted
from autograder.collection import Collection, Submission, read_collection
from autograder.errors import GraderError, SubmissionError
from autograder.notebook import read_notebook

LESSON = "attention_from_scratch"
WANTED = Wanted(LESSON, frozenset(["softmax"]), {"transformer_encoder": frozenset(["layer_norm", "encoder"])})
Tree = dict[str, bytes]


def notebook(*names: str, extra: str = "") -> bytes:
    """A notebook that defines these functions."""
    cells = [
        {"cell_type": "code", "metadata": {}, "outputs": [], "source": f"def {name}(x):\n    return x\n{extra}"}
        for name in names
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


IT = notebook("softmax")
OTHER = notebook("layer_norm", "encoder")


def packed(tree: Tree) -> bytes:
    """A zip archive; files are a minute newer one after another."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for minute, (name, content) in enumerate(tree.items()):
            archive.writestr(zipfile.ZipInfo(name, (2024, 9, 24, 12, minute % 60, 0)), content)
    return data.getvalue()


def laid_out(tree: Tree, folder: Path) -> Path:
    """The same as a folder."""
    for minute, (name, content) in enumerate(tree.items()):
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_727_000_000 + 60 * minute,) * 2)
    return folder


GRADESCOPE = b"""---
submission_11:
  :submitters:
  - :name: Ada Lovelace
    :sid: '340934'
    :email: ada@example.org
  :created_at: 2024-09-24 21:26:00.000000000 Z
  :score: 0.0
submission_12:
  :submitters:
  - :name: Bob Stone
    :sid: '2'
  - :name: Cyd O'Neil
    :sid: '3'
  :created_at: 2024-09-24 22:00:00.000000000 Z
  :results: !ruby/object:Thing
    a: 1
submission_13:
  :submitters:
  - :name: Dan Empty
    :sid: '4'
  :created_at: 2024-09-24 22:00:00.000000000 Z
"""

# what was downloaded -> student: the file's place, None for no notebook
PLATFORMS: dict[str, tuple[Tree, dict[str, str | None]]] = {
    "Canvas": (
        {
            f"lovelaceada_340934_208490284_{LESSON}.ipynb": IT,
            f"oneilcyd_LATE_340935_208490285_{LESSON}-1.ipynb": IT,
            "stonebob_340936_208490286_Copy of lesson (1).ipynb": IT,
            "emptydan_340937_link.html": b"<a href='https://colab.research.google.com/x'>",
            "linkeve_LATE_340938_text.html": b"<p>here</p>",
        },
        {
            "lovelaceada": f"lovelaceada_340934_208490284_{LESSON}.ipynb",
            "oneilcyd": f"oneilcyd_LATE_340935_208490285_{LESSON}-1.ipynb",
            "stonebob": "stonebob_340936_208490286_Copy of lesson (1).ipynb",
            "emptydan": None,
            "linkeve": None,
        },
    ),
    "Canvas, anonymous": (
        {"anon_aB3d5_208490284_x.ipynb": IT, "LATE_anon_Xy9_208490285_x.ipynb": IT},
        {"anon_aB3d5": "anon_aB3d5_208490284_x.ipynb", "anon_Xy9": "LATE_anon_Xy9_208490285_x.ipynb"},
    ),
    "Canvas, two of one name": (
        {"smithann_11_901_x.ipynb": IT, "smithann_12_902_x.ipynb": IT},
        {"smithann_11": "smithann_11_901_x.ipynb", "smithann_12": "smithann_12_902_x.ipynb"},
    ),
    "Moodle, folders": (
        {
            f"Ada Lovelace_657737_assignsubmission_file/{LESSON}.ipynb": IT,
            "Zoë van der Berg_657738_assignsubmission_file_/mine/lesson.ipynb": IT,
            "Bob Stone_657739_assignsubmission_onlinetext/onlinetext.html": b"<p>see my drive</p>",
        },
        {
            "Ada Lovelace": f"Ada Lovelace_657737_assignsubmission_file/{LESSON}.ipynb",
            "Zoë van der Berg": "Zoë van der Berg_657738_assignsubmission_file_/mine/lesson.ipynb",
            "Bob Stone": None,
        },
    ),
    "Moodle, flat": (
        {
            f"Ada Lovelace_657737_assignsubmission_file_{LESSON}.ipynb": IT,
            "Participant_4006831_assignsubmission_file_x.ipynb": IT,
            "Participant_4006832_assignsubmission_file_x.ipynb": IT,
        },
        {
            "Ada Lovelace": f"Ada Lovelace_657737_assignsubmission_file_{LESSON}.ipynb",
            "Participant_4006831": "Participant_4006831_assignsubmission_file_x.ipynb",
            "Participant_4006832": "Participant_4006832_assignsubmission_file_x.ipynb",
        },
    ),
    "Brightspace, folders": (
        {
            "397063-2557369 - Mary-Ann Smith - Sep 24, 2024 926 PM/x.ipynb": IT,
            "397063-2557369 - Mary-Ann Smith - Sep 25, 2024 1005 AM/x.ipynb": IT,
            "397063-2557370 - John Doe - 24 September, 2024 9:26 PM/deep/er/x.ipynb": IT,
            "index.html": b"<html>",
        },
        {
            "Mary-Ann Smith": "397063-2557369 - Mary-Ann Smith - Sep 25, 2024 1005 AM/x.ipynb",
            "John Doe": "397063-2557370 - John Doe - 24 September, 2024 9:26 PM/deep/er/x.ipynb",
        },
    ),
    "Brightspace, flat": (
        {"397063-2557369 - Al - Bo - Sep 24, 2024 926 PM - x - y.ipynb": IT},
        {"Al - Bo": "397063-2557369 - Al - Bo - Sep 24, 2024 926 PM - x - y.ipynb"},
    ),
    "Blackboard": (
        {
            "Home work_2_alovelace_attempt_2024-09-24-21-26-00_x.ipynb": IT,
            "Home work_2_alovelace_attempt_2024-09-23-21-26-00_x.ipynb": IT,
            "Home work_2_alovelace_attempt_2024-09-24-21-26-00.txt": b"Name: Ada Lovelace (alovelace)\nFiles:",
            "Home work_2_b_stone_attempt_2024-09-24-21-26-01.txt": b"Name: Bob (b_stone)\n",
            "Home work_2_b_stone_attempt_2024-09-24-21-26-01_essay.pdf": b"%PDF",
        },
        {"alovelace": "Home work_2_alovelace_attempt_2024-09-24-21-26-00_x.ipynb", "b_stone": None},
    ),
    "Gradescope": (
        {
            "assignment_1_export/submission_metadata.yml": GRADESCOPE,
            f"assignment_1_export/submission_11/{LESSON}.ipynb": IT,
            "assignment_1_export/submission_12/ours.ipynb": IT,
        },
        {
            "Ada Lovelace": f"assignment_1_export/submission_11/{LESSON}.ipynb",
            "Bob Stone": "assignment_1_export/submission_12/ours.ipynb",
            "Cyd O'Neil": "assignment_1_export/submission_12/ours.ipynb",
            "Dan Empty": None,
        },
    ),
    "GitHub Classroom": (
        {
            f"home-work-submissions/home-work-ada-l/{LESSON}.ipynb": IT,
            f"home-work-submissions/home-work-bob/sub/{LESSON}.ipynb": IT,
            "home-work-submissions/home-work-bob/.git/config": b"",
            "home-work-submissions/home-work-cyd/README.md": b"hello",
        },
        {
            "ada-l": f"home-work-submissions/home-work-ada-l/{LESSON}.ipynb",
            "bob": f"home-work-submissions/home-work-bob/sub/{LESSON}.ipynb",
            "cyd": None,
        },
    ),
    "GitHub Classroom, GitHub's zips": (
        {f"attention-from-scratch-ada-main/{LESSON}.ipynb": IT, "attention-from-scratch-bob-main/x.ipynb": IT},
        {
            "ada": f"attention-from-scratch-ada-main/{LESSON}.ipynb",
            "bob": "attention-from-scratch-bob-main/x.ipynb",
        },
    ),
    "Google Drive": (
        {
            f"Abgaben/Ada Lovelace - {LESSON}.ipynb": IT,
            f"Abgaben/{LESSON}_bob.ipynb": IT,
            "Abgaben/Copy of cyd.ipynb": IT,
            "Abgaben/dan/x.ipynb": IT,
            "Abgaben/notes.docx": b"PK\x03\x04",
        },
        {
            "Ada Lovelace": f"Abgaben/Ada Lovelace - {LESSON}.ipynb",
            "bob": f"Abgaben/{LESSON}_bob.ipynb",
            "cyd": "Abgaben/Copy of cyd.ipynb",
            "dan": "Abgaben/dan/x.ipynb",
        },
    ),
    "Google Drive, names that say nothing": (
        {f"{LESSON}.ipynb": IT, f"{LESSON} (1).ipynb": IT, "ada.ipynb": IT},
        {
            LESSON: f"{LESSON}.ipynb",
            f"{LESSON} (1)": f"{LESSON} (1).ipynb",
            "ada": "ada.ipynb",
        },
    ),
    "nbgrader": (
        {
            f"course/submitted/ada/{LESSON}/{LESSON}.ipynb": IT,
            f"course/submitted/ada/{LESSON}/timestamp.txt": b"2024-09-24",
            "course/submitted/bob/other/other.ipynb": IT,
            f"course/release/{LESSON}/{LESSON}.ipynb": IT,
        },
        {"ada": f"course/submitted/ada/{LESSON}/{LESSON}.ipynb", "bob": None},
    ),
    "what systems leave behind": (
        {
            "ada.ipynb": IT,
            "__MACOSX/._ada.ipynb": IT,
            "._bob.ipynb": IT,
            ".DS_Store": b"x",
            ".ipynb_checkpoints/ada-checkpoint.ipynb": IT,
            "bob/.ipynb_checkpoints/x-checkpoint.ipynb": IT,
            "bob/x.ipynb": IT,
            "bob/.git/x.ipynb": IT,
        },
        {"ada": "ada.ipynb", "bob": "bob/x.ipynb"},
    ),
    "zips in a zip": (
        {
            f"lovelaceada_1_21_{LESSON}.zip": packed({f"my work/{LESSON}.ipynb": IT, "my work/data.csv": b"1"}),
            "stonebob_2_22_x.zip": packed({"inner.zip": packed({"x.ipynb": IT})}),
            "oneilcyd_3_23_x.zip": packed({"essay.pdf": b"%PDF"}),
        },
        {
            "lovelaceada": f"lovelaceada_1_21_{LESSON}.zip/my work/{LESSON}.ipynb",
            "stonebob": "stonebob_2_22_x.zip/inner.zip/x.ipynb",
            "oneilcyd": None,
        },
    ),
    "zips in a flat folder": (
        {"ada.zip": packed({"x.ipynb": IT}), "bob.ipynb": IT},
        {"ada": "ada.zip/x.ipynb", "bob": "bob.ipynb"},
    ),
    "several notebooks, the lesson's is told by its content": (
        {
            f"lovelaceada_1_21_{LESSON}.ipynb": OTHER,
            "lovelaceada_1_22_homework.ipynb": IT,
            "lovelaceada_1_23_broken holiday.ipynb": b"{",
            "lovelaceada_1_24_shop.ipynb": notebook("buy"),
        },
        {"lovelaceada": "lovelaceada_1_22_homework.ipynb"},
    ),
    "the newest counts, though it is broken": (
        {"lovelaceada_1_21_x.ipynb": IT, "lovelaceada_1_22_x-1.ipynb": b'{"cells": [{"cel'},
        {"lovelaceada": "lovelaceada_1_22_x-1.ipynb"},
    ),
    "a notebook goes before its export": (
        {
            "ada/x.ipynb": IT,
            "ada/x.py": b"def softmax(x):\n    return x\n",
            "bob/x.py": b"def softmax(x):\n    return x\n",
        },
        {"ada": "ada/x.ipynb", "bob": "bob/x.py"},
    ),
    "notebooks by other names": (
        {
            "ada_1_21_x.ipynb.txt": IT,
            "bob_2_22_x.txt": IT,
            "cyd_3_23_x.json": IT,
            "dan_4_24_x": IT,
            "eve_5_25_x.ipynb.pdf": b"%PDF-1.4",
            "fay_6_26_x.txt": b"I did it all",
        },
        {
            "ada": "ada_1_21_x.ipynb.txt",
            "bob": "bob_2_22_x.txt",
            "cyd": "cyd_3_23_x.json",
            "dan": "dan_4_24_x",
            "eve": "eve_5_25_x.ipynb.pdf",
            "fay": None,
        },
    ),
    "names that Windows wrote": (
        {"ada\\x.ipynb": IT, "bob\\y.ipynb": IT},
        {"ada": "ada/x.ipynb", "bob": "bob/y.ipynb"},
    ),
}


def read(path: Path, scratch: Path) -> Collection:
    return read_collection(path, WANTED, scratch=scratch)


def places(collection: Collection, *roots: Path) -> dict[str, str | None]:
    """Student -> where the file was in the download."""
    return {each.student: each.path and place(each.path, *roots) for each in collection.submissions}


def place(path: Path, *roots: Path) -> str:
    root = next(root for root in roots if path.is_relative_to(root))
    return str(path.relative_to(root)).replace(".unpacked", "")


@pytest.mark.parametrize(("tree", "students"), PLATFORMS.values(), ids=PLATFORMS.keys())
def test_a_zip_gives_its_students(tree: Tree, students: dict[str, str | None], tmp_path: Path) -> None:
    """Packed, each student is found with the file that counts."""
    archive = tmp_path / "submissions.zip"
    archive.write_bytes(packed(tree))
    collection = read(archive, tmp_path / "unpacked")
    assert places(collection, tmp_path / "unpacked" / "submissions.zip") == students


@pytest.mark.parametrize(("tree", "students"), PLATFORMS.values(), ids=PLATFORMS.keys())
def test_an_unpacked_folder_gives_the_same(tree: Tree, students: dict[str, str | None], tmp_path: Path) -> None:
    """Unpacked by the instructor, the result is the same."""
    folder = laid_out({name.replace("\\", "/"): content for name, content in tree.items()}, tmp_path / "submissions")
    collection = read(folder, tmp_path / "unpacked")
    assert places(collection, folder, tmp_path / "unpacked") == students


def of(tree: Tree, tmp_path: Path) -> dict[str, Submission]:
    tmp_path.mkdir(exist_ok=True)
    archive = tmp_path / "submissions.zip"
    archive.write_bytes(packed(tree))
    return {each.student: each for each in read(archive, tmp_path / "unpacked").submissions}


def test_late_marks_and_other_attempts_are_kept(tmp_path: Path) -> None:
    """The message says that a platform calls it late, and which files were not graded."""
    ada = of({"lovelaceada_LATE_1_22_x-1.ipynb": IT, "lovelaceada_1_21_x.ipynb": IT}, tmp_path)["lovelaceada"]
    assert ada.late
    assert ada.message == (
        "Canvas marks it as late. lovelaceada_LATE_1_22_x-1.ipynb was graded, of 2 files; not lovelaceada_1_21_x.ipynb."
    )


def test_the_time_is_the_platforms(tmp_path: Path) -> None:
    """Brightspace and Blackboard write the date into names, Gradescope into its metadata; Canvas and Moodle nowhere."""
    for name, student, when in (
        ("Brightspace, folders", "Mary-Ann Smith", "2024-09-25T10:05:00"),
        ("Brightspace, folders", "John Doe", "2024-09-24T21:26:00"),
        ("Blackboard", "alovelace", "2024-09-24T21:26:00"),
        ("Gradescope", "Ada Lovelace", "2024-09-24T21:26:00+00:00"),
        ("Canvas", "lovelaceada", None),
        ("Moodle, flat", "Ada Lovelace", None),
    ):
        found = of(PLATFORMS[name][0], tmp_path / name.replace(",", ""))[student].when
        assert (found and found.isoformat()) == when


def test_a_group_is_named(tmp_path: Path) -> None:
    """Each member of a group has the group's file, and the message says who the others are."""
    found = of(PLATFORMS["Gradescope"][0], tmp_path)
    assert found["Bob Stone"].path == found["Cyd O'Neil"].path
    assert found["Cyd O'Neil"].message == "Handed in by a group: Bob Stone, Cyd O'Neil."


def test_who_handed_in_no_notebook_is_told_so(tmp_path: Path) -> None:
    """An entry without a path names what was handed in, and what to ask for."""
    message = of(PLATFORMS["Canvas"][0], tmp_path)["emptydan"].message
    assert message == (
        "emptydan handed in no notebook. Handed in: emptydan_340937_link.html. Ask the student for the .ipynb file."
    )


def test_nobodys_files_are_named(tmp_path: Path) -> None:
    """A loose file of which nobody can be told whose it is is named; so is one among nbgrader's folders."""
    for tree, name in (
        (PLATFORMS["Google Drive"][0], "notes.docx"),
        ({f"submitted/a/{LESSON}/": b"", "submitted/x.ipynb": IT}, "x.ipynb"),
    ):
        archive = tmp_path / "submissions.zip"
        archive.write_bytes(packed(tree))
        assert read(archive, tmp_path / "unpacked").not_understood == (name,)


def test_one_students_zip(tmp_path: Path) -> None:
    """A zip with one notebook that is called as the lesson is belongs to whom the zip is called by."""
    archive = tmp_path / "ada.zip"
    archive.write_bytes(packed({f"{LESSON}.ipynb": IT}))
    assert [each.student for each in read(archive, tmp_path / "unpacked").submissions] == ["ada"]


# --- what is refused, by name


def special(name: str, mode: int, content: bytes = b"/etc/passwd") -> bytes:
    """An archive with bob's good notebook and a member of another kind."""
    data = io.BytesIO(packed({"bob.ipynb": IT}))
    with zipfile.ZipFile(data, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, content)
    return data.getvalue()


UNSAFE = {
    "link": (special("ada.ipynb", stat.S_IFLNK | 0o777), "ada.ipynb is a link and was not followed"),
    "link to a folder": (special("ada", stat.S_IFLNK | 0o777, b"/etc"), "ada is a link"),
    "device": (special("ada.ipynb", stat.S_IFCHR | 0o666), "ada.ipynb is a device"),
    "pipe": (special("ada.ipynb", stat.S_IFIFO | 0o666), "ada.ipynb is a pipe"),
    "socket": (special("ada.ipynb", stat.S_IFSOCK | 0o666), "ada.ipynb is no regular file"),
    "above": (packed({"bob.ipynb": IT, "../ada.ipynb": IT}), "../ada.ipynb points outside"),
    "above, deeper": (packed({"bob.ipynb": IT, "x/../../ada.ipynb": IT}), "x/../../ada.ipynb points outside"),
    "above, Windows": (packed({"bob.ipynb": IT, "..\\ada.ipynb": IT}), "../ada.ipynb points outside"),
    "absolute": (packed({"bob.ipynb": IT, "/tmp/ada.ipynb": IT}), "tmp/ada.ipynb points outside"),  # noqa: S108
    "drive": (packed({"bob.ipynb": IT, "C:\\ada.ipynb": IT}), "C:/ada.ipynb points outside"),
    "bomb": (
        packed({"bob.ipynb": IT, "ada.ipynb": b"0" * 51_000_000}),
        "ada.ipynb would unpack to 51 MB, more than 50 MB",
    ),
    "bomb in a zip": (
        packed({"bob.ipynb": IT, "ada.zip": packed({f"{i}.txt": b"0" * 45_000_000 for i in range(5)})}),
        "ada.zip would unpack to 225 MB, more than 200 MB, and was not",
    ),
    "too deep": (
        packed({"bob.ipynb": IT, "ada.zip": packed({"a.zip": packed({"b.zip": packed({"c.zip": packed({})})})})}),
        "ada.zip/a.zip/b.zip/c.zip is an archive more than 3 deep",
    ),
    "no zip": (packed({"bob.ipynb": IT, "ada.zip": b"PK\x03\x04nothing"}), "ada.zip is no whole zip archive"),
    "name that is too long": (packed({"bob.ipynb": IT, f"{'a' * 300}.ipynb": IT}), "could not be unpacked"),
    "file and folder of one name": (packed({"bob.ipynb": IT, "ada": b"x", "ada/x.ipynb": IT}), "ada/x.ipynb could not"),
}


@pytest.mark.parametrize(("data", "words"), UNSAFE.values(), ids=UNSAFE.keys())
def test_unsafe_members_are_refused_by_name(data: bytes, words: str, tmp_path: Path) -> None:
    """What is unsafe is named, made nowhere, and costs nobody else anything."""
    archive = tmp_path / "all.zip"
    archive.write_bytes(data)
    collection = read(archive, tmp_path / "in" / "unpacked")
    found = {each.student: each for each in collection.submissions}
    assert found["bob"].path is not None
    assert found["bob"].path.read_bytes() == IT
    assert words in " ".join([*collection.not_understood, *(each.message for each in found.values() if not each.path)])
    made = [path for path in tmp_path.rglob("*") if path != archive]
    assert all(path.is_relative_to(tmp_path / "in") for path in made)
    assert all(path.is_file() or path.is_dir() for path in made)
    assert not any(path.is_symlink() for path in made)


def test_a_bad_checksum_costs_its_file(tmp_path: Path) -> None:
    """A member whose bytes were damaged is named; the next is read."""
    data = packed({"ada.ipynb": b"A" * 40, "bob.ipynb": IT})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start = archive.infolist()[0].header_offset + 30 + len("ada.ipynb")
    broken = tmp_path / "all.zip"
    broken.write_bytes(data[:start] + b"\xff" + data[start + 1 :])
    found = {each.student: each for each in read(broken, tmp_path / "unpacked").submissions}
    assert "ada.ipynb could not be unpacked" in found["ada"].message
    assert found["bob"].path


def test_a_locked_member_is_named(tmp_path: Path) -> None:
    """A member with a password is named."""
    data = bytearray(packed({"ada.ipynb": IT, "bob.ipynb": IT}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive = tmp_path / "all.zip"
    archive.write_bytes(bytes(data))
    found = {each.student: each for each in read(archive, tmp_path / "unpacked").submissions}
    assert "ada.ipynb is locked with a password" in found["ada"].message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"nothing", "no whole zip archive"),
        (packed({"bob.ipynb": IT})[:-30], "no whole zip archive"),
        (packed({}), "holds no submission"),
        (packed({"essay.docx": b""}), "Not understood: essay.docx"),
    ],
)
def test_an_archive_that_is_none_is_a_wrong_call(data: bytes, words: str, tmp_path: Path) -> None:
    """A broken or empty download is named, with what to do."""
    archive = tmp_path / "all.zip"
    archive.write_bytes(data)
    with pytest.raises(GraderError, match=words):
        read(archive, tmp_path / "unpacked")


def test_an_archive_beyond_the_limit_is_refused_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the stated size or number of files: named, before one byte is written."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as opened:
        for number in range(MAX_ARCHIVE_MB // 45 + 1):
            opened.writestr(f"{number}.ipynb", b"0" * 45_000_000)
    archive = tmp_path / "all.zip"
    archive.write_bytes(data.getvalue())
    with pytest.raises(GraderError, match=r"all\.zip would unpack to 1,035 MB, more than 1,000 MB, and was not"):
        read(archive, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()
    monkeypatch.setattr("autograder.archives.MAX_FILES", 3)
    archive.write_bytes(packed({f"{number}.ipynb": IT for number in range(4)}))
    with pytest.raises(GraderError, match="holds 4 files, more than 3"):
        read(archive, tmp_path / "unpacked")
    with pytest.raises(GraderError, match="more than 3 files"):
        read(laid_out({f"{number}.ipynb": IT for number in range(4)}, tmp_path / "folder"), tmp_path / "unpacked")
    assert MAX_FILES == 20_000


def test_an_archive_needs_a_place(tmp_path: Path) -> None:
    """Without a folder to unpack into an archive is refused, and one in a folder is taken for no notebook."""
    archive = tmp_path / "all.zip"
    archive.write_bytes(packed({"bob.ipynb": IT}))
    with pytest.raises(GraderError, match="no folder was named"):
        read_collection(archive, WANTED)


def test_links_pipes_and_devices_in_a_folder(tmp_path: Path) -> None:
    """In a folder too: a link to a folder is named, a link to a file and a pipe are refused by the reader."""
    folder = laid_out({"bob.ipynb": IT}, tmp_path / "all")
    (tmp_path / "elsewhere").mkdir()
    (folder / "ada").symlink_to(tmp_path / "elsewhere")
    (folder / "cyd.ipynb").symlink_to(folder / "bob.ipynb")
    (folder / "eve.zip").symlink_to(folder / "bob.ipynb")
    os.mkfifo(folder / "dan.ipynb")
    collection = read(folder, tmp_path / "unpacked")
    found = {each.student: each for each in collection.submissions}
    assert "ada is a link to a folder and was not followed" in collection.not_understood[0]
    assert found["eve"].path is None
    for name, words in (("cyd", "is a symbolic link"), ("dan", "is not a regular file")):
        path = found[name].path
        assert path is not None
        with pytest.raises(SubmissionError, match=words):
            read_notebook(path)


def test_umlauts_of_packers_that_do_not_say_so(tmp_path: Path) -> None:
    """A name in UTF-8 without the flag for it is read as what it is."""
    data = packed({"Zoë.ipynb": IT})
    flagless = bytearray(data)
    flagless[7] &= ~0x08
    flagless[data.index(b"PK\x01\x02") + 9] &= ~0x08
    archive = tmp_path / "all.zip"
    archive.write_bytes(bytes(flagless))
    assert read(archive, tmp_path / "unpacked").submissions[0].student == "Zoë"
