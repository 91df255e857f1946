"""Whoever is killed, or finds the disk full, the database locked or the folder read-only, loses nothing that was reported.

A run happens in a fork of this process, with stand-ins for the job processes, so that it can be killed before and after each
of its writes: opened, written, renamed and removed files, and the statements that SQLite is given. What lies there then is
looked at; then the same is started again, and must end as if nothing had happened.
"""

import ctypes
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from nbgrader import api

from autograder import cli, gradebook, marking
from autograder.collection import Submission
from autograder.job import Done
from autograder.keys import Known, one_by_one
from autograder.notebook import Notebook
from autograder.outcome import Judged, Outcome
from autograder.paper import Paper
from autograder.progress import Tally

LESSON = "attention_from_scratch"
COMMAND = ("grade", "submitted", "--lesson", LESSON, "--device", "cpu", "--sandbox", "landlock")
WRONG = "def softmax(x, dim=-1):\n    'wrong'\n    return x"
NEVER = 1 << 30


# --- who judges in place of job processes


class Judges:
    """An exercise passes unless its code has the word `wrong` in it."""

    def __init__(self, lesson):
        self.lesson, self.broken = lesson, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run(self, tasks):
        for task in tasks:
            paper = Paper(Submission(task.student, None), Notebook(task.cells), task.program)
            known = Known(task.salts, task.known)
            judged = one_by_one(paper, self.lesson, known, lambda exercise, _, task=task: verdict(task, exercise))
            yield Done(task.number, judged, ("printed: hello",), 0.5)


def verdict(task, exercise):
    answer = task.program.answers[exercise.name]
    cause = "wrong" if any("wrong" in each.source for each in answer.statements) else None
    cause = "missing" if answer.state != "answered" else cause
    return Judged((Outcome("test_one", "values", True, verdict="failed" if cause else "passed", cause=cause),))


# --- a run in a process of its own


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code or the signal, what it told, whom it had reported, what it had written."""

    code: int
    told: str
    reported: tuple[str, ...]
    events: tuple[str, ...]


def fork():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forks where there are threads
        return os.fork()


def run_in_fork(course, log, *, kill_at=NEVER, kill_after_s=None, before=lambda: None, arguments=COMMAND):
    """Runs the command in a fork, which kills itself at its event number `kill_at`, or is killed after so long."""
    log.mkdir(exist_ok=True)
    files = {name: log / name for name in ("told", "reported", "events")}
    for path in files.values():
        path.write_text("")
    pid = fork()
    if pid == 0:
        try:
            os.chdir(course.root)
            sys.stderr = files["told"].open("w", buffering=1)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            lesson = course.lesson(LESSON)
            marking._hire = lambda options, records: lambda setup: Judges(lesson)
            api.get_alembic_version = lambda: "0"  # nbgrader would start a program, for seconds
            before()
            _report(files["reported"])
            _arm(course.root, kill_at, files["events"])
            os._exit(cli.run(list(arguments)))
        except BaseException as error:
            files["told"].write_text(f"Traceback in the test itself: {error!r}")
        finally:
            os._exit(99)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    told, reported, events = (path.read_text() for path in files.values())
    return Ended(code, told, tuple(reported.split()), tuple(events.splitlines()))


def _report(file):
    """Notes whom the run counts as done: what is on the screen has been reported."""
    descriptor, add = os.open(file, os.O_WRONLY | os.O_APPEND), Tally.add

    def noted(self, result, *, known):
        add(self, result, known=known)
        os.write(descriptor, f"{result.student}\n".encode())

    Tally.add = noted


WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "BEGIN", "COMMIT", "PRAGMA journal")
FILE_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.link", "os.chmod", "os.truncate", "os.rmdir")


def _arm(root, kill_at, file):
    """Counts each write below `root` before it happens, and after it where that can differ; kills at the one asked for."""
    happens, inside = _counter(kill_at, file), str(root)

    def audited(event, arguments):
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) and inside in str(path):
                happens(f"open {Path(str(path)).name}")
        elif event in FILE_EVENTS and inside in str(arguments[0]):
            happens(f"{event} {Path(str(arguments[0])).name}")

    def profiled(frame, event, function):
        if event in ("c_call", "c_return") and getattr(function, "__name__", "") in ("write", "fsync", "flush"):
            name = str(getattr(getattr(function, "__self__", None), "name", ""))
            if inside in name or function.__name__ == "fsync":
                happens(f"{event} {function.__name__} {Path(name).name}")

    sys.addaudithook(audited)
    _trace_databases(happens)
    sys.setprofile(profiled)


def _counter(kill_at, file):
    seen, descriptor = 0, os.open(file, os.O_WRONLY | os.O_APPEND)

    def happens(what):
        nonlocal seen
        os.write(descriptor, f"{what}\n".encode())
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    return happens


def _trace_databases(happens):
    connect = sqlite3.connect

    def traced(*arguments, **options):
        connection = connect(*arguments, **options)
        name = Path(str(arguments[0])).name

        def statement(sql):
            if sql.lstrip().startswith(WRITES):
                happens(f"{name} {' '.join(sql.split()[:3])}")

        connection.set_trace_callback(statement)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = traced


# --- what lies there


def look(course):
    """All that a person may rely on: marks by student, notebooks, results, feedback; whatever is half is an error here."""
    root, state = course.root, course.state / LESSON
    database = root / "gradebook.db"
    found = {"marks": _marks(database) if database.is_file() and database.stat().st_size else None}
    found["notebooks"] = {
        path.parts[-3]: json.loads(path.read_text()) for path in sorted((root / "autograded").rglob("*.ipynb"))
    }
    found["results"] = _results(state / "results.json")
    found["feedback"] = {path.name: path.read_text() for path in sorted((state / "feedback").glob("[!.]*"))}
    return found


def _marks(database):
    """Each student's rows, without their ids; raises where the file is not sound."""
    with sqlite3.connect(database) as base:
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        students = [name for (name,) in base.execute("SELECT id FROM student ORDER BY id")]
        rows = base.execute(
            "SELECT student_id, base_cell.name, auto_score, manual_score, needs_manual_grade FROM submitted_assignment "
            "JOIN submitted_notebook ON submitted_notebook.assignment_id = submitted_assignment.id "
            "JOIN grade ON grade.notebook_id = submitted_notebook.id JOIN base_cell ON base_cell.id = grade.cell_id "
            "ORDER BY 1, 2"
        ).fetchall()
        comments = base.execute(
            "SELECT student_id, base_cell.name, auto_comment FROM submitted_assignment "
            "JOIN submitted_notebook ON submitted_notebook.assignment_id = submitted_assignment.id "
            "JOIN comment ON comment.notebook_id = submitted_notebook.id JOIN base_cell ON base_cell.id = comment.cell_id "
            "ORDER BY 1, 2"
        ).fetchall()
        handed_in = [name for (name,) in base.execute("SELECT student_id FROM submitted_assignment")]
        cells = base.execute("SELECT name, type FROM base_cell ORDER BY 1, 2").fetchall()
        ((_version,),) = base.execute("SELECT version_num FROM alembic_version").fetchall()
    base.close()
    by_student = {
        name: ([row[1:] for row in rows if row[0] == name], [row[1:] for row in comments if row[0] == name])
        for name in students
    }
    assert sorted(handed_in) == students  # nobody without a submission
    return {"students": by_student, "cells": cells}


def _results(path):
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    for one in found["submissions"]:
        one["seconds"] = 0
    return found


def check_nothing_is_half(course, earlier, whole, ended):
    """Everything is as it was before the run, or as it is after it; for who was reported, as after it."""
    now = look(course)
    of = {name: state["marks"]["students"] if state["marks"] else {} for name, state in (("now", now), ("earlier", earlier))}
    after = whole["marks"]["students"]
    for student, marks in of["now"].items():
        assert marks in (of["earlier"].get(student), after[student]), student
        assert marks[0], student
    for student, notebook in now["notebooks"].items():
        assert notebook in (earlier["notebooks"].get(student), whole["notebooks"][student]), student
    assert set(earlier["notebooks"]) <= set(now["notebooks"])
    assert now["results"] in (earlier["results"], whole["results"])
    for student in set(ended.reported) & set(after):
        assert of["now"][student] == after[student], student
        assert now["notebooks"][student] == whole["notebooks"][student], student
        assert now["feedback"][f"{student}.txt"]  # the report at the end of a run adds the class's view to it


def parts(course):
    """What a run leaves behind that is nobody's."""
    return [path for path in course.root.rglob(".*.part*") if not path.is_symlink()]


# --- a class that was graded once, and has changed since


@pytest.fixture(scope="module")
def story(tmp_path_factory, course_in, empty_gradebook, filled, model_answers):
    """A course at one place, and copies of it as it was before and as it is after an undisturbed run."""
    for name in (*marking.OF_REPORTS, "autograder.reports", "autograder.doctor", "torch"):
        import_module(name)  # once, not in each fork
    place = tmp_path_factory.mktemp("course") / "here"
    place.mkdir()
    course = course_in(place)
    shutil.copy(empty_gradebook, place / "gradebook.db")
    course.secret()
    _hand_in(course, "ada", filled(**model_answers))
    _hand_in(course, "chen", filled(**model_answers))
    log = tmp_path_factory.mktemp("log")
    assert run_in_fork(course, log).code == 0
    _hand_in(course, "bela", filled())
    _hand_in(course, "chen", filled(**model_answers | {"softmax": WRONG}))
    _hand_in(course, "eve", "no notebook")
    return Story(course, log, tmp_path_factory.mktemp("copies"))


def _hand_in(course, student, notebook):
    path = course.root / "submitted" / student / LESSON / f"{LESSON}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook))


class Story:
    """The course, what was before the run and what is after one that nobody disturbs."""

    def __init__(self, course, log, copies):
        self.course, self.log, self._template = course, log, copies / "before"
        shutil.copytree(course.root, self._template, symlinks=True)
        self.earlier = look(course)
        self.calm = run_in_fork(course, log)
        assert self.calm.code == 1, self.calm.told  # eve's cannot be read
        self.whole = look(course)

    def again(self, *, new=False):
        """Puts the course back as it was; `new`: with no gradebook and nothing graded yet."""
        for path in list(self.course.root.iterdir()):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(self._template, self.course.root, symlinks=True, dirs_exist_ok=True)
        if new:
            (self.course.root / "gradebook.db").unlink()
            shutil.rmtree(self.course.root / "autograded")
            secret = (self.course.state / "secret").read_bytes()
            shutil.rmtree(self.course.state)
            self.course.state.mkdir()
            (self.course.state / "secret").write_bytes(secret)

    def survives(self, *, new=False, **kill):
        """Kills a run, looks, starts again and looks again."""
        self.again(new=new)
        earlier = look(self.course)
        ended = run_in_fork(self.course, self.log, **kill)
        where = ended.events[-1:] if ended.code < 0 else ()
        try:
            check_nothing_is_half(self.course, earlier, self.whole, ended)
            after = run_in_fork(self.course, self.log)
            assert after.code == 1, after.told
            assert "internal error" not in after.told
            assert look(self.course) == self.whole
            assert not parts(self.course)
        except (AssertionError, ValueError, sqlite3.Error) as error:
            raise AssertionError(f"killed at {kill}, {where}") from error
        return ended


def test_an_undisturbed_run_is_seen_in_full(story):
    """The events that the others are killed at are there: files, both databases, results."""
    events = " ".join(story.calm.events)
    for event in ("gradebook.db COMMIT", "cache.db COMMIT", "os.rename .results.json.part", "c_call write", "fsync"):
        assert event in events, story.calm.events
    assert set(story.calm.reported) == {"ada", "bela", "chen", "eve"}
    assert len(story.calm.events) > 50


@pytest.mark.parametrize(
    "event",
    ["gradebook.db COMMIT", f"os.rename .{LESSON}.ipynb", "cache.db REPLACE INTO records", "os.rename .results.json.part"],
)
def test_a_run_that_is_killed_there_loses_nothing(story, event):
    """Around the moments at which marks and results come to be."""
    story.survives(kill_at=next(n for n, each in enumerate(story.calm.events) if each.startswith(event)))


@pytest.mark.slow
@pytest.mark.parametrize("new", [False, True], ids=["a second run", "the first run"])
def test_a_run_that_is_killed_at_any_write_loses_nothing(story, new):
    """Before and after each of them, in a course that was graded before and in one that has no gradebook yet."""
    story.again(new=new)
    events = run_in_fork(story.course, story.log).events
    for number in range(len(events)):
        assert story.survives(new=new, kill_at=number).code == -signal.SIGKILL


@pytest.mark.parametrize(("kills", "seed"), [(4, 3), pytest.param(50, 4, marks=pytest.mark.slow)], ids=["four", "fifty"])
def test_a_run_that_is_killed_at_any_moment_loses_nothing(story, kills, seed):
    """By the clock: also in the middle of a write, or of nothing."""
    moments = random.Random(seed)  # noqa: S311 - any moments will do
    story.again()
    started = time.monotonic()
    run_in_fork(story.course, story.log)
    lasts_s = time.monotonic() - started
    for _ in range(kills):
        story.survives(kill_after_s=moments.uniform(0, lasts_s))


# --- what is amiss with the machine


def expect_refusal(ended, *words):
    """Exit code 2, and one line that says what is amiss and what to do; no traceback."""
    assert ended.code == 2, ended.told
    assert "Traceback" not in ended.told
    assert "internal error" not in ended.told
    for word in words:
        assert word in ended.told, ended.told


def healed(story):
    """The next run ends as an undisturbed one."""
    after = run_in_fork(story.course, story.log)
    assert after.code == 1, after.told
    assert look(story.course) == story.whole
    assert not parts(story.course)


@pytest.mark.parametrize("how", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_database_is_named(story, how):
    """Formgrader in the middle of a write, for longer than we wait: nothing is half, and the next run does it."""
    story.again()
    other = sqlite3.connect(story.course.root / "gradebook.db", isolation_level=None)
    other.execute(f"BEGIN {how}")
    ended = run_in_fork(story.course, story.log)
    other.execute("ROLLBACK")
    other.close()
    expect_refusal(ended, "gradebook.db", "locked", "grade again")
    check_nothing_is_half(story.course, story.earlier, story.whole, ended)
    healed(story)


def test_formgrader_may_read_meanwhile(story):
    """A reader that is open beside the run, as formgrader is, disturbs nothing."""
    story.again()
    other = sqlite3.connect(story.course.root / "gradebook.db")
    other.execute("SELECT * FROM grade").fetchall()
    healed(story)
    other.close()


@pytest.mark.parametrize("act", ["unlink", "replace"])
def test_a_database_that_disappears_is_named(story, act):
    """What is written into a file that nobody has any more is not recorded: it is said, and done again."""
    story.again()
    database = story.course.root / "gradebook.db"
    spare = story.log / "spare.db"
    shutil.copy(database, spare)

    def before():
        mark = gradebook.Marks._mark
        gone = []

        def marked(self, *arguments):
            mark(self, *arguments)
            if not gone:
                gone.append(database.unlink() if act == "unlink" else os.replace(spare, database))

        gradebook.Marks._mark = marked

    expect_refusal(run_in_fork(story.course, story.log, before=before), "gradebook.db", "moved, deleted or replaced")
    healed(story)


def test_a_missing_database_is_made(story):
    """As a whole, with all marks in it, those that were recorded in the lost one too."""
    story.again()
    (story.course.root / "gradebook.db").unlink()
    healed(story)


def test_a_second_run_beside_the_first_is_refused(story):
    """Two runs that write the same files would be a muddle."""
    story.again()
    with marking._only_run(story.course.state / LESSON, LESSON):
        expect_refusal(run_in_fork(story.course, story.log), "another run", "wait")
    healed(story)


def test_results_that_cannot_be_told_are_named(story):
    """stdout is a full disk: exit code 2, and the results lie in the course."""
    story.again()

    def before():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    ended = run_in_fork(story.course, story.log, before=before, arguments=(*COMMAND, "--json", "-"))
    expect_refusal(ended, "stdout cannot be written", "No space left")
    assert look(story.course)["results"] == story.whole["results"]
    healed(story)


# --- with a file system of its own

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)


def own_mounts():
    """Gives this process mounts of its own; raises OSError where the machine does not."""
    user, group = os.getuid(), os.getgid()
    _call(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    mount(None, "/", None, MS_REC | MS_PRIVATE)


def mount(what, where, kind, flags=0, data=None):
    texts = [None if text is None else str(text).encode() for text in (what, where, kind)]
    _call(libc.mount(*texts, ctypes.c_ulong(flags), None if data is None else data.encode()))


def _call(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture(scope="module")
def mounts():
    """Skips where a process cannot have mounts of its own."""
    pid = fork()
    if pid == 0:
        try:
            own_mounts()
            mount("tmpfs", "/mnt", "tmpfs")
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        pytest.skip("no mounts of one's own here")


def test_a_read_only_course_is_named(story, mounts):
    """Nothing can be written: it is said at once, and everything stands as it was."""
    story.again()
    root = story.course.root

    def before():
        own_mounts()
        mount(root, root, None, MS_BIND | MS_REC)
        mount(None, root, None, MS_BIND | MS_REMOUNT | MS_RDONLY)

    expect_refusal(run_in_fork(story.course, story.log, before=before), "cannot be written", "ead-only file system")
    assert look(story.course) == story.earlier
    healed(story)


def on_small_disk(story, free_kb, log):
    """Runs on a disk with so much space left, then on one with enough: how both ended, and what lay there in between."""
    pid = fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0, (log / "wrong").read_text()
        return json.loads((log / "said").read_text())
    first = None
    try:
        own_mounts()
        template, root = story._template, story.course.root
        os.chdir("/")
        mount("tmpfs", root, "tmpfs", 0, "size=64m")
        shutil.copytree(template, root, symlinks=True, dirs_exist_ok=True)
        free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
        (root / "filler").write_bytes(bytes(max(free - free_kb * 1024, 0)))
        first = run_in_fork(story.course, log)
        check_nothing_is_half(story.course, story.earlier, story.whole, first)
        (root / "filler").unlink()
        second = run_in_fork(story.course, log)
        healed = look(story.course) == story.whole and not parts(story.course)
        said = {"first": [first.code, first.told], "second": [second.code, second.told], "healed": healed}
        (log / "said").write_text(json.dumps(said))
        os._exit(0)
    except BaseException as error:
        (log / "wrong").write_text(f"{error!r} {first}")
    finally:
        os._exit(1)


@pytest.mark.parametrize("free_kb", [0, 40, 100, 200])
def test_a_full_disk_is_named(story, mounts, tmp_path, free_kb):
    """Wherever the space ends: a clear message, nothing half, nothing lost, and with space again all is done."""
    said = on_small_disk(story, free_kb, tmp_path)
    code, told = said["first"]
    expect_refusal(Ended(code, told, (), ()), "cannot be written")
    assert "space" in told or "full" in told
    assert said["second"][0] == 1, said["second"]
    assert said["healed"]
