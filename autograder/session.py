"""A conversation with the children of one submission: forks one when it is needed, loads the code, keeps the limits.

A time-out, a crash or a memory overrun costs the call that met it: the child is replaced at the next call. After two
time-outs of one function the rest of its calls are time-outs without waiting. A statement of the notebook that
hangs or kills the child is left out from then on.
"""

from __future__ import annotations

import builtins
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autograder.channel import Channel
from autograder.errors import (
    GraderError,
    Line,
    StudentError,
    StudentMalformed,
    StudentMemory,
    StudentMissing,
    StudentTimeout,
)
from autograder.inside import messages, wire
from autograder.inside.confine import Limits
from autograder.oracle import Oracle
from autograder.program import Program
from autograder.sandbox import Sandbox

GIVE_UP_AFTER = 2  # time-outs of one function

Reply = tuple[messages.ToOutside, list[bytes]]  # a message and the bytes of its storages


@dataclass
class Session:
    """One submission's conversation; `generation` counts the children it has had."""

    sandbox: Sandbox
    program: Program
    exercises: tuple[str, ...]  # in the lesson's order
    reference: Mapping[str, Callable[..., Any]]
    cells: Mapping[int, str]  # number of a cell -> its text, to show lines of
    generation: int = 0
    patience_s: float = math.inf  # for one answer, besides the limits
    replaced: frozenset[str] = frozenset()  # answers that the reference stands in for, besides those that are lost
    paid: frozenset[str] = frozenset()  # exercises that were found to use what they may not
    printed: list[str] = field(default_factory=list)
    problems: dict[int, StudentError] = field(default_factory=dict)  # statement -> what it ended with
    timeouts: Counter[str] = field(default_factory=Counter)
    _endings: dict[str, type[StudentError]] = field(default_factory=dict)  # what the last of them was called
    _channel: Channel | None = None
    _found: frozenset[str] = frozenset()
    _dropped: list[int] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _oracle: Oracle = field(default_factory=lambda: Oracle({}, Limits()))
    _at: int = -1  # statement that runs now

    @property
    def limits(self) -> Limits:
        """The limits of the sandbox."""
        return self.sandbox.limits

    def beside(self, patience_s: float) -> Session:
        """Another conversation about the same submission, with children of its own, and this one's clock."""
        given = (self.sandbox, self.program, self.exercises, self.reference, self.cells)
        known = {"replaced": self.replaced, "paid": self.paid, "problems": dict(self.problems)}
        return Session(*given, patience_s=patience_s, _started=self._started, **known)  # type: ignore[arg-type]

    # --- life of a child

    def renew(self) -> None:
        """Ends the child, if there is one; the next call gets a fresh fork."""
        if self._channel is not None:
            self._channel.close()
            self.printed.append(self._channel.printed.decode(errors="replace"))
            self._channel = None

    def know_paid(self, exercises: frozenset[str]) -> None:
        """From now on the callers of these may use what they use: they have paid for it, so nobody else does."""
        if exercises != self.paid:
            self.paid = exercises
            self.renew()

    def prepare(self, target: str) -> None:
        """Makes sure that there is a child which knows `target`; raises StudentMissing where the notebook does not."""
        self._check_time()
        if self._channel is None or not self._channel.alive:
            self.renew()
            self._load()
        if target in self.exercises and target not in self._found:
            raise StudentMissing("NameError", self.why_missing(target))

    def why_missing(self, exercise: str) -> str:
        """Why an exercise cannot be called, for the student."""
        answer = self.program.answers[exercise]
        if answer.state == "stub":
            return f"{exercise} is still the untouched stub" + (f": {answer.message}" if answer.message else "")
        if answer.state == "missing":
            return answer.message or f"{exercise} is not in the notebook"
        wanted = set(answer.statements)
        for number, problem in self.problems.items():
            if self.program.statements[number] in wanted:
                return f"{exercise} could not be defined: {problem}"
        return f"{exercise} is not something that can be called"

    def _load(self) -> None:
        """Forks and runs the notebook's statements, again and again without those that hang or kill."""
        answers = self.program.answers.items()
        lost = tuple(name for name, answer in answers if answer.state != "answered" or name in self.replaced)
        while True:
            self._check_time()
            try:
                found = self._start(lost)
            except StudentError as error:
                self._blame(error)
                continue
            missing = tuple(name for name in self.exercises if name not in found)
            if set(missing) <= set(lost):
                self._found = found
                return
            lost = tuple({*missing, *lost})  # an answer that could not be defined is lost to its callers, like a stub
            self.renew()

    def _start(self, lost: tuple[str, ...]) -> frozenset[str]:
        """A fresh child with the statements run in it; the exercises that it knows."""
        self._channel = self.sandbox.child()
        self.generation += 1
        self._dropped.clear()
        self._oracle = Oracle({name: self.reference[name] for name in lost}, self.limits)
        return self._run_statements(self._channel, lost)

    def _blame(self, error: StudentError) -> None:
        """Notes the statement at which the child ended; it is left out from now on."""
        self.renew()
        if self._at < 0:
            raise GraderError(
                f"a child of the box ended before it ran anything ({error}): {self.printed[-1].strip()[-300:]}"
            )
        self.problems[self._at] = error

    def _run_statements(self, channel: Channel, lost: tuple[str, ...]) -> frozenset[str]:
        skipped = {number for number, problem in self.problems.items() if problem.cause != "error"}
        chosen = [number for number in range(len(self.program.statements)) if number not in skipped]
        statements = [self.program.statements[number] for number in chosen]
        sent = [(statement.cell, statement.line, statement.source) for statement in statements]
        self._at = -1
        load = messages.Load(sent, list(self.exercises), list(lost), sorted(self.paid))
        channel.send(wire.frame(load, []), self._deadline())
        for number in chosen:
            self._at = number
            reply, _ = self._receive(channel, self._deadline())
            if not isinstance(reply, messages.Ran):
                raise channel.malformed(TypeError("a statement is answered by Ran"))
            if reply.kind:
                self.problems[number] = _problem(reply, self.program.statements[number].cell)
        reply, _ = self._receive(channel, self._deadline())
        if not isinstance(reply, messages.Loaded):
            raise channel.malformed(TypeError("the statements are followed by Loaded"))
        return frozenset(reply.found) & set(self.exercises)

    def asked(self) -> list[str]:
        """The exercises that the present child's code asked the reference for, in the lesson's order."""
        return [name for name in self.exercises if name in self._oracle.asked]

    # --- calls

    def exchange(self, target: str, frame: bytes, *, is_counted: bool = True) -> Reply:
        """Sends a call and waits for its answer, serving what the child asks meanwhile.

        A time-out that is not counted does not lead to giving up on the function.
        """
        if self.timeouts[target] >= GIVE_UP_AFTER:
            kind = self._endings[target]
            raise kind("TimeoutError", f"{target} has not ended in time {GIVE_UP_AFTER} times; not waited for again")
        channel = self._channel
        if channel is None:
            raise StudentMissing("NameError", "no child")
        try:
            deadline = self._deadline()
            channel.send(frame, deadline)
            return self._receive(channel, deadline, target)
        except (StudentTimeout, StudentMemory) as error:
            self.timeouts[target] += is_counted
            self._endings[target] = type(error)
            raise

    def _before(self, target: str) -> frozenset[str]:
        """The exercises that come before `target`; all of them for a module."""
        known = target in self.exercises
        return frozenset(self.exercises[: self.exercises.index(target)] if known else self.exercises)

    def _receive(self, channel: Channel, deadline: float, target: str | None = None) -> Reply:
        while True:
            message, pieces = channel.receive(deadline)
            if not isinstance(message, messages.Ask):
                return message, pieces
            try:
                may_ask = None if target is None else self._before(target)
                answer = self._oracle.answer(message, pieces, may_ask)
            except messages.ProtocolError as error:
                raise channel.malformed(error) from error
            channel.send(answer, deadline)

    def _deadline(self) -> float:
        """The moment (time.monotonic) until which the next answer must be there."""
        patience_s = min(self.limits.call_s, self.patience_s)
        return min(time.monotonic() + patience_s, self._started + self.limits.submission_s)

    def _check_time(self) -> None:
        """Raises StudentTimeout when the submission has used all its time."""
        if time.monotonic() >= self._started + self.limits.submission_s:
            self.renew()
            raise StudentTimeout("TimeoutError", f"the submission has used its {self.limits.submission_s:g} s")

    def malformed(self, error: Exception) -> StudentError:
        """Ends the child because of a reply that means nothing."""
        if self._channel is None:
            return StudentMalformed("RuntimeError", str(error))
        return self._channel.malformed(error)

    # --- graphs that nobody needs any more

    def drop(self, call: int, generation: int) -> None:
        """Notes that no gradients of a call will be asked for; the next call tells the child."""
        if generation == self.generation:
            self._dropped.append(call)

    def take_dropped(self) -> list[int]:
        """The calls noted since the last one."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def line(self, cell: int, number: int) -> Line | None:
        """A line of the student's own code, as the notebook has it; None for a place that it does not have."""
        source = self.cells.get(cell, "").splitlines()
        return Line(cell, number, source[number - 1].strip()[:200]) if 1 <= number <= len(source) else None


def _problem(reply: messages.Ran, cell: int) -> StudentError:
    """The exception of a statement; `kind` is text from inside, and a student reads it."""
    kind = getattr(builtins, reply.kind, None)
    is_one = isinstance(kind, type) and issubclass(kind, BaseException)
    return StudentError(reply.kind if is_one else "Exception", f"{reply.text} (cell {cell})")
