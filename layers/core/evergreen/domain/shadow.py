"""The proof in shadow: which rows count, what each is worth, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evergreen.domain.state import Shadow, ShadowRole
from evergreen.durations import format_duration
from evergreen.spec import Metric, ModelSpec
from evergreen.statistics.days import FEW_DAYS, SHARES, Days
from evergreen.statistics.macro_f1 import macro_f1_verdict
from evergreen.statistics.sequential import ShadowVerdict, Verdict, shadow_verdict_from_losses

SENTINEL_DAYS = 3
"""Rows of one day share what happened on it: one bad day is not a bad version."""

MANY_LATE = 0.01
"""More labels than this that came after the maturity are worth a word: those still missing may be of another kind."""

_LOG_10 = math.log(10)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _MICROSECOND
_HOUR = timedelta(hours=1) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Answers:
    """What was true and what both versions said, as codes of the classes, one entry a row."""

    actual: NDArray[np.int64]
    production: NDArray[np.int64]
    shadow: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Answers:
        return Answers(self.actual[rows], self.production[rows], self.shadow[rows])


@dataclass(frozen=True, slots=True)
class PairedOutcomes:
    """Requests that both versions answered and whose label is known, one entry a row.

    `inference_time` is in microseconds since 1970 UTC; losses are in the metric's unit (0 or 1 for accuracy and
    macro-F1, 0 to 1 for Brier, the label's unit for absolute error, the matrix's for cost); `group` holds names, empty
    or None where a row stands alone, or codes, -1 where it does; `answers` is None for a regression.
    """

    inference_time: NDArray[np.int64]
    production_loss: NDArray[np.float64]
    shadow_loss: NDArray[np.float64]
    group: NDArray[Any]
    answers: Answers | None = None
    label_delay: NDArray[np.int64] | None = None  # microseconds from the request to its label, where that is known

    def __len__(self) -> int:
        return len(self.inference_time)

    def between(self, start: datetime, end: datetime) -> PairedOutcomes:
        """The requests with start <= time < end."""
        return self[(self.inference_time >= _microseconds(start)) & (self.inference_time < _microseconds(end))]

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> PairedOutcomes:
        return PairedOutcomes(
            self.inference_time[rows],
            self.production_loss[rows],
            self.shadow_loss[rows],
            self.group[rows],
            None if self.answers is None else self.answers[rows],
            None if self.label_delay is None else self.label_delay[rows],
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """How a shadow is judged.

    `margin` and `min_gain` are in the metric's unit for accuracy, Brier and macro-F1, and shares of `loss_scale` for
    absolute error and cost. `loss_scale` is the loss difference that counts in full: larger ones are clipped to it. It
    has to be known before the rows are (STATISTICS: the 99.9th percentile of the reference's differences).
    `day_shares`: what rows of one day may have in common, as shares of their variance (`Days.dispersion`).
    `nested`: the candidate holds production's own members, weighed by what they cost; it need not be proven better.
    """

    metric: Metric = Metric.ACCURACY
    margin: float = 0.0
    alpha: float = 0.01
    min_gain: float = 0.02
    alpha_keep: float = 0.05
    cycle: timedelta = timedelta(days=7)
    maturity: timedelta = timedelta(days=1)
    max_time: timedelta = timedelta(days=28)
    max_rows: int | None = None
    loss_scale: float = 1.0
    least_answered: float = 0.98
    day_shares: tuple[float, ...] = SHARES
    nested: bool = False

    @classmethod
    def of(cls, spec: ModelSpec, *, loss_scale: float = 1.0, nests: bool = False) -> Rules:
        """The rules that a spec sets, for a candidate in which production lives on or does not."""
        not_worse = spec.shadow.proof == "not_worse"
        return cls(
            nested=nests and spec.shadow.proof == "nested",
            metric=spec.shadow_metric,
            margin=min(spec.shadow.margin, -spec.shadow.min_gain) if not_worse else spec.shadow.margin,
            alpha=spec.shadow.alpha,
            min_gain=spec.shadow.min_gain,
            cycle=spec.shadow.cycle,
            maturity=spec.labels.maturity,
            max_time=spec.shadow.max_time,
            max_rows=spec.shadow.max_rows,
            loss_scale=loss_scale,
            least_answered=1.0 - spec.deployment.tolerance,
        )

    @property
    def scale(self) -> float:
        """What a difference is divided by: answers that are right or wrong differ by 1 at most."""
        return 1.0 if self.metric in (Metric.ACCURACY, Metric.MACRO_F1) else self.loss_scale

    @property
    def gains(self) -> tuple[float, float]:
        """Margin and least gain in units of the scale, within what a scaled difference can be."""
        in_scale = self.scale if self.metric is Metric.BRIER else 1.0
        margin, min_gain = self.margin / in_scale, self.min_gain / in_scale
        return min(max(margin, -0.99), 0.99), min(min_gain, 0.99)


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """promote, keep or need_more_data, with the evidence."""

    verdict: str
    because: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Whole:
    """The span that counts as whole, and how many of them there must be before anything counts."""

    step: timedelta
    fewest: int = 1

    @classmethod
    def of(cls, shadow: Shadow, rules: Rules) -> Whole:
        """A challenger is judged by whole cycles; the sentinel by days: a bad version must not stay for a week.

        So is a candidate in which production lives on: what it is to show is that it answers.
        """
        match shadow.role:
            case ShadowRole.CHALLENGER:
                return cls(min(rules.cycle, timedelta(days=1)) if rules.nested else rules.cycle)
            case ShadowRole.SENTINEL:
                return cls(min(rules.cycle, timedelta(days=1)), SENTINEL_DAYS)

    def until(self, since: datetime, maturity: timedelta, now: datetime) -> datetime:
        """The end of the last whole span whose labels have matured (STATISTICS, which rows count, 1 and 2)."""
        spans = max(0, (now - maturity - since) // self.step)
        return since + (spans if spans >= self.fewest else 0) * self.step


def judged_until(shadow: Shadow, spec: ModelSpec, now: datetime, *, nests: bool = False) -> datetime:
    """The end of what is judged of a shadow now; its beginning when that is nothing yet."""
    rules = Rules.of(spec, nests=nests)
    return Whole.of(shadow, rules).until(shadow.since, rules.maturity, now)


def time_in_traffic(asked: NDArray[np.int64], *, since: datetime, until: datetime, cycle: timedelta) -> timedelta:
    """Return the time that a trial has had: of each cycle in which a request came; the others brought nothing to see.

    Parameters
    ----------
    asked
        When requests came, or the hours in which any did; microseconds since 1970 UTC.
    since, until
        The trial so far. The cycles are counted from its beginning; of the last one there is what has passed.
    cycle
        Of the traffic: a night without requests is no gap, a week without any is one. An hour at the least.

    Examples
    --------
    >>> since, hour = datetime(2026, 1, 5, tzinfo=UTC), timedelta(hours=1)
    >>> asked = np.array([_microseconds(since + 40 * day * hour) for day in (0, 1, 2, 30, 31)])
    >>> week = timedelta(days=7)
    >>> time_in_traffic(asked, since=since, until=since + 8 * week, cycle=week).days
    14
    >>> time_in_traffic(asked[:3], since=since, until=since + 5 * timedelta(days=1), cycle=week).days
    5
    """
    passed, length = (until - since) // _MICROSECOND, max(cycle // _MICROSECOND, _HOUR)
    if passed <= 0:
        return timedelta(0)
    began = asked - _microseconds(since)
    of_hours = np.concatenate([began, began + _HOUR - 1])  # what came in an hour may be of either cycle that it touches
    counted = np.unique(of_hours[(of_hours >= 0) & (of_hours < passed)] // length)
    return int(np.minimum(passed - counted * length, length).sum()) * _MICROSECOND


@dataclass(frozen=True, slots=True)
class Weighed:
    """A verdict on rows that all count, in the metric's unit, and what it rests on."""

    verdict: ShadowVerdict
    units: int  # rows, or groups
    overdispersion: float = 1.0  # how many times as much days differ as chance would have it; 1: it does not show
    worth: float = 1.0  # of a row, in independent ones: less where days differ or may differ
    days: float = 0.0  # how many days of equal traffic they are worth
    error: float | None = None  # of the gain, as days differ from one another; None where they are too few


def weigh(outcomes: PairedOutcomes, rules: Rules) -> Weighed:
    """Judge rows that all count: one mean a group, bet on by the row and by the day (docs/statistics.md)."""
    margin, min_gain = rules.gains
    index = _group_index(outcomes.group)
    if rules.metric is Metric.MACRO_F1:
        answers = outcomes.answers
        assert answers is not None, "macro-F1 needs classes: the spec checks it"
        found = macro_f1_verdict(
            answers.actual,
            answers.production,
            answers.shadow,
            groups=index,
            margin=margin,
            min_gain=min_gain,
            alpha=rules.alpha,
            alpha_keep=rules.alpha_keep,
        )
        return Weighed(found, len(outcomes) if index is None else int(index.max()) + 1)
    difference = np.clip((outcomes.production_loss - outcomes.shadow_loss) / rules.scale, -1.0, 1.0)
    values, sizes = _group_means(difference, index)
    days = Days.of(values, _first(outcomes.inference_time, index) // _DAY, sizes)
    dispersion = days.dispersion(cycle=max(1, rules.cycle // timedelta(days=1)), shares=rules.day_shares)
    means = days.means()
    found = shadow_verdict_from_losses(
        values,
        margin=margin,
        alpha=rules.alpha,
        min_gain=min_gain,
        alpha_keep=rules.alpha_keep,
        overdispersion=dispersion.used,
        days=means,
    )
    gain = None if found.gain is None else found.gain * rules.scale
    interval = (found.interval[0] * rules.scale, found.interval[1] * rules.scale)
    verdict = replace(found, gain=gain, interval=interval)
    error = means.error * rules.scale if means.speaks else None
    return Weighed(verdict, len(values), dispersion.shown, 1.0 / dispersion.used, means.days, error)


def judge(
    outcomes: PairedOutcomes,
    rules: Rules,
    *,
    since: datetime,
    now: datetime,
    whole: Whole | None = None,
    answered: int | None = None,
    answered_share: float | None = None,
    asked: NDArray[np.int64] | None = None,
) -> ShadowDecision:
    """Judge a shadow that answers the same requests since a time.

    Only rows of whole, matured cycles count, one mean a group. Past ``max_time`` or on ``max_rows`` rows without a
    proof the verdict is keep; never promote on a timeout. A cycle in which nobody asked costs no time.

    Parameters
    ----------
    outcomes
        Of two versions that did not change, on rows neither was trained on.
    since
        When the shadow began: the cycles are counted from here.
    now
        The time of the look.
    whole
        What counts as whole; a cycle unless given.
    answered
        Requests that both versions answered in the judged time, labelled or not, where that is known.
    answered_share
        Of production's requests in that time, the share that the shadow answered too, where that is known. Below
        ``rules.least_answered`` there is no promotion: a version that failed on requests is not proven by the others.
    asked
        When requests came, or the hours in which any did, labelled or not, where that is known; microseconds since
        1970 UTC.
    """
    whole = whole or Whole(rules.cycle)
    until = whole.until(since, rules.maturity, now)
    counted = outcomes.between(since, until)
    weighed = weigh(counted, rules)
    found, units = weighed.verdict, weighed.units
    answers = counted.answers
    late = None if counted.label_delay is None else _mean(counted.label_delay > rules.maturity // _MICROSECOND)
    evidence: dict[str, Any] = {
        "metric": rules.metric,
        "from": since.isoformat(),
        "until": until.isoformat(),
        "rows": len(counted),
        "units": units,
        "not_yet_counted": len(outcomes) - len(counted),
        "labelled_share": _share(len(counted), answered),
        "answered_share": answered_share,
        "late_label_share": late,
        "production_loss": _mean(counted.production_loss),
        "shadow_loss": _mean(counted.shadow_loss),
        "production_accuracy": None if answers is None else _mean(answers.production == answers.actual),
        "shadow_accuracy": None if answers is None else _mean(answers.shadow == answers.actual),
        "agreement": None if answers is None else _mean(answers.production == answers.shadow),
        "loss_scale": rules.scale,
        "overdispersion": round(weighed.overdispersion, 4),
        "row_worth": round(weighed.worth, 4),
        "days": round(weighed.days, 2),
        "standard_error": None if weighed.error is None else round(weighed.error, 6),
        "gain": 0.0 if found.gain is None else round(found.gain, 6),
        "interval": [round(bound, 6) for bound in found.interval],
        "log_e_promote": round(found.log_e_promote, 4),
        "log_e_keep": round(found.log_e_keep, 4),
        "alpha": rules.alpha,
        "alpha_keep": rules.alpha_keep,
        "margin": rules.margin,
        "min_gain": rules.min_gain,
        "rows_to_decide": found.rows_to_decide,
        "days_to_decide": _days_needed(found.rows_to_decide, units, until - since, whole.step),
    }
    verdict: str = found.verdict
    unit = "rows" if units == len(counted) else f"rows of {units:,} groups"
    because = (
        f"{rules.metric} gain {evidence['gain']:+.4f} on {len(counted):,} {unit}, "
        f"e-value 10^{found.log_e_promote / _LOG_10:.1f} (needs {1 / rules.alpha:.0f})"
    )
    if weighed.overdispersion > 1.0:
        because += f"; days differ {weighed.overdispersion:.1f} times as much as chance, so rows count for less"
    elif weighed.days >= FEW_DAYS and weighed.worth < 0.5:
        because += (
            f"; how much days vary does not show in {weighed.days:.0f} yet, so a row counts as {weighed.worth:.2f}"
        )
    if late is not None and late > MANY_LATE:
        because += (
            f"; {late:.1%} of the labels came after the maturity of {format_duration(rules.maturity)}: set it higher"
        )
    if verdict == Verdict.PROMOTE and answered_share is not None and answered_share < rules.least_answered:
        verdict = Verdict.NEED_MORE_DATA
        needed = f"{rules.least_answered:.1%} are needed (deployment.tolerance)"
        because += f"; the shadow answered {answered_share:.1%} of the requests, {needed}"
    if verdict == Verdict.NEED_MORE_DATA and (limit := _limit_reached(rules, since, now, len(counted), asked)):
        verdict, because = "keep", f"no proof within {limit}: {because}"
    return ShadowDecision(verdict, because, evidence)


def decide(
    shadow: Shadow,
    spec: ModelSpec,
    outcomes: PairedOutcomes,
    now: datetime,
    *,
    loss_scale: float = 1.0,
    answered: int | None = None,
    answered_share: float | None = None,
    nests: bool = False,
    asked: NDArray[np.int64] | None = None,
) -> ShadowDecision:
    """Judge the version in shadow against production, with the spec's rules; see :func:`judge`.

    A candidate in which production lives on (``nests``) is promoted once it has answered for a day and lost nothing by
    it, or no more in three days or longer than such days differ by; one that has lost is looked at again each day.
    """
    rules = Rules.of(spec, loss_scale=loss_scale, nests=nests and shadow.role is ShadowRole.CHALLENGER)
    versions = {"version": shadow.version, "judged_against": shadow.judged_against}
    found = judge(
        outcomes,
        rules,
        since=shadow.since,
        now=now,
        whole=Whole.of(shadow, rules),
        answered=answered,
        # The sentinel has shown in production that it answers, and what it proves must not wait.
        answered_share=answered_share if shadow.role is ShadowRole.CHALLENGER else None,
        asked=asked,
    )
    if rules.nested:
        is_over = bool(_limit_reached(rules, shadow.since, now, found.evidence["rows"], asked))
        found = _nested(found, rules, answered_share, is_over=is_over)
    return replace(found, evidence=versions | found.evidence)


_CHANCE = 2.0
"""Standard errors that days alike would differ by. A new member costs its version the first day or two, until labels
have weighed it: the mean of all days since would remember that for the rest of the trial."""


def _nested(found: ShadowDecision, rules: Rules, answered_share: float | None, *, is_over: bool) -> ShadowDecision:
    """Rule on a candidate that need not be proven better: only a loss, or no answers, keeps it waiting."""
    evidence = found.evidence | {"proof": "nested"}
    if found.verdict == Verdict.PROMOTE:
        return replace(found, evidence=evidence)
    if evidence["interval"][1] < 0.0 and evidence["days"] >= FEW_DAYS:  # one bad day is not a bad version
        return ShadowDecision("keep", f"production lives on in it, but it is proven worse: {found.because}", evidence)
    answered = answered_share is not None and answered_share >= rules.least_answered
    lost, error = -evidence["gain"], evidence["standard_error"]
    by_chance = error is not None and lost <= _CHANCE * error
    if evidence["until"] > evidence["from"] and (lost <= 0.0 or by_chance) and answered:
        because = "production lives on in it, "
        if lost > 0.0:
            because += "it lost no more than its days differ by, "
        because += f"and it answered {answered_share:.1%} of the requests: {found.because}"
        return ShadowDecision("promote", because, evidence)
    return ShadowDecision("keep" if is_over else Verdict.NEED_MORE_DATA, found.because, evidence)


def _group_index(group: NDArray[Any]) -> NDArray[np.int64] | None:
    """Number the groups; rows without one stand alone. None where all do."""
    coded = np.issubdtype(group.dtype, np.integer)
    named = group >= 0 if coded else np.array([bool(g) for g in group], dtype=bool)
    if not named.any():
        return None
    _, inverse = np.unique(group[named] if coded else group[named].astype(str), return_inverse=True)
    index = np.empty(len(group), dtype=np.int64)
    index[named] = inverse
    index[~named] = inverse.max() + 1 + np.arange(int((~named).sum()))
    return index


def _group_means(
    values: NDArray[np.float64], index: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """One mean a unit, and of how many rows each is; rows stand for themselves."""
    if index is None:
        return values, None
    sizes = np.bincount(index)
    return np.bincount(index, values) / sizes, sizes


def _days_needed(rows: int | None, units: int, seen: timedelta, step: timedelta) -> int | None:
    """How many days of whole steps the missing rows take at the pace seen."""
    if rows is None or not units or not seen:
        return None if rows != 0 else 0
    return math.ceil(rows / units * (seen / step)) * max(1, step // timedelta(days=1))


def _first(times: NDArray[np.int64], index: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Each unit's first time."""
    if index is None:
        return times
    first = np.full(int(index.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, index, times)
    return first


def _limit_reached(
    rules: Rules, since: datetime, now: datetime, rows: int, asked: NDArray[np.int64] | None = None
) -> str:
    """The limit that a shadow without a proof has come to, in words; empty before."""
    until = now - rules.maturity
    passed = until - since
    counted = passed if asked is None else time_in_traffic(asked, since=since, until=until, cycle=rules.cycle)
    if counted >= rules.max_time:
        gap = f", without {_in_days(passed - counted)} in which nobody asked" if counted < passed else ""
        return f"{_in_days(rules.max_time)}{gap}"
    if rules.max_rows is not None and rows >= rules.max_rows:
        return f"{rules.max_rows:,} rows"
    return ""


def _in_days(duration: timedelta) -> str:
    return f"{duration.days} days" if duration.days else format_duration(duration)


def _share(part: int, whole: int | None) -> float | None:
    return None if not whole else round(min(part / whole, 1.0), 6)


def _mean(values: NDArray[Any]) -> float | None:
    return round(float(values.mean()), 6) if len(values) else None


def _microseconds(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
