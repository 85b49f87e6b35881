"""Learn from labelled rows batch by batch: predict first, then learn, and keep the state without a pickle.

A state is the recipe's own preparation, frozen when it is started, so that a coefficient means the same after a year,
and what a scikit-learn estimator has learned, as arrays and numbers. So it is published as any trained model is.
scikit-learn is imported when a batch is predicted or learned.
"""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.model.schema import FeatureSchema, SchemaError
from evergreen.model.scorer import Predictions
from evergreen.training.labelled_rows import Rows
from evergreen.training.learner import Learner, OnlineStateError
from evergreen.training.plain_arrays import Arrays, read, taken, write
from evergreen.training.recipe import Fitted, Preparation

_FARTHEST = 10.0
"""Standardised numbers are learned this near: one absurd value must not throw the model off."""
_CLIP = 1e-7
MOST_CLASSES = 200
_VERSION = 2
_MAGIC = b"EVGONL"
_NUMERIC = "biuf"

Matrix = npt.NDArray[np.float64]


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
        arrays = Arrays()
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
        return write(_MAGIC, header, arrays)

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
            header, joined = read(_MAGIC, content)
            _check_version(header["version"])
            schema, prepared = _schema(header["schema"]), header["preparation"]
            return cls(
                schema=schema,
                preparation=Preparation(
                    schema.numbers,
                    schema.categoricals,
                    taken(prepared["medians"], joined),
                    tuple(tuple(known) for known in prepared["categories"]),
                    taken(prepared["centre"], joined),
                    taken(prepared["scale"], joined),
                ),
                learner=Learner(header["estimator"], header["params"], header["seed"]),
                fitted={name: taken(value, joined) for name, value in header["fitted"].items()},
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


# --- starting and learning --------------------------------------------------------------------------------------------


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
