"""Hidden tests of layer_norm(x, gamma, beta, eps=1e-5)."""

import math

import torch

from autograder.checking import (
    OTHER_DTYPES,
    agree,
    agree_gradients,
    agree_types,
    check_gradients,
    close,
    covers,
    default_dtype,
    keeps_device,
    keeps_dtype,
    leaves_no_state,
    noncontiguous,
    on_copies,
    unmodified,
)

BIASED = "the variance is the mean of the squared deviations: divide by d_model, not by d_model - 1"
INSIDE = "eps is added to the variance, before the root is taken"
TOKEN = "mean and variance belong to one token: one of each along the last dimension"  # noqa: S105 - no password
STABLE = "take the mean away first, then square"


def _example(inputs, *shape, dtype=torch.float32):
    """x, gamma and beta of one call."""
    d_model = shape[-1]
    gamma = inputs.rand(d_model, dtype=dtype, low=0.5, high=1.5)
    return inputs.randn(*shape, dtype=dtype), gamma, inputs.randn(d_model, dtype=dtype)


def _before(function, change):
    """The function on a changed first argument."""
    return lambda x, *rest: function(change(x), *rest)


def _after(function, index):
    """A part of the function's result."""
    return lambda *args: function(*args)[index]


@covers(1)
def test_values_worked_by_hand(student, device):
    """one token of four numbers, worked by hand"""
    x = torch.tensor([1.0, 2.0, 3.0, 6.0], device=device)
    gamma = torch.tensor([1.0, 2.0, 1.0, -1.0], device=device)
    beta = torch.tensor([0.0, 0.0, 5.0, 1.0], device=device)
    root = math.sqrt(3.5 + 1e-5)
    wanted = [-2 / root, -2 / root, 5.0, 1 - 3 / root]
    close(on_copies(student.layer_norm, x, gamma, beta), wanted, hint=BIASED)


@covers(1)
def test_biased_variance(student, device):
    """the variance is the biased one, also of two numbers"""
    x = torch.tensor([[1.0, 3.0], [8.0, 2.0]], device=device)
    ones, zeros = torch.ones(2, device=device), torch.zeros(2, device=device)
    wanted = [[-1.0, 1.0], [1.0, -1.0]]
    close(on_copies(student.layer_norm, 1024 * x, ones, zeros), wanted, hint=BIASED)  # so large that eps is lost


@covers(2)
def test_any_number_of_dimensions(student, reference, inputs):
    """one dimension to four, odd sizes and one"""
    for shape in ((7,), (2, 1, 3, 5)):
        agree(student.layer_norm, reference.layer_norm, *_example(inputs, *shape), hint=TOKEN)


@covers(2)
def test_square_tensors(student, reference, inputs):
    """over the last dimension where all dimensions are equally long"""
    agree(student.layer_norm, reference.layer_norm, *_example(inputs, 4, 4, 4), hint=TOKEN)


@covers(2)
def test_gamma_and_beta(student, reference, inputs):
    """gamma multiplies what is normalised, beta is added after it"""
    x, gamma, beta = _example(inputs, 3, 6)
    hint = "normalise, times gamma, plus beta"
    agree(student.layer_norm, reference.layer_norm, x, -3 * gamma, 10 * beta, hint=hint)


@covers(3)
def test_shift_changes_nothing(student, reference, inputs):
    """a constant added to all numbers of a token changes nothing"""
    _, gamma, beta = _example(inputs, 8)
    x = inputs.randint(-12, 12, (3, 8)).float() / 4  # quarters: the sums below are exact
    shifted = _before(student.layer_norm, lambda x: x + 16)
    agree(shifted, reference.layer_norm, x, gamma, beta, hint=STABLE)


@covers(3)
def test_tokens_by_themselves(student, reference, inputs):
    """each token is normalised by itself, however large the others are"""
    x, gamma, beta = _example(inputs, 3, 4)
    x = x * torch.tensor([[1.0], [100.0], [0.1]], device=inputs.device)
    agree(student.layer_norm, reference.layer_norm, x, gamma, beta, hint=TOKEN)
    agree(_before(student.layer_norm, lambda x: x[2]), _after(reference.layer_norm, 2), x, gamma, beta, hint=TOKEN)


@covers(4)
def test_constant_tokens(student, reference, inputs):
    """a token of equal numbers becomes beta, beside ordinary tokens"""
    x, gamma, beta = _example(inputs, 3, 6)
    x[1] = x[1, 0]
    x[2] = 0.0
    hint = "eps keeps the division from being 0 / 0"
    agree(student.layer_norm, reference.layer_norm, x, gamma, beta, hint=hint)


@covers(4)
def test_tiny_variance(student, reference, inputs):
    """tokens of tiny variance, where eps decides"""
    x, gamma, beta = _example(inputs, 4, 5)
    agree(student.layer_norm, reference.layer_norm, 0.003 * x, gamma, beta, hint=INSIDE)
    agree(student.layer_norm, reference.layer_norm, 0.0001 * x, gamma, beta, hint=INSIDE)


@covers(4)
def test_eps_as_given(student, reference, inputs):
    """eps is used as it is given, by its name"""
    x, gamma, beta = _example(inputs, 3, 5)
    for eps in (0.5, 0.0):
        agree(student.layer_norm, reference.layer_norm, x, gamma, beta, eps=eps, hint=INSIDE)


@covers(4)
def test_large_numbers(student, reference, inputs):
    """large numbers, and small differences between large numbers"""
    x, gamma, beta = _example(inputs, 3, 6)
    agree(student.layer_norm, reference.layer_norm, 1e4 * x, gamma, beta, hint=STABLE)
    agree(student.layer_norm, reference.layer_norm, x + 3000, gamma, beta, hint=STABLE)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """the result has the dtype of the input"""
    keeps_dtype(student.layer_norm, reference.layer_norm, *_example(inputs, 3, 4))


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs):
    """as accurate as each dtype allows"""
    for dtype in OTHER_DTYPES:
        agree(student.layer_norm, reference.layer_norm, *_example(inputs, 3, 6, dtype=dtype))


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.layer_norm, *_example(inputs, 3, 4))


@covers(6)
def test_gradients_of_all_arguments(student, reference, inputs):
    """gradients flow to x, gamma and beta, through mean and variance"""
    hint = "mean and variance are functions of x, and pass gradients too"
    agree_gradients(student.layer_norm, reference.layer_norm, *_example(inputs, 2, 3, 5), hint=hint)


@covers(6)
def test_gradient_at_constant_tokens(student, reference, inputs):
    """the gradient at a token of equal numbers is finite"""
    x, gamma, beta = _example(inputs, 3, 4)
    x[1] = 2.0
    agree_gradients(student.layer_norm, reference.layer_norm, x, gamma, beta)


@covers(7)
def test_arguments_stay_as_they_are(student, inputs):
    """the arguments stay as they are"""
    for requires_grad in (False, True):
        arguments = [tensor.requires_grad_(requires_grad) for tensor in _example(inputs, 3, 4)]
        with unmodified(*arguments):
            student.layer_norm(*arguments)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """the arguments need not be contiguous"""
    x, gamma, beta = _example(inputs, 2, 3, 4)
    agree(student.layer_norm, reference.layer_norm, *map(noncontiguous, (x, gamma, beta)))
    agree(student.layer_norm, reference.layer_norm, x[:1].expand(3, 3, 4), gamma[:1].expand(4), beta)


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """the result is on the device of the input"""
    keeps_device(student.layer_norm, reference.layer_norm, *_example(inputs, 3, 4))


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    with default_dtype(torch.float64):
        agree_types(student.layer_norm, reference.layer_norm, *_example(inputs, 3, 4))


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call changes nothing, and gradients may be switched off"""
    with leaves_no_state(), torch.no_grad():
        on_copies(student.layer_norm, *_example(inputs, 2, 2, 3), eps=0.1)
        agree(student.layer_norm, reference.layer_norm, *_example(inputs, 3, 4))
