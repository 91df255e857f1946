"""How far a right answer may lie from the truth: derived from the reference, never guessed.

The truth is the reference run in float64. A right answer differs from it for two reasons, and both are measured:

* *rounding on the way*: the reference itself, run in the type and on the device of the arguments, is off by `own`;
* *conditioning*: another order of operations acts like arguments that are each moved by one rounding. The float64
  reference on arguments that are each moved by up to two units in the last place is off by `moved`. This carries
  the case in which the reference is lucky, or sums in a wider type than an equally good answer does. How far the
  arguments move is random, so one draw can be lucky too: an answer is called wrong only after `DRAWS` of them.

    allowed = MULTIPLE * max(own, moved) + FLOOR_ULPS * ulp(largest magnitude of the result)

MULTIPLE is the room for bad luck: a sum of n terms in another order is off by about sqrt(n) roundings, seldom by
more than a few times what the reference happens to be off by. An unstable formula is off by orders of magnitude,
and a wrong one by its idea's own size, which is far above a few roundings in at least one of the four types. The
floor is for results in which the reference makes no error at all (a product by one, a sum of two numbers): each
operation of an answer may then still round once at the size of the result, and half types do that in plain sight.

Where torch multiplies float32 in TF32 (a GPU's shorter type, off unless it is asked for), arguments move by TF32's unit:
an answer may multiply where the reference adds, and then rounds so.

Errors are taken as the largest of a tensor, not entry by entry: one entry can be exact by luck. So a test should
not mix results of very different size in one tensor.

Entries that are infinite or NaN in the truth (rounded to the type) must be the same in the answer and take no part
in the errors. Gradients are judged by the same function: the "reference" is then the function that computes the
reference's gradients. A result of a coarser type than promised is judged as if the arguments had been of that
type: that it is coarser is another test's matter.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autograder.errors import GraderError
from autograder.nested import cast, floating, leaves, map_leaves, with_floating

MULTIPLE = 16.0
FLOOR_ULPS = 8.0
TF32_UNIT = 2.0**-10  # ten bits behind the point, as float16 has
DRAWS = 8  # how often the arguments are moved before an answer is called wrong; none is needed to call it right


@dataclass(frozen=True)
class Judgement:
    """What one tensor of a result should be (float64) and how far from it an answer may lie (same unit)."""

    truth: Tensor
    allowed: float


def coarser(*dtypes: torch.dtype) -> torch.dtype:
    """The type with the largest rounding unit."""
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def judge(
    reference: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dtype: torch.dtype,
    *,
    truth: Callable[..., Any] | None = None,
    own: Any = None,
    draws: int = DRAWS,
) -> list[Judgement]:
    """Truth and allowance for each leaf of `reference(*args, **kwargs)` computed in `dtype`.

    `truth` replaces the reference in float64, where to cast the arguments is not enough to get there; `own` is the
    reference's result in `dtype`, where the caller has it. Leaves that are
    no tensors and no numbers must not occur. Raises GraderError if the reference itself overflows in `dtype` where the
    truth is finite: then the test asks for more than the type can hold.
    """
    reference, runs = following(reference), []
    exact = truth or reference
    if dtype == torch.float64 and own is not None and not truth:
        true = _numbers(own)
    else:
        wide = cast((args, kwargs), torch.float64)
        true = _numbers(exact(*wide[0], **wide[1]))
    if dtype != torch.float64 or truth:
        narrow = cast((args, kwargs), dtype) if own is None else ((), {})
        runs.append(_numbers(reference(*narrow[0], **narrow[1]) if own is None else own))
    given = floating((args, kwargs))
    for draw in range(draws if given else 0):
        moved = _moved(cast((args, kwargs), torch.float64), unit(dtype, given[0].device), draw)
        runs.append(_numbers(exact(*moved[0], **moved[1])))
    return [Judgement(value, _allowed(value, [run[i] for run in runs], dtype)) for i, value in enumerate(true)]


def unit(dtype: torch.dtype, device: torch.device) -> float:
    """The unit by which products round: that of the type, or TF32's where torch multiplies float32 in it."""
    is_tf32 = dtype == torch.float32 and device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    return TF32_UNIT if is_tf32 else torch.finfo(dtype).eps


def few_ulps(truth: Tensor, dtype: torch.dtype) -> float:
    """The allowance where there is no reference to run, as for values worked by hand: MULTIPLE floors."""
    return MULTIPLE * _allowed(truth, [], dtype)


def within(got: Tensor, judgement: Judgement) -> bool:
    """Is every entry finite and close enough? Cheap; where it says no, `excess` says what is off."""
    error = (got.detach().to(judgement.truth) - judgement.truth).abs()
    return error.numel() == 0 or float(error.amax()) <= judgement.allowed  # NaN and infinity compare as false


def beside(got: Tensor, own: Tensor, dtype: torch.dtype) -> bool:
    """Is `got` so close to the reference's own result in `dtype` that it is right whatever the truth is?

    If it is within FLOOR_ULPS - 1 of it, its error is at most `own` error + these, which is less than is always allowed.
    """
    if got.dtype != own.dtype:
        return False
    got, own = got.detach().to(own.device), own.detach()
    is_same, has_size = torch.equal(got, own), own.is_floating_point() and own.numel() > 0
    if is_same or not has_size:
        return is_same and (not has_size or math.isfinite(float(own.abs().amax())))
    mine = own.to(torch.float64)
    room = (FLOOR_ULPS - 1) * torch.finfo(dtype).eps * float(mine.abs().amax())
    return float((mine - got.to(torch.float64)).abs().amax()) <= room < math.inf  # false where there are NaN or infinities


def excess(got: Tensor, judgement: Judgement, dtype: torch.dtype) -> Tensor:
    """Each entry's error in units of what is allowed, infinite where one is finite and the other is not.

    Zero over zero counts as zero: an exact answer needs no allowance.
    """
    wanted = judgement.truth.to(dtype).to(torch.float64)
    got = got.detach().to(judgement.truth)
    ordinary = wanted.isfinite() & got.isfinite()
    same = (got == wanted) | (got.isnan() & wanted.isnan())
    error = (got - judgement.truth).abs()
    ratio = torch.where(error == 0, error, error / judgement.allowed)
    return torch.where(same, 0.0, torch.where(ordinary, ratio, torch.inf))


def _allowed(truth: Tensor, runs: list[Tensor], dtype: torch.dtype) -> float:
    """The formula of the module docstring, for one tensor; what `dtype` cannot hold is left out."""
    limits = torch.finfo(dtype)
    holds = truth.abs() <= limits.max
    if not holds.all():
        truth, runs = truth[holds], [run[holds] for run in runs]
    if truth.numel() == 0:
        return 0.0
    errors = [float((run - truth).abs().amax()) for run in runs]
    if not all(map(math.isfinite, errors)):
        raise GraderError(f"the reference overflows in {dtype}: give this test smaller inputs")
    ulp = max(float(truth.abs().amax()) * limits.eps, limits.smallest_normal * limits.eps)
    return MULTIPLE * max(errors, default=0.0) + FLOOR_ULPS * ulp


def following(reference: Callable[..., Any]) -> Callable[..., Any]:
    """The reference in the type of its arguments: a module has numbers of its own, which a copy of it casts."""
    if not isinstance(reference, nn.Module):
        return reference

    def in_their_type(*args: Any, **kwargs: Any) -> Any:
        return copy.deepcopy(reference).to(floating((args, kwargs))[0].dtype)(*args, **kwargs)

    return in_their_type


def _moved(tree: Any, eps: float, draw: int) -> Any:
    """Each floating number of a float64 nest moved by up to two units in the last place, `eps` for numbers near 1."""
    generator = torch.Generator().manual_seed(draw)  # fixed: the allowance must not differ between two gradings

    def move(tensor: Tensor) -> Tensor:
        amounts = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
        return tensor * (1 + 2 * eps * (2 * amounts - 1))

    return with_floating(tree, (move(tensor) for tensor in floating(tree)))


def _numbers(result: Any) -> list[Tensor]:
    """The leaves of a result as float64 tensors."""
    plain = map_leaves(lambda leaf: torch.as_tensor(leaf, dtype=torch.float64).detach(), result)
    return [leaf for _, leaf in leaves(plain)]
