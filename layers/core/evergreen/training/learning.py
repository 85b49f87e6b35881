"""Learn from labelled rows: score them first, then take them in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evergreen.model.schema import FeatureSchema, Task
from evergreen.model.scorer import Predictions
from evergreen.statistics.losses import absolute_error
from evergreen.statistics.profile import Binning
from evergreen.training.labelled_rows import Rows
from evergreen.training.learner import Learner, OnlineStateError
from evergreen.training.online_state import (
    _CLIP,
    MOST_CLASSES,
    OnlineState,
    PrequentialCounts,
    _a_row_each,
    _fit_part,
    _is_plain,
    _linear,
)
from evergreen.training.recipe import Fitted, Preparation


def learn(
    state: OnlineState | None,
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[Any],
    schema: FeatureSchema,
    *,
    learner: Learner | None = None,
    binning: Binning | None = None,
) -> tuple[OnlineState, PrequentialCounts]:
    """Predict a batch of labelled rows, count how that went, then learn the batch in one ``partial_fit``.

    Parameters
    ----------
    state
        What was learned so far; ``None`` to start.
    rows, labels
        ``N`` JSON objects and their labels: strings for classification, numbers for regression.
    schema
        Its features must be the state's own. A new state takes its classes.
    learner, binning
        Of a new state: the estimator, and where medians, centre, scale and categories come from; without a binning
        that has every feature they come from this first batch.

    Returns
    -------
    state : OnlineState
        The new state; the given one when the batch is empty.
    counts : PrequentialCounts
        Of the predictions made before learning.

    Raises
    ------
    OnlineStateError
        The state belongs to another feature schema, the estimator can't be used, or can't learn these rows.
    ValueError
        Rows and labels differ in number, a new state is to start from no rows, or a label is none.

    Examples
    --------
    >>> schema = FeatureSchema.of("binary", {"x": "number"}, classes=["no", "yes"])
    >>> state, _ = learn(None, [{"x": -1.0}, {"x": 1.0}], ["no", "yes"], schema)
    >>> state, counts = learn(state, [{"x": -2.0}, {"x": 2.0}], ["no", "yes"], schema)
    >>> counts.correct, counts.scored, state.updates, state.rows
    (2, 2, 2, 4)
    """
    if len(rows) != len(labels):
        raise ValueError(f"{len(rows)} rows have {len(labels)} labels; pass one label a row")
    if schema.task.is_classification and schema.classes is None:
        raise ValueError("the schema has no classes; take the schema of the version in production, which has")
    if state is not None and not rows:
        return state, PrequentialCounts()
    if state is not None and not _same_features(state.schema, schema):
        raise OnlineStateError(
            f"the online state was learned for schema {state.schema.fingerprint[:12]}, the rows have "
            f"{schema.fingerprint[:12]}; start a new state"
        )
    problem = next((found for found in map(_label_problem(state.schema if state else schema), labels) if found), None)
    if problem:
        raise ValueError(problem)
    begun = state if state is not None else _start(rows, labels, schema, learner or Learner.of(schema.task), binning)
    batch = Rows.of_json(begun.schema, rows, labels)
    counts = PrequentialCounts(rows=len(rows))
    if begun.updates:
        counts = _scored(counts, begun._predict(begun.preparation.matrix(batch)), labels, begun.schema)
    return _partial_fit(begun, batch), counts


def grow(state: OnlineState, classes: Iterable[str]) -> OnlineState:
    """Let a linear state answer further classes: each begins as rare as one row among all that were learned.

    Raises
    ------
    OnlineStateError
        The estimator is none that can learn a class later.

    Examples
    --------
    >>> schema = FeatureSchema.of("multiclass", {"x": "number"}, classes=["a", "b"])
    >>> state, _ = learn(None, [{"x": -1.0}, {"x": 1.0}], ["a", "b"], schema)
    >>> grown = grow(state, ["c"])
    >>> grown.schema.classes, grown.predict([{"x": 1.0}]).labels
    (('a', 'b', 'c'), ['b'])
    """
    known = state.schema.classes or ()
    further = sorted(set(classes) - set(known))
    if not further:
        return state
    if state.learner.estimator != "SGDClassifier" or state.schema.task is not Task.MULTICLASS:
        raise OnlineStateError(
            f"{state.learner.estimator} of a {state.schema.task.value} model can't learn class {further[0]!r} later; "
            "add it to labels.classes, which starts a new online state"
        )
    everyone = tuple(sorted({*known, *further}))
    if len(everyone) > MOST_CLASSES:
        raise OnlineStateError(
            f"the online state has {len(known)} classes and is to learn {len(further)} more, {MOST_CLASSES} are the "
            "limit: set online.new_classes to refuse"
        )
    schema = state.schema.with_classes(everyone)
    if not state.updates:
        return replace(state, schema=schema)
    coef, intercept = _a_row_each(state)
    grown = np.zeros((len(everyone), coef.shape[1]), dtype=coef.dtype)
    start = np.full(len(everyone), -np.log(state.rows + 1.0))
    places = [everyone.index(label) for label in known]
    grown[places], start[places] = coef, intercept
    return replace(state, schema=schema, fitted=_linear(state, grown, start, everyone))


def check_learner(learner: Learner, schema: FeatureSchema) -> OnlineState:
    """Try an estimator: what it has learned must survive being stored as plain arrays, and be exportable.

    Returns
    -------
    OnlineState
        Two batches of made-up rows, learned.

    Raises
    ------
    OnlineStateError
        It doesn't, with the reason in a sentence.

    Examples
    --------
    >>> schema = FeatureSchema.of("binary", {"x": "number"}, classes=["no", "yes"])
    >>> check_learner(Learner("GaussianNB"), schema).rows
    120
    >>> check_learner(Learner("MLPClassifier"), schema)
    Traceback (most recent call last):
    ...
    evergreen.training.learner.OnlineStateError: online.estimator is MLPClassifier, which keeps more than arrays and \
numbers between batches (_label_binarizer, _optimizer, _random_state); choose SGDClassifier, SGDRegressor or GaussianNB
    """
    schema = schema if schema.classes or not schema.task.is_classification else schema.with_classes(("0", "1"))
    batches = [_made_up(schema, seed) for seed in (0, 1)]
    first, _ = learn(None, *batches[0], schema, learner=learner)
    model = learner.new(schema)
    labels = [np.array(batch[1], dtype=object if schema.classes else np.float64) for batch in batches]
    if schema.classes is None:
        labels = [(values - first.label_centre) / first.label_scale for values in labels]
    for number, (rows, given) in enumerate(batches):
        matrix = first.matrix(Rows.of_json(schema, rows, given))
        _fit_part(model, matrix, labels[number], None if number else schema.classes)
    lost = sorted(
        name for name, value in vars(model).items() if name not in model.get_params() and not _is_plain(value)
    )
    unfit = f"online.estimator is {learner.estimator}, which keeps more than arrays and numbers between batches"
    named = f" ({', '.join(lost)})" if lost else ""
    advice = "choose SGDClassifier, SGDRegressor or GaussianNB"
    try:
        second, _ = learn(OnlineState.from_bytes(first.to_bytes()), *batches[1], schema)
        seen = first.preparation.matrix(Rows.of_json(schema, *batches[1]))
        answered = second._predict(seen)
    except Exception as error:  # whatever an estimator raises that misses what it had kept
        raise OnlineStateError(f"{unfit}{named}; {advice}") from error
    kept = answered.probabilities if schema.classes else answered.values
    expected = (
        Fitted(first.preparation, model, schema.classes).probabilities(seen, schema.classes)
        if schema.classes
        else np.asarray(model.predict(seen)) * first.label_scale + first.label_centre
    )
    if not np.array_equal(np.asarray(kept), expected):
        raise OnlineStateError(f"{unfit}{named}; {advice}")
    if schema.classes is None and not {"coef_", "intercept_"} <= set(second.fitted):
        raise OnlineStateError(f"online.estimator is {learner.estimator}, which is not linear; choose SGDRegressor")
    return second


def _label_problem(schema: FeatureSchema) -> Callable[[Any], str | None]:
    def problem(label: Any) -> str | None:
        if schema.classes is not None:
            known = ", ".join(schema.classes[:20])
            return None if label in schema.classes else f"label {label!r} is none of the classes {known}"
        wrong = isinstance(label, bool) or not isinstance(label, (int, float)) or not np.isfinite(label)
        return f"label {label!r} is no finite number; correct the ground truth" if wrong else None

    return problem


def _same_features(one: FeatureSchema, other: FeatureSchema) -> bool:
    return one.with_classes(None).fingerprint == other.with_classes(None).fingerprint


def _start(
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[Any],
    schema: FeatureSchema,
    learner: Learner,
    binning: Binning | None,
) -> OnlineState:
    if not rows:
        raise ValueError("an online state can't start from a batch without rows; wait for the first label")
    learner.new(schema)  # a wrong estimator is named before anything is learned
    preparation = None if binning is None else Preparation.of_binning(schema, binning)
    if preparation is None:
        batch = Rows.of_json(schema, rows, labels)
        learned = Preparation.learn(batch, standardise=True)
        every = tuple(tuple(sorted({"", *batch.categories[name].values})) for name in schema.categoricals)
        preparation = replace(learned, categories=every)
    centre, scale = (0.0, 1.0) if schema.task.is_classification else _centre_and_scale(labels)
    return OnlineState(schema, preparation, learner, label_centre=centre, label_scale=scale)


def _centre_and_scale(labels: Sequence[float]) -> tuple[float, float]:
    values = np.asarray(labels, dtype=np.float64)
    spread = float(np.std(values))
    return float(np.median(values)), spread if spread > 0 else 1.0


def _scored(
    counts: PrequentialCounts, answered: Predictions, truth: Sequence[Any], schema: FeatureSchema
) -> PrequentialCounts:
    if answered.labels is None or answered.probabilities is None or schema.classes is None:
        error = absolute_error(np.asarray(answered.values), truth)
        return replace(counts, scored=len(truth), loss=float(error.sum()))
    places = [schema.classes.index(label) for label in truth]
    likely = np.clip(answered.probabilities[range(len(truth)), places], _CLIP, 1.0)
    correct = sum(given == label for given, label in zip(answered.labels, truth, strict=True))
    return replace(counts, scored=len(truth), correct=correct, loss=float(-np.log(likely).sum()))


def _partial_fit(state: OnlineState, batch: Rows) -> OnlineState:
    actual = batch.actual
    if state.schema.classes is None:
        actual = (actual - state.label_centre) / state.label_scale
    return state.learned(state.matrix(batch), actual, rows=len(batch))


def _made_up(schema: FeatureSchema, seed: int) -> tuple[list[dict[str, Any]], list[Any]]:
    random, count = np.random.default_rng(seed), 60
    rows: list[dict[str, Any]] = [
        {name: float(random.normal()) for name in schema.numbers}
        | {name: "abc"[int(random.integers(3))] for name in schema.categoricals}
        for _ in range(count)
    ]
    if schema.classes is None:
        return rows, [float(value) for value in random.normal(100, 20, count)]
    return rows, [schema.classes[index % len(schema.classes)] for index in range(count)]
