"""Forbidden operators at run time: their kernels, replaced in torch's dispatcher before the fork.

Static rules read code; a spelling they cannot follow still ends in the dispatcher. There each kernel of a forbidden
operator is replaced by one that looks who really called: it walks the Python stack to the innermost exercise. If
that is the exercise under test, or none is there (a thread), the use is noted and refused; for every other exercise
it computes as before, so that nobody pays for another exercise's fault. A gradient's own kernels, which autograd runs
for whoever is differentiated, refuse only those who call them by hand.

A few ready-made functions are made of allowed kernels in Python; they are replaced in the same way.

The registration's handle is given up without a name: nothing in Python leads back to it, so it cannot be undone.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import itertools
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

_NAMESPACES = ("aten", "quantized")
_BACKENDS = ("CPU", "CUDA", "SparseCPU", "SparseCsrCPU", "QuantizedCPU", "Meta")
_COMPOSITES = {  # how an operator that is made of others is registered -> where a kernel in its place must stand
    "CompositeImplicitAutograd": ("CPU", "CUDA", "AutogradCPU", "AutogradCUDA"),
    "CompositeExplicitAutograd": ("CPU", "CUDA"),
    "CompositeExplicitAutogradNonFunctional": ("CPU", "CUDA"),
}
_PYTHON = {  # ready-made functions that are made of allowed kernels: family -> where they are
    "multi_head_attention": ("torch.nn.functional:multi_head_attention_forward",),
    "multihead_attention": ("torch.nn:MultiheadAttention.forward",),
    "transformer": ("torch.nn:TransformerEncoderLayer.forward", "torch.nn:TransformerDecoderLayer.forward"),
    "softmax": ("torch.nn.functional:gumbel_softmax",),
}


_LISTING = ("get_objects", "get_referrers", "get_referents")
_TRACING = ("settrace", "setprofile", "settrace_all_threads", "setprofile_all_threads", "_current_frames")


class ForbiddenUse(BaseException):
    """A forbidden operator was used by the exercise under test; no `except Exception` swallows it."""


@dataclass
class Watch:
    """Who is under test, and what it used that it may not."""

    judged: frozenset[str] = frozenset()  # exercises that the rules bind
    under_test: str = ""
    used: str = ""
    owners: dict[types.CodeType, str] = field(default_factory=dict)

    def learn(self, exercises: dict[str, object]) -> None:
        """Remembers which code belongs to which exercise."""
        for name, value in exercises.items():
            for code in _code_of(value):
                self.owners.setdefault(code, name)

    def check(self, operator: str, is_gradient: bool) -> None:
        """Notes and refuses the use of an operator by the exercise under test."""
        if self.under_test not in self.judged:
            return
        if is_gradient and torch._C._current_autograd_node() is not None:
            return
        if self._caller() == self.under_test:
            self.used = operator
            raise ForbiddenUse(operator)

    def _caller(self) -> str:
        frame: types.FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code in self.owners:
                return self.owners[frame.f_code]
            frame = frame.f_back
        return self.under_test


def _code_of(value: object, depth: int = 6) -> Iterator[types.CodeType]:
    """The code objects of a callable: functions with what is nested in them, methods, what is wrapped."""
    if isinstance(value, types.CodeType):
        yield value
        for constant in value.co_consts:
            yield from _code_of(constant, 0)
    elif depth:
        for part in _parts(value):
            yield from _code_of(part, depth - 1)


def _parts(value: object) -> list[object]:
    """What a callable calls in its turn, as far as it can be seen."""
    if isinstance(value, functools.partial):
        return [value.func]
    if isinstance(value, types.MethodType):
        return [value.__func__]
    if isinstance(value, types.FunctionType):
        closure = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        return [value.__code__, *(held for held in closure if isinstance(held, types.FunctionType))]
    if isinstance(value, type):
        return [getattr(member, "__func__", member) for member in vars(value).values()]
    if callable(value) and not isinstance(value, types.BuiltinFunctionType):
        return [type(value).__dict__.get("__call__")]
    return []


def seal() -> None:
    """Takes from a child the functions that would find the replaced kernels: those that list or trace objects."""

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError("listing and tracing objects is not allowed here")

    for owner, names in ((gc, _LISTING), (sys, _TRACING), (threading, _TRACING)):
        for name in names:
            if hasattr(owner, name):
                setattr(owner, name, denied)


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that was never given a value
        return False


def install(families: list[str], watch: Watch) -> None:
    """Replaces the kernels of all operators whose name holds one of `families`, once and for all children."""
    if not families:
        return
    names = [name for name in torch._C._dispatch_get_all_op_names() if _is_of(name, families)]
    places = sorted({(key, *name.split("::")) for name in names for key in _keys_of(name)})
    for (key, namespace), group in itertools.groupby(places, key=lambda place: place[:2]):
        _replace([operator for _, _, operator in group], namespace, key, watch)
    for family in families:
        for place in _PYTHON.get(family, ()):
            _replace_function(place, watch)


def _is_of(name: str, families: list[str]) -> bool:
    namespace, _, operator = name.partition("::")
    return namespace in _NAMESPACES and any(family in operator for family in families)


def _keys_of(name: str) -> set[str]:
    """The dispatch keys at which calls of an operator can be met."""
    keys = {key for key in _BACKENDS if torch._C._dispatch_has_kernel_for_dispatch_key(name, key)}
    for composite, places in _COMPOSITES.items():
        if torch._C._dispatch_has_kernel_for_dispatch_key(name, composite):
            keys |= {key for key in places if torch._C._dispatch_has_computed_kernel_for_dispatch_key(name, key)}
    return keys


def _replace(operators: list[str], namespace: str, key: str, watch: Watch) -> None:
    library: Any = torch._C._dispatch_library("IMPL", namespace, key, __file__, 1)
    kernels = [(operator, _kernel(f"{namespace}::{operator}", key, watch)) for operator in operators]
    for operator, kernel in kernels:
        library.impl(operator, key, kernel, False)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))  # never freed, and no name leads to it


def _kernel(name: str, key: str, watch: Watch) -> Callable[..., Any]:
    original: Any = torch.library.get_kernel(name, key)
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))
    is_gradient = "backward" in name

    def kernel(*args: Any, **kwargs: Any) -> Any:
        watch.check(name.partition("::")[2].partition(".")[0].strip("_"), is_gradient)
        return original.call_boxed(keys, *args, **kwargs)

    return kernel


def _replace_function(place: str, watch: Watch) -> None:
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *folders, name = path.split(".")
    for folder in folders:
        owner = getattr(owner, folder)
    original = getattr(owner, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        watch.check(path.removesuffix(".forward"), is_gradient=False)
        return original(*args, **kwargs)

    function.__name__ = name
    setattr(owner, name, function)
