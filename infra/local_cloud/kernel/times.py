"""Times in the forms that AWS's requests, templates and events use."""

from __future__ import annotations

import re
from datetime import UTC, datetime


def event_time(moment: datetime) -> str:
    """Return the time as events carry it.

    Examples
    --------
    >>> event_time(datetime(2026, 1, 1, 12, tzinfo=UTC))
    '2026-01-01T12:00:00Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(moment: datetime) -> str:
    """Return the time to the millisecond, as Lambda and SNS write it.

    Examples
    --------
    >>> milliseconds(datetime(2026, 1, 1, 12, 0, 0, 7_000, tzinfo=UTC))
    '2026-01-01T12:00:00.007Z'
    """
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def moment(given: object) -> datetime | None:
    """Read a time in any of the forms that requests and templates use: none, a datetime, epoch seconds, ISO 8601.

    Examples
    --------
    >>> moment(0) == moment("1970-01-01T00:00:00Z") == datetime(1970, 1, 1, tzinfo=UTC)
    True
    """
    match given:
        case None | "":
            return None
        case datetime():
            return given if given.tzinfo else given.replace(tzinfo=UTC)
        case int() | float():
            return datetime.fromtimestamp(given, UTC)
    text = str(given)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC)
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
