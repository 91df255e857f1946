"""Hidden tests of feed_forward(x, W1, b1, W2, b2)."""

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
    zeros,
)

RELU = "negative hidden numbers become 0, positive ones stay as they are"
ORDER = "first matrix, first bias, relu, second matrix, second bias, and nothing after that"


def _example(inputs, *shape, d_ff=7, dtype=torch.float32):
    """x, W1, b1, W2 and b2 of one call."""
    d_model = shape[-1]
    W1 = inputs.randn(d_model, d_ff, dtype=dtype, scale=d_model**-0.5)
    W2 = inputs.randn(d_ff, d_model, dtype=dtype, scale=d_ff**-0.5)
    b1, b2 = inputs.randn(d_ff, dtype=dtype), inputs.randn(d_model, dtype=dtype)
    return inputs.randn(*shape, dtype=dtype), W1, b1, W2, b2


@covers(1)
def test_values_worked_by_hand(student, device):
    """two features and three hidden units, worked by hand"""
    x = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], device=device)
    W1 = torch.tensor([[1.0, -1.0, 2.0], [0.5, 1.0, -2.0]], device=device)
    b1 = torch.tensor([0.0, 1.0, 1.0], device=device)
    W2 = torch.tensor([[1.0, 0.0], [0.0, -2.0], [3.0, 1.0]], device=device)
    b2 = torch.tensor([0.5, -1.0], device=device)
    close(on_copies(student.feed_forward, x, W1, b1, W2, b2), [[2.5, -5.0], [0.5, -6.0]], hint=ORDER)


@covers(2)
def test_any_number_of_dimensions(student, reference, inputs):
    """one dimension to four, odd sizes and one"""
    for shape, d_ff in (((5,), 3), ((2, 3, 4), 1), ((2, 1, 3, 1), 6)):
        agree(student.feed_forward, reference.feed_forward, *_example(inputs, *shape, d_ff=d_ff), hint=ORDER)


@covers(2)
def test_square_matrices(student, reference, inputs):
    """as many hidden units as features"""
    hint = "a matrix acts from the right: x @ W1"
    agree(student.feed_forward, reference.feed_forward, *_example(inputs, 2, 4, 4, d_ff=4), hint=hint)


@covers(2)
def test_biases(student, reference, inputs):
    """the first bias is added before relu, the second after everything else"""
    x, W1, b1, W2, b2 = _example(inputs, 3, 4)
    agree(student.feed_forward, reference.feed_forward, x, W1, 3 * b1, W2, 5 * b2, hint=ORDER)


@covers(3)
def test_tokens_by_themselves(student, reference, inputs):
    """one changed token leaves the outputs of all others as they were"""

    def others_after_a_change(x, *weights):
        moved = torch.arange(5, device=x.device).eq(2).unsqueeze(1)
        return student.feed_forward(x + moved, *weights)[:, [0, 1, 3, 4]]

    def others(*args):
        return reference.feed_forward(*args)[:, [0, 1, 3, 4]]

    agree(others_after_a_change, others, *_example(inputs, 2, 5, 4), hint="each token goes through by itself")


@covers(3)
def test_order_of_tokens(student, reference, inputs):
    """tokens in another order have their outputs in that order"""
    order = inputs.permutation(6).to(inputs.device)
    agree(
        lambda x, *weights: student.feed_forward(x[order], *weights),
        lambda x, *weights: reference.feed_forward(x, *weights)[order],
        *_example(inputs, 6, 4),
    )


@covers(3)
def test_absolute_value(student, inputs):
    """two hidden units make the absolute value, large numbers too"""
    x = inputs.randn(6, 1) * torch.tensor([[1.0], [100.0]], device=inputs.device).repeat(3, 1)
    W1, W2 = torch.tensor([[1.0, -1.0]], device=inputs.device), torch.ones(2, 1, device=inputs.device)
    b1, b2 = torch.zeros(2, device=inputs.device), torch.zeros(1, device=inputs.device)
    close(on_copies(student.feed_forward, x, W1, b1, W2, b2), x.abs(), hint=RELU)


@covers(4)
def test_silent_units(student, reference, inputs):
    """hidden units far below zero give exactly zero, beside ordinary ones"""
    x, W1, b1, W2, b2 = _example(inputs, 3, 4, d_ff=6)
    b1[:3] -= 1e4
    agree(student.feed_forward, reference.feed_forward, x, W1, b1, W2, b2, hint=RELU)
    silent = on_copies(student.feed_forward, x, W1, b1 - 1e4, W2, b2)
    zeros(silent - b2, "what silent units add", RELU)


@covers(4)
def test_large_numbers(student, reference, inputs):
    """hidden numbers of ten thousand pass as they are"""
    x, *weights = _example(inputs, 3, 4)
    agree(student.feed_forward, reference.feed_forward, 1e4 * x, *weights, hint=RELU)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """the result has the dtype of the input"""
    keeps_dtype(student.feed_forward, reference.feed_forward, *_example(inputs, 3, 4))


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs):
    """as accurate as each dtype allows"""
    for dtype in OTHER_DTYPES:
        agree(student.feed_forward, reference.feed_forward, *_example(inputs, 3, 4, dtype=dtype))


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.feed_forward, *_example(inputs, 2, 3))


@covers(6)
def test_gradients_of_all_arguments(student, reference, inputs):
    """gradients flow to x, both matrices and both biases"""
    agree_gradients(student.feed_forward, reference.feed_forward, *_example(inputs, 2, 3, 4))


@covers(6)
def test_silent_units_pass_no_gradient(student, reference, inputs):
    """hidden units below zero pass no gradient"""
    x, W1, b1, W2, b2 = _example(inputs, 3, 4, d_ff=6)
    b1[:3] -= 1e2
    gradients = agree_gradients(student.feed_forward, reference.feed_forward, x, W1, b1, W2, b2, hint=RELU)
    zeros(gradients[1][:, :3], "the gradient of W1 at silent units", RELU)


@covers(7)
def test_arguments_stay_as_they_are(student, inputs):
    """the arguments stay as they are"""
    for requires_grad in (False, True):
        arguments = [tensor.requires_grad_(requires_grad) for tensor in _example(inputs, 3, 4)]
        with unmodified(*arguments):
            student.feed_forward(*arguments)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """the arguments need not be contiguous"""
    x, *weights = _example(inputs, 2, 3, 4)
    agree(student.feed_forward, reference.feed_forward, *map(noncontiguous, (x, *weights)))
    agree(student.feed_forward, reference.feed_forward, x[:1].expand(3, 3, 4), *weights)


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """the result is on the device of the input"""
    keeps_device(student.feed_forward, reference.feed_forward, *_example(inputs, 3, 4))


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    with default_dtype(torch.float64):
        agree_types(student.feed_forward, reference.feed_forward, *_example(inputs, 3, 4))


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call changes nothing, and gradients may be switched off"""
    with leaves_no_state(), torch.no_grad():
        on_copies(student.feed_forward, *_example(inputs, 2, 2, 3))
        agree(student.feed_forward, reference.feed_forward, *_example(inputs, 3, 4))
