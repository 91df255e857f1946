"""Hidden tests of batch_norm(x, gamma, beta, eps=1e-5), x (batch, seq, d_model)."""

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

FEATURE = "one mean and one variance for each feature, over batch and seq together"
BIASED = "the variance is the mean of the squared deviations: divide by their number, not by one less"
INSIDE = "eps is added to the variance, before the root is taken"


def _example(inputs, *shape, dtype=torch.float32):
    """x, gamma and beta of one call."""
    d_model = shape[-1]
    gamma = inputs.rand(d_model, dtype=dtype, low=0.5, high=1.5)
    return inputs.randn(*shape, dtype=dtype), gamma, inputs.randn(d_model, dtype=dtype)


def _before(function, change):
    """The function on a changed first argument."""
    return lambda x, *rest: function(change(x), *rest)


@covers(1)
def test_values_worked_by_hand(student, device):
    """two sentences of two tokens with two features, worked by hand"""
    x = torch.tensor([[[1.0, 8.0], [3.0, 0.0]], [[5.0, 0.0], [7.0, 0.0]]], device=device)
    gamma, beta = torch.tensor([1.0, -2.0], device=device), torch.tensor([0.0, 1.0], device=device)
    one, two = math.sqrt(5 + 1e-5), math.sqrt(12 + 1e-5)
    wanted = [
        [[-3 / one, 1 - 12 / two], [-1 / one, 1 + 4 / two]],
        [[1 / one, 1 + 4 / two], [3 / one, 1 + 4 / two]],
    ]
    close(on_copies(student.batch_norm, x, gamma, beta), wanted, hint=FEATURE)


@covers(1)
def test_biased_variance(student, device):
    """the variance is the biased one, also of two tokens"""
    x = torch.tensor([[[1024.0, 512.0], [3072.0, -512.0]]], device=device)  # so large that eps is lost
    ones, zeros = torch.ones(2, device=device), torch.zeros(2, device=device)
    close(on_copies(student.batch_norm, x, ones, zeros), [[[-1.0, 1.0], [1.0, -1.0]]], hint=BIASED)


@covers(2)
def test_random_batches(student, reference, inputs):
    """several shapes, odd sizes and one"""
    for shape in ((2, 3, 5), (3, 4, 1)):
        agree(student.batch_norm, reference.batch_norm, *_example(inputs, *shape), hint=FEATURE)


@covers(2)
def test_cubes(student, reference, inputs):
    """over batch and seq where all dimensions are equally long"""
    agree(student.batch_norm, reference.batch_norm, *_example(inputs, 3, 3, 3), hint=FEATURE)


@covers(2)
def test_one_sentence_or_one_token(student, reference, inputs):
    """one sentence of many tokens, many sentences of one token"""
    for shape in ((1, 6, 3), (6, 1, 3)):
        agree(student.batch_norm, reference.batch_norm, *_example(inputs, *shape), hint=FEATURE)


@covers(2)
def test_gamma_and_beta(student, reference, inputs):
    """gamma multiplies what is normalised, beta is added after it"""
    x, gamma, beta = _example(inputs, 2, 4, 3)
    hint = "normalise, times gamma, plus beta; one number for each feature"
    agree(student.batch_norm, reference.batch_norm, x, -3 * gamma, 10 * beta, hint=hint)


@covers(3)
def test_shift_of_a_feature_changes_nothing(student, reference, inputs):
    """a constant added to one feature changes nothing"""
    _, gamma, beta = _example(inputs, 3)
    x = inputs.randint(-12, 12, (2, 4, 3)).float() / 4  # quarters: the sums below are exact
    shift = torch.tensor([4.0, 0.0, -16.0], device=inputs.device)
    shifted = _before(student.batch_norm, lambda x: x + shift.to(x.dtype))
    agree(shifted, reference.batch_norm, x, gamma, beta, hint="take the mean away first, then square")


@covers(3)
def test_features_by_themselves(student, reference, inputs):
    """each feature is normalised by itself, however large the others are"""
    x, gamma, beta = _example(inputs, 3, 2, 3)
    x = x * torch.tensor([1.0, 100.0, 0.1], device=inputs.device)
    agree(student.batch_norm, reference.batch_norm, x, gamma, beta, hint=FEATURE)
    agree(student.batch_norm, reference.batch_norm, x[..., 2:], gamma[2:], beta[2:], hint=FEATURE)


@covers(3)
def test_sentences_share_their_statistics(student, reference, inputs):
    """tokens dealt out to sentences in another way are normalised as before"""
    dealt = _before(student.batch_norm, lambda x: x.reshape(3, 4, 3))
    agree(lambda *args: dealt(*args).reshape(2, 6, 3), reference.batch_norm, *_example(inputs, 2, 6, 3), hint=FEATURE)


@covers(4)
def test_constant_features(student, reference, inputs):
    """a feature that is the same everywhere becomes beta, beside ordinary features"""
    x, gamma, beta = _example(inputs, 3, 2, 4)
    x[..., 1] = x[0, 0, 1]
    x[..., 2] = 0.0
    hint = "eps keeps the division from being 0 / 0"
    agree(student.batch_norm, reference.batch_norm, x, gamma, beta, hint=hint)


@covers(4)
def test_one_token_in_all(student, reference, inputs):
    """a single token becomes beta, a batch of two does not"""
    for shape in ((1, 1, 5), (2, 1, 5)):
        agree(student.batch_norm, reference.batch_norm, *_example(inputs, *shape), hint=BIASED)


@covers(4)
def test_tiny_variance(student, reference, inputs):
    """features of tiny variance, where eps decides"""
    x, gamma, beta = _example(inputs, 2, 4, 3)
    agree(student.batch_norm, reference.batch_norm, 0.003 * x, gamma, beta, hint=INSIDE)


@covers(4)
def test_eps_as_given(student, reference, inputs):
    """eps is used as it is given, by its name"""
    x, gamma, beta = _example(inputs, 2, 3, 4)
    for eps in (0.5, 0.0):
        agree(student.batch_norm, reference.batch_norm, x, gamma, beta, eps=eps, hint=INSIDE)


@covers(4)
def test_large_numbers(student, reference, inputs):
    """large numbers, and small differences between large numbers"""
    x, gamma, beta = _example(inputs, 2, 4, 3)
    agree(student.batch_norm, reference.batch_norm, 1e4 * x, gamma, beta)
    agree(student.batch_norm, reference.batch_norm, x + 3000, gamma, beta)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """the result has the dtype of the input"""
    keeps_dtype(student.batch_norm, reference.batch_norm, *_example(inputs, 2, 3, 4))


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs):
    """as accurate as each dtype allows"""
    for dtype in OTHER_DTYPES:
        agree(student.batch_norm, reference.batch_norm, *_example(inputs, 2, 3, 4, dtype=dtype))


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.batch_norm, *_example(inputs, 2, 3, 4))


@covers(6)
def test_gradients_of_all_arguments(student, reference, inputs):
    """gradients flow to x, gamma and beta, through mean and variance"""
    hint = "mean and variance are functions of x, and pass gradients too"
    agree_gradients(student.batch_norm, reference.batch_norm, *_example(inputs, 3, 2, 4), hint=hint)


@covers(7)
def test_arguments_stay_as_they_are(student, inputs):
    """the arguments stay as they are"""
    for requires_grad in (False, True):
        arguments = [tensor.requires_grad_(requires_grad) for tensor in _example(inputs, 2, 3, 4)]
        with unmodified(*arguments):
            student.batch_norm(*arguments)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """the arguments need not be contiguous"""
    x, gamma, beta = _example(inputs, 2, 3, 4)
    agree(student.batch_norm, reference.batch_norm, *map(noncontiguous, (x, gamma, beta)))
    agree(student.batch_norm, reference.batch_norm, x[:, :1].expand(2, 3, 4), gamma, beta)


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """the result is on the device of the input"""
    keeps_device(student.batch_norm, reference.batch_norm, *_example(inputs, 2, 3, 4))


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    with default_dtype(torch.float64):
        agree_types(student.batch_norm, reference.batch_norm, *_example(inputs, 2, 3, 4))


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call changes nothing, and gradients may be switched off"""
    x, gamma, beta = _example(inputs, 2, 3, 4)
    with leaves_no_state(), torch.no_grad():
        on_copies(student.batch_norm, 5 * x + 9, gamma, beta)
        agree(student.batch_norm, reference.batch_norm, x, gamma, beta, hint="no running averages")
