"""Replacing symbols of moto while a cloud is open, and putting back what was there."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import moto

from local_cloud.kernel.errors import MotoChangedError

Make = Callable[[Any, Any], Any]
"""Takes the service it is for and what was there, and returns what takes its place."""

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Patch:
    """One replacement.

    Parameters
    ----------
    symbol
        ``module:attribute`` or ``module:Class.attribute``.
    make
        Builds the replacement from the service and the original.
    adds
        Whether the symbol is one that moto lacks; the original is then None.
    """

    symbol: str
    make: Make
    adds: bool = False

    def owner(self) -> tuple[Any, str]:
        """Return the object and the attribute's name.

        Raises
        ------
        MotoChangedError
            When it does not exist, or exists although moto is to lack it.
        """
        module_name, _, path = self.symbol.partition(":")
        *parents, attribute = path.split(".")
        try:
            owner: Any = importlib.import_module(module_name)
            for parent in parents:
                owner = getattr(owner, parent)
        except (ImportError, AttributeError) as error:
            raise MotoChangedError(self.symbol, moto.__version__) from error
        if hasattr(owner, attribute) is self.adds:
            raise MotoChangedError(self.symbol, moto.__version__)
        return owner, attribute


class Patches:
    """Replacements that are in place, and how to take them back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def apply(self, patches: Iterable[Patch], service: object) -> None:
        """Put replacements in place until :meth:`undo`.

        Raises
        ------
        MotoChangedError
            When moto has no such symbol.
        """
        for patch in patches:
            owner, attribute = patch.owner()
            as_it_was = vars(owner).get(attribute, _NOTHING)
            found = getattr(owner, attribute, None) if as_it_was is _NOTHING else as_it_was
            if isinstance(found, staticmethod | classmethod):
                setattr(owner, attribute, type(found)(patch.make(service, found.__func__)))
            else:
                setattr(owner, attribute, patch.make(service, found))
            self._undo.append((owner, attribute, as_it_was))

    def undo(self) -> None:
        """Put back everything that was replaced, latest first."""
        while self._undo:
            owner, attribute, as_it_was = self._undo.pop()
            if as_it_was is _NOTHING:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, as_it_was)
