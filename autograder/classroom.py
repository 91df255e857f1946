"""`autograder classroom`: two GitHub workflows, and the summary that one of them shows.

    students/.github/     visible checks, for the repository that students' own are made from. They can change it, so it
                          holds nothing hidden and gives no marks.
    instructor/.github/   for the private repository with the course: fetches the students' repositories by their
                          prefix, grades them in the box, shows points.

Repositories are found by name, `hw1-adal`, as GitHub Classroom and its successors make them; their own programs are not
needed. Enters: a folder, or results.json. Leaves: files, or Markdown. Not tried on GitHub itself.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from autograder.errors import GraderError
from autograder.report import points
from autograder.results import Results, SubmissionResult, from_json
from autograder.safetext import one_line
from autograder.whole import write_file

TEMPLATES = Path(__file__).resolve().parent / "templates" / "classroom"
PLACES = {
    "students/.github/workflows/visible-checks.yml": "students.yml",
    "students/.github/visible_checks.py": "visible_checks.py",
    "instructor/.github/workflows/grade.yml": "instructor.yml",
}
STATUS = {"graded": "", "needs_review": "needs review", "unreadable": "could not be read"}


def write_workflows(folder: Path) -> list[Path]:
    """Writes both; raises GraderError where one is there with another content, or cannot be written."""
    files = {folder / place: (TEMPLATES / name).read_bytes() for place, name in PLACES.items()}
    for path, data in files.items():
        if path.exists() and path.read_bytes() != data:
            raise GraderError(
                f"{path} is there already, and not as it would be written; move it away, or name another folder"
            )
    for path, data in files.items():
        write_file(path, data, lasting=False)
    return list(files)


def summary_of(path: Path) -> str:
    """The points of a run as Markdown; raises GraderError where the file is no results.json."""
    try:
        return summary(from_json(path.read_bytes()))
    except (OSError, msgspec.DecodeError) as error:
        raise GraderError(f"{path} is no results.json ({error}); see what the step before it said") from error


def summary(results: Results) -> str:
    """A table of students and exercises; whatever comes from a student is text there, and nothing else."""
    names = [each.name for each in next((one.exercises for one in results.submissions if one.exercises), ())]
    head = ["student", "", "points", *(markdown(name) for name in names)]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)], *(_row(each, names) for each in results.submissions)]
    where = f"{len(results.submissions)} submissions, on {results.device}, box: {results.sandbox}"
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {markdown(results.lesson)}\n\n{markdown(where)}\n\n{table}\n"


def _row(result: SubmissionResult, names: list[str]) -> list[str]:
    scores = {each.name: points(each.score) for each in result.exercises}
    whole = f"{points(result.score)} / {points(result.max_score)}" if result.status != "unreadable" else ""
    return [markdown(result.student), STATUS[result.status], whole, *(scores.get(name, "") for name in names)]


def markdown(text: str) -> str:
    """Text where GitHub reads Markdown: no sign in it is markup, a mention or an address."""
    plain = one_line(text, 100)
    return "".join(each if each.isalnum() or each in " -/," else f"&#{ord(each)};" for each in plain)
