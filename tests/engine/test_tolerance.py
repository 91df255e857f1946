"""Derived tolerances: they pass other orders of operations and stop wrong formulas, in every dtype."""

import math

import pytest
import torch
from torch import nn

from autograder.checking import DTYPES
from autograder.errors import GraderError
from autograder.inputs import Inputs
from autograder.tolerance import FLOOR_ULPS, Judgement, beside, coarser, excess, few_ulps, following, judge, within


@pytest.fixture
def inputs():
    return Inputs(b"tolerance-of-tests")


def softmax(x):
    return torch.softmax(x, dim=-1)


def layer_norm(x, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def passes(got, reference, *args, dtype):
    return within(got, judge(reference, args, {}, dtype)[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_another_order_of_operations_passes(inputs, dtype):
    """A dot product of length 512 may be summed one after the other: fixed tolerances refuse that in float32."""
    X, Y = inputs.randn(4, 512, dtype=dtype), inputs.randn(3, 512, dtype=dtype)
    wide = torch.float32 if torch.finfo(dtype).eps > 1e-4 else dtype  # nobody sums 512 terms in half precision
    got = torch.zeros(4, 3, dtype=wide)
    for c in range(512):
        got = got + X[:, c, None].to(wide) * Y[None, :, c].to(wide)
    assert passes(got.to(dtype), lambda X, Y: X @ Y.mT, X, Y, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_of_difference_of_logarithms_passes(inputs, dtype):
    """Softmax as exp(x - logsumexp(x)) is right, and loses digits where scores are large."""
    for shift in (0.0, 100.0):
        x = inputs.randn(3, 5, dtype=dtype) + shift
        assert passes((x - x.logsumexp(-1, keepdim=True)).exp(), softmax, x, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_relative_error_of_a_hundred_roundings_fails(inputs, dtype):
    """What is off by more than rounding explains is wrong, in each type by that type's measure."""
    x = inputs.randn(3, 5, dtype=dtype)
    factor = 1 + 400 * torch.finfo(dtype).eps
    assert not passes(softmax(x.double()) * factor, softmax, x, dtype=dtype)


def test_epsilon_outside_the_root_fails(inputs):
    """The usual fixed tolerances let layer norms pass whose epsilon is outside the root, a tenth, or none."""
    x = inputs.randn(4, 8, dtype=torch.float64)
    centred = x - x.mean(-1, keepdim=True)
    outside = centred / (centred.square().mean(-1, keepdim=True).sqrt() + 1e-5)
    assert passes(layer_norm(x), layer_norm, x, dtype=torch.float64)
    for wrong in (outside, layer_norm(x, eps=1e-6), layer_norm(x, eps=0.0)):
        assert not passes(wrong, layer_norm, x, dtype=torch.float64)


def test_epsilon_in_the_divisor_of_softmax_fails_in_float64(inputs):
    """1e-9 beside a sum of ordinary size is far above float64's rounding."""
    x = inputs.randn(4, 6, dtype=torch.float64)
    powers = (x - x.amax(-1, keepdim=True)).exp()
    assert not passes(powers / (powers.sum(-1, keepdim=True) + 1e-9), softmax, x, dtype=torch.float64)


def test_a_coarser_result_is_judged_by_its_own_type(inputs):
    """A float32 result for float64 input has float32's accuracy and passes by float32's measure only."""
    x = inputs.randn(4, 6, dtype=torch.float64)
    got = softmax(x.float())
    assert passes(got, softmax, x, dtype=torch.float32)
    assert not passes(got, softmax, x, dtype=torch.float64)


def test_gradients_are_judged_the_same_way(inputs):
    """The function that computes the reference's gradient is a reference like any other."""

    def gradient(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(layer_norm(x)[..., 0].sum(), x)[0]

    x = inputs.randn(4, 8)
    assert passes(gradient(x), gradient, x, dtype=torch.float32)
    assert not passes(gradient(x) * 1.001, gradient, x, dtype=torch.float32)


def test_infinity_and_nan_must_be_where_they_belong():
    """An infinite or NaN entry of the truth wants the same entry, a finite one a finite one."""
    truth = torch.tensor([1.0, math.inf, math.nan], dtype=torch.float64)
    judgement = Judgement(truth, few_ulps(truth, torch.float32))
    assert excess(torch.tensor([1.0, math.inf, math.nan]), judgement, torch.float32).tolist() == [0, 0, 0]
    assert excess(torch.tensor([math.nan, -math.inf, 1.0]), judgement, torch.float32).tolist() == [math.inf] * 3
    assert math.isfinite(judgement.allowed)


def test_what_a_type_cannot_hold_is_infinite_in_it():
    """A truth beyond float16 is infinity there, and takes no part in the allowance."""
    x = torch.tensor([2.0, 300.0], dtype=torch.float16)
    judgement = judge(torch.square, (x,), {}, torch.float16)[0]
    assert (excess(x.square(), judgement, torch.float16) <= 1).all()
    assert judgement.allowed < 1


def test_a_test_that_overflows_the_reference_is_our_fault():
    """The reference must not overflow where the truth is finite: the test would ask for more than the type holds."""
    x = torch.tensor([300.0], dtype=torch.float16)
    with pytest.raises(GraderError, match=r"overflows in torch\.float16"):
        judge(lambda x: x * x / 300, (x,), {}, torch.float16)


def test_exact_results_keep_a_floor(inputs):
    """Where the reference makes no error, as in a copy, a few units in the last place are left."""
    x = inputs.randn(5)
    judgement = judge(lambda x: x, (x,), {}, torch.float32)[0]
    assert within(x * (1 + torch.finfo(torch.float32).eps), judgement)
    assert not within(x * 1.0001, judgement)


def test_zeros_allow_next_to_nothing():
    """A truth of zeros allows subnormal numbers at most."""
    judgement = judge(torch.zeros_like, (torch.ones(3),), {}, torch.float32)[0]
    assert within(torch.zeros(3), judgement)
    assert not within(torch.full((3,), 1e-30), judgement)


def test_empty_results_are_right():
    """There is nothing to be wrong in a tensor without entries."""
    judgement = judge(lambda x: x, (torch.zeros(0, 3),), {}, torch.float32)[0]
    assert judgement.allowed == 0
    assert within(torch.zeros(0, 3), judgement)


def test_nests_of_tensors_and_numbers_have_a_judgement_each(inputs):
    """Leaves come in order; numbers and truth values count as they are."""
    x = inputs.randn(3)
    found = judge(lambda x: (x, [x.sum().item(), x > 0]), (x,), {}, torch.float32)
    assert [tuple(judgement.truth.shape) for judgement in found] == [(3,), (), (3,)]
    assert found[2].truth.tolist() == (x > 0).double().tolist()


def test_a_truth_of_its_own_replaces_the_float64_reference():
    """A formula without tensor arguments is the same in float64 only if it is told so."""

    def angles(n, dtype=torch.float32):
        return torch.sin(torch.arange(n, dtype=dtype) * 0.1)

    judgement = judge(angles, (300,), {}, torch.float32, truth=lambda n: angles(n, torch.float64))[0]
    assert judgement.truth.dtype == torch.float64
    assert within(angles(300), judgement)
    assert not within(angles(300) + 0.001, judgement)


def test_modules_follow_the_type_of_their_arguments(inputs):
    """A module's own numbers are cast in a copy; the module stays as it is."""
    module = nn.Linear(3, 2)
    assert following(module)(inputs.randn(4, 3, dtype=torch.float64)).dtype == torch.float64
    assert module.weight.dtype == torch.float32
    assert passes(module(x := inputs.randn(4, 3)), module, x, dtype=torch.float32)


def test_the_allowance_is_the_same_at_each_grading(inputs):
    """Nothing random from outside decides a verdict."""
    x = inputs.randn(3, 4)
    first = judge(softmax, (x,), {}, torch.float32)[0].allowed
    torch.rand(7)
    assert judge(softmax, (x,), {}, torch.float32)[0].allowed == first


def test_the_coarsest_type_has_the_largest_unit():
    """bfloat16 is coarser than float16, though it reaches further."""
    assert coarser(torch.float64, torch.float32) == torch.float32
    assert coarser(torch.float16, torch.bfloat16) == torch.bfloat16


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_beside_the_reference_s_result_is_right(inputs, dtype):
    """Equal, or off by a few units of the largest entry; never where the type cannot hold what the reference makes."""
    own = 1 + inputs.rand(2, 3, dtype=dtype)
    ulp = torch.finfo(dtype).eps * float(own.max())
    assert beside(own.clone(), own, dtype)
    assert beside((own.double() + 2 * ulp).to(dtype), own, dtype)
    assert not beside((own.double() + 2 * FLOOR_ULPS * ulp).to(dtype), own, dtype)
    assert not beside(own.to(torch.float64 if dtype != torch.float64 else torch.float32), own, dtype)
    for strange in (math.inf, math.nan):
        broken = own.clone()
        broken[0, 0] = strange
        assert not beside(broken.clone(), broken, dtype)
        assert not beside(own, broken, dtype)
        assert not beside(broken, own, dtype)


def test_whole_numbers_and_nothing_lie_beside_the_same():
    """Masks and counts have to be equal; tensors without an entry are."""
    mask = torch.tensor([True, False])
    assert beside(mask.clone(), mask, torch.float64)
    assert not beside(~mask, mask, torch.float64)
    assert not beside(mask.int(), mask, torch.float64)
    assert beside(torch.zeros(0, 3), torch.zeros(0, 3), torch.float32)
