"""The image for macOS and Windows, as far as it can be seen without Docker: its files, its steps, and the box inside it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTRUCTIONS = {"FROM", "RUN", "ARG", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "CMD"}


def steps() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, in order; continued lines are joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def arguments(instruction: str) -> list[str]:
    """What stands behind each instruction of a kind."""
    return [rest for name, rest in steps() if name == instruction]


def copied() -> dict[str, str]:
    """What the image gets: path here -> path there."""
    places = {}
    for rest in arguments("COPY"):
        *sources, target = shlex.split(rest)
        for source in sources:
            whole = target.endswith("/")
            places[source] = str(Path(target) / Path(source).name) if whole else target
    return places


def test_every_instruction_is_one():
    """No line is lost behind a backslash, and the first one is FROM."""
    assert {name for name, _ in steps()} <= INSTRUCTIONS
    assert steps()[0][0] == "FROM"
    assert len(arguments("FROM")) == 1


def test_the_base_is_pinned():
    """A Python that the package takes and CI runs, on a named distribution."""
    (base,) = arguments("FROM")
    minor, distribution = re.fullmatch(r"python:(3\.\d+)-slim-(\w+)", base).groups()
    assert f'"{minor}"' in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert distribution == "bookworm"


def test_what_is_copied_is_there_and_let_in():
    """Each source exists, and .dockerignore, which leaves out all else, lets exactly these in."""
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == set(copied())
    for source in copied():
        assert (ROOT / source).exists(), source


def test_no_answer_or_hidden_test_enters_the_image():
    """The course is mounted, not copied."""
    for source in copied():
        assert not source.startswith(("tests", "source", "release", "submitted", ".autograder", "gradebook"))
        assert not source.startswith("solutions") or source == "solutions/_toolbox.py"


@pytest.mark.parametrize("line", arguments("RUN"))
def test_steps_are_shell(line):
    """Each step parses, and its parts are joined so that a failing one ends the build."""
    done = subprocess.run(["sh", "-n", "-c", line], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stderr
    assert ";" not in line


def test_the_package_builds_from_what_the_image_gets(tmp_path):
    """The pip step's own source: a wheel is built from a copy of those files alone, with command and templates in it."""
    for source, target in copied().items():
        place = tmp_path / "kit" / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path / "kit", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(tmp_path / "site")], check=True)
    (tmp_path / "course").mkdir()
    run = "import sys; sys.path.insert(0, sys.argv.pop(1)); from autograder.cli import main; main()"
    command = [sys.executable, "-P", "-c", run, str(tmp_path / "site"), "new", "my_lesson"]
    new = subprocess.run(command, cwd=tmp_path / "course", capture_output=True, text=True, check=False)
    assert new.returncode == 0, new.stderr
    assert (tmp_path / "course" / "solutions" / "_toolbox.py").read_bytes() == (ROOT / "solutions/_toolbox.py").read_bytes()


def test_pip_is_asked_for_what_there_is():
    """The extra exists, the constraints are the repository's, and no step asks for another package by name."""
    pip = next(line for line in arguments("RUN") if "pip install" in line)
    assert "--constraint constraints.txt" in pip
    (extra,) = re.findall(r"'\.\[(\w+)\]'$", pip)
    assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_nobody_is_root():
    """The last user is one that a step made, and no instruction before the last step lowers that again."""
    (user,) = arguments("USER")
    assert any(f"useradd --create-home --uid 1000 {user}" in line for line in arguments("RUN"))
    names = [name for name, _ in steps()]
    assert "RUN" not in names[names.index("USER") :]


def test_the_devcontainer_is_the_same():
    """It builds this Dockerfile, as the same user, with the course at the same place and the same interpreter."""
    told = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    folder = ROOT / ".devcontainer"
    assert (folder / told["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / told["build"]["context"]).resolve() == ROOT
    assert told["remoteUser"] == arguments("USER")[0]
    assert told["workspaceFolder"] == arguments("WORKDIR")[-1]
    assert f"target={told['workspaceFolder']}," in told["workspaceMount"]
    interpreter = told["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert str(Path(interpreter).parent) in arguments("ENV")[0]
    assert told["forwardPorts"] == [int(port) for port in arguments("EXPOSE")]


DOCKER_LIKE = [
    "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs",
    "--bounding-set=-all", "--inh-caps=-all",
]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root to give rights up")
def test_the_box_needs_no_privilege(open_to):
    """As a user without any capability, who cannot get one, as in a container: Landlock and seccomp confine a child."""
    code = "from autograder.inside.confine import Limits, confine; confine(Limits(), ['/usr'])\n"
    code += "try: open('/etc/hostname')\nexcept PermissionError: print('refused')"
    python = os.path.realpath(sys.executable)
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        paths = [str(open_to(DOCKER_LIKE, Path(place), Path(made))) for place in (ROOT, *_site())]
        command = [*DOCKER_LIKE, python, "-I", "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    if "Permission denied" in done.stderr and not done.stdout:
        pytest.skip("another user may not start this interpreter")
    assert (done.stdout.strip(), done.returncode) == ("refused", 0), done.stderr


def _site() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]
