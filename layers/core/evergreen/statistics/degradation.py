"""Has the accuracy in production fallen below what is acceptable? A detector that may look every day.

A point estimate over a week alarms in nearly every healthy year. This adds up betting evidence from every possible
start of the trouble (an e-detector), so its false alarms are at least two years of daily looks apart.

Source: Shin, Ramdas & Rinaldo, arXiv 2203.03532.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evergreen.statistics.checks import StatisticsInputError, as_between, as_count, as_share
from evergreen.statistics.words import Word

THRESHOLD = 730.0
"""Average number of daily looks between two false alarms: two years."""

_DISTANCES = np.geomspace(0.02, 0.6, 8)
_SMALLEST = 1e-6


class PerformanceStatus(Word):
    """What the labelled rows say of the model in production."""

    OK = "ok"
    DEGRADED = "degraded"
    INSUFFICIENT_DATA = "insufficient_data"


@dataclass(frozen=True, slots=True)
class Performance:
    """What the labelled days say, with the evidence.

    Attributes
    ----------
    status : PerformanceStatus
        ``insufficient_data`` below ``min_labelled`` rows or without anything to compare with; ``degraded`` when
        ``score >= threshold``; else ``ok``.
    score : float
        The mean of the detectors M_j after the last day (higher is worse), held at the largest float; 0 without data.
    log_m : float or None
        Its logarithm; None without data.
    threshold : float
        730.
    accuracy : float or None
        Share of correct rows; None without labelled rows.
    p0 : float or None
        The error that is still acceptable; None when there is nothing to compare with.
    phi : float
        How much more the daily error of the reference varies than chance would have it, at least 1.
    labelled : int
        Labelled rows.
    """

    status: PerformanceStatus
    score: float
    log_m: float | None
    threshold: float
    accuracy: float | None
    p0: float | None
    phi: float
    labelled: int


def performance(
    daily: Iterable[tuple[int, int]],
    reference_daily: Iterable[tuple[int, int]],
    *,
    accuracy_threshold: float | None = None,
    tolerance: float = 0.03,
    min_labelled: int = 100,
) -> Performance:
    """Judge the days since the version went into production.

    Parameters
    ----------
    daily : iterable of (int, int)
        Labelled rows and how many of them were predicted correctly, for each matured day, oldest first. For
        regression a row is correct when its absolute error is within a tolerance.
    reference_daily : iterable of (int, int)
        The same of the reference (validation) days. Its overdispersion scales the evidence, and its error is what
        is acceptable when no ``accuracy_threshold`` is given.
    accuracy_threshold : float, optional
        The accuracy below which the model has degraded, above 0 and below 1.
    tolerance : float
        Without a threshold: how far the error may rise above the reference's.
    min_labelled : int
        Labelled rows below which nothing is said.

    Raises
    ------
    ValueError
        When a count is negative, not whole or above its day's rows, or another argument is out of range.

    Notes
    -----
    ``M_j <- (1 + M_j) * (theta_j/p0)**(k/phi) * ((1-theta_j)/(1-p0))**((n-k)/phi)`` for k errors of n rows a day, over
    a grid of eight errors theta_j above p0; degraded when their mean reaches 730. Days without labels change nothing.

    Examples
    --------
    >>> reference = [(500, 450)] * 14
    >>> performance([(100, 91)] * 10, reference).status.value
    'ok'
    >>> fallen = performance([(100, 91)] * 10 + [(100, 75)] * 7, reference)
    >>> fallen.status.value, round(fallen.p0, 3), fallen.labelled
    ('degraded', 0.13, 1700)
    >>> performance([(20, 3)], reference).status.value
    'insufficient_data'
    """
    days = _days("daily", daily)
    reference = _days("reference_daily", reference_daily)
    tolerance = as_share("tolerance", tolerance)
    min_labelled = as_count("min_labelled", min_labelled)
    if accuracy_threshold is not None:
        accuracy_threshold = as_between("accuracy_threshold", accuracy_threshold, 0, 1)
    labelled = sum(n for n, _ in days)
    p0 = _acceptable_error(reference, accuracy_threshold, tolerance)
    phi = overdispersion(reference)
    log_m = None if p0 is None else _log_detectors(days, p0, phi)
    if log_m is None or labelled < min_labelled:
        status = PerformanceStatus.INSUFFICIENT_DATA
    elif log_m >= math.log(THRESHOLD):
        status = PerformanceStatus.DEGRADED
    else:
        status = PerformanceStatus.OK
    return Performance(
        status=status,
        score=0.0 if log_m is None else math.exp(min(log_m, math.log(sys.float_info.max) - 1e-9)),
        log_m=log_m,
        threshold=THRESHOLD,
        accuracy=sum(correct for _, correct in days) / labelled if labelled else None,
        p0=p0,
        phi=phi,
        labelled=labelled,
    )


def overdispersion(days: Iterable[tuple[int, int]]) -> float:
    """Return how many times as much the daily error varies as independent rows would: Pearson's chi-square a day.

    Parameters
    ----------
    days : iterable of (int, int)
        Rows and correct rows a day; days without rows are left out.

    Returns
    -------
    float
        At least 1; 1 for fewer than two days.

    Examples
    --------
    >>> overdispersion([(100, 90)] * 7)
    1.0
    >>> overdispersion([(1000, 800), (1000, 900), (1000, 800), (1000, 900)]) > 20
    True
    """
    seen = [(n, correct) for n, correct in _days("days", days) if n]
    if len(seen) < 2:
        return 1.0
    n, correct = np.array(seen, dtype=np.float64).T
    share = float(correct.sum() / n.sum())
    if share <= 0.0 or share >= 1.0:
        return 1.0
    chi_square = float(((correct - n * share) ** 2 / (n * share * (1.0 - share))).sum())
    return max(1.0, chi_square / (len(seen) - 1))


def _days(key: str, days: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    checked = []
    for i, day in enumerate(days):
        try:
            rows, right = day
        except (TypeError, ValueError):
            raise StatisticsInputError(f"{key}[{i}]", day, "pass the day's (labelled rows, correct rows)") from None
        n, correct = as_count(f"{key}[{i}] rows", rows), as_count(f"{key}[{i}] correct", right)
        if correct > n:
            raise StatisticsInputError(f"{key}[{i}] correct", right, f"pass at most the day's rows, {n}")
        checked.append((n, correct))
    return checked


def _acceptable_error(
    reference: list[tuple[int, int]], accuracy_threshold: float | None, tolerance: float
) -> float | None:
    """Return p0: what the user's threshold leaves, else the reference's error and a tolerance, else None."""
    if accuracy_threshold is not None:
        return 1.0 - accuracy_threshold
    rows = sum(n for n, _ in reference)
    if rows == 0:
        return None
    error = 1.0 - sum(correct for _, correct in reference) / rows
    return min(max(error + tolerance, _SMALLEST), 1.0 - _SMALLEST)


def _log_detectors(days: list[tuple[int, int]], p0: float, phi: float) -> float | None:
    """Return the logarithm of the mean detector after all days; None when no day has labels."""
    seen = [(n, n - correct) for n, correct in days if n]
    if not seen:
        return None
    theta = p0 + (1.0 - p0) * _DISTANCES
    for_error, for_right = np.log(theta / p0), np.log1p(-theta) - math.log1p(-p0)
    log_m: npt.NDArray[np.float64] = np.full(len(theta), -np.inf)
    for n, errors in seen:
        log_m = np.logaddexp(0.0, log_m) + (errors * for_error + (n - errors) * for_right) / phi
    largest = float(log_m.max())
    return largest + math.log(float(np.exp(log_m - largest).mean()))
