"""Grading on a GPU: what needs one is marked `gpu` and skipped with its reason; what shows without one runs everywhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autograder.boxes import available_boxes, gpu_nodes, wall
from autograder.channel import Channel
from autograder.collection import Submission
from autograder.course import Course
from autograder.doctor import fall_back
from autograder.errors import GraderError
from autograder.gpu import on_gpu
from autograder.grader import Grader
from autograder.inside import messages, packing, wire
from autograder.inside.confine import Limits
from autograder.inside.gpu import Gpu, is_spent, settle
from autograder.misconception import answers_in
from autograder.sandbox import Sandbox
from autograder.tolerance import unit

ROOT = Path(__file__).parents[2]
BOXES = [name for name, usable, _ in available_boxes() if usable]
LESSONS = ("attention_from_scratch", "attention_with_pytorch", "positional_encoding", "transformer_encoder")
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


@pytest.fixture
def far(monkeypatch):
    """A stand-in for a GPU on the wire: storages that go there become meta storages, so that a move can be seen."""
    real = packing._device
    monkeypatch.setattr(packing, "_device", lambda name: torch.device("meta") if name == "cuda:0" else real(name))


def arrived(*tensors, device="cuda:0"):
    """Tensors after they were packed, sent to a device and built there; and their storages."""
    packer = packing.Packer()
    packer.value(list(tensors))
    for view in packer.views:
        view.device = device
    pieces = wire.pieces_of(packer.frame(None)[wire.LENGTHS.size + len(b"null") :])
    return packing.build(packer.views, pieces, 1 << 20)


@pytest.mark.usefixtures("far")
def test_views_of_one_storage_share_it_on_the_gpu():
    """Aliasing, strides and offsets are there what they were here; a storage is moved once."""
    x = torch.arange(12.0)
    (whole, turned, row), storages = arrived(x, x.view(3, 4).T, x[4:8])
    assert len({tensor.untyped_storage()._cdata for tensor in (whole, turned, row)}) == 1
    assert storages[0].device.type == "meta"
    assert storages[0]._cdata == whole.untyped_storage()._cdata
    assert (turned.shape, turned.stride(), row.storage_offset()) == ((4, 3), (1, 4), 4)


@pytest.mark.usefixtures("far")
def test_a_storage_is_on_one_device():
    """Views that say otherwise are no message."""
    packer, x = packing.Packer(), torch.arange(4.0)
    packer.value([x, x[1:]])
    packer.views[1].device = "cuda:0"
    with pytest.raises(messages.ProtocolError, match="two devices"):
        packing.build(packer.views, [bytes(16)], 1 << 20)


# --- the box with a GPU, as far as it shows without one: stand-in nodes, and the rules themselves


CONFINED = """
import ctypes, errno, mmap, os, sys
from autograder.inside.confine import Limits, confine
from autograder.boxes import readable_paths
libc = ctypes.CDLL(None, use_errno=True)
readable = readable_paths()
devices = ["/dev/zero"] if sys.argv[1] == "gpu" else []
confine(Limits(), readable, devices)

def said(act):
    try:
        act()
        return "yes"
    except OSError as error:
        return errno.errorcode[error.errno]

def ioctl(number):
    if libc.ioctl(1, ctypes.c_ulong(number), None) < 0:
        raise OSError(ctypes.get_errno(), "ioctl")

def shared(path, flags):
    place = os.open(path, flags)
    mmap.mmap(place, 4096, mmap.MAP_SHARED, mmap.PROT_READ)

print(said(lambda: os.open("/dev/zero", os.O_RDWR)), said(lambda: os.open("/dev/full", os.O_RDWR)),
      said(lambda: os.open("/dev/null", os.O_RDWR)), said(lambda: os.open("/tmp/x", os.O_RDWR | os.O_CREAT)),
      said(lambda: shared("/usr/bin/env", os.O_RDONLY)), said(lambda: mmap.mmap(-1, 4096, mmap.MAP_SHARED)),
      said(lambda: ioctl(0xC00446D6)), said(lambda: ioctl(0x30000001)), said(lambda: ioctl(37)),
      said(lambda: ioctl(0x5412)), said(lambda: ioctl(0x8901)), said(lambda: ioctl(0x5452)),
      said(lambda: os.pipe2(0)), said(lambda: __import__("socket").socket()), said(os.fork))
"""
CAN_CONFINE = pytest.mark.skipif("landlock" not in BOXES, reason="there is no Landlock or seccomp here")


def confined(kind):
    """What a confined process can do, a word each."""
    command = [sys.executable, "-c", CONFINED, kind]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.split()


@CAN_CONFINE
def test_a_gpu_opens_its_nodes_and_nothing_else():
    """The node named can be written to, shared memory of files and the driver's ioctls work; all else is as without."""
    node, *others, shared, anonymous, nvidia, uvm_begin, uvm, tiocsti, owner, asynchronous, pipe, socket, fork = confined(
        "gpu"
    )
    assert node == "yes"
    assert others == ["EACCES", "EACCES", "EACCES"]
    assert (shared, anonymous) == ("yes", "EPERM")
    assert (nvidia, uvm_begin, uvm) == ("ENOTTY",) * 3  # the kernel answers, not the filter: it is no such device
    assert (tiocsti, owner, asynchronous) == ("EPERM",) * 3
    assert (pipe, socket, fork) == ("yes", "EPERM", "EPERM")


@CAN_CONFINE
def test_without_a_gpu_none_of_it_is_there():
    """What a GPU needs is allowed to children that have one only."""
    assert confined("cpu") == ["EACCES"] * 4 + ["EPERM"] * 11


def test_only_the_nodes_of_gpus_are_let_in(tmp_path):
    """GPUs by number, the driver's two; none of its other nodes."""
    for name in (
        "nvidia0",
        "nvidia1",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-uvm-tools",
        "nvidia-modeset",
        "nvidia-caps",
        "sda",
    ):
        (tmp_path / name).touch()
    assert [Path(path).name for path in gpu_nodes(tmp_path)] == ["nvidia-uvm", "nvidia0", "nvidia1", "nvidiactl"]


def test_the_wall_lets_these_nodes_in_and_no_network():
    """bubblewrap's command, with a GPU beside without one."""
    with_gpu, without = wall([], ["/dev/nvidia0"]), wall([])
    assert "--unshare-all" in with_gpu
    assert "--share-net" not in with_gpu
    bound = [with_gpu[number + 1] for number, word in enumerate(with_gpu) if word in ("--dev-bind", "--bind")]
    assert bound == ["/dev/null", "/dev/urandom", "/dev/nvidia0"]
    assert "/proc/driver/nvidia" in with_gpu
    assert not any("nvidia" in word for word in without)


def test_what_cuda_takes_comes_on_top_of_a_childs_limits():
    """Memory of the host, open files, addresses; time and output are as they were."""
    limits = on_gpu(Limits())
    assert limits.memory_bytes > Limits().memory_bytes
    assert (limits.call_s, limits.reply_bytes, limits.threads) == (Limits().call_s, Limits().reply_bytes, Limits().threads)


@pytest.mark.parametrize("box", [name for name in BOXES if name != "none"])
def test_a_gpu_that_does_not_start_is_our_fault(box):
    """The child says why; no submission loses a point for it."""
    gpu = Gpu((), 1 << 30)
    if torch.cuda.is_available():
        pytest.skip("here it starts")
    with Sandbox(box, gpu=gpu, ahead=True) as sandbox:
        sandbox.begin()
        with pytest.raises(GraderError, match=r"CUDA does not start in the box: .*; see docs/gpu\.md"):
            sandbox.child()


def test_children_are_started_ahead(monkeypatch):
    """The next one starts its CUDA while this one works; each is waited for before it is given away."""
    awaited = []
    monkeypatch.setattr(Channel, "await_start", lambda self: awaited.append(self.pid))
    with Sandbox(BOXES[0], gpu=Gpu((), 1), ahead=True) as sandbox:
        sandbox.begin()
        first = sandbox._spare
        assert sandbox.child() is first
        second = sandbox._spare
        assert second is not None
        assert second.pid != first.pid
        assert sandbox.child() is second
        assert awaited == [first.pid, second.pid]
        first.close()
        second.close()


def test_a_small_device_starts_none_ahead(monkeypatch):
    """Then there is one child at a time."""
    monkeypatch.setattr(Channel, "await_start", lambda self: None)
    with Sandbox(BOXES[0], gpu=Gpu((), 1)) as sandbox:
        sandbox.begin()
        sandbox.child().close()
        assert sandbox._spare is None


# --- what breaks on a GPU costs its test


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("shapes cannot be multiplied"), False), (ValueError("CUDA error"), False),
    ],
)  # fmt: skip
def test_what_leaves_the_gpu_spent_is_known(error, spent):
    """An assert on the device poisons all later calls; a lack of memory may."""
    assert is_spent(error) is spent


def test_a_spent_gpu_costs_the_call_that_met_it(student_of):
    """The child is replaced, so the next call starts clean, with the definitions there again."""
    student = student_of(
        "count = []\n"
        "def softmax(x, dim=-1):\n"
        "    count.append(1)\n"
        "    if len(count) == 2:\n"
        "        raise RuntimeError('CUDA error: device-side assert triggered')\n"
        "    return x * len(count)",
        "softmax",
    )
    x = torch.ones(2)
    assert torch.equal(student.softmax(x), x)
    with pytest.raises(RuntimeError, match="device-side assert"):
        student.softmax(x)
    assert torch.equal(student.softmax(x), x)
    assert student._session.generation == 2


# --- which device


def test_auto_falls_back_and_says_so(course, hand_in, filled, autograder_in):
    """In the result by its device, on the terminal in words; and placement is judged there."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    path = hand_in("ada", filled(causal_mask="def causal_mask(n, device=None):\n    return torch.ones(n, n).triu(1) > 0"))
    command = ["grade", str(path), "--lesson", LESSONS[0], "--no-gradebook", "--json", "-"]
    done = autograder_in(course, *command, "--device", "auto")
    results = json.loads(done.stdout)
    assert results["device"] == "cpu"
    assert "no CUDA GPU here: graded on the CPU" in " ".join(done.stderr.split())
    tests = results["submissions"][0]["exercises"][2]["tests"]
    (failed,) = [test for test in tests if test["outcome"] == "failed"]
    assert (failed["name"], failed["device"]) == ("the mask is on the device given, by default on torch's own", "cpu")
    assert "line 2: return torch.ones(n, n).triu(1) > 0" in failed["message"]
    for device in ("cuda", "both"):
        refused = autograder_in(course, *command, "--device", device)
        assert refused.returncode == 2
        assert f"--device {device} needs a CUDA GPU and torch finds none here" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(("wanted", "chosen"), [("auto", "cuda"), ("cpu", "cpu"), ("cuda", "cuda"), ("both", "both")])
def test_nothing_is_said_where_nothing_fell_back(wanted, chosen):
    """Only auto can come to something else than was hoped for."""
    assert fall_back(wanted, chosen) == ""


# --- numbers


def test_numbers_on_the_gpu_are_settled():
    """Deterministic, no TF32 unless it is asked for, half types summed in float32; put back afterwards."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    others = cudnn.benchmark, matmul.allow_tf32, cudnn.allow_tf32
    halves = matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction
    filled = torch.utils.deterministic.fill_uninitialized_memory
    try:
        settle()
        assert torch.are_deterministic_algorithms_enabled()
        assert not any((matmul.allow_tf32, cudnn.allow_tf32, matmul.allow_fp16_reduced_precision_reduction))
        settle(tf32=True)
        assert matmul.allow_tf32
        assert unit(torch.float32, torch.device("cuda")) == 2**-10
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.benchmark, matmul.allow_tf32, cudnn.allow_tf32 = others
        matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction = halves
        torch.utils.deterministic.fill_uninitialized_memory = filled


def test_tf32_widens_what_rounds_in_it_and_nothing_else():
    """float32 on CUDA while TF32 is on; not on the CPU, not in other types."""
    matmul = torch.backends.cuda.matmul
    before, cuda, cpu = matmul.allow_tf32, torch.device("cuda"), torch.device("cpu")
    try:
        matmul.allow_tf32 = True
        for dtype, device in ((torch.float32, cpu), (torch.float64, cuda), (torch.bfloat16, cuda), (torch.float16, cuda)):
            assert unit(dtype, device) == torch.finfo(dtype).eps
        assert unit(torch.float32, cuda) == 2**-10
        matmul.allow_tf32 = False
        assert unit(torch.float32, cuda) == torch.finfo(torch.float32).eps
    finally:
        matmul.allow_tf32 = before


# --- on a GPU


def graded(lesson, tmp_path, answers, device="cuda"):
    """The results of notebooks in which these answers stand for the model's, one by one."""
    course = Course(ROOT)
    with Grader(course, course.lesson(lesson), device=device, box=BOXES[0], secret=b"gpu") as grader:
        for name, sources in answers.items():
            notebook = json.loads(course.source(lesson).read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                if (grade_id := cell["metadata"].get("nbgrader", {}).get("grade_id")) in sources:
                    cell["source"] = sources[grade_id]
            path = tmp_path / f"{name}.ipynb"
            path.write_text(json.dumps(notebook), encoding="utf-8")
            yield name, grader.grade(Submission("ada", path)).result


class TestOnCuda:
    """The half of the engine's tests that needs a GPU."""

    pytestmark = needs_gpu

    @pytest.mark.parametrize("lesson", LESSONS)
    def test_the_model_answers_get_full_marks(self, lesson, tmp_path):
        """On cuda, and on both devices."""
        for device in ("cuda", "both"):
            for _, result in graded(lesson, tmp_path, {"model": {}}, device):
                assert result.score == result.max_score, [each for each in result.exercises if each.score != each.max_score]

    @pytest.mark.parametrize("tf32", ["0", "1"])
    @pytest.mark.parametrize("lesson", LESSONS)
    def test_the_bank_gets_the_verdicts_of_the_cpu(self, lesson, tf32, tmp_path, monkeypatch):
        """Each wrong answer loses points on the GPU as on the CPU, each right one keeps all; TF32 changes none of it."""
        monkeypatch.setenv("AUTOGRADER_TF32", tf32)
        wrong = answers_in(ROOT / "tests" / lesson / "misconceptions.py")
        right = answers_in(ROOT / "tests" / lesson / "alternatives.py")
        answers = {each.name: {each.exercise: each.source} for each in (*wrong, *right)}
        lost = {name for name, result in graded(lesson, tmp_path, answers) if result.score < result.max_score}
        assert lost == {each.name for each in wrong}

    def test_an_assert_on_the_device_costs_its_test(self, tmp_path):
        """An index out of range poisons the process; the exercises after it lose nothing."""
        source = "def split_heads(x, n_heads):\n    return x[torch.full((9,), 99, device=x.device)]\n"
        for _, result in graded(LESSONS[0], tmp_path, {"assert": {"split_heads": source}}):
            lost = {each.name for each in result.exercises if each.score < each.max_score}
            assert lost == {"split_heads"}

    def test_memory_is_capped(self, tmp_path):
        """Asking for all of the GPU's memory is a memory error of that exercise's tests."""
        source = "def merge_heads(x):\n    return torch.empty(1 << 34, device=x.device)\n"
        for _, result in graded(LESSONS[0], tmp_path, {"memory": {"merge_heads": source}}):
            causes = {each.name: {test.cause for test in each.tests} for each in result.exercises}
            assert "memory" in causes.pop("merge_heads")
            assert set().union(*causes.values()) == {None}

    def test_two_gradings_say_the_same(self, tmp_path):
        """Byte by byte, but for the seconds."""
        once, again = (dict(graded(LESSONS[3], tmp_path, {"model": {}})) for _ in range(2))
        assert once["model"].exercises == again["model"].exercises

    def test_only_its_nodes_are_there(self, tmp_path):
        """A child sees the GPU's nodes, no other device, no network."""
        source = (
            "def causal_mask(n, device=None):\n"
            "    import os, socket\n"
            "    try:\n"
            "        socket.socket()\n"
            "    except PermissionError:\n"
            "        return torch.ones(n, n, device=device).triu(1).bool()\n"
        )
        for _, result in graded(LESSONS[0], tmp_path, {"network": {"causal_mask": source}}):
            assert result.score == result.max_score
