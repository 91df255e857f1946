"""What this kit needs, as it says so itself: for the students' requirements.txt and for Gradescope's image.

Enters: pyproject.toml of a checkout, else what was noted when the package was installed. Leaves: a line for each
package, extras left out. A checkout's own file goes first: what an editable install noted may be older.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

KIT = "deep-learning-abc"  # the distribution
PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def needed() -> dict[str, str]:
    """Each package in small letters with the line that asks for it, as `numpy>=1.26`.

    Raises PackageNotFoundError where this is neither a checkout nor installed.
    """
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower(): line for line in _lines() if "extra ==" not in line}


def _lines() -> list[str]:
    if PROJECT.is_file():
        found = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
        if found.get("name") == KIT:
            return [str(line) for line in found["dependencies"]]
    return requires(KIT) or []
