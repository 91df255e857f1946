"""Random inputs of lesson 3, for `autograder prove`: one comparison of two answers a call.

Where the lesson accepts angles in float32, the allowance is what the formula loses there.
"""

import math

import torch
from torch.func import functional_call

from autograder.checking import Mismatch, agree, default_dtype, leaves_no_state
from autograder.sampling import compare


def _frequencies(d_model, dtype):
    rounding = 1 + torch.finfo(dtype).eps
    return torch.exp(torch.arange(0, d_model, 2).to(dtype) * (-math.log(10000.0) / d_model)) * rounding


def _encoding(positions, d_model, dtype):
    angle = positions.to(dtype).unsqueeze(-1) * _frequencies(d_model, dtype)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)[:, :d_model]


def _agree(draw, ours, formula, *args, **kwargs):
    with leaves_no_state(), default_dtype(draw.pick([torch.float32, torch.float32, torch.float64])):
        exact, coarse = formula(torch.float64), formula(torch.float32)
        agree(ours, coarse, *args, truth=exact, accuracy=torch.float32, **kwargs)


def sinusoidal_positional_encoding(draw, student, reference):
    max_len, d_model = draw.pick([draw.size(1, 20), draw.size(1, 512)]), draw.size(1, 17)
    device = draw.pick([{}, {"device": "cpu"}])

    def formula(dtype):
        return lambda max_len, d_model, device=None: _encoding(torch.arange(max_len), d_model, dtype)

    _agree(draw, student.sinusoidal_positional_encoding, formula, max_len, d_model, **device)
    if student.sinusoidal_positional_encoding(max_len, d_model, **device).dtype != torch.float32:
        raise Mismatch("float32", "another type")


def wavelengths(draw, student, reference):
    d_model = draw.size(1, 90)
    with leaves_no_state(), default_dtype(draw.pick([torch.float32, torch.float64])):
        got = student.wavelengths(d_model)
        if not isinstance(got, torch.Tensor) or got.dtype != torch.float64:
            raise Mismatch("float64", "another type")
        agree(lambda: got.log(), lambda: reference.wavelengths(d_model).log())  # a factor of 10000 lies between them


def relative_shift(draw, student, reference):
    k, d_model = draw.size(-30, 30), 2 * draw.size(1, 9)
    start = torch.tensor([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 480]) + max(0, -k)

    def moved(matrix):
        if not isinstance(matrix, torch.Tensor) or matrix.dtype not in (torch.float32, torch.float64):
            raise Mismatch("a matrix in float32 or float64", "something else")
        return _encoding(start, d_model, torch.float64) @ matrix.double().mT

    def formula(dtype):
        if dtype == torch.float64:
            return lambda: _encoding(start + k, d_model, dtype)
        angle = _frequencies(d_model, dtype) * k
        cos, sin = angle.cos().double(), angle.sin().double()
        s, c = _encoding(start, d_model, torch.float64).unflatten(-1, (-1, 2)).unbind(-1)
        return lambda: torch.stack((cos * s + sin * c, cos * c - sin * s), dim=-1).flatten(-2)

    _agree(draw, lambda: moved(student.relative_shift(k, d_model)), formula)


def embed(draw, student, reference):
    vocabulary, seq, d_model = draw.size(1, 9), draw.pick([draw.size(1, 6), draw.size(1, 200)]), draw.size(1, 9)
    token_ids, W_embed = draw.ids(vocabulary, seq), draw.tensor(vocabulary, d_model)

    def formula(dtype):
        def embed(token_ids, W_embed):
            places = _encoding(torch.arange(token_ids.shape[-1]), W_embed.shape[-1], dtype)
            return W_embed[token_ids] * math.sqrt(W_embed.shape[-1]) + places.to(W_embed.dtype)

        return embed

    _agree(draw, student.embed, formula, token_ids, W_embed)
    without_places = [_words_only(side.embed, token_ids) for side in (student, reference)]
    compare(draw, *without_places, W_embed)


def _words_only(embed, token_ids):
    """The result in the difference of two tables: the encoding goes away, types and gradients stay."""
    return lambda W_embed: embed(token_ids, W_embed) - embed(token_ids, torch.zeros_like(W_embed))


def _as_stored(rows, shape):
    """Rows in the shape in which a module keeps its table, which may be turned."""
    stored = [size for size in shape if size > 1]
    turned = len(stored) == 2 and stored == list(rows.mT.shape) and stored != list(rows.shape)
    return (rows.mT if turned else rows).reshape(shape)


def LearnedPositionalEmbedding(draw, student, reference):  # noqa: N802 - the exercise's name
    max_len, d_model = draw.size(1, 6), draw.size(1, 5)
    d_model += d_model == max_len  # a square table may be kept turned, and nobody could tell
    seq = draw.size(1, max_len) if draw.chance(0.85) else max_len + draw.size(1, 3)
    rows, x = draw.tensor(max_len, d_model), draw.tensor(seq, d_model, lead=True)
    training = draw.chance(0.5)

    def used(definition):
        def use(x, rows):
            module = definition(max_len, d_model).train(training)
            parameters = dict(module.named_parameters())
            if len(module.state_dict()) != 1 or [p.numel() for p in parameters.values()] != [max_len * d_model]:
                raise Mismatch("one table", "something else")
            if not all(parameter.requires_grad for parameter in parameters.values()):
                raise Mismatch("a table that learns", "one that does not")
            ((name, parameter),) = parameters.items()
            return functional_call(module, {name: _as_stored(rows, parameter.shape)}, (x,))

        return use

    compare(
        draw, used(student.LearnedPositionalEmbedding), used(reference.LearnedPositionalEmbedding), x, rows, state=False
    )
