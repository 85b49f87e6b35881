"""How good answers are, from sums over blocks of rows: so that blocks can be drawn again and again."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.statistics.losses import absolute_error, brier
from evergreen_ops.replay.scores import class_codes
from evergreen_ops.replay.streams import Stream

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
BLOCKS, FEWEST_BLOCK_ROWS = 50, 20
FEWEST_DAYS = 20
"""Of fewer days, too few are left to draw from: rows are cut regardless of them."""


class Measure(StrEnum):
    """What policies are compared by."""

    ACCURACY = "accuracy"
    KAPPA = "kappa"
    BRIER = "brier"
    MAE = "mae"

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return -1 if self in (Measure.BRIER, Measure.MAE) else 1

    @property
    def label(self) -> str:
        """What people call it."""
        return {"mae": "MAE", "brier": "Brier"}.get(self.value, self.value)


def measures_of(classes: tuple[str, ...] | None) -> tuple[Measure, ...]:
    """Return what can be told of answers, the usual one first; None is a regression.

    Examples
    --------
    >>> [measure.value for measure in measures_of(("no", "yes"))]
    ['accuracy', 'kappa', 'brier']
    """
    return (Measure.MAE,) if classes is None else (Measure.ACCURACY, Measure.KAPPA, Measure.BRIER)


def block_sums(
    measure: Measure,
    blocks: Array,
    actual: Array,
    predicted: Array,
    probabilities: Array | None,
    classes: tuple[str, ...] | None,
) -> Floats:
    """Sum up, block by block, what a measure is computed from.

    Parameters
    ----------
    measure : Measure
    blocks : ndarray of int [N]
        The block of each row, from 0.
    actual, predicted : ndarray [N]
    probabilities : ndarray [N, K] or None
    classes : tuple of str or None
        Sorted; None for regression.

    Returns
    -------
    ndarray [B, S]
        A loss's sum and the rows; for kappa the counts of actual and predicted classes, in pairs.

    Examples
    --------
    >>> said, true = np.array(["a", "b", "b"], object), np.array(["a", "b", "a"], object)
    >>> block_sums(Measure.ACCURACY, np.array([0, 0, 1]), true, said, None, ("a", "b"))
    array([[2., 2.],
           [0., 1.]])
    """
    if measure is Measure.KAPPA:
        assert classes is not None
        pairs = class_codes(actual, classes) * len(classes) + class_codes(predicted, classes)
        of_block = blocks * len(classes) ** 2 + pairs
        size = (int(blocks[-1]) + 1) * len(classes) ** 2
        counts: Floats = np.bincount(of_block, minlength=size).reshape(-1, len(classes) ** 2).astype(float)
        return counts
    values = _values(measure, actual, predicted, probabilities, classes)
    return np.stack([np.bincount(blocks, values), np.bincount(blocks)], axis=1)


def _values(
    measure: Measure, actual: Array, predicted: Array, probabilities: Array | None, classes: tuple[str, ...] | None
) -> Floats:
    if measure is Measure.MAE:
        return absolute_error(predicted.astype(float), actual.astype(float))
    if measure is Measure.BRIER:
        assert classes is not None
        assert probabilities is not None
        return brier(probabilities, class_codes(actual, classes))
    correct: Floats = (actual == predicted).astype(float)
    return correct


def score(measure: Measure, sums: Floats) -> Floats:
    """Return the measure of sums, as people write it.

    Parameters
    ----------
    measure : Measure
    sums : ndarray [..., S]
        As of :func:`block_sums`, of any number of blocks together.

    Examples
    --------
    >>> score(Measure.MAE, np.array([6.0, 4.0])).item()
    1.5
    >>> score(Measure.KAPPA, np.array([[1.0, 0.0, 1.0, 2.0], [5.0, 0.0, 0.0, 5.0]])).tolist()
    [0.5, 1.0]
    """
    if measure is not Measure.KAPPA:
        means: Floats = sums[..., 0] / sums[..., 1]
        return means
    size = round(sums.shape[-1] ** 0.5)
    counts = sums.reshape(*sums.shape[:-1], size, size)
    rows = counts.sum(axis=(-2, -1))
    agreed = np.trace(counts, axis1=-2, axis2=-1) / rows
    by_chance = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1) / rows**2
    room = np.where(by_chance < 1, 1 - by_chance, np.inf)  # one class alone: nothing is beyond chance
    kappa: Floats = (agreed - by_chance) / room
    return kappa


def values_of(
    actual: Array, predicted: Array, probabilities: Array | None, classes: tuple[str, ...] | None
) -> dict[str, float]:
    """Return each measure of some answers together.

    Examples
    --------
    >>> values_of(np.array([1.0, 2.0]), np.array([1.5, 2.0]), None, None)
    {'mae': 0.25}
    """
    together = np.zeros(len(actual), dtype=np.int64)
    return {
        measure.value: round(
            float(score(measure, block_sums(measure, together, actual, predicted, probabilities, classes)[0])), 6
        )
        for measure in measures_of(classes)
    }


def blocks_of(stream: Stream, rows: Array) -> Array:
    """Return the block of each of these rows: about fifty blocks of neighbours, of whole days where times are real.

    Rows of one day have their weather, their campaign and their outage in common: drawn one by one they would look like
    more than they are worth.

    Parameters
    ----------
    stream : Stream
    rows : ndarray of int [N]
        Row numbers in order.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.streams import read_table
    >>> stream = read_table(pa.table({"x": range(1_000), "label": [0, 1] * 500}), name="tiny")
    >>> np.bincount(blocks_of(stream, np.arange(1_000)))[:3]
    array([20, 20, 20])
    """
    place = np.arange(len(rows))
    wanted = max(-(-len(rows) // BLOCKS), FEWEST_BLOCK_ROWS)
    starts = np.flatnonzero(np.diff(stream.event_time[rows].astype("datetime64[D]").astype(np.int64), prepend=-1))
    if stream.times_given and len(starts) >= FEWEST_DAYS:  # a day belongs to the block that it begins in
        place = starts[np.cumsum(np.isin(place, starts)) - 1]
    numbered: Array = np.unique(place // wanted, return_inverse=True)[1]
    return numbered
