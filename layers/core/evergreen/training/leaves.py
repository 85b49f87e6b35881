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
MOST_LEAVES = 500_000
"""That a version's forests may have together for its labels to be learned; float32 counts to 16.7 million."""
_FORGOTTEN = 1e-3
"""A leaf whose labels have faded to so little is as it was trained, and takes no room where a state is stored."""

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
    """

    values: npt.NDArray[np.float32]

    def answers(self, ids: Ids) -> Values:
        """The forest's own answers, ``[N, K]``."""
        answered: Values = self.values[ids].mean(axis=1, dtype=np.float64)
        return answered


@dataclass(frozen=True, eq=False)
class ForestLeaves:
    """The leaves of a fitted scikit-learn forest or tree, and where its rows fall.

    Parameters
    ----------
    table
        What they were taught.
    places
        Of each node of each tree, the leaf's place in the table; -1 for a node that splits.
    starts
        Where each tree's nodes begin in ``places``, ``[T]``.
    """

    table: LeafTable
    places: npt.NDArray[np.int32]
    starts: Ids

    @classmethod
    def of(cls, forest: Any, classes: tuple[str, ...] | None) -> ForestLeaves | None:
        """Take the leaves of a fitted scikit-learn forest or tree; None for an estimator that has none.

        Boosted trees have leaves too, but their values are steps, not answers.
        """
        trees = trees_of(forest)
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
        return cls(LeafTable(values.astype(np.float32)), places, starts)

    def ids(self, forest: Any, matrix: npt.NDArray[np.float32]) -> Ids:
        """Find the leaves that rows fall into.

        Parameters
        ----------
        forest
            Whose leaves these are.
        matrix
            ``[N, D]``, C-contiguous.
        """
        # The forest's own `apply` makes a task of each tree, which takes longer than a tree does for some rows.
        nodes = np.stack([tree.apply(matrix) for tree in trees_of(forest)], axis=1)
        return self.places[nodes + self.starts].astype(np.int64)


def trees_of(forest: Any) -> list[Any]:
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
        """Count labels in the leaves that their rows fell into, each fading from when it came.

        Many at once teach what they would have taught one by one.

        Parameters
        ----------
        ids
            Of ``N`` rows, oldest first.
        labels
            Codes of the classes, int64 ``[N]``, or values, float64 ``[N]``.
        half_life
            After so many labels an old one counts half.
        """
        trees = ids.shape[1]
        fade = np.float32(0.5 ** (len(labels) / half_life))
        worth = np.repeat(0.5 ** (np.arange(len(labels) - 1, -1, -1) / half_life), trees).astype(np.float32)
        sums, totals, flat = self.sums * fade, self.totals * fade, ids.ravel()
        if np.issubdtype(labels.dtype, np.integer):
            np.add.at(sums, (flat, np.repeat(labels, trees)), worth)
        else:
            np.add.at(sums[:, 0], flat, (np.repeat(labels, trees) * worth).astype(np.float32))
        np.add.at(totals, flat, worth)
        forgotten = totals < _FORGOTTEN
        sums[forgotten], totals[forgotten] = 0.0, 0.0
        return LeafCounts(sums, totals)

    def values(self, table: LeafTable) -> npt.NDArray[np.float32]:
        """The leaves' values with what labels have taught them, ``[L, K]``."""
        taught = np.float32(TRAINED_LABELS) * table.values + self.sums
        refreshed: npt.NDArray[np.float32] = taught / (np.float32(TRAINED_LABELS) + self.totals)[:, None]
        return refreshed
