"""What tagged.py knows of torch's functions: which make tensors, which may mix devices, what names a device.

Tables and questions without a state; the simulation is in tagged.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

_MAKERS = (
    "arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "empty", "empty_permuted", "empty_strided",
    "eye", "full", "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "ones", "rand", "randint",
    "randn", "randperm", "range", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
)  # fmt: skip
MAKERS = frozenset(getattr(torch, name) for name in _MAKERS) | {torch.fft.fftfreq, torch.fft.rfftfreq}
FOLLOWING = frozenset({torch.as_tensor, torch.asarray, torch.tensor})  # a tensor that is given says where

NEUTRAL = frozenset(  # only sizes or types of the others count, or it is a copy
    [
        Tensor.view_as, Tensor.expand_as, Tensor.reshape_as, Tensor.copy_, Tensor.set_, Tensor.resize_as_,
        Tensor.data.__set__, Tensor.tensor_split, torch.tensor_split, torch.broadcast_tensors, torch.result_type,  # type: ignore[attr-defined]
        torch.atleast_1d, torch.atleast_2d, torch.atleast_3d, torch._has_compatible_shallow_copy_type, torch.is_same_size,
    ]
)  # fmt: skip
_STRICT = ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack", "row_stack")
_WRITING = frozenset({"__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__ipow__", "__imod__"})
_NAMES = {"__getitem__": "indexing", "__setitem__": "assignment", "__set__": "assignment"}


def storage_of(tensor: Tensor) -> Any:
    """The storage that a tensor looks at; the tensor itself where it has none (sparse ones)."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return tensor


def key_of(storage: Any) -> int:
    """What tells storages apart as long as they live."""
    return id(storage) if isinstance(storage, Tensor) else int(storage._cdata)


def tensors_in(nest: Any) -> list[Tensor]:
    """The tensors in a nest of tuples, lists and dicts."""
    if isinstance(nest, Tensor):
        return [nest]
    if isinstance(nest, dict):
        nest = nest.values()
    elif isinstance(nest, slice):
        nest = (nest.start, nest.stop, nest.step)
    elif not isinstance(nest, tuple | list):
        return []
    found = []
    for part in nest:
        if isinstance(part, Tensor):
            found.append(part)
        elif isinstance(part, tuple | list | dict | slice):
            found += tensors_in(part)
    return found


def is_device(value: object) -> bool:
    """Could it be meant as a device?"""
    return isinstance(value, str | torch.device) or type(value) is int


def is_known(value: Any) -> bool:
    """Is it the CPU or a GPU of CUDA?"""
    return names_gpu(value) or torch.device(value).type == "cpu"


def names_gpu(value: object) -> bool:
    """Does it name a GPU?"""
    if isinstance(value, torch.device):
        return value.type == "cuda"
    return value.partition(":")[0] == "cuda" if isinstance(value, str) else type(value) is int


def without_gpu(nest: Any) -> Any:
    """Arguments with the CPU in place of each GPU that is named among them."""
    if isinstance(nest, dict):
        return {name: without_gpu(value) for name, value in nest.items()}
    if isinstance(nest, tuple | list):
        return [without_gpu(value) for value in nest]
    return "cpu" if isinstance(nest, str | torch.device) and names_gpu(nest) else nest


def is_advanced(index: Any) -> bool:
    """Does an index select entries, by tensors or lists, and not only cut along dimensions?"""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list) or (isinstance(part, Tensor) and _selects(part)) for part in parts)


def _selects(index: Tensor) -> bool:
    return index.dim() > 0 or index.dtype == torch.bool


def name_of(func: Any) -> str:
    """What to call a function in a message."""
    name = str(getattr(func, "__name__", func))
    return _NAMES.get(name, name.strip("_"))[:60]


def is_strict(func: Any) -> bool:
    """Does it refuse a tensor of the CPU even where that has no dimension?"""
    return getattr(func, "__name__", "") in _STRICT


def writes(func: Any) -> bool:
    """Does it write into its first argument?"""
    name = str(getattr(func, "__name__", ""))
    return name in _WRITING or (name.endswith("_") and not name.endswith("__"))
