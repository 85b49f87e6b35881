"""How good a model's answers are: the metrics of a validation slice, rounded so that they repeat to the byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["classification_metrics", "rank_auc", "regression_metrics"]

DIGITS = 6
_CLIP = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss: float32's resolution."""


def classification_metrics(
    actual: npt.NDArray[Any], labels: Sequence[str], probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> dict[str, float | None]:
    """Accuracy, Cohen's kappa, AUC (macro one-vs-rest over the classes present), Brier score and log loss.

    Parameters
    ----------
    actual
        True labels, ``[N]``.
    labels
        Predicted labels, ``[N]``.
    probabilities
        ``[N, K]`` in the order of ``classes``.
    classes
        The ``K`` class labels.

    Returns
    -------
    dict
        By name, rounded to 6 digits; ``auc`` is ``None`` when the slice holds one class only. Brier is the squared
        error of the positive class when there are two, and of all classes summed when there are more.

    Examples
    --------
    >>> actual = np.array(["0", "0", "1", "1"], dtype=object)
    >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    >>> classification_metrics(actual, ["0", "0", "0", "1"], p, ["0", "1"])
    {'accuracy': 0.75, 'kappa': 0.5, 'auc': 0.75, 'brier': 0.175, 'log_loss': 0.510826}
    """
    hot = np.stack([actual == label for label in classes], axis=1)
    guessed = np.array(labels, dtype=object)
    right = float(np.mean(guessed == actual))
    everyone = sorted({*actual.tolist(), *labels})
    chance = sum(float(np.mean(actual == label)) * float(np.mean(guessed == label)) for label in everyone)
    squares = (probabilities - hot) ** 2
    present = [k for k in range(len(classes)) if 0 < hot[:, k].sum() < len(actual)]
    ranked = [1] if len(classes) == 2 and present else present
    aucs = [rank_auc(probabilities[:, k], hot[:, k]) for k in ranked]
    likely = np.clip((probabilities * hot).sum(axis=1), _CLIP, 1.0)
    return {
        "accuracy": round(right, DIGITS),
        "kappa": round((right - chance) / (1 - chance), DIGITS) if chance < 1 else 0.0,
        "auc": round(float(np.mean(aucs)), DIGITS) if aucs else None,
        "brier": round(float(np.mean(squares[:, 1] if len(classes) == 2 else squares.sum(axis=1))), DIGITS),
        "log_loss": round(float(np.mean(-np.log(likely))), DIGITS),
    }


def regression_metrics(actual: npt.NDArray[Any], values: npt.NDArray[Any]) -> dict[str, float | None]:
    """Mean absolute error and root mean squared error, rounded to 6 digits.

    Examples
    --------
    >>> regression_metrics(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    {'mae': 1.5, 'rmse': 1.581139}
    """
    error = np.asarray(values, dtype=np.float64) - np.asarray(actual, dtype=np.float64)
    return {
        "mae": round(float(np.mean(np.abs(error))), DIGITS),
        "rmse": round(float(np.sqrt(np.mean(error**2))), DIGITS),
    }


def rank_auc(scores: npt.NDArray[Any], positive: npt.NDArray[Any]) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half.

    Examples
    --------
    >>> rank_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    ranks = ((upper - counts + 1 + upper) / 2)[inverse.reshape(-1)]
    wins, total = int(np.sum(positive)), len(scores)
    return float((np.sum(ranks[positive]) - wins * (wins + 1) / 2) / (wins * (total - wins)))
