"""Every function ties its log lines to their cause, and counts what it did."""

import hashlib
import json
import logging
from contextlib import suppress

import pytest
from aws_lambda_powertools import Logger
from calls import CALLS
from small_artifact import small_artifact
from small_cloud import NOW, ROOT

from evergreen.domain.aliases import AliasRecord
from evergreen.errors import what_failed
from evergreen.formats.captures import Capture, capture_line
from evergreen.inbound.events import correlation_id


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


NOTHING_TO_DO = {"finish_training", "learn_live", "reconcile", "repoint_alias"}
"""What these find on the small cloud: a count of nothing is not written."""


@pytest.mark.parametrize("function", sorted(set(CALLS) - {"join_labels", "profile_capture"}))
def test_what_was_done_is_counted_under_dimensions_that_are_few(cloud, function):
    cloud.applied()
    cloud.counted()
    cloud.call(function, CALLS[function])
    counted = cloud.counted()
    assert bool(counted) is (function not in NOTHING_TO_DO), function
    for dimensions, values in counted:
        assert set(dimensions) <= {"Model", "Version", "Function"}
        assert all(isinstance(value, int | float) for value in values.values())


def test_a_job_that_failed_is_counted(cloud, now):
    cloud.applied()
    cloud.call("evaluate_triggers", "business_event")
    run = cloud.ports.ledger.read("churn").run
    cloud.counted()
    event = cloud.event("ledger_event")
    event["detail"]["body"] = json.dumps({"decision_id": run.decision_id})
    cloud.call("launch_training", event)
    assert cloud.counted() == [({"Model": "churn"}, {"TrainingsNotStarted": 1})]


SECRET = "Ada Lovelace"


@pytest.fixture
def log_records():
    """What predict and score_shadow log."""
    kept, handler = [], logging.Handler()
    handler.emit = kept.append
    loggers = [logging.getLogger(name) for name in ("predict", "score_shadow")]
    for logger in loggers:
        logger.addHandler(handler)
    yield kept
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.mark.parametrize("features", [{"age": 41, "plan": SECRET}, {"age": SECRET, "plan": "a"}])
def test_what_a_request_holds_is_in_no_log_line_whatever_fails(cloud, log_records, features):
    """A row that does not fit is refused by predict, and makes the shadow fail: numpy's error quotes it."""
    cloud.applied()
    body, key = small_artifact("v"), "models/churn/v/output/model.tar.gz"
    cloud.ports.artifacts.put(key, body)
    for number, alias in enumerate(("production", "shadow"), start=1):
        sha256 = hashlib.sha256(body).hexdigest()
        cloud.ports.aliases.repoint(AliasRecord("churn", alias, number, key, sha256, 1))
    event = cloud.event("http_predict")
    cloud.call("predict", event | {"body": json.dumps({"instances": [features]})})
    capture = Capture("r1", NOW, 1, features, "1", {"0": 0.2, "1": 0.8})
    event = cloud.event("s3_object_created")
    cloud.ports.data.put(event["detail"]["object"]["key"], capture_line(capture, model="churn", variant="production"))
    cloud.call("score_shadow", event)
    failed = [record.failure for record in log_records if record.msg == "the shadow failed"]
    assert len(failed) == (features["age"] == SECRET)
    assert not any(SECRET in str(vars(record)) for record in log_records)


def test_an_error_that_quotes_a_row_is_told_without_its_message():
    with pytest.raises(ValueError, match=SECRET) as raised:
        float(SECRET)
    assert what_failed(raised.value).startswith("ValueError at test_logs.py:")
    assert SECRET not in what_failed(raised.value)
