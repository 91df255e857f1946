"""`autograder gradescope`: one lesson as an autograder for Gradescope, by its documented layout.

    X.zip
      setup.sh, run_autograder   what Gradescope runs: once for the image, and for each submission
      requirements.txt           what graded here, with its versions
      gradescope.json            which lesson, and when students see what
      engine/autograder/         this package
      course/                    the lesson's suites and answers, the notebooks of all lessons, the course's secret

Enters: a built course. Leaves: a zip, the same bytes for the same course. It holds answers, hidden tests and the secret:
it goes to Gradescope and nowhere else. What runs there is gradescope_run.py.
See https://gradescope-autograders.readthedocs.io/en/latest/specs/; not tried on the real service.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autograder.course import Course
from autograder.errors import GraderError
from autograder.requirements import needed

PACKAGE = Path(__file__).resolve().parent
TEMPLATES = PACKAGE / "templates" / "gradescope"
VISIBILITY = ("visible", "after_due_date", "after_published", "hidden")  # Gradescope's words
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
EXECUTABLE, READABLE, SECRET = 0o755, 0o644, 0o600


def package(course: Course, name: str, output: Path, visibility: str) -> Path:
    """Writes the autograder of a lesson; raises GraderError where it is not built, or the zip cannot be written."""
    if visibility not in VISIBILITY:
        raise GraderError(f"no visibility is called {visibility!r}: choose {', '.join(VISIBILITY)}")
    course.lesson(name)
    settings = {"lesson": name, "visibility": visibility}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
            for script in ("setup.sh", "run_autograder"):
                _add(archive, script, (TEMPLATES / script).read_bytes(), EXECUTABLE)
            _add(archive, "requirements.txt", "".join(f"{line}\n" for line in requirements()).encode())
            _add(archive, "gradescope.json", json.dumps(settings).encode() + b"\n")
            for place, path in sorted(_engine()) + sorted(_course(course, name)):
                _add(archive, place, path.read_bytes())
            _add(archive, "course/.autograder/secret", course.secret() + b"\n", SECRET)
        output.chmod(SECRET)
    except OSError as error:
        raise GraderError(f"{output} cannot be written ({error.strerror}); name another place") from error
    return output


def requirements() -> list[str]:
    """What this package needs, each in the version that is installed here; local marks as +cpu are left out."""
    try:
        return [f"{name}=={version(name).partition('+')[0]}" for name in needed()]
    except PackageNotFoundError as error:
        raise GraderError(f"{error.name} is not installed, so its version is not known; run `make setup`") from error


def _engine() -> Iterator[tuple[str, Path]]:
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"engine/autograder/{path.relative_to(PACKAGE).as_posix()}", path


def _course(course: Course, name: str) -> Iterator[tuple[str, Path]]:
    """What grading reads: this lesson's suites, and of all lessons what tells their notebooks from each other."""
    built = [other for other in course.lessons() if course.source(other).exists() and course.release(other).exists()]
    paths = [course.root / each for each in ("nbgrader_config.py", "pyproject.toml")]
    for other in built:
        paths += [course.solutions / f"{other}.py", course.source(other), course.release(other)]
    paths += [path for path in (course.root / "tests" / name).rglob("*") if "__pycache__" not in path.parts]
    for path in paths:
        if path.is_file():
            yield f"course/{path.relative_to(course.root).as_posix()}", path


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int = READABLE) -> None:
    entry = zipfile.ZipInfo(name, LONG_AGO)
    entry.external_attr = mode << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)
