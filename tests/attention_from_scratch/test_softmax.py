"""Hidden tests of softmax(x, dim=-1)."""

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
    zeros,
)

STABLE = "which constant, subtracted from a slice, keeps every exponential at 1 or below?"


@covers(1)
def test_values_worked_by_hand(student, device):
    """weights worked by hand"""
    x = torch.tensor([[1.0, 3.0, 6.0], [7.0, 2.0, 1.0]], device=device).log()
    wanted = [[0.1, 0.3, 0.6], [0.7, 0.2, 0.1]]
    close(on_copies(student.softmax, x), wanted, hint="exponentials, divided by their sum")


@covers(2)
def test_any_number_of_dimensions(student, reference, inputs):
    """along the last dimension of tensors of one to five dimensions, odd sizes and one"""
    for shape in ((7,), (3, 5), (2, 3, 1, 2, 3), (2, 4, 4)):
        agree(student.softmax, reference.softmax, inputs.randn(*shape, scale=2))


@covers(2)
def test_along_the_dimension_given(student, reference, inputs):
    """along the dimension given, counted from either end"""
    x = inputs.randn(3, 3, 3, scale=2)
    for dim in (0, 1, -2):
        agree(student.softmax, reference.softmax, x, dim=dim, hint="use dim, and keep that dimension for the division")
    agree(student.softmax, reference.softmax, inputs.randn(4), dim=0)


@covers(3)
def test_slices_sum_to_one(student, reference, inputs):
    """slices sum to one, to the last digit"""
    x = inputs.randn(4, 6, dtype=torch.float64, scale=3)
    weights = agree(student.softmax, reference.softmax, x, hint="nothing but the sum of the exponentials divides")
    close(weights.sum(-1), torch.ones_like(weights[:, 0]), "the sum of each slice")


@covers(3)
def test_shift_changes_nothing(student, reference, inputs):
    """adding one constant to a slice changes nothing"""
    x = inputs.randn(3, 5)
    for constant in (0.0, 250.0, -250.0):
        agree(student.softmax, reference.softmax, x + constant, hint=STABLE)


@covers(3)
def test_each_slice_has_its_own_weights(student, reference, inputs):
    """each slice is computed by itself, however far it lies from the others"""
    x = inputs.randn(3, 4) + torch.tensor([[0.0], [1000.0], [-1000.0]], device=inputs.device)
    agree(student.softmax, reference.softmax, x, hint="the constant that is subtracted belongs to one slice")
    agree(student.softmax, reference.softmax, x.T, dim=0, hint="the constant that is subtracted belongs to one slice")


@covers(3)
def test_order_of_entries(student, reference, inputs):
    """entries in another order have their weights in that order"""
    x, order = inputs.randn(2, 6), inputs.permutation(6).to(inputs.device)
    weights = agree(student.softmax, reference.softmax, x)
    close(on_copies(student.softmax, x[:, order]), weights[:, order])


@covers(4)
def test_large_scores(student, reference, inputs):
    """scores of ten thousand, above and below zero"""
    x = inputs.randn(3, 5)
    for scores in (x + 1e4, x - 1e4, 1e4 * x.round()):  # gaps of 0 or 10,000: between, x - logsumexp(x) is coarse, and right
        agree(student.softmax, reference.softmax, scores, hint=STABLE)
    agree(student.softmax, reference.softmax, x)


@covers(4)
def test_entries_of_minus_infinity(student, reference, inputs):
    """an entry of minus infinity has weight zero, the others share as if it were not there"""
    x, blocked = inputs.randn(4, 5), inputs.mask(4, 5, p=0.4)
    weights = agree(student.softmax, reference.softmax, x.masked_fill(blocked, -math.inf))
    zeros(weights[blocked], "weights at minus infinity")


@covers(4)
def test_slices_of_minus_infinity_only(student, reference, inputs):
    """a slice of minus infinity only has weights of zero, beside ordinary slices"""
    x = inputs.randn(3, 4)
    x[1] = -math.inf
    hint = "the largest entry of such a slice is -inf, and -inf - (-inf) is NaN"
    for scores, dim in ((x, -1), (x.T, 0)):
        weights = agree(student.softmax, reference.softmax, scores, dim=dim, hint=hint)
        zeros(weights.select(1 + dim, 1), "weights of a slice of minus infinity", hint)


@covers(4)
def test_equal_scores(student, reference, inputs):
    """equal scores have equal weights, in long slices too"""
    x = inputs.randn(2, 1).expand(2, 65).clone()
    agree(student.softmax, reference.softmax, x)
    agree(student.softmax, reference.softmax, torch.cat([x, inputs.randn(2, 2)], dim=-1))


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """the result has the dtype of the input"""
    keeps_dtype(student.softmax, reference.softmax, inputs.randn(3, 4))


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs):
    """as accurate as each dtype allows"""
    for dtype in OTHER_DTYPES:
        agree(student.softmax, reference.softmax, inputs.randn(3, 6, dtype=dtype, scale=2))


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.softmax, inputs.randn(3, 4))


@covers(6)
def test_gradient_along_any_dimension(student, reference, inputs):
    """the gradient is right along any dimension, at large scores too"""
    agree_gradients(student.softmax, reference.softmax, inputs.randn(2, 3, 4), dim=1)
    agree_gradients(student.softmax, reference.softmax, inputs.randn(2, 3) + 1e3)


@covers(6)
def test_gradient_at_minus_infinity(student, reference, inputs):
    """the gradient at minus infinity is zero, never NaN, in a slice of nothing else too"""
    x = inputs.randn(3, 4).masked_fill(inputs.mask(3, 4), -math.inf)
    x[1] = -math.inf
    hint = "a NaN that is replaced after it was made still poisons the gradient"
    gradient = agree_gradients(student.softmax, reference.softmax, x, hint=hint)[0]
    zeros(gradient[x == -math.inf], "the gradient at minus infinity", hint)


@covers(7)
def test_input_stays_as_it_is(student, inputs):
    """the input stays as it is"""
    for requires_grad in (False, True):
        x = inputs.randn(3, 4, requires_grad=requires_grad)
        x.grad = inputs.randn(3, 4) if requires_grad else None
        with unmodified(x):
            student.softmax(x)
    masked = inputs.randn(3, 4).masked_fill(inputs.mask(3, 4), -math.inf)
    with unmodified(masked):
        student.softmax(masked, dim=0)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """the input need not be contiguous"""
    agree(student.softmax, reference.softmax, noncontiguous(inputs.randn(2, 3, 4)))
    agree(student.softmax, reference.softmax, noncontiguous(inputs.randn(2, 3, 4)), dim=1)
    agree(student.softmax, reference.softmax, inputs.randn(1, 4).expand(3, 4))


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """the result is on the device of the input"""
    keeps_device(student.softmax, reference.softmax, inputs.randn(3, 4))


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    x = inputs.randn(3, 4)
    x[1] = -math.inf
    with default_dtype(torch.float64):
        agree_types(student.softmax, reference.softmax, x)


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call changes nothing, and gradients may be switched off"""
    with leaves_no_state(), torch.no_grad():
        on_copies(student.softmax, inputs.randn(2, 2, 3), dim=1)
        agree(student.softmax, reference.softmax, inputs.randn(3, 4, requires_grad=True))
