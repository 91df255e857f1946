"""Mutants of a model answer against its suite: killed by a test, equivalent, or survivors."""

from __future__ import annotations

from dataclasses import dataclass, field

from autograder.course import Exercise
from autograder.diagnosis import beside
from autograder.errors import GraderError
from autograder.mutants import Mutant, mutants
from autograder.reference import Reference
from autograder.sampling import Draw
from autograder.workbench import Bench, deadline

DEADLINE_S = 3.0  # for all tests of one mutant, and for each random input
FIRST = 5  # tests that killed lately are tried first


@dataclass(frozen=True)
class Effort:
    """How hard to try."""

    seeds: int = 3  # for right answers
    every: int = 1  # each how manieth mutant is tried
    inputs: int = 1000  # random ones, before a mutant counts as equivalent


SHORT = Effort(seeds=1, every=30, inputs=30)


@dataclass
class Mutation:
    """What became of the mutants of one answer."""

    killed: int = 0
    equivalent: list[Mutant] = field(default_factory=list)
    survivors: list[Mutant] = field(default_factory=list)


def mutate(ready: Bench, task: Exercise, effort: Effort) -> Mutation:
    """Runs the suite on each mutant of the model answer, and what it passes on random inputs."""
    found = Mutation()
    last: dict[str, None] = {}  # tests that killed, the latest first: they often kill the next one, too
    for mutant in mutants(task.model, effort.every):
        answers = _bound(ready, task.name, mutant)
        if answers is None or _killed(ready, task.name, answers, last):
            found.killed += 1
        elif differs(ready, task.name, answers, effort.inputs):
            found.survivors.append(mutant)
        else:
            found.equivalent.append(mutant)
    return found


def _bound(ready: Bench, exercise: str, mutant: Mutant) -> Reference | None:
    """The mutant among the model's answers; None where it cannot even be defined."""
    try:
        return beside(ready.reference, exercise, mutant.source)
    except GraderError:
        return None


def _killed(ready: Bench, exercise: str, answers: Reference, last: dict[str, None]) -> bool:
    """Does a test fail, or not end in time?"""
    names = [outcome.test for outcome in ready.tests(exercise)]
    names = [*[name for name in reversed(last) if name in names][:FIRST], *names]
    case = ready.case(exercise, answers)
    try:
        with deadline(DEADLINE_S):
            for name in dict.fromkeys(names):
                if ready.suite.attempt(exercise, name, case)[0] is not None:
                    last.pop(name, None)
                    last[name] = None
                    return True
    except TimeoutError:
        return True
    return False


def differs(ready: Bench, exercise: str, answers: Reference, inputs: int) -> str:
    """How these answers differ from the model's on random inputs, or nothing."""
    sample = ready.samples.get(exercise)
    if sample is None:
        return f"tests/{ready.lesson.name}/samples.py has no {exercise}: nothing can be called equivalent"
    for number in range(inputs):
        try:
            with deadline(DEADLINE_S):
                sample(Draw(number), answers, ready.reference)
        except GraderError:
            continue  # more than the type can hold: says nothing
        except Exception as error:  # whatever a wrong answer ends with
            return f"input {number}: {type(error).__name__}: {error}"
    return ""
