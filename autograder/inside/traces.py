"""What a call meets and what it leaves behind: torch's global state, the arguments before and after it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from autograder.inside import messages, packing, wire
from autograder.inside.wire import CPU


@dataclass(frozen=True)
class Arrived:
    """The tensors of a call as they came in, to tell afterwards what became of them."""

    views: list[messages.View]
    storages: list[torch.UntypedStorage]
    body: bytes  # their bytes, as they came
    tensors: list[torch.Tensor]
    values: tuple[Any, Any]  # args and kwargs, made of these tensors
    random_state: bytes

    def written(self) -> list[int]:
        """The storages whose bytes are other ones now."""
        now = wire.body_of(self.storages)
        if now == self.body:
            return []
        pairs = zip(wire.pieces_of(self.body), wire.pieces_of(now), strict=True)
        return [number for number, (before, after) in enumerate(pairs) if before != after]


def contents(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """Which things stand where in the containers among the arguments of a call."""
    held = [value for value in (*args, *kwargs.values()) if isinstance(value, list | tuple | dict)]
    return _identity(held) if held else None


def _identity(value: object) -> object:
    """Which things stand where in a nest of lists, tuples and dicts."""
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    if isinstance(value, dict):
        return [(key, _identity(item)) for key, item in value.items()]
    return id(value)


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


def enter(state: messages.State) -> bytes:
    """Makes global state what it is outside; returns the state of torch's generator."""
    set_modes(state)
    torch.default_generator.manual_seed(state.seed)  # torch.manual_seed notes a traceback for each idle accelerator
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(state.seed)
    random.seed(state.seed)
    return _seeded(state.seed)


def set_modes(state: messages.State) -> None:
    """Makes default dtype, default device and grad mode what they are outside."""
    dtype = packing.DTYPES[state.dtype]
    if torch.get_default_dtype() is not dtype:
        torch.set_default_dtype(dtype)
    torch.set_default_device(None if state.device == "cpu" else state.device)
    if torch.is_grad_enabled() != state.grad:
        torch.set_grad_enabled(state.grad)


def present(seed: int = 0, *, drawn: bool = False) -> messages.State:
    """Global state as it is now; of the generator the caller knows."""
    dtype = packing.NAMES[torch.get_default_dtype()]
    device = torch.empty(0).device  # torch.get_default_device takes ten times as long
    return messages.State(dtype, torch.is_grad_enabled(), "cpu" if device == CPU else str(device), seed, drawn)


def left(state: messages.State, random_state: bytes) -> messages.State:
    """Global state as a call leaves it."""
    return present(state.seed, drawn=_random_state() != random_state)


@lru_cache(maxsize=4)
def _seeded(seed: int) -> bytes:
    """The state of torch's generator, which has just been seeded with this; most calls are made with one seed."""
    return _random_state()


def _random_state() -> bytes:
    return torch.default_generator.get_state().numpy().tobytes()  # torch.equal is slow for as many bytes
