"""The leaves of a tree ensemble as a table: what each was taught, and what labels have taught it since.

A forest answers with the mean of one leaf a tree. The trees need not change for the answer to: the leaves' values are a
table, and labels that come later are counted in the leaves that their rows fell into. LightGBM's ``Booster.refit`` and
XGBoost's ``updater=refresh`` do the same on request; here old labels fade, so that it can go on for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TRAINED_LABELS = 2.0
"""How many labels a leaf's trained value is worth beside those that came later."""

Ids = npt.NDArray[np.int64]
"""Which leaf each row fell into, a column a tree: places in the table, ``[N, T]``."""
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LeafTable:
    """What a forest was taught.

    Parameters
    ----------
    values
        ``[L, K]``: each leaf's probabilities in the order of the classes, or ``[L, 1]``: its value.
    places
        Of each node of each tree, the leaf's place in the table; -1 for a node that splits.
    starts
        Where each tree's nodes begin in ``places``, ``[T]``.
    """

    values: npt.NDArray[np.float32]
    places: npt.NDArray[np.int32]
    starts: Ids

    @classmethod
    def of(cls, forest: Any, classes: tuple[str, ...] | None) -> LeafTable | None:
        """Take the leaves of a fitted scikit-learn forest or tree; None for an estimator that has none.

        Boosted trees have leaves too, but their values are steps, not answers.
        """
        trees = _trees(forest)
        if not trees:
            return None
        nodes = [tree.node_count for tree in trees]
        is_leaf = np.concatenate([tree.children_left == -1 for tree in trees])
        found = np.concatenate([tree.value[:, 0, :] for tree in trees])[is_leaf]
        if classes is None:
            values = found
        else:
            values = np.zeros((len(found), len(classes)))
            values[:, [classes.index(str(label)) for label in forest.classes_]] = found / found.sum(1, keepdims=True)
        places = np.where(is_leaf, np.cumsum(is_leaf) - 1, -1).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(nodes)[:-1]]).astype(np.int64)
        return cls(values.astype(np.float32), places, starts)

    def ids(self, forest: Any, matrix: npt.NDArray[np.float32]) -> Ids:
        """Find the leaves that rows fall into.

        Parameters
        ----------
        forest
            What the table was taken of.
        matrix
            ``[N, D]``, C-contiguous.
        """
        # The forest's own `apply` makes a task of each tree, which takes longer than a tree does for some rows.
        nodes = np.stack([tree.apply(matrix) for tree in _trees(forest)], axis=1)
        return self.places[nodes + self.starts].astype(np.int64)

    def answers(self, ids: Ids) -> Values:
        """The forest's own answers, ``[N, K]``."""
        answered: Values = self.values[ids].mean(axis=1, dtype=np.float64)
        return answered


def _trees(forest: Any) -> list[Any]:
    """The trees whose leaves' mean is the answer; none for an estimator that answers in another way."""
    members = getattr(forest, "estimators_", [forest])
    if not isinstance(members, list):  # boosting keeps an array
        return []
    return [member.tree_ for member in members if hasattr(member, "tree_")]


@dataclass(frozen=True, eq=False)
class LeafCounts:
    """What labels have taught the leaves since the training; old ones fade.

    Parameters
    ----------
    sums
        ``[L, K]``: labels of each class, or the sum of the labels, faded.
    totals
        ``[L]``: labels, faded.
    """

    sums: npt.NDArray[np.float32]
    totals: npt.NDArray[np.float32]

    @classmethod
    def none(cls, table: LeafTable) -> LeafCounts:
        """Nothing learned yet: the answers are the forest's own."""
        return cls(np.zeros_like(table.values), np.zeros(len(table.values), dtype=np.float32))

    def learned(self, ids: Ids, labels: npt.NDArray[Any], half_life: float) -> LeafCounts:
        """Count a batch of labels in the leaves that their rows fell into.

        Parameters
        ----------
        ids
            Of ``N`` rows, oldest first.
        labels
            Codes of the classes, int64 ``[N]``, or values, float64 ``[N]``.
        half_life
            After so many labels an old one counts half.
        """
        fade = np.float32(0.5 ** (len(labels) / half_life))
        sums, totals = self.sums * fade, self.totals * fade
        flat, trees = ids.ravel(), ids.shape[1]
        if np.issubdtype(labels.dtype, np.integer):
            np.add.at(sums, (flat, np.repeat(labels, trees)), 1.0)
        else:
            np.add.at(sums[:, 0], flat, np.repeat(labels, trees))
        np.add.at(totals, flat, 1.0)
        return LeafCounts(sums, totals)

    def answers(self, table: LeafTable, ids: Ids) -> Values:
        """The forest's answers with its leaves refreshed, ``[N, K]``."""
        taught = TRAINED_LABELS * table.values[ids] + self.sums[ids]
        answered: Values = (taught / (TRAINED_LABELS + self.totals[ids])[..., None]).mean(axis=1, dtype=np.float64)
        return answered
