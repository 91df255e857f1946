"""What a student reads before handing in: the visible checks, from the top, wherever the notebook lies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autograder.build import build
from autograder.check import Line, check
from autograder.errors import SubmissionError
from autograder.new import new_lesson

TOOLBOX = """
import contextlib

@contextlib.contextmanager
def checking(name):
    try:
        yield
        print("✔", f"{name}: all visible checks pass")
    except AssertionError as error:
        print("✘", f"{name}: {error}\\n    wanted: 4\\n    got:    5")
    except NotImplementedError:
        print("○", f"{name} is still open")

@contextlib.contextmanager
def picture(name, alt=""):
    raise SystemExit("a picture was drawn")

def ready(*names, written=()):
    print("✘ the table itself is no verdict")
"""
CHECK = 'with checking("double"):\n    assert double(2) == 4, "twice two"'
READY = 'ready("double", written=("why",))'
RIGHT = "def double(x):\n    return 2 * x"
OPEN = "def double(x):\n    raise NotImplementedError"
PASSES = Line("✔", "double", "all visible checks pass")


def code(source: str, grade_id: str = "") -> dict[str, object]:
    """A code cell as a notebook has it."""
    marks = {"nbgrader": {"grade_id": grade_id}} if grade_id else {}
    return {"cell_type": "code", "metadata": marks, "source": source, "outputs": [], "execution_count": None}


@pytest.fixture
def notebook(tmp_path):
    """Writes a notebook of these cells in a folder that is no course, and returns its path."""

    def write(*sources: str, written: str | None = None) -> Path:
        cells = [code(source) for source in sources]
        if written is not None:
            cells.append({"cell_type": "markdown", "metadata": {"nbgrader": {"grade_id": "why"}}, "source": written})
        path = tmp_path / "mine.ipynb"
        path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
        return path

    return write


def test_right_wrong_and_open(notebook):
    """Each exercise has its check cell's own words, several lines of them where something is wrong."""
    others = [CHECK.replace("double", "treble").replace("4", "6"), CHECK.replace("double", "half")]
    bodies = "def treble(x):\n    return 5\ndef half(x):\n    raise NotImplementedError"
    found = check(notebook(TOOLBOX, RIGHT, bodies, CHECK, *others), 20)
    assert found.lines == [
        PASSES,
        Line("✘", "treble", "twice two\n    wanted: 4\n    got:    5"),
        Line("○", "half", "is still open"),
    ]
    assert (found.count, found.done, found.notes) == ((1, 3), False, [])


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("*Your answer here, in place of this line.*", Line("○", "why", "is still open", written=True)),
        ("", Line("○", "why", "is still open", written=True)),
        ("Because.", Line("✎", "why", "in your own words: a person will read it", written=True)),
        (None, Line("✎", "why", "in your own words: a person will read it", written=True)),  # Colab lost the grade id
    ],
)
def test_written_answers(notebook, written, line):
    """A written answer is open as long as it is the stub; more only a person can say. It is not counted."""
    found = check(notebook(TOOLBOX, RIGHT, CHECK, READY, written=written), 20)
    assert found.lines == [PASSES, line]
    assert (found.count, found.done) == ((1, 1), line.mark == "✎")


def test_a_check_cell_that_is_gone(notebook):
    """The table at the end knows what there should be."""
    (line, _) = check(notebook(TOOLBOX, RIGHT, READY), 20).lines
    assert (line.mark, line.exercise) == ("·", "double")
    assert "its check cell is not in this notebook" in line.message


def test_it_is_run_as_from_a_fresh_start(notebook):
    """What only an old kernel knew is missed here too, as it would be in class; the cell is named."""
    found = check(notebook(TOOLBOX, "def double(x):\n    return factor * x", "factr = 2", "1 / 0", CHECK, "def f(:"), 20)
    assert found.lines == [Line("✘", "double", "NameError: name 'factor' is not defined")]
    assert found.notes[0] == "cell 4: ZeroDivisionError: division by zero"
    assert found.notes[1].startswith("cell 6: SyntaxError: ")
    assert found.notes[1].endswith("(line 1)")


def test_pictures_and_shell_lines_are_left_out(notebook, tmp_path):
    """Nothing is installed, fetched or drawn; the lines beside them are run."""
    drawn = f'with picture("double"):\n    open({str(tmp_path / "drawn")!r}, "w")\nfactor = 2'
    shell = f"!touch {tmp_path}/shell\n%matplotlib inline\noffset = 0"
    bash = f"%%bash\ntouch {tmp_path}/bash"
    found = check(notebook(TOOLBOX, drawn, shell, bash, "def double(x):\n    return factor * x + offset", CHECK), 20)
    assert (found.lines, found.notes) == ([PASSES], [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.ipynb"]


def test_files_beside_the_notebook_are_found(notebook, tmp_path):
    """It runs in its own folder, as in Jupyter."""
    (tmp_path / "factor.txt").write_text("2")
    body = "def double(x):\n    return int(open('factor.txt').read()) * x"
    assert check(notebook(TOOLBOX, body, CHECK), 20).lines == [PASSES]


def test_a_cell_without_end(notebook):
    """It is stopped after its seconds and named; the checks after it are run."""
    found = check(notebook(TOOLBOX, "while True:\n    pass", RIGHT, CHECK), 2)
    assert (found.lines, found.notes) == ([PASSES], ["cell 2: did not end within 2 s"])


def test_an_answer_without_end(notebook):
    """The exercise is named as the one that does not end."""
    found = check(notebook(TOOLBOX, "def double(x):\n    while True:\n        pass", CHECK), 2)
    assert found.lines == [Line("✘", "double", "did not end within 2 s")]


STUBBORN = "import time\nwhile True:\n    try:\n        time.sleep(100)\n    except BaseException:\n        pass"


def test_a_cell_that_will_not_be_stopped(notebook):
    """Whatever it catches, the run ends, says what was not reached, and no process stays behind."""
    started = time.monotonic()
    found = check(notebook(TOOLBOX, f"import os\nopen('pid', 'w').write(str(os.getpid()))\n{STUBBORN}", RIGHT, CHECK), 2)
    assert found.lines == [Line("·", "double", "was not reached: an earlier cell did not end")]
    assert found.notes == ["cell 2: did not end within 2 s"]
    assert time.monotonic() - started < 60
    pid = int((notebook().parent / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1]


def test_a_process_that_ends(notebook):
    """What the checks said before it stays, the cell is named, the rest was not reached."""
    later = CHECK.replace("double", "later")
    found = check(notebook(TOOLBOX, RIGHT, CHECK, "import os\nos._exit(1)", later), 20)
    assert found.lines == [PASSES, Line("·", "later", "was not reached: an earlier cell did not end")]
    assert found.notes == ["cell 4: the Python process ended"]


def test_checks_of_a_lesson_without_the_toolbox(notebook):
    """A check by nbgrader's cell name, with plain asserts, counts by how its cell ends."""
    path = notebook(RIGHT)
    raw = json.loads(path.read_text())
    raw["cells"] += [code("assert double(2) == 4", "check_double"), code("assert double(2) == 5, 'no'", "check_other")]
    path.write_text(json.dumps(raw))
    assert check(path, 20).lines == [Line("✔", "double"), Line("✘", "other", "AssertionError: no")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"cells": [', r"cut off.*Save it once more"),
        ("<html>Please log in</html>", "is a web page"),
        (json.dumps({"cells": [code("1 + 1")], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}), "no visible check"),
    ],
)
def test_what_is_no_notebook_of_the_course(tmp_path, text, said):
    """It is said to the student, not about one."""
    path = tmp_path / "mine.ipynb"
    path.write_text(text)
    with pytest.raises(SubmissionError, match=said) as caught:
        check(path, 20)
    assert "Ask the student" not in str(caught.value)


def test_a_real_lesson_by_the_command(tmp_path):
    """The lesson's own toolbox, in a folder without a course, without hidden suites: a table on stdout, an exit code."""
    (tmp_path / "course").mkdir()
    course, _ = new_lesson(tmp_path / "course", "my_lesson")
    build(course)
    for name, made in (("solved", course.source("my_lesson")), ("release", course.release("my_lesson"))):
        (tmp_path / f"{name}.ipynb").write_bytes(made.read_bytes())
    program = [sys.executable, "-c", "from autograder.cli import main; main()", "check"]
    cases = {"solved": (0, "1 of 1"), "release": (1, "0 of 1")}
    for name, (exit_code, count) in cases.items():
        done = subprocess.run([*program, f"{name}.ipynb"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (exit_code, "")
        assert f"{count} exercises pass their visible checks" in done.stdout
        assert "squared_distances" in done.stdout
    assert not (tmp_path / ".autograder").exists()
