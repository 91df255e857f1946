"""What the suites of this lesson share: the student's module beside the model's, with the same weights."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from autograder.checking import Mismatch, agree
from autograder.nested import cast

NAMES = "each linear has no bias and is stored under the name that the lesson gives it"


@dataclass(frozen=True)
class Model:
    """The reference's module as a function that computes in the dtype of X, with weights as they were drawn."""

    module: torch.nn.Module
    parameters: dict[str, torch.nn.Parameter]
    weights: dict[str, Tensor]

    def __call__(self, X: Tensor, mask: Tensor | None = None) -> Any:
        for name, parameter in self.parameters.items():
            parameter.data = self.weights[name].to(X.dtype)
        with torch.no_grad():  # gradients are asked of the module itself
            return self.module(X, mask=mask)


@functools.cache
def made(kind: Callable[..., torch.nn.Module], *sizes: int) -> tuple[torch.nn.Module, dict[str, torch.nn.Parameter]]:
    """The reference's module of these sizes and its parameters, made once: whoever uses it gives it weights first."""
    with torch.random.fork_rng(devices=[]):  # the first test draws no more than the others
        module = kind(*sizes)
    return module, dict(module.named_parameters())


def filled(module: Any, weights: dict[str, Tensor]) -> Any:
    """The module with these weights, in their type and on their device; what else it may hold is zero.

    So an answer with a bias too many has right values, and fails the test of the state dict alone.
    """
    own = module.state_dict()
    if missing := sorted(set(weights) - set(own)):
        raise Mismatch(f"{', '.join(missing)} in the module's state dict", "other names" if own else "nothing", NAMES)
    for name, weight in weights.items():
        if own[name].shape != weight.shape:
            raise Mismatch(f"{name} of shape {tuple(weight.shape)}", str(tuple(own[name].shape)), NAMES)
    name, first = next(iter(weights.items()))
    if (own[name].device, own[name].dtype) != (first.device, first.dtype):
        own = module.to(device=first.device, dtype=first.dtype).state_dict()
    for name, tensor in own.items():  # they share memory with the parameters; load_state_dict takes four times as long
        tensor.copy_(weights[name]) if name in weights else tensor.zero_()
    return module


@pytest.fixture
def twins(student, reference, inputs) -> Callable[..., tuple[Any, Any]]:
    """Makes a module of the student and one of the reference with equal random weights."""

    def make(name: str, *sizes: int, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
        module, parameters = made(getattr(reference, name), *sizes)
        shapes = {key: parameter.shape for key, parameter in parameters.items()}
        counts = [shape.numel() for shape in shapes.values()]
        drawn = zip(shapes.items(), inputs.randn(sum(counts), dtype=torch.float64).split(counts), strict=True)
        weights = {key: (part.view(shape) * shape[-1] ** -0.5).to(dtype) for (key, shape), part in drawn}
        return filled(getattr(student, name)(*sizes), weights), Model(module, parameters, weights)

    return make


@pytest.fixture
def rounded() -> Callable[..., tuple[Any, Model]]:
    """Gives twins the same weights in another type: to make new ones takes longer."""

    def twins_in(dtype: torch.dtype, ours: Any, model: Model) -> tuple[Any, Model]:
        weights = cast(model.weights, dtype)
        return filled(ours, weights), replace(model, weights=weights)

    return twins_in


@pytest.fixture
def by_hand(student, device) -> Callable[..., Any]:
    """Makes a module of the student with weights written as in Q = X @ W_Q."""

    def make(name: str, *sizes: int, **matrices: Any) -> Any:
        weights = {f"{key}.weight": torch.tensor(matrix, device=device).T for key, matrix in matrices.items()}
        return filled(getattr(student, name)(*sizes), weights)

    return make


@pytest.fixture
def agree_all_gradients() -> Callable[..., Tensor]:
    """Compares the gradients for X and all weights, for random gradients from above; returns the student's for X."""

    def check(ours: Any, model: Model, X: Tensor, mask: Tensor | None = None, hint: str = "") -> Tensor:
        functions = (_gradients(module, list(model.weights)) for module in (ours, model.module))
        what = tuple(f"the gradient of {name}" for name in ("X", *model.weights))
        got = agree(*functions, X, *model.weights.values(), mask=mask, what=what, hint=hint)
        gradient: Tensor = got[0]
        return gradient

    return check


def _gradients(module: Any, names: list[str]) -> Callable[..., list[Tensor]]:
    """A module as the function (X, *weights) -> gradients of X and of the weights."""

    def gradients(X: Tensor, *weights: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        filled(module, dict(zip(names, weights, strict=True)))
        parameters = dict(module.named_parameters())
        if not all(name in parameters and parameters[name].requires_grad for name in names):
            raise Mismatch("weights that can be trained", "some that cannot", "a linear's own weight is trainable")
        X = X.detach().requires_grad_()
        return _pulled_back(module(X, mask=mask), [X, *(parameters[name] for name in names)])

    return gradients


def _pulled_back(results: Any, tensors: list[Tensor]) -> list[Tensor]:
    """Gradients for fixed upstream gradients of random look, zeros where none arrives."""
    generator = torch.Generator().manual_seed(0)
    outputs, upstream = [], []
    for result in results:
        drawn = torch.randn(result.shape, generator=generator, dtype=torch.float64).to(torch.bfloat16)
        if result.requires_grad:
            outputs.append(result)
            upstream.append(drawn.to(result))
    if not outputs:
        raise Mismatch("results through which gradients flow", "results that are cut off", "detach() and .data cut off")
    found = torch.autograd.grad(outputs, tensors, upstream, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]
