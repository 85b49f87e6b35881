"""Outcomes in pairs: what two versions said of the same request, what became of it, and what each answer costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evergreen.domain.shadow import Answers, PairedOutcomes
from evergreen.spec import Metric, ModelSpec
from evergreen.statistics.losses import NO_LABEL, Floats, absolute_error, brier, codes


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One answered request whose label is known."""

    event_id: str
    time: datetime  # of the request
    label_time: datetime
    version: int  # that answered
    prediction: str | float
    probabilities: list[float] | None  # in the order of the spec's classes
    actual: str | float
    group: str | None
    features: Mapping[str, Any]
    states: Mapping[int, int] = field(default_factory=dict)  # that answered, by version, where it is known


def last_of_each(ids: Sequence[Hashable], order: Sequence[Any] | None = None) -> NDArray[np.int64]:
    """Return the row of each id's last entry: an id counts once, with its last label.

    Parameters
    ----------
    ids
        One a row; rows with None stand alone.
    order
        What tells the last one, such as label times; of equals the later row. The rows as they stand unless given.

    Returns
    -------
    ndarray of int64
        One row an id, in the order in which the ids come first.

    Examples
    --------
    >>> last_of_each(["a", "b", "a", None, None]).tolist()
    [2, 1, 3, 4]
    >>> last_of_each(["a", "b", "a"], order=[9, 0, 5]).tolist()
    [1, 0]
    """
    rows = range(len(ids)) if order is None else sorted(range(len(ids)), key=order.__getitem__)
    last = {(row,) if ids[row] is None else ids[row]: row for row in rows}
    return np.array(list(last.values()), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Said:
    """What one version answered, one entry a row.

    `chances` gives the probabilities of the classes, in the spec's order; it is asked where the metric is of them.
    """

    answers: Sequence[Any]
    chances: Callable[[], Sequence[Sequence[float] | None]]


def pair(
    actual: Sequence[Any],
    production: Said,
    shadow: Said,
    spec: ModelSpec,
    *,
    inference_time: NDArray[np.int64],
    label_delay: NDArray[np.int64],
    group: Sequence[str | None],
) -> PairedOutcomes:
    """Put two versions' answers to the same requests side by side, with the loss of each in the spec's metric.

    Parameters
    ----------
    actual
        The labels, or the values of a regression, one entry a row.
    inference_time, label_delay
        In microseconds; see :class:`evergreen.domain.shadow.PairedOutcomes`.

    Examples
    --------
    >>> spec = ModelSpec.parse({"model": "price", "task": "regression", "features": {"age": {"type": "number"}}})
    >>> of_rows = {"inference_time": np.array([0]), "label_delay": np.array([60]), "group": [None]}
    >>> no_chances = lambda: [None]
    >>> found = pair([2.0], Said([3.5], no_chances), Said([2.25], no_chances), spec, **of_rows)
    >>> found.production_loss.tolist(), found.shadow_loss.tolist()
    ([1.5], [0.25])
    """
    classes = spec.labels.classes
    columns = (actual, production.answers, shadow.answers)
    if classes is None:
        truth, *said = (np.asarray(column, dtype=np.float64) for column in columns)
    else:
        truth, *said = codes(classes, *columns)
    loss = [
        losses(truth, answers, chances=_chances(side, spec), costs=_costs(spec), metric=spec.shadow_metric)
        for side, answers in zip((production, shadow), said, strict=True)
    ]
    return PairedOutcomes(
        inference_time=inference_time,
        production_loss=loss[0],
        shadow_loss=loss[1],
        group=np.array(group, dtype=object),
        answers=None if classes is None else Answers(*(np.minimum(each, len(classes)) for each in (truth, *said))),
        label_delay=label_delay,
    )


def _chances(side: Said, spec: ModelSpec) -> Floats | None:
    """The probabilities, NaN where none were given; None where the metric is not of them."""
    classes = spec.labels.classes
    if classes is None or spec.shadow_metric is not Metric.BRIER:
        return None
    nothing = [math.nan] * len(classes)
    rows = [nothing if row is None else row for row in side.chances()]
    return np.array(rows, dtype=np.float64).reshape(-1, len(classes))


def _costs(spec: ModelSpec) -> Floats | None:
    return cost_matrix(spec.labels.classes or (), spec.shadow.cost) if spec.shadow_metric is Metric.COST else None


def cost_matrix(classes: Sequence[str], costs: Mapping[str, Mapping[str, float]]) -> Floats:
    """Return what an answer costs: a row for each actual class, a column for each answer, in the classes' order.

    A right answer costs 0 and a wrong one 1 where `costs` doesn't say. The last row and column are for labels that are
    none of the classes: they cost the same whatever was said.

    Parameters
    ----------
    classes : sequence of str
    costs : mapping of actual class to a mapping of answer to cost

    Examples
    --------
    >>> cost_matrix(["no", "yes"], {"yes": {"no": 50}}).tolist()
    [[0.0, 1.0, 0.0], [50.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    place = {name: code for code, name in enumerate(classes)}
    matrix = np.zeros((len(classes) + 1, len(classes) + 1))
    matrix[:-1, :-1] = 1.0 - np.eye(len(classes))
    for actual, of_answers in costs.items():
        for said, cost in of_answers.items():
            matrix[place[actual], place[said]] = cost
    return matrix


def losses(
    actual: NDArray[Any],
    said: NDArray[Any],
    *,
    chances: Floats | None = None,
    costs: Floats | None = None,
    metric: Metric,
) -> Floats:
    """Return the loss of each row: 0 or 1, a distance of probabilities (Brier), a cost, or the absolute error.

    Whatever the answers are read from, this is what they are worth.

    Parameters
    ----------
    actual, said : ndarray, shape (n,)
        Labels as :func:`evergreen.statistics.losses.codes` numbers them; for the absolute error values, float64.
    chances : ndarray of float64, shape (n, k), optional
        For Brier: the probability of each class.
    costs : ndarray of float64, shape (k + 1, k + 1), optional
        For a cost: see :func:`cost_matrix`.
    metric : Metric

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where there is no label or no answer.

    Examples
    --------
    >>> actual, said = np.array([0, 1, 1, -1]), np.array([0, 0, 1, 1])
    >>> losses(actual, said, metric=Metric.ACCURACY).tolist()
    [0.0, 1.0, 0.0, nan]
    >>> losses(actual, said, costs=cost_matrix(["no", "yes"], {"yes": {"no": 50}}), metric=Metric.COST).tolist()
    [0.0, 50.0, 0.0, nan]
    """
    match metric:
        case Metric.ABSOLUTE_ERROR:
            return absolute_error(said, actual)
        case Metric.ACCURACY | Metric.MACRO_F1:
            found: Floats = (said != actual).astype(np.float64)
        case Metric.COST:
            assert costs is not None, "a cost needs the costs"
            other = len(costs) - 1
            found = costs[np.minimum(actual, other), np.minimum(said, other)]
        case Metric.BRIER:
            assert chances is not None, "Brier needs probabilities"
            found = brier(chances, actual)
    return np.where((actual == NO_LABEL) | (said == NO_LABEL), np.nan, found)
