"""Telling MLflow about a run: once per job however often it is run, and never at the price of the training."""

import json
import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws
from small_artifact import small_artifact

from evergreen.model.archive import unpack
from evergreen.model.schema import FeatureSchema
from evergreen.training.job import TrainingJob
from evergreen.training.mlflow_client import client
from evergreen.training.run_record import Provenance, run_record
from evergreen.training.tracking import find_run, record_run, write_run

SCHEMA = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
JOB = TrainingJob("churn", SCHEMA, "RandomForestClassifier", {"n_estimators": 3}, decision_id="d-1")
HASH = "5f2a" * 16
ASKED = {
    "trigger": "data_drift",
    "because": "W1/sd of 'age' is 0.31, above 0.12",
    "snapshot": HASH,
    "manifest": "s3://artifacts/snapshots/churn/d-1/0/manifest.json",
    "source_sha256": "c0de" * 16,
}
ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/churn-d-1"


def trained(job="churn-d-1"):
    """What the job made, as far as it is told."""
    return SimpleNamespace(
        files=unpack(
            small_artifact(job, trained_until="2026-01-10T23:00:00+00:00"),
            ("model.onnx", "model.json", "reference.json"),
        )
    )


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Making a store's tables takes seconds: the stories of this file share one, each with a job of its own."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def surroundings(store, monkeypatch, request):
    monkeypatch.chdir(store)  # where a store without a server puts artifacts
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
        "TRAINING_JOB_NAME": request.node.name[5:45],
        "TRAINING_JOB_ARN": ARN,
        "GIT_COMMIT": "1f0c9d2",
        "SM_HPS": json.dumps({name: json.dumps(value) for name, value in ASKED.items()}),
    }


@pytest.fixture
def mlflow(surroundings):
    return client(surroundings["MLFLOW_TRACKING_URI"])


@mock_aws
def test_a_model_goes_where_a_server_that_does_not_pass_artifacts_on_keeps_them(surroundings, mlflow):
    s3, lines = boto3.client("s3"), []
    s3.create_bucket(Bucket="artifacts-of-mlflow")
    mlflow.create_experiment("evergreen/elsewhere", artifact_location="s3://artifacts-of-mlflow/runs")
    record_run(replace(JOB, model="elsewhere"), trained(), surroundings, report=lines.append)
    assert lines == []
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="artifacts-of-mlflow", Prefix="runs/")["Contents"]]
    assert any(key.endswith("/MLmodel") for key in keys)


def test_a_run_says_what_was_trained_on_what_and_why(surroundings, mlflow):
    lines = []
    run = mlflow.get_run(record_run(JOB, trained(), surroundings, report=lines.append))
    assert lines == []
    assert run.info.run_name == surroundings["TRAINING_JOB_NAME"]
    assert run.info.status == "FINISHED"
    ours = {name: value for name, value in run.data.tags.items() if name.startswith("evergreen.")}
    assert ours == {
        "evergreen.model": "churn",
        "evergreen.job": surroundings["TRAINING_JOB_NAME"],
        "evergreen.told_by": "the training job",
        "evergreen.decision_id": "d-1",
        "evergreen.trigger": ASKED["trigger"],
        "evergreen.because": ASKED["because"],
        "evergreen.snapshot": HASH,
        "evergreen.manifest": ASKED["manifest"],
        "evergreen.source_sha256": ASKED["source_sha256"],
        "evergreen.job_arn": ARN,
    }
    assert run.data.tags["mlflow.source.git.commit"] == "1f0c9d2"
    assert "RandomForestClassifier on 240 rows from 2026-01-01" in run.data.tags["mlflow.note.content"]
    assert (run.data.params["n_estimators"], run.data.params["estimator"]) == ("3", "RandomForestClassifier")
    assert run.data.metrics["validation_accuracy"] > 0.8
    assert (run.data.metrics["rows_trained"], run.data.metrics["rows_validated"]) == (240, 48)


def test_a_run_names_its_data(surroundings, mlflow):
    (used,) = mlflow.get_run(record_run(JOB, trained(), surroundings)).inputs.dataset_inputs
    data = used.dataset
    assert (data.name, data.digest) == ("churn", HASH[:36])
    assert json.loads(data.source) == {"uri": ASKED["manifest"], "sha256": HASH}
    assert json.loads(data.profile) == {"num_rows": 240}
    columns = json.loads(data.schema)["mlflow_colspec"]
    assert [(column["name"], column["type"]) for column in columns] == [("age", "double"), ("plan", "string")]


def test_a_job_run_twice_is_one_run_with_one_model_and_another_job_another(surroundings, mlflow, capsys):
    first = record_run(JOB, trained(), surroundings)
    assert record_run(JOB, trained(), surroundings) == first
    experiment = mlflow.get_experiment_by_name("evergreen/churn").experiment_id
    name = surroundings["TRAINING_JOB_NAME"]
    assert len(mlflow.search_runs([experiment], f"tags.`evergreen.job` = '{name}'")) == 1
    assert len(mlflow.search_logged_models([experiment], f"source_run_id = '{first}'")) == 1
    assert len(mlflow.get_metric_history(first, "validation_accuracy")) == 1
    assert record_run(JOB, trained(), {**surroundings, "TRAINING_JOB_NAME": "another"}) != first
    assert capsys.readouterr().out == "", "a job's log is read for metrics"


@pytest.mark.parametrize("step", ["log_batch", "log_inputs", "log_model_artifacts", "log_outputs", "set_terminated"])
def test_a_run_that_was_cut_short_is_written_to_its_end(step, surroundings, mlflow):
    class CutShortError(Exception):
        pass

    class Dying:
        def __getattr__(self, name):
            if name == step:
                raise CutShortError
            return getattr(mlflow, name)

    record = run_record("churn", f"cut-at-{step}", trained().files, Provenance(snapshot=HASH))
    with pytest.raises(CutShortError):
        write_run(Dying(), record)
    begun = find_run(mlflow, "churn", record.job)
    assert begun.info.status == "RUNNING"
    assert write_run(mlflow, record) == begun.info.run_id
    ended = mlflow.get_run(begun.info.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.metrics["rows_trained"] == 240
    assert len(ended.inputs.dataset_inputs) == 1
    (model,) = ended.outputs.model_outputs
    assert mlflow.get_logged_model(model.model_id).status == "READY"


def test_a_server_that_is_not_there_costs_a_warning_and_little_time():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        lines = []
        assert record_run(JOB, trained(), {"MLFLOW_TRACKING_URI": address}, report=lines.append) is None
    assert len(lines) == 1
    assert lines[0].startswith("warning: MLflow was not told about this run: ")


def test_a_server_that_hangs_costs_no_more_than_its_patience(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        address = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        lines, ended = [], threading.Event()

        def tell():
            record_run(JOB, trained(), {"MLFLOW_TRACKING_URI": address}, report=lines.append)
            ended.set()

        threading.Thread(target=tell, daemon=True).start()
        assert ended.wait(30), "a training waits for MLflow for ever"
    assert "warning: MLflow was not told" in lines[0]


def test_a_store_s_address_that_makes_no_sense_is_a_warning_too():
    lines = []
    assert record_run(JOB, trained(), {"MLFLOW_TRACKING_URI": "arn:aws:s3:::bucket"}, report=lines.append) is None
    assert "give https://..., or the ARN of a SageMaker mlflow-tracking-server" in lines[0]
