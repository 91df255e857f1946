"""Files that a notebook writes for itself and imports again: `%%writefile mine.py`, later `from mine import softmax`.

Enters: code cells. Leaves: code cells in which such a file's text is code like any other, and the import of it binds
the same names.
"""

from __future__ import annotations

import ast
import re

from autograder.notebook import Cell

WRITES = re.compile(r"\A\s*%%(?:writefile|file)[ \t]+(?:-a[ \t]+)?[\"']?(?:\./)?(\w+)\.py[\"']?[ \t]*$", re.M)
IMPORTS = re.compile(r"^[ \t]*(?:from|import)\b(.*)", re.M)
WORD = re.compile(r"\w+")
MAX_GROWTH = 300_000  # characters of a notebook: a file's names stand in for each import of it
DEFINED = re.compile(r"^(?:(?:def|class)[ \t]+)?(\w+)[ \t]*(?:=(?!=)|\(|:)", re.M)


def with_own_files(cells: list[Cell]) -> list[Cell]:
    """The cells unchanged where nothing is written and imported again, which is nearly always."""
    modules: dict[str, dict[str, None]] = {}  # name of the file -> names that it defines, in order
    written = [(match[1], cell) for cell in cells if (match := WRITES.match(cell.source))]
    imports = (line for cell in cells for line in IMPORTS.findall(cell.source)) if written else ()
    imported = {word for line in imports for word in WORD.findall(line)}
    for name, cell in written:
        if name in imported:
            modules.setdefault(name, {}).update(dict.fromkeys(DEFINED.findall(cell.source)))
    if any("__main__" in cell.source for cell in cells):
        modules["__main__"] = {}
    if not modules:
        return cells
    found, room = list[Cell](), MAX_GROWTH
    for cell in cells:
        found.append(_rewritten(cell, modules, room))
        room -= len(found[-1].source) - len(cell.source)
    return found


def _rewritten(cell: Cell, modules: dict[str, dict[str, None]], room: int) -> Cell:
    """The cell with its imports of these files rewritten, as long as it grows by no more than `room` characters."""
    if match := WRITES.match(cell.source):
        if match[1] not in modules:
            return cell
        return Cell(cell.number, cell.kind, "\n" * match[0].count("\n") + cell.source[match.end() :], cell.grade_id)
    lines = cell.source.split("\n")
    for number, line in enumerate(lines):
        if room > 0:
            lines[number] = _import_of_own(line, modules)
            room -= len(lines[number]) - len(line)
    return Cell(cell.number, cell.kind, "\n".join(lines), cell.grade_id)


def _import_of_own(line: str, modules: dict[str, dict[str, None]]) -> str:
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
        fields = ", ".join(f"{name}={name}" for name in modules[node.names[0].name])
        bound = node.names[0].asname or node.names[0].name
        return f"{indent}{bound} = __import__('types').SimpleNamespace({fields})"
    return line
