"""Who belongs to the class: nbgrader's list of students, or an export from Canvas.

Enters: roster.csv. Leaves: people, and for a collection who of them handed in nothing. Columns that are understood, in
any order, with commas, semicolons or tabs:

    nbgrader              id, first_name, last_name, email, lms_user_id
    Canvas, grades        Student ("Lovelace, Ada"), ID, SIS User ID, SIS Login ID
    Canvas, groups        name, canvas_user_id, login_id, group_name
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from autograder.collection import Collection, Submission
from autograder.errors import GraderError, SubmissionError
from autograder.textfile import decode, read_regular_file

IDS = ("id", "lms_user_id", "sis user id", "sis login id", "canvas_user_id", "user_id", "login_id", "email")
GROUPS = ("group_name", "group")
NOT_PEOPLE = ("points possible", "student, test")


@dataclass(frozen=True)
class Person:
    """One member of the class, and the names and numbers by which a platform may call them."""

    student: str
    called: frozenset[str]
    group: str = ""


def read_roster(path: Path) -> tuple[Person, ...]:
    """The people in a roster; raises GraderError where the file is none."""
    try:
        text = decode(read_regular_file(path))[0]
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = [_lower(row) for row in csv.DictReader(text.splitlines(), delimiter=delimiter)]
    except (SubmissionError, ValueError, csv.Error) as error:
        raise GraderError(f"{path} cannot be read as a roster ({error}). Export it again.") from error
    people = tuple(person for row in rows if (person := _person(row)))
    if not people:
        raise GraderError(
            f"{path} names nobody: a roster has nbgrader's columns (id, first_name, last_name, email) or Canvas's "
            "(Student, ID)."
        )
    return people


def with_roster(collection: Collection, people: Iterable[Person]) -> Collection:
    """The collection with an entry for everybody who handed in nothing, and each group's result at its members."""
    people = list(people)
    names = Counter(name for person in people for name in person.called)
    known = {name: person for person in people for name in person.called if names[name] == 1}
    handed: list[Submission] = []
    seen: set[Person] = set()
    for each in collection.submissions:
        person = next((known[key] for key in _keys(each) if key in known), None)
        members = [] if person else [one for one in people if one.group and one.group == plain_name(each.student)]
        seen |= {person} if person else set(members)
        handed += [_of_member(each, member) for member in members] or [_on_the_roster(each, person)]
    missing = [
        Submission(person.student, None, f"{person.student} is on the roster and handed in nothing.")
        for person in people
        if person not in seen
    ]
    return replace(collection, submissions=tuple(sorted([*handed, *missing], key=lambda each: each.student)))


def missing(collection: Collection) -> tuple[str, ...]:
    """Students of whom there is no notebook."""
    return tuple(each.student for each in collection.submissions if each.path is None)


def _of_member(submission: Submission, person: Person) -> Submission:
    message = f"Handed in by the group {submission.student}. {submission.message}".strip()
    return replace(submission, student=person.student, message=message)


def _on_the_roster(submission: Submission, person: Person | None) -> Submission:
    if person is not None:
        return submission
    return replace(submission, message=f"{submission.message} {submission.student} is not on the roster.".strip())


def _keys(submission: Submission) -> Iterator[str]:
    """What a submission's student may be called, the surest first."""
    yield from (plain_name(name) for name in (submission.number, submission.student) if name)
    yield plain_name(submission.student.removesuffix(f"_{submission.number}"))


def _person(row: Mapping[str, str]) -> Person | None:
    first, last = row.get("first_name", ""), row.get("last_name", "")
    whole = row.get("student") or row.get("name") or ""
    if whole.strip().lower().startswith(NOT_PEOPLE):
        return None
    if "," in whole:
        last, _, first = (part.strip() for part in whole.partition(","))
    student = row.get("id", "") if "student" not in row and "name" not in row else _as_canvas(first, last, whole)
    called = {row.get(column, "") for column in IDS} | {f"{first} {last}", f"{last} {first}", whole, student}
    called |= {row.get("email", "").partition("@")[0]}
    plain = frozenset(plain_name(name) for name in called if plain_name(name))
    group = next((row[column] for column in GROUPS if row.get(column)), "")
    return Person(student.strip(), plain, plain_name(group)) if student.strip() else None


def _as_canvas(first: str, last: str, whole: str) -> str:
    """A name as Canvas writes it into its downloads: `Lovelace, Ada` is `lovelaceada`."""
    if not last and " " in whole:
        first, _, last = whole.rpartition(" ")
    return re.sub(r"\W", "", f"{last}{first}" or whole).lower()


def _lower(row: Mapping[str | None, str | list[str] | None]) -> dict[str, str]:
    return {str(key).strip().lower(): value.strip() for key, value in row.items() if isinstance(value, str)}


def plain_name(name: str) -> str:
    """A name without case, accents, spaces and signs."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in letters if letter.isalnum())
