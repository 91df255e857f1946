"""Hidden tests of pairwise_dot_products: (..., n, d), (..., m, d) -> (..., n, m)."""

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

TRANSPOSED = "row i belongs to X, column j to Y; swap only the last two dimensions of Y"


@covers(1)
def test_values_worked_by_hand(student, device):
    """products worked by hand: row i belongs to X, column j to Y"""
    X = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
    Y = torch.tensor([[5.0, 6.0], [7.0, 9.0]], device=device)
    close(on_copies(student.pairwise_dot_products, X, Y), [[17.0, 25.0], [39.0, 57.0]], hint=TRANSPOSED)


@covers(2)
def test_random_rows(student, reference, inputs):
    """each row of X meets each row of Y"""
    agree(student.pairwise_dot_products, reference.pairwise_dot_products, inputs.randn(5, 5), inputs.randn(5, 5))


@covers(2)
def test_n_and_m_may_differ(student, reference, inputs):
    """n and m may differ"""
    for n, m, d in ((3, 5, 4), (7, 2, 3)):
        X, Y = inputs.randn(n, d), inputs.randn(m, d)
        agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y, hint=TRANSPOSED)


@covers(2)
def test_any_number_of_batch_dimensions(student, reference, inputs):
    """any number of leading batch dimensions"""
    for lead in ((3,), (2, 1, 2, 3)):
        X, Y = inputs.randn(*lead, 3, 4), inputs.randn(*lead, 3, 4)
        agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y, hint=TRANSPOSED)


@covers(2)
def test_sizes_of_one(student, reference, inputs):
    """one row, one feature, one of each"""
    for n, d in ((1, 5), (3, 1), (1, 1)):
        X, Y = inputs.randn(2, n, d), inputs.randn(2, n, d)
        agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)


@covers(3)
def test_batch_elements_do_not_mix(student, reference, inputs):
    """what one batch element gives does not depend on the others"""
    X, Y = inputs.randn(3, 3, 4), inputs.randn(3, 3, 4)
    first = agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)
    X[1:], Y[1:] = inputs.randn(2, 3, 4), inputs.randn(2, 3, 4)
    second = on_copies(student.pairwise_dot_products, X, Y)
    close(second[0], first[0], hint="each batch element is a calculation of its own")


@covers(3)
def test_products_grow_with_the_length(student, reference, inputs):
    """a vector of double length has products of double size"""
    X, Y = inputs.randn(4, 6), inputs.randn(4, 6)
    single = agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)
    double = on_copies(student.pairwise_dot_products, 2 * X, Y)
    close(double, 2 * single, hint="a dot product is not divided by lengths or sizes")


@covers(4)
def test_rows_of_zeros_and_large_rows(student, reference, inputs):
    """a row of zeros has products of zero, a large row large ones"""
    X, Y = inputs.randn(3, 4), inputs.randn(3, 4)
    X[0] = 0
    agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)
    agree(student.pairwise_dot_products, reference.pairwise_dot_products, 1e4 * X, 1e4 * Y)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """the result has the dtype of the input"""
    X, Y = inputs.randn(2, 3, 4), inputs.randn(2, 3, 4)
    keeps_dtype(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs):
    """as accurate as each dtype allows"""
    for dtype in OTHER_DTYPES:
        X, Y = inputs.randn(3, 8, dtype=dtype), inputs.randn(3, 8, dtype=dtype)
        agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.pairwise_dot_products, inputs.randn(2, 3, 4), inputs.randn(2, 3, 4))


@covers(6)
def test_gradients_reach_both(student, reference, inputs):
    """gradients reach X and Y"""
    X, Y = inputs.randn(2, 3, 4), inputs.randn(2, 3, 4)
    agree_gradients(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)


@covers(7)
def test_inputs_stay_as_they_are(student, inputs):
    """the inputs stay as they are"""
    for requires_grad in (False, True):
        X, Y = (inputs.randn(3, 4, requires_grad=requires_grad) for _ in range(2))
        with unmodified(X, Y):
            student.pairwise_dot_products(X, Y)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """inputs need not be contiguous"""
    X, Y = inputs.randn(2, 3, 3, 4), inputs.randn(2, 3, 3, 4)
    agree(student.pairwise_dot_products, reference.pairwise_dot_products, noncontiguous(X), noncontiguous(Y))
    agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y[:, :1].expand(2, 3, 3, 4))


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """the result is on the device of the input"""
    keeps_device(student.pairwise_dot_products, reference.pairwise_dot_products, inputs.randn(3, 4), inputs.randn(3, 4))


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    X, Y = inputs.randn(3, 4), inputs.randn(3, 4)
    with default_dtype(torch.float64):
        agree_types(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call changes nothing, and gradients may be switched off"""
    X, Y = inputs.randn(3, 4), inputs.randn(3, 4, requires_grad=True)
    with leaves_no_state(), torch.no_grad():
        on_copies(student.pairwise_dot_products, inputs.randn(2, 2, 3), inputs.randn(2, 2, 3))
        agree(student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)
