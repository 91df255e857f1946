"""A class of ten thousand: it runs to its end, and memory does not grow on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDENTS = int(os.environ.get("AUTOGRADER_LONG_RUN", "10000"))


@pytest.mark.slow
def test_ten_thousand(tmp_path):
    """Copies of the demo's submissions under other names; AUTOGRADER_LONG_RUN asks for another number of them."""
    record = tmp_path / "soak.json"
    command = [sys.executable, "-m", "benchmarks.scale", "soak", "--students", str(STUDENTS), "--record", str(record)]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    rows = json.loads(record.read_text())["rows"]
    assert len(rows) == 5
    assert run.returncode == 0, run.stdout
