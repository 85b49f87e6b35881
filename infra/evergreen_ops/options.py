"""What the commands share: how options are read, and what an exit code means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

REFUSED, WRONG_USE = 1, 2
REPLAYS = Path("replay")
"""Where replays leave their reports, unless --out says otherwise."""
PLAIN_WIDTH = 120


class UsageError(ValueError):
    """An option that can't be used as it is."""


def duration(text: str, option: str, *, shortest: timedelta = timedelta(microseconds=1)) -> timedelta:
    """Read a span of time, such as 30m, 6h or 1d."""
    from evergreen.spec import parse_duration

    parsed = parse_duration(text)
    if not isinstance(parsed, timedelta) or parsed < shortest:
        raise UsageError(f"{option} is {text!r}: give a number and a unit, such as 30m, 6h or 1d")
    return parsed


def instant(text: str, option: str) -> datetime:
    """Read a time; one without an offset is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}: give a time such as 2026-01-31 or 2026-01-31T12:00Z") from error
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
