"""What a wrong result means: which known wrong answer gives the same.

Enters: the outcomes of an exercise, and the calls that its tests made. Leaves: the outcomes, with the idea that
explains them or, where no idea does, with what the wrong result looks like. Runs the bank's answers on hidden inputs,
in this process: they are the course's own code. Never runs a student's code but through `Case.student`, and puts no
number into what it says.

An idea is named for a test only if, answering that test with it, every call comes to what the student's code came
to; if that holds on at least `ENOUGH` different inputs on which the student is wrong; if the idea fails the test that
is named for it and passes all that the student passes; and if no other idea does as well. What is tried is bounded by
counts, not by a clock: two gradings of one submission must say the same.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from autograder.course import Lesson
from autograder.errors import GraderError
from autograder.fixtures import Case
from autograder.hints import FAULTS, looks_like
from autograder.misconception import Misconception, answers_in
from autograder.reference import Reference
from autograder.suite import Outcome, Suite
from autograder.watching import Call, Watch, same

ENOUGH = 3  # inputs that an idea must explain
MORE_SEEDS = 2  # how often a test that gave too few inputs is run again with others
FEW = 3  # failed tests, among which one may say what its result looks like by itself
CHECKED = 5  # failed tests that are compared; the rest too, unless the idea is known to fail just those


@dataclass(frozen=True)
class Idea:
    """A known wrong answer among the model's other answers."""

    sentence: str
    caught_by: str  # name of the test that it must fail; "" where any will do
    answers: Reference
    fails: list[frozenset[str]] = field(default_factory=list)  # the tests that it fails, once that was needed

    def failing(self, suite: Suite, exercise: str, reference: Reference) -> frozenset[str]:
        """The tests that the idea fails, by its own seed: the same whoever is graded, and in whatever order."""
        if not self.fails:
            case = Case(self.answers, reference, lambda test: hashlib.sha256(test.encode()).digest())
            tests = (outcome.test for outcome in suite.outcomes(exercise, "passed", None, ""))
            self.fails.append(frozenset(test for test in tests if suite.attempt(exercise, test, case)[0] is not None))
        return self.fails[0]


@dataclass
class Bank:
    """The known wrong answers of a lesson, bound when they are first needed."""

    lesson: Lesson
    reference: Reference
    _wrong: list[Misconception] | None = None
    _bound: dict[str, list[Idea]] = field(default_factory=dict)

    def ideas(self, exercise: str) -> list[Idea]:
        """The wrong answers to one exercise; none where the lesson has no bank."""
        if exercise not in self._bound:
            wrong = [answer for answer in self._answers() if answer.exercise == exercise]
            self._bound[exercise] = [
                Idea(each.idea, each.caught_by, beside(self.reference, each.exercise, each.source)) for each in wrong
            ]
        return self._bound[exercise]

    def inherited(self, earlier: str, sentence: str) -> Idea:
        """The model's answers, all of them with this idea in place of the exercise `earlier`."""
        wrong = next(each for each in self._answers() if (each.exercise, each.idea) == (earlier, sentence))
        others = [each.model for each in self.lesson.exercises if each.name != earlier]
        says = f"The mistake comes from {earlier}, which is called here. {sentence}"
        return Idea(says, "", beside(self.reference, earlier, "\n".join([wrong.source, *others])))

    def _answers(self) -> list[Misconception]:
        if self._wrong is None:
            path = self.lesson.suites / "misconceptions.py"
            self._wrong = answers_in(path) if path.exists() else []
        return self._wrong


def namespace(reference: Reference) -> dict[str, Any]:
    """A copy of the names that the model answers were written with."""
    common = {"torch": torch, "math": math, "nn": torch.nn, "F": torch.nn.functional}
    for answer in vars(reference).values():
        function = answer.forward if isinstance(answer, type) else answer  # type: ignore[attr-defined]
        return {**common, **function.__globals__}
    raise GraderError("a lesson without model answers")


def beside(reference: Reference, exercise: str, source: str) -> Reference:
    """The model answers with those that `source` defines in their place; raises GraderError where it cannot be run."""
    space = namespace(reference)
    try:
        exec(compile(source, f"<an answer to {exercise}>", "exec"), space)  # noqa: S102 - the course's own code
    except Exception as error:
        raise GraderError(f"an answer to {exercise} cannot be run: {error!r}") from error
    return Reference(**{name: space[name] for name in vars(reference)})


@dataclass
class Diagnosis:
    """One submission's wrong results, exercise after exercise; remembers what was found, for those that call it."""

    suite: Suite
    bank: Bank
    found: dict[str, str] = field(default_factory=dict)  # exercise -> idea of the bank

    def explain(self, exercise: str, case: Case, outcomes: Sequence[Outcome], watch: Watch) -> list[Outcome]:
        """The outcomes with ideas and hints; `watch` has the calls of the run that they come from."""
        one = _Exercise(self.suite, exercise, case, {outcome.test: outcome for outcome in outcomes}, watch)
        if not one.failed:
            return list(outcomes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wrong answers divide by zero, and worse
            named = self._named(one)
            phrases = {} if set(named) == set(one.failed) else one.phrases()
        return [_told(outcome, named.get(outcome.test), phrases.get(outcome.test)) for outcome in outcomes]

    def _named(self, one: _Exercise) -> dict[str, str]:
        """Test -> idea: of this exercise, of an earlier one that it calls, or a fault that any exercise can have."""
        if named := one.named(self.bank.ideas(one.name)):
            sentences = list(named.values())
            self.found[one.name] = max(sorted(set(sentences)), key=sentences.count)
            return named
        return one.named([self.bank.inherited(*earlier) for earlier in self.found.items()]) or one.fault()


@dataclass
class _Exercise:
    """The tests of one exercise and what they called."""

    suite: Suite
    name: str
    case: Case
    outcomes: dict[str, Outcome]
    watch: Watch

    @property
    def failed(self) -> list[str]:
        """Names of the tests that failed by what the student's code gave."""
        return [each.test for each in self.outcomes.values() if each.cause in ("wrong", "error")]

    @property
    def passed(self) -> list[str]:
        return [each.test for each in self.outcomes.values() if each.verdict == "passed"]

    def named(self, ideas: list[Idea]) -> dict[str, str]:
        """Test -> the sentence of the one idea that explains it."""
        explained = {idea.sentence: tests for idea in ideas if (tests := self._explained_by(idea))}
        named = {}
        for test in self.failed:
            able = [sentence for sentence, tests in explained.items() if test in tests]
            best = [one for one in able if all(explained[one] > explained[other] for other in able if other != one)]
            if len(best) == 1:
                named[test] = best[0]
        return named

    def fault(self) -> dict[str, str]:
        """The same for a fault that is not the idea of one exercise: all wrong calls of all tests must show it."""
        pairs = {test: wrong_calls(*self._calls(self.watch, test)) for test in self.failed}
        for sentence, shows in FAULTS.items():
            if all(found and all(shows(*pair) for pair in found) for found in pairs.values()):
                inputs = {got.key for found in pairs.values() for got, _ in found}
                for number in range(MORE_SEEDS if len(inputs) < ENOUGH else 0):
                    inputs |= {key for test in self.failed for key in self._again(test, number, shows)}
                if len(inputs) >= ENOUGH:
                    return dict.fromkeys(self.failed, sentence)
        return {}

    def phrases(self) -> dict[str, str]:
        """What the first wrong result of each test looks like, if that is no accident of one test among many."""
        found = {}
        for test in self.failed:
            looks = (looks_like(*pair) for pair in wrong_calls(*self._calls(self.watch, test)))
            if phrase := next(filter(None, looks), ""):
                found[test] = phrase
        often = list(found.values())
        return {test: each for test, each in found.items() if often.count(each) > 1 or len(self.failed) <= FEW}

    def _explained_by(self, idea: Idea) -> frozenset[str]:
        """The failed tests that the idea explains; none if it fails one that the student passes."""
        tests = sorted(self.failed, key=lambda test: _base(test) != idea.caught_by)  # that one first
        if idea.caught_by and _base(tests[0]) != idea.caught_by:
            return frozenset()
        if (idea.fails and self._too_much(idea)) or not self._reproduced(idea, tests[:1])[0] or self._too_much(idea):
            return frozenset()
        explained, inputs, only_errors = self._reproduced(idea, tests[:CHECKED])
        if len(explained) == CHECKED and idea.fails[0] >= set(tests):
            explained = set(tests)
        else:
            more = self._reproduced(idea, tests[CHECKED:])
            explained, inputs, only_errors = explained | more[0], inputs | more[1], only_errors and more[2]
        if only_errors and explained != set(tests):
            return frozenset()  # that something was raised says little
        if 2 * len(explained) < len(idea.fails[0]):
            return frozenset()  # it would have shown in more
        return frozenset(explained) if self._enough(idea, explained, inputs) else frozenset()

    def _too_much(self, idea: Idea) -> bool:
        """Does the idea fail a test that the student passes?"""
        return not idea.failing(self.suite, self.name, self.case.reference).isdisjoint(self.passed)

    def _enough(self, idea: Idea, explained: set[str], inputs: set[int]) -> bool:
        """Enough different inputs: those seen, those of tests that do not mind, those of other seeds."""
        for test in self.passed if len(inputs) < ENOUGH else ():
            ours, right = self._calls(self.watch, test)[0], self._run(test, self.case, self.case.reference)
            wrong = wrong_calls(ours, right)
            if wrong and reproduces(self._run(test, self.case, idea.answers), ours):
                inputs = inputs | {got.key for got, _ in wrong}
        for number in range(MORE_SEEDS if len(inputs) < ENOUGH else 0):
            for test in sorted(explained):
                inputs = inputs | self._again(test, number, idea=idea)
        return len(inputs) >= ENOUGH

    def _reproduced(self, idea: Idea, tests: list[str]) -> tuple[set[str], set[int], bool]:
        """Which of these tests the idea explains, on which inputs, and whether there are errors only among them."""
        explained, inputs, only_errors = set(), set(), True
        for test in tests:
            ours, right = self._calls(self.watch, test)
            wrong = wrong_calls(ours, right)
            if wrong and reproduces(self._run(test, self.case, idea.answers), ours):
                explained.add(test)
                inputs |= {got.key for got, _ in wrong}
                only_errors = only_errors and all(got.raised for got, _ in wrong)
        return explained, inputs, only_errors

    def _again(
        self, test: str, number: int, shows: Callable[[Call, Call], bool] | None = None, idea: Idea | None = None
    ) -> set[int]:
        """Other inputs of the same test on which an idea or a fault explains the student, too."""
        case = replace(self.case, seed=lambda name: self.case.seed(f"{name}, again {number}"))
        ours, right = self._run(test, case, case.student), self._run(test, case, case.reference)
        wrong = wrong_calls(ours, right)
        if idea is not None and not reproduces(self._run(test, case, idea.answers), ours):
            return set()
        return {got.key for got, wanted in wrong if shows is None or shows(got, wanted)}

    def _run(self, test: str, case: Case, answers: Any) -> list[Call]:
        watch = Watch()
        self.suite.attempt(self.name, test, replace(case, student=answers, watch=watch.student))
        return watch.of(test, answers)

    def _calls(self, watch: Watch, test: str) -> tuple[list[Call], list[Call]]:
        return watch.of(test, self.case.student), watch.of(test, self.case.reference)


def wrong_calls(ours: list[Call], right: list[Call]) -> list[tuple[Call, Call]]:
    """The student's calls that came to something else than the model's, beside those, while both were fed the same."""
    return [
        (got, wanted)
        for got, wanted in zip(ours, right, strict=False)
        if not same(got, wanted) and got.key == wanted.key
    ]


def reproduces(theirs: list[Call], ours: list[Call]) -> bool:
    """Did the same calls come to the same all along?"""
    return len(theirs) == len(ours) and all(map(same, theirs, ours))


def _told(outcome: Outcome, idea: str | None, phrase: str | None) -> Outcome:
    """The outcome with its idea, or else with what its result looks like."""
    if idea is not None:
        return replace(outcome, misconception=idea)
    if phrase is None or outcome.cause != "wrong":
        return outcome
    return replace(outcome, message=f"{outcome.message}\n\nlooks like: {phrase}".strip())


def _base(test: str) -> str:
    """A test's name without its parameters."""
    return test.partition("[")[0]
