"""Tell MLflow about a training run, if there is a server; no server ever fails a training.

A training job tells of itself. What it could not tell, update_registry tells later, of the artifact and the ledger; so
this needs the standard library and MLflow's client, and no numpy.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.training.mlflow_client import client as client_of
from evergreen.training.mlmodel import mlflow_model
from evergreen.training.run_record import JOB_TAG, Provenance, RunRecord, run_record

if TYPE_CHECKING:
    from evergreen.training.fit import Trained
    from evergreen.training.job import TrainingJob

__all__ = ["experiment_of", "find_run", "record_run", "write_run"]

MODEL_NAME = "model"


def record_run(
    job: TrainingJob, trained: Trained, environment: Mapping[str, str], *, report: Callable[[str], None] = print
) -> str | None:
    """Write the run of a job: parameters, metrics, dataset, tags, and the model with its signature.

    A job that is run again writes into the run it wrote before, found by its tag.

    Parameters
    ----------
    job, trained
        What was asked for and what came out.
    environment
        MLFLOW_TRACKING_URI; TRAINING_JOB_NAME for the run's name, TRAINING_JOB_ARN, GIT_COMMIT; SM_HPS for the reasons.
    report
        Takes the warning line when the server can't be reached.

    Returns
    -------
    str or None
        The run's id, ``None`` when MLflow could not be told.
    """
    name = environment.get("TRAINING_JOB_NAME", f"{job.model}-{job.decision_id or 'by-hand'}")
    try:
        record = run_record(job.model, name, trained.files, _provenance(job, environment))
        return write_run(client_of(environment["MLFLOW_TRACKING_URI"]), record)
    except Exception as error:  # whatever is wrong with the registry, the version is trained
        report(
            f"warning: MLflow was not told about this run: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        )
        return None


def _provenance(job: TrainingJob, environment: Mapping[str, str]) -> Provenance:
    given = json.loads(environment.get("SM_HPS") or "{}")

    def told(name: str) -> str:
        value = given.get(name)
        if isinstance(value, str) and value[:1] == '"':
            value = json.loads(value)
        return value if isinstance(value, str) else ""

    return Provenance(
        trigger=told("trigger"),
        because=told("because"),
        decision_id=job.decision_id,
        snapshot=told("snapshot"),
        manifest=told("manifest"),
        source_sha256=told("source_sha256"),
        git_commit=environment.get("GIT_COMMIT", ""),
        job_arn=environment.get("TRAINING_JOB_ARN", ""),
    )


def experiment_of(model: str) -> str:
    """Return the name of the experiment that holds a model's runs.

    Examples
    --------
    >>> experiment_of("churn")
    'evergreen/churn'
    """
    return f"evergreen/{model}"


def find_run(client: Any, model: str, job: str) -> Any | None:
    """Return the run of a job, the oldest if it was ever told twice at once; None when there is none."""
    experiment = client.get_experiment_by_name(experiment_of(model))
    if experiment is None:
        return None
    wanted = f"tags.`{JOB_TAG}` = '{job}'"
    found = client.search_runs([experiment.experiment_id], wanted, max_results=1, order_by=["start_time ASC"])
    return found[0] if found else None


def write_run(client: Any, record: RunRecord) -> str:
    """Write a run, or what a run that was begun still lacks; return its id.

    Parameters
    ----------
    client
        An ``MlflowClient``.
    record
        What to write.
    """
    experiment = _experiment(client, experiment_of(record.model))
    run = find_run(client, record.model, record.job)
    if run is None:
        run = client.create_run(experiment, run_name=record.job, tags=record.tags())
    run_id: str = run.info.run_id
    _write_values(client, run, record)
    _write_dataset(client, run, record)
    if not (run.outputs and run.outputs.model_outputs):
        _write_model(client, experiment, run, record)
    if run.info.status != "FINISHED":
        client.set_terminated(run_id, status="FINISHED")
    return run_id


def _write_values(client: Any, run: Any, record: RunRecord) -> None:
    from mlflow.entities import Metric, Param, RunTag

    time = run.info.start_time
    # A parameter can't be changed; a metric that is written again would be another point of its curve.
    client.log_batch(
        run.info.run_id,
        metrics=[
            Metric(name, value, time, 0)
            for name, value in record.metrics().items()
            if run.data.metrics.get(name) != value
        ],
        params=[Param(name, value) for name, value in record.params().items() if name not in run.data.params],
        tags=[RunTag(name, value) for name, value in record.tags().items() if run.data.tags.get(name) != value],
    )


def _write_dataset(client: Any, run: Any, record: RunRecord) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    parts = record.dataset()
    if parts is None or (run.inputs and run.inputs.dataset_inputs):
        return
    given = DatasetInput(Dataset(**parts), tags=[InputTag("mlflow.data.context", "training")])
    client.log_inputs(run.info.run_id, datasets=[given])


def _write_model(client: Any, experiment: str, run: Any, record: RunRecord) -> None:
    """Log the model and tie it to the run; one that an earlier attempt left half written is written to its end."""
    from mlflow.entities import LoggedModelOutput, Metric

    run_id = run.info.run_id
    begun = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'", max_results=1)
    if begun:
        model = begun[0]
    else:
        model = client.create_logged_model(
            experiment, name=MODEL_NAME, source_run_id=run_id, params=record.params(), tags={JOB_TAG: record.job}
        )
    if model.status != "READY":
        time = f"{datetime.fromtimestamp(run.info.start_time / 1000, tz=timezone.utc):%Y-%m-%d %H:%M:%S}"
        files = mlflow_model(record.files, model_id=model.model_id, run_id=run_id, time=time)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            client.log_model_artifacts(model.model_id, folder)
        client.log_batch(
            run_id,
            metrics=[
                Metric(name, value, run.info.start_time, 0, model_id=model.model_id)
                for name, value in record.metrics().items()
            ],
        )
        client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another job of the same model made it first
        return str(client.get_experiment_by_name(name).experiment_id)
