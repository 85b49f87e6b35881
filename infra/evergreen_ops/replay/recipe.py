"""The training recipe on rows of a stream: what a training job fits, without the job around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.model.schema import MISSING_CATEGORY
from evergreen.model.scorer import TIE_DIGITS
from evergreen.spec import ModelSpec
from evergreen.training.job import DEFAULT_PARAMS, TrainingJob
from evergreen.training.read_rows import Category, Rows
from evergreen.training.recipe import Fitted, fit
from evergreen_ops.replay.streams import Stream

Array = npt.NDArray[Any]


def training_job(spec: ModelSpec, decision_id: str = "") -> TrainingJob:
    """Return the job that a spec asks for.

    Examples
    --------
    >>> from evergreen_ops.replay.specs import bundled_spec
    >>> training_job(bundled_spec()).estimator
    'RandomForestClassifier'
    """
    return TrainingJob(
        model=spec.model,
        schema=spec.feature_schema(),
        estimator=spec.estimator,
        params={**DEFAULT_PARAMS.get(spec.estimator, {}), **spec.training.params},
        seed=spec.training.seed,
        validation_fraction=spec.training.validation_fraction,
        max_rows=spec.training.max_rows,
        min_rows=spec.training.min_rows,
        decision_id=decision_id,
        cycle_days=max(1, round(spec.triggers.cycle.total_seconds() / 86_400)),
    )


class StreamRecipe:
    """Fits the spec's recipe on rows of a stream, given by their numbers."""

    def __init__(self, stream: Stream, spec: ModelSpec) -> None:
        self.job = training_job(spec)
        self.rows = stream_rows(stream, spec)

    def fit(self, rows: Array) -> StreamModel:
        """Train on these rows, all of which have a label."""
        return StreamModel(fit(self.rows.take(rows), self.job), self.rows, self.job.schema.classes)


@dataclass(frozen=True, slots=True)
class StreamModel:
    """A fitted recipe that answers rows of its stream."""

    fitted: Fitted
    rows: Rows
    classes: tuple[str, ...] | None

    def predict(self, rows: Array) -> tuple[Array, Array | None]:
        """Predictions of the stream's rows, and their probabilities in the order of the spec's classes."""
        return named(
            answers(self.fitted, self.fitted.preparation.matrix(self.rows.take(rows)), self.classes), self.classes
        )


def answers(fitted: Fitted, matrix: Array, classes: tuple[str, ...] | None) -> Array:
    """What a fitted recipe says, ``[N, K]``: probabilities in the order of the classes, or one column of values."""
    return fitted.values(matrix)[:, None] if classes is None else fitted.probabilities(matrix, classes)


def named(said: Array, classes: tuple[str, ...] | None) -> tuple[Array, Array | None]:
    """The winning classes of probabilities, and these; a regression's values from its one column, and None."""
    if classes is None:
        return said[:, 0], None
    best = np.round(said, TIE_DIGITS).argmax(axis=1)
    return np.array(classes, dtype=object)[best], said


def stream_rows(stream: Stream, spec: ModelSpec) -> Rows:
    """Return a stream's rows as a training job reads them from Parquet."""
    schema = spec.feature_schema()
    return Rows(
        schema=schema,
        times=stream.event_time.astype("datetime64[us]").astype(np.int64),
        numbers={name: stream.columns[name] for name in schema.numbers},
        categories={name: _category(stream.columns[name]) for name in schema.categoricals},
        actual=stream.label,
    )


def _category(values: Array) -> Category:
    texts = [MISSING_CATEGORY if value is None else value for value in values.tolist()]
    known = tuple(sorted(set(texts)))
    place = {value: code for code, value in enumerate(known)}
    return Category(np.array([place[value] for value in texts], dtype=np.int64), known)
