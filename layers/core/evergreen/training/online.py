"""Learn from labelled rows batch by batch: predict first, then learn, and keep the state without a pickle.

A state is the recipe's own preparation, frozen when it is started, so that a coefficient means the same after a year,
and what a scikit-learn estimator has learned, as arrays and numbers. So it is published as any trained model is.
scikit-learn is imported when a batch is predicted or learned.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.schema import FeatureSchema, SchemaError, Task
from evergreen.scoring import Predictions
from evergreen.statistics.profile import Binning
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.recipe import Fitted, Preparation, new_estimator
from evergreen.training.table import Rows

__all__ = [
    "Learner",
    "OnlineState",
    "OnlineStateError",
    "PrequentialCounts",
    "check_learner",
    "check_sha256",
    "grow",
    "learn",
]

DEFAULT_PARAMS: Mapping[str, Mapping[str, Any]] = {"SGDClassifier": {"loss": "log_loss"}}
_FARTHEST = 10.0
"""Standardised numbers are learned this near: one absurd value must not throw the model off."""
_CLIP = 1e-7
MOST_CLASSES = 200
_VERSION = 2
_MAGIC = b"EVGONL"
_LENGTH = struct.Struct("<I")
"""Of the header."""
_NUMERIC = "biuf"

Matrix = npt.NDArray[np.float64]


class OnlineStateError(ValueError):
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


@dataclass(frozen=True)
class PrequentialCounts:
    """What a model answered to rows before it learned them; sums, so that batches add up.

    Parameters
    ----------
    rows
        Rows in the batch.
    scored
        Rows that a model existed for.
    correct
        Scored rows whose label was right; 0 for regression.
    loss
        Sum over scored rows of the log loss, or of the absolute error for regression.

    Examples
    --------
    >>> (PrequentialCounts(50, 50, 40, 12.5) + PrequentialCounts(50, 50, 45, 7.5)).accuracy
    0.85
    """

    rows: int = 0
    scored: int = 0
    correct: int = 0
    loss: float = 0.0

    def __add__(self, other: PrequentialCounts) -> PrequentialCounts:
        return PrequentialCounts(
            self.rows + other.rows,
            self.scored + other.scored,
            self.correct + other.correct,
            self.loss + other.loss,
        )

    @property
    def accuracy(self) -> float | None:
        """The share of scored rows that were right; ``None`` when none was scored."""
        return self.correct / self.scored if self.scored else None


@dataclass(frozen=True, eq=False)
class OnlineState:
    """Everything an incremental model knows. Immutable: learning returns a new one.

    Parameters
    ----------
    schema
        Features, task and, for classification, the classes that can be answered.
    preparation
        Medians, categories, centre and scale, frozen.
    learner
        The estimator and its parameters.
    fitted
        What the estimator has learned, by attribute: arrays, numbers, texts, and lists of these.
    label_centre, label_scale
        Of a regression's label, frozen; 0 and 1 for classification.
    updates, rows
        Batches and rows learned.
    """

    schema: FeatureSchema
    preparation: Preparation
    learner: Learner
    fitted: Mapping[str, Any] = field(default_factory=dict)
    label_centre: float = 0.0
    label_scale: float = 1.0
    updates: int = 0
    rows: int = 0

    def predict(self, rows: Sequence[Mapping[str, Any]], classes: tuple[str, ...] | None = None) -> Predictions:
        """Answer rows given as JSON objects; they are taken as valid.

        Parameters
        ----------
        rows
            ``N`` rows.
        classes
            The classes that may be answered, as a published version would; the state's own unless given.

        Raises
        ------
        OnlineStateError
            Nothing has been learned yet.
        """
        if not self.updates:
            raise OnlineStateError("the online state has learned nothing yet: wait for the first label")
        labels: list[Any] = [""] * len(rows) if self.schema.task.is_classification else [0.0] * len(rows)
        matrix = self.preparation.matrix(Rows.of_json(self.schema, rows, labels))
        if classes is None or self.schema.classes is None:
            return self._predict(matrix)
        probabilities = self.recipe(classes).probabilities(matrix, classes)
        return Predictions([classes[index] for index in probabilities.argmax(axis=1)], None, probabilities)

    def matrix(self, rows: Rows) -> Matrix:
        """Return what is learned from, float64 ``[N, D]``: numbers far from the centre are brought nearer.

        Sums over years of small steps are kept in double precision.
        """
        matrix = self.preparation.matrix(rows).astype(np.float64)
        numbers = matrix[:, : len(self.preparation.numbers)]
        np.clip(numbers, -_FARTHEST, _FARTHEST, out=numbers)
        return matrix

    def learned(self, matrix: Matrix, actual: npt.NDArray[Any], *, rows: int) -> OnlineState:
        """Return the state after one ``partial_fit`` on what :meth:`matrix` gave and labels in its own unit."""
        return _learned(self, matrix, actual, rows)

    def model(self) -> Any:
        """Return the estimator as scikit-learn has it, in the label's standardised unit for a regression."""
        estimator = self.learner.new(self.schema)
        vars(estimator).update({name: _copied(value) for name, value in self.fitted.items()})
        return estimator

    def recipe(self, classes: tuple[str, ...] | None = None) -> Fitted:
        """Return the state as the recipe has it after a training, to be exported or scored.

        Parameters
        ----------
        classes
            The classes that it may answer, some of the state's; the others are left out.

        Raises
        ------
        OnlineStateError
            Nothing has been learned, or a class can't be left out of this estimator.
        """
        if not self.updates:
            raise OnlineStateError("the online state has learned nothing yet: wait for the first label")
        narrowed = self if classes is None else _without(self, set(self.schema.classes or ()) - set(classes))
        estimator = narrowed.model()
        if self.schema.classes is None:
            estimator.coef_ = estimator.coef_ * self.label_scale
            estimator.intercept_ = estimator.intercept_ * self.label_scale + self.label_centre
            return Fitted(self.preparation, estimator, None)
        return Fitted(self.preparation, estimator, narrowed.schema.classes)

    def _predict(self, matrix: npt.NDArray[np.float32]) -> Predictions:
        model = self.model()
        if self.schema.classes is None:
            values = np.asarray(model.predict(matrix), dtype=np.float64).reshape(-1)
            return Predictions(None, values * self.label_scale + self.label_centre, None)
        known = Fitted(self.preparation, model, self.schema.classes)
        probabilities = known.probabilities(matrix, self.schema.classes)
        return Predictions([self.schema.classes[i] for i in probabilities.argmax(axis=1)], None, probabilities)

    # --- storage ------------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return the state as a JSON header and the arrays' bytes behind it; the same bytes for the same state."""
        arrays = _Arrays()
        preparation = self.preparation
        header = {
            "version": _VERSION,
            "schema": json.dumps(self.schema.to_json()),
            "preparation": {
                "medians": arrays.put(preparation.medians),
                "categories": [list(known) for known in preparation.categories],
                "centre": arrays.put(preparation.centre),
                "scale": arrays.put(preparation.scale),
            },
            "estimator": self.learner.estimator,
            "params": dict(self.learner.params),
            "seed": self.learner.seed,
            "fitted": {name: arrays.put(value) for name, value in sorted(self.fitted.items())},
            "label_centre": self.label_centre,
            "label_scale": self.label_scale,
            "updates": self.updates,
            "rows": self.rows,
        }
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
        return b"".join((_MAGIC, _LENGTH.pack(len(text)), text, *arrays.parts))

    @classmethod
    def from_bytes(cls, content: bytes, expected_sha256: str | None = None) -> OnlineState:
        """Read what :meth:`to_bytes` wrote; no pickle is ever loaded.

        Parameters
        ----------
        content
            The bytes.
        expected_sha256
            Of the bytes, in hex, where it was recorded: checked before anything is read.

        Raises
        ------
        OnlineStateError
            The bytes are not those recorded, damaged, or of another version.
        """
        if expected_sha256 is not None:
            check_sha256(content, expected_sha256)
        try:
            begin = len(_MAGIC) + _LENGTH.size
            if not content.startswith(_MAGIC):
                raise ValueError("it does not begin as one")  # noqa: TRY301
            (length,) = _LENGTH.unpack_from(content, len(_MAGIC))
            header, joined = json.loads(content[begin : begin + length]), content[begin + length :]
            _check_version(header["version"])
            schema, prepared = _schema(header["schema"]), header["preparation"]
            return cls(
                schema=schema,
                preparation=Preparation(
                    schema.numbers,
                    schema.categoricals,
                    _taken(prepared["medians"], joined),
                    tuple(tuple(known) for known in prepared["categories"]),
                    _taken(prepared["centre"], joined),
                    _taken(prepared["scale"], joined),
                ),
                learner=Learner(header["estimator"], header["params"], header["seed"]),
                fitted={name: _taken(value, joined) for name, value in header["fitted"].items()},
                label_centre=header["label_centre"],
                label_scale=header["label_scale"],
                updates=header["updates"],
                rows=header["rows"],
            )
        except OnlineStateError:
            raise
        except (ValueError, KeyError, TypeError, struct.error, SchemaError) as error:
            raise OnlineStateError(f"the online state can't be read ({error}); start a new state") from error


def check_sha256(content: bytes, expected: str) -> None:
    """Raise OnlineStateError unless these are the bytes that were recorded."""
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise OnlineStateError(
            f"the online state's sha256 is {actual}, but {expected} is recorded; it was changed after it was stored, "
            "so revert to a checkpoint (evergreen online revert) and find out who wrote it"
        )


@functools.lru_cache(maxsize=32)
def _schema(text: str) -> FeatureSchema:
    return FeatureSchema.from_json(json.loads(text))


def _check_version(version: Any) -> None:
    if version != _VERSION:
        raise OnlineStateError(f"the online state has version {version}, this code reads {_VERSION}; start a new state")


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
    evergreen.training.online.OnlineStateError: online.estimator is MLPClassifier, which keeps more than arrays and \
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


# --- starting and learning --------------------------------------------------------------------------------------------


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
        error = np.abs(np.asarray(answered.values) - np.asarray(truth, dtype=np.float64))
        return replace(counts, scored=len(truth), loss=float(error.sum()))
    places = [schema.classes.index(label) for label in truth]
    likely = np.clip(answered.probabilities[range(len(truth)), places], _CLIP, 1.0)
    correct = sum(given == label for given, label in zip(answered.labels, truth))
    return replace(counts, scored=len(truth), correct=correct, loss=float(-np.log(likely).sum()))


def _partial_fit(state: OnlineState, batch: Rows) -> OnlineState:
    actual = batch.actual
    if state.schema.classes is None:
        actual = (actual - state.label_centre) / state.label_scale
    return state.learned(state.matrix(batch), actual, rows=len(batch))


def _learned(state: OnlineState, matrix: Matrix, actual: npt.NDArray[Any], rows: int) -> OnlineState:
    model = state.model()
    first = None if state.updates else state.schema.classes
    try:
        _fit_part(model, matrix, actual, first)
    except (ValueError, TypeError) as error:
        told = " ".join(str(error).split())
        raise OnlineStateError(
            f"online.estimator is {state.learner.estimator}, which can't learn these rows: {told}"
        ) from error
    fitted = _fitted(model, state)
    if not all(np.isfinite(value).all() for value in fitted.values() if _is_numbers(value)):
        raise OnlineStateError(
            f"online.estimator is {state.learner.estimator}, which learned no finite numbers from these rows; "
            "lower its learning rate in online.params"
        )
    return replace(state, fitted=fitted, updates=state.updates + 1, rows=state.rows + rows)


def _fitted(model: Any, state: OnlineState) -> dict[str, Any]:
    """What an estimator has learned and is plain; a new one has its parameters alone."""
    params = vars(state.learner.new(state.schema))
    return {name: value for name, value in vars(model).items() if name not in params and _is_plain(value)}


def _fit_part(model: Any, matrix: Matrix, actual: npt.NDArray[Any], classes: tuple[str, ...] | None) -> None:
    if classes is None:
        model.partial_fit(matrix, actual)
    else:
        model.partial_fit(matrix, actual, classes=np.array(classes, dtype=object))


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


# --- linear states ----------------------------------------------------------------------------------------------------


def _a_row_each(state: OnlineState) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coefficients with a row for each class: of two classes scikit-learn keeps the second one's alone."""
    coef, intercept = state.fitted["coef_"], state.fitted["intercept_"]
    if len(state.schema.classes or ()) == 2:
        return np.vstack([-coef, coef]), np.concatenate([-intercept, intercept])
    return coef, intercept


def _linear(
    state: OnlineState, coef: npt.NDArray[np.float64], intercept: npt.NDArray[np.float64], classes: tuple[str, ...]
) -> dict[str, Any]:
    """The fitted attributes with other coefficients; what scikit-learn derives from the classes it derives again."""
    if len(classes) == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    kept = {name: value for name, value in state.fitted.items() if name != "_expanded_class_weight"}
    return {**kept, "coef_": coef, "intercept_": intercept, "classes_": np.array(classes, dtype=object)}


def _without(state: OnlineState, classes: set[str]) -> OnlineState:
    if not classes:
        return state
    if state.learner.estimator != "SGDClassifier":
        raise OnlineStateError(f"{state.learner.estimator} can't leave out class {min(classes)!r}; start a new state")
    left = tuple(label for label in state.schema.classes or () if label not in classes)
    coef, intercept = _a_row_each(state)
    places = [index for index, label in enumerate(state.schema.classes or ()) if label not in classes]
    fitted = _linear(state, coef[places], intercept[places], left)
    return replace(state, schema=state.schema.with_classes(left), fitted=fitted)


# --- plain values -----------------------------------------------------------------------------------------------------


def _is_numbers(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, float)) and np.asarray(value).dtype.kind == "f"


def _is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, texts and arrays of these alone."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return True
    if isinstance(value, np.generic):
        return value.dtype.kind in _NUMERIC
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            return all(isinstance(text, str) for text in value.flat)
        return value.dtype.kind in _NUMERIC + "U"
    return isinstance(value, (list, tuple)) and all(map(_is_plain, value))


def _copied(value: Any) -> Any:
    """A value that an estimator may change in place."""
    if isinstance(value, np.ndarray):
        return value.copy()
    return [_copied(each) for each in value] if isinstance(value, list) else value


class _Arrays:
    """Arrays one behind the other, and for each value the JSON that says where its parts lie."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._length = 0

    def put(self, value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.asarray(value)
            if array.dtype.kind in "OU":
                return {"texts": [str(text) for text in array.flat], "shape": list(array.shape)}
            content = array.tobytes()
            placed = {"at": self._length, "dtype": array.dtype.str, "shape": list(array.shape)}
            self.parts.append(content)
            self._length += len(content)
            return placed
        if isinstance(value, (list, tuple)):
            return {"tuple" if isinstance(value, tuple) else "list": [self.put(each) for each in value]}
        return value


def _taken(value: Any, joined: bytes) -> Any:
    """Read what :class:`_Arrays` put; arrays that may be written to."""
    if not isinstance(value, dict):
        return value
    if "texts" in value:
        texts = np.empty(len(value["texts"]), dtype=object)
        texts[:] = value["texts"]
        return texts.reshape(value["shape"])
    if "at" in value:
        count = int(np.prod(value["shape"], dtype=np.int64))
        array = np.frombuffer(joined, np.dtype(value["dtype"]), count, value["at"]).reshape(value["shape"])
        return array.copy() if value["shape"] else array[()]
    if "tuple" in value:
        return tuple(_taken(each, joined) for each in value["tuple"])
    return [_taken(each, joined) for each in value["list"]]
