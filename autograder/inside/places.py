"""Which storages say that they are on a GPU, and what becomes of a torch function that meets them.

A tag belongs to a storage, as a device does: views, detached tensors and saved ones share it. State of the simulation in
tagged.py; functions with rules of their own are in special.py, what is known of all others in placing.py.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autograder.inside import placing

GPU = torch.device("cuda", 0)
SAME_DEVICE = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (in {})"

Line = tuple[int, int]  # number of a cell, of a line in it


@dataclass(frozen=True)
class Fault:
    """What CUDA would not do: `raised`, at which line of the student's, with a tensor that which line made."""

    raised: Exception
    what: str
    at: Line | None
    made: Line | None


@dataclass
class Places:
    """Where the tensors of one call are. `line_of` says which line of the student's a frame stands at, or None.

    `gpu` may be given on from call to call: what a student's code keeps from one stays where it was.
    """

    line_of: Callable[[types.FrameType], Line | None]
    gpu: dict[int, Any]  # address of a storage -> the storage, which so stays alive
    cpu: dict[int, tuple[Any, Line | None]] = field(default_factory=dict)  # made during the call; by which line
    faults: list[Fault] = field(default_factory=list)

    # --- where a tensor is

    def is_on_gpu(self, tensor: Tensor) -> bool:
        """Does it say that it is on the GPU?"""
        return self._found(tensor)[1]

    def _found(self, tensor: Tensor) -> tuple[int, bool]:
        """The key of its storage, and whether that is on the GPU."""
        storage = placing.storage_of(tensor)
        key = placing.key_of(storage)
        if key in self.gpu:
            return key, True
        if key not in self.cpu and torch._C._current_autograd_node() is not None:
            self.gpu[key] = storage  # autograd made it, of what is on the GPU
            return key, True
        return key, False

    def device_of(self, tensor: Tensor) -> str:
        """The name of the device that it says it is on."""
        return str(GPU) if self.is_on_gpu(tensor) else str(tensor.device)

    def made(self, tensor: Tensor) -> Line | None:
        """The line that made a tensor of the CPU; None where the call did not make it."""
        _, line = self.cpu.get(placing.key_of(placing.storage_of(tensor)), (None, None))
        return line

    def tag(self, tensor: Tensor) -> None:
        """Puts it on the GPU."""
        storage = placing.storage_of(tensor)
        key = placing.key_of(storage)
        self.cpu.pop(key, None)
        self.gpu[key] = storage

    def untag(self, tensor: Tensor) -> None:
        """Puts it on the CPU, where this line made it."""
        storage = placing.storage_of(tensor)
        key = placing.key_of(storage)
        self.gpu.pop(key, None)
        self.cpu[key] = storage, self._here()

    def _here(self) -> Line | None:
        frame: types.FrameType | None = sys._getframe(2)
        while frame is not None:
            if line := self.line_of(frame):
                return line
            frame = frame.f_back
        return None

    # --- a function

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What most functions do: one device in, the same out; `device=` says another."""
        tensors = placing.tensors_in((args, kwargs))
        makes, found = func in placing.MAKERS, [self._found(tensor) for tensor in tensors]
        are_on_gpu = [on_gpu for _, on_gpu in found]
        if any(are_on_gpu) and not all(are_on_gpu) and not makes and func not in placing.NEUTRAL:
            self.check(func, tensors)
        wanted = kwargs.get("device")
        if wanted is not None:
            on_gpu = placing.names_gpu(wanted)
            kwargs = {name: value for name, value in kwargs.items() if name != "device" or not on_gpu}
        elif makes:
            on_gpu = func in placing.FOLLOWING and isinstance(args[0], Tensor) and self.is_on_gpu(args[0])
        else:
            on_gpu = any(are_on_gpu)
        before = {key for key, _ in found}
        result = func(*args, **kwargs)
        if wanted is not None and isinstance(result, Tensor) and placing.key_of(placing.storage_of(result)) in before:
            return self.moved(result, on_gpu=on_gpu)
        self.settle(result, on_gpu=on_gpu, before=before)
        return result

    def settle(self, result: Any, *, on_gpu: bool, before: Any = ()) -> None:
        """Notes where new tensors are; what shares the storage of an argument stays where that is."""
        for tensor in placing.tensors_in(result):
            key = placing.key_of(placing.storage_of(tensor))
            if key in before:
                continue
            if on_gpu:
                self.tag(tensor)
            elif key not in self.gpu and key not in self.cpu:
                self.untag(tensor)

    def moved(self, tensor: Tensor, *, on_gpu: bool) -> Tensor:
        """The tensor where it is wanted: itself, or a copy."""
        if self.is_on_gpu(tensor) == on_gpu:
            return tensor
        copy = tensor.clone()
        (self.tag if on_gpu else self.untag)(copy)
        return copy

    def check(self, func: Any, tensors: list[Tensor]) -> None:
        """Raises what CUDA raises where tensors of two devices meet that may not."""
        far = [tensor for tensor in tensors if self.is_on_gpu(tensor)]
        if not far or len(far) == len(tensors):
            return
        near = [tensor for tensor in tensors if not self.is_on_gpu(tensor)]
        strict = placing.is_strict(func)
        writes = placing.writes(func) and tensors[0] is near[0]
        stranger = next((tensor for tensor in near if tensor.dim() > 0 or strict), near[0] if writes else None)
        if stranger is not None:
            self.refuse(RuntimeError(SAME_DEVICE.format(placing.name_of(func))), placing.name_of(func), stranger)

    def refuse(self, error: Exception, what: str, tensor: Tensor | None = None) -> None:
        """Raises what CUDA would raise, and notes where."""
        self.faults.append(Fault(error, what, self._here(), None if tensor is None else self.made(tensor)))
        raise error

    def compute_unchecked(self, func: Any, args: Any, kwargs: Any, *, on_gpu: bool) -> Any:
        """Calls it; new tensors are on the GPU or not, as said."""
        before = {placing.key_of(placing.storage_of(tensor)) for tensor in placing.tensors_in((args, kwargs))}
        result = func(*args, **kwargs)
        self.settle(result, on_gpu=on_gpu, before=before)
        return result
