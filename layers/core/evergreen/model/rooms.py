"""The rooms of this package that AWS's containers run too, on their Python 3.10, and how a source takes them along.

Standard library only: functions without numpy pack sources. Ruff holds these rooms to that Python (pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path

from evergreen.errors import EvergreenError

__all__ = ["ROOMS", "RoomError", "packed"]

ROOMS = ("errors.py", "formats/rows.py", "model", "serving", "statistics", "training")
"""Folders and single modules, by their place in the package."""

_PACKAGE = Path(__file__).resolve().parent.parent


class RoomError(EvergreenError, ValueError):
    """A room that need not run on Python 3.10, so no source may hold it."""


def packed(*rooms: str) -> dict[str, bytes]:
    """Return the modules of these rooms, and what makes packages of their folders, by their names in a source.

    Raises
    ------
    RoomError
        One of them is none of `ROOMS`.

    Examples
    --------
    >>> sorted(packed("errors.py"))
    ['evergreen/__init__.py', 'evergreen/errors.py']
    """
    strange = sorted(set(rooms) - set(ROOMS))
    if strange:
        raise RoomError(f"{strange[0]} is none of the rooms that run on Python 3.10: {', '.join(ROOMS)}")
    modules = [file for room in rooms for file in _modules(_PACKAGE / room)]
    folders = {folder for module in modules for folder in module.parents if folder.is_relative_to(_PACKAGE)}
    files = {*modules, *(folder / "__init__.py" for folder in folders)}
    return {f"evergreen/{file.relative_to(_PACKAGE).as_posix()}": file.read_bytes() for file in sorted(files)}


def _modules(room: Path) -> list[Path]:
    return [room] if room.is_file() else list(room.rglob("*.py"))
