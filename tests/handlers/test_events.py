"""Events as AWS delivers them - twice, late, of somebody else's - through the functions that take them."""

from datetime import timedelta

import pytest

from evergreen.domain.aliases import AliasRecord
from evergreen.domain.catalog import CatalogKind
from evergreen.errors import UnknownModelError
from evergreen.formats.captures import Capture, GroundTruth, capture_line, ground_truth_line

HOUR = "2026/03/01/01"


@pytest.mark.parametrize("shape", ["alarm_direct", "alarm_eventbridge", "alarm_sns"])
def test_an_alarm_has_every_model_looked_at_whichever_way_it_comes(cloud, shape):
    cloud.applied()
    assert cloud.call("watch_deployment", shape) == {"churn": None}


def test_an_alarm_that_is_over_has_nothing_looked_at(cloud):
    cloud.applied()
    event = cloud.event("alarm_direct")
    event["alarmData"]["state"]["value"] = "OK"
    assert cloud.call("watch_deployment", event) == {}


def test_a_late_tick_of_a_bake_that_is_over_removes_its_schedule(cloud):
    cloud.applied()
    assert cloud.call("watch_deployment", "schedule_watch_deployment") == {"model": "churn", "because": None}
    assert cloud.schedules() == []


def test_anybody_on_the_bus_can_have_a_model_retrained_once(cloud):
    cloud.applied()
    assert cloud.call("evaluate_triggers", "business_event") == {"churn": "prices changed"}
    later = cloud.event("business_event") | {"time": "2026-03-01T02:10:00Z"}
    (again,) = cloud.call("evaluate_triggers", later).values()
    assert "is still open (prices changed)" in again
    assert cloud.history() == ["ModelApplied", "RetrainingRequested", "RetrainingHeldBack"]
    assert cloud.ports.ledger.history("churn").documents[1]["actor"] == "shop.pricing"


def test_a_wish_for_a_model_nobody_knows_fails_and_goes_to_the_dead_letters(cloud):
    with pytest.raises(UnknownModelError):
        cloud.call("evaluate_triggers", "business_event")


def test_a_model_that_answers_nothing_yet_is_not_evaluated(cloud):
    cloud.applied()
    assert cloud.call("evaluate_triggers", "schedule_evaluate") == {"churn": "not in production"}
    assert cloud.history() == ["ModelApplied"]


def test_a_retraining_without_enough_labels_is_given_up_and_says_why(cloud):
    cloud.applied()
    cloud.call("evaluate_triggers", "business_event")
    event, run = cloud.event("ledger_event"), cloud.ports.ledger.read("churn").run
    event["detail"]["body"] = event["detail"]["body"].replace("20260301020000-12", run.decision_id)
    assert cloud.call("launch_training", event) == {"model": "churn", "job_name": None}
    last = cloud.ports.ledger.history("churn").documents[-1]
    assert (last["type"], last["final"]) == ("TrainingFailed", True)
    assert last["because"] == "0 labelled rows, training.min_rows is 200"


@pytest.mark.parametrize("event", ["ledger_event", "schedule_retry_training"])
def test_a_retraining_that_is_not_open_any_more_starts_no_job(cloud, event):
    cloud.applied()
    assert cloud.call("launch_training", event) == {"model": "churn", "job_name": None}


@pytest.mark.parametrize("event", ["training_job_completed", "training_job_failed", "training_job_of_somebody_else"])
def test_a_job_that_is_not_the_open_runs_changes_nothing(cloud, event):
    cloud.applied()
    assert cloud.call("finish_training", event) == {"recorded": []}
    assert cloud.history() == ["ModelApplied"]


def test_a_repoint_that_was_carried_out_is_not_carried_out_again(cloud):
    cloud.applied()
    assert cloud.call("repoint_alias", "ledger_event") == {"model": "churn", "recorded": []}


def test_a_capture_file_without_anybody_in_shadow_is_left_alone(cloud):
    cloud.applied()
    assert cloud.call("score_shadow", "s3_object_created") == {"rows": 0}
    assert list(cloud.ports.data.keys("captures/")) == []


def test_reconciling_a_model_in_order_repairs_nothing(cloud):
    cloud.applied()
    assert cloud.call("reconcile", "schedule_evaluate") == {"churn": 0}
    assert cloud.history() == ["ModelApplied"]


def test_without_a_registry_there_is_nothing_to_keep_in_step(cloud):
    cloud.applied()
    assert cloud.call("update_registry", "ledger_event") == {"model": "churn", "versions": 0}


def test_labels_meet_their_captures_and_what_can_not_be_read_is_kept_aside(cloud, now):
    cloud.applied(task="regression", labels={})
    capture = Capture("order-17", now, 1, {"age": 41.0, "plan": "a"}, 2.5, None)
    file = cloud.arrived(
        f"captures/churn/production/{HOUR}/part-1.jsonl",
        capture_line(capture, model="churn", variant="production"),
        b"not a capture",
    )
    assert cloud.call("profile_capture", file) == {"rows": 1, "quarantined": 1}
    labels = [GroundTruth("order-17", "3.0"), GroundTruth("order-18", "4.0")]
    labels += [GroundTruth("order-17", "nan"), GroundTruth("order-17", "late")]
    file = cloud.arrived(
        f"ground-truth/churn/{HOUR}/part-1.jsonl", *(ground_truth_line(label, model="churn") for label in labels)
    )
    for _ in range(2):  # delivered twice
        assert cloud.call("join_labels", file) == {"joined": 1, "pending": 1, "quarantined": 2}
    reasons = [line["reason"] for line in cloud.kept_aside()]
    assert reasons[1:] == ["label 'nan' is not a finite number", "label 'late' is not a finite number"]
    (joined,) = cloud.ports.catalog.between("churn", CatalogKind.OUTCOMES, now - timedelta(hours=1), now)
    assert joined.rows == 1


@pytest.mark.parametrize("ago", [timedelta(hours=1), timedelta(days=9)], ids=["an hour ago", "long ago"])
def test_a_lost_schedule_is_made_again_and_never_begins_in_the_past(cloud, now, ago):
    cloud.applied()
    cloud.promoted(at=now - ago)
    assert cloud.call("reconcile", "schedule_evaluate") == {"churn": 2}, "neither alias nor schedule was made"
    assert cloud.history()[-2:] == ["DifferenceRepaired", "DifferenceRepaired"]
    made = cloud.schedule(cloud.schedules()[0])
    assert now <= made["StartDate"] < made["EndDate"]
    assert cloud.call("reconcile", "schedule_evaluate") == {"churn": 0}


def test_an_endpoint_that_somebody_repointed_is_pointed_back(cloud, now):
    cloud.applied()
    cloud.promoted(at=now)
    cloud.ports.aliases.repoint(AliasRecord("churn", "production", 7, "models/churn/v7/m.tar.gz", "7" * 64, epoch=1))
    assert cloud.call("reconcile", "schedule_evaluate") == {"churn": 1}
    assert cloud.ports.aliases.read("churn", "production").version == 1
    assert (
        cloud.ports.ledger.history("churn").documents[-1]["because"]
        == "production alias: found version 7, expected version 1"
    )


def test_a_label_file_that_comes_again_after_its_late_captures_joins_nothing_twice(cloud, now):
    cloud.applied()

    def capture(event_id, key):
        line = capture_line(
            Capture(event_id, now, 1, {"age": 41.0, "plan": "a"}, "1", {"0": 0.2, "1": 0.8}, None),
            model="churn",
            variant="production",
        )
        cloud.call("profile_capture", cloud.arrived(f"captures/churn/production/{HOUR}/{key}.jsonl", line))

    capture("order-1", "early")
    labels = [ground_truth_line(GroundTruth(f"order-{i}", "1"), model="churn") for i in (1, 2)]
    file = cloud.arrived(f"ground-truth/churn/{HOUR}/part-1.jsonl", *labels)
    assert cloud.call("join_labels", file) == {"joined": 1, "pending": 1, "quarantined": 0}
    capture("order-2", "late")
    assert cloud.call("join_labels", file) == {"joined": 1, "pending": 1, "quarantined": 0}
    cloud.call("reconcile", "schedule_evaluate")
    assert cloud.call("join_labels", file)["joined"] == 1
    joined = cloud.ports.catalog.between("churn", CatalogKind.OUTCOMES, now - timedelta(hours=1), now)
    assert sorted(entry.rows for entry in joined) == [1, 1]
    assert not cloud.ports.catalog.between("churn", CatalogKind.PENDING_LABELS, now - timedelta(hours=2), now)
