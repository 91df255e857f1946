"""What the hidden suites of this lesson share: random parameters of an encoder layer."""

import functools
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
        shapes, scales = _shapes(d_model, d_ff)
        drawn = inputs.randn(len(scales), dtype=torch.float64)  # one draw a layer: a dozen cost time
        drawn *= scales.to(drawn.device)
        sizes = [math.prod(shape) for shape in shapes.values()]
        parts = zip(shapes.items(), drawn.to(dtype).split(sizes), strict=True)
        params = {name: numbers.view(shape).clone() for (name, shape), numbers in parts}
        for gain in ("gamma1", "gamma2"):
            params[gain] = 1 + params[gain].tanh() / 2
        return {name: numbers.requires_grad_(requires_grad) for name, numbers in params.items()}

    return make


@pytest.fixture
def scattered():
    """The same parameters in memory that is not contiguous."""
    return lambda params: {name: noncontiguous(tensor) for name, tensor in params.items()}


@pytest.fixture
def cast():
    """The same nest with its floating tensors in another dtype."""
    return lambda nest, dtype: with_floating(nest, (tensor.to(dtype) for tensor in floating(nest)))


@functools.cache
def _shapes(d_model, d_ff):
    """The shape of each parameter, in their order, and what each drawn number is multiplied with."""
    shapes = dict.fromkeys(("W_Q", "W_K", "W_V", "W_O"), (d_model, d_model))
    shapes |= {"gamma1": (d_model,), "beta1": (d_model,), "W1": (d_model, d_ff), "b1": (d_ff,)}
    shapes |= {"W2": (d_ff, d_model), "b2": (d_model,), "gamma2": (d_model,), "beta2": (d_model,)}
    scales = []
    for name, shape in shapes.items():
        scale = 1.0 if name.startswith("gamma") else shape[0] ** -0.5 if len(shape) == 2 else 0.5
        scales.append(torch.full((math.prod(shape),), scale, dtype=torch.float64))
    return shapes, torch.cat(scales)
