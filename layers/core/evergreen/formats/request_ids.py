"""Request ids: UUIDv7, so that a label finds the hour of its capture without an index (RFC 9562, section 5.7)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def uuid7(time: datetime, random_bits: int) -> str:
    """The UUIDv7 of a time (millisecond resolution) and 74 random bits.

    Examples
    --------
    >>> uuid7(datetime(2026, 1, 1, tzinfo=UTC), 1)
    '019b76da-a800-7000-8000-000000000001'
    """
    milliseconds = (time - _EPOCH) // timedelta(milliseconds=1)
    high, low = (random_bits >> 62) & 0xFFF, random_bits & ((1 << 62) - 1)
    value = milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_of(request_id: str) -> datetime | None:
    """When a UUIDv7 was issued, or None for any other id.

    Examples
    --------
    >>> time_of("019b76da-a800-7000-8000-000000000001")
    datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    >>> time_of("order-17")
    """
    try:
        value = uuid.UUID(request_id)
    except ValueError:
        return None
    if value.version != 7:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=value.int >> 80)
    except OverflowError:  # 48 bits reach beyond the year 9999: nobody issued it then
        return None
