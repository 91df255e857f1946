"""Right answers of lesson 1, written as differently from the model answers as they can be: the suites pass them all."""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import right


@right("pairwise_dot_products", how="einsum")
def products_by_einsum(X, Y):
    return torch.einsum("...id,...jd->...ij", X, Y)


@right("pairwise_dot_products", how="broadcast products, summed feature by feature")
def products_by_broadcast(X, Y):
    result = X[..., :, None, 0] * Y[..., None, :, 0]
    for c in range(1, X.shape[-1]):
        result = result + X[..., :, None, c] * Y[..., None, :, c]
    return result


@right("pairwise_dot_products", how="the product of Y and X, turned round")
def products_turned_back(X, Y):
    return (Y @ X.mT).mT


@right("pairwise_dot_products", how="row by row, in a wider type for half precision")
def products_row_by_row(X, Y):
    wide = torch.float32 if X.dtype in (torch.float16, torch.bfloat16) else X.dtype
    rows = [(X[..., i : i + 1, :].to(wide) * Y.to(wide)).sum(-1) for i in range(X.shape[-2])]
    return torch.stack(rows, dim=-2).to(X.dtype)


@right("softmax", how="where, sums of exponentials, the maximum by sorting")
def softmax_by_sorting(x, dim=-1):
    largest = x.detach().sort(dim=dim, descending=True).values.narrow(dim, 0, 1)
    powers = torch.exp(x - torch.where(torch.isinf(largest), 0.0, largest))
    total = powers.sum(dim, keepdim=True)
    return powers / torch.where(total > 0, total, 1.0)


@right("softmax", how="the logarithm of the sum first, then one exponential")
def softmax_by_logsumexp(x, dim=-1):
    nothing = (x == -math.inf).all(dim=dim, keepdim=True)
    safe = x.masked_fill(nothing, 0.0)
    return (safe - safe.logsumexp(dim=dim, keepdim=True)).exp().masked_fill(nothing, 0.0)


@right("softmax", how="in float64 and back")
def softmax_in_float64(x, dim=-1):
    wide = x.to(torch.float64)
    blocked = wide == -math.inf
    largest = wide.masked_fill(blocked, torch.finfo(torch.float64).min).amax(dim=dim, keepdim=True)
    powers = (wide.masked_fill(blocked, 0.0) - largest).masked_fill(blocked, -math.inf).exp()
    return (powers / powers.sum(dim=dim, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)).to(x.dtype)


@right("softmax", how="a custom backward, the dimension moved to the end")
def softmax_with_backward(x, dim=-1):
    class Weights(torch.autograd.Function):
        @staticmethod
        def forward(ctx, scores):
            top = scores.amax(-1, keepdim=True)
            powers = (scores - torch.where(top == -math.inf, torch.zeros_like(top), top)).exp()
            total = powers.sum(-1, keepdim=True)
            weights = powers / torch.where(total == 0, torch.ones_like(total), total)
            ctx.save_for_backward(weights)
            return weights

        @staticmethod
        def backward(ctx, gradient):
            (weights,) = ctx.saved_tensors
            return weights * (gradient - (gradient * weights).sum(-1, keepdim=True))

    return Weights.apply(x.movedim(dim, -1)).movedim(-1, dim)


@right("softmax", how="one over the sum of all differences' exponentials")
def softmax_by_differences(x, dim=-1):
    x = x.movedim(dim, -1)
    blocked = x == -math.inf
    safe = torch.where(blocked, torch.zeros_like(x), x)
    differences = safe.unsqueeze(-2) - safe.unsqueeze(-1)
    differences = differences.masked_fill(blocked.unsqueeze(-2), -math.inf)
    top = differences.detach().amax(-1, keepdim=True).clamp(min=0)
    total = torch.exp(differences - top).sum(-1)
    return torch.where(blocked, torch.zeros_like(x), torch.exp(-top.squeeze(-1)) / total.clamp(min=1e-6)).movedim(
        -1, dim
    )


@right("causal_mask", how="comparing positions")
def mask_by_positions(seq_len, device=None):
    i = torch.arange(seq_len, device=device)
    return i.unsqueeze(1) < i


@right("causal_mask", how="two loops")
def mask_by_loops(seq_len, device=None):
    rows = [[key > query for key in range(seq_len)] for query in range(seq_len)]
    return torch.tensor(rows, dtype=torch.bool, device=device)


@right("causal_mask", how="the complement of a lower triangle")
def mask_by_complement(seq_len, device=None):
    return ~torch.tril(torch.full((seq_len, seq_len), True, device=device))


@right("scaled_dot_product_attention", how="einsum, the scale on the queries, where for the mask")
def attention_by_einsum(Q, K, V, mask=None):
    scores = torch.einsum("...qd,...kd->...qk", Q * Q.shape[-1] ** -0.5, K)
    if mask is not None:
        scores = torch.where(mask, torch.full_like(scores, float("-inf")), scores)
    weights = softmax(scores)
    return torch.einsum("...qk,...kd->...qd", weights, V), weights


@right("scaled_dot_product_attention", how="one query after the other")
def attention_by_query(Q, K, V, mask=None):
    n, m = Q.shape[-2], K.shape[-2]
    blocked = None if mask is None else mask.expand(*Q.shape[:-2], n, m)
    outputs, rows = [], []
    for i in range(n):
        scores = (K * Q[..., i : i + 1, :]).sum(-1) / math.sqrt(Q.shape[-1])
        if blocked is not None:
            scores = scores.masked_fill(blocked[..., i, :], -math.inf)
        row = softmax(scores)
        rows.append(row)
        outputs.append((row.unsqueeze(-1) * V).sum(-2))
    return torch.stack(outputs, dim=-2), torch.stack(rows, dim=-2)


@right("scaled_dot_product_attention", how="no softmax function: exponentials of allowed keys only, sums kept apart")
def attention_by_sums(Q, K, V, mask=None):
    scores = Q @ K.transpose(-1, -2) / Q.size(-1) ** 0.5
    allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else ~mask.expand_as(scores)
    low = torch.finfo(scores.dtype).min
    top = scores.detach().masked_fill(~allowed, low).amax(-1, keepdim=True)
    powers = torch.where(allowed, torch.exp((scores - top).clamp(max=0)), 0)
    total = powers.sum(-1, keepdim=True)
    weights = powers / torch.where(total == 0, 1, total)
    return weights @ V, weights


@right("scaled_dot_product_attention", how="a finite penalty, and rows with nothing to see cleared afterwards")
def attention_cleared_afterwards(Q, K, V, mask=None):
    wide = torch.float32 if Q.dtype in (torch.float16, torch.bfloat16) else Q.dtype
    scores = pairwise_dot_products(Q.to(wide), K.to(wide)) / math.sqrt(K.shape[-1])
    if mask is None:
        weights = softmax(scores, dim=-1)
    else:
        weights = softmax(scores.masked_fill(mask, -1e30), dim=-1).masked_fill(mask, 0.0)
    return (weights @ V.to(wide)).to(Q.dtype), weights.to(Q.dtype)


@right("scaled_dot_product_attention", how="NaN replaced, behind a masked_fill that lets no gradient of it through")
def attention_with_nan_replaced(Q, K, V, mask=None):
    scores = torch.matmul(Q, K.swapaxes(-1, -2)).div(math.sqrt(Q.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    weights = torch.nan_to_num(powers / powers.sum(dim=-1, keepdim=True))
    return torch.matmul(weights, V), weights


@right("scaled_dot_product_attention", how="by logsumexp, which is coarse where scores are large")
def attention_by_logsumexp(Q, K, V, mask=None):
    scores = Q @ K.mT / math.sqrt(Q.shape[-1])
    blocked = torch.zeros_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    nothing = blocked.all(-1, keepdim=True)
    scores = scores.masked_fill(blocked & ~nothing, -math.inf)
    weights = (scores - scores.logsumexp(-1, keepdim=True)).exp().masked_fill(nothing, 0.0)
    return weights @ V, weights


@right("multi_head_attention_loop", how="the sum of each head's share of W_O")
def loop_by_shares(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    total, maps, start = 0, (), 0
    for h in range(len(W_Qs)):
        output, weights = scaled_dot_product_attention(X @ W_Qs[h], X @ W_Ks[h], X @ W_Vs[h], mask)
        width = W_Vs[h].shape[-1]
        total = total + output @ W_O[start : start + width]
        start += width
        maps += (weights,)
    return total, maps


@right("multi_head_attention_loop", how="all heads at once, then taken apart")
def loop_without_loop(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    Q, K, V = (X.unsqueeze(-3) @ torch.stack(list(Ws)) for Ws in (W_Qs, W_Ks, W_Vs))
    if mask is not None and mask.dim() > 2:
        mask = mask.unsqueeze(-3)
    output, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    merged = output.movedim(-3, -2).flatten(start_dim=-2)
    return [torch.matmul(merged, W_O), [weights[..., h, :, :] for h in range(len(W_Qs))]]


@right("multi_head_attention_loop", how="scores through the product of W_Q and W_K")
def loop_by_bilinear_form(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    outputs, maps = [], []
    for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs):  # noqa: B905 - as students write it
        scores = torch.einsum("...id,dk,ek,...je->...ij", X, W_Q, W_K, X) / math.sqrt(W_Q.shape[1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        maps.append(softmax(scores))
        outputs.append(maps[-1] @ (X @ W_V))
    return torch.cat(outputs, -1) @ W_O, maps


@right("split_heads", how="pieces that are stacked")
def split_by_stacking(x, n_heads):
    if x.shape[-1] % n_heads != 0:
        raise ValueError("not divisible")
    return torch.stack(x.chunk(n_heads, dim=-1), dim=-3)


@right("split_heads", how="unflatten and movedim")
def split_by_unflatten(x, n_heads):
    d_head, rest = divmod(x.size(-1), n_heads)
    if rest:
        raise ValueError(f"{n_heads} heads do not divide {x.size(-1)} features")
    return x.unflatten(-1, (n_heads, d_head)).movedim(-2, -3)


@right("split_heads", how="an index of columns for each head")
def split_by_index(x, n_heads):
    d_model = x.shape[-1]
    if d_model // n_heads * n_heads != d_model:
        raise ValueError
    columns = torch.arange(d_model, device=x.device).view(n_heads, d_model // n_heads)
    return x[..., columns].transpose(-2, -3).contiguous()


@right("merge_heads", how="the heads one after the other, concatenated")
def merge_by_concatenation(x):
    return torch.cat(x.unbind(dim=-3), dim=-1)


@right("merge_heads", how="a copy, then a view")
def merge_by_view(x):
    swapped = x.swapaxes(-2, -3).contiguous()
    return swapped.view(*swapped.shape[:-2], -1)


@right("merge_heads", how="writing into a new tensor")
def merge_by_writing(x):
    n_heads, seq, d_head = x.shape[-3:]
    merged = x.new_empty(*x.shape[:-3], seq, n_heads * d_head)
    for h in range(n_heads):
        merged[..., h * d_head : (h + 1) * d_head] = x[..., h, :, :]
    return merged


@right("multi_head_attention", how="the loop over slices of the matrices")
def batched_by_loop(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    d_model = X.shape[-1]
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    d_head = d_model // n_heads
    if mask is not None:
        mask = mask.expand(*X.shape[:-2], n_heads, X.shape[-2], X.shape[-2])
    outputs, maps = [], []
    for h in range(n_heads):
        own = slice(h * d_head, (h + 1) * d_head)
        blocked = None if mask is None else mask[..., h, :, :]
        output, weights = scaled_dot_product_attention(X @ W_Q[:, own], X @ W_K[:, own], X @ W_V[:, own], mask=blocked)
        outputs.append(output)
        maps.append(weights)
    return torch.cat(outputs, dim=-1) @ W_O, torch.stack(maps, dim=-3)


@right("multi_head_attention", how="einsum over matrices with a head dimension")
def batched_by_einsum(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    d_model = W_Q.shape[0]
    if d_model % n_heads:
        raise ValueError("n_heads must divide d_model")
    Q, K, V = (torch.einsum("...sd,dhc->...hsc", X, W.reshape(d_model, n_heads, -1)) for W in (W_Q, W_K, W_V))
    scores = torch.einsum("...qc,...kc->...qk", Q, K) / math.sqrt(d_model // n_heads)
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    mixed = torch.einsum("...hqk,...hkc->...qhc", weights, V)
    return torch.einsum("...qhc,hcd->...qd", mixed, W_O.reshape(n_heads, -1, d_model)), weights


@right("multi_head_attention", how="one product with all three matrices side by side")
def batched_by_one_product(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    if X.shape[-1] % n_heads:
        raise ValueError("n_heads must divide d_model")
    Q, K, V = (split_heads(part, n_heads) for part in (X @ torch.cat([W_Q, W_K, W_V], dim=1)).chunk(3, dim=-1))
    output, weights = scaled_dot_product_attention(Q, K, V, mask)
    return merge_heads(output) @ W_O, weights
