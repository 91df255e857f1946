"""`await` at top level, which notebooks allow and modules do not, as an ordinary statement.

Enters: a statement. Leaves: its source, wrapped where it awaits. The coroutine is driven by hand, since an event loop
needs a socket and the box has none; what really waits for one fails there, by name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from autograder.names import shallow

WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith)


def without_await(source: str, node: ast.stmt, binds: Iterable[str]) -> str:
    """The statement's own source where it does not await at top level."""
    if not any(isinstance(inner, WAITS) or _is_async_comprehension(inner) for inner in shallow(node)):
        return source
    names = ", ".join(sorted(binds))
    body = "\n".join("    " + line for line in ast.unparse(node).split("\n"))
    declared = f"    global {names}\n" if names else ""
    return (
        f"async def _awaited():\n{declared}{body}\n"
        "_awaited = _awaited()\n"
        "try:\n    while True:\n        _awaited.send(None)\nexcept StopIteration:\n    pass\n"
    )


def _is_async_comprehension(node: ast.AST) -> bool:
    return any(each.is_async for each in getattr(node, "generators", ()))
