"""A promotion that a person has to approve, and a model that is paused: what the functions do, and leave to people."""

from datetime import timedelta

import pytest
from small_artifact import small_artifact
from small_cloud import NOW

from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    PromotionApproved,
    RetrainingRequested,
    TrainingStarted,
    VersionPromoted,
)
from evergreen.domain.state import BakePhase
from evergreen.domain.training_jobs import JobEnd
from evergreen.errors import NothingToApproveError
from evergreen.formats.captures import Capture, GroundTruth, capture_line, ground_truth_line
from evergreen.usecases.compare_shadow import compare_shadow, start_shadow
from evergreen.usecases.finish_training import finish_training
from evergreen.usecases.people import decide
from evergreen.usecases.reconcile import reconcile

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SINCE = NOW - 6 * DAY
SPEC = {
    "deployment": {"approval": "manual"},
    "shadow": {"cycle": "1d", "max_time": "3d"},
    "triggers": {"cycle": "1d"},
    "labels": {"classes": ["0", "1"], "maturity": "6h"},
}


def told(cloud, kind, time, **fields):
    ledger = cloud.ports.ledger
    ledger.record(ledger.read("churn"), kind(time=time, actor="ada", because="a story", **fields))


def registered(cloud, version, time):
    told(
        cloud,
        CandidateRegistered,
        time,
        version=version,
        decision_id="",
        artifact=f"s3://artifacts/models/churn/v{version}/output/model.tar.gz",
        sha256="1" * 64,
        fingerprint=cloud.ports.ledger.read("churn").fingerprint,
        rows_trained=500,
        trained_until=None,
        reference="",
        gate={},
    )


def in_shadow(cloud, **spec):
    """Version 1 is good and in production; version 2 runs in shadow since six days."""
    cloud.applied(**SPEC | spec)
    registered(cloud, 1, SINCE - DAY)
    told(cloud, PromotionApproved, SINCE - DAY, version=1, instead_of=None, evidence={})
    told(cloud, VersionPromoted, SINCE - DAY, version=1, replaced=None, endpoint={})
    told(cloud, BakePassed, SINCE - DAY, version=1, phase=BakePhase.OPS, evidence={})
    registered(cloud, 2, SINCE)
    assert start_shadow("churn", now=SINCE, ports=cloud.ports).version == 2


def answered(cloud, day, *, right, rows=400, failed=0):
    """A day of requests that both versions answered, and their labels: one version is always right, the other never.

    The shadow failed on the first rows.
    """
    time, hour = SINCE + day * DAY + HOUR, f"{SINCE + day * DAY + HOUR:%Y/%m/%d/%H}"
    truths = {f"r{day}-{i}": i % 2 for i in range(rows)}
    for version, variant in ((1, "production"), (2, "shadow")):
        says = {name: str(truth if version == right else 1 - truth) for name, truth in truths.items()}
        lines = [
            capture_line(
                Capture(name, time, version, {"age": 40.0, "plan": "a"}, said, None), model="churn", variant=variant
            )
            for name, said in list(says.items())[failed if variant == "shadow" else 0 :]
        ]
        arrived(cloud, "profile_capture", f"captures/churn/{variant}/{hour}/part.v{version}.jsonl", lines)
    labels = [ground_truth_line(GroundTruth(name, str(truth)), model="churn") for name, truth in truths.items()]
    arrived(cloud, "join_labels", f"ground-truth/churn/{hour}/labels.jsonl", labels)


def arrived(cloud, function, key, lines):
    cloud.ports.data.put(key, b"\n".join(lines))
    event = cloud.event("s3_object_created")
    event["detail"]["object"]["key"] = key
    cloud.call(function, event)


def judged(cloud, day):
    """The verdict at the end of a day."""
    return compare_shadow("churn", 2, now=SINCE + day * DAY, ports=cloud.ports).verdict


def state(cloud):
    return cloud.ports.ledger.read("churn")


def approved(cloud, **about):
    return decide.approve("churn", None, "checked with sales", "ada", now=NOW, ports=cloud.ports, **about)


@pytest.fixture
def proven(cloud):
    """A candidate that two days have proven, and that was judged."""
    in_shadow(cloud)
    for day in range(2):
        answered(cloud, day, right=2)
    assert judged(cloud, 3) == "promote"
    return cloud


def test_a_candidate_that_failed_on_some_requests_is_not_promoted_for_how_it_answered_the_others(cloud):
    in_shadow(cloud)
    for day in range(2):
        answered(cloud, day, right=2, failed=20)
    assert judged(cloud, 3) == "need_more_data"
    (note,) = cloud.ports.ledger.notes("churn", "shadow", SINCE, NOW)
    assert note["answered_share"] == 0.95
    assert "the shadow answered 95.0% of the requests, 98.0% are needed" in note["because"]
    assert judged(cloud, 5) == "need_more_data", "days on which nobody asked cost it no time"
    answered(cloud, 4, right=2, failed=20)
    assert judged(cloud, 6) == "keep"


def test_a_proven_candidate_waits_and_goes_on_in_shadow(proven):
    assert state(proven).proposal.judged_against == 1
    assert (state(proven).shadow.version, state(proven).production) == (2, 1)
    assert proven.history()[-1] == "PromotionProposed"


def test_it_is_proposed_once_however_often_it_is_judged(proven):
    answered(proven, 2, right=2)
    assert judged(proven, 4) == "promote"
    assert judged(proven, 5) == "promote"
    assert proven.history().count("PromotionProposed") == 1


def test_its_schedule_is_made_again_while_it_waits(proven):
    (name,) = proven.schedules()
    proven.ports.schedules.remove(name)
    reconcile("churn", now=NOW + 40 * DAY, ports=proven.ports)
    assert proven.schedules() == [name]


def test_a_person_approves_on_the_evidence_of_the_proposal(proven):
    proposal = state(proven).proposal
    after = approved(proven, expected=decide.Expected.of(state(proven)))
    assert (after.repoint.version, after.proposal) == (2, None)
    event = proven.ports.ledger.history("churn").documents[-1]
    assert event["evidence"] == {**proposal.evidence, "proposed_at": proposal.time.isoformat()}
    assert (event["actor"], event["because"]) == ("ada", "checked with sales")


def test_a_later_verdict_of_keep_withdraws_the_proposal(proven):
    for day in range(2, 6):
        answered(proven, day, right=1)
    assert judged(proven, 7) == "keep"
    assert (state(proven).proposal, state(proven).shadow) == (None, None)
    with pytest.raises(NothingToApproveError):
        approved(proven)


def test_a_proposal_against_an_older_production_can_not_be_approved(proven):
    registered(proven, 3, NOW)
    decide.force_promotion("churn", 3, "needed", "ada", now=NOW, ports=proven.ports)
    with pytest.raises(NothingToApproveError, match="none does"):
        approved(proven)


def test_a_paused_model_proposes_nothing_until_it_is_resumed(cloud):
    in_shadow(cloud, deployment={"approval": "auto"})
    for day in range(2):
        answered(cloud, day, right=2)
    decide.pause("churn", "audit week", "ada", now=SINCE + 2 * DAY, ports=cloud.ports)
    assert judged(cloud, 3) == "promote"
    assert cloud.history()[-1] == "ModelPaused"
    decide.resume("churn", "audit is over", "ada", now=SINCE + 3 * DAY, ports=cloud.ports)
    assert judged(cloud, 4) == "promote"
    assert state(cloud).repoint.version == 2


def test_a_paused_model_is_not_retrained_and_the_wish_waits(cloud, now):
    cloud.applied()
    decide.pause("churn", "audit week", "ada", now=now, ports=cloud.ports)
    cloud.call("evaluate_triggers", "business_event")
    assert state(cloud).run is None
    assert (state(cloud).held_back.rule, state(cloud).wish is not None) == ("paused", True)


def test_a_first_version_that_was_trained_during_a_pause_takes_over_when_it_ends(cloud, now):
    cloud.applied()
    told(cloud, RetrainingRequested, now, decision_id="d1", trigger="business_event")
    told(cloud, TrainingStarted, now, decision_id="d1", job_name="churn-d1-0", attempt=0, rows=240, snapshot="s")
    decide.pause("churn", "not yet", "ada", now=now, ports=cloud.ports)
    key = "models/churn/churn-d1-0/output/model.tar.gz"
    cloud.ports.artifacts.put(key, small_artifact("churn-d1-0"))
    end = JobEnd("churn-d1-0", "Completed", cloud.ports.artifacts.uri(key), "")
    finish_training("churn", end, now=now + HOUR, ports=cloud.ports)
    assert cloud.history()[-1] == "CandidateRegistered"
    assert state(cloud).repoint is None
    decide.resume("churn", "now", "ada", now=now + 2 * HOUR, ports=cloud.ports)
    assert cloud.history()[-2:] == ["ModelResumed", "PromotionApproved"]
    assert state(cloud).repoint.version == 1
