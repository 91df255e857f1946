"""Random inputs without mercy, to see whether two answers differ anywhere: for `prove`, not for grading.

`tests/<lesson>/samples.py` holds a function for each exercise, (draw, student, reference) -> None: it draws one input
and compares both answers on it with the suites' own checks, so "no difference" means none that a suite could fairly ask
for. Any size, shape, stride, type and extreme that the lesson promises may be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from autograder.checking import (
    DTYPES,
    Mismatch,
    agree,
    agree_gradients,
    agree_types,
    default_dtype,
    leaves_no_state,
    noncontiguous,
    unmodified,
)
from autograder.nested import floating

T = TypeVar("T")
LEADS = ((), (), (1,), (3,), (2, 3), (2, 1, 2))
SCALES = (1.0, 1.0, 1.0, 0.01, 10.0)


class Draw:
    """A seeded source of sizes, choices and tensors; one type for all tensors of one draw."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.dtype = self.pick([*DTYPES, torch.float64, torch.float64, torch.float32])
        self.lead = self.pick(LEADS)

    def size(self, low: int = 1, high: int = 6) -> int:
        """A whole number, low <= number <= high."""
        return int(torch.randint(low, high + 1, (), generator=self._generator))

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[int(torch.randint(0, len(choices), (), generator=self._generator))]

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return bool(torch.rand((), generator=self._generator) < p)

    def tensor(self, *shape: int, scale: float | None = None, lead: bool = False, spread: float = 0.0) -> Tensor:
        """Normal numbers, behind the draw's leading dimensions where `lead`, in memory of any layout.

        `spread` is the probability of rows that are constant, of zeros, or of very different size.
        """
        shape = (*self.lead, *shape) if lead else shape
        scale = self.pick(SCALES) if scale is None else scale
        drawn = torch.randn(shape, dtype=torch.float64, generator=self._generator) * scale
        if spread and self.chance(spread):
            drawn = self.pick([lambda x: x * 0, lambda x: x[..., :1].expand_as(x).clone(), self._uneven])(drawn)
        tensor = drawn.to(self.dtype)
        return noncontiguous(tensor) if shape and self.chance(0.3) else tensor

    def ids(self, high: int, *shape: int, lead: bool = True) -> Tensor:
        """Whole numbers below `high`, int64."""
        ids = torch.randint(0, high, (*(self.lead if lead else ()), *shape), generator=self._generator)
        return noncontiguous(ids) if self.chance(0.3) else ids

    def mask(self, *shape: int) -> Tensor | None:
        """None, or a mask that broadcasts to the shape: nothing, some, or all of a row blocked."""
        if self.chance(0.3):
            return None
        whole = [1 if self.chance(0.2) else size for size in shape]
        whole = whole[int(self.size(0, len(shape) - 1)) if self.chance(0.3) else 0 :]
        mask = torch.rand(whole, generator=self._generator) < self.pick([0.0, 0.3, 0.5, 0.8])
        if self.chance(0.3):
            mask.view(-1, mask.shape[-1])[self.size(0, mask.shape[:-1].numel() - 1)] = True
        return noncontiguous(mask) if self.chance(0.2) else mask

    def _uneven(self, x: Tensor) -> Tensor:
        return x * torch.pow(10.0, torch.randint(-2, 3, (*x.shape[:-1], 1), generator=self._generator)).to(x)


def compare(
    draw: Draw,
    student: Callable[..., Any],
    reference: Callable[..., Any],
    *args: Any,
    gradients: bool = True,
    state: bool = True,
    **kwargs: Any,
) -> None:
    """Mismatch where both answers differ in what a suite asks for.

    That is errors, types, values, traces, and gradients in float32 and float64. `what`, `truth` and `accuracy` go to
    `agree`, everything else to the answers; `state` is False where an answer may draw random numbers, as the weights
    of a new module.
    """
    options = {key: kwargs.pop(key) for key in ("what", "truth", "accuracy") if key in kwargs}
    if _both_raise(student, reference, args, kwargs):
        return
    names = {"what": options["what"]} if "what" in options else {}
    with default_dtype(torch.float64) if draw.chance(0.2) else nullcontext():
        agree_types(student, reference, *args, **names, **kwargs)
        agree(student, reference, *args, **options, **kwargs)
    if draw.chance(0.3):
        for tensor in floating((args, kwargs)):
            tensor.requires_grad_(draw.chance(0.5))
        with (
            unmodified(args, kwargs),
            leaves_no_state() if state else nullcontext(),
            torch.no_grad() if draw.chance(0.3) else nullcontext(),
        ):
            student(*args, **kwargs)
    if gradients and floating((args, kwargs)) and draw.dtype not in (torch.float16, torch.bfloat16):
        agree_gradients(student, reference, *args, **names, **kwargs)


def _both_raise(student: Callable[..., Any], reference: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Do both raise ValueError, the one error that a lesson promises? Mismatch where only one does."""
    raised = [_raised(function, args, kwargs) for function in (student, reference)]
    if raised[0] != raised[1]:
        raise Mismatch("ValueError" if raised[1] else "a result", "something else")
    return raised[1]


def _raised(function: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    try:
        function(*args, **kwargs)
    except ValueError:
        return True
    return False


def with_infinities(draw: Draw, x: Tensor) -> Tensor:
    """The tensor with some entries, or whole rows, of minus infinity."""
    blocked = torch.rand(x.shape, generator=draw._generator) < draw.pick([0.2, 0.5])
    if draw.chance(0.5):
        blocked.view(-1, x.shape[-1])[draw.size(0, x.shape[:-1].numel() - 1)] = True
    return x.masked_fill(blocked, -math.inf)
