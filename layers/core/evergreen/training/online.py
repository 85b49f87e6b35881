"""Learn from labelled feedback batch by batch: predict first, then learn, and keep the state without a pickle.

A linear model over standardised numbers and hashed categories. Centre and scale are frozen when the state is started,
so that a coefficient means the same after a year. scikit-learn is imported when a batch is learned, not for predicting.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.schema import MISSING_CATEGORY, FeatureSchema, Task
from evergreen.scoring import Predictions
from evergreen.statistics.profile import Binning, NumberColumn

__all__ = ["OnlineState", "OnlineStateError", "PrequentialCounts", "learn"]

HASH_WIDTH = 256
"""Columns that all categorical features share."""
REMEMBERED_BATCHES = 256
"""How many of the last batch ids are kept, to learn a batch once however often it is delivered."""
_FARTHEST = 10.0
"""Standardised numbers are kept this near: one absurd value must not throw the model off."""
_CLIP = 1e-7
_VERSION = 1

Vector = npt.NDArray[np.float64]


class OnlineStateError(ValueError):
    """A stored online state that can't be used: damaged, of another version, or of another feature schema."""


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
    unseen
        Rows whose label is none of the classes: wrong, and not learned.
    already_applied
        Whether the batch had been learned before and was left alone.

    Examples
    --------
    >>> (PrequentialCounts(50, 50, 40, 12.5) + PrequentialCounts(50, 50, 45, 7.5)).accuracy
    0.85
    """

    rows: int = 0
    scored: int = 0
    correct: int = 0
    loss: float = 0.0
    unseen: int = 0
    already_applied: bool = False

    def __add__(self, other: PrequentialCounts) -> PrequentialCounts:
        return PrequentialCounts(
            self.rows + other.rows,
            self.scored + other.scored,
            self.correct + other.correct,
            self.loss + other.loss,
            self.unseen + other.unseen,
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
        Features, task and, for classification, classes.
    centre, scale
        Of each number feature, frozen.
    label_centre, label_scale
        Of a regression's label, frozen; 0 and 1 for classification.
    coef
        ``[1 or K, D]``.
    intercept
        ``[1 or K]``.
    t
        scikit-learn's step count, which its learning rate follows.
    updates, rows
        Batches and rows learned.
    applied
        The last batch ids, oldest first.
    seed
        Of the shuffle within a batch.
    """

    schema: FeatureSchema
    centre: Vector
    scale: Vector
    label_centre: float
    label_scale: float
    coef: Vector
    intercept: Vector
    t: float = 1.0
    updates: int = 0
    rows: int = 0
    applied: tuple[str, ...] = ()
    seed: int = 0

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Predictions:
        """Answer rows given as JSON objects, without scikit-learn."""
        return self._predict(self.encode(rows))

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> Vector:
        """Return the linear model's input, float64 ``[N, D]``."""
        columns = self.schema.columns(rows)
        numbers, categoricals = self.schema.numbers, self.schema.categoricals
        matrix = np.zeros((len(rows), _width(self.schema)))
        if numbers:
            raw = np.stack([columns[name] for name in numbers], axis=1).astype(np.float64)
            np.clip(np.nan_to_num((raw - self.centre) / self.scale, nan=0.0), -_FARTHEST, _FARTHEST, out=raw)
            matrix[:, : len(numbers)] = raw
        for name in categoricals:
            places = [_place(name, value) for value in columns[name]]
            matrix[range(len(rows)), [len(numbers) + place for place in places]] = 1.0
        return matrix

    def _predict(self, matrix: Vector) -> Predictions:
        decision = matrix @ self.coef.T + self.intercept
        if self.schema.classes is None:
            return Predictions(None, decision[:, 0] * self.label_scale + self.label_centre, None)
        ones = 1 / (1 + np.exp(-np.clip(decision, -500, 500)))
        if len(self.schema.classes) == 2:
            probabilities = np.column_stack([1 - ones[:, 0], ones[:, 0]])
        else:
            total = ones.sum(axis=1, keepdims=True)
            probabilities = np.where(total > 0, ones / np.maximum(total, 1e-300), 1 / ones.shape[1])
        labels = [self.schema.classes[index] for index in probabilities.argmax(axis=1)]
        return Predictions(labels, None, probabilities)

    def to_bytes(self) -> bytes:
        """Return the state as npz: plain arrays and a JSON header, the same bytes for the same state."""
        header = {
            "version": _VERSION,
            "schema": self.schema.to_json(),
            "label_centre": self.label_centre,
            "label_scale": self.label_scale,
            "shape": list(self.coef.shape),
            "t": self.t,
            "updates": self.updates,
            "rows": self.rows,
            "applied": list(self.applied),
            "seed": self.seed,
        }
        stored = io.BytesIO()
        np.savez(
            stored,
            header=np.frombuffer(json.dumps(header, sort_keys=True, separators=(",", ":")).encode(), dtype=np.uint8),
            numbers=np.concatenate([self.centre, self.scale, self.intercept, self.coef.reshape(-1)]),
        )
        return stored.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> OnlineState:
        """Read what :meth:`to_bytes` wrote; no pickle is ever loaded.

        Raises
        ------
        OnlineStateError
            The bytes are damaged or of another version.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                header, numbers = json.loads(stored["header"].tobytes()), stored["numbers"]
            if header["version"] != _VERSION:
                raise OnlineStateError(
                    f"the online state has version {header['version']}, this code reads {_VERSION}; start a new state"
                )
            schema = FeatureSchema.from_json(header["schema"])
            width, shape = len(schema.numbers), tuple(header["shape"])
            centre, scale, intercept, coef = np.split(numbers, np.cumsum([width, width, shape[0]]))
            return cls(
                schema=schema,
                centre=centre,
                scale=scale,
                label_centre=header["label_centre"],
                label_scale=header["label_scale"],
                coef=coef.reshape(shape),
                intercept=intercept,
                t=header["t"],
                updates=header["updates"],
                rows=header["rows"],
                applied=tuple(header["applied"]),
                seed=header["seed"],
            )
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, OnlineStateError):
                raise
            raise OnlineStateError(f"the online state can't be read ({error}); start a new state") from error


def learn(
    state: OnlineState | None,
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[Any],
    schema: FeatureSchema,
    *,
    batch_id: str | None = None,
    binning: Binning | None = None,
    seed: int = 0,
) -> tuple[OnlineState, PrequentialCounts]:
    """Predict a batch of labelled rows, count how that went, then learn the batch in one ``partial_fit``.

    Parameters
    ----------
    state
        What was learned so far; ``None`` to start.
    rows, labels
        ``N`` JSON objects and their labels: strings for classification, numbers for regression.
    schema
        Must be the state's own. A classification's schema has its classes.
    batch_id
        What the batch is about; a batch whose id is among the last 256 learned is left alone.
    binning
        Gives a new state its centre and scale per number; without one they come from this first batch.
    seed
        Of a new state.

    Returns
    -------
    state : OnlineState
        The new state; the given one when the batch was learned before or is empty.
    counts : PrequentialCounts
        Of the predictions made before learning.

    Raises
    ------
    OnlineStateError
        The state belongs to another feature schema.
    ValueError
        Rows and labels differ in number, a new state is to start from no rows, a label is no number, or a
        classification's schema has no classes.

    Examples
    --------
    >>> schema = FeatureSchema.of("binary", {"x": "number"}, classes=["no", "yes"])
    >>> state, _ = learn(None, [{"x": -1.0}, {"x": 1.0}], ["no", "yes"], schema, batch_id="1")
    >>> state, counts = learn(state, [{"x": -2.0}, {"x": 2.0}], ["no", "yes"], schema, batch_id="2")
    >>> counts.correct, counts.scored, state.updates
    (2, 2, 2)
    >>> learn(state, [{"x": 9.0}], ["no"], schema, batch_id="2")[1].already_applied
    True
    """
    if len(rows) != len(labels):
        raise ValueError(f"{len(rows)} rows have {len(labels)} labels; pass one label a row")
    if schema.task.is_classification and schema.classes is None:
        raise ValueError("the schema has no classes; take the schema of the version in production, which has")
    if state is not None and state.schema != schema and state.schema.fingerprint != schema.fingerprint:
        raise OnlineStateError(
            f"the online state was learned for schema {state.schema.fingerprint[:12]}, the rows have "
            f"{schema.fingerprint[:12]}; start a new state"
        )
    if state is not None and batch_id is not None and batch_id in state.applied:
        return state, PrequentialCounts(already_applied=True)
    known = _known(labels, schema)
    counts = PrequentialCounts(rows=len(rows), unseen=len(rows) - len(known))
    chosen, truth = [rows[index] for index in known], [labels[index] for index in known]
    begun = state if state is not None else _start(rows, truth, schema, binning, seed)
    if not chosen:
        return begun, replace(counts, scored=len(rows)) if begun.updates else counts
    matrix = begun.encode(chosen)
    if begun.updates:
        counts = _scored(counts, begun._predict(matrix), truth, schema)
    learned = _partial_fit(begun, matrix, truth)
    applied = begun.applied if batch_id is None else (*begun.applied, batch_id)[-REMEMBERED_BATCHES:]
    return replace(learned, updates=begun.updates + 1, rows=begun.rows + len(chosen), applied=applied), counts


def _known(labels: Sequence[Any], schema: FeatureSchema) -> list[int]:
    if schema.classes is not None:
        return [index for index, label in enumerate(labels) if label in schema.classes]
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, (int, float)) or not np.isfinite(label):
            raise ValueError(f"label {label!r} is no finite number; correct the ground truth")
    return list(range(len(labels)))


def _start(
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[Any],
    schema: FeatureSchema,
    binning: Binning | None,
    seed: int,
) -> OnlineState:
    if not rows:
        raise ValueError("an online state can't start from a batch without rows; wait for the first label")
    frozen = {
        column.name: (column.centre, column.scale)
        for column in (binning.columns if binning is not None else ())
        if isinstance(column, NumberColumn)
    }
    columns = schema.columns(rows)
    places = [frozen.get(name) or _centre_and_scale(columns[name].astype(np.float64)) for name in schema.numbers]
    label_centre, label_scale = 0.0, 1.0
    if schema.task is Task.REGRESSION:
        label_centre, label_scale = _centre_and_scale(np.array(labels, dtype=np.float64))
    outputs = len(schema.classes) if schema.classes is not None and len(schema.classes) > 2 else 1
    return OnlineState(
        schema=schema,
        centre=np.array([centre for centre, _ in places], dtype=np.float64),
        scale=np.array([scale for _, scale in places], dtype=np.float64),
        label_centre=label_centre,
        label_scale=label_scale,
        coef=np.zeros((outputs, _width(schema))),
        intercept=np.zeros(outputs),
        seed=seed,
    )


def _centre_and_scale(values: Vector) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    spread = float(np.std(known))
    return float(np.median(known)), spread if spread > 0 else 1.0


def _scored(
    counts: PrequentialCounts, answered: Predictions, truth: Sequence[Any], schema: FeatureSchema
) -> PrequentialCounts:
    if answered.labels is None or answered.probabilities is None or schema.classes is None:
        error = np.abs(np.asarray(answered.values) - np.asarray(truth, dtype=np.float64))
        return replace(counts, scored=len(truth), loss=float(error.sum()))
    places = [schema.classes.index(label) for label in truth]
    likely = np.clip(answered.probabilities[range(len(truth)), places], _CLIP, 1.0)
    correct = sum(given == label for given, label in zip(answered.labels, truth))
    return replace(counts, scored=counts.rows, correct=correct, loss=float(-np.log(likely).sum()))


def _partial_fit(state: OnlineState, matrix: Vector, truth: Sequence[Any]) -> OnlineState:
    """Put the arrays into a scikit-learn learner, let it learn, and take them out again."""
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    classes = state.schema.classes
    learner: Any
    if classes is None:
        learner = SGDRegressor(random_state=state.seed)
        learner.coef_ = state.coef[0].copy()
    else:
        learner = SGDClassifier(loss="log_loss", random_state=state.seed)
        learner.coef_ = state.coef.copy()
        learner.classes_ = np.arange(len(classes))
    learner.n_features_in_ = matrix.shape[1]
    learner.intercept_ = state.intercept.copy()
    learner.t_ = state.t
    if classes is None:
        target = (np.asarray(truth, dtype=np.float64) - state.label_centre) / state.label_scale
        learner.partial_fit(matrix, target)
    else:
        learner.partial_fit(matrix, np.array([classes.index(label) for label in truth]))
    return replace(
        state,
        coef=np.atleast_2d(learner.coef_).astype(np.float64),
        intercept=np.atleast_1d(learner.intercept_).astype(np.float64),
        t=float(learner.t_),
    )


def _width(schema: FeatureSchema) -> int:
    return len(schema.numbers) + (HASH_WIDTH if schema.categoricals else 0)


def _place(name: str, value: str) -> int:
    return zlib.crc32(f"{name}={value or MISSING_CATEGORY}".encode()) % HASH_WIDTH
