"""`student`: looks like an ordinary module to a test; every call goes into the box.

Tensors, lists, tuples and dicts go both ways; results carry gradients (a vector-Jacobian product is asked from the
child, so `torch.autograd.gradcheck(student.softmax, (x,))` works; no double backward, no vmap). What a call did to
its arguments and to torch's global state is seen after it, as with a plain function. A raise inside is raised
outside as the built-in exception of that type, with a StudentError as its cause.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autograder.errors import GraderError, StudentError, StudentForbidden, StudentMemory
from autograder.handles import Handle, Handles
from autograder.inside import wire
from autograder.placement import Placement, placement_of, unable
from autograder.session import Session

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


_SPEAKABLE = frozenset(("generator", "function", "ndarray", "method", "module", "map", "zip", "range", "set", "type"))
_SPEAKABLE |= {f"{layout} tensor" for layout in ("meta", "quantized", "sparse_coo", "sparse_csr", "jagged", "strided")}
_MALFORMED = (wire.ProtocolError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
MOST_NOTED = 200  # calls of one test


@dataclass
class Noted:
    """One call that a test made, and what could be seen of it without any value."""

    callee: str | Handle
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    seen: str = ""
    is_elsewhere: bool = False  # was it on tagged tensors?


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

    def __init__(
        self,
        session: Session,
        exercises: tuple[str, ...],
        sent: Callable[[list[wire.View], list[torch.UntypedStorage]], list[torch.UntypedStorage]] | None = None,
    ) -> None:
        self._session = session
        self._exercises = exercises
        self._sent = sent  # rehearsals: what is sent in place of a call's storages; then nothing outside is changed
        self._handles = Handles((self._call, self._elsewhere), lambda: session.generation, lambda made: self._perform(*made))
        self._noted: list[Noted] | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self._exercises:
            raise AttributeError(f"the lesson has no exercise {name!r}")

        def exercise(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, args, kwargs)

        exercise.__name__ = name
        exercise.elsewhere = lambda *args, **kwargs: self._elsewhere(name, args, kwargs)  # type: ignore[attr-defined]
        return exercise

    def builtin(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        """A built-in module made inside, of the kinds in `inside.modules.BUILTIN`, for exercises that take one."""
        return self._call(f"torch.nn.{kind}", args, kwargs)

    # --- what a test does, for telling.py

    def note(self) -> None:
        """Forgets the calls noted, and notes those to come."""
        self._noted = []

    def noted(self) -> list[Noted]:
        """The calls made since `note`, in order."""
        return self._noted or []

    def outline(self, noted: Noted) -> str:
        """Makes a noted call again: what can be seen of it without any value."""
        if noted.is_elsewhere:
            return self._elsewhere(noted.callee, noted.args, noted.kwargs).outline
        again = Noted(noted.callee, noted.args, noted.kwargs)
        try:
            self._perform(again.callee, again.args, again.kwargs, again)
        except Exception as error:
            return again.seen or _outline_of_error(error)
        return again.seen

    # --- a call

    def _call(self, callee: str | Handle, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        noted = Noted(callee, args, kwargs)
        if self._noted is not None and len(self._noted) <= MOST_NOTED:
            self._noted.append(noted)
        try:
            return self._perform(callee, args, kwargs, noted)
        except Exception as error:
            noted.seen = noted.seen or _outline_of_error(error)
            raise

    def _elsewhere(self, callee: str | Handle, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Placement:
        """The same call on tagged tensors (inside/tagged.py); whatever it ends with besides a verdict costs nothing."""
        noted = Noted(callee, args, kwargs, is_elsewhere=True)
        if self._noted is not None and len(self._noted) <= MOST_NOTED:
            self._noted.append(noted)
        one = self._prepared(callee, args, kwargs, is_elsewhere=True)
        try:
            reply = self._session.exchange(one.name, one.frame(), is_counted=False)
            answer, _ = _checked(reply, self._session)
            if not isinstance(answer, wire.Placed):
                raise self._session.malformed(TypeError("a call on tagged tensors is answered by Placed"))
            found = placement_of(answer, self._session.line)
        except GraderError:
            raise
        except Exception as error:
            if isinstance(error.__cause__, StudentForbidden):
                raise
            found = unable(error.cause if isinstance(error, StudentError) else type(error).__name__)
        noted.seen = found.outline
        return found

    def _perform(
        self, callee: str | Handle, args: tuple[Any, ...], kwargs: dict[str, Any], noted: Noted | None = None
    ) -> Any:
        one = self._prepared(callee, args, kwargs)
        one.noted = noted
        results = _Remote.apply(one, *one.tensors) if one.message.keep else one.forward()  # type: ignore[no-untyped-call]
        made = (callee if isinstance(callee, str) else "", args, kwargs)

        def handle(number: int) -> Handle:
            return self._handles.get(number, made, one.answer, one.after)

        try:
            value = wire.unpack(one.answer.value, list(results), handle, Foreign.of)
            if self._sent is None:
                self._handles.receive(one.answer, one.after)
                if one.answer.containers is not None:
                    _refill([args, kwargs], wire.unpack(one.answer.containers, one.arguments_now(), handle, Foreign.of))
        except _MALFORMED as error:
            raise self._session.malformed(error) from error
        finally:
            one.after = []  # they lead to the graph that leads to `one`: a circle through C++, which nobody would collect
        if self._sent is None:
            _leave(one.message.state, one.answer.state)
        if noted is not None:
            noted.seen = _outline_of(one.answer)
        return value

    def _prepared(
        self, callee: str | Handle, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_elsewhere: bool = False
    ) -> _OneCall:
        session, name = self._session, callee if isinstance(callee, str) else callee.made_by
        session.prepare(name)
        packer = wire.Packer(self._handles.number_of)
        target = callee if isinstance(callee, str) else f"#{self._handles.number_of(callee)}"
        trees = packer.value(args), packer.value(kwargs)
        numbers = {*packer.modules, *([] if callee is target else [int(target[1:])])}
        modules = [self._handles.packed(number, packer) for number in sorted(numbers)]
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in packer.tensors) and not is_elsewhere
        dropped = session.take_dropped()
        message = wire.Call(target, *trees, packer.views, _state(), modules, dropped, keep, is_elsewhere)
        return _OneCall(session, name, message, packer, self._sent)


class _OneCall:
    """One call of an exercise: forward, then as many backwards as the test asks for."""

    def __init__(
        self,
        session: Session,
        name: str,
        message: wire.Call,
        packer: wire.Packer,
        sent: Callable[[list[wire.View], list[torch.UntypedStorage]], list[torch.UntypedStorage]] | None,
    ) -> None:
        self.session, self.name, self.message, self.packer, self.sent = session, name, message, packer, sent
        self.tensors = packer.tensors
        self.generation = session.generation
        self.noted: Noted | None = None
        self.answer: wire.Returned
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
        answer, storages = _checked(reply, self.session)
        if not (isinstance(answer, wire.Returned) and wire.is_state(answer.state)):
            raise self.session.malformed(TypeError("a call is answered by Returned, with a state that torch can have"))
        try:
            wire.check_answer(answer, self.message, len(self.packer.storages), len(storages))
            self.after = wire.build(answer.views, storages, self.session.limits.reply_bytes)
            results = [self.tensors[same] if same >= 0 else self.after[i] for i, same in enumerate(answer.same)]
            if self.sent is None:
                self._settle(answer, storages)
        except _MALFORMED as error:
            raise self.session.malformed(error) from error
        self.answer = answer
        return tuple(results)

    def arguments_now(self) -> list[torch.Tensor]:
        """The tensors that the arguments are made of after the call; those that were given are the same objects."""
        return [self.tensors[n] if n >= 0 else self.after[i] for i, n in enumerate(self.answer.origins)]

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
        try:
            answer, storages = _checked(self.session.exchange(self.name, packer.frame(message)), self.session)
        except Exception as error:
            if self.noted is not None:
                self.noted.seen += f", then {_outline_of_error(error)}"
            raise
        try:
            if not isinstance(answer, wire.Gradients):
                raise TypeError("gradients are asked for")
            built = wire.build(answer.views, storages, self.session.limits.reply_bytes)
            for number, place in zip(wanted, answer.tensors, strict=True):
                found[number] = None if place < 0 else _like(built[place], self.tensors[number])
        except _MALFORMED as error:
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
        if message.is_spent:
            session.renew()  # costs this call; the next one gets a child whose GPU is clean
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
    if now.nbytes() < mine.nbytes():
        raise wire.ProtocolError("a storage that is smaller than the tensors that look at it")
    if now.nbytes() > mine.nbytes():
        mine.resize_(now.nbytes())
    mine.copy_(now)


def _refill(mine: Any, now: Any) -> Any:
    """What stands in the place of `mine` after a call: the same list or dict with its content now, or another value."""
    if isinstance(mine, list) and isinstance(now, list):
        mine[:] = [_refill(mine[i], value) if i < len(mine) else value for i, value in enumerate(now)]
        return mine
    if isinstance(mine, dict) and isinstance(now, dict):
        content = {key: _refill(mine[key], value) if key in mine else value for key, value in now.items()}
        mine.clear()
        mine.update(content)
        return mine
    if isinstance(mine, tuple) and isinstance(now, tuple) and len(mine) == len(now):
        for old, new in zip(mine, now, strict=True):
            _refill(old, new)
        return mine
    return now


def _like(gradient: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A gradient that arrives at `tensor`; raises ProtocolError where autograd would refuse it."""
    if (gradient.shape, gradient.dtype, gradient.device) != (tensor.shape, tensor.dtype, tensor.device):
        raise wire.ProtocolError("a gradient that is not like the tensor that it belongs to")
    return gradient


def _set_gradient(tensor: torch.Tensor, gradient: torch.Tensor | None) -> None:
    if gradient is None:
        tensor.grad = None
    elif tensor.grad is None:
        tensor.grad = gradient
    elif not torch.equal(tensor.grad, gradient):
        tensor.grad.copy_(gradient)


def _outline_of(answer: wire.Returned) -> str:
    """What a test can see of an answer, and may repeat to the student: structure, and the state of modules."""
    states = sorted(  # modules have other numbers in another child
        sorted((name, answer.views[number].shape) for name, number in zip(state.names, state.tensors, strict=True))
        for state in answer.modules
    )
    return f"{_outline(answer.value, answer.views)} {states}"


def _outline(node: Any, views: list[wire.View]) -> str:
    """The structure of a result: containers, types, shapes; no value, and no name that a student chose."""
    if isinstance(node, list):
        return f"[{', '.join(_outline(part, views) for part in node)}]"
    if not isinstance(node, Mapping):
        return type(node).__name__
    ((kind, content),) = node.items()
    if kind == "t":
        return f"{views[content].dtype}{views[content].shape}"
    if kind in ("u", "d"):
        return f"{kind}{_outline(content, views)}"
    return f"{kind} {Foreign.of(content).kind}" if kind == "x" else str(kind)


def _outline_of_error(error: BaseException) -> str:
    """Type and place of what was raised."""
    cause = error if isinstance(error, StudentError) else error.__cause__
    if isinstance(cause, StudentError):
        return f"{cause.cause} {cause.kind} {cause.lines[-1:]}"
    return type(error).__name__
