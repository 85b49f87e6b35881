"""POST /models/{model}/feedback: labels are taken all together or not at all."""

import base64
import json

import pytest

from evergreen.formats.captures import GroundTruth, read_ground_truth

REGRESSION = {"task": "regression", "labels": {}}


def sent(cloud, body, **changes):
    event = cloud.event("http_feedback") | {"body": body if isinstance(body, str) else json.dumps(body)} | changes
    return cloud.call("collect_feedback", event)


def a_label(label="1", inference_id="order-17", **more):
    return {"inference_id": inference_id, "label": label, **more}


def problems(answer, status):
    assert answer["statusCode"] == status
    assert answer["headers"]["content-type"] == "application/problem+json"
    return json.loads(answer["body"])["problems"]


def test_labels_are_taken_and_leave_for_the_ground_truth(cloud):
    cloud.applied()
    answer = cloud.call("collect_feedback", "http_feedback")
    assert (answer["statusCode"], json.loads(answer["body"])) == (202, {"model": "churn", "labels": 1})
    assert read_ground_truth(cloud.streamed("labels")) == ([GroundTruth("order-17", "1")], [])
    assert cloud.counted() == [({"Model": "churn"}, {"Labels": 1})]


def test_labels_are_matched_with_the_classes_as_text(cloud):
    cloud.applied()
    assert sent(cloud, {"labels": [a_label(0), a_label("1")]})["statusCode"] == 202


def test_a_regressions_labels_are_finite_numbers(cloud):
    cloud.applied(**REGRESSION)
    assert sent(cloud, {"labels": [a_label(2), a_label(-0.5)]})["statusCode"] == 202
    assert [label.label for label in read_ground_truth(cloud.streamed("labels"))[0]] == ["2.0", "-0.5"]


@pytest.mark.parametrize("label", ["2", None, True, [], 10**400], ids=["text", "null", "boolean", "list", "huge"])
def test_other_labels_of_a_regression_are_refused(cloud, label):
    cloud.applied(**REGRESSION)
    (problem,) = problems(sent(cloud, {"labels": [a_label(label)]}), 422)
    assert problem.endswith("send a finite number")


def test_a_model_nobody_applied_is_not_found(cloud):
    (problem,) = problems(cloud.call("collect_feedback", "http_feedback"), 404)
    assert problem == "model 'churn' is not known: apply its spec first (evergreen apply SPEC)"


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ("", 400, "the body is not JSON"),
        ("{", 400, "the body is not JSON"),
        ("[" * 100_000, 400, "the body is nested too deeply"),
        ({"labels": [a_label("\ud800")]}, 400, "the body holds '\\ud800', which is no character"),
        ([], 400, "the body has no labels"),
        ({}, 400, "the body has no labels"),
        ({"labels": [1]}, 400, "the body has no labels"),
        ({"labels": []}, 400, "the request has 0 labels: send 1 to 1000"),
        ({"labels": [a_label()] * 1_001}, 413, "the request has 1001 labels: send 1 to 1000"),
        ('{"labels": [{"inference_id": "a", "label": NaN}]}', 400, "NaN is not JSON"),
        ({"labels": [a_label("2")]}, 422, "labels[0]: label is '2': the model's classes are 0, 1"),
        ({"labels": [a_label(None)]}, 422, "labels[0]: label is None: the model's classes are 0, 1"),
        ({"labels": [a_label(inference_id=17)]}, 422, "labels[0].inference_id is 17: send the id of the answer"),
        ({"labels": [a_label(inference_id="")]}, 422, "labels[0].inference_id is ''"),
        ({"labels": [a_label(inference_id="a" * 129)]}, 422, "labels[0].inference_id is 'aaa"),
        ({"labels": [a_label(features=[])]}, 422, "labels[0]: features is not an object"),
        ({"labels": [a_label(features={"age": "old", "plan": "a"})]}, 422, "labels[0]: feature 'age' is 'old'"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_labels_that_can_not_be_are_refused_with_the_reason(cloud, body, status, problem):
    cloud.applied()
    assert problem in problems(sent(cloud, body), status)[0]
    assert cloud.counted() == [({}, {"RefusedLabels": 1})]
    assert cloud.streamed("labels") == b""


def test_a_body_that_is_not_text_is_refused(cloud):
    cloud.applied()
    answer = sent(cloud, base64.b64encode(b"\xff").decode(), isBase64Encoded=True)
    assert problems(answer, 400) == ["the body is not UTF-8 text"]


def test_one_wrong_label_keeps_all_from_being_taken_and_each_is_named(cloud):
    cloud.applied()
    found = problems(sent(cloud, {"labels": [a_label(), a_label("2"), a_label(inference_id="")]}), 422)
    assert [problem.split("]")[0] for problem in found] == ["labels[1", "labels[2"]
    assert cloud.streamed("labels") == b""


def test_features_may_come_beside_a_label_and_are_of_no_use(cloud):
    cloud.applied(freshness={"enabled": True})
    body = {"labels": [a_label(features={"age": 41, "plan": "a"}), a_label("0", "order-18", features=None)]}
    answer = sent(cloud, body)
    assert (answer["statusCode"], json.loads(answer["body"])) == (202, {"model": "churn", "labels": 2})
    assert read_ground_truth(cloud.streamed("labels")) == (
        [GroundTruth("order-17", "1"), GroundTruth("order-18", "0")],
        [],
    )


def test_a_class_that_nobody_knows_is_refused_by_name_whatever_a_former_release_let_be_learned(cloud):
    former = {"enabled": True, "labels": "at_once", "new_classes": "learn"}
    cloud.applied(online=former, task="multiclass", labels={"classes": ["0", "1", "2"]})
    (problem,) = problems(sent(cloud, {"labels": [a_label("7", features={"age": 41, "plan": "a"})]}), 422)
    assert problem == "labels[0]: label is '7': the model's classes are 0, 1, 2"
