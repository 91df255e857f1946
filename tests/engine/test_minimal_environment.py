"""What students have: torch, matplotlib and a kernel, and nothing of this project."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from autograder.course import Course

COURSE = Course(Path(__file__).resolve().parents[2])
PACKAGES = ("torch", "matplotlib", "ipykernel")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A folder of Jupyter's with a kernel whose environment holds no more than PACKAGES and what they need themselves."""
    folder = tmp_path_factory.mktemp("minimal")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "-c", COURSE.root / "constraints.txt"]
    subprocess.run([*pip, *PACKAGES], check=True)
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "minimal"}
    place = folder / "kernels" / "minimal"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("lesson", COURSE.lessons())
@pytest.mark.parametrize("filled", [True, False], ids=["filled", "untouched"])
def test_a_release_runs_where_students_are(kernel, monkeypatch, tmp_path, lesson, filled):
    """Each release runs from top to bottom there, with its stubs filled and without."""
    models = {exercise.name: exercise.model for exercise in COURSE.lesson(lesson).exercises} if filled else {}
    notebook = nbformat.read(COURSE.release(lesson), as_version=4)
    for cell in notebook.cells:
        cell.source = models.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
    monkeypatch.setenv("JUPYTER_PATH", str(kernel))
    NotebookClient(notebook, kernel_name="minimal", timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    told = "".join(o.text for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream")
    sign = r"✔ {}: all visible checks pass" if filled else r"○ {}( waits for \w+, which)? is still open"
    for exercise in COURSE.lesson(lesson).exercises:
        assert re.search(sign.format(exercise.name), told), exercise.name
    assert "✘" not in told
