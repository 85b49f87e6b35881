"""Edits of a syntax tree: each replaces the text of one node, so that comments and format of the rest stay.

A pattern is Python. It is compared as a syntax tree, so quotes, line breaks and comments don't matter. ``...`` in it
stands for any expression, and as a call's only argument for any arguments.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

type Patch = tuple[ast.expr | ast.stmt, str]
type Match = tuple[Patch, ...]


class EditError(Exception):
    """What an edit looks for is not there exactly once, or is no Python."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What is looked for, and how each place that has it is to be written."""

    sought: str
    matches: Callable[[ast.AST], Iterator[Match]]

    def made(self, source: str, definition: ast.AST) -> str:
        """The source with this edit made in a definition of it.

        >>> source = "if a != b:  # why\\n    c()"
        >>> print(never("if a != b").made(source, ast.parse(source)))
        if False:  # why
            c()
        """
        found = list(self.matches(definition))
        if len(found) != 1:
            lines = ", ".join(str(match[0][0].lineno) for match in found)
            raise EditError(f"{self.sought} is there {len(found)} times, not once{lines and f' (lines {lines})'}")
        return spliced(source, found[0])


def never(header: str) -> Edit:
    """The body below the ``if``, ``elif`` or ``while`` never runs."""
    return _test(header, "False")


def always(header: str) -> Edit:
    """The body below the ``if``, ``elif`` or ``while`` always runs."""
    return _test(header, "True")


def dropped(statement: str) -> Edit:
    """The statement is not there."""
    return instead(statement, "pass")


def instead(statement: str, by: str) -> Edit:
    """Another statement stands in its place."""
    wanted = _statement(statement)

    def matches(definition: ast.AST) -> Iterator[Match]:
        for node in ast.walk(definition):
            if isinstance(node, ast.stmt) and same(wanted, node):
                yield ((node, by),)

    return Edit(f"the statement `{statement}`", matches)


def swapped(first: str, second: str) -> Edit:
    """Each of two statements stands where the other one stood."""
    ones, others = _statement(first), _statement(second)

    def matches(definition: ast.AST) -> Iterator[Match]:
        statements = [node for node in ast.walk(definition) if isinstance(node, ast.stmt)]
        for one in statements:
            for other in statements:
                if same(ones, one) and same(others, other):
                    yield (one, ast.unparse(other)), (other, ast.unparse(one))

    return Edit(f"the statement `{first}` with a `{second}`", matches)


def replaced(expression: str, by: str) -> Edit:
    """Another expression stands in its place."""
    wanted, text = _expression(expression), f"({ast.unparse(_expression(by))})"

    def matches(definition: ast.AST) -> Iterator[Match]:
        for node in ast.walk(definition):
            is_read = isinstance(getattr(node, "ctx", None), ast.Load | None)
            if isinstance(node, ast.expr) and is_read and same(wanted, node):
                yield ((node, text),)

    return Edit(f"the expression `{expression}`", matches)


def ignored(operand: str) -> Edit:
    """The operand of an ``and`` or ``or`` decides nothing."""
    wanted = _expression(operand)

    def matches(definition: ast.AST) -> Iterator[Match]:
        for node in ast.walk(definition):
            if isinstance(node, ast.BoolOp):
                neutral = "True" if isinstance(node.op, ast.And) else "False"
                yield from (((value, neutral),) for value in node.values if same(wanted, value))

    return Edit(f"the operand `{operand}` of an `and` or `or`", matches)


def without(name: str) -> Edit:
    """The call lacks the keyword, or the dict the key, of that name."""

    def matches(definition: ast.AST) -> Iterator[Match]:
        for node in ast.walk(definition):
            match node:
                case ast.Call(func=function, args=arguments, keywords=keywords):
                    kept = [keyword for keyword in keywords if keyword.arg != name]
                    if len(kept) < len(keywords):
                        yield ((node, ast.unparse(ast.Call(function, arguments, kept))),)
                case ast.Dict(keys=keys, values=values):
                    entries = [entry for entry in zip(keys, values, strict=True) if not _is_text(entry[0], name)]
                    if len(entries) < len(keys):
                        yield ((node, ast.unparse(ast.Dict([key for key, _ in entries], [it for _, it in entries]))),)

    return Edit(f"a keyword or key `{name}`", matches)


def same(pattern: object, node: object) -> bool:
    """Whether two syntax trees say the same; ``...`` in the pattern is any expression, or any arguments.

    >>> same(ast.parse("f(...) == ..."), ast.parse("f(1, b=2) == 'it'"))
    True
    >>> same(ast.parse("f(a)"), ast.parse("f(b)"))
    False
    """
    match pattern, node:
        case ast.Constant(value=value), ast.expr() if value is Ellipsis:
            return True
        case ast.Call(func=wanted, args=[ast.Constant(value=value)], keywords=[]), ast.Call() if value is Ellipsis:
            return same(wanted, node.func)
        case ast.Constant(), ast.Constant():
            return type(pattern.value) is type(node.value) and pattern.value == node.value
        case ast.expr_context(), ast.expr_context():
            return True
        case ast.AST(), ast.AST():
            return type(pattern) is type(node) and all(
                same(getattr(pattern, field), getattr(node, field)) for field in pattern._fields
            )
        case list(), list():
            return len(pattern) == len(node) and all(map(same, pattern, node))
    return pattern == node


def spliced(source: str, patches: Match) -> str:
    """The source with a text in place of each node.

    >>> source = "x = f(1)  # ä"
    >>> spliced(source, ((ast.parse(source).body[0].value, "2"),))
    'x = 2  # ä'
    """
    text = source.encode()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, by in sorted(patches, key=lambda patch: (patch[0].lineno, patch[0].col_offset), reverse=True):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        text = text[:start] + by.encode() + text[end:]
    return text.decode()


def _test(header: str, by: str) -> Edit:
    condition = _expression(header.partition(" ")[2])
    kind = {"if": ast.If, "elif": ast.If, "while": ast.While}.get(header.partition(" ")[0])
    if kind is None:
        raise EditError(f"`{header}` is no if, elif or while")

    def matches(definition: ast.AST) -> Iterator[Match]:
        for node in ast.walk(definition):
            if isinstance(node, kind) and same(condition, node.test):
                yield ((node.test, by),)

    return Edit(f"`{header}`", matches)


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise EditError(f"`{text}` is no expression: {error.msg}") from error


def _statement(text: str) -> ast.stmt:
    try:
        [statement] = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise EditError(f"`{text}` is not one statement") from error
    return statement


def _is_text(node: ast.expr | None, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text
