"""The recipe: impute numbers, one-hot the frequent categories, fit one scikit-learn estimator found by its name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.model.schema import MISSING_CATEGORY, Task
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.labelled_rows import Category, Rows

__all__ = ["Fitted", "Preparation", "fit", "new_estimator"]

MIN_CATEGORY_ROWS = 20
MAX_CATEGORIES = 200
_MODULES = (
    "ensemble",
    "linear_model",
    "tree",
    "neighbors",
    "naive_bayes",
    "neural_network",
    "svm",
    "discriminant_analysis",
    "gaussian_process",
    "semi_supervised",
    "calibration",
    "kernel_ridge",
    "isotonic",
    "cross_decomposition",
    "dummy",
    "multiclass",
    "multioutput",
    "model_selection",
    "compose",
)
_TREES = ("Forest", "Tree", "Boosting", "Bagging")
_NOT_EXPORTABLE = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")


@dataclass(frozen=True)
class Preparation:
    """What was learned about the columns: everything but the estimator.

    Parameters
    ----------
    numbers, categoricals
        Feature names, in the schema's order.
    medians
        The fill of a missing number, float32 ``[len(numbers)]``; 0 for a column that holds no value at all.
    categories
        Per categorical feature the values that have a column of their own, sorted. The missing category always has.
    centre, scale
        Standardisation of the numbers for estimators that are not trees; ``None`` for trees, which need none.
    """

    numbers: tuple[str, ...]
    categoricals: tuple[str, ...]
    medians: npt.NDArray[np.float32]
    categories: tuple[tuple[str, ...], ...]
    centre: npt.NDArray[np.float32] | None
    scale: npt.NDArray[np.float32] | None

    @classmethod
    def learn(cls, rows: Rows, *, standardise: bool) -> Preparation:
        """Learn medians, frequent categories and, if asked for, centre and scale from training rows."""
        numbers = rows.schema.numbers
        matrix = _numbers(rows, numbers)
        medians = np.array([_median(matrix[:, index]) for index in range(len(numbers))], dtype=np.float32)
        centre = scale = None
        if standardise:
            filled = np.where(np.isnan(matrix), medians, matrix).astype(np.float64)
            spread = filled.std(axis=0)
            centre = filled.mean(axis=0).astype(np.float32)
            scale = np.where(spread > 0, spread, 1.0).astype(np.float32)
        categories = tuple(_frequent(rows.categories[name]) for name in rows.schema.categoricals)
        return cls(numbers, rows.schema.categoricals, medians, categories, centre, scale)

    def matrix(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return the estimator's input, float32 ``[N, D]``: numbers first, then the categories' columns."""
        width = len(self.numbers) + sum(map(len, self.categories))
        matrix = np.zeros((len(rows), width), dtype=np.float32)
        numbers = _numbers(rows, self.numbers)
        matrix[:, : len(self.numbers)] = np.where(np.isnan(numbers), self.medians, numbers)
        if self.centre is not None and self.scale is not None:
            matrix[:, : len(self.numbers)] -= self.centre
            matrix[:, : len(self.numbers)] /= self.scale
        start = len(self.numbers)
        for name, known in zip(self.categoricals, self.categories, strict=True):
            column = rows.categories[name]
            place = {value: start + index for index, value in enumerate(known)}
            target = np.array([place.get(value, -1) for value in column.values], dtype=np.int64)[column.codes]
            hit = np.flatnonzero(target >= 0)
            matrix[hit, target[hit]] = 1
            start += len(known)
        return matrix


@dataclass(frozen=True)
class Fitted:
    """A preparation and the estimator fitted behind it."""

    preparation: Preparation
    estimator: Any
    classes: tuple[str, ...] | None

    def probabilities(self, matrix: npt.NDArray[np.float32], classes: tuple[str, ...]) -> npt.NDArray[np.float64]:
        """Return probabilities in the order of ``classes``; 0 for a class the estimator never saw."""
        answered = self.estimator.predict_proba(matrix)
        aligned = np.zeros((len(matrix), len(classes)))
        for index, label in enumerate(self.estimator.classes_):
            aligned[:, classes.index(str(label))] = answered[:, index]
        return aligned

    def values(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return a regression's predictions."""
        values: npt.NDArray[np.float64] = np.asarray(self.estimator.predict(matrix), dtype=np.float64).reshape(-1)
        return values

    def pipeline(self) -> Any:
        """Return the whole as one fitted scikit-learn pipeline over an object table of the features in schema order.

        Numbers come first in the table, then categories: ``preparation.numbers + preparation.categoricals``.
        """
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        preparation = self.preparation
        count = len(preparation.numbers)
        impute: Any = SimpleImputer(strategy="median", keep_empty_features=True)
        number_steps = [("impute", impute)]
        if preparation.centre is not None:
            number_steps.append(("standardise", StandardScaler()))
        encoder = OneHotEncoder(
            categories=[np.array(known, dtype=object) for known in preparation.categories],
            handle_unknown="ignore",
            sparse_output=False,
            dtype=np.float32,
        )
        parts: list[tuple[str, Any, list[int]]] = []
        if count:
            parts.append(("numbers", Pipeline(number_steps), list(range(count))))
        if preparation.categoricals:
            parts.append(("categories", encoder, list(range(count, count + len(preparation.categoricals)))))
        columns = ColumnTransformer(parts, sparse_threshold=0)
        # The shapes of two rows are enough for scikit-learn to set itself up; what was learned from all rows follows.
        table = np.empty((2, count + len(preparation.categoricals)), dtype=object)
        table[:, :count] = [preparation.medians, preparation.medians + 1]
        table[:, count:] = MISSING_CATEGORY
        columns.fit(table)
        if count:
            fitted = columns.named_transformers_["numbers"]
            fitted.named_steps["impute"].statistics_ = preparation.medians.astype(np.float64)
            if preparation.centre is not None and preparation.scale is not None:
                scaler = fitted.named_steps["standardise"]
                scaler.mean_ = preparation.centre.astype(np.float64)
                scaler.scale_ = preparation.scale.astype(np.float64)
                scaler.var_ = scaler.scale_**2
        return Pipeline([("columns", columns), ("estimator", self.estimator)])


def fit(rows: Rows, job: TrainingJob) -> Fitted:
    """Fit the recipe on rows. Several threads fit, one predicts, so that the same rows always give the same bits."""
    estimator = new_estimator(job)
    preparation = Preparation.learn(rows, standardise=not _is_tree(job.estimator))
    matrix = preparation.matrix(rows)
    try:
        estimator.fit(matrix, rows.actual)
    except (ValueError, TypeError) as error:
        raise TrainingError(
            f"{job.estimator} could not be fitted on {len(rows)} rows: {' '.join(str(error).split())}"
        ) from error
    if "n_jobs" in estimator.get_params(deep=False):
        estimator.set_params(n_jobs=1)
    if not rows.schema.task.is_classification:
        return Fitted(preparation, estimator, None)
    return Fitted(preparation, estimator, tuple(str(label) for label in estimator.classes_))


def new_estimator(job: TrainingJob) -> Any:
    """Make the job's estimator, unfitted.

    Raises
    ------
    TrainingError
        The name is unknown, is of the other task, answers no probabilities, can't be exported to ONNX, or its
        parameters are wrong.
    """
    if job.estimator in _NOT_EXPORTABLE:
        raise TrainingError(_not_exportable(job))
    kind = _estimator_class(job.estimator)
    wanted = "predict_proba" if job.schema.task.is_classification else "predict"
    right_kind = "ClassifierMixin" if job.schema.task.is_classification else "RegressorMixin"
    if right_kind not in {base.__name__ for base in kind.__mro__}:
        raise TrainingError(
            f"{job.estimator} is no {'classifier' if job.schema.task.is_classification else 'regressor'}, but the task "
            f"is {job.schema.task.value}; choose another estimator"
        )
    estimator = _constructed(kind, job)
    if not hasattr(estimator, wanted):
        raise TrainingError(
            f"{job.estimator} with params {dict(job.params)} answers no probabilities; choose an estimator or a loss "
            "that has predict_proba"
        )
    return estimator


def _constructed(kind: type[Any], job: TrainingJob) -> Any:
    accepted = inspect.signature(kind).parameters
    unknown = [name for name in job.params if name not in accepted]
    if unknown:
        raise TrainingError(f"{job.estimator} has no parameter {unknown[0]!r}; it has {', '.join(accepted)}")
    needed = [name for name, one in accepted.items() if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    if missing := [name for name in needed if name not in job.params]:
        raise TrainingError(
            f"{job.estimator} needs {', '.join(missing)}, which wraps other estimators and can't be written in "
            "training.params; name one of those estimators itself"
        )
    defaults: Mapping[str, Any] = {"random_state": job.seed, **({"n_jobs": -1} if _is_tree(job.estimator) else {})}
    return kind(**{**{name: value for name, value in defaults.items() if name in accepted}, **job.params})


def _estimator_class(name: str) -> type[Any]:
    for module in _MODULES:
        found = getattr(importlib.import_module(f"sklearn.{module}"), name, None)
        if isinstance(found, type) and not name.startswith("_"):
            return found
    raise TrainingError(f"estimator {name!r} is none of scikit-learn's; choose one such as RandomForestClassifier")


def _not_exportable(job: TrainingJob) -> str:
    task = "Regressor" if job.schema.task is Task.REGRESSION else "Classifier"
    return (
        f"{job.estimator} cannot be exported to ONNX (endpoint kind lambda needs it); "
        f"choose RandomForest{task}, ExtraTrees{task} or GradientBoosting{task}"
    )


def _is_tree(estimator: str) -> bool:
    return any(word in estimator for word in _TREES)


def _numbers(rows: Rows, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    matrix = np.empty((len(rows), len(names)), dtype=np.float32)
    for index, name in enumerate(names):
        matrix[:, index] = rows.numbers[name]
    return matrix


def _median(column: npt.NDArray[np.float32]) -> float:
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else 0.0


def _frequent(column: Category) -> tuple[str, ...]:
    counts = np.bincount(column.codes, minlength=len(column.values))
    ranked = sorted(range(len(column.values)), key=lambda code: (-int(counts[code]), column.values[code]))
    frequent = [column.values[code] for code in ranked if counts[code] >= MIN_CATEGORY_ROWS][:MAX_CATEGORIES]
    return tuple(sorted({MISSING_CATEGORY, *frequent}))
