"""Modules that live in the child. Their parameters have a double outside, which travels with each call.

A call *of* a module runs it with the tensors that came along (torch.func.functional_call), so gradients reach the
parameters outside. A module that is an *argument* gets the values that came along written into it first, and its
state goes back with the answer: training inside shows outside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.func import functional_call

from autograder.inside import messages, packing

BUILTIN = ("MultiheadAttention", "Linear", "Sequential", "Embedding", "LayerNorm", "ModuleList", "RNN")


class Modules:
    """The modules of a child by the number that the outside knows them by."""

    def __init__(self) -> None:
        self._known: dict[int, torch.nn.Module] = {}

    def __getitem__(self, number: int) -> torch.nn.Module:
        return self._known[number]

    def number_of(self, value: object) -> int | None:
        """The number of a module, a new one if it was not known; None for anything else."""
        if not isinstance(value, torch.nn.Module):
            return None
        number = next((number for number, known in self._known.items() if known is value), len(self._known))
        self._known[number] = value
        return number

    def target(self, name: str, given: dict[str, Any], sent: list[messages.Module], tensors: list[torch.Tensor]) -> Any:
        """What a call calls: an exercise, a built-in module's class ("torch.nn.Linear"), or a module ("#3")."""
        if name.startswith("#"):
            number = int(name[1:])
            module = self._known[number]
            state = next(each for each in sent if each.number == number)
            _prepare(module, state, tensors)
            values = {key: tensors[i] for key, i in zip(state.names, state.tensors, strict=True)}
            return lambda *args, **kwargs: functional_call(module, values, args, kwargs)
        if name.startswith("torch.nn.") and name.removeprefix("torch.nn.") in BUILTIN:
            return getattr(torch.nn, name.removeprefix("torch.nn."))
        return given[name]

    def receive(self, sent: list[messages.Module], tensors: list[torch.Tensor]) -> None:
        """Writes the state that came along into the modules that are arguments of a call."""
        for state in sent:
            module = self._known[state.number]
            _prepare(module, state, tensors)
            own = module.state_dict(keep_vars=True)
            for name, number in zip(state.names, state.tensors, strict=True):
                value, mine = tensors[number], own[name]
                mine.data = value.detach()  # not a copy: modules that share a storage go on sharing it
                if isinstance(mine, torch.nn.Parameter):
                    mine.requires_grad_(value.requires_grad)
                    mine.grad = value.grad

    def state(self, number: int, packer: packing.Packer) -> messages.Module:
        """The state of a module as it is now, its tensors put into `packer`."""
        module = self._known[number]
        own = module.state_dict(keep_vars=True)
        parameters = [name for name, value in own.items() if isinstance(value, torch.nn.Parameter)]
        numbers = [packer.tensor(value) for value in own.values()]
        return messages.Module(number, list(own), numbers, module.training, parameters)


def _prepare(module: torch.nn.Module, state: messages.Module, tensors: list[torch.Tensor]) -> None:
    """Mode, dtype and device as they are outside; `to` reaches buffers that are not in the state dict as well."""
    module.train(state.training)
    floating = [tensors[number] for number in state.tensors if tensors[number].is_floating_point()]
    own = next((value for value in module.state_dict().values() if value.is_floating_point()), None)
    if floating and own is not None and (own.dtype, own.device) != (floating[0].dtype, floating[0].device):
        module.to(floating[0].device, floating[0].dtype)
