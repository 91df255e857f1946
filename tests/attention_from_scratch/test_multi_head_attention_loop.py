"""Hidden tests of multi_head_attention_loop(X, W_Qs, W_Ks, W_Vs, W_O, mask=None) -> (output, list of weights)."""

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
BLOCKED = "hand the mask on to every head; True = blocked"
OUTPUT = "concatenate the heads along the last dimension, head 0 first, then multiply by W_O from the right"
HEADS = "head h uses matrix h of each list, and nothing of the other heads"


def compare(student, reference, *args, **kwargs):
    """`agree` for this exercise; returns the student's (output, weights)."""
    ours, model = student.multi_head_attention_loop, reference.multi_head_attention_loop
    return agree(ours, model, *args, what=PARTS, **kwargs)


def compare_types(student, reference, *args, **kwargs):
    """`agree_types` for this exercise."""
    ours, model = student.multi_head_attention_loop, reference.multi_head_attention_loop
    agree_types(ours, model, *args, what=PARTS, **kwargs)


def compare_gradients(student, reference, *args, **kwargs):
    """`agree_gradients` for this exercise; returns the student's gradients."""
    ours, model = student.multi_head_attention_loop, reference.multi_head_attention_loop
    return agree_gradients(ours, model, *args, what=PARTS, **kwargs)


def draw(inputs, *lead, seq=4, n_heads=2, d_model=4, d_k=2, d_v=2, dtype=torch.float32):
    """Random X, the three lists of matrices, and W_O."""
    X = inputs.randn(*lead, seq, d_model, dtype=dtype)
    lists = [[inputs.randn(d_model, d, dtype=dtype) for _ in range(n_heads)] for d in (d_k, d_k, d_v)]
    return [X, *lists, inputs.randn(n_heads * d_v, d_model, dtype=dtype)]


@covers(1)
def test_values_worked_by_hand(student, reference, device):
    """two heads worked by hand"""
    X = torch.eye(2, device=device)
    first, second = X[:, :1].clone(), X[:, 1:].clone()
    W_Qs = [math.log(3) * first, math.log(9) * first + math.log(7) * second]
    W_O = torch.tensor([[8.0, 0.0], [8.0, 16.0]], device=device)
    output, weights = compare(student, reference, X, W_Qs, [second, first], [first, second], W_O, hint=HEADS)
    close(weights[0], [[0.25, 0.75], [0.5, 0.5]], "weights of head 0", HEADS)
    close(weights[1], [[0.9, 0.1], [0.875, 0.125]], "weights of head 1", HEADS)
    close(output, [[2.8, 1.6], [5.0, 2.0]], "output", "heads side by side, then times W_O from the right")


@covers(2)
def test_any_number_of_heads(student, reference, inputs):
    """any number of heads, one included"""
    for n_heads in (1, 3):
        compare(student, reference, *draw(inputs, n_heads=n_heads, d_model=n_heads * 2), hint=HEADS)


@covers(2)
def test_sizes_of_heads(student, reference, inputs):
    """values may have another size than queries and keys, and neither need fill d_model"""
    for d_k, d_v in ((2, 3), (5, 1)):
        compare(student, reference, *draw(inputs, seq=3, d_model=5, d_k=d_k, d_v=d_v))


@covers(2)
def test_any_number_of_batch_dimensions(student, reference, inputs):
    """any number of leading batch dimensions"""
    for lead in ((4,), (2, 1, 3)):
        compare(student, reference, *draw(inputs, *lead, seq=3))


@covers(2)
def test_one_token(student, reference, inputs):
    """a single token, and heads with a single feature"""
    compare(student, reference, *draw(inputs, seq=1))
    compare(student, reference, *draw(inputs, 2, seq=3, d_k=1, d_v=1))


@covers(3)
def test_scale_is_the_root_of_d_k(student, reference, inputs):
    """scores are divided by the root of d_k, the size of one head's queries"""
    for d_k in (1, 9):
        compare(student, reference, *draw(inputs, d_model=6, d_k=d_k), hint="d_k is the number of columns of one W_Q")


@covers(3)
def test_heads_are_independent(student, reference, inputs):
    """the matrices of one head do not touch the weights of another"""
    X, W_Qs, W_Ks, W_Vs, W_O = draw(inputs, n_heads=3, d_model=6)
    _, before = compare(student, reference, X, W_Qs, W_Ks, W_Vs, W_O, hint=HEADS)
    for matrices in (W_Qs, W_Ks, W_Vs):
        matrices[1] = inputs.randn(6, 2)
    _, after = on_copies(student.multi_head_attention_loop, X, W_Qs, W_Ks, W_Vs, W_O)
    for h in (0, 2):
        close(after[h], before[h], f"weights of head {h}", HEADS)


@covers(3)
def test_each_part_of_w_o_meets_its_head(student, reference, inputs):
    """the outputs of the heads stand side by side, in order, and meet W_O"""
    X, W_Qs, W_Ks, W_Vs, W_O = draw(inputs)
    before, _ = compare(student, reference, X, W_Qs, W_Ks, W_Vs, W_O, hint=OUTPUT)
    silent, loud = W_O.clone(), W_O.clone()
    silent[2:], loud[:2] = 0, 0
    first, _ = on_copies(student.multi_head_attention_loop, X, W_Qs, W_Ks, W_Vs, silent)
    second, _ = on_copies(student.multi_head_attention_loop, X, W_Qs, W_Ks, W_Vs, loud)
    close(first + second, before, "the sum of what each head adds", OUTPUT)


@covers(3)
def test_mask_reaches_every_head(student, reference, inputs):
    """in every head a blocked key has weight exactly zero, and the others sum to one"""
    mask = inputs.mask(4, 4)
    _, weights = compare(student, reference, *draw(inputs, n_heads=3), mask=mask, hint=BLOCKED)
    for h, head in enumerate(weights):
        zeros(head[mask], f"weights of blocked keys in head {h}", BLOCKED)
        close(head.sum(-1), [1.0] * 4, f"the row sums of head {h}", BLOCKED)


@covers(3)
def test_masks_broadcast(student, reference, inputs):
    """a mask broadcasts to the scores of a head: for all, for each batch element, for each key"""
    for shape in ((2, 3, 3), (2, 1, 3), (3,)):
        compare(student, reference, *draw(inputs, 2, seq=3), mask=inputs.mask(*shape), hint=BLOCKED)


@covers(3)
def test_later_tokens_leave_earlier_outputs(student, reference, inputs):
    """with the causal mask, later tokens leave earlier outputs unchanged"""
    X, *matrices = draw(inputs, seq=5)
    mask = reference.causal_mask(5, device=inputs.device)
    before, _ = compare(student, reference, X, *matrices, mask=mask, hint=BLOCKED)
    X[3:] = inputs.randn(2, 4)
    after, _ = on_copies(student.multi_head_attention_loop, X, *matrices, mask=mask)
    close(after[:3], before[:3], "output of earlier tokens", BLOCKED)


@covers(3)
def test_order_of_tokens(student, reference, inputs):
    """without a mask, tokens in another order give the same outputs in that order"""
    X, *matrices = draw(inputs, seq=6)
    order = inputs.permutation(6).to(inputs.device)
    output, _ = compare(student, reference, X, *matrices)
    close(on_copies(student.multi_head_attention_loop, X[order], *matrices)[0], output[order], "output")


@covers(4)
def test_large_scores(student, reference, inputs):
    """scores of ten thousand"""
    model = reference.multi_head_attention_loop
    X, *matrices = decided(lambda: draw(inputs, seq=3), lambda drawn: model(60 * drawn[0], *drawn[1:])[1])
    compare(student, reference, 60 * X, *matrices, hint="large scores need a stable softmax")


@covers(4)
def test_rows_blocked_altogether(student, reference, inputs):
    """a token that may attend to nothing gets weights and output of exactly zero"""
    mask = inputs.mask(4, 4)
    mask[1] = True
    hint = "its scores are all -inf: does your softmax give zeros?"
    output, weights = compare(student, reference, *draw(inputs), mask=mask, hint=hint)
    zeros(output[1], "output of a blocked row", hint)
    for head in weights:
        zeros(head[1], "weights of a blocked row", hint)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """output and weights have the dtype of the input"""
    ours, model = student.multi_head_attention_loop, reference.multi_head_attention_loop
    keeps_dtype(ours, model, *draw(inputs), mask=inputs.mask(4, 4), what=PARTS)


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs):
    """as accurate as each dtype allows"""
    for dtype in OTHER_DTYPES:
        compare(student, reference, *draw(inputs, seq=3, d_k=3, n_heads=1, dtype=dtype))


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.multi_head_attention_loop, *draw(inputs, seq=3, n_heads=1, d_model=2))


@covers(6)
def test_gradients_reach_every_matrix(student, reference, inputs):
    """gradients reach X and every matrix, and are zero, never NaN, where all is blocked"""
    mask = inputs.mask(3, 3)
    mask[1] = True
    agree_gradients(
        student.multi_head_attention_loop,
        reference.multi_head_attention_loop,
        *draw(inputs, seq=3),
        mask=mask,
        what=PARTS,
    )


@covers(7)
def test_inputs_stay_as_they_are(student, inputs):
    """the inputs stay as they are, lists and mask too"""
    arguments, mask = draw(inputs), inputs.mask(4, 4)
    with unmodified(*arguments, mask):
        student.multi_head_attention_loop(*arguments, mask=mask)
    arguments[0].requires_grad_()
    arguments[-1].requires_grad_()
    with unmodified(*arguments):
        student.multi_head_attention_loop(*arguments)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """inputs need not be contiguous, the mask neither"""
    X, *lists, W_O = draw(inputs, 2, 3)
    strided = [[noncontiguous(matrix) for matrix in matrices] for matrices in lists]
    compare(student, reference, noncontiguous(X), *strided, noncontiguous(W_O), mask=noncontiguous(inputs.mask(4, 4)))


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """output and weights are on the device of the input"""
    ours, model = student.multi_head_attention_loop, reference.multi_head_attention_loop
    for mask in (inputs.mask(4, 4), None):
        keeps_device(ours, model, *draw(inputs), mask=mask, what=PARTS)


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    with default_dtype(torch.float64):
        compare_types(student, reference, *draw(inputs), mask=inputs.mask(4, 4))


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call, masked or larger, changes nothing, and gradients may be switched off"""
    X, *matrices = draw(inputs)
    with leaves_no_state(), torch.no_grad():
        on_copies(student.multi_head_attention_loop, *draw(inputs, 2, seq=5, n_heads=3), mask=inputs.mask(5, 5))
        compare(student, reference, X.requires_grad_(), *matrices)
