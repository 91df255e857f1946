"""Assertions for hidden suites: what a test says to a student's function, and what a student then reads.

The checks go in one order: structure, shape, values; each fault has a test of its own. So `agree` gives every call
its own copies (what is written into them shows in `unmodified` only), and judges a result of a wrong floating type by
that type's accuracy (the type itself shows in `agree_types` only). A `Mismatch` is the only text that reaches a
student, and holds no hidden number.

Values, types, devices and errors are here; suites import from here, too, what gradients.py and side_effects.py assert.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from autograder.comparing import (
    KEEP_TYPE,
    Mismatch,
    Names,
    check_all_values,
    check_types,
    check_values,
    judged_in,
    paired,
    share,
)
from autograder.errors import GraderError
from autograder.gradients import agree_gradients, check_gradients
from autograder.nested import cast, copies, floating, is_floating, leaves, map_leaves
from autograder.placement import check_placement, on_real_gpu
from autograder.side_effects import default_dtype, leaves_no_state, unmodified
from autograder.tolerance import Judgement, beside, coarser, few_ulps, judge

__all__ = [
    "DTYPES", "OTHER_DTYPES", "Mismatch", "agree", "agree_gradients", "agree_types", "check_gradients",
    "check_placement", "close", "covers", "decided", "default_dtype", "keeps_device", "keeps_dtype", "leaves_no_state",
    "noncontiguous", "on_copies", "raises", "unmodified", "zeros",
]  # fmt: skip

Function = Callable[..., Any]

covers = pytest.mark.covers
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OTHER_DTYPES = (torch.float16, torch.bfloat16, torch.float64)  # than inputs have where nothing is said
UNDECIDED = 1e-6  # a weight nearer to 0 or 1 is that up to the rounding of scores of 10,000 in float32


def agree(
    student: Function,
    reference: Function,
    *args: Any,
    what: Names = "result",
    hint: str = "",
    truth: Function | None = None,
    accuracy: torch.dtype = torch.float64,
    **kwargs: Any,
) -> Any:
    """Calls both with equal, separate copies of the arguments and compares every part of the results.

    `what` names the result, or by a tuple its parts. `truth` computes the truth in float64 where it takes more than
    to cast the arguments; `accuracy` is the coarsest type whose accuracy the lesson accepts. Returns the student's
    result, on the device that was wanted. Raises Mismatch.
    """
    got = on_copies(student, *args, **kwargs)
    wanted = reference(*args, **kwargs)
    pairs = paired(got, wanted, what, hint)
    given = floating((args, kwargs))
    dtype = judged_in(pairs, given, accuracy)
    types = {tensor.dtype for tensor in given} or {dtype}
    # what lies beside the reference's own result in the arguments' type is right by a coarser one's accuracy, too
    if len(types) > 1 or not all(beside(pair.got, pair.wanted, *types) for pair in pairs):
        own = wanted if types == {dtype} else None
        check_all_values(pairs, partial(judge, reference, args, kwargs, dtype, truth=truth, own=own), dtype, hint)
    return map_leaves(lambda leaf: leaf.to(pairs[0].wanted.device) if isinstance(leaf, Tensor) else leaf, got)


def decided(draw: Callable[[], Any], weights: Callable[[Any], Any], tries: int = 100) -> Any:
    """The first of `draw()` whose `weights(drawn)`, tensors, are all next to 0 or 1: for tests of large scores.

    x - logsumexp(x) is a right softmax that at scores of 10,000 is off by a rounding of these. Where a weight is nearly
    1, not quite, that is more than rounded scores explain. Such draws are rare: a right answer would fail by bad luck.
    """
    for _ in range(tries):
        drawn = draw()
        maps = [leaf.detach() for _, leaf in leaves(weights(drawn))]
        if all(float((each * (1 - each)).amax()) < UNDECIDED for each in maps):
            return drawn
    raise GraderError("no draw has weights of 0 and 1 only: give this test larger scores")


def agree_types(
    student: Function,
    reference: Function,
    *args: Any,
    what: Names = "result",
    hint: str = KEEP_TYPE,
    device_only: bool = False,
    **kwargs: Any,
) -> None:
    """Calls both and compares structure, shapes, dtypes (unless `device_only`) and devices, not the values."""
    got, wanted = on_copies(student, *args, **kwargs), reference(*args, **kwargs)
    for pair in paired(got, wanted, what):
        check_types(pair, hint, device_only=device_only)


def keeps_dtype(
    student: Function, reference: Function, *args: Any, what: Names = "result", hint: str = KEEP_TYPE, **kwargs: Any
) -> None:
    """`agree_types` with the floating arguments in each of OTHER_DTYPES, for results that have the type of these.

    Whether float32 is kept is asked where another default dtype is set, by a test of its own.
    """
    wanted = reference(*args, **kwargs)
    for dtype in OTHER_DTYPES:
        own_args, own_kwargs = cast(copies((args, kwargs)), dtype)
        for pair in paired(student(*own_args, **own_kwargs), wanted, what):
            check_types(pair, hint, dtype=dtype)


def keeps_device(
    student: Function, reference: Function, *args: Any, what: Names = "result", hint: str = KEEP_TYPE, **kwargs: Any
) -> None:
    """`agree_types` on a real GPU; with arguments on the CPU, calls the student as if they were on one (placement.py).

    Raises Mismatch, or NotJudged where that cannot be tried.
    """
    if on_real_gpu((args, kwargs)):
        agree_types(student, reference, *args, what=what, hint=hint, **kwargs)
    else:
        check_placement(student, reference(*args, **kwargs), args, kwargs, what)


def close(got: Any, wanted: Any, what: str = "result", hint: str = "", *, exact: bool = False) -> None:
    """Mismatch where `got` is not the tensor `wanted` (or numbers in lists), up to a few units in the last place.

    For results that a test knows without the reference. `exact` allows no rounding at all.
    """
    wanted = wanted if isinstance(wanted, Tensor) else torch.tensor(wanted, dtype=torch.float64)
    pair = replace(paired(got, wanted, what, hint)[0], is_number=True)  # only its values count
    truth = wanted.detach().to(pair.got.device, torch.float64)
    types = [tensor.dtype for tensor in (pair.got, wanted) if is_floating(tensor) and not exact]
    dtype = coarser(torch.float64, *types)
    check_values(pair, Judgement(truth, 0.0 if exact else few_ulps(truth, dtype)), dtype, hint)


def zeros(got: Tensor, what: str = "result", hint: str = "") -> None:
    """Mismatch where an entry is not exactly zero."""
    if (wrong := got != 0).any():
        raise Mismatch(f"{what} of exact zeros", f"{share(wrong)} not zero", hint)


def raises(error: type[Exception], student: Function, *args: Any, hint: str = "", **kwargs: Any) -> None:
    """Mismatch unless the call raises an error of this type."""
    try:
        student(*args, **kwargs)
    except error:
        return
    except Exception as other:  # any other type is a wrong answer, whatever it is
        raise Mismatch(f"{error.__name__}", type(other).__name__, hint) from other
    raise Mismatch(f"{error.__name__}", "a result", hint)


def on_copies(function: Function, *args: Any, **kwargs: Any) -> Any:
    """The call with copies of its tensors, strides and all."""
    return function(*copies(args), **copies(kwargs))


def noncontiguous(tensor: Tensor) -> Tensor:
    """Equal numbers in memory that runs backwards through the dimensions and skips every second place.

    No two dimensions longer than one can be merged by `view`. Keeps `requires_grad`, as a leaf.
    """
    turned = tensor.detach().permute(*reversed(range(tensor.dim())))
    spaced = torch.empty((*turned.shape, 2), dtype=tensor.dtype, device=tensor.device)[..., 0]
    spaced.copy_(turned)
    return spaced.permute(*reversed(range(tensor.dim()))).detach().requires_grad_(tensor.requires_grad)
