"""`student`: looks like an ordinary module to a test; every call goes into the box.

Tensors, lists, tuples and dicts go both ways; results carry gradients (a vector-Jacobian product is asked from the
child, so `torch.autograd.gradcheck(student.softmax, (x,))` works; no double backward, no vmap). What a call did to
its arguments and to torch's global state is seen after it, as with a plain function. A raise inside is raised
outside as the built-in exception of that type, with a StudentError as its cause.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from autograder.errors import GraderError, StudentError, StudentForbidden
from autograder.handles import Handle, Handles
from autograder.inside import messages, packing
from autograder.inside.traces import present
from autograder.outlines import Foreign, Noted, outline_of, outline_of_error
from autograder.placement import Placement, placement_of, unable
from autograder.remote import MALFORMED, OneCall, Remote, checked
from autograder.session import Session

MOST_NOTED = 200  # calls of one test


class Student:
    """The exercises of one submission as attributes; classes among them make handles of modules."""

    def __init__(
        self,
        session: Session,
        exercises: tuple[str, ...],
        sent: Callable[[list[messages.View], list[torch.UntypedStorage]], list[torch.UntypedStorage]] | None = None,
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
            return again.seen or outline_of_error(error)
        return again.seen

    # --- a call

    def _call(self, callee: str | Handle, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._noted is None or len(self._noted) > MOST_NOTED:
            return self._perform(callee, args, kwargs)
        noted = Noted(callee, args, kwargs)
        self._noted.append(noted)
        try:
            return self._perform(callee, args, kwargs, noted)
        except Exception as error:
            noted.seen = noted.seen or outline_of_error(error)
            raise

    def _elsewhere(self, callee: str | Handle, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Placement:
        """The same call on tagged tensors (inside/tagged.py); whatever it ends with besides a verdict costs nothing."""
        noted = Noted(callee, args, kwargs, is_elsewhere=True)
        if self._noted is not None and len(self._noted) <= MOST_NOTED:
            self._noted.append(noted)
        one = self._prepared(callee, args, kwargs, is_elsewhere=True)
        try:
            reply = self._session.exchange(one.name, one.frame(), is_counted=False)
            answer, _ = checked(reply, self._session)
            if not isinstance(answer, messages.Placed):
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
        results = Remote.apply(one, *one.tensors) if one.message.keep else one.forward()  # type: ignore[no-untyped-call]
        made = (callee if isinstance(callee, str) else "", args, kwargs)

        def handle(number: int) -> Handle:
            return self._handles.get(number, made, one.answer, one.after)

        try:
            value = packing.unpack(one.answer.value, list(results), handle, Foreign.of)
            if self._sent is None:
                self._handles.receive(one.answer, one.after)
                if one.answer.containers is not None:
                    _refill([args, kwargs], packing.unpack(one.answer.containers, one.arguments_now(), handle, Foreign.of))
        except MALFORMED as error:
            raise self._session.malformed(error) from error
        finally:
            one.after = []  # they lead to the graph that leads to `one`: a circle through C++, which nobody would collect
        if self._sent is None:
            _leave(one.message.state, one.answer.state)
        if noted is not None:
            noted.seen = outline_of(one.answer)
        return value

    def _prepared(
        self, callee: str | Handle, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_elsewhere: bool = False
    ) -> OneCall:
        session, name = self._session, callee if isinstance(callee, str) else callee.made_by
        session.prepare(name)
        packer = packing.Packer(self._handles.number_of)
        target = callee if isinstance(callee, str) else f"#{self._handles.number_of(callee)}"
        trees = packer.value(args), packer.value(kwargs)
        numbers = {*packer.modules, *([] if callee is target else [int(target[1:])])}
        modules = [self._handles.packed(number, packer) for number in sorted(numbers)]
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in packer.tensors) and not is_elsewhere
        state, dropped = present(torch.initial_seed()), session.take_dropped()
        message = messages.Call(target, *trees, packer.views, state, modules, dropped, keep, is_elsewhere)
        return OneCall(session, name, message, packer, self._sent)


def _leave(before: messages.State, after: messages.State) -> None:
    if after.dtype != before.dtype:
        torch.set_default_dtype(packing.DTYPES[after.dtype])
    if after.grad != before.grad:
        torch.set_grad_enabled(after.grad)
    if after.device != before.device:
        torch.set_default_device(after.device)
    if after.drawn:
        torch.rand(1)  # so that whoever compares the generator's state before and after sees that it was used


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
