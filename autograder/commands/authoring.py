"""Commands for authors of lessons: new, build and prove."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from autograder.commands import BROKEN, OK
from autograder.course import find_course
from autograder.errors import GraderError
from autograder.safetext import markup, terminal


def new(lesson: Annotated[str, typer.Argument(help="Its name: small letters, digits and _.")]) -> int:
    """Make a lesson to start from, which builds, grades and proves; in an empty folder, a course around it."""
    from autograder.new import new_lesson

    console = terminal(stderr=True)
    course, written = new_lesson(Path.cwd(), lesson)
    for path in written:
        console.print(f"wrote {markup(str(path.relative_to(course.root)))}", soft_wrap=True)
    steps = f"autograder build, then autograder prove {lesson} --short; then edit solutions/{lesson}.py and tests/{lesson}/"
    console.print(f"next: {steps}", soft_wrap=True)
    return OK


def build(
    lessons: Annotated[list[str] | None, typer.Argument(help="Lessons to build; all if none is named.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a notebook is stale.")] = False,
) -> int:
    """Make source/ and release/ from solutions/."""
    from autograder.build import build as build_lessons

    console = terminal()
    course = find_course(Path.cwd())
    stale = [path for built in build_lessons(course, lessons or (), check=check) for path in built.changed]
    if check and stale:
        names = ", ".join(str(path.relative_to(course.root)) for path in stale)
        raise GraderError(f"stale: {names}; run `autograder build` and commit what it writes")
    for path in stale:
        console.print(f"wrote {markup(str(path.relative_to(course.root)))}")
    if not stale:
        console.print("all notebooks are up to date")
    course.secret()  # hidden inputs are drawn from it: it is made with the first build
    return OK


def prove(
    lessons: Annotated[list[str] | None, typer.Argument(help="Lessons to prove; all if none is named.")] = None,
    short: Annotated[bool, typer.Option("--short", help="A sample of mutants, one seed, nothing in the box.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Course secrets that right answers are tried with.")] = 3,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    sandbox: Annotated[str, typer.Option(help="auto, bubblewrap, landlock or none.")] = "auto",
) -> int:
    """Prove the hidden suites: right answers pass, wrong ones and mutants do not."""
    from autograder.boxes import choose_box
    from autograder.mutation import SHORT, Effort
    from autograder.prove import prove_course

    course = find_course(Path.cwd())
    effort = SHORT if short else Effort(seeds=seeds)
    box = None if short else choose_box(sandbox)
    holds = prove_course(
        course, lessons or course.lessons(), effort, jobs or os.cpu_count() or 1, box, terminal(stderr=False)
    )
    return OK if holds else BROKEN
