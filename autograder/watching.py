"""What a hidden test fed to the exercises and what it got, noted while the test runs.

Enters: whoever answers a test (a submission's proxy, the model answers, a known wrong answer). Leaves: for each test
and each of them, the calls in order. The same test with the same seed feeds the same things to two answers until their
results part, so two answers are compared call by call. Watching changes nothing that a test can see.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autograder.errors import StudentError
from autograder.handles import Handle
from autograder.nested import copies, leaves, map_leaves
from autograder.tolerance import FLOOR_ULPS, coarser, few_ulps

HALVES = (torch.float16, torch.bfloat16)


@dataclass
class Call:
    """One call of an exercise, or of a module that an exercise made: what went in and what came of it."""

    name: str
    arguments: list[tuple[str, Any]]  # leaves by their place, as they were before the call
    default_dtype: torch.dtype
    result: Any = None  # tensors detached; a module as what its state looks like
    raised: str = ""  # name of an exception's type
    text: str = ""  # what the exception said, for the instructor
    tracked: tuple[bool, ...] = ()  # does a gradient flow through each tensor of the result?
    changed: dict[str, Tensor] = field(default_factory=dict)  # arguments and weights that are others after the call
    left: str = ""  # global state that the call left behind
    gradients: dict[str, Tensor] = field(default_factory=dict)  # what arrived at each argument or weight later

    @property
    def key(self) -> int:
        """Equal for calls of the same thing with equal arguments."""
        return zlib.crc32(repr([self.name, *map(_content, self.arguments)]).encode())


@dataclass
class Watch:
    """The calls of each test, by the test's name and by who answered it; `student` goes into a Case."""

    calls: dict[tuple[str, int], list[Call]] = field(default_factory=dict)

    def student(self, test: str, answers: Any) -> Any:
        """Stands for `answers` in one run of a test."""
        noted: list[Call] = []
        self.calls[test, id(answers)] = noted
        return Watched(answers, noted)

    def of(self, test: str, answers: Any) -> list[Call]:
        """The calls that a test made of `answers` in its last run."""
        return self.calls.get((test, id(answers)), [])


class Watched:
    """The exercises of somebody as attributes; notes each call and hands it on."""

    def __init__(self, answers: Any, noted: list[Call]) -> None:
        self._answers, self._noted = answers, noted

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._answers, name)
        return value if name == "builtin" or name.startswith("_") else _noting(name, value, dict, self._noted)


def same(one: Call, other: Call) -> bool:
    """Did both calls come to the same, up to rounding? Gradients count where they arrived at either."""
    return (
        one.name == other.name
        and one.raised == other.raised
        and one.tracked == other.tracked
        and one.left == other.left
        and alike(one.result, other.result)
        and one.changed.keys() == other.changed.keys()
        and all(_alike_after(one.changed[key], other.changed[key]) for key in one.changed)
        and all(_alike_gradients(one, other, key) for key in one.gradients.keys() | other.gradients.keys())
    )


def alike(one: Any, other: Any) -> bool:
    """The same nest: containers, shapes, dtypes, and values up to a few units in the last place."""
    if isinstance(one, tuple | list) or isinstance(other, tuple | list):
        together = isinstance(one, tuple | list) and isinstance(other, tuple | list) and len(one) == len(other)
        return together and all(map(alike, one, other))
    if isinstance(one, dict) or isinstance(other, dict):
        together = isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys()
        return together and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and close_values(one, other)
    if isinstance(one, float) and isinstance(other, float):
        return close_values(torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64))
    return type(one) is type(other) and bool(one == other)


def close_values(one: Tensor, other: Tensor, at_least: float = 0.0) -> bool:
    """Equal up to a few units in the last place of the largest entry, infinities and NaN at the same places.

    The largest entry counts as `at_least` that large.
    """
    if one.shape != other.shape or one.is_complex() or other.is_complex():
        return False
    dtypes = [tensor.dtype for tensor in (one, other) if tensor.is_floating_point()]
    first, second = one.detach().double(), other.detach().double()
    error = (first - second).abs()
    if error.numel() and not bool(error.isfinite().all()):
        ordinary = first.isfinite() & second.isfinite()
        strange = (torch.where(ordinary, 0.0, each) for each in (first, second))
        if not _identical(*strange):
            return False
        first, second, error = first[ordinary], second[ordinary], error[ordinary]
    if error.numel() == 0:
        return True
    largest = torch.maximum(first.abs().amax(), second.abs().amax()).clamp_min(at_least)
    return float(error.amax()) <= _allowed(largest, dtypes)


def _allowed(largest: Tensor, dtypes: list[torch.dtype]) -> float:
    """Half types say little: at the allowance of few_ulps almost anything would be like anything there."""
    dtype = coarser(torch.float64, *dtypes)
    return FLOOR_ULPS * float(largest) * torch.finfo(dtype).eps if dtype in HALVES else few_ulps(largest, dtype)


def _alike_after(one: Tensor, other: Tensor) -> bool:
    return one.requires_grad == other.requires_grad and alike(one, other)


def _alike_gradients(one: Call, other: Call, key: str) -> bool:
    """A gradient that does not arrive is one of zeros; what is far below 1 is rounding, for 1 arrives from above."""
    first, second = one.gradients.get(key), other.gradients.get(key)
    first = torch.zeros_like(second) if first is None and second is not None else first
    second = torch.zeros_like(first) if second is None and first is not None else second
    return first is None or second is None or close_values(first, second, at_least=1.0)


def _noting(
    name: str, function: Callable[..., Any], state: Callable[[], dict[str, Tensor]], noted: list[Call]
) -> Callable[..., Any]:
    """The function, noting its calls; `state` gives the weights of a module whose forward it is."""

    def noting(*args: Any, **kwargs: Any) -> Any:
        call = Call(name, _arguments(args, kwargs), torch.get_default_dtype())
        noted.append(call)
        with _watching(call, lambda: {**_tensors((args, kwargs)), **state()}):
            result = function(*args, **kwargs)
        tensors = [leaf for _, leaf in leaves(result) if isinstance(leaf, Tensor)]
        call.tracked = tuple(tensor.requires_grad for tensor in tensors)
        call.result = map_leaves(_kept, result)
        if isinstance(result, nn.Module | Handle):
            _watch_module(name, result, noted)
        return result

    noting.unwatched = function  # type: ignore[attr-defined]  # placement.py calls it beside the test's own calls
    return noting


@contextlib.contextmanager
def _watching(call: Call, given: Callable[[], dict[str, Tensor]]) -> Iterator[None]:
    """Notes what a call raises, writes to and leaves behind, and the gradients that arrive at what it was given."""
    state = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state()
    tensors = given()
    before = {key: _Before.of(tensor) for key, tensor in tensors.items()}
    _watch_gradients(tensors, call)
    try:
        yield
    except Exception as error:
        call.raised, call.text = _builtin_name(error), str(error)
        raise
    finally:
        call.changed = {key: _after(t) for key, t in given().items() if key not in before or before[key].differs(t)}
        now = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state()
        names = ("default dtype", "gradient mode", "random state")
        kept = (state[0] == now[0], state[1] == now[1], torch.equal(state[2], now[2]))
        call.left = ", ".join(name for name, same_as_before in zip(names, kept, strict=True) if not same_as_before)


def _after(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


@dataclass(frozen=True)
class _Before:
    """A tensor as it was before a call."""

    values: Tensor
    requires_grad: bool
    grad: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor) -> _Before:
        grad = tensor.grad if tensor.is_leaf else None
        return cls(tensor.detach().clone(), tensor.requires_grad, None if grad is None else grad.clone())

    def differs(self, tensor: Tensor) -> bool:
        grad = tensor.grad if tensor.is_leaf else None
        return (
            self.requires_grad != tensor.requires_grad
            or (self.grad is None) != (grad is None)
            or (self.grad is not None and grad is not None and not _identical(self.grad, grad))
            or not _identical(self.values, tensor.detach())
        )


def _identical(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one, other) or (
        torch.equal(one.isnan(), other.isnan()) and torch.equal(one.nan_to_num(), other.nan_to_num())
    )


def _watch_gradients(given: dict[str, Tensor], call: Call) -> None:
    """Adds up what arrives at each tensor that a gradient is wanted of."""

    def note(key: str) -> Callable[[Tensor], None]:
        def arrived(gradient: Tensor | None) -> None:
            if gradient is None:  # autograd calls with nothing where no gradient arrives
                return
            there = call.gradients.get(key)
            call.gradients[key] = gradient.detach().clone() if there is None else there + gradient.detach()

        return arrived

    for key, tensor in given.items():
        if tensor.requires_grad:
            tensor.register_hook(note(key))  # type: ignore[no-untyped-call]


def _watch_module(name: str, module: Any, noted: list[Call]) -> None:
    """Notes the calls of a module, too."""
    if isinstance(module, Handle):
        inner = module._forward
        module._forward = lambda handle, args, kwargs: _noting(
            f"{name}(...)", lambda *a, **k: inner(handle, a, k), lambda: _state(handle), noted
        )(*args, **kwargs)
    else:
        forward = module.forward
        module.forward = lambda *args, **kwargs: _noting(f"{name}(...)", forward, lambda: _state(module), noted)(
            *args, **kwargs
        )


def _state(module: Any) -> dict[str, Tensor]:
    """Parameters and buffers by their number: their names may be the student's own."""
    tensors = module._tensors if isinstance(module, Handle) else module.state_dict(keep_vars=True)
    return {f"weight {number}": tensor for number, tensor in enumerate(tensors.values())}


def _tensors(nest: Any) -> dict[str, Tensor]:
    """All tensors among arguments by their place, those of modules included."""
    found: dict[str, Tensor] = {}
    for place, leaf in leaves(nest, ""):
        if isinstance(leaf, Tensor):
            found[place] = leaf
        elif isinstance(leaf, nn.Module | Handle):
            found |= {f"{place}.{name}": tensor for name, tensor in _state(leaf).items()}
    return found


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    numbered = {**{str(i + 1): arg for i, arg in enumerate(args)}, **kwargs}
    return [(place, _kept(leaf)) for name, nest in numbered.items() for place, leaf in leaves(nest, name)]


def _kept(leaf: Any) -> Any:
    """What is noted of a leaf: a tensor as a copy of its own memory, a module as what its state looks like."""
    if isinstance(leaf, Tensor):
        return copies(leaf.detach())
    if isinstance(leaf, nn.Module | Handle):
        return {
            name: (tuple(tensor.shape), isinstance(tensor, nn.Parameter), tensor.requires_grad)
            for name, tensor in _state(leaf).items()
        }
    return leaf


def _content(argument: tuple[str, Any]) -> str:
    place, leaf = argument
    if not isinstance(leaf, Tensor):
        return f"{place}={leaf!r}"
    flat = leaf.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    values = zlib.crc32(flat.view(torch.uint8).numpy().tobytes())
    return f"{place}:{tuple(leaf.shape)}{leaf.dtype}{leaf.stride()}{values}"


def _builtin_name(error: Exception) -> str:
    """The type by which an exception is known across the border: what a student raises arrives as a built-in one."""
    cause = error.__cause__
    if isinstance(cause, StudentError) and cause.cause != "error":
        return cause.cause
    return next(each.__name__ for each in type(error).__mro__ if each.__module__ == "builtins")
