"""One training job's request: hyperparameters in, a checked :class:`TrainingJob` out, or a reason in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from evergreen.errors import EvergreenError
from evergreen.model.schema import FeatureSchema, SchemaError, Task

__all__ = ["DEFAULT_PARAMS", "TrainingError", "TrainingJob"]

DEFAULT_ESTIMATORS = {
    Task.BINARY: "RandomForestClassifier",
    Task.MULTICLASS: "RandomForestClassifier",
    Task.REGRESSION: "RandomForestRegressor",
}
DEFAULT_PARAMS: Mapping[str, Mapping[str, Any]] = {
    "RandomForestClassifier": {"n_estimators": 200, "max_depth": 20},
    "RandomForestRegressor": {"n_estimators": 200, "max_depth": 20},
}
_NAMES = ("model", "decision_id", "trigger", "because")
"""Hyperparameters in which null is a word like any other."""
_TOLD = ("decision_id", "trigger", "because", "snapshot", "source_sha256", "production_sha256")


class TrainingError(EvergreenError):
    """A training job that can't succeed, with the reason a user reads in FailureReason: one sentence, one line."""


@dataclass(frozen=True)
class TrainingJob:
    """What to train.

    Parameters
    ----------
    model
        The model's name.
    schema
        Task and features; and the classes that labels may have, or ``None`` to find them in the data.
    estimator
        A scikit-learn class name.
    params
        Its keyword arguments, over the defaults of :data:`DEFAULT_PARAMS`.
    seed
        Every random choice derives from it.
    validation_fraction
        The share of newest rows that the metrics are measured on.
    max_rows
        Only the newest so many rows are used; ``None`` for all.
    min_rows
        Fewer labelled rows fail the job.
    decision_id
        The retraining decision this job carries out.
    trained_from, trained_until
        Rows with an inference time before or after these are ignored.
    cycle_days
        Length of the cycle that drift is compared over; may be a fraction.
    trigger, because
        What asked for the retraining, and its reason.
    snapshot, source_sha256
        Hashes of the data and of the source, as the history names them.
    production_sha256
        Hash of production's artifact: other bytes in its channel fail the job.
    other_labels
        ``refuse``: a label that is none of the classes fails the job; ``leave_out``: its rows are left out.
    freshness
        Whether the artifact holds what a live state needs.
    production_version
        The number of the version in production, under which it lives on in the new one.
    """

    model: str
    schema: FeatureSchema
    estimator: str
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    validation_fraction: float = 0.2
    max_rows: int | None = None
    min_rows: int = 100
    decision_id: str = ""
    trained_from: datetime | None = None
    trained_until: datetime | None = None
    cycle_days: float = 7.0
    trigger: str = ""
    because: str = ""
    snapshot: str = ""
    source_sha256: str = ""
    production_sha256: str = ""
    other_labels: str = "refuse"
    freshness: bool = False
    production_version: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise TrainingError(
                f"validation_fraction is {self.validation_fraction}, which leaves no rows on one side; "
                "choose a share between 0 and 1"
            )
        if self.min_rows < 1:
            raise TrainingError(f"min_rows is {self.min_rows}; choose 1 or more")
        if not self.cycle_days > 0:
            raise TrainingError(f"cycle_days is {self.cycle_days:g}; choose a number above 0")
        if self.max_rows is not None and self.max_rows < self.min_rows:
            raise TrainingError(
                f"max_rows is {self.max_rows}, below min_rows {self.min_rows}, so no training could ever start; "
                "raise max_rows or lower min_rows"
            )

    @classmethod
    def from_hyperparameters(cls, values: Mapping[str, Any]) -> TrainingJob:
        """Read a job out of hyperparameters, whose values may be strings, JSON in strings, or decoded already.

        SageMaker passes strings; its toolkit passes them on as arguments and decodes them into SM_HPS.

        Raises
        ------
        TrainingError
            A hyperparameter is missing or holds what it can't.

        Examples
        --------
        >>> job = TrainingJob.from_hyperparameters(
        ...     {"model": "flights", "task": "binary", "features": '[{"name": "temp", "type": "number"}]', "seed": "3"}
        ... )
        >>> job.estimator, job.params, job.seed
        ('RandomForestClassifier', {'n_estimators': 200, 'max_depth': 20}, 3)
        """
        decoded = {name: _decoded(value) for name, value in values.items() if not _absent(name, value)}
        for name in ("model", "task", "features"):
            if name not in decoded:
                raise TrainingError(
                    f"hyperparameter {name} is missing; launch_training passes it, so pass it by hand too"
                )
        schema = _schema(decoded["task"], _whole(decoded, "features"), _whole(decoded, "classes"))
        estimator = str(decoded.get("estimator") or DEFAULT_ESTIMATORS[schema.task])
        params = decoded.get("params") or {}
        if not isinstance(params, dict):
            raise TrainingError(f"hyperparameter params is {params!r}; pass a JSON object of keyword arguments")
        return cls(
            model=str(decoded["model"]),
            schema=schema,
            estimator=estimator,
            params={**DEFAULT_PARAMS.get(estimator, {}), **params},
            seed=_integer(decoded, "seed", 0),
            validation_fraction=_number(decoded, "validation_fraction", 0.2),
            max_rows=_integer(decoded, "max_rows", 0) or None,
            min_rows=_integer(decoded, "min_rows", 100),
            **{name: _text(decoded, name) for name in _TOLD},
            trained_from=_time(decoded, "trained_from"),
            trained_until=_time(decoded, "trained_until"),
            cycle_days=_number(decoded, "cycle_days", 7.0),
            other_labels=_text(decoded, "other_labels") or "refuse",
            freshness=bool(_integer(decoded, "freshness", 0)),
            production_version=_integer(decoded, "production_version", 0),
        )


def _whole(decoded: Mapping[str, Any], name: str) -> Any:
    """A list, which comes in parts where one hyperparameter can't hold it: features, features_1, features_2, ..."""
    entries, part = decoded.get(name), 1
    while isinstance(entries, list) and isinstance(decoded.get(f"{name}_{part}"), list):
        entries = [*entries, *decoded[f"{name}_{part}"]]
        part += 1
    return entries


def _text(decoded: Mapping[str, Any], name: str) -> str:
    value = decoded.get(name, "")
    return value if isinstance(value, str) else json.dumps(value)


def _schema(task: Any, features: Any, classes: Any) -> FeatureSchema:
    if not isinstance(features, list) or not all(isinstance(entry, dict) for entry in features):
        raise TrainingError(f"hyperparameter features is {features!r}; pass a JSON list of {{name, type}}")
    if classes is not None and not isinstance(classes, list):
        raise TrainingError(f"hyperparameter classes is {classes!r}; pass a JSON list of strings")
    try:
        return FeatureSchema.from_json({"task": task, "features": features, "classes": classes or None})
    except SchemaError as error:
        raise TrainingError(str(error)) from error


def _absent(name: str, value: Any) -> bool:
    return value is None or value == "" or (value == "null" and name not in _NAMES)


def _decoded(value: Any) -> Any:
    """Undo as many layers of JSON encoding as a string carries; what is no JSON stays the string it is."""
    while isinstance(value, str):
        try:
            inner = json.loads(value)
        except json.JSONDecodeError:
            return value
        # A decision id of digits only, or a model named "null", is a name and no number.
        if not isinstance(inner, (str, list, dict)):
            return value
        value = inner
    return value


def _number(values: Mapping[str, Any], name: str, default: float) -> float:
    try:
        return float(values.get(name, default))
    except (TypeError, ValueError):
        raise TrainingError(f"hyperparameter {name} is {values[name]!r}; pass a number") from None


def _integer(values: Mapping[str, Any], name: str, default: int) -> int:
    number = _number(values, name, default)
    if number != int(number):
        raise TrainingError(f"hyperparameter {name} is {values[name]!r}; pass a whole number")
    return int(number)


def _time(values: Mapping[str, Any], name: str) -> datetime | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise TrainingError(f"hyperparameter {name} is {text!r}; pass an ISO 8601 time") from None
    return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time
