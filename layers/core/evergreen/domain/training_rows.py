"""Which labelled rows a candidate is trained on, from when and why, and how many of them no training had before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from evergreen.domain.catalog import CatalogEntry, Counts, DailySums, whole_hour
from evergreen.spec import RowsPolicy, TrainingSpec
from evergreen.statistics.change import FEWEST_DAYS, last_rise

EVERYTHING = timedelta(days=3_650)
"""How far back `rows: everything` looks: an index is asked month by month."""
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RowsChoice:
    """From when on rows are trained on.

    Parameters
    ----------
    start
        Files of rows from before it are left out.
    exact
        Whether single rows from before it are left out too.
    because
        The reason, for the history; empty where the policy needs none.
    """

    start: datetime
    exact: bool = False
    because: str = ""


def window_start(training: TrainingSpec, decided_at: datetime) -> datetime:
    """Return the oldest time that the policy may reach back to.

    Examples
    --------
    >>> window_start(TrainingSpec(), datetime(2026, 7, 1, tzinfo=UTC))
    datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)
    """
    reach = max(training.window, EVERYTHING) if training.rows is RowsPolicy.EVERYTHING else training.window
    return decided_at - min(reach, decided_at - _EARLIEST)


def new_rows(
    outcomes: Iterable[CatalogEntry],
    base_data: Iterable[CatalogEntry],
    *,
    seen_until: datetime,
    requested: datetime | None = None,
    maturity: timedelta,
    now: datetime,
) -> int:
    """Count the matured labelled rows that a training would have now and the newest one did not.

    Files are counted, not rows, so it is a little less than there are: of two such counts the larger is taken. By the
    day of the request, the day in which the newest training's rows end is left out. By the hour in which labels came,
    those are left out that came up to the hour of the newest request.

    Parameters
    ----------
    outcomes, base_data
        Files of labelled rows: of outcomes in the hour of their labels, of base data at their newest row.
    seen_until
        The newest row that any training had.
    requested
        When the newest retraining was requested; None where nobody has asked for one.

    Examples
    --------
    >>> from evergreen.domain.catalog import CatalogKind, FileSums
    >>> days = DailySums({1: {"2026-01-30": (50, 40)}, 2: {"2026-01-31": (30, 20), "2026-02-01": (10, 9)}})
    >>> hour = datetime(2026, 2, 1, 12, tzinfo=UTC)
    >>> file = CatalogEntry("churn", CatalogKind.OUTCOMES, hour, "a.parquet", 90, sums=FileSums(days))
    >>> until = datetime(2026, 1, 30, 12, tzinfo=UTC)
    >>> new_rows([file], [], seen_until=until, maturity=timedelta(days=3), now=hour + timedelta(days=3))
    40
    >>> new_rows([file], [], seen_until=until, maturity=timedelta(hours=1), now=hour + timedelta(days=3))
    90
    """
    matured = now - maturity
    first, last = first_whole_day(seen_until), _day(matured)
    after = whole_hour(max(seen_until + maturity, requested or seen_until))
    by_request = by_label = 0
    for entry in outcomes:
        if entry.sums.daily is None:
            counted, since = entry.rows, 0
        else:
            known = [(day, labelled) for day, (labelled, _) in entry.sums.daily.days() if day <= last]
            counted = sum(labelled for _, labelled in known)
            since = sum(labelled for day, labelled in known if day >= first)
        by_request += since
        by_label += counted if entry.time > after else 0
    brought = sum(entry.rows for entry in base_data if seen_until < entry.time <= matured)
    return max(by_request, by_label) + brought


def first_whole_day(after: datetime) -> str:
    """Return the first day, in UTC, all of whose rows come after a time.

    Examples
    --------
    >>> first_whole_day(datetime(2026, 1, 30, 12, tzinfo=UTC))
    '2026-01-31'
    """
    return _day(after + timedelta(days=1))


def _day(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d")


def choose_rows(
    training: TrainingSpec,
    sums: Iterable[DailySums],
    *,
    maturity: timedelta,
    decided_at: datetime,
) -> RowsChoice:
    """Say from when on rows are trained on; the same sums and time give the same answer.

    Parameters
    ----------
    sums
        Labelled and right answers by version and day of the request, of each file of outcomes in the window. Which
        version answered does not matter: a world that changed shows in whichever was in production.
    maturity
        Days that are not this old yet have only the labels that come early, and tell nothing.
    decided_at
        The time of the retraining's decision: every attempt trains on the same rows.

    Examples
    --------
    >>> days = {f"2026-01-{day:02}": (100, 90 - 2 * (day % 2) - (25 if day >= 20 else 0)) for day in range(1, 31)}
    >>> since_change = TrainingSpec(rows="since_change", rows_since_change=500)
    >>> now = datetime(2026, 2, 2, tzinfo=UTC)
    >>> choice = choose_rows(since_change, [DailySums({1: days})], maturity=timedelta(days=1), decided_at=now)
    >>> choice.start.date().isoformat(), choice.because
    ('2026-01-20', 'since 2026-01-20, when the share of wrong answers rose from 0.111 to 0.359')
    """
    start = window_start(training, decided_at)
    if training.rows is not RowsPolicy.SINCE_CHANGE:
        return RowsChoice(start)
    days = _days(sums, before=_day(decided_at - maturity))
    change = last_rise([n for n, _ in days.values()], [n - right for n, right in days.values()])
    if change is None:
        few = f"{len(days)} days of answers, {FEWEST_DAYS} are needed to see a change"
        because = few if len(days) < FEWEST_DAYS else f"no change for the worse in {len(days)} days of answers"
        return RowsChoice(start, because=because)
    names = list(days)
    rose = f"since {names[change.first]}, when the share of wrong answers rose from {change.before:.3f} to "
    rose += f"{change.after:.3f}"
    least = min(training.rows_since_change, training.max_rows)
    first = _reaching(list(days.values()), change.first, least)
    if first is None:
        return RowsChoice(start, because=f"fewer than {least:,} rows {rose}: all of the window")
    if first < change.first:
        rose = f"from {names[first]}, for {least:,} rows; fewer are {rose}"
    return RowsChoice(max(start, _midnight(names[first])), exact=True, because=rose)


def _days(sums: Iterable[DailySums], *, before: str) -> dict[str, Counts]:
    days: dict[str, Counts] = {}
    for day, (n, right) in chain.from_iterable(daily.days() for daily in sums):
        if day < before:
            known = days.get(day, (0, 0))
            days[day] = (known[0] + n, known[1] + right)
    return dict(sorted(days.items()))


def _reaching(days: Sequence[tuple[int, int]], change: int, least: int) -> int | None:
    """Return the last day not after the change from which on there are enough rows."""
    rows = sum(n for n, _ in days[change:])
    while rows < least:
        change -= 1
        if change < 0:
            return None
        rows += days[change][0]
    return change


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)
