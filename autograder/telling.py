"""What a student may read of a test that failed: nothing that depends on the values of its hidden inputs.

Student code chooses what it raises, on which line, and the shape and type of what it returns; so it could spell out a
hidden input there. Therefore the calls that the test made are made again, in a process that has seen none of the
values, with other numbers in every tensor: the rehearsal. Only where all look the same again (types, shapes, the
error and its line), and so would look like this whatever the inputs are, the student is told. Otherwise the student
reads what the test wanted, and the instructor the rest.

What is said about wrong *values* is said in a few rough words (comparing.py), whatever they are.
"""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Any

import torch

from autograder.fixtures import Case
from autograder.inside import messages, packing
from autograder.session import Session
from autograder.student import MOST_NOTED, Student

PATIENCE_S = 1.0  # for one call of the rehearsal; it ends with the first that takes longer
LARGEST = 2**63 - 2  # that randint can be given as its end


class Rehearsal:
    """A process without hidden values beside a submission's own; a context manager. `case` is the case to run."""

    def __init__(self, case: Case, session: Session) -> None:
        self._student, self._watch = case.student, case.watch
        self._session = session.beside(PATIENCE_S)
        self._double = Student(self._session, session.exercises, with_other_numbers)
        self.case = replace(case, watch=self._noting, may_tell=self.may_tell)

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.renew()

    def may_tell(self) -> bool:
        """Do the calls of the test that ran last look the same with other numbers in every tensor?"""
        noted = self._student.noted()
        if len(noted) > MOST_NOTED or self._session.timeouts:
            return False
        return all(self._double.outline(each) == each.seen for each in noted)

    def _noting(self, test: str, answers: Any) -> Any:
        if answers is self._student:
            self._student.note()
        return self._watch(test, answers)


def with_other_numbers(views: list[messages.View], storages: list[torch.UntypedStorage]) -> list[torch.UntypedStorage]:
    """Storages of the same sizes, types and devices with random numbers; whole numbers stay in the range they had."""
    types = {view.storage: packing.DTYPES[view.dtype] for view in reversed(views)}
    generator = torch.Generator().manual_seed(0)
    return [_other(storage, types[number], generator) for number, storage in enumerate(storages)]


def _other(storage: torch.UntypedStorage, dtype: torch.dtype, generator: torch.Generator) -> torch.UntypedStorage:
    spare = storage.nbytes() % dtype.itemsize  # bytes behind the last whole number
    numbers = torch.empty(0, dtype=dtype, device=storage.device).set_(storage)
    if dtype.is_floating_point or dtype.is_complex:
        other = torch.randn(numbers.shape, generator=generator, dtype=torch.float64, device="cpu")
    elif dtype == torch.bool:
        other = torch.randint(2, numbers.shape, generator=generator, device="cpu")
    else:
        low, high = (int(numbers.min()), int(numbers.max())) if numbers.numel() else (0, 0)
        other = torch.randint(low, min(high, LARGEST) + 1, numbers.shape, generator=generator, device="cpu")
    whole = torch.zeros(storage.nbytes(), dtype=torch.uint8, device="cpu")
    whole[: len(whole) - spare] = other.to(dtype).view(torch.uint8)
    return whole.to(storage.device).untyped_storage()
