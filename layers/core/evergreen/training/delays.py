"""How long labels take, and from what age of a request on the known ones are like those that are still to come."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]

_SHORTEST, _GROWTH, _BINS = 60.0, 1.125, 160
_REMEMBERED, _FEWEST = 20_000, 1_000
"""After so many labels a delay counts half; how many must have been seen for them to say anything."""
_ALIKE, _NEARLY_NONE = 0.02, 0.5


@dataclass(frozen=True, eq=False)
class Delays:
    """Sums over the labels that were learned, by how long they took; old ones fade.

    Parameters
    ----------
    counts
        Labels by their delay, in bins that grow by an eighth, from a minute on; float32 ``[160]``.
    compared_with
        Of these, the ones whose request a state had answered; float32 ``[160]``.
    missed
        The sum of what the plain answers to those missed: label less answer, a column for each class, or a value in
        spreads; float32 ``[160, K]``.
    longest
        The longest delay seen in a bin, seconds: a bin may end long after it; float32 ``[160]``.
    """

    counts: Sums = field(default_factory=lambda: np.zeros(_BINS, dtype=np.float32))
    compared_with: Sums = field(default_factory=lambda: np.zeros(_BINS, dtype=np.float32))
    missed: Sums = field(default_factory=lambda: np.zeros((_BINS, 1), dtype=np.float32))
    longest: Sums = field(default_factory=lambda: np.zeros(_BINS, dtype=np.float32))

    def seen(self, seconds: Reals) -> Delays:
        """Count labels that took so long, ``[N]``."""
        fading = np.float32(0.5 ** (len(seconds) / _REMEMBERED))
        bins, longest = _bins(seconds), self.longest.copy()
        new = np.bincount(bins, minlength=_BINS)
        np.maximum.at(longest, bins, np.ceil(seconds).astype(np.float32))
        return Delays(
            (self.counts * fading + new).astype(np.float32),
            (self.compared_with * fading).astype(np.float32),
            (self.missed * fading).astype(np.float32),
            longest,
        )

    def compared(self, seconds: Reals, missed: Reals) -> Delays:
        """Take in what the plain answers missed, ``[N, K]``, of labels that were counted and took so long, ``[N]``."""
        bins, width = _bins(seconds), missed.shape[1]
        new = np.stack([np.bincount(bins, column, minlength=_BINS) for column in missed.T], axis=1)
        before = self if self.missed.shape[1] == width else Delays(missed=np.zeros((_BINS, width), dtype=np.float32))
        count = before.compared_with + np.bincount(bins, minlength=_BINS)
        return Delays(self.counts, count.astype(np.float32), (before.missed + new).astype(np.float32), self.longest)

    def matured_after(self, longest: timedelta) -> timedelta:
        """How old a request must be before its label is learned: ``longest`` while fewer than 1,000 were seen.

        Labels that come early may be others than those that come late: a churn is known on its day, and that there was
        none after a month. So a request waits until the labels that are known of requests as old are like all labels:
        what the plain answers miss by differs by no more than two points. While too few were compared, it waits for as
        long as all labels take but one in a thousand.

        Examples
        --------
        Who churns says so in an hour; who stays is known to after a month. Before that there is nothing to learn from.

        >>> hour, month = np.full(500, 3_600.0), np.full(1_500, 2_592_000.0)
        >>> churned, stayed = np.tile([-0.75, 0.75], (500, 1)), np.tile([0.25, -0.25], (1_500, 1))
        >>> seen = Delays().seen(hour).compared(hour, churned).seen(month).compared(month, stayed)
        >>> seen.matured_after(timedelta(days=60)) > timedelta(days=29)
        True

        Where those who stay churn no less than others, labels are learned as they come.

        >>> alike = Delays().seen(hour).compared(hour, stayed[:500]).seen(month).compared(month, stayed)
        >>> alike.matured_after(timedelta(days=60))
        datetime.timedelta(seconds=60)
        >>> Delays().matured_after(timedelta(days=7))
        datetime.timedelta(days=7)
        """
        total = float(self.counts.sum())
        if total < _FEWEST:
            return longest
        if float(self.compared_with.sum()) < _FEWEST:
            return min(longest, self._end_of(int(np.searchsorted(np.cumsum(self.counts), 0.999 * total))))
        count = np.cumsum(self.compared_with, dtype=np.float64)
        mean = np.cumsum(self.missed, axis=0, dtype=np.float64) / np.maximum(count, _NEARLY_NONE)[:, np.newaxis]
        unlike = (np.linalg.norm(mean - mean[-1], ord=np.inf, axis=1) > _ALIKE) & (count > _NEARLY_NONE)
        # A bin's labels are all known at its end; where the mean is off there, the next bin's are waited for.
        return min(longest, self._end_of(int(np.flatnonzero(unlike)[-1]) + 1 if unlike.any() else 0))

    def _end_of(self, number: int) -> timedelta:
        """When all labels of a bin are known."""
        number = min(number, _BINS - 1)
        end = timedelta(seconds=round(_SHORTEST * _GROWTH**number))
        seen = float(self.longest[number])
        return end if number == 0 or seen <= 0 else min(end, timedelta(seconds=seen))


def _bins(seconds: Reals) -> npt.NDArray[np.int64]:
    bins = np.ceil(np.log(np.maximum(seconds, _SHORTEST) / _SHORTEST) / np.log(_GROWTH)).astype(np.int64)
    return np.asarray(np.minimum(bins, _BINS - 1), dtype=np.int64)
