"""Running a student's top-level statements, one by one, under the names of their cells."""

from __future__ import annotations

import ast
import linecache
from typing import Any

_FUTURE = 0x1FF0000  # all CO_FUTURE_* flags


def run_statement(cell: int, line: int, source: str, space: dict[str, Any], future: int) -> int:
    """Runs one statement under the name of its cell; returns the `from __future__` flags in force after it.

    What it raises is the student's and goes on to the caller, who tells the grader. But an import may fail for what this
    machine lacks: that is nobody's fault, and nobody hears of it before such a name is used (`Absent`).
    """
    padded = "\n" * (line - 1) + source
    name = f"<cell {cell}>"
    linecache.cache.setdefault(name, (0, None, [], name))
    known: Any = linecache.cache[name][2]  # type: ignore[misc]  # typeshed knows the lazy kind of entry only
    lines = padded.splitlines(keepends=True)
    known.extend("\n" for _ in range(len(lines) - len(known)))
    known[line - 1 : len(lines)] = lines[line - 1 :]
    code = compile(padded, name, "exec", flags=future, dont_inherit=True)
    try:
        exec(code, space)  # noqa: S102 - running the student's code is what this process is for
    except Exception:  # the student's, and raised again, unless it is an import that fails here
        match ast.parse(source).body:
            case [ast.Import() | ast.ImportFrom() as statement]:
                _import_one_by_one(statement, space)
            case _:
                raise
    return future | int(code.co_flags & _FUTURE)


def _import_one_by_one(statement: ast.Import | ast.ImportFrom, space: dict[str, Any]) -> None:
    """Each name of an import that failed by itself, and a stand-in for what is not to be had here."""
    for alias in statement.names:
        single = ast.Import([alias]) if isinstance(statement, ast.Import) else ast.ImportFrom(statement.module, [alias], 0)
        try:
            exec(ast.unparse(ast.fix_missing_locations(single)), space)  # noqa: S102 - as above
        except Exception as error:
            name = alias.asname or alias.name.split(".")[0]
            space[name] = Absent(f"{ast.unparse(single)!r} does not work where this is graded: {error}")


class Absent:
    """Stands for a module that is not installed here; fails, by name, when it is used."""

    def __init__(self, reason: str) -> None:
        self.__dict__["_reason"] = reason

    def __getattr__(self, name: str) -> Any:
        raise ModuleNotFoundError(self.__dict__["_reason"])

    def __call__(self, *args: object, **kwargs: object) -> Any:
        raise ModuleNotFoundError(self.__dict__["_reason"])
