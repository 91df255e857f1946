"""How time grows with the class and with jobs, what an unchanged class costs, and what memory does over a long run.

    python -m benchmarks.scale classes [--sizes 1 20 200] [--rounds 5]     by size, --jobs 1 and 2, and again unchanged
    python -m benchmarks.scale soak --students 2000 [--jobs 2]           memory and rate over one long run
    python -m benchmarks.scale plots                                     docs/*.svg from what the two left in *.json

A long run is a class of copies of the demo's submissions, right and wrong ones, under different names.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from autograder.course import Course
from autograder.demo import make_class
from benchmarks.contenders import LESSON, ROOT, cost_of, grade, hand_in
from benchmarks.rows import Row, keep, report

HERE = Path(__file__).parent
CLASSES, SOAK = HERE / "classes.json", HERE / "soak.json"
EVERY_S = 5.0  # between two looks at memory


def classes(sizes: list[int], rounds: int) -> int:
    """Measures classes of each size, interleaved, and keeps all single costs; an exit code."""
    found: list[dict[str, Any]] = []
    for _ in range(rounds):
        for size in sizes:
            for jobs in (1, 2):
                found.append({"size": size, "jobs": jobs, **_class(size, jobs)})
                print(json.dumps(found[-1]), file=sys.stderr)
    rows = _promised(found, *sizes[-2:])
    keep(CLASSES, found, rows)
    return report(rows)


def _class(size: int, jobs: int) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp())
    try:
        hand_in(folder, size)
        first, results = cost_of([grade("--jobs", str(jobs))], folder), _without_seconds(folder)
        again = cost_of([grade("--jobs", str(jobs))], folder)
        costs = {"cpu_s": first.cpu_s, "wall_s": first.wall_s, "again_s": again.wall_s, "again_cpu_s": again.cpu_s}
        return {**costs, "others": float(results != _without_seconds(folder))}
    finally:
        shutil.rmtree(folder)


def _without_seconds(folder: Path) -> bytes:
    results = folder / ".autograder" / LESSON / "results.json"
    return re.sub(rb'"seconds": ?[0-9.e-]+', b"", results.read_bytes())


def _promised(found: list[dict[str, Any]], small: int, large: int) -> list[Row]:
    """What is promised of a small and a large class, by the medians of all rounds."""

    def middle(size: int, jobs: int, what: str) -> float:
        return statistics.median(row[what] for row in found if (row["size"], row["jobs"]) == (size, jobs))

    each = middle(large, 1, "cpu_s") / large / (middle(small, 1, "cpu_s") / small)
    faster = middle(large, 1, "wall_s") / middle(large, 2, "wall_s")
    again = middle(large, 1, "again_cpu_s") / large * 1e3
    alone, few, many = (middle(size, 1, "cpu_s") for size in (1, small, large))
    later = (many - few) / (large - small) / ((few - alone) / (small - 1))
    return [
        Row(f"a further one after {small}, in one before, start-up left out", later, 1.15),
        Row(f"CPU of each of {large}, in that of each of {small}", each, 1.15),
        Row(f"throughput of --jobs 2 in that of --jobs 1, {large} students", faster, 1.7, at_least=True),
        Row(f"an unchanged class of {large} again, CPU for each", again, 10, "ms"),
        Row("runs of an unchanged class with other results.json", sum(row["others"] for row in found), 0),
    ]


def soak(students: int, jobs: int, kept: Path = SOAK) -> int:
    """One long run, watched from outside; an exit code."""
    folder = Path(tempfile.mkdtemp())
    try:
        paths = hand_in(folder, students)
        texts = [sample.text for sample in make_class(Course(ROOT)) if not sample.hostile]
        for number, path in enumerate(paths):
            path.write_text(texts[number % len(texts)], encoding="utf-8")
        with (folder / "log").open("w") as log:
            run = subprocess.Popen(grade("--jobs", str(jobs)), cwd=folder, stderr=log, stdout=log)  # noqa: S603
            looks = list[dict[str, float]]()
            try:
                for look in _watched(run, folder):
                    looks.append(look)
                    record = {"students": students, "jobs": jobs, "ended": run.poll(), "looks": looks}
                    keep(kept, record, _flat(record))  # what is known of a run that is stopped stays
            finally:
                run.kill()
                run.wait()
        print((folder / "log").read_text()[-2000:], file=sys.stderr)
    finally:
        shutil.rmtree(folder)
    return report(_flat(record))


def _flat(record: dict[str, Any]) -> list[Row]:
    """What is promised of memory: how much, and that it does not grow once the run is warm."""
    looks = [look for look in record["looks"] if look.get("job_mb") and look["done"] > 20]
    if len(looks) < 10:
        return []

    def growth(name: str) -> float:
        early, late = looks[len(looks) // 10 : len(looks) // 4], looks[-(len(looks) // 10) :]
        return statistics.median(look[name] for look in late) / statistics.median(look[name] for look in early)

    return [
        Row("memory of a child by itself", max(look["child_mb"] for look in looks), 25, "MB"),
        Row("memory of a job process", max(look["job_mb"] for look in looks), 500, "MB"),
        Row("a job process at the end, in what it was at the start", growth("job_mb"), 1.05),
        Row("a child at the end, in what it was at the start", growth("child_mb"), 1.25),
        Row(f"submissions done of {record['students']}", record["looks"][-1]["done"], record["students"], at_least=True),
    ]


def _watched(run: subprocess.Popen[bytes], folder: Path) -> Any:
    """A look at memory and progress every few seconds until the run ends."""
    started, autograded = time.monotonic(), folder / "autograded"
    while run.poll() is None:
        time.sleep(EVERY_S)
        memory = _memory(run.pid)
        count = sum(1 for _ in autograded.iterdir()) if autograded.is_dir() else 0
        if memory["job_mb"]:
            yield {"s": time.monotonic() - started, "done": count, **memory}
    results = folder / ".autograder" / LESSON / "results.json"
    graded = len(json.loads(results.read_text())["submissions"]) if results.exists() else 0
    yield {"s": time.monotonic() - started, "done": graded}  # those that could not be read too


def _memory(root: int) -> dict[str, float]:
    """MB: the largest resident job process, the coordinator, the largest private part of a child in the box; and seconds
    of CPU: the coordinator's, the job processes', and those of the boxes with all children that have ended.
    """
    parents, used = {}, dict[int, list[int]]()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(process.name)], used[int(process.name)] = int(fields[1]), list(map(int, fields[11:15]))
    jobs = [pid for pid, parent in parents.items() if parent == root]
    below = [pid for pid in parents if _is_below(pid, jobs, parents)]
    # A child is a fork of the zygote: the same command, and nothing below it.
    leaves = [pid for pid in below if pid not in parents.values() and _command(pid) == _command(parents[pid])]
    most = {"job_mb": [_mb(pid, "Rss") for pid in jobs], "child_mb": [_mb(pid, "Private_Dirty") for pid in leaves]}
    ticks = {
        "coordinator_s": sum(used.get(root, [])[:2]),
        "jobs_s": sum(sum(used[pid][:2]) for pid in jobs),
        "boxes_s": sum(sum(used[pid]) for pid in below),
    }
    largest = {name: max(found, default=0.0) for name, found in most.items()}
    cpu_s = {name: each / os.sysconf("SC_CLK_TCK") for name, each in ticks.items()}
    return {"coordinator_mb": _mb(root, "Rss"), **largest, **cpu_s}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_below(pid: int, above: list[int], parents: dict[int, int]) -> bool:
    while pid in parents and pid > 1:
        pid = parents[pid]
        if pid in above:
            return True
    return False


def _mb(pid: int, what: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:")), 0.0)


def plots() -> None:
    """Time against class size, and memory and rate over the long run."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "performance"  # the same data make the same file
    import matplotlib.pyplot as plt

    if CLASSES.exists():
        rows = json.loads(CLASSES.read_text())["measured"]
        figure, ax = plt.subplots(figsize=(6, 4))
        for jobs, marker in ((1, "o"), (2, "s")):
            sizes = sorted({row["size"] for row in rows if row["jobs"] == jobs})
            walls = [statistics.median(r["wall_s"] for r in rows if (r["size"], r["jobs"]) == (n, jobs)) for n in sizes]
            ax.plot(sizes, walls, marker=marker, label=f"--jobs {jobs}")
        ax.set(title="A class, graded for the first time", xlabel="submissions", ylabel="wall time (s)")
        ax.legend()
        figure.savefig(ROOT / "docs" / "class-size.svg", metadata={"Date": None})
    if SOAK.exists():
        record = json.loads(SOAK.read_text())["measured"]
        looks = [look for look in record["looks"] if "job_mb" in look]
        figure, (above, below) = plt.subplots(2, 1, figsize=(6, 6), sharex=True)
        for name, label in (("job_mb", "job process"), ("coordinator_mb", "coordinator"), ("child_mb", "child, private")):
            above.plot([look["s"] / 60 for look in looks], [look[name] for look in looks], label=label)
        above.set(title=f"A class of {record['students']}, --jobs {record['jobs']}", ylabel="memory (MB)")
        above.legend(loc=(0.68, 0.12))  # between the lines of coordinator and child
        pairs = list(zip(looks, looks[max(6, len(looks) // 40) :], strict=False))
        rates = [(new["done"] - old["done"]) / (new["s"] - old["s"]) for old, new in pairs]
        below.plot([new["s"] / 60 for _, new in pairs], rates)
        below.set(xlabel="minutes", ylabel="submissions a second", ylim=(0, None))
        figure.savefig(ROOT / "docs" / "long-run.svg", metadata={"Date": None})


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["classes", "soak", "plots"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 20, 200], help="from 1; the last two are compared")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--students", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--record", type=Path, default=SOAK, help="of the long run")
    options = parser.parse_args()
    if options.what == "classes":
        sys.exit(classes(options.sizes, options.rounds))
    elif options.what == "soak":
        sys.exit(soak(options.students, options.jobs, options.record))
    else:
        plots()


if __name__ == "__main__":
    main()
