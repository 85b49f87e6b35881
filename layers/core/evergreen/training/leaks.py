"""Find columns that give the label away: a single feature that predicts it almost perfectly on later rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.training.read_rows import Rows
from evergreen.training.scores import rank_auc

__all__ = ["Leak", "find_leaks"]

LIMIT = 0.995
_MAX_ROWS = 20_000
_MOSTLY_KNOWN = 0.9  # a copy of the label that is missing now and then is one


@dataclass(frozen=True)
class Leak:
    """A feature that alone predicts the label, and how well: AUC (macro one-vs-rest), or R squared for regression.

    R squared of the values or of their ranks, whichever is higher.
    """

    feature: str
    score: float


def find_leaks(earlier: Rows, later: Rows) -> tuple[Leak, ...]:
    """Fit a small tree on each feature alone over earlier rows, and report those that score above 0.995 on later ones.

    A missing value counts as a value, so a column that is only filled in once the label is known is found as well.

    Parameters
    ----------
    earlier, later
        The training and the validation slice; the newest 20,000 of the one and the oldest of the other are looked at.

    Returns
    -------
    tuple of Leak
        In the order of the schema's features.
    """
    earlier = earlier.slice(max(0, len(earlier) - _MAX_ROWS), len(earlier))
    later = later.slice(0, _MAX_ROWS)
    if earlier.schema.task.is_classification:
        scores = {name: _classifier_score(earlier, later, name) for name in earlier.schema.names}
    else:
        scores = {name: _regressor_score(earlier, later, name) for name in earlier.schema.names}
    return tuple(Leak(name, round(score, 6)) for name, score in scores.items() if score > LIMIT)


def _classifier_score(earlier: Rows, later: Rows, name: str) -> float:
    """Score one feature by the class shares its leaves (or its categories) had earlier."""
    classes = [label for label in sorted(set(earlier.actual)) if 0 < np.sum(later.actual == label) < len(later)]
    if not classes:
        return 0.0
    shares = _group_means(
        earlier, later, name, np.stack([earlier.actual == label for label in classes], axis=1).astype(np.float64)
    )
    aucs = [rank_auc(shares[:, index], later.actual == label) for index, label in enumerate(classes)]
    return float(np.mean(aucs))


def _regressor_score(earlier: Rows, later: Rows, name: str) -> float:
    if name in later.numbers:
        # A copy of the label, whatever its unit, lies on a line, and its logarithm is in its order; a tree would only
        # see steps of either.
        x, y = later.numbers[name], later.actual.astype(np.float64)
        known = np.isfinite(x)
        if known.mean() < _MOSTLY_KNOWN or np.std(x[known]) == 0 or np.std(y[known]) == 0:
            return 0.0
        return max(_correlation(x[known], y[known]), _correlation(_ranks(x[known]), _ranks(y[known])))
    guessed = _group_means(earlier, later, name, earlier.actual.astype(np.float64)[:, None])[:, 0]
    total = float(np.var(later.actual.astype(np.float64)))
    return 1 - float(np.mean((later.actual - guessed) ** 2)) / total if total > 0 else 0.0


def _correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean rank of each value, equal ones sharing it."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    return ranks


def _group_means(earlier: Rows, later: Rows, name: str, target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return, for each later row, the mean target of the earlier rows that share its leaf or category."""
    if name in earlier.categories:
        values = earlier.categories[name].values
        before, after = earlier.categories[name].codes, later.categories[name].codes
        groups = len(values)
    else:
        before, after, groups = _leaves(earlier.numbers[name], later.numbers[name], target)
    counts = np.bincount(before, minlength=groups)
    means = (
        np.stack([np.bincount(before, weights=target[:, k], minlength=groups) for k in range(target.shape[1])], axis=1)
        / np.maximum(counts, 1)[:, None]
    )
    means[counts == 0] = target.mean(axis=0)
    found: npt.NDArray[np.float64] = means[after]
    return found


def _leaves(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], target: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int]:
    from sklearn.tree import DecisionTreeRegressor

    tree = DecisionTreeRegressor(max_leaf_nodes=max(4, 2 * target.shape[1] + 2), random_state=0)
    columns = [_with_missing_last(column).astype(np.float32).reshape(-1, 1) for column in (before, after)]
    tree.fit(columns[0], target)
    return tree.apply(columns[0]), tree.apply(columns[1]), int(tree.tree_.node_count)


def _with_missing_last(column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Put missing values far beyond any real one, where a split can tell them apart."""
    limit = float(np.finfo(np.float32).max)
    clipped: npt.NDArray[np.float64] = np.clip(np.nan_to_num(column, nan=np.inf), -limit / 2, limit)
    return clipped
