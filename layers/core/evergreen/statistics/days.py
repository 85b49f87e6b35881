"""What the rows of one day have in common, and what the days say by themselves.

Rows of a day share what happened on it: the weather, a campaign, a batch of one customer. Two things follow. A row is
worth less than one that stands alone, by as much as days differ (:meth:`Days.dispersion`). And the daily means are a
sample of their own, small, but one that needs no word on how much days differ (:class:`DailyMeans`).

Sources: von Neumann, Annals of Mathematical Statistics 12 (1941), 367 (successive differences); Kish, Survey Sampling
(1965), 11.7 (the effective number of unequal weights); Rouder et al., Psychonomic Bulletin & Review 16 (2009), 225
(the Bayes factor of a t); Perez-Ortiz et al., arXiv 2208.07610, and Wang & Ramdas, arXiv 2310.03722 (why it may be
looked at at any time).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evergreen.statistics.checks import StatisticsInputError, as_count
from evergreen.statistics.special import log_student_t_below

Floats = npt.NDArray[np.float64]

SHARES: tuple[float, ...] = (0.0, *(10.0 ** (power / 2.0) for power in range(-8, 1)))
"""What a day's rows may have in common, as shares of a row's variance: nothing, or 0.01 % to 100 %, all as likely.

Of rows that differ in one answer of ten, 0.1 % are days that differ by one point, 1 % by three.
"""

FEW_DAYS = 3
"""From so many days on they are compared, and have a say of their own."""

FEWEST_CYCLES = 3
"""Of fewer, what is left of the days without their cycle tells too little of how much they differ."""

EFFECTS = (0.3, 0.6, 1.2)
"""Gains that the test on daily means looks for, in standard deviations of a day's mean: the widths of its prior."""

SHOWN = 0.9
"""Days are said to differ where it is so likely that they vary twice as much as chance would have it, or more."""

_INFORMATION = 0.5
"""Successive differences overlap: they tell of a variance what two thirds as many independent ones would.

With a half, days that look alike by luck are trusted a little later, and simulated nulls keep their 1 % with room.
"""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """How much the sum of all rows varies, as a multiple of what independent rows would give.

    Attributes
    ----------
    used : float
        At least 1: what the evidence of the rows is divided by. As likely too large as too small, and larger where
        little is known.
    shown : float
        1, unless the days have shown that they differ; then the same as ``used``.
    """

    used: float
    shown: float


@dataclass(frozen=True, slots=True)
class DailyMeans:
    """The days as a sample: their number, their mean, and its standard error.

    Attributes
    ----------
    days : float
        How many days of equal traffic they are worth, (sum n)^2 / sum n^2; below 3 they say nothing.
    gain : float
        Mean difference, each day with the weight of its rows.
    error : float
        Standard error of the gain, from the days' own differences.
    """

    days: float
    gain: float
    error: float

    def log_e_above(self, margin: float) -> float:
        """Return the log e-value against "the gain is at most ``margin``"; 0 below three days."""
        return self._log_e(self.gain - margin)

    def log_e_below(self, margin: float) -> float:
        """Return the log e-value against "the gain is at least ``margin``"; 0 below three days."""
        return self._log_e(margin - self.gain)

    @property
    def speaks(self) -> bool:
        """Whether there are days enough for them to have a say."""
        return self.days >= FEW_DAYS

    def _log_e(self, excess: float) -> float:
        if not self.speaks or (self.error == 0.0 and excess == 0.0):
            return 0.0
        return log_e_of_t(excess / self.error if self.error else math.copysign(1e9, excess), self.days)


@dataclass(frozen=True, slots=True)
class Days:
    """Differences, summed up by day; only days with rows, in their order.

    Attributes
    ----------
    day : ndarray of int64
        The day's number.
    rows : ndarray of float
        Values of the day (rows, or groups).
    sums : ndarray of float
        Their sum.
    noise : ndarray of float
        The variance that their sum would have if they were independent.
    """

    day: npt.NDArray[np.int64]
    rows: Floats
    sums: Floats
    noise: Floats

    @classmethod
    def of(cls, values: npt.ArrayLike, days: npt.ArrayLike, sizes: npt.ArrayLike | None = None) -> Days:
        """Sum up values by day.

        Parameters
        ----------
        values : array_like of float, shape (n,)
            Differences, one a row or one mean a group.
        days : array_like of int, shape (n,)
            The day of each.
        sizes : array_like of int, shape (n,), optional
            How many rows each is the mean of. Means of many rows vary less than means of few, and large groups are
            met on early days: without their sizes those days would seem to differ from the others.

        Raises
        ------
        ValueError
            When the three don't fit together, or days are not whole numbers.
        """
        x = np.asarray(values, dtype=np.float64)
        day = np.asarray(days)
        if x.ndim != 1 or x.shape != day.shape or (len(day) and day.dtype.kind not in "iu"):
            raise StatisticsInputError(
                "days", f"of shape {day.shape}, type {day.dtype}", "pass one whole number a value"
            )
        size = np.ones(len(x)) if sizes is None else np.asarray(sizes, dtype=np.float64)
        if size.shape != x.shape or not bool((size >= 1.0).all()):
            raise StatisticsInputError("sizes", f"of shape {size.shape}", "pass one number of 1 or more a value")
        found, place = np.unique(day, return_inverse=True)
        count = len(found)
        return cls(
            day=found.astype(np.int64),
            rows=np.bincount(place, minlength=count).astype(np.float64),
            sums=np.bincount(place, x, minlength=count),
            noise=np.bincount(place, _variances(x, size), minlength=count),
        )

    def means(self) -> DailyMeans:
        """Return the days as a sample of their own."""
        if not len(self.rows):
            return DailyMeans(0.0, 0.0, 0.0)
        weight = self.rows / self.rows.sum()
        worth = 1.0 / float((weight**2).sum())
        gain = float(self.sums.sum() / self.rows.sum())
        apart = weight * (self.sums / self.rows - gain)
        error = math.sqrt(float((apart**2).sum()) * worth / (worth - 1.0)) if worth > 1.0 + 1e-9 else 0.0
        return DailyMeans(worth, gain, error)

    def dispersion(self, *, cycle: int = 7, shares: Sequence[float] = SHARES) -> Dispersion:
        """Return how much more the sum of all rows varies than that of independent ones.

        Parameters
        ----------
        cycle : int
            Days after which traffic repeats itself. With three whole cycles or more, what a day of the cycle has in
            common with the same day of other cycles is no surprise, and is taken out first.
        shares : sequence of float
            What a day's rows may have in common; ``(0,)`` where nothing is known of days.

        Notes
        -----
        Each share s makes the difference of two successive daily means vary ``1 + s v / v_d`` times as much as chance
        has it, v the variance of a value and v_d that of the two means' difference, halved. The shares are weighed by
        how likely they make the differences seen, and averaged. A level that shifts once, in the midst of a trial, is
        in one difference only: it is not mistaken for days that differ. With one or two days there is next to nothing
        to compare, and a row has the average worth that the shares leave it.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> day = np.repeat(np.arange(14), 1_000)
        >>> alike, own = rng.normal(size=14_000), np.repeat(rng.normal(size=14), 1_000)
        >>> Days.of(alike, day).dispersion().used < 2.5, Days.of(alike, day).dispersion().shown
        (True, 1.0)
        >>> Days.of(alike + own, day).dispersion().shown > 100
        True
        >>> shift = np.where(day < 7, 0.0, 0.1)
        >>> Days.of(alike + shift, day).dispersion().used < 4
        True
        """
        if as_count("cycle", cycle) < 1:
            raise StatisticsInputError("cycle", cycle, "pass how many days it has, 1 or more")
        total = float(self.noise.sum())
        if not total > 0.0:
            return Dispersion(1.0, 1.0)
        share = np.asarray(shares, dtype=np.float64)
        variance = share * total / self.rows.sum()
        inflated = 1.0 + variance * float((self.rows**2).sum()) / total
        if len(self.rows) < FEW_DAYS:
            return Dispersion(1.0 / float((1.0 / inflated).mean()), 1.0)
        likely = self._likelihood(variance, cycle)
        used = float((likely * inflated).sum())
        differ = float(likely[inflated >= 2.0].sum()) >= SHOWN
        return Dispersion(used, used if differ else 1.0)

    def _likelihood(self, variance: Floats, cycle: int) -> Floats:
        """Return how likely each variance of the days makes the differences of successive daily means; 1 in all."""
        usual, freedom = self._usual(cycle)
        apart = np.diff(self.sums / self.rows - usual)
        chance = self.noise / self.rows**2
        expected = (chance[1:] + chance[:-1] + 2.0 * variance[:, None]) * freedom
        log_likelihood = -0.5 * _INFORMATION * freedom * (np.log(expected) + apart**2 / expected).sum(axis=1)
        likely: Floats = np.exp(log_likelihood - log_likelihood.max())
        return likely / likely.sum()

    def _usual(self, cycle: int) -> tuple[Floats, float]:
        """Return each day's usual mean in its cycle, and the share of the days' variance that is left without it."""
        first = self.day - self.day.min()
        cycles = (int(first.max()) + 1) // cycle
        if cycles < FEWEST_CYCLES or cycle < 2:
            return np.zeros(len(first)), 1.0
        place = first % cycle
        rows = np.bincount(place, self.rows, minlength=cycle)
        usual = np.bincount(place, self.sums, minlength=cycle) / np.maximum(rows, 1.0)
        return usual[place], 1.0 - len(np.unique(place)) / len(first)


def log_e_of_t(t: float, days: float) -> float:
    """Return the log e-value of a t statistic against "the mean is at most 0", of any number of looks.

    Parameters
    ----------
    t : float
        Mean over its standard error.
    days : float
        Observations, more than 1.

    Notes
    -----
    With n observations, nu = n - 1 and an effect size drawn from the positive half of Normal(0, tau^2), under the
    right Haar prior 1 / sigma of the unknown scale: ``(1 + n tau^2)^(-1/2) ((1 + t^2/nu) / (1 + t^2/(nu (1 +
    n tau^2))))^((nu+1)/2) * 2 P(T < c)``, T of Student's law with n degrees of freedom, ``c = t sqrt(n tau^2 /
    (1 + n tau^2)) sqrt(n/nu) / sqrt(1 + t^2/(nu (1 + n tau^2)))``; the mean over the widths in ``EFFECTS``. It is the
    likelihood ratio of what no change of scale can touch, so it is a martingale at a mean of 0 whatever sigma is.

    Examples
    --------
    >>> round(log_e_of_t(0.0, 14), 2) < 0.0
    True
    >>> math.exp(log_e_of_t(5.0, 14)) > 100
    True
    >>> math.exp(log_e_of_t(-5.0, 14)) < 0.2
    True
    """
    freedom = days - 1.0
    found = []
    for width in EFFECTS:
        spread = 1.0 + days * width**2
        left = t * t / (freedom * spread)
        ratio = 0.5 * (days * (math.log1p(t * t / freedom) - math.log1p(left)) - math.log(spread))
        side = t * math.sqrt((1.0 - 1.0 / spread) * days / freedom / (1.0 + left))
        found.append(ratio + math.log(2.0) + log_student_t_below(side, days))
    largest = max(found)
    return largest + math.log(sum(math.exp(each - largest) for each in found) / len(found))


def _variances(x: Floats, size: Floats) -> Floats:
    """Return each value's variance by how many rows it is the mean of: a part that stays, a part that averages out."""
    squares = (x - x.mean()) ** 2 if len(x) else x
    if not len(x) or size.min() == size.max():
        return np.full(len(x), float(squares.mean()) if len(x) else 0.0)
    each = 1.0 / size
    apart = each - each.mean()
    slope = max(0.0, float((apart * squares).sum() / (apart**2).sum()))
    stays = float(squares.mean()) - slope * float(each.mean())
    if stays < 0.0:
        slope, stays = float((each * squares).sum() / (each**2).sum()), 0.0
    variances: Floats = stays + slope * each
    return variances
