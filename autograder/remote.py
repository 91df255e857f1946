"""One call into the box as a node of the graph outside: forward, what it did to its arguments, gradients, errors.

A raise inside is raised outside as the built-in exception of that type, with a StudentError as its cause.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from typing import Any

import torch

from autograder.errors import StudentError, StudentForbidden, StudentMemory
from autograder.inside import messages, packing, wire
from autograder.outlines import Noted, outline_of_error
from autograder.session import Reply, Session

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
MALFORMED = (messages.ProtocolError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


class OneCall:
    """One call of an exercise: forward, then as many backwards as the test asks for."""

    def __init__(
        self,
        session: Session,
        name: str,
        message: messages.Call,
        packer: packing.Packer,
        sent: Callable[[list[messages.View], list[torch.UntypedStorage]], list[torch.UntypedStorage]] | None,
    ) -> None:
        self.session, self.name, self.message, self.packer, self.sent = session, name, message, packer, sent
        self.tensors = packer.tensors
        self.generation = session.generation
        self.noted: Noted | None = None
        self.answer: messages.Returned
        self.after: list[torch.Tensor] = []  # all tensors of the answer

    def __del__(self) -> None:
        if self.message.keep and hasattr(self, "answer"):
            self.session.drop(self.answer.call, self.generation)

    def frame(self) -> bytes:
        """The call's bytes."""
        storages = self.packer.storages if self.sent is None else self.sent(self.packer.views, self.packer.storages)
        return wire.frame(self.message, storages)

    def forward(self) -> tuple[torch.Tensor, ...]:
        """The tensors of the result; raises what the student's code raised."""
        reply = self.session.exchange(self.name, self.frame())
        answer, pieces = checked(reply, self.session)
        if not (isinstance(answer, messages.Returned) and packing.is_state(answer.state)):
            raise self.session.malformed(TypeError("a call is answered by Returned, with a state that torch can have"))
        try:
            wire.check_answer(answer, self.message, len(self.packer.storages), len(pieces))
            self.after, storages = packing.build(answer.views, pieces, self.session.limits.reply_bytes)
            results = [self.tensors[same] if same >= 0 else self.after[i] for i, same in enumerate(answer.same)]
            if self.sent is None:
                self._settle(answer, storages)
        except MALFORMED as error:
            raise self.session.malformed(error) from error
        self.answer = answer
        return tuple(results)

    def arguments_now(self) -> list[torch.Tensor]:
        """The tensors that the arguments are made of after the call; those that were given are the same objects."""
        return [self.tensors[n] if n >= 0 else self.after[i] for i, n in enumerate(self.answer.origins)]

    def _settle(self, answer: messages.Returned, storages: list[torch.UntypedStorage]) -> None:
        """Does outside what the call did to its arguments."""
        for mine, now in answer.written:
            _overwrite(self.packer.storages[mine], storages[now])
        for number, place in answer.moved:
            self.tensors[number].data = self.after[place]
        for tensor, (needs, gradient) in zip(self.tensors, answer.arguments, strict=True):
            if tensor.is_leaf:
                if tensor.requires_grad != needs:
                    tensor.requires_grad_(needs)
                if gradient >= 0 or tensor.grad is not None:
                    _set_gradient(tensor, None if gradient < 0 else self.after[gradient])

    def backward(self, needed: tuple[bool, ...], gradients: tuple[torch.Tensor | None, ...]) -> list[torch.Tensor | None]:
        """Gradients at the arguments, None where none arrives or none is needed."""
        packer = packing.Packer()
        wanted = [number for number in range(len(self.tensors)) if needed[number]]
        results = [i for i, gradient in enumerate(gradients) if gradient is not None and self.answer.views[i].requires_grad]
        found: list[torch.Tensor | None] = [None] * len(self.tensors)
        if not results or not wanted:
            return found
        sent = [packer.tensor(gradients[number]) for number in results]  # type: ignore[arg-type]
        message = messages.Vjp(self.answer.call, results, sent, wanted, packer.views)
        if self.generation != self.session.generation:
            raise RuntimeError("the process that held this call's graph is gone")
        try:
            answer, pieces = checked(self.session.exchange(self.name, packer.frame(message)), self.session)
        except Exception as error:
            if self.noted is not None:
                self.noted.seen += f", then {outline_of_error(error)}"
            raise
        try:
            if not isinstance(answer, messages.Gradients):
                raise TypeError("gradients are asked for")
            built, _ = packing.build(answer.views, pieces, self.session.limits.reply_bytes)
            for number, place in zip(wanted, answer.tensors, strict=True):
                found[number] = None if place < 0 else _like(built[place], self.tensors[number])
        except MALFORMED as error:
            raise self.session.malformed(error) from error
        return found


class Remote(torch.autograd.Function):
    """A call into the box as one node of the graph outside."""

    @staticmethod
    def forward(ctx: Any, one: OneCall, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = one.forward()
        ctx.one = one
        ctx.set_materialize_grads(False)
        flags = [view.requires_grad for view in one.answer.views[: len(results)]]
        ctx.mark_non_differentiable(*(result for result, needs in zip(results, flags, strict=True) if not needs))
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        return (None, *ctx.one.backward(ctx.needs_input_grad[1:], gradients))


def checked(reply: Reply, session: Session) -> Any:
    """The reply, or the student's exception raised."""
    message, pieces = reply
    if isinstance(message, messages.Raised | messages.Returned) and message.forbidden:
        places = message.lines if isinstance(message, messages.Raised) else []
        lines = tuple(line for cell, number in places if (line := session.line(cell, number)))
        raise RuntimeError("a forbidden operator") from StudentForbidden("RuntimeError", message.forbidden[:100], lines)
    if isinstance(message, messages.Raised):
        if message.is_spent:
            session.renew()  # costs this call; the next one gets a child whose GPU is clean
        raise_as_student(message, session)
    return message, pieces


def raise_as_student(raised: messages.Raised, session: Session) -> None:
    """Raises the built-in exception that stands for what was raised inside, caused by a StudentError."""
    kind = getattr(builtins, raised.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = RuntimeError  # such as SystemExit, which would end pytest
    lines = tuple(line for cell, number in raised.lines if (line := session.line(cell, number)))
    text = _ADDRESS.sub("0x…", raised.text)
    try:
        error = kind(text)
    except TypeError:  # such as UnicodeDecodeError, which wants more than a text
        kind, error = RuntimeError, RuntimeError(text)
    raise error from (StudentMemory if raised.memory else StudentError)(kind.__name__, text, lines)


def _overwrite(mine: torch.UntypedStorage, now: torch.UntypedStorage) -> None:
    if now.nbytes() < mine.nbytes():
        raise messages.ProtocolError("a storage that is smaller than the tensors that look at it")
    if now.nbytes() > mine.nbytes():
        mine.resize_(now.nbytes())
    mine.copy_(now)


def _like(gradient: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A gradient that arrives at `tensor`; raises ProtocolError where autograd would refuse it."""
    if (gradient.shape, gradient.dtype, gradient.device) != (tensor.shape, tensor.dtype, tensor.device):
        raise messages.ProtocolError("a gradient that is not like the tensor that it belongs to")
    return gradient


def _set_gradient(tensor: torch.Tensor, gradient: torch.Tensor | None) -> None:
    if gradient is None:
        tensor.grad = None
    elif tensor.grad is None:
        tensor.grad = gradient
    elif not torch.equal(tensor.grad, gradient):
        with torch.no_grad():
            tensor.grad.copy_(gradient)
