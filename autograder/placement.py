"""Is an answer on the device of its arguments? Asked on every machine, GPU or not.

On a GPU the whole suite runs there. Without one, each device-sensitive exercise is called once more on tensors that say
they are on a GPU and compute on the CPU (inside/tagged.py): in the box for a submission, in this process for an answer
of the course's own. Enters: an exercise, its arguments, what the model gave for them. Leaves: nothing, a Mismatch with
the student's line, or NotJudged: what cannot be run in this way costs nobody points.

The verdict is made here, from where each tensor of the result is said to be. Student code could lie about it, and would
gain the one test that it lies to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autograder.comparing import Mismatch, Names, kind
from autograder.errors import Line
from autograder.handles import Handle
from autograder.inside import messages, packing
from autograder.inside.places import GPU
from autograder.inside.tagged import Elsewhere
from autograder.nested import copies, leaves, map_leaves

CANNOT = "this could not be tried without a GPU; it costs no points"
ON_ONE_DEVICE = "make new tensors on the device of one that you were given: torch.arange(n, device=x.device), x.new_zeros(n)"
WITHOUT_NUMPY = "compute with torch; what numpy has to see is fetched by cpu() first"


class NotJudged(Exception):
    """A test that cannot be judged on this machine; whoever is under test keeps its points."""


@dataclass(frozen=True)
class Standin:
    """A tensor of a result on tagged tensors: where it says it is, and the line that made it, if that is on the CPU."""

    device: str
    made: Line | None


@dataclass(frozen=True)
class Placement:
    """What a call on tagged tensors came to."""

    value: Any  # the result with a Standin for each tensor
    fault: str  # what brought two devices together, or nothing
    at: Line | None
    made: Line | None
    left: bool  # has a module among the arguments numbers on the CPU now?
    unable: str  # why it cannot be said, or nothing

    @property
    def outline(self) -> str:
        """What can be seen of it without any value: for telling.py."""
        tensors = [(each.device, str(each.made)) for _, each in leaves(self.value) if isinstance(each, Standin)]
        return f"{self.fault} {self.at} {self.made} {self.left} {self.unable} {tensors}"


def placement_of(answer: messages.Placed, line: Callable[[int, int], Line | None]) -> Placement:
    """The placement that a message tells; raises messages.ProtocolError where it means nothing."""

    def found(place: tuple[int, int] | None) -> Line | None:
        return None if place is None else line(*place)

    if len(answer.origins) != len(answer.devices):
        raise messages.ProtocolError("places of other tensors than there are")
    tensors = [Standin(*each) for each in zip(answer.devices, map(found, answer.origins), strict=True)]
    value = packing.unpack(answer.value, tensors, _nothing, _nothing)  # type: ignore[arg-type]
    return Placement(value, answer.fault, found(answer.at), found(answer.made), answer.left, answer.unable)


def _nothing(what: object) -> None:
    """Stands for what cannot leave the box."""


def unable(why: str) -> Placement:
    """The placement of a call of which nothing can be said."""
    return Placement(None, "", None, None, False, why)


def check_placement(
    student: Callable[..., Any], wanted: Any, args: Any, kwargs: Any, names: Names = "result", hint: str = ON_ONE_DEVICE
) -> None:
    """Calls the student on tagged tensors; `wanted` is what the model gave for the same arguments.

    Does nothing where these are on a real GPU. Raises Mismatch, or NotJudged. Where it cannot be said, the call is made
    plainly as well: what fails or has another structure there too is a wrong answer, and raises what it always raises.
    """
    if on_real_gpu((args, kwargs, wanted)):
        return
    found = placed(student, args, kwargs)
    if found.unable or not (found.fault or found.left or _has_leaves_of(found.value, wanted)):
        got = student(*copies(args), **copies(kwargs))
        if not _has_leaves_of(got, wanted):
            name = names if isinstance(names, str) else "result"
            raise Mismatch(f"{name} to have as many parts as promised", kind(got))
        raise NotJudged(CANNOT)
    if found.fault == "numpy":
        where = f"numpy, which can read the CPU only{_from(found.at)}"
        raise Mismatch(f"what works when the arguments are on {GPU}", where, WITHOUT_NUMPY)
    if found.fault:
        raise Mismatch(f"all tensors on one device, when the arguments are on {GPU}", _met(found), hint)
    if found.left:
        raise Mismatch(f"the module on {GPU}, where it was", f"numbers of it on the CPU{_from(found.made)}", hint)
    _check_leaves(found.value, wanted, names, hint)


def on_real_gpu(nest: Any) -> bool:
    """Is one of the tensors or modules on a GPU that is really there?"""
    return any(tensor.is_cuda for _, leaf in leaves(nest) for tensor in _tensors_of(leaf))


def _tensors_of(leaf: Any) -> Iterable[Tensor]:
    if isinstance(leaf, Tensor):
        return [leaf]
    return leaf.parameters() if isinstance(leaf, nn.Module | Handle) else ()


def _met(found: Placement) -> str:
    made = f", made in {found.made}" if found.made and found.made != found.at else ""
    return f"one on the CPU in {found.fault}{_from(found.at)}{made}"


def _from(line: Line | None) -> str:
    return f", in {line}" if line else ""


def _check_leaves(got: Any, wanted: Any, names: Names, hint: str) -> None:
    """Mismatch where a tensor of the result is on the CPU; numbers may be anywhere."""
    for (path, mine), (_, model) in zip(leaves(got), leaves(wanted), strict=True):
        if isinstance(model, Tensor) and isinstance(mine, Standin) and mine.device != str(GPU):
            what = f"{_named(path, names)} on {GPU}, where the arguments are"
            raise Mismatch(what, f"{mine.device[:20]}{_from(mine.made)}", hint)


def _has_leaves_of(got: Any, wanted: Any) -> bool:
    return len(leaves(got)) == len(leaves(wanted))


def _named(path: str, names: Names) -> str:
    """What to call a leaf: `weights[1]` for the path `result[1][1]`."""
    if isinstance(names, str):
        return path.replace("result", names, 1)
    parts = {f"result[{number}]": name for number, name in enumerate(names)}
    place = next((place for place in parts if path.startswith(place)), "")
    return parts[place] + path.removeprefix(place) if place else path


def placed(student: Callable[..., Any], args: Any, kwargs: Any) -> Placement:
    """Where a call on tagged tensors leaves its results; in the box for a submission, here for the course's own code."""
    student = _unwatched(student)
    elsewhere = getattr(student, "elsewhere", None)
    if elsewhere is not None:
        found: Placement = elsewhere(*args, **kwargs)
        return found
    args, kwargs = map_leaves(_own_module, copies((args, kwargs)))
    tensors = [leaf for _, leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    modules = [leaf for _, leaf in leaves((student, args, kwargs)) if isinstance(leaf, nn.Module)]
    with torch.random.fork_rng(devices=()):
        return placement_of(Elsewhere(lambda frame: None).run(student, args, kwargs, tensors, modules), lambda *_: None)


def _own_module(leaf: Any) -> Any:
    return copy.deepcopy(leaf) if isinstance(leaf, nn.Module) else leaf


def _unwatched(function: Any) -> Any:
    """The function or module without what watching.py put around it: the call here is no call of the test."""
    if isinstance(function, nn.Module):
        own = copy.copy(function)  # with the same parameters: a move to the simulated GPU leaves their numbers
        vars(own).pop("forward", None)
        return own
    return getattr(function, "unwatched", function)
