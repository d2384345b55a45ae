"""A Python source as text and tree, and single changes of it that still compile."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

#: Expressions that need parentheses where another expression stood.
_LOOSE = (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.UnaryOp)


@dataclass(frozen=True)
class Edit:
    """One change of a source: `text` in place of the characters [start, stop).

    Attributes
    ----------
    kind : str
        What is changed, such as "operator" or "constant".
    lines : range
        The lines of the statement that is changed, without those of statements inside it.
    """

    kind: str
    lines: range
    start: int
    stop: int
    text: str


class Source:
    """The text and the tree of a module.

    Attributes
    ----------
    text : str
    tree : ast.Module
    """

    def __init__(self, text: str) -> None:
        self.text, self.tree = text, ast.parse(text)
        self._lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        """The node's characters [start, stop)."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(
            node.end_lineno, node.end_col_offset
        )

    def _at(self, line: int, column: int) -> int:
        """The place of a line and a column, which counts bytes."""
        before = self._lines[line - 1].encode()[:column].decode()
        return self._starts[line - 1] + len(before)

    def code(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """The node's text, in parentheses where it needs some in another place."""
        start, stop = self.span(node)
        text = self.text[start:stop]
        return f"({text})" if isinstance(node, _LOOSE) else text

    def changed(self, *edits: Edit) -> str:
        """The text with the edits, which do not overlap."""
        text = self.text
        for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
            text = text[: edit.start] + edit.text + text[edit.stop :]
        return text

    def shown(self, edit: Edit) -> tuple[str, str]:
        """The lines that the edit changes, before and after, each as one line."""
        first = self.text.rfind("\n", 0, edit.start) + 1
        last = self.text.find("\n", edit.stop)
        last = len(self.text) if last < 0 else last
        before = self.text[first:last]
        after = self.text[first : edit.start] + edit.text + self.text[edit.stop : last]
        return " ".join(before.split()), " ".join(after.split())

    def compiles(self, edit: Edit) -> bool:
        """Whether the edit gives another program that compiles."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            try:
                tree = ast.parse(self.changed(edit))
                compile(tree, "mutant", "exec")
            except (SyntaxError, ValueError):
                return False
        return ast.dump(tree) != ast.dump(self.tree)


def statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every statement, with the qualified name of the function or class that it is in."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, within = waiting.pop()
        if isinstance(node, ast.stmt):
            yield node, within
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            within = f"{within}.{node.name}" if within else node.name
        waiting += [(child, within) for child in ast.iter_child_nodes(node)]


def owners(tree: ast.Module) -> dict[int, str]:
    """Line -> the qualified name of the function or class whose statement begins there."""
    return {own_lines(statement).start: within for statement, within in statements(tree)}


def own_lines(statement: ast.stmt) -> range:
    """The lines of a statement and its decorators, without those of statements inside it."""
    first = min(node.lineno for node in [statement, *getattr(statement, "decorator_list", ())])
    inside = getattr(statement, "body", None) or getattr(statement, "handlers", None)
    if inside:
        return range(first, max(inside[0].lineno, statement.lineno + 1))
    assert statement.end_lineno is not None
    return range(first, statement.end_lineno + 1)


def own_expressions(statement: ast.stmt) -> Iterator[tuple[ast.expr, ast.AST]]:
    """The expressions of a statement that are not in a statement inside it, with their parents.

    Annotations are left out, and so are decorators.
    """
    waiting: list[tuple[ast.AST, ast.AST]] = [(statement, statement)]
    while waiting:
        node, parent = waiting.pop()
        if isinstance(node, ast.expr):
            yield node, parent
        if isinstance(node, ast.JoinedStr):
            continue  # Python 3.11 does not know where its parts are
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            children = value if isinstance(value, list) else [value]
            waiting += [
                (child, node)
                for child in children
                if isinstance(child, ast.AST) and not isinstance(child, ast.stmt)
            ]
