"""POST /models/{model}/predict: what is answered, what is captured, what is counted, and what is refused."""

import base64
import hashlib
import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from evergreen.aws.traffic import _METRICS
from evergreen.formats import read_captures
from evergreen.ports import AliasRecord
from evergreen.schema import FeatureSchema
from evergreen.training.artifact import pack

SCHEMA = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
ROW = {"age": 41, "plan": "a"}
SECOND = 1_000


def a_model(tipping_age, rows=None):
    """Says 1 with certainty above an age; with `rows`, it fails on any other number of rows."""
    nodes = [
        helper.make_node("Greater", ["age", "tip"], ["older"]),
        helper.make_node("Cast", ["older"], ["p"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "shape"], ["probabilities"]),
    ]
    constants = {
        "tip": np.float32([[tipping_age]]),
        "one": np.float32([[1]]),
        "shape": np.int64([-1 if rows is None else rows, 2]),
    }
    graph = helper.make_graph(
        nodes,
        "churn",
        [helper.make_tensor_value_info("age", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return pack({"model.onnx": model.SerializeToString(), "model.json": json.dumps(SCHEMA.to_json()).encode()})


def in_production(cloud, version=1, *, tipping_age=40, epoch=1, latency_ms=60_000.0, **how):
    content, key = a_model(tipping_age, **how), f"models/churn/v{version}/output/model.tar.gz"
    cloud.ports.artifacts.put(key, content)
    sha256 = hashlib.sha256(content).hexdigest()
    cloud.ports.aliases.repoint(AliasRecord("churn", "production", version, key, sha256, epoch, latency_ms))
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
    assert set(_METRICS) <= set(values)
    assert (values["Requests"], values["Errors"], values["SlowRequests"]) == (1, 0, 0)


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
    assert cloud.counted()[0][1]["UncapturedRows"] == 2


def test_a_repoint_is_seen_within_seconds(cloud):
    in_production(cloud, version=1, epoch=1)
    assert answers(asked(cloud, ROW))["version"] == 1
    in_production(cloud, version=2, tipping_age=50, epoch=2)
    assert answers(asked(cloud, ROW, after=4 * SECOND))["version"] == 1
    assert answers(asked(cloud, ROW, after=5 * SECOND))["version"] == 2
    assert answers(asked(cloud, ROW, after=5 * SECOND))["predictions"][0]["prediction"] == "0"


@pytest.mark.parametrize("what", ["changed", "deleted"])
def test_an_artifact_that_somebody_changed_answers_nothing_and_counts_as_its_versions_failure(cloud, what):
    key = in_production(cloud, version=3)
    if what == "changed":
        cloud.ports.artifacts.put(key, a_model(99))
    else:
        cloud.ports.artifacts.delete(key)
    cloud.counted()
    assert asked(cloud, ROW)["statusCode"] == 500
    ((_, counted),) = [found for found in cloud.counted() if found[0].get("Version") == "3"]
    assert (counted["Requests"], counted["Errors"]) == (1, 1)
    assert cloud.streamed("captures") == b""


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
        ({"body": None}, 400, "the body is not JSON"),
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
