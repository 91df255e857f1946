"""Hidden tests of MultiHeadAttention(d_model, n_heads), forward(X, mask=None) -> (output, weights)."""

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
    raises,
    unmodified,
    zeros,
)

PARTS = ("output", "weights")
BLOCKED = "True = blocked: such a key must count for nothing in the softmax"
COLUMNS = "head h owns the columns h * d_head to (h + 1) * d_head of Q, K and V"
MERGE = "heads and tokens change places back before the heads are joined, then W_O acts on all of them"
EMPTY_ROW = "a softmax over nothing but minus infinity is NaN: blocked weights have to be zero, and so have gradients"

agree = partial(agree, what=PARTS)
agree_types = partial(agree_types, what=PARTS)


@pytest.fixture
def pair(twins):
    """Makes the student's module and the model's."""
    return partial(twins, "MultiHeadAttention")


def replace(ours, model, name, part, values):
    """Writes values into a part of one weight of both modules."""
    model.weights[f"{name}.weight"][part] = values
    ours.load_state_dict({**ours.state_dict(), **model.weights})


@covers(1)
def test_values_worked_by_hand(by_hand, device):
    """two heads worked by hand"""
    matrices = {
        "W_Q": [[math.log(3), 0.0], [0.0, math.log(7)]],
        "W_K": [[1.0, 0.0], [0.0, 1.0]],
        "W_V": [[1.0, 0.0], [0.0, 1.0]],
        "W_O": [[8.0, 0.0], [8.0, 16.0]],
    }
    ours = by_hand("MultiHeadAttention", 2, 2, **matrices)
    output, weights = on_copies(ours, torch.eye(2, device=device))
    close(weights, [[[0.75, 0.25], [0.5, 0.5]], [[0.5, 0.5], [0.125, 0.875]]], "weights", COLUMNS)
    close(output, [[10.0, 8.0], [11.0, 14.0]], "output", MERGE)


@covers(2)
def test_any_number_of_heads(pair, inputs):
    """any number of heads: one, as many as features"""
    for n_heads in (1, 6):
        agree(*pair(6, n_heads), inputs.randn(4, 6), hint=COLUMNS)


@covers(2)
def test_any_number_of_batch_dimensions(pair, inputs):
    """any number of leading batch dimensions, with sizes equal to others too"""
    ours, model = pair(4, 2)
    for lead in ((4,), (2, 1, 3)):
        agree(ours, model, inputs.randn(*lead, 4, 4), hint="count the dimensions from the end")


@covers(2)
def test_odd_sizes_and_one_token(pair, inputs):
    """odd sizes, and a single token"""
    ours, model = pair(9, 3)
    agree(ours, model, inputs.randn(3, 5, 9), hint=MERGE)
    agree(ours, model, inputs.randn(2, 1, 9), hint=MERGE)


@covers(3)
def test_equals_the_builtin(pair, reference, inputs):
    """gives what nn.MultiheadAttention gives with the same weights and mask"""
    ours, model = pair(6, 3)
    state = model.weights
    builtin = reference.builtin("MultiheadAttention", 6, 3, bias=False, batch_first=True).to(inputs.device)
    stacked = torch.cat([state[f"W_{name}.weight"] for name in "QKV"])
    builtin.load_state_dict({"in_proj_weight": stacked, "out_proj.weight": state["W_O.weight"]})

    def theirs(X, mask=None):
        return builtin.to(X.dtype)(X, X, X, attn_mask=mask, average_attn_weights=False)

    X = inputs.randn(2, 4, 6)
    agree(ours, theirs, X, mask=inputs.mask(4, 4), hint=COLUMNS)


@covers(3)
def test_scale_is_the_root_of_d_head(pair, inputs):
    """scores are divided by the root of d_head, not of d_model"""
    agree(*pair(8, 4), inputs.randn(4, 8, scale=2), hint="in one head d_k is d_head")


@covers(3)
def test_heads_are_independent(pair, inputs):
    """the columns of one head do not touch the weights of another"""
    ours, model = pair(6, 3)
    X = inputs.randn(4, 6, scale=2)
    _, before = agree(ours, model, X, hint=COLUMNS)
    for name in ("W_Q", "W_K", "W_V"):
        replace(ours, model, name, slice(2, 4), inputs.randn(2, 6))
    _, after = on_copies(ours, X)
    close(after[0::2], before[0::2], "weights of the other heads", COLUMNS)


@covers(3)
def test_each_part_of_w_o_meets_its_head(pair, inputs):
    """the outputs of the heads stand side by side, in order, and meet W_O"""
    ours, model = pair(4, 2)
    X = inputs.randn(3, 4)
    replace(ours, model, "W_O", (slice(None), slice(0, 2)), 0.0)
    before, _ = agree(ours, model, X, hint=MERGE)
    replace(ours, model, "W_V", slice(0, 2), inputs.randn(2, 4))
    after, _ = on_copies(ours, X)
    close(after, before, "output, where W_O leaves head 0 out", MERGE)


@covers(3)
def test_mask_reaches_every_head(pair, inputs):
    """in every head a blocked key has weight exactly zero, and the others sum to one"""
    mask = inputs.mask(4, 4)
    _, weights = agree(*pair(4, 2), inputs.randn(4, 4), mask=mask, hint=BLOCKED)
    zeros(weights[:, mask], "weights of blocked keys", BLOCKED)
    close(weights.sum(-1), torch.ones_like(weights[..., 0]), "the sum of each row of weights", BLOCKED)


@covers(3)
def test_masks_broadcast(pair, inputs):
    """a mask broadcasts to the scores: for each batch element, each head, each key"""
    ours, model = pair(6, 3)
    X = inputs.randn(3, 3, 6)
    for shape in ((3, 1, 3, 3), (3, 3, 3), (3,)):
        agree(ours, model, X, mask=inputs.mask(*shape), hint="the mask broadcasts to the scores as it comes")


@covers(3)
def test_later_tokens_leave_earlier_outputs(pair, inputs):
    """with the causal mask, later tokens leave earlier outputs unchanged"""
    ours, model = pair(4, 2)
    X = inputs.randn(5, 4)
    mask = torch.ones(5, 5, dtype=torch.bool, device=inputs.device).triu(1)
    before, _ = agree(ours, model, X, mask=mask, hint=BLOCKED)
    X[3:] = inputs.randn(2, 4)
    after, _ = on_copies(ours, X, mask=mask)
    close(after[:3], before[:3], "output of earlier tokens", BLOCKED)


@covers(3)
def test_order_of_tokens(pair, inputs):
    """without a mask, tokens in another order give the same outputs in that order"""
    ours, model = pair(4, 2)
    X, order = inputs.randn(6, 4), inputs.permutation(6).to(inputs.device)
    output, _ = agree(ours, model, X)
    close(on_copies(ours, X[order])[0], output[order], "output")


@covers(4)
def test_large_scores(pair, inputs):
    """scores of ten thousand give correct weights"""
    ours, model = pair(4, 2)
    X = decided(lambda: inputs.randn(3, 4, scale=200), lambda X: model(X)[1])
    agree(ours, model, X, hint="large scores need a stable softmax")


@covers(4)
def test_rows_blocked_altogether(pair, inputs):
    """a query that may attend to nothing gets weights and output of exactly zero"""
    mask = inputs.mask(2, 1, 4, 4)
    mask[0, 0, 1] = mask[1, 0, 2] = True
    output, weights = agree(*pair(4, 2), inputs.randn(2, 4, 4), mask=mask, hint=EMPTY_ROW)
    rows = mask.all(-1)
    zeros(weights[rows.expand(2, 2, 4)], "weights of a blocked row", EMPTY_ROW)
    zeros(output[rows[:, 0]], "output of a blocked row", EMPTY_ROW)


@covers(5)
def test_dtype_is_kept(pair, inputs):
    """output and weights have the dtype of X, once the module was moved there"""
    ours, model = pair(4, 2)

    def moved(X, mask):
        return ours.to(X.dtype)(X, mask=mask)

    keeps_dtype(moved, model, inputs.randn(4, 4), mask=inputs.mask(4, 4), what=PARTS)


@covers(5)
def test_accurate_in_every_dtype(pair, rounded, inputs):
    """as accurate as each dtype allows"""
    ours, model = pair(6, 2, dtype=torch.float64)
    for dtype in OTHER_DTYPES:
        agree(*rounded(dtype, ours, model), inputs.randn(3, 6, dtype=dtype))


@covers(6)
def test_gradient_is_the_slope(pair, inputs):
    """the gradient for X is the slope of the function"""
    ours, _ = pair(4, 2, dtype=torch.float64)
    check_gradients(ours, inputs.randn(3, 4, dtype=torch.float64))


@covers(6)
def test_gradients_reach_x_and_every_weight(pair, agree_all_gradients, inputs):
    """gradients flow to X and to every parameter; they are zero, never NaN, where a query may attend to nothing"""
    mask = inputs.mask(2, 1, 3, 3)
    mask[0, 0, 1] = mask[1] = True
    gradient = agree_all_gradients(*pair(4, 2), inputs.randn(2, 3, 4), mask=mask, hint=EMPTY_ROW)
    zeros(gradient[1], "the gradient of a sequence in which everything is blocked", EMPTY_ROW)


@covers(7)
def test_inputs_stay_as_they_are(pair, inputs):
    """X, the mask and the weights stay as they are"""
    ours, _ = pair(4, 2)
    for requires_grad in (False, True):
        X, mask = inputs.randn(2, 4, 4, requires_grad=requires_grad), inputs.mask(4, 4)
        with unmodified(X, mask, *ours.parameters()):
            ours(X, mask=mask)


@covers(8)
def test_memory_layout_does_not_matter(pair, inputs):
    """X and the mask need not be contiguous"""
    ours, model = pair(4, 2)
    agree(ours, model, noncontiguous(inputs.randn(2, 3, 4, 4)), mask=noncontiguous(inputs.mask(4, 4)))
    agree(ours, model, inputs.randn(2, 1, 4).expand(2, 3, 4))


@covers(9)
def test_device_is_kept(pair, inputs):
    """output and weights are on the device of X"""
    ours, model = pair(4, 2)
    for mask in (inputs.mask(4, 4), None):
        keeps_device(ours, model, inputs.randn(4, 4), mask=mask)


@covers(11)
def test_state_dict_holds_the_linears(student):
    """the state dict holds the weights of W_Q, W_K, W_V and W_O, and nothing else"""
    state = student.MultiHeadAttention(6, 2).state_dict()
    wanted = {f"W_{name}.weight": (6, 6) for name in "KOQV"}
    got = {name: tuple(state[name].shape) for name in sorted(state)}
    if got != wanted:
        known = str({name: shape for name, shape in got.items() if name in wanted})
        known += " and others" * (got.keys() > wanted.keys())
        raise Mismatch(f"the state dict {wanted} for sizes (6, 2)", known, "four linears without bias")


@covers(11)
def test_error_where_not_divisible(student, pair, inputs):
    """a ValueError where d_model is not divisible by n_heads"""
    for sizes in ((6, 4), (6, 5), (3, 6)):
        raises(ValueError, student.MultiHeadAttention, *sizes, hint="check the remainder when the module is made")
    agree(*pair(6, 2), inputs.randn(3, 6))


@covers(12)
def test_default_dtype_does_not_matter(pair, inputs):
    """the result does not depend on the default dtype"""
    ours, model = pair(4, 2)
    with default_dtype(torch.float64):
        agree_types(ours, model, inputs.randn(4, 4), mask=inputs.mask(4, 4))


@covers(12)
def test_mode_does_not_matter(pair, inputs):
    """training and evaluation mode give the same"""
    ours, model = pair(4, 2)
    agree(ours.eval(), model, inputs.randn(4, 4), mask=inputs.mask(4, 4))


@covers(12)
def test_calls_leave_no_trace(pair, inputs):
    """an earlier call, masked or larger, changes nothing, and gradients may be switched off"""
    ours, model = pair(4, 2)
    with leaves_no_state(), torch.no_grad():
        on_copies(ours, inputs.randn(2, 5, 4), mask=inputs.mask(5, 5))
        on_copies(ours, inputs.randn(4, 4), mask=inputs.mask(4, 4))
        agree(ours, model, inputs.randn(4, 4, requires_grad=True))
