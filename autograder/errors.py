"""Errors by blame: whose fault it is decides what happens next.

    AutograderError
    ├── SubmissionError      theirs: this file cannot be graded; the run goes on, exit code 1
    ├── GraderError          ours: machine, course or suite is broken; nobody gets a zero for it, exit code 2
    └── StudentError         theirs: what a call into the box ended with; costs the test that met it
        ├── StudentTimeout   no answer before the deadline
        ├── StudentCrash     the process inside the box died
        ├── StudentMemory    the memory limit was met
        ├── StudentOutput    too much text, too large a reply; StudentMalformed: something that is no reply
        ├── StudentForbidden a ready-made operator was used that the lesson does not allow
        └── StudentMissing   the exercise is not in the notebook

A message says what is wrong, in which file, and what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass


class AutograderError(Exception):
    """Base of all errors that this package raises on purpose."""


class SubmissionError(AutograderError):
    """The submission cannot be read; the message says what it is and what to ask the student for."""


class GraderError(AutograderError):
    """The machine, the course or a suite is broken; no submission loses points for it."""


@dataclass(frozen=True)
class Line:
    """One line of the student's own code that was on the stack when an error was raised."""

    cell: int  # 1-based number of the cell in the notebook
    line: int  # 1-based line inside the cell
    text: str

    def __str__(self) -> str:
        return f"cell {self.cell}, line {self.line}: {self.text}"


class StudentError(AutograderError):
    """What student code raised inside the box, and where; `cause` is the word used in results.json."""

    cause = "error"

    def __init__(self, kind: str, text: str = "", lines: tuple[Line, ...] = ()) -> None:
        super().__init__(kind, text)
        self.kind = kind  # name of a built-in exception type, never one the student invented
        self.text = text  # for the instructor only: it may hold hidden inputs
        self.lines = lines

    def __str__(self) -> str:
        where = f" ({self.lines[-1]})" if self.lines else ""
        return f"{self.kind}{where}"


class StudentTimeout(StudentError):
    """A call did not end before its deadline."""

    cause = "timeout"


class StudentCrash(StudentError):
    """The process that ran the student's code died."""

    cause = "crash"


class StudentMemory(StudentError):
    """The student's code asked for more memory than the limit."""

    cause = "memory"


class StudentOutput(StudentError):
    """The student's code printed too much, or returned too much or something that is not a reply."""

    cause = "output"


class StudentMalformed(StudentOutput):
    """What came back is no reply; the text says in which way, and may repeat what the student's code chose."""


class StudentForbidden(StudentError):
    """The exercise used an operator that the lesson does not allow."""

    cause = "forbidden"


class StudentMissing(StudentError):
    """The exercise was not found in the notebook, or its definition could not be run."""

    cause = "missing"
