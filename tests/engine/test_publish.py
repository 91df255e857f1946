"""What students get: all of it, ready to push, and nothing that they must not see."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from autograder.build import build
from autograder.course import Course
from autograder.errors import GraderError
from autograder.leaks import answer_lines, find_leaks, suite_lines
from autograder.new import new_lesson
from autograder.publish import BEGIN, END, publish

ROOT = Path(__file__).resolve().parents[2]
LESSONS = Course(ROOT).lessons()
REPOSITORY = "someone/notebooks"


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """The kit's own course, built anew, and the folder that all of it was published into."""
    root = tmp_path_factory.mktemp("kit")
    for name in ("nbgrader_config.py", "pyproject.toml", "solutions", "tests", "LICENSE"):
        (root / name).symlink_to(ROOT / name)
    build(Course(root))
    published = publish(Course(root), (), root.parent / f"{root.name}-students")
    return Course(root), root.parent / f"{root.name}-students", published


@pytest.fixture
def course(tmp_path):
    """A course of one new lesson, whose students' repository has an address."""
    (tmp_path / "course").mkdir()
    course = new_lesson(tmp_path / "course", "my_lesson")[0]
    settings = course.root / "pyproject.toml"
    settings.write_text(settings.read_text().replace("OWNER/REPO", REPOSITORY))
    (course.root / "LICENSE").write_text("Do as you like.\n")
    build(course)
    return course


def written(folder: Path) -> set[str]:
    """The files of a folder, from it; git's own are not listed."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if ".git" not in path.parts}


def test_what_there_is(kit):
    """Notebooks byte for byte as released, a README, requirements, the licence; nothing else."""
    course, folder, _ = kit
    notebooks = {f"release/{name}/{name}.ipynb" for name in LESSONS}
    assert written(folder) == notebooks | {"README.md", "requirements.txt", "LICENSE", ".gitignore"}
    for name in LESSONS:
        assert (folder / f"release/{name}/{name}.ipynb").read_bytes() == course.release(name).read_bytes()
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_every_badge_leads_into_the_folder(kit):
    """The README's badges and those inside the notebooks name files that will be there when it is pushed."""
    _, folder, _ = kit
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.suffix in (".ipynb", ".md")]
    links = [link for text in texts for link in re.findall(r"colab\.research\.google\.com/github/[^)\"\s]+", text)]
    assert len(links) == 2 * len(LESSONS)
    for link in links:
        owner, path = re.fullmatch(r".*?/github/([^/]+/[^/]+)/blob/main/(.+)", link).groups()
        assert owner == "deep-learning-abc/deep-learning-abc"
        assert (folder / path).is_file()


def test_the_table_has_every_lesson_in_order(kit):
    """A row a lesson with a link to its file and the sum of its points."""
    _, folder, published = kit
    rows = re.findall(r"^\| \[.+?\]\((.+?)\) .* \| (\d+) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    assert rows == [(f"release/{name}/{name}.ipynb", "100") for name in LESSONS]
    assert published.lessons == tuple(LESSONS)


def test_requirements_are_what_the_notebooks_import(kit):
    """Each line is a requirement pip can read; torch and matplotlib with the kit's ranges."""
    _, folder, _ = kit
    wanted = [Requirement(line) for line in (folder / "requirements.txt").read_text().splitlines()]
    assert [each.name for each in wanted] == ["matplotlib", "torch", "jupyterlab"]
    assert "2.9" in str(wanted[1].specifier)


@pytest.mark.parametrize("lesson", LESSONS)
def test_nothing_hidden_is_in_it(kit, lesson):
    """By another way than the proof's own: no line of a lesson's answers or of any suite stands in any file."""
    course, folder, _ = kit
    own = (folder / f"release/{lesson}/{lesson}.ipynb").read_text(encoding="utf-8")
    released = "\n".join("".join(cell["source"]) for cell in json.loads(own)["cells"])
    script = (ROOT / "solutions" / f"{lesson}.py").read_text(encoding="utf-8")
    regions = "\n".join(re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", script, re.DOTALL))
    answers = {line.strip().removeprefix("# ") for line in regions.splitlines() if len(line.strip()) > 20}
    assert len(answers) > 20
    assert [line for line in answers if line in released] == []
    others = [path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file() and path.suffix != ".ipynb"]
    suites = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / lesson).glob("test_*.py")]
    hidden = {line.strip() for text in suites for line in text.splitlines() if len(line.strip()) > 32}
    hidden -= {line for line in hidden if line.startswith(("from ", "import "))}
    seen = {line.strip() for text in (released, *others) for line in text.splitlines()}
    assert len(hidden) > 100
    assert hidden & seen == set()
    secret = course.secret().decode()
    assert not [path for path in folder.rglob("*") if path.is_file() and secret in path.read_text(encoding="utf-8")]


def test_lessons_that_give_others_away_are_named(kit):
    """Lesson 4 holds what lessons 1 and 3 ask for, ready to use: published with them it is said, without them it is not."""
    course, folder, published = kit
    told = [line for line in published.warnings if line.startswith("transformer_encoder gives")]
    assert [re.search(r"push it when (\w+) has been handed in", line)[1] for line in told] == [
        "attention_from_scratch",
        "positional_encoding",
    ]
    alone = publish(course, ["transformer_encoder"], folder.parent / f"{folder.name}-4")
    assert alone.warnings == ()


def test_lesson_by_lesson(kit, tmp_path):
    """A lesson is added in its week; those of other weeks and what the instructor wrote round the table stay."""
    course, _, _ = kit
    publish(course, [LESSONS[1]], tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text() + "\nOffice hours: Tuesday.\n")
    assert publish(course, [LESSONS[0]], tmp_path).lessons == (LESSONS[0], LESSONS[1])
    text = readme.read_text()
    assert text.endswith("\nOffice hours: Tuesday.\n")
    assert text.index(f"release/{LESSONS[0]}") < text.index(f"release/{LESSONS[1]}")
    assert text.count(BEGIN) == text.count(END) == 1
    assert publish(course, (), tmp_path).lessons == tuple(LESSONS)
    assert publish(course, (), tmp_path).written == ()


def test_a_readme_of_ones_own_stays(course, tmp_path):
    """A README without the two marks is not touched, and the way to a table is told."""
    (tmp_path / "students").mkdir()
    (tmp_path / "students" / "README.md").write_text("# Mine\n")
    published = publish(course, (), tmp_path / "students")
    assert (tmp_path / "students" / "README.md").read_text() == "# Mine\n"
    assert any(BEGIN in line for line in published.warnings)


def stray(course: Course, what: str) -> tuple[str, bytes]:
    """A file that students must not get: its name and its bytes."""
    if what == "solved notebook":
        return "release/my_lesson/other.ipynb", course.source("my_lesson").read_bytes()
    if what == "solution script":
        return "my_lesson.py", (course.solutions / "my_lesson.py").read_bytes()
    if what == "secret":
        return "notes.txt", b"the key is " + course.secret()
    names = {"suite": "test_squared_distances", "alternatives": "alternatives", "samples": "samples"}
    if what in names:
        text = (course.root / "tests" / "my_lesson" / f"{names[what]}.py").read_bytes()
        return f"{names[what]}.py", text
    if what == "one line of a suite":
        return (
            "README.md",
            b"[[1.0, 5.0], [34.0, 52.0]] is what comes out:\nX, Y = inputs.randn(4, 3) + 1e4, inputs.randn(3, 3) + 1e4",
        )
    return "notes.md", b"Write `return difference.square().sum(dim=-1)` there."


@pytest.mark.parametrize(
    "what",
    ["solved notebook", "solution script", "secret", "suite", "alternatives", "samples", "one line of a suite", "an answer"],
)
def test_what_lies_there_already_is_looked_at_too(course, tmp_path, what):
    """A folder into which somebody copied too much is named with file and line, and nothing is written into it."""
    folder = tmp_path / "students"
    name, data = stray(course, what)
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(data)
    with pytest.raises(GraderError, match=f"nothing was published: .*{re.escape(name)} holds"):
        publish(course, (), folder)
    assert written(folder) == {name}


def test_a_lesson_that_tells_its_own_answer(course, tmp_path):
    """An author's slip: the answer stands in a hint. The release is as built, and still it is not published."""
    script = course.solutions / "my_lesson.py"
    hint = "# <details><summary>Hint 1</summary>\n#\n"
    text = script.read_text(encoding="utf-8")
    assert hint in text
    script.write_text(text.replace(hint, hint + "# return difference.square().sum(dim=-1)\n#\n"), encoding="utf-8")
    build(course)
    with pytest.raises(GraderError, match=r"my_lesson\.ipynb holds an answer of my_lesson: return difference"):
        publish(course, (), tmp_path / "students")
    assert not (tmp_path / "students").exists()


def test_outputs_of_a_notebook_are_looked_at(course):
    """Text that a cell printed counts as well as its source, and so does what JSON writes with escapes."""
    line = answer_lines(course, "my_lesson")[-1]
    output = {"output_type": "stream", "name": "stdout", "text": [f'"{line}', '"\n']}
    notebook = {"cells": [{"cell_type": "code", "metadata": {}, "source": "1", "outputs": [output]}]}
    path = Path("release/my_lesson/my_lesson.ipynb")
    assert find_leaks(course, {path: json.dumps(notebook).encode()}) == [f"{path} holds an answer of my_lesson: {line}"]


def test_which_lines_count(course):
    """Signatures, imports, sentences and plain calls of an exercise are no leak; every other line of code is."""
    lines = suite_lines(course, "my_lesson")
    assert "close(on_copies(student.squared_distances, X, Y), [[1.0, 5.0], [34.0, 52.0]], hint=TURNED)" in lines
    assert not [line for line in lines if "worked by hand" in line or line.startswith(("def ", "import ", "@"))]
    assert "return difference.square().sum(dim=-1)" in answer_lines(course, "my_lesson")


def test_stale_notebooks_are_not_published(course, tmp_path):
    """What the script says by now is not what would be published: build first."""
    script = course.solutions / "my_lesson.py"
    script.write_text(script.read_text(encoding="utf-8").replace("A tiny example", "A small example"), encoding="utf-8")
    with pytest.raises(GraderError, match=r"stale: .*release/my_lesson/my_lesson\.ipynb; run `autograder build`"):
        publish(course, (), tmp_path / "students")


@pytest.mark.parametrize("place", [".", "solutions", "release/students", "tests", "..", ".autograder/out"])
def test_no_folder_of_the_course(course, place):
    """A mistyped folder does not turn the course into what students get."""
    with pytest.raises(GraderError, match="belongs to the course, with its answers"):
        publish(course, (), course.root / place)


def test_a_file_in_the_way(course, tmp_path):
    """DIR is a folder."""
    (tmp_path / "students").write_text("")
    with pytest.raises(GraderError, match="is a file; name a folder"):
        publish(course, (), tmp_path / "students")


def test_without_a_licence_or_an_address(course, tmp_path):
    """Both are said, and neither stops anything."""
    (course.root / "LICENSE").unlink()
    settings = course.root / "pyproject.toml"
    settings.write_text(settings.read_text().replace(REPOSITORY, "OWNER/REPO"))
    build(course)
    warnings = "\n".join(publish(course, (), tmp_path / "students").warnings)
    assert "no LICENSE in the course" in warnings
    assert "the badges lead nowhere" in warnings


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
@pytest.mark.parametrize(
    ("remote", "warned"),
    [
        (f"git@github.com:{REPOSITORY}.git", False),
        (f"https://github.com/{REPOSITORY}", False),
        ("https://github.com/someone/elses.git", True),
    ],
)
def test_badges_that_lead_elsewhere(course, tmp_path, remote, warned):
    """Where the folder is a clone, its remote and the badges must be one repository."""
    folder = tmp_path / "students"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)  # noqa: S607
    subprocess.run(["git", "remote", "add", "origin", remote], cwd=folder, check=True)  # noqa: S607
    warnings = publish(course, (), folder).warnings
    assert any("the badges lead to" in line for line in warnings) == warned


def test_a_link_to_a_lesson_that_is_not_there(course, tmp_path):
    """A notebook may point to another; if that one is not published yet, it is said."""
    script = course.solutions / "my_lesson.py"
    link = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/release/next/next.ipynb"
    text = script.read_text(encoding="utf-8").replace("# include: badge", f"# include: badge\n#\n# [next]({link})")
    script.write_text(text, encoding="utf-8")
    build(course)
    assert any("next.ipynb, which is not published" in line for line in publish(course, (), tmp_path / "s").warnings)


def test_the_command(course, tmp_path, autograder_in):
    """It names what it wrote, what to know, and what it proved."""
    done = autograder_in(course, "publish", str(tmp_path / "students"), "my_lesson")
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path}/students/release/my_lesson/my_lesson.ipynb" in done.stderr
    assert "no answer, hidden test or secret is in it" in done.stderr
    unknown = autograder_in(course, "publish", str(tmp_path / "students"), "lesson_9")
    assert (unknown.returncode, "known are: my_lesson" in unknown.stderr) == (2, True)
