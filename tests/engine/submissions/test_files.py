"""Files as people hand them in: the solved notebook of each lesson in every form that it may take on its way."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import jupytext
import nbconvert
import nbformat
import pytest

from autograder.errors import SubmissionError

Made = bytes | str | dict[str, Any]
READ: dict[str, tuple[Callable[[Any], Made], str, str]] = {}  # what -> how it is made, the file's name, a repair's words
REFUSED: dict[str, tuple[Callable[[Any], Made], str, str]] = {}  # the same, with words of the message


NO_PROSE = ("jupytext, light",)  # a plain script, in which prose and comments look alike


def node(student: Any) -> Any:
    whole = [{**cell, "source": "".join(cell["source"])} for cell in student.copy()["cells"]]
    return nbformat.from_dict({**student.copy(), "cells": whole, "nbformat": 4, "nbformat_minor": 5})


def raw(student: Any) -> bytes:
    return json.dumps(student.notebook).encode()


def read(what: str, name: str = "work.ipynb", repair: str = "") -> Callable[[Callable[[Any], Made]], None]:
    return lambda make: READ.__setitem__(what, (make, name, repair))


def refused(what: str, words: str, name: str = "work.ipynb") -> Callable[[Callable[[Any], Made]], None]:
    return lambda make: REFUSED.__setitem__(what, (make, name, words))


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], dict[str, Any]]:
    def make(student: Any) -> dict[str, Any]:
        notebook = student.copy()
        change(notebook)
        assert isinstance(notebook, dict)
        return notebook

    return make


def each_cell(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], dict[str, Any]]:
    return changed(lambda notebook: [change(cell) for cell in notebook["cells"]])


def colab(notebook: dict[str, Any]) -> None:
    """What Colab leaves of a notebook: no nbgrader, its own ids and metadata."""
    notebook["metadata"] = {
        "colab": {"provenance": [], "gpuType": "T4", "toc_visible": True},
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
        "accelerator": "GPU",
    }
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"] = {"id": f"x{number:011}", "colab": {"base_uri": "https://localhost:8080/", "height": 300}}
        cell.pop("id", None)
        cell.update({"execution_count": number, "outputs": []} if cell["cell_type"] == "code" else {})
    notebook.update(nbformat=4, nbformat_minor=0)


def version_3(student: Any) -> dict[str, Any]:
    cells = []
    for cell in student.copy()["cells"]:
        if cell["cell_type"] == "code":
            cells.append({"cell_type": "code", "input": cell["source"], "language": "python", "outputs": []})
        else:
            cells.append({"cell_type": cell["cell_type"], "source": cell["source"]})
    return {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]}


def kaggle(student: Any) -> str:
    text = ""
    for cell in student.notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            text += f'# %% [code] {{"execution":{{"iopub.status.busy":"2024"}}}}\n{source}\n\n'
        else:
            text += "# %% [markdown]\n" + "\n".join(f"# {line}" for line in source.split("\n")) + "\n\n"
    return text


def databricks(student: Any) -> str:
    cells = []
    for cell in student.notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            cells.append(source)
        else:
            cells.append("\n".join(f"# MAGIC {line}" for line in ["%md", *source.split("\n")]))
    return "# Databricks notebook source\n" + "\n\n# COMMAND ----------\n\n".join(cells) + "\n"


def zipped(student: Any) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("work.ipynb", raw(student))
    return data.getvalue()


def merge(ours: str, theirs: str) -> Callable[[Any], str]:
    def make(student: Any) -> str:
        lines = json.dumps(student.notebook, indent=1).split("\n")
        at = next(place for place, line in enumerate(lines) if '"nbformat_minor"' in line)
        return "\n".join([*lines[:at], "<<<<<<< HEAD", ours, "=======", theirs, ">>>>>>> b", *lines[at + 1 :]])

    return make


def exported(student: Any, kind: str) -> str:
    text: str = nbconvert.get_exporter(kind)().from_notebook_node(node(student))[0]
    return text


read("as it is")(raw)
read("after Colab", repair="under its prompt")(changed(colab))
read("nbformat 3", repair="under its prompt")(version_3)
read("a nbformat that is not there yet")(changed(lambda notebook: notebook.update(nbformat=5, nbformat_minor=0)))
read("no kernelspec, no nbformat")(changed(lambda notebook: [notebook.pop(key) for key in ("metadata", "nbformat")]))
read("kernelspec R")(changed(lambda notebook: notebook.update(metadata={"kernelspec": {"name": "ir", "language": "R"}})))
read("ids twice")(each_cell(lambda cell: cell.update(id="same")))
read("source as string")(each_cell(lambda cell: cell.update(source="".join(cell["source"]))))
read("metadata null", repair="under its prompt")(each_cell(lambda cell: cell.update(metadata=None)))
read("metadata forged", repair="*")(
    each_cell(lambda cell: cell.update(metadata={"nbgrader": {"grade_id": "softmax", "points": 999}}))
)
read("widgets")(changed(lambda notebook: notebook["metadata"].update(widgets={"application/vnd.jupyter": {"state": {}}})))
read("attachments")(each_cell(lambda cell: cell.update(attachments={"a.png": {"image/png": "aGk="}})))
read("20 MB of outputs")(changed(lambda notebook: notebook["cells"][1].update(outputs=[{"text": "x" * 20_000_000}])))
read("NaN in an output")(changed(lambda notebook: notebook["cells"][1].update(outputs=[{"data": float("nan")}])))
read("byte order mark", repair="byte order mark")(lambda student: b"\xef\xbb\xbf" + raw(student))
read("UTF-16", repair="UTF-16")(lambda student: raw(student).decode().encode("utf-16"))
read("Windows line ends")(lambda student: json.dumps(student.notebook, indent=1).replace("\n", "\r\n"))
read("NULs at the end")(lambda student: raw(student) + b"\0" * 512)
read("Copy of, twice", "Copy of Copy of work (1).ipynb")(raw)
read("named .ipynb.txt", "work.ipynb.txt", "not named .ipynb")(raw)
read("named .txt", "work.txt", "not named .ipynb")(raw)
read("named .json", "work.json")(raw)
read("named without an ending", "work", "not named .ipynb")(raw)
read("conflict in the metadata", repair="merge conflict")(merge('"nbformat_minor": 4', '"nbformat_minor": 5'))
read("wrapped in a server's reply", repair="server's reply")(
    lambda student: {"type": "notebook", "content": student.notebook}
)
read("jupytext, percent", "work.py", ".py export")(lambda student: jupytext.writes(node(student), fmt="py:percent"))
read("jupytext, light", "work.py", ".py export")(lambda student: jupytext.writes(node(student), fmt="py:light"))
read("nbconvert, script", "work.py", ".py export")(lambda student: exported(student, "python"))
read("a script called a notebook", repair="Python script")(lambda student: exported(student, "python"))
read("Kaggle's script", "work.py", ".py export")(kaggle)
read("Databricks' source", "work.py", ".py export")(databricks)
read("jupytext, Markdown", "work.md", "Markdown")(lambda student: jupytext.writes(node(student), fmt="md"))
read("Quarto", "work.qmd", "Markdown")(
    lambda student: jupytext.writes(node(student), fmt="md").replace("```python", "```{python}")
)
read("nbconvert, Markdown", "work.md", "Markdown")(lambda student: exported(student, "markdown"))
read("nbconvert, HTML", "work.html", "HTML")(lambda student: exported(student, "html"))
read("HTML called a notebook", "work.ipynb.html", "HTML")(lambda student: exported(student, "html"))

refused("empty", "is empty")(lambda student: b"")
refused("spaces", "is empty")(lambda student: b" \n\n")
refused("NULs", "is empty")(lambda student: b"\0" * 4096)
refused("cut off", "ends in the middle")(lambda student: raw(student)[: len(raw(student)) // 2])
refused("cut off in a string", "ends in the middle")(lambda student: raw(student)[:300])
refused("more after its end", "more text after its end")(lambda student: raw(student) * 2)
refused("login page", "asks for a login")(lambda student: "<!DOCTYPE html><title>Sign in</title><input type=password>")
refused("any web page", "is a web page")(lambda student: "<html><body><pre>softmax</pre></body></html>")
refused("PDF", "is a PDF", "work.ipynb.pdf")(lambda student: b"%PDF-1.7")
refused("zip called a notebook", "is a zip archive")(zipped)
refused("gzip", "is a gzip archive")(lambda student: gzip.compress(raw(student)))
refused("picture", "is a picture")(lambda student: b"\x89PNG\r\n\x1a\n")
refused("another lesson's JSON", "not a notebook")(lambda student: {"answers": [1, 2]})
refused("a list", "not a notebook")(lambda student: "[1, 2]")
refused("prose", "is not a notebook")(lambda student: "I could not upload it, sorry.")
refused("a shortcut to a drive", "shortcut")(
    lambda student: {"url": "https://drive.google.com/open?id=x", "doc_id": "x", "email": "a@b.c"}
)
refused("a link", "shortcut")(lambda student: "[InternetShortcut]\nURL=https://colab.research.google.com/drive/x\n")
refused("only a link", "shortcut")(lambda student: "https://colab.research.google.com/drive/1abc?usp=sharing\n")
refused("binary", "")(lambda student: bytes(range(256)) * 8)
refused("conflict in an answer", "merge conflict")(merge('"nbformat_minor": 4', '"nbformat_minor": 5, "cells": []'))
refused("no cells", "without any text")(lambda student: {"cells": [], "nbformat": 4})
refused("cells without text", "without any text")(lambda student: {"cells": [{"cell_type": "code", "source": []}]})
refused("deeply nested", "nested too deeply")(lambda student: '{"a":[' * 100_000)
refused("none of the exercises", "None of the exercises")(
    lambda student: {"cells": [{"cell_type": "code", "source": "print('hello')", "metadata": {}}]}
)


@pytest.mark.parametrize("what", READ)
def test_a_file_is_read(what: str, student: Any) -> None:
    """Every exercise is right, the written answers are there, and a repair says how the file was read."""
    make, name, repair = READ[what]
    program = student.read(make(student), name)
    assert all(student.right(program).values()), student.right(program)
    assert what in NO_PROSE or all(program.written.values())
    assert program.review == ()
    if repair != "*":
        assert (repair in " ".join(program.repairs)) if repair else not program.repairs


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_is_refused(what: str, first_student: Any) -> None:
    """The message names the file, says what it is, and what to ask the student for."""
    make, name, words = REFUSED[what]
    with pytest.raises(SubmissionError) as caught:
        first_student.read(make(first_student), name)
    message = str(caught.value)
    assert name in message
    assert words in message
    assert "Ask the student" in message


def test_another_lessons_notebook_is_named(student: Any, first_student: Any, last_student: Any) -> None:
    """A mistaken hand-in is refused, and the lesson that it is of is named."""
    other = last_student if student.lesson.name != last_student.lesson.name else first_student
    with pytest.raises(SubmissionError, match=other.lesson.name):
        student.read(other.copy())
