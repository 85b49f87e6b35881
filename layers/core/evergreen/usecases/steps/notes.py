"""The newest of what was found beside the history."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from evergreen.ports import Ports

_INSTANT = timedelta(microseconds=1)
# Each hour leaves a note: an answer about today is not to read a year of them.
_LOOK_BACK = tuple(timedelta(days=days) for days in (1, 8, 64, 401))


def newest_notes(model: str, kind: str, at: datetime, *, ports: Ports, limit: int = 1) -> list[dict[str, Any]]:
    """Up to ``limit`` notes of the kind from before or at a time, newest first."""
    found: list[dict[str, Any]] = []
    for span in _LOOK_BACK:
        found = ports.ledger.notes(model, kind, at - span, at + _INSTANT)
        if len(found) >= limit:
            break
    return found[::-1][:limit]
