"""What the catalog knows of a file: of which kind it is, and the sums that decisions need of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Counts = tuple[int, int]
"""Labelled answers, and the right ones among them."""


def whole_hour(time: datetime) -> datetime:
    """The hour that a file of this time is known by.

    Examples
    --------
    >>> whole_hour(datetime(2026, 3, 1, 2, 59, 30)).isoformat()
    '2026-03-01T02:00:00'
    """
    return time.replace(minute=0, second=0, microsecond=0)


class CatalogKind(StrEnum):
    """The kinds of files; profiles are looked for by the version that they are of."""

    COMPACT_PRODUCTION = "compact-production"
    COMPACT_SHADOW = "compact-shadow"
    PROFILE = "profile"
    PROFILE_DAY = "profile-day"
    OUTCOMES = "outcomes"
    ONLINE_ROWS = "online-rows"
    PENDING_LABELS = "pending-labels"
    BASE_DATA = "base-data"

    @classmethod
    def of_captures(cls, variant: str) -> CatalogKind | None:
        """The kind of compacted captures of a variant; None where it is neither of ours.

        Examples
        --------
        >>> CatalogKind.of_captures("shadow")
        <CatalogKind.COMPACT_SHADOW: 'compact-shadow'>
        """
        return {"production": cls.COMPACT_PRODUCTION, "shadow": cls.COMPACT_SHADOW}.get(variant)

    def of_version(self, version: int | None) -> str:
        """The name under which files of a version are found, where there is one for each.

        Examples
        --------
        >>> CatalogKind.PROFILE.of_version(3), CatalogKind.OUTCOMES.of_version(None)
        ('profile-v3', 'outcomes')
        """
        return self.value if version is None else f"{self.value}-v{version}"


@dataclass(frozen=True, slots=True)
class DailySums:
    """Labelled and right answers of one file, by the version that gave them and the day of the request (UTC).

    Examples
    --------
    >>> sums = DailySums.read({"2": {"2026-01-31": [30, 20]}})
    >>> sums.of_version(2), sums.of_version(3)
    ({'2026-01-31': (30, 20)}, {})
    >>> sums.to_json()
    {'2': {'2026-01-31': [30, 20]}}
    """

    by_version: Mapping[int, Mapping[str, Counts]] = field(default_factory=dict)

    @classmethod
    def read(cls, stored: Mapping[str, Mapping[str, Sequence[int]]]) -> DailySums:
        """The sums from their stored form."""
        return cls(
            {
                int(version): {day: (labelled, right) for day, (labelled, right) in days.items()}
                for version, days in stored.items()
            }
        )

    def to_json(self) -> dict[str, dict[str, list[int]]]:
        """The stored form."""
        return {
            str(version): {day: [*counts] for day, counts in days.items()} for version, days in self.by_version.items()
        }

    def of_version(self, version: int) -> Mapping[str, Counts]:
        """A version's answers by day."""
        return self.by_version.get(version, {})

    def days(self) -> Iterator[tuple[str, Counts]]:
        """Each day of each version, whoever answered."""
        for days in self.by_version.values():
            yield from days.items()


@dataclass(frozen=True, slots=True)
class FileSums:
    """What decisions need of a file, so that they need not read it: each kind of file has its own, or nothing.

    Parameters
    ----------
    daily, plain, pending
        Of outcomes: the answers by day, what the versions would have answered as they were trained where a live state
        answered, and how many labels of the same file waited for their capture.
    newest
        Of online-rows: the time of the newest request.
    pointed
        Of compacted captures: whether the catalog points from the ids that do not say their hour to the file's.

    Examples
    --------
    >>> FileSums.read({"daily": {"2": {"2026-01-31": [30, 20]}}, "pending": 4}).pending
    4
    >>> FileSums(daily=DailySums()).to_json(), FileSums().to_json()
    ({'daily': {}, 'pending': 0}, {})
    """

    daily: DailySums | None = None
    plain: DailySums = field(default_factory=DailySums)
    pending: int = 0
    newest: datetime | None = None
    pointed: bool = False

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> FileSums:
        """The sums from their stored form."""
        return cls(
            daily=DailySums.read(stored["daily"]) if "daily" in stored else None,
            plain=DailySums.read(stored.get("plain", {})),
            pending=int(stored.get("pending", 0)),
            newest=datetime.fromisoformat(stored["newest"]) if "newest" in stored else None,
            pointed=bool(stored.get("pointed", False)),
        )

    def to_json(self) -> dict[str, Any]:
        """The stored form: what there is."""
        answers = {} if self.daily is None else {"daily": self.daily.to_json(), "pending": self.pending}
        plain = {"plain": self.plain.to_json()} if self.plain.by_version else {}
        newest = {} if self.newest is None else {"newest": self.newest.isoformat()}
        return answers | plain | newest | ({"pointed": True} if self.pointed else {})


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One stored file of a model and the sums that decisions need of it."""

    model: str
    kind: CatalogKind
    time: datetime  # the hour of the file
    key: str
    rows: int
    etag: str = ""
    sums: FileSums = field(default_factory=FileSums)
    version: int | None = None  # of a profile
