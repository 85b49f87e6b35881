"""What a model takes: fingerprint, encoding of rows, and what is refused at the door."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.model.schema import Feature, FeatureSchema, Kind, SchemaError, Task

FLIGHTS = FeatureSchema.of(
    "binary", {"distance": "number", "carrier": "categorical", "temp": "number"}, classes=["1", "0"]
)


def test_the_fingerprint_is_the_sha256_of_task_features_by_name_and_classes():
    content = (
        '{"classes":["0","1"],"features":[["carrier","categorical"],["distance","number"],["temp","number"]],'
        '"task":"binary"}'
    )
    assert FLIGHTS.fingerprint == hashlib.sha256(content.encode()).hexdigest()


@given(st.permutations(list(FLIGHTS.features)))
def test_the_order_of_features_does_not_change_the_fingerprint(features):
    assert FeatureSchema(Task.BINARY, tuple(features), ("0", "1")).fingerprint == FLIGHTS.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        FeatureSchema.of("binary", {"distance": "number", "carrier": "number", "temp": "number"}, ["0", "1"]),
        FeatureSchema.of("binary", {"distance": "number", "carrier": "categorical"}, ["0", "1"]),
        FLIGHTS.with_classes(["0", "2"]),
        FLIGHTS.with_classes(None),
        FeatureSchema(Task.MULTICLASS, FLIGHTS.features, ("0", "1")),
    ],
)
def test_a_schema_that_can_not_stand_in_has_another_fingerprint(other):
    assert other.fingerprint != FLIGHTS.fingerprint


def test_json_brings_the_same_schema_back():
    assert FeatureSchema.from_json(json.loads(json.dumps(FLIGHTS.to_json()))) == FLIGHTS


def test_rows_become_float32_and_text_with_missing_values_of_each_kind():
    columns = FLIGHTS.columns([{"distance": 1, "carrier": "UA", "temp": None}, {"distance": 2.5, "carrier": None}])
    assert list(columns) == ["distance", "carrier", "temp"]
    assert columns["distance"].dtype == np.float32
    assert columns["distance"].tolist() == [1.0, 2.5]
    assert columns["carrier"].dtype == object
    assert columns["carrier"].tolist() == ["UA", ""]
    assert np.isnan(columns["temp"]).all()


def test_no_rows_become_empty_columns():
    assert {name: len(column) for name, column in FLIGHTS.columns([]).items()} == dict.fromkeys(FLIGHTS.names, 0)


def test_a_complete_row_has_no_problems():
    assert FLIGHTS.validate({"distance": 3, "carrier": "UA", "temp": None}) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"distance": "3"}, "'distance' is '3', not a number"),
        ({"distance": True}, "'distance' is True, not a number"),
        ({"distance": float("nan")}, "'distance' is nan, not a finite"),
        ({"distance": float("-inf")}, "'distance' is -inf, not a finite"),
        ({"distance": 10**400}, "'distance' is an integer too large"),
        ({"distance": 1e39}, "'distance' is 1e+39, not a finite"),
        ({"distance": [1]}, "'distance' is [1], not a number"),
        ({"carrier": 7}, "'carrier' is 7, not a string"),
        ({"altitude": 1}, "'altitude' is unknown"),
    ],
)
def test_a_wrong_value_is_named_with_its_field(change, named):
    (problem,) = FLIGHTS.validate({"distance": 3.0, "carrier": "UA", "temp": 20.0, **change})
    assert named in problem


def test_a_misspelt_feature_is_both_missing_and_unknown():
    problems = FLIGHTS.validate({"distence": 3.0, "carrier": "UA", "temp": 20.0})
    assert [problem.split(";")[0] for problem in problems] == [
        "feature 'distance' is missing",
        "feature 'distence' is unknown",
    ]


@given(
    st.fixed_dictionaries(
        {
            "distance": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
            "carrier": st.none() | st.text(max_size=3),
            "temp": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        }
    )
)
def test_whatever_passes_validation_can_be_encoded(row):
    assert FLIGHTS.validate(row) == []
    columns = FLIGHTS.columns([row])
    assert columns["carrier"][0] == (row["carrier"] or "")
    for name in ("distance", "temp"):
        assert np.isnan(columns[name][0]) if row[name] is None else columns[name][0] == np.float32(row[name])


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: FeatureSchema.of("ranking", {"a": "number"}), "'ranking'; choose one of binary"),
        (lambda: FeatureSchema.of("binary", {"a": "date"}), "'date'; choose one of number"),
        (lambda: FeatureSchema(Task.BINARY, ()), "at least one feature"),
        (lambda: FeatureSchema(Task.BINARY, (Feature("a", Kind.NUMBER),) * 2), "['a'] appear more than once"),
        (lambda: Feature("", Kind.NUMBER), "empty name"),
        (lambda: FeatureSchema.of("binary", {"a": "number"}, ["x", "y", "z"]), "got 3"),
        (lambda: FeatureSchema.of("multiclass", {"a": "number"}, ["x"]), "got ['x']"),
        (lambda: FeatureSchema.of("regression", {"a": "number"}, ["x", "y"]), "a regression has no classes"),
        (lambda: FeatureSchema.of("binary", {"a": "number"}, [0, 1]), "class labels are strings"),  # type: ignore[list-item]
        (lambda: FeatureSchema.from_json({"task": "binary"}), "'features'"),
    ],
)
def test_a_schema_that_can_not_be_is_refused(build, named):
    with pytest.raises(SchemaError) as refused:
        build()
    assert named in str(refused.value)


def test_importing_schema_and_scoring_loads_nothing_heavy():
    program = (
        "import sys, evergreen.model.scorer, evergreen.model.schema; "
        "print(*sorted(m.split('.')[0] for m in sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"onnxruntime", "sklearn", "scipy", "pandas", "pyarrow", "boto3", "pydantic"} & set(loaded)
