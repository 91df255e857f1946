"""Handles of modules that live in the box. Parameters and buffers live outside and travel with each call.

`student.MultiHeadAttention(32, 4)` is a Handle: callable, with `parameters`, `named_parameters`, `state_dict`,
`load_state_dict`, `train`, `eval`, `to`, `zero_grad` and `requires_grad_` as an nn.Module has them, and with its
parameters as attributes (`handle.W_Q.weight`). An optimiser outside trains it; an exercise that trains or fills it
inside has its effect outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch

from autograder.inside import messages, packing

Call = Callable[["Handle", Any, Any], Any]
Calls = tuple[Call, Call]  # plainly, and on tagged tensors
Made = tuple[str, tuple[Any, ...], dict[str, Any]]  # the call that made a module


class Handle:
    """One module inside; `forward` is a call into the box."""

    def __init__(self, made: Made, calls: Calls) -> None:
        self._made, (self._forward, self._placed) = made, calls
        self._tensors: dict[str, torch.Tensor] = {}
        self.training = True

    @property
    def made_by(self) -> str:
        """The exercise, or built-in class, whose call made it."""
        return self._made[0]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(self, args, kwargs)

    forward = __call__

    def elsewhere(self, *args: Any, **kwargs: Any) -> Any:
        """Where the same call on tagged tensors leaves its results (placement.py)."""
        return self._placed(self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Part(self, name).resolve()

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Names and parameters, a shared one once."""
        seen: set[int] = set()
        for name, tensor in self._tensors.items():
            if isinstance(tensor, torch.nn.Parameter) and id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
        """The parameters, a shared one once."""
        return (parameter for _, parameter in self.named_parameters())

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Names and detached tensors, which share memory with the parameters."""
        return {name: tensor.detach() for name, tensor in self._tensors.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor], strict: bool = True) -> None:
        """Copies values in; raises RuntimeError where names or shapes do not fit, as nn.Module does."""
        if strict and set(state) != set(self._tensors):
            missing, unexpected = sorted(set(self._tensors) - set(state)), sorted(set(state) - set(self._tensors))
            raise RuntimeError(f"state dict does not fit: missing {missing}, unexpected {unexpected}")
        with torch.no_grad():
            for name in self._tensors.keys() & state.keys():
                if self._tensors[name].shape != state[name].shape:
                    raise RuntimeError(f"size mismatch for {name}")
                self._tensors[name].copy_(state[name])

    def train(self, mode: bool = True) -> Handle:
        """Sets training mode."""
        self.training = mode
        return self

    def eval(self) -> Handle:
        """Sets evaluation mode."""
        return self.train(False)

    def to(self, *args: Any, **kwargs: Any) -> Handle:
        """Moves or casts the floating-point tensors, in place as nn.Module does."""
        for tensor in {id(tensor): tensor for tensor in self._tensors.values()}.values():
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(*args, **kwargs)
        return self

    def double(self) -> Handle:
        """Casts to float64."""
        return self.to(torch.float64)

    def requires_grad_(self, requires_grad: bool = True) -> Handle:
        """Freezes or unfreezes all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears all gradients."""
        for parameter in self.parameters():
            parameter.grad = None


class _Part:
    """A submodule of a handle, as far as its parameters go."""

    def __init__(self, handle: Handle, prefix: str) -> None:
        self._handle, self._prefix = handle, prefix

    def resolve(self) -> Any:
        if self._prefix in self._handle._tensors:
            return self._handle._tensors[self._prefix]
        if any(name.startswith(self._prefix + ".") for name in self._handle._tensors):
            return self
        raise AttributeError(f"the module has no parameter or submodule with parameters at {self._prefix!r}")

    def __getattr__(self, name: str) -> Any:
        if name == "bias" and f"{self._prefix}.bias" not in self._handle._tensors:
            return None
        return _Part(self._handle, f"{self._prefix}.{name}").resolve()


class Handles:
    """All handles of one submission, by number; brings their state into a call and out of its answer.

    A number belongs to one child (one `generation`); in the next a module is made again when it is first needed.
    """

    def __init__(self, calls: Calls, generation: Callable[[], int], make: Callable[[Made], Any]) -> None:
        self._calls, self._generation, self._make = calls, generation, make
        self._numbers: WeakKeyDictionary[Handle, tuple[int, int]] = WeakKeyDictionary()  # -> generation, number
        self._by_number: WeakValueDictionary[tuple[int, int], Handle] = WeakValueDictionary()

    def number_of(self, value: object) -> int | None:
        """The number of a handle in the present child; None for anything else."""
        if not isinstance(value, Handle):
            return None
        generation, number = self._numbers.get(value, (-1, -1))
        if generation != self._generation():
            number = self._made_again(value)
        return number

    def _made_again(self, handle: Handle) -> int:
        made = self._make(handle._made)
        if not isinstance(made, Handle):
            raise TypeError(f"{handle.made_by} made a module once and something else now")
        _, number = self._numbers[made]
        self._enter(handle, number)
        return number

    def _enter(self, handle: Handle, number: int) -> None:
        place = (self._generation(), number)
        self._numbers[handle] = place
        self._by_number[place] = handle

    def get(self, number: int, made: Made, answer: messages.Returned, tensors: list[torch.Tensor]) -> Handle:
        """The handle with this number, a new one where there is none; raises ProtocolError where it has no state."""
        handle = self._by_number.get((self._generation(), number))
        if handle is None:
            state = next((state for state in answer.modules if state.number == number), None)
            if state is None:
                raise messages.ProtocolError("a module without a state")
            handle = Handle(made, self._calls)
            handle.training = state.training
            handle._tensors = _adopt(state, answer.views, tensors)
            self._enter(handle, number)
        return handle

    def packed(self, number: int, packer: packing.Packer) -> messages.Module:
        """The state of a handle, its tensors put into a message."""
        handle = self._by_number[self._generation(), number]
        numbers = [packer.tensor(tensor) for tensor in handle._tensors.values()]
        return messages.Module(number, list(handle._tensors), numbers, handle.training, [])

    def receive(self, answer: messages.Returned, tensors: list[torch.Tensor]) -> None:
        """Takes over what a call did to modules inside; tensors that share a storage there share one here."""
        if not answer.modules:
            return
        distinct = {number for state in answer.modules for number in state.tensors if 0 <= number < len(tensors)}
        uses = Counter(answer.views[number].storage for number in distinct)
        shared = {id(tensors[number]) for number in distinct if uses[answer.views[number].storage] > 1}
        for state in answer.modules:
            handle = self._by_number.get((self._generation(), state.number))
            if handle is None:
                continue
            arrived = _adopt(state, answer.views, tensors)
            handle.training = state.training
            if set(arrived) != set(handle._tensors):
                handle._tensors = arrived
            numbers = dict(zip(state.names, state.tensors, strict=True))
            for name, tensor in handle._tensors.items():
                _take_over(tensor, arrived[name], adopt=id(tensors[numbers[name]]) in shared)


def _adopt(state: messages.Module, views: list[messages.View], tensors: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a state by name, parameters as nn.Parameter; one that occurs twice stays one."""
    if len(state.names) != len(state.tensors) or not all(0 <= number < len(tensors) for number in state.tensors):
        raise messages.ProtocolError("a module's state that does not fit")
    made: dict[int, torch.Tensor] = {}
    for name, number in zip(state.names, state.tensors, strict=True):
        if number not in made:
            plain, view = tensors[number].detach(), views[number]
            if name in state.parameters:
                plain = torch.nn.Parameter(plain, requires_grad=view.requires_grad)
            if 0 <= view.grad < len(tensors):
                plain.grad = tensors[view.grad]
            made[number] = plain
    return {name: made[number] for name, number in zip(state.names, state.tensors, strict=True)}


def _take_over(mine: torch.Tensor, now: torch.Tensor, *, adopt: bool) -> None:
    if mine is now:
        return
    mine.requires_grad_(now.requires_grad)
    mine.grad = now.grad
    if adopt or mine.shape != now.shape or mine.dtype != now.dtype:
        mine.data = now.data
    elif not torch.equal(mine, now):
        with torch.no_grad():
            mine.copy_(now)
