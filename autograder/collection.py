"""Who handed in what: a notebook, a folder, nbgrader's folders, or what a learning platform lets one download.

Enters: a path and a lesson. Leaves: a `Submission` for each student, sorted by name, of a student without a notebook
too, and the name of every file of which nobody could be told to have handed it in. Runs nothing, follows no link.

    archives.py   what lies there, archives unpacked      layouts.py   what a name says: who, when, late
    choosing.py   which of a student's files              roster.py    who belongs to the class

    ROOT/submitted/<student>/<lesson>/<notebook>.ipynb     a course root, its submitted/ or a folder of students like it
    FOLDER/<student>.ipynb, FOLDER/<student>/...           a flat folder, or a folder for each student
    a platform's download                                  packed or not; see layouts.py
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from autograder.archives import Item, Listing, Refused, inside, is_archive, list_files
from autograder.choosing import Attempt, Wanted, choose, holds
from autograder.errors import GraderError
from autograder.layouts import GRADESCOPE, Claim, claim_of, is_notebook_name
from autograder.owners import READ_FOR_CONTENT, Owners, by_place
from autograder.safetext import clean, encodable, file_name, file_names

OF_THE_PLATFORM = frozenset(("timestamp.txt", "index.html", "roster.csv", "readme.md", "grades.csv", GRADESCOPE))
MAX_NAMED = 5  # files in one message
ASK = "Ask the student for the .ipynb file."


@dataclass(frozen=True)
class Submission:
    """One student's notebook; `path` is None where there is none, and `message` says so or names files not taken."""

    student: str
    path: Path | None
    message: str = ""
    number: str = ""  # by which the platform knows the student
    when: datetime | None = None  # when it came in, where the platform says so
    late: bool = False  # what the platform says


@dataclass(frozen=True)
class Collection:
    """All submissions at a path, and the files of which nobody could be told to have handed them in."""

    submissions: tuple[Submission, ...]
    not_understood: tuple[str, ...] = ()
    is_class: bool = True  # not one student's file


@dataclass
class _Hand:
    """What one student handed in, while it is gathered."""

    claim: Claim
    attempts: list[Attempt] = field(default_factory=list)
    others: list[Item] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def put(self, each: Item | Refused, claim: Claim) -> None:
        """Adds a file."""
        if isinstance(each, Refused):
            self.refused.append(each)
        elif is_notebook_name(each.parts[-1]):
            self.attempts.append(Attempt(each, claim))
        else:
            self.others.append(each)


def find_submissions(path: Path, lesson: str, student: str | None = None, scratch: Path | None = None) -> list[Submission]:
    """All submissions at a path, or the one of `student`; see `read_collection`."""
    return list(read_collection(path, Wanted(lesson), student, scratch).submissions)


def read_collection(path: Path, wanted: Wanted, student: str | None = None, scratch: Path | None = None) -> Collection:
    """All submissions at a path, or the one of `student`; archives are unpacked into `scratch`, where one is named.

    Raises GraderError where the path holds none, or cannot be read.
    """
    if not os.path.lexists(path):
        raise GraderError(f"{path} does not exist. Give a notebook, a folder of notebooks or a course folder.")
    if not is_archive(path) and (path.is_symlink() or not path.is_dir()):
        return Collection((Submission(student or student_of_file(path, wanted.lesson), path),), is_class=False)
    found = _read(path, wanted, scratch)
    if student is not None and found.submissions:
        found = replace(found, submissions=tuple(each for each in found.submissions if each.student == student))
        if not found.submissions:
            raise GraderError(
                f"{path} has no submission of {student!r} to {wanted.lesson}. Check the name: the folder's or the file's."
            )
    if not found.submissions:
        left = f" Not understood: {_names(list(found.not_understood))}." if found.not_understood else ""
        raise GraderError(
            f"{path} holds no submission to {wanted.lesson}. Give a notebook, a folder of notebooks, a folder with "
            f"submitted/<student>/{wanted.lesson}/, or a platform's download.{left}"
        )
    return found


def read_own(folder: Path, student: str, wanted: Wanted, scratch: Path) -> Submission:
    """The one submission in a folder that is a student's own, as a platform's container holds it; may be without a file."""
    hand = _Hand(Claim(student))
    for each in list_files(folder, scratch).everything:
        hand.put(each, hand.claim)
    return _submission(student, hand, wanted, f"{student} handed in no notebook.")


def student_of_file(path: Path, lesson: str) -> str:
    """The student's name that a file's place says: a platform's, else its stem without the lesson's name, else its
    folder's name.
    """
    claim = claim_of([path.name])
    return file_name(claim.student if claim else by_place(path.absolute().parts, lesson))


def _read(path: Path, wanted: Wanted, scratch: Path | None) -> Collection:
    submitted = path / "submitted"
    root = submitted if submitted.is_dir() and not submitted.is_symlink() else path
    names = (*root.absolute().parts[:-1], root.stem if is_archive(root) else root.name)
    listing = list_files(root, scratch)
    while names[-1] != "submitted" and (top := _folder_of_all(listing, wanted.lesson)):
        listing, names = inside(listing, top), (*names, top)
    if names[-1] == "submitted" or _is_nbgraders(listing, wanted.lesson):
        return _nbgraders(listing, wanted)
    return _sorted_out(listing, wanted, names)


def _is_nbgraders(listing: Listing, lesson: str) -> bool:
    return any(len(folder) == 2 and folder[1] == lesson for folder in listing.folders)


def _folder_of_all(listing: Listing, lesson: str) -> str:
    """The folder that holds all the rest, or nbgrader's; empty where there is none, or it is a student's."""
    if ("submitted",) in listing.folders:
        return "submitted"
    tops = {place[0] for place in (*listing.folders, *(each.parts for each in listing.everything))}
    top = next(iter(tops)) if len(tops) == 1 else ""
    is_students = _is_nbgraders(listing, lesson) or claim_of([top])
    return top if (top,) in listing.folders and not is_students else ""


def _nbgraders(listing: Listing, wanted: Wanted) -> Collection:
    """nbgrader's layout: every folder is a student, with or without a notebook."""
    hands = {folder[0]: _Hand(Claim(_student_id(folder[0]))) for folder in sorted(listing.folders) if len(folder) == 1}
    loose: list[Item | Refused] = []
    for each in listing.everything:
        hand = hands.get(each.parts[0])
        if hand is None:
            loose.append(each)
        elif len(each.parts) > 2 and each.parts[1] == wanted.lesson:
            hand.put(each, hand.claim)
    submissions = []
    for name, hand in hands.items():
        exists = (name, wanted.lesson) in listing.folders
        where = f"{wanted.lesson}/" if exists else f"{wanted.lesson}/, which does not exist"
        submissions.append(_submission(hand.claim.student, hand, wanted, f"{name} has no notebook in {where}."))
    return Collection(tuple(submissions), _not_understood(loose))


def _sorted_out(listing: Listing, wanted: Wanted, names: tuple[str, ...]) -> Collection:
    """Everything else: each file goes to the student whom its place names."""
    hands: dict[Claim, _Hand] = {}
    nobodys: list[Item | Refused] = []
    owners = Owners(listing, wanted, names)
    for claim in owners.known:
        hands.setdefault(claim.who, _Hand(claim))
    for each in listing.everything:
        if owner := owners.claim(each):
            hands.setdefault(owner.who, _Hand(owner)).put(each, owner)
        else:
            nobodys.append(each)
    found: dict[tuple[str, str], list[Submission]] = {}
    for who, hand in hands.items():
        own = _submission(who.student, hand, wanted, f"{who.student} handed in no notebook.", who.number)
        for member in _of_members(own, hand.claim):
            found.setdefault((member.student, member.number), []).append(member)
    submissions = _told_apart([_last(several) for several in found.values()])
    return Collection(tuple(sorted(submissions, key=lambda each: each.student)), _not_understood(nobodys))


def _submission(name: str, hand: _Hand, wanted: Wanted, nothing: str, number: str = "") -> Submission:
    """What one student handed in, the newest file of the lesson if there are several."""
    attempts = hand.attempts or [Attempt(each, hand.claim) for each in hand.others if _hides(each, wanted)]
    refused = [f"{each}." for each in hand.refused]
    if not attempts:
        handed = [f"Handed in: {_names([each.parts[-1] for each in hand.others])}."] if hand.others else []
        return Submission(name, None, clean(" ".join([nothing, *handed, *refused, ASK])), number)
    taken = choose(attempts, wanted)
    said = []
    if taken.claim.late:
        said.append(f"{taken.claim.platform} marks it as late.")
    if others := [each.name for each in attempts if each is not taken]:
        said.append(f"{taken.name} was graded, of {len(attempts)} files; not {_names(others)}.")
    return Submission(name, taken.item.path, clean(" ".join(said + refused)), number, taken.claim.when, taken.claim.late)


def _hides(item: Item, wanted: Wanted) -> bool:
    """Whether a file is a notebook though it is not called one."""
    return item.path.suffix.lower() in READ_FOR_CONTENT and bool(holds(item.path, wanted))


def _of_members(submission: Submission, claim: Claim) -> list[Submission]:
    """A group's submission for each of its members."""
    if not claim.group:
        return [submission]
    message = f"Handed in by a group: {_names([name for name, _ in claim.group])}. {submission.message}".strip()
    return [replace(submission, student=name, number=number, message=message) for name, number in claim.group]


def _last(submissions: list[Submission]) -> Submission:
    """The newest of what one student handed in alone and with groups."""
    *others, taken = sorted(submissions, key=lambda each: (each.path is not None, each.when.timestamp() if each.when else 0))
    names = [each.path.name for each in others if each.path]
    more = f" Handed in also: {_names(names)}, not graded." if names else ""
    return replace(taken, message=(taken.message + more).strip())


def _told_apart(submissions: list[Submission]) -> list[Submission]:
    """Two people of one name get the platform's number behind it; names become names of folders, as nbgrader needs them."""
    counts = Counter(each.student for each in submissions)
    names = [f"{each.student}_{each.number}" if counts[each.student] > 1 else each.student for each in submissions]
    folders = file_names(names)
    return [replace(each, student=folders[name]) for each, name in zip(submissions, names, strict=True)]


def _student_id(folder: str) -> str:
    """The folder's name, as nbgrader knows the student; another where it is no text, which no database takes."""
    return folder if encodable(folder) == folder else file_name(folder)


def _not_understood(files: list[Item | Refused]) -> tuple[str, ...]:
    left = [each for each in files if each.parts[-1].lower() not in OF_THE_PLATFORM]
    return tuple(clean(str(each) if isinstance(each, Refused) else "/".join(each.parts)) for each in left)


def _names(names: list[str]) -> str:
    more = [f"{len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return ", ".join(names[:MAX_NAMED] + more)
