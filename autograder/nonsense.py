"""Answers of the right structure, shapes and types whose numbers mean nothing: they must earn next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from autograder.nested import map_leaves
from autograder.reference import Reference


def nonsense(reference: Reference, exercise: str) -> dict[str, Reference]:
    """The model's answers with nonsense in place of one, by a word for each."""
    model = getattr(reference, exercise)
    changes: dict[str, Callable[[Any], Any]] = {"zeros": lambda leaf: leaf * 0, "ones": _ones, "noise": _noise}
    answers = {name: _changed(model, change) for name, change in changes.items()}
    answers["its first argument"] = _first_argument(model)
    return {name: Reference(**{**vars(reference), exercise: answer}) for name, answer in answers.items()}


def _ones(leaf: Any) -> Any:
    return torch.ones_like(leaf) if isinstance(leaf, torch.Tensor) else type(leaf)(1)


def _noise(leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return type(leaf)(7)
    drawn = torch.rand(leaf.shape, device=leaf.device)
    return drawn < 0.5 if leaf.dtype == torch.bool else drawn.to(leaf.dtype)


def _changed(model: Any, change: Callable[[Any], Any]) -> Any:
    """The model with every leaf of its results changed; where it returns nothing, it does nothing."""
    if isinstance(model, type):
        forward = model.forward  # type: ignore[attr-defined]
        changed = {"forward": lambda self, *args, **kwargs: map_leaves(change, forward(self, *args, **kwargs))}
        return type(model.__name__, (model,), changed)

    def answer(*args: Any, **kwargs: Any) -> Any:
        trial = map_leaves(lambda leaf: leaf, args)
        result = None if model.__name__.startswith("copy_") else model(*trial, **kwargs)
        return None if result is None else map_leaves(change, result)

    return answer


def _first_argument(model: Any) -> Any:
    if isinstance(model, type):
        return type(model.__name__, (model,), {"forward": lambda self, x, *args, **kwargs: x})
    return lambda *args, **kwargs: args[0]
