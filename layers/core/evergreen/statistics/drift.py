"""Does the window look different from the model's own history? A triage signal, never a reason to promote.

Thresholds come from how much the reference's own cycles (weeks) differ from each other, column by column, so a model
whose inputs swing with the week doesn't alarm each Monday, and one with a hundred thousand rows doesn't alarm on
differences that mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from evergreen.statistics.checks import StatisticsInputError, as_number
from evergreen.statistics.profile import MISSING, CategoryBins, CategoryColumn, NumberBins, NumberColumn, Profile
from evergreen.statistics.special import chi_square_tail, kolmogorov_tail, student_t_upper_quantile
from evergreen.statistics.words import Word

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_Distance = Callable[[Counts, Counts], Floats]

MIN_ROWS = 100
"""Fewer rows say nothing; reference cycles with fewer don't take part in the calibration."""

SMALLEST_DISTANCE = 0.1
"""No column drifts below this, however quiet its history was."""

FALSE_ALARMS = 0.05 / 20.0
"""One-sided level of the thresholds of all columns together."""

ORDINARY_TAIL = 0.025
"""A distance that the history exceeds once in forty times doesn't count in the share of shifted columns."""

RARE = 5
"""Categories with fewer rows than this in reference and window together count as unseen on both sides. The binning
knows each of the reference's rare values and none of the window's: any column of many categories would look different.
"""

FARTHEST = {"deviations": math.inf, "nats": 0.9 * math.sqrt(math.log(2.0)), "rows": 0.9}
"""No threshold lies beyond nine tenths of what its score can reach: a column that was replaced has drifted."""

SIGNIFICANCE = 0.01
"""Level of the tests that stand in for a history of fewer than two cycles."""


class DriftStatus(Word):
    """What the window says."""

    DRIFT = "drift"
    NO_DRIFT = "no_drift"
    INSUFFICIENT_DATA = "insufficient_data"


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How far one column is from its reference.

    Attributes
    ----------
    name : str
        The column.
    kind : {"wasserstein", "jensen_shannon"}
        The distance: Wasserstein-1 over the reference's standard deviation, or Jensen-Shannon (natural logarithm).
    score, threshold : float
        The distance and what it had to exceed.
    direction : {"higher_is_worse"}
        A score is a distance, never a p-value.
    drifted : bool
        Whether ``score > threshold``; without a history of two cycles also whether the test was significant, and the
        score more than what sampling alone gives in a small window.
    shifted : bool
        Whether it counts in the share: ``score > 0.1``, and above both what sampling alone gives in a small window
        and what the history often does (``t_2K(0.975) * r_c``); in a large window and a quiet history that is 0.1.
    samples : int
        Rows of the window.
    p_value : float or None
        Of the Kolmogorov-Smirnov or chi-square test, where there is no history to calibrate with.
    """

    name: str
    kind: Literal["wasserstein", "jensen_shannon"]
    score: float
    threshold: float
    direction: Literal["higher_is_worse"]
    drifted: bool
    shifted: bool
    samples: int
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether the window drifted, with the evidence of each column.

    Attributes
    ----------
    status : DriftStatus
        ``insufficient_data`` when window or reference has fewer than 100 rows.
    drift : bool or None
        The same as a truth value; None for ``insufficient_data``.
    share : float or None
        Share of the columns that are ``shifted``.
    drift_threshold : float
        The share that is drift.
    columns : tuple of ColumnDrift
        In the binning's order; empty for ``insufficient_data``.
    samples : int
        Rows of the window.
    cycles : int
        Reference cycles that calibrated the thresholds.
    """

    status: DriftStatus
    drift: bool | None
    share: float | None
    drift_threshold: float
    columns: tuple[ColumnDrift, ...]
    samples: int
    cycles: int


@dataclass(frozen=True, slots=True)
class _Measured:
    """One distance of a column with all that a threshold needs."""

    name: str
    kind: Literal["wasserstein", "jensen_shannon"]
    score: float
    history: float
    """R**2: mean squared distance of each cycle to the others."""
    sampling: float
    """What 1/rows is to be multiplied by for the squared distance that sampling alone gives."""
    noise: float
    """A distance that sampling alone hardly ever gives for this window."""
    p_value: float | None
    unit: Literal["deviations", "nats", "rows"] = "deviations"
    """What the distance is counted in; ``rows`` is a share of rows, which has nothing to borrow from the others."""


def detect(reference_cycles: Sequence[Profile], window: Profile, *, drift_threshold: float = 0.3) -> Drift:
    """Compare a window (a trailing whole cycle) with the reference, one profile a cycle.

    Parameters
    ----------
    reference_cycles : sequence of Profile
        The reference's whole cycles, by default weeks.
    window : Profile
        Of the same binning.
    drift_threshold : float
        The share of shifted columns that is drift, above 0 and at most 1.

    Raises
    ------
    ValueError
        When the binnings differ or ``drift_threshold`` is out of range.

    Notes
    -----
    - A number's score is the Wasserstein-1 distance over the reference's standard deviation, a category's the
      Jensen-Shannon distance with missing and unseen values as categories. Missing and infinite values have no place
      on a number's scale: half the sum of the differences of their shares (with the finite ones as one more) is a
      second score, and the one further beyond its threshold, else the larger one, is told: a column that goes half
      missing scores 0.5. A reference without variance has no standard deviation: the share of rows that moved to other
      values is the score.
    - ``R_c**2`` is the mean over K cycles of (distance of that cycle to the others)**2, shrunk to
      ``r_c**2 = (R_c**2 + mean_c R**2) / 2``, except that shares of rows go by their own ``R_c**2``: deviations
      say nothing about them; the threshold is ``max(0.1, t_2K(1 - 0.05 / (20 D)) * r_c)``, and never beyond nine
      tenths of what a bounded score can reach.
      Where the window has fewer rows than the cycles had, ``r_c**2`` gains the difference in sampling noise.
    - Drift when any column exceeds its threshold, or the share of shifted columns reaches ``drift_threshold``.
    - With fewer than two cycles: a column drifts when its score exceeds 0.1 and its Kolmogorov-Smirnov or chi-square
      test is significant at 0.01 after Benjamini and Hochberg's correction.
    - In a window of so few rows that sampling alone might reach a threshold, the score must also exceed what sampling
      hardly ever gives. Categories with fewer than 5 rows on both sides together count as unseen.

    Examples
    --------
    >>> from evergreen.statistics.profile import Binning
    >>> rng = np.random.default_rng(0)
    >>> weeks = [{"load": rng.normal(size=500), "zone": rng.choice(["a", "b"], 500)} for _ in range(4)]
    >>> binning = Binning.fit(weeks[0])
    >>> reference = [Profile.count(week, binning) for week in weeks]
    >>> same = {"load": rng.normal(size=500), "zone": rng.choice(["a", "b"], 500)}
    >>> detect(reference, Profile.count(same, binning)).drift
    False
    >>> moved = same | {"load": same["load"] + 0.6}
    >>> found = detect(reference, Profile.count(moved, binning))
    >>> found.status.value, [c.name for c in found.columns if c.drifted]
    ('drift', ['load'])
    """
    threshold = as_number("drift_threshold", drift_threshold)
    if not 0.0 < threshold <= 1.0:
        raise StatisticsInputError("drift_threshold", drift_threshold, "pass a share above 0 and at most 1")
    reference = Profile.total([Profile.empty(window.binning), *reference_cycles])
    cycles = [cycle for cycle in reference_cycles if cycle.rows >= MIN_ROWS]
    if window.rows < MIN_ROWS or reference.rows < MIN_ROWS:
        return Drift(DriftStatus.INSUFFICIENT_DATA, None, None, threshold, (), window.rows, len(cycles))
    columns = window.binning.columns
    calibrated = len(cycles) >= 2
    measured = [_measure(column, cycles if calibrated else [], reference, window) for column in columns]
    if calibrated:
        judged = _judge_by_history(measured, cycles, reference, window)
    else:
        judged = _judge_by_tests([max(aspects, key=lambda m: m.score) for aspects in measured], window)
    share = sum(column.shifted for column in judged) / len(judged) if judged else 0.0
    drift = any(column.drifted for column in judged) or (calibrated and share >= threshold)
    status = DriftStatus.DRIFT if drift else DriftStatus.NO_DRIFT
    return Drift(status, drift, share, threshold, judged, window.rows, len(cycles))


def _judge_by_history(
    measured: Sequence[Sequence[_Measured]], cycles: Sequence[Profile], reference: Profile, window: Profile
) -> tuple[ColumnDrift, ...]:
    if not measured:
        return ()
    degrees = 2.0 * len(cycles)
    t = student_t_upper_quantile(FALSE_ALARMS / len(measured), degrees)
    t_ordinary = student_t_upper_quantile(ORDINARY_TAIL, degrees)
    typical = sum(aspects[0].history for aspects in measured) / len(measured)
    in_history = sum(1.0 / c.rows + 1.0 / max(1, reference.rows - c.rows) for c in cycles) / len(cycles)
    extra = max(0.0, 1.0 / window.rows + 1.0 / reference.rows - in_history)

    def judge(m: _Measured) -> ColumnDrift:
        own = max(m.history, m.sampling * in_history)  # few cycles may be alike by chance
        squared = own if m.unit == "rows" else (m.history + typical) / 2.0
        r = math.sqrt(squared + m.sampling * extra)
        limit = min(max(SMALLEST_DISTANCE, t * r, m.noise), FARTHEST[m.unit])
        return _column(m, limit, m.score > limit, max(m.noise, min(t_ordinary * r, FARTHEST[m.unit])), window)

    return tuple(max(map(judge, aspects), key=_weight) for aspects in measured)


def _weight(column: ColumnDrift) -> tuple[bool, float]:
    """Which of a column's two scores is told: the one further beyond its threshold, else the larger one."""
    return column.drifted, column.score / column.threshold if column.drifted else column.score


def _judge_by_tests(measured: Sequence[_Measured], window: Profile) -> tuple[ColumnDrift, ...]:
    """Benjamini and Hochberg: the largest rank whose p-value is within its share of the level, and all below it."""
    p_values = [1.0 if m.p_value is None else m.p_value for m in measured]
    ranked = sorted(p_values)
    allowed = [p for rank, p in enumerate(ranked, start=1) if p <= SIGNIFICANCE * rank / len(ranked)]
    largest = max(allowed, default=-1.0)
    return tuple(
        _column(m, SMALLEST_DISTANCE, m.score > max(SMALLEST_DISTANCE, m.noise) and p <= largest, m.noise, window)
        for m, p in zip(measured, p_values, strict=True)
    )


def _column(m: _Measured, threshold: float, drifted: bool, ordinary: float, window: Profile) -> ColumnDrift:
    return ColumnDrift(
        name=m.name,
        kind=m.kind,
        score=m.score,
        threshold=threshold,
        direction="higher_is_worse",
        drifted=drifted,
        shifted=m.score > max(SMALLEST_DISTANCE, ordinary),
        samples=window.rows,
        p_value=m.p_value,
    )


def _measure(
    column: NumberColumn | CategoryColumn, cycles: Sequence[Profile], reference: Profile, window: Profile
) -> tuple[_Measured, ...]:
    """Measure one column against the reference, and the reference's cycles against each other.

    A number has two distances: how far its values moved, and how many rows have none.
    """
    held, table = _side_by_side(column.name, [*cycles, reference, window])
    if isinstance(column, CategoryColumn):
        held, table = _with_rare_as_unseen(held, table)
    ours, all_cycles, theirs = table[-1:], table[-2], table[:-2]
    if isinstance(column, NumberColumn):
        gaps, spread = _scale(held, all_cycles)
        aspects: tuple[_Measured, ...] = _number_sampling(column, held, ours[0], all_cycles, gaps, spread)
        distances: tuple[_Distance, ...] = (
            partial(_moves, held=held, gaps=gaps, spread=spread),
            partial(_absences, held=held),
        )
        p_value = None if cycles else _ks_p_value(held, ours[0], all_cycles)
    else:
        aspects, distances, p_value = (_category_sampling(column, ours[0], all_cycles),), (_jensen_shannon,), None
    if p_value is None and not cycles:
        p_value = _chi_square_p_value(ours[0], all_cycles)
    return tuple(
        replace(
            aspect,
            score=float(distance(ours, all_cycles[None, :])[0]),
            history=float((distance(theirs, all_cycles - theirs) ** 2).mean()) if cycles else 0.0,
            p_value=p_value,
        )
        for aspect, distance in zip(aspects, distances, strict=True)
    )


def _side_by_side(name: str, profiles: Sequence[Profile]) -> tuple[Counts, Counts]:
    """Return the bins that any of the profiles holds, and each profile's counts there, one a row."""
    sparse = [profile.sparse_column(name) for profile in profiles]
    held = np.unique(np.concatenate([bins for bins, _ in sparse]))
    table = np.zeros((len(profiles), len(held)), dtype=np.int64)
    for row, (bins, counts) in zip(table, sparse, strict=True):
        row[np.searchsorted(held, bins)] = counts
    return held, table


def _with_rare_as_unseen(held: Counts, table: Counts) -> tuple[Counts, Counts]:
    """Move the counts of rare categories to the unseen; the table's last rows are the reference and the window.

    What is rare must not depend on the side, so it goes by both together. Where the binning has no place for all of the
    reference's categories, the ones it knows are those that happened to be frequent there: rare ends above them.
    """
    known = held >= CategoryBins.FIRST_CATEGORY
    reference, both = table[-2], table[-2] + table[-1]
    limit = float(RARE)
    if reference[held == CategoryBins.UNSEEN].sum() > 0 and reference[known].any():
        least = float(reference[known & (reference > 0)].min())
        limit = (least + 4.0 * math.sqrt(least) + RARE) * float(both.sum()) / float(reference.sum())
    pooled = (known & (both < limit)) | (held == CategoryBins.UNSEEN)
    if not pooled.any():
        return held, table
    return (
        np.append(held[~pooled], CategoryBins.UNSEEN),
        np.column_stack([table[:, ~pooled], table[:, pooled].sum(axis=1)]),
    )


def _finite(held: Counts) -> npt.NDArray[np.bool_]:
    return (held >= NumberBins.FIRST_FINITE) & (held < NumberBins.PLUS_INFINITY)


def _scale(held: Counts, reference: Counts) -> tuple[Floats, float]:
    """Return the gaps between the finite bins held and the reference's standard deviation, in steps."""
    finite = _finite(held)
    values = NumberBins.VALUES[held[finite] - NumberBins.FIRST_FINITE]
    counts = reference[finite].astype(np.float64)
    rows = counts.sum()
    if rows == 0.0:
        return np.diff(values), 0.0
    mean = (counts * values).sum() / rows
    return np.diff(values), math.sqrt(float((counts * (values - mean) ** 2).sum() / rows))


def _moves(a: Counts, b: Counts, *, held: Counts, gaps: Floats, spread: float) -> Floats:
    """Score how far the finite values of ``a``'s rows are from those of ``b``; without a spread, how many moved."""
    finite = _finite(held)
    if spread == 0.0:
        return _total_variation(a, b)
    below_a, below_b = _below(a[:, finite]), _below(b[:, finite])
    moved: Floats = (np.abs(below_a - below_b)[:, :-1] * gaps).sum(axis=1) / spread
    nowhere = (a[:, finite].sum(axis=1) == 0) | (b[:, finite].sum(axis=1) == 0)
    return np.where(nowhere, 0.0, moved)


def _absences(a: Counts, b: Counts, *, held: Counts) -> Floats:
    """Score how many rows became missing, infinite or finite from one side to the other."""
    finite = _finite(held)
    kinds_a = np.column_stack([a[:, ~finite], a[:, finite].sum(axis=1)])
    kinds_b = np.column_stack([b[:, ~finite], b[:, finite].sum(axis=1)])
    return _total_variation(kinds_a, kinds_b)


def _below(counts: Counts) -> Floats:
    """Cumulate each row's shares; equal shares are equal floats, so wide gaps between equal tails add nothing."""
    cumulated = np.cumsum(counts, axis=1)
    total = counts.sum(axis=1, keepdims=True)
    return cumulated / np.maximum(total, 1)


def _shares(counts: Counts) -> Floats:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _total_variation(a: Counts, b: Counts) -> Floats:
    distance: Floats = np.abs(_shares(a) - _shares(b)).sum(axis=1) / 2.0
    return distance


def _jensen_shannon(a: Counts, b: Counts) -> Floats:
    p, q = np.broadcast_arrays(_shares(a), _shares(b))
    middle = (p + q) / 2.0
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2.0
    distance: Floats = np.sqrt(np.maximum(divergence, 0.0))
    return distance


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    there = p > 0.0
    ratio = np.divide(p, q, out=np.ones_like(p), where=there)
    entropy: Floats = (p * np.log(ratio)).sum(axis=1)
    return entropy


def _number_sampling(
    column: NumberColumn, held: Counts, window: Counts, reference: Counts, gaps: Floats, spread: float
) -> tuple[_Measured, _Measured]:
    """Work out what sampling alone does to a number's two scores.

    The root of E[W**2] is at most ``integral sqrt(F (1 - F)) dx / sqrt(n)`` (Minkowski), its mean 0.8 of that; W is at
    least the difference of the means, which exceeds 3.3 standard errors once in a thousand times.
    """
    finite = _finite(held)
    root_n = math.sqrt(1.0 / max(1, int(window.sum())) + 1.0 / max(1, int(reference.sum())))
    reach = 0.0
    if spread > 0.0:
        below = _below(reference[None, finite])[0, :-1]
        reach = float((np.sqrt(np.maximum(below * (1.0 - below), 0.0)) * gaps).sum()) / spread
    both = window + reference
    present = float(both[finite].sum() / max(1, int(both.sum())))
    absence = math.sqrt(present * (1.0 - present))
    empty = _Measured(column.name, "wasserstein", 0.0, 0.0, 0.0, 0.0, None)
    moved = replace(
        empty, sampling=reach**2, noise=max(2.0 * reach, 3.3) * root_n, unit="deviations" if spread else "rows"
    )
    return moved, replace(empty, sampling=absence**2, noise=3.3 * absence * root_n, unit="rows")


def _category_sampling(column: CategoryColumn, window: Counts, reference: Counts) -> _Measured:
    """Work out what sampling alone does to a Jensen-Shannon distance: 8 n times its square is about a chi-square."""
    inverse_n = 1.0 / max(1, int(window.sum())) + 1.0 / max(1, int(reference.sum()))
    degrees = max(0.0, float(np.count_nonzero(window + reference)) - 1.0)
    far = math.sqrt(max(degrees - 0.5, 0.0)) + 2.33 if degrees else 0.0
    return _Measured(
        name=column.name,
        kind="jensen_shannon",
        score=0.0,
        history=0.0,
        sampling=degrees / 8.0,
        noise=far * math.sqrt(inverse_n / 8.0),
        p_value=None,
        unit="nats",
    )


def _ks_p_value(held: Counts, window: Counts, reference: Counts) -> float | None:
    """Test by Kolmogorov and Smirnov's two-sample distance on the bins, asymptotically; None when a side has no values.

    Where values are missing, a chi-square test of how many is the other half (Bonferroni).
    """
    there = held != MISSING
    n, m = int(window[there].sum()), int(reference[there].sum())
    if n == 0 or m == 0:
        return None
    farthest = float(np.abs(_below(window[None, there]) - _below(reference[None, there])).max())
    p_value = kolmogorov_tail(math.sqrt(n * m / (n + m)) * farthest)
    if there.all():
        return p_value
    absent = _chi_square_p_value(
        np.array([window.sum() - n, n], dtype=np.int64), np.array([reference.sum() - m, m], dtype=np.int64)
    )
    return min(1.0, 2.0 * min(p_value, absent))


def _chi_square_p_value(window: Counts, reference: Counts) -> float:
    """Test two samples by chi-square; bins that would hold fewer than 5 of the window's rows are tested as one."""
    n, m = int(window.sum()), int(reference.sum())
    rare = (window + reference) * (n / max(1, n + m)) < 5.0
    pairs = np.array([window, reference], dtype=np.float64)
    pooled = np.column_stack([pairs[:, ~rare], pairs[:, rare].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2 or n == 0 or m == 0:
        return 1.0
    expected = pooled.sum(axis=0) * np.array([[n], [m]]) / (n + m)
    return chi_square_tail(float(((pooled - expected) ** 2 / expected).sum()), pooled.shape[1] - 1.0)
