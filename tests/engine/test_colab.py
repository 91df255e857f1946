"""The notebook that grades a class on Colab: built from its script, and run here with stand-ins for what only Colab has."""

import json
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import typer.main
from IPython.core.inputtransformer2 import TransformerManager

from autograder.cli import app
from autograder.colab import notebook_path, notebook_text
from autograder.course import Course

ROOT = Path(__file__).parents[2]
LESSON = "attention_from_scratch"


def cells():
    """Its code cells, those that prepare Colab's machine left out."""
    notebook = nbformat.reads(notebook_path(Course(ROOT)).read_text(encoding="utf-8"), as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell.source for cell in code if "colab" not in cell.metadata.get("tags", [])]


def test_the_notebook_is_what_its_script_makes():
    """Edit docs/colab/grade_a_class.py, then run python -m autograder.colab."""
    assert notebook_path(Course(ROOT)).read_text(encoding="utf-8") == notebook_text(Course(ROOT))


def test_it_says_that_it_was_not_tried_there():
    """Nothing is claimed that was not done."""
    assert "was not tried on Colab itself" in notebook_text(Course(ROOT))


def test_it_asks_for_a_gpu():
    """Colab reads that from the notebook's metadata."""
    assert nbformat.reads(notebook_text(Course(ROOT)), as_version=4).metadata.accelerator == "GPU"


def test_its_options_exist():
    """Each command and option that a cell calls."""
    commands = typer.main.get_command(app).commands
    calls = [line.split() for cell in cells() for line in cell.splitlines() if line.startswith("!autograder ")]
    assert [call[1] for call in calls] == ["doctor", "grade"]
    for _, name, *rest in calls:
        known = {option for parameter in commands[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known


def test_a_class_is_graded_by_it(course, filled, model_answers, monkeypatch, capsys):
    """Its cells, one after the other, on a zip of two students; marks and feedback come back in one file."""
    with zipfile.ZipFile("class.zip", "w") as archive:
        archive.writestr("ada.ipynb", json.dumps(filled(**model_answers)))
        archive.writestr("bela.ipynb", json.dumps(filled()))
    taken = []
    files = SimpleNamespace(upload=lambda: {"class.zip": b""}, download=taken.append)
    monkeypatch.setitem(sys.modules, "google", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(files=files))
    space = {"get_ipython": lambda: SimpleNamespace(system=lambda line: system(line.format(**space), course))}
    for cell in cells():
        exec(TransformerManager().transform_cell(cell), space)  # noqa: S102 - the course's own notebook
    shown = capsys.readouterr().out
    assert "ada" in shown
    assert f"{LESSON} on c" in shown
    with zipfile.ZipFile(taken[0]) as archive:
        assert {"results.json", "feedback/ada.txt", "feedback/bela.txt"} <= set(archive.namelist())
        scores = {one["student"]: one["score"] for one in json.loads(archive.read("results.json"))["submissions"]}
    assert scores["ada"] > scores["bela"] == 0


def system(line, course):
    """A line of the shell, with this Python's own command."""
    name, *arguments = shlex.split(line)
    assert name == "autograder"
    command = [sys.executable, "-c", "from autograder.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=course.root, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(done.stderr)
