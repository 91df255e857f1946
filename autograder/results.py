"""results.json, version 1: what one run of the grader says, as plain data.

Enters: outcomes and points. Leaves: bytes that are the same for the same submission, suite, secret and device
(`seconds` and time-outs aside). Knows nothing of where the outcomes come from.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from autograder.safetext import encodable, json_text

Outcome = Literal["passed", "failed", "not_judged"]
Cause = Literal["wrong", "error", "missing", "timeout", "memory", "crash", "forbidden", "output"]
Status = Literal["graded", "unreadable", "needs_review"]
DEVICES = {"cpu": ("cpu",), "cuda": ("cuda",), "both": ("cpu", "cuda")}  # --device -> where each test is run


class TestResult(msgspec.Struct, frozen=True):
    """One hidden test of one exercise; `name` is the sentence that it claims."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    name: str
    outcome: Outcome
    cause: Cause | None = None
    message: str = ""
    misconception: str | None = None
    device: str = "cpu"


class ExerciseResult(msgspec.Struct, frozen=True):
    """The points of one exercise and the tests they come from."""

    name: str
    score: float
    max_score: float
    tests: tuple[TestResult, ...] = ()


class SubmissionResult(msgspec.Struct, frozen=True):
    """All that is reported of one student's submission."""

    student: str
    path: str
    status: Status
    message: str = ""
    score: float = 0.0
    max_score: float = 0.0
    seconds: float = 0.0
    repairs: tuple[str, ...] = ()
    exercises: tuple[ExerciseResult, ...] = ()


class Results(msgspec.Struct, frozen=True):
    """One run: results.json as a whole."""

    lesson: str
    device: str
    sandbox: str
    submissions: tuple[SubmissionResult, ...]
    schema: int = 1
    faults: tuple[str, ...] = ()  # what broke on our side in this run; for the exit code, not part of results.json


def to_json(results: Results) -> bytes:
    """The run as indented UTF-8 JSON with a newline at its end, `schema` first."""
    fields = {"schema": results.schema, "lesson": results.lesson, "device": results.device, "sandbox": results.sandbox}
    submissions = msgspec.to_builtins(results.submissions)
    for one in submissions:
        one["student"], one["path"] = encodable(one["student"]), encodable(one["path"])
    text = msgspec.json.format(msgspec.json.encode({**fields, "submissions": submissions}), indent=2)
    return json_text(text.decode()).encode() + b"\n"


def from_json(data: bytes) -> Results:
    """Reads what `to_json` wrote; raises msgspec.ValidationError on anything else."""
    return msgspec.json.decode(data, type=Results)
