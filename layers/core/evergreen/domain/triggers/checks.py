"""The checks: what each trigger looks at, and when it fires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from evergreen.domain.catalog import Counts, DailySums
from evergreen.domain.state import Wish
from evergreen.domain.triggers.check import Check, Direction, Outcome, Trigger, insufficient
from evergreen.spec import ModelSpec, Strategy
from evergreen.statistics import degradation, drift
from evergreen.statistics.profile import Profile

_DAY = timedelta(days=1)


_MOST_COLUMNS = 20  # told of a drift check, the worst first


def check_wish(wish: Wish) -> Check:
    """A wish that waits."""
    because = f"{wish.reason} (wished for by {wish.actor} on {wish.time:%Y-%m-%d %H:%M})"
    return Check(Trigger.BUSINESS_EVENT, Outcome.FIRED, None, None, Direction.HIGHER_IS_WORSE, 0, because)


def check_age(spec: ModelSpec, last_training: datetime, now: datetime) -> Check:
    """The calendar: `scheduled` retrains on its period, `hybrid` after the longest age.

    The age is that of the newest row that any training had: what became of its version does not matter.
    """
    limit = spec.triggers.schedule.every if spec.strategy is Strategy.SCHEDULED else spec.triggers.schedule.longest_age
    age = now - last_training
    days = age / _DAY
    if limit is None or spec.strategy in (Strategy.TRIGGERED, Strategy.CONTINUOUS):
        because = f"the strategy is {spec.strategy}: age does not count"
        return Check(Trigger.SCHEDULE, Outcome.QUIET, days, None, Direction.HIGHER_IS_WORSE, 0, because)
    limit_days = limit / _DAY
    fired = age >= limit
    because = f"the last training is {days:.1f} days ago, the limit is {limit_days:.1f}"
    outcome = Outcome.FIRED if fired else Outcome.QUIET
    return Check(Trigger.SCHEDULE, outcome, days, limit_days, Direction.HIGHER_IS_WORSE, 0, because)


def check_new_data(spec: ModelSpec, new_rows: int) -> Check:
    """Enough labelled rows that the newest training did not have."""
    need = spec.triggers.new_data.min_new_samples
    outcome = Outcome.FIRED if new_rows >= need else Outcome.QUIET
    because = f"{new_rows:,} labelled rows are new, {need:,} are enough"
    return Check(Trigger.NEW_DATA, outcome, float(new_rows), float(need), Direction.HIGHER_IS_WORSE, new_rows, because)


def matured_days(sums: Iterable[DailySums], version: int, maturity: timedelta, now: datetime) -> dict[str, Counts]:
    """Sum up a version's labelled and right answers by day, oldest first, of days whose labels have all come.

    Examples
    --------
    >>> files = [DailySums({2: {"2026-01-30": (50, 40), "2026-01-31": (9, 9)}, 1: {"2026-01-30": (7, 7)}})]
    >>> matured_days(files, 2, timedelta(days=1), datetime(2026, 2, 1, tzinfo=UTC))
    {'2026-01-30': (50, 40)}
    """
    until = (now - maturity).astimezone(UTC).strftime("%Y-%m-%d")
    days: dict[str, Counts] = {}
    for daily in sums:
        for day, (n, correct) in daily.of_version(version).items():
            if day < until:
                before = days.get(day, (0, 0))
                days[day] = (before[0] + n, before[1] + correct)
    return dict(sorted(days.items()))


def check_performance(
    spec: ModelSpec,
    days: Mapping[str, tuple[int, int]],
    reference: Sequence[tuple[int, int]],
    *,
    since: datetime,
    now: datetime,
    plain: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> Check:
    """Whether matured labels prove the version degraded (STATISTICS, 3), as it answers or as it was trained.

    ``days`` are the version's labelled and right answers by day since ``since``, ``reference`` those of its
    validation, ``plain`` what it would have answered without its live state: that hides for a while how far the
    estimator has decayed, and a training is due all the same. Fewer labels in the look-back than ``min_labelled`` prove
    nothing.
    """
    served = _degraded(spec, days, reference, since=since, now=now)
    trained = _degraded(spec, plain, reference, since=since, now=now)
    if trained.outcome is Outcome.INSUFFICIENT_DATA:
        return served
    if trained.outcome is Outcome.FIRED and served.outcome is not Outcome.FIRED:
        because = f"as it was trained: {trained.because}; with its live state: {served.because}"
        return replace(trained, because=because, served_well=True)
    return replace(served, because=f"{served.because}; as it was trained: {trained.because}")


def _degraded(
    spec: ModelSpec,
    days: Mapping[str, tuple[int, int]],
    reference: Sequence[tuple[int, int]],
    *,
    since: datetime,
    now: datetime,
) -> Check:
    rules = spec.triggers.performance
    daily = [days[day] for day in sorted(days)]
    labelled = sum(n for n, _ in daily)
    result = degradation.performance(
        daily,
        reference,
        accuracy_threshold=rules.accuracy_threshold,
        tolerance=rules.tolerance,
        min_labelled=rules.min_labelled,
    )
    # Without validation days nobody knows how much a day varies: a score would be of no worth.
    score = float(result.score) if result.log_m is not None and reference else None
    window = (now - spec.labels.maturity - rules.look_back).astimezone(UTC).strftime("%Y-%m-%d")
    recent = sum(n for day, (n, _) in days.items() if day >= window)
    if not reference:
        outcome, because = Outcome.INSUFFICIENT_DATA, "the version has no validation days to compare with"
    elif recent < rules.min_labelled or result.status == "insufficient_data":
        outcome = Outcome.INSUFFICIENT_DATA
        because = f"{recent} matured labels in {_span(rules.look_back)}, {rules.min_labelled} are needed"
    else:
        outcome = Outcome.FIRED if result.status == "degraded" else Outcome.QUIET
        held = "" if result.p0 is None else f", {1 - result.p0:.3f} is to be held"
        because = f"accuracy {result.accuracy:.3f} on {labelled:,} matured labels since {since:%Y-%m-%d}{held}"
    return Check(
        Trigger.PERFORMANCE,
        outcome,
        score,
        float(result.threshold),
        Direction.HIGHER_IS_WORSE,
        labelled,
        because,
    )


def check_concept_drift(performance: Check, inputs: Check) -> Check:
    """Degraded while no column drifted: what the columns mean has changed. Drawn from the two other checks."""
    outcome, because = Outcome.QUIET, "the labels do not prove the version degraded"
    unknown = [c for c in (performance, inputs) if c.outcome not in (Outcome.FIRED, Outcome.QUIET)]
    if unknown and performance.outcome is not Outcome.QUIET:
        outcome = Outcome.INSUFFICIENT_DATA
        because = f"{unknown[0].trigger} is not known: {unknown[0].because}"
    elif performance.outcome is Outcome.FIRED and inputs.outcome is Outcome.FIRED:
        because = "the version degraded and its inputs drifted too"
    elif performance.outcome is Outcome.FIRED:
        outcome, because = Outcome.FIRED, "no input column drifted, so what they mean has changed"
    return Check(
        Trigger.CONCEPT_DRIFT,
        outcome,
        performance.score,
        performance.threshold,
        performance.direction,
        performance.samples,
        because,
        served_well=performance.served_well,
    )


def check_data_drift(spec: ModelSpec, reference_cycles: Sequence[Profile], window: Profile) -> Check:
    """Whether the inputs of the last whole cycle are unlike the reference cycles (STATISTICS, 2).

    The score is that of the column farthest above its threshold; where no column is above, but many are beside
    themselves, the share of those.
    """
    found = drift.detect(reference_cycles, window, drift_threshold=spec.triggers.data_drift.drift_threshold)
    if found.status == "insufficient_data":
        because = f"{window.rows} rows in the last cycle are too few to compare"
        return insufficient(Trigger.DATA_DRIFT, because, samples=window.rows)
    columns = sorted(found.columns, key=lambda column: column.score / column.threshold, reverse=True)
    worst, drifted = columns[0], [column.name for column in columns if column.drifted]
    score, threshold = float(worst.score), float(worst.threshold)
    named = f": {', '.join(drifted[:5])}" if drifted else ""
    kind = "W1/sd" if worst.kind == "wasserstein" else "Jensen-Shannon distance"
    because = (
        f"{len(drifted)} of {len(columns)} columns drifted{named}; "
        f"{kind} of '{worst.name}' is {worst.score:.2f}, threshold {worst.threshold:.2f} "
        f"({len(reference_cycles)} reference cycles)"
    )
    if found.drift and not drifted and found.share is not None:
        score, threshold = float(found.share), float(found.drift_threshold)
        because = f"{because}; {found.share:.0%} of the columns shifted, {found.drift_threshold:.0%} is drift"
    return Check(
        Trigger.DATA_DRIFT,
        Outcome.FIRED if found.drift else Outcome.QUIET,
        score,
        threshold,
        Direction.HIGHER_IS_WORSE,
        window.rows,
        because,
        tuple(_detail(column) for column in columns[:_MOST_COLUMNS]),
    )


def _detail(column: drift.ColumnDrift) -> dict[str, Any]:
    return {
        "name": column.name,
        "kind": column.kind,
        "score": round(float(column.score), 4),
        "threshold": round(float(column.threshold), 4),
        "direction": column.direction,
        "drifted": bool(column.drifted),
    }


def check_prediction_shift(
    spec: ModelSpec, reference: Profile | None, window: Profile | None, *, named: str = "validation answers"
) -> Check:
    """Whether the answers of the last whole cycle are unlike those of the reference, which is ``named`` in the reason.

    There is one reference and no history of cycles, so the distance has to be significant too: the answers to a small
    window are far from the reference by chance alone.
    """
    threshold = spec.triggers.prediction_shift.threshold
    rows = 0 if window is None else window.rows
    if window is None or rows < drift.MIN_ROWS:
        because = f"{rows} answers in the last cycle are too few to compare"
        return insufficient(Trigger.PREDICTION_SHIFT, because, threshold=threshold, samples=rows)
    found = None if reference is None else drift.detect([reference], window)
    if reference is None or found is None or not found.columns:
        because = f"{0 if reference is None else reference.rows} {named} are too few to compare with"
        return insufficient(Trigger.PREDICTION_SHIFT, because, threshold=threshold, samples=rows)
    column = max(found.columns, key=lambda column: column.score)
    significant = column.p_value is not None and column.p_value <= drift.SIGNIFICANCE
    distance = f"{column.kind.replace('_', '-')} distance to the {named} is {column.score:.2f}"
    because = f"the answers' {distance}, threshold {threshold:.2f}"
    if column.score > threshold and not significant:
        because += f", which chance may do with {rows} answers"
    return Check(
        Trigger.PREDICTION_SHIFT,
        Outcome.FIRED if column.score > threshold and significant else Outcome.QUIET,
        float(column.score),
        threshold,
        Direction.HIGHER_IS_WORSE,
        rows,
        because,
        tuple(_detail(column) for column in found.columns) if len(found.columns) > 1 else (),
    )


def _span(span: timedelta) -> str:
    return f"{span / _DAY:g} days"
