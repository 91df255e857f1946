"""Right answers to lesson 2, written in other ways than the model's: its suites must pass each of them."""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

from autograder.misconception import right


@right("ScaledDotProductAttention", how="einsum, and a finite mask value that is set to zero after the softmax")
class HeadByEinsum(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.scale = d_k**-0.5
        for name, width in (("W_Q", d_k), ("W_K", d_k), ("W_V", d_v)):
            self.add_module(name, nn.Linear(d_model, width, bias=False))

    def forward(self, X, mask=None):
        scores = torch.einsum("...id,...jd->...ij", self.W_Q(X) * self.scale, self.W_K(X))
        if mask is None:
            weights = scores.softmax(-1)
        else:
            weights = scores.masked_fill(mask, torch.finfo(scores.dtype).min).softmax(-1) * ~mask
        return torch.einsum("...ij,...jd->...id", weights, self.W_V(X)), weights


@right("ScaledDotProductAttention", how="one query after the other, softmax by hand in at least float32")
class HeadByLoop(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def row(self, q, K, blocked):
        scores = (K * q.unsqueeze(-2)).sum(-1) / math.sqrt(q.shape[-1])
        scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
        if blocked is not None:
            scores = torch.where(blocked, scores.new_full((), -math.inf), scores)
        top = scores.detach().amax(-1, keepdim=True)
        powers = (scores - torch.where(top.isinf(), torch.zeros_like(top), top)).exp()
        total = powers.sum(-1, keepdim=True)
        return (powers / torch.where(total == 0, torch.ones_like(total), total)).to(K.dtype)

    def forward(self, X, mask=None):
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        seq = X.shape[-2]
        if mask is not None:
            mask = mask.expand(*X.shape[:-1], seq)
        rows = [self.row(Q[..., i, :], K, None if mask is None else mask[..., i, :]) for i in range(seq)]
        weights = torch.stack(rows, dim=-2)
        return weights @ V, weights


@right("ScaledDotProductAttention", how="by logsumexp, which is coarse where scores are large")
class HeadByLogsumexp(nn.Module):
    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)

    def forward(self, X, mask=None):
        Q, K = self.W_Q(X), self.W_K(X)
        scores = Q @ K.mT / math.sqrt(Q.shape[-1])
        blocked = torch.zeros_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
        nothing = blocked.all(-1, keepdim=True)
        scores = scores.masked_fill(blocked & ~nothing, -math.inf)
        weights = (scores - scores.logsumexp(-1, keepdim=True)).exp().masked_fill(nothing, 0.0)
        return weights @ self.W_V(X), weights


@right("ScaledDotProductAttention", how="linears of an own class that keep the weight themselves")
class HeadWithOwnLinears(nn.Module):
    class Matrix(nn.Module):
        def __init__(self, d_in, d_out):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(d_out, d_in) / d_in**0.5)

        def forward(self, x):
            return x @ self.weight.mT

    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        self.W_Q, self.W_K, self.W_V = self.Matrix(d_model, d_k), self.Matrix(d_model, d_k), self.Matrix(d_model, d_v)

    def forward(self, X, mask=None):
        K = self.W_K(X)
        logits = self.W_Q(X).matmul(K.mT).div(K.size(-1) ** 0.5)
        if mask is None:
            weights = torch.softmax(logits, -1)
        else:
            empty = mask.expand_as(logits).all(-1, keepdim=True)
            weights = torch.softmax(logits.masked_fill(mask & ~empty, -torch.inf), -1).masked_fill(empty, 0)
        return weights.matmul(self.W_V(X)), weights


@right("MultiHeadAttention", how="a loop over heads, each on its slice of columns")
class HeadsByLoop(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.d_head, remainder = divmod(d_model, n_heads)
        if remainder:
            raise ValueError(f"{d_model} features cannot be shared out over {n_heads} heads")
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def forward(self, X, mask=None):
        maps, outputs = [], []
        n_heads = X.shape[-1] // self.d_head
        if mask is not None:
            mask = mask.expand(*X.shape[:-2], n_heads, X.shape[-2], X.shape[-2])
        parts = (W(X).split(self.d_head, dim=-1) for W in (self.W_Q, self.W_K, self.W_V))
        for h, (Q, K, V) in enumerate(zip(*parts, strict=True)):
            scores = Q @ K.transpose(-1, -2) / self.d_head**0.5
            if mask is None:
                maps.append(F.softmax(scores, -1))
            else:
                blocked = mask[..., h, :, :]
                maps.append(F.softmax(scores.masked_fill(blocked, -torch.inf), -1).masked_fill(blocked, 0.0))
            outputs.append(maps[-1] @ V)
        return self.W_O(torch.cat(outputs, dim=-1)), torch.stack(maps, dim=-3)


@right("MultiHeadAttention", how="batch dimensions flattened, permute and reshape, half types computed in float32")
class HeadsUpcast(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model // n_heads * n_heads != d_model:
            raise ValueError("d_model is no multiple of n_heads")
        self.n_heads = n_heads
        self.W_K, self.W_O = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)
        self.W_Q, self.W_V = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)

    def heads(self, x):
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.to(wide).reshape(-1, x.shape[-2], self.n_heads, x.shape[-1] // self.n_heads).permute(0, 2, 1, 3)

    def forward(self, X, mask=None):
        *lead, seq, d_model = X.shape
        Q, K, V = self.heads(self.W_Q(X)), self.heads(self.W_K(X)), self.heads(self.W_V(X))
        logits = torch.einsum("bhqd,bhkd->bhqk", Q, K) / math.sqrt(Q.shape[-1])
        if mask is not None:
            blocked = mask.expand(*lead, self.n_heads, seq, seq).reshape(logits.shape)
            logits = logits.masked_fill(blocked, float("-inf"))
        weights = logits.softmax(dim=-1)
        if mask is not None:
            weights = weights.masked_fill(blocked, 0.0)
        mixed = torch.einsum("bhqk,bhkd->bqhd", weights, V).reshape(*lead, seq, d_model).to(X.dtype)
        return self.W_O(mixed), weights.reshape(*lead, self.n_heads, seq, seq).to(X.dtype)


@right("MultiHeadAttention", how="the stacked weights in one product, W_O as a sum over heads")
class HeadsByStackedWeights(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads > 0:
            raise ValueError(d_model, n_heads)
        self.shape = n_heads, d_model // n_heads
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_O = nn.Linear(d_model, d_model, bias=False)

    def forward(self, X, mask=None):
        stacked = torch.stack([self.W_Q.weight, self.W_K.weight, self.W_V.weight]).unflatten(1, self.shape)
        Q, K, V = torch.einsum("...nm,chdm->c...hnd", X, stacked)
        scores = torch.matmul(Q / self.shape[1] ** 0.5, K.mT)
        if mask is not None:
            scores = torch.where(mask, float("-inf"), scores)
        weights = torch.softmax(scores, dim=-1)
        if mask is not None:
            weights = torch.where(mask, 0.0, weights)
        back = self.W_O.weight.unflatten(1, self.shape)
        return torch.einsum("...hnk,...hkd,mhd->...nm", weights, V, back), weights


@right("count_parameters", how="a loop over names, numbers from the shapes")
def count_by_shapes(module):
    total = 0
    for _, parameter in module.named_parameters():
        if parameter.requires_grad:
            total += math.prod(parameter.shape)
    return total


@right("count_parameters", how="recursion over the parts, with a set of what was seen")
def count_by_recursion(module, seen=None):
    seen = set() if seen is None else seen
    count = 0
    for parameter in module._parameters.values():
        if parameter is not None and parameter.requires_grad and id(parameter) not in seen:
            seen.add(id(parameter))
            count += parameter.numel()
    return count + sum(count_parameters(child, seen) for child in module.children())


@right("count_parameters", how="a 0-d tensor in place of an int")
def count_as_tensor(module):
    sizes = [p.numel() for p in {id(p): p for p in module.parameters()}.values() if p.requires_grad]
    return torch.tensor(sizes, dtype=torch.int64).sum()


@right("train_to_copy", how="Adam written out, with gradients from autograd.grad")
def copy_with_own_adam(module, X, steps, lr):
    target = X.detach().clone()
    weights = [p for p in module.parameters() if p.requires_grad]
    first, second = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    losses = []
    for t in range(1, steps + 1):
        loss = ((module(target)[0] - target) ** 2).mean()
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        losses.append(float(loss.detach()))
        with torch.no_grad():
            for w, g, m, v in zip(weights, gradients, first, second, strict=True):
                if g is None:
                    continue
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g * g)
                w -= lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return losses


@right("train_to_copy", how="a closure, foreach kernels off, losses as 0-d tensors in a tuple")
def copy_with_closure(module, X, steps, lr):
    target = X.data
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, module.parameters()), lr, foreach=False)

    def closure():
        optimizer.zero_grad(set_to_none=False)
        output, *_ = module(target)
        loss = (output - target).square().mean()
        loss.backward()
        return loss

    return tuple(optimizer.step(closure).detach() for _ in range(steps))


@right("train_to_copy", how="all parameters given to Adam, which passes over those without a gradient")
def copy_with_all_parameters(module, X, steps, lr):
    with torch.no_grad():
        target = X.clone()
    for parameter in module.parameters():
        if not parameter.requires_grad:
            parameter.grad = None
    adam = torch.optim.Adam(module.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8)
    history = []
    for _ in range(steps):
        module.zero_grad()
        error = nn.MSELoss()(module(target)[0], target)
        history.append(error.item())
        error.backward()
        adam.step()
    return history


@right("copy_builtin_weights", how="a state dict of its own making, loaded")
def weights_by_state_dict(mha, builtin):
    state = builtin.state_dict()
    W_Q, W_K, W_V = state["in_proj_weight"].chunk(3)
    mha.load_state_dict(
        {"W_Q.weight": W_Q, "W_K.weight": W_K, "W_V.weight": W_V, "W_O.weight": state["out_proj.weight"]}
    )


@right("copy_builtin_weights", how="by slices of rows, through .data")
def weights_by_data(mha, builtin):
    d_model = builtin.embed_dim
    for i, name in enumerate(("W_Q", "W_K", "W_V")):
        rows = builtin.in_proj_weight.data[i * d_model : (i + 1) * d_model]
        getattr(mha, name).weight.data[:] = rows
    mha.W_O.weight.data[:] = builtin.out_proj.weight.data


@right("copy_builtin_weights", how="new parameters of the old dtype, device and flag")
def weights_in_fresh_parameters(mha, builtin):
    third = builtin.in_proj_weight.shape[0] // 3
    values = [*builtin.in_proj_weight.detach().split(third), builtin.out_proj.weight.detach()]
    for linear, new in zip([mha.W_Q, mha.W_K, mha.W_V, mha.W_O], values, strict=True):
        old = linear.weight
        linear.weight = nn.Parameter(new.clone().to(old), requires_grad=old.requires_grad)
