"""What a row's leaves are moved by together, a small step for each label.

Counting teaches each leaf by itself, as if no other had answered. Here the leaves that a row fell into share what is
left of its error, so that the sum of all of them is right: a linear model whose inputs are the leaves, learned as
labels come. It starts at the answer of the counted leaves.

Sources: leaves as the inputs of an online linear model, He et al., "Practical lessons from predicting clicks on ads at
Facebook", ADKDD 2014; steps that grow smaller where there were many, Duchi, Hazan & Singer, "Adaptive subgradient
methods for online learning and stochastic optimization", JMLR 12, 2011.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evergreen.training.leaves import Ids, LeafTable, Values

_RATE = 0.02
_TOGETHER = 10
"""Rows that take their steps from the same place: a row alone is mostly overhead."""
_KEPT = 0.9999
"""Of every step, after each label."""
_FIRST_SQUARES = 0.01
_FARTHEST = 3.0
"""An error of more spreads moves no farther: one absurd value must not throw the leaves off."""
_LEAST_LIKELY = 0.01
_GRAIN = -20
"""Steps are kept in multiples of a spread times 2 to this: sums of those are exact, in whatever order they are made."""


@dataclass(frozen=True, eq=False)
class LeafSteps:
    """How far labels have moved the leaves of an ensemble of ``L``.

    Parameters
    ----------
    moved
        ``[L, K]``: on the scale of a log-probability for each class, or of the value.
    squares
        ``[L]``: the sum of the squared gradients so far; 0 for a leaf that no label has reached.
    """

    moved: npt.NDArray[np.float32]
    squares: npt.NDArray[np.float32]

    @classmethod
    def none(cls, table: LeafTable) -> LeafSteps:
        """Nothing has moved yet."""
        return cls(np.zeros_like(table.values), np.zeros(len(table.values), dtype=np.float32))

    def learned(self, ids: Ids, start: Values, labels: npt.NDArray[np.generic], spread: float) -> LeafSteps:
        """Take steps for ``N`` rows, oldest first, some rows at a time.

        Parameters
        ----------
        ids
            The leaves that the rows fell into, ``[N, T]``.
        start
            What the counted leaves said to them, ``[N, K]``.
        labels
            Codes of the classes, int64, or values, float64, ``[N]``.
        spread
            Of a regression's labels; 1 for classes.
        """
        classes = self.moved.shape[1] if np.issubdtype(labels.dtype, np.integer) else 0
        wanted = np.eye(classes)[labels] if classes else labels[:, np.newaxis].astype(np.float64)
        moved, squares = self.moved * np.float32(_KEPT ** len(labels)), self.squares.copy()
        for begin in range(0, len(labels), _TOGETHER):
            some = slice(begin, begin + _TOGETHER)
            said = stepped(start[some], moved[ids[some]].sum(axis=1, dtype=np.float64), classes)
            missed = (said - wanted[some]) / spread
            if not classes:
                missed = np.clip(missed, -_FARTHEST, _FARTHEST)
            leaves, slope = ids[some].ravel(), np.repeat(missed, ids.shape[1], axis=0).astype(np.float32)
            np.add.at(squares, leaves, (slope * slope).sum(axis=1))
            scale = np.float32(_RATE * spread) / np.sqrt(np.float32(_FIRST_SQUARES) + squares[leaves])
            np.add.at(moved, leaves, -scale[:, np.newaxis] * slope)
        grain = np.float32(2.0 ** (_GRAIN + math.floor(math.log2(spread))))
        return LeafSteps(np.round(moved / grain) * grain, squares)


def stepped(start: Values, moved: Values, classes: int) -> Values:
    """Answers ``[N, K]`` after the steps of their leaves, ``[N, K]``, have been added up.

    Examples
    --------
    >>> stepped(np.array([[0.5, 0.5]]), np.array([[0.0, np.log(3)]]), 2).round(2).tolist()
    [[0.25, 0.75]]
    >>> stepped(np.array([[10.0]]), np.array([[-1.5]]), 0).tolist()
    [[8.5]]
    """
    if not classes:
        return start + moved
    start = np.minimum(np.maximum(start, _LEAST_LIKELY), 1.0)  # np.clip takes thrice as long for one row
    raised = np.log(start) + moved
    likely = np.exp(raised - raised.max(axis=1, keepdims=True))
    normed: Values = likely / likely.sum(axis=1, keepdims=True)
    return normed
