"""Placement without a GPU: a call whose tensors say that they are on one, and compute on the CPU.

    function(*args)  under a TorchFunctionMode, which sees every torch function that Python code calls
        storages of the arguments ── tagged ── what is computed from tagged storages is tagged
        anything else was made on the CPU: meets it a tagged tensor, the call raises what CUDA would raise

A tag belongs to a storage, as a device does: views, detached tensors and saved ones share it. The tensors stay plain CPU
tensors, so values, strides, autograd, `.item()` and branches on data are what they always are. Enters: a function and
its arguments. Leaves: a `wire.Placed`, which says for each tensor of the result where it is, or which line of the
student's brought two devices together, or why it cannot be said. What CUDA allows is allowed: tensors without
dimensions beside others, indices on the CPU, `copy_` and assignment across devices.

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
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from autograder.inside import placing, wire

GPU = torch.device("cuda", 0)
SAME_DEVICE = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (in {})"
TO_NUMPY = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."

Line = tuple[int, int]  # number of a cell, of a line in it
Handler = Callable[["Elsewhere", Any, tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True)
class Fault:
    """What CUDA would not do: `raised`, at which line of the student's, with a tensor that which line made."""

    raised: Exception
    what: str
    at: Line | None
    made: Line | None


@dataclass
class Elsewhere(TorchFunctionMode):
    """The simulation of one call. `line_of` says which line of the student's a frame stands at, None for others' frames.

    `_gpu` may be given on from call to call: what a student's code keeps from one stays where it was.
    """

    line_of: Callable[[types.FrameType], Line | None]
    _gpu: dict[int, Any] = field(default_factory=dict)  # address of a storage -> the storage, which so stays alive
    faults: list[Fault] = field(default_factory=list)
    _cpu: dict[int, tuple[Any, Line | None]] = field(default_factory=dict)  # made during the call; by which line
    _has_threads: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    # --- the call

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any, tensors: Any, modules: Any) -> wire.Placed:
        """Calls it with all of `tensors` tagged, and `modules` moved to the GPU as `module.to` does."""
        for tensor in tensors:
            self._tag(tensor)
            if tensor.is_leaf and tensor.grad is not None:
                self._tag(tensor.grad)
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
        self._check(exercise, tensors)
        named_devices = (value for value in (*args, *kwargs.values()) if isinstance(value, str | torch.device))
        names_gpu = any(map(placing.names_gpu, named_devices))
        given, named = placing.without_gpu(args), placing.without_gpu(kwargs)
        with torch._C.DisableTorchFunction():
            result = function(*given, **named)
        self._settle(result, on_gpu=names_gpu or any(map(self.is_on_gpu, tensors)))
        return result

    def _raised(self, error: Exception) -> wire.Placed:
        seen, chain = error, [error]
        while (seen := seen.__cause__ or seen.__context__) and len(chain) < 20:  # type: ignore[assignment]
            chain.append(seen)
        fault = next((fault for fault in self.faults if any(fault.raised is each for each in chain)), None)
        if fault is None or self._has_threads:
            return wire.Placed(unable=type(error).__name__[:100])
        return wire.Placed(fault=fault.what, at=fault.at, made=fault.made)

    def _returned(self, result: object, modules: Any) -> wire.Placed:
        packer = wire.Packer()
        value = packer.value(result)
        if self._has_threads:
            return wire.Placed(unable="threads")
        answer = wire.Placed(value=value, devices=[self._device_of(tensor) for tensor in packer.tensors])
        answer.origins = [self._made(tensor) for tensor in packer.tensors]
        held = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        left = next((tensor for tensor in held if not self.is_on_gpu(tensor)), None)
        answer.left, answer.made = left is not None, None if left is None else self._made(left)
        return answer

    @contextmanager
    def _machine(self) -> Iterator[None]:
        """Makes the process look like one on a machine with a GPU, as far as students look."""
        real = torch.cuda.is_available
        start, engine = threading.Thread.start, torch.autograd._engine_run_backward  # type: ignore[attr-defined]

        def is_available() -> bool:
            return not _asked_by_torch(sys._getframe(1)) or real()

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

    # --- where a tensor is

    def is_on_gpu(self, tensor: Tensor) -> bool:
        """Does it say that it is on the GPU?"""
        storage = placing.storage_of(tensor)
        key = placing.key_of(storage)
        if key in self._gpu:
            return True
        if key not in self._cpu and torch._C._current_autograd_node() is not None:
            self._gpu[key] = storage  # autograd made it, of what is on the GPU
            return True
        return False

    def _device_of(self, tensor: Tensor) -> str:
        return str(GPU) if self.is_on_gpu(tensor) else str(tensor.device)

    def _made(self, tensor: Tensor) -> Line | None:
        """The line that made a tensor of the CPU; None where the call did not make it."""
        _, line = self._cpu.get(placing.key_of(placing.storage_of(tensor)), (None, None))
        return line

    def _tag(self, tensor: Tensor) -> None:
        storage = placing.storage_of(tensor)
        self._cpu.pop(placing.key_of(storage), None)
        self._gpu[placing.key_of(storage)] = storage

    def _untag(self, tensor: Tensor) -> None:
        storage = placing.storage_of(tensor)
        self._gpu.pop(placing.key_of(storage), None)
        self._cpu[placing.key_of(storage)] = storage, self._here()

    def _here(self) -> Line | None:
        frame: types.FrameType | None = sys._getframe(2)
        while frame is not None:
            if line := self.line_of(frame):
                return line
            frame = frame.f_back
        return None

    # --- one function

    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = _HANDLERS.get(func, Elsewhere.compute)
        return handler(self, func, args, kwargs or {})

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What most functions do: one device in, the same out; `device=` says another."""
        tensors = placing.tensors_in((args, kwargs))
        makes = func in placing.MAKERS
        if not makes and func not in placing.NEUTRAL:
            self._check(func, tensors)
        wanted = kwargs.get("device")
        if wanted is not None:
            on_gpu = placing.names_gpu(wanted)
            kwargs = {name: value for name, value in kwargs.items() if name != "device" or not on_gpu}
        elif makes:
            on_gpu = func in placing.FOLLOWING and isinstance(args[0], Tensor) and self.is_on_gpu(args[0])
        else:
            on_gpu = any(map(self.is_on_gpu, tensors))
        before = {placing.key_of(placing.storage_of(tensor)) for tensor in tensors}
        result = func(*args, **kwargs)
        if wanted is not None and isinstance(result, Tensor) and placing.key_of(placing.storage_of(result)) in before:
            return self._moved(result, on_gpu=on_gpu)
        self._settle(result, on_gpu=on_gpu, before=before)
        return result

    def _settle(self, result: Any, *, on_gpu: bool, before: Any = ()) -> None:
        """Notes where new tensors are; what shares the storage of an argument stays where that is."""
        for tensor in placing.tensors_in(result):
            key = placing.key_of(placing.storage_of(tensor))
            if key in before:
                continue
            if on_gpu:
                self._tag(tensor)
            elif key not in self._gpu and key not in self._cpu:
                self._untag(tensor)

    def _moved(self, tensor: Tensor, *, on_gpu: bool) -> Tensor:
        """The tensor where it is wanted: itself, or a copy."""
        if self.is_on_gpu(tensor) == on_gpu:
            return tensor
        copy = tensor.clone()
        (self._tag if on_gpu else self._untag)(copy)
        return copy

    def _check(self, func: Any, tensors: list[Tensor]) -> None:
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
        self.faults.append(Fault(error, what, self._here(), None if tensor is None else self._made(tensor)))
        raise error

    # --- functions with rules of their own

    def _device(self, func: Any, args: Any, kwargs: Any) -> Any:
        return GPU if self.is_on_gpu(args[0]) else func(*args, **kwargs)

    def _is_cuda(self, func: Any, args: Any, kwargs: Any) -> Any:
        if _asked_by_torch(sys._getframe(2)):  # it would go on to call CUDA's own kernels
            return func(*args, **kwargs)
        return self.is_on_gpu(args[0]) or func(*args, **kwargs)

    def _is_cpu(self, func: Any, args: Any, kwargs: Any) -> Any:
        return not self.is_on_gpu(args[0]) and func(*args, **kwargs)

    def _get_device(self, func: Any, args: Any, kwargs: Any) -> Any:
        return 0 if self.is_on_gpu(args[0]) else func(*args, **kwargs)

    def _cpu_of(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self._moved(args[0], on_gpu=False)

    def _cuda_of(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self._moved(args[0], on_gpu=True)

    def _to(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, rest, named = args[0], list(args[1:]), dict(kwargs)
        wanted = named.pop("device", None)
        other = named.pop("other", None)
        if rest and (placing.is_device(rest[0]) or rest[0] is None):
            wanted = rest.pop(0)
        elif rest and isinstance(rest[0], Tensor):
            other = rest.pop(0)
        if other is not None:
            on_gpu, rest = self.is_on_gpu(other), [other.dtype, *rest]
        elif wanted is None or not placing.is_known(wanted):
            return self.compute(func, args, kwargs)
        else:
            on_gpu = placing.names_gpu(wanted)
        if rest and not isinstance(rest[0], torch.dtype):
            rest[0] = tensor.dtype  # to(device, None) and to(device, non_blocking=...)
        result = func(tensor, *rest, **named) if rest or named.keys() & {"dtype", "copy", "memory_format"} else tensor
        is_same = placing.key_of(placing.storage_of(result)) == placing.key_of(placing.storage_of(tensor))
        if is_same:
            return self._moved(result, on_gpu=on_gpu)
        (self._tag if on_gpu else self._untag)(result)
        return result

    def _type(self, func: Any, args: Any, kwargs: Any) -> Any:
        wanted = kwargs.get("dtype", args[1] if len(args) > 1 else None)
        if isinstance(wanted, torch.dtype):
            return self.compute(func, args, kwargs)
        if wanted is None:
            name = str(func(args[0]))
            return name.replace("torch.", "torch.cuda.", 1) if self.is_on_gpu(args[0]) else name
        name = wanted if isinstance(wanted, str) else f"{wanted.__module__}.{wanted.__name__}"
        on_gpu = name.startswith("torch.cuda.")
        return self._moved(func(args[0], name.replace("torch.cuda.", "torch.", 1)), on_gpu=on_gpu)

    def _type_as(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self._to(torch.Tensor.to, args, kwargs)

    def _no_numpy(self, func: Any, args: Any, kwargs: Any) -> Any:
        forced = kwargs.get("force", len(args) > 1 and args[1] is True)
        if self.is_on_gpu(args[0]) and not (forced and func is Tensor.numpy):
            self.refuse(TypeError(TO_NUMPY), "numpy")
        return func(*args, **kwargs)

    def _only_on_cpu(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self.is_on_gpu(args[0]):
            self.refuse(TypeError(f"{func.__name__} is only implemented on CPU tensors"), func.__name__)
        return func(*args, **kwargs)

    def _copied(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self.compute_unchecked(func, args, kwargs, on_gpu=self.is_on_gpu(args[0]))

    def _get_item(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._check_index(args[0], args[1], "indexing")
        return self.compute_unchecked(func, args, kwargs, on_gpu=self.is_on_gpu(args[0]))

    def _set_item(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, index, value = args
        self._check_index(tensor, index, "assignment")
        if isinstance(value, Tensor) and value.dim() and placing.is_advanced(index):
            self._check(func, [tensor, value])  # a slice is copied to, across devices; a selection is not
        return func(*args, **kwargs)

    def compute_unchecked(self, func: Any, args: Any, kwargs: Any, *, on_gpu: bool) -> Any:
        """Calls it; new tensors are on the GPU or not, as said."""
        before = {placing.key_of(placing.storage_of(tensor)) for tensor in placing.tensors_in((args, kwargs))}
        result = func(*args, **kwargs)
        self._settle(result, on_gpu=on_gpu, before=before)
        return result

    def _check_index(self, tensor: Tensor, index: Any, what: str) -> None:
        """Indices are on the CPU, or where the tensor is."""
        if self.is_on_gpu(tensor):
            return
        if any(self.is_on_gpu(each) and each.dim() > 0 for each in placing.tensors_in(index)):
            error = RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            self.refuse(error, what, tensor)

    def _gradients(self, func: Any, args: Any, kwargs: Any) -> Any:
        """torch.autograd.grad: each gradient is where the tensor is that it is for."""
        names = ("outputs", "inputs", "grad_outputs")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        self._check(func, placing.tensors_in((given["outputs"], given.get("grad_outputs"))))
        found = func(*args, **kwargs)
        inputs = given["inputs"]
        for gradient, tensor in zip(found, (inputs,) if isinstance(inputs, Tensor) else inputs, strict=False):
            if gradient is not None:
                self._settle(gradient, on_gpu=self.is_on_gpu(tensor))
        return found

    def _backward(self, func: Any, args: Any, kwargs: Any) -> Any:
        gradient = kwargs.get("gradient", args[1] if len(args) > 1 else None)
        self._check(func, [args[0], *placing.tensors_in(gradient)])
        return func(*args, **kwargs)


def _asked_by_torch(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "torch"


_HANDLERS: dict[Any, Handler] = {
    Tensor.device.__get__: Elsewhere._device,
    Tensor.is_cuda.__get__: Elsewhere._is_cuda,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: Elsewhere._is_cpu,  # type: ignore[attr-defined]
    Tensor.get_device: Elsewhere._get_device,
    torch.get_device: Elsewhere._get_device,
    Tensor.cpu: Elsewhere._cpu_of,
    Tensor.cuda: Elsewhere._cuda_of,
    Tensor.to: Elsewhere._to,
    Tensor.type: Elsewhere._type,
    Tensor.type_as: Elsewhere._type_as,
    Tensor.numpy: Elsewhere._no_numpy,
    Tensor.__array__: Elsewhere._no_numpy,
    Tensor.__dlpack__: Elsewhere._no_numpy,
    Tensor.apply_: Elsewhere._only_on_cpu,
    Tensor.map_: Elsewhere._only_on_cpu,
    Tensor.__getitem__: Elsewhere._get_item,
    Tensor.__setitem__: Elsewhere._set_item,
    Tensor.__deepcopy__: Elsewhere._copied,
    torch.autograd.grad: Elsewhere._gradients,
    Tensor.backward: Elsewhere._backward,
}
