"""Random inputs of lesson 4, for `autograder prove`: one comparison of two answers a call."""

import torch

from autograder.checking import Mismatch
from autograder.sampling import compare

SIZES = ((1, 3), (1, 5), (2, 4), (3, 3), (2, 6), (3, 6))  # n_heads, d_model: two features leave no gradient in a norm
PARTS = ("output", "weights")


def _gains(draw, d_model):
    return 1 + draw.tensor(d_model, scale=0.3), draw.tensor(d_model, scale=0.5)


def _layer(draw, d_model, d_ff):
    gamma1, beta1 = _gains(draw, d_model)
    gamma2, beta2 = _gains(draw, d_model)
    matrices = {name: draw.tensor(d_model, d_model, scale=d_model**-0.5) for name in ("W_Q", "W_K", "W_V", "W_O")}
    network = {"W1": draw.tensor(d_model, d_ff, scale=d_model**-0.5), "b1": draw.tensor(d_ff, scale=0.5)}
    network |= {"W2": draw.tensor(d_ff, d_model, scale=d_ff**-0.5), "b2": draw.tensor(d_model, scale=0.5)}
    return matrices | network | {"gamma1": gamma1, "beta1": beta1, "gamma2": gamma2, "beta2": beta2}


def layer_norm(draw, student, reference):
    d_model = draw.pick([1, 3, 4, 5, 8])
    x = draw.tensor(draw.size(1, 4), d_model, lead=True, spread=0.3)
    x = x + draw.pick([0.0, 10.0, 100.0]) if draw.chance(0.2) else x
    kwargs = {"eps": draw.pick([1e-3, 0.1, 2.0])} if draw.chance(0.4) else {}
    compare(draw, student.layer_norm, reference.layer_norm, x, *_gains(draw, d_model), **kwargs)


def batch_norm(draw, student, reference):
    d_model = draw.size(1, 6)
    x = draw.tensor(draw.size(1, 4), draw.size(1, 5), d_model, spread=0.3)
    kwargs = {"eps": draw.pick([1e-3, 0.1, 2.0])} if draw.chance(0.4) else {}
    compare(draw, student.batch_norm, reference.batch_norm, x, *_gains(draw, d_model), **kwargs)


def feed_forward(draw, student, reference):
    d_model, d_ff = draw.size(), draw.size(1, 8)
    x, W1, b1 = draw.tensor(draw.size(1, 4), d_model, lead=True), draw.tensor(d_model, d_ff), draw.tensor(d_ff)
    W2, b2 = draw.tensor(d_ff, d_model), draw.tensor(d_model)
    compare(draw, student.feed_forward, reference.feed_forward, x, W1, b1, W2, b2)


def encoder_layer(draw, student, reference):
    n_heads, d_model, seq = *draw.pick(SIZES), draw.size(1, 4)
    x, params = draw.tensor(seq, d_model, lead=True, scale=1.0), _layer(draw, d_model, draw.size(1, 5))
    mask = draw.mask(*draw.lead, n_heads, seq, seq)
    ours, model = student.encoder_layer, reference.encoder_layer
    compare(draw, ours, model, x, params, n_heads=n_heads, mask=mask, what=PARTS)


def encoder(draw, student, reference):
    n_heads, d_model, seq, vocabulary = *draw.pick(SIZES), draw.size(1, 4), draw.size(1, 6)
    draw.dtype = torch.float32 if draw.dtype == torch.float64 else draw.dtype  # whose accuracy the encoding may have
    table = draw.tensor(vocabulary, d_model, scale=1.0)
    params = {"W_embed": table, "layers": [_layer(draw, d_model, 3) for _ in range(draw.size(1, 3))]}
    mask = draw.mask(*draw.lead, n_heads, seq, seq)
    ours, model = student.encoder, reference.encoder
    compare(draw, ours, model, draw.ids(vocabulary, seq), params, n_heads=n_heads, mask=mask, what=PARTS)


def count_parameters(draw, student, reference):
    shared = [draw.tensor(*[draw.size(0, 4) for _ in range(draw.size(0, 4))], scale=1.0) for _ in range(3)]

    def nest(depth):
        if depth == 0 or draw.chance(0.2):
            return draw.pick(shared) if draw.chance(0.5) else torch.zeros(draw.size(0, 4), draw.size(1, 3))
        parts = [nest(depth - 1) for _ in range(draw.size(0, 3))]
        return draw.pick([list, tuple, lambda parts: {f"p{n}": part for n, part in enumerate(parts)}])(parts)

    params = nest(4)
    compare_count(student.count_parameters, reference.count_parameters, params)


def compare_count(ours, model, params):
    got, wanted = ours(params), model(params)
    if isinstance(got, bool) or not isinstance(got, int | torch.Tensor) or int(got) != wanted:
        raise Mismatch("the count", "another")


def gradient_norms(draw, student, reference):
    n_heads, d_model, seq = *draw.pick(SIZES), draw.size(1, 4)
    x, grad_output = (draw.tensor(seq, d_model, lead=True, scale=1.0) for _ in range(2))
    layers = [_layer(draw, d_model, 3) for _ in range(draw.size(1, 3))]
    kwargs = {"residual": draw.chance(0.5)} if draw.chance(0.7) else {}
    ours, model = student.gradient_norms, reference.gradient_norms
    compare(
        draw,
        ours,
        model,
        x,
        layers,
        n_heads,
        grad_output,
        gradients=False,
        what="the norms",
        accuracy=torch.float32,
        **kwargs,
    )
