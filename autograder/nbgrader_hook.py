"""What nbgrader_config.py puts in place of nbgrader's reading and executing, so `nbgrader autograde` is this engine.

    nbgrader autograde LESSON
       | ensure_assignment  the lesson is in the gradebook
       | EngineExporter     reads a submission as `autograder grade` does, rebuilds it before nbgrader can refuse it
       | GradeWithEngine    in place of Execute: box, suites, feedback under each answer
       v SaveEngineGrades   scores with fractions; all else as nbgrader's SaveAutoGrades

    nbgrader formgrader, generate_feedback
       | safe_markdown      a student's text cannot run a script with the rights of whoever marks it
       | plain_code         nor can their code look like other code

One warm grader serves all students of a run and ends with it. What cannot be graded raises: nbgrader names the student,
leaves their earlier marks as they are, and goes on with the next.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bleach
import nbformat
from nbconvert.exporters import NotebookExporter
from nbconvert.exporters.exporter import ResourcesDict
from nbconvert.filters import Highlight2HTML, markdown2html
from nbformat import NotebookNode
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    OverwriteKernelspec,
    SaveAutoGrades,
)
from nbgrader.preprocessors.base import NbGraderPreprocessor
from pygments.token import STANDARD_TYPES
from traitlets import Unicode
from traitlets.config import Config

from autograder import database, gradebook
from autograder.boxes import choose_box
from autograder.canonical import add_feedback, canonical
from autograder.course import Course, find_course
from autograder.doctor import choose_device
from autograder.errors import SubmissionError
from autograder.outcome import pictures
from autograder.safetext import clean, visible

if TYPE_CHECKING:
    from autograder.grader import Grader

ANSWER_LIMIT = 200_000  # characters of a Markdown cell that are shown
# What lessons and ordinary answers are written with; everything else is shown as text.
TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "span", "br", "hr", "blockquote", "details", "summary"),
    *("a", "b", "code", "del", "em", "i", "img", "pre", "strong", "sub", "sup"),
    *("dd", "dl", "dt", "li", "ol", "ul", "table", "tbody", "td", "th", "thead", "tr"),
}
ATTRIBUTES = {"a": ["href", "title"], "img": ["src", "alt", "title", "width", "height"], "*": ["align", "class"]}
ADDRESSES = re.compile(r"(?:https?://|mailto:)", re.I)  # of links; a picture that is fetched would tell who reads, and when
PICTURES = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,", re.I)
CLASSES = frozenset(("highlight", *STANDARD_TYPES.values()))  # of coloured code: others would look like nbgrader's own


def hook(config: Config) -> None:
    """Sets nbgrader's options so that it runs the engine and shows students' text safely."""
    config.Autograde.exporter_class = EngineExporter
    config.Autograde.pre_convert_hook = ensure_assignment
    config.Autograde.sanitize_preprocessors = [OverwriteKernelspec, CheckCellMetadata]
    config.Autograde.autograde_preprocessors = [
        GradeWithEngine,
        SaveEngineGrades,
        AssignLatePenalties,
        CheckCellMetadata,
    ]
    config.HTMLExporter.filters = {"markdown2html": safe_markdown, "highlight_code": plain_code}


def safe_markdown(source: str) -> str:
    """Markdown as HTML without anything that a browser would run or fetch, or that could pass for nbgrader's own page.

    No element has an id, not even a heading: formgrader finds an exercise's score by the first that bears its name.
    """
    allowed = {*bleach.ALLOWED_PROTOCOLS, "data"}  # data for pictures, see _may_stay
    shown: str = bleach.clean(markdown2html(clean(source, ANSWER_LIMIT)), TAGS, _may_stay, allowed)
    return shown.replace("<a>&#182;</a>", "")  # what is left of a heading's link to itself


def plain_code(source: str, language: str | None = None, metadata: Any = None) -> str:
    """Code as HTML; characters that cannot be seen, or turn a line around, are written as Python's escapes."""
    shown: str = Highlight2HTML()(visible(source), language, metadata)
    return shown


def _may_stay(tag: str, name: str, value: str) -> bool:
    """Whether an attribute may."""
    if name not in (*ATTRIBUTES.get(tag, ()), *ATTRIBUTES["*"]):
        return False
    if name == "class":
        return CLASSES.issuperset(value.split())
    pattern = {"href": ADDRESSES, "src": PICTURES}.get(name)
    return pattern is None or pattern.match(value) is not None


def ensure_assignment(assignment: str, **_: Any) -> None:
    """nbgrader's hook before it converts: puts the lesson into the gradebook as `autograder grade` does."""
    course = find_course(Path.cwd())  # nbgrader works in the course's root
    if assignment in course.lessons():
        database.ensure_assignment(course, assignment, database.course_directory(course))


class EngineExporter(NotebookExporter):
    """Reads a submission by the engine's rules, and holds the grader for as long as nbgrader's run lasts."""

    device = Unicode("auto", help="auto, cpu, cuda or both").tag(config=True)
    sandbox = Unicode("auto", help="auto, bubblewrap, landlock or none").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]  # nbconvert is typed in part only
        self._graders: dict[str, Grader] = {}
        self._stack = ExitStack()
        self.close = weakref.finalize(self, self._stack.close)  # when nbgrader lets go of us, at the latest at exit

    @property
    def course(self) -> Course:
        """The course that nbgrader works in."""
        return find_course(Path(self._directory.root))

    def from_filename(
        self, filename: str, resources: dict[str, Any] | None = None, **kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        """A submission rebuilt, or, in nbgrader's second round, the rebuilt notebook as it lies in `autograded/`."""
        path, submitted = Path(filename).resolve(), self._submitted(resources or {})
        if path != submitted.resolve():
            kept: tuple[Any, dict[str, Any]] = super().from_filename(filename, resources=resources, **kwargs)
            return kept
        notebook = self._rebuilt(path, submitted.stem)
        convert: Callable[..., tuple[Any, dict[str, Any]]] = self.from_notebook_node
        return convert(notebook, resources=resources, **kwargs)

    def grade(self, resources: ResourcesDict) -> Any:
        """Grades the submission that nbgrader is at."""
        from autograder.collection import Submission

        names = resources["nbgrader"]
        grader = self._grader(names["assignment"])
        return grader.grade(Submission(names["student"], self._submitted(resources)))

    def _rebuilt(self, path: Path, lesson: str) -> NotebookNode:
        from autograder.notebook import read_notebook
        from autograder.program import slice_program

        release = nbformat.read(self.course.release(lesson), as_version=4)
        try:
            notebook = read_notebook(path)
            return canonical(
                release,
                notebook,
                slice_program(notebook, self.course.lesson(lesson), self.course.other_exercises(lesson)),
            )
        except SubmissionError as error:
            self.log.error("This submission cannot be read, its earlier marks stay: %s", clean(str(error)))
            raise

    def _grader(self, lesson: str) -> Grader:
        if lesson not in self._graders:
            from autograder.grader import Grader

            device, box = choose_device(self.device), choose_box(self.sandbox)
            grader = Grader(self.course, self.course.lesson(lesson), device=device, box=box)
            self._graders[lesson] = self._stack.enter_context(grader)
        return self._graders[lesson]

    @property
    def _directory(self) -> CourseDirectory:
        converter: Any = self.parent  # nbgrader's Autograde
        return converter.coursedir

    def _submitted(self, resources: dict[str, Any]) -> Path:
        """The file that a student handed in."""
        names = resources["nbgrader"]
        folder = self._directory.format_path(self._directory.submitted_directory, names["student"], names["assignment"])
        return Path(os.path.join(folder, f"{names['notebook']}.ipynb"))


class GradeWithEngine(NbGraderPreprocessor):  # type: ignore[misc]  # nbgrader has no types
    """Grades in place of Execute, and writes each test's outcome under its exercise."""

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        """Leaves the result in `resources["autograder"]`; raises where there is none to save."""
        graded = self.parent.grade(resources)
        result = graded.result
        if result.status == "unreadable":
            raise SubmissionError(result.message)
        add_feedback(nb, result, pictures(graded.judged))
        resources["autograder"] = result
        return nb, resources


class SaveEngineGrades(SaveAutoGrades):  # type: ignore[misc]  # nbgrader has no types
    """nbgrader's SaveAutoGrades with the engine's scores; written answers wait for a person as ever."""

    def _add_score(self, cell: NotebookNode, resources: ResourcesDict) -> None:
        result, name = resources["autograder"], cell.metadata["nbgrader"]["grade_id"]
        exercise = next((one for one in result.exercises if one.name == name), None)
        grade = self.gradebook.find_grade(name, self.notebook_id, self.assignment_id, self.student_id)
        gradebook.set_grade(grade, exercise, name in gradebook.to_review(result), gradebook.untouched(cell))
        self.gradebook.db.commit()
