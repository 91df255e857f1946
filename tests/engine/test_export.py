"""Marks for Canvas, Moodle, a table and a program, in the formats that the importers' public code asks for."""

import csv
import io
import json
import re
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from nbgrader import api

from autograder.commands import exporting
from autograder.course import Course
from autograder.errors import GraderError
from autograder.export import export
from autograder.outgoing import Wanted
from autograder.sheets import pair, read_sheet
from autograder.standings import CellMark, Standing, read_standings

ROOT = Path(__file__).resolve().parents[2]
LESSON = "attention_from_scratch"
CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Week 1 (70),Attention from scratch (77),Current Score
,,,,,Manual Posting,Manual Posting,
    Points Possible,,,,,5.00,100.00,(read only)
"Lovelace, Ada",101,S-101,ada@example.org,Sec 1,4.00,,88
"Hopper, Grace",102,S-102,ghopper,Sec 1,,50.00,
"Noether, Emmy",103,S-103,enoether,Sec 2,,,
"Student, Test",999,,,Sec 1,,,
"""
MOODLE = """\
Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,\
Last modified (submission),Online text,Last modified (grade),Feedback comments
Participant 657737,Ada Lovelace,ada@example.org,Submitted for grading,-,100.00,Yes,\
"Tuesday, 24 November 2026, 2:51 PM","=cmd|' /C calc'!A0","Monday, 23 November 2026, 9:00 AM","<p>well
done</p>"
Participant 657738,Grace Hopper,grace@example.org,No submission,,100.00,Yes,-,,-,
Participant 657739,Emmy Noether,emmy@example.org,Submitted for grading,12.00,100.00,Yes,-,,-,
"""


@pytest.fixture
def lesson(course):
    return course.lesson(LESSON)


def standing(student, score=80.0, written=8.0, *, waits=False, penalty=0.0, **who):
    cells = (
        CellMark("softmax", score, 90.0, by_hand=False, waits=False),
        CellMark("why_scale", written, 10.0, by_hand=not waits, waits=waits),
    )
    fields = {"first_name": "", "last_name": "", "email": "", "lms_id": ""} | who
    return Standing(student, **fields, cells=cells, penalty=penalty, late_s=60.0 * (penalty > 0), handed_in=None)


def table(text):
    return list(csv.reader(io.StringIO(text)))


@pytest.fixture
def sheet(tmp_path):
    """A platform's file as a Sheet: sheet(text)."""

    def make(text, name="template.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return read_sheet(path)

    return make


# --- Canvas


def test_canvas_has_the_columns_that_its_importer_asks_for(lesson):
    """Student, ID, SIS ids and Section before the assignment, then a row of points; nothing else before the students."""
    made = export("canvas", Wanted(lesson, (standing("ada", first_name="Ada", last_name="Lovelace", lms_id="101"),)))
    header, possible, row = table(made.text)
    assert header == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", LESSON]
    assert possible == ["Points Possible", "", "", "", "", "100"]
    assert row == ["Lovelace, Ada", "101", "", "ada", "", "88"]
    assert any("--template" in line for line in made.told)


def test_canvas_template_keeps_canvas_numbers_and_only_the_column_of_the_lesson(lesson, sheet):
    """Its rows and its column come back; other assignments, reckoned columns and its test student do not."""
    made = export("canvas", Wanted(lesson, (standing("lovelaceada"), standing("ghopper", 70.5))), sheet(CANVAS))
    assert table(made.text) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Attention from scratch (77)"],
        ["Points Possible", "", "", "", "", "100.00"],
        ["Lovelace, Ada", "101", "S-101", "ada@example.org", "Sec 1", "88"],
        ["Hopper, Grace", "102", "S-102", "ghopper", "Sec 1", "78.5"],
    ]
    assert "without a mark: Noether, Emmy" in made.told


def as_canvas_reads(text):
    """The marks by student, by the rules of Canvas's lib/gradebook_importer.rb; fails where Canvas refuses the header."""
    header, *rows = table(text)
    names = 4 if header[:2] == ["LastName", "FirstName"] else 3
    assert "Student" in header[0] or header[2] == "ID"
    assert "ID" in header[names - 2]
    assert (header[names - 1], header[names]) == ("SIS User ID", "SIS Login ID")
    assert "Section" in header[names + 1]
    (assignment,) = header[names + 2 :]
    assert re.search(r"Current|Final|Override", assignment) is None
    students = [row for row in rows if "Points Possible" not in row[0]]
    return {row[names - 2] or row[names]: row[-1] for row in students}


def test_canvas_can_read_what_it_gets(lesson, sheet):
    """With and without its own file: the header is one that its importer takes, and each mark is at its student."""
    marks = (standing("ada", lms_id="101"), standing("ghopper", 70.555, waits=False), standing("enoether", waits=True))
    apart = re.sub(r'^"(\w+), (\w+)"', r"\1,\2", CANVAS.replace("Student,ID", "LastName,FirstName,ID"), flags=re.M)
    apart = apart.replace(",,,,,Manual", ",,,,,,Manual").replace("Possible,", "Possible,,")
    assert as_canvas_reads(export("canvas", Wanted(lesson, marks)).text) == {"101": "88", "ghopper": "78.56", "enoether": ""}
    for text in (CANVAS, apart):
        read = as_canvas_reads(export("canvas", Wanted(lesson, marks), sheet(text)).text)
        assert read == {"101": "88", "102": "78.56", "103": ""}


@pytest.mark.parametrize(
    "student", ["101", "S-101", "ada@example.org", "ada", "lovelaceada", "Ada Lovelace", "lovelaceada_101"]
)
def test_a_student_is_found_by_whatever_a_download_called_them(lesson, sheet, student):
    """Canvas's number, SIS ids, login, the name in its downloads, with the number behind it where two have that name."""
    pairs = pair(sheet(CANVAS), [standing(student)])
    assert pairs.without_row == ()
    assert list(pairs.standing) == [2]


def test_a_name_that_two_have_finds_neither(lesson, sheet):
    """A mark goes to nobody rather than to the wrong one; the number behind the name tells them apart."""
    twins = CANVAS + '"Lovelace, Ada",104,S-104,al2,Sec 2,,,\n'
    assert pair(sheet(twins), [standing("lovelaceada")]).without_row == ("lovelaceada",)
    assert list(pair(sheet(twins), [standing("lovelaceada_104")]).standing) == [6]


def test_two_marks_for_one_row_go_to_nobody(lesson, sheet):
    """Where two submissions seem to be one person's, the instructor decides."""
    pairs = pair(sheet(CANVAS), [standing("lovelaceada"), standing("101")])
    assert pairs.without_row == ("lovelaceada", "101")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_template_is_read_however_it_was_saved(lesson, sheet, delimiter, encoding):
    """Canvas writes semicolons for some languages, spreadsheets write other encodings."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(csv.reader(io.StringIO(CANVAS)))
    made = export("canvas", Wanted(lesson, (standing("ada"),)), sheet(out.getvalue(), encoding=encoding))
    assert table(made.text)[-1][0] == "Lovelace, Ada"


def test_canvas_with_first_and_last_names_apart(lesson, sheet):
    """Canvas can export LastName and FirstName in place of Student."""
    text = "LastName,FirstName,ID,SIS User ID,SIS Login ID,Section,Attention from scratch (77)\n"
    text += "    Points Possible,,,,,,100\nLovelace,Ada,101,S-101,ada,Sec 1,\n"
    made = export("canvas", Wanted(lesson, (standing("lovelaceada"),)), sheet(text))
    assert table(made.text)[1] == ["Points Possible", "", "", "", "", "", "100"]
    assert table(made.text)[2] == ["Lovelace", "Ada", "101", "S-101", "ada", "Sec 1", "88"]


def test_another_column_by_its_name_or_number(lesson, sheet):
    """--column names the assignment as Canvas does."""
    for column in ("Week 1", "70", "Week 1 (70)"):
        made = export("canvas", Wanted(lesson, (standing("ada"),), column=column), sheet(CANVAS))
        assert table(made.text)[0][-1] == "Week 1 (70)"
    assert any("5.00 points" in line for line in made.told)


def test_a_column_that_is_not_there_is_said(lesson, sheet):
    """Canvas would make an assignment; the message names those that there are."""
    made = export("canvas", Wanted(lesson, (standing("ada"),), column="Homework"), sheet(CANVAS))
    assert table(made.text)[0][-1] == "Homework"
    assert any("Attention from scratch (77)" in line and "--column" in line for line in made.told)


def test_a_column_that_is_there_twice_is_refused(lesson, sheet):
    """Which one is meant, only the instructor knows."""
    twice = CANVAS.replace("Week 1 (70)", "Attention from scratch (70)")
    with pytest.raises(GraderError, match="more than one column"):
        export("canvas", Wanted(lesson, (standing("ada"),)), sheet(twice))


def test_a_column_that_canvas_reckons_is_refused(lesson, sheet):
    """It could not be imported."""
    with pytest.raises(GraderError, match="reckons itself"):
        export("canvas", Wanted(lesson, (standing("ada"),), column="Current Score"), sheet(CANVAS))


# --- Moodle


def test_moodle_worksheet_keeps_what_its_importer_looks_for(lesson, sheet):
    """Identifier, Grade and the date of the last change come back as they were; nobody's comment or text does."""
    marks = (standing("Ada Lovelace"), standing("Emmy Noether_657739", 70.25))
    made = export("moodle", Wanted(lesson, marks), sheet(MOODLE))
    header, ada, emmy = table(made.text)
    wanted = ["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade", "Last modified (grade)"]
    assert header == wanted
    assert ada[:2] + ada[4:] == ["Participant 657737", "Ada Lovelace", "88", "100.00", "Monday, 23 November 2026, 9:00 AM"]
    assert emmy[4] == "78.25"
    assert "without a mark: Grace Hopper" in made.told


def test_moodle_can_read_what_it_gets(lesson, sheet):
    """By the rules of its importgradeslib.php: three columns by their exact names, and a number behind `Participant `."""
    rows = table(
        export("moodle", Wanted(lesson, (standing("Ada Lovelace"), standing("657738", 70.555))), sheet(MOODLE)).text
    )
    places = {name: rows[0].index(name) for name in ("Identifier", "Grade", "Last modified (grade)")}
    read = {row[places["Identifier"]][len("Participant ") :]: float(row[places["Grade"]]) for row in rows[1:]}
    assert read == {"657737": 88, "657738": 78.56}


def test_a_grade_above_moodles_maximum_is_refused(lesson, sheet):
    """Moodle would pass over it without a word."""
    with pytest.raises(GraderError, match="maximum is 10"):
        export("moodle", Wanted(lesson, (standing("Ada Lovelace"),)), sheet(MOODLE.replace("100.00", "10.00")))


def test_a_worksheet_without_the_date_is_refused(lesson, sheet):
    """Moodle calls such a file invalid."""
    german = sheet(MOODLE.replace("Last modified (grade)", "Zuletzt geändert (Bewertung)"))
    with pytest.raises(GraderError, match="Last modified"):
        export("moodle", Wanted(lesson, (standing("Ada Lovelace"),)), german)


def test_a_locked_grade_is_said(lesson, sheet):
    """The instructor learns whose grade Moodle will not take."""
    made = export("moodle", Wanted(lesson, (standing("Ada Lovelace"),)), sheet(MOODLE.replace(",Yes,", ",No,")))
    assert any("cannot be changed" in line for line in made.told)


def test_moodle_without_a_worksheet_leaves_out_who_has_no_mark(lesson, sheet):
    """An empty cell would delete a grade there; names and addresses come from a list of participants."""
    people = sheet(
        "First name,Last name,ID number,Email address\nAda,Lovelace,m1,ada@example.org\nEmmy,Noether,m3,e@x.org\n"
    )
    made = export("moodle", Wanted(lesson, (standing("ada"), standing("enoether", waits=True, email="e@x.org"))), people)
    assert table(made.text) == [
        ["ID number", "First name", "Last name", "Email address", LESSON],
        ["m1", "Ada", "Lovelace", "ada@example.org", "88"],
    ]


# --- what is not final


@pytest.mark.parametrize("to", ["canvas", "moodle"])
def test_a_mark_that_waits_is_empty_for_students_eyes(lesson, sheet, to):
    """A written answer that nobody has read yet is no zero; who waits is named, and --provisional fills the cell."""
    template = sheet(CANVAS if to == "canvas" else MOODLE)
    place = {"canvas": 5, "moodle": 4}[to]
    marks = (standing("Ada Lovelace", waits=True, written=0.0),)
    made = export(to, Wanted(lesson, marks), template)
    assert table(made.text)[-1][place] == ""
    assert any("why_scale" in line and "--provisional" in line for line in made.told)
    assert any("Ada Lovelace" in line for line in made.told)
    made = export(to, Wanted(lesson, marks, provisional=True), template)
    assert table(made.text)[-1][place] == "80"


def test_a_table_holds_the_sums_as_they_stand(lesson, sheet):
    """For the instructor: each exercise, the penalty, what waits, and who on the roster has nothing."""
    roster = sheet("id,first_name,last_name,email\nada,Ada,Lovelace,a@x.org\ngrace,Grace,Hopper,g@x.org\n")
    made = export("csv", Wanted(lesson, (standing("ada", waits=True, penalty=5.0),)), roster=roster)
    header, ada, grace = table(made.text)
    row = dict(zip(header, ada, strict=True))
    assert row["softmax"] == "80"
    assert (row["raw_score"], row["late_penalty"], row["score"], row["max_score"]) == ("88", "5", "83", "100")
    assert (row["last_name"], row["waits_for_a_person"]) == ("Lovelace", "why_scale")
    assert set(grace[1:]) == {""}


def test_json_says_the_same(lesson, sheet):
    """With the points of each cell, who gave them, and null for somebody without a mark."""
    roster = sheet("id,first_name,last_name,email\nada,Ada,Lovelace,a@x.org\ngrace,Grace,Hopper,g@x.org\n")
    made = json.loads(export("json", Wanted(lesson, (standing("ada", penalty=100.0),)), roster=roster).text)
    ada, grace = made["students"]
    assert (ada["raw_score"], ada["score"], made["max_score"]) == (88, 0, 100)
    assert [cell["by_hand"] for cell in ada["cells"]] == [False, True]
    assert grace == {"student": "Hopper, Grace", "score": None}


# --- strangers' text, wrong calls


@pytest.mark.parametrize("evil", ["=HYPERLINK(1)", "+1+1", "@SUM(A1)", "-2+3", "\t=1", "x;=1+1"])
@pytest.mark.parametrize("to", ["canvas", "moodle", "csv"])
def test_no_cell_is_a_formula(lesson, to, evil):
    """Names come from students; a spreadsheet gets them as text."""
    who = standing(evil, first_name=evil, last_name=evil, email=evil, lms_id=evil)
    for row in table(export(to, Wanted(lesson, (who,))).text):
        for value in row:
            assert not value.lstrip().startswith(("=", "+", "-", "@"))
            assert ";=" not in value


@pytest.mark.parametrize(
    ("to", "text", "why"),
    [
        ("canvas", MOODLE, "no template for canvas"),
        ("moodle", CANVAS, "no template for moodle"),
        ("excel", CANVAS, "choose"),
    ],
)
def test_a_wrong_template_is_refused(lesson, sheet, to, text, why):
    """The message says what the file is, and where the right one comes from."""
    with pytest.raises(GraderError, match=why):
        export(to, Wanted(lesson, (standing("ada"),)), sheet(text))


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "Student,ID,Section\n    Points Possible,,\n"])
def test_a_file_that_names_nobody_is_refused(sheet, text):
    """Rather than an export without marks."""
    with pytest.raises(GraderError, match=r"names nobody|is empty"):
        sheet(text)


# --- the gradebook


@pytest.fixture
def book(course):
    """nbgrader's gradebook, as a teaching assistant's formgrader has it."""
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as opened:
        yield opened


def mark_by_hand(book, student, name, score):
    grade = book.find_grade(name, LESSON, LESSON, student)
    grade.manual_score, grade.needs_manual_grade = score, False
    book.db.commit()


def test_after_marking_the_sum_is_exported(course, lesson, recorded, book, capsys):
    """89 of 90 by the machine and 7.5 by hand are 96.5; before the marking the cell is empty."""
    recorded("ada", softmax=14)
    recorded("bela", text=None, softmax=0)
    exporting.export(LESSON, to="canvas", output="-")
    rows = {row[3]: row[5] for row in table(capsys.readouterr().out)}
    assert (rows["ada"], rows["bela"]) == ("", "75")
    mark_by_hand(book, "ada", "why_scale", 7.5)
    exporting.export(LESSON, to="canvas", output="-")
    rows = {row[3]: row[5] for row in table(capsys.readouterr().out)}
    assert (rows["ada"], rows["bela"]) == ("96.5", "75")


def test_a_late_penalty_is_of_the_whole_mark(course, lesson, recorded, book):
    """The policy is asked again after marks were given by hand, and formgrader's number is the same as ours."""
    (course.root / "nbgrader_config.py").unlink()
    (course.root / "nbgrader_config.py").write_text(
        "from nbgrader.plugins import LateSubmissionPlugin\n"
        "class TenPercentADay(LateSubmissionPlugin):\n"
        "    def late_submission_penalty(self, student_id, score, total_seconds_late):\n"
        "        return 0.1 * score * round(total_seconds_late / 86400)\n"
        "c = get_config()\n"
        "c.AssignLatePenalties.plugin_class = TenPercentADay\n"
    )
    book.update_or_create_assignment(LESSON, duedate="2026-01-01 00:00:00 UTC")
    book.db.commit()
    recorded("ada", stamp="2026-01-03 00:00:00 UTC", softmax=5)
    mark_by_hand(book, "ada", "why_scale", 10)
    (ada,) = read_standings(course, lesson)
    assert (ada.raw_score, ada.penalty, ada.score, ada.late_s) == (90, 18, 72, 2 * 86400)
    book.db.expire_all()
    assert book.find_submission(LESSON, "ada").late_submission_penalty == 18


def test_an_extension_takes_the_penalty_back(course, lesson, recorded, book):
    """More time for one student, given after the grading, is seen by the next export."""
    (course.root / "nbgrader_config.py").unlink()
    (course.root / "nbgrader_config.py").write_text("get_config().LateSubmissionPlugin.penalty_method = 'zero'\n")
    book.update_or_create_assignment(LESSON, duedate="2026-01-01 00:00:00 UTC")
    book.db.commit()
    recorded("ada", text=None, stamp="2026-01-03 00:00:00 UTC")
    assert read_standings(course, lesson)[0].score == 0
    book.grant_extension(LESSON, "ada", days=3)
    assert read_standings(course, lesson)[0].score == 90


def test_extra_credit_is_in_the_mark(course, lesson, recorded, book):
    """As nbgrader adds it."""
    recorded("ada", text=None)
    book.find_grade("softmax", LESSON, LESSON, "ada").extra_credit = 2.5
    book.db.commit()
    assert read_standings(course, lesson)[0].score == 92.5


def test_nobody_graded_is_our_message(course, lesson):
    """Not an empty file that would be imported."""
    with pytest.raises(GraderError, match="nobody has a mark"):
        exporting.export(LESSON, to="csv", output="-")


def test_the_roster_of_the_course_is_asked(course, lesson, recorded, tmp_path):
    """A Canvas export as roster.csv serves as a template, and -o writes a file."""
    recorded("ada", text=None)
    (course.root / "roster.csv").write_text(CANVAS)
    exporting.export(LESSON, to="canvas", output=str(tmp_path / "out" / "canvas.csv"))
    written = table((tmp_path / "out" / "canvas.csv").read_text(encoding="utf-8"))
    assert written[-1] == ["Lovelace, Ada", "101", "S-101", "ada@example.org", "Sec 1", "90"]


def test_a_date_is_told_in_the_table(lesson):
    """When it came in, in UTC."""
    each = replace(standing("ada"), handed_in=datetime(2026, 2, 3, 4, 5, 6))
    assert "2026-02-03 04:05:06" in export("csv", Wanted(lesson, (each,))).text


@pytest.mark.parametrize("name", Course(ROOT).lessons())
def test_each_written_answer_has_a_rubric_for_whoever_marks_it(name):
    """It stands below the model answer, says how the points are given, and is not in the release."""
    course = Course(ROOT)
    source = {cell["id"]: "".join(cell["source"]) for cell in json.loads(course.source(name).read_text("utf-8"))["cells"]}
    written = course.lesson(name).written
    assert written
    for answer in written:
        _, _, rubric = source[answer.grade_id].partition(f"**Rubric ({answer.points:.0f} points)")
        parts = re.findall(r"(?:^|\W)(\d+)(?: points)?: ", rubric)
        assert sum(map(int, parts)) == answer.points
    assert "**Rubric" not in course.release(name).read_text("utf-8")
