"""The registry against the ledger, on a real MLflow store: what others changed is repaired and told once."""

import hashlib
import json
from datetime import timedelta

import boto3
import pytest
from small_artifact import small_artifact

from evergreen import bootstrap
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    DifferenceRepaired,
    PromotionApproved,
    RetrainingRequested,
    TrainingStarted,
    VersionPromoted,
)
from evergreen.domain.state import BakePhase

mlflow = pytest.importorskip("mlflow")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TICK = "schedule_evaluate"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A store without a server puts artifacts into the folder that it is called in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def client(store):
    client = mlflow.MlflowClient(tracking_uri=store, registry_uri=store)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return client


@pytest.fixture
def in_step(cloud, client, store, monkeypatch, now):
    """Version 1 is good and answers since yesterday, and the registry was told."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    who = {"time": now - DAY, "actor": "ada", "because": "a story"}
    state = cloud.applied()
    registered = CandidateRegistered(
        **who,
        version=1,
        decision_id="d1",
        artifact="s3://artifacts/models/churn/churn-1/output/model.tar.gz",
        sha256="1" * 64,
        fingerprint=state.fingerprint,
        rows_trained=500,
        trained_until=None,
        reference="",
        gate={},
    )
    approved = PromotionApproved(**who, version=1, instead_of=None, evidence={})
    promoted = VersionPromoted(**who, version=1, replaced=None, endpoint={})
    passed = BakePassed(**who, version=1, phase=BakePhase.OPS, evidence={})
    cloud.ports.ledger.record(state, registered, approved, promoted, passed)
    cloud.call("update_registry", "ledger_event")
    return cloud


def repairs(cloud):
    told = [e for e in cloud.ports.ledger.history("churn").documents if e["type"] == DifferenceRepaired.__name__]
    return [(e["what"], e["found"], e["expected"]) for e in told]


def repaired_once(cloud, *differences):
    for _ in range(2):  # delivered twice
        cloud.call("update_registry", TICK)
    assert repairs(cloud) == list(differences)
    assert cloud.call("update_registry", {"time": "2026-03-01T09:00:00Z"}) == {"churn": 0}


def test_a_registry_in_step_needs_no_repair(in_step):
    assert in_step.call("update_registry", TICK) == {"churn": 0}
    assert repairs(in_step) == []


def test_an_alias_that_others_moved_is_moved_back(in_step, client):
    theirs = client.create_model_version("churn", source="s3://somebody/else")
    client.set_registered_model_alias("churn", "production", theirs.version)
    repaired_once(in_step, ("alias production in the registry", "a version of somebody else's", "version 1"))
    assert client.get_model_version_by_alias("churn", "production").tags["evergreen.version"] == "1"


def test_an_alias_that_others_deleted_or_made_up_is_repaired(in_step, client):
    client.delete_registered_model_alias("churn", "production")
    client.set_registered_model_alias("churn", "shadow", "1")
    repaired_once(
        in_step,
        ("alias production in the registry", "nothing", "version 1"),
        ("alias shadow in the registry", "version 1", "nothing"),
    )


def test_a_tag_that_others_changed_is_changed_back_and_theirs_are_left_alone(in_step, client):
    client.set_model_version_tag("churn", "1", "evergreen.status", "rejected")
    client.set_model_version_tag("churn", "1", "team", "growth")
    client.set_registered_model_alias("churn", "champion", "1")
    repaired_once(in_step, ("tag evergreen.status of version 1 in the registry", "'rejected'", "'good'"))
    tags = client.get_model_version("churn", "1").tags
    assert (tags["evergreen.status"], tags["team"]) == ("good", "growth")
    assert client.get_registered_model("churn").aliases.keys() == {"production", "champion"}


def test_a_version_that_is_missing_is_registered(in_step, client):
    client.delete_registered_model("churn")
    repaired_once(
        in_step,
        ("version 1 in the registry", "none", "registered"),
        ("alias production in the registry", "nothing", "version 1"),
    )


def test_a_registered_model_that_no_stack_has_claimed_is_taken_over(in_step, client):
    client.delete_registered_model("churn")
    client.create_registered_model("churn")
    bootstrap.reset()  # another process, that has not seen it before
    repaired_once(
        in_step,
        ("version 1 in the registry", "none", "registered"),
        ("alias production in the registry", "nothing", "version 1"),
    )
    assert "evergreen.stack" in client.get_registered_model("churn").tags


def test_what_an_event_under_way_will_tell_is_no_difference(in_step, client, now):
    client.delete_registered_model_alias("churn", "production")
    who = {"time": now, "actor": "ada", "because": "a story"}
    state = in_step.ports.ledger.read("churn")
    in_step.ports.ledger.record(state, RetrainingRequested(**who, decision_id="d2", trigger="schedule"))
    assert in_step.call("update_registry", TICK) == {"churn": 0}
    assert in_step.call("update_registry", {"time": "2026-03-01T02:15:00Z"}) == {"churn": 1}


def test_without_a_registry_there_is_nothing_to_reconcile(cloud):
    cloud.applied()
    assert cloud.call("update_registry", TICK) == {"churn": 0}


@pytest.fixture
def trained(cloud, client, store, monkeypatch, tmp_path, now):
    """Version 1 was trained by a job that could not reach MLflow, and was put into production since."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)  # where a store without a server puts artifacts
    who = {"time": now - DAY, "actor": "ada"}
    state = cloud.applied()
    job = f"churn-{tmp_path.name}-0"  # stories share the store, and each job has its run
    artifact = small_artifact(job)
    key = f"models/churn/{job}/output/model.tar.gz"
    cloud.ports.artifacts.put(key, artifact)
    state = cloud.ports.ledger.record(
        state,
        RetrainingRequested(**who, because="W1/sd is 0.31", decision_id="d1", trigger="data_drift"),
        TrainingStarted(
            **who,
            because="data_drift",
            decision_id="d1",
            job_name=job,
            attempt=0,
            rows=240,
            snapshot="5f" * 32,
            source="c0" * 32,
        ),
    )
    cloud.ports.ledger.record(
        state,
        CandidateRegistered(
            **who,
            because="accuracy 0.9, at least 0.8",
            version=1,
            decision_id="d1",
            artifact=f"s3://artifacts/{key}",
            sha256=hashlib.sha256(artifact).hexdigest(),
            fingerprint=state.fingerprint,
            rows_trained=240,
            trained_until=None,
            reference="",
            gate={"passed": True},
        ),
        PromotionApproved(**who, because="the first version", version=1, instead_of=None, evidence={}),
        VersionPromoted(**who, because="the first version", version=1, replaced=None, endpoint={}),
    )
    cloud.job, cloud.key = job, key
    return cloud


def run_of(client, version="1"):
    run_id = client.get_model_version("churn", version).run_id
    return client.get_run(run_id) if run_id else None


def test_a_run_that_mlflow_missed_is_told_by_what_the_artifact_and_the_ledger_say(trained, client):
    for _ in range(2):  # delivered twice
        trained.call("update_registry", "ledger_event")
    run = run_of(client)
    assert run.info.run_name == trained.job
    tags = run.data.tags
    assert (tags["evergreen.trigger"], tags["evergreen.because"]) == ("data_drift", "W1/sd is 0.31")
    assert (tags["evergreen.snapshot"], tags["evergreen.source_sha256"]) == ("5f" * 32, "c0" * 32)
    assert tags["evergreen.told_by"] == "update_registry"
    assert run.data.metrics["rows_trained"] == 240
    data = run.inputs.dataset_inputs[0].dataset
    assert json.loads(data.source)["uri"] == "s3://artifacts/snapshots/churn/d1/0/manifest.json"
    version = client.get_model_version_by_alias("churn", "production")
    assert version.source.startswith("models:/m-")
    assert version.description == "Trained on 240 rows. Gate passed: accuracy 0.9, at least 0.8."
    assert version.tags["evergreen.gate"] == "passed: accuracy 0.9, at least 0.8"
    assert version.tags["evergreen.verdict"] == "promote: the first version"
    assert version.tags["evergreen.artifact"] == f"s3://artifacts/{trained.key}"


def test_a_model_goes_where_a_server_that_does_not_pass_artifacts_on_keeps_them(trained, tmp_path, monkeypatch):
    store, s3 = f"sqlite:///{tmp_path / 'mlflow.db'}", boto3.client("s3")
    s3.create_bucket(Bucket="artifacts-of-mlflow")
    place = "s3://artifacts-of-mlflow/runs"
    mlflow.MlflowClient(store, store).create_experiment("evergreen/churn", artifact_location=place)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    bootstrap.reset()
    trained.call("update_registry", "ledger_event")
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="artifacts-of-mlflow", Prefix="runs/")["Contents"]]
    assert any(key.endswith("/MLmodel") for key in keys)


def test_an_artifact_that_was_changed_is_not_put_into_mlflow(trained, client):
    trained.ports.artifacts.put(trained.key, small_artifact("somebody-elses"))
    trained.call("update_registry", "ledger_event")
    assert run_of(client) is None
    assert client.get_model_version_by_alias("churn", "production").source == f"s3://artifacts/{trained.key}"


def test_an_artifact_that_is_gone_holds_nothing_up(trained, client):
    trained.ports.artifacts.delete(trained.key)
    trained.call("update_registry", "ledger_event")
    assert client.get_model_version_by_alias("churn", "production").version == 1


def test_a_registry_that_does_not_answer_is_asked_once_for_all_models(cloud, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    cloud.applied()
    with pytest.raises(mlflow.MlflowException, match="Max retries exceeded"):
        cloud.call("update_registry", TICK)
