"""The virtual clock and the agenda: everything asynchronous is an entry with the time at which it is due.

Nothing here knows AWS. Time moves only when somebody runs the agenda; entries due at the same instant run in the
order in which they were added, so a run is the same run whenever it is repeated.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from local_cloud.kernel.errors import EndlessLoopError

Action = Callable[[], object]

ACTIONS_AT_ONE_INSTANT = 200_000
"""More actions than this without time passing is a loop, not work."""


class VirtualClock:
    """A clock that stands still until it is told to move, and never goes back.

    Examples
    --------
    >>> clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> clock.move_to(datetime(2026, 1, 2, tzinfo=UTC))
    >>> clock.now.isoformat()
    '2026-01-02T00:00:00+00:00'
    >>> clock.move_to(datetime(2025, 1, 1, tzinfo=UTC))
    >>> clock.now.year
    2026
    """

    __slots__ = ("_now",)

    def __init__(self, now: datetime):
        if now.tzinfo is None:
            raise ValueError(f"The clock needs a time zone: {now!r} has none; write datetime(..., tzinfo=UTC).")
        self._now = now.astimezone(UTC)

    @property
    def now(self) -> datetime:
        """The present moment, in UTC."""
        return self._now

    def move_to(self, when: datetime) -> None:
        """Move forward to ``when``; an earlier time is ignored."""
        if when > self._now:
            self._now = when.astimezone(UTC)


class WallClock(VirtualClock):
    """The machine's own clock, and ahead of it by as much as it was moved.

    Examples
    --------
    >>> clock = WallClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> clock.ahead
    datetime.timedelta(0)
    >>> clock.move_to(clock.now + timedelta(days=7))
    >>> clock.ahead > timedelta(days=6, hours=23)
    True
    """

    __slots__ = ("ahead",)

    def __init__(self, now: datetime):
        super().__init__(now)
        self.ahead = timedelta(0)

    @property
    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(UTC) + self.ahead

    def move_to(self, when: datetime) -> None:
        """Move forward to ``when``; an earlier time is ignored."""
        self.ahead += max(when - self.now, timedelta(0))


@dataclass(slots=True, eq=False)
class Entry:
    """One thing to do at a time. Cancel it with :meth:`cancel`; it then never runs."""

    when: datetime
    sequence: int
    action: Action
    name: str
    cancelled: bool = field(default=False)

    def cancel(self) -> None:
        """Never run this entry."""
        self.cancelled = True

    def __lt__(self, other: Entry) -> bool:
        return (self.when, self.sequence) < (other.when, other.sequence)


class Agenda:
    """A priority queue of (time, sequence, action).

    Adding entries is safe from any thread; running them is for one thread at a time (the cloud holds its lock).

    Examples
    --------
    >>> clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> agenda = Agenda(clock)
    >>> said = []
    >>> _ = agenda.after(timedelta(minutes=2), lambda: said.append("later"))
    >>> _ = agenda.soon(lambda: said.append("now"))
    >>> agenda.run(until=datetime(2026, 1, 1, 1, tzinfo=UTC))
    2
    >>> said, clock.now.hour
    (['now', 'later'], 1)
    """

    def __init__(self, clock: VirtualClock):
        self.clock = clock
        self._heap: list[Entry] = []
        self._sequence = 0
        self._lock = threading.Lock()
        self.wake = threading.Event()

    def at(self, when: datetime, action: Action, name: str = "") -> Entry:
        """Run ``action`` at ``when``; a time that has passed means now."""
        now = self.clock.now
        due = now if when <= now else when.astimezone(UTC)
        with self._lock:
            self._sequence += 1
            entry = Entry(due, self._sequence, action, name)
            heapq.heappush(self._heap, entry)
        self.wake.set()
        return entry

    def soon(self, action: Action, name: str = "") -> Entry:
        """Run ``action`` now, after whatever is already due."""
        return self.at(self.clock.now, action, name)

    def after(self, delay: timedelta, action: Action, name: str = "") -> Entry:
        """Run ``action`` when ``delay`` has passed."""
        return self.at(self.clock.now + delay, action, name)

    def next_time(self) -> datetime | None:
        """When the next entry is due, or None when there is none."""
        with self._lock:
            self._drop_cancelled()
            return self._heap[0].when if self._heap else None

    def run(self, until: datetime) -> int:
        """Run everything due up to and including ``until`` and leave the clock there; return how many ran.

        Raises
        ------
        EndlessLoopError
            When entries keep adding entries for the same instant.
        """
        ran = at_this_instant = 0
        instant: datetime | None = None
        while (entry := self._pop_due(until)) is not None:
            self.clock.move_to(entry.when)
            at_this_instant = at_this_instant + 1 if entry.when == instant else 0
            instant = entry.when
            if at_this_instant > ACTIONS_AT_ONE_INSTANT:
                raise EndlessLoopError(instant.isoformat(), at_this_instant, entry.name)
            entry.action()
            ran += 1
        self.clock.move_to(until)
        return ran

    def __len__(self) -> int:
        with self._lock:
            return sum(not entry.cancelled for entry in self._heap)

    def _pop_due(self, until: datetime) -> Entry | None:
        with self._lock:
            self._drop_cancelled()
            if self._heap and self._heap[0].when <= until:
                return heapq.heappop(self._heap)
            return None

    def _drop_cancelled(self) -> None:
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
