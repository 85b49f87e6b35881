"""A linear model that learns each label as it comes: the part of a live state that no training made.

scikit-learn's ``SGDClassifier(loss="log_loss", learning_rate="constant")`` and ``SGDRegressor`` take the same steps.
Here they are taken without scikit-learn: what answers requests has no room for it in a Lambda.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_FARTHEST = 10.0
"""Standardised numbers are learned this near: one absurd value must not throw the model off."""
_SHRINKAGE = 1e-4
"""Of the coefficients' squares in the loss: scikit-learn's ``alpha``."""
_RATES = {"classes": 0.01, "values": 0.005}


@dataclass(frozen=True, eq=False)
class Linear:
    """One against all others for each class, or one line for a regression.

    Parameters
    ----------
    classes
        How many there are; 0 for a regression.
    coefficients, intercepts
        ``[M, D]`` and ``[M]``; of two classes and for a regression M is 1.
    centre, scale
        Of a regression's label, frozen; 0 and 1 for classes.
    rows
        Labels learned.
    """

    classes: int
    coefficients: Values
    intercepts: Values
    centre: float = 0.0
    scale: float = 1.0
    rows: int = 0

    @classmethod
    def new(cls, classes: int, width: int, centre: float = 0.0, scale: float = 1.0) -> Linear:
        """A model of ``D = width`` inputs that has learned nothing."""
        models = classes if classes > 2 else 1
        return cls(classes, np.zeros((models, width)), np.zeros(models), centre, scale)

    def answers(self, inputs: npt.NDArray[Any]) -> Values:
        """Answer ``N`` rows: probabilities ``[N, K]`` that sum to one, or values ``[N, 1]``.

        Parameters
        ----------
        inputs
            ``[N, D]``, standardised.
        """
        said: Values = _near(inputs) @ self.coefficients.T + self.intercepts
        if not self.classes:
            return self.centre + self.scale * said
        likely = _sigmoid(said)
        if self.classes == 2:
            return np.concatenate([1.0 - likely, likely], axis=1)
        total = likely.sum(axis=1, keepdims=True)
        return np.where(total > 0, likely / np.where(total > 0, total, 1.0), 1.0 / self.classes)

    def learned(self, inputs: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Linear:
        """Take a step for each of ``N`` rows, oldest first.

        Parameters
        ----------
        inputs
            ``[N, D]``, standardised.
        labels
            Codes of the classes, or values, ``[N]``.
        """
        coefficients, intercepts = self.coefficients.copy(), self.intercepts.copy()
        rate = _RATES["classes" if self.classes else "values"]
        kept = 1.0 - rate * _SHRINKAGE
        with np.errstate(over="ignore", invalid="ignore"):
            for row, true in zip(_near(inputs), self._wanted(labels), strict=True):
                said = coefficients @ row + intercepts
                step = rate * ((_sigmoid(said) if self.classes else said) - true)
                coefficients = kept * coefficients - step[:, None] * row
                intercepts = intercepts - step
        if not (np.isfinite(coefficients).all() and np.isfinite(intercepts).all()):
            return self  # a regression whose labels run away: what it knew is better than nothing
        return replace(self, coefficients=coefficients, intercepts=intercepts, rows=self.rows + len(labels))

    def _wanted(self, labels: npt.NDArray[Any]) -> Values:
        if not self.classes:
            standardised: Values = ((labels - self.centre) / self.scale)[:, None]
            return standardised
        if self.classes == 2:
            return labels[:, None].astype(np.float64)
        wanted: Values = np.eye(self.classes)[labels]
        return wanted


def _near(inputs: npt.NDArray[Any]) -> Values:
    return np.clip(inputs.astype(np.float64), -_FARTHEST, _FARTHEST)


def _sigmoid(x: Values) -> Values:
    likely: Values = 1.0 / (1.0 + np.exp(-np.clip(x, -500, 500)))
    return likely
