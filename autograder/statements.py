"""A code cell becomes its top-level statements; what does not parse is lost alone.

Enters: cells. Leaves: `Piece`s in notebook order, each with its source text and line, and `Broken` chunks with Python's
complaint and a caret. Runs nothing; source of any size and depth is safe to hand in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from autograder.magics import FOREIGN, without_magics
from autograder.mending import mended
from autograder.names import Change, effects, is_deep
from autograder.notebook import Cell
from autograder.textfile import clean

MAX_CHARACTERS = 300_000  # of one code cell
MAX_CHARACTERS_IN_ALL = 1_000_000  # of all code cells; later ones are not read
MAX_STATEMENTS_IN_ALL = 10_000  # of all code cells; a cell that would make it more is not read
MAX_CHARACTERS_KEPT = 30_000  # longer cells are read again for the next student
MAX_TRIES_IN_ALL = 1_000  # of a cell, after which each chunk is tried alone
MAX_TRIES = 12  # how many chunks are tried together when one does not parse alone: strings and brackets at the margin
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
CONTINUES = re.compile(r"(?:else|elif|except|finally)\b|[)\]}]|\s|$")
DEFINES = re.compile(r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)", re.M)
FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*(\w*)[^\n]*$")


@dataclass(frozen=True)
class Part:
    """One top-level statement of a source text."""

    line: int  # 1-based, of its first line
    end_line: int
    source: str
    node: ast.stmt
    binds: frozenset[str]
    changes: frozenset[Change]


Chunk = tuple[int, tuple[Part, ...]]  # lines before it in its cell, and its statements


@dataclass(frozen=True, eq=False)  # each is one of its own: comparing two would compare their cells' texts
class Piece:
    """One top-level statement of a notebook."""

    index: int  # place among all pieces of the notebook
    cell: Cell
    line: int  # 1-based inside the cell
    end_line: int
    source: str
    node: ast.stmt
    binds: frozenset[str]
    changes: frozenset[Change]

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return f"cell {self.cell.number}, line {self.line}"


@dataclass(frozen=True)
class Broken:
    """Lines of a cell that do not parse."""

    cell: Cell
    line: int
    end_line: int
    source: str
    message: str  # place, Python's words, the line and a caret


@dataclass(frozen=True)
class Pieces:
    """What a notebook's cells hold."""

    code: tuple[Piece, ...]
    broken: tuple[Broken, ...]
    left_out: dict[int, frozenset[int]]  # cell number -> lines of magics
    mended: dict[int, tuple[str, ...]] = field(default_factory=dict)  # cell number -> how its text was read


def parse(source: str) -> ast.Module:
    """The tree of a source text; raises one of UNPARSABLE."""
    tree = compile(source, "cell", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)  # noqa: S101 - what "exec" gives
    return tree


def read_pieces(cells: list[Cell]) -> Pieces:
    """Statements of code cells, or of text taken for code; warnings of Python's parser are the caller's to silence."""
    code: list[Piece] = []
    broken: list[Broken] = []
    left_out: dict[int, frozenset[int]] = {}
    how: dict[int, tuple[str, ...]] = {}
    read = 0
    for cell in cells:
        read += len(cell.source) if len(cell.source) <= MAX_CHARACTERS else 0
        each = _read_cell(cell) if read <= MAX_CHARACTERS_IN_ALL else _Read(broken=[_too_long(cell)])
        if len(code) + sum(len(parts) for _, parts in each.chunks) > MAX_STATEMENTS_IN_ALL:
            each = _Read(broken=[_too_long(cell)])
        broken += each.broken
        left_out[cell.number] = each.left_out
        how[cell.number] = each.how
        for offset, parts in each.chunks:
            code += [
                Piece(
                    index,
                    cell,
                    offset + part.line,
                    offset + part.end_line,
                    part.source,
                    part.node,
                    part.binds,
                    part.changes,
                )
                for index, part in enumerate(parts, start=len(code))
            ]
    return Pieces(tuple(code), tuple(broken), left_out, {number: said for number, said in how.items() if said})


def split(source: str) -> tuple[Part, ...]:
    """The statements of a source text; raises one of UNPARSABLE. Most cells of a class are the same: those are kept."""
    return _kept_split(source) if len(source) <= MAX_CHARACTERS_KEPT else _split(source)


def _split(source: str) -> tuple[Part, ...]:
    return tuple(_parts(parse(source), source))


_kept_split = lru_cache(maxsize=512)(_split)


def compile_complaint(piece: Piece) -> str:
    """What Python says of a statement that parses but does not compile, with line and caret; empty where it does."""
    try:
        compile(piece.source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except UNPARSABLE as error:
        return _complaint(error, piece.cell, piece.line - 1)
    return ""


def defined_names(text: str) -> set[str]:
    """Names that a text would define at its margin, whether or not it parses."""
    return {name for match in DEFINES.finditer(text) for name in match.groups() if name}


@dataclass(frozen=True)
class _Read:
    """What one cell holds."""

    chunks: list[Chunk] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    left_out: frozenset[int] = frozenset()
    how: tuple[str, ...] = ()


def _read_cell(cell: Cell) -> _Read:
    if len(cell.source) > MAX_CHARACTERS:
        return _Read(broken=[_too_long(cell)])
    try:
        return _Read([(0, split(cell.source))])
    except UNPARSABLE:
        plain = without_magics(cell.source)
    try:
        return _Read([(0, split(plain.source))], [], plain.left_out)
    except UNPARSABLE:
        text = mended(plain.source)
    try:
        return _Read([(0, split(text.source))], [], plain.left_out, text.how)
    except UNPARSABLE:
        return _Read(*_salvage(text.source, cell), plain.left_out, text.how)


def _too_long(cell: Cell) -> Broken:
    message = (
        f"cell {cell.number} was not read: it has {len(cell.source)} characters; read are {MAX_CHARACTERS} of a cell, "
        f"and {MAX_CHARACTERS_IN_ALL} and {MAX_STATEMENTS_IN_ALL} statements in all"
    )
    return Broken(cell, 1, cell.source.count("\n") + 1, cell.source[:MAX_CHARACTERS], message)


def _salvage(source: str, cell: Cell) -> tuple[list[Chunk], list[Broken]]:
    lines = source.split("\n")
    starts = [*_chunk_starts(lines), len(lines)]
    chunks: list[Chunk] = []
    broken: list[Broken] = []
    at = tries = 0
    while at < len(starts) - 1:
        took = 1
        most = MAX_TRIES if tries < MAX_TRIES_IN_ALL else 1
        for ends in range(at + 1, min(at + 1 + most, len(starts))):
            tries += 1
            text = "\n".join(lines[starts[at] : starts[ends]])
            try:
                chunks.append((starts[at], split(text)))
            except UNPARSABLE as error:
                if ends == at + 1:
                    first = Broken(cell, starts[at] + 1, starts[ends], text, _complaint(error, cell, starts[at]))
            else:
                took = ends - at
                break
        else:
            broken.append(first)
        at += took
    return chunks, broken


def _chunk_starts(lines: list[str]) -> list[int]:
    """Lines at the margin that can begin a statement; a decorator keeps its function."""
    starts, decorated = [0], False
    for number, line in enumerate(lines):
        if CONTINUES.match(line) or line.startswith("#"):
            continue
        if number and not decorated:
            starts.append(number)
        decorated = line.startswith("@")
    return starts


def _complaint(error: BaseException, cell: Cell, offset: int) -> str:
    if not isinstance(error, SyntaxError) or error.lineno is None:
        reason = "nested too deeply" if isinstance(error, RecursionError | MemoryError) else str(error)
        return f"cell {cell.number}, line {offset + 1}: not Python ({reason})"
    place = f"cell {cell.number}, line {offset + error.lineno}: {error.msg}"
    lines = _lines(cell.source)
    text = lines[offset + error.lineno - 1] if 0 <= offset + error.lineno - 1 < len(lines) else ""
    caret = max((error.offset or 1) - 1, 0)
    if not text.strip() or caret > 150:
        return place
    pointer = re.sub(r"[^\t]", " ", text[:caret]) + "^"
    return f"{place}\n    {text[:200]}\n    {pointer}"


@lru_cache(maxsize=2)
def _lines(source: str) -> list[str]:
    """The lines of a cell, for each of the complaints about it."""
    return source.split("\n")


def _parts(tree: ast.Module, source: str) -> Iterator[Part]:
    lines = source.split("\n")
    deep = is_deep(source)
    for node in tree.body:
        if magic := _magic_body(node):
            yield from (
                replace(part, line=part.line + node.lineno - 1, end_line=part.end_line + node.lineno - 1) for part in magic
            )
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        last = node.end_lineno or node.lineno
        yield Part(first, last, _segment(lines, node, first, last), node, *effects(node, deep))


def _segment(lines: list[str], node: ast.stmt, first: int, last: int) -> str:
    """The exact text of a statement, without neighbours on its lines; columns are counted in bytes of UTF-8."""
    start = node.col_offset if first == node.lineno else 0
    end = lines[last - 1].encode()[: node.end_col_offset].decode()
    if first == last:
        return end.encode()[start:].decode()
    return "\n".join([lines[first - 1].encode()[start:].decode(), *lines[first : last - 1], end])


def _magic_body(node: ast.stmt) -> tuple[Part, ...]:
    """Code that an export wrapped into `get_ipython().run_cell_magic("time", "", "...")`."""
    match node:
        case ast.Expr(
            ast.Call(
                ast.Attribute(ast.Call(ast.Name("get_ipython")), "run_cell_magic"),
                [ast.Constant(str(name)), _, ast.Constant(str(body))],
            )
        ) if name not in FOREIGN:
            try:
                return split(clean(body))
            except UNPARSABLE:
                return ()
    return ()
