"""Every function ties its log lines to their cause, and counts what it did."""

import json
from contextlib import suppress

import pytest
from aws_lambda_powertools import Logger
from small_cloud import ROOT

from evergreen.inbound import correlation_id

CALLS = {
    "collect_feedback": "http_feedback",
    "compare_shadow": "ledger_event",
    "evaluate_triggers": "business_event",
    "finish_training": "training_job_failed",
    "join_labels": "s3_object_created",
    "launch_training": "schedule_retry_training",
    "learn_online": "sqs_feedback",
    "predict": "http_predict",
    "profile_capture": "s3_object_created",
    "reconcile": "schedule_evaluate",
    "repoint_alias": "ledger_event",
    "score_shadow": "s3_object_created",
    "update_registry": "ledger_event",
    "watch_deployment": "alarm_sns",
}


def test_every_function_is_among_them():
    assert set(CALLS) == {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}


@pytest.mark.parametrize("function", CALLS)
def test_log_lines_are_found_by_what_they_are_about_and_not_by_the_call_before(cloud, function):
    cloud.applied()
    event = cloud.event(CALLS[function])
    Logger(service=function).set_correlation_id("the call before")
    with suppress(FileNotFoundError):  # the file of the event is not there: its lines are found all the same
        cloud.call(function, event)
    assert Logger(service=function).get_correlation_id() == correlation_id(event) != ""


@pytest.mark.parametrize("function", sorted(set(CALLS) - {"join_labels", "profile_capture"}))
def test_what_was_done_is_counted_under_dimensions_that_are_few(cloud, function):
    cloud.applied()
    cloud.counted()
    cloud.call(function, CALLS[function])
    counted = cloud.counted()
    assert counted, function
    for dimensions, values in counted:
        assert set(dimensions) <= {"Model", "Version", "Trigger", "Function"}
        assert all(isinstance(value, int | float) for value in values.values())


def test_a_job_that_failed_is_counted(cloud, now):
    cloud.applied()
    cloud.call("evaluate_triggers", "business_event")
    run = cloud.ports.ledger.read("churn").run
    cloud.counted()
    event = cloud.event("ledger_event")
    event["detail"]["body"] = json.dumps({"decision_id": run.decision_id})
    cloud.call("launch_training", event)
    assert cloud.counted() == [({"Model": "churn"}, {"TrainingsStarted": 0, "TrainingsNotStarted": 1})]
