"""Spans of time as people write them, in specs and in options: 90s, 30m, 6h, 7d, 2w."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: object) -> object:
    """Turn ``"30m"`` or ``"7d"`` into a timedelta; leave anything else to pydantic.

    Examples
    --------
    >>> parse_duration("90s")
    datetime.timedelta(seconds=90)
    """
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", value)):
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    return value


def format_duration(value: timedelta) -> str:
    """Write a timedelta as specs do: the largest unit that divides it.

    Examples
    --------
    >>> format_duration(timedelta(days=7)), format_duration(timedelta(minutes=90))
    ('1w', '90m')
    """
    seconds = round(value.total_seconds())
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
