"""Hidden tests of split_heads(x, n_heads): (..., seq, d_model) -> (..., n_heads, seq, d_head)."""

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
    raises,
    unmodified,
)

COLUMNS = "head h owns the columns h * d_head to (h + 1) * d_head of every token"


@covers(1)
def test_values_worked_by_hand(student, device):
    """three tokens of four features, two heads"""
    x = torch.tensor([[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0], [20.0, 21.0, 22.0, 23.0]], device=device)
    heads = [[[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]], [[2.0, 3.0], [12.0, 13.0], [22.0, 23.0]]]
    close(on_copies(student.split_heads, x, n_heads=2), heads, hint=COLUMNS)


@covers(2)
def test_random_tokens(student, reference, inputs):
    """odd sizes, and as many heads as features in a head"""
    for seq, n_heads, d_head in ((5, 3, 3), (3, 3, 3), (7, 2, 5)):
        x = inputs.randn(2, seq, n_heads * d_head)
        agree(student.split_heads, reference.split_heads, x, n_heads=n_heads, hint=COLUMNS)


@covers(2)
def test_any_number_of_batch_dimensions(student, reference, inputs):
    """any number of leading batch dimensions"""
    for lead in ((), (3,), (2, 3), (2, 1, 2, 3)):
        agree(student.split_heads, reference.split_heads, inputs.randn(*lead, 3, 6), n_heads=2, hint=COLUMNS)


@covers(3)
def test_a_head_owns_neighbouring_columns(student, reference, inputs):
    """a head owns neighbouring columns of every token"""
    x = inputs.randn(2, 4, 6)
    heads = agree(student.split_heads, reference.split_heads, x, n_heads=3, hint=COLUMNS)
    for h in range(3):
        close(heads[:, h], x[:, :, 2 * h : 2 * h + 2], f"head {h}", COLUMNS)


@covers(3)
def test_tokens_keep_their_place(student, reference, inputs):
    """tokens in another order are split in that order"""
    x, order = inputs.randn(5, 6), inputs.permutation(5).to(inputs.device)
    heads = agree(student.split_heads, reference.split_heads, x, n_heads=2, hint=COLUMNS)
    close(on_copies(student.split_heads, x[order], n_heads=2), heads[:, order], hint=COLUMNS)


@covers(4)
def test_one_head_and_one_feature_a_head(student, reference, inputs):
    """one head, one feature a head, one token"""
    for seq, n_heads, d_head in ((4, 1, 4), (4, 4, 1), (1, 2, 3)):
        x = inputs.randn(2, seq, n_heads * d_head)
        agree(student.split_heads, reference.split_heads, x, n_heads=n_heads, hint=COLUMNS)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """the result has the dtype of the input"""
    keeps_dtype(student.split_heads, reference.split_heads, inputs.randn(3, 4), n_heads=2)


@covers(5)
def test_no_digit_is_lost(student, reference, inputs):
    """no number is rounded in any dtype"""
    for dtype in OTHER_DTYPES:
        x = inputs.randn(3, 4, dtype=dtype)
        close(on_copies(student.split_heads, x, n_heads=2), reference.split_heads(x, n_heads=2), exact=True)


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.split_heads, inputs.randn(2, 3, 4), n_heads=2)


@covers(6)
def test_gradient_goes_back_to_its_place(student, reference, inputs):
    """each gradient goes back to the place its number came from"""
    agree_gradients(student.split_heads, reference.split_heads, inputs.randn(2, 3, 6), n_heads=3)


@covers(7)
def test_input_stays_as_it_is(student, inputs):
    """the input stays as it is"""
    for requires_grad in (False, True):
        x = inputs.randn(2, 3, 4, requires_grad=requires_grad)
        with unmodified(x):
            student.split_heads(x, n_heads=2)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """the input need not be contiguous"""
    hint = "view refuses some tensors that reshape takes"
    agree(student.split_heads, reference.split_heads, noncontiguous(inputs.randn(2, 3, 4)), n_heads=2, hint=hint)
    agree(student.split_heads, reference.split_heads, inputs.randn(2, 1, 4).expand(2, 3, 4), n_heads=2, hint=hint)
    agree(student.split_heads, reference.split_heads, inputs.randn(6, 4).T, n_heads=3, hint=hint)


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """the result is on the device of the input"""
    keeps_device(student.split_heads, reference.split_heads, inputs.randn(3, 4), n_heads=2)


@covers(11)
def test_error_where_not_divisible(student, reference, inputs):
    """a ValueError where n_heads does not divide d_model"""
    x = inputs.randn(2, 3, 6)
    for n_heads in (4, 5, 12):
        raises(ValueError, student.split_heads, x, n_heads=n_heads, hint="check the remainder before you reshape")
    agree(student.split_heads, reference.split_heads, x, n_heads=3)


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    x = inputs.randn(3, 4)
    with default_dtype(torch.float64):
        agree_types(student.split_heads, reference.split_heads, x, n_heads=2)


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call changes nothing, and gradients may be switched off"""
    with leaves_no_state(), torch.no_grad():
        on_copies(student.split_heads, inputs.randn(2, 2, 6), n_heads=3)
        agree(student.split_heads, reference.split_heads, inputs.randn(3, 4, requires_grad=True), n_heads=2)
