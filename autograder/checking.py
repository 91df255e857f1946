"""Assertions for hidden suites: what a test says to a student's function, and what a student then reads.

The checks go in one order: structure, shape, values; each fault has a test of its own. So `agree` gives every call
its own copies (what is written into them shows in `unmodified` only), and judges a result of a wrong floating type by
that type's accuracy (the type itself shows in `agree_types` only). A `Mismatch` is the only text that reaches a
student, and holds no hidden number.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from autograder.comparing import Mismatch, Names, Pair, check_types, check_values, kind, paired, plain, share
from autograder.errors import GraderError
from autograder.nested import copies, floating, is_floating, leaves, map_leaves, with_floating
from autograder.placement import check_placement
from autograder.tolerance import Judgement, beside, coarser, few_ulps, following, judge, within

__all__ = [
    "DTYPES", "Mismatch", "agree", "agree_gradients", "agree_types", "check_gradients", "check_placement", "close",
    "covers", "decided", "default_dtype", "keeps_device", "leaves_no_state", "noncontiguous", "on_copies", "raises",
    "unmodified", "zeros",
]  # fmt: skip

Function = Callable[..., Any]

covers = pytest.mark.covers
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
UNDECIDED = 1e-6  # a weight nearer to 0 or 1 is that up to the rounding of scores of 10,000 in float32
KEEP_TYPE = "keep the dtype and device of the input: make new tensors with those of a tensor you were given"
NEW_TENSOR = "work on a new tensor: x = x - 1 makes one, x -= 1 writes into x"
SLOPE = "detach() makes a constant of what is none; a step in float32 costs a float64 input half its digits"
CONNECTED = "detach(), .data, .item() and no_grad() cut a result off from what it was computed from"


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
    dtype = _judged_in(pairs, args, kwargs, accuracy)
    own = wanted if all(tensor.dtype == dtype for tensor in floating((args, kwargs))) else None
    if own is None or not all(beside(pair.got, pair.wanted, dtype) for pair in pairs):
        _check_all(pairs, partial(judge, reference, args, kwargs, dtype, truth=truth, own=own), dtype, hint)
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
    wanted = reference(*args, **kwargs)
    for pair in paired(on_copies(student, *args, **kwargs), wanted, what):
        check_types(pair, hint, device_only=device_only)


def keeps_device(
    student: Function,
    reference: Function,
    *args: Any,
    what: Names = "result",
    hint: str = KEEP_TYPE,
    device_only: bool = False,
    **kwargs: Any,
) -> None:
    """The same; and where the arguments are on the CPU, calls the student as if they were on a GPU (placement.py).

    Raises Mismatch, or NotJudged where that cannot be tried.
    """
    wanted = reference(*args, **kwargs)
    for pair in paired(on_copies(student, *args, **kwargs), wanted, what):
        check_types(pair, hint, device_only=device_only)
    check_placement(student, wanted, args, kwargs, what)


def agree_gradients(
    student: Function, reference: Function, *args: Any, what: Names = "result", hint: str = "", **kwargs: Any
) -> list[Tensor]:
    """The same as `agree` for the gradients with respect to every floating tensor among the arguments.

    What arrives at the result from above is random, drawn from the arguments' own bits. Returns the student's
    gradients, in the order of the arguments. Raises Mismatch.
    """
    seed = zlib.crc32(b"".join(_bytes(tensor) for tensor in floating((args, kwargs))))
    wanted, own = _with_gradients(reference, args, kwargs, seed)
    tensors, result = _tracked(student, copies(args), copies(kwargs))
    outputs = paired(result, wanted, what)
    for pair in outputs:
        if pair.wanted.requires_grad and not pair.got.requires_grad:
            raise Mismatch(f"{pair.name} through which gradients flow", "one that is cut off", CONNECTED)
    got = _pulled_back(tensors, result, seed)
    names = [name for name, leaf in _named(args, kwargs) if is_floating(leaf)]
    pairs = [Pair(f"the gradient of {name}", g, g, is_number=False) for name, g in zip(names, got, strict=True)]
    dtype = _judged_in(outputs, args, kwargs)
    known = own if all(tensor.dtype == dtype for tensor in tensors) else None
    function = following(reference)
    judged = partial(judge, lambda *a, **k: _with_gradients(function, a, k, seed)[1], args, kwargs, dtype, own=known)
    if known is None or not all(beside(mine, theirs, dtype) for mine, theirs in zip(got, known, strict=True)):
        _check_all(pairs, judged, dtype, hint)
    return got


def check_gradients(student: Function, *args: Any, hint: str = SLOPE, **kwargs: Any) -> None:
    """torch's gradcheck in its fast mode, in float64, of all floating tensors among the arguments."""
    nest = copies((args, kwargs))
    tensors = tuple(tensor.detach().to(torch.float64).requires_grad_() for tensor in floating(nest))

    def flat(*given: Tensor) -> tuple[Tensor, ...]:
        args, kwargs = with_floating(nest, iter(given))
        return tuple(floating(student(*args, **kwargs)))

    results = flat(*tensors)
    if not results or not any(result.requires_grad for result in results):
        raise Mismatch("a result through which gradients flow", "one that is cut off from the arguments", CONNECTED)
    if any(result.dtype != torch.float64 for result in results):
        raise Mismatch("float64 results, to check their gradients", plain(results[0].dtype), KEEP_TYPE)
    fast = {"fast_mode": True, "check_undefined_grad": False}
    if not torch.autograd.gradcheck(flat, tensors, raise_exception=False, **fast):
        raise Mismatch("the gradient to be the slope of the function", "one that is not", hint)


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


@contextmanager
def unmodified(*nests: Any, hint: str = NEW_TENSOR) -> Iterator[None]:
    """Mismatch where one of these arguments is another after the block: containers, values, strides, flags, `.grad`."""
    before = _portraits(nests)
    yield
    after = _portraits(nests)
    if before.keys() != after.keys():
        raise Mismatch("lists and dicts as they were before the call", "one that was changed", hint)
    for name, portrait in before.items():
        for aspect, value in portrait.items():
            if not _same(value, after[name][aspect]):
                raise Mismatch(f"{name}, as before the call", f"other {aspect}", hint)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Another default dtype for the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def leaves_no_state(hint: str = "a function should change nothing but its result") -> Iterator[None]:
    """Mismatch where default dtype, gradient mode or random state are others after the block; puts them back."""
    before = {
        "default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "random state": torch.get_rng_state(),
    }
    try:
        yield
        after = {
            "default dtype": torch.get_default_dtype(),
            "gradient mode": torch.is_grad_enabled(),
            "random state": torch.get_rng_state(),
        }
    finally:
        torch.set_default_dtype(before["default dtype"])  # type: ignore[arg-type]
        torch.set_grad_enabled(before["gradient mode"])  # type: ignore[arg-type]
        torch.set_rng_state(before["random state"])  # type: ignore[arg-type]
    for aspect, value in before.items():
        if not _same(value, after[aspect]):
            raise Mismatch(f"torch's {aspect} as before the call", f"another {aspect}", hint)


def noncontiguous(tensor: Tensor) -> Tensor:
    """Equal numbers in memory that runs backwards through the dimensions and skips every second place.

    No two dimensions longer than one can be merged by `view`. Keeps `requires_grad`, as a leaf.
    """
    turned = tensor.detach().permute(*reversed(range(tensor.dim())))
    spaced = torch.empty((*turned.shape, 2), dtype=tensor.dtype, device=tensor.device)[..., 0]
    spaced.copy_(turned)
    return spaced.permute(*reversed(range(tensor.dim()))).detach().requires_grad_(tensor.requires_grad)


def _check_all(pairs: list[Pair], judged: Callable[..., list[Judgement]], dtype: torch.dtype, hint: str) -> None:
    """Checks the values of all pairs; what is no draw's business is right, the rest is judged with care.

    Each draw can only allow more, so what is right without any takes no further runs of the reference.
    """
    judgements = judged(draws=0)
    if not all(within(pair.got, judgement) for pair, judgement in zip(pairs, judgements, strict=True)):
        for pair, judgement in zip(pairs, judged(), strict=True):
            check_values(pair, judgement, dtype, hint)


def _judged_in(pairs: list[Pair], args: Any, kwargs: Any, accuracy: torch.dtype = torch.float64) -> torch.dtype:
    """The coarsest type among arguments, the student's tensors and what the lesson accepts."""
    given = [tensor.dtype for tensor in floating((args, kwargs))]
    given = given or [pair.wanted.dtype for pair in pairs if is_floating(pair.wanted)]
    returned = [pair.got.dtype for pair in pairs if is_floating(pair.got) and not pair.is_number]
    return coarser(accuracy, *given, *returned)


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


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """The leaves of a call's arguments, as `argument 2[0]` or `argument mask`."""
    numbered = {**{str(i + 1): arg for i, arg in enumerate(args)}, **kwargs}
    return [found for name, nest in numbered.items() for found in leaves(nest, f"argument {name}")]


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)  # a single number has any stride
    return flat.view(torch.uint8).numpy().tobytes()


def _portraits(nests: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """All that can be seen of the leaves of the arguments, by a name for each."""
    return {
        f"{name}, {kind(leaf)}": _portrait(leaf) if isinstance(leaf, Tensor) else {"value": leaf}
        for name, leaf in _named(nests, {})
    }


def _portrait(tensor: Tensor) -> dict[str, Any]:
    return {
        "strides": tensor.stride(),
        "requires_grad": tensor.requires_grad,
        "values": tensor.detach().clone(),
        ".grad": None if tensor.grad is None else tensor.grad.clone(),
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
        return alike and torch.equal(one.isnan(), other.isnan()) and torch.equal(one.nan_to_num(), other.nan_to_num())
    return bool(one is other or (type(one) is type(other) and one == other))
