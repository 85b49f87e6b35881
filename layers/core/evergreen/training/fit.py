"""Train one version: validate forward in time, fit on every row, export, compare, and describe what came out."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.model.archive import ANCESTORS, canonical_json
from evergreen.model.schema import FeatureSchema, SchemaError, Task
from evergreen.model.scorer import FACTS_FILE, MODEL_FILE, Artifact, ArtifactError, Predictions
from evergreen.statistics.losses import absolute_error, brier, codes, loss_scale
from evergreen.training.checkpoint import Checkpoints, validation_key
from evergreen.training.export import Agreement, compare, to_onnx
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.leaks import Leak, find_leaks
from evergreen.training.live_files import ancestors_of, live_files, numbers_of
from evergreen.training.read_rows import Rows
from evergreen.training.recipe import Fitted, fit, new_estimator
from evergreen.training.reference import Validated, reference
from evergreen.training.scores import DIGITS, classification_metrics, regression_metrics

__all__ = ["REFERENCE_FILE", "Beside", "Metrics", "NotCompared", "Trained", "finish", "labelled", "train"]

REFERENCE_FILE = "reference.json"
ERROR_QUANTILE = 0.8
FEWEST_COMPARED = 30
Metrics = Mapping[str, "float | None"]


@dataclass(frozen=True)
class NotCompared:
    """Why a version is not scored beside the one in production.

    Parameters
    ----------
    code
        ``few_rows``, ``other_features`` or ``refused``: the gate judges by it.
    because
        One sentence.
    """

    code: str
    because: str


@dataclass(frozen=True)
class Trained:
    """What a training job made.

    Parameters
    ----------
    files
        The artifact: model.onnx, model.json and reference.json.
    fitted
        The fitted recipe, as scikit-learn objects.
    schema
        With the classes found.
    validation
        Metrics of the version, fitted on the older rows, on the newest ones.
    baseline
        Metrics of the older rows' most frequent class (its share as the probability), or of their median.
    production
        Metrics of the version now in production on the same rows, if it was given and takes the same features.
    leaks
        Features that alone give the label away.
    agreement
        How far ONNX Runtime and scikit-learn are apart.
    rows
        How many rows the version is fitted on.
    """

    files: Mapping[str, bytes]
    fitted: Fitted
    schema: FeatureSchema
    validation: Metrics
    baseline: Metrics
    production: Metrics | None
    leaks: tuple[Leak, ...]
    agreement: Agreement
    rows: int


def train(
    job: TrainingJob,
    rows: Rows,
    production: Artifact | None = None,
    *,
    not_compared: NotCompared | None = None,
    archive: bytes = b"",
    checkpoints: Checkpoints | None = None,
    report: Callable[[str], None] = print,
) -> Trained:
    """Train a version as the job says; the same rows and seed give the same bytes.

    Parameters
    ----------
    job
        What to train.
    rows
        Labelled rows, oldest first.
    production
        The version now in production, to be scored on the same validation slice.
    not_compared
        Why it is not given though there is one.
    archive
        Production's artifact as it is stored: its forests live on in this version, if the job says so.
    checkpoints
        Where the validation is kept, and taken from when an earlier attempt got that far. The artifact is the same.
    report
        Takes a line on each step, for the job's log.

    Raises
    ------
    TrainingError
        Too few rows, a label that does not vary or does not fit the task, an estimator that can't be made, fitted
        or exported.
    """
    new_estimator(job)  # a wrong estimator fails before anything is fitted
    if len(rows) < job.min_rows:
        raise TrainingError(
            f"{len(rows)} labelled rows are fewer than min_rows {job.min_rows}; wait for labels or lower "
            "training.min_rows"
        )
    rows = labelled(rows, job)
    held_out = min(max(1, round(len(rows) * job.validation_fraction)), len(rows) - 1)
    earlier, later = rows.slice(0, len(rows) - held_out), rows.slice(len(rows) - held_out, len(rows))
    _require_variety(earlier, "the older part of the rows, which the validation fits on,")

    answered = _validate(job, earlier, later, checkpoints, report)

    def fit_on_all() -> Fitted:
        report(f"fitting {job.estimator} on all {len(rows)} rows")
        return fit(rows, job)

    beside = Beside(production, not_compared, archive)
    split = len(rows) - held_out
    return finish(job, rows, split, answered, fit_on_all, beside, learned=facts_of(job, rows), report=report)


@dataclass(frozen=True)
class Beside:
    """The version in production, or why there is one and it can't be compared with."""

    production: Artifact | None = None
    not_compared: NotCompared | None = None
    archive: bytes = b""  # as it is stored


def labelled(rows: Rows, job: TrainingJob) -> Rows:
    """Return the rows with their classes; raises TrainingError where labels do not fit the task or do not vary."""
    known = rows.schema.classes
    if job.other_labels == "leave_out" and known is not None:
        rows = rows.take(np.flatnonzero(np.isin(rows.actual.astype(str), known)))
    return dataclasses.replace(rows, schema=_with_classes(rows))


def facts_of(job: TrainingJob, rows: Rows) -> dict[str, Any]:
    """Return what model.json says of what a version was fitted on."""
    return {
        "rows_trained": len(rows),
        "trained_until": rows.time(len(rows) - 1).isoformat(),
        "estimator": job.estimator,
        "params": dict(job.params),
    }


def finish(
    job: TrainingJob,
    rows: Rows,
    split: int,
    answered: Predictions,
    fitted_by: Callable[[], Fitted],
    beside_it: Beside,
    *,
    learned: Mapping[str, Any],
    report: Callable[[str], None],
) -> Trained:
    """Measure, export, compare and describe a version.

    Parameters
    ----------
    rows, split
        Labelled rows, oldest first; the version is validated on those from ``split`` on.
    answered
        What is validated: answers to these rows by a fit that has seen none of them.
    fitted_by
        Gives the version itself.
    beside_it
        Production, to be scored on the same newer rows.
    learned
        What model.json says of what it was fitted on.
    """
    earlier, later = rows.slice(0, split), rows.slice(split, len(rows))
    production, not_compared, schema = beside_it.production, beside_it.not_compared, later.schema
    validation = _metrics(later, answered)
    which = _unseen_by(production, later)
    unseen = later.take(which)
    theirs = not_compared if production is None else _production_answers(production, unseen)
    if isinstance(theirs, NotCompared):
        report(f"warning: production is not scored on the validation rows: {theirs.because}")
        theirs, not_compared = None, theirs
    in_production = None if theirs is None else _metrics(unseen, theirs, _further_classes(production, schema))
    ours = None if theirs is None else _taken(answered, which)
    beside = None if ours is None else _metrics(unseen, ours)
    baseline = _metrics(later, _baseline(earlier, len(later)))
    leaks = find_leaks(earlier, later)
    validated, tolerance = _validated(later, answered)

    fitted = fitted_by()
    report("exporting to ONNX")
    onnx = to_onnx(fitted, schema)
    agreement = compare(onnx, fitted, schema, later)
    report(
        f"ONNX Runtime and scikit-learn agree to {agreement.max_difference:g} on {agreement.rows} rows "
        f"({agreement.disagreeing_share:.4%} disagree)"
    )
    facts = {
        **schema.to_json(),
        "model": job.model,
        "schema_fingerprint": schema.fingerprint,
        "rows_validated": len(later),
        "trained_from": rows.time(0).isoformat(),
        "metrics": {
            "validation": dict(validation),
            "baseline": dict(baseline),
            "production": in_production and dict(in_production),
            "candidate": beside and dict(beside),
            "rows_compared": 0 if in_production is None else len(unseen),
            "not_compared": not_compared and dataclasses.asdict(not_compared),
        },
        "error_tolerance": tolerance,
        "loss_scale": _loss_scale(unseen, theirs, ours, validation_losses=_losses(later, answered)),
        "leaks": [dataclasses.asdict(leak) for leak in leaks],
        "seed": job.seed,
        "decision_id": job.decision_id,
        "production_sha256": job.production_sha256,
        "onnx_max_difference": agreement.max_difference,
        "onnx_disagreeing_share": agreement.disagreeing_share,
        **learned,
    }
    live = _live(job, fitted, rows, beside_it.archive, report) if job.freshness else {}
    if live:
        facts[ANCESTORS] = numbers_of(live)
    described = reference(rows, validated, cycle_days=job.cycle_days)
    files = {
        MODEL_FILE: onnx,
        FACTS_FILE: canonical_json(facts),
        REFERENCE_FILE: json.dumps(described, sort_keys=True, separators=(",", ":"), allow_nan=False).encode(),
        **live,
    }
    return Trained(
        files, fitted, schema, validation, baseline, in_production, leaks, agreement, int(learned["rows_trained"])
    )


def _live(
    job: TrainingJob, fitted: Fitted, rows: Rows, archive: bytes, report: Callable[[str], None]
) -> dict[str, bytes]:
    """What the archive holds for a live state; of an estimator without leaves less."""
    ancestors = ancestors_of(archive, job.production_version, rows.schema) if archive else {}
    files = live_files(fitted, rows, ancestors)
    report(f"{len(numbers_of(files))} earlier versions live on in this one")
    return files


def _with_classes(rows: Rows) -> FeatureSchema:
    schema = rows.schema
    if not schema.task.is_classification:
        wrong = int(np.sum(~np.isfinite(rows.actual)))
        if wrong:
            raise TrainingError(f"{wrong} of {len(rows)} labels are no finite numbers; correct the ground truth")
        _require_variety(rows, "the rows")
        return schema
    _require_variety(rows, "the rows")
    counts = Counter(rows.actual.tolist())
    strangers = sorted(set(counts) - set(schema.classes or counts))
    if strangers:
        raise TrainingError(
            f"{sum(counts[label] for label in strangers)} of {len(rows)} labels are none of the model's classes, the "
            f"first {strangers[0]!r}; add it to labels.classes or correct the ground truth"
        )
    try:
        return schema.with_classes(schema.classes or counts)
    except SchemaError as error:
        shown = ", ".join(f"{label!r} ({count})" for label, count in sorted(counts.items())[:5])
        raise TrainingError(
            f"the task is {schema.task.value}, but {len(rows)} rows have {len(counts)} labels: {shown}; "
            "choose task multiclass or regression, or correct the ground truth"
        ) from error


def _require_variety(rows: Rows, what: str) -> None:
    if not len(rows) or np.all(rows.actual == rows.actual[0]):
        only = repr(rows.actual[0]) if rows.schema.task.is_classification else f"{rows.actual[0]:g}"
        raise TrainingError(
            f"all {len(rows)} labels of {what} are {only}; there is nothing to learn, so widen training.window"
        )


def _validate(
    job: TrainingJob, earlier: Rows, later: Rows, checkpoints: Checkpoints | None, report: Callable[[str], None]
) -> Predictions:
    """Answer the newest rows by the recipe fitted on the older ones, or as an interrupted attempt did."""
    classes = later.schema.classes
    key = "" if checkpoints is None else validation_key(job, earlier, later)
    answers = None if checkpoints is None else checkpoints.load(key)
    if answers is None:
        report(f"fitting {job.estimator} on the oldest {len(earlier)} rows, validating on the newest {len(later)}")
        fitted = fit(earlier, job)
        matrix = fitted.preparation.matrix(later)
        answers = fitted.values(matrix) if classes is None else fitted.probabilities(matrix, classes)
        if checkpoints is not None:
            checkpoints.save(key, answers)
    return _predictions(answers, classes)


def _predictions(answers: npt.NDArray[np.float64], classes: tuple[str, ...] | None) -> Predictions:
    """Read values, or probabilities in the order of the classes."""
    if classes is None:
        return Predictions(None, answers, None)
    return Predictions([classes[index] for index in answers.argmax(axis=1)], None, answers)


def _taken(answered: Predictions, which: npt.NDArray[np.int64]) -> Predictions:
    if answered.probabilities is None or answered.labels is None:
        return Predictions(None, np.asarray(answered.values)[which], None)
    return Predictions([answered.labels[row] for row in which], None, answered.probabilities[which])


def _baseline(earlier: Rows, count: int) -> Predictions:
    """Answer every row the same: what is frequent, or in the middle, of the older rows."""
    classes = earlier.schema.classes
    if classes is None:
        return Predictions(None, np.full(count, float(np.median(earlier.actual))), None)
    share = np.array([float(np.mean(earlier.actual == label)) for label in classes])
    return _predictions(np.tile(share, (count, 1)), classes)


def _metrics(rows: Rows, answered: Predictions, further_classes: tuple[str, ...] = ()) -> Metrics:
    if answered.labels is None or answered.probabilities is None or rows.schema.classes is None:
        return regression_metrics(rows.actual, np.asarray(answered.values))
    return classification_metrics(
        rows.actual, answered.labels, answered.probabilities, (*rows.schema.classes, *further_classes)
    )


def _unseen_by(production: Artifact | None, rows: Rows) -> npt.NDArray[np.int64]:
    """Return which rows production was not trained on: on its own rows a model looks better than it is."""
    trained_until = None if production is None else production.facts.get("trained_until")
    if trained_until is None:
        return np.arange(len(rows))
    last = round(datetime.fromisoformat(trained_until).timestamp() * 1_000_000)
    return np.flatnonzero(rows.times > last)


def _production_answers(production: Artifact, rows: Rows) -> Predictions | NotCompared:
    """Let the version in production answer the same rows, or say why it can't."""
    theirs, ours = production.schema, rows.schema
    missing = set(theirs.features) - set(ours.features)
    if missing or theirs.task is not ours.task:
        names = ", ".join(sorted(feature.name for feature in missing)) or f"task {theirs.task.value}"
        return NotCompared("other_features", f"production needs {names}")
    if len(rows) < FEWEST_COMPARED:
        return NotCompared("few_rows", f"production was trained on all but {len(rows)} of them")
    try:
        answered = production.scorer().score(rows.columns())
    except ArtifactError as error:
        return NotCompared("refused", str(error))
    if answered.probabilities is None or theirs.classes is None or ours.classes is None:
        return answered
    everyone = (*ours.classes, *_further_classes(production, ours))
    aligned = np.zeros((len(rows), len(everyone)))
    aligned[:, [everyone.index(label) for label in theirs.classes]] = answered.probabilities
    return Predictions(answered.labels, None, aligned)


def _further_classes(production: Artifact | None, schema: FeatureSchema) -> tuple[str, ...]:
    """Return the classes that production knows and these rows don't: its probabilities of them come last."""
    theirs = () if production is None else production.schema.classes or ()
    return tuple(sorted(set(theirs) - set(schema.classes or ())))


def _losses(rows: Rows, answered: Predictions) -> npt.NDArray[np.float64]:
    """Return the Brier loss of each row, or its absolute error."""
    if answered.probabilities is None or rows.schema.classes is None:
        return absolute_error(np.asarray(answered.values), rows.actual)
    (actual,) = codes(rows.schema.classes, rows.actual.tolist())
    return brier(answered.probabilities, actual)


def _loss_scale(
    rows: Rows,
    theirs: Predictions | None,
    ours: Predictions | None,
    *,
    validation_losses: npt.NDArray[np.float64],
) -> float | None:
    """Return the loss difference that a shadow verdict will count in full: of this version against production.

    Without a version in production its own losses stand in: a difference is hardly ever larger than either loss.
    """
    if theirs is None or ours is None:
        return loss_scale(validation_losses)
    return loss_scale(_losses(rows, theirs) - _losses(rows, ours))


def _validated(rows: Rows, answered: Predictions) -> tuple[Validated, float | None]:
    """Return what reference.json tells of the validation, and a regression's error tolerance."""
    if answered.labels is None or answered.probabilities is None:
        errors = absolute_error(np.asarray(answered.values), rows.actual)
        tolerance = round(float(np.quantile(errors, ERROR_QUANTILE)), DIGITS)
        return Validated(rows.times, np.asarray(answered.values), errors <= tolerance), tolerance
    labels = np.array(answered.labels, dtype=object)
    binary = rows.schema.task is Task.BINARY
    answers: npt.NDArray[Any] = answered.probabilities[:, 1] if binary else labels
    return Validated(rows.times, answers, labels == rows.actual), None
