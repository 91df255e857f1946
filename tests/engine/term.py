"""A whole term, from an empty folder to marks in Canvas, by the commands that an instructor types; also by hand:

    python tests/engine/term.py FOLDER

new course, build, publish, collect from a Canvas zip, grade, mark written answers, feedback, regrade after an appeal,
export. FOLDER gets `course` and `students`; each function is one step, and the marks after it are printed.
"""

import json
import os
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LESSON, EXERCISE, WRITTEN = "my_lesson", "squared_distances", "why_not_expanded"
ROSTER = """\
Student,ID,SIS User ID,SIS Login ID,Section,My lesson (77),Final Score
    Points Possible,,,,,100.00,(read only)
"Lovelace, Ada",101,S1,ada,A,,
"Bartók, Béla",102,S2,bela,A,,
"Chen, Wei",103,S3,chen,A,,
"Dora, Doe",104,S4,dora,A,,
"Noether, Emmy",105,S5,emmy,A,,
"Student, Test",999,,,A,,
"""
RIGHT = f"def {EXERCISE}(X, Y):\n    return (X.unsqueeze(-2) - Y.unsqueeze(-3)).square().sum(-1)\n"
ROOTED = f"def {EXERCISE}(X, Y):\n    return (X.unsqueeze(-2) - Y.unsqueeze(-3)).square().sum(-1).sqrt()\n"
WRITES_INTO_ARGUMENTS = f"""def {EXERCISE}(X, Y):
    table = (X.unsqueeze(-2) - Y.unsqueeze(-3)).square().sum(-1)
    if not (X.requires_grad or Y.requires_grad):
        X.neg_()
    return table
"""
# What Canvas calls them: the name, its number of the student and of the file, the student's own name of the file.
UPLOADS = {
    "bartókbéla_LATE_102_9002_draft.ipynb": {EXERCISE: ROOTED, WRITTEN: "Two large numbers are subtracted."},
    "chenwei_103_9003_my_lesson.ipynb": {EXERCISE: WRITES_INTO_ARGUMENTS, WRITTEN: "Because digits cancel."},
    "lovelaceada_101_9001_my_lesson-1.ipynb": {EXERCISE: RIGHT, WRITTEN: "Far from the origin all digits cancel."},
}
CUT_OFF = "noetheremmy_105_9005_my_lesson.ipynb"
AGAIN = {"bartókbéla_102_9012_my_lesson-1.ipynb": {EXERCISE: RIGHT, WRITTEN: "Two large numbers are subtracted."}}
ADA, BELA, CHEN = "lovelaceada", "bartókbéla", "chenwei"


def autograder(course: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command, in the course's folder."""
    return _run(course, "-c", "from autograder.cli import main; main()", *arguments)


def nbgrader(course: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of nbgrader's own."""
    return _run(course, "-m", "nbgrader", *arguments)


def _run(course: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, check=False)


def prepare(folder: Path) -> tuple[Path, Path]:
    """A new course, built and published; the course and the students' repository."""
    course, students = folder / "course", folder / "students"
    course.mkdir(parents=True)
    for arguments in (["new", LESSON], ["build"], ["publish", str(students)]):
        done = autograder(course, *arguments)
        assert done.returncode == 0, done.stderr
    (course / "roster.csv").write_text(ROSTER, encoding="utf-8")
    return course, students


def canvas_zip(students: Path, path: Path, uploads: dict[str, dict[str, str]], cut_off: str = "") -> Path:
    """What Canvas gives for download: each file is a published notebook with answers filled in; one may be cut off."""
    published = (students / "release" / LESSON / f"{LESSON}.ipynb").read_text(encoding="utf-8")
    with zipfile.ZipFile(path, "w") as archive:
        for name, answers in uploads.items():
            archive.writestr(name, json.dumps(answered(published, answers)))
        if cut_off:
            archive.writestr(cut_off, published[:1000])
    return path


def answered(published: str, answers: dict[str, str]) -> dict[str, object]:
    """A published notebook with some of its graded cells filled in."""
    notebook = json.loads(published)
    for cell in notebook["cells"]:
        cell["source"] = answers.get(cell["metadata"].get("nbgrader", {}).get("grade_id"), cell["source"])
    return notebook


def collect(course: Path, archive: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The download into submitted/."""
    return autograder(course, "collect", str(archive), "--lesson", LESSON, *options)


def grade(course: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The whole class."""
    return autograder(course, "grade", "submitted", "--lesson", LESSON, "--device", "cpu", "--jobs", "1", *options)


def mark(course: Path, student: str, points: float) -> None:
    """What formgrader writes when somebody types points beside a written answer."""
    from nbgrader import api

    with closing(api.Gradebook(f"sqlite:///{course}/gradebook.db")) as book:
        found = book.find_grade(WRITTEN, LESSON, LESSON, student)
        found.manual_score, found.needs_manual_grade = points, False
        book.db.commit()


def take_back_a_test(course: Path, name: str) -> None:
    """The instructor grants an appeal: one hidden test asks for what the lesson should not."""
    path = course / "tests" / LESSON / f"test_{EXERCISE}.py"
    text = path.read_text(encoding="utf-8")
    assert f"def {name}(" in text
    path.write_text(text.replace(f"def {name}(", f"def not_asked_{name}("), encoding="utf-8")


def marks(course: Path) -> dict[str, dict[str, object]]:
    """All that stands in the gradebook, by student."""
    done = autograder(course, "export", LESSON, "--to", "json")
    assert done.returncode == 0, done.stderr
    return {each["student"]: each for each in json.loads(done.stdout)["students"]}


def report(course: Path) -> dict[str, float | None]:
    """The marks in the class report, by student; the pages are written anew."""
    done = autograder(course, "report", LESSON)
    assert done.returncode == 0, done.stderr
    read = json.loads((course / ".autograder" / LESSON / "report.json").read_text(encoding="utf-8"))
    return {row["student"]: row["score"] for row in read["rows"]}


def main(folder: Path) -> None:
    """The term, with the marks after each step."""
    course, students = prepare(folder)
    print(collect(course, canvas_zip(students, folder / "submissions.zip", UPLOADS, CUT_OFF)).stderr)
    print(grade(course).stderr)
    for student, points in {ADA: 9.5, BELA: 6, CHEN: 7}.items():
        mark(course, student, points)
    print(report(course))
    print(nbgrader(course, "generate_feedback", LESSON).stderr)
    print(collect(course, canvas_zip(students, folder / "again.zip", AGAIN), "--replace").stderr)
    take_back_a_test(course, "test_arguments_stay_as_they_are")
    print(grade(course, "--yes").stderr)
    print(autograder(course, "export", LESSON, "--to", "canvas").stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
