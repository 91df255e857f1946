"""Poison what people later read: obeyed where it is shown raw, text where it is shown as the engine shows it."""

import re
from collections import Counter

import pytest
from attacks import escape, exhaust, poison, steal

from autograder import safetext

BY_NAME = {entry.attack.name: entry for entry in poison.ATTACKS}


def raised(entry, box, student_of, as_function):
    """The text as it comes out of a box, with the exception that holds it."""
    try:
        student_of(as_function("f", entry.attack.code), box=box).f({})
    except ValueError as error:
        return error.__cause__.text
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize("name", BY_NAME)
def test_it_is_real(name):
    """Shown raw it has what would be obeyed."""
    assert re.search(BY_NAME[name].obeyed, BY_NAME[name].text)


@pytest.mark.parametrize("box", ["bubblewrap", "landlock"])
@pytest.mark.parametrize("name", BY_NAME)
def test_it_is_held(box, name, sandbox_named, student_of, as_function):
    """As a name, and as a message that came out of the box, which is cut there already."""
    entry = BY_NAME[name]
    show = getattr(safetext, entry.place)
    for text in (entry.text, raised(entry, sandbox_named(box), student_of, as_function)):
        assert not re.search(entry.obeyed, str(show(text)))
        assert len(text) <= 2000 or text == entry.text


def test_the_corpus_is_a_hundred_attacks_of_four_groups():
    """Each with a goal that is a sentence, a layer that holds it, and how it is real or why that is not tried."""
    groups = [escape.ATTACKS, steal.ATTACKS, exhaust.ATTACKS, [entry.attack for entry in poison.ATTACKS]]
    attacks = [attack for group in groups for attack in group]
    assert len(attacks) >= 100
    assert min(map(len, groups)) >= 15
    assert max(Counter((attack.name, attack.code) for attack in attacks).values()) == 1
    for attack in attacks:
        assert attack.goal.endswith(".")
        assert attack.layer
        assert attack.real in ("open", "naive", "rules off", "roomy", "raw") or attack.real.startswith(
            ("not tried", "test_")
        )
