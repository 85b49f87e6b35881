"""The online learner: an estimator that takes a few rows at a time, with its preparation."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evergreen.errors import EvergreenError
from evergreen.model.schema import FeatureSchema, Task
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.recipe import new_estimator

DEFAULT_PARAMS: Mapping[str, Mapping[str, Any]] = {"SGDClassifier": {"loss": "log_loss"}}


class OnlineStateError(EvergreenError, ValueError):
    """An online state that can't be used or made: changed, damaged, of another version, of an unfit estimator."""


@dataclass(frozen=True)
class Learner:
    """Which estimator learns online.

    Parameters
    ----------
    estimator
        A scikit-learn class name with ``partial_fit``.
    params
        Its keyword arguments.
    seed
        Of whatever it draws.

    Examples
    --------
    >>> Learner.of(Task.BINARY)
    Learner(estimator='SGDClassifier', params={'loss': 'log_loss'}, seed=0)
    """

    estimator: str
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def of(cls, task: Task, estimator: str = "", params: Mapping[str, Any] | None = None, *, seed: int = 0) -> Learner:
        """Fill in the default: a linear model by stochastic gradient descent."""
        name = estimator or ("SGDClassifier" if task.is_classification else "SGDRegressor")
        return cls(name, {**DEFAULT_PARAMS.get(name, {}), **(params or {})}, seed)

    def new(self, schema: FeatureSchema) -> Any:
        """Make the estimator, unfitted.

        Raises
        ------
        OnlineStateError
            It is none of scikit-learn's, of the other task, can't learn in parts, answers no probabilities, or its
            parameters are wrong.
        """
        params = json.dumps(dict(self.params), sort_keys=True)
        return copy.copy(_unfitted(self.estimator, params, self.seed, schema.task))


@functools.lru_cache(maxsize=32)
def _unfitted(name: str, params: str, seed: int, task: Task) -> Any:
    """Make an estimator once: looking up its class and checking its parameters takes longer than learning a batch."""
    any_features = FeatureSchema.of(task, {"any": "number"})
    try:
        estimator = new_estimator(TrainingJob("online", any_features, name, json.loads(params), seed=seed))
    except TrainingError as error:
        raise OnlineStateError(f"online.estimator: {error}") from error
    if not hasattr(estimator, "partial_fit"):
        raise OnlineStateError(
            f"online.estimator is {name}, which can't learn in parts (it has no partial_fit); "
            "choose SGDClassifier, SGDRegressor or GaussianNB"
        )
    return estimator
