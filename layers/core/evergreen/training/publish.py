"""Publish a checkpoint of the online state as a version: nothing is fitted, all else is as for a trained one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np

from evergreen.model.schema import Task
from evergreen.model.scorer import Artifact, Predictions
from evergreen.training.export import compare, to_onnx
from evergreen.training.fit import FEWEST_COMPARED, Beside, NotCompared, Trained, finish, labelled
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.labelled_rows import Rows
from evergreen.training.learner import Learner, OnlineStateError
from evergreen.training.learning import check_learner
from evergreen.training.online_state import OnlineState
from evergreen.training.recipe import Fitted

__all__ = ["check_publishable", "publish"]


def publish(
    job: TrainingJob,
    rows: Rows,
    content: bytes,
    production: Artifact | None = None,
    *,
    not_compared: NotCompared | None = None,
    archive: bytes = b"",
    report: Callable[[str], None] = print,
) -> Trained:
    """Export the job's checkpoint and validate it on the rows that are newer than all it has learned.

    Parameters
    ----------
    job
        What to publish: ``job.checkpoint``.
    rows
        Labelled rows, oldest first, of the checkpoint's own time and after.
    content
        The checkpoint's bytes.
    production, not_compared, archive, report
        See :func:`evergreen.training.fit.train`.

    Raises
    ------
    TrainingError
        The bytes are not those that were recorded, too few rows are newer, or the state can't be exported.
    """
    told = job.checkpoint
    rows = labelled(rows, job)
    learned_until = datetime.fromisoformat(str(told["learned_until"]))
    split = int(np.searchsorted(rows.times, round(learned_until.timestamp() * 1_000_000), side="right"))
    newer = len(rows) - split
    if newer < FEWEST_COMPARED or not split:
        raise TrainingError(
            f"checkpoint {told['number']} can't be validated: {newer} of {len(rows)} rows are newer than what it has "
            f"learned, {FEWEST_COMPARED} and some older ones are needed; widen training.window"
        )
    report(f"publishing checkpoint {told['number']} of the online state, validating on the newest {newer} rows")
    try:
        state = OnlineState.from_bytes(content, str(told["sha256"]))
        fitted = state.recipe(rows.schema.classes)
    except OnlineStateError as error:
        raise TrainingError(str(error)) from error
    facts = {
        "rows_trained": state.rows,
        "trained_until": learned_until.isoformat(),
        "estimator": state.learner.estimator,
        "params": dict(state.learner.params),
        "checkpoint": dict(told),
    }
    answered = _answers(fitted, rows.slice(split, len(rows)))
    beside = Beside(production, not_compared, archive)
    return finish(job, rows, split, answered, lambda: fitted, beside, learned=facts, report=report)


def _answers(fitted: Fitted, rows: Rows) -> Predictions:
    matrix, classes = fitted.preparation.matrix(rows), rows.schema.classes
    if classes is None:
        return Predictions(None, fitted.values(matrix), None)
    probabilities = fitted.probabilities(matrix, classes)
    return Predictions([classes[index] for index in probabilities.argmax(axis=1)], None, probabilities)


def check_publishable(learner: Learner, job: TrainingJob) -> None:
    """Try an estimator as far as it goes: learned, stored, read, exported, compared.

    Raises
    ------
    OnlineStateError
        It can't learn online, or no version could be made of what it learns.

    Examples
    --------
    >>> from evergreen.model.schema import FeatureSchema
    >>> schema = FeatureSchema.of("binary", {"x": "number"}, classes=["no", "yes"])
    >>> check_publishable(Learner("GaussianNB"), TrainingJob("churn", schema, "GaussianNB"))
    """
    state = check_learner(learner, job.schema)
    schema = state.schema
    rows: list[dict[str, object]] = [
        {**dict.fromkeys(schema.numbers, (i - 20) / 10), **dict.fromkeys(schema.categoricals, "abc"[i % 3])}
        for i in range(40)
    ]
    labels = [0.0] * len(rows) if schema.task is Task.REGRESSION else [""] * len(rows)
    try:
        fitted = state.recipe()
        compare(to_onnx(fitted, schema), fitted, schema, Rows.of_json(schema, rows, labels))
    except TrainingError as error:
        raise OnlineStateError(f"online.estimator is {learner.estimator}: {error}") from error
