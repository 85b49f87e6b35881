"""What a policy is worth on a stream: accuracy, kappa, AUC, Brier score, error and the worst thousand rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.statistics.losses import brier

Array = npt.NDArray[Any]
WORST_WINDOW_ROWS = 1_000
SHORTEST_TAIL = 500
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of the scored rows; None where one does not apply to the task or can't be computed."""

    scored: int
    accuracy: float | None = None
    kappa: float | None = None
    auc: float | None = None
    brier: float | None = None
    mae: float | None = None
    worst_window: float | None = None

    def to_json(self) -> dict[str, float | int | None]:
        """Return plain data with the field names that summary.json has."""
        return asdict(self)


def quality(
    actual: Array, predicted: Array, probabilities: Array | None = None, classes: tuple[str, ...] | None = None
) -> Quality:
    """Judge predictions against labels, both in the order the requests came.

    Parameters
    ----------
    actual, predicted : ndarray [N]
        Class labels (str) when `classes` is given, else numbers.
    probabilities : ndarray [N, K], optional
        Columns in the order of `classes`; without it there is no AUC and no Brier score.
    classes : tuple of str, optional
        Sorted class labels; None for regression.

    Returns
    -------
    Quality
        `worst_window` is the lowest accuracy (regression: the highest MAE) of any 1,000 consecutive rows, cut from the
        first row on; a tail of 500 rows or more counts.

    Examples
    --------
    >>> quality(np.array(["0", "1", "1", "0"], object), np.array(["0", "1", "0", "0"], object), classes=("0", "1"))
    Quality(scored=4, accuracy=0.75, kappa=0.5, auc=None, brier=None, mae=None, worst_window=None)
    >>> quality(np.array([1.0, 2.0]), np.array([1.5, 2.0])).mae
    0.25
    """
    if len(actual) == 0:
        return Quality(scored=0)
    if classes is None:
        errors = np.abs(actual.astype(float) - predicted.astype(float))
        return Quality(scored=len(actual), mae=_rounded(errors.mean()), worst_window=_worst(errors, highest=True))
    codes = class_codes(actual, classes)
    correct = (codes == class_codes(predicted, classes)).astype(float)
    return Quality(
        scored=len(actual),
        accuracy=_rounded(correct.mean()),
        kappa=_kappa(codes, class_codes(predicted, classes)),
        auc=None if probabilities is None else _auc(codes, probabilities, len(classes)),
        brier=None if probabilities is None else _rounded(float(brier(probabilities, codes).mean())),
        worst_window=_worst(correct, highest=False),
    )


def class_codes(labels: Array, classes: tuple[str, ...]) -> Array:
    """Return each label's place in `classes`, -1 for a label that is not there.

    Examples
    --------
    >>> class_codes(np.array(["b", "a", "z"], object), ("a", "b"))
    array([ 1,  0, -1])
    """
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def windows(values: Array) -> Array:
    """Mean of each 1,000 consecutive values; a tail of at least 500 is a window of its own.

    Examples
    --------
    >>> windows(np.repeat([1.0, 0.0, 1.0], [1_000, 500, 400])).round(3)
    array([1.   , 0.444])
    """
    whole = len(values) // WORST_WINDOW_ROWS
    means = values[: whole * WORST_WINDOW_ROWS].reshape(whole, WORST_WINDOW_ROWS).mean(axis=1)
    tail = values[whole * WORST_WINDOW_ROWS :]
    return np.append(means, tail.mean()) if len(tail) >= SHORTEST_TAIL else means


def _worst(values: Array, *, highest: bool) -> float | None:
    means = windows(values)
    if len(means) == 0:
        return None
    return _rounded(means.max() if highest else means.min())


def _kappa(actual: Array, predicted: Array) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    if len(np.unique(np.concatenate([actual, predicted]))) < 2:
        return None
    return _rounded(cohen_kappa_score(actual, predicted))


def _auc(actual: Array, probabilities: Array, classes: int) -> float | None:
    """Area under the ROC curve; for several classes the mean, one against the rest, over those that occurred."""
    from sklearn.metrics import roc_auc_score

    wanted = (1,) if classes == 2 else range(classes)
    scores = [
        roc_auc_score(actual == place, probabilities[:, place])
        for place in wanted
        if 0 < np.count_nonzero(actual == place) < len(actual)
    ]
    return _rounded(float(np.mean(scores))) if scores else None


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
