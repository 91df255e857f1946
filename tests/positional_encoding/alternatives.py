"""Right answers to lesson 3, written in other ways than the model's: its suites must pass each of them."""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import right


@right("sinusoidal_positional_encoding", how="exp of a logarithm in float32, as most tutorials have it")
def encoding_by_exp_and_log(max_len, d_model, device=None):
    position = torch.arange(max_len, device=device, dtype=torch.float32).unsqueeze(1)
    even = torch.arange(0, d_model, 2, device=device, dtype=torch.float32)
    div_term = torch.exp(even * (-math.log(10000.0) / d_model))
    pe = torch.zeros(max_len, d_model, device=device, dtype=torch.float32)
    pe[:, 0::2] = torch.sin(position * div_term)
    pe[:, 1::2] = torch.cos(position * div_term[: d_model // 2])
    return pe


@right("sinusoidal_positional_encoding", how="power and division in float32, sine and cosine chosen by where")
def encoding_by_division(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    exponent = (column - column % 2).float() / d_model
    angle = torch.arange(max_len, device=device).float()[:, None] / torch.pow(10000.0, exponent)
    return torch.where(column % 2 == 0, torch.sin(angle), torch.cos(angle))


@right("sinusoidal_positional_encoding", how="float32 powers of 1 / 10000 as factors")
def encoding_by_inverse_powers(max_len, d_model, device=None):
    frequency = (1 / 10000) ** (torch.arange(0, d_model, 2, dtype=torch.float32, device=device) / d_model)
    angle = torch.outer(torch.arange(max_len, dtype=torch.float32, device=device), frequency)
    return torch.stack((angle.sin(), angle.cos()), dim=2).reshape(max_len, -1)[:, :d_model].contiguous()


@right("sinusoidal_positional_encoding", how="complex exponentials")
def encoding_by_complex_exponentials(max_len, d_model, device=None):
    n_pairs = -(-d_model // 2)
    i = torch.arange(n_pairs, dtype=torch.float64, device=device)
    angle = torch.outer(torch.arange(max_len, dtype=torch.float64, device=device), 10000.0 ** (-2 * i / d_model))
    turned = torch.exp(1j * angle)
    return torch.stack((turned.imag, turned.real), dim=-1).flatten(1)[:, :d_model].float()


@right("sinusoidal_positional_encoding", how="two loops and Python's own sine and cosine")
def encoding_by_loops(max_len, d_model, device=None):
    rows = []
    for pos in range(max_len):
        angles = [pos / 10000 ** ((column - column % 2) / d_model) for column in range(d_model)]
        rows.append([math.cos(angle) if column % 2 else math.sin(angle) for column, angle in enumerate(angles)])
    return torch.tensor(rows, dtype=torch.float32, device=device)


@right("sinusoidal_positional_encoding", how="one sine, with a quarter turn added for the cosines")
def encoding_by_phase(max_len, d_model, device=None):
    column = torch.arange(d_model, dtype=torch.float64, device=device)
    odd = column % 2
    angle = torch.arange(max_len, dtype=torch.float64, device=device)[:, None] / 10000 ** ((column - odd) / d_model)
    return torch.sin(angle + odd * math.pi / 2).to(torch.float32)


@right("sinusoidal_positional_encoding", how="each row is the row before it, rotated by one step")
def encoding_by_rotation(max_len, d_model, device=None):
    step = torch.tensor([10000 ** (-2 * i / d_model) for i in range((d_model + 1) // 2)], dtype=torch.float64)
    sin, cos = torch.zeros_like(step), torch.ones_like(step)
    rows = []
    for _ in range(max_len):
        rows.append(torch.stack((sin, cos), dim=-1).reshape(-1)[:d_model])
        sin, cos = sin * step.cos() + cos * step.sin(), cos * step.cos() - sin * step.sin()
    return torch.stack(rows).to(device=device, dtype=torch.float32)


@right("sinusoidal_positional_encoding", how="full turns counted in wavelengths, in float32")
def encoding_by_wavelengths(max_len, d_model, device=None):
    turns = torch.arange(max_len, device=device)[:, None] / wavelengths(d_model).to(device=device, dtype=torch.float32)
    angle = (2 * math.pi * turns).to(torch.float32)
    table = torch.empty(max_len, d_model, device=device, dtype=torch.float32)
    for column in range(d_model):
        table[:, column] = angle[:, column // 2].cos() if column % 2 else angle[:, column // 2].sin()
    return table


@right("wavelengths", how="exp of a logarithm in float64")
def wavelengths_by_exp(d_model):
    return torch.exp(torch.arange(0, d_model, 2).double() * math.log(10000.0) / d_model) * (2 * math.pi)


@right("wavelengths", how="a list of Python floats")
def wavelengths_by_list(d_model):
    turns = [10000 ** (2 * i / d_model) for i in range((d_model + 1) // 2)]
    return torch.tensor([2 * math.pi * turn for turn in turns], dtype=torch.float64)


@right("wavelengths", how="logspace")
def wavelengths_by_logspace(d_model):
    n_pairs = math.ceil(d_model / 2)
    return 2 * math.pi * torch.logspace(0, 8 * (n_pairs - 1) / d_model, n_pairs, base=10, dtype=torch.float64)


@right("wavelengths", how="a running product of one factor")
def wavelengths_by_running_product(d_model):
    factors = torch.full(((d_model + 1) // 2,), 10000 ** (2 / d_model), dtype=torch.float64)
    factors[0] = 2 * math.pi
    return factors.cumprod(0)


@right("wavelengths", how="one full turn divided by the frequencies")
def wavelengths_by_frequency(d_model):
    exponent = -torch.arange(0, d_model, 2, dtype=torch.float64) / d_model
    frequency = torch.tensor(10000, dtype=torch.float64) ** exponent
    return 2 * math.pi / frequency


@right("relative_shift", how="a loop over the pairs, float32")
def shift_by_loop(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.float32)
    for i in range(d_model // 2):
        angle = k / 10000 ** (2 * i / d_model)
        M[2 * i, 2 * i] = math.cos(angle)
        M[2 * i, 2 * i + 1] = math.sin(angle)
        M[2 * i + 1, 2 * i] = -math.sin(angle)
        M[2 * i + 1, 2 * i + 1] = math.cos(angle)
    return M


@right("relative_shift", how="block_diag of rotations whose angles are float32")
def shift_by_blocks(k, d_model):
    frequency = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float32) * (-math.log(10000.0) / d_model))
    blocks = []
    for angle in frequency * k:
        cos, sin = torch.cos(angle), torch.sin(angle)
        blocks.append(torch.stack((torch.stack((cos, sin)), torch.stack((-sin, cos)))))
    return torch.block_diag(*blocks)


@right("relative_shift", how="matrix exponential of the generator of the rotation")
def shift_by_matrix_exponential(k, d_model):
    frequency = 10000 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    quarter_turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(k * torch.kron(torch.diag(frequency), quarter_turn))


@right("relative_shift", how="power of the matrix of a single step, negative powers too")
def shift_by_power(k, d_model):
    angles = 10000 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    sines = torch.zeros(d_model - 1, dtype=torch.float64)
    sines[::2] = angles.sin()
    one = torch.diag(angles.cos().repeat_interleave(2)) + torch.diag(sines, 1) - torch.diag(sines, -1)
    return torch.linalg.matrix_power(one, k)


@right("relative_shift", how="entries taken from the encoding of position |k|")
def shift_from_the_encoding(k, d_model):
    row = sinusoidal_positional_encoding(abs(k) + 1, d_model)[-1]
    sin, cos = row[0::2] * (1 if k >= 0 else -1), row[1::2]
    M = torch.zeros(d_model // 2, 2, d_model // 2, 2)
    for i in range(d_model // 2):
        M[i, 0, i, 0] = M[i, 1, i, 1] = cos[i]
        M[i, 0, i, 1], M[i, 1, i, 0] = sin[i], -sin[i]
    return M.reshape(d_model, d_model).to(torch.float32)


@right("embed", how="torch's embedding, the sum in float64, rounded at the end")
def embed_upcast(token_ids, W_embed):
    d_model = W_embed.size(1)
    words = torch.nn.functional.embedding(token_ids, W_embed).double() * d_model**0.5
    places = sinusoidal_positional_encoding(token_ids.size(-1), d_model, W_embed.device)
    return (words + places).to(W_embed.dtype)


@right("embed", how="one-hot vectors times the matrix")
def embed_by_one_hot(token_ids, W_embed):
    vocabulary, d_model = W_embed.shape
    one_hot = torch.nn.functional.one_hot(token_ids, vocabulary).to(W_embed.dtype)
    places = sinusoidal_positional_encoding(token_ids.shape[-1], d_model, device=W_embed.device)
    return one_hot @ W_embed * math.sqrt(d_model) + places.to(W_embed)


@right("embed", how="the matrix is scaled before rows are picked, places are added by a loop")
def embed_scaled_first(token_ids, W_embed):
    d_model = W_embed.shape[1]
    scaled = W_embed * torch.tensor(d_model, dtype=torch.float64).sqrt().item()
    words = scaled.index_select(0, token_ids.reshape(-1)).reshape(*token_ids.shape, d_model)
    places = sinusoidal_positional_encoding(token_ids.shape[-1], d_model, device=W_embed.device).type_as(W_embed)
    return torch.stack([words[..., pos, :] + places[pos] for pos in range(token_ids.shape[-1])], dim=-2)


@right("embed", how="an encoding of its own, from exp and log in float32")
def embed_with_its_own_encoding(token_ids, W_embed):
    seq, d_model = token_ids.shape[-1], W_embed.shape[-1]
    column = torch.arange(d_model, device=W_embed.device)
    frequency = torch.exp(-(column - column % 2).to(torch.float32) * math.log(10000) / d_model)
    angle = torch.arange(seq, device=W_embed.device).to(torch.float32)[:, None] * frequency
    places = torch.where(column % 2 == 1, angle.cos(), angle.sin())
    return W_embed[token_ids].mul(math.sqrt(d_model)).add(places.to(W_embed.dtype))


@right("LearnedPositionalEmbedding", how="nn.Embedding, looked up with arange")
class LookedUp(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.max_len = max_len
        self.position = torch.nn.Embedding(max_len, d_model)

    def forward(self, x):
        seq = x.size(-2)
        if seq > self.max_len:
            raise ValueError("too long")
        return x + self.position(torch.arange(seq, device=x.device))


@right("LearnedPositionalEmbedding", how="a table with a leading dimension of one, zeros at the start")
class WithBatchDimension(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.pos_embedding = torch.nn.Parameter(torch.zeros(1, max_len, d_model))

    def forward(self, x):
        if self.pos_embedding.shape[1] < x.shape[-2]:
            raise ValueError("too long")
        return self.pos_embedding[0, : x.shape[-2]].expand_as(x) + x


@right("LearnedPositionalEmbedding", how="rows chosen by a one-hot product")
class ByOneHotProduct(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.rows = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        max_len = len(self.rows)
        if x.shape[-2] not in range(max_len + 1):
            raise ValueError(f"{x.shape[-2]} > {max_len}")
        first = torch.eye(max_len, dtype=x.dtype, device=x.device)[: x.shape[-2]]
        return torch.add(x, first @ self.rows)


@right("LearnedPositionalEmbedding", how="a loop over places, with a table that is kept on its side")
class OnItsSide(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.register_parameter("columns", torch.nn.Parameter(torch.empty(d_model, max_len).uniform_(-0.1, 0.1)))
        self.max_len = max_len

    def forward(self, x):
        if x.shape[-2] > self.max_len:
            raise ValueError("too long")
        return torch.stack([x[..., place, :] + self.columns[:, place] for place in range(x.shape[-2])], dim=-2)
