"""Where the product defines what a dotted name says: a function, a class, or a name that a module or class assigns."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCES = ("layers/core", "infra")


class PlaceError(Exception):
    """The product defines nothing of that name, or two things."""


@dataclass(frozen=True, slots=True)
class Place:
    """A definition, and the file that it stands in."""

    file: str  # below the tree
    name: str  # inside its module

    def node(self, source: str) -> ast.stmt:
        """The definition in the source of its file."""
        found = [node for name, node in definitions(ast.parse(source)) if name == self.name]
        if len(found) != 1:
            raise PlaceError(f"{self.file} defines {self.name} {len(found)} times, not once")
        return found[0]


def place(tree: Path, dotted: str) -> Place:
    """Find ``evergreen.module.Class.method`` in a tree.

    Raises
    ------
    PlaceError
        No module defines it; the message says which ones define something of that name.
    """
    parts = dotted.split(".")
    for length in range(len(parts) - 1, 0, -1):
        for file in _files("/".join(parts[:length])):
            if (tree / file).is_file():
                name = ".".join(parts[length:])
                if any(name == known for known, _ in definitions(ast.parse((tree / file).read_text()))):
                    return Place(file, name)
    now = _namesakes(tree, parts)
    raise PlaceError(f"{dotted} is not there; {f'now there is {" and ".join(now)}' if now else 'nothing is called so'}")


def definitions(tree: ast.AST, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ast.stmt]]:
    """Each function, class, and assignment of a module or class, with its qualified name.

    >>> [name for name, _ in definitions(ast.parse("class A:\\n    b = 1\\n    def c(self):\\n        d = 2"))]
    ['A', 'A.b', 'A.c']
    """
    is_function = isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    for node in _own_statements(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield ".".join((*above, node.name)), node
                yield from definitions(node, (*above, node.name))
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if not is_function:
                yield ".".join((*above, name)), node


def _own_statements(tree: ast.AST) -> Iterator[ast.AST]:
    """The statements of a body, those below an ``if`` or a ``try`` too, but not those of the functions in it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            yield from _own_statements(node)


def _files(module: str) -> Iterator[str]:
    for source in SOURCES:
        yield f"{source}/{module}.py"
        yield f"{source}/{module}/__init__.py"


def _namesakes(tree: Path, parts: list[str]) -> list[str]:
    """The definitions whose dotted names end as this one does, for as many parts as any does."""
    every = []
    for source in SOURCES:
        for path in sorted((tree / source).rglob("*.py")):
            module = path.relative_to(tree / source).with_suffix("").parts
            module = module[:-1] if module[-1] == "__init__" else module
            every += [(*module, *name.split(".")) for name, _ in definitions(ast.parse(path.read_text()))]
    for length in range(len(parts) - 1, 0, -1):
        if found := [".".join(name) for name in every if list(name[-length:]) == parts[-length:]]:
            return found
    return []
