"""Wrong answers to lesson 2 that are not in the bank: what diagnosis makes of them is measured.

`of` names the misconception that each is a case of, written in another way; "" where the bank has no such idea.
"""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

from autograder.misconception import held_back


@held_back("ScaledDotProductAttention", of="HeadUnscaled")
class PlainScores(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        A = torch.einsum("...id,...jd->...ij", self.W_Q(X), self.W_K(X))
        if mask is not None:
            A = torch.where(mask, torch.finfo(A.dtype).min, A)
        A = torch.softmax(A, -1)
        A = A if mask is None else A * (~mask)
        return torch.einsum("...ij,...jd->...id", A, self.W_V(X)), A


@held_back("ScaledDotProductAttention", of="HeadNaNWhereAllIsBlocked")
class NothingAfterTheSoftmax(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.d_k = d_k
        self.W_Q, self.W_K = nn.Linear(d_model, d_k, False), nn.Linear(d_model, d_k, False)
        self.W_V = nn.Linear(d_model, d_v, False)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = torch.matmul(Q, K.transpose(-2, -1)) / self.d_k**0.5
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        attention = torch.softmax(scores, dim=-1)
        return torch.matmul(attention, V), attention


@held_back("ScaledDotProductAttention", of="HeadMaskInverted")
class TrueMeansVisible(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q, self.W_K = nn.Linear(d_model, d_k, bias=False), nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        keys = self.W_K(X)
        scores = (self.W_Q(X) @ keys.mT) * keys.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = scores.softmax(dim=-1)
        if mask is not None:
            weights = torch.where(mask, weights, torch.zeros_like(weights))
        return weights @ self.W_V(X), weights


@held_back("MultiHeadAttention", of="HeadsScaledByModel")
class WholeWidth(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model % n_heads")
        self.d_model, self.n_heads, self.d_head = d_model, n_heads, d_model // n_heads
        self.W_Q, self.W_K = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)
        self.W_V, self.W_O = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)

    def cut(self, x):
        return x.reshape(*x.shape[:-1], self.n_heads, self.d_head).transpose(-2, -3)

    def forward(self, X, mask=None):
        Q, K, V = self.cut(self.W_Q(X)), self.cut(self.W_K(X)), self.cut(self.W_V(X))
        scores = Q @ K.transpose(-1, -2) * self.d_model**-0.5
        if mask is not None:
            scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
        weights = F.softmax(scores, -1)
        if mask is not None:
            weights = weights * mask.logical_not()
        y = (weights @ V).transpose(-2, -3)
        return self.W_O(y.reshape(*y.shape[:-2], self.d_model)), weights


@held_back("MultiHeadAttention", of="HeadsWithoutOutputMatrix")
class NeverMixed(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model % n_heads")
        self.h = n_heads
        self.W_Q, self.W_K = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)
        self.W_V, self.W_O = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)

    def forward(self, X, mask=None):
        outputs, maps = [], []
        for q, k, v in zip(*(W(X).chunk(self.h, -1) for W in (self.W_Q, self.W_K, self.W_V)), strict=True):
            maps.append(q @ k.mT / q.shape[-1] ** 0.5)
            outputs.append(v)
        scores = torch.stack(maps, -3)
        if mask is not None:
            scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        weights = weights if mask is None else weights.masked_fill(mask, 0)
        heads = weights @ torch.stack(outputs, -3)
        return torch.cat(heads.unbind(-3), -1), weights


@held_back("MultiHeadAttention", of="")
class OutputTwice(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model % n_heads")
        self.h = n_heads
        self.W_Q, self.W_K = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)
        self.W_V, self.W_O = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)

    def forward(self, X, mask=None):
        Q, K, V = (W(X).unflatten(-1, (self.h, -1)).transpose(-2, -3) for W in (self.W_Q, self.W_K, self.W_V))
        scores = Q @ K.mT / Q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        weights = weights if mask is None else weights.masked_fill(mask, 0)
        return self.W_O(self.W_O((weights @ V).transpose(-2, -3).flatten(-2))), weights


@held_back("count_parameters", of="count_frozen_too")
def flags_not_read(module):
    total = 0
    for _, parameter in module.named_parameters():
        total += parameter.nelement()
    return total


@held_back("count_parameters", of="count_tensors")
def length_of_the_list(module):
    return len([p for p in module.parameters() if p.requires_grad])


@held_back("count_parameters", of="")
def sizes_added(module):
    return sum(sum(p.shape) for p in module.parameters() if p.requires_grad)


@held_back("train_to_copy", of="copy_by_sgd")
def plain_descent(module, X, steps, lr):
    X = X.detach()
    weights = [p for p in module.parameters() if p.requires_grad]
    losses = []
    for _ in range(steps):
        loss = ((module(X)[0] - X) ** 2).mean()
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= lr * gradient
        losses.append(loss.item())
    return losses


@held_back("train_to_copy", of="copy_loss_after_update")
def measured_too_late(module, X, steps, lr):
    X = X.detach()
    adam = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    history = []
    for _ in range(steps):
        adam.zero_grad()
        F.mse_loss(module(X)[0], X).backward()
        adam.step()
        with torch.no_grad():
            history.append(float(F.mse_loss(module(X)[0], X)))
    return history


@held_back("train_to_copy", of="copy_never_clearing")
def gradients_pile_up(module, X, steps, lr):
    X = X.detach()
    adam = torch.optim.Adam((p for p in module.parameters() if p.requires_grad), lr=lr)
    losses = []
    for _ in range(steps):
        loss = (module(X)[0] - X).pow(2).mean()
        loss.backward()
        losses.append(loss.item())
        adam.step()
    return losses


@held_back("copy_builtin_weights", of="weights_transposed")
def turned_on_the_way(mha, builtin):
    d = builtin.embed_dim
    with torch.no_grad():
        for n, part in enumerate((mha.W_Q, mha.W_K, mha.W_V)):
            part.weight.copy_(builtin.in_proj_weight[n * d : (n + 1) * d].T)
        mha.W_O.weight.copy_(builtin.out_proj.weight.T)


@held_back("copy_builtin_weights", of="weights_without_output")
def three_of_four(mha, builtin):
    Q, K, V = builtin.in_proj_weight.detach().split(builtin.embed_dim)
    mha.W_Q.weight.data.copy_(Q)
    mha.W_K.weight.data.copy_(K)
    mha.W_V.weight.data.copy_(V)
