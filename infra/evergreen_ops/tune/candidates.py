"""The policies that are tried on a history, as plain data: how often to train, on what, whether to learn between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evergreen.errors import UsageError
from evergreen.spec import ModelSpec, Strategy
from evergreen_ops.replay.policies import Policy
from evergreen_ops.replay.specs import with_pace
from evergreen_ops.replay.streams import Stream, TaskName

MOST_RUNS = 16
CADENCES = (1_000, 2_500, 5_000, 10_000)
FEW_ROWS, MANY_ROWS = 20_000, 80_000
"""Histories of this many rows are given the cadences as they are; shorter and longer ones in proportion."""
FEWEST_BETWEEN = 250
MAX_ROWS = (3_000, 6_000, 20_000)
FOREST, EXTRA_TREES, LINEAR = "RandomForest", "ExtraTrees", "linear"
ESTIMATORS = (FOREST, EXTRA_TREES, LINEAR)
_FOREST_PARAMS = {"n_estimators": 40, "max_depth": 20, "min_samples_leaf": 5}
_LINEAR: Mapping[bool, tuple[str, Mapping[str, Any]]] = {
    True: ("LogisticRegression", {"max_iter": 500}),
    False: ("Ridge", {}),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that might suit: labelled rows between two trainings (None: never trained again), and what is trained.

    Attributes
    ----------
    every : int or None
    fresh : bool
        Labels are learned between the trainings.
    max_rows : int
        The newest rows that a training uses.
    estimator : str
        A scikit-learn class.

    Examples
    --------
    >>> Candidate(2_500, True, 6_000, "ExtraTreesClassifier").name
    'fresh:2500'
    """

    every: int | None
    fresh: bool
    max_rows: int
    estimator: str

    @property
    def name(self) -> str:
        """What ``evergreen replay --compare`` calls it."""
        if self.every is None:
            return "fresh:never" if self.fresh else "never"
        return f"{'fresh' if self.fresh else 'every'}:{self.every}"

    @property
    def policy(self) -> Policy:
        """When it retrains."""
        return Policy(self.name, every=self.every, learns=self.fresh)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "policy": self.name,
            "every": self.every,
            "fresh": self.fresh,
            "max_rows": self.max_rows,
            "estimator": self.estimator,
        }


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from. The first of `max_rows` and of `estimators` are the spec's own."""

    every: tuple[int | None, ...]
    fresh: tuple[bool, ...]
    max_rows: tuple[int, ...]
    estimators: tuple[str, ...]


def cadences(rows: int) -> tuple[int | None, ...]:
    """Return rows between two trainings, in proportion to a history; None is never.

    Examples
    --------
    >>> cadences(45_000)
    (1000, 2500, 5000, 10000, None)
    >>> cadences(12_700), cadences(2_000)
    ((640, 1600, 3200, 6400, None), (250, 500, 1000, None))
    """
    factor = rows / min(max(rows, FEW_ROWS), MANY_ROWS)
    in_proportion = (max(_two_digits(cadence * factor), FEWEST_BETWEEN) for cadence in CADENCES)
    return (*dict.fromkeys(in_proportion), None)


def numbers_of_rows(own: int, there: int) -> tuple[int, ...]:
    """Return how many rows a training may use, the spec's own number first; all that there are is tried once.

    Examples
    --------
    >>> numbers_of_rows(20_000, 14_500), numbers_of_rows(100_000, 50_000)
    ((20000, 3000, 6000), (100000, 3000, 6000, 20000))
    """
    others = [rows for rows in MAX_ROWS if rows < there or own < there]
    return tuple(dict.fromkeys((own, *others)))


def first_round(choices: Choices) -> tuple[Candidate, ...]:
    """Return each cadence with and without freshness, and ``never``, which all others are compared with.

    Examples
    --------
    >>> choices = Choices((500, None), (False, True), (20_000, 3_000), ("Ridge", "ExtraTreesRegressor"))
    >>> [candidate.name for candidate in first_round(choices)]
    ['never', 'every:500', 'fresh:500', 'fresh:never']
    """
    rows, estimator = choices.max_rows[0], choices.estimators[0]
    never = Candidate(None, False, rows, estimator)
    product = (Candidate(every, fresh, rows, estimator) for every in choices.every for fresh in choices.fresh)
    return tuple(dict.fromkeys((never, *product)))


def second_round(choices: Choices, leaders: Sequence[Candidate], tried: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return the first round's leaders with other rows and other estimators, at most 16 runs with those tried.

    Parameters
    ----------
    choices : Choices
    leaders : sequence of Candidate
        What the first round would recommend, and its best.
    tried : iterable of Candidate

    Examples
    --------
    >>> choices = Choices((500, None), (False, True), (20_000, 3_000), ("Ridge", "ExtraTreesRegressor"))
    >>> tried = first_round(choices)
    >>> for each in second_round(choices, tried[1:3], tried):
    ...     print(each.name, each.max_rows, each.estimator)
    every:500 3000 Ridge
    every:500 20000 ExtraTreesRegressor
    fresh:500 20000 ExtraTreesRegressor
    """
    known = tuple(tried)
    varied = [candidate for leader in leaders[:1] for candidate in _other_rows(choices, leader)]
    varied += [replace(leader, estimator=name) for leader in leaders for name in choices.estimators]
    new = [candidate for candidate in dict.fromkeys(varied) if candidate not in known]
    return tuple(new[: max(MOST_RUNS - len(known), 0)])


def _other_rows(choices: Choices, leader: Candidate) -> list[Candidate]:
    """None for a model that is never trained again: rows cost it nothing."""
    return [] if leader.every is None else [replace(leader, max_rows=rows) for rows in choices.max_rows]


def estimator_name(kind: str, task: TaskName) -> str:
    """Return the scikit-learn class that a word of ``--estimators`` stands for.

    Raises
    ------
    UsageError
        The word is not known.

    Examples
    --------
    >>> estimator_name("ExtraTrees", "regression"), estimator_name("linear", "binary")
    ('ExtraTreesRegressor', 'LogisticRegression')
    """
    classifies = task != "regression"
    if kind == LINEAR:
        return _LINEAR[classifies][0]
    if kind in ESTIMATORS:
        return f"{kind}{'Classifier' if classifies else 'Regressor'}"
    raise UsageError(f"--estimators names {kind!r}: choose from {', '.join(ESTIMATORS)}")


def spec_of(candidate: Candidate, spec: ModelSpec, stream: Stream) -> ModelSpec:
    """Return the spec that does what a candidate says; all else stays as it was.

    Raises
    ------
    UsageError
        The spec's strategy is continuous: nothing is trained but what people ask for.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.specs import infer_spec
    >>> from evergreen_ops.replay.streams import read_table
    >>> stream = read_table(pa.table({"x": range(6_000), "label": [0, 1] * 3_000}), name="tiny")
    >>> spec = spec_of(Candidate(900, False, 3_000, "LogisticRegression"), infer_spec(stream), stream)
    >>> spec.training.max_rows, spec.training.params, spec.triggers.tokens.refill_rows, spec.freshness.enabled
    (3000, {'max_iter': 500}, 900, False)
    """
    if spec.strategy is Strategy.CONTINUOUS:
        raise UsageError("strategy is continuous, which trains on a wish alone: set it to hybrid to tune trainings")
    document = with_pace(spec, stream, candidate.every).to_json()
    document["training"] |= {
        "max_rows": candidate.max_rows,
        "min_rows": min(spec.training.min_rows, candidate.max_rows),
        "estimator": candidate.estimator,
        "params": _params(candidate.estimator, spec),
    }
    document["freshness"]["enabled"] = candidate.fresh
    return ModelSpec.parse(document)


def _params(estimator: str, spec: ModelSpec) -> dict[str, Any]:
    """The spec's own parameters for its own estimator, and from one forest to the other."""
    if estimator == spec.estimator or (_is_forest(estimator) and _is_forest(spec.estimator)):
        return dict(spec.training.params)
    if _is_forest(estimator):
        return dict(_FOREST_PARAMS)
    return dict(next(params for name, params in _LINEAR.values() if name == estimator))


def _is_forest(estimator: str) -> bool:
    return estimator.startswith((FOREST, EXTRA_TREES))


def _two_digits(number: float) -> int:
    return int(float(f"{number:.1e}"))
