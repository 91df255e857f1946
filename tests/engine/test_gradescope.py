"""The Gradescope autograder, run by a script that does what Gradescope's documentation says."""

import json
import os
import re
import subprocess
import tomllib
import zipfile
from importlib import util
from pathlib import Path

import pytest

from autograder.commands import exporting
from autograder.course import Course
from autograder.errors import GraderError
from autograder.gradescope import package, requirements
from autograder.gradescope_run import as_gradescope
from autograder.results import ExerciseResult, SubmissionResult, TestResult

LESSON = "attention_from_scratch"
ROOT = Path(__file__).resolve().parents[2]
spec = util.spec_from_file_location("gradescope_harness", Path(__file__).with_name("gradescope_harness.py"))
harness = util.module_from_spec(spec)
spec.loader.exec_module(harness)


@pytest.fixture(scope="module")
def image(tmp_path_factory, course_in, monkeypatch_module):
    """What Gradescope has after it built the image: the folder that stands for /autograder."""
    made = course_in(tmp_path_factory.mktemp("course"))
    archive = package(made, LESSON, tmp_path_factory.mktemp("zip") / "X.zip", "after_published")
    root = tmp_path_factory.mktemp("gradescope") / "autograder"
    done = harness.build_image(archive, root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def monkeypatch_module(tmp_path_factory):
    """apt-get is never called where all is there already; if it were, the test would say so."""
    fake = tmp_path_factory.mktemp("bin")
    (fake / "apt-get").write_text("#!/bin/sh\necho 'apt-get was called' >&2\nexit 1\n")
    (fake / "apt-get").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{fake}{os.pathsep}{os.environ['PATH']}")
        patch.delenv("AUTOGRADER_SECRET", raising=False)
        yield


@pytest.fixture
def submit(image):
    """Hands in files: submit({"x.ipynb": notebook}); returns results.json, held against the documented format."""

    def run(files):
        data = {name: each if isinstance(each, bytes) else json.dumps(each).encode() for name, each in files.items()}
        done = harness.run(image, data)
        assert done.returncode == 0, done.stderr
        return harness.results(image)

    return run


def test_a_right_answer_gets_all_points(submit, filled, model_answers):
    """Each exercise is a test of Gradescope's, with the points of the lesson."""
    results = submit({"my notebook.ipynb": filled(**model_answers)})
    scores = {test["name"]: (test["score"], test["max_score"]) for test in results["tests"]}
    assert scores == {each.name: (each.points, each.points) for each in Course(ROOT).lesson(LESSON).exercises}
    assert all(test["status"] == "passed" and test["visibility"] == "after_published" for test in results["tests"])
    assert "why_scale (10 points)" in results["output"]


def test_student_code_cannot_read_what_lies_beside_it(image, submit, filled, model_answers):
    """Answers, hidden tests, the secret, the metadata: the box denies them, and instructors see what was tried."""
    wanted = ["source/course/.autograder/secret", f"source/course/solutions/{LESSON}.py", "submission_metadata.json"]
    wanted += [f"source/course/tests/{LESSON}/test_softmax.py", "source/engine/autograder/suite.py", "results/stdout"]
    spy = "import os\n\n\ndef softmax(x, dim=-1):\n    told = []\n"
    spy += f"    for name in {[str(image / name) for name in wanted]!r}:\n"
    spy += "        try:\n            told.append(open(name).read()[:40])\n"
    spy += "        except OSError as error:\n            told.append(type(error).__name__)\n"
    spy += "    raise ValueError('TOLD ' + ' '.join(told) + ' ' + str(os.environ.get('AUTOGRADER_SECRET')))\n"
    results = submit({"x.ipynb": filled(**(model_answers | {"softmax": spy}))})
    printed = (image / "results" / "stdout").read_text(encoding="utf-8")
    told = next(line for line in printed.splitlines() if "TOLD" in line)
    denied = told.count("PermissionError") + told.count("FileNotFoundError")
    assert denied >= len(wanted)
    assert (image / wanted[0]).read_text().strip() not in printed + json.dumps(results)
    assert next(test["score"] for test in results["tests"] if test["name"] == "softmax") == 0


def test_what_a_hidden_test_says_stays_within_its_visibility(submit, filled, model_answers):
    """A wrong answer's reasons are shown when the instructor said; nothing else holds them."""
    results = submit(
        {"x.ipynb": filled(**(model_answers | {"causal_mask": "def causal_mask(n, device=None):\n    return 1"}))}
    )
    wrong = next(test for test in results["tests"] if test["name"] == "causal_mask")
    assert (wrong["score"], wrong["status"], wrong["visibility"]) == (0, "failed", "after_published")
    assert "✘" in wrong["output"]
    assert "✘" not in results["output"]
    assert results["stdout_visibility"] == "hidden"


def test_of_several_files_the_lesson_is_graded(submit, filled, model_answers):
    """Students upload folders: a data file and an old draft beside it change nothing."""
    files = {"work/notes.txt": b"nothing", "work/draft.ipynb": b"{}", f"work/{LESSON}.ipynb": filled(**model_answers)}
    assert sum(test["score"] for test in submit(files)["tests"]) == 90


@pytest.mark.parametrize("files", [{}, {"x.pdf": b"%PDF-1.4"}, {"x.ipynb": b'{"cells": ['}])
def test_a_file_that_cannot_be_read_is_told_at_once(submit, files):
    """The student sees why, whatever the visibility of points, and can upload another."""
    (test,) = submit(files)["tests"]
    assert (test["name"], test["score"], test["max_score"]) == ("the notebook can be read", 0, 90)
    assert test["visibility"] == "visible"
    assert test["output"]


def test_without_a_box_nothing_is_graded(image, filled, monkeypatch):
    """Answers lie beside the student's code: no results.json, so that Gradescope tells the staff and gives no zero."""
    engine = image / "source" / "engine" / "autograder" / "boxes.py"
    before = engine.read_text()
    engine.write_text(before + '\n\ndef _confinement() -> str:\n    return "this kernel has no Landlock"\n')
    try:
        done = harness.run(image, {"x.ipynb": json.dumps(filled()).encode()})
    finally:
        engine.write_text(before)
    assert done.returncode == 2
    assert "this kernel has no Landlock" in done.stderr
    assert not (image / "results" / "results.json").exists()


def test_points_that_are_held_back_are_said():
    """What we could not judge is no silent zero."""
    lesson = Course(ROOT).lesson(LESSON)
    tests = (TestResult("rows sum to one", "not_judged", message="it could not be judged through our fault"),)
    exercise = ExerciseResult("softmax", 0.0, 15.0, tests)
    result = SubmissionResult("ada", "x", "needs_review", "15 points are held back", exercises=(exercise,))
    made = as_gradescope(result, lesson, "visible")
    assert "15 points are held back" in made["output"]
    assert "○" in made["tests"][0]["output"]


# --- the zip


def test_the_layout_is_gradescopes(image):
    """setup.sh and run_autograder at the root, the engine, one lesson's suites, no other lesson's."""
    source = image / "source"
    assert {"setup.sh", "run_autograder", "requirements.txt"} <= {path.name for path in source.iterdir()}
    assert [path.name for path in (source / "course" / "tests").iterdir()] == [LESSON]
    assert not list(source.rglob("__pycache__"))
    assert not (source / "course" / "gradebook.db").exists()


def test_scripts_are_executable_and_the_secret_is_not_for_everybody(course, tmp_path):
    """As the documentation asks; the zip itself is for its owner only."""
    path = package(course, LESSON, tmp_path / "X.zip", "visible")
    with zipfile.ZipFile(path) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert (modes["setup.sh"], modes["run_autograder"]) == (0o755, 0o755)
    assert modes["course/.autograder/secret"] == 0o600
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_course_gives_the_same_zip(course, tmp_path):
    """Whoever uploads it again can see that nothing changed."""
    first, second = (package(course, LESSON, tmp_path / name, "visible") for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == second.read_bytes()


def test_requirements_are_what_graded_here():
    """Each with its version, and none with a mark that only another index knows."""
    lines = requirements()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [line.split("==")[0] for line in lines] == [re.split(r"[^\w.-]", each)[0] for each in project["dependencies"]]
    assert all("==" in line and "+" not in line for line in lines)
    assert not any(line.startswith(("ruff", "dask")) for line in lines)


@pytest.mark.parametrize("scripts", ["setup.sh", "run_autograder"])
def test_scripts_are_bash(scripts):
    """They parse; a stray character would break the image only on Gradescope."""
    path = ROOT / "autograder" / "templates" / "gradescope" / scripts
    assert subprocess.run(["/bin/bash", "-n", str(path)], check=False).returncode == 0
    assert path.read_bytes().startswith(b"#!/usr/bin/env bash\n")


def test_an_old_python_is_told(image, tmp_path):
    """The staff reads in the image's log which base image to choose."""
    root = tmp_path / "autograder"
    (root / "source").mkdir(parents=True)
    (root / "source" / "setup.sh").write_bytes((image / "source" / "setup.sh").read_bytes())
    for name in ("python3.13", "python3.12", "python3.11", "python3", "apt-get"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["/bin/bash", str(root / "source" / "setup.sh")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "base image" in done.stderr


def test_a_wrong_visibility_is_refused(course, tmp_path):
    """With the words that Gradescope knows."""
    with pytest.raises(GraderError, match="after_published"):
        exporting.gradescope(LESSON, output=tmp_path / "X.zip", visibility="sometimes")


def test_the_command_says_what_to_set(course, tmp_path, capsys):
    """Points, and the image."""
    exporting.gradescope(LESSON, output=tmp_path / "new" / "X.zip", visibility="visible")
    assert "90 autograder points" in capsys.readouterr().err
    assert (tmp_path / "new" / "X.zip").exists()
