"""What a request to predict may look like, and how each mistake in it is named."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.errors import BadRequestError
from evergreen.formats.requests import MAX_ROWS, parse_request
from evergreen.model.schema import FeatureSchema

SCHEMA = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
ROW = {"age": 41, "plan": "a"}
JSON, CSV = "application/json", "text/csv"


def body(*rows, **more):
    return json.dumps({"instances": list(rows), **more})


def refused(content_type, text):
    with pytest.raises(BadRequestError) as refusal:
        parse_request(content_type, text, SCHEMA)
    return refusal.value.status, refusal.value.problems


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "age": st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False)),
            "plan": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)),
        }
    ),
    min_size=1,
    max_size=5,
)


@given(ROWS)
def test_valid_rows_are_taken_as_they_are(rows):
    assert parse_request(JSON, body(*rows), SCHEMA).rows == rows


@given(ROWS)
def test_csv_says_the_same_as_json(rows):
    text = io.StringIO()
    csv.writer(text).writerows([["" if row[name] is None else row[name] for name in ("age", "plan")] for row in rows])
    written = [row | ({"plan": None} if row["plan"] and not row["plan"].strip() else {}) for row in rows]
    assert parse_request(CSV, text.getvalue(), SCHEMA).rows == written


@given(st.sampled_from([JSON, CSV]), st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_read_or_refused(content_type, text):
    try:
        found = parse_request(content_type, text, SCHEMA).rows
    except BadRequestError as refusal:
        found = refusal.problems
    assert len(found) > 0


@pytest.mark.parametrize("content_type", ["", "application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_is_what_is_meant_when_nothing_is_said(content_type):
    assert parse_request(content_type, body(ROW), SCHEMA).rows == [ROW]


def test_ids_and_groups_are_kept():
    request = parse_request(JSON, body(ROW, ROW, inference_ids=["a", "b"], groups=["shop-7", None]), SCHEMA)
    assert (request.inference_ids, request.groups) == (["a", "b"], ["shop-7", None])


def test_another_content_type_is_not_served():
    status, problems = refused("application/x-npy", "")
    assert status == 415
    assert problems == ("content type 'application/x-npy' is not served: send application/json or text/csv",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the request has no body"),
        ("{", "not JSON"),
        ("[]", "the body is not an object"),
        ("{}", "instances is not a list of objects"),
        ('{"instances": {}}', "instances is not a list of objects"),
        ('{"instances": [1]}', "instances is not a list of objects"),
        (body(), "the request has 0 rows: send 1 to 1000"),
        ('{"instances": [{"age": NaN, "plan": "a"}]}', "NaN is not JSON: send null for a missing value"),
        (body(ROW, rows=1), "key 'rows' is unknown"),
        (body(ROW, inference_ids="a"), "inference_ids is not a list of strings of 1 to 128 characters"),
        (body(ROW, inference_ids=[""]), "inference_ids is not a list of strings of 1 to 128 characters"),
        (body(ROW, inference_ids=["a" * 129]), "inference_ids is not a list of strings of 1 to 128 characters"),
        (body(ROW, inference_ids=["\ud800"]), "no character"),
        (body(ROW, groups=[7]), "groups is not a list of strings or nulls"),
    ],
)
def test_what_is_no_request_is_refused_with_400(text, problem):
    status, problems = refused(JSON, text)
    assert status == 400
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"age": 41}, "feature 'plan' is missing; send it, or null if its value is unknown"),
        (ROW | {"extra": 1}, "feature 'extra' is unknown; the model takes age, plan"),
        (ROW | {"age": "41"}, "feature 'age' is '41', not a number"),
        (ROW | {"age": True}, "feature 'age' is True, not a number"),
        (ROW | {"age": 1e39}, "feature 'age' is 1e+39, not a finite float32"),
        (ROW | {"plan": 1}, "feature 'plan' is 1, not a string"),
    ],
)
def test_a_row_the_model_does_not_take_is_refused_with_422(row, problem):
    status, problems = refused(JSON, body(ROW, row))
    assert status == 422
    assert problems[0].startswith(f"instances[1]: {problem}")


def test_every_row_is_named_up_to_twenty():
    assert len(refused(JSON, body(*[{"age": "x", "plan": 1}] * 50))[1]) == 20


def test_ids_and_groups_are_one_a_row_or_none():
    assert refused(JSON, body(ROW, inference_ids=["a", "b"])) == (
        422,
        ("inference_ids has 2 entries for 1 instances: send one each, or none",),
    )


def test_more_rows_than_one_answer_can_hold_are_refused_with_413():
    assert len(parse_request(JSON, body(*[ROW] * MAX_ROWS), SCHEMA).rows) == MAX_ROWS
    assert refused(JSON, body(*[ROW] * (MAX_ROWS + 1)))[0] == 413


@pytest.mark.parametrize(
    ("text", "status", "problem"),
    [
        ("", 400, "the request has 0 rows"),
        ("41,a,b\n", 422, "line 1 has 3 fields: the model takes 2"),
        ("41,a\nold,b\n", 422, "line 2: feature 'age' is 'old', not a number"),
        ("nan,a\n", 422, "instances[0]: feature 'age' is nan, not a finite float32"),
        ("41,a\rb\n" + "x" * 200_000, 400, "the body is not CSV: field larger than field limit"),
    ],
    ids=["empty", "too many fields", "not a number", "NaN", "a field without end"],
)
def test_csv_that_can_not_be_read_is_refused(text, status, problem):
    found, problems = refused(CSV, text)
    assert found == status
    assert problem in problems[0]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_csv_lines_end_as_anybody_ends_them(line_end):
    request = parse_request(CSV, line_end.join(["41,a", "", "42,"]), SCHEMA)
    assert request.rows == [{"age": 41.0, "plan": "a"}, {"age": 42.0, "plan": None}]
