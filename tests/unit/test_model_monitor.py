"""Model Monitor's baselines are read as its containers write them, and its violations written as it writes them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen_ops.model_monitor.baseline import Baseline, BaselineError, find_violations, violations_json

RNG = np.random.default_rng(7)
ROWS = 2_000
AGES = np.round(RNG.normal(40, 10, ROWS).clip(0))


def statistics(*, sketch=True):
    """As the baseline job of the documentation leaves it."""
    edges = np.linspace(AGES.min(), AGES.max(), 11)
    counts = np.histogram(AGES, edges)[0]
    kll = {
        "buckets": [
            {"lower_bound": low, "upper_bound": high, "count": int(count)}
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
    }
    if sketch:
        kept = np.sort(AGES)[::4]
        kll["sketch"] = {"parameters": {"c": 0.64, "k": 2048.0}, "data": [[], [], kept.tolist()]}
    common = {"num_present": ROWS, "num_missing": 0}
    age = {"common": common, "mean": 40.0, "std_dev": 10.0, "distribution": {"kll": kll}}
    plan = {
        "common": common,
        "distinct_count": 2.0,
        "distribution": {
            "categorical": {"buckets": [{"value": "gold", "count": 500}, {"value": "free", "count": 1500}]}
        },
    }
    return json.dumps(
        {
            "version": 0.0,
            "dataset": {"item_count": ROWS},
            "features": [
                {"name": "age", "inferred_type": "Integral", "numerical_statistics": age},
                {"name": "plan", "inferred_type": "String", "string_statistics": plan},
            ],
        }
    ).encode()


def constraints(**comparison):
    return json.dumps(
        {
            "version": 0.0,
            "features": [
                {
                    "name": "age",
                    "inferred_type": "Integral",
                    "completeness": 1.0,
                    "num_constraints": {"is_non_negative": True},
                },
                {
                    "name": "plan",
                    "inferred_type": "String",
                    "completeness": 0.9,
                    "string_constraints": {"domains": ["free", "gold"]},
                },
            ],
            "monitoring_config": {
                "evaluate_constraints": "Enabled",
                "emit_metrics": "Enabled",
                "datatype_check_threshold": 1.0,
                "domain_content_threshold": 1.0,
                "distribution_constraints": {
                    "perform_comparison": "Enabled",
                    "comparison_threshold": 0.1,
                    "comparison_method": "Robust",
                    **comparison,
                },
            },
        }
    ).encode()


def plans(*, gold=0.25, rows=1_000):
    column = np.full(rows, "free", dtype=object)
    column[: round(gold * rows)] = "gold"
    return column


def found(baseline=None, **columns):
    window = {"age": AGES[:1_000], "plan": plans()} | columns
    window = {name: column for name, column in window.items() if column is not None}
    baseline = baseline or Baseline.read(statistics(), constraints())
    return [(v.feature_name, v.constraint_check_type) for v in find_violations(window, baseline)]


def test_a_window_like_the_baseline_has_no_violations():
    assert found() == []
    assert json.loads(violations_json([])) == {"violations": []}


@pytest.mark.parametrize(
    ("columns", "violation"),
    [
        ({"age": None}, ("Missing columns", "missing_column_check")),
        ({"city": plans()}, ("Extra columns", "extra_column_check")),
        ({"age": np.where(np.arange(1_000) < 3, np.nan, AGES[:1_000])}, ("age", "completeness_check")),
        ({"age": np.where(np.arange(1_000) < 3, 40.5, AGES[:1_000])}, ("age", "data_type_check")),
        ({"age": np.where(np.arange(1_000) < 3, -1.0, AGES[:1_000])}, ("age", "data_type_check")),
        ({"age": AGES[:1_000] + 8}, ("age", "baseline_drift_check")),
        ({"plan": plans(gold=0.5)}, ("plan", "baseline_drift_check")),
        ({"plan": np.append(plans(), np.array(["silver"], dtype=object))}, ("plan", "categorical_values_check")),
    ],
)
def test_each_kind_of_violation_is_found_and_no_other(columns, violation):
    assert found(**columns) == [violation]


def test_a_violation_says_what_was_expected_and_what_was_found():
    window = {"age": np.where(np.arange(1_000) < 3, 40.5, AGES[:1_000]), "plan": plans()}
    (violation,) = find_violations(window, Baseline.read(statistics(), constraints()))
    assert json.loads(violations_json([violation])) == {
        "violations": [
            {
                "feature_name": "age",
                "constraint_check_type": "data_type_check",
                "description": "Data type match requirement is not met. Expected data type: Integral, "
                "Expected match: 100.0%. Observed: Only 99.7% of data is Integral.",
            }
        ]
    }


def test_missing_values_within_the_expected_completeness_are_no_violation():
    column = plans()
    column[900:] = None
    assert found(plan=column) == []
    column[899] = None
    assert found(plan=column) == [("plan", "completeness_check")]


def test_without_a_sketch_the_histogram_will_do():
    coarse = Baseline.read(statistics(sketch=False), constraints())
    assert found(coarse) == []
    assert found(coarse, age=AGES[:1_000] + 8) == [("age", "baseline_drift_check")]


def test_a_small_window_that_differs_by_chance_is_no_violation_unless_the_method_is_simple():
    few = {"age": np.sort(AGES)[1_000:1_700:100], "plan": plans(rows=4, gold=0.5)}
    assert found(**few) == []
    simple = Baseline.read(statistics(), constraints(comparison_method="Simple"))
    assert found(simple, **few) == [("age", "baseline_drift_check"), ("plan", "baseline_drift_check")]


def test_no_comparison_is_made_where_it_is_disabled():
    off = Baseline.read(statistics(), constraints(perform_comparison="Disabled"))
    assert found(off, age=AGES[:1_000] + 80) == []


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 3_000))
@settings(max_examples=30)
def test_a_sample_of_the_baseline_itself_does_not_drift(seed, rows):
    window = {
        "age": np.random.default_rng(seed).choice(AGES, rows),
        "plan": np.random.default_rng(seed).choice(plans(), rows),
    }
    assert find_violations(window, Baseline.read(statistics(), constraints())) == ()


@pytest.mark.parametrize(
    ("given_statistics", "given_constraints", "says"),
    [
        (b"{", constraints(), "statistics.json is no JSON"),
        (statistics(), b"[]", "constraints.json has no list of features"),
        (statistics(), b'{"features": [{"completeness": 1}]}', "a feature without a name"),
        (statistics(), b'{"features": [{"name": "a", "inferred_type": "Date"}]}', "Integral, Fractional, String"),
    ],
)
def test_a_baseline_that_can_not_be_read_says_which_file_and_why(given_statistics, given_constraints, says):
    with pytest.raises(BaselineError, match=says):
        Baseline.read(given_statistics, given_constraints)
