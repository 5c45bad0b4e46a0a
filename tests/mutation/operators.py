"""Deliberate changes to a source file: which places can be changed, into what, and the changed tree.

A place is left out when its kind cannot change a number: docstrings, annotations, decorators, assertions, whatever is
raised, messages and other text, `__slots__` and `__all__`, the default of a `seed`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

Slot = tuple[ast.AST | list[ast.AST], str | int]
"""Where a node hangs: a field of its parent, or a place in a list."""

BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
COMPARISONS: dict[type[ast.cmpop], tuple[tuple[str, type[ast.cmpop]], ...]] = {
    ast.Lt: (("boundary", ast.LtE), ("negated comparison", ast.GtE)),
    ast.LtE: (("boundary", ast.Lt), ("negated comparison", ast.Gt)),
    ast.Gt: (("boundary", ast.GtE), ("negated comparison", ast.LtE)),
    ast.GtE: (("boundary", ast.Gt), ("negated comparison", ast.Lt)),
    ast.Eq: (("negated comparison", ast.NotEq),),
    ast.NotEq: (("negated comparison", ast.Eq),),
    ast.Is: (("negated comparison", ast.IsNot),),
    ast.IsNot: (("negated comparison", ast.Is),),
    ast.In: (("negated comparison", ast.NotIn),),
    ast.NotIn: (("negated comparison", ast.In),),
}
EXTREMES = {"min": "max", "minimum": "maximum", "argmin": "argmax", "amin": "amax", "clamp_min": "clamp_max"}
EXTREMES |= {new: old for old, new in EXTREMES.items()}

SYMMETRIC = {
    "min", "max", "minimum", "maximum", "hypot", "isclose", "allclose", "logaddexp", "equal", "betaln", "mul",
    "transpose", "derive_seed",
}  # fmt: skip
"""Calls whose arguments may be exchanged without effect; of a seed another order is another random stream."""
TEXT_CALLS = {
    "PreflabError", "warn", "warning", "info", "debug", "print", "number", "percent", "whole_percent", "count",
    "plural", "interval_text", "isinstance", "cast", "TypeVar", "bar", "track", "describe", "Metric", "progress",
    "advance", "on_done", "check_same_shape",
}  # fmt: skip
"""Calls that make messages, show progress, or check types and shapes."""
DIMENSION_CALLS = {
    "all", "amax", "amin", "any", "argmax", "argsort", "cummin", "cumsum", "flip", "gather", "log_softmax", "logsumexp",
    "mean", "scatter_add", "size", "softmax", "sort", "squeeze", "std", "sum", "topk", "unsqueeze",
}  # fmt: skip
"""Calls whose -1 is a dimension."""
QUIET_KEYWORDS = {
    "strict",
    "verbose",
    "tokens_per_batch",
    "set_to_none",
    "device",
    "encoding",
    "description",
    "total",
    "frozen",
}
"""Keywords that change no number: checks, places, text, how many rows go through a model at once."""
QUIET_DEFAULTS = ("seed", "tokens_per_batch")
SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "type_params", "type_comment"}


@dataclass
class Place:
    """One possible change of a parsed file."""

    slot: Slot
    new: ast.AST
    operator: str
    function: str
    """Qualified name of the function it belongs to, `Controller.update`; empty at the top of a module or a class."""
    line: int
    before: str
    after: str

    def apply(self) -> None:
        """Change the tree that this place was read from."""
        _hang(self.slot, self.new)


def changed_tree(source: str, index: int) -> ast.Module:
    """The tree of `source` with the change number `index` of `places` made."""
    tree = ast.parse(source)
    list(places(tree))[index].apply()
    return ast.fix_missing_locations(tree)


def places(tree: ast.Module) -> Iterator[Place]:
    """Every possible change of a file, in the order of the source."""
    yield from _walk(tree, (), "")


def _walk(node: ast.AST, ancestors: tuple[ast.AST, ...], function: str) -> Iterator[Place]:
    """The changes of the nodes below `node`."""
    for field, value in ast.iter_fields(node):
        if field in SKIPPED_FIELDS:
            continue
        children = enumerate(value) if isinstance(value, list) else [(field, value)]
        for key, child in children:
            if not isinstance(child, ast.AST) or _cannot_change_a_number(child) or _is_quiet_default(node, field, key):
                continue
            slot: Slot = (value, key) if isinstance(value, list) else (node, field)
            inside = _name_inside(child, function)
            for operator, new in _alternatives(child):
                if operator == "dropped minus" and _is_dimension(child, node, field):
                    continue
                yield _place(slot, child, new, operator, (*ancestors, node), inside)
            yield from _walk(child, (*ancestors, node), inside)


def _place(
    slot: Slot, old: ast.AST, new: ast.AST, operator: str, ancestors: tuple[ast.AST, ...], function: str
) -> Place:
    """The place with its text before and after: of the expression around it where a bare constant says nothing."""
    line = next((n.lineno for n in (old, *reversed(ancestors)) if hasattr(n, "lineno")), 1)
    shown = ancestors[-1] if isinstance(old, ast.Constant | ast.cmpop) else old
    if isinstance(shown, ast.UnaryOp) and isinstance(old, ast.Constant):
        shown = ancestors[-2]
    if isinstance(old, ast.If):
        before, after = f"if {ast.unparse(old.test)}", _branches(old, new)
    elif isinstance(shown, ast.stmt) and hasattr(shown, "body"):
        before, after = ast.unparse(old), ast.unparse(new)
    else:
        before = ast.unparse(shown)
        _hang(slot, new)
        after = ast.unparse(new if shown is old else shown)
        _hang(slot, old)
    return Place(slot, new, operator, function, line, before, after)


def _branches(old: ast.If, new: ast.AST) -> str:
    assert isinstance(new, ast.If)
    return "branches exchanged" if old.orelse else f"if {ast.unparse(new.test)}"


def _hang(slot: Slot, node: ast.AST) -> None:
    holder, key = slot
    if isinstance(holder, list):
        assert isinstance(key, int)
        holder[key] = node
    else:
        setattr(holder, str(key), node)


def _name_inside(node: ast.AST, function: str) -> str:
    """The qualified name inside a definition, spelled as `code.co_qualname` spells it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return f"{function}.<locals>.{node.name}" if function and not function.endswith(".") else function + node.name
    if isinstance(node, ast.ClassDef):
        return (
            f"{function}.<locals>.{node.name}."
            if function and not function.endswith(".")
            else f"{function}{node.name}."
        )
    return function


def _is_dimension(child: ast.AST, node: ast.AST, field: str) -> bool:
    """A -1 for the last dimension, as in `x.sum(-1)` or `x.shape[-1]`.

    For (B, T), which nearly all tensors are, dimension 1 is the same; the change of -1 into 0 tests the dimension.
    """
    if ast.unparse(child) != "-1":
        return False
    match node:
        case ast.Call(func=callee):
            return _last_name(callee) in DIMENSION_CALLS
        case ast.keyword(arg=name):
            return name in ("dim", "axis")
        case ast.Subscript(value=ast.Attribute(attr="shape")):
            return field == "slice"
    return False


def _is_quiet_default(node: ast.AST, field: str, key: str | int) -> bool:
    """The default of `seed` or `tokens_per_batch`: another random stream is not a wrong number, nor is a batch size."""
    if isinstance(node, ast.arguments) and field == "kw_defaults" and isinstance(key, int):
        return node.kwonlyargs[key].arg in QUIET_DEFAULTS
    if isinstance(node, ast.arguments) and field == "defaults" and isinstance(key, int):
        names = [*node.posonlyargs, *node.args]
        return names[len(names) - len(node.defaults) + key].arg in QUIET_DEFAULTS
    return False


def _cannot_change_a_number(node: ast.AST) -> bool:
    match node:
        case ast.FunctionDef(returns=ast.Name(id="PreflabError")):
            return True
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Call(func=callee):
            return _last_name(callee) in TEXT_CALLS
        case ast.keyword(arg=name):
            return name in QUIET_KEYWORDS
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in ("__slots__", "__all__")
        case ast.If(test=test):
            return (
                "on_done" in ast.unparse(test)
                or "gradient_checkpointing" in ast.unparse(test)
                or ast.unparse(test) == "TYPE_CHECKING"
            )
    return False


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _alternatives(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(operator, what the node becomes) for every operator that fits the node."""
    match node:
        case ast.BinOp() | ast.AugAssign() if type(node.op) in BINARY and not _joins_text_or_lists(node):
            yield "arithmetic", _copy(node, op=BINARY[type(node.op)]())
        case ast.Compare():
            for i, operator in enumerate(node.ops):
                for name, other in COMPARISONS[type(operator)]:
                    yield name, _copy(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
        case ast.BoolOp():
            yield "and or", _copy(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.USub()):
            yield "dropped minus", node.operand
        case ast.UnaryOp(op=ast.Not()):
            yield "dropped not", node.operand
        case ast.Constant():
            yield from _constants(node)
        case ast.IfExp():
            yield "exchanged branches", _copy(node, body=node.orelse, orelse=node.body)
        case ast.If():
            yield from _conditions(node)
        case ast.Call():
            yield from _calls(node)


def _constants(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.value, bool):
        yield "true false", ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield "constant", ast.Constant({0: 1, 1: 0}.get(node.value, node.value + 1))


def _conditions(node: ast.If) -> Iterator[tuple[str, ast.AST]]:
    """The branches exchanged; without a second branch the condition turned, unless another operator does that."""
    if node.orelse:
        yield "exchanged branches", _copy(node, body=node.orelse, orelse=node.body)
    elif not isinstance(node.test, ast.Compare) and not (
        isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
    ):
        yield "negated condition", _copy(node, test=ast.UnaryOp(ast.Not(), node.test))


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = _last_name(node.func)
    if name in EXTREMES:
        yield "min max", _copy(node, func=_renamed(node.func, EXTREMES[name]))
    if name not in SYMMETRIC and not any(isinstance(argument, ast.Starred) for argument in node.args):
        for i in range(len(node.args) - 1):
            if ast.dump(node.args[i]) != ast.dump(node.args[i + 1]):
                order = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
                yield "exchanged arguments", _copy(node, args=order)
    for i, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in QUIET_KEYWORDS:
            yield "dropped keyword", _copy(node, keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])


def _renamed(function: ast.expr, name: str) -> ast.expr:
    if isinstance(function, ast.Attribute):
        return _copy(function, attr=name)
    return _copy(function, id=name)


def _joins_text_or_lists(node: ast.BinOp | ast.AugAssign) -> bool:
    sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    kinds = (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple)
    return any(
        isinstance(side, kinds) or (isinstance(side, ast.Constant) and isinstance(side.value, str)) for side in sides
    )


def _copy(node, **fields):  # type: ignore[no-untyped-def]
    """A shallow copy of a node with other fields."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new
