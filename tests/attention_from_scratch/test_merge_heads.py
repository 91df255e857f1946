"""Hidden tests of merge_heads(x): (..., n_heads, seq, d_head) -> (..., seq, n_heads * d_head)."""

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

COLUMNS = "the features of head h become the columns h * d_head to (h + 1) * d_head"


@covers(1)
def test_values_worked_by_hand(student, device):
    """two heads of three tokens with two features"""
    x = [[[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]], [[2.0, 3.0], [12.0, 13.0], [22.0, 23.0]]]
    merged = [[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0], [20.0, 21.0, 22.0, 23.0]]
    close(on_copies(student.merge_heads, torch.tensor(x, device=device)), merged, hint=COLUMNS)


@covers(2)
def test_random_heads(student, reference, inputs):
    """odd sizes, and as many heads as tokens or features"""
    for n_heads, seq, d_head in ((3, 5, 3), (3, 3, 3), (2, 7, 5)):
        agree(student.merge_heads, reference.merge_heads, inputs.randn(2, n_heads, seq, d_head), hint=COLUMNS)


@covers(2)
def test_any_number_of_batch_dimensions(student, reference, inputs):
    """any number of leading batch dimensions"""
    for lead in ((), (3,), (2, 3), (2, 1, 2, 3)):
        agree(student.merge_heads, reference.merge_heads, inputs.randn(*lead, 2, 3, 2), hint=COLUMNS)


@covers(3)
def test_heads_stand_side_by_side(student, reference, inputs):
    """heads stand side by side, in order"""
    x = inputs.randn(3, 4, 2)
    merged = agree(student.merge_heads, reference.merge_heads, x, hint=COLUMNS)
    for h in range(3):
        close(merged[:, 2 * h : 2 * h + 2], x[h], f"the columns of head {h}", COLUMNS)


@covers(3)
def test_undoes_split_heads(student, reference, inputs):
    """gives back what split_heads split"""
    x = inputs.randn(2, 3, 6)
    heads = reference.split_heads(x, n_heads=3).contiguous()
    close(agree(student.merge_heads, reference.merge_heads, heads), x, hint=COLUMNS)


@covers(4)
def test_one_head_one_feature_one_token(student, reference, inputs):
    """one head, one feature a head, one token"""
    for n_heads, seq, d_head in ((1, 4, 4), (4, 4, 1), (2, 1, 3)):
        agree(student.merge_heads, reference.merge_heads, inputs.randn(2, n_heads, seq, d_head), hint=COLUMNS)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """the result has the dtype of the input"""
    keeps_dtype(student.merge_heads, reference.merge_heads, inputs.randn(2, 3, 2))


@covers(5)
def test_no_digit_is_lost(student, reference, inputs):
    """no number is rounded in any dtype"""
    for dtype in OTHER_DTYPES:
        x = inputs.randn(2, 3, 2, dtype=dtype)
        close(on_copies(student.merge_heads, x), reference.merge_heads(x), exact=True)


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.merge_heads, inputs.randn(2, 2, 3, 2))


@covers(6)
def test_gradient_goes_back_to_its_place(student, reference, inputs):
    """each gradient goes back to the place its number came from"""
    agree_gradients(student.merge_heads, reference.merge_heads, inputs.randn(2, 3, 3, 2))


@covers(7)
def test_input_stays_as_it_is(student, inputs):
    """the input stays as it is"""
    for requires_grad in (False, True):
        x = inputs.randn(2, 3, 3, 2, requires_grad=requires_grad)
        with unmodified(x):
            student.merge_heads(x)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """the input need not be contiguous"""
    hint = "view refuses some tensors that reshape takes"
    agree(student.merge_heads, reference.merge_heads, noncontiguous(inputs.randn(2, 3, 4, 2)), hint=hint)
    agree(student.merge_heads, reference.merge_heads, inputs.randn(1, 4, 2).expand(3, 4, 2), hint=hint)
    agree(
        student.merge_heads, reference.merge_heads, reference.split_heads(inputs.randn(2, 3, 6), n_heads=2), hint=hint
    )


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """the result is on the device of the input"""
    keeps_device(student.merge_heads, reference.merge_heads, inputs.randn(2, 3, 2))


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    x = inputs.randn(2, 3, 2)
    with default_dtype(torch.float64):
        agree_types(student.merge_heads, reference.merge_heads, x)


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call changes nothing, and gradients may be switched off"""
    with leaves_no_state(), torch.no_grad():
        on_copies(student.merge_heads, inputs.randn(3, 2, 2))
        agree(student.merge_heads, reference.merge_heads, inputs.randn(2, 3, 2, requires_grad=True))
