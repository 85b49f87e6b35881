"""Events as AWS delivers them - twice, late, of somebody else's - through the functions that take them."""

import pytest

from evergreen.domain.errors import UnknownModelError


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
    (again,) = cloud.call("evaluate_triggers", "business_event").values()
    assert "is still open (prices changed)" in again
    assert cloud.history() == ["ModelApplied", "RetrainingRequested", "RetrainingHeldBack"]
    assert cloud.ports.ledger.history("churn")[1]["actor"] == "shop.pricing"


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
    last = cloud.ports.ledger.history("churn")[-1]
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


def test_feedback_that_was_not_learned_goes_back_to_the_queue(cloud):
    event = cloud.event("sqs_feedback")
    unreadable = {"Records": event["Records"][1:]}
    failed = cloud.call("learn_online", unreadable)["batchItemFailures"]
    assert [failure["itemIdentifier"] for failure in failed] == [r["messageId"] for r in unreadable["Records"]]
