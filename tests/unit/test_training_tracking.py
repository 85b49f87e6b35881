"""Telling MLflow about a run: once per job however often it is run, and never at the price of the training."""

import socket
import time

import pytest

from evergreen.schema import FeatureSchema
from evergreen.training.export import Agreement
from evergreen.training.fit import Trained
from evergreen.training.job import TrainingJob
from evergreen.training.tracking import record_run

JOB = TrainingJob(
    "churn",
    FeatureSchema.of("binary", {"x": "number"}, ["0", "1"]),
    "RandomForestClassifier",
    {"n_estimators": 5},
    decision_id="d-1",
)
TRAINED = Trained(
    files={"model.onnx": b"graph", "model.json": b"{}", "reference.json": b"{}"},
    fitted=None,  # type: ignore[arg-type]
    schema=JOB.schema,
    validation={"accuracy": 0.9, "auc": None},
    production={"accuracy": 0.8},
    leaks=(),
    agreement=Agreement(10, 1e-7, 0.0),
    rows=300,
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "TRAINING_JOB_NAME": "churn-d-1"}


def test_a_job_run_twice_is_one_run_and_another_job_another(store):
    from mlflow import MlflowClient

    lines = []
    first = record_run(JOB, TRAINED, store, report=lines.append)
    assert record_run(JOB, TRAINED, store, report=lines.append) == first
    assert lines == []
    client = MlflowClient(tracking_uri=store["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("evergreen/churn")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "churn-d-1"
    assert {key: value for key, value in run.data.tags.items() if key.startswith("evergreen.")} == {
        "evergreen.job": "churn-d-1",
        "evergreen.decision_id": "d-1",
        "evergreen.model": "churn",
    }
    assert run.data.metrics == {
        "validation_accuracy": 0.9,
        "production_accuracy": 0.8,
        "rows_trained": 300.0,
        "onnx_max_difference": 1e-7,
    }
    assert run.data.params["n_estimators"] == "5"
    assert run.info.status == "FINISHED"
    files = sorted(file.path for file in client.list_artifacts(run.info.run_id, "model"))
    assert files == ["model/model.json", "model/model.onnx", "model/reference.json"]
    assert record_run(JOB, TRAINED, {**store, "TRAINING_JOB_NAME": "churn-d-2"}) != first


def test_a_dead_server_costs_a_warning_and_little_time():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        lines = []
        started = time.monotonic()
        assert record_run(JOB, TRAINED, {"MLFLOW_TRACKING_URI": address}, report=lines.append) is None
    assert len(lines) == 1
    assert lines[0].startswith("warning: MLflow was not told about this run: ")
    assert time.monotonic() - started < 30
