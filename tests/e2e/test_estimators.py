"""Every estimator that scikit-learn lists: it trains and answers the same in ONNX, or is refused in a sentence."""

import re
import warnings

import numpy as np
import pytest
from sklearn.utils import all_estimators

from evergreen.model.schema import FeatureSchema
from evergreen.training.export import MAX_DIFFERENCE
from evergreen.training.fit import train
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.read_rows import Category, Rows

TASKS = [("classifier", "binary"), ("classifier", "multiclass"), ("regressor", "regression")]
NAMES = [(task, name) for kind, task in TASKS for name, _ in all_estimators(type_filter=kind)]
# What docs/training.md promises.
SURE = {
    "binary": {"RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier", "LogisticRegression"},
    "multiclass": {"RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier", "MLPClassifier"},
    "regression": {"RandomForestRegressor", "ExtraTreesRegressor", "GradientBoostingRegressor", "Ridge", "SVR"},
}


def rows_of(task, count=300):
    random = np.random.default_rng(0)
    x, y, plan = random.normal(size=count), random.normal(size=count), random.integers(0, 2, count)
    classes = {"binary": ["0", "1"], "multiclass": ["0", "1", "2"]}.get(task)
    schema = FeatureSchema.of(task, {"x": "number", "y": "number", "plan": "categorical"}, classes)
    raw = x + plan + 0.3 * random.normal(size=count)
    actual = np.abs(raw) + 1
    if classes is not None:
        actual = np.array(classes, dtype=object)[np.digitize(raw, [0.5] if task == "binary" else [0.0, 1.0])]
    times = np.arange(count, dtype=np.int64) * 3_600_000_000
    return Rows(schema, times, {"x": x, "y": y}, {"plan": Category(plan, ("a", "b"))}, actual)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "name"), NAMES)
def test_an_estimator_trains_and_is_exported_or_is_refused_in_one_sentence(task, name):
    refusal, difference = tried(rows_of(task), name)
    if refusal is None:
        assert difference <= MAX_DIFFERENCE
        return
    assert name not in SURE[task], refusal
    assert name in refusal or re.match(r"ONNX Runtime and scikit-learn disagree", refusal)
    assert "\n" not in refusal
    assert 20 < len(refusal) < 700


def tried(rows, name):
    """Why the estimator is refused, or how far its two answers are apart."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = train(TrainingJob("model", rows.schema, name), rows, report=lambda line: None)
        except TrainingError as error:
            return str(error), None
    return None, made.agreement.max_difference
