"""Do days differ by more than chance? Rows of one day share what happened on it, and count for less when it shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evergreen.statistics.checks import StatisticsInputError, as_count
from evergreen.statistics.special import chi_square_tail

_SHRINKAGE = 30.0
"""A day of this many values tells as much of its variance as all days together do."""

SIGNIFICANCE = 0.05
"""Level at which days are taken to differ; independent rows lose no evidence in nineteen of twenty looks."""


def overdispersion_of_days(values: npt.ArrayLike, days: npt.ArrayLike, *, cycle: int = 7) -> float:
    """Return how many times as much daily sums vary as sums of independent rows would; 1 unless it is significant.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Differences, one a row.
    days : array_like of int, shape (n,)
        The day of each row, numbered from the first.
    cycle : int
        Days after which traffic repeats itself. With two whole cycles or more, what a day of the cycle has in common
        with the same day of other cycles is no surprise, and is taken out first.

    Returns
    -------
    float
        At least 1: what the evidence is to be divided by.

    Notes
    -----
    Pearson's chi-square of the daily sums over its degrees of freedom less 2, which makes its inverse unbiased, where
    the chi-square is significant at 5 %.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> day = np.repeat(np.arange(14), 1_000)
    >>> overdispersion_of_days(rng.normal(size=14_000), day)
    1.0
    >>> overdispersion_of_days(rng.normal(size=14_000) + np.repeat(rng.normal(size=14), 1_000), day) > 100
    True
    """
    x = np.asarray(values, dtype=np.float64)
    day = np.asarray(days)
    if x.ndim != 1 or x.shape != day.shape or (len(day) and day.dtype.kind not in "iu"):
        raise StatisticsInputError("days", f"of shape {day.shape}, type {day.dtype}", "pass one whole number a value")
    if as_count("cycle", cycle) < 1:
        raise StatisticsInputError("cycle", cycle, "pass how many days it has, 1 or more")
    if len(x) < 2 or int(day.min()) == int(day.max()):
        return 1.0
    rows = np.bincount(day - day.min()).astype(np.float64)
    sums = np.bincount(day - day.min(), x)
    variance = _variance(x, day - day.min(), rows)
    held = rows > 0
    if not variance.any():
        return 1.0
    expected, fitted = _expected(sums, rows, cycle)
    freedom = int(held.sum()) - fitted
    if freedom < 1:
        return 1.0
    chi_square = float((((sums - rows * expected) ** 2)[held] / (rows * variance)[held]).sum())
    if chi_square_tail(chi_square, float(freedom)) >= SIGNIFICANCE:
        return 1.0
    return max(1.0, chi_square / max(freedom - 2, 1))


def _variance(
    x: npt.NDArray[np.float64], day: npt.NDArray[np.int64], rows: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return each day's variance of a value, from the day's own values as far as there are enough of them.

    Means of large groups vary less than those of small ones, and large groups are met on early days.
    """
    squares = (x - x.mean()) ** 2
    whole = float(squares.mean())
    of_day: npt.NDArray[np.float64] = (np.bincount(day, squares) + _SHRINKAGE * whole) / (rows + _SHRINKAGE)
    return of_day


def _expected(
    sums: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], cycle: int
) -> tuple[npt.NDArray[np.float64], int]:
    """Return each day's expected mean and how many means were fitted: one of all days, or one a day of the cycle."""
    if len(rows) < 2 * cycle:
        return np.full(len(rows), sums.sum() / rows.sum()), 1
    place = np.arange(len(rows)) % cycle
    of_place = np.bincount(place, sums) / np.maximum(np.bincount(place, rows), 1.0)
    return of_place[place], int((np.bincount(place, rows) > 0).sum())
