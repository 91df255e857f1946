"""Wrong answers to lesson 3 that are not in the bank: what diagnosis makes of them is measured.

`of` names the misconception that each is a case of, written in another way; "" where the bank has no such idea.
"""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import held_back


@held_back("sinusoidal_positional_encoding", of="cosines_first")
def slices_exchanged(max_len, d_model, device=None):
    PE = torch.zeros(max_len, d_model, device=device, dtype=torch.float32)
    position = torch.arange(max_len, device=device, dtype=torch.float32).unsqueeze(1)
    divisor = torch.exp(torch.arange(0, d_model, 2, device=device).float() * (-math.log(10000.0) / d_model))
    PE[:, 0::2] = torch.cos(position * divisor)
    PE[:, 1::2] = torch.sin(position * divisor)[:, : d_model // 2]
    return PE


@held_back("sinusoidal_positional_encoding", of="even_d_model_only")
def tutorial_code(max_len, d_model, device=None):
    PE = torch.zeros(max_len, d_model, device=device, dtype=torch.float32)
    position = torch.arange(0, max_len, device=device, dtype=torch.float32).unsqueeze(1)
    divisor = torch.exp(torch.arange(0, d_model, 2, device=device).float() * (-math.log(10000.0) / d_model))
    PE[:, 0::2] = torch.sin(position * divisor)
    PE[:, 1::2] = torch.cos(position * divisor)
    return PE


@held_back("sinusoidal_positional_encoding", of="positions_from_one")
def starting_at_one(max_len, d_model, device=None):
    position = torch.arange(1, max_len + 1, device=device, dtype=torch.float64)
    rows = []
    for j in range(d_model):
        angle = position / 10000 ** ((j - j % 2) / d_model)
        rows.append(angle.cos() if j % 2 else angle.sin())
    return torch.stack(rows, dim=1).float()


@held_back("sinusoidal_positional_encoding", of="exponent_without_two")
def pair_number_in_the_exponent(max_len, d_model, device=None):
    position = torch.arange(max_len, device=device, dtype=torch.float64)
    columns = []
    for j in range(d_model):
        angle = position * 10000 ** (-(j // 2) / d_model)
        columns.append(torch.cos(angle) if j % 2 else torch.sin(angle))
    return torch.stack(columns, -1).to(torch.float32)


@held_back("sinusoidal_positional_encoding", of="base_1000")
def a_zero_too_few(max_len, d_model, device=None):
    frequency = torch.exp(-math.log(1e3) * torch.arange(0, d_model, 2, device=device).double() / d_model)
    angle = torch.outer(torch.arange(max_len, device=device).double(), frequency)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :d_model].float()


@held_back("sinusoidal_positional_encoding", of="")
def sines_everywhere(max_len, d_model, device=None):
    even = torch.arange(d_model, device=device) // 2 * 2
    angle = torch.arange(max_len, device=device).double()[:, None] / 10000 ** (even / d_model)
    return angle.sin().float()


@held_back("wavelengths", of="without_two_pi")
def powers_alone(d_model):
    return torch.tensor([10000 ** (j / d_model) for j in range(0, d_model, 2)], dtype=torch.float64)


@held_back("wavelengths", of="frequencies")
def inverse(d_model):
    even = torch.arange(0, d_model, 2, dtype=torch.float64)
    return torch.pow(torch.tensor(10000.0, dtype=torch.float64), -even / d_model)


@held_back("relative_shift", of="transposed")
def rotation_of_the_textbook(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.float64)
    for j in range(0, d_model, 2):
        a = k * 10000 ** (-j / d_model)
        M[j, j], M[j, j + 1] = math.cos(a), -math.sin(a)
        M[j + 1, j], M[j + 1, j + 1] = math.sin(a), math.cos(a)
    return M


@held_back("relative_shift", of="one_angle_for_all")
def same_turn(k, d_model):
    block = torch.tensor([[math.cos(k), math.sin(k)], [-math.sin(k), math.cos(k)]], dtype=torch.float64)
    return torch.block_diag(*[block] * (d_model // 2))


@held_back("embed", of="not_scaled")
def lookup_and_add(token_ids, W_embed):
    table = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[1], W_embed.device)
    return torch.nn.functional.embedding(token_ids, W_embed) + table.type_as(W_embed)


@held_back("embed", of="scaled_without_root")
def times_d_model(token_ids, W_embed):
    d_model = W_embed.shape[-1]
    table = sinusoidal_positional_encoding(token_ids.size(-1), d_model, device=W_embed.device)
    return d_model * W_embed[token_ids] + table.to(W_embed.dtype)


@held_back("embed", of="sum_scaled")
def everything_scaled(token_ids, W_embed):
    d_model = W_embed.size(1)
    x = W_embed[token_ids]
    x = x + sinusoidal_positional_encoding(token_ids.size(-1), d_model, device=x.device).to(x.dtype)
    return x * d_model**0.5


@held_back("embed", of="words_only")
def without_order(token_ids, W_embed):
    return torch.nn.functional.embedding(token_ids, W_embed * W_embed.shape[-1] ** 0.5)


@held_back("LearnedPositionalEmbedding", of="StartsWithRowOne")
class CountedFromOne(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.max_len = max_len
        self.rows = torch.nn.Parameter(torch.zeros(max_len, d_model))

    def forward(self, x):
        n = x.shape[-2]
        if n > self.max_len:
            raise ValueError("too long")
        return x + torch.cat((self.rows[1:], self.rows[:1]))[:n]


@held_back("LearnedPositionalEmbedding", of="NoCheck")
class TrustsTheCaller(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.embedding = torch.nn.Embedding(max_len, d_model)

    def forward(self, x):
        return x + self.embedding.weight[: x.shape[-2], :]


@held_back("LearnedPositionalEmbedding", of="RowsOnly")
class TableAlone(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.pos = torch.nn.Embedding(max_len, d_model)

    def forward(self, x):
        if x.shape[-2] > self.pos.num_embeddings:
            raise ValueError("too long")
        places = torch.arange(x.shape[-2], device=x.device)
        return self.pos(places).expand(x.shape)
