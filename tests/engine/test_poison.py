"""What students write into names, files, messages, prints and answers reaches no reader as anything but text.

The functions are tried on all that hypothesis can think of, the commands on one class in which everything is poisoned.
"""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.text import Text

from autograder import safetext
from autograder.nbgrader_hook import plain_code, safe_markdown

ROOT = Path(__file__).resolve().parents[2]
LESSON = "attention_from_scratch"
# What a terminal, a browser or a reader's eye obeys: control characters, marks of direction, the unseen.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")
SIGNS = "\x1b[31;5m\x1b]8;;http://evil.example\x07\x9b31m\x9d0;title\x9c\u202e\u2066\u200b\ufeff\u2028\r"
MARKS = "[blink]B[/][link=http://evil.example]L[/link][/red] :bomb: "
TAGS = "<script>evil()</script><img src=x onerror=evil()>\"'`{{7*7}}${7*7}"
POISON = f"{SIGNS}{MARKS}{TAGS}"
NAME = "=1+1" + POISON.replace("/", "|").replace("\r", "")  # what a folder may be called

STRANGE = os.fsdecode(b"\xff\xfeeve")  # a name that is no text in UTF-8

any_text = st.text(st.characters(), max_size=60) | st.text(
    st.sampled_from("[]\\/#@redlink=:=+-'\",;\x1b\u202e \tａ＝"), max_size=20
)


# --- the functions


@given(any_text, st.integers(1, 50))
@example("a\x1b[31mb\u202ec\r\nd\te\udc80", 50)
def test_nothing_that_is_obeyed_is_left_and_nothing_is_too_long(text, limit):
    """Whatever the text, on one line or on several."""
    assert not OBEYED.search(safetext.clean(text, limit))
    assert len(safetext.clean(text, limit)) <= limit
    line = safetext.one_line(text, limit)
    assert len(line) <= limit
    assert not re.search(r"[\t\n]", line)
    assert not OBEYED.search(line)


def test_ordinary_text_is_left_as_it_is():
    """Accents, other scripts, emoji of several parts' glyphs and formulas are nobody's poison."""
    for text in ("Łukasz Müller-Lüdenscheidt", "李小龙", "นที", "שלום", "مرحبا", "❤️ x² ≤ ∑ −1", "a\tb\nc", "e\u0301\u0323"):
        assert safetext.clean(text) == text


def test_accents_in_piles_are_cut():
    """A hundred accents on a letter would cover the lines above it."""
    assert len(safetext.clean("a" + "\u0301" * 100)) == 5


@given(any_text, any_text)
@example("[blink", "]x[/blink]")
@example("a\\", "[red]")
@example(r"\[red]", r"\\[/]")
def test_no_text_is_markup_alone_or_beside_another(first, second):
    """Whatever stands around it, the terminal's colours are ours, nothing raises, and no word is lost."""
    shown = Text.from_markup(
        f"[red]{safetext.markup(first)}[/red]{safetext.markup(second)}] [bold]x[/bold]{safetext.markup(first)}", emoji=False
    )
    assert {str(span.style) for span in shown.spans} <= {"red", "bold"}
    wanted = f"{safetext.one_line(first)}{safetext.one_line(second)}] x{safetext.one_line(first)}"
    assert shown.plain.replace("\\", "") == wanted.replace("\\", "")


def test_a_terminal_makes_no_emoji_of_words_between_colons(monkeypatch):
    """A message is told as it was written."""
    console = safetext.terminal()
    console.file = io.StringIO()
    console.print(safetext.markup("a :bomb: b"))
    assert ":bomb:" in console.file.getvalue()


@given(any_text)
@example(TAGS)
def test_a_page_holds_text_only(text):
    """As text and in an attribute: a browser reads back the text, and no tag of it."""
    for made in (
        f'<p title="{safetext.html(text)}">{safetext.html(text)}</p>',
        safetext.pages().from_string('<p title="{{ text }}">{{ text }}</p>').render(text=text),
    ):
        page = _Page(made)
        assert [tag for tag, _ in page.tags] == ["p"]
        assert page.tags[0][1] == {"title": page.text}
        assert page.text == safetext.clean(text)


def test_a_value_that_is_missing_is_an_error():
    """Not an empty place in somebody's feedback."""
    with pytest.raises(Exception, match="is undefined"):
        safetext.pages().from_string("{{ score }}").render()


def test_a_pages_policy_lets_its_own_style_and_script_in_and_nothing_else():
    """By their digests, as the standard says; no address at all."""
    policy = dict(part.strip().split(" ", 1) for part in safetext.content_policy(["p {}"], ["f()"]).split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'sha256-SNJDlN1Iy2mnt7DOjQIyDb2LQE6O5PQiSZomcdzawQ4='"
    assert policy["script-src"].startswith("'sha256-")
    assert "unsafe" not in str(policy)
    assert "http" not in str(policy)
    assert safetext.content_policy().count("'none'") == 5


FORMULA = re.compile(r"(?:^|[,;|\"])[\s\"]*[=+\-@]")  # that no apostrophe stands before


@given(any_text)
@example("ada;=1+1")
@example('", =cmd()')
@example("＝1+1")
@example("\u200b\t =1")
def test_no_cell_is_a_formula(text):
    """Neither as it stands nor cut at another separator, nor after a spreadsheet made full-width signs narrow."""
    shown = safetext.cell(text)
    assert isinstance(shown, str)
    assert "\n" not in shown
    assert not OBEYED.search(shown)
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", shown):
        assert not FORMULA.search(shown)
    (row,) = csv.reader(io.StringIO(_csv([shown, "next"])))
    assert row == [shown, "next"]


def test_every_sign_that_becomes_a_formulas_first_is_kept_from_it():
    """All of Unicode, as the first character of a cell."""
    for code in range(sys.maxunicode + 1):
        sign = chr(code)
        if unicodedata.normalize("NFKC", sign)[:1] in tuple("=+-@"):
            assert str(safetext.cell(f"{sign}1+A1"))[:1] == "'", f"U+{code:04X}"


def test_numbers_stay_numbers_and_names_names():
    """A mark can be added up; an honest name has no apostrophe before it."""
    assert [safetext.cell(each) for each in (3, 2.5, -1.5, None, "12.5", "-0.5")] == [3, 2.5, -1.5, "", "12.5", "-0.5"]
    for name in ("Lovelace, Ada", "O'Brien", "Müller-Lüdenscheidt", "李小龙", "(Pepe) José", "ada@example.org"):
        assert safetext.cell(name) == name


@given(st.sets(any_text | st.sampled_from(["CON", "nul.txt", "Ada", "ada", "ADA", "é", "e\u0301", "ﬁ", "fi", ".", ".."])))
def test_file_names_differ_on_every_file_system(names):
    """One for each, whatever case or normal form the file system forgets; none leaves its folder or names a device."""
    files = safetext.file_names(names)
    assert set(files) == names
    seen = {unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", file).casefold()) for file in files.values()}
    assert len(seen) == len(names)
    for file in files.values():
        assert 0 < len(file.encode()) <= safetext.NAME_BYTES
        assert Path(file).name == file
        assert file.strip(" .-") == file
        assert not OBEYED.search(file)
        assert not set(file) & set('<>:"/\\|?*&`$[]{}\n\t')
        assert file.split(".")[0].lower() not in ("con", "nul", "aux", "prn", "com1", "lpt1")


def test_a_name_that_can_be_a_files_is_kept_and_another_is_always_changed_alike():
    """An instructor finds `Ada Lovelace`; whatever class eve is graded in, hers is the same file."""
    assert safetext.file_name("Ada Lovelace") == "Ada Lovelace"
    assert safetext.file_name("eve/../ada") == safetext.file_names(["ada", "eve/../ada"])["eve/../ada"]
    assert safetext.file_names(["Ada", "eve"]) == {"Ada": "Ada", "eve": "eve"}
    assert {"Ada", "ada"}.isdisjoint(safetext.file_names(["Ada", "ada"]).values())


# --- formgrader


def test_an_answer_cannot_stand_for_a_part_of_formgraders_page():
    """Formgrader finds an exercise's score by the first element of its name: a student's heading must have none."""
    shown = safe_markdown("# softmax\n\n<div id='why_scale' class='nbgrader_cell panel score btn'>full credit</div>")
    assert " id=" not in shown
    assert "class=" not in shown
    assert "<h1>softmax</h1>" in shown.replace("\n", "")


def test_an_answer_fetches_nothing():
    """Or its writer would learn when it is read; a picture that the answer itself holds is shown."""
    shown = safe_markdown(
        "![a](http://evil.example/x.png) ![b](//evil.example/x.png) ![c](data:image/png;base64,AAAA)"
        " ![d](data:image/svg+xml;base64,AAAA) <img src='data:text/html,x'> [e](data:text/html,x) [f](https://x.example)"
    )
    assert re.findall(r'(?:src|href)="([^"]*)', shown) == ["data:image/png;base64,AAAA", "https://x.example"]


@given(any_text)
@example(POISON)
def test_no_answer_becomes_a_script(text):
    """Whatever Markdown makes of it."""
    page = _Page(safe_markdown(f"# x {text}\n\n{text}\n\n> {text}"))
    assert not {tag for tag, _ in page.tags} & {"script", "style", "iframe", "form", "input", "svg", "math", "link", "meta"}
    assert all(not name.startswith("on") and name not in ("id", "style") for _, given in page.tags for name in given)


def test_code_shows_what_it_hides():
    """A line that reads backwards is not the line that was graded; whoever marks sees the sign itself."""
    shown = plain_code("if access == 'user\u202e \u2066# admin':\n\tpass\x1b[8m")
    assert r"\u202e" in shown
    assert r"\u2066" in shown
    assert r"\x1b" in re.sub(r"<[^>]*>", "", shown)
    assert not OBEYED.search(shown)


# --- the commands


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory, course_in, filled, model_answers, python_in, autograder_in):
    """A class of three, graded by the command in a terminal: mallory's notebook is poisoned all over, two names are."""
    course = course_in(tmp_path_factory.mktemp("poison"))
    code = f"def softmax(x, dim=-1):\n    print({POISON!r})\n    raise ValueError({POISON!r})  # {POISON}".replace("\r", "")
    notebook = filled(
        **model_answers | {"why_scale": f"# softmax\n\n{POISON}\n\n![x](http://evil.example/x.png)", "softmax": code}
    )
    notebook["cells"].insert(0, {"cell_type": "markdown", "id": "m", "metadata": {"tags": [POISON]}, "source": POISON})
    notebook["cells"].append({"cell_type": "raw", "id": "r", "metadata": {"raw_mimetype": "text/html"}, "source": POISON})
    notebook["metadata"] |= {
        "title": POISON,
        "authors": [{"name": POISON}],
        "kernelspec": {"name": POISON, "display_name": POISON},
    }
    for name, text in (("mallory", json.dumps(notebook)), (NAME, f"<html>{POISON}</html>")):
        path = course.root / "submitted" / name / LESSON / f"{LESSON}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    path = course.root / "submitted" / STRANGE / LESSON / f"{STRANGE}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(filled()), encoding="utf-8")
    code, seen = in_terminal(course.root, "grade", "submitted", "--lesson", LESSON, "--device", "cpu", "--jobs", "1")
    page = python_in(course, "-m", "nbgrader", "generate_feedback", LESSON, "--student=mallory")
    assert code == 1, seen[-1000:]
    for system in ("csv", "canvas", "moodle"):
        done = autograder_in(course, "export", LESSON, "--to", system, "--output", f"exported-{system}.csv")
        assert done.returncode == 0, done.stderr
    return SimpleNamespace(course=course, seen=seen, state=course.state / LESSON, log=page.stderr)


def test_a_terminal_shows_poison_as_text(poisoned):
    """Of all that moves a cursor, sets a title or makes a link, rich's own colours and bar are left."""
    ours = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[012]?K|1A)|\r")
    assert not OBEYED.search(ours.sub("", poisoned.seen))
    assert "\x1b]" not in poisoned.seen
    assert "\x1b[31;5" not in poisoned.seen
    assert "=1+1" in poisoned.seen
    assert "mallory" in poisoned.seen


def test_files_for_students_and_instructors_hold_text_only(poisoned):
    """Feedback, details and whatever else a run leaves as text; and they lie in their folder, one for each student."""
    texts = [path for path in poisoned.state.rglob("*.txt") if path.is_file()]
    assert {path.parent.name for path in texts} >= {"feedback", "details"}
    for path in texts:
        assert not OBEYED.search(path.read_text(encoding="utf-8")), path
    for folder in ("feedback", "details"):
        for path in (poisoned.state / folder).iterdir():
            assert not OBEYED.search(path.name)
            assert not set(path.name) & set('<>"\\|*?:')
    assert len({path.stem for path in (poisoned.state / "feedback").iterdir()}) == 3


def test_tables_hold_no_formula(poisoned):
    """The class report, and the marks for a spreadsheet, for Canvas and for Moodle."""
    paths = [*poisoned.course.state.rglob("*.csv"), *poisoned.course.root.glob("exported-*.csv")]
    assert len(paths) == 4
    for path in paths:
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))):
            assert not [cell for cell in row if FORMULA.search(cell) and not re.fullmatch(r"-?[0-9.]+", cell)], path


def test_pages_run_nothing_of_a_students(poisoned):
    """nbgrader's feedback and whatever else is a page; ours say in a policy that nothing is fetched or run."""
    theirs = list((poisoned.course.root / "feedback").rglob("*.html"))
    assert len(theirs) == 1, poisoned.log
    ours = list(poisoned.course.state.rglob("*.html"))
    for path in theirs + ours:
        text = path.read_text(encoding="utf-8")
        page = _Page(text)
        assert not OBEYED.search(text.replace("\r", "")), path
        assert "evil()" not in "".join(page.scripts)
        for tag, attributes in page.tags:
            assert not [name for name, value in attributes.items() if name.startswith("on") and "evil" in (value or "")]
            assert "evil.example" not in str(attributes.get("src")), (path, tag)  # a link may: it waits for a click
    assert len(ours) == 4  # of the class, and each student's
    for path in ours:
        given = [attributes.get(name) for _, attributes in _Page(path.read_text("utf-8")).tags for name in ("href", "src")]
        assert not [address for address in given if address and "evil.example" in address], path
        policies = [
            given.get("content")
            for tag, given in _Page(path.read_text("utf-8")).tags
            if tag == "meta" and given.get("http-equiv")
        ]
        assert "default-src 'none'" in policies[0], path
        assert "unsafe" not in policies[0], path


def test_the_notebook_that_is_marked_by_hand_is_a_students_text_around_our_words(poisoned):
    """What the tests say is escaped and clean; the student's own code is as they wrote it."""
    (path,) = (poisoned.course.root / "autograded" / "mallory").rglob("*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs
    for output in outputs:
        assert not OBEYED.search("".join(output.data.values()))
        assert _Page(output.data["text/html"]).tags[1:] == []
    assert POISON not in json.dumps(notebook.metadata)
    assert not [cell for cell in notebook.cells if POISON in json.dumps(cell.metadata)]


def test_results_are_json_whatever_was_written(poisoned):
    """And name the student as their folder does, if that is text; a terminal that is shown the file obeys nothing."""
    written = (poisoned.state / "results.json").read_text(encoding="utf-8")
    assert not OBEYED.search(written)
    results = json.loads(written)
    assert [one["student"] for one in results["submissions"]] == [NAME, "mallory", safetext.file_name(STRANGE)]
    assert results["submissions"][2]["path"].endswith(r"\udcff\udcfeeve.ipynb")
    for one in results["submissions"]:
        for text in (
            one["message"],
            *one["repairs"],
            *(test["message"] for each in one["exercises"] for test in each["tests"]),
        ):
            assert len(text) <= safetext.MESSAGE_LIMIT


@pytest.fixture
def download(course, filled):
    """A Moodle download in which every name is poison, and a Gradescope one whose metadata are."""
    moodle, gradescope = course.root / "moodle.zip", course.root / "gradescope.zip"
    names = [f"{NAME}_1_assignsubmission_file", "Eve\u202e_2_assignsubmission_file", "x" * 150 + "_3_assignsubmission_file"]
    with zipfile.ZipFile(moodle, "w") as archive:
        for name in [*names, *(f"{each}_{number}_assignsubmission_file" for number, each in enumerate(("Ada", "ada"), 4))]:
            archive.writestr(f"{name}/{POISON.replace('/', '|')}.ipynb", json.dumps(filled()))
    people = [NAME, 'eve";alert(1);"', "y" * 1000, "../../eve", "/etc/passwd", "-rf", ".ssh"]
    lines = "".join(
        f"submission_{n}:\n  :submitters:\n  - :name: {json.dumps(who)}\n    :sid: '{n}'\n" for n, who in enumerate(people)
    )
    with zipfile.ZipFile(gradescope, "w") as archive:
        archive.writestr("submission_metadata.yml", lines)
        for number in range(len(people)):
            archive.writestr(f"submission_{number}/{LESSON}.ipynb", json.dumps(filled()))
    return SimpleNamespace(moodle=(moodle, 5), gradescope=(gradescope, len(people)))


@pytest.mark.parametrize("platform", ["moodle", "gradescope"])
def test_a_downloads_names_become_folders_that_hurt_nobody(course, download, platform):
    """One for each student, inside submitted/, with nothing in them that nbgrader's pages or a shell would obey."""
    archive, students = getattr(download, platform)
    code, seen = in_terminal(course.root, "collect", str(archive), "--lesson", LESSON)
    assert code == 0, seen[-1000:]
    folders = sorted(path.name for path in (course.root / "submitted").iterdir())
    assert len(folders) == students
    for folder in folders:
        assert not OBEYED.search(folder)
        assert not set(folder) & set('<>"\\|*?:`$[]{};&')
        assert folder[0] not in ".-= "
    assert not OBEYED.search(re.sub(r"\x1b\[[0-9;]*m|\r", "", seen))


# --- tools


class _Page(HTMLParser):
    """Tags with their attributes, the text, and what stands in scripts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.scripts, self._script = [], "", [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._script = tag == "script"

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts.append(data)
        else:
            self.text += data


def _csv(row):
    written = io.StringIO()
    csv.writer(written).writerow(row)
    return written.getvalue()


def in_terminal(folder, *arguments):
    """Runs the command as in a terminal: exit code, and every byte that the terminal was sent."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "200"}
    command = [sys.executable, "-c", "from autograder.cli import main; main()", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = bytearray()
    while True:
        try:
            seen += os.read(ours, 65_536)
        except OSError:  # the other side is closed
            break
    os.close(ours)
    return process.wait(), seen.decode(errors="replace")
