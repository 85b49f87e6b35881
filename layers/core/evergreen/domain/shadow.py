"""The proof in shadow: which rows count, what each is worth, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evergreen.domain.lifecycle import Shadow, ShadowRole
from evergreen.spec import ModelSpec
from evergreen.statistics import sequential

SENTINEL_DAYS = 3
"""Rows of one day share its weather: one bad day is not a bad version."""


@dataclass(frozen=True, slots=True)
class PairedOutcomes:
    """Requests that both versions answered and whose label is known, one entry a row.

    `inference_time` is in microseconds since 1970 UTC; losses are in the metric's unit (0 or 1 for accuracy, 0 to 1
    for Brier, the label's unit for absolute error); `group` is empty where rows stand alone.
    """

    inference_time: NDArray[np.int64]
    production_loss: NDArray[np.float64]
    shadow_loss: NDArray[np.float64]
    group: NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """promote, keep or need_more_data, with the evidence."""

    verdict: str
    because: str
    evidence: dict[str, Any]


def judged_until(shadow: Shadow, spec: ModelSpec, now: datetime) -> datetime:
    """The end of the last whole cycle whose labels have matured (STATISTICS, which rows count, 1 and 2)."""
    matured = now - spec.labels.maturity - shadow.since
    if shadow.role is ShadowRole.CHALLENGER:
        return shadow.since + max(0, matured // spec.shadow.cycle) * spec.shadow.cycle
    # The sentinel judges by whole days: a bad version must not stay for a week to be seen for what it is.
    day = min(spec.shadow.cycle, timedelta(days=1))
    days = matured // day
    return shadow.since + (days if days >= SENTINEL_DAYS else 0) * day


def decide(shadow: Shadow, spec: ModelSpec, outcomes: PairedOutcomes, now: datetime) -> ShadowDecision:
    """Judge the version in shadow against production.

    Only rows of whole, matured cycles since the shadow began count, one mean a group. A challenger that is proven
    better is promoted; one whose time is up is kept out; never a promotion on a timeout.
    """
    until = judged_until(shadow, spec, now)
    start, end = _microseconds(shadow.since), _microseconds(until)
    counted = (outcomes.inference_time >= start) & (outcomes.inference_time < end)
    production, candidate = outcomes.production_loss[counted], outcomes.shadow_loss[counted]
    difference = production - candidate
    if spec.shadow_metric == "absolute_error":
        difference = difference / _loss_scale(difference)
    grouped = _group_means(np.clip(difference, -1.0, 1.0), outcomes.group[counted])
    result = sequential.shadow_verdict_from_losses(
        grouped, margin=spec.shadow.margin, alpha=spec.shadow.alpha, min_gain=spec.shadow.min_gain
    )
    verdict: str = result.verdict
    timed_out = verdict == "need_more_data" and now - shadow.since > spec.shadow.max_time
    evidence: dict[str, Any] = {
        "metric": spec.shadow_metric,
        "version": shadow.version,
        "judged_against": shadow.judged_against,
        "from": shadow.since.isoformat(),
        "until": until.isoformat(),
        "rows": int(counted.sum()),
        "units": len(grouped),
        "production_loss": _mean(production),
        "shadow_loss": _mean(candidate),
        "gain": 0.0 if result.gain is None else round(result.gain, 6),
        "interval": [round(bound, 6) for bound in result.interval],
        "log_e_promote": round(result.log_e_promote, 4),
        "log_e_keep": round(result.log_e_keep, 4),
        "rows_to_decide": result.rows_to_decide,
    }
    because = (
        f"{spec.shadow_metric} gain {evidence['gain']:+.4f} on {evidence['rows']:,} rows, "
        f"e-value 10^{evidence['log_e_promote'] / np.log(10):.1f} (needs {1 / spec.shadow.alpha:.0f})"
    )
    if timed_out:
        verdict, because = "keep", f"no proof within {spec.shadow.max_time.days} days: {because}"
    return ShadowDecision(verdict, because, evidence)


def _loss_scale(difference: NDArray[np.float64]) -> float:
    if not len(difference):
        return 1.0
    return max(float(np.quantile(np.abs(difference), 0.999)), 1e-12)


def _group_means(values: NDArray[np.float64], group: NDArray[np.object_]) -> NDArray[np.float64]:
    """One mean a group; rows without a group stand alone."""
    named = np.array([bool(g) for g in group], dtype=bool)
    if not named.any():
        return values
    _, index = np.unique(group[named].astype(str), return_inverse=True)
    means = np.bincount(index, values[named]) / np.bincount(index)
    return np.concatenate([values[~named], means])


def _mean(values: NDArray[np.float64]) -> float | None:
    return round(float(values.mean()), 6) if len(values) else None


def _microseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000 + time.microsecond
