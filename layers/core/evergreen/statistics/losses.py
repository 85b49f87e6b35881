"""What an answer costs, row by row, and the loss difference that a verdict counts in full."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import count

import numpy as np
import numpy.typing as npt

from evergreen.statistics.checks import StatisticsInputError

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NO_LABEL = -1
"""The code of a label that is not there."""

SCALE_QUANTILE = 0.999
"""Differences above this quantile of the reference's are clipped; a lower one would move what is tested."""


def codes(classes: Sequence[str], *columns: Iterable[Hashable]) -> tuple[Codes, ...]:
    """Return the labels of each column as places in the classes; those that are none of them come after, each its own.

    Parameters
    ----------
    classes : sequence of str
        In the order of the codes, 0 for the first.
    columns : iterables of label
        Labels that are to be compared with one another; None, where there is none, becomes ``NO_LABEL``.

    Examples
    --------
    >>> actual, said = codes(["no", "yes"], ["yes", "maybe", None], ["no", "perhaps", "maybe"])
    >>> actual.tolist(), said.tolist()
    ([1, 2, -1], [0, 3, 2])
    """
    index: defaultdict[Hashable, int] = defaultdict(
        count(len(classes)).__next__, {name: code for code, name in enumerate(classes)}
    )
    index[None] = NO_LABEL
    return tuple(np.array([index[label] for label in column], dtype=np.int64) for column in columns)


def absolute_error(said: npt.ArrayLike, actual: npt.ArrayLike) -> Floats:
    """Return how far each value is from what was true, in the label's unit; NaN where there is none.

    Examples
    --------
    >>> absolute_error([2.5, 1.0], [-1.0, None]).tolist()
    [3.5, nan]
    """
    error: Floats = np.abs(np.asarray(said, dtype=np.float64) - np.asarray(actual, dtype=np.float64))
    return error


def brier(probabilities: npt.ArrayLike, codes: npt.ArrayLike) -> Floats:
    """Return half the squared distance of probabilities to the truth, 0 to 1; for two classes (p - y)**2.

    Parameters
    ----------
    probabilities : array_like of float, shape (n, k)
        Of each class.
    codes : array_like of int, shape (n,)
        The true class; a code of k or more is a class that no probability is for.

    Examples
    --------
    >>> brier([[0.75, 0.25], [0.75, 0.25]], [0, 1]).tolist()
    [0.0625, 0.5625]
    """
    given = np.asarray(probabilities, dtype=np.float64)
    true = np.asarray(codes, dtype=np.int64)
    if given.ndim != 2 or len(given) != len(true):
        raise StatisticsInputError("probabilities", f"of shape {given.shape}", f"pass {len(true)} rows, one a code")
    truth = np.zeros_like(given)
    known = np.flatnonzero(true < given.shape[1])
    truth[known, true[known]] = 1.0
    squares: Floats = ((given - truth) ** 2).sum(axis=1) / 2.0
    return squares


def loss_scale(differences: npt.ArrayLike) -> float | None:
    """Return the loss difference that counts in full: the 99.9th percentile of the reference's; None without any.

    Parameters
    ----------
    differences : array_like of float, shape (n,)
        Loss of one version minus the other's on reference rows; NaN where there is none.

    Examples
    --------
    >>> loss_scale([0.5, -2.0, 1.0])
    1.998
    """
    apart = np.abs(np.asarray(differences, dtype=np.float64))
    apart = apart[np.isfinite(apart)]
    scale = float(np.quantile(apart, SCALE_QUANTILE)) if len(apart) else 0.0
    return scale if scale > 0.0 else None
