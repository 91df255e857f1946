"""docs/performance.md's tables from what the benchmarks left in benchmarks/*.json, between its `<!-- name -->` lines.

python -m benchmarks.document
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.contenders import ROOT
from benchmarks.rows import Row

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "performance.md"
STUDENTS = 100_000
EFFICIENCY = 0.8


def contenders(record: dict[str, Any]) -> list[str]:
    """What each contender costs."""
    base = record["measured"]["floor"][0]
    rows = [
        [name, f"{cpu * 1e3:.0f}", f"{cpu / base:.1f}", f"{wall * 1e3:.0f}" if wall else ""]
        for name, (cpu, wall) in record["measured"].items()
    ]
    return _table(["", "CPU ms", "floors", "wall ms"], rows)


def promises(record: dict[str, Any]) -> list[str]:
    """What is promised, and whether it holds."""
    rows = []
    for row in (Row(**each) for each in record["rows"]):
        rows.append([row.what, f"{row.measured} {row.unit}".strip(), row.bound, "yes" if row.holds else "**no**"])
    return _table(["", "measured", "promised", "holds"], rows)


def classes(record: dict[str, Any]) -> list[str]:
    """Classes by size and jobs."""
    found, rows = record["measured"], []
    for size, jobs in sorted({(row["size"], row["jobs"]) for row in found}):
        those = [row for row in found if (row["size"], row["jobs"]) == (size, jobs)]
        middle = {key: statistics.median(row[key] for row in those) for key in ("cpu_s", "wall_s", "again_cpu_s")}
        numbers = [f"{middle['cpu_s']:.1f}", f"{middle['wall_s']:.1f}", f"{middle['again_cpu_s']:.2f}", f"{len(those)}"]
        rows.append([f"{size}", f"{jobs}", *numbers])
    return _table(["students", "--jobs", "CPU s", "wall s", "CPU s again, unchanged", "runs"], rows)


def long_run(record: dict[str, Any]) -> list[str]:
    """One sentence on a long run, beside its plot."""
    measured = record["measured"]
    last = measured["looks"][-1]
    done, hours = last["done"], last["s"] / 3600
    end = "ran to its end" if measured["ended"] in (0, 1) else f"was stopped after {done}"
    rate = done / last["s"]
    how = f"A class of {measured['students']}, `--jobs {measured['jobs']}`, {end}: {hours:.1f} hours, {rate:.1f} a second."
    return [how, "", *promises(record)]


def shares(record: dict[str, Any]) -> list[str]:
    """Where the CPU time of a long run went."""
    spent = _spent(record)
    whole = sum(spent.values())
    told = {"coordinator_s": "reading, gradebook, files", "jobs_s": "the graders' processes", "boxes_s": "students' forks"}
    rows = [[told[name], f"{each * 1e3:.0f}", f"{each / whole:.0%}"] for name, each in spent.items()]
    return _table(["each submission of the long run that could be read", "CPU ms", "share"], rows)


def _spent(record: dict[str, Any]) -> dict[str, float]:
    """Seconds of CPU for each submission, start-up left out, by who spent them."""
    looks = [look for look in record["measured"]["looks"] if "jobs_s" in look and look["done"] > 0]
    first, last = looks[0], looks[-1]
    number = last["done"] - first["done"]
    return {name: (last[name] - first[name]) / number for name in ("coordinator_s", "jobs_s", "boxes_s")}


def model(record: dict[str, Any]) -> list[str]:
    """What a course of 100,000 would take, from what each submission of the long run took."""
    spent = _spent(record)
    each, coordinator_s = sum(spent.values()), spent["coordinator_s"]
    rows = [
        ["CPU of each submission, right and wrong ones as in the demo's class", f"{each:.2f} s", "measured: the long run"],
        ["of that, by the one coordinator", f"{coordinator_s * 1e3:.0f} ms", "measured: the long run"],
        ["share of the cores' time that is used", f"{EFFICIENCY:.0%}", "assumed"],
    ]
    for cores in (2, 8, 64, 256):
        cluster_h = STUDENTS * (each - coordinator_s) / cores / EFFICIENCY / 3600
        alone_h = STUDENTS * coordinator_s / 3600
        bound = "the coordinator" if alone_h > cluster_h else "the cores"
        rows.append(
            [f"{STUDENTS:,} submissions on {cores} cores", f"{max(cluster_h, alone_h):.1f} hours", f"bound by {bound}"]
        )
    return _table(["", "", ""], rows)


def machine(record: dict[str, Any]) -> list[str]:
    """What it was measured on."""
    on = record["on"]
    return [f"Measured on {on['processor'] or on['machine']}, Python {on['python']}."]


PARTS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "machine": ("compare.json", machine),
    "contenders": ("compare.json", contenders),
    "compared": ("compare.json", promises),
    "suites": ("suites.json", promises),
    "classes": ("classes.json", classes),
    "grows": ("classes.json", promises),
    "long run": ("soak.json", long_run),
    "shares": ("soak.json", shares),
    "model": ("soak.json", model),
}


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _with_load(record: dict[str, Any], make: Callable[[dict[str, Any]], list[str]]) -> list[str]:
    on = record["on"]
    return [*make(record), "", f"*{on['processors']} processors, a load of {on['load']:.1f} while this was measured.*"]


def filled(text: str) -> str:
    """The document with each part made anew from its record."""
    for name, (record, make) in PARTS.items():
        kept = HERE / record
        lines = _with_load(json.loads(kept.read_text(encoding="utf-8")), make) if kept.exists() else ["Not measured yet."]
        part = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        text = part.sub(lambda found, lines=lines: found[1] + "\n".join(lines) + "\n" + found[2], text)
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
