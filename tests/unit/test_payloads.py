"""Requests and answers as SageMaker's endpoints write them: read as rows, answers and labels, or refused by name."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.formats.payloads import AnswerLayout, PayloadError, label_field, read_answers, read_labels, read_rows
from evergreen.model.schema import FeatureSchema

CHURN = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, classes=["0", "1"])
KIND = FeatureSchema.of("multiclass", {"age": "number"}, classes=["bird", "cat", "dog"])
PRICE = FeatureSchema.of("regression", {"age": "number"})
FOUND = AnswerLayout()
LIKELY = {"0": 0.25, "1": 0.75}


def payload(data, encoding="CSV", kind="text/csv"):
    return {"observedContentType": kind, "mode": "INPUT", "data": data, "encoding": encoding}


def in_base64(text, kind):
    return payload(base64.b64encode(text.encode()).decode(), "BASE64", kind)


ROW = {"age": 50.0, "plan": "gold"}
OTHER = {"age": 31.0, "plan": None}


@pytest.mark.parametrize(
    ("given_payload", "rows"),
    [
        (payload("50,gold\n"), [ROW]),
        (payload("50,gold\n31,\n\n"), [ROW, OTHER]),
        (payload('50,"gold"'), [ROW]),
        (payload(json.dumps(ROW), "JSON"), [ROW]),
        (payload(json.dumps([ROW, OTHER]), "JSON"), [ROW, OTHER]),
        (payload(json.dumps({"instances": [ROW, OTHER]}), "JSON"), [ROW, OTHER]),
        (payload(json.dumps({"inputs": [[50, "gold"], [31, None]]}), "JSON"), [ROW, OTHER]),
        (payload(json.dumps([[50, "gold"], [31, None]]), "JSON"), [ROW, OTHER]),
        (payload(json.dumps([50, "gold"]), "JSON"), [ROW]),
        (payload(json.dumps({"dataframe_records": [ROW]}), "JSON"), [ROW]),
        (payload(json.dumps({"dataframe_split": {"columns": ["plan", "age"], "data": [["gold", 50]]}}), "JSON"), [ROW]),
        (payload(f"{json.dumps(ROW)}\n{json.dumps(OTHER)}\n", "JSON", "application/jsonlines"), [ROW, OTHER]),
        (in_base64("50,gold\n", "text/csv"), [ROW]),
        (in_base64(json.dumps(ROW), "application/x-json"), [ROW]),
    ],
)
def test_a_request_in_any_of_sagemakers_shapes_is_the_same_rows(given_payload, rows):
    assert read_rows(given_payload, CHURN) == rows


@pytest.mark.parametrize(
    ("given_payload", "says"),
    [
        (payload("50,gold,9\n"), "3 fields: the model takes 2"),
        (payload("old,gold"), "feature 'age' is 'old', not a number"),
        (payload(""), "empty"),
        (payload("{", "JSON"), "no JSON"),
        (payload("7", "JSON"), "the body is a int"),
        (payload("50,gold", "PARQUET"), "encoding is 'PARQUET'"),
        (payload("%%%", "BASE64"), "no text"),
        (payload(base64.b64encode(b"\xff\xfe").decode(), "BASE64", "image/png"), "no text"),
    ],
)
def test_a_request_that_can_not_be_read_says_why(given_payload, says):
    with pytest.raises(PayloadError, match=says):
        read_rows(given_payload, CHURN)


@pytest.mark.parametrize(
    ("given_payload", "schema", "prediction", "probabilities"),
    [
        (payload("0.75"), CHURN, "1", LIKELY),
        (payload("1"), CHURN, "1", None),
        (payload("1.0"), CHURN, "1", None),
        (payload("0.25,0.75"), CHURN, "1", LIKELY),
        (payload("1,0.75"), CHURN, "1", LIKELY),
        (payload("0.1,0.7,0.2"), KIND, "cat", {"bird": 0.1, "cat": 0.7, "dog": 0.2}),
        (payload('dog,"[0.1, 0.2, 0.7]"'), KIND, "dog", {"bird": 0.1, "cat": 0.2, "dog": 0.7}),
        (payload("188.9"), PRICE, 188.9, None),
        (payload('{"prediction":"1","probabilities":{"0":0.25,"1":0.75}}', "JSON"), CHURN, "1", LIKELY),
        (payload('{"predictions":[{"score":0.75,"predicted_label":1}]}', "JSON"), CHURN, "1", LIKELY),
        (payload('{"predictions":[{"score":188.9}]}', "JSON"), PRICE, 188.9, None),
        (payload('{"predictions":[[0.25,0.75]]}', "JSON"), CHURN, "1", LIKELY),
        (payload('{"predictions":[0.25,0.75]}', "JSON"), CHURN, "1", LIKELY),
        (payload('{"predictions":[0.75]}', "JSON"), CHURN, "1", LIKELY),
        (payload("0.75", "JSON"), CHURN, "1", LIKELY),
        (in_base64("0.75", "text/html; charset=utf-8"), CHURN, "1", LIKELY),
        (in_base64('{"label": "dog"}', "text/html"), KIND, "dog", None),
    ],
)
def test_an_answer_in_any_of_sagemakers_shapes_is_read(given_payload, schema, prediction, probabilities):
    (answer,) = read_answers(given_payload, schema, FOUND, 1)
    assert (answer.prediction, answer.probabilities) == (prediction, probabilities)


@pytest.mark.parametrize("text", ["0.2,0.9,0.4", "0.2\n0.9\n0.4\n"])
def test_three_numbers_answer_three_rows_on_one_line_or_on_three(text):
    answers = read_answers(payload(text), CHURN, FOUND, 3)
    assert [answer.prediction for answer in answers] == ["0", "1", "0"]


def test_two_numbers_are_two_answers_when_two_rows_were_asked():
    assert [a.prediction for a in read_answers(payload("[0.25, 0.75]", "JSON"), CHURN, FOUND, 2)] == ["0", "1"]


def test_model_monitors_attributes_say_where_label_and_probability_are():
    by_number = AnswerLayout(inference_attribute="2", probability_attribute="0")
    assert read_answers(payload("0.75,x,1"), CHURN, by_number, 1)[0].probabilities == LIKELY
    by_name = AnswerLayout(inference_attribute="result.0.kind")
    assert read_answers(payload('{"result":[{"kind":"cat"}]}', "JSON"), KIND, by_name, 1)[0].prediction == "cat"
    strict = AnswerLayout(probability_attribute="0", probability_threshold=0.8)
    assert read_answers(payload("0.75"), CHURN, strict, 1)[0].prediction == "0"


@pytest.mark.parametrize(
    ("given_payload", "schema", "says"),
    [
        (payload("1,0"), CHURN, "more than one way"),
        (payload("0.1,0.2"), CHURN, "more than one way or in none"),
        (payload("1.7"), CHURN, "probability '1.7' is not between 0 and 1"),
        (payload("0.4"), KIND, "one probability for 3 classes"),
        (payload("nan"), PRICE, "not a finite number"),
        (payload("1,2"), PRICE, "2 values: set capture.inference_attribute"),
        (payload('{"answer": 1}', "JSON"), CHURN, "the answer has answer: set capture.inference_attribute"),
        (payload("0.1\n0.2"), CHURN, "2 answers to 1 rows"),
    ],
)
def test_an_answer_that_can_not_be_read_for_sure_is_refused_and_never_guessed(given_payload, schema, says):
    with pytest.raises(PayloadError, match=says):
        read_answers(given_payload, schema, FOUND, 1)


def test_an_attribute_that_is_not_there_is_named():
    with pytest.raises(PayloadError, match="no 'score'"):
        read_answers(payload('{"label": 1}', "JSON"), CHURN, AnswerLayout(probability_attribute="score"), 1)
    with pytest.raises(PayloadError, match="none is number '4'"):
        read_answers(payload("1,0.7"), CHURN, AnswerLayout(inference_attribute="4"), 1)


@pytest.mark.parametrize(
    ("given_payload", "labels"),
    [
        (payload("1"), ["1"]),
        (payload("1\n0\n1\n"), ["1", "0", "1"]),
        (payload("1", "JSON"), ["1"]),
        (payload('["cat", "dog"]', "JSON"), ["cat", "dog"]),
        (in_base64("1", ""), ["1"]),
        ({"data": 1}, ["1"]),
    ],
)
def test_labels_are_read_one_a_row(given_payload, labels):
    assert read_labels(given_payload) == labels


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_label_of_any_text_comes_back(label):
    assert read_labels({"data": label_field(label), "encoding": "CSV"}) == [label]
