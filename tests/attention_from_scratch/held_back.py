"""Wrong answers to lesson 1 that are not in the bank: what diagnosis makes of them is measured.

`of` names the misconception that each is a case of, written in another way; "" where the bank has no such idea.
"""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import held_back


@held_back("pairwise_dot_products", of="table_turned")
def einsum_letters_swapped(X, Y):
    return torch.einsum("...nd,...md->...mn", X, Y)


@held_back("pairwise_dot_products", of="scaled_already")
def divided_inside(X, Y):
    d = X.size(-1)
    return torch.matmul(X * d**-0.5, Y.mT)


@held_back("pairwise_dot_products", of="cosine")
def normalised_rows(X, Y):
    def unit(A):
        return A / A.square().sum(-1, keepdim=True).sqrt()

    return torch.matmul(unit(X), unit(Y).mT)


@held_back("pairwise_dot_products", of="mean_over_features")
def averaged_products(X, Y):
    return torch.matmul(X, Y.mT) / Y.shape[-1]


@held_back("pairwise_dot_products", of="")
def squared_products(X, Y):
    return torch.matmul(X, Y.mT) ** 2


@held_back("softmax", of="without_shift")
def textbook_formula(x, dim=-1):
    e = torch.exp(x)
    return e / e.sum(dim=dim, keepdim=True)


@held_back("softmax", of="whole_tensor")
def forgot_dim(x, dim=-1):
    e = torch.exp(x - x.max())
    return e / e.sum()


@held_back("softmax", of="nan_when_all_is_blocked")
def stable_only(x, dim=-1):
    shifted = x - x.max(dim=dim, keepdim=True).values
    e = shifted.exp()
    return e / torch.sum(e, dim, keepdim=True)


@held_back("softmax", of="smallest_wins")
def negated_exponent(x, dim=-1):
    top = (-x).amax(dim, keepdim=True)
    e = torch.exp(-x - top.clamp(min=-1e30, max=1e30))
    return torch.nan_to_num(e / e.sum(dim, keepdim=True))


@held_back("softmax", of="logarithms")
def returns_logs(x, dim=-1):
    top = x.detach().amax(dim, keepdim=True)
    top = torch.where(top == -math.inf, torch.zeros_like(top), top)
    return x - top - (x - top).exp().sum(dim, keepdim=True).log()


@held_back("softmax", of="last_dimension_always")
def dim_never_read(x, dim=-1):
    m = x.detach().max(-1, keepdim=True)[0]
    m = m.masked_fill(m == float("-inf"), 0)
    e = torch.exp(x - m)
    s = e.sum(-1, keepdim=True)
    return e / s.masked_fill(s == 0, 1)


@held_back("softmax", of="")
def squares_instead(x, dim=-1):
    return x.square() / x.square().sum(dim, keepdim=True)


@held_back("causal_mask", of="true_means_visible")
def tril_table(seq_len, device=None):
    return torch.tril(torch.ones(seq_len, seq_len, device=device)).bool()


@held_back("causal_mask", of="diagonal_blocked")
def triu_without_offset(seq_len, device=None):
    return torch.ones((seq_len, seq_len), dtype=torch.bool, device=device).triu()


@held_back("scaled_dot_product_attention", of="not_scaled")
def no_division(Q, K, V, mask=None):
    A = torch.einsum("...qd,...kd->...qk", Q, K)
    if mask is not None:
        A = torch.where(mask, torch.full_like(A, -math.inf), A)
    A = softmax(A, -1)
    return torch.einsum("...qk,...kd->...qd", A, V), A


@held_back("scaled_dot_product_attention", of="scaled_by_d_k")
def divided_by_size(Q, K, V, mask=None):
    scores = torch.matmul(Q, K.transpose(-1, -2)) / K.size(-1)
    if mask is not None:
        scores = scores.masked_fill(mask == 1, float("-inf"))
    attention = softmax(scores)
    return torch.matmul(attention, V), attention


@held_back("scaled_dot_product_attention", of="mask_inverted")
def mask_as_in_pytorch(Q, K, V, mask=None):
    scores = (Q @ K.mT) * Q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -math.inf)
    p = softmax(scores)
    return p @ V, p


@held_back("scaled_dot_product_attention", of="softmax_over_queries")
def wrong_axis(Q, K, V, mask=None):
    scores = torch.matmul(Q, K.mT).div(math.sqrt(K.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-2)
    return torch.matmul(weights, V), weights


@held_back("scaled_dot_product_attention", of="finite_blocking")
def minus_a_billion(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        lowest = -65504.0 if scores.dtype == torch.float16 else -1e9
        scores = torch.where(mask, torch.full_like(scores, lowest), scores)
    weights = softmax(scores)
    return weights @ V, weights


@held_back("scaled_dot_product_attention", of="results_swapped")
def weights_first(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K).mul(1 / Q.shape[-1] ** 0.5)
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    attention = softmax(scores, dim=-1)
    return attention, attention @ V


@held_back("scaled_dot_product_attention", of="scaled_after_softmax")
def weights_divided(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K)
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    attention = softmax(scores, dim=-1) * Q.shape[-1] ** -0.5
    return attention @ V, attention


@held_back("scaled_dot_product_attention", of="")
def scaled_twice(Q, K, V, mask=None):
    scores = pairwise_dot_products(Q, K) / (2 * math.sqrt(Q.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    attention = softmax(scores, dim=-1)
    return attention @ V, attention


@held_back("multi_head_attention_loop", of="heads_added")
def sum_of_heads(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    results = [
        scaled_dot_product_attention(X @ W_Q, X @ W_K, X @ W_V, mask)
        for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True)
    ]
    total = sum(output for output, _ in results)
    return total @ W_O[: total.shape[-1]], [weights for _, weights in results]


@held_back("multi_head_attention_loop", of="mask_not_handed_on")
def mask_lost(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    outs, maps = [], []
    for h in range(len(W_Qs)):
        o, w = scaled_dot_product_attention(
            torch.matmul(X, W_Qs[h]), torch.matmul(X, W_Ks[h]), torch.matmul(X, W_Vs[h])
        )
        outs += [o]
        maps += [w]
    return torch.matmul(torch.concat(outs, -1), W_O), maps


@held_back("split_heads", of="reshape_only")
def view_straight_away(x, n_heads):
    *lead, seq, d_model = x.shape
    if d_model % n_heads:
        raise ValueError("not divisible")
    return x.contiguous().view(*lead, n_heads, seq, d_model // n_heads)


@held_back("split_heads", of="columns_dealt_out")
def unflatten_the_wrong_way(x, n_heads):
    if x.shape[-1] % n_heads:
        raise ValueError("not divisible")
    return x.unflatten(-1, (x.shape[-1] // n_heads, n_heads)).movedim(-1, -3)


@held_back("merge_heads", of="joined_without_swap")
def flattened_heads(x):
    heads, seq, size = x.shape[-3:]
    return torch.reshape(x, (*x.shape[:-3], seq, heads * size))


@held_back("multi_head_attention", of="scaled_by_whole_width")
def root_of_d_model(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    Q, K, V = (split_heads(torch.matmul(X, W), n_heads) for W in (W_Q, W_K, W_V))
    scores = torch.matmul(Q, K.mT) / math.sqrt(X.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores)
    return torch.matmul(merge_heads(weights @ V), W_O), weights


@held_back("multi_head_attention", of="without_last_matrix")
def joined_heads_only(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    if X.shape[-1] % n_heads:
        raise ValueError("n_heads")
    out, attention = scaled_dot_product_attention(*(split_heads(X @ W, n_heads) for W in (W_Q, W_K, W_V)), mask=mask)
    return merge_heads(out), attention


@held_back("multi_head_attention", of="mask_dropped")
def no_mask_for_anyone(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    q, k, v = [split_heads(X.matmul(W), n_heads) for W in (W_Q, W_K, W_V)]
    y, a = scaled_dot_product_attention(q, k, v, None)
    return merge_heads(y).matmul(W_O), a
