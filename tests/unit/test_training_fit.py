"""Training in memory: the recipe, validation forward in time, the export and what the artifact tells about itself."""

import base64
import dataclasses
import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, log_loss, roc_auc_score

from evergreen.model.archive import pack
from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import Artifact
from evergreen.statistics.profile import Binning, Profile
from evergreen.training.export import to_onnx
from evergreen.training.fit import train
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.leaks import find_leaks
from evergreen.training.read_rows import Category, Rows
from evergreen.training.recipe import Preparation, fit
from evergreen.training.scores import classification_metrics, rank_auc

HOUR = 3_600_000_000
LABELS = {"binary": ("no", "yes"), "multiclass": ("maybe", "no", "yes")}
FORESTS = {
    "binary": "RandomForestClassifier",
    "multiclass": "RandomForestClassifier",
    "regression": "RandomForestRegressor",
}


def rows_of(task, count=600, seed=0, classes=None):
    """Hourly rows of a learnable relation, a tenth of one number missing, one rare category."""
    random = np.random.default_rng(seed)
    x, z = random.normal(size=count), random.normal(1e5, 1e4, size=count)
    z[random.random(count) < 0.1] = np.nan
    plan = random.integers(0, 4, count)
    plan[:5] = 4
    value = x + np.nan_to_num((z - 1e5) / 1e4) + (plan == 2) + random.normal(scale=0.3, size=count)
    if task == "regression":
        actual = value * 3 + 100
    else:
        actual = np.array(LABELS[task], dtype=object)[(value > 0).astype(int) + ((value > 1) & (task != "binary"))]
    schema = FeatureSchema.of(task, {"plan": "categorical", "x": "number", "z": "number"}, classes)
    plans = Category(plan, ("", "basic", "gold", "pro", "rare"))
    return Rows(schema, np.arange(count, dtype=np.int64) * HOUR, {"x": x, "z": z}, {"plan": plans}, actual)


def job_of(rows, **changes):
    estimator = FORESTS[rows.schema.task.value]
    params = changes.pop("params", {"n_estimators": 10, "max_depth": 6} if "estimator" not in changes else {})
    return TrainingJob("churn", rows.schema, changes.pop("estimator", estimator), params, **changes)


def trained(rows, production=None, **changes):
    return train(job_of(rows, **changes), rows, production, report=lambda line: None)


def loaded(result):
    return Artifact.from_trusted_tar(pack(result.files))


@pytest.mark.parametrize("task", list(FORESTS))
def test_the_graph_answers_what_scikit_learn_answers(task):
    rows = rows_of(task)
    result = trained(rows)
    answered = loaded(result).scorer().score(rows.columns())
    matrix = result.fitted.preparation.matrix(rows)
    assert result.agreement.max_difference < 1e-5
    assert result.agreement.disagreeing_share == 0
    if task == "regression":
        np.testing.assert_allclose(answered.values, result.fitted.estimator.predict(matrix), rtol=1e-5)
    else:
        np.testing.assert_allclose(answered.probabilities, result.fitted.estimator.predict_proba(matrix), atol=1e-6)
        assert np.mean(np.array(answered.labels) == result.fitted.estimator.predict(matrix)) > 0.99
        assert loaded(result).schema.classes == LABELS[task]


@pytest.mark.parametrize(
    ("task", "estimator"),
    [
        ("binary", "LogisticRegression"),
        ("binary", "GradientBoostingClassifier"),
        ("binary", "DecisionTreeClassifier"),
        ("multiclass", "ExtraTreesClassifier"),
        ("multiclass", "LogisticRegression"),
        ("regression", "Ridge"),
        ("regression", "DecisionTreeRegressor"),
        ("regression", "ExtraTreesRegressor"),
    ],
)
def test_other_estimators_are_exported_too(task, estimator):
    params = {"n_estimators": 5} if "Extra" in estimator or "Boosting" in estimator else {}
    assert trained(rows_of(task), estimator=estimator, params=params).agreement.disagreeing_share == 0


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_same_rows_and_seed_give_the_same_bytes(task):
    assert pack(trained(rows_of(task)).files) == pack(trained(rows_of(task)).files)


def test_another_seed_gives_another_model():
    assert trained(rows_of("binary")).files["model.onnx"] != trained(rows_of("binary"), seed=1).files["model.onnx"]


def test_validation_looks_forward_in_time():
    """Rows whose relation turns round at the end: a fit that peeked would score well, a fit on older rows can't."""
    rows = rows_of("binary", 1000)
    newest = np.arange(1000) >= 800
    flipped = np.where(newest, np.where(rows.actual == "yes", "no", "yes").astype(object), rows.actual)
    result = trained(dataclasses.replace(rows, actual=flipped))
    assert result.validation["accuracy"] < 0.3
    assert json.loads(result.files["model.json"])["rows_validated"] == 200


def test_production_that_knows_the_validation_rows_is_not_scored_on_them():
    older = trained(rows_of("binary"))
    lines = []
    result = train(job_of(rows_of("binary")), rows_of("binary"), loaded(older), report=lines.append)
    assert result.production is None
    assert (
        "warning: production is not scored on the validation rows: production was trained on all but 0 of them" in lines
    )
    assert json.loads(result.files["model.json"])["metrics"]["not_compared"]["code"] == "few_rows"


def test_candidate_and_production_are_compared_on_rows_that_neither_was_trained_on():
    older = trained(rows_of("binary").slice(0, 540))
    result = trained(rows_of("binary"), loaded(older))
    metrics = json.loads(result.files["model.json"])["metrics"]
    assert metrics["rows_compared"] == 60
    assert metrics["candidate"] != metrics["validation"]


def test_production_is_scored_on_the_same_rows():
    older = trained(rows_of("binary").slice(0, 480))
    result = trained(rows_of("binary"), loaded(older))
    newest = rows_of("binary").slice(480, 600)
    answered = loaded(older).scorer().score(newest.columns())
    expected = classification_metrics(newest.actual, answered.labels, answered.probabilities, ("no", "yes"))
    assert result.production == expected
    assert json.loads(result.files["model.json"])["metrics"]["production"] == expected


def test_production_that_needs_another_feature_is_not_scored_and_says_why():
    rows = rows_of("binary")
    older = trained(rows)
    schema = FeatureSchema.of("binary", {"plan": "categorical", "x": "number"})
    fewer = dataclasses.replace(rows, schema=schema, numbers={"x": rows.numbers["x"]})
    lines = []
    result = train(job_of(fewer), fewer, loaded(older), report=lines.append)
    assert result.production is None
    assert "warning: production is not scored on the validation rows: production needs z" in lines


def test_a_class_without_rows_keeps_its_place_in_the_answer():
    rows = rows_of("multiclass", classes=["maybe", "never", "no", "yes"])
    artifact = loaded(trained(rows))
    answered = artifact.scorer().score(rows.columns())
    assert artifact.schema.classes == ("maybe", "never", "no", "yes")
    assert answered.probabilities.shape == (600, 4)
    assert not answered.probabilities[:, 1].any()
    assert "never" not in answered.labels


def test_missing_and_unheard_of_values_are_answered():
    scorer = loaded(trained(rows_of("binary"))).scorer()
    answered = scorer.score_rows([{"x": None, "z": None, "plan": None}, {"x": 0.5, "z": 1e5, "plan": "platinum"}])
    assert set(answered.labels) <= {"no", "yes"}
    assert np.isfinite(answered.probabilities).all()


def test_a_column_without_any_value_is_learned_around():
    rows = rows_of("binary")
    empty = dataclasses.replace(rows, numbers={**rows.numbers, "z": np.full(600, np.nan)})
    assert trained(empty).agreement.disagreeing_share == 0


def test_only_frequent_categories_get_a_column():
    rows = rows_of("binary")
    assert Preparation.learn(rows, standardise=False).categories == (("", "basic", "gold", "pro"),)


def test_the_pipeline_for_people_answers_as_the_parts_do():
    rows = rows_of("binary")
    for estimator in ("RandomForestClassifier", "LogisticRegression"):
        fitted = fit(rows, job_of(rows, estimator=estimator, params={}))
        table = np.empty((len(rows), 3), dtype=object)
        table[:, 0], table[:, 1] = rows.numbers["x"].astype(np.float32), rows.numbers["z"].astype(np.float32)
        table[:, 2] = rows.categories["plan"].texts()
        np.testing.assert_allclose(
            fitted.pipeline().predict_proba(table),
            fitted.estimator.predict_proba(fitted.preparation.matrix(rows)),
            atol=1e-5,
        )


def test_skops_loads_the_pipeline_without_trusting_anything_unheard_of():
    import skops.io

    rows = rows_of("binary", 200)
    stored = skops.io.dumps(fit(rows, job_of(rows)).pipeline())
    unknown = skops.io.get_untrusted_types(data=stored)
    assert [name for name in unknown if not name.startswith(("sklearn.", "numpy."))] == []
    assert skops.io.load(io.BytesIO(stored), trusted=unknown).named_steps["estimator"].n_estimators == 10


def test_deep_trees_keep_their_thresholds_to_the_last_bit():
    """Integers beside each other at 2**24 differ by one float32 step: a threshold rounded up would move rows over."""
    random = np.random.default_rng(0)
    z = 2.0**24 - 500 + random.integers(0, 500, 800)
    actual = np.array(["no", "yes"], dtype=object)[random.integers(0, 2, 500)[(z - z.min()).astype(int)]]
    schema = FeatureSchema.of("binary", {"z": "number"}, ["no", "yes"])
    rows = Rows(schema, np.arange(800, dtype=np.int64) * HOUR, {"z": z}, {}, actual)
    fitted = fit(rows, job_of(rows, estimator="DecisionTreeClassifier", params={}))
    answered = Artifact(to_onnx(fitted, schema), {}, schema).scorer().score(rows.columns())
    assert answered.labels == actual.tolist()


def test_the_facts_are_those_of_the_contract():
    facts = json.loads(trained(rows_of("binary"), decision_id="d-1", seed=3).files["model.json"])
    assert facts["features"] == [
        {"name": "plan", "type": "categorical"},
        {"name": "x", "type": "number"},
        {"name": "z", "type": "number"},
    ]
    assert facts["schema_fingerprint"] == rows_of("binary", classes=["no", "yes"]).schema.fingerprint
    assert (facts["model"], facts["task"], facts["classes"]) == ("churn", "binary", ["no", "yes"])
    assert (facts["rows_trained"], facts["decision_id"], facts["seed"]) == (600, "d-1", 3)
    assert facts["trained_from"] == "1970-01-01T00:00:00+00:00"
    assert datetime.fromisoformat(facts["trained_until"]) == datetime(1970, 1, 25, 23, tzinfo=UTC)
    assert set(facts["metrics"]["validation"]) == {"accuracy", "kappa", "auc", "brier", "log_loss"}
    assert facts["leaks"] == []
    assert facts["onnx_max_difference"] < 1e-5


def test_the_reference_holds_whole_cycles_the_predictions_and_the_days():
    rows = rows_of("binary", 24 * 25)
    content = json.loads(trained(rows).files["reference.json"])
    binning = Binning.from_json(content["binning"])
    profiles = [Profile.from_bytes(base64.b64decode(cycle["profile"])) for cycle in content["cycles"]]
    assert binning.names == ("plan", "x", "z")
    assert [profile.rows for profile in profiles] == [7 * 24] * 3
    assert content["cycles"][-1]["to"] == "1970-01-25T23:00:00+00:00"
    assert content["cycles"][0]["to"] == content["cycles"][1]["from"]
    prediction = Profile.from_bytes(base64.b64decode(content["prediction"]))
    assert (prediction.rows, Binning.from_json(content["prediction_binning"]).names) == (120, ("prediction",))
    assert sum(rows for rows, _ in content["daily"]) == 120
    assert all(0 <= correct <= rows for rows, correct in content["daily"])


def test_without_a_whole_cycle_all_rows_are_the_reference():
    (cycle,) = json.loads(trained(rows_of("binary", 150)).files["reference.json"])["cycles"]
    assert Profile.from_bytes(base64.b64decode(cycle["profile"])).rows == 150


def test_a_regression_counts_an_error_above_the_tolerance_as_wrong():
    result = trained(rows_of("regression"))
    daily = json.loads(result.files["reference.json"])["daily"]
    assert json.loads(result.files["model.json"])["error_tolerance"] > 0
    assert sum(correct for _, correct in daily) == 96  # 80 % of 120


@pytest.mark.parametrize("task", list(FORESTS))
def test_a_column_that_gives_the_label_away_is_reported(task):
    rows = rows_of(task)
    copy = rows.actual * 7 - 3 if task == "regression" else np.searchsorted(LABELS[task], rows.actual).astype(float)
    leaking = dataclasses.replace(
        rows,
        schema=FeatureSchema.of(task, {"plan": "categorical", "x": "number", "z": "number", "copy": "number"}),
        numbers={**rows.numbers, "copy": copy},
    )
    assert [leak.feature for leak in find_leaks(leaking.slice(0, 480), leaking.slice(480, 600))] == ["copy"]


def test_a_column_only_filled_in_when_the_label_is_known_is_a_leak():
    rows = rows_of("binary")
    closed = np.where(rows.actual == "yes", np.random.default_rng(1).normal(size=600), np.nan)
    leaking = dataclasses.replace(
        rows,
        schema=FeatureSchema.of("binary", {"plan": "categorical", "x": "number", "closed": "number"}),
        numbers={"x": rows.numbers["x"], "closed": closed},
    )
    assert [leak.feature for leak in find_leaks(leaking.slice(0, 480), leaking.slice(480, 600))] == ["closed"]


def test_an_identifier_is_no_leak():
    rows = rows_of("binary")
    names = tuple(sorted(f"user-{index:04d}" for index in range(600)))
    with_id = dataclasses.replace(rows, categories={"plan": Category(np.arange(600), names)})
    assert find_leaks(with_id.slice(0, 480), with_id.slice(480, 600)) == ()


@pytest.mark.parametrize(
    ("rows", "changes", "named"),
    [
        (rows_of("binary", 40), {}, "40 labelled rows are fewer than min_rows 100"),
        (
            rows_of("binary"),
            {"estimator": "HistGradientBoostingClassifier"},
            "cannot be exported to ONNX (endpoint kind lambda",
        ),
        (rows_of("binary"), {"estimator": "Forest"}, "'Forest' is none of scikit-learn's"),
        (rows_of("binary"), {"estimator": "Ridge"}, "Ridge is no classifier"),
        (rows_of("regression"), {"estimator": "LogisticRegression"}, "LogisticRegression is no regressor"),
        (rows_of("binary"), {"estimator": "LinearSVC"}, "answers no probabilities"),
        (rows_of("binary"), {"params": {"trees": 3}}, "no parameter 'trees'"),
        (rows_of("binary"), {"params": {"max_depth": "deep"}}, "could not be fitted on 480 rows"),
        (rows_of("binary", classes=["no", "perhaps"]), {}, "labels are none of the model's classes, the first 'yes'"),
    ],
)
def test_a_job_that_can_not_succeed_says_why_in_one_sentence(rows, changes, named):
    with pytest.raises(TrainingError) as failed:
        trained(rows, **changes)
    assert named in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_label_that_never_varies_fails_the_job():
    rows = rows_of("binary")
    with pytest.raises(TrainingError, match="all 600 labels of the rows are 'no'"):
        trained(dataclasses.replace(rows, actual=np.full(600, "no", dtype=object)))


def test_three_labels_are_no_binary_task():
    rows = rows_of("binary")
    actual = rows.actual.copy()
    actual[:3] = "perhaps"
    with pytest.raises(TrainingError, match=r"task is binary, but 600 rows have 3 labels: .*'perhaps' \(3\)"):
        trained(dataclasses.replace(rows, actual=actual))


def test_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    classes = ("a", "b", "c")
    actual = np.array(classes, dtype=object)[random.integers(0, 3, 300)]
    probabilities = random.dirichlet([1, 1, 1], 300)
    labels = [classes[index] for index in probabilities.argmax(axis=1)]
    found = classification_metrics(actual, labels, probabilities, classes)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(actual, labels), abs=1e-6)
    assert found["auc"] == pytest.approx(roc_auc_score(actual, probabilities, multi_class="ovr"), abs=1e-6)
    assert found["log_loss"] == pytest.approx(log_loss(actual, probabilities), abs=1e-6)
    ties = random.integers(0, 5, 300)
    assert rank_auc(ties, actual == "a") == pytest.approx(roc_auc_score(actual == "a", ties))


def test_one_class_in_the_slice_leaves_the_auc_open():
    found = classification_metrics(np.array(["a", "a"], dtype=object), ["a", "b"], np.eye(2), ("a", "b"))
    assert found["auc"] is None
    assert found["kappa"] == 0.0
