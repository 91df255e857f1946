"""Does with an autograder zip what Gradescope does, as its documentation says; also by hand:

    python tests/engine/gradescope_harness.py X.zip FOLDER SUBMISSION.ipynb

FOLDER stands for /autograder. The zip is unpacked without its modes, setup.sh is run once, run_autograder is copied to
FOLDER and run there for the submission, what it prints goes to results/stdout, and results.json is held against the
documented format. `venv` is this environment, so nothing has to be downloaded: setup.sh finds its requirements met.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

VISIBILITY = {"visible", "after_due_date", "after_published", "hidden"}
FORMATS = {"text", "html", "simple_format", "md", "ansi"}
TOP = {
    "score": (int, float),
    "execution_time": (int, float),
    "output": str,
    "output_format": str,
    "tests": list,
    "test_output_format": str,
    "test_name_format": str,
    "visibility": str,
    "stdout_visibility": str,
    "extra_data": dict,
    "leaderboard": list,
}
TEST = {
    "score": (int, float),
    "max_score": (int, float),
    "status": str,
    "name": str,
    "name_format": str,
    "number": str,
    "output": str,
    "output_format": str,
    "tags": list,
    "visibility": str,
    "extra_data": dict,
}


def build_image(archive: Path, root: Path) -> subprocess.CompletedProcess[str]:
    """Unpacks an autograder and runs its setup.sh."""
    (root / "submission").mkdir(parents=True)
    (root / "results").mkdir()
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(root / "source")
    (root / "venv").symlink_to(sys.prefix)
    shutil.copyfile(root / "source" / "run_autograder", root / "run_autograder")
    (root / "run_autograder").chmod(0o755)
    command = ["bash", str(root / "source" / "setup.sh")]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def run(root: Path, files: dict[str, bytes], email: str = "ada@example.org") -> subprocess.CompletedProcess[str]:
    """One submission: its files, its metadata, a run; results and printed text lie in root/results."""
    shutil.rmtree(root / "submission")
    shutil.rmtree(root / "results")
    (root / "results").mkdir()
    for name, data in files.items():
        (root / "submission" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "submission" / name).write_bytes(data)
    (root / "submission").mkdir(exist_ok=True)
    metadata = {
        "id": 123456,
        "created_at": "2026-07-01T14:22:32.365935-07:00",
        "assignment": {"id": 25828, "title": "Attention", "total_points": "100.0", "group_submission": False},
        "submission_method": "upload",
        "users": [{"email": email, "id": 1234, "name": "Ada Lovelace"}],
        "previous_submissions": [],
    }
    (root / "submission_metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    done = subprocess.run([str(root / "run_autograder")], cwd=root, capture_output=True, text=True, check=False)
    (root / "results" / "stdout").write_text(done.stdout + done.stderr, encoding="utf-8")
    return done


def results(root: Path) -> dict[str, Any]:
    """results.json, once every field is one that the documentation names, of the type that it names."""
    read = json.loads((root / "results" / "results.json").read_text(encoding="utf-8"))
    _check(read, TOP)
    assert "score" in read or all("score" in test for test in read["tests"])
    for test in read["tests"]:
        _check(test, TEST)
        assert test.get("status", "passed") in ("passed", "failed")
    return read


def _check(entry: dict[str, Any], fields: dict[str, Any]) -> None:
    for name, value in entry.items():
        assert isinstance(value, fields[name]), name
    for name in ("visibility", "stdout_visibility"):
        assert entry.get(name, "visible") in VISIBILITY
    for name in ("output_format", "name_format", "test_output_format"):
        assert entry.get(name, "text") in FORMATS


if __name__ == "__main__":
    zipped, folder, notebook = (Path(argument) for argument in sys.argv[1:4])
    print(build_image(zipped, folder).stderr)
    print(run(folder, {notebook.name: notebook.read_bytes()}).stdout)
    print(json.dumps(results(folder), indent=2))
