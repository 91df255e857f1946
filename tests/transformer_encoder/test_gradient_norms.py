"""Hidden tests of gradient_norms(x, layers, n_heads, grad_output, residual=True)."""

import torch

from autograder.checking import (
    agree,
    check_placement,
    covers,
    default_dtype,
    leaves_no_state,
    noncontiguous,
    on_copies,
    unmodified,
)
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


def _wide(function):
    """The function with its numbers as float64 tensors, which keep all digits of a float."""
    return lambda *args: [torch.as_tensor(norm, dtype=torch.float64) for norm in function(*args)]


def _still(d_model, device):
    """Parameters of a layer in which attention and feed-forward give zeros: it is two norms, one after the other."""
    matrices = {name: torch.zeros(d_model, d_model, device=device) for name in ("W_Q", "W_K", "W_V", "W_O", "W1", "W2")}
    ones = {name: torch.ones(d_model, device=device) for name in ("gamma1", "gamma2")}
    return matrices | ones | {name: torch.zeros(d_model, device=device) for name in ("beta1", "b1", "b2", "beta2")}


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
def test_values_worked_by_hand(student, inputs):
    """layers in which only the norms act, by the formula of their gradient"""
    x = torch.tensor([[4.0, 8.0, 12.0, 24.0], [1.0, 0.0, 2.0, 5.0]], device=inputs.device)
    grad_output = torch.tensor([[1.0, 0.0, -2.0, 3.0], [0.0, 4.0, 1.0, 1.0]], device=inputs.device)
    layers = [_still(4, inputs.device) for _ in range(2)]
    agree(student.gradient_norms, _by_hand, x, layers, N_HEADS, grad_output, what="the norms", hint=FROBENIUS)


@covers(2)
def test_random_stacks(student, reference, inputs, layer):
    """several shapes and depths, odd sizes and one"""
    for shape, n_layers in (((4, 6), 2), ((2, 1, 3, 4), 1)):
        _agree(student, reference, _example(inputs, layer, *shape, n_layers=n_layers))


@covers(2)
def test_without_residual(student, reference, inputs, layer):
    """without residual both skips are left out, in every layer"""
    _agree(student, reference, _example(inputs, layer, 2, 3, 4), SKIPS, residual=False)


@covers(2)
def test_number_of_heads(student, reference, inputs, layer):
    """as many heads as there are features"""
    x, layers, _, grad_output = _example(inputs, layer, 3, 4, n_layers=1)
    _agree(student, reference, (x, layers, 4, grad_output))


@covers(3)
def test_residual_by_name(student, reference, inputs, layer):
    """residual is True unless it is said otherwise"""
    example = _example(inputs, layer, 3, 4, n_layers=1)
    by_default = _agree(student, reference, example)
    said = on_copies(student.gradient_norms, *example, residual=True)
    assert [float(norm) for norm in by_default] == [float(norm) for norm in said]


@covers(3)
def test_twice_the_gradient(student, reference, inputs, layer):
    """twice the arriving gradient gives twice the norms"""

    def of_twice(x, layers, n_heads, grad_output):
        return student.gradient_norms(x, layers, n_heads, 2 * grad_output)

    def twice(*args):
        return [2 * float(norm) for norm in reference.gradient_norms(*args)]

    agree(of_twice, twice, *_example(inputs, layer, 3, 4, n_layers=1), what="the norms", hint=WHERE)


@covers(3)
def test_all_dimensions_together(student, reference, inputs, layer):
    """one norm over all sentences and tokens together"""

    def repeated(x, layers, n_heads, grad_output):
        return student.gradient_norms(x.expand(4, 3, 4), layers, n_heads, grad_output.expand(4, 3, 4))

    def twice(*args):  # four equal sentences have four times the squares
        return [2 * float(norm) for norm in reference.gradient_norms(*args)]

    agree(repeated, twice, *_example(inputs, layer, 3, 4, n_layers=1), what="the norms", hint=FROBENIUS)


@covers(4)
def test_nothing_arrives(student, reference, inputs, layer):
    """zero where nothing can arrive, beside a layer where something does"""
    x, layers, n_heads, grad_output = _example(inputs, layer, 3, 4)
    layers[0]["W_O"] = torch.zeros_like(layers[0]["W_O"])
    norms = _agree(student, reference, (x, layers, n_heads, grad_output), SKIPS, residual=False)
    assert float(norms[0]) == 0.0


@covers(4)
def test_extreme_tokens(student, reference, inputs, layer):
    """one token, and large numbers"""
    x, *rest = _example(inputs, layer, 2, 1, 4, n_layers=1)
    x[1] *= 1000
    _agree(student, reference, (x, *rest))


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs, layer, cast):
    """as accurate as each dtype allows"""
    example = _example(inputs, layer, 3, 4, n_layers=1, dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):  # float32 is in all other tests
        given = cast(example, dtype)
        norms = on_copies(student.gradient_norms, *given)
        coarse = coarser(torch.float64, *(norm.dtype for norm in norms if isinstance(norm, torch.Tensor)))
        wanted = _wide(reference.gradient_norms)
        agree(_wide(lambda *_, n=norms: n), wanted, *given, what="the norms", accuracy=coarse)


@covers(6)
def test_flags_do_not_matter(student, reference, inputs, layer):
    """the norms are the same where arguments require a gradient"""
    _agree(student, reference, _example(inputs, layer, 3, 4, n_layers=1, requires_grad=True))


@covers(7)
def test_arguments_stay_as_they_are(student, inputs, layer):
    """the arguments stay as they are, requires_grad of each among it"""
    for requires_grad, residual in ((False, True), (True, False)):
        example = _example(inputs, layer, 3, 4, n_layers=1, requires_grad=requires_grad)
        with unmodified(*example, hint=TRACES):
            student.gradient_norms(*example, residual=residual)


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
    _agree(student, reference, example)
    for residual in (True, False):
        check_placement(student.gradient_norms, [0.0], example, {"residual": residual})


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs, layer):
    """the norms do not depend on the default dtype"""
    example = _example(inputs, layer, 3, 4, n_layers=1)
    with default_dtype(torch.float64):
        _agree(student, reference, example)


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs, layer):
    """an earlier call changes nothing, and a call leaves nothing behind"""
    example = _example(inputs, layer, 3, 4, n_layers=1)
    with leaves_no_state():
        on_copies(student.gradient_norms, *_example(inputs, layer, 2, 2, 4, n_layers=1), residual=False)
        _agree(student, reference, example)
