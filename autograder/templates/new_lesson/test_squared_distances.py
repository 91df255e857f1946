"""Hidden tests of squared_distances: (..., n, d), (..., m, d) -> (..., n, m)."""

import torch

from autograder.checking import (
    DTYPES,
    agree,
    agree_gradients,
    agree_types,
    check_gradients,
    close,
    covers,
    default_dtype,
    leaves_no_state,
    noncontiguous,
    on_copies,
    unmodified,
)

TURNED = "row i belongs to X, column j to Y"


@covers(1)
def test_values_worked_by_hand(student, device):
    """distances worked by hand: row i belongs to X, column j to Y"""
    X = torch.tensor([[1.0, 2.0], [4.0, 6.0]], device=device)
    Y = torch.tensor([[1.0, 1.0], [0.0, 0.0]], device=device)
    close(on_copies(student.squared_distances, X, Y), [[1.0, 5.0], [34.0, 52.0]], hint=TURNED)


@covers(2)
def test_random_points(student, reference, inputs):
    """each row of X meets each row of Y, and their numbers may differ"""
    for n, m, d in ((4, 4, 4), (3, 5, 2), (6, 2, 3)):
        agree(student.squared_distances, reference.squared_distances, inputs.randn(n, d), inputs.randn(m, d), hint=TURNED)


@covers(2)
def test_sizes_of_one(student, reference, inputs):
    """one point, one feature, one of each"""
    for n, m, d in ((1, 3, 2), (3, 1, 2), (2, 3, 1), (1, 1, 1)):
        agree(student.squared_distances, reference.squared_distances, inputs.randn(n, d), inputs.randn(m, d))


@covers(2)
def test_any_leading_dimensions(student, reference, inputs):
    """any number of leading dimensions"""
    for lead in ((3,), (2, 1, 2)):
        X, Y = inputs.randn(*lead, 3, 4), inputs.randn(*lead, 2, 4)
        agree(student.squared_distances, reference.squared_distances, X, Y)


@covers(3)
def test_a_point_is_at_no_distance_from_itself(student, reference, inputs):
    """the distance of a point from itself is exactly zero"""
    X = inputs.randn(5, 3, scale=10.0)
    table = agree(student.squared_distances, reference.squared_distances, X, X)
    close(table.diagonal(), [0.0] * 5, "the diagonal", exact=True)


@covers(3)
def test_moving_all_points_changes_nothing(student, reference, inputs):
    """moving all points by the same vector changes nothing"""
    X, Y = inputs.randint(-8, 8, (4, 3)).float(), inputs.randint(-8, 8, (3, 3)).float()
    table = agree(student.squared_distances, reference.squared_distances, X, Y)
    close(on_copies(student.squared_distances, X + 64.0, Y + 64.0), table, exact=True)


@covers(4)
def test_far_from_the_origin(student, reference, inputs):
    """points far from the origin are no less accurate"""
    X, Y = inputs.randn(4, 3) + 1e4, inputs.randn(3, 3) + 1e4
    hint = "take the difference first: large numbers that almost cancel leave their rounding errors behind"
    agree(student.squared_distances, reference.squared_distances, X, Y, hint=hint)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """the result has the dtype of the arguments, and is as accurate as it allows"""
    for dtype in DTYPES:
        X, Y = inputs.randn(2, 3, 4, dtype=dtype), inputs.randn(2, 5, 4, dtype=dtype)
        agree_types(student.squared_distances, reference.squared_distances, X, Y)
        agree(student.squared_distances, reference.squared_distances, X, Y)


@covers(6)
def test_gradients(student, reference, inputs):
    """gradients reach X and Y, and are the slope of the function"""
    agree_gradients(student.squared_distances, reference.squared_distances, inputs.randn(2, 3, 4), inputs.randn(2, 2, 4))
    check_gradients(student.squared_distances, inputs.randn(3, 2), inputs.randn(2, 2))


@covers(7)
def test_arguments_stay_as_they_are(student, inputs):
    """the arguments are not modified"""
    for requires_grad in (False, True):
        X, Y = inputs.randn(3, 4, requires_grad=requires_grad), inputs.randn(2, 4, requires_grad=requires_grad)
        with unmodified(X, Y):
            student.squared_distances(X, Y)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """the arguments need not be contiguous"""
    X, Y = noncontiguous(inputs.randn(2, 3, 4)), noncontiguous(inputs.randn(2, 5, 4))
    agree(student.squared_distances, reference.squared_distances, X, Y)


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """the result is on the device of the arguments"""
    agree_types(student.squared_distances, reference.squared_distances, inputs.randn(3, 2), inputs.randn(4, 2))


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """torch's settings do not matter and are left as they were, and neither do earlier calls"""
    X, Y = inputs.randn(3, 4), inputs.randn(2, 4)
    with leaves_no_state(), torch.no_grad():
        on_copies(student.squared_distances, Y, X)
        agree(student.squared_distances, reference.squared_distances, X, Y)
    with default_dtype(torch.float64):
        agree_types(student.squared_distances, reference.squared_distances, X, Y)
