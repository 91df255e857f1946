"""What a mutant may change: one function for each kind of node in the syntax tree.

Enters: a node and its parents. Leaves: changes that can be made to it; each is made, in place, when it is called, and
says what it did.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from autograder.swaps import CASTS, COMPARISONS, ERRORS, IN_PLACE, NEIGHBOURS, OPERATORS

Parents = dict[ast.AST, ast.AST]
Made = Iterator[Callable[[], str]]  # changes; each is made when it is called, and says what it did


def changes(node: ast.AST, parents: Parents) -> Iterator[Callable[[], str]]:
    """What can be done to one node; each is done when it is called."""
    if _in_text(node, parents):
        return
    for kind, make in _BY_KIND:
        if isinstance(node, kind):
            yield from make(node, parents)


def _in_text(node: ast.AST, parents: Parents) -> bool:
    """Whether it is inside an f-string: words that no test reads."""
    while node in parents:
        if isinstance(node, ast.JoinedStr):
            return True
        node = parents[node]
    return False


def _set(node: ast.AST, name: str, value: object, words: str) -> Callable[[], str]:
    def change() -> str:
        setattr(node, name, value)
        return words

    return change


def _replace(parents: Parents, old: ast.AST, new: ast.AST, words: str) -> Callable[[], str]:
    def change() -> str:
        parent = parents[old]
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(each is old for each in value):
                value[:] = [new if each is old else each for each in value]
        return words

    return change


def _binary(node: ast.BinOp, parents: Parents) -> Made:
    for other in OPERATORS.get(type(node.op), ()):
        yield _set(node, "op", other(), f"{type(node.op).__name__} becomes {other.__name__}")
    yield _replace(parents, node, node.left, "right side dropped")
    yield _replace(parents, node, node.right, "left side dropped")
    if not isinstance(node.op, ast.Add | ast.Mult):
        yield _replace(parents, node, ast.BinOp(node.right, node.op, node.left), "sides exchanged")
    if isinstance(node.left, ast.Name | ast.Attribute) and type(node.op) in IN_PLACE:
        method = ast.Attribute(node.left, IN_PLACE[type(node.op)], ast.Load())
        yield _replace(parents, node, ast.Call(method, [node.right], []), f"in place, {method.attr}")


def _unary(node: ast.UnaryOp, parents: Parents) -> Made:
    yield _replace(parents, node, node.operand, f"{type(node.op).__name__} dropped")


def _compare(node: ast.Compare, parents: Parents) -> Made:
    for place, op in enumerate(node.ops):
        for other in COMPARISONS.get(type(op), ()):
            ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
            yield _set(node, "ops", ops, f"{type(op).__name__} becomes {other.__name__}")


def _bool(node: ast.BoolOp, parents: Parents) -> Made:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield _set(node, "op", other, "and/or exchanged")
    for value in node.values:
        yield _replace(parents, node, value, "one condition alone")


def _constant(node: ast.Constant, parents: Parents) -> Made:
    value = node.value
    if isinstance(value, bool):
        yield _set(node, "value", not value, f"{value} becomes {not value}")
    elif isinstance(value, int):
        for other in {value + 1, value - 1, -value} - {value}:
            yield _set(node, "value", other, f"{value} becomes {other}")
    elif isinstance(value, float):
        for near in sorted({value * 1.001, value * 2, value + 1.0, 0.0} - {value}):
            yield _set(node, "value", near, f"{value:g} becomes {near:g}")
    elif isinstance(value, str):
        yield from _key(node, parents)


def _key(node: ast.Constant, parents: Parents) -> Made:
    """A key of a dict taken for the next one in the answer."""
    tree = node
    while tree in parents:
        tree = parents[tree]  # type: ignore[assignment]
    keys = sorted({each.slice.value for each in ast.walk(tree) if _has_key(each)})  # type: ignore[attr-defined]
    if node.value in keys and len(keys) > 1 and isinstance(parents.get(node), ast.Subscript):
        for step in (1, -1):
            other = keys[(keys.index(node.value) + step) % len(keys)]
            yield _set(node, "value", other, f"{node.value!r} becomes {other!r}")


def _has_key(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)


def _call(node: ast.Call, parents: Parents) -> Made:
    for keyword in node.keywords:
        rest = [each for each in node.keywords if each is not keyword]
        yield _set(node, "keywords", rest, f"{keyword.arg}= dropped")
    for place in range(len(node.args) - 1):
        args = list(node.args)
        args[place], args[place + 1] = args[place + 1], args[place]
        yield _set(node, "args", args, "two arguments exchanged")
    if node.args and not isinstance(parents.get(node), ast.Raise):
        yield _set(node, "args", node.args[:-1], "last argument dropped")
    if isinstance(node.func, ast.Attribute):
        yield _replace(parents, node, node.func.value, f".{node.func.attr}() dropped")
        yield _replace(parents, node, _with(node, "detach()"), "detach() added")  # cut off from its gradient
    if len(node.args) == 1 and not isinstance(parents.get(node), ast.Raise):
        yield _replace(parents, node, node.args[0], "call dropped, its argument kept")


def _with(node: ast.expr, call: str) -> ast.expr:
    """An expression with a method called on it, as `call` spells that."""
    wrapped = ast.parse(f"_.{call}", mode="eval").body
    for inner in ast.walk(wrapped):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "_":
            inner.value = node
    return wrapped


def _attribute(node: ast.Attribute, parents: Parents) -> Made:
    for other in NEIGHBOURS.get(node.attr, ()):
        yield _set(node, "attr", other, f".{node.attr} becomes .{other}")


def _name(node: ast.Name, parents: Parents) -> Made:
    """Another variable of the function for this one, when both are read."""
    if node.id in ERRORS:
        yield _set(node, "id", ERRORS[node.id], f"{node.id} becomes {ERRORS[node.id]}")
    if not isinstance(node.ctx, ast.Load):
        return
    known = _arguments(node, parents)
    if node.id in known and len(known) > 1:
        other = known[(known.index(node.id) + 1) % len(known)]
        yield _set(node, "id", other, f"{node.id} becomes {other}")


def _arguments(node: ast.AST, parents: Parents) -> list[str]:
    while node in parents and not isinstance(node, ast.FunctionDef):
        node = parents[node]
    return (
        [argument.arg for argument in node.args.args if argument.arg != "self"] if isinstance(node, ast.FunctionDef) else []
    )


def _subscript(node: ast.Subscript, parents: Parents) -> Made:
    if isinstance(node.slice, ast.Tuple) and len(node.slice.elts) == 2:
        yield _set(node.slice, "elts", node.slice.elts[::-1], "two indices exchanged")
    if isinstance(node.ctx, ast.Load):
        yield _replace(parents, node, node.value, "index dropped")


def _slice(node: ast.Slice, parents: Parents) -> Made:
    for part in ("lower", "upper", "step"):
        if getattr(node, part) is not None:
            yield _set(node, part, None, f"{part} of a slice dropped")


def _tuple(node: ast.Tuple, parents: Parents) -> Made:
    if isinstance(parents.get(node), ast.Subscript) or len(node.elts) < 2 or not isinstance(node.ctx, ast.Load):
        return
    yield _set(node, "elts", [*node.elts[1:], node.elts[0]], "parts of a tuple moved")
    for place in range(len(node.elts)):
        rest = [each for n, each in enumerate(node.elts) if n != place]
        yield _set(node, "elts", rest, "a part of a tuple dropped")


def _function(node: ast.FunctionDef, parents: Parents) -> Made:
    """Statements removed, and arguments of the function written into at its start."""
    for place, statement in enumerate(node.body):
        if len(node.body) > 1:
            rest = [*node.body[:place], *node.body[place + 1 :]]
            yield _set(node, "body", rest, f"statement dropped: {ast.unparse(statement)[:60]}")
    if node.name == "__init__":
        return
    for argument in node.args.args:
        if argument.arg not in ("self", "mask", "dim", "eps", "residual", "n_heads", "device"):
            written = ast.parse(f"{argument.arg}.requires_grad_().grad").body
            yield _set(node, "body", [*written, *node.body], f"a flag set on {argument.arg}")
            added = ast.parse(f"{argument.arg}.data.add_(0.5)").body
            yield _set(node, "body", [*added, *node.body], f"{argument.arg} is written into before its use")


def _block(node: ast.For | ast.While | ast.With | ast.If, parents: Parents) -> Made:
    for place, statement in enumerate(node.body):
        rest = [*node.body[:place], *node.body[place + 1 :]] or [ast.Pass()]
        yield _set(node, "body", rest, f"statement dropped: {ast.unparse(statement)[:60]}")


def _for(node: ast.For, parents: Parents) -> Made:
    backwards = ast.parse(f"list({ast.unparse(node.iter)})[::-1]", mode="eval").body
    yield _set(node, "iter", backwards, "loop runs backwards")
    first = ast.parse(f"list({ast.unparse(node.iter)})[1:]", mode="eval").body
    yield _set(node, "iter", first, "loop leaves out its first")
    last = ast.parse(f"list({ast.unparse(node.iter)})[:-1]", mode="eval").body
    yield _set(node, "iter", last, "loop leaves out its last")


def _if(node: ast.If | ast.IfExp, parents: Parents) -> Made:
    yield _set(node, "test", ast.Constant(value=True), "condition always true")
    yield _set(node, "test", ast.Constant(value=False), "condition never true")


def _assign(node: ast.Assign, parents: Parents) -> Made:
    if isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.expr):
        for call in CASTS[:3]:
            yield _set(node, "value", _with(node.value, call), f"{call} added to {node.targets[0].id}")


def _return(node: ast.Return, parents: Parents) -> Made:
    parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    for part in parts:
        if part is not None:
            for call in (*CASTS, "clone().requires_grad_(False)", "mT.contiguous().mT.add(0)"):
                yield _replace(parents, part, _with(part, call), f"{call} added to what is returned")


def _comprehension(node: ast.comprehension, parents: Parents) -> Made:
    for place in range(len(node.ifs)):
        yield _set(node, "ifs", [each for n, each in enumerate(node.ifs) if n != place], "a condition dropped")
    backwards = ast.parse(f"list({ast.unparse(node.iter)})[::-1]", mode="eval").body
    yield _set(node, "iter", backwards, "comprehension runs backwards")


_BY_KIND: tuple[tuple[type[ast.AST] | tuple[type[ast.AST], ...], Callable[..., Made]], ...] = (
    (ast.BinOp, _binary),
    (ast.UnaryOp, _unary),
    (ast.Compare, _compare),
    (ast.BoolOp, _bool),
    (ast.Constant, _constant),
    (ast.Call, _call),
    (ast.Attribute, _attribute),
    (ast.Name, _name),
    (ast.Subscript, _subscript),
    (ast.Slice, _slice),
    (ast.Tuple, _tuple),
    (ast.FunctionDef, _function),
    ((ast.For, ast.While, ast.With, ast.If), _block),
    (ast.For, _for),
    ((ast.If, ast.IfExp), _if),
    (ast.Assign, _assign),
    (ast.Return, _return),
    (ast.comprehension, _comprehension),
)
