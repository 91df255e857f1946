"""The notebook in which an instructor grades a class on Colab: made from its script, byte for byte.

    python -m autograder.colab          writes docs/colab/grade_a_class.ipynb

Enters: the percent script beside it. Leaves: the notebook's text, with the repository that pyproject.toml names.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbformat

from autograder.build import address, cell_ids
from autograder.course import Course, find_course

NAME = "docs/colab/grade_a_class"


def notebook_text(course: Course) -> str:
    """What the notebook should be."""
    script = (course.root / f"{NAME}.py").read_text(encoding="utf-8")
    for name, value in address(course).items():
        script = script.replace(f"{{{name}}}", value)
    notebook = jupytext.reads(script, fmt="py:percent")
    metadata = {"kernelspec": notebook.metadata["kernelspec"], "accelerator": "GPU", "colab": {"provenance": []}}
    notebook.metadata = nbformat.from_dict(metadata)
    for cell, identity in zip(notebook.cells, cell_ids(notebook.cells), strict=True):
        cell["id"] = identity
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook, version=4)).rstrip("\n") + "\n"


def notebook_path(course: Course) -> Path:
    """Where it lies."""
    return course.root / f"{NAME}.ipynb"


if __name__ == "__main__":
    course = find_course(Path.cwd())
    notebook_path(course).write_text(notebook_text(course), encoding="utf-8")
    print(notebook_path(course), file=sys.stderr)
