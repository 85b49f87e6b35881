"""Who answered when, told from a model's history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which one version answered every request."""

    start: datetime
    end: datetime

    def within(self, start: datetime, end: datetime) -> Span | None:
        """The part between two times; None where there is none."""
        first, last = max(self.start, start), min(self.end, end)
        return Span(first, last) if first < last else None


def answering_spans(history: Iterable[Mapping[str, Any]], version: int) -> Sequence[Span]:
    """When the version, and no other, answered: from when it had taken over until another was decided on.

    A SageMaker endpoint changes over hours, in which both versions answer: such a time is nobody's.

    Examples
    --------
    >>> history = [
    ...     {"type": "VersionPromoted", "time": "2026-03-01T00:00:00Z", "version": 1},
    ...     {"type": "PromotionApproved", "time": "2026-03-05T00:00:00Z", "version": 2},
    ...     {"type": "VersionPromoted", "time": "2026-03-05T01:00:00Z", "version": 2},
    ... ]
    >>> [(span.start.day, span.end.day) for span in answering_spans(history, 1)]
    [(1, 5)]
    >>> answering_spans(history, 2)[0].start.hour
    1
    """
    spans: list[Span] = []
    production: int | None = None
    since: datetime | None = None
    for event in history:
        time = datetime.fromisoformat(event["time"])
        match event["type"]:
            case "PromotionApproved" | "RollbackDecided":
                if production == version and since is not None:
                    spans.append(Span(since, time))
                since = None
            case "VersionPromoted":
                production, since = event["version"], time
            case "VersionRolledBack":
                production, since = event["to_version"], time
            case "RepointFailed" if event["cause"] is None:  # a rollback is tried again, nobody knows when
                since = time
            case _:
                pass
    if production == version and since is not None:
        spans.append(Span(since, _FOREVER))
    return spans
