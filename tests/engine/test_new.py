"""A new lesson builds, grades and proves at once, in a course that is there or in one made for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from rich.console import Console

from autograder.build import build
from autograder.course import Course
from autograder.demo import show
from autograder.errors import GraderError
from autograder.new import COURSE, new_lesson
from autograder.promises import broken_promises

ROOT = Path(__file__).resolve().parents[2]
LESSON, EXERCISE = "my_lesson", "squared_distances"


@pytest.fixture
def fresh(tmp_path):
    """A new course in an empty folder, with its lesson not built yet."""
    (tmp_path / "course").mkdir()
    return new_lesson(tmp_path / "course", LESSON)[0]


def hand_in(course: Course, student: str, notebook: Path, **answers: str) -> None:
    """A notebook in nbgrader's folders, some of its graded cells filled in."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in cells["cells"]:
        cell["source"] = answers.get(cell["metadata"].get("nbgrader", {}).get("grade_id"), cell["source"])
    path = course.root / "submitted" / student / LESSON / f"{LESSON}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(cells), encoding="utf-8")


def test_new_build_grade_prove(tmp_path, autograder_in):
    """The three commands that the docs name, one after the other, from an empty folder: all green."""
    course = Course(tmp_path)
    made = autograder_in(course, "new", LESSON)
    assert (made.returncode, f"solutions/{LESSON}.py" in made.stderr) == (0, True), made.stderr
    built = autograder_in(course, "build")
    assert built.returncode == 0, built.stderr
    wrong = f"def {EXERCISE}(X, Y):\n    return (X.unsqueeze(-2) - Y.unsqueeze(-3)).pow(2).sum(-1) ** 0.5\n"
    forbidden = f"def {EXERCISE}(X, Y):\n    return torch.cdist(X, Y) ** 2\n"
    hand_in(course, "ada", course.source(LESSON))
    hand_in(course, "bela", course.release(LESSON))
    hand_in(course, "chen", course.release(LESSON), **{EXERCISE: wrong})
    hand_in(course, "dora", course.release(LESSON), **{EXERCISE: forbidden})
    graded = autograder_in(course, "grade", "submitted", "--lesson", LESSON, "--device", "cpu", "--json", "-")
    assert graded.returncode == 0, graded.stderr
    found = {each["student"]: each for each in json.loads(graded.stdout)["submissions"]}
    assert [found[name]["score"] for name in ("ada", "bela", "dora")] == [90.0, 0.0, 0.0]
    assert found["chen"]["score"] < 45.0
    ideas = {test["misconception"] for test in found["chen"]["exercises"][0]["tests"]}
    assert "The squared distance is asked for; here its root was taken." in ideas
    assert {test["cause"] for test in found["dora"]["exercises"][0]["tests"]} == {"forbidden"}
    proved = autograder_in(course, "prove", LESSON, "--jobs", "1")
    assert proved.returncode == 0, proved.stdout
    assert "problems: 0" in proved.stdout


def test_its_files_are_those_of_the_other_lessons(fresh):
    """What every lesson of the kit brings, a new one brings too: bank, alternatives, promises, rules, samples."""
    kit = [{path.name for path in (ROOT / "tests" / name).iterdir()} for name in Course(ROOT).lessons()]
    common = set.intersection(*kit)
    assert {"misconceptions.py", "alternatives.py", "promises.toml", "rules.toml", "samples.py"} <= common
    made = {path.name for path in (fresh.root / "tests" / LESSON).iterdir()}
    assert made == {name for name in common if not name.startswith(("test_", "__"))} | {f"test_{EXERCISE}.py"}


def test_every_hidden_test_has_its_promise(fresh):
    """What the template's suite checks, the template's notebook has said."""
    build(fresh)
    assert (fresh.root / "tests" / LESSON / "promises.toml").exists()
    assert broken_promises(fresh, LESSON) == []


def test_in_a_course_that_is_there(course_in, tmp_path):
    """Only the lesson is added; the course's own files stay as they are."""
    course = course_in(tmp_path)
    (course.root / "solutions").unlink()
    (course.root / "tests").unlink()
    (course.root / "solutions").mkdir()
    (course.root / "solutions" / "_toolbox.py").write_text("# the course's own\n")
    added = new_lesson(course.root / "source", "week_2")[1]
    assert {path.relative_to(course.root).parts[0] for path in added} == {"solutions", "tests"}
    assert (course.root / "solutions" / "_toolbox.py").read_text() == "# the course's own\n"
    assert (course.root / "solutions" / "week_2.py").read_text(encoding="utf-8").count("# # Week 2\n") == 1
    assert not [path for path in added if LESSON in path.read_text(encoding="utf-8")]


def test_nothing_is_written_over(fresh):
    """A lesson of that name, or any file of it, is named, and everything stays."""
    script = fresh.solutions / f"{LESSON}.py"
    script.write_text("# hours of work\n")
    with pytest.raises(GraderError, match=rf"{LESSON}\.py is there already.*another name"):
        new_lesson(fresh.root, LESSON)
    assert script.read_text() == "# hours of work\n"


def test_a_folder_with_something_else_in_it_is_no_place_for_a_course(tmp_path):
    """A course is not strewn among other files."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(GraderError, match=r"neither in a course nor empty \(thesis\.tex\)"):
        new_lesson(tmp_path, LESSON)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_clone_with_a_readme_is(tmp_path):
    """What a new repository holds is no obstacle, and stays."""
    (tmp_path / "README.md").write_text("mine\n")
    (tmp_path / ".gitignore").write_text("mine\n")
    (tmp_path / ".git").mkdir()
    new_lesson(tmp_path, LESSON)
    assert (tmp_path / "README.md").read_text() == (tmp_path / ".gitignore").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["My_lesson", "my-lesson", "2nd", "../up", "", "class", "_toolbox", "engine"])
def test_names_that_cannot_be(tmp_path, name):
    """A name becomes files, folders and a module: what cannot be all of these is refused."""
    with pytest.raises(GraderError, match="cannot be a lesson's name"):
        new_lesson(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_holds_the_templates(tmp_path):
    """Installed from a wheel, `new` finds all that it copies, files and not links."""
    copy = tmp_path / "kit"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "autograder", "solutions", "nbgrader_config.py"):
        (copy / name).symlink_to(ROOT / name)
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with ZipFile(tmp_path / done.stdout.splitlines()[-1]) as wheel:
        for name in COURSE:
            file = ROOT / "autograder" / "templates" / "new_course" / name
            assert wheel.read(f"autograder/templates/new_course/{name}") == file.read_bytes()
        for file in (ROOT / "autograder" / "templates" / "new_lesson").iterdir():
            if file.is_file():
                assert wheel.read(f"autograder/templates/new_lesson/{file.name}") == file.read_bytes()


def test_the_demo_says_that_it_needs_the_kits_lesson(fresh):
    """In somebody's own course there is nothing to show, and it says so rather than fail."""
    with pytest.raises(GraderError, match="the demo shows the kit's lesson attention_from_scratch"):
        show(fresh, Console())
