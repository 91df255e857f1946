"""The notebooks are what the scripts say, give no answer away, and run."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from autograder.build import Built, build
from autograder.course import Course
from autograder.errors import GraderError

REPO = Course(Path(__file__).resolve().parents[2])
LESSONS = REPO.lessons()
FIRST = "attention_from_scratch"
ONE_AT_ONCE = [pytest.param(name, marks=() if name == FIRST else pytest.mark.slow) for name in LESSONS]
SHORT = 16  # characters: shorter lines, as `return output`, give nothing away

MARKS = '"locked": false, "points": 5, "schema_version": 3, "solution": true'
SCRIPT = f'''# %% [markdown]
# # A lesson
# include: badge

# %%
# include: _toolbox.py

# %% nbgrader={{"grade": true, "grade_id": "double", {MARKS}}}
def double(x):
    """Twice x.

    Shape:
        x: any
        returns: as x
    """
    ### BEGIN SOLUTION
    return x + x  # the answer
    ### END SOLUTION

# %% [markdown]
# Why?

# %% [markdown] nbgrader={{"grade": true, "grade_id": "why", {MARKS}}}
# ### BEGIN SOLUTION
# Because of the rubric.
# ### END SOLUTION
'''


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """A course of one small lesson, not built yet."""
    return _make_course(tmp_path / "course")


def _make_course(root: Path) -> Course:
    (root / "solutions").mkdir(parents=True)
    (root / "solutions" / "tiny.py").write_text(SCRIPT, encoding="utf-8")
    (root / "solutions" / "_toolbox.py").write_text("def tool():\n    return 1\n")
    (root / "pyproject.toml").write_text('[tool.autograder]\nrepository = "someone/course"\nbranch = "main"\n')
    return Course(root)


def _edit(course: Course, old: str, new: str) -> None:
    script = course.solutions / "tiny.py"
    text = script.read_text(encoding="utf-8")
    assert old in text
    script.write_text(text.replace(old, new), encoding="utf-8")


def _read(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def _answers(lesson: str) -> Iterator[str]:
    """Every line of a model answer of a lesson that would give something away."""
    for cell in _read(REPO.source(lesson)).cells:
        for region in re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", cell.source, re.DOTALL):
            yield from (line.strip() for line in region.splitlines() if len(line.strip()) >= SHORT)


def _run(path: Path) -> list[NotebookNode]:
    """All outputs of a notebook, run from top to bottom in a kernel as students have it."""
    notebook = _read(path)
    NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def _printed(outputs: list[NotebookNode]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def test_repository_is_up_to_date() -> None:
    """The committed notebooks are what the scripts say; if this fails, run `make notebooks`."""
    stale = [path for built in build(REPO, check=True) for path in built.changed]
    assert not stale


def test_build_is_reproducible(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds, at other places and from another folder, give the same bytes."""
    other = _make_course(tmp_path / "elsewhere")
    build(course)
    monkeypatch.chdir(tmp_path)
    build(other)
    for one, two in ((course.source("tiny"), other.source("tiny")), (course.release("tiny"), other.release("tiny"))):
        assert one.read_bytes() == two.read_bytes()


def test_build_touches_only_what_changed(course: Course) -> None:
    """A second build writes nothing, a change in an answer writes the source only, and no gradebook appears."""
    files = course.source("tiny"), course.release("tiny")
    assert build(course) == [Built("tiny", *files, changed=files)]
    assert build(course)[0].changed == ()
    _edit(course, "x + x", "2 * x")
    assert build(course)[0].changed == (course.source("tiny"),)
    assert sorted(path.name for path in course.root.iterdir()) == ["pyproject.toml", "release", "solutions", "source"]
    assert [path.name for path in course.release("tiny").parent.iterdir()] == ["tiny.ipynb"]


def test_check_reports_and_writes_nothing(course: Course) -> None:
    """`check` names what is missing or stale and leaves every file as it was."""
    assert build(course, ["tiny"], check=True)[0].changed == (course.source("tiny"), course.release("tiny"))
    assert not course.source("tiny").exists()
    build(course)
    before = course.release("tiny").read_bytes()
    _edit(course, "Twice x.", "Two times x.")
    assert course.release("tiny") in build(course, check=True)[0].changed
    assert course.release("tiny").read_bytes() == before


def test_includes_are_resolved(course: Course) -> None:
    """The badge has the address from pyproject.toml, and the toolbox stands in its cell."""
    build(course)
    cells = _read(course.release("tiny")).cells
    assert "colab.research.google.com/github/someone/course/blob/main/release/tiny/tiny.ipynb" in cells[0].source
    assert cells[1].source == "def tool():\n    return 1"


def test_cell_ids_are_stable(course: Course) -> None:
    """A graded cell has its grade id; a new cell changes no other cell's id."""
    build(course)
    before = [cell.id for cell in _read(course.release("tiny")).cells]
    assert before[2] == "double"
    assert before[4] == "why"
    _edit(course, "# %%\n# include", "# %% [markdown]\n# Why?\n\n# %%\n# include")
    build(course)
    after = [cell.id for cell in _read(course.release("tiny")).cells]
    assert set(before) < set(after)
    assert len(after) == len(set(after)) == len(before) + 1


def test_same_as_nbgrader(course: Course) -> None:
    """`nbgrader generate_assignment` gives the release that `build` gives."""
    build(course)
    ours = _read(course.release("tiny"))
    shutil.rmtree(course.root / "release")
    config = "from autograder.build import nbgrader_settings\nfrom traitlets.config import Config\n"
    (course.root / "nbgrader_config.py").write_text(f"{config}get_config().merge(Config(nbgrader_settings()))\n")
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "tiny"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by its name
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPO.root)}
    run = subprocess.run(
        command, cwd=course.root, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert _read(course.release("tiny")) == ours


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    ### BEGIN SOLUTION\n", "", "double has no ### BEGIN SOLUTION"),
        ("    ### END SOLUTION\n", "", "nbgrader cannot make a release"),
        ('"grade_id": "why"', '"grade_id": "double"', "nbgrader cannot make a release"),
        ("# include: _toolbox.py", "# include: _tools.py", "includes _tools.py, which cannot be read"),
        ("# Why?\n", "# Why?\n# ### BEGIN SOLUTION\n# a\n# ### END SOLUTION\n", "no nbgrader metadata"),
    ],
)
def test_broken_script(course: Course, old: str, new: str, message: str) -> None:
    """A broken script is named with what to mend, and no notebook is written."""
    _edit(course, old, new)
    with pytest.raises(GraderError, match=re.escape(message)) as caught:
        build(course)
    assert "tiny.py" in str(caught.value)
    assert not course.source("tiny").exists()


def test_unknown_lesson(course: Course) -> None:
    """A lesson that does not exist is refused, with those that do."""
    with pytest.raises(GraderError, match=r"huge\.py does not exist.* known are: tiny"):
        build(course, ["tiny", "huge"])
    assert not course.source("tiny").exists()


def test_no_address(course: Course) -> None:
    """Without the repository's address the message says where to put it."""
    (course.root / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(GraderError, match=r"pyproject\.toml does not say.*\[tool\.autograder\]"):
        build(course)


def test_unreadable_script(course: Course) -> None:
    """A script that is not UTF-8 is refused by name."""
    (course.solutions / "tiny.py").write_bytes(b"# %%\n\xff\xfe")
    with pytest.raises(GraderError, match=r"tiny\.py cannot be read"):
        build(course)


def test_unwritable_course(course: Course) -> None:
    """Where a notebook cannot be written, the message names it."""
    (course.root / "source").write_text("a file where a folder should be")
    with pytest.raises(GraderError, match=r"tiny\.ipynb cannot be written"):
        build(course)


@pytest.mark.parametrize("lesson", LESSONS)
def test_release_holds_no_answer(lesson: str) -> None:
    """No line of a model answer, and no trace of one, stands anywhere in the release."""
    release = "\n".join(cell.source for cell in _read(REPO.release(lesson)).cells)
    answers = list(_answers(lesson))
    assert len(answers) > 10
    assert [line for line in answers if line in release] == []
    assert "SOLUTION" not in release
    assert "ubric" not in release


@pytest.mark.parametrize("lesson", LESSONS)
def test_release_holds_no_hidden_test(lesson: str) -> None:
    """No line of a hidden suite stands in the release."""
    released = {line.strip() for cell in _read(REPO.release(lesson)).cells for line in cell.source.splitlines()}
    suites = REPO.root.glob(f"tests/{lesson}/test_*.py")
    hidden = {line.strip() for path in suites for line in path.read_text(encoding="utf-8").splitlines()}
    shared = {line for line in hidden & released if len(line) >= 2 * SHORT}  # shorter ones are signatures and numbers
    assert [line for line in sorted(shared) if not line.startswith(("import ", "from "))] == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_release_is_clean(lesson: str) -> None:
    """The release has no outputs, no line too long for a screen, and marks that add up to a hundred."""
    cells = _read(REPO.release(lesson)).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    code = [line for cell in cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    assert [line for line in code if len(line) > 120] == []
    marks = [cell.metadata.nbgrader.get("points", 0) for cell in cells if cell.metadata.get("nbgrader")]
    assert sum(marks) == 100


@pytest.mark.parametrize("lesson", LESSONS)
def test_stubs_raise(lesson: str) -> None:
    """A stub binds its exercise's name, has a docstring, and does nothing but raise NotImplementedError."""
    for exercise in REPO.lesson(lesson).exercises:
        stub = next(node for node in ast.parse(exercise.stub).body if getattr(node, "name", "") == exercise.name)
        assert isinstance(stub, ast.FunctionDef | ast.ClassDef)
        assert ast.get_docstring(stub), exercise.name
        raised = [node.exc for node in ast.walk(stub) if isinstance(node, ast.Raise)]
        assert [ast.unparse(error) for error in raised if error] == ["NotImplementedError"] * len(raised)
        assert raised, exercise.name
        if isinstance(stub, ast.FunctionDef):
            assert isinstance(stub.body[-1], ast.Raise)
            assert len(stub.body) == 2, exercise.name


@pytest.mark.parametrize("lesson", ONE_AT_ONCE)
def test_solved_notebook_runs(lesson: str) -> None:
    """The solved notebook runs from top to bottom: every check passes, every picture has its text."""
    outputs = _run(REPO.source(lesson))
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    printed = _printed(outputs)
    assert "✘" not in printed
    assert "○" not in printed
    for exercise in REPO.lesson(lesson).exercises:
        assert f"✔ {exercise.name}: all visible checks pass" in printed
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert all(picture.metadata["image/png"]["alt"] for picture in pictures)


@pytest.mark.parametrize("lesson", ONE_AT_ONCE)
def test_untouched_release_runs(lesson: str) -> None:
    """The untouched release runs from top to bottom and names every stub that is open, and nothing breaks."""
    outputs = _run(REPO.release(lesson))
    assert [output for output in outputs if output.output_type == "error"] == []
    printed = _printed(outputs)
    assert "✘" not in printed
    for exercise in REPO.lesson(lesson).exercises:
        assert re.search(rf"○ {exercise.name}( waits for \w+, which)? is still open", printed), exercise.name
