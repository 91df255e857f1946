"""Hidden suite of `LearnedPositionalEmbedding`.

The table's name and shape are the student's; it is found as the parameter of max_len * d_model numbers, and a test
fills it with its own.
"""

import pytest
import torch

from autograder.checking import (
    DTYPES,
    Mismatch,
    agree,
    agree_gradients,
    agree_types,
    close,
    covers,
    default_dtype,
    keeps_device,
    leaves_no_state,
    noncontiguous,
    raises,
    unmodified,
)

ROWS = "rows 0 to seq - 1 of the table are added, row 0 to the first token of each sequence"


def table_of(module, max_len, d_model):
    """The parameter that holds the table; Mismatch where there is none of that size."""
    parameters = list(module.parameters())
    for parameter in parameters:
        if parameter.numel() == max_len * d_model:
            return parameter
    raise Mismatch(
        f"a parameter of max_len * d_model = {max_len * d_model} numbers",
        "parameters of other sizes" if parameters else "no parameter",
        "nn.Parameter makes a tensor a parameter of its module",
    )


def as_stored(rows, parameter):
    """Rows (max_len, d_model) in the shape in which the parameter keeps them."""
    stored = [size for size in parameter.shape if size > 1]
    turned = len(stored) == 2 and stored == list(rows.mT.shape) and stored != list(rows.shape)
    return (rows.mT if turned else rows).reshape(parameter.shape)


def filled(lesson, rows):
    """A module with these rows in its table, in their dtype and on their device."""
    module = lesson.LearnedPositionalEmbedding(*rows.shape).to(device=rows.device, dtype=rows.dtype)
    parameter = table_of(module, *rows.shape)
    with torch.no_grad():
        parameter.copy_(as_stored(rows, parameter))
    return module


def pair(student, reference, rows):
    """The student's module and the model's, with equal tables."""
    return filled(student, rows), filled(reference, rows)


@covers(1)
def test_by_hand(student, inputs):
    """the first rows of the table are added to x"""
    rows = torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]], device=inputs.device)
    x = torch.tensor([[[0.5, 0.25], [-1.0, 0.0]], [[0.0, 0.0], [3.0, 4.0]]], device=inputs.device)
    wanted = [[[1.5, 2.25], [9.0, 20.0]], [[1.0, 2.0], [13.0, 24.0]]]
    close(filled(student, rows)(x), wanted, "the result", ROWS)


@covers(2)
@pytest.mark.parametrize("leading", [(), (3,), (2, 4), (2, 1, 3)], ids=str)
def test_any_leading_dimensions(student, reference, inputs, leading):
    """x may have any number of leading dimensions, also none"""
    agree(*pair(student, reference, inputs.randn(9, 4)), inputs.randn(*leading, 5, 4), hint=ROWS)


@covers(2)
@pytest.mark.parametrize(("max_len", "d_model", "seq"), [(1, 3, 1), (7, 1, 4), (8, 5, 1), (6, 7, 6)])
def test_any_sizes(student, reference, inputs, max_len, d_model, seq):
    """any seq from 1 to max_len works, and any d_model"""
    agree(*pair(student, reference, inputs.randn(max_len, d_model)), inputs.randn(2, seq, d_model), hint=ROWS)


@covers(3)
def test_starts_with_row_0(student, inputs):
    """the first token gets row 0, the second one row 1, whatever the length"""
    rows = inputs.randn(8, 4)
    module = filled(student, rows)
    for seq in (2, 5, 8):
        close(module(torch.zeros(seq, 4, device=rows.device)), rows[:seq], "the rows that are added", ROWS)


@covers(3)
def test_same_rows_for_every_sequence(student, inputs):
    """every sequence of a batch gets the same rows"""
    rows = inputs.randn(6, 3)
    result = filled(student, rows)(torch.zeros(4, 5, 3, device=rows.device))
    close(result, rows[:5].expand(4, 5, 3), "the rows that are added", ROWS)


@covers(3)
def test_x_is_kept(student, reference, inputs):
    """x itself is in the result, once and unscaled"""
    rows, x, hint = inputs.randn(6, 16), inputs.randn(2, 5, 16, scale=10.0), "the result is x plus the rows"
    result = agree(*pair(student, reference, rows), x, hint=hint)
    agree(lambda: result - rows[:5], lambda: x, what="the result without the rows", hint=hint)


@covers(4)
def test_exactly_max_len(student, reference, inputs):
    """a sequence of exactly max_len tokens is allowed"""
    agree(*pair(student, reference, inputs.randn(5, 4)), inputs.randn(2, 5, 4))


@covers(4)
def test_a_large_batch_is_no_long_sequence(student, reference, inputs):
    """a batch larger than max_len is no reason for an error"""
    hint = "seq is the last size but one of x"
    agree(*pair(student, reference, inputs.randn(4, 6)), inputs.randn(7, 3, 6), hint=hint)
    agree(*pair(student, reference, inputs.randn(4, 6)), inputs.randn(3, 9, 2, 6), hint=hint)


@covers(5)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_dtype_is_kept(student, reference, inputs, dtype):
    """the result has the dtype of x and table and is as accurate as that allows"""
    modules, x = pair(student, reference, inputs.randn(6, 4, dtype=dtype)), inputs.randn(2, 5, 4, dtype=dtype)
    agree_types(*modules, x)
    agree(*modules, x)


@covers(6)
def test_one_trainable_table(student, inputs):
    """the only parameter is one trainable table of max_len * d_model numbers"""
    parameters = list(student.LearnedPositionalEmbedding(7, 4).parameters())
    found = [parameter.numel() for parameter in parameters]
    if found != [28]:
        raise Mismatch("one parameter of 28 numbers for max_len = 7, d_model = 4", f"parameters of {found} numbers")
    if not parameters[0].requires_grad:
        raise Mismatch("a parameter that training can change", "one with requires_grad=False")


@covers(6)
def test_gradients_of_x(student, reference, inputs):
    """gradients flow to x"""
    agree_gradients(*pair(student, reference, inputs.randn(6, 4)), inputs.randn(3, 5, 4))


@covers(6)
def test_gradients_of_the_table(student, reference, inputs):
    """gradients flow to the table: summed over all sequences, zero for rows that were not used"""
    modules, x, upstream = pair(student, reference, inputs.randn(6, 4)), inputs.randn(3, 5, 4), inputs.randn(3, 5, 4)

    def gradient(module):
        def of_the_table(x, upstream):
            parameter = table_of(module, 6, 4)
            result = module(x)
            if not result.requires_grad:
                raise Mismatch("a result through which gradients flow to the table", "one that is cut off")
            (found,) = torch.autograd.grad(result, [parameter], upstream, allow_unused=True)
            found = torch.zeros_like(parameter) if found is None else found
            squeezed = found.reshape([size for size in found.shape if size > 1])
            return (squeezed.mT if squeezed.shape == (4, 6) else squeezed).reshape(6, 4)

        return of_the_table

    def wanted(x, upstream):
        return torch.cat((upstream.sum(0), upstream.new_zeros(1, 4)))

    agree(gradient(modules[0]), wanted, x, upstream, what="the gradient of the table")


@covers(7)
def test_x_is_not_modified(student, inputs):
    """x is not modified"""
    module, x = filled(student, inputs.randn(6, 4)), inputs.randn(2, 5, 4)
    leaf = inputs.randn(5, 4, requires_grad=True)
    leaf.grad = torch.ones_like(leaf)
    with unmodified(x, leaf):
        module(x)
        module(leaf)


@covers(7)
def test_table_is_not_modified(student, inputs):
    """a forward pass does not change the table"""
    module = filled(student, inputs.randn(6, 4))
    with unmodified(table_of(module, 6, 4)):
        module(inputs.randn(2, 5, 4))


@covers(8)
def test_non_contiguous(student, reference, inputs):
    """x need not be contiguous"""
    agree(*pair(student, reference, inputs.randn(6, 4)), noncontiguous(inputs.randn(2, 5, 4)))


@covers(9)
def test_device(student, reference, inputs, device):
    """the result is on the device of x and table"""
    keeps_device(*pair(student, reference, inputs.randn(6, 4)), inputs.randn(2, 5, 4))


@covers(11)
def test_too_long_a_sequence(student, inputs):
    """a sequence longer than max_len raises ValueError"""
    module, hint = filled(student, inputs.randn(4, 3)), "compare seq with max_len, and raise ValueError yourself"
    module(inputs.randn(2, 4, 3))
    for shape in ((5, 3), (2, 5, 3), (2, 9, 3)):
        raises(ValueError, module, inputs.randn(*shape), hint=hint)


@covers(11)
def test_too_long_for_one_row(student, inputs):
    """a table of one row takes one token only"""
    module = filled(student, inputs.randn(1, 3))
    module(inputs.randn(2, 1, 3))
    raises(ValueError, module, inputs.randn(2, 2, 3), hint="a single row must not be broadcast over a longer sequence")


@covers(12)
def test_training_and_evaluation_agree(student, reference, inputs):
    """training and evaluation mode give the same"""
    ours, model = pair(student, reference, inputs.randn(6, 4))
    x = inputs.randn(2, 5, 4)
    for mode in (False, True):
        ours.train(mode)
        agree(ours, model, x, hint="dropout is no part of this module")


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    with default_dtype(torch.float64):
        agree_types(*pair(student, reference, inputs.randn(6, 4)), inputs.randn(2, 5, 4))


@covers(12)
def test_leaves_no_state(student, reference, inputs):
    """a forward pass leaves torch's settings as they were, and earlier calls do not matter"""
    modules = pair(student, reference, inputs.randn(6, 4))
    with leaves_no_state():
        for seq in (5, 2, 6):
            agree(*modules, inputs.randn(seq, 4))
    with torch.no_grad():
        agree(*modules, inputs.randn(3, 4))
