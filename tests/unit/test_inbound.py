"""AWS's events as they come: each shape is read, and what a caller sent wrongly is refused with a status."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain import event_json
from evergreen.domain.model_events import RetrainingRequested
from evergreen.domain.state import Run
from evergreen.domain.training_jobs import job_name
from evergreen.errors import BadRequestError
from evergreen.formats import requests
from evergreen.inbound import events, http
from evergreen.inbound.events import AlarmChange, LedgerEvent, ObjectCreated, Tick, TrainingJobChange
from evergreen.inbound.http import HttpRequest
from evergreen.model.schema import MODEL_NAME

EVENTS = Path(__file__).parents[1] / "events"
TWO_OCLOCK = datetime(2026, 3, 1, 2, tzinfo=UTC)
JOB = "evergreen-churn-20260301020000-7-0"


def event(name):
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("shape", "microsecond"), [("alarm_direct", 490_000), ("alarm_eventbridge", 0), ("alarm_sns", 490_000)]
)
def test_an_alarm_is_the_same_whichever_way_it_comes(shape, microsecond):
    time = datetime(2023, 8, 4, 12, 36, 15, microsecond, tzinfo=UTC)
    assert AlarmChange.parse(event(shape)) == AlarmChange("failed-requests", "ALARM", time, stack="evergreen")


@pytest.mark.parametrize("name", ["schedule_watch_deployment", "ledger_event", "s3_object_created", "business_event"])
def test_nothing_else_is_taken_for_an_alarm(name):
    assert AlarmChange.parse(event(name)) is None


def test_a_training_job_that_ended_well_names_its_artifact():
    artifact = f"s3://artifacts/models/churn/{JOB}/output/model.tar.gz"
    time = datetime(2026, 3, 1, 2, 5, 5, tzinfo=UTC)
    change = TrainingJobChange.parse(event("training_job_completed"))
    assert change == TrainingJobChange(JOB, "churn", "Completed", artifact, "", time)


def test_a_training_job_that_failed_says_why():
    change = TrainingJobChange.parse(event("training_job_failed"))
    assert (change.status, change.artifact) == ("Failed", None)
    assert change.reason == "AlgorithmError: 150 rows, min_rows is 200, exit code: 1"


def test_a_job_of_somebody_else_is_not_ours():
    assert TrainingJobChange.parse(event("training_job_of_somebody_else")).model is None


THEIRS = st.one_of(
    st.text(), st.none(), st.integers(), st.recursive(st.text(), st.lists).map(json.dumps), st.just('"churn"')
)


@given(THEIRS, st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,40}", fullmatch=True))
def test_whatever_other_teams_call_model_is_read_as_a_model_or_as_none(model, name):
    change = event("training_job_of_somebody_else")
    change["detail"] |= {"TrainingJobName": name, "HyperParameters": {"model": model}}
    found = TrainingJobChange.parse(change).model
    assert found is None or json.loads(model) == found


@given(st.from_regex(MODEL_NAME, fullmatch=True), st.integers(0, 9))
def test_a_job_of_ours_says_which_model_it_trains(model, attempt):
    run = Run("20260301020000-7", "schedule", datetime(2026, 3, 1, tzinfo=UTC), attempt=attempt)
    change = event("training_job_completed")
    change["detail"] |= {
        "TrainingJobName": job_name("evergreen", model, run),
        "HyperParameters": {"model": json.dumps(model)},
    }
    assert TrainingJobChange.parse(change).model == model


def test_the_key_of_a_new_object_is_taken_as_it_is():
    key = "captures/churn/production/2026/03/01/01/CaptureStream-1-2026-03-01-01-58-00-a b+c.jsonl"
    created = ObjectCreated.parse(event("s3_object_created"))
    assert created == ObjectCreated(key, "d41d8cd98f00b204e9800998ecf8427e", TWO_OCLOCK.replace(second=5))


def test_a_schedule_says_for_which_time_it_calls():
    assert Tick.parse(event("schedule_evaluate")) == Tick(TWO_OCLOCK, None, None, "", "")
    tick = Tick.parse(event("schedule_watch_deployment"))
    assert (tick.model, tick.version, tick.schedule) == ("churn", 2, "churn.ops-bake.v2.1772330405")
    assert Tick.parse(event("schedule_retry_training")).decision_id == "20260301020000-7"


def test_a_ledger_event_is_the_one_that_was_recorded():
    came = event("ledger_event")
    assert events.is_ledger_event(came)
    change = LedgerEvent.parse(came)
    assert (change.model, change.epoch, change.type) == ("churn", 12, "RetrainingRequested")
    assert change.data["decision_id"] == "20260301020000-12"
    assert isinstance(event_json.event_from_json(change.type, came["detail"]["body"]), RetrainingRequested)


def test_a_schedule_and_a_wish_are_no_ledger_events():
    assert not events.is_ledger_event(event("schedule_evaluate"))
    assert not events.is_ledger_event(event("business_event"))


def test_anybody_on_the_bus_may_want_a_retraining():
    wish = event("business_event")
    assert events.is_business_event(wish)
    parsed = events.parse_business_event(wish)
    assert (parsed.model, parsed.reason, parsed.source) == ("churn", "prices changed", "shop.pricing")


def test_a_request_names_its_model_and_its_time():
    request = HttpRequest.parse(event("http_predict"))
    assert (request.path, request.content_type) == ({"model": "churn"}, "application/json")
    assert json.loads(request.body)["inference_ids"] == ["order-17"]
    assert request.time == TWO_OCLOCK.replace(second=5, microsecond=250_000)


def test_a_body_that_came_as_base64_is_text_again():
    request = HttpRequest.parse(event("http_predict_base64_csv"))
    assert (request.body, request.content_type) == ("41,café\n", "text/csv; charset=utf-8")


def test_a_body_that_is_not_utf8_is_refused():
    came = event("http_predict_base64_csv") | {"body": base64.b64encode(b"\xff\xfe").decode()}
    with pytest.raises(BadRequestError, match="not UTF-8") as refused:
        HttpRequest.parse(came)
    assert refused.value.status == 400


def test_a_request_without_body_or_headers_is_an_empty_one():
    came = event("http_predict")
    del came["body"], came["headers"]
    request = HttpRequest.parse(came)
    assert (request.body, request.content_type) == ("", "")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "the body is not JSON"),
        ("{", "the body is not JSON"),
        ('{"a": NaN}', "NaN is not JSON: send null for a missing value"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ("1" * 5_000, "the body is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        (r'{"a": "\ud800"}', "no character"),
        (r'{"\uDFFF": 1}', "no character"),
    ],
    ids=["empty", "cut off", "NaN", "infinity", "5,000 digits", "deep", "half a pair", "half a pair as key"],
)
def test_a_body_that_can_not_be_stored_is_refused(body, problem):
    with pytest.raises(BadRequestError, match=problem) as refused:
        requests.parse_json(body)
    assert refused.value.status == 400


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"]))),
        lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(st.text("abc"), part, max_size=3)),
        max_leaves=6,
    ),
    st.booleans(),
)
def test_any_other_json_is_read_as_it_is(document, escaped):
    assert requests.parse_json(json.dumps(document, ensure_ascii=escaped)) == document


def test_a_problem_document_says_what_and_how():
    answer = http.http_problem(422, "The request can't be answered as it is", ("a is wrong", "b is wrong"))
    assert answer["headers"] == {"content-type": "application/problem+json"}
    assert json.loads(answer["body"]) == {
        "type": "about:blank",
        "title": "The request can't be answered as it is",
        "status": 422,
        "detail": "a is wrong; b is wrong",
        "problems": ["a is wrong", "b is wrong"],
    }
    assert http.http_answer(202, {"labels": 1})["body"] == '{"labels":1}'


# --- what an alarm is about -------------------------------------------------------------------------------------------

CHURN_2 = {"Model": "churn", "Version": "2"}


def metric(dimensions, namespace="Evergreen/evergreen"):
    about = {"namespace": namespace, "name": "Errors", "dimensions": dimensions}
    return {"id": "m", "metricStat": {"metric": about, "period": 60, "stat": "Sum"}}


def alarm_on(*metrics):
    came = event("alarm_direct")
    came["alarmData"]["configuration"]["metrics"] = list(metrics)
    alarm = AlarmChange.parse(came)
    return alarm.model, alarm.version


@pytest.mark.parametrize(
    ("metrics", "about"),
    [
        ([metric(CHURN_2)], ("churn", 2)),
        ([metric({"Model": "churn"})], ("churn", None)),
        ([{"id": "e", "expression": "a / b"}, metric(CHURN_2), metric(CHURN_2)], ("churn", 2)),
        ([metric(CHURN_2), metric({"Model": "churn", "Version": "3"})], ("churn", None)),
        ([metric(CHURN_2), metric({"Model": "late", "Version": "2"})], (None, None)),
        ([metric({"Model": "churn", "Version": "two"})], ("churn", None)),
        ([metric(CHURN_2, namespace="Somebody/Else")], (None, None)),
        ([], (None, None)),
    ],
    ids=["a version", "a model", "math", "two versions", "two models", "no number", "others' metric", "composite"],
)
def test_an_alarm_is_about_the_one_model_and_version_that_its_metrics_name(metrics, about):
    assert alarm_on(*metrics) == about


def test_an_alarm_on_metric_math_that_comes_by_mail_names_its_model_too():
    came = event("alarm_sns")
    message = json.loads(came["Records"][0]["Sns"]["Message"])
    dimensions = [{"name": "Model", "value": "churn"}, {"name": "Version", "value": "2"}]
    stat = {
        "Metric": {"Namespace": "Evergreen/evergreen", "MetricName": "Errors", "Dimensions": dimensions},
        "Period": 60,
    }
    message["Trigger"] = {"Metrics": [{"Id": "e", "Expression": "m / 2"}, {"Id": "m", "MetricStat": stat}]}
    came["Records"][0]["Sns"]["Message"] = json.dumps(message)
    alarm = AlarmChange.parse(came)
    assert (alarm.model, alarm.version) == ("churn", 2)


def test_a_composite_alarm_has_no_metrics_of_its_own():
    came = event("alarm_eventbridge")
    came["detail"]["configuration"] = {"alarmRule": "ALARM(failed-requests)"}
    assert AlarmChange.parse(came).model is None


# --- what ties log lines together -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ties"),
    [
        ("ledger_event", "churn#12"),
        ("business_event", "7bf73129-1428-4cd3-a780-95db273d1602"),
        (
            "s3_object_created",
            "captures/churn/production/2026/03/01/01/CaptureStream-1-2026-03-01-01-58-00-a b+c.jsonl",
        ),
        ("training_job_completed", JOB),
        ("http_predict", "JKJaXmPLvHcESHA="),
        ("schedule_watch_deployment", "churn.ops-bake.v2.1772330405 2026-03-01T02:01:00Z"),
        ("schedule_evaluate", "2026-03-01T02:00:00Z"),
        ("schedule_retry_training", "20260301020000-7 2026-03-01T02:10:00Z"),
        ("alarm_direct", "failed-requests 2023-08-04T12:36:15.490000+00:00"),
        ("alarm_sns", "failed-requests 2023-08-04T12:36:15.490000+00:00"),
        ("alarm_eventbridge", "failed-requests 2023-08-04T12:36:15+00:00"),
    ],
)
def test_every_event_says_what_its_log_lines_are_found_by(name, ties):
    assert events.correlation_id(event(name)) == ties


def test_an_event_of_no_known_shape_is_still_answered():
    assert events.correlation_id({}) == ""
