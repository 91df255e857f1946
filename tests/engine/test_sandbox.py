"""The box from inside and outside: what a child can see and reach, and what is left when it is gone."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autograder import boxes
from autograder.course import Course
from autograder.errors import GraderError, StudentCrash, StudentError, StudentOutput, StudentTimeout
from autograder.inside import messages, wire
from autograder.inside.confine import Limits
from autograder.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
LESSON = "attention_from_scratch"
BOXES = pytest.mark.parametrize("box", ["bubblewrap", "landlock"])


@pytest.fixture
def inside(sandbox_named, student_of):
    """Runs a function's body in a box and returns what it returns: inside(box, "return 1")."""

    def run(box, body, *args):
        lines = "\n".join(f"    {line}" for line in textwrap.dedent(body).strip().splitlines())
        return student_of(f"import os, sys\ndef f(*args):\n{lines}", box=sandbox_named(box)).f(*args)

    return run


@BOXES
def test_a_child_has_four_descriptors(inside, box):
    """The printed text's pipe three times, and the socket."""
    body = """
    import stat
    kinds = {}
    for number in range(1024):
        try:
            kinds[number] = stat.S_IFMT(os.fstat(number).st_mode)
        except OSError:
            pass
    return kinds
    """
    assert inside(box, body) == {0: 0o010000, 1: 0o010000, 2: 0o010000, 3: 0o140000}


@BOXES
def test_the_environment_is_empty(inside, box):
    """In Python's view, in C's, and in what the kernel would show of any process."""
    body = """
    import ctypes
    found = [dict(os.environ), ctypes.CDLL(None).getenv(b'HOME'), ctypes.CDLL(None).getenv(b'PATH')]
    for process in ('1', 'self', str(os.getpid()), str(os.getppid())):
        for name in ('environ', 'cmdline', 'maps', 'mem', 'cwd/etc/passwd', 'root/etc/passwd'):
            try:
                open(f'/proc/{process}/{name}', 'rb').close()
                found.append(f'{process}/{name}')
            except OSError:
                pass
    return found
    """
    assert inside(box, body) == [{}, 0, 0]


@BOXES
def test_nothing_can_be_written(inside, box):
    """No folder, no shared memory, no device, no file of the system, by any of the ways to change one."""
    body = """
    places = ['/', '/tmp', '/var/tmp', '/dev/shm', '/dev', '/run', '/usr', '/proc', '/proc/sys/kernel', '/sys', args[0]]
    places += [os.getcwd(), os.path.expanduser('~'), os.path.dirname(sys.executable)]
    done = []
    for place in places:
        for act in (
            lambda: open(os.path.join(place, 'x'), 'w'), lambda: os.mkdir(os.path.join(place, 'x')),
            lambda: os.symlink('/', os.path.join(place, 'x')), lambda: os.mkfifo(os.path.join(place, 'x')),
            lambda: os.open(place, os.O_TMPFILE | os.O_RDWR), lambda: os.rename(place, place + 'x'),
            lambda: os.chmod(place, 0o777), lambda: os.utime(place), lambda: os.truncate(place, 0),
        ):
            try:
                act()
                done.append(place)
            except OSError:
                pass
    for path in ('/proc/sys/kernel/hostname', '/proc/self/oom_score_adj', '/usr/bin/env', '/dev/null'):
        try:
            os.close(os.open(path, os.O_WRONLY))
            done.append(path)
        except OSError:
            pass
    return done
    """
    assert inside(box, body, str(ROOT)) == []


@BOXES
def test_nothing_secret_can_be_found_from_inside(box, sandbox_named, student_of, tmp_path, course_in, monkeypatch):
    """A search through all that the box lets a child read meets no answer, hidden test, other submission or secret."""
    (tmp_path / "course").mkdir()
    course = course_in(tmp_path / "course")
    planted = {
        course.root / "gradebook.db": "GRADEBOOK-5f1d",
        course.root / "submitted" / "ada" / LESSON / f"{LESSON}.ipynb": "SUBMISSION-5f1d",
        course.state / "secret": "SECRET-5f1d",
        tmp_path / "home" / ".ssh" / "id_ed25519": "KEY-5f1d",
    }
    for path, text in planted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("AUTOGRADER_SECRET", "ENVIRONMENT-5f1d")
    model = next(each.model for each in Course(ROOT).lesson(LESSON).exercises if each.name == "softmax")
    answer = max((line.strip() for line in model.splitlines() if "=" in line), key=len)
    hidden = (ROOT / "tests" / LESSON / "test_softmax.py").read_text().splitlines()
    needles = [*planted.values(), "ENVIRONMENT-5f1d", answer, max(hidden, key=len).strip()]
    student = student_of(SEARCH, "f", "look", box=sandbox_named(box))
    places = [*planted, ROOT / "solutions" / f"{LESSON}.py", ROOT / "tests" / LESSON / "test_softmax.py"]
    assert student.look([str(path) for path in places]) == []
    roots = [*("/home", "/root", "/etc", "/var", "/proc", "/opt"), tmp_path, ROOT, ROOT / "autograder" / "inside"]
    found, files = student.f([str(root) for root in roots], needles)
    assert found == []
    assert files > 5  # it did look: the inside of this package can be read


SEARCH = '''
import os

def f(roots, needles):
    """Files below these folders that can be read and hold one of the needles; how many could be read."""
    needles = [needle.encode() for needle in needles]
    found, files = [], 0
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name != '__pycache__' and not name.startswith('python3')]
            for name in names:
                try:
                    with open(os.path.join(folder, name), 'rb') as file:
                        text = file.read(1 << 20)
                except OSError:
                    continue
                files += 1
                found += [os.path.join(folder, name)] if any(needle in text for needle in needles) else []
    return found, files

def look(paths):
    """Which of these can be opened or listed."""
    seen = []
    for path in paths:
        for act in (open, os.listdir, lambda p: os.open(os.path.dirname(p), os.O_RDONLY)):
            try:
                act(path)
                seen.append(path)
            except OSError:
                pass
    return seen
'''


@BOXES
def test_memory_of_the_child_holds_no_secret(box, sandbox_named, student_of, monkeypatch):
    """All that gc can find in a child: no answer, no hidden test, no path of a course but the package's own."""
    monkeypatch.setenv("AUTOGRADER_SECRET", "ENVIRONMENT-5f1d")
    code = '''
    import gc, sys
    def f(parts):
        """Strings in the process that hold one of the needles; the needles come in parts, so as not to be found."""
        needles = [a + b for a, b in parts]
        things = [each for thing in gc.get_objects() for each in gc.get_referents(thing)]
        seen = [each for each in things if isinstance(each, (str, bytes))]
        texts = [each if isinstance(each, str) else each.decode('latin-1') for each in seen]
        return sorted({needle for needle in needles for text in texts if needle in text and text not in needles})
    '''
    with Sandbox(box) as fresh:
        student = student_of(code, box=fresh)
        assert student.f([("ENVIRONMENT", "-5f1d"), ("BEGIN", " SOLUTION"), ("test_", "softmax")]) == []
        student.session.renew()


@BOXES
def test_there_is_no_network(inside, box):
    """No socket of any family can be made; the one there is can be given no other address."""
    body = """
    import socket
    done = []
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 16, 17, 40):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                socket.socket(family, kind)
                done.append((family, kind))
            except OSError:
                pass
    try:
        socket.socket(fileno=3).connect('/tmp/x')
        done.append('connect')
    except OSError:
        pass
    return done
    """
    assert inside(box, body) == []


def processes_with(text):
    """Ids of processes whose command line holds a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@BOXES
def test_nothing_outlives_a_child(box, sandbox_named, student_of):
    """Threads and sleepers are gone when the child is, and no process is left as a zombie."""
    student = student_of(
        """
        import threading, time
        def f():
            for _ in range(5):
                threading.Thread(target=time.sleep, args=(1e6,)).start()
            return 1
        """,
        box=sandbox_named(box),
    )
    for _ in range(3):
        assert student.f() == 1
        student.session.renew()
    zygotes = children_of(sandbox_named(box)._process.pid)
    assert all(state != "Z" for _, state in zygotes)
    assert len(zygotes) <= 2  # bubblewrap's own two


@BOXES
def test_threads_are_counted_while_they_live(box, sandbox_named, student_of):
    """No more than the limit at a time, by whatever call they are made; one that has ended makes room for another."""
    student = student_of(
        """
        import threading, time
        def f(stay):
            made = 0
            threading.stack_size(1 << 16)
            try:
                for _ in range(500):
                    thread = threading.Thread(target=time.sleep, args=(60 * stay,), daemon=True)
                    thread.start()
                    stay or thread.join()
                    made += 1
            except RuntimeError as error:
                return made, str(error)
            return made, ""
        """,
        box=sandbox_named(box),
    )
    assert student.f(0) == (500, "")
    assert student.f(1) == (64, "can't start new thread")


@BOXES
@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("os.kill(os.getpid(), 9)", "crash"),
        ("x = bytearray(500 << 20); os.kill(os.getpid(), 9)", "memory"),
        ("os.abort()", "crash"),
        ("os.kill(os.getpid(), 24)", "timeout"),
    ],
)
def test_a_killed_process_is_called_what_it_was_killed_for(inside, box, code, cause):
    """A SIGKILL is no proof that memory was short: how much the process had is."""
    with pytest.raises(StudentError) as caught:
        inside(box, code)
    assert caught.value.cause == cause


@BOXES
def test_a_large_grader_hides_no_memory_of_a_child(sandbox_named, student_of, box):
    """Linux hands the peak of whoever starts a program on to it: a child is measured against an idle one."""
    sandbox_named(box)  # skips where this machine cannot have it
    large = bytearray(900 << 20)
    with Sandbox(box, Limits()) as fresh:
        del large
        student = student_of("import os\ndef f():\n    x = bytearray(600 << 20)\n    os.kill(os.getpid(), 9)", box=fresh)
        with pytest.raises(StudentError) as caught:
            student.f()
    assert caught.value.cause == "memory"


def children_of(pid):
    """Process ids and states of all descendants."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after[1]) == pid:
            found += [(int(path.parent.name), after[0]), *children_of(int(path.parent.name))]
    return found


@BOXES
def test_the_box_ends_with_the_grader(box):
    """A grader that is killed leaves nothing behind, whatever the child is doing."""
    mark = f"mark-{os.getpid()}-{box}"
    code = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}]
import time
from autograder.inside import messages, wire
from autograder.inside.worker import Warm
from autograder.sandbox import PRELOAD, Sandbox
sandbox = Sandbox({box!r}, warm=Warm(list(PRELOAD), judged=[{mark!r}]))
channel = sandbox.child()
channel.send(wire.frame(messages.Load([(1, 1, "while True: pass")], [], []), []), time.monotonic() + 5)
time.sleep(0.3)
print("running", flush=True)
time.sleep(60)
"""
    grader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert grader.stdout.readline() == "running\n"
        assert processes_with(mark)
    finally:
        grader.kill()
        grader.wait()
        grader.stdout.close()
    until = time.monotonic() + 10
    while processes_with(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes_with(mark) == []


def test_ctrl_c_ends_the_box_in_order():
    """An interrupt in the middle of a call ends grader, zygote and child, without a second traceback."""
    mark = f"mark-{os.getpid()}-interrupt"
    code = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}]
import time
from autograder.inside import messages, wire
from autograder.inside.worker import Warm
from autograder.sandbox import PRELOAD, Sandbox
with Sandbox("landlock", warm=Warm(list(PRELOAD), judged=[{mark!r}])) as sandbox:
    channel = sandbox.child()
    channel.send(wire.frame(messages.Load([(1, 1, "while True: pass")], [], []), []), time.monotonic() + 5)
    print("running", flush=True)
    try:
        channel.receive(time.monotonic() + 60)
    finally:
        channel.close()
"""
    command = [sys.executable, "-c", code]
    grader = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert grader.stdout.readline() == "running\n"
    os.killpg(grader.pid, signal.SIGINT)
    _, errors = grader.communicate(timeout=20)
    assert errors.strip().splitlines()[-1] == "KeyboardInterrupt"
    assert "GraderError" not in errors
    assert "BrokenPipe" not in errors
    assert processes_with(mark) == []


# --- life of a box


def test_two_hundred_children_leave_nothing_open(sandbox):
    """Descriptors and processes are as many after 200 children as after one."""
    sandbox.child().close()
    before = len(os.listdir("/proc/self/fd")), len(children_of(sandbox._process.pid))
    for _ in range(200):
        sandbox.child().close()
    assert (len(os.listdir("/proc/self/fd")), len(children_of(sandbox._process.pid))) == before


@BOXES
def test_a_box_that_broke_is_started_anew(box, monkeypatch):
    """A zygote that is killed costs the submission at hand, as our failure; the next gets a new box."""
    with Sandbox(box) as sandbox:
        channel = sandbox.child()
        for pid, _ in [*children_of(sandbox._process.pid), (sandbox._process.pid, "")]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        with pytest.raises(GraderError, match="broke"):
            sandbox.child()
        channel.close()
        fresh = sandbox.child()
        fresh.send(wire.frame(messages.Load([], [], []), []), time.monotonic() + 5)
        assert fresh.receive(time.monotonic() + 5)[0] == messages.Loaded([])
        channel.close()
        fresh.close()


def test_a_zygote_that_cannot_start_says_why(monkeypatch):
    """What the zygote said last is part of the message, and nothing stays open."""
    monkeypatch.setattr("autograder.sandbox._START", "import a_module_that_is_missing")
    before = len(os.listdir("/proc/self/fd"))
    with Sandbox("landlock") as sandbox, pytest.raises(GraderError, match="a_module_that_is_missing"):
        sandbox.child()
    assert len(os.listdir("/proc/self/fd")) == before


# --- channels


@pytest.fixture
def channel(sandbox):
    """A child with nothing loaded."""
    channel = sandbox.child()
    yield channel
    channel.close()


def run(channel, *statements, seconds=5.0):
    """Sends statements to be run; returns the deadline."""
    deadline = time.monotonic() + seconds
    message = messages.Load([(1, 1, statement) for statement in statements], [], [])
    channel.send(wire.frame(message, []), deadline)
    return deadline


def test_a_child_that_never_reads_ends_at_the_deadline(channel):
    """Megabytes to a child that is busy elsewhere: the sender does not wait longer than its deadline."""
    run(channel, "while True: pass")
    started = time.monotonic()
    with pytest.raises(StudentTimeout):
        channel.send(b"\0" * (8 << 20), started + 0.3)
    assert time.monotonic() - started < 1.0
    assert not channel.alive


def test_a_child_that_never_stops_talking_ends_at_the_deadline(channel):
    """A message after the other without a pause is no reason to listen for ever."""
    run(channel, "import os; m = (14).to_bytes(8, 'little') + b'{\"type\":\"Ran\"}'\nwhile True: os.write(3, m)")
    started = time.monotonic()

    def listen():
        while True:
            assert channel.receive(started + 0.3)[0] == messages.Ran()

    with pytest.raises(StudentTimeout):
        listen()
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("b'\\xff' * 8", "larger"),
        ("(5 << 20).to_bytes(4, 'little') + bytes(4)", "larger than 4 MB"),
        ("bytes(8)", "no message"),
        ("(2).to_bytes(4, 'little') + bytes(4) + b'{}'", "no message"),
        ("(2).to_bytes(4, 'little') + bytes(4) + b'\\xff\\xff'", "no message"),
        ("(14).to_bytes(4, 'little') + (3).to_bytes(4, 'little') + b'{\"type\":\"Ran\"}xyz'", "no message"),
    ],
)
def test_a_forged_frame_ends_the_child(channel, said, error):
    """Lengths beyond the limits, headers and bodies that are none."""
    deadline = run(channel, f"import os; os.write(3, {said})")
    with pytest.raises(StudentOutput) as caught:
        channel.receive(deadline)
    assert error in caught.value.text
    assert not channel.alive


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_frame_that_is_too_large_is_refused_however_it_arrives(channel, before):
    """All at once, behind frames that are none too large: what has arrived already counts like what is waited for."""
    channel.limits = replace(channel.limits, reply_bytes=1000)
    fine = "(14).to_bytes(8, 'little') + b'{\"type\":\"Ran\"}'"
    large = "(14).to_bytes(4, 'little') + (2000).to_bytes(4, 'little') + b'{\"type\":\"Ran\"}' + bytes(2000)"
    deadline = run(channel, f"import os; os.write(3, {' + '.join([fine] * before + [large])})")
    for _ in range(before):
        assert channel.receive(deadline)[0] == messages.Ran()
    with pytest.raises(StudentOutput) as caught:
        channel.receive(deadline)
    assert "larger" in caught.value.text
    assert not channel.alive


@pytest.mark.parametrize(
    ("statement", "error", "text"),
    [
        ("import os; os._exit(0)", StudentCrash, "exit"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", StudentCrash, "SIGSEGV"),
        ("import ctypes; ctypes.string_at(0)", StudentCrash, "SIGSEGV"),
        ("import os; os.close(3)", StudentCrash, "exit"),
        ("import os; os.abort()", StudentCrash, "SIGABRT"),
        ("print('x' * 200_000)", StudentOutput, "printed"),
    ],
)
def test_how_a_child_ended_is_named(channel, statement, error, text):
    """By the signal that ended it, or by what it did too much of."""
    deadline = run(channel, statement)
    with pytest.raises(error) as caught:
        channel.receive(deadline)
    assert text in caught.value.text


def test_printed_text_is_kept_up_to_a_limit(channel, sandbox):
    """What a child printed last is there although it died."""
    deadline = run(channel, "print('said ' * 10_000)", "import os; os._exit(1)")
    channel.receive(deadline)
    with pytest.raises(StudentError):
        channel.receive(deadline)
    assert channel.printed.startswith(b"said said")
    assert len(channel.printed) == sandbox.limits.kept_bytes


def test_a_child_may_close_its_streams(channel):
    """Closed and replaced streams are the student's matter."""
    deadline = run(channel, "import os, sys; sys.stdout.close(); os.close(2); os.close(0); sys.stderr = None")
    assert channel.receive(deadline)[0] == messages.Ran()
    assert channel.receive(deadline)[0] == messages.Loaded([])


def test_cpu_time_is_limited(sandbox, monkeypatch):
    """More processor time than a submission may use is a time-out, however many threads it takes."""
    monkeypatch.setattr(sandbox, "limits", replace(sandbox.limits, submission_s=0.5))  # rounded up to whole seconds
    channel = sandbox.child()
    deadline = run(channel, "while True: pass", seconds=10)
    with pytest.raises(StudentTimeout) as caught:
        channel.receive(deadline)
    assert "CPU" in caught.value.text


# --- which box


def test_the_strongest_box_is_chosen(monkeypatch):
    """auto takes the first that can be had, and says what to do where none can."""
    can = {"bubblewrap": True, "landlock": True}
    found = lambda: [*((name, usable, "because") for name, usable in can.items()), ("none", True, "")]  # noqa: E731
    monkeypatch.setattr(boxes, "available_boxes", found)
    assert boxes.choose_box() == "bubblewrap"
    can["bubblewrap"] = False
    assert boxes.choose_box() == "landlock"
    assert boxes.choose_box("none") == "none"
    with pytest.raises(GraderError, match="'bubblewrap' cannot be had here: because"):
        boxes.choose_box("bubblewrap")
    can["landlock"] = False
    with pytest.raises(GraderError, match="--sandbox none"):
        boxes.choose_box()
    with pytest.raises(GraderError, match="choose auto"):
        boxes.choose_box("docker")


def test_a_machine_without_bwrap_is_told_what_to_install(monkeypatch):
    """The reason names the package."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert {name: why for name, _, why in boxes.available_boxes()}["bubblewrap"].endswith("apt-get install bubblewrap")


def test_a_course_that_students_could_read_is_refused(tmp_path, monkeypatch):
    """A course below a folder that the box shows is no course to grade."""
    boxes.refuse_exposed(tmp_path)
    monkeypatch.setattr(boxes, "readable_paths", lambda: [str(tmp_path.parent)])
    with pytest.raises(GraderError, match="move it"):
        boxes.refuse_exposed(tmp_path)
