"""Hidden tests of scaled_dot_product_attention(Q, K, V, mask=None) -> (output, weights)."""

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
BLOCKED = "True = blocked: there the score becomes -inf before the softmax, so the others still sum to one"
AS_IT_COMES = "use the mask as it comes: masked_fill and where broadcast it"
ROW = "a row whose scores are all -inf: does your softmax give zeros?"


def compare(student, reference, *args, **kwargs):
    """`agree` for this exercise; returns the student's (output, weights)."""
    ours, model = student.scaled_dot_product_attention, reference.scaled_dot_product_attention
    return agree(ours, model, *args, what=PARTS, **kwargs)


def compare_types(student, reference, *args, **kwargs):
    """`agree_types` for this exercise."""
    ours, model = student.scaled_dot_product_attention, reference.scaled_dot_product_attention
    agree_types(ours, model, *args, what=PARTS, **kwargs)


def compare_gradients(student, reference, *args, **kwargs):
    """`agree_gradients` for this exercise; returns the student's gradients."""
    ours, model = student.scaled_dot_product_attention, reference.scaled_dot_product_attention
    return agree_gradients(ours, model, *args, what=PARTS, **kwargs)


def draw(inputs, *lead, n=4, m=4, d_k=4, d_v=4, dtype=torch.float32):
    """Random Q, K and V."""
    return [inputs.randn(*lead, *shape, dtype=dtype) for shape in ((n, d_k), (m, d_k), (m, d_v))]


@covers(1)
def test_values_worked_by_hand(student, reference, device):
    """two queries and two keys worked by hand"""
    Q = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]], device=device)
    K = torch.tensor([[math.log(3), 0.0, math.log(7), 0.0], [0.0, 5.0, 0.0, 1.0]], device=device)
    V = torch.tensor([[4.0, 0.0, 8.0], [0.0, 8.0, 8.0]], device=device)
    output, weights = compare(student, reference, Q, K, V)
    close(weights, [[0.75, 0.25], [0.875, 0.125]], "weights")
    close(output, [[3.0, 2.0, 8.0], [3.5, 1.0, 8.0]], "output")


@covers(2)
def test_random_tensors(student, reference, inputs):
    """output and weights, in this order, also where all sizes are equal"""
    compare(student, reference, *draw(inputs))
    compare(student, reference, *draw(inputs, n=5, m=5, d_k=3, d_v=7))


@covers(2)
def test_any_number_of_batch_dimensions(student, reference, inputs):
    """any number of leading batch dimensions"""
    for lead in ((4,), (2, 1, 3)):
        compare(student, reference, *draw(inputs, *lead, n=3, m=3, d_v=2))


@covers(2)
def test_queries_and_keys_may_differ_in_number(student, reference, inputs):
    """queries and keys may differ in number"""
    for n, m in ((2, 5), (6, 3)):
        compare(student, reference, *draw(inputs, 2, n=n, m=m), mask=inputs.mask(n, m))


@covers(2)
def test_sizes_of_one(student, reference, inputs):
    """one token, one feature"""
    for n, d_k, d_v in ((1, 3, 2), (3, 1, 1), (1, 1, 1)):
        compare(student, reference, *draw(inputs, 2, n=n, m=n, d_k=d_k, d_v=d_v))


@covers(3)
def test_scale_is_the_root_of_d_k(student, reference, inputs):
    """scores are divided by the root of d_k, whatever d_v and the number of keys are"""
    for d_k, d_v in ((16, 2), (7, 7)):
        compare(student, reference, *draw(inputs, n=3, m=3, d_k=d_k, d_v=d_v), hint="d_k is the last size of Q and K")


@covers(3)
def test_rows_of_weights_sum_to_one(student, reference, inputs):
    """each query's weights sum to one, with a mask too"""
    for mask in (None, inputs.mask(5, 5, p=0.5)):
        _, weights = compare(student, reference, *draw(inputs, n=5, m=5), mask=mask, hint=BLOCKED)
        close(weights.sum(-1), torch.ones_like(weights[:, 0]), "the sum of each row of weights", BLOCKED)


@covers(3)
def test_true_means_blocked(student, reference, inputs):
    """a blocked key has weight exactly zero, and what stands in its row does not matter"""
    Q, K, V = draw(inputs)
    mask = torch.zeros(4, 4, dtype=torch.bool, device=inputs.device)
    mask[:, 1] = True
    before = compare(student, reference, Q, K, V, mask=mask, hint=BLOCKED)
    zeros(before[1][:, 1], "weights of the blocked key", BLOCKED)
    K[1], V[1] = inputs.randn(4), inputs.randn(4)
    close(on_copies(student.scaled_dot_product_attention, Q, K, V, mask=mask)[0], before[0], "output", BLOCKED)


@covers(3)
def test_later_tokens_leave_earlier_outputs(student, reference, inputs):
    """with the causal mask, later tokens leave earlier outputs unchanged"""
    Q, K, V = draw(inputs, n=5, m=5)
    mask = reference.causal_mask(5, device=inputs.device)
    before, _ = compare(student, reference, Q, K, V, mask=mask, hint=BLOCKED)
    K[3:], V[3:] = inputs.randn(2, 4), inputs.randn(2, 4)
    after, _ = on_copies(student.scaled_dot_product_attention, Q, K, V, mask=mask)
    close(after[:3], before[:3], "output of earlier tokens", BLOCKED)


@covers(3)
def test_order_of_keys(student, reference, inputs):
    """keys and values in another order, both in the same, give the same output"""
    Q, K, V = draw(inputs, n=6, m=6)
    order = inputs.permutation(6).to(inputs.device)
    output, weights = compare(student, reference, Q, K, V)
    other_output, other_weights = on_copies(student.scaled_dot_product_attention, Q, K[order], V[order])
    close(other_output, output, "output")
    close(other_weights, weights[:, order], "weights")


@covers(3)
def test_masks_broadcast(student, reference, inputs):
    """a mask broadcasts to the scores by torch's rule"""
    for shape in ((3,), (2, 3, 3), (2, 1, 3), (1, 3, 3)):
        compare(student, reference, *draw(inputs, 2, n=3, m=3), mask=inputs.mask(*shape), hint=AS_IT_COMES)


@covers(4)
def test_large_scores(student, reference, inputs):
    """scores of ten thousand and more, beside small ones"""
    model, hint = reference.scaled_dot_product_attention, "large scores need a stable softmax, for each row its own"
    Q, K, V = decided(lambda: draw(inputs, n=3, m=3), lambda drawn: model(1e4 * drawn[0], *drawn[1:])[1])
    compare(student, reference, 100 * Q, 100 * K, V, hint=hint)
    Q[1] *= 1e5
    compare(student, reference, Q, K, V, hint=hint)


@covers(4)
def test_strongest_key_blocked(student, reference, inputs):
    """a blocked key has no weight, however large its score is"""
    Q, K, V = draw(inputs)
    Q[:, 0], K[:, 0] = 1.0, 0.0
    K[2, 0] = 2e4  # a score of 1e4, for every query
    mask = torch.zeros(4, 4, dtype=torch.bool, device=inputs.device)
    mask[:3, 2] = True
    _, weights = compare(student, reference, Q, K, V, mask=mask, hint=BLOCKED)
    zeros(weights[:3, 2], "weights of the blocked key", BLOCKED)


@covers(4)
def test_rows_blocked_altogether(student, reference, inputs):
    """a query that may attend to nothing gets weights and output of exactly zero, the others are as ever"""
    Q, K, V = draw(inputs, 2)
    mask = inputs.mask(2, 4, 4)
    mask[0, 1] = mask[1, 3] = True
    output, weights = compare(student, reference, Q, K, V, mask=mask, hint=ROW)
    rows = mask.all(-1)
    zeros(output[rows], "output of a blocked row", ROW)
    zeros(weights[rows], "weights of a blocked row", ROW)


@covers(5)
def test_dtype_is_kept(student, reference, inputs):
    """output and weights have the dtype of the input, with a mask and without"""
    ours, model = student.scaled_dot_product_attention, reference.scaled_dot_product_attention
    for mask in (None, inputs.mask(4, 4)):
        keeps_dtype(ours, model, *draw(inputs), mask=mask, what=PARTS)


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs):
    """as accurate as each dtype allows"""
    for dtype in OTHER_DTYPES:
        compare(student, reference, *draw(inputs, d_k=5, dtype=dtype), mask=inputs.mask(4, 4))


@covers(6)
def test_gradient_is_the_slope(student, inputs):
    """the gradient is the slope of the function"""
    check_gradients(student.scaled_dot_product_attention, *draw(inputs, n=3, m=3), mask=inputs.mask(3, 3))


@covers(6)
def test_gradients_reach_q_k_and_v(student, reference, inputs):
    """gradients reach Q, K and V, from the output and from the weights"""
    agree_gradients(
        student.scaled_dot_product_attention,
        reference.scaled_dot_product_attention,
        *draw(inputs, 2, n=3, m=3, d_v=2),
        what=PARTS,
    )


@covers(6)
def test_gradients_at_blocked_rows(student, reference, inputs):
    """gradients at rows blocked altogether are zero, never NaN"""
    Q, K, V = draw(inputs)
    mask = inputs.mask(4, 4)
    mask[2] = True
    hint = "a NaN that is replaced after it was made still poisons the gradient"
    gradient_Q, _, _ = agree_gradients(
        student.scaled_dot_product_attention,
        reference.scaled_dot_product_attention,
        Q,
        K,
        V,
        mask=mask,
        what=PARTS,
        hint=hint,
    )
    zeros(gradient_Q[2], "the gradient of a query that may attend to nothing", hint)


@covers(7)
def test_inputs_stay_as_they_are(student, inputs):
    """the inputs stay as they are, the mask too"""
    for requires_grad in (False, True):
        tensors = [tensor.requires_grad_(requires_grad) for tensor in draw(inputs)]
        for tensor in tensors:
            tensor.grad = torch.ones_like(tensor) if requires_grad else None
        mask = inputs.mask(4, 4)
        with unmodified(*tensors, mask):
            student.scaled_dot_product_attention(*tensors, mask=mask)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs):
    """inputs need not be contiguous, the mask neither"""
    Q, K, V = draw(inputs, 2, 3)
    strided = [noncontiguous(tensor) for tensor in (Q, K, V)]
    compare(student, reference, *strided, mask=noncontiguous(inputs.mask(3, 4, 4)))
    mask = inputs.mask(1, 4).expand(4, 4)
    compare(student, reference, Q, K[:, :1].expand(2, 3, 4, 4), V.mT, mask=mask)


@covers(9)
def test_device_is_kept(student, reference, inputs):
    """output and weights are on the device of the input"""
    ours, model = student.scaled_dot_product_attention, reference.scaled_dot_product_attention
    for mask in (inputs.mask(4, 4), None):
        keeps_device(ours, model, *draw(inputs), mask=mask, what=PARTS)


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs):
    """the result does not depend on the default dtype"""
    with default_dtype(torch.float64):
        compare_types(student, reference, *draw(inputs))
        compare_types(student, reference, *draw(inputs), mask=inputs.mask(4, 4))


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs):
    """an earlier call, masked or larger, changes nothing, and gradients may be switched off"""
    Q, K, V = draw(inputs)
    with leaves_no_state(), torch.no_grad():
        on_copies(student.scaled_dot_product_attention, *draw(inputs, 2, n=5, m=5), mask=inputs.mask(5, 5))
        compare(student, reference, Q.requires_grad_(), K, V)
