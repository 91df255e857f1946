"""`student`: looks like an ordinary module to a test; every call goes into the box.

Tensors, lists, tuples and dicts go both ways; results carry gradients (a vector-Jacobian product is asked from the
child, so `torch.autograd.gradcheck(student.softmax, (x,))` works; no double backward, no vmap). What a call did to
its arguments and to torch's global state is seen after it, as with a plain function. A raise inside is raised
outside as the built-in exception of that type, with a StudentError as its cause.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from autograder.errors import StudentError, StudentForbidden, StudentMemory
from autograder.handles import Handle, Handles
from autograder.inside import wire
from autograder.session import Session

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


_SPEAKABLE = frozenset(
    {*dir(builtins), "generator", "function", "ndarray", "method", "module", "Size", "dtype", "device"}
)
_SPEAKABLE |= {f"{layout} tensor" for layout in ("meta", "quantized", "sparse_coo", "sparse_csr", "jagged", "strided")}


@dataclass(frozen=True)
class Foreign:
    """Stands for something that a student returned and that cannot leave the box, named by its type.

    A class of the student's own is called "object": its name could spell out a hidden input.
    """

    kind: str

    @classmethod
    def of(cls, kind: str) -> Foreign:
        """What to call a thing whose type calls itself `kind`."""
        return cls(kind if kind in _SPEAKABLE else "object")


class Student:
    """The exercises of one submission as attributes; classes among them make handles of modules."""

    def __init__(self, session: Session, exercises: tuple[str, ...]) -> None:
        self._session = session
        self._exercises = exercises
        self._handles = Handles(lambda handle, args, kwargs: self._call(f"#{handle.number()}", args, kwargs))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self._exercises:
            raise AttributeError(f"the lesson has no exercise {name!r}")

        def exercise(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, args, kwargs)

        exercise.__name__ = name
        return exercise

    def builtin(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        """A built-in module made inside, of the kinds in `inside.modules.BUILTIN`, for exercises that take one."""
        return self._call(f"torch.nn.{kind}", args, kwargs)

    def _call(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = self._session
        session.prepare(target)
        self._handles.revive(session.generation, lambda made: self._make(*made))
        packer = wire.Packer(self._handles.number_of)
        trees = packer.value(args), packer.value(kwargs)
        numbers = {*packer.modules, *([int(target[1:])] if target.startswith("#") else [])}
        modules = [self._handles.packed(number, packer) for number in sorted(numbers)]
        tensors = packer.tensors
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        message = wire.Call(target, *trees, packer.views, _state(), modules, session.take_dropped(), keep)
        one = _OneCall(session, message, packer, tensors)
        results = _Remote.apply(one, *tensors) if keep else one.forward()  # type: ignore[no-untyped-call]
        _leave(message.state, one.answer.state)
        value = wire.unpack(one.answer.value, list(results), self._handle(target, args, kwargs, one), Foreign.of)
        self._handles.receive(one.answer, one.after)
        return value

    def _handle(self, target: str, args: Any, kwargs: Any, one: _OneCall) -> Callable[[int], Handle]:
        made = (target, args, kwargs)
        return lambda number: self._handles.get(number, made, one.answer, one.after)

    def _make(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        handle = self._call(target, args, kwargs)
        return int(handle.number())


class _OneCall:
    """One call of an exercise: forward, then as many backwards as the test asks for."""

    def __init__(self, session: Session, message: wire.Call, packer: wire.Packer, tensors: list[torch.Tensor]) -> None:
        self.session, self.message, self.packer, self.tensors = session, message, packer, tensors
        self.generation = session.generation
        self.answer: wire.Returned
        self.after: list[torch.Tensor] = []  # all tensors of the answer

    def __del__(self) -> None:
        if self.message.keep and hasattr(self, "answer"):
            self.session.drop(self.answer.call, self.generation)

    def forward(self) -> tuple[torch.Tensor, ...]:
        """The tensors of the result; raises what the student's code raised."""
        frame = self.packer.frame(self.message)
        answer, storages = _checked(self.session.exchange(self.message.target, frame), self.session)
        if not isinstance(answer, wire.Returned):
            raise self.session.malformed(TypeError("a call is answered by Returned"))
        try:
            self.after = wire.build(answer.views, storages, self.session.limits.reply_bytes)
            results = [self.tensors[same] if same >= 0 else self.after[i] for i, same in enumerate(answer.same)]
            self._settle(answer, storages)
        except (wire.ProtocolError, IndexError, RuntimeError, OverflowError, KeyError) as error:
            raise self.session.malformed(error) from error
        self.answer = answer
        return tuple(results)

    def _settle(self, answer: wire.Returned, storages: list[torch.UntypedStorage]) -> None:
        """Does outside what the call did to its arguments."""
        with torch.no_grad():
            for mine, now in answer.written:
                _overwrite(self.packer.storages[mine], storages[now])
            for number, place in answer.moved:
                self.tensors[number].data = self.after[place]
            for tensor, (needs, gradient) in zip(self.tensors, answer.arguments, strict=True):
                if tensor.is_leaf and tensor.requires_grad != needs:
                    tensor.requires_grad_(needs)
                if tensor.is_leaf:
                    _set_gradient(tensor, None if gradient < 0 else self.after[gradient])

    def backward(
        self, needed: tuple[bool, ...], gradients: tuple[torch.Tensor | None, ...]
    ) -> list[torch.Tensor | None]:
        """Gradients at the arguments, None where none arrives or none is needed."""
        packer = wire.Packer()
        wanted = [number for number in range(len(self.tensors)) if needed[number]]
        results = [
            i for i, gradient in enumerate(gradients) if gradient is not None and self.answer.views[i].requires_grad
        ]
        found: list[torch.Tensor | None] = [None] * len(self.tensors)
        if not results or not wanted:
            return found
        sent = [packer.tensor(gradients[number]) for number in results]  # type: ignore[arg-type]
        message = wire.Vjp(self.answer.call, results, sent, wanted, packer.views)
        if self.generation != self.session.generation:
            raise RuntimeError("the process that held this call's graph is gone")
        answer, storages = _checked(self.session.exchange(self.message.target, packer.frame(message)), self.session)
        try:
            if not isinstance(answer, wire.Gradients):
                raise TypeError("gradients are asked for")
            built = wire.build(answer.views, storages, self.session.limits.reply_bytes)
            for number, tensor in zip(wanted, answer.tensors, strict=True):
                found[number] = None if tensor < 0 else built[tensor]
        except (wire.ProtocolError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise self.session.malformed(error) from error
        return found


class _Remote(torch.autograd.Function):
    """A call into the box as one node of the graph outside."""

    @staticmethod
    def forward(ctx: Any, one: _OneCall, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = one.forward()
        ctx.one = one
        ctx.set_materialize_grads(False)
        flags = [view.requires_grad for view in one.answer.views[: len(results)]]
        ctx.mark_non_differentiable(*(result for result, needs in zip(results, flags, strict=True) if not needs))
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        return (None, *ctx.one.backward(ctx.needs_input_grad[1:], gradients))


def _checked(reply: tuple[wire.ToOutside, list[torch.UntypedStorage]], session: Session) -> Any:
    """The reply, or the student's exception raised."""
    message, storages = reply
    if isinstance(message, wire.Raised | wire.Returned) and message.forbidden:
        places = message.lines if isinstance(message, wire.Raised) else []
        lines = tuple(line for cell, number in places if (line := session.line(cell, number)))
        raise RuntimeError("a forbidden operator") from StudentForbidden("RuntimeError", message.forbidden[:100], lines)
    if isinstance(message, wire.Raised):
        raise_as_student(message, session)
    return message, storages


def raise_as_student(raised: wire.Raised, session: Session) -> None:
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


def _state() -> wire.State:
    dtype = str(torch.get_default_dtype()).removeprefix("torch.")
    return wire.State(dtype, torch.is_grad_enabled(), str(torch.get_default_device()), torch.initial_seed())


def _leave(before: wire.State, after: wire.State) -> None:
    if after.dtype != before.dtype:
        torch.set_default_dtype(wire.DTYPES[after.dtype])
    if after.grad != before.grad:
        torch.set_grad_enabled(after.grad)
    if after.device != before.device:
        torch.set_default_device(after.device)
    if after.drawn:
        torch.rand(1)  # so that whoever compares the generator's state before and after sees that it was used


def _overwrite(mine: torch.UntypedStorage, now: torch.UntypedStorage) -> None:
    if mine.nbytes() != now.nbytes():
        mine.resize_(now.nbytes())
    mine.copy_(now)


def _set_gradient(tensor: torch.Tensor, gradient: torch.Tensor | None) -> None:
    if gradient is None:
        tensor.grad = None
    elif tensor.grad is None:
        tensor.grad = gradient
    elif not torch.equal(tensor.grad, gradient):
        tensor.grad.copy_(gradient)
