"""Random inputs of lesson 2, for `autograder prove`: one comparison of two answers a call.

A module is used as a function of its weights, so that types and gradients of all of them are compared.
"""

import torch
from torch import nn
from torch.func import functional_call

from autograder.checking import Mismatch, agree, leaves_no_state, unmodified
from autograder.sampling import compare

PARTS = ("output", "weights")
NAMES = ("W_Q", "W_K", "W_V", "W_O")


def _used(definition, *sizes, shapes):
    """The module as a function (X, *weights, mask) -> (output, weights)."""
    names = [f"{name}.weight" for name in NAMES[: len(shapes)]]

    def use(X, *weights, mask=None):
        module = definition(*sizes)
        state = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        if state != dict(zip(names, shapes, strict=True)):
            raise Mismatch("the named weights in the state dict", "others")
        if not all(parameter.requires_grad for parameter in module.parameters()):
            raise Mismatch("weights that learn", "some that do not")
        return functional_call(module, dict(zip(names, weights, strict=True)), (X,), {"mask": mask})

    return use


def ScaledDotProductAttention(draw, student, reference):  # noqa: N802 - the exercise's name
    seq, d_model, d_k, d_v = draw.size(1, 5), draw.size(), draw.size(), draw.size()
    shapes = ((d_k, d_model), (d_k, d_model), (d_v, d_model))
    X, weights = draw.tensor(seq, d_model, lead=True, scale=1.0), [draw.tensor(*s, scale=0.7) for s in shapes]
    sides = [_used(side.ScaledDotProductAttention, d_model, d_k, d_v, shapes=shapes) for side in (student, reference)]
    compare(draw, *sides, X, *weights, mask=draw.mask(*draw.lead, seq, seq), what=PARTS, state=False)


def MultiHeadAttention(draw, student, reference):  # noqa: N802 - the exercise's name
    n_heads, seq = draw.size(1, 4), draw.size(1, 4)
    d_model = n_heads * draw.size(1, 3) if draw.chance(0.85) else draw.size(1, 9)
    shapes = ((d_model, d_model),) * 4
    X, weights = draw.tensor(seq, d_model, lead=True, scale=1.0), [draw.tensor(*s, scale=0.7) for s in shapes]
    sides = [_used(side.MultiHeadAttention, d_model, n_heads, shapes=shapes) for side in (student, reference)]
    compare(draw, *sides, X, *weights, mask=draw.mask(*draw.lead, n_heads, seq, seq), what=PARTS, state=False)


def _module(draw):
    """A module of random parts, some frozen, some shared."""
    parts = [lambda: nn.Linear(draw.size(), draw.size(), bias=draw.chance(0.5)), lambda: nn.LayerNorm(draw.size())]
    parts += [lambda: nn.Embedding(draw.size(), draw.size()), lambda: nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))]
    parts += [lambda: nn.BatchNorm1d(draw.size()), lambda: nn.MultiheadAttention(4, 2, bias=draw.chance(0.5))]
    made = [draw.pick(parts)() for _ in range(draw.size(0, 3))]
    made += [draw.pick(made) for _ in range(draw.size(0, 2)) if made]
    module = nn.Sequential(*made)
    for parameter in module.parameters():
        parameter.requires_grad_(draw.chance(0.7))
    return module


def count_parameters(draw, student, reference):
    module = _module(draw)
    with unmodified(*module.parameters()), leaves_no_state():
        got, wanted = student.count_parameters(module), reference.count_parameters(module)
    if isinstance(got, bool) or not isinstance(got, int | torch.Tensor) or int(got) != wanted:
        raise Mismatch("the count", "another")


def train_to_copy(draw, student, reference):
    d, steps, lr = draw.size(1, 4), draw.size(0, 4), draw.pick([0.1, 0.01, 0.3])
    draw.dtype = torch.float64
    X = draw.tensor(draw.size(1, 3), d, lead=False, scale=1.0)
    weights = [draw.tensor(d, d, scale=0.5), draw.tensor(d, d, scale=0.5), draw.tensor(d), draw.tensor(d)]
    frozen, earlier = draw.chance(0.3), draw.chance(0.3)

    def trained(train):
        def use(X, *weights):
            module = nn.RNN(d, d, batch_first=True).to(X.dtype)
            module.load_state_dict(dict(zip(module.state_dict(), weights, strict=True)))
            module.bias_hh_l0.requires_grad_(not frozen)
            if earlier:
                module(X)[0].sum().backward()
            losses = train(module, X, steps, lr)
            state = [value.detach() for value in module.state_dict().values()]
            return (
                [torch.as_tensor(loss, dtype=torch.float64).detach() for loss in losses],
                state,
                module.bias_hh_l0.requires_grad,
            )

        return use

    sides = [trained(side.train_to_copy) for side in (student, reference)]
    agree(*sides, X, *weights)
    X.requires_grad_(draw.chance(0.5))
    module = _Pair(d).double()
    with unmodified(X), leaves_no_state():
        student.train_to_copy(module, X, 1, lr)


class _Pair(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.linear = nn.Linear(d, d)
        nn.init.zeros_(self.linear.weight)

    def forward(self, X):
        return self.linear(X), None


def copy_builtin_weights(draw, student, reference):
    n_heads = draw.size(1, 3)
    d_model = n_heads * draw.size(1, 3)
    stacked, last = draw.tensor(3 * d_model, d_model), draw.tensor(d_model, d_model)
    frozen = [draw.chance(0.3) for _ in range(6)]
    types = draw.pick([draw.dtype, torch.float32])

    def copied(copy):
        def use(stacked, last):
            mha = reference.MultiHeadAttention(d_model, n_heads).to(types)
            builtin = nn.MultiheadAttention(d_model, n_heads, bias=False, batch_first=True).to(stacked.dtype)
            builtin.load_state_dict({"in_proj_weight": stacked, "out_proj.weight": last})
            parameters = [*mha.parameters(), *builtin.parameters()]
            for parameter, stays in zip(parameters, frozen, strict=True):
                parameter.requires_grad_(not stays)
            with leaves_no_state():
                copy(mha, builtin)
            if [parameter.requires_grad for parameter in (*mha.parameters(), *builtin.parameters())] != [
                not f for f in frozen
            ]:
                raise Mismatch("the flags as they were", "others")
            after = [parameter.detach().clone() for parameter in (*mha.parameters(), *builtin.parameters())]
            with torch.no_grad():
                for parameter in mha.parameters():
                    parameter.fill_(0.5)
            return after, [parameter.detach().clone() for parameter in builtin.parameters()]

        return use

    agree(*(copied(side.copy_builtin_weights) for side in (student, reference)), stacked, last)
    got, wanted = (copied(side.copy_builtin_weights)(stacked, last)[0] for side in (student, reference))
    if [tensor.dtype for tensor in got] != [tensor.dtype for tensor in wanted]:
        raise Mismatch("types as they were", "others")
