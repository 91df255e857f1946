"""How time grows with the class and with jobs, what an unchanged class costs, and what memory does over a long run.

    python -m benchmarks.scale classes [--sizes 20 200] [--rounds 5]     by size, --jobs 1 and 2, and again unchanged
    python -m benchmarks.scale soak --students 2000 [--jobs 2]           memory and rate over one long run
    python -m benchmarks.scale plots                                     docs/*.svg from what the two left in *.json

A long run is a class of copies of the demo's submissions, right and wrong ones, under different names.
"""

from __future__ import annotations

import argparse
import json
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
from benchmarks.contenders import ROOT, cost_of, grade, hand_in

HERE = Path(__file__).parent
CLASSES, SOAK = HERE / "classes.json", HERE / "soak.json"
EVERY_S = 5.0  # between two looks at memory


def classes(sizes: list[int], rounds: int) -> None:
    """Measures classes of each size, interleaved, and keeps all single costs."""
    found: list[dict[str, Any]] = []
    for _ in range(rounds):
        for size in sizes:
            for jobs in (1, 2):
                found.append({"size": size, "jobs": jobs, **_class(size, jobs)})
                print(json.dumps(found[-1]), file=sys.stderr)
    CLASSES.write_text(json.dumps(found, indent=1) + "\n")
    for size in sizes:
        for jobs in (1, 2):
            rows = [row for row in found if (row["size"], row["jobs"]) == (size, jobs)]
            middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            print(f"{size:6} students, --jobs {jobs}: {middle['wall_s']:6.1f} s, CPU {middle['cpu_s']:6.1f} s; "
                  f"unchanged: {middle['again_s'] / size * 1e3:5.1f} ms a submission")  # fmt: skip


def _class(size: int, jobs: int) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp())
    try:
        hand_in(folder, size)
        first = cost_of([grade("--jobs", str(jobs))], folder)
        again = cost_of([grade("--jobs", str(jobs))], folder)
        return {"cpu_s": first.cpu_s, "wall_s": first.wall_s, "again_s": again.wall_s, "again_cpu_s": again.cpu_s}
    finally:
        shutil.rmtree(folder)


def soak(students: int, jobs: int) -> None:
    """One long run, watched from outside."""
    folder = Path(tempfile.mkdtemp())
    try:
        paths = hand_in(folder, students)
        texts = [sample.text for sample in make_class(Course(ROOT)) if not sample.hostile]
        for number, path in enumerate(paths):
            path.write_text(texts[number % len(texts)], encoding="utf-8")
        with (folder / "log").open("w") as log:
            run = subprocess.Popen(grade("--jobs", str(jobs)), cwd=folder, stderr=log, stdout=log)  # noqa: S603
            looks = list(_watched(run, folder / "autograded"))
    finally:
        shutil.rmtree(folder)
    SOAK.write_text(json.dumps({"students": students, "jobs": jobs, "looks": looks}) + "\n")
    for look in (looks[len(looks) // 10], looks[-1]):
        print(look)


def _watched(run: subprocess.Popen[bytes], done: Path) -> Any:
    """A look at memory and progress every few seconds until the run ends."""
    started = time.monotonic()
    while run.poll() is None:
        time.sleep(EVERY_S)
        count = sum(1 for _ in done.iterdir()) if done.is_dir() else 0
        look = {"s": time.monotonic() - started, "done": count, **_memory(run.pid)}
        if look["job_mb"]:
            yield look


def _memory(root: int) -> dict[str, float]:
    """MB: the largest resident job process, the coordinator, the largest private part of a child in the box."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    jobs = [pid for pid, parent in parents.items() if parent == root]
    below = [pid for pid in parents if _is_below(pid, jobs, parents)]
    leaves = [pid for pid in below if pid not in parents.values()]
    most = {"job_mb": [_mb(pid, "Rss") for pid in jobs], "child_mb": [_mb(pid, "Private_Dirty") for pid in leaves]}
    return {"coordinator_mb": _mb(root, "Rss"), **{name: max(found, default=0.0) for name, found in most.items()}}


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
        rows = json.loads(CLASSES.read_text())
        figure, ax = plt.subplots(figsize=(6, 4))
        for jobs, marker in ((1, "o"), (2, "s")):
            sizes = sorted({row["size"] for row in rows})
            walls = [statistics.median(r["wall_s"] for r in rows if (r["size"], r["jobs"]) == (n, jobs)) for n in sizes]
            ax.plot(sizes, walls, marker=marker, label=f"--jobs {jobs}")
        ax.set(title="A class, graded for the first time", xlabel="submissions", ylabel="wall time (s)")
        ax.legend()
        figure.savefig(ROOT / "docs" / "class-size.svg", metadata={"Date": None})
    if SOAK.exists():
        record = json.loads(SOAK.read_text())
        looks = record["looks"]
        figure, (above, below) = plt.subplots(2, 1, figsize=(6, 6), sharex=True)
        for name, label in (("job_mb", "job process"), ("coordinator_mb", "coordinator"), ("child_mb", "child, private")):
            above.plot([look["done"] for look in looks], [look[name] for look in looks], label=label)
        above.set(title=f"A class of {record['students']}, --jobs {record['jobs']}", ylabel="memory (MB)")
        above.legend()
        pairs = list(zip(looks, looks[6:], strict=False))
        rates = [(new["done"] - old["done"]) / (new["s"] - old["s"]) for old, new in pairs]
        below.plot([new["done"] for _, new in pairs], rates)
        below.set(xlabel="submissions done", ylabel="submissions a second", ylim=(0, None))
        figure.savefig(ROOT / "docs" / "long-run.svg", metadata={"Date": None})


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["classes", "soak", "plots"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 60, 200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--students", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.what == "classes":
        classes(options.sizes, options.rounds)
    elif options.what == "soak":
        soak(options.students, options.jobs)
    else:
        plots()


if __name__ == "__main__":
    main()
