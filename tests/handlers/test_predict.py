"""POST /models/{model}/predict: what is answered, what is captured, what is counted, and what is refused."""

import base64
import hashlib
import json

import pytest
from botocore.client import BaseClient
from tipping_model import NEVER, ROW, a_model

from evergreen import bootstrap
from evergreen.domain.aliases import AliasRecord, Canary
from evergreen.domain.shares import is_captured
from evergreen.formats.captures import read_captures
from evergreen.inbound import openapi

SECOND = 1_000


def in_production(cloud, version=1, *, tipping_age=40, epoch=1, latency_ms=60_000.0, alias="production", **how):
    content, key = a_model(tipping_age, **how), f"models/churn/v{version}/output/model.tar.gz"
    cloud.ports.artifacts.put(key, content)
    sha256 = hashlib.sha256(content).hexdigest()
    cloud.ports.aliases.repoint(AliasRecord("churn", alias, version, key, sha256, epoch, latency_ms))
    return key


def asked(cloud, *rows, after=0, **more):
    event = cloud.event("http_predict")
    event["body"] = json.dumps({"instances": list(rows), **more})
    event["requestContext"]["timeEpoch"] += after
    return cloud.call("predict", event)


def answers(answer):
    assert answer["statusCode"] == 200, answer["body"]
    return json.loads(answer["body"])


def test_the_production_version_answers_each_row_under_its_id(cloud):
    in_production(cloud, version=3)
    assert answers(asked(cloud, ROW, ROW | {"age": 18}, inference_ids=["order-17", "order-18"])) == {
        "model": "churn",
        "version": 3,
        "request_id": "019ca71f-cd82-77e4-b76c-18285e06bffc",
        "predictions": [
            {"inference_id": "order-17", "prediction": "1", "probabilities": {"0": 0.0, "1": 1.0}},
            {"inference_id": "order-18", "prediction": "0", "probabilities": {"0": 1.0, "1": 0.0}},
        ],
    }


def test_every_answer_is_captured(cloud):
    in_production(cloud, version=3)
    answer = answers(asked(cloud, ROW, groups=["shop-7"]))
    (capture,), malformed = read_captures(cloud.streamed("captures"))
    assert malformed == []
    assert capture.event_id == answer["predictions"][0]["inference_id"]
    assert (capture.version, capture.features, capture.prediction) == (3, ROW, "1")
    assert (capture.probabilities, capture.group) == ({"0": 0.0, "1": 1.0}, "shop-7")
    assert capture.time.isoformat() == "2026-03-01T02:00:05.250000+00:00"


def test_a_number_beyond_64_bits_is_answered_and_captured(cloud):
    in_production(cloud)
    answers(asked(cloud, ROW | {"age": 10**30}))
    assert read_captures(cloud.streamed("captures"))[0][0].features["age"] == 1e30


def test_csv_is_answered_in_the_models_order_of_features(cloud):
    in_production(cloud)
    answer = answers(cloud.call("predict", "http_predict_base64_csv"))
    assert answer["predictions"][0]["prediction"] == "1"
    assert read_captures(cloud.streamed("captures"))[0][0].features == {"age": 41.0, "plan": "café"}


def test_an_answer_is_counted_as_the_bake_looks_for_it(cloud):
    in_production(cloud, version=3)
    asked(cloud, ROW)
    ((dimensions, values),) = cloud.counted()
    assert dimensions == {"Model": "churn", "Version": "3"}
    assert values == {"Requests": 1, "Latency": values["Latency"]}, "a count of nothing would be charged for"


def test_an_answer_slower_than_the_versions_objective_is_counted_as_slow(cloud):
    in_production(cloud, latency_ms=0.0)
    asked(cloud, ROW)
    assert cloud.counted()[0][1]["SlowRequests"] == 1


def test_a_version_that_fails_is_counted_against_it_and_sets_off_the_alarm(cloud):
    in_production(cloud, version=4, rows=1)
    answer = asked(cloud, ROW, ROW)
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["problems"] == ["version 4 could not answer"]
    counted = cloud.counted()
    assert ({"Function": "predict"}, {"FailedRequests": 1}) in counted
    ((values),) = [values for dimensions, values in counted if dimensions == {"Model": "churn", "Version": "4"}]
    assert (values["Requests"], values["Errors"]) == (1, 1)
    assert cloud.streamed("captures") == b""


def test_an_answer_goes_out_whether_or_not_it_could_be_captured(cloud):
    in_production(cloud)
    cloud.firehose.delete_delivery_stream(DeliveryStreamName="captures")
    assert answers(asked(cloud, ROW, ROW))["version"] == 1
    counted = cloud.counted()
    assert ({}, {"UncapturedRows": 2}) in counted, "the alarm's"
    assert [values["UncapturedRows"] for dimensions, values in counted if "Version" in dimensions] == [2]


def test_the_rows_that_were_not_captured_are_named_and_no_others(cloud, caplog):
    in_production(cloud)
    huge = ROW | {"plan": "x" * 1_100_000}  # more than a record of the stream holds
    said = answers(asked(cloud, ROW, huge, ROW, inference_ids=["order-1", "order-2", "order-3"]))
    assert len(said["predictions"]) == 3
    assert [capture.event_id for capture in read_captures(cloud.streamed("captures"))[0]] == ["order-1", "order-3"]
    (told,) = [record for record in caplog.records if record.message == "rows were not captured"]
    assert told.inference_ids == ["order-2"]


def test_a_capture_stream_that_fails_is_left_alone_for_a_while_and_tried_again(cloud):
    in_production(cloud)
    stream = cloud.firehose.describe_delivery_stream(DeliveryStreamName="captures")["DeliveryStreamDescription"]
    destination = stream["Destinations"][0]["ExtendedS3DestinationDescription"]
    cloud.firehose.delete_delivery_stream(DeliveryStreamName="captures")
    asked(cloud, ROW)
    where = {name: destination[name] for name in ("RoleARN", "BucketARN", "Prefix")}
    cloud.firehose.create_delivery_stream(DeliveryStreamName="captures", ExtendedS3DestinationConfiguration=where)
    cloud.counted()
    asked(cloud, ROW, after=9 * SECOND)
    assert cloud.counted()[0][1]["UncapturedRows"] == 1
    asked(cloud, ROW, after=10 * SECOND)
    assert "UncapturedRows" not in cloud.counted()[0][1]
    assert len(read_captures(cloud.streamed("captures"))[0]) == 1


def answering(cloud, seconds):
    """The version that answers some seconds after the first request."""
    return answers(asked(cloud, ROW, after=seconds * SECOND))["version"]


def test_a_repoint_is_seen_within_seconds_and_the_old_version_answers_while_the_new_one_is_loaded(cloud):
    in_production(cloud, version=1, epoch=1)
    assert answering(cloud, 0) == 1
    in_production(cloud, version=2, tipping_age=50, epoch=2)
    assert [answering(cloud, seconds) for seconds in (4, 5, 9.9)] == [1, 1, 1]
    assert answering(cloud, 10) == 2
    assert answers(asked(cloud, ROW, after=10 * SECOND))["predictions"][0]["prediction"] == "0"


def test_where_requests_are_rare_a_repoint_is_followed_at_once(cloud):
    in_production(cloud, version=1, epoch=1)
    assert answering(cloud, 0) == 1
    in_production(cloud, version=2, epoch=2, tipping_age=50)
    assert answering(cloud, 10) == 2


def test_a_rollback_to_a_version_that_is_loaded_is_followed_at_once(cloud):
    in_production(cloud, version=1, epoch=1)
    assert answering(cloud, 0) == 1
    in_production(cloud, version=2, epoch=2, tipping_age=50)
    assert answering(cloud, 10) == 2
    in_production(cloud, version=1, epoch=3)
    assert answering(cloud, 14.9) == 2
    assert answering(cloud, 15) == 1


def test_a_version_that_can_not_be_loaded_fails_itself_once_its_time_has_come(cloud):
    in_production(cloud, version=1, epoch=1)
    assert answering(cloud, 0) == 1
    key = in_production(cloud, version=2, epoch=2, tipping_age=50)
    cloud.ports.artifacts.delete(key)
    assert answering(cloud, 5) == 1
    cloud.counted()
    assert asked(cloud, ROW, after=10 * SECOND)["statusCode"] == 503
    assert cloud.counted()[-1][0] == {"Model": "churn", "Version": "2"}
    in_production(cloud, version=1, epoch=3)
    assert answering(cloud, 15) == 1


def canary(cloud, share, *, epoch=9):
    """Version 2 answers a share of the requests, version 1 the rest."""
    first, second = (in_production(cloud, v, tipping_age=tip, epoch=v) for v, tip in ((1, 40), (2, 50)))
    records = [cloud.ports.artifacts.get(key) for key in (first, second)]
    old, new = (hashlib.sha256(content).hexdigest() for content in records)
    beside = Canary(share, 1, first, old)
    cloud.ports.aliases.repoint(AliasRecord("churn", "production", 2, second, new, epoch, 60_000.0, canary=beside))


def requests(cloud, count, *rows):
    """Requests as API Gateway passes them on: each with an id of its own."""
    for number in range(count):
        event = cloud.event("http_predict")
        event["body"] = json.dumps({"instances": list(rows) or [ROW]})
        event["requestContext"]["requestId"] = f"request-{number}"
        yield answers(cloud.call("predict", event))


def test_a_canary_answers_its_share_of_the_requests(cloud):
    canary(cloud, 0.25)
    versions = [answer["version"] for answer in requests(cloud, 400)]
    assert set(versions) == {1, 2}
    assert 70 <= versions.count(2) <= 130
    again = [answer["version"] for answer in requests(cloud, 400)]
    assert again == versions, "the same request goes the same way"


def test_the_rows_of_one_request_are_answered_by_one_version_and_captured_under_it(cloud):
    canary(cloud, 0.5)
    rows = [ROW | {"age": age} for age in (30, 45, 60)]
    told = list(requests(cloud, 20, *rows))
    for answer in told:
        expected = {1: ["0", "1", "1"], 2: ["0", "0", "1"]}[answer["version"]]
        assert [row["prediction"] for row in answer["predictions"]] == expected
    captured = {c.event_id: c.version for c in read_captures(cloud.streamed("captures"))[0]}
    assert captured == {row["inference_id"]: a["version"] for a in told for row in a["predictions"]}
    assert len(captured) == 60


def test_a_canary_that_can_not_be_loaded_fails_for_its_share_alone(cloud):
    canary(cloud, 0.25)
    cloud.ports.artifacts.delete("models/churn/v2/output/model.tar.gz")
    statuses = []
    for number in range(40):
        event = cloud.event("http_predict")
        event["requestContext"]["requestId"] = f"request-{number}"
        statuses.append(cloud.call("predict", event)["statusCode"])
    assert set(statuses) == {200, 503}
    assert statuses.count(503) < 20


def test_only_the_sampled_answers_are_captured(cloud):
    key = in_production(cloud, version=1, epoch=1)
    sha256 = hashlib.sha256(cloud.ports.artifacts.get(key)).hexdigest()
    cloud.ports.aliases.repoint(AliasRecord("churn", "production", 1, key, sha256, 2, 60_000.0, sampling=0.2))
    answered = [row["inference_id"] for answer in requests(cloud, 200) for row in answer["predictions"]]
    captured = {capture.event_id for capture in read_captures(cloud.streamed("captures"))[0]}
    assert captured == {name for name in answered if is_captured(0.2, name)}
    assert 20 <= len(captured) <= 60


def test_a_shadow_is_no_part_of_an_answer(cloud, monkeypatch):
    """Whatever it is and does: AWS is asked for the same things, and the caller is told the same."""
    called, call = [], BaseClient._make_api_call

    def noted(client, operation, arguments):
        called.append((operation, arguments.get("Key")))
        return call(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    in_production(cloud)
    seen = []
    for number, shadow in enumerate(({}, {"rounds": NEVER}, {"oldest": 0}, None)):
        if shadow is not None:
            in_production(cloud, version=2 + number, epoch=2 + number, alias="shadow", **shadow)
        bootstrap.reset()
        called.clear()
        answer = answers(asked(cloud, ROW))
        seen.append((answer.pop("version"), answer["predictions"][0]["prediction"], list(called)))
    assert seen[1:] == seen[:1] * 3
    assert len(seen[0][2]) == 3, "the alias, its artifact, the capture"


def test_the_model_is_described_without_saying_where_it_lies(cloud):
    canary(cloud, 0.25)
    event = cloud.event("http_predict") | {"routeKey": "GET /models/{model}", "body": None}
    assert answers(cloud.call("predict", event)) == {
        "model": "churn",
        "version": 2,
        "canary": {"share": 0.25, "rest": 1},
        "task": "binary",
        "features": [{"name": "age", "type": "number"}, {"name": "plan", "type": "categorical"}],
        "classes": ["0", "1"],
    }


def test_the_api_describes_itself(cloud):
    event = cloud.event("http_predict") | {"routeKey": "GET /openapi.json", "body": None, "pathParameters": None}
    assert answers(cloud.call("predict", event)) == openapi.document()


@pytest.mark.parametrize("what", ["changed", "deleted"])
def test_an_artifact_that_somebody_changed_answers_nothing_and_counts_as_its_versions_failure(cloud, what):
    key = in_production(cloud, version=3)
    if what == "changed":
        cloud.ports.artifacts.put(key, a_model(99))
    else:
        cloud.ports.artifacts.delete(key)
    cloud.counted()
    answer = asked(cloud, ROW)
    assert (answer["statusCode"], json.loads(answer["body"])["detail"]) == (503, "version 3 could not be loaded")
    ((_, counted),) = [found for found in cloud.counted() if found[0].get("Version") == "3"]
    assert (counted["Requests"], counted["Errors"], counted["RefusedArtifacts"]) == (1, 1, 1)
    assert cloud.streamed("captures") == b""


def test_a_refused_artifact_is_read_again_after_a_while_and_answers_once_it_is_put_back(cloud):
    key = in_production(cloud, version=3)
    recorded = cloud.ports.artifacts.get(key)
    cloud.ports.artifacts.put(key, recorded[:-1])
    assert asked(cloud, ROW)["statusCode"] == 503
    cloud.ports.artifacts.put(key, recorded)
    assert asked(cloud, ROW, after=29 * SECOND)["statusCode"] == 503
    assert answers(asked(cloud, ROW, after=30 * SECOND))["version"] == 3


@pytest.mark.parametrize(
    ("changes", "status", "problem"),
    [
        ({"pathParameters": {"model": "chrun"}}, 404, "no version of model 'chrun' is in production"),
        ({"headers": {"content-type": "application/x-npy"}}, 415, "content type 'application/x-npy' is not served"),
        ({"body": "age=41"}, 400, "the body is not JSON"),
        ({"body": base64.b64encode(b"\xff\xfe").decode(), "isBase64Encoded": True}, 400, "the body is not UTF-8 text"),
        ({"body": '{"instances": [{"age": NaN, "plan": "a"}]}'}, 400, "NaN is not JSON: send null for a missing value"),
        ({"body": "[" * 100_000}, 400, "the body is nested too deeply"),
        ({"body": r'{"instances": [{"age": 41, "plan": "\ud800"}]}'}, 400, "which is no character"),
        (
            {"body": json.dumps({"instances": [ROW | {"age": "old"}]})},
            422,
            "instances[0]: feature 'age' is 'old', not a number",
        ),
        ({"body": json.dumps({"instances": [ROW | {"income": 1}]})}, 422, "instances[0]: feature 'income' is unknown"),
        ({"body": json.dumps({"instances": [{"age": 41}]})}, 422, "instances[0]: feature 'plan' is missing"),
        ({"body": json.dumps({"instances": [ROW] * 1_001})}, 413, "the request has 1001 rows: send 1 to 1000"),
        ({"body": None}, 400, "the request has no body"),
        ({"body": "x" * 5_000_001}, 413, "the body has more than 5,000,000 bytes"),
        ({"body": json.dumps({"instances": [ROW, ROW], "inference_ids": ["a", "a"]})}, 422, "inference_ids has an id"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_request_that_can_not_be_answered_is_refused_and_held_against_no_version(cloud, changes, status, problem):
    in_production(cloud)
    answer = cloud.call("predict", cloud.event("http_predict") | changes)
    assert answer["statusCode"] == status
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert problem in json.loads(answer["body"])["problems"][0]
    assert cloud.counted() == [({}, {"RefusedRequests": 1})]
    assert cloud.streamed("captures") == b""
