"""Hidden tests of ScaledDotProductAttention(d_model, d_k, d_v), forward(X, mask=None) -> (output, weights)."""

import math
from functools import partial

import pytest
import torch

from autograder.checking import (
    OTHER_DTYPES,
    Mismatch,
    agree,
    agree_types,
    check_gradients,
    close,
    covers,
    decided,
    default_dtype,
    keeps_device,
    keeps_dtype,
    leaves_no_state,
    noncontiguous,
    on_copies,
    unmodified,
    zeros,
)

PARTS = ("output", "weights")
BLOCKED = "True = blocked: such a key must count for nothing in the softmax"
EMPTY_ROW = "a softmax over nothing but minus infinity is NaN: blocked weights have to be zero, and so have gradients"

agree = partial(agree, what=PARTS)
agree_types = partial(agree_types, what=PARTS)


@pytest.fixture
def pair(twins):
    """Makes the student's head and the model's."""
    return partial(twins, "ScaledDotProductAttention")


@covers(1)
def test_values_worked_by_hand(by_hand, device):
    """two tokens worked by hand"""
    matrices = {
        "W_Q": [[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]],
        "W_K": [[math.log(7), 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
        "W_V": [[8.0, 0.0, 4.0], [0.0, 16.0, 4.0]],
    }
    ours = by_hand("ScaledDotProductAttention", 2, 4, 3, **matrices)
    output, weights = on_copies(ours, torch.eye(2, device=device))
    close(weights, [[0.5, 0.5], [0.875, 0.125]], "weights", "scores over the root of d_k, softmax over the keys")
    close(output, [[4.0, 8.0, 4.0], [7.0, 2.0, 4.0]], "output", "each output is a mixture of the rows of V")


@covers(1)
def test_mask_worked_by_hand(by_hand, device):
    """two tokens worked by hand, one key blocked"""
    matrices = {"W_Q": [[0.0], [1.0]], "W_K": [[math.log(3)], [0.0]], "W_V": [[4.0], [8.0]]}
    ours = by_hand("ScaledDotProductAttention", 2, 1, 1, **matrices)
    mask = torch.tensor([[False, True], [False, False]], device=device)
    output, weights = on_copies(ours, torch.eye(2, device=device), mask=mask)
    close(weights, [[1.0, 0.0], [0.75, 0.25]], "weights", BLOCKED)
    close(output, [[4.0], [5.0]], "output", BLOCKED)


@covers(2)
def test_any_sizes(pair, inputs):
    """any d_model, d_k and d_v, equal or not, odd or one, and a single token"""
    agree(*pair(5, 3, 7), inputs.randn(2, 4, 5))
    agree(*pair(1, 1, 1), inputs.randn(4, 1))
    agree(*pair(4, 2, 3), inputs.randn(2, 1, 4))


@covers(2)
def test_any_number_of_batch_dimensions(pair, inputs):
    """any number of leading batch dimensions, with sizes equal to others too"""
    ours, model = pair(4, 3, 5)
    for lead in ((4,), (2, 1, 3)):
        agree(ours, model, inputs.randn(*lead, 4, 4), hint="count the dimensions from the end")


@covers(3)
def test_rows_of_weights_sum_to_one(pair, inputs):
    """each row of weights sums to one, and a blocked key has weight exactly zero"""
    ours, model = pair(4, 3, 5)
    mask, hint = inputs.mask(5, 5), "the softmax goes over the keys, the last dimension"
    _, weights = agree(ours, model, inputs.randn(2, 5, 4), mask=mask, hint=hint)
    close(weights.sum(-1), torch.ones_like(weights[..., 0]), "the sum of each row of weights", hint)
    zeros(weights[:, mask], "weights of blocked keys", BLOCKED)


@covers(3)
def test_scale_is_the_root_of_d_k(pair, inputs):
    """scores are divided by the root of d_k, whatever d_model and d_v are"""
    agree(*pair(3, 16, 2), inputs.randn(4, 3, scale=2), hint="the root of d_k, the width of Q and K")


@covers(3)
def test_rows_are_queries(pair, inputs):
    """rows of the weights are queries, columns are keys"""
    ours, model = pair(4, 3, 5)
    X = inputs.randn(4, 4, scale=3)
    mask = torch.zeros(4, 4, dtype=torch.bool, device=inputs.device)
    mask[1, :3] = True
    hint = "Q times K transposed: one row for each query"
    _, weights = agree(ours, model, X, mask=mask, hint=hint)
    close(weights[1], [0.0, 0.0, 0.0, 1.0], "the row of a query with one key left", hint)


@covers(3)
def test_masks_broadcast(pair, inputs):
    """a mask broadcasts to the scores: for all, for each batch element, for each key"""
    ours, model = pair(4, 3, 5)
    X = inputs.randn(2, 3, 3, 4)
    for shape in ((3, 3, 3), (2, 1, 1, 3), (3,)):
        agree(ours, model, X, mask=inputs.mask(*shape), hint="the mask broadcasts to the scores as it comes")


@covers(3)
def test_later_tokens_leave_earlier_outputs(pair, inputs):
    """with the causal mask, later tokens leave earlier outputs unchanged"""
    ours, model = pair(4, 3, 5)
    X = inputs.randn(5, 4)
    mask = torch.ones(5, 5, dtype=torch.bool, device=inputs.device).triu(1)
    before, _ = agree(ours, model, X, mask=mask, hint=BLOCKED)
    X[3:] = inputs.randn(2, 4)
    after, _ = on_copies(ours, X, mask=mask)
    close(after[:3], before[:3], "output of earlier tokens", BLOCKED)


@covers(3)
def test_order_of_tokens(pair, inputs):
    """without a mask, tokens in another order give the same outputs in that order"""
    ours, model = pair(4, 3, 5)
    X, order = inputs.randn(6, 4), inputs.permutation(6).to(inputs.device)
    output, _ = agree(ours, model, X)
    close(on_copies(ours, X[order])[0], output[order], "output")


@covers(4)
def test_large_scores(pair, inputs):
    """scores of ten thousand give correct weights"""
    ours, model = pair(4, 3, 5)
    X = decided(lambda: inputs.randn(3, 4, scale=200), lambda X: model(X)[1])
    agree(ours, model, X, hint="large scores need a stable softmax")


@covers(4)
def test_rows_blocked_altogether(pair, inputs):
    """a query that may attend to nothing gets weights and output of exactly zero"""
    mask = inputs.mask(2, 4, 4)
    mask[0, 1] = mask[1, 2] = True
    output, weights = agree(*pair(4, 3, 5), inputs.randn(2, 4, 4), mask=mask, hint=EMPTY_ROW)
    zeros(weights[mask.all(-1)], "weights of a blocked row", EMPTY_ROW)
    zeros(output[mask.all(-1)], "output of a blocked row", EMPTY_ROW)


@covers(5)
def test_dtype_is_kept(pair, inputs):
    """output and weights have the dtype of X, once the module was moved there"""
    ours, model = pair(4, 3, 5)

    def moved(X, mask):
        return ours.to(X.dtype)(X, mask=mask)

    keeps_dtype(moved, model, inputs.randn(4, 4), mask=inputs.mask(4, 4), what=PARTS)


@covers(5)
def test_accurate_in_every_dtype(pair, rounded, inputs):
    """as accurate as each dtype allows"""
    ours, model = pair(6, 4, 5, dtype=torch.float64)
    for dtype in OTHER_DTYPES:
        agree(*rounded(dtype, ours, model), inputs.randn(4, 6, dtype=dtype))


@covers(6)
def test_gradient_is_the_slope(pair, inputs):
    """the gradient for X is the slope of the function"""
    ours, _ = pair(4, 3, 2, dtype=torch.float64)
    check_gradients(ours, inputs.randn(3, 4, dtype=torch.float64))


@covers(6)
def test_gradients_reach_x_and_every_weight(pair, agree_all_gradients, inputs):
    """gradients flow to X and to every parameter; they are zero, never NaN, where a query may attend to nothing"""
    mask = inputs.mask(2, 3, 3)
    mask[0, 1] = mask[1] = True
    gradient = agree_all_gradients(*pair(4, 3, 5), inputs.randn(2, 3, 4), mask=mask, hint=EMPTY_ROW)
    zeros(gradient[1], "the gradient of a sequence in which everything is blocked", EMPTY_ROW)


@covers(7)
def test_inputs_stay_as_they_are(pair, inputs):
    """X, the mask and the weights stay as they are"""
    ours, _ = pair(4, 3, 5)
    for requires_grad in (False, True):
        X, mask = inputs.randn(2, 4, 4, requires_grad=requires_grad), inputs.mask(4, 4)
        with unmodified(X, mask, *ours.parameters()):
            ours(X, mask=mask)


@covers(8)
def test_memory_layout_does_not_matter(pair, inputs):
    """X and the mask need not be contiguous"""
    ours, model = pair(4, 3, 5)
    agree(ours, model, noncontiguous(inputs.randn(2, 3, 4, 4)), mask=noncontiguous(inputs.mask(3, 4, 4)))
    agree(ours, model, inputs.randn(2, 1, 4).expand(2, 3, 4))


@covers(9)
def test_device_is_kept(pair, inputs):
    """output and weights are on the device of X"""
    ours, model = pair(4, 3, 5)
    for mask in (inputs.mask(4, 4), None):
        keeps_device(ours, model, inputs.randn(4, 4), mask=mask)


@covers(11)
def test_state_dict_holds_the_linears(student):
    """the state dict holds the weights of W_Q, W_K and W_V, and nothing else"""
    state = student.ScaledDotProductAttention(5, 3, 2).state_dict()
    wanted = {"W_K.weight": (3, 5), "W_Q.weight": (3, 5), "W_V.weight": (2, 5)}
    got = {name: tuple(state[name].shape) for name in sorted(state)}
    if got != wanted:
        known = str({name: shape for name, shape in got.items() if name in wanted})
        known += " and others" * (got.keys() > wanted.keys())
        raise Mismatch(f"the state dict {wanted} for sizes (5, 3, 2)", known, "three linears without bias")


@covers(12)
def test_default_dtype_does_not_matter(pair, inputs):
    """the result does not depend on the default dtype"""
    ours, model = pair(4, 3, 5)
    with default_dtype(torch.float64):
        agree_types(ours, model, inputs.randn(4, 4), mask=inputs.mask(4, 4))


@covers(12)
def test_mode_does_not_matter(pair, inputs):
    """training and evaluation mode give the same"""
    ours, model = pair(4, 3, 5)
    agree(ours.eval(), model, inputs.randn(4, 4), mask=inputs.mask(4, 4))


@covers(12)
def test_calls_leave_no_trace(pair, inputs):
    """an earlier call, masked or larger, changes nothing, and gradients may be switched off"""
    ours, model = pair(4, 3, 5)
    with leaves_no_state(), torch.no_grad():
        on_copies(ours, inputs.randn(2, 5, 4), mask=inputs.mask(5, 5))
        on_copies(ours, inputs.randn(4, 4), mask=inputs.mask(4, 4))
        agree(ours, model, inputs.randn(4, 4, requires_grad=True))
