"""Files that a notebook writes for itself and imports again: `%%writefile mine.py`, later `from mine import softmax`.

Enters: code cells. Leaves: code cells in which such a file's text is code like any other, and the import of it binds
the same names.
"""

from __future__ import annotations

import ast
import re

from autograder.notebook import Cell

WRITES = re.compile(r"\A\s*%%(?:writefile|file)[ \t]+(?:-a[ \t]+)?[\"']?(?:\./)?(\w+)\.py[\"']?[ \t]*$", re.M)
DEFINED = re.compile(r"^(?:(?:def|class)[ \t]+)?(\w+)[ \t]*(?:=(?!=)|\(|:)", re.M)


def with_own_files(cells: list[Cell]) -> list[Cell]:
    """The cells unchanged where nothing is written and imported again, which is nearly always."""
    modules: dict[str, list[str]] = {}  # name of the file -> names that it defines
    for cell in cells:
        match = WRITES.match(cell.source)
        if match and any(re.search(rf"^[ \t]*(?:from|import)\b.*\b{match[1]}\b", each.source, re.M) for each in cells):
            modules.setdefault(match[1], []).extend(name for name in DEFINED.findall(cell.source))
    if any("__main__" in cell.source for cell in cells):
        modules["__main__"] = []
    return [_rewritten(cell, modules) for cell in cells] if modules else cells


def _rewritten(cell: Cell, modules: dict[str, list[str]]) -> Cell:
    if match := WRITES.match(cell.source):
        if match[1] not in modules:
            return cell
        return Cell(cell.number, cell.kind, "\n" * match[0].count("\n") + cell.source[match.end() :], cell.grade_id)
    lines = [_import_of_own(line, modules) for line in cell.source.split("\n")]
    return Cell(cell.number, cell.kind, "\n".join(lines), cell.grade_id)


def _import_of_own(line: str, modules: dict[str, list[str]]) -> str:
    """`from mine import f as g` becomes `g = f`, `import mine` an object with the file's names; every other line
    stays.
    """
    if not re.match(r"[ \t]*(?:from|import)[ \t]", line):
        return line
    try:
        (node,) = ast.parse(line.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    if isinstance(node, ast.ImportFrom) and node.module in modules:
        renamed = [f"{alias.asname} = {alias.name}" for alias in node.names if alias.asname not in (None, alias.name)]
        return indent + ("; ".join(renamed) or "pass")
    if isinstance(node, ast.Import) and len(node.names) == 1 and modules.get(node.names[0].name):
        fields = ", ".join(f"{name}={name}" for name in dict.fromkeys(modules[node.names[0].name]))
        bound = node.names[0].asname or node.names[0].name
        return f"{indent}{bound} = __import__('types').SimpleNamespace({fields})"
    return line
