"""Wrong answers to lesson 2 that students give, each with the idea it violates and the test that is named for it."""

import math

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

from autograder.misconception import wrong


@wrong(
    "ScaledDotProductAttention",
    idea="The scores are not scaled: with wide queries and keys the softmax becomes too sharp.",
    caught_by="test_scale_is_the_root_of_d_k",
)
class HeadUnscaled(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        scores = self.W_Q(X) @ self.W_K(X).transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ self.W_V(X), weights


@wrong(
    "ScaledDotProductAttention",
    idea="The scores are divided by the root of d_model; it is the width of queries and keys, d_k, that counts.",
    caught_by="test_scale_is_the_root_of_d_k",
)
class HeadScaledByModel(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        scores = self.W_Q(X) @ self.W_K(X).transpose(-2, -1) / X.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ self.W_V(X), weights


@wrong(
    "ScaledDotProductAttention",
    idea="The scores are divided by d_k itself, not by its root.",
    caught_by="test_scale_is_the_root_of_d_k",
)
class HeadScaledWithoutRoot(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.d_k = d_k
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        scores = self.W_Q(X) @ self.W_K(X).transpose(-2, -1) / self.d_k
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ self.W_V(X), weights


@wrong(
    "ScaledDotProductAttention",
    idea="The scale is the root of d_v; values take no part in the scores.",
    caught_by="test_scale_is_the_root_of_d_k",
)
class HeadScaledByValues(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.scale = math.sqrt(d_v)
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        scores = self.W_Q(X) @ self.W_K(X).transpose(-2, -1) / self.scale
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ self.W_V(X), weights


@wrong(
    "ScaledDotProductAttention",
    idea="The softmax runs over the queries; each query shares its attention out over the keys, the last dimension.",
    caught_by="test_rows_of_weights_sum_to_one",
)
class HeadSoftmaxOverQueries(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-2)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The mask is read the wrong way round: True means blocked here.",
    caught_by="test_mask_worked_by_hand",
)
class HeadMaskInverted(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(~mask, 0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="Weights are set to zero after the softmax only, so what is left of a row no longer sums to one.",
    caught_by="test_rows_of_weights_sum_to_one",
)
class HeadMaskAfterSoftmax(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        weights = F.softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]), dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="A blocked score is set to zero; but exp(0) is 1, so a blocked key still takes its share of the softmax.",
    caught_by="test_rows_of_weights_sum_to_one",
)
class HeadMaskScoresToZero(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, 0.0)
        weights = F.softmax(scores, dim=-1)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The mask is left out altogether.",
    caught_by="test_later_tokens_leave_earlier_outputs",
)
class HeadMaskIgnored(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        weights = F.softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]), dim=-1)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="Queries and keys have changed places: row i of the weights belongs to query i, not to key i.",
    caught_by="test_rows_are_queries",
)
class HeadKeysInRows(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = K @ Q.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="A softmax over nothing but minus infinity is NaN: a query that may attend to nothing needs care.",
    caught_by="test_rows_blocked_altogether",
)
class HeadNaNWhereAllIsBlocked(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="With a large negative number in place of minus infinity a fully blocked row attends to everything alike.",
    caught_by="test_rows_blocked_altogether",
)
class HeadFiniteMask(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, -1e9)
        weights = F.softmax(scores, dim=-1)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="NaN that is replaced after it was made looks right and still poisons the gradient.",
    caught_by="test_gradients_reach_x_and_every_weight",
)
class HeadNaNGradient(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores + torch.zeros_like(scores).masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1).nan_to_num(0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The linears have a bias, which the formula has not and the state dict shows.",
    caught_by="test_state_dict_holds_the_linears",
)
class HeadWithBias(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k)
        self.W_K = nn.Linear(d_model, d_k)
        self.W_V = nn.Linear(d_model, d_v)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="A registered buffer becomes a part of the state dict, which holds the named linears and nothing else.",
    caught_by="test_state_dict_holds_the_linears",
)
class HeadWithBuffer(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)
        self.register_buffer("last_weights", torch.zeros(1))

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The first two dimensions are swapped in place of the last two, which works without a batch only.",
    caught_by="test_any_number_of_batch_dimensions",
)
class HeadSwapsFirstDimensions(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(0, 1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The weights mix the tokens themselves; it is their values, V, that are handed over.",
    caught_by="test_values_worked_by_hand",
)
class HeadMixesTokens(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K = self.W_Q(X), self.W_K(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ X, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The weights are cut off from the graph, so queries and keys never learn.",
    caught_by="test_gradients_reach_x_and_every_weight",
)
class HeadDetached(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights.detach() @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The softmax is computed in float32 and left there; results have the dtype of X.",
    caught_by="test_dtype_is_kept",
)
class HeadInFloat32(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1, dtype=torch.float32)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ V.float(), weights


@wrong(
    "ScaledDotProductAttention",
    idea="A softmax by plain exponentials overflows at large scores.",
    caught_by="test_large_scores",
)
class HeadOverflows(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        powers = (Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])).exp()
        if mask is not None:
            powers = powers.masked_fill(mask, 0.0)
        total = powers.sum(dim=-1, keepdim=True)
        weights = powers / total.masked_fill(total == 0, 1.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The mask of an earlier call is kept and used again in a call that has none.",
    caught_by="test_calls_leave_no_trace",
)
class HeadRemembersMask(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)
        self.mask = None

    def forward(self, X, mask=None):
        if mask is not None:
            self.mask = mask
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if self.mask is None or self.mask.shape[-1] != scores.shape[-1]:
            return F.softmax(scores, dim=-1) @ V, F.softmax(scores, dim=-1)
        weights = F.softmax(scores.masked_fill(self.mask, float("-inf")), dim=-1).masked_fill(self.mask, 0.0)
        return weights @ V, weights


@wrong(
    "ScaledDotProductAttention",
    idea="The input is scaled in place, so the caller's tensor is another one afterwards.",
    caught_by="test_inputs_stay_as_they_are",
)
class HeadScalesItsInput(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        V = self.W_V(X)
        with torch.no_grad():
            X.div_(self.W_Q.weight.shape[0] ** 0.25)
        scores = self.W_Q(X) @ self.W_K(X).transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ V, weights


@wrong(
    "MultiHeadAttention",
    idea="Reshaping to (n_heads, seq, d_head) cuts the memory, not the columns: heads get whole tokens of others.",
    caught_by="test_heads_are_independent",
)
class HeadsByMemory(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def forward(self, X, mask=None):
        shape = (*X.shape[:-2], self.n_heads, X.shape[-2], self.d_head)
        Q, K, V = (W(X).reshape(shape) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).reshape(X.shape)), weights


@wrong(
    "MultiHeadAttention",
    idea="Heads and tokens are not swapped back before the heads are joined, so tokens are mixed up.",
    caught_by="test_each_part_of_w_o_meets_its_head",
)
class HeadsNotSwappedBack(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).reshape(X.shape)), weights


@wrong(
    "MultiHeadAttention",
    idea="Heads take turns column by column; each head owns a block of neighbouring columns.",
    caught_by="test_heads_are_independent",
)
class HeadsInterleaved(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.d_head, self.n_heads)).movedim(-1, -3)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).movedim(-3, -1).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="The scores are divided by the root of d_model; within one head d_k is d_head.",
    caught_by="test_scale_is_the_root_of_d_head",
)
class HeadsScaledByModel(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(X.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="The joined heads are returned as they are; W_O has to mix them.",
    caught_by="test_values_worked_by_hand",
)
class HeadsWithoutOutputMatrix(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return (weights @ V).transpose(-3, -2).flatten(-2), weights


@wrong(
    "MultiHeadAttention",
    idea="The weights are averaged over the heads; the lesson asks for one map a head.",
    caught_by="test_any_number_of_heads",
)
class HeadsAveraged(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights.mean(dim=-3)


@wrong(
    "MultiHeadAttention",
    idea="The softmax runs over the heads; each head by itself shares its attention out over the keys.",
    caught_by="test_mask_reaches_every_head",
)
class HeadsCompete(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-3)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="A dimension is put into every mask; a mask broadcasts to (..., n_heads, seq, seq) as it comes.",
    caught_by="test_masks_broadcast",
)
class HeadsUnsqueezeMask(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="The mask is read the wrong way round: True means blocked here.",
    caught_by="test_mask_reaches_every_head",
)
class HeadsMaskInverted(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(~mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="The mask reaches the first head only.",
    caught_by="test_mask_reaches_every_head",
)
class HeadsMaskFirstOnly(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            first = torch.arange(self.n_heads, device=X.device)[:, None, None] == 0
            mask = mask & first
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="A softmax over nothing but minus infinity is NaN: a query that may attend to nothing needs care.",
    caught_by="test_rows_blocked_altogether",
)
class HeadsNaNWhereAllIsBlocked(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="NaN that is replaced after it was made looks right and still poisons the gradient.",
    caught_by="test_gradients_reach_x_and_every_weight",
)
class HeadsNaNGradient(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores + torch.zeros_like(scores).masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1).nan_to_num(0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="Sizes that do not divide are rounded down in silence; the lesson promises a ValueError.",
    caught_by="test_error_where_not_divisible",
)
class HeadsRoundedDown(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, x.shape[-1] // self.n_heads)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="The code counts on exactly one batch dimension; there may be any number of them, or none.",
    caught_by="test_any_number_of_batch_dimensions",
)
class HeadsOneBatchDimension(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def forward(self, X, mask=None):
        batch, seq, d_model = X.shape
        Q, K, V = (
            W(X).view(batch, seq, self.n_heads, self.d_head).transpose(1, 2) for W in (self.W_Q, self.W_K, self.W_V)
        )
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(1, 2).reshape(batch, seq, d_model)), weights


@wrong(
    "MultiHeadAttention",
    idea="The linears have a bias, which the formula has not and the state dict shows.",
    caught_by="test_state_dict_holds_the_linears",
)
class HeadsWithBias(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model)
        self.W_K = nn.Linear(d_model, d_model)
        self.W_V = nn.Linear(d_model, d_model)
        self.W_O = nn.Linear(d_model, d_model)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="Keys are made with the queries' matrix, so W_K never takes part.",
    caught_by="test_gradients_reach_x_and_every_weight",
)
class HeadsWithoutKeys(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_Q, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="Dropout is not in the formula: the result depends on chance and on the mode.",
    caught_by="test_order_of_tokens",
)
class HeadsWithDropout(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(-3, -2)

    def forward(self, X, mask=None):
        Q, K, V = (self.split(W(X)) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        weights = F.dropout(weights, 0.5, training=self.training)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "count_parameters",
    idea="Frozen parameters are counted as well; only what can be trained counts.",
    caught_by="test_frozen_does_not_count",
)
def count_frozen_too(module):
    return sum(p.numel() for p in module.parameters())


@wrong(
    "count_parameters",
    idea="A state dict lists places, and detached tensors: what is shared counts twice there, what is frozen too.",
    caught_by="test_shared_counts_once",
)
def count_state_dict(module):
    return sum(tensor.numel() for tensor in module.state_dict().values())


@wrong(
    "count_parameters",
    idea="A parameter that stands at two places is counted at both.",
    caught_by="test_shared_counts_once",
)
def count_every_place(module):
    everything = module.named_parameters(remove_duplicate=False)
    return sum(p.numel() for _, p in everything if p.requires_grad)


@wrong(
    "count_parameters",
    idea="Tensors are counted, not the numbers in them.",
    caught_by="test_values_counted_by_hand",
)
def count_tensors(module):
    return len([p for p in module.parameters() if p.requires_grad])


@wrong(
    "count_parameters",
    idea="Only matrices are counted; a bias is a parameter too.",
    caught_by="test_values_counted_by_hand",
)
def count_matrices_only(module):
    return sum(p.shape[0] * p.shape[1] for p in module.parameters() if p.requires_grad and p.dim() == 2)


@wrong(
    "count_parameters",
    idea="Only the module's own parameters are counted, not those of its parts.",
    caught_by="test_parts_within_parts",
)
def count_without_parts(module):
    own = list(module.parameters(recurse=False))
    children = [p for child in module.children() for p in child.parameters(recurse=False)]
    return sum(p.numel() for p in {id(p): p for p in own + children}.values() if p.requires_grad)


@wrong(
    "count_parameters",
    idea="Parameters of the same shape are taken for one and the same.",
    caught_by="test_equal_values_are_not_shared",
)
def count_each_shape_once(module):
    return sum(math.prod(shape) for shape in {tuple(p.shape) for p in module.parameters() if p.requires_grad})


@wrong(
    "count_parameters",
    idea="Everything is made trainable before it is counted; counting must change nothing.",
    caught_by="test_module_stays_as_it_is",
)
def count_after_thawing(module):
    module.requires_grad_(True)
    return sum(p.numel() for p in module.parameters())


@wrong(
    "count_parameters",
    idea="What an earlier call has seen is remembered, and left out the next time.",
    caught_by="test_calls_leave_no_trace",
)
def count_with_memory(module, seen=[]):  # noqa: B006 - the mistake itself
    new = [p for p in module.parameters() if p.requires_grad and not any(p is other for other in seen)]
    seen.extend(new)
    return sum(p.numel() for p in new)


@wrong(
    "train_to_copy",
    idea="The loss is measured after the update; each loss belongs to the weights before it.",
    caught_by="test_loss_comes_before_the_update",
)
def copy_loss_after_update(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(module(X)[0], X).backward()
        optimizer.step()
        losses.append(F.mse_loss(module(X)[0], X).item())
    return losses


@wrong(
    "train_to_copy",
    idea="The steps are those of plain gradient descent; the lesson asks for Adam.",
    caught_by="test_adam_with_its_defaults",
)
def copy_by_sgd(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="Weight decay pulls at the weights; Adam's defaults have none.",
    caught_by="test_adam_with_its_defaults",
)
def copy_by_adamw(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="Gradients are never cleared, so each step adds to all the steps before it.",
    caught_by="test_each_call_starts_afresh",
)
def copy_never_clearing(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="Gradients are cleared between backward and update, so nothing is ever learned.",
    caught_by="test_second_call_goes_on",
)
def copy_clearing_too_early(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="A new Adam is made in every round, which forgets the running averages of the rounds before.",
    caught_by="test_adam_with_its_defaults",
)
def copy_with_new_adam_each_round(module, X, steps, lr):
    X = X.detach()
    losses = []
    for _ in range(steps):
        optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="The squares are added up; the mean squared error divides by how many there are.",
    caught_by="test_loss_is_the_mean",
)
def copy_by_sum(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="Absolute differences are averaged; the error is to be squared.",
    caught_by="test_loss_is_the_mean",
)
def copy_by_absolute_error(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.l1_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="Frozen parameters are thawed and trained; what was frozen has to stay so.",
    caught_by="test_frozen_stays",
)
def copy_thawing(module, X, steps, lr):
    X = X.detach()
    module.requires_grad_(True)
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="A copy of the module is trained, and the module itself stays as it was.",
    caught_by="test_second_call_goes_on",
)
def copy_training_a_copy(module, X, steps, lr):
    import copy

    X, module = X.detach(), copy.deepcopy(module)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="Only the last loss is returned; the lesson asks for one loss a step.",
    caught_by="test_any_number_of_steps",
)
def copy_last_loss_only(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    loss = None
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@wrong(
    "train_to_copy",
    idea="There is one loss too many: the state after the last update is measured as well.",
    caught_by="test_no_steps",
)
def copy_one_loss_too_many(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = [F.mse_loss(module(X)[0], X).item()]
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(F.mse_loss(module(X)[0], X).item())
    return losses


@wrong(
    "train_to_copy",
    idea="The backward step reaches X as well and leaves a gradient in it.",
    caught_by="test_x_stays_as_it_is",
)
def copy_into_the_gradient_of_x(module, X, steps, lr):
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="A seed is set for everyone; code should leave global state alone.",
    caught_by="test_calls_leave_no_trace",
)
def copy_setting_a_seed(module, X, steps, lr):
    torch.manual_seed(0)
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="The module is cast to float32; it keeps the dtype that it has.",
    caught_by="test_dtype_is_kept",
)
def copy_in_float32(module, X, steps, lr):
    X = X.detach().float()
    module.float()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "copy_builtin_weights",
    idea="The matrices are transposed; both modules store them in the same way already.",
    caught_by="test_values_worked_by_hand",
)
def weights_transposed(mha, builtin):
    d_model = builtin.in_proj_weight.shape[1]
    with torch.no_grad():
        mha.W_Q.weight.copy_(builtin.in_proj_weight[:d_model].T)
        mha.W_K.weight.copy_(builtin.in_proj_weight[d_model : 2 * d_model].T)
        mha.W_V.weight.copy_(builtin.in_proj_weight[2 * d_model :].T)
        mha.W_O.weight.copy_(builtin.out_proj.weight.T)


@wrong(
    "copy_builtin_weights",
    idea="The thirds of in_proj_weight are in the order Q, K, V; here keys and queries have changed places.",
    caught_by="test_values_worked_by_hand",
)
def weights_keys_first(mha, builtin):
    with torch.no_grad():
        for linear, values in zip((mha.W_K, mha.W_Q, mha.W_V), builtin.in_proj_weight.chunk(3), strict=True):
            linear.weight.copy_(values)
        mha.W_O.weight.copy_(builtin.out_proj.weight)


@wrong(
    "copy_builtin_weights",
    idea="Q, K and V lie one below the other in thirds; here every third row is taken.",
    caught_by="test_values_worked_by_hand",
)
def weights_every_third_row(mha, builtin):
    with torch.no_grad():
        for start, linear in enumerate((mha.W_Q, mha.W_K, mha.W_V)):
            linear.weight.copy_(builtin.in_proj_weight[start::3])
        mha.W_O.weight.copy_(builtin.out_proj.weight)


@wrong(
    "copy_builtin_weights",
    idea="The output matrix is forgotten.",
    caught_by="test_any_sizes",
)
def weights_without_output(mha, builtin):
    with torch.no_grad():
        for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V), builtin.in_proj_weight.chunk(3), strict=True):
            linear.weight.copy_(values)


@wrong(
    "copy_builtin_weights",
    idea="The values go the wrong way, from mha into builtin.",
    caught_by="test_builtin_stays_as_it_is",
)
def weights_other_way(mha, builtin):
    with torch.no_grad():
        for linear, rows in zip((mha.W_Q, mha.W_K, mha.W_V), builtin.in_proj_weight.chunk(3), strict=True):
            rows.copy_(linear.weight)
        builtin.out_proj.weight.copy_(mha.W_O.weight)


@wrong(
    "copy_builtin_weights",
    idea="The parameters of mha become views of builtin's, so a change of one changes the other.",
    caught_by="test_no_shared_storage",
)
def weights_shared(mha, builtin):
    pieces = [*builtin.in_proj_weight.detach().chunk(3), builtin.out_proj.weight.detach()]
    for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V, mha.W_O), pieces, strict=True):
        linear.weight.data = values


@wrong(
    "copy_builtin_weights",
    idea="New parameters are trainable, whatever the old ones were: a frozen one thaws.",
    caught_by="test_as_trainable_as_before",
)
def weights_in_new_parameters(mha, builtin):
    pieces = [*builtin.in_proj_weight.detach().chunk(3), builtin.out_proj.weight.detach()]
    for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V, mha.W_O), pieces, strict=True):
        linear.weight = nn.Parameter(values.clone().to(linear.weight))


@wrong(
    "copy_builtin_weights",
    idea="builtin is frozen to read from it, and stays frozen.",
    caught_by="test_as_trainable_as_before",
)
def weights_freezing_builtin(mha, builtin):
    builtin.requires_grad_(False)
    with torch.no_grad():
        for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V), builtin.in_proj_weight.chunk(3), strict=True):
            linear.weight.copy_(values)
        mha.W_O.weight.copy_(builtin.out_proj.weight)


@wrong(
    "copy_builtin_weights",
    idea="mha takes over builtin's dtype with its values; it keeps its own.",
    caught_by="test_dtype_is_kept",
)
def weights_with_their_dtype(mha, builtin):
    pieces = [*builtin.in_proj_weight.detach().chunk(3), builtin.out_proj.weight.detach()]
    for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V, mha.W_O), pieces, strict=True):
        linear.weight.data = values.clone()


@wrong(
    "copy_builtin_weights",
    idea="Gradients are switched off for everyone and never on again.",
    caught_by="test_calls_leave_no_trace",
)
def weights_with_gradients_off(mha, builtin):
    torch.set_grad_enabled(False)
    for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V), builtin.in_proj_weight.chunk(3), strict=True):
        linear.weight.copy_(values)
    mha.W_O.weight.copy_(builtin.out_proj.weight)


@wrong(
    "copy_builtin_weights",
    idea="Parameters that are frozen are passed over; their values have to be copied as well.",
    caught_by="test_as_trainable_as_before",
)
def weights_passing_over_frozen(mha, builtin):
    pieces = [*builtin.in_proj_weight.chunk(3), builtin.out_proj.weight]
    with torch.no_grad():
        for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V, mha.W_O), pieces, strict=True):
            if linear.weight.requires_grad:
                linear.weight.copy_(values)


# --- right on the CPU only: where the arguments are is not where the answer computes


@wrong(
    "ScaledDotProductAttention",
    idea="The scale is a plain attribute: the module is moved to another device, and that tensor stays behind.",
    caught_by="test_device_is_kept",
)
class HeadWithAScaleLeftBehind(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)
        self.scale = torch.tensor([d_k], dtype=torch.float64).sqrt()

    def forward(self, X, mask=None):
        scores = self.W_Q(X) @ self.W_K(X).transpose(-2, -1) / self.scale.to(X.dtype)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ self.W_V(X), weights


@wrong(
    "ScaledDotProductAttention",
    idea="A layer that is made within forward starts on the default device; nobody moves it to where X is.",
    caught_by="test_device_is_kept",
)
class HeadWithALayerMadeInForward(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        K = self.W_K(X)
        same = nn.Linear(K.shape[-1], K.shape[-1], bias=False, dtype=X.dtype)
        same.weight.data = torch.eye(K.shape[-1], dtype=X.dtype)
        scores = self.W_Q(X) @ same(K).transpose(-2, -1) / math.sqrt(K.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ self.W_V(X), weights


@wrong(
    "ScaledDotProductAttention",
    idea="numpy cannot read what is on a GPU.",
    caught_by="test_device_is_kept",
)
class HeadByWayOfNumpy(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        scores = self.W_Q(X) @ self.W_K(X).transpose(-2, -1) / math.sqrt(self.W_K.out_features)
        if mask is not None:
            scores = scores.masked_fill(torch.from_numpy(mask.numpy()), float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return weights @ self.W_V(X), weights


@wrong(
    "MultiHeadAttention",
    idea="The parameter that is made within forward is a new one each time, on the default device.",
    caught_by="test_device_is_kept",
)
class HeadsWithAParameterMadeInForward(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads = n_heads
        self.W_Q, self.W_K, self.W_V, self.W_O = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))

    def forward(self, X, mask=None):
        d_head = X.shape[-1] // self.n_heads
        Q, K, V = (W(X).unflatten(-1, (self.n_heads, d_head)).transpose(-3, -2) for W in (self.W_Q, self.W_K, self.W_V))
        temperature = nn.Parameter(torch.full((1,), math.sqrt(d_head), dtype=X.dtype), requires_grad=False)
        scores = Q @ K.transpose(-2, -1) / temperature
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="Where there is no mask, one is made on the default device.",
    caught_by="test_device_is_kept",
)
class HeadsWithAMaskOfTheirOwn(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads = n_heads
        self.W_Q, self.W_K, self.W_V, self.W_O = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))

    def forward(self, X, mask=None):
        d_head = X.shape[-1] // self.n_heads
        Q, K, V = (W(X).unflatten(-1, (self.n_heads, d_head)).transpose(-3, -2) for W in (self.W_Q, self.W_K, self.W_V))
        if mask is None:
            mask = torch.eye(X.shape[-2]) < 0
        scores = (Q @ K.transpose(-2, -1) / math.sqrt(d_head)).masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1).masked_fill(mask, 0.0)
        return self.W_O((weights @ V).transpose(-3, -2).flatten(-2)), weights


@wrong(
    "MultiHeadAttention",
    idea="The heads are collected in a tensor that is made on the default device.",
    caught_by="test_device_is_kept",
)
class HeadsCollectedOnTheDefaultDevice(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads = n_heads
        self.W_Q, self.W_K, self.W_V, self.W_O = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))

    def forward(self, X, mask=None):
        d_head = X.shape[-1] // self.n_heads
        Q, K, V = (W(X).unflatten(-1, (self.n_heads, d_head)).transpose(-3, -2) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.transpose(-2, -1) / math.sqrt(d_head)
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        joined = torch.zeros(X.shape, dtype=X.dtype)
        for h in range(self.n_heads):
            joined[..., h * d_head : (h + 1) * d_head] = weights[..., h, :, :] @ V[..., h, :, :]
        return self.W_O(joined), weights


@wrong(
    "count_parameters",
    idea="To count numbers nobody has to look at them; numpy can look only at those on the CPU.",
    caught_by="test_module_on_any_device",
)
def count_by_way_of_numpy(module):
    return sum(p.detach().numpy().size for p in module.parameters() if p.requires_grad)


@wrong(
    "count_parameters",
    idea="The sizes are added to a counter of the default device, which is a tensor like the parameters.",
    caught_by="test_module_on_any_device",
)
def count_in_a_tensor(module):
    counter = torch.zeros(1)
    for parameter in module.parameters():
        if parameter.requires_grad:
            counter += torch.ones_like(parameter, dtype=torch.float32).sum()
    return int(counter)


@wrong(
    "train_to_copy",
    idea="The module is sent to the CPU to be trained, and is found there afterwards.",
    caught_by="test_device_is_kept",
)
def trained_on_the_cpu(module, X, steps, lr):
    module, X = module.to("cpu"), X.detach().to("cpu")
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(module(X)[0], X)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@wrong(
    "train_to_copy",
    idea="The losses are added up in a tensor of the default device that the loss is written into.",
    caught_by="test_device_is_kept",
)
def error_by_way_of_the_default_device(module, X, steps, lr):
    X = X.detach()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        total = torch.zeros(1, dtype=X.dtype)
        total = total + (module(X)[0] - X).square().mean()
        total.sum().backward()
        optimizer.step()
        losses.append(total.item())
    return losses


@wrong(
    "copy_builtin_weights",
    idea="The values come back from numpy, which can read the CPU only.",
    caught_by="test_device_is_kept",
)
def weights_by_way_of_numpy(mha, builtin):
    stacked = builtin.in_proj_weight.detach().numpy()
    pieces = [torch.from_numpy(piece.copy()) for piece in (*stacked.reshape(3, -1, stacked.shape[-1]),)]
    with torch.no_grad():
        for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V), pieces, strict=True):
            linear.weight.copy_(values)
        mha.W_O.weight.copy_(builtin.out_proj.weight)


@wrong(
    "copy_builtin_weights",
    idea="The memory of a copy on the CPU is put in the parameter's place, so the module is on two devices.",
    caught_by="test_device_is_kept",
)
def weights_left_on_the_cpu(mha, builtin):
    pieces = [*builtin.in_proj_weight.detach().chunk(3), builtin.out_proj.weight.detach()]
    for linear, values in zip((mha.W_Q, mha.W_K, mha.W_V, mha.W_O), pieces, strict=True):
        linear.weight.data = values.cpu().clone().to(linear.weight.dtype)
