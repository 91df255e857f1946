"""Hidden tests of multi_head_attention(X, W_Q, W_K, W_V, W_O, n_heads, mask=None) -> (output, weights)."""

import math
from functools import partial

import torch

from autograder.checking import (
    OTHER_DTYPES,
    agree,
    agree_gradients,
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
BLOCKED = "hand the mask on as it comes; True = blocked"
REMAINDER = "check the remainder before you reshape"
COLUMNS = "head h owns the columns h * d_head to (h + 1) * d_head of W_Q, W_K and W_V"


def compare(student, reference, *args, **kwargs):
    """`agree` for this exercise; returns the student's (output, weights)."""
    ours, model = student.multi_head_attention, reference.multi_head_attention
    return agree(ours, model, *args, what=PARTS, **kwargs)


def compare_types(student, reference, *args, **kwargs):
    """`agree_types` for this exercise."""
    ours, model = student.multi_head_attention, reference.multi_head_attention
    agree_types(ours, model, *args, what=PARTS, **kwargs)


def compare_gradients(student, reference, *args, **kwargs):
    """`agree_gradients` for this exercise; returns the student's gradients."""
    ours, model = student.multi_head_attention, reference.multi_head_attention
    return agree_gradients(ours, model, *args, what=PARTS, **kwargs)


def draw(inputs, *lead, seq=4, d_model=4, dtype=torch.float32):
    """Random X and the four matrices."""
    return [
        inputs.randn(*lead, seq, d_model, dtype=dtype),
        *(inputs.randn(d_model, d_model, dtype=dtype) for _ in "QKVO"),
    ]


@covers(1)
def test_values_worked_by_hand(student, reference, device):
    """two heads worked by hand"""
    X = torch.eye(2, device=device)
    W_Q = torch.tensor([[math.log(3), math.log(9)], [0.0, math.log(7)]], device=device)
    W_O = torch.tensor([[8.0, 0.0], [8.0, 16.0]], device=device)
    output, weights = compare(student, reference, X, W_Q, X.flip(0), X, W_O, n_heads=2, hint=COLUMNS)
    close(weights, [[[0.25, 0.75], [0.5, 0.5]], [[0.9, 0.1], [0.875, 0.125]]], "weights", COLUMNS)
    close(output, [[2.8, 1.6], [5.0, 2.0]], "output", "merge the heads, then multiply by W_O from the right")


@covers(2)
def test_any_number_of_heads(student, reference, inputs):
    """any number of heads: one, some, as many as features"""
    for n_heads in (1, 3, 6):
        compare(student, reference, *draw(inputs, d_model=6), n_heads=n_heads, hint=COLUMNS)


@covers(2)
def test_any_number_of_batch_dimensions(student, reference, inputs):
    """any number of leading batch dimensions, with sizes equal to others too"""
    for lead in ((4,), (2, 1, 3)):
        compare(student, reference, *draw(inputs, *lead, seq=4), n_heads=2)


@covers(2)
def test_odd_sizes_and_one_token(student, reference, inputs):
    """odd sizes, and a single token"""
    compare(student, reference, *draw(inputs, 3, seq=5, d_model=9), n_heads=3)
    compare(student, reference, *draw(inputs, 2, seq=1), n_heads=2)


@covers(3)
def test_equals_the_loop(student, reference, inputs):
    """gives what the loop gives with the matrices cut into heads"""
    X, W_Q, W_K, W_V, W_O = draw(inputs, 2, d_model=6)
    output, weights = compare(student, reference, X, W_Q, W_K, W_V, W_O, n_heads=3, hint=COLUMNS)
    heads = [list(W.split(2, dim=1)) for W in (W_Q, W_K, W_V)]
    wanted, maps = reference.multi_head_attention_loop(X, *heads, W_O)
    close(output, wanted, "output", COLUMNS)
    for h, wanted_map in enumerate(maps):
        close(weights[:, h], wanted_map, f"weights of head {h}", COLUMNS)


@covers(3)
def test_scale_is_the_root_of_d_head(student, reference, inputs):
    """scores are divided by the root of d_head, not of d_model"""
    for d_model, n_heads in ((8, 4), (9, 1)):
        compare(student, reference, *draw(inputs, d_model=d_model), n_heads=n_heads, hint="in one head d_k is d_head")


@covers(3)
def test_heads_are_independent(student, reference, inputs):
    """the columns of one head do not touch the weights of another"""
    X, W_Q, W_K, W_V, W_O = draw(inputs, d_model=6)
    _, before = compare(student, reference, X, W_Q, W_K, W_V, W_O, n_heads=3, hint=COLUMNS)
    for matrix in (W_Q, W_K, W_V):
        matrix[:, 2:4] = inputs.randn(6, 2)
    _, after = on_copies(student.multi_head_attention, X, W_Q, W_K, W_V, W_O, n_heads=3)
    close(after[0::2], before[0::2], "weights of the other heads", COLUMNS)


@covers(3)
def test_each_part_of_w_o_meets_its_head(student, reference, inputs):
    """the outputs of the heads stand side by side, in order, and meet W_O"""
    X, W_Q, W_K, W_V, W_O = draw(inputs)
    W_O[:2] = 0
    hint = "merge the heads, head 0 first, then multiply by W_O from the right"
    before, _ = compare(student, reference, X, W_Q, W_K, W_V, W_O, n_heads=2, hint=hint)
    W_V[:, :2] = inputs.randn(4, 2)
    after, _ = on_copies(student.multi_head_attention, X, W_Q, W_K, W_V, W_O, n_heads=2)
    close(after, before, "output, where W_O leaves head 0 out", hint)


@covers(3)
def test_mask_reaches_every_head(student, reference, inputs):
    """in every head a blocked key has weight exactly zero, and the others sum to one"""
    mask = inputs.mask(4, 4)
    _, weights = compare(student, reference, *draw(inputs), n_heads=2, mask=mask, hint=BLOCKED)
    zeros(weights[:, mask], "weights of blocked keys", BLOCKED)
    close(weights.sum(-1), [[1.0] * 4] * 2, "the sum of each row of weights", BLOCKED)


@covers(3)
def test_masks_broadcast(student, reference, inputs):
    """a mask broadcasts to the scores: for each batch element, each head, both, each key"""
    for shape in ((2, 1, 3, 3), (2, 3, 3), (1, 2, 1, 3), (3,)):
        compare(student, reference, *draw(inputs, 2, seq=3), n_heads=2, mask=inputs.mask(*shape), hint=BLOCKED)


@covers(3)
def test_later_tokens_leave_earlier_outputs(student, reference, inputs):
    """with the causal mask, later tokens leave earlier outputs unchanged"""
    X, *matrices = draw(inputs, seq=5)
    mask = reference.causal_mask(5, device=inputs.device)
    before, _ = compare(student, reference, X, *matrices, n_heads=2, mask=mask, hint=BLOCKED)
    X[3:] = inputs.randn(2, 4)
    after, _ = on_copies(student.multi_head_attention, X, *matrices, n_heads=2, mask=mask)
    close(after[:3], before[:3], "output of earlier tokens", BLOCKED)


@covers(3)
def test_order_of_tokens(student, reference, inputs):
    """without a mask, tokens in another order give the same outputs in that order"""
    X, *matrices = draw(inputs, seq=6)
    order = inputs.permutation(6).to(inputs.device)
    output, _ = compare(student, reference, X, *matrices, n_heads=2)
    close(on_copies(student.multi_head_attention, X[order], *matrices, n_heads=2)[0], output[order], "output")


@covers(4)
def test_large_scores(student, reference, inputs):
    """scores of ten thousand"""
    model = partial(reference.multi_head_attention, n_heads=2)
    X, *matrices = decided(lambda: draw(inputs, seq=3), lambda drawn: model(60 * drawn[0], *drawn[1:])[1])
    compare(student, reference, 60 * X, *matrices, n_heads=2, hint="large scores need a stable softmax")


@covers(4)
def test_rows_blocked_altogether(student, reference, inputs):
    """a token that may attend to nothing gets weights and output of exactly zero"""
    mask = inputs.mask(2, 1, 4, 4)
    mask[0, 0, 1] = mask[1, 0, 2] = True
    hint = "its scores are all -inf: does your softmax give zeros?"
    output, weights = compare(student, reference, *draw(inputs, 2), n_heads=2, mask=mask, hint=hint)
    rows = mask.all(-1)
    zeros(output[rows[:, 0]], "output of a blocked row", hint)
    zeros(weights[rows.expand(2, 2, 4)], "weights of a blocked row", hint)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """output and weights have the dtype of the input"""
    ours, model = student.multi_head_attention, reference.multi_head_attention
    keeps_dtype(ours, model, *draw(inputs), n_heads=2, mask=inputs.mask(4, 4), what=PARTS)


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs):
    """as accurate as each dtype allows"""
    for dtype in OTHER_DTYPES:
        compare(student, reference, *draw(inputs, seq=3, d_model=6, dtype=dtype), n_heads=2)


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.multi_head_attention, *draw(inputs, seq=3), n_heads=2)


@covers(6)
def test_gradients_reach_every_matrix(student, reference, inputs):
    """gradients reach X and every matrix, and are zero, never NaN, where all is blocked"""
    mask = inputs.mask(3, 3)
    mask[1] = True
    agree_gradients(
        student.multi_head_attention,
        reference.multi_head_attention,
        *draw(inputs, seq=3),
        n_heads=2,
        mask=mask,
        what=PARTS,
    )


@covers(7)
def test_inputs_stay_as_they_are(student, inputs):
    """the inputs stay as they are, the mask too"""
    for requires_grad in (False, True):
        tensors = [tensor.requires_grad_(requires_grad) for tensor in draw(inputs)]
        for tensor in tensors:
            tensor.grad = torch.ones_like(tensor) if requires_grad else None
        mask = inputs.mask(4, 4)
        with unmodified(*tensors, mask):
            student.multi_head_attention(*tensors, n_heads=2, mask=mask)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """inputs need not be contiguous, the mask neither"""
    strided = [noncontiguous(tensor) for tensor in draw(inputs, 2, 3)]
    compare(student, reference, *strided, n_heads=2, mask=noncontiguous(inputs.mask(4, 4)))


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """output and weights are on the device of the input"""
    ours, model = student.multi_head_attention, reference.multi_head_attention
    for mask in (inputs.mask(4, 4), None):
        keeps_device(ours, model, *draw(inputs), n_heads=2, mask=mask, what=PARTS)


@covers(11)
def test_error_where_not_divisible(student, reference, inputs):
    """a ValueError where n_heads does not divide d_model"""
    arguments = draw(inputs, 2, d_model=6)
    for n_heads in (4, 5):
        raises(ValueError, student.multi_head_attention, *arguments, n_heads=n_heads, hint=REMAINDER)
    compare(student, reference, *arguments, n_heads=3)


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    with default_dtype(torch.float64):
        compare_types(student, reference, *draw(inputs), n_heads=2, mask=inputs.mask(4, 4))


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call, masked or larger, changes nothing, and gradients may be switched off"""
    X, *matrices = draw(inputs)
    with leaves_no_state(), torch.no_grad():
        on_copies(student.multi_head_attention, *draw(inputs, 2, seq=5, d_model=6), n_heads=3, mask=inputs.mask(5, 5))
        compare(student, reference, X.requires_grad_(), *matrices, n_heads=2)
