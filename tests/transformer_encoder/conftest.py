"""What the hidden suites of this lesson share: random parameters of an encoder layer."""

import math

import pytest
import torch

from autograder.checking import noncontiguous
from autograder.nested import floating, with_floating


@pytest.fixture
def layer(inputs):
    """Makes the parameters of one layer by the contract's names: (d_model, d_ff, dtype, requires_grad) -> dict.

    Matrices keep a token's size, gains lie around 1: so nothing overflows in float16 and nothing is the same twice.
    """

    def make(d_model, d_ff, dtype=torch.float32, requires_grad=False):
        shapes = dict.fromkeys(("W_Q", "W_K", "W_V", "W_O"), (d_model, d_model))
        shapes |= {"gamma1": (d_model,), "beta1": (d_model,), "W1": (d_model, d_ff), "b1": (d_ff,)}
        shapes |= {"W2": (d_ff, d_model), "b2": (d_model,), "gamma2": (d_model,), "beta2": (d_model,)}
        sizes = [math.prod(shape) for shape in shapes.values()]
        drawn = inputs.randn(sum(sizes), dtype=torch.float64).split(sizes)  # one draw a layer: a dozen cost time
        return {
            name: _scaled(name, numbers.view(shape)).to(dtype).requires_grad_(requires_grad)
            for (name, shape), numbers in zip(shapes.items(), drawn, strict=True)
        }

    return make


@pytest.fixture
def scattered():
    """The same parameters in memory that is not contiguous."""
    return lambda params: {name: noncontiguous(tensor) for name, tensor in params.items()}


@pytest.fixture
def cast():
    """The same nest with its floating tensors in another dtype."""
    return lambda nest, dtype: with_floating(nest, (tensor.to(dtype) for tensor in floating(nest)))


def _scaled(name, numbers):
    if name.startswith("gamma"):
        return 1 + numbers.tanh() / 2
    return numbers * (numbers.shape[0] ** -0.5 if numbers.dim() == 2 else 0.5)
