"""Metrics as services hand them on: what names one, what a value is, and how it is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol


class MetricKey(NamedTuple):
    """What identifies a metric. Dimensions are sorted by name."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, namespace: str, name: str, dimensions: Mapping[str, str]) -> MetricKey:
        """Build a key from a mapping of dimensions."""
        return cls(namespace, name, tuple(sorted(dimensions.items())))


class Point(NamedTuple):
    """A value, or a set of values already summed up, at a time (seconds since the epoch)."""

    time: float
    total: float
    weight: float
    low: float
    high: float
    unit: str | None = None


class Record(Protocol):
    """Records values of a metric, at the clock's now unless a time is given."""

    def __call__(
        self, key: MetricKey, values: Iterable[float], unit: str | None = None, at: datetime | None = None
    ) -> None:
        """Record them."""
