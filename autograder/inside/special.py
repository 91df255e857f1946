"""The torch functions whose devices follow rules of their own: moves, facts about a device, numpy, indices, gradients.

Each is called in the place of its function, with the places of the simulation (places.py) before its arguments.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autograder.inside import placing
from autograder.inside.places import GPU, Places

TO_NUMPY = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."

Handler = Callable[[Places, Any, Any, Any], Any]


def _device(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    return GPU if places.is_on_gpu(args[0]) else func(*args, **kwargs)


def _is_cuda(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    if asked_by_torch(sys._getframe(2)):  # it would go on to call CUDA's own kernels
        return func(*args, **kwargs)
    return places.is_on_gpu(args[0]) or func(*args, **kwargs)


def _is_cpu(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    return not places.is_on_gpu(args[0]) and func(*args, **kwargs)


def _get_device(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    return 0 if places.is_on_gpu(args[0]) else func(*args, **kwargs)


def _cpu_of(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    return places.moved(args[0], on_gpu=False)


def _cuda_of(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    return places.moved(args[0], on_gpu=True)


def _to(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    tensor, rest, named = args[0], list(args[1:]), dict(kwargs)
    wanted = named.pop("device", None)
    other = named.pop("other", None)
    if rest and (placing.is_device(rest[0]) or rest[0] is None):
        wanted = rest.pop(0)
    elif rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    if other is not None:
        on_gpu, rest = places.is_on_gpu(other), [other.dtype, *rest]
    elif wanted is None or not placing.is_known(wanted):
        return places.compute(func, args, kwargs)
    else:
        on_gpu = placing.names_gpu(wanted)
    if rest and not isinstance(rest[0], torch.dtype):
        rest[0] = tensor.dtype  # to(device, None) and to(device, non_blocking=...)
    result = func(tensor, *rest, **named) if rest or named.keys() & {"dtype", "copy", "memory_format"} else tensor
    is_same = placing.key_of(placing.storage_of(result)) == placing.key_of(placing.storage_of(tensor))
    if is_same:
        return places.moved(result, on_gpu=on_gpu)
    (places.tag if on_gpu else places.untag)(result)
    return result


def _type(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    wanted = kwargs.get("dtype", args[1] if len(args) > 1 else None)
    if isinstance(wanted, torch.dtype):
        return places.compute(func, args, kwargs)
    if wanted is None:
        name = str(func(args[0]))
        return name.replace("torch.", "torch.cuda.", 1) if places.is_on_gpu(args[0]) else name
    name = wanted if isinstance(wanted, str) else f"{wanted.__module__}.{wanted.__name__}"
    on_gpu = name.startswith("torch.cuda.")
    return places.moved(func(args[0], name.replace("torch.cuda.", "torch.", 1)), on_gpu=on_gpu)


def _type_as(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    return _to(places, Tensor.to, args, kwargs)


def _no_numpy(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    forced = kwargs.get("force", len(args) > 1 and args[1] is True)
    if places.is_on_gpu(args[0]) and not (forced and func is Tensor.numpy):
        places.refuse(TypeError(TO_NUMPY), "numpy")
    return func(*args, **kwargs)


def _only_on_cpu(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    if places.is_on_gpu(args[0]):
        places.refuse(TypeError(f"{func.__name__} is only implemented on CPU tensors"), func.__name__)
    return func(*args, **kwargs)


def _copied(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    return places.compute_unchecked(func, args, kwargs, on_gpu=places.is_on_gpu(args[0]))


def _get_item(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    _check_index(places, args[0], args[1], "indexing")
    return places.compute_unchecked(func, args, kwargs, on_gpu=places.is_on_gpu(args[0]))


def _set_item(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    tensor, index, value = args
    _check_index(places, tensor, index, "assignment")
    if isinstance(value, Tensor) and value.dim() and placing.is_advanced(index):
        places.check(func, [tensor, value])  # a slice is copied to, across devices; a selection is not
    return func(*args, **kwargs)


def _check_index(places: Places, tensor: Tensor, index: Any, what: str) -> None:
    """Indices are on the CPU, or where the tensor is."""
    if places.is_on_gpu(tensor):
        return
    if any(places.is_on_gpu(each) and each.dim() > 0 for each in placing.tensors_in(index)):
        error = RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        places.refuse(error, what, tensor)


def _gradients(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    """torch.autograd.grad: each gradient is where the tensor is that it is for."""
    names = ("outputs", "inputs", "grad_outputs")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    places.check(func, placing.tensors_in((given["outputs"], given.get("grad_outputs"))))
    found = func(*args, **kwargs)
    inputs = given["inputs"]
    for gradient, tensor in zip(found, (inputs,) if isinstance(inputs, Tensor) else inputs, strict=False):
        if gradient is not None:
            places.settle(gradient, on_gpu=places.is_on_gpu(tensor))
    return found


def _backward(places: Places, func: Any, args: Any, kwargs: Any) -> Any:
    gradient = kwargs.get("gradient", args[1] if len(args) > 1 else None)
    places.check(func, [args[0], *placing.tensors_in(gradient)])
    return func(*args, **kwargs)


def asked_by_torch(frame: types.FrameType) -> bool:
    """Is this a frame of torch's own Python code?"""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "torch"


HANDLERS: dict[Any, Handler] = {
    Tensor.device.__get__: _device,
    Tensor.is_cuda.__get__: _is_cuda,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: _is_cpu,  # type: ignore[attr-defined]
    Tensor.get_device: _get_device,
    torch.get_device: _get_device,
    Tensor.cpu: _cpu_of,
    Tensor.cuda: _cuda_of,
    Tensor.to: _to,
    Tensor.type: _type,
    Tensor.type_as: _type_as,
    Tensor.numpy: _no_numpy,
    Tensor.__array__: _no_numpy,
    Tensor.__dlpack__: _no_numpy,
    Tensor.apply_: _only_on_cpu,
    Tensor.map_: _only_on_cpu,
    Tensor.__getitem__: _get_item,
    Tensor.__setitem__: _set_item,
    Tensor.__deepcopy__: _copied,
    torch.autograd.grad: _gradients,
    Tensor.backward: _backward,
}
