"""What a call meets and what it leaves behind: torch's global state, the arguments before and after it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch

from autograder.inside import messages, packing


@dataclass(frozen=True)
class Arrived:
    """The tensors of a call as they came in, to tell afterwards what became of them."""

    views: list[messages.View]
    storages: list[torch.UntypedStorage]
    before: list[torch.Tensor]  # bytes of each storage
    tensors: list[torch.Tensor]
    values: tuple[Any, Any]  # args and kwargs, made of these tensors
    random_state: torch.Tensor


def identity(value: object) -> object:
    """Which things stand where in a nest of lists, tuples and dicts."""
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    if isinstance(value, dict):
        return [(key, identity(item)) for key, item in value.items()]
    return id(value)


def bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    """The bytes of a storage, shared with it."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def give_attributes(tensors: list[torch.Tensor], views: list[messages.View]) -> None:
    """Gives arguments the `requires_grad` and `.grad` that they have outside."""
    for tensor, view in zip(tensors, views, strict=True):
        tensor.requires_grad_(view.requires_grad)
        tensor.grad = tensors[view.grad] if view.grad >= 0 else None


def has_moved(tensor: torch.Tensor, view: messages.View, storages: list[torch.UntypedStorage]) -> bool:
    """Has an argument another shape, type or place than it came with?"""
    now = (list(tensor.shape), list(tensor.stride()), tensor.storage_offset(), tensor.dtype)
    same_place = tensor.untyped_storage().data_ptr() == storages[view.storage].data_ptr()
    return now != (view.shape, view.stride, view.offset, packing.DTYPES[view.dtype]) or not same_place


def enter(state: messages.State) -> torch.Tensor:
    """Makes global state what it is outside; returns the state of torch's generator."""
    set_modes(state)
    torch.default_generator.manual_seed(state.seed)  # torch.manual_seed notes a traceback for each idle accelerator
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(state.seed)
    random.seed(state.seed)
    return torch.get_rng_state()


def set_modes(state: messages.State) -> None:
    """Makes default dtype, default device and grad mode what they are outside."""
    torch.set_default_dtype(packing.DTYPES[state.dtype])
    torch.set_default_device(None if state.device == "cpu" else state.device)
    torch.set_grad_enabled(state.grad)


def present(seed: int = 0, *, drawn: bool = False) -> messages.State:
    """Global state as it is now; of the generator the caller knows."""
    dtype = str(torch.get_default_dtype()).removeprefix("torch.")
    device = str(torch.empty(0).device)  # torch.get_default_device takes ten times as long
    return messages.State(dtype, torch.is_grad_enabled(), device, seed, drawn)


def left(state: messages.State, random_state: torch.Tensor) -> messages.State:
    """Global state as a call leaves it."""
    return present(state.seed, drawn=not torch.equal(torch.get_rng_state(), random_state))
