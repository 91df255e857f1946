"""Wrong answers that students give in lesson 1, each with the idea it violates and the test that is named for it.

`idea` is what a student reads: it says what was mixed up, and no line of the answer. No two are mended by the same fix.
"""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import wrong


@wrong(
    "pairwise_dot_products",
    idea="Row i belongs to X and column j to Y; here they are the other way round.",
    caught_by="test_values_worked_by_hand",
)
def table_turned(X, Y):
    return Y @ X.transpose(-2, -1)


@wrong(
    "pairwise_dot_products",
    idea="Every row of X meets every row of Y, not only the row with the same number.",
    caught_by="test_random_rows",
)
def rows_in_pairs(X, Y):
    return (X * Y).sum(dim=-1)


@wrong(
    "pairwise_dot_products",
    idea="A dot product adds up over the d features of two rows; here the sum runs over the rows.",
    caught_by="test_random_rows",
)
def sum_over_rows(X, Y):
    return X.transpose(-2, -1) @ Y


@wrong(
    "pairwise_dot_products",
    idea="A matrix product meets rows of the left with columns of the right; here rows of both are asked for.",
    caught_by="test_random_rows",
)
def rows_with_columns(X, Y):
    return X @ Y


@wrong(
    "pairwise_dot_products",
    idea="Only the last two dimensions are swapped; the batch dimensions stay where they are.",
    caught_by="test_any_number_of_batch_dimensions",
)
def all_dimensions_turned(X, Y):
    return X @ Y.permute(*reversed(range(Y.dim())))


@wrong(
    "pairwise_dot_products",
    idea="A dot product grows with the lengths of the vectors; here it was divided by them, which is a cosine.",
    caught_by="test_products_grow_with_the_length",
)
def cosine(X, Y):
    length_X, length_Y = X.norm(dim=-1, keepdim=True), Y.norm(dim=-1, keepdim=True)
    return (X / length_X) @ (Y / length_Y).transpose(-2, -1)


@wrong(
    "pairwise_dot_products",
    idea="The scale by a root belongs to attention; the dot products themselves are not divided by anything.",
    caught_by="test_values_worked_by_hand",
)
def scaled_already(X, Y):
    return X @ Y.transpose(-2, -1) / math.sqrt(X.shape[-1])


@wrong(
    "pairwise_dot_products",
    idea="A dot product is a sum over the features, not their mean.",
    caught_by="test_values_worked_by_hand",
)
def mean_over_features(X, Y):
    return (X.unsqueeze(-2) * Y.unsqueeze(-3)).mean(dim=-1)


@wrong(
    "pairwise_dot_products",
    idea="Each batch element is a calculation of its own; here rows meet rows of all batch elements.",
    caught_by="test_batch_elements_do_not_mix",
)
def batch_added_up(X, Y):
    products = X @ Y.transpose(-2, -1)
    batch = tuple(range(products.dim() - 2))
    return products.sum(dim=batch, keepdim=True).expand_as(products) if batch else products


@wrong(
    "pairwise_dot_products",
    idea="How alike two vectors are is asked as a dot product, not as a distance.",
    caught_by="test_values_worked_by_hand",
)
def distances(X, Y):
    return (X.unsqueeze(-2) - Y.unsqueeze(-3)).square().sum(dim=-1).sqrt()


@wrong(
    "pairwise_dot_products",
    idea="The result keeps the dtype of the input; here it is float32 whatever comes in.",
    caught_by="test_dtype_is_kept",
)
def always_float32(X, Y):
    return X.float() @ Y.float().transpose(-2, -1)


@wrong(
    "pairwise_dot_products",
    idea="Gradients must be able to flow from the result to both inputs; here the result is cut off.",
    caught_by="test_gradients_reach_both",
)
def cut_off(X, Y):
    return (X @ Y.transpose(-2, -1)).detach()


@wrong(
    "pairwise_dot_products",
    idea="Inputs need not be contiguous; `view` refuses some tensors that `reshape` takes.",
    caught_by="test_memory_layout_does_not_matter",
)
def flattened_by_view(X, Y):
    flat_X, flat_Y = X.view(-1, *X.shape[-2:]), Y.view(-1, *Y.shape[-2:])
    return torch.bmm(flat_X, flat_Y.transpose(1, 2)).view(*X.shape[:-1], Y.shape[-2])


@wrong(
    "softmax",
    idea="Exponentials of large scores leave the range of the type; only differences between scores count.",
    caught_by="test_large_scores",
)
def without_shift(x, dim=-1):
    powers = x.exp()
    total = powers.sum(dim=dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="One constant for the whole tensor is not enough: a slice far below the largest entry loses all its weight.",
    caught_by="test_each_slice_has_its_own_weights",
)
def one_shift_for_all(x, dim=-1):
    largest = x.max()
    powers = (x - torch.where(largest == -math.inf, torch.zeros_like(largest), largest)).exp()
    total = powers.sum(dim=dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="Subtracting the mean of a slice can leave its largest exponent large.",
    caught_by="test_large_scores",
)
def shift_by_mean(x, dim=-1):
    finite = torch.where(x == -math.inf, torch.zeros_like(x), x)
    powers = (x - finite.mean(dim=dim, keepdim=True)).exp()
    total = powers.sum(dim=dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="A small number added to the divisor makes the weights sum to less than one.",
    caught_by="test_slices_sum_to_one",
)
def epsilon_in_divisor(x, dim=-1):
    largest = x.amax(dim=dim, keepdim=True)
    powers = (x - torch.where(largest == -math.inf, torch.zeros_like(largest), largest)).exp()
    return powers / (powers.sum(dim=dim, keepdim=True) + 1e-9)


@wrong(
    "softmax",
    idea="The weights are taken along `dim`; here it is the last dimension, whatever `dim` says.",
    caught_by="test_along_the_dimension_given",
)
def last_dimension_always(x, dim=-1):
    largest = x.amax(dim=-1, keepdim=True)
    powers = (x - torch.where(largest == -math.inf, torch.zeros_like(largest), largest)).exp()
    total = powers.sum(dim=-1, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="Where no `dim` is given the weights run along the last dimension, not along the first.",
    caught_by="test_any_number_of_dimensions",
)
def first_dimension_by_default(x, dim=0):
    largest = x.amax(dim=dim, keepdim=True)
    powers = (x - torch.where(largest == -math.inf, torch.zeros_like(largest), largest)).exp()
    total = powers.sum(dim=dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="Each slice along `dim` sums to one by itself; here the whole tensor does.",
    caught_by="test_values_worked_by_hand",
)
def whole_tensor(x, dim=-1):
    powers = (x - x.max()).exp()
    return powers / powers.sum()


@wrong(
    "softmax",
    idea="A slice that is minus infinity throughout gives zeros; minus infinity minus itself is NaN.",
    caught_by="test_slices_of_minus_infinity_only",
)
def nan_when_all_is_blocked(x, dim=-1):
    powers = (x - x.amax(dim=dim, keepdim=True)).exp()
    return powers / powers.sum(dim=dim, keepdim=True)


@wrong(
    "softmax",
    idea="A slice that is minus infinity throughout gives zeros, not equal weights.",
    caught_by="test_slices_of_minus_infinity_only",
)
def equal_when_all_is_blocked(x, dim=-1):
    x = x.clamp(min=torch.finfo(x.dtype).min)
    powers = (x - x.amax(dim=dim, keepdim=True)).exp()
    return powers / powers.sum(dim=dim, keepdim=True)


@wrong(
    "softmax",
    idea="A NaN that is replaced after it was made is still there in the gradient.",
    caught_by="test_gradient_at_minus_infinity",
)
def nan_replaced_afterwards(x, dim=-1):
    powers = (x - x.amax(dim=dim, keepdim=True)).exp()
    return torch.nan_to_num(powers / powers.sum(dim=dim, keepdim=True))


@wrong(
    "softmax",
    idea="Exponentials come first: the scores themselves, divided by their sum, are no weights.",
    caught_by="test_values_worked_by_hand",
)
def without_exponential(x, dim=-1):
    return x / x.sum(dim=dim, keepdim=True)


@wrong(
    "softmax",
    idea="The exponentials are divided by their sum, so that they sum to one; here that step is missing.",
    caught_by="test_slices_sum_to_one",
)
def without_division(x, dim=-1):
    return (x - x.amax(dim=dim, keepdim=True)).exp()


@wrong(
    "softmax",
    idea="The divisor is the sum of the exponentials, not the root of the sum of their squares.",
    caught_by="test_slices_sum_to_one",
)
def length_one_instead(x, dim=-1):
    powers = (x - x.amax(dim=dim, keepdim=True)).exp()
    return powers / powers.square().sum(dim=dim, keepdim=True).sqrt()


@wrong(
    "softmax",
    idea="What is asked for are the weights, not their logarithms.",
    caught_by="test_values_worked_by_hand",
)
def logarithms(x, dim=-1):
    return x - x.logsumexp(dim=dim, keepdim=True)


@wrong(
    "softmax",
    idea="The base of the powers is e, not 2.",
    caught_by="test_values_worked_by_hand",
)
def powers_of_two(x, dim=-1):
    largest = x.amax(dim=dim, keepdim=True)
    powers = torch.exp2(x - torch.where(largest == -math.inf, torch.zeros_like(largest), largest))
    total = powers.sum(dim=dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="The largest score has the largest weight; here the sign is the other way round.",
    caught_by="test_values_worked_by_hand",
)
def smallest_wins(x, dim=-1):
    powers = (x.amin(dim=dim, keepdim=True) - x).exp()
    return powers / powers.sum(dim=dim, keepdim=True)


@wrong(
    "softmax",
    idea="Each weight depends on all scores of its slice; here each is computed from its own score alone.",
    caught_by="test_slices_sum_to_one",
)
def each_for_itself(x, dim=-1):
    return 1 / (1 + (-x).exp())


@wrong(
    "softmax",
    idea="Scores that are cut off at a largest value lose their differences; subtracting a constant keeps them.",
    caught_by="test_large_scores",
)
def scores_cut_off(x, dim=-1):
    powers = x.clamp(max=30.0).exp()
    total = powers.sum(dim=dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="The sum in the divisor depends on the scores, and its gradient counts.",
    caught_by="test_gradient_is_the_slope",
)
def divisor_held_constant(x, dim=-1):
    largest = x.amax(dim=dim, keepdim=True)
    powers = (x - torch.where(largest == -math.inf, torch.zeros_like(largest), largest)).exp()
    total = powers.sum(dim=dim, keepdim=True).detach()
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="The result keeps the dtype of the input; here it is float32 whatever comes in.",
    caught_by="test_dtype_is_kept",
)
def always_float32_weights(x, dim=-1):
    x = x.float()
    largest = x.amax(dim=dim, keepdim=True)
    powers = (x - torch.where(largest == -math.inf, torch.zeros_like(largest), largest)).exp()
    total = powers.sum(dim=dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "softmax",
    idea="A float64 input deserves float64 accuracy all the way, not only a float64 result.",
    caught_by="test_accurate_in_every_dtype",
)
def float32_on_the_way(x, dim=-1):
    wide = x.float()
    largest = wide.amax(dim=dim, keepdim=True)
    powers = (wide - torch.where(largest == -math.inf, torch.zeros_like(largest), largest)).exp()
    total = powers.sum(dim=dim, keepdim=True)
    return (powers / torch.where(total == 0, torch.ones_like(total), total)).to(x.dtype)


@wrong(
    "softmax",
    idea="The input stays as it is: `-=` writes into the tensor that was handed in.",
    caught_by="test_input_stays_as_it_is",
)
def writes_into_input(x, dim=-1):
    with torch.no_grad():
        largest = x.amax(dim=dim, keepdim=True)
        x -= torch.where(largest == -math.inf, torch.zeros_like(largest), largest)
    powers = x.exp()
    total = powers.sum(dim=dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@wrong(
    "causal_mask",
    idea="A token may attend to itself: the diagonal is not blocked.",
    caught_by="test_a_token_sees_itself",
)
def diagonal_blocked(seq_len, device=None):
    return torch.ones(seq_len, seq_len, dtype=torch.bool, device=device).triu(0)


@wrong(
    "causal_mask",
    idea="True means blocked in this course; here True stands where a token may look.",
    caught_by="test_values_worked_by_hand",
)
def true_means_visible(seq_len, device=None):
    return torch.ones(seq_len, seq_len, dtype=torch.bool, device=device).tril(0)


@wrong(
    "causal_mask",
    idea="What is blocked is the future, above the diagonal; here it is the past, below it.",
    caught_by="test_values_worked_by_hand",
)
def past_blocked(seq_len, device=None):
    return torch.ones(seq_len, seq_len, dtype=torch.bool, device=device).tril(-1)


@wrong(
    "causal_mask",
    idea="The very next token is the future already; here it can still be seen.",
    caught_by="test_a_token_sees_its_whole_past",
)
def next_token_visible(seq_len, device=None):
    return torch.ones(seq_len, seq_len, dtype=torch.bool, device=device).triu(2)


@wrong(
    "causal_mask",
    idea="The mask says where, by True and False; the minus infinities are put in by attention itself.",
    caught_by="test_values_worked_by_hand",
)
def minus_infinities(seq_len, device=None):
    return torch.full((seq_len, seq_len), -math.inf, device=device).triu(1)


@wrong(
    "causal_mask",
    idea="The mask is boolean, not a table of zeros and ones.",
    caught_by="test_mask_is_boolean",
)
def zeros_and_ones(seq_len, device=None):
    return torch.ones(seq_len, seq_len, device=device).triu(1)


@wrong(
    "causal_mask",
    idea="The diagonal runs from the first query and the first key to the last of both; here it runs the other way.",
    caught_by="test_values_worked_by_hand",
)
def other_diagonal(seq_len, device=None):
    return torch.ones(seq_len, seq_len, dtype=torch.bool, device=device).triu(1).flip(-1)


@wrong(
    "causal_mask",
    idea="The mask has one row a query and one column a key, and no further dimension.",
    caught_by="test_any_length",
)
def batch_dimension_added(seq_len, device=None):
    return torch.ones(1, seq_len, seq_len, dtype=torch.bool, device=device).triu(1)


@wrong(
    "scaled_dot_product_attention",
    idea="The scores are divided by the root of d_k before the softmax; here they are not divided at all.",
    caught_by="test_scale_is_the_root_of_d_k",
)
def not_scaled(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K)
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The scores are divided by the root of d_k, not by d_k itself.",
    caught_by="test_scale_is_the_root_of_d_k",
)
def scaled_by_d_k(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / Q.shape[-1]
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The scale comes from the size of the queries and keys, d_k, not from the size of the values.",
    caught_by="test_scale_is_the_root_of_d_k",
)
def scaled_by_root_of_d_v(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(V.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The scale comes from the size of a key, d_k, not from the number of keys.",
    caught_by="test_scale_is_the_root_of_d_k",
)
def scaled_by_number_of_keys(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(K.shape[-2])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The root of d_k need not be a whole number; here it was rounded.",
    caught_by="test_scale_is_the_root_of_d_k",
)
def root_rounded(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.isqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The scale belongs before the softmax; weights that are divided afterwards no longer sum to one.",
    caught_by="test_rows_of_weights_sum_to_one",
)
def scaled_after_softmax(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K)
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1) / math.sqrt(Q.shape[-1])
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="Each query shares its attention among the keys; here each key shares it among the queries.",
    caught_by="test_rows_of_weights_sum_to_one",
)
def softmax_over_queries(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-2)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="True means blocked; here the keys marked True are the only ones that are seen.",
    caught_by="test_true_means_blocked",
)
def mask_inverted(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The mask is there to be used; here nothing is blocked.",
    caught_by="test_true_means_blocked",
)
def mask_ignored(Q, K, V, mask=None):
    weights = softmax(pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1]), dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="Blocked keys are taken out before the softmax; weights that are set to zero after it leave a sum below one.",
    caught_by="test_rows_of_weights_sum_to_one",
)
def mask_after_softmax(Q, K, V, mask=None):
    weights = softmax(pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1]), dim=-1)
    if mask is not None:
        weights = weights.masked_fill(mask, 0.0)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="A score of zero is still a score, with a weight of its own; a blocked key must get none.",
    caught_by="test_true_means_blocked",
)
def blocked_scores_zero(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, 0.0)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="A mask of truth values that is added to the scores shifts them by one and blocks nothing.",
    caught_by="test_true_means_blocked",
)
def mask_added(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores + mask
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="A large negative number in place of minus infinity gives a row that is blocked altogether equal weights.",
    caught_by="test_rows_blocked_altogether",
)
def finite_blocking(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="A penalty that is subtracted does not block a key whose score is larger than the penalty.",
    caught_by="test_strongest_key_blocked",
)
def weak_penalty(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        everything = mask.expand_as(scores).all(dim=-1, keepdim=True)
        scores = (scores - 1e4 * mask.to(scores.dtype)).masked_fill(everything, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="A query that may attend to nothing gets zeros, not NaN.",
    caught_by="test_rows_blocked_altogether",
)
def nan_in_blocked_rows(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    weights = powers / powers.sum(dim=-1, keepdim=True)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="Rows that are blocked altogether have gradients of zero; a NaN that is replaced later is still in them.",
    caught_by="test_gradients_at_blocked_rows",
)
def nan_replaced_in_blocked_rows(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores + torch.zeros_like(scores).masked_fill(mask, -math.inf)
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    weights = torch.nan_to_num(powers / powers.sum(dim=-1, keepdim=True))
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="Entry [i, j] of the mask is about query i and key j; here it was turned round.",
    caught_by="test_later_tokens_leave_earlier_outputs",
)
def mask_turned(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask.mT if mask.dim() > 1 else mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="A mask may have fewer dimensions than the scores, or sizes of one; it broadcasts by itself.",
    caught_by="test_masks_broadcast",
)
def mask_of_full_shape_only(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.clone()
        scores[..., mask.reshape(scores.shape[-2:])] = -math.inf
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="Only the mask that is handed in blocks anything; without one every token sees all.",
    caught_by="test_random_tensors",
)
def causal_always(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=Q.device).triu(1)
    scores = scores.masked_fill(future if mask is None else future | mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The weights that are returned are those after the softmax; here they are the scores.",
    caught_by="test_rows_of_weights_sum_to_one",
)
def scores_returned(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    return softmax(scores, dim=-1) @ V, scores


@wrong(
    "scaled_dot_product_attention",
    idea="What the weights mix are the values V; here they mix the keys.",
    caught_by="test_values_worked_by_hand",
)
def keys_mixed(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ K, weights


@wrong(
    "scaled_dot_product_attention",
    idea="Queries ask and keys answer, rows belong to Q and columns to K; here they changed places.",
    caught_by="test_values_worked_by_hand",
)
def queries_and_keys_swapped(Q, K, V, mask=None):
    scores = pairwise_dot_products(K, Q) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The output comes first, the weights second.",
    caught_by="test_random_tensors",
)
def results_swapped(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights, weights @ V


@wrong(
    "scaled_dot_product_attention",
    idea="Two things are returned, the output and the weights.",
    caught_by="test_random_tensors",
)
def output_only(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    return softmax(scores, dim=-1) @ V


@wrong(
    "scaled_dot_product_attention",
    idea="Gradients must be able to flow through the weights too; here they are cut off.",
    caught_by="test_gradients_reach_q_k_and_v",
)
def weights_cut_off(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights.detach()


@wrong(
    "scaled_dot_product_attention",
    idea="A table of zeros in the default dtype changes the dtype of what is added to it.",
    caught_by="test_default_dtype_does_not_matter",
)
def table_in_default_dtype(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        penalty = torch.zeros(mask.shape, device=Q.device).masked_fill(mask, -math.inf)
        scores = scores + penalty
    weights = softmax(scores, dim=-1)
    return weights @ V.to(weights.dtype), weights


@wrong(
    "scaled_dot_product_attention",
    idea="Queries and keys may differ in number; the scores are a table of n times m.",
    caught_by="test_queries_and_keys_may_differ_in_number",
)
def square_tables_only(Q, K, V, mask=None):
    n = Q.shape[-2]
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.reshape(*Q.shape[:-1], n).masked_fill(mask, -math.inf)
    weights = softmax(scores.reshape(*Q.shape[:-1], n), dim=-1)
    return weights @ V, weights


@wrong(
    "multi_head_attention_loop",
    idea="What the heads found still has to be mixed by W_O; here that last step is missing.",
    caught_by="test_each_part_of_w_o_meets_its_head",
)
def without_w_o(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    return torch.cat([output for output, _ in results], dim=-1), [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="W_O acts from the right as it is; here it was turned round.",
    caught_by="test_each_part_of_w_o_meets_its_head",
)
def w_o_turned(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    return torch.cat([output for output, _ in results], dim=-1) @ W_O.T, [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="The outputs of the heads stand side by side; here they are added up.",
    caught_by="test_each_part_of_w_o_meets_its_head",
)
def heads_added(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    total = sum(output for output, _ in results)
    return torch.cat([total] * len(results), dim=-1) @ W_O, [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="Head 0 comes first among the outputs; here the order of the heads is turned round.",
    caught_by="test_each_part_of_w_o_meets_its_head",
)
def heads_in_reverse(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    return torch.cat([output for output, _ in reversed(results)], dim=-1) @ W_O, [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="The features of one head stay together; here the heads take turns, feature by feature.",
    caught_by="test_each_part_of_w_o_meets_its_head",
)
def features_interleaved(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    merged = torch.stack([output for output, _ in results], dim=-1).flatten(start_dim=-2)
    return merged @ W_O, [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="Each head has matrices of its own; here all heads use those of the first.",
    caught_by="test_any_number_of_heads",
)
def first_matrices_for_all(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    output, weights = scaled_dot_product_attention(X @ W_Qs[0], X @ W_Ks[0], X @ W_Vs[0], mask=mask)
    return torch.cat([output] * len(W_Qs), dim=-1) @ W_O, [weights] * len(W_Qs)


@wrong(
    "multi_head_attention_loop",
    idea="Every head works on the same X; here each gets what the head before it left.",
    caught_by="test_heads_are_independent",
)
def heads_in_a_chain(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    outputs, maps, current = [], [], X
    for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True):
        output, weights = scaled_dot_product_attention(current @ W_Q, current @ W_K, current @ W_V, mask=mask)
        outputs.append(output)
        maps.append(weights)
        current = weights @ current
    return torch.cat(outputs, dim=-1) @ W_O, maps


@wrong(
    "multi_head_attention_loop",
    idea="In one head d_k is the number of columns of its W_Q; here the scores are scaled by the root of d_model.",
    caught_by="test_scale_is_the_root_of_d_k",
)
def scaled_by_root_of_d_model(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    outputs, maps = [], []
    for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True):
        factor = math.sqrt(W_Q.shape[-1] / X.shape[-1])
        output, weights = scaled_dot_product_attention(X @ W_Q * factor, X @ W_K, X @ W_V, mask=mask)
        outputs.append(output)
        maps.append(weights)
    return torch.cat(outputs, dim=-1) @ W_O, maps


@wrong(
    "multi_head_attention_loop",
    idea="The mask is for every head; here only the first one gets it.",
    caught_by="test_mask_reaches_every_head",
)
def mask_for_first_head_only(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    outputs, maps = [], []
    for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True):
        output, weights = scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=None if maps else mask)
        outputs.append(output)
        maps.append(weights)
    return torch.cat(outputs, dim=-1) @ W_O, maps


@wrong(
    "multi_head_attention_loop",
    idea="The mask that is handed in has to be handed on.",
    caught_by="test_mask_reaches_every_head",
)
def mask_not_handed_on(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V) for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    return torch.cat([output for output, _ in results], dim=-1) @ W_O, [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="The loop's scores have no head axis, so the mask needs none: it is handed on as it comes.",
    caught_by="test_masks_broadcast",
)
def mask_with_head_axis(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    if mask is not None and mask.dim() == 3:
        mask = mask.unsqueeze(-3)
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    return torch.cat([output for output, _ in results], dim=-1) @ W_O, [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="The values are projected by W_V, as queries and keys are by their matrices.",
    caught_by="test_any_number_of_heads",
)
def keys_as_values(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_K, mask=mask) for W_Q, W_K in zip(W_Qs, W_Ks, strict=True)
    ]
    return torch.cat([output for output, _ in results], dim=-1) @ W_O, [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="W_Q makes the queries and W_K the keys; here they changed places.",
    caught_by="test_values_worked_by_hand",
)
def query_and_key_matrices_swapped(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_K, X @ W_Q, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    return torch.cat([output for output, _ in results], dim=-1) @ W_O, [weights for _, weights in results]


@wrong(
    "multi_head_attention_loop",
    idea="The weights are a list with one tensor a head, not one tensor of all.",
    caught_by="test_any_number_of_heads",
)
def weights_stacked(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    return torch.cat([output for output, _ in results], dim=-1) @ W_O, torch.stack([weights for _, weights in results])


@wrong(
    "multi_head_attention_loop",
    idea="Each head has a map of its own; here their mean is returned.",
    caught_by="test_any_number_of_heads",
)
def weights_averaged(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    mean = sum(weights for _, weights in results) / len(results)
    return torch.cat([output for output, _ in results], dim=-1) @ W_O, [mean] * len(results)


@wrong(
    "split_heads",
    idea="A reshape alone cuts the table by tokens; features are cut first, then token and head change places.",
    caught_by="test_a_head_owns_neighbouring_columns",
)
def reshape_only(x, n_heads):
    *lead, seq, d_model = x.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    return x.reshape(*lead, n_heads, seq, d_model // n_heads)


@wrong(
    "split_heads",
    idea="Neighbouring columns belong to one head; here the columns are dealt out in turn.",
    caught_by="test_a_head_owns_neighbouring_columns",
)
def columns_dealt_out(x, n_heads):
    *lead, seq, d_model = x.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    return x.reshape(*lead, seq, d_model // n_heads, n_heads).movedim(-1, -3)


@wrong(
    "split_heads",
    idea="The head comes before the token in the result; here it still stands behind it.",
    caught_by="test_any_number_of_batch_dimensions",
)
def head_behind_token(x, n_heads):
    *lead, seq, d_model = x.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    return x.reshape(*lead, seq, n_heads, d_model // n_heads)


@wrong(
    "split_heads",
    idea="The head stands right before the token, behind all batch dimensions; here it is the very first.",
    caught_by="test_any_number_of_batch_dimensions",
)
def head_first_of_all(x, n_heads):
    *lead, seq, d_model = x.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    return x.reshape(*lead, seq, n_heads, d_model // n_heads).movedim(-2, 0)


@wrong(
    "split_heads",
    idea="n_heads is the number of heads, not the number of features in one.",
    caught_by="test_one_head_and_one_feature_a_head",
)
def number_and_size_swapped(x, n_heads):
    *lead, seq, d_model = x.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    return x.reshape(*lead, seq, d_model // n_heads, n_heads).transpose(-3, -2)


@wrong(
    "split_heads",
    idea="Head 0 owns the first columns; here the heads come in the opposite order.",
    caught_by="test_a_head_owns_neighbouring_columns",
)
def last_head_first(x, n_heads):
    *lead, seq, d_model = x.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    return x.reshape(*lead, seq, n_heads, d_model // n_heads).transpose(-3, -2).flip(-3)


@wrong(
    "split_heads",
    idea="There may be any number of batch dimensions, none included; here exactly one is taken for granted.",
    caught_by="test_any_number_of_batch_dimensions",
)
def one_batch_dimension_only(x, n_heads):
    batch, seq, d_model = x.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    return x.reshape(batch, seq, n_heads, d_model // n_heads).transpose(1, 2)


@wrong(
    "split_heads",
    idea="Where n_heads does not divide d_model, columns must not get lost in silence.",
    caught_by="test_error_where_not_divisible",
)
def columns_lost(x, n_heads):
    *lead, seq, d_model = x.shape
    d_head = d_model // n_heads
    return x[..., : n_heads * d_head].reshape(*lead, seq, n_heads, d_head).transpose(-3, -2)


@wrong(
    "split_heads",
    idea="The error that was promised is a ValueError; here it is another one, raised by the reshape.",
    caught_by="test_error_where_not_divisible",
)
def another_error(x, n_heads):
    *lead, seq, d_model = x.shape
    assert d_model % n_heads == 0
    return x.reshape(*lead, seq, n_heads, d_model // n_heads).transpose(-3, -2)


@wrong(
    "split_heads",
    idea="One tensor with a dimension for the heads is asked for, not a list of pieces.",
    caught_by="test_random_tokens",
)
def list_of_pieces(x, n_heads):
    if x.shape[-1] % n_heads:
        raise ValueError("n_heads must divide d_model")
    return list(x.split(x.shape[-1] // n_heads, dim=-1))


@wrong(
    "merge_heads",
    idea="Head and token change places before the features are joined; a reshape alone mixes tokens up.",
    caught_by="test_heads_stand_side_by_side",
)
def joined_without_swap(x):
    *lead, n_heads, seq, d_head = x.shape
    return x.reshape(*lead, seq, n_heads * d_head)


@wrong(
    "merge_heads",
    idea="The features of one head stay together; here the heads take turns, feature by feature.",
    caught_by="test_heads_stand_side_by_side",
)
def heads_take_turns(x):
    return x.movedim(-3, -1).flatten(start_dim=-2)


@wrong(
    "merge_heads",
    idea="Token and head change places, not token and feature.",
    caught_by="test_values_worked_by_hand",
)
def token_and_feature_swapped(x):
    *lead, n_heads, seq, d_head = x.shape
    return x.transpose(-2, -1).reshape(*lead, seq, n_heads * d_head)


@wrong(
    "merge_heads",
    idea="The heads stand side by side; here they are added up.",
    caught_by="test_random_heads",
)
def heads_summed(x):
    return x.sum(dim=-3)


@wrong(
    "merge_heads",
    idea="The heads are joined along the features; here one stands below the other, along the tokens.",
    caught_by="test_random_heads",
)
def joined_along_tokens(x):
    return x.flatten(start_dim=-3, end_dim=-2)


@wrong(
    "merge_heads",
    idea="Head 0 comes first; here the heads come in the opposite order.",
    caught_by="test_heads_stand_side_by_side",
)
def merged_in_reverse(x):
    return x.flip(-3).transpose(-3, -2).flatten(start_dim=-2)


@wrong(
    "merge_heads",
    idea="There may be any number of batch dimensions, none included; here exactly one is taken for granted.",
    caught_by="test_any_number_of_batch_dimensions",
)
def one_batch_dimension_merged(x):
    batch, n_heads, seq, d_head = x.shape
    return x.transpose(1, 2).reshape(batch, seq, n_heads * d_head)


@wrong(
    "merge_heads",
    idea="Which memory layout the input has must not matter; `view` depends on it.",
    caught_by="test_random_heads",
)
def view_after_swap(x):
    *lead, n_heads, seq, d_head = x.shape
    return x.transpose(-3, -2).view(*lead, seq, n_heads * d_head)


@wrong(
    "multi_head_attention",
    idea="A reshape alone cuts the projected table by tokens, so that each head sees mixed-up tokens.",
    caught_by="test_equals_the_loop",
)
def heads_cut_by_tokens(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    *lead, seq, d_model = X.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    Q, K, V = ((X @ W).reshape(*lead, n_heads, seq, d_model // n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return output.reshape(*lead, seq, d_model) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="Head h owns neighbouring columns of the matrices; here the columns are dealt out in turn.",
    caught_by="test_equals_the_loop",
)
def heads_interleaved(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    *lead, seq, d_model = X.shape
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    Q, K, V = ((X @ W).reshape(*lead, seq, d_model // n_heads, n_heads).movedim(-1, -3) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return output.movedim(-3, -1).reshape(*lead, seq, d_model) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="Before the heads are joined, head and token change places again.",
    caught_by="test_equals_the_loop",
)
def merged_without_swap(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return output.reshape(X.shape) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="What the heads found still has to be mixed by W_O; here that last step is missing.",
    caught_by="test_each_part_of_w_o_meets_its_head",
)
def without_last_matrix(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output), weights


@wrong(
    "multi_head_attention",
    idea="A matrix acts from the right as it is; here W_O was turned round, as nn.Linear keeps its weight.",
    caught_by="test_each_part_of_w_o_meets_its_head",
)
def last_matrix_turned(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O.T, weights


@wrong(
    "multi_head_attention",
    idea="W_Q, W_K and W_V act from the right as they are; here they were turned round.",
    caught_by="test_values_worked_by_hand",
)
def projections_turned(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W.T, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="In one head d_k is d_head; here the scores are scaled by the root of d_model.",
    caught_by="test_scale_is_the_root_of_d_head",
)
def scaled_by_whole_width(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q / math.sqrt(n_heads), K, V, mask=mask)
    return merge_heads(output) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="Each head has a map of its own; here their mean is returned.",
    caught_by="test_equals_the_loop",
)
def maps_averaged(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O, weights.mean(dim=-3)


@wrong(
    "multi_head_attention",
    idea="n_heads says how many maps there are; here there is one head as wide as the model.",
    caught_by="test_any_number_of_heads",
)
def one_wide_head(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    if X.shape[-1] % n_heads:
        raise ValueError("n_heads must divide d_model")
    Q, K, V = (split_heads(X @ W, 1) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O, weights.expand(*X.shape[:-2], n_heads, X.shape[-2], X.shape[-2])


@wrong(
    "multi_head_attention",
    idea="The mask is for every head; here only the first one gets it.",
    caught_by="test_mask_reaches_every_head",
)
def mask_on_first_head_only(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    if mask is not None:
        mask = mask.expand(*X.shape[:-2], n_heads, X.shape[-2], X.shape[-2]).clone()
        mask[..., 1:, :, :] = False
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="The mask that is handed in has to be handed on.",
    caught_by="test_mask_reaches_every_head",
)
def mask_dropped(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V)
    return merge_heads(output) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="A mask of three dimensions has one table a head; it broadcasts as it is, without a further dimension.",
    caught_by="test_masks_broadcast",
)
def mask_given_a_head_axis(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    if mask is not None and mask.dim() == 3:
        mask = mask.unsqueeze(1)
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="Queries and keys have matrices of their own; here both use the same.",
    caught_by="test_values_worked_by_hand",
)
def one_matrix_for_both(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_Q, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="Values are projected by W_V before they are mixed; here X itself is mixed.",
    caught_by="test_any_number_of_heads",
)
def values_not_projected(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = split_heads(X @ W_Q, n_heads), split_heads(X @ W_K, n_heads), split_heads(X, n_heads)
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="W_O comes after the heads are joined and mixes them all; here each head met only its own block of it.",
    caught_by="test_equals_the_loop",
)
def blocks_of_w_o(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    d_head = X.shape[-1] // n_heads
    blocks = [W_O[h * d_head : (h + 1) * d_head, h * d_head : (h + 1) * d_head] for h in range(n_heads)]
    return merge_heads(output @ torch.stack(blocks)), weights


@wrong(
    "multi_head_attention",
    idea="Where n_heads does not divide d_model, a ValueError is due before anything is cut.",
    caught_by="test_error_where_not_divisible",
)
def no_error_where_not_divisible(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    *lead, seq, d_model = X.shape
    d_head = d_model // n_heads
    kept = n_heads * d_head
    Q, K, V = ((X @ W)[..., :kept].reshape(*lead, seq, n_heads, d_head).transpose(-3, -2) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return output.transpose(-3, -2).flatten(start_dim=-2) @ W_O[:kept], weights


# --- right on the CPU only: where the arguments are is not where the answer computes


@wrong(
    "pairwise_dot_products",
    idea="numpy reads the memory of the CPU: what is on a GPU does not get there, and gradients end there.",
    caught_by="test_device_is_kept",
)
def by_way_of_numpy(X, Y):
    return torch.from_numpy(X.detach().numpy() @ Y.detach().numpy().swapaxes(-2, -1))


@wrong(
    "pairwise_dot_products",
    idea="cpu() fetches the numbers to the CPU, and there the result stays.",
    caught_by="test_device_is_kept",
)
def fetched_to_the_cpu(X, Y):
    return X.cpu() @ Y.cpu().transpose(-2, -1)


@wrong(
    "pairwise_dot_products",
    idea="The table that is filled was made on the default device, not where X is.",
    caught_by="test_device_is_kept",
)
def table_of_zeros_filled(X, Y):
    table = torch.zeros(*X.shape[:-1], Y.shape[-2], dtype=X.dtype)
    for j in range(Y.shape[-2]):
        table[..., j] = (X * Y[..., j : j + 1, :]).sum(dim=-1)
    return table


@wrong(
    "softmax",
    idea="torch.FloatTensor is a type of the CPU: to convert to it moves the numbers there.",
    caught_by="test_device_is_kept",
)
def converted_to_float_tensor(x, dim=-1):
    x = x.type({torch.float32: torch.FloatTensor, torch.float64: torch.DoubleTensor}.get(x.dtype, x.dtype))
    largest = x.detach().amax(dim=dim, keepdim=True)
    weights = torch.exp(x - largest.masked_fill(largest == -math.inf, 0.0))
    return weights / weights.sum(dim=dim, keepdim=True).masked_fill(largest == -math.inf, 1.0)


@wrong(
    "softmax",
    idea="The zeros that stand for blocked rows are made on the default device.",
    caught_by="test_device_is_kept",
)
def zeros_on_the_default_device(x, dim=-1):
    largest = x.detach().amax(dim=dim, keepdim=True)
    blocked = largest == -math.inf
    weights = torch.exp(x - torch.where(blocked, torch.zeros(largest.shape, dtype=x.dtype), largest))
    return weights / torch.where(blocked, torch.ones(largest.shape, dtype=x.dtype), weights.sum(dim=dim, keepdim=True))


@wrong(
    "softmax",
    idea="A tensor written out in brackets is made on the default device and has a dimension; a plain number has neither.",
    caught_by="test_device_is_kept",
)
def literal_with_a_dimension(x, dim=-1):
    largest = torch.maximum(x.detach().amax(dim=dim, keepdim=True), torch.tensor([-1e30]).to(x.dtype))
    weights = torch.exp(x - largest.nan_to_num(neginf=-1e4))
    total = weights.sum(dim=dim, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


@wrong(
    "causal_mask",
    idea="Positions are counted on the default device, whatever device is asked for.",
    caught_by="test_device_is_the_one_given",
)
def positions_without_the_device(seq_len, device=None):
    positions = torch.arange(seq_len)
    return positions[None, :] > positions[:, None]


@wrong(
    "causal_mask",
    idea="The triangle is cut from ones that were made on the default device, whatever device is asked for.",
    caught_by="test_device_is_the_one_given",
)
def triangle_without_the_device(seq_len, device=None):
    return torch.ones(seq_len, seq_len).triu(1).bool()


@wrong(
    "causal_mask",
    idea="The lists become a tensor on the default device, whatever device is asked for.",
    caught_by="test_device_is_the_one_given",
)
def lists_without_the_device(seq_len, device=None):
    return torch.tensor([[column > row for column in range(seq_len)] for row in range(seq_len)]).view(seq_len, seq_len)


@wrong(
    "causal_mask",
    idea="What is left of all after the lower triangle is made on the default device, whatever device is asked for.",
    caught_by="test_device_is_the_one_given",
)
def all_but_the_lower_triangle(seq_len, device=None):
    return torch.tril(torch.ones(seq_len, seq_len, device="cpu")) == 0


@wrong(
    "scaled_dot_product_attention",
    idea="Where no mask is given, one is made, and on the default device.",
    caught_by="test_device_is_kept",
)
def empty_mask_on_the_default_device(Q, K, V, mask=None):
    if mask is None:
        mask = torch.zeros(Q.shape[-2], K.shape[-2], dtype=torch.bool)
    scores = (pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])).masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The root of d_k is a tensor with a dimension, made on the default device; a plain number has no device.",
    caught_by="test_device_is_kept",
)
def root_in_a_tensor(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / torch.tensor([Q.shape[-1]], dtype=Q.dtype).sqrt()
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The minus infinities are put into a tensor of the default device, at places that a mask from elsewhere names.",
    caught_by="test_device_is_kept",
)
def penalty_on_the_default_device(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        penalty = torch.zeros(mask.shape, dtype=scores.dtype)
        penalty[mask] = -math.inf
        scores = scores + penalty
    weights = softmax(scores, dim=-1)
    return weights @ V, weights


@wrong(
    "scaled_dot_product_attention",
    idea="The weights are sent to the CPU before they are returned.",
    caught_by="test_device_is_kept",
)
def weights_sent_to_the_cpu(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights.to("cpu")


@wrong(
    "multi_head_attention_loop",
    idea="The heads are joined to a tensor of nothing that was made on the default device.",
    caught_by="test_device_is_kept",
)
def joined_to_nothing(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    joined, maps = torch.empty(*X.shape[:-1], 0, dtype=X.dtype), []
    for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True):
        output, weights = scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        joined = torch.cat((joined, output), dim=-1)
        maps.append(weights)
    return joined @ W_O, maps


@wrong(
    "multi_head_attention_loop",
    idea="The weights of each head are kept as copies on the CPU.",
    caught_by="test_device_is_kept",
)
def maps_kept_on_the_cpu(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    outputs, maps = [], []
    for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True):
        output, weights = scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask=mask)
        outputs.append(output)
        maps.append(weights.cpu())
    return torch.cat(outputs, dim=-1) @ W_O, maps


@wrong(
    "split_heads",
    idea="The heads are copied into a tensor that was made on the default device.",
    caught_by="test_device_is_kept",
)
def heads_copied_to_the_default_device(x, n_heads):
    *lead, seq, d_model = x.shape
    if n_heads < 1 or d_model % n_heads:
        raise ValueError("n_heads does not divide d_model")
    d_head = d_model // n_heads
    heads = torch.empty(*lead, n_heads, seq, d_head, dtype=x.dtype)
    for h in range(n_heads):
        heads[..., h, :, :] = x[..., h * d_head : (h + 1) * d_head]
    return heads


@wrong(
    "split_heads",
    idea="To pick the columns by a matrix of zeros and ones, that matrix has to be where x is.",
    caught_by="test_device_is_kept",
)
def heads_picked_by_a_matrix(x, n_heads):
    d_model = x.shape[-1]
    if n_heads < 1 or d_model % n_heads:
        raise ValueError("n_heads does not divide d_model")
    columns = torch.eye(d_model, dtype=x.dtype).reshape(d_model, n_heads, -1).transpose(0, 1)
    return x.unsqueeze(-3) @ columns


@wrong(
    "merge_heads",
    idea="The rows are copied into a tensor that was made on the default device.",
    caught_by="test_device_is_kept",
)
def rows_copied_to_the_default_device(x):
    *lead, n_heads, seq, d_head = x.shape
    merged = torch.zeros(*lead, seq, n_heads * d_head, dtype=x.dtype)
    for h in range(n_heads):
        merged[..., h * d_head : (h + 1) * d_head] = x[..., h, :, :]
    return merged


@wrong(
    "merge_heads",
    idea="A list of numbers has no device: the tensor made of it is on the default one.",
    caught_by="test_device_is_kept",
)
def made_of_a_list(x):
    turned = x.transpose(-3, -2)
    return torch.tensor(turned.tolist(), dtype=x.dtype).reshape(*turned.shape[:-2], -1)


@wrong(
    "multi_head_attention",
    idea="The order of the columns is looked up in a tensor of the default device that multiplies one of another.",
    caught_by="test_device_is_kept",
)
def columns_ordered_by_a_matrix(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    order = torch.eye(X.shape[-1], dtype=X.dtype)
    Q, K, V = (split_heads(X @ (W @ order), n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(output) @ W_O, weights


@wrong(
    "multi_head_attention",
    idea="The results of the heads are gathered in a tensor of the default device.",
    caught_by="test_device_is_kept",
)
def output_gathered_on_the_default_device(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V))
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    gathered = torch.zeros(X.shape, dtype=X.dtype)
    gathered += merge_heads(output) @ W_O
    return gathered, weights
