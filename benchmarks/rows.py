"""What is promised, what was measured, and whether it holds: the last lines of each benchmark."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One promise and the number measured for it."""

    what: str
    number: float
    limit: float
    unit: str = ""
    at_least: bool = False  # else the number may be at most the limit

    @property
    def holds(self) -> bool:
        """Is the promise kept?"""
        return self.number >= self.limit if self.at_least else self.number <= self.limit

    @property
    def measured(self) -> str:
        """The number in three digits, or whole."""
        return f"{self.number:.0f}" if self.number >= 1000 else f"{self.number:.3g}"

    @property
    def bound(self) -> str:
        """What is promised, as "at most 150 ms"."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}".strip()

    def __str__(self) -> str:
        return f"{self.what:58}{self.measured:>9} {self.unit:3} {self.bound:22}{'holds' if self.holds else 'DOES NOT HOLD'}"


def report(rows: Iterable[Row]) -> int:
    """Prints the rows; 1 where one does not hold, as an exit code."""
    rows = list(rows)
    print("\n".join(map(str, rows)))
    return int(not all(row.holds for row in rows))


def keep(path: Path, measured: Any, rows: Iterable[Row]) -> None:
    """Writes a record from which docs/performance.md is made, with the machine it was measured on."""
    machine = {"python": platform.python_version(), "machine": platform.machine(), "processor": processor()}
    machine |= {"processors": os.cpu_count(), "load": os.getloadavg()[2]}  # over its last quarter of an hour
    record = {"on": machine, "measured": measured, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    """The processor's own name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
