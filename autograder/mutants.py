"""Small changes of a model answer, one at a time: what a hidden suite has to notice.

Enters: source of an answer. Leaves: `Mutant`s, each the whole source with one change and a phrase for it. Made on the
syntax tree: operators, comparisons, axes and other constants, dropped and exchanged arguments, dropped methods and
statements, functions taken for their neighbours, gradients cut off, other types, writing into arguments (changes.py).
Runs nothing.
"""

from __future__ import annotations

import ast
import copy
import difflib
import itertools
from dataclasses import dataclass

from autograder.changes import Parents, changes


@dataclass(frozen=True)
class Mutant:
    """An answer with one change."""

    source: str
    change: str
    line: int  # of the answer's own source

    def diff(self, original: str) -> str:
        """The lines that differ from the original, both written in the same way."""
        before = ast.unparse(_without_docstrings(ast.parse(original))).splitlines()
        after = self.source.splitlines()
        return "\n".join(list(difflib.unified_diff(before, after, lineterm="", n=0))[2:])


def mutants(source: str, every: int = 1) -> list[Mutant]:
    """Mutants of an answer, or `every` so many-th of them, without those that read like another or like the answer."""
    tree = _without_docstrings(ast.parse(source))
    places = [(number, variant) for number, count in enumerate(_counts(tree)) for variant in range(count)]
    seen, found = {ast.unparse(tree)}, []
    for number, variant in places[::every]:
        changed = copy.deepcopy(tree)
        node = next(itertools.islice(ast.walk(changed), number, None))
        line = _line(node)
        words = next(itertools.islice(changes(node, _parents(changed)), variant, None))()
        text = _text(changed)
        if text and text not in seen:
            seen.add(text)
            found.append(Mutant(text, words, line))
    return found


def _counts(tree: ast.Module) -> list[int]:
    """How many changes there are of each node."""
    parents = _parents(tree)
    return [sum(1 for _ in changes(node, parents)) for node in ast.walk(tree)]


def _parents(tree: ast.Module) -> Parents:
    return {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}


def _line(node: ast.AST) -> int:
    """The line of a node, or of what a comprehension binds."""
    return int(getattr(node, "lineno", 0) or getattr(getattr(node, "target", None), "lineno", 1))


def _text(tree: ast.Module) -> str:
    """The source of a tree; nothing where the change left no Python."""
    try:
        text = ast.unparse(ast.fix_missing_locations(tree))
        compile(text, "<mutant>", "exec")
    except (SyntaxError, ValueError, AttributeError, TypeError):
        return ""
    return text


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
