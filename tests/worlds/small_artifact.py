"""A model that was really trained, in a second, and the archives that jobs leave of it."""

import json
from functools import cache

import numpy as np

from evergreen.model.archive import pack
from evergreen.model.schema import FeatureSchema
from evergreen.training.fit import train
from evergreen.training.job import TrainingJob
from evergreen.training.read_rows import Category, Rows

_HOUR = 3_600_000_000
_ROWS = 240


@cache
def _trained():
    random = np.random.default_rng(0)
    age, plan = random.uniform(18, 80, _ROWS), random.integers(0, 2, _ROWS)
    churned = age / 80 + 0.4 * plan + random.normal(scale=0.1, size=_ROWS) > 0.8
    schema = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
    actual = np.array(["0", "1"], dtype=object)[churned.astype(int)]
    times = 1_767_225_600_000_000 + np.arange(_ROWS, dtype=np.int64) * _HOUR
    rows = Rows(schema, times, {"age": age}, {"plan": Category(plan, ("a", "b"))}, actual)
    estimator = {"n_estimators": 3, "max_depth": 3}
    job = TrainingJob("churn", schema, "RandomForestClassifier", estimator, min_rows=50, cycle_days=1)
    return train(job, rows, None, report=lambda line: None).files


def scored_beside_production(files):
    """The files of an artifact whose job found production to be as good on the newest rows."""
    facts = json.loads(files["model.json"])
    facts["metrics"] |= {"production": facts["metrics"]["validation"], "rows_compared": facts["rows_validated"]}
    return files | {"model.json": json.dumps(facts).encode()}


def small_artifact(job_name, *, trained_until=None, passes=True):
    """The model.tar.gz of a job: other bytes for each, and where it is to fail, a gate that it can't pass."""
    files = scored_beside_production(dict(_trained()))
    facts = json.loads(files["model.json"])
    facts |= {"job": job_name, "trained_until": trained_until}
    if not passes:
        facts["leaks"] = [{"feature": "age"}]
    return pack(files | {"model.json": json.dumps(facts).encode()}, level=1)
