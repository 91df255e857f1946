"""The rebuilt notebook: what the student wrote, nbgrader's marks where the answers are, nothing else of the file."""

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator

from autograder.canonical import add_feedback, as_file, canonical, graded_cells
from autograder.notebook import read_notebook
from autograder.program import slice_program
from autograder.results import ExerciseResult, SubmissionResult, TestResult

LESSON = "attention_from_scratch"
WRITTEN = "The variance of a dot product grows with d_k."


@pytest.fixture
def rebuild(course, hand_in):
    """Hands a notebook in, reads it, and rebuilds it."""

    def run(content):
        notebook = read_notebook(hand_in("ada", content))
        release = nbformat.read(course.release(LESSON), as_version=4)
        rebuilt = canonical(release, notebook, slice_program(notebook, course.lesson(LESSON)))
        MetadataValidator().validate_nb(rebuilt)
        nbformat.validate(rebuilt)
        return rebuilt

    return run


def graded(notebook):
    return {cell.metadata.nbgrader.grade_id: cell for cell in graded_cells(notebook)}


def names(notebook):
    return [cell.metadata.nbgrader.grade_id for cell in graded_cells(notebook)]


def strip_marks(notebook):
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        cell.pop("id", None)
    notebook["nbformat_minor"] = 4
    return notebook


def test_every_graded_cell_of_the_release_is_there_once(rebuild, filled, course):
    """nbgrader finds each grade id exactly once, in the release's order."""
    assert names(rebuild(filled())) == names(nbformat.read(course.release(LESSON), as_version=4))


def test_marks_come_back_to_a_notebook_that_lost_them(rebuild, filled, model_answers):
    """Colab drops nbgrader's metadata; the answers are found, and so is the written one under its prompt."""
    rebuilt = graded(rebuild(strip_marks(filled(**model_answers, why_scale=WRITTEN))))
    assert {name: rebuilt[name].source for name in model_answers} == model_answers
    assert rebuilt["why_scale"].source == WRITTEN


def test_points_are_the_releases_own(rebuild, filled):
    """A student cannot give themselves points."""
    notebook = filled()
    for cell in notebook["cells"]:
        if "points" in cell["metadata"].get("nbgrader", {}):
            cell["metadata"]["nbgrader"]["points"] = 1000
    assert graded(rebuild(notebook))["softmax"].metadata.nbgrader.points == 15


def test_marks_follow_the_answer_that_is_graded(rebuild, filled, model_answers):
    """An answer in a new cell counts; the stub that it left behind carries no marks."""
    notebook = filled()
    new = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "id": "mine"}
    notebook["cells"].append(new | {"source": model_answers["softmax"]})
    rebuilt = rebuild(notebook)
    assert graded(rebuilt)["softmax"].source == model_answers["softmax"]
    assert names(rebuilt).count("softmax") == 1


def test_two_answers_in_one_cell_become_two_graded_cells(rebuild, filled, model_answers):
    """Merged cells keep their text; the second answer gets a cell that says where it was found."""
    both = f"{model_answers['split_heads']}\n\n{model_answers['merge_heads']}"
    notebook = filled(split_heads=both)
    notebook["cells"] = [
        cell for cell in notebook["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") != "merge_heads"
    ]
    rebuilt = graded(rebuild(notebook))
    assert rebuilt["split_heads"].source == both
    assert rebuilt["merge_heads"].source.startswith("# merge_heads was found in cell")
    assert "def merge_heads" in rebuilt["merge_heads"].source
    assert "def split_heads" not in rebuilt["merge_heads"].source


def test_an_answer_in_a_text_cell_gets_a_code_cell(rebuild, filled, model_answers):
    """nbgrader wants code where the release has code."""
    notebook = filled(softmax=model_answers["softmax"])
    cell = next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "softmax")
    cell["cell_type"] = "raw"
    for key in ("outputs", "execution_count"):
        cell.pop(key)
    rebuilt = graded(rebuild(notebook))["softmax"]
    assert rebuilt.cell_type == "code"
    assert "def softmax" in rebuilt.source


def test_what_was_not_handed_in_comes_last_as_it_was_released(rebuild, filled, course):
    """nbgrader then knows it for untouched."""
    notebook = filled()
    notebook["cells"] = [
        cell
        for cell in notebook["cells"]
        if cell["metadata"].get("nbgrader", {}).get("grade_id") not in ("softmax", "why_scale")
    ]
    rebuilt = rebuild(notebook)
    released = graded(nbformat.read(course.release(LESSON), as_version=4))
    assert names(rebuilt)[-2:] == ["softmax", "why_scale"]
    assert [cell.source for cell in rebuilt.cells[-2:]] == [released[name].source for name in ("softmax", "why_scale")]


def test_an_answer_that_does_not_parse_stays_where_it_is(rebuild, filled):
    """A person can see what was meant."""
    assert graded(rebuild(filled(softmax="def softmax(x, dim=-1):\n    return x +")))["softmax"].source.endswith("x +")


def test_nothing_else_of_the_file_survives(rebuild, filled, model_answers):
    """Outputs and metadata of a submission are not shown to anybody."""
    notebook = filled(**model_answers)
    for cell in notebook["cells"]:
        cell["metadata"]["evil"] = "<script>"
        if cell["cell_type"] == "code":
            html = {"text/html": "<script>evil</script>"}
            cell["outputs"] = [{"output_type": "display_data", "data": html, "metadata": {}}]
    notebook["metadata"]["evil"] = "<script>"
    assert "<script>" not in nbformat.writes(rebuild(notebook))


def test_feedback_stands_under_the_exercise_it_is_about(rebuild, filled):
    """As text, and as HTML in which nothing is markup."""
    rebuilt = rebuild(filled())
    failed = TestResult("rows sum to one", "failed", "wrong", "hint: <b>divide</b>")
    exercise = ExerciseResult("softmax", 3, 15, (failed,))
    add_feedback(rebuilt, SubmissionResult("ada", "", "graded", exercises=(exercise,)))
    cells = graded(rebuilt)
    data = cells["softmax"].outputs[0].data
    assert "hint: <b>divide</b>" in data["text/plain"]
    assert "&lt;b&gt;" in data["text/html"]
    assert cells["causal_mask"].outputs == []


def test_the_file_is_what_nbformat_writes(rebuild, filled, model_answers):
    """Byte for byte, whatever stands in the cells; the notebook itself stays as it is."""
    signs = "\"\\ / é \u2028 \x7f \x01 \U0001f600\n\n\tend"
    notebook = rebuild(filled(**model_answers, why_scale=signs))
    outcome = TestResult("values & <b>", "failed", "wrong", signs)
    add_feedback(notebook, SubmissionResult("ada", "", "graded", exercises=(ExerciseResult("softmax", 0, 10, (outcome,)),)))
    before = nbformat.v4.writes(notebook)
    assert as_file(notebook).decode() == before + "\n"
    assert nbformat.v4.writes(notebook) == before
