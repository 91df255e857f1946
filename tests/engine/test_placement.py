"""Placement without a GPU: what CUDA allows is allowed, what it refuses is found, with the line; in both boxes."""

import copy
import json
import math
import threading
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

from autograder.boxes import available_boxes
from autograder.checking import keeps_device
from autograder.collection import Submission
from autograder.comparing import Mismatch
from autograder.course import Course
from autograder.diagnosis import beside
from autograder.grader import Grader
from autograder.inside.confine import Limits
from autograder.inside.tagged import Elsewhere
from autograder.misconception import answers_in
from autograder.outcome import Judged, Outcome
from autograder.placement import NotJudged, check_placement
from autograder.score import held_back, score_exercise
from autograder.workbench import bench

ROOT = Path(__file__).parents[2]
LESSONS = ("attention_from_scratch", "attention_with_pytorch", "positional_encoding", "transformer_encoder")
DEVICE_TESTS = (
    "test_device_is_kept", "test_device_is_the_one_given", "test_device", "test_device_is_obeyed", "test_any_device",
    "test_module_on_any_device",
)  # fmt: skip
BOXES = [name for name, usable, _ in available_boxes() if usable and name != "none"]
no_box = pytest.mark.skipif(len(BOXES) < 2, reason="both boxes are not to be had here")


def tried(function, *args, modules=(), **kwargs):
    """What a call on tagged tensors comes to; the lines of this file are the student's."""

    def line_of(frame):
        return (1, frame.f_lineno) if frame.f_code.co_filename == __file__ else None

    tensors = [argument for argument in args if isinstance(argument, torch.Tensor)]
    return Elsewhere(line_of).run(function, args, kwargs, tensors, modules)


def example():
    """x (3, 4), whole numbers that index its rows, a mask of its shape."""
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([2, 0, 1]), x > 0.5


class Doubling(torch.autograd.Function):
    """A function of the student's own, with a gradient that uses what was saved."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x * 2)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        (doubled,) = ctx.saved_tensors
        return gradient * 2 + 0 * doubled + torch.zeros_like(doubled)


class Layer(nn.Module):
    """Parameters, and buffers inside and outside of the state dict."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("shift", torch.ones(4))
        self.register_buffer("mask", torch.eye(4), persistent=False)

    def forward(self, x):
        return self.linear(x) + self.shift + x @ self.mask


def with_gradient(x):
    """Backward through x; its gradient."""
    x = x.detach().requires_grad_()
    (x.exp() * torch.ones_like(x)).sum().backward()
    return x.grad * x


def with_hooks(x):
    """What hooks saw, put together with x."""
    seen, x = [], x.detach().requires_grad_()
    x.register_hook(lambda gradient: seen.append(gradient.double().square().sum() + x.detach().sum()))
    (2 * x).sum().backward()
    return x + seen[0]


def trained(x):
    """A step of Adam on parameters that are made where x is."""
    weight = nn.Parameter(torch.ones(4, device=x.device))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    (x * weight).sum().backward()
    optimizer.step()
    return weight * x


def assigned(x, ids):
    """Assignments in the ways that go across devices."""
    x = x.clone()
    x[0] = torch.ones(4)
    x[torch.tensor([True, False, False])] = 0.0
    x[ids.cpu()] = x[ids]
    x[1:, 0] = torch.arange(2.0)
    x[ids] = torch.tensor(1.0)
    return x


def by_default_device(x):
    """torch's own context for a device."""
    with x.device:
        return x + torch.zeros(4) + torch.arange(4)


RIGHT = {
    "arange on its device": lambda x, ids, m: x + torch.arange(4, device=x.device),
    "zeros by a name": lambda x, ids, m: x + torch.zeros(4, device=str(x.device)),
    "cuda where x is": lambda x, ids, m: x + torch.zeros(4, device="cuda" if x.is_cuda else "cpu"),
    "device by its kind": lambda x, ids, m: x + torch.ones(4, device=x.device.type),
    "device by its number": lambda x, ids, m: x + torch.ones(4, device=x.get_device()),
    "cuda where it is to be had": lambda x, ids, m: x + torch.ones(4).to("cuda" if torch.cuda.is_available() else "cpu"),
    "tensor of a list": lambda x, ids, m: x + torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device),
    "as_tensor": lambda x, ids, m: x + torch.as_tensor([1.0] * 4, device=x.device),
    "new_tensor": lambda x, ids, m: x + x.new_tensor([1.0, 2.0, 3.0, 4.0]),
    "new_zeros and new_full": lambda x, ids, m: x + x.new_zeros(4) + x.new_full((4,), 2.0) + x.new(4).zero_(),
    "like": lambda x, ids, m: torch.zeros_like(x) + torch.full_like(x, 2) + torch.empty_like(x).fill_(1),
    "to a tensor": lambda x, ids, m: x + torch.ones(4, dtype=torch.float64).to(x),
    "to a device": lambda x, ids, m: x + torch.ones(4).to(x.device, torch.float32, non_blocking=True),
    "cuda()": lambda x, ids, m: x + torch.ones(4).cuda(),
    "type_as": lambda x, ids, m: x + torch.ones(4).type_as(x),
    "type by name": lambda x, ids, m: x + torch.ones(4).type(x.type()),
    "casts": lambda x, ids, m: x.half().double().to(torch.bfloat16).float().type(torch.float64),
    "there and back": lambda x, ids, m: x.cpu().numpy() is not None and torch.from_numpy(x.cpu().numpy()).to(x.device),
    "numpy by force": lambda x, ids, m: torch.from_numpy(x.numpy(force=True)).to(x.device),
    "scalar of the CPU": lambda x, ids, m: x * torch.tensor(2.0) + torch.tensor(1.0) / x,
    "where with scalars": lambda x, ids, m: torch.where(m, torch.tensor(0.0), x),
    "masked_fill": lambda x, ids, m: x.masked_fill(m, -math.inf).masked_fill(m, torch.tensor(0.0)),
    "item and branches": lambda x, ids, m: x if x.sum().item() > 99 or bool((x > 9).any()) else -x,
    "float and len": lambda x, ids, m: x * float(x[0, 0]) + len(x) + math.sqrt(abs(x[0, 1])) + int(ids[0]),
    "tolist": lambda x, ids, m: torch.tensor(x.tolist(), device=x.device),
    "stack of numbers": lambda x, ids, m: x + torch.tensor([row.sum() for row in x], device=x.device)[:, None],
    "loop over rows": lambda x, ids, m: torch.stack([row * 2 for row in x]),
    "printing": lambda x, ids, m: (repr(x), f"{x[0, 0]:.2f}", str(x.shape), x)[-1],
    "indices of Python": lambda x, ids, m: x[0] + x[-1, :][None] + x[[0, 1]][0] + x[..., :4],
    "indices of the CPU": lambda x, ids, m: x[torch.tensor([0, 1, 2])] + x[torch.arange(3), :],
    "indices": lambda x, ids, m: x[ids] + x.index_select(0, ids) + x.gather(1, ids[:, None]),
    "selection by a mask": lambda x, ids, m: x[m].sum() + x[(x > 0).cpu()].sum() + x,
    "number from the GPU as an index": lambda x, ids, m: torch.arange(9)[ids[0]].item() + x,
    "assignments": lambda x, ids, m: assigned(x, ids),
    "copy_ across devices": lambda x, ids, m: torch.empty_like(x).copy_(torch.ones(3, 4)),
    "sizes of another": lambda x, ids, m: torch.ones(4).view_as(x[0]).expand_as(x).to(x.device) + x,
    "recurrent": lambda x, ids, m: nn.RNN(4, 4, batch_first=True).to(x.device)(x)[0],
    "transformer": lambda x, ids, m: nn.TransformerEncoderLayer(4, 2, 8, 0.0).to(x.device).eval()(x),
    "built-in attention": lambda x, ids, m: nn.MultiheadAttention(4, 2, device=x.device)(x, x, x)[0],
    "einsum": lambda x, ids, m: torch.einsum("ij,kj->ik", x, x),
    "functional": lambda x, ids, m: F.softmax(F.relu(F.linear(x, x)), -1) + F.one_hot(ids, 3),
    "embedding": lambda x, ids, m: F.embedding(ids, x) + F.layer_norm(x, (4,)) + F.pad(x, (1, 0))[:, 1:],
    "layer on its device": lambda x, ids, m: nn.Linear(4, 4, device=x.device)(x),
    "layer that is moved": lambda x, ids, m: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).to(x.device)(x),
    "parameter on its device": lambda x, ids, m: x * nn.Parameter(torch.ones(4, device=x.device)),
    "backward": lambda x, ids, m: with_gradient(x),
    "hooks": lambda x, ids, m: with_hooks(x),
    "autograd.grad": lambda x, ids, m: torch.autograd.grad(x.requires_grad_().exp().sum(), x)[0] + x.detach(),
    "gradient of what is on the CPU": lambda x, ids, m: x + _gradient_across(x).to(x.device),
    "a function of its own": lambda x, ids, m: torch.autograd.grad(Doubling.apply(x.requires_grad_()).sum(), x)[0] * x,
    "Adam": lambda x, ids, m: trained(x),
    "vmap": lambda x, ids, m: torch.func.vmap(lambda row: row * 2 + row.sum())(x),
    "vjp": lambda x, ids, m: torch.func.vjp(torch.exp, x)[1](torch.ones_like(x))[0],
    "deepcopy and clone": lambda x, ids, m: copy.deepcopy(x) + x.clone() + copy.copy(x),
    "in place": lambda x, ids, m: x.clone().add_(1).mul_(x).clamp_(min=0),
    "augmented": lambda x, ids, m: _augmented(x),
    "the context of a device": lambda x, ids, m: by_default_device(x),
    "triangle": lambda x, ids, m: x @ x.new_ones(4, 4).triu(1) + torch.tril_indices(4, 1, device=x.device)[0],
    "numbers of numpy": lambda x, ids, m: x * np.float64(2.0) + np.float32(1.0) * x,
    "numbers of the CPU apart": lambda x, ids, m: x * float(torch.arange(4.0) @ torch.ones(4)),
    "broadcasting": lambda x, ids, m: torch.broadcast_tensors(x, x[0])[1] + x.new_ones(1),
    "sort and unique": lambda x, ids, m: x.sort(-1).values + x.topk(4).values + ids.unique()[0] + x.nonzero().sum(),
    "repeated": lambda x, ids, m: x.repeat(2, 1)[:3] + torch.cat([x, x])[:3] + torch.zeros(0, 4, device=x.device).sum(0),
}  # fmt: skip


def _augmented(x):
    total = 0
    for row in x:
        total += row
    return x + total


def _gradient_across(x):
    near = torch.ones(4, requires_grad=True)
    (gradient,) = torch.autograd.grad((x * near.to(x.device)).sum(), near)
    return gradient + torch.ones(4)  # it is where `near` is


WRONG = {
    "arange": lambda x, ids, m: x + torch.arange(4),
    "zeros": lambda x, ids, m: torch.maximum(x, torch.zeros(3, 4)),
    "eye": lambda x, ids, m: x @ torch.eye(4),
    "tril": lambda x, ids, m: x.mT.masked_fill(torch.ones(4, 3).tril() == 0, 0.0),
    "literal": lambda x, ids, m: x * torch.tensor([1.0, 2.0, 3.0, 4.0]),
    "literal of one": lambda x, ids, m: x / torch.tensor([2.0]),
    "cat": lambda x, ids, m: torch.cat([torch.tensor([]), x.flatten()]),
    "stack with a number": lambda x, ids, m: torch.stack([x.sum(), torch.tensor(1.0)]),
    "cpu": lambda x, ids, m: x.cpu() @ x.mT,
    "to cpu": lambda x, ids, m: x.to("cpu", torch.float64),
    "to a tensor of the CPU": lambda x, ids, m: x.to(torch.ones(1)),
    "FloatTensor": lambda x, ids, m: x.type(torch.FloatTensor),
    "FloatTensor by name": lambda x, ids, m: x.type("torch.DoubleTensor"),
    "made as FloatTensor": lambda x, ids, m: x + torch.FloatTensor([1.0] * 4),
    "numpy": lambda x, ids, m: torch.from_numpy(np.exp(x.numpy())),
    "numpy by itself": lambda x, ids, m: torch.from_numpy(np.exp(x)),
    "asarray": lambda x, ids, m: torch.tensor(np.asarray(x)),
    "there and not back": lambda x, ids, m: torch.from_numpy(x.cpu().numpy()),
    "list of numbers": lambda x, ids, m: torch.tensor(x.tolist()),
    "tensor of items": lambda x, ids, m: torch.tensor([row.sum() for row in x]),
    "default device": lambda x, ids, m: x + torch.zeros(4, device="cpu"),
    "layer made here": lambda x, ids, m: nn.Linear(4, 4)(x),
    "parameter made here": lambda x, ids, m: x * nn.Parameter(torch.ones(4)),
    "embedding": lambda x, ids, m: F.embedding(torch.arange(3), x),
    "gather": lambda x, ids, m: x.gather(1, torch.zeros(3, 1, dtype=torch.int64)),
    "index_select": lambda x, ids, m: x.index_select(0, torch.arange(3)),
    "table of the CPU": lambda x, ids, m: torch.ones(3, 4)[ids],
    "mask of the CPU": lambda x, ids, m: x.masked_fill(torch.ones(3, 4, dtype=torch.bool), 0.0),
    "where": lambda x, ids, m: torch.where(m, x, torch.zeros(3, 4)),
    "selection assigned": lambda x, ids, m: _selected(x, m),
    "filled here": lambda x, ids, m: _filled(x),
    "written into the CPU": lambda x, ids, m: torch.zeros(3, 4).add_(x),
    "added to a number of the CPU": lambda x, ids, m: _added(x),
    "gradient from above": lambda x, ids, m: torch.autograd.grad(x.requires_grad_().exp(), x, torch.ones(3, 4)),
    "backward from the CPU": lambda x, ids, m: x.requires_grad_().exp().backward(torch.ones(3, 4)),
    "matmul in einsum": lambda x, ids, m: torch.einsum("ij,jk->ik", x, torch.eye(4)),
    "equal": lambda x, ids, m: x * torch.equal(x, torch.zeros(3, 4)),
    "apply_": lambda x, ids, m: x.apply_(lambda number: number),
    "linspace": lambda x, ids, m: x * torch.linspace(0, 1, 4),
    "generator": lambda x, ids, m: x + torch.rand(4),
    "caught, and on the CPU": lambda x, ids, m: _caught(x),
    "raised as another": lambda x, ids, m: _raised_as_another(x),
    "backward of its own": lambda x, ids, m: torch.autograd.grad(Halving.apply(x.requires_grad_()).sum(), x)[0],
}  # fmt: skip


class Halving(torch.autograd.Function):
    """A function of the student's own, whose gradient is made on the CPU."""

    @staticmethod
    def forward(ctx, x):
        return x / 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.full(gradient.shape, 0.5)


def _selected(x, m):
    x = x.clone()
    x[m] = torch.zeros(12)[: int(m.sum())]
    return x


def _filled(x):
    table = torch.zeros(3, 4)
    for i, row in enumerate(x):
        table[i] = row
    return table


def _added(x):
    total = torch.tensor(0.0)
    total += x.sum()
    return x + total


def _caught(x):
    try:
        return x + torch.ones(4)
    except RuntimeError:
        return x.cpu() + torch.ones(4)


def _raised_as_another(x):
    try:
        return x + torch.ones(4)
    except RuntimeError as error:
        raise ValueError("that did not work") from error


# --- the simulation


@pytest.mark.parametrize("name", RIGHT)
def test_what_cuda_allows_is_allowed(name):
    """It runs, its results are on the GPU, and they are what they are without tags."""
    found = tried(RIGHT[name], *example())
    assert (found.unable, found.fault) == ("", ""), found
    assert set(found.devices) == {"cuda:0"}


@pytest.mark.parametrize("name", WRONG)
def test_what_cuda_refuses_is_found(name):
    """It is refused where CUDA refuses it, or its result is on the CPU; the line is told."""
    found = tried(WRONG[name], *example())
    assert found.unable == ""
    if found.fault:
        assert found.at is not None
        assert found.at[0] == 1
    else:
        assert "cpu" in found.devices


@pytest.mark.parametrize("name", sorted(RIGHT.keys() - {"device by its number", "cuda()"}))  # which need a GPU without tags
def test_values_are_those_of_the_cpu(name):
    """Tags change no number."""
    torch.manual_seed(0)
    plain = RIGHT[name](*example())
    kept = []
    torch.manual_seed(0)
    tried(lambda *given: kept.append(RIGHT[name](*given)) or kept[0], *example())
    assert torch.equal(plain, kept[0])


def test_the_lines_are_those_of_meeting_and_of_making():
    """Where two devices meet, and where the tensor of the CPU was made."""

    def answer(x):
        positions = torch.arange(4)
        return x + positions

    first = answer.__code__.co_firstlineno
    found = tried(answer, torch.ones(4))
    assert (found.fault, found.at, found.made) == ("add", (1, first + 2), (1, first + 1))


def test_the_line_of_a_result_that_was_made_on_the_cpu():
    """A result that is on the CPU has the line that made it."""

    def answer(x):
        table = torch.zeros(4)
        table[:] = x
        return table

    found = tried(answer, torch.ones(4))
    assert (found.devices, found.origins) == (["cpu"], [(1, answer.__code__.co_firstlineno + 1)])


def test_modules_are_moved_with_all_that_is_registered():
    """Parameters and buffers go along, plain attributes stay behind."""
    layer = Layer()
    assert tried(layer, torch.ones(2, 4), modules=[layer]).devices == ["cuda:0"]
    layer = Layer()
    del layer.mask
    layer.mask = torch.eye(4)
    assert tried(layer, torch.ones(2, 4), modules=[layer]).fault == "matmul"


def test_a_module_that_comes_back_on_the_cpu_is_seen():
    """An exercise that moves what it was given."""
    layer = Layer()
    assert tried(lambda module: module.cpu() and None, layer, modules=[layer]).left
    layer = Layer()
    assert not tried(lambda module: None, layer, modules=[layer]).left


def test_what_is_kept_for_a_device_is_kept_from_call_to_call():
    """A table that is cached for each device stays where it was made."""

    @lru_cache
    def table(n, device):
        return torch.arange(n, device=device)

    def answer(x):
        return x + table(4, str(x.device))

    gpu = {}
    for _ in range(3):
        found = Elsewhere(lambda frame: None, gpu).run(answer, (x := torch.ones(4),), {}, [x], [])
        assert found.devices == ["cuda:0"]
        assert torch.equal(answer(torch.ones(4)), 1 + torch.arange(4))


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: _in_a_thread(x),
        lambda x: torch.rand(4, generator=torch.Generator(x.device), device=x.device) + x,
    ],
)
def test_what_cannot_be_tried_is_not_judged(answer):
    """What works, and does what the simulation cannot show, is nobody's fault."""
    assert tried(answer, torch.ones(4)).unable
    with pytest.raises(NotJudged):
        check_placement(answer, torch.ones(4), (torch.ones(4),), {})


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda x: torch.zeros(4, device="xla") + x, RuntimeError),
        (lambda x: {}["nothing"] + x, KeyError),
        (lambda x: (x, x), Mismatch),
        (lambda x: [], Mismatch),
    ],
)
def test_what_fails_without_a_gpu_too_is_wrong(answer, error):
    """An answer that cannot be tried because it does not work is told what it is always told, and earns nothing."""
    with pytest.raises(error):
        check_placement(answer, torch.ones(4), (torch.ones(4),), {})


def _in_a_thread(x):
    results = []
    thread = threading.Thread(target=lambda: results.append(x.double()))
    thread.start()
    thread.join()
    return x + results[0]


def test_nothing_is_left_behind():
    """What the simulation puts into torch is taken out again, whatever happens."""
    before = torch.cuda.is_available, threading.Thread.start, torch.autograd._engine_run_backward
    for answer in (lambda x: x, lambda x: x + torch.ones(4), lambda x: {}[x]):
        tried(answer, torch.ones(4))
        assert before == (torch.cuda.is_available, threading.Thread.start, torch.autograd._engine_run_backward)
        assert torch._C._len_torch_function_stack() == 0
        assert torch.ones(2).device.type == "cpu"


def test_arguments_and_random_numbers_are_left_alone():
    """The course's own answers are tried on copies, and draw no number of the test's."""
    x, module, state = torch.ones(4), nn.Linear(4, 4), torch.get_rng_state()
    before = copy.deepcopy(module.state_dict())

    def answer(x, module):
        torch.rand(3)
        module.weight.data.zero_()
        return x.add_(1)

    check_placement(answer, torch.ones(4), (x, module), {})
    assert torch.equal(x, torch.ones(4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


# --- what a test makes of it


def test_a_mismatch_says_what_a_student_can_use():
    """The leaf by its name, the device, what to do."""

    def right(x):
        return x, [x * 2]

    with pytest.raises(Mismatch) as caught:
        keeps_device(lambda x: (x, [x.cpu() * 2]), right, torch.ones(4), what=("output", "weights"))
    assert caught.value.wanted == "weights[0] on cuda:0, where the arguments are"
    assert caught.value.got == "cpu"
    assert "device=x.device" in caught.value.hint
    keeps_device(right, right, torch.ones(4), what=("output", "weights"))


def test_numpy_is_named():
    """What numpy cannot read is said of numpy."""
    with pytest.raises(Mismatch, match="numpy, which can read the CPU only"):
        keeps_device(lambda x: torch.from_numpy(x.numpy()), lambda x: x, torch.ones(4))


def test_numbers_may_be_anywhere():
    """A plain number in the contract has no device, as a 0-d tensor neither."""
    check_placement(lambda x: torch.tensor(3.0), 3.0, (torch.ones(4),), {})


def test_what_is_not_judged_here_earns_its_points():
    """It is not held back, needs no review, and is kept by the cache."""
    could_not = Outcome("test_device", "device", False, verdict="not_judged", earns=True)
    broken = replace(could_not, earns=False)
    passed = Outcome("test_values", "values", True)
    assert score_exercise("softmax", 10.0, [passed, could_not]).score == 10.0
    assert held_back(10.0, [passed, could_not]) == 0.0
    assert held_back(10.0, [passed, broken]) == 4.0
    assert Judged((passed, could_not)).is_lasting
    assert not Judged((passed, broken)).is_lasting


# --- the bank


def device_bank(lesson):
    """The wrong answers of a lesson that ignore the device."""
    return [each for each in answers_in(ROOT / "tests" / lesson / "misconceptions.py") if each.caught_by in DEVICE_TESTS]


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_right_answer_is_blamed(lesson):
    """The model's and every alternative: not even `not_judged`."""
    ready = bench(ROOT, lesson)
    for exercise in ready.lesson.exercises:
        tests = _device_tests(ready, exercise.name)
        right = [each for each in ready.right if each.exercise == exercise.name]
        answers = [ready.reference, *(beside(ready.reference, exercise.name, each.source) for each in right)]
        for answer in answers:
            case = ready.case(exercise.name, answer)
            items = [item for item in ready.suite._items[exercise.name] if item.name in tests]
            assert [ready.suite._run_one(item, None, case) for item in items] == [None] * len(items)


def _device_tests(ready, exercise):
    names = [outcome.test for outcome in ready.tests(exercise)]
    return [name for name in names if name.partition("[")[0] in DEVICE_TESTS]


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_exercise_that_takes_or_gives_tensors_has_its_placement_checked(lesson):
    """wavelengths and relative_shift take numbers only; of all others the bank has answers that ignore the device."""
    ready = bench(ROOT, lesson)
    sensitive = {each.name for each in ready.lesson.exercises} - {"wavelengths", "relative_shift"}
    assert {name for name in sensitive if _device_tests(ready, name)} == sensitive
    assert {each.exercise for each in device_bank(lesson)} == sensitive
    assert min(sum(each.exercise == name for each in device_bank(lesson)) for name in sensitive) >= 1


def rows(lesson):
    """Notebooks' worth of answers that ignore the device: at most one of each exercise."""
    waiting = device_bank(lesson)
    while waiting:
        row = {each.exercise: each for each in reversed(waiting)}
        yield row
        waiting = [each for each in waiting if each not in row.values()]


@no_box
@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("lesson", LESSONS)
def test_every_answer_that_ignores_the_device_is_caught_in_the_box(lesson, box, tmp_path):
    """By the test of the same name as on a GPU, with the line; the right ones beside them lose nothing."""
    course = Course(ROOT)
    titles = _titles(lesson)
    with Grader(course, course.lesson(lesson), box=box, secret=b"proof") as grader:
        for number, row in enumerate(rows(lesson)):
            path = _notebook(course, lesson, tmp_path / f"{number}.ipynb", {n: each.source for n, each in row.items()})
            result = grader.grade(Submission("ada", path)).result
            for exercise in result.exercises:
                failed = {test.name: test for test in exercise.tests if test.outcome == "failed"}
                if exercise.name not in row:
                    assert not failed, exercise
                    continue
                test = failed[titles[exercise.name]]
                assert test.cause == "wrong"
                assert test.device == "cpu"
                assert "cell " in test.message or "on the CPU" in test.message, test.message


def _titles(lesson):
    ready = bench(ROOT, lesson)
    return {
        each.name: next(o.title for o in ready.tests(each.name) if o.test.partition("[")[0] in DEVICE_TESTS)
        for each in ready.lesson.exercises
        if _device_tests(ready, each.name)
    }


def _notebook(course, lesson, path, answers):
    """The solved notebook with these answers in place of the model's."""
    notebook = json.loads(course.source(lesson).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if (grade_id := cell["metadata"].get("nbgrader", {}).get("grade_id")) in answers:
            cell["source"] = answers[grade_id]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


# --- in the box


@pytest.fixture(scope="module")
def grader():
    course = Course(ROOT)
    with Grader(course, course.lesson(LESSONS[0]), box=BOXES[0], secret=b"proof", limits=Limits(call_s=2.0)) as ready:
        yield ready


def device_test_of(grader, tmp_path, exercise, source):
    """What became of the placement test of one exercise, and the exercise's result."""
    path = _notebook(grader.course, LESSONS[0], tmp_path / "one.ipynb", {exercise: source})
    result = grader.grade(Submission("ada", path)).result
    found = next(each for each in result.exercises if each.name == exercise)
    return next(test for test in found.tests if test.name == _titles(LESSONS[0])[exercise]), found, result


def test_the_line_of_the_student_is_told(grader, tmp_path):
    """Where it met, and where it was made, by cell and line, with the text."""
    source = (
        "def pairwise_dot_products(X, Y):\n    same = torch.eye(X.shape[-1], dtype=X.dtype)\n    return X @ same @ Y.mT\n"
    )
    test, _, result = device_test_of(grader, tmp_path, "pairwise_dot_products", source)
    assert "line 3: return X @ same @ Y.mT, made in" in test.message
    assert "line 2: same = torch.eye" in test.message
    assert result.status == "graded"


SLOW = """
def pairwise_dot_products(X, Y):
    if X.is_cuda:
        while True: pass
    return X @ Y.mT
"""
DYING = """
def pairwise_dot_products(X, Y):
    if X.is_cuda:
        import os
        os._exit(3)
    return X @ Y.mT
"""


@pytest.mark.parametrize("source", [SLOW, DYING], ids=["slow", "dying"])
def test_what_breaks_under_the_simulation_costs_nothing(grader, tmp_path, source):
    """Not judged, all points, no review; the tests after it are run as always."""
    test, exercise, result = device_test_of(grader, tmp_path, "pairwise_dot_products", source)
    assert test.outcome == "not_judged"
    assert "costs no points" in test.message
    assert exercise.score == exercise.max_score
    assert (result.status, result.message) == ("graded", "")


def test_a_lost_exercise_answers_where_it_is_asked(grader, tmp_path):
    """softmax is lost; attention calls the reference's, which is on the device of its arguments."""
    source = "def softmax(x, dim=-1):\n    raise NotImplementedError\n"
    test, _, result = device_test_of(grader, tmp_path, "softmax", source)
    assert test.outcome == "failed"
    others = [each for each in result.exercises if each.name != "softmax"]
    assert all(each.score == each.max_score for each in others)
    assert all(test.outcome == "passed" for each in others for test in each.tests)


def test_a_lie_about_the_place_gains_no_more_than_that_test(grader, tmp_path):
    """Student code can fake the simulation's answer; its values are still judged outside."""
    source = (
        "def pairwise_dot_products(X, Y):\n"
        "    import sys\n"
        "    places = next(m for n, m in sys.modules.items() if n.endswith('inside.places'))\n"
        "    places.Places.device_of = lambda self, tensor: 'cuda:0'\n"
        "    return torch.zeros(*X.shape[:-1], Y.shape[-2], dtype=X.dtype)\n"
    )
    test, exercise, _ = device_test_of(grader, tmp_path, "pairwise_dot_products", source)
    assert test.outcome == "passed"
    assert exercise.score < 0.05 * exercise.max_score


FORGED = """
def pairwise_dot_products(X, Y):
    import sys
    names = "inside.child", "inside.wire", "inside.messages"
    child, wire, messages = (next(m for n, m in sys.modules.items() if n.endswith(each)) for each in names)
    child.Child._placed = lambda self, *args: wire.frame({answer}, [])
    return X @ Y.mT
"""


@pytest.mark.parametrize(
    "answer",
    [
        "messages.Ran()", "messages.Placed(devices=['cuda:0'])",
        "messages.Placed(value={'t': 7}, devices=['cuda:0'], origins=[None])",
        "messages.Placed(value=[[]] * 9)", "messages.Placed(fault='x' * 400, at=(10**9, 3), made=(-1, -1))", "'nonsense'",
    ],
)  # fmt: skip
def test_a_forged_answer_breaks_nothing(grader, tmp_path, answer):
    """Whatever comes in place of a placement, that one test is all that hangs on it."""
    source = FORGED.format(answer=answer)
    test, exercise, result = device_test_of(grader, tmp_path, "pairwise_dot_products", source)
    assert result.status == "graded"
    assert len(test.message) < 1000
    others = [each.outcome for each in exercise.tests if each.name != test.name]
    assert set(others) == {"passed"}
