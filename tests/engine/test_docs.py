"""What the documents say is so: commands run, or at least exist; links lead somewhere; files that are named are there."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from markdown_it import MarkdownIt
from nbgrader.apps.nbgraderapp import NbGraderApp

from autograder.cli import app
from autograder.leaks import find_leaks

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.md": ROOT / "README.md"} | {f"docs/{path.name}": path for path in sorted((ROOT / "docs").glob("*.md"))}
TESTED = "<!-- tested: these commands are run, in this order -->"
LESSON = "attention_from_scratch"
SHELL = ("", "sh", "bash", "console")  # languages of a fenced block that may hold commands
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
COMMANDS = typer.main.get_command(app).commands
OURS = ("autograder", "nbgrader", "make", "pytest")
OPTIONS_OF_PYTEST = {"--submission", "--student", "--device", "--sandbox", "-m", "-k", "-q"}

# Commands whose words are not compared with anything, unless their block is run: why not.
OTHERS = {
    ".": "activates an environment",
    "cd": "the shell's own",
    "cp": "the system's own",
    "dask": "needs a cluster; tests/engine/test_cluster.py has a local one",
    "docker": "needs Docker, which is not here; tests/engine/test_container.py looks at the image",
    "echo": "the shell's own",
    "gh": "needs GitHub",
    "git": "needs a repository to push to",
    "jupyter": "opens a browser; tests/engine/test_formgrader.py drives one",
    "kubectl": "needs a cluster",
    "pip": "needs the network; CI installs",
    "python": "the interpreter's own",
    "python3": "the interpreter's own",
    "sbatch": "needs a cluster",
    "sudo": "changes the machine",
    "tar": "the system's own",
    "unzip": "the system's own",
}


def blocks(page: Path) -> Iterator[tuple[bool, list[str]]]:
    """The indented and shell blocks of a page: whether they say that they are run, and their lines."""
    tested = False
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            tested = token.content.strip() == TESTED
        elif token.type == "code_block" or (token.type == "fence" and token.info.split(" ")[0] in SHELL):
            yield tested, [line for line in token.content.splitlines() if line.strip()]
            tested = False


def command(line: str) -> str:
    """A line without what stands beside the command: `# why`, or words behind two blanks."""
    return re.split(r"\s+# |(?<=\S)\s{2,}(?=\S)", line.strip(), maxsplit=1)[0].strip()


def commands(page: Path) -> list[str]:
    """All commands of a page that stand in blocks of their own."""
    found = []
    for _, lines in blocks(page):
        if lines and lines[0].split()[0] in (*OURS, *OTHERS):
            found += [command(line) for line in lines]
    return found


def wrong_call(words: list[str]) -> str:
    """What the command line says to a command of `autograder`, or nothing; it is not run."""
    if words[0] not in COMMANDS:
        return f"there is no command {words[0]}"
    try:
        COMMANDS[words[0]].make_context(words[0], list(words[1:]))
    except Exception as error:  # typer's own, whatever its type: the words are what counts
        return error.format_message() if hasattr(error, "format_message") else repr(error)
    return ""


def unknown_to_nbgrader(words: list[str]) -> str:
    """A subcommand or an option that nbgrader does not have, or nothing."""
    if words[0] not in NbGraderApp.subcommands:
        return f"there is no nbgrader {words[0]}"
    if words[0] == "db":
        return ""  # has commands of its own; those in our pages are run
    program = NbGraderApp.subcommands[words[0]][0]
    names = [name for key in (*program.aliases, *program.flags) for name in ([key] if isinstance(key, str) else key)]
    given = {word.partition("=")[0].lstrip("-") for word in words if word.startswith("--") and "." not in word}
    return ", ".join(sorted(given - set(names)))


def fault(words: list[str]) -> str:
    """What is wrong with a command, or nothing."""
    program, rest = words[0], words[1:]
    if program == "autograder":
        return wrong_call(rest)
    if program == "nbgrader":
        return unknown_to_nbgrader(rest)
    if program == "make":
        return ", ".join(word for word in rest if "=" not in word and word not in TARGETS)
    if program == "pytest":
        return ", ".join(word for word in rest if word.startswith("-") and word not in OPTIONS_OF_PYTEST)
    return "" if program in OTHERS else f"{program} is not known to this test"


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    """Each line of a block of commands is a call that the program would take."""
    wrong = {line: said for line in commands(PAGES[page]) if (said := fault(shlex.split(line)))}
    assert wrong == {}


def test_the_check_of_commands_can_fail():
    """Options, commands, targets and arguments that there are not."""
    bad = ["autograder grade x", "autograder grade x --lesson y --fast", "autograder mark x", "nbgrader formgrader"]
    bad += ["make everything", "pytest tests --speed 3", "nbgrader autograde x --quickly", "frobnicate"]
    assert [line for line in bad if not fault(shlex.split(line))] == []
    assert sum(len(commands(page)) for page in PAGES.values()) > 40


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_exist(page):
    """`autograder grade --jobs` in a sentence: the command is there, and the option too."""
    text = PAGES[page].read_text(encoding="utf-8")
    for words in (span.split() for span in re.findall(r"`autograder ([a-z][^`\n]*)`", text)):
        assert words[0] in COMMANDS, words
        known = {name for option in COMMANDS[words[0]].params for name in (*option.opts, *option.secondary_opts)}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, words
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS
    assert {name for name in re.findall(r"`nbgrader ([a-z_]+)", text) if unknown_to_nbgrader([name])} == set()


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub makes addresses of them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Each relative link names a file that is there, and a heading that it has."""
    path = PAGES[page]
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        there = path.parent / target if target else path
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page):
    """`autograder/name.py`, `tests/engine/name.py`, `docs/name.md`, also with {one,other} in them."""
    for name in re.findall(
        r"`((?:autograder|tests/engine|docs|benchmarks)/[^`\s]*)`", PAGES[page].read_text(encoding="utf-8")
    ):
        first, brace, rest = name.partition("{")
        choices = [first + each + rest.partition("}")[2] for each in rest.partition("}")[0].split(",")] if brace else [name]
        assert [each for each in choices if not any(char in each for char in "<*") and not (ROOT / each).exists()] == []


def test_every_page_is_in_the_index():
    """Who opens docs/ finds all of it."""
    listed = set(re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


# --- blocks that are run as they stand


def to_run(page: str) -> list[str]:
    """The lines of a page's blocks that say they are run."""
    return [command(line) for run, lines in blocks(PAGES[page]) if run for line in lines]


def shell(folder: Path, line: str) -> str:
    """Runs one line as a reader would type it, with the environment active; returns all it said."""
    active = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = os.environ | {"PATH": active, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False, env=environment)  # noqa: S607
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def canvas_zip(course, path: Path, **notebooks: str) -> None:
    """A download as Canvas makes it."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, (student, text) in enumerate(notebooks.items()):
            archive.writestr(f"{student}_{1000 + number}_{2000 + number}_{LESSON}.ipynb", text)


@pytest.fixture
def a_class(course, filled, model_answers):
    """The kit's course, not built anew, with a download of two students beside it."""
    canvas_zip(course, course.root / "submissions.zip", ada=json.dumps(filled(**model_answers)), bela=json.dumps(filled()))
    return course


def marks(text: str) -> dict[str, float]:
    """Student -> score, of `autograder export --to csv`."""
    return {row["student"]: float(row["score"]) for row in csv.DictReader(text.splitlines())}


@pytest.mark.slow
def test_a_first_class_as_instructors_md_tells_it(a_class):
    """From build to export and back-up, in its order: marks are where they should be at the end."""
    said = {line: shell(a_class.root, line) for line in to_run("docs/instructors.md")}
    assert len(said) >= 9
    assert marks((a_class.root / "marks.csv").read_text(encoding="utf-8")) == {"ada": 90.0, "bela": 0.0}
    students = a_class.root.parent / "students"
    assert find_leaks(a_class, {path: path.read_bytes() for path in students.rglob("*") if path.is_file()}) == []
    (regraded,) = [text for line, text in said.items() if "--student ada" in line]
    assert "nothing of them was run again" in regraded
    assert (a_class.root / "feedback" / "ada" / LESSON / f"{LESSON}.html").exists()
    assert (a_class.root.parent / "course-backup.tar.gz").stat().st_size > 1000


@pytest.mark.slow
def test_an_extension_lifts_the_penalty_of_one_student(a_class):
    """What instructors.md says of timestamp.txt: the penalty goes, nobody else's mark moves."""
    config = a_class.root / "nbgrader_config.py"
    text = config.read_text(encoding="utf-8")
    config.unlink()
    config.write_text(text + 'c.LateSubmissionPlugin.penalty_method = "zero"\n', encoding="utf-8")
    shell(a_class.root, f"autograder collect submissions.zip --lesson {LESSON}")
    shell(a_class.root, "cp -r submitted/ada submitted/chen")
    for student in ("ada", "chen"):
        (a_class.root / "submitted" / student / LESSON / "timestamp.txt").write_text("2021-11-05 12:00:00 UTC\n")
    shell(a_class.root, f"autograder grade submitted --lesson {LESSON} --device cpu")
    shell(a_class.root, f'nbgrader db assignment add {LESSON} --duedate="2021-10-30 23:59 UTC"')
    export = f"autograder export {LESSON} --to csv 2>/dev/null"
    assert marks(shell(a_class.root, export)) == {"ada": 0.0, "bela": 0.0, "chen": 0.0}
    (line,) = [line for line in to_run("docs/instructors.md") if line.startswith("echo")]
    shell(a_class.root, line.replace("2031", "2021"))
    shell(a_class.root, f"autograder grade submitted --lesson {LESSON} --student ada --device cpu")
    assert marks(shell(a_class.root, export)) == {"ada": 90.0, "bela": 0.0, "chen": 0.0}


@pytest.mark.slow
def test_a_lesson_of_ones_own_as_authoring_md_tells_it(tmp_path):
    """From an empty folder to what students get: every command succeeds."""
    (tmp_path / "course").mkdir()
    said = {line: shell(tmp_path / "course", line) for line in to_run("docs/authoring.md")}
    assert "problems: 0" in said["autograder prove my_lesson"]
    assert "90 / 90" in next(text for line, text in said.items() if "source/my_lesson" in line and "grade" in line)
    assert "0 / 90" in next(text for line, text in said.items() if "release/my_lesson" in line)
    assert (tmp_path / "students" / "release" / "my_lesson" / "my_lesson.ipynb").exists()


def test_every_block_that_claims_to_be_run_is_run():
    """The mark stands only on pages that a test above runs, and before a block."""
    pages = {page for page, path in PAGES.items() if TESTED in path.read_text(encoding="utf-8")}
    assert pages == {"docs/instructors.md", "docs/authoring.md"}
    for page in pages:
        assert PAGES[page].read_text(encoding="utf-8").count(TESTED) == sum(run for run, _ in blocks(PAGES[page]))
