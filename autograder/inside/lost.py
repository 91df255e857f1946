"""An exercise that the student lost: its callers reach the reference outside, and lose only what they get wrong."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import torch

from autograder.inside import messages, packing, wire

if TYPE_CHECKING:
    from autograder.inside.child import Child


class Lost:
    """Stands for an exercise that the student lost: computed outside, so its callers lose only what they get wrong."""

    def __init__(self, name: str, child: Child) -> None:
        self.__name__, self._child = name, child

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        elsewhere = self._child.elsewhere
        return self._ask(*args, **kwargs) if elsewhere is None else elsewhere.aside(self, self._ask, args, kwargs)

    def _ask(self, *args: Any, **kwargs: Any) -> Any:
        packer = packing.Packer()
        named = {name: _speakable(value) for name, value in kwargs.items()}
        ask = messages.Ask(self.__name__, packer.value(tuple(map(_speakable, args))), packer.value(named), packer.views)
        tensors = list(packer.tensors)
        kept: dict[str, Any] = {}

        class Asked(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
                answer, results = self._exchange(packer.frame(ask))
                kept.update(answer=answer, results=results)
                ctx.mark_non_differentiable(
                    *(result for result, view in zip(results, answer.views, strict=True) if not view.requires_grad)
                )
                return tuple(results)

            @staticmethod
            def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
                with torch._C.DisableTorchFunction():  # what travels is what it is, not what it says it is (tagged.py)
                    return self._gradients(kept["answer"], tensors, ctx.needs_input_grad, gradients)

        results = Asked.apply(*tensors) if tensors else self._exchange(packer.frame(ask), kept)[1]  # type: ignore[no-untyped-call]
        return self._child.unpack(kept["answer"].value, list(results))

    def _gradients(
        self,
        answer: messages.Returned,
        tensors: list[torch.Tensor],
        needed: tuple[bool, ...],
        gradients: tuple[torch.Tensor | None, ...],
    ) -> tuple[torch.Tensor | None, ...]:
        packer = packing.Packer()
        arriving = [
            number
            for number, gradient in enumerate(gradients)
            if gradient is not None and answer.views[number].requires_grad
        ]
        wanted = [number for number in range(len(tensors)) if needed[number]]
        sent = [packer.tensor(gradients[number]) for number in arriving]  # type: ignore[arg-type]
        ask = messages.Ask(self.__name__, [], [], packer.views, answer.call, arriving, sent, wanted)
        back, built = self._exchange(packer.frame(ask))
        found: dict[int, torch.Tensor | None] = {
            number: None if tensor < 0 else built[tensor] for number, tensor in zip(wanted, back.tensors, strict=True)
        }
        return tuple(found.get(number) for number in range(len(tensors)))

    def _exchange(self, data: bytes, kept: dict[str, Any] | None = None) -> tuple[Any, list[torch.Tensor]]:
        with self._child.lock:
            self._child.socket.sendall(data)
            answer, body = self._child.receive()
        if isinstance(answer, messages.Refused):
            kind = getattr(builtins, answer.kind, RuntimeError)
            raise kind(answer.text)
        if kept is not None:
            kept["answer"] = answer
        return answer, packing.build(answer.views, wire.pieces_of(body), self._child.limits.reply_bytes)[0]  # type: ignore[union-attr]


def _speakable(value: Any) -> Any:
    """A device by its name, which says the same to every function that takes one: a device itself cannot travel."""
    return str(value) if isinstance(value, torch.device) else value
