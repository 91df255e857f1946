"""Assertions on gradients, for hidden suites: the same as the reference's, and the slope of the function.

A suite takes them from checking.py, where the order of the checks and who reads a `Mismatch` are told.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autograder.comparing import KEEP_TYPE, Mismatch, Names, Pair, check_all_values, judged_in, paired, plain
from autograder.nested import argument_leaves, copies, floating, is_floating, with_floating
from autograder.tolerance import beside, following, judge

SLOPE = "detach() makes a constant of what is none; a step in float32 costs a float64 input half its digits"
CONNECTED = "detach(), .data, .item() and no_grad() cut a result off from what it was computed from"

Function = Callable[..., Any]


def agree_gradients(
    student: Function, reference: Function, *args: Any, what: Names = "result", hint: str = "", **kwargs: Any
) -> list[Tensor]:
    """The same as `agree` for the gradients with respect to every floating tensor among the arguments.

    What arrives at the result from above is random, drawn from the bits of the first of them. Returns the student's
    gradients, in the order of the arguments. Raises Mismatch.
    """
    seed = zlib.crc32(_bytes(floating((args, kwargs))[0]))
    wanted, own = _with_gradients(reference, args, kwargs, seed)
    tensors, result = _tracked(student, copies(args), copies(kwargs))
    outputs = paired(result, wanted, what)
    for pair in outputs:
        if pair.wanted.requires_grad and not pair.got.requires_grad:
            raise Mismatch(f"{pair.name} through which gradients flow", "one that is cut off", CONNECTED)
    got = _pulled_back(tensors, result, seed)
    names = [name for name, leaf in argument_leaves(args, kwargs) if is_floating(leaf)]
    pairs = [Pair(f"the gradient of {name}", g, g, is_number=False) for name, g in zip(names, got, strict=True)]
    dtype = judged_in(outputs, tensors)
    known = own if all(tensor.dtype == dtype for tensor in tensors) else None
    function = following(reference)
    judged = partial(judge, lambda *a, **k: _with_gradients(function, a, k, seed)[1], args, kwargs, dtype, own=known)
    if known is None or not all(beside(mine, theirs, dtype) for mine, theirs in zip(got, known, strict=True)):
        check_all_values(pairs, judged, dtype, hint)
    return got


def check_gradients(student: Function, *args: Any, hint: str = SLOPE, **kwargs: Any) -> None:
    """torch's gradcheck in its fast mode, in float64, of all floating tensors among the arguments.

    It moves them all at once, along one random direction, and looks at all results at once: each of them by itself
    takes two calls more, and tells a wrong gradient from a right one no better.
    """
    nest = copies((args, kwargs))
    tensors = [tensor.detach().to(torch.float64) for tensor in floating(nest)]
    sizes, shapes = [tensor.numel() for tensor in tensors], [tensor.shape for tensor in tensors]

    def flat(numbers: Tensor) -> Tensor:
        parts = (part.view(shape) for part, shape in zip(torch.split(numbers, sizes), shapes, strict=True))
        args, kwargs = with_floating(nest, parts)
        results = floating(student(*args, **kwargs))
        if not any(result.requires_grad for result in results):
            raise Mismatch("a result through which gradients flow", "one that is cut off from the arguments", CONNECTED)
        if coarse := next((result.dtype for result in results if result.dtype != torch.float64), None):
            raise Mismatch("float64 results, to check their gradients", plain(coarse), KEEP_TYPE)
        return torch.cat([result.reshape(-1) for result in results])

    numbers = torch.cat([tensor.reshape(-1) for tensor in tensors]).requires_grad_()
    fast = {"fast_mode": True, "check_undefined_grad": False}
    if not torch.autograd.gradcheck(flat, numbers, raise_exception=False, **fast):
        raise Mismatch("the gradient to be the slope of the function", "one that is not", hint)


def _tracked(function: Function, args: Any, kwargs: Any) -> tuple[list[Tensor], Any]:
    """The floating arguments of a call as leaves that gradients are wanted of, and its result."""
    tensors = [tensor.detach().requires_grad_() for tensor in floating((args, kwargs))]
    args, kwargs = with_floating((args, kwargs), iter(tensors))
    return tensors, function(*args, **kwargs)


def _pulled_back(tensors: list[Tensor], result: Any, seed: int) -> list[Tensor]:
    """Gradients of the tensors for a random gradient at each floating part of the result, zeros where none arrives.

    What is drawn is rounded to the coarsest type first, so that a run in any type gets the same numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    outputs, upstream = [], []
    for output in floating(result):
        drawn = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        if output.requires_grad:
            outputs.append(output)
            upstream.append(drawn.to(torch.bfloat16).to(output))
    found = torch.autograd.grad(outputs, tensors, upstream, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]


def _with_gradients(function: Function, args: Any, kwargs: Any, seed: int) -> tuple[Any, list[Tensor]]:
    """Result and gradients of one call."""
    tensors, result = _tracked(function, args, kwargs)
    return result, _pulled_back(tensors, result, seed)


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)  # a single number has any stride
    return flat.view(torch.uint8).numpy().tobytes()
