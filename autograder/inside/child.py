"""The child: one submission's process. It runs the statements that it is given and answers calls (wire.py)."""

from __future__ import annotations

import builtins
import re
import socket
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

import torch

from autograder.inside import messages, packing, wire
from autograder.inside.confine import Limits
from autograder.inside.forbidden import EXPECT, LEARN, NOBODY, UNDER_TEST
from autograder.inside.gpu import Gpu, is_spent, prepare
from autograder.inside.loading import run_statement
from autograder.inside.lost import Lost
from autograder.inside.modules import Modules
from autograder.inside.tagged import Elsewhere
from autograder.inside.traces import Arrived, contents, enter, give_attributes, has_moved, left, set_modes

SOCKET = 3  # the child's descriptors: 0, 1, 2 the pipe, 3 the socket, nothing else
_CELL = re.compile(r"<cell (\d+)>")
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)


class Child:
    """One submission's process: its namespace, the graphs of its calls, its modules."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.exercises: frozenset[str] = frozenset()
        self.socket = socket.socket(fileno=SOCKET)
        self.inbox = wire.Inbox()
        self.space: dict[str, Any] = vars(types.ModuleType("__main__"))
        self.calls: dict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self.modules = Modules()
        self.counter = 0
        self.elsewhere: Elsewhere | None = None  # while a call runs on tagged tensors
        self.tagged: dict[int, Any] = {}  # storages that say they are on a GPU
        self.streams = (sys.stdout, sys.stderr)
        self.lock = threading.RLock()  # a student's threads may ask for lost exercises at the same time

    def serve(self) -> None:
        """Answers messages until the grader hangs up."""
        while True:
            try:
                message, body = self.receive()
            except EOFError:
                return
            if isinstance(message, messages.Load):
                self.load(message)
            elif isinstance(message, messages.Call):
                self.answer(self.call, message, body)
            elif isinstance(message, messages.Vjp):
                self.answer(self.vjp, message, body)

    def start(self, gpu: Gpu) -> None:
        """Starts CUDA and says when it runs, or why it does not."""
        told = messages.Started()
        try:
            prepare(gpu)
        except Exception as error:
            told.why = f"{type(error).__name__}: {error}"[: messages.MAX_NAME]
        self.socket.sendall(wire.frame(told, []))

    def receive(self) -> tuple[messages.ToInside, bytes]:
        """The next message from outside and its body; EOFError when there will be none."""
        while missing := self.inbox.missing():
            more = self.socket.recv(max(missing, wire.AT_ONCE))
            if not more:
                raise EOFError
            self.inbox.held += more
        header, body = self.inbox.take()
        return wire.read_inside(header), body

    def answer(self, act: Callable[..., bytes], message: object, body: bytes) -> None:
        """Sends what `act` returns, or what it raised."""
        try:
            data = act(message, body)
            if len(data) > self.limits.reply_bytes:
                raise OverflowError(f"the reply is {len(data) >> 20} MB, more than the limit")
        except BaseException as error:
            data = wire.frame(_raised(error), [])
        self.flush()
        self.socket.sendall(data)

    def flush(self) -> None:
        """Pushes printed text into the pipe; a student may have closed or replaced the streams."""
        for stream in self.streams:
            try:
                stream.flush()
            except (OSError, ValueError):
                continue

    def load(self, message: messages.Load) -> None:
        """Runs the statements in the namespace of a fresh `__main__`, telling the outside after each."""
        audit = sys.audit  # a student can put another one in its place, but not into this frame
        audit(EXPECT, tuple(message.exercises), tuple(message.paid))
        module = types.ModuleType("__main__")
        sys.modules["__main__"], self.space = module, vars(module)
        self.space["__builtins__"] = builtins
        self.space.update(display=_nothing, get_ipython=_nothing)  # what a notebook's kernel offers
        self.space.update({name: Lost(name, self) for name in message.lost})
        future = 0
        for cell, line, source in message.statements:
            ran = messages.Ran()
            try:
                future = run_statement(cell, line, source, self.space, future)
            except BaseException as error:
                raised = _raised(error)
                ran = messages.Ran(raised.kind, raised.text, raised.memory)
            self.flush()
            self.socket.sendall(wire.frame(ran, []))
        self.space.update({name: Lost(name, self) for name in message.lost})  # also over an answer that is wrong
        self.exercises = frozenset(message.exercises)
        audit(LEARN, {name: self.space[name] for name in message.exercises if name in self.space})
        found = [name for name in message.exercises if callable(self.space.get(name)) and name not in message.lost]
        self.socket.sendall(wire.frame(messages.Loaded(found), []))

    def call(self, message: messages.Call, body: bytes) -> bytes:
        """Calls what the message names; the answer's bytes."""
        for number in message.dropped:
            self.calls.pop(number, None)
        tensors, storages = packing.build(message.views, wire.pieces_of(body), self.limits.reply_bytes)
        give_attributes(tensors, message.views)
        arguments = [module for module in message.modules if message.target != f"#{module.number}"]
        self.modules.receive(arguments, tensors)
        args, kwargs = self.unpack(message.args, tensors), self.unpack(message.kwargs, tensors)
        target = self.modules.target(message.target, self.space, message.modules, tensors)
        self._put_under_test(message.target)
        if message.elsewhere:
            return self._placed(message, target, (args, kwargs), tensors)
        arrived = Arrived(message.views, storages, body, tensors, (args, kwargs), enter(message.state))
        containers = contents(args, kwargs)
        try:
            result = target(*args, **kwargs)
            state = left(message.state, arrived.random_state)
        finally:
            set_modes(messages.State())
        return self.returned(message, result, arrived, state, contents(args, kwargs) != containers)

    def _placed(
        self, message: messages.Call, target: Callable[..., Any], values: tuple[Any, Any], tensors: list[torch.Tensor]
    ) -> bytes:
        """The answer to a call on tagged tensors: where its results are."""
        modules = [self.modules[module.number] for module in message.modules]
        enter(message.state)
        self.elsewhere = Elsewhere(_line_of, self.tagged)
        try:
            return wire.frame(self.elsewhere.run(target, *values, tensors, modules), [])
        finally:
            self.elsewhere = None
            set_modes(messages.State())

    def unpack(self, tree: object, tensors: list[torch.Tensor]) -> Any:
        """A value of a message from outside."""
        return packing.unpack(tree, tensors, self.modules.__getitem__, _foreign)

    def returned(
        self, message: messages.Call, result: object, arrived: Arrived, state: messages.State, has_other_content: bool
    ) -> bytes:
        """The answer to a call: its result, and the arguments where they are no longer what they were."""
        packer = packing.Packer(self.modules.number_of)
        numbers = {id(tensor): number for number, tensor in enumerate(arrived.tensors)}
        value = packer.value(result)
        results = list(packer.tensors)
        same = [numbers.get(id(tensor), -1) for tensor in results]
        answer = messages.Returned(self.counter, value, packer.views, same, state)
        for number in arrived.written():
            answer.written.append((number, packer.storage(arrived.storages[number])))
        for number, tensor in enumerate(arrived.tensors):
            if has_moved(tensor, arrived.views[number], arrived.storages):
                answer.moved.append((number, packer.tensor(tensor.detach())))
            gradient = tensor.grad if tensor.is_leaf else None
            answer.arguments.append((tensor.requires_grad, -1 if gradient is None else packer.tensor(gradient)))
        if has_other_content:
            answer.containers = packer.value(list(arrived.values))
            answer.origins = [numbers.get(id(tensor), -1) for tensor in packer.tensors]
        arguments = {module.number for module in message.modules if message.target != f"#{module.number}"}
        for number in sorted({*packer.modules, *arguments}):  # a module that was called ran with the outside's tensors
            answer.modules.append(self.modules.state(number, packer))
        if message.keep:
            self.calls[self.counter] = (arrived.tensors, results)
        self.counter += 1
        return packer.frame(answer)

    def _put_under_test(self, target: str) -> None:
        """Notes which exercise answers the calls that follow; a module answers for the class it was made of."""
        if target.startswith("#"):
            kinds = {base.__name__ for base in type(self.modules[int(target[1:])]).__mro__}
            target = next((name for name in sorted(self.exercises) if name in kinds), "")
        sys.audit(UNDER_TEST, target if target in self.exercises else NOBODY)

    def vjp(self, message: messages.Vjp, body: bytes) -> bytes:
        """Gradients at the arguments of an earlier call, for gradients that arrive at its results."""
        tensors, results = self.calls[message.call]
        arriving, _ = packing.build(message.views, wire.pieces_of(body), self.limits.reply_bytes)
        gradients = torch.autograd.grad(
            [results[number] for number in message.results],
            [tensors[number] for number in message.wanted],
            [arriving[number] for number in message.gradients],
            retain_graph=True,
            allow_unused=True,
        )
        packer = packing.Packer()
        numbers = [-1 if gradient is None else packer.tensor(gradient) for gradient in gradients]
        return packer.frame(messages.Gradients(numbers, packer.views))


def _line_of(frame: types.FrameType) -> tuple[int, int] | None:
    """The line of the student's that a frame stands at."""
    cell = _CELL.fullmatch(frame.f_code.co_filename)
    return (int(cell[1]), frame.f_lineno) if cell else None


def _nothing(*args: object, **kwargs: object) -> None:
    """Stands for the kernel's own functions, which have nothing to do here."""


def _foreign(kind: str) -> object:
    raise TypeError(f"a {kind} cannot travel into the box")


def _raised(error: BaseException) -> messages.Raised:
    """An exception as the outside may know it: a built-in type, its text, the student's lines."""
    kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
    try:
        text = str(error)[: messages.MAX_TEXT].encode(errors="replace").decode()
    except BaseException as second:
        text = f"(its text could not be had: {type(second).__name__})"
    lines = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        if cell := _CELL.fullmatch(frame.f_code.co_filename):
            lines.append((int(cell[1]), number))
    if isinstance(error, SyntaxError) and (cell := _CELL.fullmatch(error.filename or "")):
        lines.append((int(cell[1]), error.lineno or 1))
    memory = isinstance(error, MemoryError) or bool(isinstance(error, RuntimeError) and _NO_MEMORY.search(text))
    return messages.Raised(kind, text, lines[-20:], memory, is_spent=is_spent(error))
