"""What a wrong result looks like beside the right one, in words that hold no number.

`FAULTS` are mistakes of any exercise: the values are right and something else is not. `looks_like` is for wrong values
that no known idea explains: transposed, scaled, moved by a row, the sum along another dimension.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from autograder.nested import leaves
from autograder.watching import Call, close_values

Shows = Callable[[Call, Call], bool]
MAX_ORDERS = 24  # orders of heads that are tried


def looks_like(got: Call, wanted: Call) -> str:
    """A phrase for how a wrong result differs from the right one; nothing where that cannot be said."""
    if got.raised or wanted.raised:
        return ""
    ours, right = _tensors(got.result), _tensors(wanted.result)
    if len(ours) == len(right) == 2 and _alike(ours[0], right[1]) and _alike(ours[1], right[0]):
        return "the right two results, in the other order"
    if len(ours) < len(right):
        first = next((n for n, tensor in enumerate(right) if ours and _alike(ours[0], tensor)), None)
        return "" if first is None else "one part of the right result, without the rest"
    for mine, theirs in zip(ours, right, strict=False):
        if not _alike(mine, theirs):
            return "" if mine.numel() < 2 else _one(mine, theirs, got)
    if got.gradients and any(
        not _alike(got.gradients[key], value) for key, value in wanted.gradients.items() if key in got.gradients
    ):
        return "the right values, with wrong gradients"
    return ""


def _one(got: Tensor, wanted: Tensor, call: Call) -> str:
    """The phrase for one tensor, the most telling first."""
    if got.numel() == 0:
        return ""
    for place, leaf in call.arguments:
        if isinstance(leaf, Tensor) and leaf.numel() > 1 and _alike(got, leaf):
            return f"argument {place} itself, unchanged"
    if got.is_complex():
        return ""
    wide = torch.float64 if got.dtype == wanted.dtype == torch.float64 else torch.float32  # whose rounding is allowed
    got, wanted = got.to(wide), wanted.to(wide)
    phrases = itertools.chain(_shapes(got, wanted), *(_values(got, wanted) if got.shape == wanted.shape else ()))
    return next(phrases, "")


def _shapes(got: Tensor, wanted: Tensor) -> Iterator[str]:
    """Phrases that fit where shapes may differ: the right numbers, elsewhere."""
    if wanted.numel() > 1 and got.dim() == wanted.dim() >= 2:
        if _alike(got, wanted.transpose(-2, -1)) and not _alike(got, wanted):
            yield "the right result with its last two dimensions exchanged"
        elif wanted.dim() >= 3 and _alike(got, wanted.transpose(-3, -2)):
            yield "the right result with its second and third dimension from the end exchanged"
    if got.shape != wanted.shape and got.numel() == wanted.numel() and _alike(got.reshape(-1), wanted.reshape(-1)):
        yield "the right numbers in the right order, in another shape"
    if got.shape != wanted.shape and got.numel() > wanted.numel() and wanted.numel():
        batch = got.reshape(-1, *wanted.shape) if got.shape[-wanted.dim() :] == wanted.shape else None
        if batch is not None and all(_alike(one, wanted) for one in batch):
            yield "the right result, repeated along a dimension too many"


def _values(got: Tensor, wanted: Tensor) -> Iterator[Iterator[str]]:
    yield _not_finite(got, wanted)
    if got.isfinite().all() and wanted.isfinite().all() and got.numel() > 2:
        yield _elsewhere(got, wanted)
        yield _other_sums(got, wanted)
        yield _stretched(got, wanted)
        yield _parts(got, wanted)


def _not_finite(got: Tensor, wanted: Tensor) -> Iterator[str]:
    """Where NaN and infinities stand."""
    strange = got.isnan() & ~wanted.isnan()
    if not strange.any():
        return
    if strange.all():
        yield "NaN everywhere"
    elif got.dim() and torch.equal(strange.any(-1), strange.all(-1)):
        zero = wanted[strange.any(-1)]
        yield "right, but for whole rows of NaN" + (", where zeros belong" if not zero.any() else "")
    else:
        yield "NaN in some entries of a row"


def _elsewhere(got: Tensor, wanted: Tensor) -> Iterator[str]:
    """The right numbers at other places, and truth values the other way round."""
    if bool(((got == 0) | (got == 1)).all()) and _alike(got, 1 - wanted):
        yield "the right result with True and False exchanged"
    if _alike(got, -wanted):
        yield "the right result with the other sign"
    for dim, name in ((-1, "column"), (-2, "row")):
        if got.dim() >= -dim and got.shape[dim] > 1:
            yield from _moved(got, wanted, dim, name)
    for dim in range(got.dim() - 2):
        orders = _orders(got.shape[dim]) if 1 < got.shape[dim] <= 4 else []
        if any(_alike(got, wanted.index_select(dim, order)) for order in orders):
            yield "the right numbers with heads, or batch elements, in another order"
    if bool((got != got.reshape(-1)[0]).any()) and _alike(got.reshape(-1).sort()[0], wanted.reshape(-1).sort()[0]):
        yield "the right numbers at other places"


def _moved(got: Tensor, wanted: Tensor, dim: int, name: str) -> Iterator[str]:
    n = got.shape[dim]
    if _alike(got, wanted.flip(dim)):
        yield f"the right result with its {name}s in reverse"
    if n > 2 and _alike(got.narrow(dim, 1, n - 1), wanted.narrow(dim, 0, n - 1)):
        yield f"the right result, one {name} too late"
    if n > 2 and _alike(got.narrow(dim, 0, n - 1), wanted.narrow(dim, 1, n - 1)):
        yield f"the right result, one {name} too early"


def _orders(n: int) -> list[Tensor]:
    return [torch.tensor(order) for order in itertools.islice(itertools.permutations(range(n)), 1, MAX_ORDERS)]


def _other_sums(got: Tensor, wanted: Tensor) -> Iterator[str]:
    """Numbers that sum to one along another dimension than they should, or no longer do."""
    ones = [dim for dim in range(wanted.dim()) if wanted.shape[dim] > 1 and _is_ones(wanted.sum(dim))]
    if not ones or (got < 0).any():
        return
    if any(_is_ones(got.sum(dim)) for dim in ones):
        return
    if any(_is_ones(got.sum(dim)) for dim in range(got.dim()) if dim not in ones):
        yield "numbers that sum to one along another dimension than they should"
    elif _is_ones(got.sum()):
        yield "numbers that sum to one all together, where each slice should"
    elif all(bool((got.sum(dim) < 1).all()) for dim in ones):
        yield "weights whose sum is below one"


def _stretched(got: Tensor, wanted: Tensor) -> Iterator[str]:
    """One and the same change of every number."""
    if bool((got == got.reshape(-1)[0]).all()):
        yield "the same number everywhere" if bool(got.any()) else "zeros everywhere"
        return
    there = wanted.abs() > 1e-3 * wanted.abs().amax()
    ratio = (got / torch.where(there, wanted, 1.0)).masked_fill(~there, 0.0)
    pivot = ratio[there].median() if there.any() else ratio.new_zeros(())
    if pivot != 0 and _alike(got, pivot * wanted):
        yield "the right result times a constant"
    if _alike(got - got.mean(), wanted - wanted.mean()) and not _alike(got, wanted):
        yield "the right result plus a constant"
    for dim, name in ((-1, "row"), (-2, "column")):
        if got.dim() >= -dim and got.shape[dim] > 1:
            yield from _stretched_along(got, wanted, dim, name)
    yield from _bent(got, wanted)


def _stretched_along(got: Tensor, wanted: Tensor, dim: int, name: str) -> Iterator[str]:
    factors = (got * wanted).sum(dim, keepdim=True) / (wanted * wanted).sum(dim, keepdim=True).clamp_min(1e-30)
    if _alike(got, factors * wanted):
        yield f"the right result with each {name} stretched by a factor of its own"
    if _alike(got - got.mean(dim, keepdim=True), wanted - wanted.mean(dim, keepdim=True)):
        yield f"the right result with each {name} shifted by a number of its own"


def _bent(got: Tensor, wanted: Tensor) -> Iterator[str]:
    for change, name in (("square", "square"), ("sqrt", "root"), ("exp", "exponential"), ("log", "logarithm")):
        if _alike(got, getattr(wanted, change)()):
            yield f"the {name} of the right result"
    if _alike(got, wanted.clamp_min(0)):
        yield "the right result with its negative numbers set to zero"
    if _alike(got, wanted.round()) or _alike(got, wanted.trunc()):
        yield "the right result, rounded to whole numbers"


def _parts(got: Tensor, wanted: Tensor) -> Iterator[str]:
    """A result that is right in one part only."""
    for dim, name in ((-1, "column"), (-2, "row"), (0, "batch element")):
        places = dim if dim >= 0 else got.dim() + dim
        if not 0 <= places < got.dim() or got.shape[dim] < 2 or (dim == 0 and got.dim() < 3):
            continue
        right = [_alike(one, other) for one, other in zip(got.unbind(dim), wanted.unbind(dim), strict=True)]
        if right[0] and not any(right[1:]):
            yield f"right in the first {name} only"
        elif all(right[:-1]) and not right[-1]:
            yield f"right but for the last {name}"
        elif all(right[1:]) and not right[0]:
            yield f"right but for the first {name}"
        elif all(r == (n % 2 == 0) for n, r in enumerate(right)) and len(right) > 2:
            yield f"right in every second {name}"


def _is_ones(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and bool(((tensor - 1).abs() < 1e-3).all())


def _alike(one: Tensor, other: Tensor) -> bool:
    return close_values(one, other)


def _tensors(nest: Any) -> list[Tensor]:
    return [torch.as_tensor(leaf) for _, leaf in leaves(nest) if isinstance(leaf, Tensor | bool | int | float)]


def _same_values(got: Call, wanted: Call) -> bool:
    """Equal values in the coarser of both types; gradients, types and marks aside."""
    ours, right = _tensors(got.result), _tensors(wanted.result)
    return not got.raised and len(ours) == len(right) > 0 and all(map(_alike, ours, right))


def _other_types(got: Call, wanted: Call) -> bool:
    types = zip(_tensors(got.result), _tensors(wanted.result), strict=True)
    return _same_values(got, wanted) and any(ours.dtype != right.dtype for ours, right in types)


def _by_default(got: Call, wanted: Call) -> bool:
    if got.default_dtype == torch.float32 or got.left:
        return False
    if "dtype" in got.text and got.raised == "RuntimeError" and not wanted.raised:
        return True
    return _other_types(got, wanted)


def _cut_off(got: Call, wanted: Call) -> bool:
    lost = any(right and not ours for ours, right in itertools.zip_longest(got.tracked, wanted.tracked))
    return _same_values(got, wanted) and lost


def _written(got: Call, wanted: Call) -> bool:
    if got.raised == "RuntimeError" and not wanted.raised:  # what torch says where memory cannot be written into
        return "written-to tensor" in got.text or "in-place operation" in got.text
    return _same_values(got, wanted) and bool(got.changed.keys() - wanted.changed.keys())


def _layout(got: Call, wanted: Call) -> bool:
    strided = any(isinstance(leaf, Tensor) and not leaf.is_contiguous() for _, leaf in got.arguments)
    return got.raised == "RuntimeError" and not wanted.raised and strided and "view size" in got.text


def _state(got: Call, wanted: Call) -> bool:
    return _same_values(got, wanted) and bool(got.left) and not wanted.left


def _gradient(got: Call, wanted: Call) -> bool:
    return (
        _same_values(got, wanted)
        and any(not math.isfinite(float(value.double().sum())) for value in got.gradients.values())
        and all(math.isfinite(float(value.double().sum())) for value in wanted.gradients.values())
    )


FAULTS: dict[str, Shows] = {
    "New tensors take the dtype and device of a tensor that was given; here they follow torch's default.": _by_default,
    "The result keeps the dtype of the input; here it comes out in another one.": _other_types,
    "Gradients must be able to flow from the result to the inputs; here the result is cut off.": _cut_off,
    "The inputs stay as they are; here one of them was written into.": _written,
    "Inputs need not be contiguous; `view` refuses some tensors that `reshape` takes.": _layout,
    "A call leaves torch's global state alone; here it was changed.": _state,
    "The values are right, but a NaN that was replaced after it was made is still there in the gradient.": _gradient,
}
