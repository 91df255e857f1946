"""The right box on every machine, named to whoever asks; no box, no grading.

What a machine lacks is taken away for real: programs from PATH, system calls by a filter over the whole command.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from autograder import boxes
from autograder.boxes import available_boxes, choose_box
from autograder.errors import GraderError

ROOT = Path(__file__).resolve().parents[2]
LESSON = "attention_from_scratch"
NOBODY = 65534

# Runs a command without some of the kernel's gifts: "namespaces" as in a container that forbids them, "landlock" as
# before Linux 5.13, "seccomp" as where a filter cannot be set. A filter is inherited and cannot be taken off.
WITHOUT = """
import ctypes, os, struct, sys
column = ("x86_64", "aarch64").index(os.uname().machine)
EPERM, EINVAL, ENOSYS, NEW = 1, 22, 38, 0x7E020080
def refuse(numbers, errno):
    return [(0x15, 0, 1, numbers[column]), (0x06, 0, 0, 0x50000 | errno)]
def refuse_where(numbers, jump, value, errno):
    test = [(0x20, 0, 0, 16), (jump, 0, 1, value), (0x06, 0, 0, 0x50000 | errno), (0x20, 0, 0, 0)]
    return [(0x15, 0, len(test), numbers[column]), *test]
lacks = {
    "namespaces": refuse((272, 97), EPERM) + refuse((435, 435), ENOSYS) + refuse_where((56, 220), 0x45, NEW, EPERM),
    "landlock": refuse((444, 444), ENOSYS),
    "seccomp": refuse((317, 277), ENOSYS) + refuse_where((157, 167), 0x15, 22, EINVAL),
}
code = [(0x20, 0, 0, 0), *(line for name in sys.argv[1].split() for line in lacks[name]), (0x06, 0, 0, 0x7FFF0000)]
packed = b"".join(struct.pack("<HBBI", *line) for line in code)
buffer = ctypes.create_string_buffer(packed, len(packed))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(buffer)), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""

PACKAGES = Path(sysconfig.get_path("purelib"))
needs_filter = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="numbers of two machines only")
pytestmark = [needs_filter]


@pytest.fixture
def shared_course(course_in):
    """A course where any user can work; pytest's own folders are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="autograder-course-"))
    course = course_in(folder)
    for link in [path for path in folder.rglob("*") if path.is_symlink()]:  # they may lead where others may not go
        place = link.resolve()
        link.unlink()
        shutil.copytree(place, link) if place.is_dir() else shutil.copy(place, link)
    yield course
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def python_of(open_to):
    """An interpreter with our packages that a user may start: this one, or the system's where this lies in root's home."""
    made = Path(tempfile.mkdtemp(prefix="autograder-python-"))

    def get(user):
        if user is None:
            return sys.executable
        if os.getuid() != 0 or shutil.which("setpriv") is None:
            pytest.skip("only root can become somebody else")
        ours = [*become(user), "/usr/bin/test", "-x", os.path.realpath(sys.executable)]
        if subprocess.run(ours, check=False).returncode == 0:
            return sys.executable
        system = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
        if system is None:
            pytest.skip("no interpreter of this version that everybody may start")
        if not (made / "bin").exists():
            made.chmod(0o755)
            subprocess.run([system, "-m", "venv", "--without-pip", str(made)], check=True)
            (site,) = made.glob("lib/python*/site-packages")
            (site / "ours.pth").write_text("".join(f"{open_to(become(user), place, made)}\n" for place in (ROOT, PACKAGES)))
        return str(made / "bin" / "python")

    yield get
    shutil.rmtree(made)


def become(user):
    """The beginning of a command that runs as somebody else, with no right of root's."""
    return [str(shutil.which("setpriv")), "--reuid", str(user), "--regid", str(user), "--clear-groups"]


@pytest.fixture
def grader_on(shared_course, python_of):
    """Runs the command on a machine that lacks things: grader_on("doctor", lacks="landlock", user=NOBODY, bwrap=False)."""

    def run(*arguments, lacks="", user=None, bwrap=True):
        if not bwrap:
            without_bwrap = shared_course.root / "bin"
            without_bwrap.mkdir(exist_ok=True)
        python = python_of(user)
        for place in [shared_course.root, *shared_course.root.rglob("*")] if user is not None else ():
            os.lchown(place, user, user)
        path = "/usr/bin:/bin" if bwrap else str(without_bwrap)
        environment = {"PATH": path, "HOME": str(shared_course.root), "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
        command = [python, "-c", "from autograder.cli import main; main()", *arguments]
        if lacks:
            command = [python, "-c", WITHOUT, lacks, *command]
        if user is not None:
            command = [*become(user), *command]
        return subprocess.run(command, cwd=shared_course.root, env=environment, capture_output=True, text=True, check=False)

    return run


def needs(box):
    """Skips where this machine, as it is, cannot have a box."""
    usable, why = {name: (usable, why) for name, usable, why in available_boxes()}[box]
    if not usable:
        pytest.skip(why)


def lines_of(done, word):
    """The doctor's lines about a thing."""
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.strip(" │┃").startswith(word)]


@pytest.mark.parametrize("user", [None, NOBODY], ids=["root or you", "nobody"])
def test_a_whole_machine_has_bubblewrap(grader_on, user):
    """Whoever grades: namespaces are for all."""
    needs("bubblewrap")
    (line,) = lines_of(grader_on("doctor", user=user), "box bubblewrap")
    assert "will be used" in line


@pytest.mark.parametrize("user", [None, NOBODY], ids=["root or you", "nobody"])
@pytest.mark.parametrize("lack", [{"lacks": "namespaces"}, {"bwrap": False}], ids=["no namespaces", "no bwrap"])
def test_without_namespaces_or_the_program_it_is_landlock_and_the_doctor_says_why(grader_on, user, lack):
    """A container that forbids `unshare`, a machine without the package: what is missing, and what to do."""
    needs("landlock")
    done = grader_on("doctor", user=user, **lack)
    (wanted,) = lines_of(done, "box bubblewrap")
    (line,) = lines_of(done, "box landlock")
    assert "will be used" in line
    assert ("bwrap does not start" if "lacks" in lack else "bwrap is not installed") in wanted
    assert "install" in wanted or "namespaces" in wanted


@pytest.mark.parametrize("lacks", ["landlock", "seccomp", "namespaces landlock"])
def test_a_kernel_that_cannot_confine_has_no_box_and_grading_refuses(grader_on, hand_in_at, lacks):
    """bubblewrap alone would leave a child the zygote's descriptors and every system call: it does not do."""
    hand_in_at("ada")
    doctor = grader_on("doctor", lacks=lacks)
    assert "grading refuses to start without one, unless you pass --sandbox none" in doctor.stdout
    done = grader_on("grade", "submitted", "--lesson", LESSON, "--device", "cpu", lacks=lacks)
    assert done.returncode == 2
    assert "no box can be had here: Landlock or seccomp" in done.stderr
    assert "--sandbox none" in done.stderr
    for box in ("bubblewrap", "landlock"):
        refused = grader_on("grade", "submitted", "--lesson", LESSON, "--sandbox", box, lacks=lacks)
        assert refused.returncode == 2
        assert f"the box '{box}' cannot be had here" in refused.stderr


@pytest.fixture
def hand_in_at(shared_course, filled, model_answers):
    """Hands in a notebook to the shared course: the first two model answers."""

    def hand_in(student):
        path = shared_course.root / "submitted" / student / LESSON / f"{LESSON}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(filled(**dict(list(model_answers.items())[:2]))), encoding="utf-8")
        return shared_course

    return hand_in


def test_grading_as_nobody_in_a_container_names_its_box(grader_on, hand_in_at):
    """An ordinary user, no namespaces: the same marks as ever, from the box called landlock."""
    needs("landlock")
    course = hand_in_at("ada")
    arguments = ("--device", "cpu", "--jobs", "1", "--json", "-")
    done = grader_on("grade", "submitted", "--lesson", LESSON, *arguments, user=NOBODY, lacks="namespaces")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["sandbox"] == "landlock"
    assert results["submissions"][0]["score"] == 25
    assert "box: landlock" in done.stderr
    assert (course.root / "gradebook.db").stat().st_uid == NOBODY


def test_no_box_by_wish_is_a_warning_in_every_report(grader_on, hand_in_at):
    """Where nothing confines, `--sandbox none` grades, and nobody who reads its reports can overlook it."""
    course = hand_in_at("ada")
    arguments = ("--device", "cpu", "--jobs", "1", "--sandbox", "none")
    done = grader_on("grade", "submitted", "--lesson", LESSON, *arguments, lacks="landlock")
    assert done.returncode == 0, done.stderr
    assert "warning" in done.stderr
    assert "students' code ran with all your rights" in done.stderr
    assert "box: none: students' code could do whatever you can" in done.stderr
    assert json.loads((course.state / LESSON / "results.json").read_bytes())["sandbox"] == "none"
    for page in (course.state / LESSON).glob("*.html"):
        assert "Warning: no box" in page.read_text(encoding="utf-8"), page


def test_an_unknown_box_is_a_wrong_wish():
    """With the ones there are."""
    with pytest.raises(GraderError, match="choose auto, bubblewrap, landlock, none"):
        choose_box("docker")


def test_the_strongest_usable_box_is_chosen(monkeypatch):
    """In this order, whatever was found."""
    for found, chosen in (((True, True), "bubblewrap"), ((False, True), "landlock")):
        three = [(name, usable, "why") for name, usable in zip(("bubblewrap", "landlock"), found, strict=True)]
        monkeypatch.setattr(boxes, "available_boxes", lambda three=three: [*three, ("none", True, "")])
        assert choose_box() == chosen
        assert choose_box("none") == "none"


def test_what_an_older_kernel_leaves_to_one_layer_is_named():
    """Landlock learned of TCP in version 4, of signals in version 6."""
    assert boxes._landlock(7) == "Landlock version 7 and seccomp work"
    assert boxes._landlock(4).endswith("nothing of signals and abstract sockets, which seccomp alone holds")
    assert "TCP and of signals" in boxes._landlock(3)


def test_a_course_that_a_student_could_read_is_refused():
    """Below /usr or the interpreter, every box shows it."""
    with pytest.raises(GraderError, match="which student code can read: move it"):
        boxes.refuse_exposed(Path(sys.prefix) / "course")
    boxes.refuse_exposed(Path("/home/ada/course"))
