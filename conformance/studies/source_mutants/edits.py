"""The edits that make mutants of a source: each changes one thing in one statement.

The kinds are

operator    + for -, * for /, and for or, a sign or a `not` dropped
comparison  < for <=, == for !=, in for not in, ...
condition   a condition negated, always true, or never
constant    a number one more or one less, a truth value or a text changed
axis        another axis among the arguments of a call, or a transposition dropped
dtype       another dtype
term        an operand dropped
call        a call replaced by its object, or by its first argument
argument    two arguments swapped, one dropped, a bound of a slice dropped
statement   an assignment, a call or a decorator dropped, a loop not entered
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator
from itertools import pairwise

from source_mutants.source import Edit, Source, own_expressions, own_lines, statements

#: Characters [start, stop) -> text, as a change of one kind.
Change = tuple[str, int, int, str]

_OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "%"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
_COMPARISONS: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}
_DTYPES = ("float32", "float64", "float16", "bfloat16", "int16", "int32", "int64")
_AXES = (-1, 0, 1, 2)


def edits(source: Source) -> list[Edit]:
    """Every edit of a source, in the order of its text. Not all of them compile."""
    found: dict[tuple[int, int, str], Edit] = {}
    for statement, _ in statements(source.tree):
        if isinstance(statement, (ast.Import, ast.ImportFrom, ast.Assert)) or _documents(statement):
            continue
        changes = list(_of_statement(source, statement))
        if not isinstance(statement, ast.Raise):  # whose text is a message
            for node, parent in own_expressions(statement):
                changes += _of_expression(source, node, parent)
        for kind, start, stop, text in changes:
            if text != source.text[start:stop]:
                edit = Edit(kind, own_lines(statement), start, stop, text)
                found.setdefault((start, stop, text), edit)
    return sorted(found.values(), key=lambda e: (e.start, e.stop, e.text))


def _documents(statement: ast.stmt) -> bool:
    """Whether the statement is a text alone, as a docstring is."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _of_statement(source: Source, statement: ast.stmt) -> Iterator[Change]:
    """Changes of a statement as a whole, and of its conditions."""
    start, stop = source.span(statement)
    if isinstance(statement, (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Delete)):
        yield "statement", start, stop, "pass"
    if isinstance(statement, ast.AugAssign) and type(statement.op) in _OPERATORS:
        old, new = _OPERATORS[type(statement.op)]
        gap = source.span(statement.target)[1], source.span(statement.value)[0]
        yield "operator", *gap, source.text[slice(*gap)].replace(old, new, 1)
    if isinstance(statement, (ast.If, ast.While)):
        yield from _of_condition(source, statement.test)
    if isinstance(statement, ast.For):
        yield "statement", *source.span(statement.iter), "()"
    if isinstance(statement, ast.With) and statement.items[-1].optional_vars is None:
        yield "statement", start, source.span(statement.items[-1].context_expr)[1], "if True"
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        for decorator in statement.decorator_list:
            first, last = source.span(decorator)
            yield "statement", source.text.rindex("@", 0, first), last, ""


def _of_condition(source: Source, test: ast.expr) -> Iterator[Change]:
    for text in (f"not {source.code(test)}", "True", "False"):
        yield "condition", *source.span(test), text


def _of_expression(source: Source, node: ast.expr, parent: ast.AST) -> Iterator[Change]:
    for kind, rule in _RULES.items():
        if isinstance(node, kind):
            yield from rule(source, node, parent)


def _of_binary(source: Source, node: ast.BinOp, parent: ast.AST) -> Iterator[Change]:
    yield from _of_operands(source, node, [node.left, node.right], node.op)


def _of_logical(source: Source, node: ast.BoolOp, parent: ast.AST) -> Iterator[Change]:
    yield from _of_operands(source, node, node.values, node.op)


def _of_operands(
    source: Source, node: ast.expr, operands: list[ast.expr], op: ast.AST
) -> Iterator[Change]:
    """Another operator between two operands, and the operands but one."""
    for left, right in pairwise(operands):
        gap = source.span(left)[1], source.span(right)[0]
        if type(op) in _OPERATORS:
            old, new = _OPERATORS[type(op)]
            yield "operator", *gap, source.text[slice(*gap)].replace(old, new, 1)
    for dropped in operands:
        kept = [source.code(operand) for operand in operands if operand is not dropped]
        sign = f" {_OPERATORS[type(op)][0]} " if type(op) in _OPERATORS else " "
        yield "term", *source.span(node), f"({sign.join(kept)})"


def _of_sign(source: Source, node: ast.UnaryOp, parent: ast.AST) -> Iterator[Change]:
    if _number(node) is None:
        yield "operator", *source.span(node), source.code(node.operand)


def _of_comparison(source: Source, node: ast.Compare, parent: ast.AST) -> Iterator[Change]:
    operands = [node.left, *node.comparators]
    for op, (left, right) in zip(node.ops, pairwise(operands), strict=True):
        gap = source.span(left)[1], source.span(right)[0]
        old, others = _COMPARISONS[type(op)]
        for new in others:
            yield "comparison", *gap, source.text[slice(*gap)].replace(old, new, 1)


def _of_choice(source: Source, node: ast.IfExp, parent: ast.AST) -> Iterator[Change]:
    yield from _of_condition(source, node.test)


def _of_filter(
    source: Source, node: ast.ListComp | ast.DictComp, parent: ast.AST
) -> Iterator[Change]:
    for generator in node.generators:
        for test in generator.ifs:
            yield from _of_condition(source, test)


def _of_constant(source: Source, node: ast.expr, parent: ast.AST) -> Iterator[Change]:
    if isinstance(parent, ast.UnaryOp) and _number(parent) is not None:
        return  # with its sign
    span, number = source.span(node), _number(node)
    if isinstance(number, float):
        yield "constant", *span, str(2 * number if number else 1.0)
        yield "constant", *span, str(-number)
    elif number is not None:
        for other in (number + 1, number - 1):
            yield "constant", *span, str(other)
        if isinstance(parent, (ast.Call, ast.Tuple, ast.keyword)) and number in _AXES:
            for axis in _AXES:
                if {axis, number} != {-1, 2}:  # most arrays have three axes
                    yield "axis", *span, str(axis)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", *span, str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield "constant", *span, repr(node.value + "?")


def _number(node: ast.expr) -> int | float | None:
    """The number that is written, with its sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    return None


def _of_attribute(source: Source, node: ast.Attribute, parent: ast.AST) -> Iterator[Change]:
    start, stop = source.span(node.value)[1], source.span(node)[1]
    if node.attr in ("mT", "T"):
        yield "axis", start, stop, ""
    if node.attr in _DTYPES:
        for other in _DTYPES:
            if other[0] == node.attr[0] or ("float" in other and "float" in node.attr):
                yield "dtype", start, stop, f".{other}"


def _of_call(source: Source, node: ast.Call, parent: ast.AST) -> Iterator[Change]:
    span, arguments = source.span(node), node.args
    if isinstance(node.func, ast.Attribute):
        yield "call", *span, source.code(node.func.value)
    if isinstance(node.func, ast.Name) and node.func.id.endswith("dtype") and arguments:
        yield "dtype", *span, f"{source.code(arguments[0])}.dtype"
    if isinstance(node.func, ast.Name) and _raises(node.func.id):
        return  # the message of an error
    if arguments and not isinstance(arguments[0], (ast.Constant, ast.Starred, ast.UnaryOp)):
        yield "call", *span, source.code(arguments[0])
    for left, right in pairwise(arguments):
        both = source.span(left)[0], source.span(right)[1]
        between = source.text[source.span(left)[1] : source.span(right)[0]]
        yield "argument", *both, source.code(right) + between + source.code(left)
    every: list[ast.expr | ast.keyword] = [*arguments, *node.keywords]
    for dropped in [*arguments[1:][-1:], *node.keywords]:
        kept = [source.text[slice(*source.span(a))] for a in every if a is not dropped]
        yield "argument", source.span(node.func)[1], span[1], f"({', '.join(kept)})"


def _raises(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def _of_slice(source: Source, node: ast.Slice, parent: ast.AST) -> Iterator[Change]:
    for bound in (node.lower, node.upper, node.step):
        if bound is not None:
            yield "argument", *source.span(bound), ""


_RULES: dict[type | tuple[type, ...], Callable[[Source, ast.expr, ast.AST], Iterator[Change]]] = {
    ast.BinOp: _of_binary,  # type: ignore[dict-item]
    ast.BoolOp: _of_logical,  # type: ignore[dict-item]
    ast.UnaryOp: _of_sign,  # type: ignore[dict-item]
    ast.Compare: _of_comparison,  # type: ignore[dict-item]
    ast.IfExp: _of_choice,  # type: ignore[dict-item]
    (ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp): _of_filter,  # type: ignore[dict-item]
    (ast.Constant, ast.UnaryOp): _of_constant,
    ast.Attribute: _of_attribute,  # type: ignore[dict-item]
    ast.Call: _of_call,  # type: ignore[dict-item]
    ast.Slice: _of_slice,  # type: ignore[dict-item]
}
