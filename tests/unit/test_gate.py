"""The gate: what a trained model must show before it may run in shadow."""

import pytest

from evergreen.domain.gate import judge_candidate
from evergreen.spec import ModelSpec

FEATURES = {"age": {"type": "number"}}


def a_spec(**gate):
    return ModelSpec.parse(
        {"model": "churn", "task": "binary", "features": FEATURES, "labels": {"classes": ["0", "1"]}, "gate": gate}
    )


def a_regression(**gate):
    return ModelSpec.parse({"model": "delay", "task": "regression", "features": FEATURES, "gate": gate})


def trained(spec, validation, production=None, leaks=(), fingerprint=None):
    metric = "mae" if spec.task == "regression" else "accuracy"
    return {
        "schema_fingerprint": fingerprint or spec.feature_schema().fingerprint,
        "metrics": {
            "validation": {metric: validation},
            "production": None if production is None else {metric: production},
        },
        "leaks": [{"feature": name, "score": 0.999} for name in leaks],
    }


def verdict(decision, check):
    return next(found for found in decision.checks if found["check"] == check)


def test_a_first_model_needs_no_production_to_beat():
    decision = judge_candidate(a_spec(), trained(a_spec(), 0.71))
    assert decision.passed
    assert [check["check"] for check in decision.checks] == ["schema", "minimum", "leak"]
    assert "no minimum is set" in decision.because


@pytest.mark.parametrize(("score", "passed"), [(0.79, False), (0.8, True), (0.81, True)])
def test_a_minimum_holds(score, passed):
    decision = judge_candidate(a_spec(minimum=0.8), trained(a_spec(), score))
    assert decision.passed is passed
    assert f"accuracy {score:.4f} on the newest rows, the minimum is 0.8" in decision.because


@pytest.mark.parametrize(("score", "passed"), [(0.87, False), (0.88, True), (0.95, True)])
def test_a_candidate_may_be_worse_than_production_by_the_margin(score, passed):
    decision = judge_candidate(a_spec(margin=0.02), trained(a_spec(), score, production=0.9))
    assert decision.passed is passed
    assert verdict(decision, "not_worse")["threshold"] == 0.9


@pytest.mark.parametrize(("error", "passed"), [(10.0, True), (10.2, True), (10.3, False)])
def test_of_errors_less_is_better(error, passed):
    spec = a_regression(margin=0.02)
    assert judge_candidate(spec, trained(spec, error, production=10.0)).passed is passed
    limited = a_regression(minimum=10.2)
    assert judge_candidate(limited, trained(limited, error)).passed is passed


def test_a_feature_that_equals_the_label_is_a_leak():
    decision = judge_candidate(a_spec(), trained(a_spec(), 0.99, leaks=["refunded"]))
    assert not decision.passed
    assert decision.because == "feature refunded nearly equals the label"


def test_other_features_than_the_specs_are_refused():
    decision = judge_candidate(a_spec(), trained(a_spec(), 0.99, fingerprint="0" * 64))
    assert not decision.passed
    assert decision.because.startswith("the features (000000000000) are not the spec's")


def test_every_reason_is_told():
    decision = judge_candidate(a_spec(minimum=0.8), trained(a_spec(), 0.5, production=0.9, leaks=["refunded"]))
    assert decision.because.count(";") == 2
    assert decision.to_json() == {"passed": False, "because": decision.because, "checks": list(decision.checks)}
