"""Hidden suite of `wavelengths`.

Wavelengths of one call differ by a factor of up to 10000, so their logarithms are compared: an error of one unit
there is the same share of a short wavelength and of a long one. All but the test of that name ask for float32
accuracy only.
"""

import math

import pytest
import torch

from autograder.checking import Mismatch, agree, close, covers, default_dtype, leaves_no_state


def agrees(student, reference, d_model, accuracy=torch.float32, hint=""):
    """`agree` on the logarithms; returns the student's wavelengths."""
    agree(
        _logarithms(student.wavelengths),
        _logarithms(reference.wavelengths),
        d_model,
        what="the logarithm of the wavelengths",
        hint=hint,
        accuracy=accuracy,
    )
    return student.wavelengths(d_model)


@covers(1)
def test_values_by_hand(student):
    """d_model = 4 has the wavelengths 2 pi and 200 pi"""
    wanted = torch.tensor([2 * math.pi, 200 * math.pi], dtype=torch.float64)
    close(_single(student.wavelengths(4)), wanted.float(), "the wavelengths")


@covers(1)
def test_full_turn(student):
    """the shortest wavelength is one full turn, 2 pi"""
    hint = "an angle repeats after 2 pi, not after 1"
    close(_single(student.wavelengths(2)), [2 * math.pi], "the only wavelength of d_model = 2", hint)
    close(_single(student.wavelengths(40))[:1], [2 * math.pi], "the first wavelength", hint)


@covers(2)
@pytest.mark.parametrize("d_model", [2, 6, 64])
def test_agrees_with_the_formula(student, reference, d_model):
    """agrees with the formula for an even d_model"""
    agrees(student, reference, d_model)


@covers(2)
@pytest.mark.parametrize("d_model", [1, 3, 13])
def test_an_odd_d_model_counts_its_last_sine(student, reference, d_model):
    """an odd d_model has a wavelength for its last sine too"""
    agrees(student, reference, d_model, hint="half of d_model is rounded up")


@covers(2)
def test_agrees_for_random_sizes(student, reference, inputs):
    """agrees with the formula for other sizes in each submission"""
    for _ in range(3):
        agrees(student, reference, inputs.integers(1, 90))


@covers(3)
def test_one_factor_from_pair_to_pair(student, reference):
    """each wavelength is longer than the one before by the same factor, shortest first"""
    for d_model in (8, 11):
        found = agrees(student, reference, d_model, hint="the exponent grows by 2 / d_model from pair to pair")
        ratio = _single(found[1:] / found[:-1])
        close(ratio, torch.full_like(ratio, 10000 ** (2 / d_model)), "the factor between neighbours")


@covers(3)
def test_after_one_wavelength_the_encoding_repeats(student, reference):
    """positions that are one wavelength apart have the same angle up to a full turn"""
    found = agrees(student, reference, 10).double()
    angle = found * 2 * math.pi / reference.wavelengths(10)
    close(angle.float(), torch.full((5,), 2 * math.pi), "the angle after one wavelength")


@covers(5)
def test_result_is_float64(student, reference):
    """the result is float64, and as accurate as float64 is"""
    hint = "make the first tensor with dtype=torch.float64; what was rounded to float32 stays rounded"
    for d_model in (6, 64, 7):
        found = agrees(student, reference, d_model, torch.float64, hint)
        if found.dtype != torch.float64:
            raise Mismatch("wavelengths of dtype float64", str(found.dtype).removeprefix("torch."), hint)


@covers(12)
def test_does_not_depend_on_the_default_dtype(student, reference):
    """the result does not depend on torch's default dtype"""
    before = agrees(student, reference, 12)
    with default_dtype(torch.float64):
        after = agrees(student, reference, 12)
    if before.dtype != after.dtype:
        raise Mismatch("the same dtype under every default", "another one", "name the dtype of every new tensor")


@covers(12)
def test_leaves_no_state(student, reference):
    """torch's settings are left as they were, and earlier calls do not matter"""
    with leaves_no_state():
        for d_model in (4, 10, 4):
            agrees(student, reference, d_model)
    with torch.no_grad():
        agrees(student, reference, 4)


def _logarithms(function):
    def logarithms(d_model):
        result = function(d_model)
        return result.log() if isinstance(result, torch.Tensor) else result

    return logarithms


def _single(result):
    """A tensor rounded to float32, to be judged by that accuracy; anything else as it is."""
    return result.float() if isinstance(result, torch.Tensor) else result
