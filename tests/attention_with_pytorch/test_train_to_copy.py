"""Hidden tests of train_to_copy(module, X, steps, lr).

The module that learns is mostly nn.RNN, which returns a pair as attention does: an answer is then judged for its own
code, whatever the student's attention may be.
"""

import functools
import math
from functools import partial

import pytest
import torch

from autograder.checking import (
    OTHER_DTYPES,
    Mismatch,
    agree,
    check_placement,
    close,
    covers,
    default_dtype,
    leaves_no_state,
    noncontiguous,
    unmodified,
)
from autograder.comparing import kind

BEFORE = "a loss belongs to the weights that it was computed with: note it down before they are moved"
ADAM = "one Adam for all steps, with torch's defaults for everything but lr"
FROZEN = "what does not require a gradient is not trained"
FRESH = "clear old gradients before new ones arrive, and start each call with a new Adam"


def drawn(inputs, d=3, *, bias=False):
    """Weights for nn.RNN(d, d), in the order of its state dict; few, since each costs Adam time."""
    matrices = [inputs.randn(d, d, scale=0.5) for _ in range(2)]
    return [*matrices, *(inputs.randn(d) for _ in range(2 * bias))]


def learner(builtin, weights, frozen=()):
    """An nn.RNN of this maker's with these weights, in their dtype and on their device, without gradients."""
    d, like = len(weights[0]), weights[0]
    module = builtin("RNN", d, d, batch_first=True, bias=len(weights) > 2)
    parameters = dict(module.named_parameters())
    if any((each.dtype, each.device) != (like.dtype, like.device) for each in parameters.values()):
        module.to(device=like.device, dtype=like.dtype)
    for (name, parameter), weight in zip(parameters.items(), weights, strict=True):
        parameter.detach().copy_(weight.detach())
        parameter.requires_grad_(name not in frozen)
        parameter.grad = None
    return module


@functools.cache
def made(builtin, *args, **kwargs):
    """What this maker makes, made once: the model's module, which gets its weights each time."""
    return builtin(*args, **kwargs)


def trained(module, X, steps, lr):
    """The loss before each of these steps of Adam, by the formula (Kingma and Ba 2015, algorithm 1).

    torch's optimiser takes as long again for a module of two matrices; the test of attention below compares with that.
    """
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
    moments = [(weight, torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    losses = []
    for step in range(1, steps + 1):
        loss = (module(X)[0] - X).square().mean()
        losses.append(loss.detach())
        if step == steps:
            break  # nobody looks at what the last update makes
        with torch.no_grad():
            for (weight, mean, square), gradient in zip(moments, torch.autograd.grad(loss, weights), strict=True):
                mean.mul_(0.9).add_(gradient, alpha=0.1)
                square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                root = (square / (1 - 0.999**step)).sqrt() + 1e-8
                weight -= lr * mean / (1 - 0.9**step) / root
    return losses


def noted(losses):
    """The losses as a list of float64 numbers; Mismatch where they are no list."""
    if not isinstance(losses, list | tuple):
        raise Mismatch("a list of one loss for each step", kind(losses), "a stacked tensor is no list")
    return [torch.as_tensor(loss, dtype=torch.float64, device="cpu").detach() for loss in losses]


def same(weight, before, hint):
    """Mismatch where a weight is not, to the last bit, what it was."""
    if bool((weight != before).any()):
        raise Mismatch("a weight as it was before", "one with other numbers", hint)


@pytest.fixture
def check(student, reference):
    """Compares the losses with what they should be, in float64; returns the student's module.

    Far enough from rounding: a loss is hardly moved where Adam turns a tiny gradient into a whole step.
    """

    def compare(X, weights, steps=2, lr=0.05, frozen=(), prepare=None, hint=""):
        exact = [tensor.detach().to(torch.float64) for tensor in (X, *weights)]
        ours = learner(student.builtin, weights, frozen)
        model = learner(partial(made, reference.builtin), exact[1:], frozen)
        if prepare:
            prepare(student, ours, X)
            prepare(reference, model, exact[0])
        got = noted(student.train_to_copy(ours, X, steps, lr))
        wanted = trained(model, exact[0], steps, lr)
        if len(got) != steps:
            raise Mismatch(f"a list of {steps} losses, one for each step", f"one of {len(got)}", BEFORE)
        for step, (loss, right) in enumerate(zip(got, wanted, strict=True)):
            close(loss.to(X.dtype), right, f"the loss of step {step}", hint)
        return ours

    return compare


@covers(1)
def test_values_worked_by_hand(student, device):
    """two steps of a single weight, worked by hand"""
    X = torch.tensor([[[1.0], [-3.0]]], device=device)
    module = learner(student.builtin, [torch.zeros(size, device=device) for size in ((1, 1), (1, 1), (1,), (1,))])
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name == "weight_ih_l0")
    losses = noted(student.train_to_copy(module, X, 2, 0.25))
    after = ((math.tanh(0.25) - 1) ** 2 + (math.tanh(0.75) - 3) ** 2) / 2
    wanted = [torch.tensor(5.0), torch.tensor(after)]
    agree(lambda: [loss.float() for loss in losses], lambda: wanted, what="losses", hint=BEFORE)


@covers(1)
def test_loss_is_the_mean(student, device):
    """the loss is the mean over all numbers, worked by hand"""
    X = torch.tensor([[[2.0, 4.0]], [[4.0, 6.0]]], device=device)
    module = learner(student.builtin, [torch.zeros(size, device=device) for size in ((2, 2), (2, 2), (2,), (2,))])
    losses = noted(student.train_to_copy(module, X, 1, 0.1))
    hint = "squares, and their mean over all numbers"
    agree(lambda: [loss.float() for loss in losses], lambda: [torch.tensor(18.0)], what="losses", hint=hint)


@covers(2)
def test_any_number_of_steps(check, inputs):
    """any number of steps and any lr, with one loss for each step, for one sequence without a batch"""
    check(inputs.randn(4, 3), drawn(inputs), steps=2, lr=0.01, hint=BEFORE)


@covers(2)
def test_trains_attention(twins, student, reference, inputs):
    """trains the attention of this lesson"""
    ours, _ = twins("ScaledDotProductAttention", 4, 3, 4, dtype=torch.float64)
    again = student.ScaledDotProductAttention(4, 3, 4).to(device=inputs.device, dtype=torch.float64)
    again.load_state_dict(ours.state_dict())
    X = inputs.randn(2, 3, 4, dtype=torch.float64)
    got, wanted = (noted(side.train_to_copy(m, X, 2, 0.02)) for side, m in ((student, ours), (reference, again)))
    agree(lambda: got, lambda: wanted, what="losses", hint=ADAM)


@covers(3)
def test_adam_with_its_defaults(check, inputs):
    """the steps are those of one Adam with torch's defaults"""
    X, *weights = (tensor.to(torch.float64) for tensor in (inputs.randn(2, 2, 3), *drawn(inputs)))
    check(X, weights, steps=5, lr=0.1, hint=ADAM)


@covers(3)
def test_loss_comes_before_the_update(check, inputs):
    """a loss is measured before its step's update, the first one before any"""
    check(inputs.randn(2, 2, 3), drawn(inputs), steps=1, lr=0.5, hint=BEFORE)


@covers(3)
def test_frozen_stays(check, inputs):
    """what was frozen stays so, its values and its flag, and the rest is trained"""
    X, weights, frozen = inputs.randn(2, 2, 3), drawn(inputs, bias=True), ["weight_hh_l0", "bias_ih_l0"]
    module = check(X, weights, frozen=frozen, hint=FROZEN)
    for number, name in enumerate(module.state_dict()):
        if name in frozen:
            same(module.state_dict()[name], weights[number], FROZEN)
    if [name for name, parameter in module.named_parameters() if not parameter.requires_grad] != frozen:
        raise Mismatch("the flags of all parameters as they were", "others", FROZEN)


@covers(3)
def test_each_call_starts_afresh(check, inputs):
    """gradients that earlier work has left do not count"""

    def earlier_work(side, module, X):
        (100 * module(X)[0].sum()).backward()

    check(inputs.randn(2, 2, 3), drawn(inputs), prepare=earlier_work, hint=FRESH)


@covers(3)
def test_second_call_goes_on(check, inputs):
    """the module is trained in place, and a second call goes on from there with a new Adam"""

    def first_call(side, module, X):
        side.train_to_copy(module, X, 1, 0.05)

    check(inputs.randn(2, 2, 3), drawn(inputs), prepare=first_call, hint=FRESH)


@covers(4)
def test_no_steps(check, inputs):
    """with no steps the list is empty and nothing is trained; with one it is not"""
    X, weights = inputs.randn(2, 2, 3), drawn(inputs)
    module = check(X, weights, steps=0)
    for weight, before in zip(module.state_dict().values(), weights, strict=True):
        same(weight, before, "no steps, no update")
    check(X, weights, steps=1)


@covers(4)
def test_inputs_of_zeros(check, inputs):
    """inputs of zeros, for a module that answers something else"""
    check(0 * inputs.randn(2, 2, 3), drawn(inputs, bias=True), steps=1)


@covers(5)
def test_dtype_is_kept(student, inputs):
    """the weights keep their dtype"""
    for dtype in OTHER_DTYPES:
        module = learner(student.builtin, [w.to(dtype) for w in drawn(inputs)])
        student.train_to_copy(module, inputs.randn(1, 2, 3, dtype=dtype), 1, 0.1)
        if any(parameter.dtype != dtype for parameter in module.parameters()):
            raise Mismatch("weights of the dtype they had", "another", "train the module as it is")


@covers(5)
def test_first_loss_in_half_precision(student, reference, inputs):
    """the first loss is right in float16 and bfloat16 as well"""

    def first(X, *weights):
        return noted(student.train_to_copy(learner(student.builtin, weights), X, 1, 0.1))

    def model(X, *weights):
        return noted([(learner(partial(made, reference.builtin), weights)(X)[0] - X).square().mean()])

    for dtype in (torch.float16, torch.bfloat16):
        X, *weights = (tensor.to(dtype) for tensor in (inputs.randn(1, 2, 2), *drawn(inputs, 2)))
        agree(first, model, X, *weights, what="losses")


@covers(7)
def test_x_stays_as_it_is(student, inputs):
    """X stays as it is, its gradient included, and the module in its mode"""
    for requires_grad in (False, True):
        X = inputs.randn(1, 2, 3, requires_grad=requires_grad)
        module = learner(student.builtin, drawn(inputs)).train(requires_grad)
        with unmodified(X, hint="train on a twin of X that has no history"):
            student.train_to_copy(module, X, 1, 0.1)
        if module.training is not requires_grad:
            raise Mismatch("a module in the mode it was in", "one in another mode", "leave train() and eval() alone")


@covers(8)
def test_memory_layout_does_not_matter(check, inputs):
    """X need not be contiguous"""
    check(noncontiguous(inputs.randn(2, 4, 3)), drawn(inputs), steps=1)


@covers(9)
def test_device_is_kept(student, inputs):
    """a module is trained on the device where it is"""
    module, X = learner(student.builtin, drawn(inputs)), inputs.randn(1, 2, 3)
    if X.is_cuda:
        student.train_to_copy(module, X, 1, 0.1)
        if any(parameter.device != X.device for parameter in module.parameters()):
            raise Mismatch("weights on the device where they were", "others", "train the module where it is")
    check_placement(student.train_to_copy, [0.0], (module, X, 1, 0.1), {})


@covers(12)
def test_default_dtype_does_not_matter(check, inputs):
    """the result does not depend on the default dtype"""
    X, weights = inputs.randn(2, 2, 3), drawn(inputs)
    with default_dtype(torch.float64):
        module = check(X, weights, steps=1)
    if any(parameter.dtype != X.dtype for parameter in module.parameters()):
        raise Mismatch("float32 weights, as they were", "weights of another dtype", "train the module as it is")


@covers(12)
def test_calls_leave_no_trace(check, student, inputs):
    """no seed is set, and default dtype and grad mode are left as they were"""
    X, weights = inputs.randn(1, 2, 3), drawn(inputs)
    module = learner(student.builtin, weights)
    with leaves_no_state():
        student.train_to_copy(module, X, 1, 0.05)
    check(X, weights, steps=1)
