"""Nested arguments and results: tensors and numbers in tuples, lists and dicts.

Every function walks in the same order: sequences as they stand, dicts by insertion.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


def leaves(tree: Any, path: str = "result") -> list[tuple[str, Any]]:
    """Everything in a nest that is no container, each with the path that leads to it, as `result[0][2]`."""
    if isinstance(tree, tuple | list):
        return [leaf for i, part in enumerate(tree) for leaf in leaves(part, f"{path}[{i}]")]
    if isinstance(tree, dict):
        return [leaf for key, part in tree.items() for leaf in leaves(part, f"{path}[{key!r}]")]
    return [(path, tree)]


def argument_leaves(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """The leaves of a call's arguments, as `argument 2[0]` or `argument mask`."""
    numbered = {**{str(i + 1): arg for i, arg in enumerate(args)}, **kwargs}
    return [found for name, nest in numbered.items() for found in leaves(nest, f"argument {name}")]


def map_leaves(change: Callable[[Any], Any], tree: Any) -> Any:
    """The same nest with each leaf changed; named tuples become tuples."""
    if isinstance(tree, tuple | list):
        changed = [change(part) if isinstance(part, Tensor) else map_leaves(change, part) for part in tree]
        return tuple(changed) if isinstance(tree, tuple) else changed
    if isinstance(tree, dict):
        return {
            key: change(part) if isinstance(part, Tensor) else map_leaves(change, part) for key, part in tree.items()
        }
    return change(tree)


def is_floating(leaf: Any) -> bool:
    """Is this leaf a tensor of floating-point numbers?"""
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def floating(tree: Any) -> list[Tensor]:
    """The floating tensors of a nest, in order."""
    if isinstance(tree, Tensor):
        return [tree] if tree.is_floating_point() else []
    found = []
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple | list) else ():
        if isinstance(part, Tensor):
            if part.is_floating_point():
                found.append(part)
        else:
            found += floating(part)
    return found


def with_floating(tree: Any, tensors: Iterator[Tensor]) -> Any:
    """The same nest with its floating tensors replaced, in order."""
    return map_leaves(lambda leaf: next(tensors) if is_floating(leaf) else leaf, tree)


def twin(tensor: Tensor) -> Tensor:
    """A leaf with equal numbers, strides and `requires_grad`, and memory of its own."""
    if tensor.is_contiguous():
        return tensor.detach().clone().requires_grad_() if tensor.requires_grad else tensor.clone()
    memory = tensor.detach().untyped_storage().clone()  # type: ignore[no-untyped-call]
    copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    copy.set_(memory, tensor.storage_offset(), tensor.shape, tensor.stride())  # clone() would pack strided memory
    return copy.requires_grad_(tensor.requires_grad)


def copies(tree: Any) -> Any:
    """The same nest with a twin for each tensor."""
    return map_leaves(lambda leaf: twin(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """The same nest with its floating tensors in another type, detached: equal numbers or, in a coarser one, rounded."""
    return with_floating(tree, (tensor.detach().to(dtype, copy=True) for tensor in floating(tree)))
