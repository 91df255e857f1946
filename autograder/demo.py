"""A sample class, made and graded: what a day with the kit looks like, hostile notebooks included.

Enters: a course. Leaves: a course of its own in `demo/` (lessons and suites are links; submissions, gradebook and
reports are its own, so nothing of the instructor's is touched), and the story of the run on the console.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from autograder.boxes import choose_box
from autograder.build import build
from autograder.collection import find_submissions
from autograder.course import Course
from autograder.doctor import choose_device
from autograder.errors import GraderError
from autograder.marking import Run, grade_into_course
from autograder.misconception import Misconception, answers_in
from autograder.report import STATUS, in_words, points
from autograder.reports import write_reports
from autograder.results import SubmissionResult
from autograder.safetext import MESSAGE_LIMIT, markup

LESSON = "attention_from_scratch"
LINKS = ("nbgrader_config.py", "pyproject.toml", "solutions", "source", "release", "tests")
MADE = ("submitted", "autograded", "feedback", ".autograder")  # removed before each demo; nothing else in demo/ is

LOGIN_PAGE = "<!DOCTYPE html><html><body>Please sign in to your course to download this file.</body></html>"
LEFTOVERS = (
    "!pip install -q torch",
    "%matplotlib inline",
    "loss = 1 / 0  # does not work yet",
    "while True:  # trains until I stop it\n    pass",
    "del softmax",
)
ENDLESS = """def causal_mask(seq_len, device=None):
    while True:
        pass
"""
CRASH = """def multi_head_attention_loop(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    import os

    os.abort()
"""
HOARD = """def multi_head_attention(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    hoard = []
    while True:
        hoard.append(torch.empty(100_000_000))
"""
FLOOD = """def causal_mask(seq_len, device=None):
    while True:
        print("all work and no play " * 100)
"""
READY_MADE = """def softmax(x, dim=-1):
    return torch.softmax(x, dim)
"""
SPY = """def softmax(x, dim=-1):
    with open({path!r}) as file:  # the solved notebook, by its real name
        return torch.tensor(float(len(file.read())))
"""


@dataclass(frozen=True)
class Sample:
    """One notebook of the class: who hands in, what it is in plain words, and its text."""

    student: str
    handed_in: str
    text: str
    hostile: bool = False


def show(course: Course, console: Console) -> Run:
    """Builds, makes the class, grades it, and tells what happened to each; raises GraderError where it cannot."""
    if LESSON not in course.lessons():
        raise GraderError(f"the demo shows the kit's lesson {LESSON}, which is not in {course.root}; grade one of your own")
    changed = [path for built in build(course, [LESSON]) for path in built.changed]
    console.print(f"[bold]1.[/] built {LESSON}: {len(changed)} file(s) changed")
    box = _box(console)
    samples = [sample for sample in make_class(course) if box != "none" or not sample.hostile]
    own = set_up(course, samples)
    console.print(f"[bold]2.[/] {len(samples)} students handed in, see {markup(_near(own.root / 'submitted'))}/")
    console.print(f"[bold]3.[/] grading {LESSON} in the box '{box}'")
    found = find_submissions(own.root / "submitted", LESSON, None)
    run = grade_into_course(own, LESSON, found, device=choose_device("cpu"), box=box, console=console)
    console.print(_story(samples, run.results.submissions))
    console.print(_where(own, run, write_reports(own, LESSON).page), soft_wrap=True)
    return run


def make_class(course: Course) -> list[Sample]:
    """All notebooks of the sample class, from the release, the model answers and the lesson's misconceptions."""
    return [*_harmless(course), *_wrong(course), *_broken(course), *_hostile(course)]


def set_up(course: Course, samples: Sequence[Sample]) -> Course:
    """A course of its own in `demo/`, with the samples in `submitted/`; what an earlier demo made there is removed."""
    root = course.root / "demo"
    try:
        for name in MADE:
            shutil.rmtree(root / name, ignore_errors=True)
        root.mkdir(exist_ok=True)
        (root / "gradebook.db").unlink(missing_ok=True)
        for name in LINKS:
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(Path("..") / name)
        for sample in samples:
            path = root / "submitted" / sample.student / LESSON / f"{LESSON}.ipynb"
            path.parent.mkdir(parents=True)
            path.write_text(sample.text, encoding="utf-8")
    except OSError as error:
        raise GraderError(f"{root} cannot be made ({error.strerror}); move what is in its way") from error
    return Course(root)


def _box(console: Console) -> str:
    """The strongest box; where there is none the demo goes on without hostile notebooks, and says so."""
    try:
        return choose_box("auto")
    except GraderError as error:
        console.print(f"[yellow]no box:[/] {markup(str(error), MESSAGE_LIMIT)}", soft_wrap=True)
        console.print("The notebooks that attack or exhaust a machine are left out; the others run without a box.")
        return "none"


def _release(course: Course, answers: dict[str, str]) -> dict[str, Any]:
    """The release with the cells of the exercises named filled in."""
    notebook: dict[str, Any] = json.loads(course.release(LESSON).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        cell["source"] = answers.get(grade_id, cell["source"])
    return notebook


def _solved(course: Course, **changes: str) -> dict[str, Any]:
    """The model answers, with those exercises changed that are named."""
    return _release(course, _models(course) | changes)


def _models(course: Course) -> dict[str, str]:
    return {exercise.name: exercise.model for exercise in course.lesson(LESSON).exercises}


def _harmless(course: Course) -> list[Sample]:
    written = {one.grade_id: "The variance of the scores grows with d_k." for one in course.lesson(LESSON).written}
    half = dict(list(_models(course).items())[:4])
    return [
        Sample("ada", "all right", json.dumps(_solved(course, **written))),
        Sample("bela", "the untouched release", json.dumps(_release(course, {}))),
        Sample("chen", "the first half, then the time was up", json.dumps(_release(course, half))),
        Sample("dora", "saved by Colab, nbgrader's marks gone", _colab(_solved(course))),
        Sample("emil", "leftovers: pip, a failing experiment, an endless training loop", _cluttered(_solved(course))),
        Sample("fay", "two answers in one cell", _merged(_solved(course))),
    ]


def _wrong(course: Course) -> list[Sample]:
    """One student for each exercise that the lesson knows a misconception of, at most six."""
    known: dict[str, Misconception] = {}
    for answer in answers_in(course.root / "tests" / LESSON / "misconceptions.py"):
        known.setdefault(answer.exercise, answer)
    names = ("gus", "hana", "ivo", "jun", "kofi", "lena")
    samples = [
        Sample(name, f"{exercise}: {answer.idea}", json.dumps(_solved(course, **{exercise: answer.source})))
        for name, (exercise, answer) in zip(names, known.items(), strict=False)
    ]
    ready_made = json.dumps(_solved(course, softmax=READY_MADE))
    return [*samples, Sample("mara", "torch.softmax, which the lesson forbids", ready_made)]


def _broken(course: Course) -> list[Sample]:
    text = json.dumps(_solved(course))
    return [
        Sample("nils", "a web page instead of a notebook: not JSON", LOGIN_PAGE),
        Sample("olga", "a download that was cut off", text[: len(text) // 2]),
    ]


def _hostile(course: Course) -> list[Sample]:
    spy = SPY.format(path=str(course.source(LESSON)))
    attacks: tuple[tuple[str, str, str, str], ...] = (
        ("paul", "an endless loop", "causal_mask", ENDLESS),
        ("quin", "ends its process", "multi_head_attention_loop", CRASH),
        ("rosa", "takes all memory", "multi_head_attention", HOARD),
        ("sven", "tries to read the answers", "softmax", spy),
        ("tara", "prints without end", "causal_mask", FLOOD),
    )
    return [
        Sample(student, f"{exercise}: {what}", json.dumps(_solved(course, **{exercise: code})), hostile=True)
        for student, what, exercise, code in attacks
    ]


def _colab(notebook: dict[str, Any]) -> str:
    """As Colab saves it: its own metadata in place of everybody else's, an output under each cell."""
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"] = {"id": f"colab{number:04}"}
        cell.pop("id", None)
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["done\n"]}]
    notebook["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook["nbformat_minor"] = 0
    return json.dumps(notebook)


def _cluttered(notebook: dict[str, Any]) -> str:
    for number, source in enumerate(LEFTOVERS):
        cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        notebook["cells"].insert(3 * number, cell | {"id": f"leftover-{number}", "source": source})
    return json.dumps(notebook)


def _merged(notebook: dict[str, Any]) -> str:
    """The cells of split_heads and merge_heads pasted into one."""
    cells: dict[str, dict[str, Any]] = {}
    for cell in notebook["cells"]:
        cells[cell["metadata"].get("nbgrader", {}).get("grade_id", "")] = cell
    first, second = cells["split_heads"], cells["merge_heads"]
    first["source"] = "\n\n".join("".join(cell["source"]) for cell in (first, second))
    notebook["cells"].remove(second)
    return json.dumps(notebook)


def _story(samples: Sequence[Sample], results: Sequence[SubmissionResult]) -> Table:
    handed_in = {sample.student: sample.handed_in for sample in samples}
    rows = Table("student", "handed in", "status", "points", "what happened", show_lines=True)
    for result in results:
        score = "-" if result.status == "unreadable" else f"{points(result.score)} / {points(result.max_score)}"
        cells = [result.student, handed_in[result.student], score, in_words(result)]
        student, what, score, happened = (markup(cell, 400) for cell in cells)
        rows.add_row(student, what, STATUS[result.status], score, happened)
    return rows


def _where(own: Course, run: Run, report: Path) -> str:
    lines = [
        ("class report, open it", report),
        ("results.json", run.results_json),
        ("feedback for students", run.feedback),
        ("notebooks with feedback", own.root / "autograded"),
        ("nbgrader's gradebook", own.root / "gradebook.db"),
    ]
    told = [f"{name + ':':28}{markup(_near(path), MESSAGE_LIMIT)}" for name, path in lines]
    further = f"Go on with nbgrader: cd demo, then nbgrader generate_feedback {LESSON}, or nbgrader export."
    return "\n".join([*told, further])


def _near(path: Path) -> str:
    """A path from the current folder, where it lies in it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
