"""The same messes on their whole way: a real box, the hidden suites, points."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autograder.boxes import choose_box
from autograder.collection import Submission
from autograder.course import Course
from autograder.errors import SubmissionError
from autograder.grader import Grader
from autograder.notebook import read_notebook
from autograder.paper import read_paper
from autograder.results import SubmissionResult

ROOT = Path(__file__).resolve().parents[3]
BAD: dict[str, bytes] = {
    "empty": b"",
    "login page": b"<html><title>Sign in</title>",
    "cut off": b'{"cells": [{"cell_type": "code", "source": "def softmax(x):',
    "nested": b'{"a":[' * 100_000,
    "brackets": json.dumps({"cells": [{"cell_type": "code", "source": "(" * 200_000}]}).encode(),
    "binary": bytes(range(256)) * 1_000,
}


@pytest.fixture(scope="module")
def grader(student: Any) -> Iterator[Grader]:
    """A grader of the student's lesson; made once for each."""
    with Grader(Course(ROOT), student.lesson, box=choose_box("auto"), secret=b"tests") as ready:
        yield ready


def graded(grader: Grader, student: Any, notebook: Any, name: str = "work.ipynb") -> SubmissionResult:
    path = student.folder / name
    path.write_bytes(notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode())
    return grader.grade(Submission("ada", path)).result


def after_colab(notebook: dict[str, Any]) -> dict[str, Any]:
    """Colab's round trip: no nbgrader, ids of its own, its own metadata, a lower minor version."""
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        kept = {key: value for key, value in cell.items() if key not in ("id", "metadata")}
        cells.append({**kept, "metadata": {"id": f"x{number:011}", "outputId": "a", "colab": {"height": 35}}})
    metadata = {"colab": {"provenance": []}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return {"nbformat": 4, "nbformat_minor": 0, "metadata": metadata, "cells": cells}


def points(result: SubmissionResult) -> list[tuple[str, float]]:
    return [(each.name, each.score) for each in result.exercises]


def test_colabs_round_trip_changes_no_point(student: Any, grader: Grader) -> None:
    """The solved notebook has all points and the release none, before and after Colab."""
    release = json.loads(Course(ROOT).release(student.lesson.name).read_text(encoding="utf-8"))
    for notebook, score in ((student.copy(), student.lesson.max_score), (release, 0.0)):
        untouched, after = (graded(grader, student, each) for each in (notebook, after_colab(notebook)))
        assert (untouched.status, untouched.score) == ("graded", score)
        assert (after.status, points(after)) == ("graded", points(untouched))


def test_a_compiled_answer_has_its_points(student: Any, grader: Grader) -> None:
    """torch.compile needs a compiler that the box has not; the answer counts without it."""
    notebook = student.copy()
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code" and cell["metadata"].get("nbgrader", {}).get("grade") and text.startswith("def "):
            cell["source"] = f"@torch.compile\n{text}"
    result = graded(grader, student, notebook)
    assert result.score == student.lesson.max_score
    assert any("torch.compile" in repair for repair in result.repairs) or notebook == student.notebook


def test_repairs_are_in_the_result(student: Any, grader: Grader) -> None:
    """What was repaired stands in results.json, one sentence each."""
    notebook = student.copy()
    notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": student.lesson.exercises[0].stub})
    result = graded(grader, student, notebook, "work.ipynb.txt")
    assert result.score == student.lesson.max_score
    assert result.repairs[0] == "work.ipynb.txt is not named .ipynb; it was read as a notebook, which it is."
    assert "open stub" in result.repairs[1]
    assert all(repair.endswith(".") and "\n" not in repair for repair in result.repairs)


def test_a_bad_file_between_two_good_ones_changes_nothing(student: Any, grader: Grader) -> None:
    """The notebooks graded before and after a file of any kind get the same result, but for the time it took."""
    before = graded(grader, student, student.copy())
    for name, content in BAD.items():
        assert graded(grader, student, content).status == "unreadable", name
    after = graded(grader, student, student.copy())
    assert points(after) == points(before)
    assert after.exercises == before.exercises


def test_one_bad_file_among_200_changes_nothing(first_student: Any) -> None:
    """Of 200 notebooks, each a little different, 199 are read the same with a bad one in their midst and without."""
    papers = []
    for number in range(200):
        notebook = first_student.copy()
        notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": f"mine = {number}"})
        path = first_student.folder / f"{number}.ipynb"
        path.write_text(json.dumps(notebook))
        papers.append(Submission(str(number), path))
    wanted = [_read(each, first_student) for each in papers]
    for content in BAD.values():
        bad = papers[100].path
        assert bad is not None
        bad.write_bytes(content)
        got = [_read(each, first_student) for each in papers[90:110]]
        assert got[:10] + got[11:] == wanted[90:100] + wanted[101:110]
        assert isinstance(got[10], str)
    assert [_read(each, first_student) for each in papers if each.student != "100"] == wanted[:100] + wanted[101:]


def _read(submission: Submission, student: Any) -> Any:
    try:
        return read_paper(submission, student.lesson, student.others).program
    except SubmissionError as error:
        return str(error)


def test_what_is_read_is_what_was_written(first_student: Any) -> None:
    """Reading changes no character of a cell."""
    path = first_student.folder / "same.ipynb"
    path.write_text(json.dumps(first_student.notebook))
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in first_student.notebook["cells"]]
    assert [(cell.source, cell.kind) for cell in read_notebook(path).cells] == cells
