"""A collected test as the plain function call that it comes down to.

pytest's own way through one test costs more than the mathematics of most: reports, set-up and tear-down of its tree,
fixtures looked up anew. A test whose fixtures are ours, parameters, or plain functions of the suite (no teardown, a life
of one test) can be called with their values instead, with the same result. Any other test is left to pytest.

Enters: a collected item. Leaves: a plan, made once; later what a run of it raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

TO_PYTEST = ("skip", "skipif", "xfail", "usefixtures", "filterwarnings")  # marks with a meaning of their own


@dataclass(frozen=True)
class Plan:
    """What has to be made for a test, in order, and what its function takes."""

    steps: tuple[tuple[str, Callable[..., Any], tuple[str, ...]], ...]  # name, what makes it, what that takes
    parameters: Mapping[str, Any]
    takes: tuple[str, ...]


def plan(item: pytest.Function, ours: frozenset[str]) -> Plan | None:
    """How to call a test without pytest; None where that would not be the same. `ours` are given by name."""
    if any(map(_means_something, item.iter_markers())) or inspect.iscoroutinefunction(item.function):
        return None
    if any(len(item._fixtureinfo.name2fixturedefs.get(name, ())) > 1 for name in ours):
        return None  # the suite has one of its own
    callspec = getattr(item, "callspec", None)
    parameters = dict(callspec.params) if callspec else {}
    steps: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {}
    if not all(_add(item, name, {*ours, *parameters}, steps) for name in item._fixtureinfo.initialnames):
        return None
    return Plan(tuple((name, *step) for name, step in steps.items()), parameters, tuple(item._fixtureinfo.argnames))


def _means_something(mark: pytest.Mark) -> bool:
    return mark.name in TO_PYTEST and not (mark.name == "skipif" and mark.args[:1] == (False,))


def _add(item: pytest.Function, name: str, given: set[str], steps: dict[str, Any]) -> bool:
    """Adds the making of a fixture, after all that it takes; False where pytest has to make one of them."""
    if name in given or name in steps:
        return True
    fixtures = item._fixtureinfo.name2fixturedefs.get(name, ())
    plain = len(fixtures) == 1 and fixtures[0].scope == "function" and not fixtures[0].params
    if not plain or inspect.isgeneratorfunction(fixtures[0].func) or inspect.iscoroutinefunction(fixtures[0].func):
        return False
    if not all(_add(item, each, given, steps) for each in fixtures[0].argnames):
        return False
    steps[name] = fixtures[0].func, tuple(fixtures[0].argnames)
    return True


def call(item: pytest.Function, plan: Plan, ours: Mapping[str, Any]) -> BaseException | None:
    """Runs a test as planned; what it raised, as pytest would have noted it."""
    values = {**ours, **plan.parameters}
    try:
        for name, make, takes in plan.steps:
            values[name] = make(**{each: values[each] for each in takes})
        item.obj(**{each: values[each] for each in plan.takes})
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as error:
        return error
    return None
