"""What a training job left: judged, or rejected with the reason; never a call that fails until it is given up."""

import json
from datetime import timedelta

import boto3
import pytest
from botocore.exceptions import ClientError
from small_artifact import small_artifact

from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    PromotionProposed,
    RetrainingRequested,
    ShadowStarted,
    TrainingStarted,
    VersionPromoted,
)
from evergreen.domain.state import BakePhase
from evergreen.model.archive import pack, unpack
from evergreen.usecases.people.why import why
from evergreen.usecases.steps.references import load_reference

DAY = timedelta(days=1)
FILES = ("model.onnx", "model.json", "reference.json")
NAME = "evergreen-churn-20260301020000-7-0"
KEY = f"models/churn/{NAME}/output/model.tar.gz"


@pytest.fixture
def job(cloud, now):
    """A training job of the model runs."""
    cloud.applied()
    who = {"time": now, "actor": "ada", "because": "a story"}
    ledger = cloud.ports.ledger
    asked = RetrainingRequested(**who, decision_id="20260301020000-7", trigger="business_event")
    state = ledger.record(ledger.read("churn"), asked)
    started = {"decision_id": "20260301020000-7", "attempt": 0, "rows": 240, "snapshot": "s"}
    ledger.record(state, TrainingStarted(**who, **started, job_name=NAME))
    return cloud


def ended(cloud, body, key=KEY):
    """The job ends and has left these bytes; answers the newest event of the history."""
    if body is not None:
        cloud.ports.artifacts.put(key, body)
    event = cloud.event("training_job_completed")
    event["detail"] |= {"TrainingJobName": NAME, "ModelArtifacts": {"S3ModelArtifacts": f"s3://artifacts/{key}"}}
    recorded = cloud.call("finish_training", event)["recorded"]
    assert cloud.call("finish_training", event) == {"recorded": []}
    newest = cloud.ports.ledger.history("churn").documents[-1]
    assert newest["type"] in recorded
    return newest


def changed(facts=(), reference=(), without=()):
    """An artifact whose documents say something else."""
    files = unpack(small_artifact(NAME), FILES)
    for name, changes in (("model.json", dict(facts)), ("reference.json", dict(reference))):
        files[name] = json.dumps(json.loads(files[name]) | changes).encode()
    return pack({name: content for name, content in files.items() if name not in without}, level=1)


def test_a_good_model_is_registered_with_its_reference_under_its_own_hash(job):
    assert ended(job, small_artifact(NAME))["type"] == "PromotionApproved"
    (registered,) = [e for e in job.ports.ledger.history("churn").documents if e["type"] == "CandidateRegistered"]
    assert registered["gate"]["passed"]
    assert registered["reference"].startswith(f"references/churn/{NAME}.")
    assert load_reference(job.ports, registered["reference"]).daily


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"not an archive", "the artifact is no readable model.tar.gz"),
        (b"", "the artifact is no readable model.tar.gz"),
        (None, "does not exist"),
        (changed(without=["model.json"]), "the artifact has no model.json: an own image has to write"),
        (changed(without=["reference.json"]), "the artifact has no reference.json"),
        (changed(without=["model.onnx"]), "the artifact has no model.onnx"),
        (pack(dict.fromkeys(FILES, b"[1]")), "model.json of the artifact is a list, not an object"),
        (pack(dict.fromkeys(FILES, b"{")), "model.json of the artifact is no JSON"),
        (pack(dict.fromkeys(FILES, b"[" * 100_000)), "model.json of the artifact is no JSON"),
        (changed({"rows_trained": None}), "rows_trained of model.json is None: write the number of rows"),
        (changed({"trained_until": "yesterday"}), "model.json of the artifact can't be read"),
        (changed({"trained_until": "2026-01-01"}), "a time without its offset"),
        (changed({"trained_until": 7}), "model.json of the artifact can't be read"),
        (changed({"loss_scale": float("nan")}), "loss_scale of model.json is nan"),
        (changed({"error_tolerance": "0.5"}), "error_tolerance of model.json is '0.5'"),
        (changed({"features": []}), "model.json of the artifact can't be read"),
        (changed({"metrics": {}}), "accuracy on the newest rows is not there, no number"),
        (changed({"metrics": {"validation": {"accuracy": float("nan")}}}), "is nan, no number"),
        (changed({"classes": ["0", "1", "2"], "task": "multiclass"}), "is not that of its own features"),
        (changed({"decision_id": "20260201020000-3"}), "of retraining 20260201020000-3, not of 20260301020000-7"),
        (
            changed({"leaks": [{"feature": "age", "score": 0.9991}]}),
            "feature age (score 0.9991) nearly equals the label",
        ),
        (changed(reference={"cycles": None}), "reference.json can't be read"),
        (changed(reference={"cycles": [{"profile": "AAAA"}]}), "reference.json can't be read"),
        (changed(reference={"daily": [[3, 5]]}), "reference.json can't be read"),
        (changed(reference={"binning": []}), "reference.json can't be read"),
    ],
)
def test_what_is_no_model_is_rejected_with_the_reason_and_why_tells_it(job, now, body, told):
    rejected = ended(job, body)
    assert rejected["type"] == "CandidateRejected"
    assert told in rejected["because"]
    assert rejected["gate"]["passed"] is False
    (answer,) = [a for a in why("churn", now + DAY, ports=job.ports).answers if a.question == "promotion"]
    assert answer.said == f"not promoted, the trained model failed its gate: {rejected['because']}"
    assert answer.findings[0].to_json()["evidence"] == rejected["gate"]
    assert job.ports.ledger.read("churn").run is None, "the next retraining is free to come"


@pytest.mark.parametrize(
    "key",
    ["models/churn/evergreen-churn-20260201020000-3-0/output/model.tar.gz", f"models/other/{NAME}/output/model.tar.gz"],
)
def test_the_output_of_another_job_is_not_taken_for_this_ones(job, key):
    rejected = ended(job, small_artifact(NAME), key)
    assert rejected["type"] == "CandidateRejected"
    assert rejected["because"].startswith(f"the artifact of job {NAME} is s3://artifacts/{key}, expected ")


def test_a_refused_model_still_says_which_rows_it_saw(job, now):
    poor = changed({"leaks": [{"feature": "age", "score": 0.9991}], "trained_until": "2026-02-27T00:00:00+00:00"})
    assert ended(job, poor)["trained_until"] == "2026-02-27T00:00:00Z"
    assert job.ports.ledger.read("churn").refused_until == now.replace(month=2, day=27, hour=0)


def told(cloud, now, kind, **fields):
    ledger = cloud.ports.ledger
    ledger.record(ledger.read("churn"), kind(time=now, actor="ada", because="a story", **fields))


@pytest.fixture
def retrained(job, now):
    """Version 1 answers, version 2 is in shadow, and the job of the next retraining runs."""
    ended(job, small_artifact(NAME))
    told(job, now, VersionPromoted, version=1, replaced=None, endpoint={})
    told(job, now, BakePassed, version=1, phase=BakePhase.OPS, evidence={})
    registration = {"version": 2, "decision_id": "", "artifact": "s3://artifacts/models/churn/v2/m.tar.gz"}
    registration |= {"sha256": "1" * 64, "fingerprint": job.ports.ledger.read("churn").versions[0].fingerprint}
    registration |= {"rows_trained": 9, "trained_until": None, "reference": "", "gate": {}}
    told(job, now, CandidateRegistered, **registration)
    told(job, now, ShadowStarted, version=2, judged_against=1)
    told(job, now, RetrainingRequested, decision_id="20260308020000-9", trigger="performance")
    name = "evergreen-churn-20260308020000-9-0"
    started = {"decision_id": "20260308020000-9", "attempt": 0, "rows": 240, "snapshot": "s"}
    told(job, now, TrainingStarted, **started, job_name=name)
    return job, name


def finished(cloud, name):
    key = f"models/churn/{name}/output/model.tar.gz"
    cloud.ports.artifacts.put(key, small_artifact(name))
    event = cloud.event("training_job_completed")
    event["detail"] |= {"TrainingJobName": name, "ModelArtifacts": {"S3ModelArtifacts": f"s3://artifacts/{key}"}}
    return cloud.call("finish_training", event)["recorded"]


def test_a_new_candidate_takes_the_place_of_the_one_in_shadow_which_ends_with_its_evidence(retrained, now):
    cloud, name = retrained
    found = {"model": "churn", "verdict": "need_more_data", "because": "too early", "version": 2, "judged_against": 1}
    found |= {"time": now.isoformat(), "from": now.isoformat(), "until": (now + DAY).isoformat(), "rows": 310}
    cloud.ports.ledger.note("churn", "shadow", now, found, 9)
    assert finished(cloud, name) == ["CandidateRegistered", "CandidateRetired"]
    assert finished(cloud, name) == [], "a second delivery changes nothing"
    state, last = cloud.ports.ledger.read("churn"), cloud.ports.ledger.history("churn")[-1].event
    assert (last.version, last.superseded_by, last.because) == (2, 3, "superseded by version 3")
    assert (last.evidence["rows"], last.evidence["judged_against"], "verdict" in last.evidence) == (310, 1, False)
    assert (state.shadow, state.waiting_candidate.number, state.production) == (None, 3, 1)


def test_a_candidate_that_the_evidence_is_for_keeps_its_place_and_the_new_one_waits(retrained, now):
    cloud, name = retrained
    found = {"model": "churn", "verdict": "need_more_data", "because": "so far", "version": 2, "judged_against": 1}
    found |= {"time": now.isoformat(), "from": now.isoformat(), "until": (now + DAY).isoformat(), "log_e_promote": 2.1}
    cloud.ports.ledger.note("churn", "shadow", now, found, 9)
    assert finished(cloud, name) == ["CandidateRegistered"]
    state = cloud.ports.ledger.read("churn")
    assert (state.shadow.version, state.waiting_candidate.number, state.run) == (2, 3, None)


def test_a_candidate_that_was_not_judged_yet_keeps_its_place_until_it_is(retrained, now):
    cloud, name = retrained
    of_another = {
        "time": now.isoformat(),
        "verdict": "keep",
        "because": "",
        "version": 7,
        "judged_against": 1,
        "rows": 5,
    }
    cloud.ports.ledger.note("churn", "shadow", now, of_another, 9)
    assert finished(cloud, name) == ["CandidateRegistered"]
    assert cloud.ports.ledger.read("churn").shadow.version == 2
    about = {"model": "churn", "version": 2, "schedule": "churn.challenger.v2.1"}
    for day in (2, 9):  # a whole cycle of seven days has matured by the second look
        at = now + day * DAY
        cloud.call("compare_shadow", about | {"time": f"{at:%Y-%m-%dT%H:%M:%SZ}"})
        state = cloud.ports.ledger.read("churn")
        assert (state.shadow is None) is (day == 9)
    last = cloud.ports.ledger.history("churn")[-1].event
    assert (last.version, last.superseded_by, last.evidence["rows"]) == (2, 3, 0)
    assert last.because.startswith("superseded by version 3: accuracy gain")


def test_a_proven_candidate_that_waits_for_a_person_stays(retrained, now):
    cloud, name = retrained
    told(cloud, now, PromotionProposed, version=2, judged_against=1, evidence={"gain": 0.1})
    assert finished(cloud, name) == ["CandidateRegistered"]
    state = cloud.ports.ledger.read("churn")
    assert (state.shadow.version, state.proposal.version, state.waiting_candidate.number) == (2, 2, 3)


def test_a_model_that_the_gate_refuses_takes_nobodys_place(retrained):
    cloud, name = retrained
    key = f"models/churn/{name}/output/model.tar.gz"
    cloud.ports.artifacts.put(key, changed({"decision_id": "20260201020000-3"}))
    event = cloud.event("training_job_completed")
    event["detail"] |= {"TrainingJobName": name, "ModelArtifacts": {"S3ModelArtifacts": f"s3://artifacts/{key}"}}
    assert cloud.call("finish_training", event)["recorded"] == ["CandidateRejected"]
    assert cloud.ports.ledger.read("churn").shadow.version == 2


def test_a_bucket_that_can_not_be_read_is_no_reason_to_reject(job):
    job.ports.artifacts.put(KEY, small_artifact(NAME))
    event = job.event("training_job_completed")
    event["detail"] |= {"TrainingJobName": NAME, "ModelArtifacts": {"S3ModelArtifacts": f"s3://artifacts/{KEY}"}}
    boto3.client("s3").delete_object(Bucket="artifacts", Key=KEY)
    boto3.client("s3").delete_bucket(Bucket="artifacts")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        job.call("finish_training", event)
    assert job.history()[-1] == "TrainingStarted"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("xgboost-2026-03-01", "resnet50"),
        ("churn-of-another-team", "not JSON"),
        ("their-job", '"churn"'),
        ("fraud-20260301020000-7-0", '"fraud"'),
        ("odd-job", '{"name": "churn"}'),
        ("odd-job", '["churn"]'),
        ("Upper-job", '"' + "x" * 3_000 + '"'),
    ],
)
def test_a_job_of_another_team_is_counted_and_left_alone(job, name, model):
    before = job.ports.ledger.read("churn")
    event = job.event("training_job_of_somebody_else")
    event["detail"] |= {"TrainingJobName": name, "HyperParameters": {"model": model}}
    assert job.call("finish_training", event) == {"recorded": []}
    assert job.ports.ledger.read("churn") == before
