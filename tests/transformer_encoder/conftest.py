"""What the hidden suites of this lesson share: random parameters of an encoder layer."""

import functools

import pytest
import torch

from autograder.checking import noncontiguous


@pytest.fixture
def layer(inputs):
    """Makes the parameters of one layer by the contract's names: (d_model, d_ff, dtype, requires_grad) -> dict.

    Matrices keep a token's size, gains lie around 1: so nothing overflows in float16 and nothing is the same twice.
    All are parts of one tensor; `copies` gives each a memory of its own.
    """

    def make(d_model, d_ff, dtype=torch.float32, requires_grad=False):
        scales, offsets = _scales_and_offsets(d_model, d_ff, inputs.device)
        drawn = inputs.randn(len(scales), dtype=torch.float64)  # one draw a layer: a dozen cost time
        rows, matrices, W1, W2, b1 = (drawn * scales + offsets).to(dtype).split(_sizes(d_model, d_ff))
        gamma1, gamma2, beta1, beta2, b2 = rows.view(5, d_model).unbind()
        W_Q, W_K, W_V, W_O = matrices.view(4, d_model, d_model).unbind()
        params = {"W_Q": W_Q, "W_K": W_K, "W_V": W_V, "W_O": W_O, "gamma1": gamma1, "beta1": beta1}
        params |= {"W1": W1.view(d_model, d_ff), "b1": b1, "W2": W2.view(d_ff, d_model), "b2": b2}
        params |= {"gamma2": gamma2, "beta2": beta2}
        return {name: tensor.requires_grad_() for name, tensor in params.items()} if requires_grad else params

    return make


@pytest.fixture
def still(device):
    """Makes the parameters of a layer in which attention and feed-forward give zeros: two norms, one after the other."""

    def make(d_model=4):
        matrices = {
            name: torch.zeros(d_model, d_model, device=device) for name in ("W_Q", "W_K", "W_V", "W_O", "W1", "W2")
        }
        ones = {name: torch.ones(d_model, device=device) for name in ("gamma1", "gamma2")}
        return matrices | ones | {name: torch.zeros(d_model, device=device) for name in ("beta1", "b1", "b2", "beta2")}

    return make


@pytest.fixture
def scattered():
    """The same parameters in memory that is not contiguous."""
    return lambda params: {name: noncontiguous(tensor) for name, tensor in params.items()}


def _sizes(d_model, d_ff):
    """How many numbers are the five rows, the four matrices of attention, W1, W2 and b1."""
    return [5 * d_model, 4 * d_model**2, d_model * d_ff, d_ff * d_model, d_ff]


@functools.cache
def _scales_and_offsets(d_model, d_ff, device):
    """What makes a layer's parameters of normal numbers, in the order of `_sizes`."""
    sizes = [2 * d_model, 3 * d_model, *_sizes(d_model, d_ff)[1:]]
    scales = [0.2, 0.5, d_model**-0.5, d_model**-0.5, d_ff**-0.5, 0.5]  # gains, other rows, matrices, W1, W2, b1
    offsets = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    repeats = torch.tensor(sizes, device=device)
    made = (torch.tensor(each, dtype=torch.float64, device=device) for each in (scales, offsets))
    return tuple(each.repeat_interleave(repeats) for each in made)
