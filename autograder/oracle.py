"""The reference's answers for exercises that a student lost, given to those of the student's exercises that call them.

A lost exercise earns nothing itself; the ones that call it lose only what they get wrong. So that no exercise
can be had for nothing, a caller may ask for lost exercises that come *before* it in the lesson only. Nothing but
tensors goes in, and sizes are limited before the reference sees them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from autograder.inside import wire

MAX_NUMBERS = 1 << 16  # in one argument of an ask: an attention of it against itself stays small
MAX_ASKS = 10_000


class Oracle:
    """Answers a child's asks with the reference functions `given`."""

    def __init__(self, given: dict[str, Callable[..., Any]], limit_bytes: int) -> None:
        self._given = given
        self._limit_bytes = limit_bytes
        self.asked: set[str] = set()
        self._asks: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []

    def answer(self, ask: wire.Ask, storages: list[torch.UntypedStorage], allowed: frozenset[str] | None) -> bytes:
        """The frame to send back; raises wire.ProtocolError for an ask that no honest child sends.

        `allowed` are the exercises that the caller may ask for, None for all that are lost.
        """
        if ask.name not in self._given or len(self._asks) >= MAX_ASKS:
            raise wire.ProtocolError("an ask for something that is not lost")
        if allowed is not None and ask.name not in allowed:
            return wire.frame(wire.Refused("NotImplementedError", f"{ask.name} is not in the notebook"), [])
        self.asked.add(ask.name)
        tensors = wire.build(ask.views, storages, self._limit_bytes)
        if any(math.prod(tensor.shape) > MAX_NUMBERS for tensor in tensors):
            return wire.frame(wire.Refused("MemoryError", f"{ask.name} was lost, and is not computed at this size"), [])
        try:
            return self._gradients(ask, tensors) if ask.vjp >= 0 else self._value(ask, tensors)
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
            return wire.frame(wire.Refused(kind, str(error)[: wire.MAX_TEXT]), [])

    def _value(self, ask: wire.Ask, tensors: list[torch.Tensor]) -> bytes:
        for tensor, view in zip(tensors, ask.views, strict=True):
            tensor.requires_grad_(view.requires_grad)
        args, kwargs = (wire.unpack(tree, tensors, _no_module, _no_module) for tree in (ask.args, ask.kwargs))
        with torch.enable_grad():
            result = self._given[ask.name](*args, **kwargs)
        packer = wire.Packer()
        value = packer.value(result)
        self._asks.append((tensors, list(packer.tensors)))
        same = [-1] * len(packer.tensors)
        return packer.frame(wire.Returned(len(self._asks) - 1, value, packer.views, same, wire.State()))

    def _gradients(self, ask: wire.Ask, arriving: list[torch.Tensor]) -> bytes:
        if not ask.vjp < len(self._asks):
            raise wire.ProtocolError("gradients of an ask that was not made")
        tensors, results = self._asks[ask.vjp]
        found = torch.autograd.grad(
            [results[number] for number in ask.results],
            [tensors[number] for number in ask.wanted],
            [arriving[number] for number in ask.gradients],
            retain_graph=True,
            allow_unused=True,
        )
        packer = wire.Packer()
        numbers = [-1 if gradient is None else packer.tensor(gradient) for gradient in found]
        return packer.frame(wire.Gradients(numbers, packer.views))


def _no_module(what: object) -> object:
    raise TypeError(f"{what!r} cannot be given to a lost exercise")
