"""Tell MLflow about a training run, if there is a server; no server ever fails a training."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evergreen.training.fit import Trained
from evergreen.training.job import TrainingJob

__all__ = ["record_run"]

_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""MLflow's own defaults would retry a dead server for minutes while an instance is being paid for."""


def record_run(
    job: TrainingJob, trained: Trained, environment: Mapping[str, str], *, report: Callable[[str], None] = print
) -> str | None:
    """Write the run of a job: parameters, metrics, tags and the artifact's files.

    A job that is run again writes into the run it wrote before, found by its tag.

    Parameters
    ----------
    job, trained
        What was asked for and what came out.
    environment
        MLFLOW_TRACKING_URI, and TRAINING_JOB_NAME for the run's name.
    report
        Takes the warning line when the server can't be reached.

    Returns
    -------
    str or None
        The run's id, ``None`` when MLflow could not be told.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        return _record(job, trained, environment)
    except Exception as error:  # whatever is wrong with the registry, the version is trained
        report(
            f"warning: MLflow was not told about this run: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        )
        return None


def _record(job: TrainingJob, trained: Trained, environment: Mapping[str, str]) -> str:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(tracking_uri=environment["MLFLOW_TRACKING_URI"])
    name = environment.get("TRAINING_JOB_NAME", f"{job.model}-{job.decision_id or 'by-hand'}")
    experiment = _experiment(client, f"evergreen/{job.model}")
    found = client.search_runs([experiment], filter_string=f"tags.`evergreen.job` = '{name}'", max_results=1)
    tags = {"evergreen.job": name, "evergreen.decision_id": job.decision_id, "evergreen.model": job.model}
    run = found[0] if found else client.create_run(experiment, run_name=name, tags=tags)
    run_id: str = run.info.run_id
    measured = {
        **{f"validation_{metric}": value for metric, value in trained.validation.items()},
        **{f"production_{metric}": value for metric, value in (trained.production or {}).items()},
        "rows_trained": float(trained.rows),
        "onnx_max_difference": trained.agreement.max_difference,
    }
    known = run.data.metrics
    parameters = {"estimator": job.estimator, "seed": job.seed, "task": job.schema.task.value, **job.params}
    client.log_batch(
        run_id,
        metrics=[
            Metric(metric, value, run.info.start_time, 0)
            for metric, value in measured.items()
            if value is not None and known.get(metric) != value
        ],
        params=[Param(key, str(value)) for key, value in parameters.items() if key not in run.data.params],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    with tempfile.TemporaryDirectory() as folder:
        for file, content in trained.files.items():
            (Path(folder) / file).write_bytes(content)
        client.log_artifacts(run_id, folder, artifact_path="model")
    client.set_terminated(run_id, status="FINISHED")
    return run_id


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another job of the same model made it first
        return str(client.get_experiment_by_name(name).experiment_id)
