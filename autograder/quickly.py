"""nbgrader made ready without two things that take seconds and that a run of ours has no use for.

Importing jsonschema builds a grammar of international addresses, if the package for it is installed, for a format that no
notebook's schema names. A new gradebook is stamped with nbgrader's newest schema, for which nbgrader starts the `alembic`
program; the same stands in the files that alembic would read. Where it does not, nbgrader goes its own way.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ADDRESSES = "rfc3987_syntax"


@contextmanager
def no_address_grammar() -> Iterator[None]:
    """What is imported meanwhile finds jsonschema's optional package for addresses not installed."""
    was_there = ADDRESSES in sys.modules
    sys.modules.setdefault(ADDRESSES, None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        if not was_there:
            del sys.modules[ADDRESSES]


def stamp_if_new(url: str) -> None:
    """Gives an empty database nbgrader's schema version, before nbgrader looks for it; its tables are made by nbgrader.

    Raises SQLAlchemyError where the database cannot be opened.
    """
    from nbgrader.dbutil import ALEMBIC_DIR
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(url)
    try:
        if inspect(engine).get_table_names() or (head := newest(Path(ALEMBIC_DIR) / "versions")) is None:
            return
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
            connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": head})
    finally:
        engine.dispose()


def newest(versions: Path) -> str | None:
    """The revision on which no other builds, of alembic's files in a folder; None where that is not exactly one."""
    found = [_revision(ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(versions.glob("*.py"))]
    heads = {revision for revision, _ in found} - {before for _, before in found}
    return heads.pop() if len(heads) == 1 and all(isinstance(head, str) for head in heads) else None


def _revision(module: ast.Module) -> tuple[Any, Any]:
    """A file's own revision and the one before it; None for what is not written as a plain value."""
    values = {
        target.id: statement.value.value
        for statement in module.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    return values.get("revision"), values.get("down_revision")
