"""The reference's answers for exercises that a student lost, given to those of the student's exercises that call them.

A lost exercise earns nothing itself; the ones that call it lose only what they get wrong. So that no exercise
can be had for nothing, a caller may ask for lost exercises that come *before* it in the lesson only.

The reference runs in the grader's own process on what a student's code chose, so what goes in is bounded, and so are
the memory that it may take (`within_memory`), the number of asks, and what is kept of them for gradients.
"""

from __future__ import annotations

import math
import resource
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from autograder.inside import messages, packing, wire
from autograder.inside.confine import Limits

MAX_NUMBERS = 1 << 16  # in one tensor of an ask
MAX_INTEGER = 1 << 12  # such as a length or a number of heads
MAX_NODES = 2_000  # in the arguments of an ask: how often the reference can be made to do something with a tensor
MAX_ASKS = 10_000  # of one child
MEMORY_BYTES = 256 << 20  # that one ask may add to the grader
KEPT_BYTES = 64 << 20  # what is kept of asks for their gradients; the oldest are forgotten first
_REFUSED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Kept:
    """A graph: what it was computed from, what came of it, and the bytes that it holds in all."""

    tensors: list[torch.Tensor]
    results: list[torch.Tensor]
    held_bytes: int


class Oracle:
    """Answers a child's asks with the reference functions `given`."""

    def __init__(self, given: Mapping[str, Callable[..., Any]], limits: Limits) -> None:
        self._given = given
        self._limit_bytes = limits.reply_bytes
        self.asked: set[str] = set()
        self._count = 0
        self._asks: OrderedDict[int, Kept] = OrderedDict()
        self._held_bytes = 0

    def answer(self, ask: messages.Ask, pieces: list[bytes], allowed: frozenset[str] | None) -> bytes:
        """The frame to send back; raises messages.ProtocolError for an ask that no honest child sends.

        `allowed` are the exercises that the caller may ask for, None for all that are lost.
        """
        self._count += 1
        if ask.name not in self._given or self._count > MAX_ASKS:
            raise messages.ProtocolError("an ask for something that is not lost, or too many asks")
        if allowed is not None and ask.name not in allowed:
            return _refused("NotImplementedError", f"{ask.name} is not in the notebook")
        wire.check_trees(ask.args, ask.kwargs, most=MAX_NODES)
        self.asked.add(ask.name)
        tensors, _ = packing.build(ask.views, pieces, self._limit_bytes)
        if any(math.prod(tensor.shape) > MAX_NUMBERS for tensor in tensors):
            return _refused("MemoryError", f"{ask.name} was lost, and is not computed at this size")
        try:
            with within_memory(MEMORY_BYTES):
                return self._gradients(ask, tensors) if ask.vjp >= 0 else self._value(ask, tensors)
        except _REFUSED as error:
            kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
            return _refused(kind, str(error)[: messages.MAX_TEXT])

    def _value(self, ask: messages.Ask, tensors: list[torch.Tensor]) -> bytes:
        for tensor, view in zip(tensors, ask.views, strict=True):
            tensor.requires_grad_(view.requires_grad)
        args, kwargs = (packing.unpack(tree, tensors, _no_module, _no_module) for tree in (ask.args, ask.kwargs))
        if not isinstance(args, list | tuple) or not isinstance(kwargs, dict) or _has_large((args, kwargs)):
            raise MemoryError(f"{ask.name} was lost, and is not computed at this size")
        saved: dict[int, int] = {}  # address of a storage -> its bytes
        with torch.enable_grad(), saved_tensors_hooks(partial(_noted, saved), _as_it_is):
            result = self._given[ask.name](*args, **kwargs)
        packer = packing.Packer()
        value = packer.value(result)
        if sum(storage.nbytes() for storage in packer.storages) > self._limit_bytes // 2:
            raise MemoryError(f"{ask.name} was lost, and is not computed at this size")
        if any(tensor.requires_grad for tensor in packer.tensors):
            self._keep(tensors, list(packer.tensors), sum(saved.values()))
        same = [-1] * len(packer.tensors)
        return packer.frame(messages.Returned(self._count, value, packer.views, same, messages.State()))

    def _keep(self, tensors: list[torch.Tensor], results: list[torch.Tensor], saved_bytes: int) -> None:
        held = saved_bytes + sum(tensor.nbytes for tensor in (*tensors, *results))
        self._asks[self._count] = Kept(tensors, results, held)
        self._held_bytes += held
        while self._held_bytes > KEPT_BYTES:
            self._held_bytes -= self._asks.popitem(last=False)[1].held_bytes

    def _gradients(self, ask: messages.Ask, arriving: list[torch.Tensor]) -> bytes:
        if ask.vjp not in self._asks:
            raise RuntimeError("gradients of a call that was not made, or too long ago")
        kept = self._asks[ask.vjp]
        found = torch.autograd.grad(
            [kept.results[number] for number in ask.results],
            [kept.tensors[number] for number in ask.wanted],
            [arriving[number] for number in ask.gradients],
            retain_graph=True,
            allow_unused=True,
        )
        packer = packing.Packer()
        numbers = [-1 if gradient is None else packer.tensor(gradient) for gradient in found]
        return packer.frame(messages.Gradients(numbers, packer.views))


@contextmanager
def within_memory(more_bytes: int) -> Iterator[None]:
    """Lets this process take so much more memory and no more: beyond that, a MemoryError or torch's RuntimeError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stack, which RLIMIT_DATA counts
    wanted = pages * resource.getpagesize() + more_bytes
    unlimited = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if soft == unlimited else min(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _noted(saved: dict[int, int], tensor: torch.Tensor) -> torch.Tensor:
    """What a graph keeps of a tensor; `saved` learns of its memory."""
    storage = tensor.untyped_storage()
    saved[storage.data_ptr()] = storage.nbytes()
    return tensor.detach()  # the tensor itself would lead back to the graph that keeps it


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _has_large(value: Any) -> bool:
    """Is a number among these so large that what is computed of it could be, too?"""
    if isinstance(value, list | tuple):
        return any(map(_has_large, value))
    if isinstance(value, dict):
        return any(map(_has_large, value.values()))
    return isinstance(value, int) and abs(value) > MAX_INTEGER


def _refused(kind: str, text: str) -> bytes:
    return wire.frame(messages.Refused(kind, text), [])


def _no_module(what: object) -> object:
    raise RuntimeError(f"{what!r} cannot be given to a lost exercise")
