"""What the release gives ready to use, for notebooks that lost it: imports, and functions like lesson 4's `softmax`.

Enters: names that a notebook needs and does not bind. Leaves: the release's own statements that bind them, and what
those need in turn, in an order in which they run.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from autograder.course import Lesson
from autograder.names import used_names


@dataclass(frozen=True)
class Supply:
    """One statement of the release."""

    name: str  # that it binds
    source: str
    needs: frozenset[str]  # other names that it uses
    is_import: bool

    @property
    def called(self) -> str:
        """What a repair calls it."""
        return f"the missing `{self.source}`" if self.is_import else f"the lesson's own `{self.name}`, which is lost,"


def supplies_for(names: Iterable[str], lesson: Lesson) -> dict[str, Supply]:
    """What the release has for these names, imports first, then its functions in its own order."""
    offered = _offer(lesson)
    wanted, queue = set[str](), [name for name in names if name in offered]
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += [each for each in offered[name].needs if each in offered]
    return {name: supply for name, supply in offered.items() if name in wanted}


def given_sources(lesson: Lesson) -> dict[str, str]:
    """The text of each function and class that the release gives."""
    return {name: supply.source for name, supply in _offer(lesson).items() if not supply.is_import}


@lru_cache(maxsize=16)
def own_statements(cells: tuple[str, ...], kinds: tuple[type[ast.stmt], ...] = (ast.stmt,)) -> frozenset[str]:
    """A lesson's own top-level statements, word for word: what a student is given accuses nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = [(source, node) for source in cells for node in ast.parse(source).body]
    return frozenset(
        (ast.get_source_segment(source, node) or "").strip() for source, node in given if isinstance(node, kinds)
    )


def _offer(lesson: Lesson) -> Mapping[str, Supply]:
    return _offered(tuple(lesson.imports.items()), lesson.model_cells, lesson.given)


@lru_cache(maxsize=16)
def _offered(imports: tuple[tuple[str, str], ...], cells: tuple[str, ...], given: frozenset[str]) -> Mapping[str, Supply]:
    offered = {name: Supply(name, source, frozenset(), True) for name, source in imports}
    for cell in cells:
        for node in ast.parse(cell).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in given:
                source = ast.get_source_segment(cell, node) or ast.unparse(node)
                decorators = "".join(f"@{ast.unparse(each)}\n" for each in node.decorator_list)
                offered[node.name] = Supply(node.name, decorators + source, used_names(source).all - {node.name}, False)
    return offered
