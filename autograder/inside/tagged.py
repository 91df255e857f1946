"""Placement without a GPU: a call whose tensors say that they are on one, and compute on the CPU.

    function(*args)  under a TorchFunctionMode, which sees every torch function that Python code calls
        storages of the arguments ── tagged ── what is computed from tagged storages is tagged
        anything else was made on the CPU: meets it a tagged tensor, the call raises what CUDA would raise

A tag belongs to a storage, as a device does (places.py). The tensors stay plain CPU tensors, so values, strides,
autograd, `.item()` and branches on data are what they always are. Enters: a function and its arguments. Leaves: a
`messages.Placed`, which says for each tensor of the result where it is, or which line of the student's brought two
devices together, or why it cannot be said. What CUDA allows is allowed: tensors without dimensions beside others,
indices on the CPU, `copy_` and assignment across devices.

Blind spots: a thread of its own, what is computed by hand in C (ctypes, numpy), `torch.cuda` beyond `is_available`.
There the verdict is that it could not be judged, or a pass; a right answer is never blamed for them.

Sources: torch.overrides (modes); ATen/TensorIterator.cpp, compute_types (which devices may meet).
"""

from __future__ import annotations

import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from autograder.inside import messages, packing, placing
from autograder.inside.places import GPU, Line, Places
from autograder.inside.special import HANDLERS, Handler, asked_by_torch


class Elsewhere(TorchFunctionMode):
    """The simulation of one call; `line_of` and `gpu` are those of Places."""

    def __init__(self, line_of: Callable[[types.FrameType], Line | None], gpu: dict[int, Any] | None = None) -> None:
        super().__init__()
        self.places = Places(line_of, {} if gpu is None else gpu)
        self._has_threads = False

    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler: Handler = HANDLERS.get(func, Places.compute)
        return handler(self.places, func, args, kwargs or {})

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any, tensors: Any, modules: Any) -> messages.Placed:
        """Calls it with all of `tensors` tagged, and `modules` moved to the GPU as `module.to` does."""
        for tensor in tensors:
            self.places.tag(tensor)
            if tensor.is_leaf and tensor.grad is not None:
                self.places.tag(tensor.grad)
        try:
            with self._machine(), self:
                for module in modules:
                    module.to(GPU)
                result = function(*args, **kwargs)
        except TimeoutError:
            raise
        except Exception as error:
            return self._raised(error)
        return self._returned(result, modules)

    def aside(self, exercise: object, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Calls what is not computed here (an exercise that was lost): it takes and gives devices as it should."""
        tensors = placing.tensors_in((args, kwargs))
        self.places.check(exercise, tensors)
        named_devices = (value for value in (*args, *kwargs.values()) if isinstance(value, str | torch.device))
        names_gpu = any(map(placing.names_gpu, named_devices))
        given, named = placing.without_gpu(args), placing.without_gpu(kwargs)
        with torch._C.DisableTorchFunction():
            result = function(*given, **named)
        self.places.settle(result, on_gpu=names_gpu or any(map(self.places.is_on_gpu, tensors)))
        return result

    def _raised(self, error: Exception) -> messages.Placed:
        seen, chain = error, [error]
        while (seen := seen.__cause__ or seen.__context__) and len(chain) < 20:  # type: ignore[assignment]
            chain.append(seen)
        fault = next((fault for fault in self.places.faults if any(fault.raised is each for each in chain)), None)
        if fault is None or self._has_threads:
            return messages.Placed(unable=type(error).__name__[:100])
        return messages.Placed(fault=fault.what, at=fault.at, made=fault.made)

    def _returned(self, result: object, modules: Any) -> messages.Placed:
        packer = packing.Packer()
        value = packer.value(result)
        if self._has_threads:
            return messages.Placed(unable="threads")
        answer = messages.Placed(value=value, devices=[self.places.device_of(tensor) for tensor in packer.tensors])
        answer.origins = [self.places.made(tensor) for tensor in packer.tensors]
        held = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        left = next((tensor for tensor in held if not self.places.is_on_gpu(tensor)), None)
        answer.left, answer.made = left is not None, None if left is None else self.places.made(left)
        return answer

    @contextmanager
    def _machine(self) -> Iterator[None]:
        """Makes the process look like one on a machine with a GPU, as far as students look."""
        real = torch.cuda.is_available
        start, engine = threading.Thread.start, torch.autograd._engine_run_backward  # type: ignore[attr-defined]

        def is_available() -> bool:
            return not asked_by_torch(sys._getframe(1)) or real()

        def started(thread: threading.Thread) -> None:
            self._has_threads = True
            start(thread)

        def backward(*args: Any, **kwargs: Any) -> Any:
            with self:  # a mode is off while one of its functions runs; here hooks of the student's own run in one
                return engine(*args, **kwargs)

        changes: tuple[tuple[Any, str, Any], ...] = (
            (torch.cuda, "is_available", is_available),
            (threading.Thread, "start", started),
            (torch.autograd, "_engine_run_backward", backward),
        )
        before = [getattr(owner, name) for owner, name, _ in changes]
        try:
            for owner, name, value in changes:
                setattr(owner, name, value)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those that matter came when it was called without tags
                yield
        finally:
            for (owner, name, _), value in zip(changes, before, strict=True):
                setattr(owner, name, value)
