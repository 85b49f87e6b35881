"""Where did the answers become worse? The last rise of a daily error rate, told from the days' own unrest.

The days are cut into pieces of constant error rate by optimal partitioning (Jackson et al., "An algorithm for optimal
partitioning of data on an interval", IEEE Signal Processing Letters 12, 2005; pruned as in Killick, Fearnhead and
Eckley, "Optimal detection of changepoints with a linear computational cost", JASA 107, 2012, section 2.2). Days differ
by more than chance, so the binomial likelihood is divided by a dispersion (McCullagh and Nelder, "Generalized Linear
Models", 1989, section 4.5), which is taken from neighbouring days: a lasting change is a single one of those
differences. The last boundary at which the rate rises is the change; a fall is a better version, or luck.

Standard library only: the function that starts a training has no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from evergreen.statistics.checks import StatisticsInputError

__all__ = ["FEWEST_DAYS", "Change", "last_rise"]

FEWEST_DAYS = 8
"""Of fewer it can't be told how much days differ."""
MOST_PIECES = 400
"""Longer series are added up to at most so many spans of equal length: the work grows with the square."""
_SHORTEST = 2
_PENALTY = 4.0


@dataclass(frozen=True)
class Change:
    """Where an error rate rose for the last time.

    Parameters
    ----------
    first
        Number of the first day of the higher rate.
    before, after
        Error rates of the stretches that meet there.
    """

    first: int
    before: float
    after: float


def last_rise(rows: Sequence[int], wrong: Sequence[int]) -> Change | None:
    """Find the day from which on answers were worse than before.

    Parameters
    ----------
    rows
        Judged answers of each day, oldest first; a day may have none.
    wrong
        How many of them were wrong.

    Returns
    -------
    Change or None
        The last rise; ``None`` when there was none, or when fewer than :data:`FEWEST_DAYS` days have answers.

    Raises
    ------
    StatisticsInputError
        The series differ in length, or a day has more wrong answers than answers.

    Notes
    -----
    A boundary has to gain 4 + 2 ln(days) of dispersed log-likelihood. Of 600 simulated series of 180 days with 20 to
    400 rows and no change, none found a rise; 1 did where the days' own rates differ by a standard deviation of 0.06.

    Examples
    --------
    >>> last_rise([100] * 30, [10, 12] * 10 + [30, 32] * 5)
    Change(first=20, before=0.11, after=0.31)
    >>> last_rise([100] * 30, [10, 12] * 15) is None
    True
    """
    if len(rows) != len(wrong):
        raise StatisticsInputError("wrong", f"of {len(wrong)} days", f"pass as many as rows has, {len(rows)}")
    for n, k in zip(rows, wrong, strict=True):
        if not 0 <= k <= n:
            raise StatisticsInputError("wrong", k, f"pass 0 to {n}, the answers of that day")
    days = [(day, n, k) for day, (n, k) in enumerate(zip(rows, wrong, strict=True)) if n]
    if len(days) < FEWEST_DAYS:
        return None
    pieces = _added_up(days)
    starts = _boundaries(pieces, _dispersion(pieces))
    rates = [_rate(pieces[start:end]) for start, end in zip(starts, [*starts[1:], len(pieces)], strict=True)]
    for index in range(len(starts) - 1, 0, -1):
        if rates[index] > rates[index - 1]:
            return Change(pieces[starts[index]][0], rates[index - 1], rates[index])
    return None


def _added_up(days: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    width = math.ceil(len(days) / MOST_PIECES)
    groups = [days[start : start + width] for start in range(0, len(days), width)]
    return [(group[0][0], sum(n for _, n, _ in group), sum(k for _, _, k in group)) for group in groups]


def _rate(pieces: Sequence[tuple[int, int, int]]) -> float:
    return sum(k for _, _, k in pieces) / sum(n for _, n, _ in pieces)


def _dispersion(pieces: Sequence[tuple[int, int, int]]) -> float:
    """Return how much more neighbours differ than chance would have it, at least 1.

    The mean of the lower nine tenths of the squared differences, so that a few lasting changes do not count, over what
    that mean is for squares of a standard normal (0.623).
    """
    squares = []
    for (_, n1, k1), (_, n2, k2) in pairwise(pieces):
        pooled = (k1 + k2 + 1) / (n1 + n2 + 2)
        squares.append((k1 / n1 - k2 / n2) ** 2 / (pooled * (1 - pooled) * (1 / n1 + 1 / n2)))
    squares.sort()
    kept = squares[: max(1, math.ceil(0.9 * len(squares)))]
    return max(1.0, sum(kept) / len(kept) / 0.623)


def _boundaries(pieces: Sequence[tuple[int, int, int]], dispersion: float) -> list[int]:
    """Return where the pieces of constant rate begin: those that minimise cost plus penalty, the first being 0."""
    penalty = _PENALTY + 2 * math.log(len(pieces))
    n_until, k_until = [0], [0]
    for _, n, k in pieces:
        n_until.append(n_until[-1] + n)
        k_until.append(k_until[-1] + k)

    def cost(start: int, end: int) -> float:
        n, k = n_until[end] - n_until[start], k_until[end] - k_until[start]
        return _entropy(n, k) / dispersion

    best = [-penalty] + [math.inf] * len(pieces)
    came_from = [0] * (len(pieces) + 1)
    open_starts = [0]
    for end in range(_SHORTEST, len(pieces) + 1):
        totals = [(best[start] + cost(start, end), start) for start in open_starts]
        least, start = min(totals)
        best[end], came_from[end] = least + penalty, start
        # A start that is worse by the penalty now is never the best one again.
        open_starts = [start for total, start in totals if total < best[end]]
        open_starts.append(end - _SHORTEST + 1)
    starts, end = [], len(pieces)
    while end > 0:
        end = came_from[end]
        starts.append(end)
    return starts[::-1]


def _entropy(n: int, k: int) -> float:
    """Return minus the largest binomial log-likelihood of k in n."""
    if k in (0, n):
        return 0.0
    return -(k * math.log(k / n) + (n - k) * math.log((n - k) / n))
