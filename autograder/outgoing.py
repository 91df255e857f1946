"""What the exports share: what is asked for, how a mark is written, what is said beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autograder.course import Lesson
from autograder.safetext import one_line
from autograder.sheets import Pairs, Sheet
from autograder.standings import Standing, max_score

MAX_NAMED = 20


@dataclass(frozen=True)
class Wanted:
    """The marks of a lesson, and how they are wanted."""

    lesson: Lesson
    standings: tuple[Standing, ...]
    missing: tuple[str, ...] = ()  # people on the roster who have no mark
    column: str = ""  # the assignment in the other system, where it is not called as the lesson
    provisional: bool = False  # marks that wait for a person, too

    @property
    def title(self) -> str:
        """What the other system calls the assignment."""
        return self.column or self.lesson.name

    @property
    def possible(self) -> float | int:
        """What the lesson is worth, written answers included."""
        return number(max_score(self.lesson))

    def mark(self, standing: Standing) -> float | int | None:
        """A mark for students' eyes: none where it is not final."""
        return None if standing.waiting and not self.provisional else number(standing.score)


@dataclass(frozen=True)
class Export:
    """What is handed on, and sentences about what is not in it."""

    text: str
    told: tuple[str, ...] = ()


def number(value: float) -> float | int:
    """Two digits after the point, which is all that Canvas and Moodle keep."""
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def as_number(text: str) -> float | None:
    """A number that another system wrote, with a point or a comma in it."""
    try:
        return float(text.replace(",", ".", 1))
    except ValueError:
        return None


def unmatched(sheet: Sheet, pairs: Pairs) -> tuple[str, ...]:
    """Whose mark has no row, and whose row no mark."""
    return lines(f"not in {sheet.name}", pairs.without_row) + lines("without a mark", pairs.without_mark)


def lines(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """One line that names some people, if there are any."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    shown = ", ".join(one_line(name, 60) for name in names[:MAX_NAMED])
    return (f"{what}: {shown}{more}",) if names else ()
