"""How much better some answers were than others to the same requests, and how sure that is.

Days are the blocks: rows of one day have its weather, its campaign and its outage in common, and drawn one by one they
would look like more than they are worth.

Sources: Brier, Monthly Weather Review 78 (1950), 1; Cohen, Educational and Psychological Measurement 20 (1960), 37
(kappa); Busing, Meijer & van der Leeden, Statistics and Computing 9 (1999), 3 (a jackknife over unequal blocks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.statistics.days import DailyMeans, Days
from evergreen.statistics.losses import absolute_error, brier
from evergreen_ops.replay.policies import PolicyResult
from evergreen_ops.replay.scores import class_codes
from evergreen_ops.replay.streams import Stream

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

SURE = 0.95
FEWEST_DAYS = 5
"""Of fewer days too little is known of how much they differ: rows are cut into runs of neighbours instead."""
RUNS, FEWEST_ROWS_A_RUN = 10, 5
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better one's answers were than another's to the same rows, in the unit of a measure.

    Attributes
    ----------
    rows : int
    gain : float
        Above 0 where the first one was better.
    interval : (float, float) or None
        Where it lies 95 times of 100; None of too few rows.
    blocks : int
        Days, or runs of neighbouring rows, that it was told from.
    """

    rows: int
    gain: float
    interval: tuple[float, float] | None
    blocks: int

    @property
    def proven(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.interval is not None and self.interval[0] > 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        interval = None if self.interval is None else [round(end, DIGITS) for end in self.interval]
        return {"gain": round(self.gain, DIGITS), "interval": interval, "blocks": self.blocks}


def gain(better: Floats, worse: Floats, blocks: Array) -> Gain:
    """Tell how much less one lost than another on the same rows.

    Parameters
    ----------
    better, worse : ndarray of float [N]
        Losses of the one that is hoped to be better, and of the other.
    blocks : ndarray of int [N]
        The day, or the run of neighbours, of each row.

    Examples
    --------
    >>> days = np.repeat(np.arange(10), 50)
    >>> worse = np.random.default_rng(0).random(500)
    >>> found = gain(worse - 0.1, worse, days)
    >>> round(found.gain, 3), found.rows, found.blocks, [round(end, 3) for end in found.interval]
    (0.1, 500, 10, [0.1, 0.1])
    """
    days = Days.of(worse - better, blocks)
    return _told(days.means(), len(better), len(days.rows))


def kappa_gain(actual: Array, better: Array, worse: Array, blocks: Array, classes: int) -> Gain | None:
    """Tell how much higher one's kappa was than another's on the same rows; None where one of them has none.

    A kappa is no mean of rows, so its error is that of the jackknife which leaves out a block at a time.

    Parameters
    ----------
    actual, better, worse : ndarray of int [N]
        Codes of the true classes, and of the answers.
    blocks : ndarray of int [N]
    classes : int
        How many there are.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> actual, days = rng.integers(0, 2, 2_000), np.repeat(np.arange(20), 100)
    >>> often, seldom = (np.where(rng.random(2_000) < share, 1 - actual, actual) for share in (0.2, 0.3))
    >>> found = kappa_gain(actual, often, seldom, days, classes=2)
    >>> round(found.gain, 2), [round(end, 2) for end in found.interval]
    (0.17, [0.12, 0.23])
    """
    _, places = np.unique(blocks, return_inverse=True)
    sizes = np.bincount(places).astype(np.float64)
    (whole, without), (others, others_without) = (_kappas(places, actual, said, classes) for said in (better, worse))
    if not np.isfinite(whole - others):
        return None
    error = _jackknife_error(whole - others, without - others_without, sizes)
    means = DailyMeans(float(sizes.sum() ** 2 / (sizes**2).sum()), whole - others, error)
    return _told(means, len(actual), len(sizes))


def gains_over(
    result: PolicyResult, stream: Stream, rows: Array, said: Array, chances: Array | None
) -> dict[str, Gain]:
    """Return how much better what was said was than a policy's answers, by measure, on the rows that both answered.

    Parameters
    ----------
    result : PolicyResult
    stream : Stream
    rows : ndarray of int [M]
        The rows of the stream that were answered and have a label.
    said, chances : ndarray [N], ndarray [N, K] or None
        The answer to each row of the stream, and what it gave each class.

    Returns
    -------
    dict
        ``accuracy``, ``kappa`` and ``brier``, or ``mae``; each above 0 where what was said was better. What can't be
        told is left out.
    """
    assert result.scored is not None
    rows, _, theirs = np.intersect1d(rows, result.scored, assume_unique=True, return_indices=True)
    if not len(rows):
        return {}
    blocks, predicted = blocks_of(stream, rows), result.predicted[theirs]
    lost = gain(losses(stream, rows, said[rows]), losses(stream, rows, predicted), blocks)
    if stream.classes is None:
        return {"mae": lost}
    actual, one, other = (class_codes(labels, stream.classes) for labels in (stream.label[rows], said[rows], predicted))
    found = {"accuracy": lost, "kappa": kappa_gain(actual, one, other, blocks, len(stream.classes))}
    if chances is not None and result.probabilities is not None:
        found["brier"] = gain(brier(chances[rows], actual), brier(result.probabilities[theirs], actual), blocks)
    return {name: each for name, each in found.items() if each is not None}


def blocks_of(stream: Stream, rows: Array) -> Array:
    """Return the block of each of these rows: its day, or of less than five days a tenth of the rows.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.streams import read_table
    >>> stream = read_table(pa.table({"x": range(1_000), "label": [0, 1] * 500}), name="tiny", rows_per_day=100)
    >>> len(np.unique(blocks_of(stream, np.arange(1_000)))), len(np.unique(blocks_of(stream, np.arange(150))))
    (10, 10)
    """
    days: Array = stream.event_time[rows].astype("datetime64[D]").astype(np.int64)
    if len(np.unique(days)) >= FEWEST_DAYS:
        return days
    size = max(FEWEST_ROWS_A_RUN, -(-len(rows) // RUNS))
    return np.arange(len(rows)) // size


def losses(stream: Stream, rows: Array, answers: Array) -> Floats:
    """Return what each answer lost: 1 where the class was wrong, or how far the number was off."""
    if stream.classes is None:
        return absolute_error(answers.astype(float), stream.label[rows].astype(float))
    wrong: Floats = (stream.label[rows] != answers).astype(float)
    return wrong


def _kappas(places: Array, actual: Array, said: Array, classes: int) -> tuple[float, Floats]:
    """The kappa of all rows, and without each block; NaN where chance alone would always be right."""
    right = np.bincount(places, weights=actual == said)
    true, answered = (_by_block(places, codes, classes) for codes in (actual, said))
    rows = np.bincount(places).astype(np.float64)

    def kappa(right: Floats, rows: Floats, true: Floats, answered: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            by_chance = (true * answered).sum(axis=-1) / rows**2
            found: Floats = (right / rows - by_chance) / (1.0 - by_chance)
        return found

    sums = [each.sum(axis=0) for each in (right, rows, true, answered)]
    left_out = [whole - each for whole, each in zip(sums, (right, rows, true, answered), strict=True)]
    return float(kappa(*sums)), kappa(*left_out)


def _by_block(places: Array, codes: Array, classes: int) -> Floats:
    """How often each class occurs in each block."""
    known = codes >= 0  # an answer that is no class of the stream agrees with nothing
    counts: Floats = np.zeros((int(places.max()) + 1, classes))
    np.add.at(counts, (places[known], codes[known]), 1.0)
    return counts


def _jackknife_error(whole: float, without: Floats, sizes: Floats) -> float:
    """The standard error from what is found without each block (Busing, Meijer & van der Leeden 1999, 2.2)."""
    blocks, share = len(sizes), sizes / sizes.sum()
    if blocks < 2:
        return float("nan")
    mean = blocks * whole - ((1.0 - share) * without).sum()
    pseudo = whole / share - (1.0 / share - 1.0) * without
    return float(np.sqrt((((pseudo - mean) ** 2) / (1.0 / share - 1.0)).sum() / blocks))


def _told(means: DailyMeans, rows: int, blocks: int) -> Gain:
    from scipy.stats import t

    if not means.speaks or not np.isfinite(means.error):
        return Gain(rows, means.gain, None, blocks)
    reach = means.error * float(t.ppf((1 + SURE) / 2, means.days - 1))
    return Gain(rows, means.gain, (means.gain - reach, means.gain + reach), blocks)
