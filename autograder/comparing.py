"""A student's result beside the wanted one: structure, then shape, then type, then values.

Enters: nests of tensors and numbers. Leaves: nothing, or a `Mismatch`. Its text reaches the student, so it never holds
a value of a hidden input or of a wanted result. Student code chooses how many entries are off and by how much, and the
keys of a dict, and could spell out what it was given there: so counts and sizes are rough words, keys are not repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autograder.nested import is_floating
from autograder.tolerance import Judgement, coarser, excess, within

FAR = 1000.0  # times what rounding explains: a wrong idea, not a coarse one
KEEP_TYPE = "keep the dtype and device of the input: make new tensors with those of a tensor you were given"

Names = str | tuple[str, ...]


class Mismatch(AssertionError):
    """A result that is not what the lesson promises: `wanted`, `got` and a `hint` (may be empty)."""

    def __init__(self, wanted: str, got: str, hint: str = "") -> None:
        super().__init__(f"wanted {wanted}\ngot {got}" + (f"\n\nhint: {hint}" if hint else ""))
        self.wanted = wanted
        self.got = got
        self.hint = hint

    @property
    def wanted_only(self) -> str:
        """The text without what was got."""
        return str(Mismatch(self.wanted, "something else", self.hint))


@dataclass(frozen=True)
class Pair:
    """One leaf of a result, the student's beside the wanted one, and what to call it."""

    name: str
    got: Tensor
    wanted: Tensor
    is_number: bool  # the contract has a plain number here, whose type is free


def paired(got: Any, wanted: Any, names: Names = "result", hint: str = "") -> list[Pair]:
    """The leaves of two results; Mismatch where structure or a shape differs.

    A list may be a tuple and a number a 0-d tensor, either way round; a stacked tensor is no list.
    """
    if isinstance(wanted, tuple | list):
        return _paired_sequence(got, wanted, names, hint)
    name = names if isinstance(names, str) else "result"
    if isinstance(wanted, dict):
        if not isinstance(got, dict) or got.keys() != wanted.keys():
            raise Mismatch(f"{name} to be a dict with the keys {sorted(wanted)}", kind(got), hint)
        return [pair for key in wanted for pair in paired(got[key], wanted[key], f"{name}[{key!r}]", hint)]
    return [_paired_leaf(got, wanted, name, hint)]


def check_types(pair: Pair, hint: str = "", *, device_only: bool = False, dtype: torch.dtype | None = None) -> None:
    """Mismatch where dtype or device of a tensor is not the wanted one; numbers are free.

    `dtype` is the wanted one of floating tensors where it is not that of the wanted result.
    """
    if pair.is_number:
        return
    wanted = dtype if dtype and pair.wanted.is_floating_point() else pair.wanted.dtype
    if not device_only and pair.got.dtype != wanted:
        raise Mismatch(f"{pair.name} of dtype {plain(wanted)}", plain(pair.got.dtype), hint)
    if pair.got.device != pair.wanted.device:
        raise Mismatch(f"{pair.name} on device {pair.wanted.device}", str(pair.got.device), hint)


def check_values(pair: Pair, judgement: Judgement, dtype: torch.dtype, hint: str = "") -> None:
    """Mismatch where an entry lies further from the truth than the allowance for `dtype`.

    Whole numbers and truth values are compared as they are: a mask of zeros and ones has the right values, though
    the wrong type.
    """
    if within(pair.got, judgement):
        return
    ratio = excess(pair.got, judgement, dtype)
    if not (ratio > 1).any():
        return
    note = ""
    if not pair.is_number and pair.got.dtype != pair.wanted.dtype:
        note = f"; its dtype is {plain(pair.got.dtype)}, where {plain(pair.wanted.dtype)} is wanted"
    strange = pair.got.to(judgement.truth).isnan() & ~judgement.truth.isnan()
    if strange.any():
        raise Mismatch(f"{pair.name} without NaN", f"NaN in {share(strange)}{note}", hint)
    if (infinite := ratio.isinf()).any():
        raise Mismatch(f"{pair.name} finite where it should be", f"{share(infinite)} not so{note}", hint)
    if not pair.wanted.is_floating_point():
        raise Mismatch(f"{pair.name} with the right entries", f"{share(ratio > 1)} wrong{note}", hint)
    far = "far" if float(ratio.amax()) > FAR else "only a little"
    raise Mismatch(f"{pair.name} right up to rounding", f"{share(ratio > 1)} off, {far}{note}", hint)


def check_all_values(pairs: list[Pair], judged: Callable[..., list[Judgement]], dtype: torch.dtype, hint: str) -> None:
    """Checks the values of all pairs; what is no draw's business is right, the rest is judged with care.

    Each draw can only allow more, so what is right without any takes no further runs of the reference.
    """
    judgements = judged(draws=0)
    if not all(within(pair.got, judgement) for pair, judgement in zip(pairs, judgements, strict=True)):
        for pair, judgement in zip(pairs, judged(), strict=True):
            check_values(pair, judgement, dtype, hint)


def judged_in(pairs: list[Pair], given: list[Tensor], accuracy: torch.dtype = torch.float64) -> torch.dtype:
    """The coarsest type among the floating arguments `given`, the student's tensors and what the lesson accepts."""
    types = {tensor.dtype for tensor in given or [pair.wanted for pair in pairs if is_floating(pair.wanted)]}
    types |= {pair.got.dtype for pair in pairs if is_floating(pair.got) and not pair.is_number}
    return coarser(accuracy, *types)


def kind(thing: Any) -> str:
    """What something is, in a student's words: `a tensor of shape (2, 3)`, `a list of 4`, `None`."""
    if isinstance(thing, Tensor):
        return f"a tensor of shape {tuple(thing.shape)}"
    if isinstance(thing, tuple | list):
        return f"a {type(thing).__name__} of {len(thing)}"
    if isinstance(thing, dict):
        return "a dict with other keys"
    if thing is None:
        return "None"
    name = getattr(thing, "kind", type(thing).__name__)  # student.Foreign: what crossed the border only by its type
    return f"an object of type {name}"


def plain(dtype: torch.dtype) -> str:
    """`float32`, not `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def _paired_sequence(got: Any, wanted: tuple[Any, ...] | list[Any], names: Names, hint: str) -> list[Pair]:
    name = names if isinstance(names, str) else "result"
    parts = names if isinstance(names, tuple) else tuple(f"{name}[{i}]" for i in range(len(wanted)))
    if not isinstance(got, tuple | list) or len(got) != len(wanted):
        listed = f": {', '.join(names)}" if isinstance(names, tuple) else ""
        raise Mismatch(f"{name} to be a {type(wanted).__name__} of {len(wanted)}{listed}", kind(got), hint)
    triples = zip(got, wanted, parts, strict=True)
    return [pair for ours, theirs, part in triples for pair in paired(ours, theirs, part, hint)]


def _paired_leaf(got: Any, wanted: Any, name: str, hint: str) -> Pair:
    is_number = not isinstance(wanted, Tensor)
    if is_number and isinstance(got, bool | int | float):
        got = torch.tensor(got, dtype=torch.float64)
    if not isinstance(got, Tensor) or got.is_complex():
        what = "a complex tensor" if isinstance(got, Tensor) else kind(got)
        raise Mismatch(f"{name} to be a {'number' if is_number else 'tensor'}", what, hint)
    wanted = torch.as_tensor(wanted, dtype=torch.float64) if is_number else wanted
    if got.shape != wanted.shape:
        raise Mismatch(f"{name} of shape {tuple(wanted.shape)}", str(tuple(got.shape)), hint)
    return Pair(name, got, wanted, is_number)


def share(entries: Tensor) -> str:
    """How many, in a word."""
    share = float(entries.double().mean())
    return "all entries" if share == 1 else "most entries" if share > 0.5 else "some entries"
