"""From a command's paths to a class: rosters, what is named of the rest, nbgrader's folders."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from autograder.collecting import collect
from autograder.collection import Collection, Submission
from autograder.course import Course
from autograder.errors import GraderError
from autograder.intake import account, open_collection
from autograder.roster import read_roster, with_roster

LESSON = "attention_from_scratch"
DOWNLOAD = ("lovelaceada_LATE_11_901_x.ipynb", "stonebob_12_902_x.ipynb", "oneilcyd_13_903_essay.pdf", "notes.docx")


@pytest.fixture
def download(course: Course, filled) -> Path:
    """A Canvas download: ada is late, bob on time, cyd handed in an essay; and a file that is nobody's."""
    path = course.root / "submissions.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in DOWNLOAD:
            archive.writestr(name, json.dumps(filled()) if name.endswith(".ipynb") else "essay")
    return path


def opened(course: Course, *paths: Path, student: str | None = None) -> Collection:
    with open_collection(course, LESSON, paths, student) as collection:
        assert all(each.path is None or each.path.exists() for each in collection.submissions)
    return collection


# --- rosters

ROSTERS = {
    "nbgrader": "id,first_name,last_name,email\nlovelaceada,Ada,Lovelace,\nx17,Bob,Stone,bob@x.org\nzoe,Zoë,May,\n",
    "nbgrader, semicolons and BOM": "\ufeffid;first_name;last_name\nx3;Ada;Lovelace\nx17;Bob;Stone\nzoe;Zoë;May\n",
    "Canvas, grades": (
        "Student,ID,SIS User ID,SIS Login ID,Section,Final\n    Points Possible,,,,,90\n"
        '"Lovelace, Ada",11,u1,ada,S1,\n"Stone, Bob",12,u2,bob,S1,\n"May, Zoe",99,u3,zoe,S1,\n'
        '"Student, Test",1234,,x,S1,\n'
    ),
    "Canvas, groups": (
        "name,canvas_user_id,user_id,login_id,group_name\nAda Lovelace,11,u1,ada,\nBob Stone,12,u2,bob,\n"
        "Zoe May,99,u3,zoe,\n"
    ),
}
MISSING = {
    "nbgrader": "zoe",
    "nbgrader, semicolons and BOM": "zoe",
    "Canvas, grades": "mayzoe",
    "Canvas, groups": "mayzoe",
}


@pytest.mark.parametrize("kind", ROSTERS)
def test_a_roster_says_who_is_missing(kind: str, course: Course, download: Path) -> None:
    """Who is on the roster and handed in nothing has an entry; who is not on it is named."""
    (course.root / "roster.csv").write_text(ROSTERS[kind], encoding="utf-8")
    collection = opened(course, download)
    found = {each.student: each for each in collection.submissions}
    absent = MISSING[kind]
    assert list(found) == sorted(["lovelaceada", "stonebob", "oneilcyd", absent])
    assert found[absent] == Submission(absent, None, f"{absent} is on the roster and handed in nothing.")
    assert "oneilcyd is not on the roster." in found["oneilcyd"].message
    assert found["stonebob"].message == ""
    assert account(collection)[0] == f"no notebook of: {', '.join(sorted(['oneilcyd', absent]))}"


def test_a_groups_result_goes_to_each_member(tmp_path: Path) -> None:
    """Where a platform names files by groups, the roster says who is in them."""
    (tmp_path / "r.csv").write_text("id,first_name,group\nada,Ada,Team 1\nbob,Bob,Team 1\ncyd,Cyd,Team 2\n")
    submissions = (Submission("team1", Path("x.ipynb"), number="4"),)
    found = with_roster(Collection(submissions), read_roster(tmp_path / "r.csv")).submissions
    assert [(each.student, each.path) for each in found] == [
        ("ada", Path("x.ipynb")),
        ("bob", Path("x.ipynb")),
        ("cyd", None),
    ]
    assert found[0].message == "Handed in by the group team1."


def test_two_people_of_one_name_are_matched_by_number(tmp_path: Path) -> None:
    """A name that two have matches nobody; the platform's number does."""
    (tmp_path / "r.csv").write_text('Student,ID\n"Smith, Ann",11\n"Smith, Ann",12\n')
    one = Submission("smithann_11", Path("x.ipynb"), number="11")
    found = with_roster(Collection((one,)), read_roster(tmp_path / "r.csv")).submissions
    assert [each.path for each in found] == [None, Path("x.ipynb")]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "\0\0"])
def test_a_roster_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    """A file without names is a wrong call: it says which columns are wanted."""
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(GraderError, match="roster"):
        read_roster(tmp_path / "r.csv")


def test_one_notebook_needs_no_roster(course: Course, download: Path, filled) -> None:
    """The roster is asked for a class only."""
    (course.root / "roster.csv").write_text(ROSTERS["nbgrader"])
    (course.root / "stonebob.ipynb").write_text(json.dumps(filled()))
    assert len(opened(course, course.root / "stonebob.ipynb").submissions) == 1
    assert len(opened(course, download, student="stonebob").submissions) == 1


# --- opening


def test_what_was_unpacked_is_gone_afterwards(course: Course, download: Path) -> None:
    """The unpacked files live as long as the run, in the course's own folder, and never twice at once."""
    with open_collection(course, LESSON, [download]) as collection:
        paths = [each.path for each in collection.submissions if each.path]
        assert all(path.is_relative_to(course.state / LESSON / "unpacked") for path in paths)
        with pytest.raises(GraderError, match="another run"):
            opened(course, download)
    assert not any(path.exists() for path in paths)
    assert collection.not_understood == ("notes.docx",)
    assert account(collection)[1] == "not understood, nobody's submission: notes.docx"
    text = (course.state / LESSON / "collection.txt").read_text()
    assert text == "no notebook of: oneilcyd\nnot understood, nobody's submission: notes.docx\n"


def test_several_paths_are_one_class(course: Course, download: Path, filled) -> None:
    """A zip and a notebook together; the same student twice is a wrong call."""
    (course.root / "ann.ipynb").write_text(json.dumps(filled()))
    assert len(opened(course, download, course.root / "ann.ipynb").submissions) == 4
    (course.root / "stonebob.ipynb").write_text(json.dumps(filled()))
    with pytest.raises(GraderError, match="stonebob is in more than one PATH"):
        opened(course, download, course.root / "stonebob.ipynb")


# --- autograder collect


def zipped(path: Path, names: dict[str, bytes]) -> Path:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    path.write_bytes(data.getvalue())
    return path


def test_collect_fills_nbgraders_folders(course: Course, filled) -> None:
    """The newest attempt lies where nbgrader looks, byte for byte, with a time stamp that nbgrader reads, in UTC."""
    text = json.dumps(filled()).encode()
    path = zipped(
        course.root / "all.zip",
        {
            "1-2 - Ada Lovelace - Sep 24, 2024 926 PM/mine.ipynb": text,
            "1-2 - Ada Lovelace - Sep 23, 2024 926 PM/old.ipynb": b"{",
            "1-3 - Bob Stone - Sep 24, 2024 1000 PM/work.zip": zipped(course.root / "b.zip", {"x.ipynb": text}).read_bytes(),
            "1-4 - Cyd O'Neil - Sep 24, 2024 1000 PM/x.py": b"def softmax(x):\n    return x\n",
        },
    )
    with open_collection(course, LESSON, [path]) as collection:
        collected = collect(course, LESSON, collection, zone="Europe/Berlin")
    submitted = course.root / "submitted"
    assert sorted(str(place.relative_to(submitted)) for place in collected.placed) == [
        f"Ada Lovelace/{LESSON}/{LESSON}.ipynb",
        f"Bob Stone/{LESSON}/{LESSON}.ipynb",
        f"Cyd O'Neil/{LESSON}/{LESSON}.py",
    ]
    ada = submitted / "Ada Lovelace" / LESSON
    assert (ada / f"{LESSON}.ipynb").read_bytes() == text
    assert (ada / "timestamp.txt").read_text() == "2024-09-24 19:26:00"
    again = opened(course, submitted)
    assert [each.student for each in again.submissions] == ["Ada Lovelace", "Bob Stone", "Cyd O'Neil"]
    assert "old.ipynb" in again.submissions[0].message


def test_late_marks_outlive_collecting(course: Course, download: Path) -> None:
    """What the platform said is kept where a student cannot write it, and told when the file is graded."""
    with open_collection(course, LESSON, [download]) as collection:
        collect(course, LESSON, collection)
    found = {each.student: each for each in opened(course, course.root / "submitted").submissions}
    assert found["lovelaceada"].message == "Canvas marks it as late."
    path = found["lovelaceada"].path
    assert path
    path.write_text(path.read_text() + " ")  # handed in again by hand: nothing is known of it
    assert opened(course, course.root / "submitted").submissions[0].message == ""
    assert not (path.parent / "timestamp.txt").exists()


def test_collect_overwrites_only_when_told(course: Course, download: Path, hand_in) -> None:
    """A submission that lies there stays, and its student is named, unless it is to be replaced."""
    path = hand_in("stonebob", "mine")
    with open_collection(course, LESSON, [download]) as collection:
        collected = collect(course, LESSON, collection)
        assert collected.kept == ("stonebob",)
        assert path.read_text() == "mine"
        assert len(collect(course, LESSON, collection, replace=True).placed) == 2
    assert path.read_text() != "mine"


def test_collect_needs_a_zone_that_there_is(course: Course, download: Path) -> None:
    """A zone that nobody knows is a wrong call."""
    with open_collection(course, LESSON, [download]) as collection, pytest.raises(GraderError, match="no time zone"):
        collect(course, LESSON, collection, zone="Mars/Base")


def test_the_command_collects(course: Course, download: Path, autograder_in) -> None:
    """`autograder collect` prints where the notebooks went, names the rest, and exits 1 where somebody has none."""
    done = autograder_in(course, "collect", "submissions.zip", "--lesson", LESSON)
    assert done.returncode == 1, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "no notebook of: oneilcyd" in done.stderr
    assert "not understood, nobody's submission: notes.docx" in done.stderr


def test_the_command_grades_a_zip(course: Course, download: Path, autograder_in) -> None:
    """`autograder grade ZIP`: every student has an entry, the missing too, and the files that nobody owns are named."""
    (course.root / "roster.csv").write_text("id,first_name,last_name\nlovelaceada,Ada,\nstonebob,Bob,\nzoe,Zoe,\n")
    done = autograder_in(course, "grade", "submissions.zip", "--lesson", LESSON, "--device", "cpu", "--json", "-")
    assert done.returncode == 1, done.stderr
    found = {each["student"]: each for each in json.loads(done.stdout)["submissions"]}
    assert {name: each["status"] for name, each in found.items()} == {
        "lovelaceada": "graded",
        "stonebob": "graded",
        "oneilcyd": "unreadable",
        "zoe": "unreadable",
    }
    assert found["lovelaceada"]["message"] == "Canvas marks it as late."
    assert found["zoe"]["message"] == "zoe is on the roster and handed in nothing."
    assert "not understood, nobody's submission: notes.docx" in done.stderr
    assert not (course.state / LESSON / "unpacked").exists()
