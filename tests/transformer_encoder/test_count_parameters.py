"""Hidden tests of count_parameters(params).

Arguments go in as they are, not as copies: what matters is which tensors are the same object.
"""

import pytest
import torch

from autograder.checking import (
    DTYPES,
    agree,
    check_placement,
    covers,
    default_dtype,
    leaves_no_state,
    noncontiguous,
    unmodified,
)
from autograder.nested import copies

NESTED = "look into dicts, lists and tuples, and into what lies in them"
SAME = "a tensor that was there before, as the same object, counts once; equal numbers do not make two tensors one"


@pytest.fixture
def apart(layer):
    """Makes a layer's parameters with a memory for each."""
    return lambda *sizes, **given: copies(layer(*sizes, **given))


def _counts(student, params, wanted, hint=NESTED):
    """The student's count of the very tensors of params, beside the wanted number."""
    agree(lambda: student.count_parameters(params), lambda: wanted, what="the count", hint=hint)


@covers(1)
def test_values_worked_by_hand(student):
    """a dict of three tensors, worked by hand"""
    _counts(student, {"W": torch.zeros(4, 8), "b": torch.zeros(8), "gain": torch.zeros(1, 3, 2)}, 46)


@covers(2)
def test_nested_containers(student, inputs):
    """dicts in lists in tuples in dicts"""
    n, m = inputs.integers(3, 9), inputs.integers(3, 9)
    wide, long = torch.zeros(n, m), torch.zeros(m)
    params = {
        "layers": [{"W": wide, "more": ([long], torch.zeros(2, n))}, [{"last": torch.zeros(n)}]],
        "b": torch.zeros(5),
    }
    _counts(student, params, n * m + m + 3 * n + 5)


@covers(2)
def test_lists_and_tuples(student, inputs):
    """a list or a tuple at the top, tuples within"""
    n = inputs.integers(3, 9)
    _counts(student, [torch.zeros(n), torch.zeros(2, n)], 3 * n)
    _counts(student, (torch.zeros(n, n), (torch.zeros(n), [torch.zeros(4)])), n * n + n + 4)


@covers(2)
def test_a_whole_encoder(student, reference, inputs, apart):
    """the parameters of a whole encoder"""
    params = {"W_embed": inputs.randn(inputs.integers(5, 9), 4), "layers": [apart(4, 6), apart(4, 3)]}
    _counts(student, params, reference.count_parameters(params))


@covers(3)
def test_the_same_tensor_twice(student, inputs):
    """a tensor that occurs twice counts once, wherever its places are"""
    n = inputs.integers(3, 9)
    shared = torch.zeros(n, 2)
    _counts(student, [shared, torch.zeros(n), shared], 3 * n, SAME)
    _counts(student, {"in": shared, "deep": [{"out": (shared,)}], "b": torch.zeros(3)}, 2 * n + 3, SAME)


@covers(3)
def test_a_layer_used_twice(student, reference, inputs, apart):
    """a whole layer that occurs three times counts once"""
    once = apart(4, inputs.integers(3, 9))
    _counts(student, {"layers": [once, once, dict(once)]}, reference.count_parameters(once), SAME)


@covers(3)
def test_equal_tensors_are_two(student, inputs):
    """two tensors that hold equal numbers are two"""
    one = inputs.randn(3, inputs.integers(3, 9))
    _counts(student, [one, one.clone(), {"zeros": torch.zeros(4), "more": torch.zeros(4)}], 2 * one.numel() + 8, SAME)


@covers(4)
def test_any_rank(student, inputs):
    """tensors of rank zero to five"""
    n = inputs.integers(2, 6)
    tensors = [torch.zeros(()), torch.zeros(n), torch.zeros(1, n), torch.zeros(1, n, 1, 2, 3)]
    _counts(student, tensors, 1 + 8 * n, "a tensor of rank zero holds one number")


@covers(4)
def test_empty_containers(student, inputs):
    """empty containers hold nothing, beside full ones"""
    n = inputs.integers(3, 9)
    _counts(student, {"layers": [], "more": {}, "W": torch.zeros(n), "none": ((), [[]])}, n)


@covers(5)
def test_any_dtype(student, inputs):
    """tensors of every dtype, among them large ones"""
    n = inputs.integers(40, 90)
    _counts(student, [torch.zeros(n, n + 1, dtype=dtype) for dtype in DTYPES], 4 * n * (n + 1))


@covers(7)
def test_arguments_stay_as_they_are(student, apart):
    """the arguments stay as they are"""
    params = {"layers": [apart(4, 6, requires_grad=True), (apart(4, 3),)]}
    with unmodified(params):
        student.count_parameters(params)


@covers(8)
def test_layout_and_flags_do_not_matter(student, inputs):
    """memory layout and requires_grad make no difference"""
    tensors = [
        noncontiguous(inputs.randn(3, 4)),
        inputs.randn(2, 5, requires_grad=True),
        inputs.randn(1, 6).expand(2, 6),
    ]
    _counts(student, tensors, 34, "every number of a tensor counts, whatever its memory looks like")


@covers(9)
def test_any_device(student, reference, inputs, apart):
    """parameters may lie on any device"""
    params = [apart(4, 6), inputs.randn(3)]
    wanted = reference.count_parameters(params)
    _counts(student, params, wanted)
    check_placement(student.count_parameters, wanted, (params,), {})


@covers(12)
def test_default_dtype_does_not_matter(student):
    """the count does not depend on the default dtype"""
    with default_dtype(torch.float64):
        _counts(student, [torch.zeros(3), [torch.zeros(2, 2)]], 7)


@covers(12)
def test_calls_leave_no_trace(student, apart):
    """an earlier call changes nothing"""
    params = {"layers": [apart(4, 6), apart(4, 6)]}
    wanted = 2 * (4 * 16 + 2 * 24 + 6 + 5 * 4)
    with leaves_no_state(), torch.no_grad():
        _counts(student, {"layers": [apart(2, 3)]}, 4 * 4 + 2 * 6 + 3 + 5 * 2)
        _counts(student, params, wanted, "what a call remembers must not outlive it")
        _counts(student, params, wanted, "what a call remembers must not outlive it")
