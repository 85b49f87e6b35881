"""The gate: what a trained model must show before it may run in shadow."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain.gate import judge_candidate
from evergreen.domain.state import Version, VersionStatus
from evergreen.spec import ModelSpec, SpecError

FEATURES = {"age": {"type": "number"}}
PRODUCTION = Version(
    number=3,
    status=VersionStatus.GOOD,
    artifact="s3://artifacts/models/churn/a/output/model.tar.gz",
    sha256="3" * 64,
    fingerprint="",
    registered_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def a_spec(**gate):
    return ModelSpec.parse(
        {"model": "churn", "task": "binary", "features": FEATURES, "labels": {"classes": ["0", "1"]}, "gate": gate}
    )


def a_regression(**gate):
    return ModelSpec.parse({"model": "delay", "task": "regression", "features": FEATURES, "gate": gate})


def trained(spec, validation, production=None, leaks=(), **more):
    metric = spec.gate_metric.value
    return {
        **spec.feature_schema().to_json(),
        "schema_fingerprint": spec.feature_schema().fingerprint,
        "metrics": {
            "validation": {metric: validation},
            "production": None if production is None else {metric: production},
        },
        "leaks": [{"feature": name, "score": 0.999} for name in leaks],
        **more,
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
    decision = judge_candidate(a_spec(margin=0.02), trained(a_spec(), score, production=0.9), production=PRODUCTION)
    assert decision.passed is passed
    assert verdict(decision, "not_worse")["threshold"] == 0.9


@pytest.mark.parametrize(("error", "passed"), [(10.0, True), (10.2, True), (10.3, False)])
def test_of_errors_less_is_better(error, passed):
    spec = a_regression(margin=0.02)
    assert judge_candidate(spec, trained(spec, error, production=10.0), production=PRODUCTION).passed is passed
    limited = a_regression(minimum=10.2)
    decision = judge_candidate(limited, trained(limited, error))
    assert decision.passed is passed
    assert "the most allowed is 10.2" in decision.because


def test_the_metric_is_the_specs_choice():
    """Production 0.95 and 0.2: a model that always says no has the better accuracy and the worse kappa."""
    measured = {"validation": {"accuracy": 0.97, "kappa": 0.0}, "production": {"accuracy": 0.95, "kappa": 0.2}}
    gamed = trained(a_spec(), 0.97) | {"metrics": measured}
    assert judge_candidate(a_spec(), gamed, production=PRODUCTION).passed
    decision = judge_candidate(a_spec(metric="kappa"), gamed, production=PRODUCTION)
    assert not decision.passed
    assert decision.because == "kappa 0.0000 against production's 0.2000 on the same rows, margin 0.02"


@pytest.mark.parametrize(("loss", "passed"), [(0.20, True), (0.22, True), (0.23, False)])
def test_a_loss_of_a_classification_has_an_absolute_margin(loss, passed):
    spec = a_spec(metric="brier", margin=0.02)
    assert judge_candidate(spec, trained(spec, loss, production=0.2), production=PRODUCTION).passed is passed


@pytest.mark.parametrize(("make", "metric"), [(a_spec, "mae"), (a_regression, "auc")])
def test_a_metric_of_another_task_is_refused_with_those_that_fit(make, metric):
    with pytest.raises(SpecError, match=f"gate.metric is {metric}, but task is .*: use one of"):
        make(metric=metric)


def test_a_feature_that_equals_the_label_is_a_leak_and_is_told_with_its_score():
    decision = judge_candidate(a_spec(), trained(a_spec(), 0.99, leaks=["refunded"]))
    assert not decision.passed
    assert decision.because == "feature refunded (score 0.9990) nearly equals the label"
    many = judge_candidate(a_spec(), trained(a_spec(), 0.99, leaks=[f"f{i}" for i in range(400)]))
    assert many.because.endswith("feature f4 (score 0.9990) and 395 more nearly equal the label")


# --- a production that the candidate was not scored beside ------------------------------------------------------------


def uncompared(code, because="a story"):
    facts = trained(a_spec(), 0.9)
    facts["metrics"]["not_compared"] = {"code": code, "because": because}
    return facts


def test_too_few_new_rows_are_no_reason_to_reject_and_are_said():
    decision = judge_candidate(a_spec(), uncompared("few_rows", "only 12 rows are new"), production=PRODUCTION)
    assert decision.passed
    assert decision.because.endswith(
        "not compared with version 3 in production: only 12 rows are new; the shadow compares them"
    )
    assert verdict(decision, "not_worse")["compared"] is False


@pytest.mark.parametrize("facts", [uncompared("refused", "its sha256 is another"), trained(a_spec(), 0.9)])
def test_a_candidate_that_was_not_scored_beside_production_is_rejected(facts):
    decision = judge_candidate(a_spec(), facts, production=PRODUCTION)
    assert not decision.passed
    assert decision.because.startswith("not compared with version 3 in production: ")
    assert judge_candidate(a_spec(uncompared="pass"), facts, production=PRODUCTION).passed


def test_a_score_of_production_that_is_no_number_is_no_comparison():
    spec = a_spec(metric="auc")
    facts = trained(spec, 0.9)
    facts["metrics"] |= {"production": {"auc": None}, "not_compared": {"code": "few_rows"}}
    decision = judge_candidate(spec, facts, production=PRODUCTION)
    assert not decision.passed
    assert "its auc on these rows is None, no number" in decision.because


def test_production_may_have_changed_since_the_job_began():
    facts = trained(a_spec(), 0.9, production=0.9, production_sha256="2" * 64)
    decision = judge_candidate(a_spec(), facts, production=PRODUCTION)
    assert decision.passed
    assert "version 3 has taken production's place since" in decision.because


# --- what artifacts of others may say ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"schema_fingerprint": "0" * 64}, "model.json (000000000000) is not that of its own"),
        ({"features": [{"name": "x", "type": "number"}], "schema_fingerprint": None}, "(None) is not that of its own"),
        ({"features": None}, "model.json does not say which features"),
        ({"metrics": None}, "accuracy on the newest rows is not there, no number"),
        ({"metrics": {"validation": {"accuracy": None}}}, "accuracy on the newest rows is None, no number"),
        ({"metrics": {"validation": {"accuracy": float("nan")}}}, "accuracy on the newest rows is nan, no number"),
        ({"metrics": {"validation": {"accuracy": True}}}, "accuracy on the newest rows is True, no number"),
        ({"metrics": {"validation": {"accuracy": "0.99"}}}, "accuracy on the newest rows is '0.99', no number"),
        ({"decision_id": "d8"}, "the artifact is of retraining d8, not of d7"),
        ({"leaks": "age"}, "feature age nearly equals the label"),
    ],
)
def test_what_does_not_say_what_it_must_is_rejected_with_a_sentence(changed, told):
    facts = trained(a_spec(), 0.99) | changed
    decision = judge_candidate(a_spec(), facts, decision_id="d7")
    assert not decision.passed
    assert told in decision.because


@pytest.mark.parametrize(
    ("features", "classes", "told"),
    [
        ({"x": "number"}, ["0", "1"], "'age' is missing, 'x' is unknown"),
        ({"age": "categorical"}, ["0", "1"], "'age' is categorical"),
        ({"age": "number"}, ["1", "2"], "the classes are ['1', '2'], not ['0', '1']"),
    ],
)
def test_other_features_than_the_specs_are_named(features, classes, told):
    schema = {"features": [{"name": n, "type": t} for n, t in features.items()], "classes": classes}
    facts = trained(a_spec(), 0.99) | schema
    del facts["schema_fingerprint"]
    decision = judge_candidate(a_spec(), facts)
    assert decision.because == f"the features are not the spec's: {told}"


def test_every_reason_is_told():
    facts = trained(a_spec(), 0.5, production=0.9, leaks=["refunded"])
    decision = judge_candidate(a_spec(minimum=0.8), facts, production=PRODUCTION)
    assert decision.because.count(";") == 2
    assert decision.to_json() == {"passed": False, "because": decision.because, "checks": list(decision.checks)}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMED = ("metrics", "leaks", "features", "classes", "task", "schema_fingerprint", "decision_id", "production_sha256")


@given(facts=st.dictionaries(st.sampled_from(NAMED), ANYTHING), production=st.sampled_from([None, PRODUCTION]))
def test_whatever_a_document_says_it_is_ruled_and_fits_into_an_event(facts, production):
    decision = judge_candidate(a_spec(), facts, production=production, decision_id="d7")
    assert not decision.passed  # none of these says what it has to
    assert decision.because
    assert len(json.dumps(decision.to_json())) < 10_000


SCORES = st.floats(0, 1).map(lambda score: round(score, 6))


@given(new=SCORES, old=SCORES, better=SCORES, minimum=st.none() | SCORES, margin=SCORES)
def test_more_is_never_worse_and_what_passes_holds_the_spec(new, old, better, minimum, margin):
    spec = a_spec(minimum=minimum, margin=margin)
    decision = judge_candidate(spec, trained(spec, new, old), production=PRODUCTION)
    holds = (minimum is None or new >= minimum) and new >= old - margin - 1e-9
    assert decision.passed is holds
    if decision.passed:
        assert judge_candidate(spec, trained(spec, max(new, better), old), production=PRODUCTION).passed


@given(new=SCORES, old=SCORES, worse=SCORES, limit=st.none() | SCORES, margin=SCORES)
def test_less_of_an_error_is_never_worse(new, old, worse, limit, margin):
    spec = a_regression(minimum=limit, margin=margin)
    decision = judge_candidate(spec, trained(spec, new, old), production=PRODUCTION)
    assert decision.passed is ((limit is None or new <= limit) and new <= old * (1 + margin) + 1e-9)
    if not decision.passed:
        assert not judge_candidate(spec, trained(spec, max(new, worse), old), production=PRODUCTION).passed
