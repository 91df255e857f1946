"""The trusted side against a child that says anything at all: an answer or a refusal, never a crash, a hang or growth.

A liar stands where a child's socket would be. It answers each request as an honest child does, and then, most of the
time, with something else: damaged, truncated, oversized, late, duplicate, out of order. Seeded: a failure names its round,
and the same seed gives it again.
"""

import gc
import json
import os
import random
import resource
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from autograder.channel import Channel
from autograder.comparing import Mismatch, check_types, kind, paired
from autograder.errors import StudentError
from autograder.handles import Handle
from autograder.inside import messages, packing, wire
from autograder.inside.confine import Limits
from autograder.inside.worker import Status
from autograder.program import Answer, Program, Statement
from autograder.session import Session
from autograder.student import Student

LIMITS = Limits(call_s=0.02, submission_s=60.0, reply_bytes=1 << 20, printed_bytes=20_000, kept_bytes=200)
BEYOND_S = 0.2  # what may be added to a deadline
GROWTH_BYTES = 24 << 20  # of the process between the first fifth of the frames and the last
PEAK_BYTES = 160 << 20  # of one message, beyond what stays: some 40 times MAX_HEADER
EXERCISES = ("lost", "f", "Net")


# --- a child that lies


@dataclass
class Liar:
    """Answers each request, seldom as it should."""

    rng: random.Random
    frames: int = 0
    late: bytes = b""  # what should have been said before
    calls: dict[int, messages.Call] = field(default_factory=dict)
    waiting: list[bytes] = field(default_factory=list)  # frames that follow the answer to an Ask

    def answer(self, request):
        """What to say to a request: bytes, and None after them to hang up."""
        if isinstance(request, messages.Load) and not request.statements:  # no student's code ran in this child
            self.frames += 1
            return self.honest(request)[0], False
        if isinstance(request, messages.Load | messages.Call | messages.Vjp):
            frames = self.honest(request)
            if self.rng.random() < 0.2:
                frames[:0] = [self.ask() for _ in range(self.rng.randint(1, 3))]
            self.waiting = self.disturbed(frames)
        said, hangs_up = b"", False
        while self.waiting and not hangs_up:
            frame = self.waiting.pop(0)
            self.frames += frame is not None
            hangs_up, said = frame is None, said + (frame or b"")
            if b'"type":"Ask"' in said[-len(frame or b"") :]:
                break
        said, self.late = self.late + said, b""
        if self.rng.random() < 0.02:
            said, self.late = b"", said
        return said, hangs_up

    def honest(self, request):
        """The frames that a child would send."""
        if isinstance(request, messages.Load):
            ran = [wire.frame(messages.Ran(), [])] * len(request.statements)
            return [*ran, wire.frame(messages.Loaded(["f", "Net"]), [])]
        packer = packing.Packer()
        if isinstance(request, messages.Call) and request.elsewhere:
            return [wire.frame(messages.Placed({"u": [{"t": 0}, 1.5]}, ["cuda:0"], [None]), [])]
        if isinstance(request, messages.Vjp):
            views = self.calls[request.call].views if request.call in self.calls else []
            numbers = [packer.tensor(self.like(views[each])) if each < len(views) else -1 for each in request.wanted]
            return [packer.frame(messages.Gradients(numbers, packer.views))]
        if self.rng.random() < 0.1:
            return [wire.frame(messages.Raised("ValueError", "no", [(1, 1), (9, 99)]), [])]
        return [packer.frame(self.returned(request, packer))]

    def like(self, view):
        return torch.ones(view.shape, dtype=packing.DTYPES[view.dtype])

    def returned(self, call, packer):
        """A result that has something of everything, and an honest account of the arguments."""
        x = torch.arange(6.0).reshape(2, 3).requires_grad_(call.keep)
        result = self.rng.choice([x, (x, x.detach().T), [x, {"a": 1.5, "b": [True, None, 2**70, 1j]}], 3, "text"])
        number = len(self.calls)
        self.calls[number] = call
        value = packer.value({"m": 0} if call.target == "Net" else result)
        same = [-1] * len(packer.views)
        arguments = [(view.requires_grad, -1) for view in call.views]
        answer = messages.Returned(number, value, packer.views, same, messages.State(), arguments=arguments)
        if call.target == "Net" or call.modules:
            weights = packer.tensor(torch.ones(3, requires_grad=True))
            answer.modules = [messages.Module(0, ["w"], [weights], True, ["w"])]
            answer.value = {"m": 0} if call.target == "Net" else value
        if call.views and self.rng.random() < 0.2:
            view = call.views[0]
            answer.moved = [(0, packer.tensor(self.like(view)))]
        return answer

    def ask(self):
        """A question about the exercise that was lost."""
        packer = packing.Packer()
        tree = packer.value((torch.ones(2, requires_grad=self.rng.random() < 0.5),))
        vjp = self.rng.choice([-1, -1, 0, 1, 7])
        numbers = [0] if vjp >= 0 else []
        return packer.frame(messages.Ask("lost", tree, {"d": []}, packer.views, vjp, numbers, numbers, numbers))

    # --- what goes wrong

    def disturbed(self, frames):
        """The frames as they are said: None hangs up."""
        rng, place = self.rng, self.rng.randrange(len(frames))
        ways = {
            "honest": 90, "structure": 40, "bytes": 14, "cut": 4, "long": 3, "twice": 3, "order": 3, "other": 3, "more": 2,
        }  # fmt: skip
        way = rng.choices(list(ways), ways.values())[0]
        frame = frames[place]
        if way == "structure":
            frames[place] = self.with_other_fields(frame)
        elif way == "bytes":
            frames[place] = damaged(rng, frame)
        elif way == "cut":
            return [*frames[:place], frame[: rng.randrange(len(frame))], *([None] if rng.random() < 0.8 else [])]
        elif way == "long":
            frames[place] = self.oversized(frame)
        elif way == "twice":
            frames.insert(place, frame)
        elif way == "order":
            rng.shuffle(frames)
        elif way == "other":
            frames[place] = wire.frame(rng.choice(OTHERS), [])
        elif way == "more":
            return frames + [frame] * rng.randint(1, 40)
        return frames

    def with_other_fields(self, frame):
        """A frame whose header is still JSON, with other things in some places."""
        header, body = parts_of(frame)
        tree = json.loads(header)
        for _ in range(self.rng.randint(1, 3)):
            change(self.rng, tree)
        new = json.dumps(tree, separators=(",", ":")).replace(f'"{DIGITS}"', "9" * 5000).encode()
        return wire.LENGTHS.pack(len(new), len(body)) + new + body

    def oversized(self, frame):
        header, body = parts_of(frame)
        rng = self.rng
        if rng.random() < 0.7:
            return wire.LENGTHS.pack(rng.choice(SIZES), rng.choice(SIZES)) + header + body
        filled = rng.choice([b"[" * 500_000, b'{"a":1},' * 100_000, b" " * 900_000, header[:-1] + b"[0," * 300_000])
        return wire.LENGTHS.pack(len(filled), len(body)) + filled + body


SIZES = (0, 1, 7, 255, 1 << 16, (1 << 20) - 1, 1 << 20, messages.MAX_HEADER, messages.MAX_HEADER + 1, (1 << 32) - 1)
OTHERS = [
    messages.Ran(), messages.Ran("SystemExit", "x"), messages.Loaded([]), messages.Loaded(["f"] * 2000),
    messages.Gradients([], []), messages.Placed(unable="x"), messages.Gradients([-1] * 9, []),
    messages.Raised("KeyboardInterrupt", "", []), messages.Raised("MemoryError", "x", [], memory=True),
    messages.Raised("ExceptionGroup", "x", []), messages.Raised("UnicodeDecodeError", "\0", [(0, 0)]),
    messages.Refused("E", ""), messages.Raised("RuntimeError", "x", [], forbidden="softmax"),
    messages.Load([(1, 1, "x = 1")], ["f"], []),
    messages.Ask("os.system", [], {"d": []}, []), messages.Ask("lost", {"u": []}, {"d": []}, []),
]  # fmt: skip
COLLIDING = {"d": [[{"i": str(number * ((1 << 61) - 1))}, 0] for number in range(1000)]}


def nested(depth, value=0):
    for _ in range(depth):
        value = [value]
    return value


DIGITS = "@"  # stands for 5,000 digits, which Python does not write
HOSTILE = (
    None, True, False, -1, 0, 1, 2, 3, 7, 64, 1 << 31, (1 << 53) + 1, 1 << 62, 1 << 63, -(1 << 63), 1 << 64, 10**300, DIGITS,
    1.5, 1e308, -0.0, "", "x" * 3000, "\0\u202e", "\ud800", "nan", "0", "9" * 400, "float32", "float64", "bool", "int64",
    "complex64", "cuda:0", "meta", "cpu:1", "ValueError", "SystemExit", "Returned", "Ask", "lost", "f", [], [0], [-1], [[]],
    [0, 0], [[0, 0]], [[0, 0]] * 50, [0] * 20_000, [[0, 0]] * 11_000, nested(31), nested(40), nested(900), {}, {"t": 0},
    {"t": 1}, {"t": 99}, {"m": 0}, {"m": 3}, {"x": "generator"}, {"x": "Secret"}, {"u": []}, {"u": [{"t": 0}] * 500},
    {"d": [[1, 2]]}, {"d": [[[], 1]]}, {"d": [[0, 0]] * 1200}, COLLIDING, {"i": "9" * 320}, {"i": "1_0"},
    {"c": [0, {"f": "inf"}]},
    {"f": "nan"}, [{"u": [{"d": [[1, {"t": 0}]]}]}], [[0, "float32", [2, 3], [3, 1], 0]] * 3,
    [[0, "float32", [1 << 18], [0], 0]], [["float32", True, "cpu", 0, True]], ["float16", False, "cpu", 0, True],
)  # fmt: skip


AS_JSON = [json.dumps(each) for each in HOSTILE]


def hostile(rng):
    """One of them, fresh: it may be changed in turn."""
    return json.loads(rng.choice(AS_JSON))


def change(rng, tree):
    """Puts something else into one place of a tree, or takes a place away."""
    node = tree
    for _ in range(rng.randint(1, 6)):
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            return
        key = rng.choice(list(keys))
        if not isinstance(node[key], dict | list) or rng.random() < 0.3:
            break
        node = node[key]
    else:
        return
    act = rng.random()
    if act < 0.75:
        node[key] = hostile(rng)
    elif act < 0.85:
        del node[key]
    elif isinstance(node, list):
        node.insert(rng.randint(0, len(node)), rng.choice([node[key], hostile(rng)]))
    else:
        node[rng.choice(["type", "x", "value", "", "forbidden", "moved"])] = hostile(rng)


def parts_of(frame):
    n_header, _ = wire.LENGTHS.unpack(frame[: wire.LENGTHS.size])
    return frame[wire.LENGTHS.size :][:n_header], frame[wire.LENGTHS.size + n_header :]


def damaged(rng, frame):
    """A frame with bytes changed, put in, taken out or doubled, its lengths right or not."""
    parts = [bytearray(part) for part in parts_of(frame)]
    for _ in range(rng.randint(1, 4)):
        part = parts[rng.random() < 0.4]
        at = rng.randrange(len(part) + 1)
        act = rng.randrange(4)
        if act == 0 and at < len(part):
            part[at] = rng.randrange(256)
        elif act == 1:
            part[at:at] = rng.choice([b"-", b"9" * 25, b"[", b"{}", b'"t":', b"null", b"\0", b"1e99", rng.randbytes(4)])
        elif act == 2:
            del part[at : at + rng.randint(1, 30)]
        else:
            part[at:at] = part[at : at + rng.randint(1, 60)]
    lengths = [len(part) for part in parts]
    if rng.random() < 0.2:
        lengths[rng.randrange(2)] += rng.randint(0, 9)
    return wire.LENGTHS.pack(*lengths) + bytes(parts[0]) + bytes(parts[1])


# --- where it stands


class Socket:
    """What a channel needs of a socket; at its other end sits the liar."""

    def __init__(self, liar, pipe):
        self._liar, self._pipe = liar, pipe
        self._quiet, self._other = socket.socketpair()  # for waiting: ready when there is something to hear
        self._heard, self._said, self._is_gone = bytearray(), bytearray(), False
        self._is_ready = False

    def send(self, data):
        if self._is_gone:
            raise BrokenPipeError
        self._heard += data
        while len(self._heard) >= wire.LENGTHS.size:
            size = wire.LENGTHS.size + sum(wire.LENGTHS.unpack(self._heard[: wire.LENGTHS.size]))
            if len(self._heard) < size:
                break
            header, _ = parts_of(bytes(self._heard[:size]))
            del self._heard[:size]
            message = wire.read_inside(header)
            said, self._is_gone = self._liar.answer(message)
            self._said += said
            self._show()
            if not isinstance(message, messages.Load) or message.statements:  # else no code of the liar's runs
                self._print()
        return len(data)

    def _show(self):
        """Makes the descriptor ready, or no longer so."""
        if (self._said or self._is_gone) and not self._is_ready:
            self._other.send(b"!")
        elif self._is_ready and not (self._said or self._is_gone):
            self._quiet.recv(1)
        self._is_ready = bool(self._said or self._is_gone)

    def _print(self):
        if (chance := self._liar.rng.random()) < 0.05:
            os.write(self._pipe, b"\xff\0text" * (5_000 if chance < 0.005 else 5))

    def recv(self, size, flags=0):
        if self._said:
            piece = bytes(self._said[: size if size < 9 else self._liar.rng.randint(1, size)])
            if not flags & socket.MSG_PEEK:
                del self._said[: len(piece)]
                self._show()
            return piece
        if self._is_gone:
            return b""
        raise BlockingIOError

    def fileno(self):
        return self._quiet.fileno()

    def close(self):
        self._quiet.close()
        self._other.close()
        os.close(self._pipe)


class Box:
    """Stands for a sandbox whose children are all the same liar."""

    limits = LIMITS

    def __init__(self, liar):
        self.liar = liar

    def child(self):
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.liar.late = b""  # another process
        return Channel(0, self.limits, self.end, Socket(self.liar, writing), reading)

    def end(self, pid, dying=False):
        return Status(pid, self.liar.rng.choice((0, 9, 6, 11, 24)) if dying else 0)


def student_of_a(liar):
    """A submission whose code is the liar: `lost` is a stub, `f` and `Net` are there."""
    statements = (Statement(1, 1, "def f(): ..."), Statement(1, 2, "class Net: ..."))
    states = {"lost": "stub", "f": "answered", "Net": "answered"}
    answers = {name: Answer(name, statements, 1, state) for name, state in states.items()}
    program = Program(statements, answers, {}, (), ())
    reference = dict.fromkeys(EXERCISES, lambda x: x * 2)
    session = Session(Box(liar), program, EXERCISES, reference, {1: "def f(): ...\nclass Net: ..."})
    return Student(session, EXERCISES), session


# --- what a hidden test does


def plain_call(student, rng):
    value = student.f(torch.ones(2, 3), [1, "a"], k=(None,))
    compare(value, torch.ones(2, 3))


def in_place(student, rng):
    base, given = torch.zeros(4, 3), [1, {"a": torch.ones(2)}]
    student.f(base[1:], given, base.T)
    assert base.shape == (4, 3)


def gradients(student, rng):
    x = torch.ones(2, 3, requires_grad=True)
    result = student.f(x)
    compare(result, torch.ones(2, 3))
    found = [leaf for leaf in (result if isinstance(result, tuple | list) else [result]) if isinstance(leaf, torch.Tensor)]
    found = [leaf for leaf in found if leaf.requires_grad]
    if found:
        torch.autograd.grad([leaf.sum() for leaf in found], x, allow_unused=True)


def elsewhere(student, rng):
    student.f.elsewhere(torch.ones(2, 3))


def module(student, rng):
    net = student.Net(3)
    if isinstance(net, Handle):
        net.load_state_dict(net.state_dict())
        net(torch.ones(3))
        if rng.random() < 0.5:
            student.f(net)
        sum((value.sum() for value in net.parameters() if value.is_floating_point()), torch.zeros(()))


def compare(value, wanted):
    """As the assertions of a suite do."""
    kind(value)
    try:
        for pair in paired(value, wanted):
            check_types(pair)
            assert type(pair.got) is torch.Tensor
            assert pair.got.layout is torch.strided
            assert not pair.got.is_meta
    except Mismatch as error:
        assert len(str(error)) < 500  # noqa: PT017 - a result may be right, too


ACTS = (plain_call, plain_call, in_place, gradients, gradients, elsewhere, module)


def is_theirs(error):
    """Is this the liar's fault, as the grader tells it?"""
    seen = error
    while seen is not None:
        if isinstance(seen, StudentError):
            return True
        seen = seen.__cause__
    told = str(error)
    return "that held this call's graph is gone" in told or "and something else now" in told


@contextmanager
def state_kept():
    """As a suite does around each test: what an honest child leaves behind is seen by the test that met it."""
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.set_default_device(None)


def storm(frames, seed):
    """Runs tests against liars until so many frames have been sent; the process's growth meanwhile, in bytes."""
    rng = random.Random(seed)  # noqa: S311 - a seeded storm, no secret
    liar, sent, settled = Liar(rng), 0, 0
    outcomes = {"answers": 0, "refusals": 0}
    while liar.frames < frames:
        liar.calls.clear()
        student, session = student_of_a(liar)
        for _ in range(20):
            one_test(student, session, rng, liar, outcomes)
        session.renew()
        sent += 1
        if not settled and liar.frames >= frames // 5:
            settled = held_bytes()
    assert min(outcomes.values()) > frames // 50, outcomes  # neither all refused nor all believed
    return held_bytes() - settled


def one_test(student, session, rng, liar, outcomes):
    before, generation, started = liar.frames, session.generation, time.process_time()
    try:
        with state_kept():
            rng.choice(ACTS)(student, rng)
        outcomes["answers"] += 1
    except Exception as error:
        if not is_theirs(error):
            raise AssertionError(f"frame {before} to {liar.frames}") from error
        outcomes["refusals"] += 1
    conversations = 4 + 4 * (session.generation - generation)
    took = time.process_time() - started
    assert took < conversations * (LIMITS.call_s + BEYOND_S), f"frame {before}: {took:.2f} s"


def held_bytes():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("frames", "seed"),
    [(3_000, 1), pytest.param(100_000, 20261124, marks=pytest.mark.slow)],
    ids=["short", "hundred thousand"],
)
def test_no_frame_breaks_the_grader(frames, seed):
    """Malformed, truncated, oversized, late, duplicate, re-ordered: costs its own call, in its time, and leaves nothing."""
    storm(200, 0)  # what torch and Python keep for themselves from now on
    open_before = descriptors()
    resource_before = held_bytes()
    growth = storm(frames, seed)
    assert growth < GROWTH_BYTES
    assert held_bytes() - resource_before < GROWTH_BYTES + PEAK_BYTES
    assert descriptors() == open_before
