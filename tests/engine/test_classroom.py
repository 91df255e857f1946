"""The two GitHub workflows: what students get holds nothing hidden, what the instructor has fetches and grades."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from autograder.choosing import wanted_of
from autograder.classroom import PLACES, markdown, summary, summary_of, write_workflows
from autograder.collection import read_collection
from autograder.commands import exporting
from autograder.course import Course
from autograder.errors import GraderError
from autograder.results import ExerciseResult, Results, SubmissionResult, to_json

ROOT = Path(__file__).resolve().parents[2]
LESSON = "attention_from_scratch"
EVIL = "a|b<script>[x](http://y)@all`*_~#![](z)"


@pytest.fixture
def workflows(tmp_path):
    """Both, as parsed YAML, by whose they are."""
    write_workflows(tmp_path)
    read = {path.parts[-4]: path for path in tmp_path.rglob("*.yml")}
    return {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in read.items()}


@pytest.fixture
def steps(workflows):
    """The instructor's steps by their names."""
    return {step.get("name", step.get("uses")): step for step in workflows["instructor"]["jobs"]["grade"]["steps"]}


def test_workflows_are_workflows(workflows):
    """A trigger, jobs with steps, each of which runs or uses something, and no more rights than reading."""
    assert set(workflows) == {"students", "instructor"}
    for workflow in workflows.values():
        assert workflow[True]  # YAML 1.1 reads `on` as true; GitHub does not
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert all(("run" in step) != ("uses" in step) for step in job["steps"])


def test_scripts_parse_and_hold_no_expression(workflows):
    """Inputs and secrets reach bash as variables: an expression inside a script would be code of whoever wrote it."""
    for workflow in workflows.values():
        for job in workflow["jobs"].values():
            for script in (step["run"] for step in job["steps"] if "run" in step):
                assert "${{" not in script
                done = subprocess.run(["/bin/bash", "-n", "-c", script], capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr


def test_nothing_hidden_is_in_what_students_get(workflows, tmp_path):
    """No secret, no name of a hidden test, no command that would need one."""
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "students").rglob("*") if path.is_file())
    assert "secrets." not in text
    hidden = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert not [name for name in hidden if re.search(rf"\b{name}\b", text)]


def test_a_secret_is_where_it_is_needed_and_nowhere_else(steps):
    """The token is not there when students' code runs; the course's secret is not there when anything is fetched."""
    holders = {name: re.findall(r"secrets\.(\w+)", json.dumps(step)) for name, step in steps.items()}
    assert {name: found for name, found in holders.items() if found} == {
        "fetch the students' repositories": ["STUDENTS_TOKEN"],
        "grade": ["AUTOGRADER_SECRET"],
    }


def test_fetched_repositories_are_read_as_submissions(steps, course, tmp_path, filled):
    """By the prefix, without what git keeps; one that cannot be fetched is an entry, and a name is never an option."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "gh").write_text(
        "#!/bin/sh\n"
        'if [ "$2" = list ]; then printf "hw1-adal\\nhw1-bela\\nhw10-eve\\nother\\nhw1-\\n"; exit; fi\n'
        'case "$3" in *bela) exit 1 ;; esac\n'
        'mkdir -p "$4/.git" "$4/release"; echo secret > "$4/.git/config"\n'
        f'cp "{tmp_path}/x.ipynb" "$4/release/{LESSON}.ipynb"\n'
    )
    (fake / "gh").chmod(0o755)
    (tmp_path / "x.ipynb").write_text(json.dumps(filled()), encoding="utf-8")
    environment = {"PATH": f"{fake}:/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), "PREFIX": "hw1", "ORGANIZATION": "org"}
    script = steps["fetch the students' repositories"]["run"]
    done = subprocess.run(["/bin/bash", "-eo", "pipefail", "-c", script], env=environment, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "hw1-submissions"
    assert sorted(path.name for path in folder.iterdir()) == ["hw1-adal", "hw1-bela"]
    assert not list(folder.rglob(".git"))
    found = read_collection(folder, wanted_of(course, LESSON), scratch=tmp_path / "scratch").submissions
    assert {each.student: each.path is not None for each in found} == {"adal": True, "bela": False}


def results():
    exercises = (ExerciseResult("softmax", 7.5, 15.0), ExerciseResult("causal_mask", 5.0, 5.0))
    ada = SubmissionResult("adal", "x", "graded", score=12.5, max_score=20.0, exercises=exercises)
    return Results(LESSON, "cpu", "landlock", (ada, SubmissionResult(EVIL, "y", "unreadable", EVIL, max_score=20.0)))


def test_the_summary_shows_points():
    """A row a student, a column an exercise."""
    lines = summary(results()).splitlines()
    assert "| adal |  | 12.5 / 20 | 7.5 | 5 |" in lines
    assert sum(line.startswith("|") for line in lines) == 4
    assert "softmax" in lines[4]


def test_a_name_is_no_markup():
    """GitHub shows a summary as Markdown: no row, link, mention or tag comes from a student."""
    lines = [line for line in summary(results()).splitlines() if "script" in line]
    assert len(lines) == 1
    assert lines[0].count("|") == 6
    assert not set(markdown(EVIL)) & set("<>[]()@`*_~!|")


def test_what_is_no_results_file_is_our_message(tmp_path):
    """The step before it said why there is none."""
    with pytest.raises(GraderError, match=r"no results\.json"):
        summary_of(tmp_path / "results.json")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(GraderError, match=r"no results\.json"):
        summary_of(tmp_path / "results.json")


def test_the_command(tmp_path, capsys):
    """Writes both, again without harm, never over a changed one, and shows points."""
    (tmp_path / "results.json").write_bytes(to_json(results()))
    exporting.classroom(summary=tmp_path / "results.json")
    assert "12.5 / 20" in capsys.readouterr().out
    for _ in range(2):
        exporting.classroom(tmp_path / "w")
    assert all((tmp_path / "w" / place).exists() for place in PLACES)
    (tmp_path / "w" / "instructor" / ".github" / "workflows" / "grade.yml").write_text("mine")
    with pytest.raises(GraderError, match="there already"):
        exporting.classroom(tmp_path / "w")
    with pytest.raises(GraderError, match="name the folder"):
        exporting.classroom()


# --- the students' script


@pytest.fixture
def check(tmp_path):
    """Runs visible_checks.py in a repository that holds a notebook of these cells; the process and its summary."""

    def run(notebook):
        repository = tmp_path / "repository"
        write_workflows(tmp_path)
        (repository / "release").mkdir(parents=True)
        nbformat.write(notebook, repository / "release" / "lesson.ipynb")
        environment = os.environ | {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "IPYTHONDIR": str(tmp_path)}
        command = [sys.executable, str(tmp_path / "students" / ".github" / "visible_checks.py")]
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
        return done, (tmp_path / "summary").read_text(encoding="utf-8")

    return run


def cells(*sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def test_open_exercises_are_not_red(check):
    """A first push with nothing done yet is no failure."""
    done, told = check(cells("print('✔ softmax: all visible checks pass')", "print('○ causal_mask: is still open')"))
    assert done.returncode == 0, done.stderr
    assert "✔ softmax" in told
    assert "○ causal_mask" in told


@pytest.mark.parametrize("source", ["print('✘ softmax: rows sum to one')", "1 / 0"])
def test_what_fails_is_red(check, source):
    """A check, or a cell that stops; the cells after it are run all the same."""
    done, told = check(cells(source, "print('✔ split_heads: all visible checks pass')"))
    assert done.returncode == 1
    assert "✘" in told
    assert "✔ split_heads" in told


@pytest.mark.slow
def test_the_lessons_checks_are_understood(check, filled, model_answers):
    """A real lesson, solved: each of its exercises is told, and all are green."""
    done, told = check(nbformat.from_dict(filled(**model_answers)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"✔ {each.name}" in told for each in Course(ROOT).lesson(LESSON).exercises)
