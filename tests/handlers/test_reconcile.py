"""Reconcile: what differs from the ledger is repaired, is in the history once, and stops nothing else."""

import json
from datetime import timedelta

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse

from evergreen.domain.aliases import AliasRecord
from evergreen.domain.catalog import CatalogKind
from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    CandidateRetired,
    PromotionApproved,
    RetrainingRequested,
    RollbackDecided,
    ShadowStarted,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
)
from evergreen.domain.state import BakePhase, RollbackCause
from evergreen.domain.training_jobs import TrainingRequest
from evergreen.formats.captures import Capture, GroundTruth, capture_line, ground_truth_line
from evergreen.spec import ModelSpec
from evergreen.usecases.compare_shadow import start_shadow
from evergreen.usecases.people import apply
from evergreen.usecases.repoint_alias import repoint_alias
from evergreen.usecases.watch_deployment import start_watch

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def recorded(cloud, at, *events):
    who = {"time": at, "actor": "ada", "because": "a story"}
    for kind, fields in events:
        cloud.ports.ledger.record(cloud.ports.ledger.read("churn"), kind(**who, **fields))


def registered(cloud, version):
    artifact = f"s3://artifacts/models/churn/churn-{version}/output/model.tar.gz"
    fields = {"version": version, "decision_id": "", "artifact": artifact, "sha256": str(version) * 64}
    fields |= {"fingerprint": cloud.ports.ledger.read("churn").fingerprint, "rows_trained": 500}
    return (CandidateRegistered, fields | {"trained_until": None, "reference": "", "gate": {}})


def approved(version, instead_of):
    return (PromotionApproved, {"version": version, "instead_of": instead_of, "evidence": {}})


def in_production(cloud, at, version=1, instead_of=None):
    """A version whose repoint was carried out, and that survived its ops bake."""
    recorded(cloud, at, registered(cloud, version), approved(version, instead_of))
    repoint_alias("churn", now=at, ports=cloud.ports)
    recorded(cloud, at, (BakePassed, {"version": version, "phase": BakePhase.OPS, "evidence": {}}))


def two_good_versions(cloud, at):
    in_production(cloud, at)
    in_production(cloud, at, version=2, instead_of=1)
    recorded(cloud, at, (BakePassed, {"version": 2, "phase": BakePhase.QUALITY, "evidence": {}}))


def reconciled(cloud, at):
    """What a tick of the schedule repaired of `churn`."""
    before = len(cloud.ports.ledger.history("churn").documents)
    count = cloud.call("reconcile", {"time": f"{at:%Y-%m-%dT%H:%M:%SZ}"})["churn"]
    told = [e for e in cloud.ports.ledger.history("churn").documents[before:] if e["type"] == "DifferenceRepaired"]
    assert len(told) == count
    return [(e["what"], e["found"], e["expected"]) for e in told]


def repaired_once(cloud, at, *differences):
    """The tick repairs just that, again and later nothing."""
    assert reconciled(cloud, at) == list(differences)
    left = cloud.ports.ledger.history("churn").documents
    assert reconciled(cloud, at) == []
    assert reconciled(cloud, at + HOUR) == []
    assert cloud.ports.ledger.history("churn").documents == left


@pytest.fixture
def settled(cloud, now):
    """Version 1 is good and in production since yesterday."""
    cloud.applied()
    in_production(cloud, now - DAY)
    return cloud


# --- aliases ----------------------------------------------------------------------------------------------------------


def as_written_by_others(cloud, alias, **changes):
    """Somebody writes the alias' item, past every condition."""
    key = {"model": {"S": "churn"}, "alias": {"S": alias}}
    for name, value in changes.items():
        cloud.dynamodb.update_item(
            TableName="aliases",
            Key=key,
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": value},
        )


@pytest.mark.parametrize("epoch", ["0", "9999"], ids=["an old epoch", "an epoch of the future"])
def test_a_production_alias_that_others_pointed_elsewhere_is_pointed_back(settled, now, epoch):
    as_written_by_others(settled, "production", version={"N": "7"}, epoch={"N": epoch})
    repaired_once(settled, now, ("production alias", "version 7", "version 1"))
    assert settled.ports.aliases.read("churn", "production").sha256 == "1" * 64


def test_a_production_alias_that_was_deleted_is_made_again(settled, now):
    settled.dynamodb.delete_item(TableName="aliases", Key={"model": {"S": "churn"}, "alias": {"S": "production"}})
    repaired_once(settled, now, ("production alias", "nothing", "version 1"))


def test_another_model_under_the_right_number_is_found(settled, now):
    as_written_by_others(settled, "production", sha256={"S": "7" * 64})
    repaired_once(settled, now, ("production alias", "version 1 with other contents", "version 1"))


def test_the_right_version_under_an_epoch_that_blocks_every_decision_is_found(settled, now):
    as_written_by_others(settled, "production", epoch={"N": "9999"})
    repaired_once(settled, now, ("production alias", "version 1 with other contents", "version 1"))


def test_a_rollback_is_carried_out_whatever_epoch_others_wrote(cloud, now):
    cloud.applied()
    two_good_versions(cloud, now - DAY)
    rollback = {"version": 2, "to_version": 1, "cause": RollbackCause.ERRORS, "evidence": {}}
    recorded(cloud, now, (RollbackDecided, rollback))
    as_written_by_others(cloud, "production", version={"N": "2"}, epoch={"N": "9999"})
    cloud.call("repoint_alias", "ledger_event")
    assert cloud.history()[-1] == "VersionRolledBack"
    assert cloud.ports.aliases.read("churn", "production").version == 1


def test_a_repoint_whose_event_was_lost_is_carried_out(cloud, now):
    cloud.applied()
    recorded(cloud, now, registered(cloud, 1), approved(1, None))
    assert reconciled(cloud, now + MINUTE) == [], "its event may still come"
    assert reconciled(cloud, now + 3 * MINUTE) == [("repoint", "not carried out", "version 1")]
    assert cloud.history()[-2:] == ["VersionPromoted", "DifferenceRepaired"]


def test_a_shadow_alias_that_was_left_behind_is_cleared(settled, now):
    epoch = settled.ports.ledger.read("churn").epoch
    settled.ports.aliases.repoint(AliasRecord("churn", "shadow", 2, "models/churn/v2/m.tar.gz", "2" * 64, epoch))
    repaired_once(settled, now, ("shadow alias", "version 2", "nothing"))
    assert settled.ports.aliases.read("churn", "shadow") is None


@pytest.fixture
def in_shadow(settled, now):
    recorded(settled, now - HOUR, registered(settled, 2))
    start_shadow("churn", now=now - HOUR, ports=settled.ports)
    return settled


def test_a_model_in_shadow_that_is_in_order_needs_no_repair(in_shadow, now):
    assert reconciled(in_shadow, now) == []


def test_a_shadow_alias_that_points_elsewhere_is_pointed_back(in_shadow, now):
    as_written_by_others(in_shadow, "shadow", version={"N": "7"})
    repaired_once(in_shadow, now, ("shadow alias", "version 7", "version 2"))


def test_a_shadow_alias_that_is_missing_is_made_again_once_it_is_surely_lost(settled, now):
    started = (ShadowStarted, {"version": 2, "judged_against": 1})
    recorded(settled, now, registered(settled, 2), started)
    assert reconciled(settled, now + 10 * MINUTE) == []
    found = reconciled(settled, now + 15 * MINUTE)
    assert found[0] == ("shadow alias", "nothing", "version 2")
    assert found[1][0].startswith("schedule churn.challenger.v2")
    assert reconciled(settled, now + HOUR) == []


def test_a_candidate_whose_event_was_lost_goes_into_shadow(settled, now):
    recorded(settled, now - HOUR, registered(settled, 2))
    repaired_once(settled, now, ("shadow", "nobody", "version 2"))
    assert settled.ports.ledger.read("churn").shadow.version == 2


# --- schedules --------------------------------------------------------------------------------------------------------


def test_a_bake_without_its_schedule_gets_it_again(cloud, now):
    cloud.applied()
    recorded(cloud, now - HOUR, registered(cloud, 1), approved(1, None))
    repoint_alias("churn", now=now - HOUR, ports=cloud.ports)
    ((what, *_),) = reconciled(cloud, now)
    assert what.removeprefix("schedule ") in cloud.schedules()
    assert reconciled(cloud, now + HOUR) == []


def test_a_shadow_without_its_schedule_gets_it_again(in_shadow, now):
    (name,) = in_shadow.schedules()
    in_shadow.ports.schedules.remove(name)
    repaired_once(in_shadow, now, (f"schedule {name}", "none", "one"))
    assert in_shadow.schedules() == [name]


def test_schedules_of_what_is_over_are_removed_and_those_of_others_are_not(in_shadow, now):
    (name,) = in_shadow.schedules()
    recorded(in_shadow, now - HOUR, (CandidateRetired, {"version": 2, "evidence": {}}))
    in_shadow.ports.aliases.clear("churn", "shadow", in_shadow.ports.ledger.read("churn").epoch)
    keep = {"start": now + HOUR, "end": now + DAY, "function": "compare-shadow", "payload": {}}
    for other in ("churn2.challenger.v2.1", "churn.report.weekly"):
        in_shadow.ports.schedules.every(other, DAY, **keep)
    assert reconciled(in_shadow, now) == [], "within a day it fires once more, finds nothing to judge, and ends itself"
    repaired_once(in_shadow, now + DAY, (f"schedule {name}", "one", "none"))
    assert sorted(in_shadow.schedules()) == ["churn.report.weekly", "churn2.challenger.v2.1"]


def test_a_model_with_the_longest_name_and_a_bake_in_order_needs_no_repair(cloud, now):
    longest = "m" * 40
    spec = ModelSpec.parse(
        {"model": longest, "task": "regression", "features": {"x": {"type": "number"}}, "labels": {}}
    )
    state = apply.apply_model(spec, now=now - DAY, ports=cloud.ports)
    who = {"time": now - HOUR, "actor": "ada", "because": "a story"}
    candidate, fields = registered_as(longest, state.fingerprint)
    promotion = PromotionApproved(**who, version=1, instead_of=None, evidence={})
    cloud.ports.ledger.record(state, candidate(**who, **fields), promotion)
    repoint_alias(longest, now=now - HOUR, ports=cloud.ports)
    start_watch(longest, now=now - HOUR, ports=cloud.ports)
    assert cloud.call("reconcile", "schedule_evaluate") == {longest: 0}


def registered_as(model, fingerprint):
    fields = {"version": 1, "decision_id": "", "artifact": f"s3://artifacts/models/{model}/j/output/model.tar.gz"}
    fields |= {"sha256": "1" * 64, "fingerprint": fingerprint, "rows_trained": 500, "trained_until": None}
    return CandidateRegistered, fields | {"reference": "", "gate": {}}


# --- the training job -------------------------------------------------------------------------------------------------

RUN = "20260301000000-5"
JOB = f"evergreen-churn-{RUN}-0"


def requested(cloud, at):
    recorded(cloud, at, (RetrainingRequested, {"decision_id": RUN, "trigger": "schedule"}))


def started(cloud, at):
    requested(cloud, at)
    job = {"decision_id": RUN, "job_name": JOB, "attempt": 0, "rows": 500, "snapshot": "5" * 64}
    recorded(cloud, at, (TrainingStarted, job))


def running(cloud, status):
    """The job as SageMaker has it."""
    request = TrainingRequest(
        job_name=JOB,
        model="churn",
        hyperparameters={},
        source="s3://artifacts/source/s/sourcedir.tar.gz",
        manifest="s3://artifacts/snapshots/churn/r/manifest.json",
        production=None,
        output="s3://artifacts/models/churn",
        instance_type="ml.m5.large",
        instance_count=1,
        volume_gb=30,
        max_runtime=2 * HOUR,
    )
    cloud.ports.trainer.start(request)
    job = sagemaker_backends["123456789012"]["us-east-1"].training_jobs[JOB]
    job.training_job_status = status
    return job


@pytest.fixture
def stoppable(monkeypatch):
    """Jobs can be stopped, as they can at SageMaker and not in moto; answers which were."""
    stopped = []

    def stop_training_job(self):
        stopped.append(json.loads(self.body)["TrainingJobName"])
        return "{}"

    monkeypatch.setattr(SageMakerResponse, "stop_training_job", stop_training_job, raising=False)
    return stopped


def test_a_job_that_was_never_started_is_started_or_given_up_for_want_of_labels(settled, now):
    requested(settled, now)
    assert reconciled(settled, now + 10 * MINUTE) == []
    assert reconciled(settled, now + 15 * MINUTE) == [("training job", "none", JOB)]
    assert settled.history()[-2:] == ["TrainingFailed", "DifferenceRepaired"]
    assert settled.ports.ledger.read("churn").run is None


def test_a_retry_is_not_started_before_its_delay_is_over(settled, now):
    started(settled, now - HOUR)
    failed = {"decision_id": RUN, "job_name": JOB, "attempt": 0, "final": False}
    recorded(settled, now, (TrainingFailed, failed))
    assert reconciled(settled, now + 15 * MINUTE) == []
    assert reconciled(settled, now + 20 * MINUTE) == [("training job", "none", f"evergreen-churn-{RUN}-1")]


def test_an_end_that_nobody_heard_of_is_recorded(settled, now):
    started(settled, now)
    running(settled, "Failed")
    assert reconciled(settled, now + 15 * MINUTE) == [(f"end of {JOB}", "not recorded", "Failed")]
    assert settled.history()[-2:] == ["TrainingFailed", "DifferenceRepaired"]
    assert settled.schedules() == [f"churn.retry.{RUN}.1"]


def test_a_job_that_sagemaker_does_not_know_has_failed(settled, now):
    started(settled, now)
    assert reconciled(settled, now + 15 * MINUTE) == [(f"end of {JOB}", "no such job", "Failed")]
    assert "SageMaker knows no job of that name" in settled.ports.ledger.history("churn").documents[-2]["because"]


def test_a_job_that_does_not_end_is_stopped_and_tried_again(settled, now, stoppable):
    started(settled, now)
    running(settled, "InProgress")
    assert reconciled(settled, now + 7 * HOUR) == []
    assert reconciled(settled, now + 8 * HOUR) == [(f"end of {JOB}", "InProgress", "Stopped")]
    assert stoppable == [JOB]
    state = settled.ports.ledger.read("churn")
    assert (state.run.job_name, state.run.attempt) == (None, 1)
    assert "training.max_runtime is 2:00:00" in settled.ports.ledger.history("churn").documents[-2]["because"]


# --- files ------------------------------------------------------------------------------------------------------------


def capture_file(cloud, hour, name):
    capture = Capture("order-17", hour, 1, {"age": 41.0, "plan": "a"}, "1", {"0": 0.2, "1": 0.8})
    key = f"captures/churn/production/{hour:%Y/%m/%d/%H}/{name}.jsonl"
    cloud.ports.data.put(key, capture_line(capture, model="churn", variant="production") + b"\n")
    return key


def label_file(cloud, hour, name, *lines):
    key = f"ground-truth/churn/{hour:%Y/%m/%d/%H}/{name}.jsonl"
    cloud.ports.data.put(key, b"\n".join(lines))
    return key


LABEL = ground_truth_line(GroundTruth("order-17", "1"), model="churn")


def test_files_whose_events_were_lost_are_worked_on_once_their_hour_has_settled(settled, now):
    hour = now - 2 * HOUR
    captures, labels = capture_file(settled, hour, "part-1"), label_file(settled, hour, "part-1", LABEL)
    assert reconciled(settled, hour + HOUR + 29 * MINUTE) == []
    at = hour + HOUR + 30 * MINUTE
    assert reconciled(settled, at) == [
        (f"file {captures}", "not compacted", "compacted"),
        (f"file {labels}", "not joined", "joined"),
    ]
    (outcomes,) = settled.ports.catalog.between("churn", CatalogKind.OUTCOMES, hour, hour + HOUR)
    assert outcomes.rows == 1
    assert reconciled(settled, at + 15 * MINUTE) == []


def test_labels_whose_events_and_captures_were_lost_wait_for_their_captures(settled, now):
    labels = label_file(settled, now - 2 * HOUR, "part-1", LABEL)
    assert reconciled(settled, now) == [(f"file {labels}", "not joined", "joined")]
    assert list(settled.ports.data.keys("pending-labels/churn/"))


def test_labels_whose_events_were_lost_are_kept_to_be_learned_too(cloud, now):
    cloud.applied(freshness={"enabled": True})
    in_production(cloud, now - DAY)
    capture_file(cloud, now - 2 * HOUR, "part-1"), label_file(cloud, now - 2 * HOUR, "part-1", LABEL)
    assert len(reconciled(cloud, now)) == 2
    assert list(cloud.ports.data.keys("online-rows/churn/"))


def test_files_that_were_worked_on_are_left_alone_whatever_became_of_them(settled, now):
    hour = now - 2 * HOUR
    capture_file(settled, hour, "part-1")
    early = ground_truth_line(GroundTruth("order-18", "1"), model="churn")
    files = {
        "profile_capture": [capture_file(settled, hour, "part-2")],
        "join_labels": [
            label_file(settled, hour, "joined", LABEL),
            label_file(settled, hour, "waits", early),
            label_file(settled, hour, "refused", b"not a label"),
        ],
    }
    label_file(settled, hour, "empty", b"")
    settled.ports.data.put(f"captures/churn/production/{hour:%Y/%m/%d/%H}/notes/read me", b"not ours")
    for function, keys in files.items():
        for key in keys:
            event = settled.event("s3_object_created")
            event["detail"]["object"]["key"] = key
            settled.call(function, event)
    assert [what for what, *_ in reconciled(settled, now)] == [
        f"file captures/churn/production/{hour:%Y/%m/%d/%H}/part-1.jsonl"
    ]


def test_hours_long_gone_are_not_looked_at_again_and_again(settled, now):
    capture_file(settled, now - 9 * HOUR, "part-1")
    assert reconciled(settled, now) == []


# --- once, and each by itself -----------------------------------------------------------------------------------------


def test_what_a_call_repaired_before_it_died_is_recorded_by_the_next_one_once(settled, now):
    repair = {"what": "production alias", "found": "version 7", "expected": "version 1"}
    body = {"model": "churn", "time": now.isoformat(), "because": "1 found", "differences": [repair]}
    settled.ports.ledger.note("churn", "differences", now, body, 5)
    repaired_once(settled, now, ("production alias", "version 7", "version 1"))


def test_several_differences_are_repaired_in_one_call(in_shadow, now):
    (name,) = in_shadow.schedules()
    in_shadow.ports.schedules.remove(name)
    as_written_by_others(in_shadow, "production", version={"N": "7"})
    as_written_by_others(in_shadow, "shadow", version={"N": "7"})
    found = reconciled(in_shadow, now)
    assert [what for what, *_ in found] == ["production alias", "shadow alias", f"schedule {name}"]


def test_what_can_not_be_repaired_is_not_called_repaired_and_what_matters_more_is_done(settled, now):
    started(settled, now - HOUR)
    running(settled, "Completed")
    boto3.client("s3").delete_bucket(Bucket="artifacts")
    as_written_by_others(settled, "production", version={"N": "7"})
    with pytest.raises(ExceptionGroup, match="models that could not be reconciled") as failed:
        settled.call("reconcile", "schedule_evaluate")
    assert failed.group_contains(ClientError, match="NoSuchBucket")
    assert settled.ports.aliases.read("churn", "production").version == 1
    told = [e["what"] for e in settled.ports.ledger.history("churn").documents if e["type"] == "DifferenceRepaired"]
    assert told == ["production alias"]


def test_one_models_trouble_is_not_the_next_ones(settled, now):
    other = ModelSpec.parse({"model": "aaa", "task": "regression", "features": {"x": {"type": "number"}}, "labels": {}})
    state = apply.apply_model(other, now=now - DAY, ports=settled.ports)
    who = {"time": now - DAY, "actor": "ada", "because": "a story"}
    kind, fields = registered_as("aaa", state.fingerprint)
    state = settled.ports.ledger.record(state, kind(**who, **fields))
    state = settled.ports.ledger.record(state, PromotionApproved(**who, version=1, instead_of=None, evidence={}))
    settled.ports.ledger.record(state, VersionPromoted(**who, version=1, replaced=None, endpoint={}))
    settled.dynamodb.put_item(TableName="catalog", Item=pending_entry_without_a_file())
    as_written_by_others(settled, "production", version={"N": "7"})
    with pytest.raises(ExceptionGroup, match="models that could not be reconciled"):
        settled.call("reconcile", "schedule_evaluate")
    assert settled.ports.aliases.read("churn", "production").version == 1
    assert settled.ports.aliases.read("aaa", "production").version == 1


def pending_entry_without_a_file():
    key = "pending-labels/aaa/2026/02/28/12/gone.jsonl"
    return {
        "pk": {"S": "aaa#pending-labels#2026-02"},
        "sk": {"S": f"28/12/{key}"},
        "time": {"S": "2026-02-28T12:00:00+00:00"},
        "key": {"S": key},
        "rows": {"N": "1"},
        "etag": {"S": ""},
        "sums": {"S": "{}"},
    }


# --- canaries ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_canary(cloud, now):
    """Version 2 took over three hours ago and answers a tenth of the requests in its ops bake, version 1 the rest."""
    cloud.applied(deployment={"canary_share": 0.1})
    in_production(cloud, now - DAY)
    recorded(cloud, now - 3 * HOUR, registered(cloud, 2), approved(2, 1))
    repoint_alias("churn", now=now - 3 * HOUR, ports=cloud.ports)
    start_watch("churn", now=now - 3 * HOUR, ports=cloud.ports)
    return cloud


def in_alias(cloud):
    record = cloud.ports.aliases.read("churn", "production")
    return record.version, None if record.canary is None else (record.canary.share, record.canary.version)


def test_a_promoted_version_answers_its_share_and_the_history_says_so(with_canary, now):
    assert in_alias(with_canary) == (2, (0.1, 1))
    promoted = with_canary.ports.ledger.history("churn").documents[-1]
    assert (promoted["type"], promoted["endpoint"]["canary"]["version"]) == ("VersionPromoted", 1)
    told = "the endpoint answers with version 2 instead of version 1, for 10.0% of the requests; version 1 the rest"
    assert promoted["because"] == told
    assert reconciled(with_canary, now) == []


def passes_its_ops_bake(cloud, at):
    recorded(cloud, at, (BakePassed, {"version": 2, "phase": BakePhase.OPS, "evidence": {}}))


def test_a_version_that_passed_its_ops_bake_answers_every_request(with_canary, now):
    passes_its_ops_bake(with_canary, now)
    with_canary.call("repoint_alias", "ledger_event")
    assert in_alias(with_canary) == (2, None)


def test_a_canary_that_nobody_ended_is_ended_and_told(with_canary, now):
    passes_its_ops_bake(with_canary, now - HOUR)
    start_shadow("churn", now=now - HOUR, ports=with_canary.ports)
    found = "version 2 for 10.0% of the requests, version 1 for the rest"
    with_canary.ports.schedules.remove(next(n for n in with_canary.schedules() if "ops-bake" in n))
    repaired_once(with_canary, now, ("production alias", found, "version 2"))
    assert in_alias(with_canary) == (2, None)


def test_a_canary_that_ended_a_moment_ago_is_left_to_its_event(with_canary, now):
    passes_its_ops_bake(with_canary, now - MINUTE)
    assert reconciled(with_canary, now) == []
    assert in_alias(with_canary) == (2, (0.1, 1))


def test_a_share_that_somebody_changed_is_put_back(with_canary, now):
    changed = {"share": {"N": "0.9"}, "version": {"N": "1"}, "artifact": {"S": "x"}, "sha256": {"S": "y"}}
    as_written_by_others(with_canary, "production", canary={"M": changed})
    assert [what for what, *_ in reconciled(with_canary, now)] == ["production alias"]
    assert in_alias(with_canary) == (2, (0.1, 1))


def test_a_rollback_ends_the_canary(with_canary, now):
    decided = {"version": 2, "to_version": 1, "cause": RollbackCause.ERRORS, "evidence": {}}
    recorded(with_canary, now, (RollbackDecided, decided))
    with_canary.call("repoint_alias", "ledger_event")
    assert in_alias(with_canary) == (1, None)


def test_a_late_end_of_a_bake_leaves_the_newer_repoint_alone(with_canary, now):
    decided = {"version": 2, "to_version": 1, "cause": RollbackCause.ERRORS, "evidence": {}}
    recorded(with_canary, now, (RollbackDecided, decided))
    repoint_alias("churn", now=now, ports=with_canary.ports)
    with_canary.call("repoint_alias", "ledger_event")
    assert in_alias(with_canary) == (1, None)


def test_an_alias_that_points_elsewhere_is_left_for_reconcile_to_tell(with_canary, now):
    as_written_by_others(with_canary, "production", version={"N": "7"})
    passes_its_ops_bake(with_canary, now)
    with_canary.call("repoint_alias", "ledger_event")
    assert in_alias(with_canary)[0] == 7
    assert ("production alias", "version 7 for 10.0% of the requests, version 1 for the rest", "version 2") in (
        reconciled(with_canary, now)
    )
