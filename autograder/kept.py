"""What was found of a syntax tree, kept as long as the tree itself: cells that a whole class has alike are read once.

Which trees stay is decided where cells are read (statements.py); nothing here holds one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

Tree = TypeVar("Tree", bound=ast.AST)
Rest = ParamSpec("Rest")
Found = TypeVar("Found")


def kept(function: Callable[Concatenate[Tree, Rest], Found]) -> Callable[Concatenate[Tree, Rest], Found]:
    """The function, asked once for each tree; what else it takes has to belong to the tree, such as its text."""
    found: WeakKeyDictionary[Tree, Found] = WeakKeyDictionary()

    @wraps(function)
    def keeping(tree: Tree, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Found:
        if tree not in found:
            found[tree] = function(tree, *args, **kwargs)
        return found[tree]

    return keeping
