"""The README says what is true: its layout is the tree's, its commands exist, and it fits a screen."""

import re
import subprocess
from pathlib import Path

import pytest
import typer.main

from autograder.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def tracked():
    """Top-level names that belong to the repository, hidden ones and the README itself left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    names = {path.split("/")[0] for path in done.stdout.splitlines()}
    return {name for name in names if not name.startswith(".")} - {"README.md"}


def test_the_layout_table_is_the_tree():
    """Each file and folder at the top has its line, and each line its file or folder."""
    listed = {name.rstrip("/") for name in re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE)}
    assert listed == tracked()


def test_the_two_commands_come_first():
    """The first commands shown are make demo and make test."""
    assert re.findall(r"^ {4}(\S.*?)(?: {2,}#.*)?$", README, re.MULTILINE)[:2] == ["make demo", "make test"]


def test_make_targets_that_are_named_exist():
    """No document names a target that is not in the Makefile."""
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= TARGETS


def test_commands_that_are_named_exist():
    """No document names a command that the command line does not have."""
    commands = set(typer.main.get_command(app).commands)
    assert set(re.findall(r"^ {4}autograder ([a-z]+)", README, re.MULTILINE)) <= commands


def test_it_fits_a_screen():
    """One screen: who needs more follows a name from here."""
    assert len(README.splitlines()) <= 60
