"""Hidden suite of `embed`.

The encoding has float32 accuracy, so results in float64 are judged by that, but for the words: the encoding goes away
in the difference of two results, and what is left must be as accurate as float64 is.
"""

import math

import pytest
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
    keeps_device,
    leaves_no_state,
    noncontiguous,
    unmodified,
)


def encoding(seq, d_model, dtype, device):
    """The formula in one type, by exp and log as most write it, moved by one rounding: (seq, d_model)."""
    even = torch.arange(0, d_model, 2, device=device).to(dtype)
    frequency = torch.exp(even * (-math.log(10000.0) / d_model)) * (1 + torch.finfo(dtype).eps)
    angle = torch.arange(seq, device=device).to(dtype).unsqueeze(-1) * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)[:, :d_model]


def agrees(student, token_ids, W_embed, hint=""):
    """`agree` where the encoding may have lost what its formula loses in float32; returns the student's result."""

    def formula(angles):
        def embed(token_ids, W_embed):
            places = encoding(token_ids.shape[-1], W_embed.shape[-1], angles, W_embed.device)
            return W_embed[token_ids] * math.sqrt(W_embed.shape[-1]) + places.to(W_embed.dtype)

        return embed

    in_float32, truth = formula(torch.float32), formula(torch.float64)
    return agree(student.embed, in_float32, token_ids, W_embed, hint=hint, truth=truth, accuracy=torch.float32)


@covers(1)
def test_worked_example(student, inputs):
    """one token at position 0 gives the values of the worked example"""
    W_embed = torch.tensor([[0.6, -0.8], [1.0, 0.0]], device=inputs.device)
    result = student.embed(torch.tensor([0], device=inputs.device), W_embed)
    close(result, [[0.6 * math.sqrt(2), 1 - 0.8 * math.sqrt(2)]], "the result")


@covers(1)
def test_second_position_by_hand(student, inputs):
    """the second token is scaled and stands at position 1"""
    W_embed = torch.tensor([[0.5, 0.0], [1.0, -1.0]], device=inputs.device)
    result = student.embed(torch.tensor([1, 0], device=inputs.device), W_embed)
    root = math.sqrt(2)
    close(result, [[root, 1 - root], [root / 2 + math.sin(1), math.cos(1)]], "the result")


@covers(2)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (2, 1, 2, 3)], ids=str)
def test_any_leading_dimensions(student, inputs, shape):
    """token_ids may have any number of leading dimensions, also none"""
    agrees(student, inputs.randint(0, 11, shape), inputs.randn(11, 8))


@covers(2)
@pytest.mark.parametrize("d_model", [1, 3, 9])
def test_odd_d_model(student, inputs, d_model):
    """an odd d_model works"""
    agrees(student, inputs.randint(0, 5, (2, 6)), inputs.randn(5, d_model))


@covers(2)
def test_one_token(student, inputs):
    """a sequence of one token works"""
    agrees(student, inputs.randint(0, 5, (1,)), inputs.randn(5, 6))
    agrees(student, inputs.randint(0, 5, (4, 1)), inputs.randn(5, 6))


@covers(3)
def test_words_are_scaled(student, inputs):
    """the words are scaled by the square root of d_model"""
    token_ids, hint = inputs.randint(0, 7, (2, 5)), "the factor is the square root of the last size of W_embed"
    for d_model in (6, 16):
        W_embed = inputs.randn(7, d_model, scale=20.0)
        words = agrees(student, token_ids, W_embed, hint) - student.embed(token_ids, 0 * W_embed)
        wanted = W_embed[token_ids] * math.sqrt(d_model)
        agree(lambda words=words: words, lambda wanted=wanted: wanted, what="the words", hint=hint)


@covers(3)
def test_encoding_is_not_scaled(student, inputs):
    """the encoding is added as it is, not scaled"""
    agrees(student, inputs.randint(0, 7, (2, 5)), 0 * inputs.randn(7, 12), "scale first, then add the encoding")


@covers(3)
def test_every_sequence_starts_at_position_0(student, inputs):
    """every sequence starts at position 0"""
    token_ids = inputs.randint(0, 7, (1, 6)).expand(3, 6).clone()
    hint = "the position of a token is its place in its own sequence"
    agrees(student, token_ids, inputs.randn(7, 8), hint)


@covers(3)
def test_position_is_the_place_in_the_sequence(student, inputs):
    """the encoding is chosen by the place of a token, not by its number"""
    token_ids = torch.arange(6, device=inputs.device).flip(0)
    agrees(student, token_ids, inputs.randn(6, 8), "row 0 of the encoding belongs to the first token of a sequence")


@covers(3)
def test_a_repeated_token_has_one_word_vector(student, inputs):
    """a token that occurs twice differs at both places by the encoding only"""
    token_ids = torch.full((5,), 2, device=inputs.device)
    result = agrees(student, token_ids, inputs.randn(4, 6))
    places = encoding(5, 6, torch.float64, inputs.device)
    agree(
        lambda: result - result[:1],
        lambda: (places - places[:1]).float(),
        what="the difference of equal tokens",
        truth=lambda: places - places[:1],
        accuracy=torch.float32,
    )


@covers(4)
def test_long_sequence(student, inputs):
    """positions up to 512 are as accurate as the formula is in float32"""
    agrees(student, inputs.randint(0, 3, (513,)), inputs.randn(3, 6))


@covers(4)
def test_large_vocabulary_and_last_token(student, inputs):
    """the first and the last token of a large vocabulary are found"""
    token_ids = torch.tensor([[999, 0, 999], [0, 0, 999]], device=inputs.device)
    agrees(student, token_ids, inputs.randn(1000, 4, scale=100.0))


@covers(5)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_dtype_is_kept(student, reference, inputs, dtype):
    """the result has W_embed's dtype and is as accurate as that allows"""
    token_ids, W_embed = inputs.randint(0, 7, (2, 5)), inputs.randn(7, 6, dtype=dtype)
    agree_types(student.embed, reference.embed, token_ids, W_embed)
    agrees(student, token_ids, W_embed)


@covers(5)
def test_words_keep_float64_accuracy(student, reference, inputs):
    """in float64 the words keep float64 accuracy"""
    token_ids, W_embed = inputs.randint(0, 7, (2, 5)), inputs.randn(7, 6, dtype=torch.float64)

    def words(module):
        return lambda token_ids, W_embed: module.embed(token_ids, W_embed) - module.embed(token_ids, 0 * W_embed)

    agree_types(student.embed, reference.embed, token_ids, W_embed)
    hint = "float32 is enough for the encoding only"
    agree(words(student), words(reference), token_ids, W_embed, what="the words", hint=hint)


@covers(6)
def test_gradients_of_the_embedding(student, reference, inputs):
    """gradients flow to W_embed; a token that occurs twice receives both"""
    token_ids = torch.tensor([[1, 1, 4], [0, 1, 4]], device=inputs.device)
    agree_gradients(student.embed, reference.embed, token_ids, inputs.randn(6, 5))


@covers(6)
def test_gradients_are_the_slope(student, inputs):
    """the gradient in float64 is the slope of the function"""
    check_gradients(student.embed, inputs.randint(0, 4, (3,)), inputs.randn(4, 2, dtype=torch.float64))


@covers(7)
def test_inputs_are_not_modified(student, inputs):
    """neither token_ids nor W_embed is modified"""
    token_ids, W_embed = inputs.randint(0, 5, (2, 4)), inputs.randn(5, 6, requires_grad=True)
    W_embed.grad = torch.ones_like(W_embed)
    plain = inputs.randn(5, 6)
    with unmodified(token_ids, W_embed, plain):
        student.embed(token_ids, W_embed)
        student.embed(token_ids, plain)


@covers(8)
def test_non_contiguous(student, inputs):
    """token_ids and W_embed need not be contiguous"""
    hint = "view() needs contiguous memory; reshape() and indexing do not"
    token_ids, W_embed = noncontiguous(inputs.randint(0, 9, (3, 5))), noncontiguous(inputs.randn(9, 6))
    agrees(student, token_ids, W_embed, hint)


@covers(9)
def test_device(student, reference, inputs, device):
    """the result is on W_embed's device"""
    token_ids, W_embed = inputs.randint(0, 5, (2, 3)), inputs.randn(5, 4)
    keeps_device(student.embed, reference.embed, token_ids, W_embed)


@covers(12)
def test_does_not_depend_on_the_default_dtype(student, reference, inputs):
    """the result does not depend on torch's default dtype"""
    token_ids, W_embed = inputs.randint(0, 5, (2, 3)), inputs.randn(5, 6)
    with default_dtype(torch.float64):
        agree_types(student.embed, reference.embed, token_ids, W_embed)
        agrees(student, token_ids, W_embed)


@covers(12)
def test_leaves_no_state(student, inputs):
    """torch's settings are left as they were, and earlier calls do not matter"""
    with leaves_no_state():
        for seq in (3, 6, 3):
            agrees(student, inputs.randint(0, 5, (seq,)), inputs.randn(5, 6))
    with torch.no_grad():
        agrees(student, inputs.randint(0, 5, (4,)), inputs.randn(5, 6))
