"""Hidden tests of gradient_norms(x, layers, n_heads, grad_output, residual=True)."""

from functools import partial

import torch

from autograder.checking import (
    OTHER_DTYPES,
    agree,
    check_placement,
    covers,
    default_dtype,
    leaves_no_state,
    noncontiguous,
    on_copies,
    unmodified,
)
from autograder.nested import cast
from autograder.tolerance import coarser

WHERE = "the gradient at the input of each layer, first to last, with grad_output arriving at the last output"
SKIPS = "without residual both sums are left out, and both norms stay"
FROBENIUS = "root of the sum of all squares, over all dimensions together"
TRACES = "torch.autograd.grad returns gradients; backward() leaves them in .grad"


N_HEADS = 2


def _example(inputs, layer, *shape, n_layers=2, dtype=torch.float32, requires_grad=False):
    """x, layers, n_heads and grad_output of one call."""
    layers = [layer(shape[-1], 5, dtype, requires_grad) for _ in range(n_layers)]
    x, grad_output = (inputs.randn(*shape, dtype=dtype) for _ in range(2))
    return x.requires_grad_(requires_grad), layers, N_HEADS, grad_output


def _agree(student, reference, example, hint=WHERE, **kwargs):
    return agree(student.gradient_norms, reference.gradient_norms, *example, what="the norms", hint=hint, **kwargs)


def _agree_by_hand(function, example, times=1, hint=WHERE):
    """The norms for layers in which only the norms act, beside what the formula of their gradient gives, so many times."""

    def wanted(*args):
        return [times * norm for norm in _by_hand(*args)]

    agree(function, wanted, *example, what="the norms", hint=hint)


def _still_example(inputs, still, requires_grad=False):
    """A call on one such layer: right norms are known without the model's autograd, and much quicker."""
    layers = [{name: tensor.requires_grad_(requires_grad) for name, tensor in still().items()}]
    x, grad_output = inputs.randn(3, 4), inputs.randn(3, 4)
    return x.requires_grad_(requires_grad), layers, N_HEADS, grad_output


def _wide(function):
    """The function with its numbers as float64 tensors, which keep all digits of a float."""
    return lambda *args: [torch.as_tensor(norm, dtype=torch.float64) for norm in function(*args)]


def _by_hand(x, layers, n_heads, grad_output):
    """The norms for still layers: the gradient of a layer norm by its formula, backwards through two norms a layer."""
    roots, outputs = [], []
    for _ in range(2 * len(layers)):
        roots.append((x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt())
        x = (x - x.mean(-1, keepdim=True)) / roots[-1]
        outputs.append(x)
    gradient, norms = grad_output, []
    for root, y in zip(reversed(roots), reversed(outputs), strict=True):
        gradient = gradient - gradient.mean(-1, keepdim=True) - y * (gradient * y).mean(-1, keepdim=True)
        gradient = gradient / root
        norms.append(gradient.double().square().sum().sqrt().item())
    return norms[1::2][::-1]


@covers(1)
def test_values_worked_by_hand(student, inputs, still):
    """layers in which only the norms act, by the formula of their gradient"""
    x = torch.tensor([[4.0, 8.0, 12.0, 24.0], [1.0, 0.0, 2.0, 5.0]], device=inputs.device)
    grad_output = torch.tensor([[1.0, 0.0, -2.0, 3.0], [0.0, 4.0, 1.0, 1.0]], device=inputs.device)
    _agree_by_hand(student.gradient_norms, (x, [still(), still()], N_HEADS, grad_output), hint=FROBENIUS)


@covers(2)
def test_random_stacks(student, reference, inputs, layer):
    """several layers, any number of heads and of batch dimensions, odd sizes and one"""
    x, layers, _, grad_output = _example(inputs, layer, 2, 1, 3, 6)
    _agree(student, reference, (x, layers, 3, grad_output))


@covers(2)
def test_without_residual(student, reference, inputs, layer):
    """without residual both skips are left out, in every layer: nothing arrives before an attention that gives nothing"""
    x, layers, n_heads, grad_output = _example(inputs, layer, 2, 3, 4)
    layers[0]["W_O"] = torch.zeros_like(layers[0]["W_O"])
    norms = _agree(student, reference, (x, layers, n_heads, grad_output), SKIPS, residual=False)
    assert float(norms[0]) == 0.0


@covers(3)
def test_residual_by_name(student, inputs, still):
    """residual may be said by its name; in all other tests it is True because nothing is said"""
    _agree_by_hand(partial(student.gradient_norms, residual=True), _still_example(inputs, still))


@covers(3)
def test_twice_the_gradient(student, inputs, still):
    """twice the arriving gradient gives twice the norms"""

    def of_twice(x, layers, n_heads, grad_output):
        return student.gradient_norms(x, layers, n_heads, 2 * grad_output)

    _agree_by_hand(of_twice, _still_example(inputs, still), times=2)


@covers(3)
def test_all_dimensions_together(student, inputs, still):
    """one norm over all sentences and tokens together"""

    def repeated(x, layers, n_heads, grad_output):
        return student.gradient_norms(x.expand(4, 3, 4), layers, n_heads, grad_output.expand(4, 3, 4))

    _agree_by_hand(repeated, _still_example(inputs, still), times=2, hint=FROBENIUS)  # four times the squares


@covers(4)
def test_extreme_tokens(student, reference, inputs, layer):
    """one token, and large numbers"""
    x, *rest = _example(inputs, layer, 2, 1, 4, n_layers=1)
    x[1] *= 1000
    _agree(student, reference, (x, *rest))


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs, layer):
    """as accurate as each dtype allows"""
    example = _example(inputs, layer, 3, 4, n_layers=1, dtype=torch.float64)
    for dtype in OTHER_DTYPES:
        given = cast(example, dtype)
        norms = on_copies(student.gradient_norms, *given)
        coarse = coarser(torch.float64, *(norm.dtype for norm in norms if isinstance(norm, torch.Tensor)))
        wanted = _wide(reference.gradient_norms)
        agree(_wide(lambda *_, n=norms: n), wanted, *given, what="the norms", accuracy=coarse)


@covers(6)
def test_flags_do_not_matter(student, inputs, still):
    """the norms are the same where arguments require a gradient"""
    _agree_by_hand(student.gradient_norms, _still_example(inputs, still, requires_grad=True))


@covers(7)
def test_arguments_stay_as_they_are(student, inputs, layer):
    """the arguments stay as they are, requires_grad of each among it"""
    example = _example(inputs, layer, 3, 4, n_layers=1)
    with unmodified(*example, hint=TRACES):
        student.gradient_norms(*example, residual=False)


@covers(7)
def test_gradients_that_were_there_stay(student, inputs, layer):
    """a .grad that was there before stays as it was"""
    x, layers, n_heads, grad_output = _example(inputs, layer, 3, 4, n_layers=1, requires_grad=True)
    for tensor in (x, layers[0]["W_V"], layers[0]["gamma2"]):
        tensor.grad = torch.ones_like(tensor)
    with unmodified(x, layers, grad_output, hint=TRACES):
        student.gradient_norms(x, layers, n_heads, grad_output)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs, layer, scattered):
    """the arguments need not be contiguous"""
    x, layers, n_heads, grad_output = _example(inputs, layer, 2, 3, 4, n_layers=1)
    layers = [scattered(each) for each in layers]
    _agree(student, reference, (noncontiguous(x), layers, n_heads, noncontiguous(grad_output)))


@covers(9)
def test_any_device(student, reference, inputs, layer):
    """the arguments may lie on any device"""
    example = _example(inputs, layer, 3, 4, n_layers=1)
    if example[0].is_cuda:
        _agree(student, reference, example)
    check_placement(student.gradient_norms, [0.0], example, {"residual": False})  # zeros may stand for a skip there


@covers(12)
def test_default_dtype_does_not_matter(student, inputs, still):
    """the norms do not depend on the default dtype"""
    example = _still_example(inputs, still)
    with default_dtype(torch.float64):
        _agree_by_hand(student.gradient_norms, example)


@covers(12)
def test_calls_leave_no_trace(student, inputs, layer, still):
    """an earlier call changes nothing, and a call leaves nothing behind"""
    with leaves_no_state():
        on_copies(student.gradient_norms, *_example(inputs, layer, 2, 2, 4, n_layers=1), residual=False)
        _agree_by_hand(student.gradient_norms, _still_example(inputs, still))
