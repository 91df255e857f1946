"""Assertions on what a call leaves behind, for hidden suites: its arguments and torch's global state are as before.

Each is a block of a `with` around the call. A suite takes them from checking.py, where it is told who reads a `Mismatch`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from autograder.comparing import Mismatch, kind
from autograder.nested import argument_leaves

NEW_TENSOR = "work on a new tensor: x = x - 1 makes one, x -= 1 writes into x"


@contextmanager
def unmodified(*nests: Any, hint: str = NEW_TENSOR) -> Iterator[None]:
    """Mismatch where one of these arguments is another after the block: containers, values, strides, flags, `.grad`."""
    before = _portraits(nests)
    yield
    after = _portraits(nests)
    if before.keys() != after.keys():
        raise Mismatch("lists and dicts as they were before the call", "one that was changed", hint)
    for name, portrait in before.items():
        for aspect, value in portrait.items():
            if not _same(value, after[name][aspect]):
                raise Mismatch(f"{name}, as before the call", f"other {aspect}", hint)


@contextmanager
def leaves_no_state(hint: str = "a function should change nothing but its result") -> Iterator[None]:
    """Mismatch where default dtype, gradient mode or random state are others after the block; puts them back."""
    before = _global_state()
    try:
        yield
        after = _global_state()
    finally:
        torch.set_default_dtype(before["default dtype"])
        torch.set_grad_enabled(before["gradient mode"])
        torch.set_rng_state(before["random state"])
    for aspect, value in before.items():
        if not _same(value, after[aspect]):
            raise Mismatch(f"torch's {aspect} as before the call", f"another {aspect}", hint)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Another default dtype for the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _global_state() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "random state": torch.get_rng_state(),
    }


def _portraits(nests: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """All that can be seen of the leaves of the arguments, by a name for each."""
    return {
        f"{name}, {kind(leaf)}": _portrait(leaf) if isinstance(leaf, Tensor) else {"value": leaf}
        for name, leaf in argument_leaves(nests, {})
    }


def _portrait(tensor: Tensor) -> dict[str, Any]:
    return {
        "strides": tensor.stride(),
        "requires_grad": tensor.requires_grad,
        "values": tensor.detach().clone(),
        ".grad": None if tensor.grad is None else tensor.grad.clone(),
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
        return alike and torch.equal(one.isnan(), other.isnan()) and torch.equal(one.nan_to_num(), other.nan_to_num())
    return bool(one is other or (type(one) is type(other) and one == other))
