"""A checkpoint of the online state becomes a version: nothing is fitted, all else is as for a trained one."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import Artifact
from evergreen.training.learner import Learner
from evergreen.training.learning import grow, learn
from evergreen.training.train import main

HOUR, ROWS, LEARNED = 3_600_000_000, 600, 400
CLASSES = {"binary": ["0", "1"], "multiclass": ["0", "1", "2"], "regression": None}
FEATURES = {"x": "number", "plan": "categorical"}


def rows_of(task):
    random = np.random.default_rng(0)
    x, plan = random.normal(size=ROWS), random.choice(["basic", "gold"], ROWS)
    value = x + (plan == "gold") + random.normal(scale=0.3, size=ROWS)
    actual = (value * 10 + 100).tolist() if task == "regression" else [str(int(each > 0)) for each in value]
    if task == "multiclass":
        actual = [str(int(each > 0) + int(each > 1.5)) for each in value]
    return x.tolist(), plan.tolist(), actual


@pytest.fixture(params=list(CLASSES))
def task(request):
    return request.param


class Job:
    """A container with rows of six hundred hours and a checkpoint of the first four hundred."""

    def __init__(self, folder, task, learner=None):
        self.folder, self.task = folder, task
        x, plan, actual = rows_of(task)
        times = (np.arange(ROWS) * HOUR).astype("datetime64[us]")
        training = folder / "input/data/training"
        training.mkdir(parents=True)
        (folder / "output").mkdir()
        table = {"event_id": [f"e{i:04d}" for i in range(ROWS)], "actual": actual, "feature.x": x, "feature.plan": plan}
        for name in ("inference_time", "label_time"):
            table[name] = pa.array(times, pa.timestamp("us", tz="UTC"))
        pq.write_table(pa.table(table), training / "rows.parquet")
        self.schema = FeatureSchema.of(task, FEATURES, CLASSES[task])
        self.state = None
        for start in range(0, LEARNED, 50):
            part = slice(start, start + 50)
            rows = [{"x": a, "plan": b} for a, b in zip(x[part], plan[part], strict=True)]
            self.state, _ = learn(self.state, rows, actual[part], self.schema, learner=learner)
        learned_until = str(times[LEARNED - 1]) + "+00:00"
        self.told = {"number": 3, "learned_until": learned_until, "updates": 8, "rows": LEARNED}

    def run(self, content=None, **changes):
        """Publish the checkpoint; answers the exit code."""
        content = self.state.to_bytes() if content is None else content
        digest = hashlib.sha256(self.state.to_bytes()).hexdigest()
        channel = self.folder / "input/data/online"
        channel.mkdir(exist_ok=True)
        (channel / f"0000000003-{digest}.state").write_bytes(content)
        hyperparameters = {
            "model": "churn",
            "task": self.task,
            "features": [{"name": name, "type": kind} for name, kind in FEATURES.items()],
            "classes": CLASSES[self.task],
            "decision_id": "d-1",
            "checkpoint": {**self.told, "sha256": digest},
        }
        told = json.dumps({**hyperparameters, **changes})
        return main([], {"SAGEMAKER_BASE_DIR": str(self.folder), "SM_HPS": told})

    @property
    def facts(self):
        return json.loads((self.folder / "model/model.json").read_text())

    @property
    def failure(self):
        return (self.folder / "output/failure").read_text()


def test_a_checkpoint_is_exported_and_validated_on_what_it_has_not_learned(tmp_path, task):
    job = Job(tmp_path, task)
    assert job.run() == 0
    facts = job.facts
    assert (facts["rows_trained"], facts["rows_validated"]) == (LEARNED, ROWS - LEARNED)
    assert facts["trained_until"] == "1970-01-17T15:00:00+00:00"
    assert facts["checkpoint"]["number"] == 3
    assert facts["checkpoint"]["sha256"] == hashlib.sha256(job.state.to_bytes()).hexdigest()
    assert facts["estimator"] == ("SGDRegressor" if task == "regression" else "SGDClassifier")
    if task == "regression":
        assert facts["metrics"]["validation"]["mae"] < 6
    else:
        assert facts["metrics"]["validation"]["accuracy"] > 0.7
    artifact = Artifact.load(tmp_path / "model")
    x, plan, _ = rows_of(task)
    newer = [{"x": a, "plan": b} for a, b in zip(x[LEARNED:], plan[LEARNED:], strict=True)]
    answered, expected = artifact.scorer().score_rows(newer), job.state.predict(newer)
    if task == "regression":
        np.testing.assert_allclose(answered.values, expected.values, rtol=1e-4)
    else:
        np.testing.assert_allclose(answered.probabilities, expected.probabilities, atol=1e-5)
    assert json.loads((tmp_path / "model/reference.json").read_text())["daily"]


def test_a_state_that_somebody_changed_is_not_published(tmp_path):
    job = Job(tmp_path, "binary")
    changed = bytearray(job.state.to_bytes())
    changed[100] ^= 1
    assert job.run(content=bytes(changed)) == 1
    assert "is recorded; it was changed after it was stored" in job.failure
    assert not (tmp_path / "model").exists()


def test_a_class_that_the_spec_does_not_name_yet_is_left_out_of_the_version(tmp_path):
    job = Job(tmp_path, "multiclass")
    job.state = grow(job.state, ["7"])
    assert job.run() == 0
    assert job.facts["classes"] == ["0", "1", "2"]


def test_labels_of_a_class_that_the_spec_does_not_name_yet_are_left_out_of_a_training_too(tmp_path):
    job = Job(tmp_path, "multiclass")
    assert job.run(classes=["0", "1"], other_labels="refuse") == 1
    assert "are none of the model's classes" in job.failure
    assert job.run(classes=["0", "1"], other_labels="leave_out", checkpoint=None, estimator="LogisticRegression") == 0
    assert job.facts["classes"] == ["0", "1"]


def test_without_newer_rows_nothing_could_be_validated(tmp_path):
    job = Job(tmp_path, "binary")
    job.told["learned_until"] = "1970-02-01T00:00:00+00:00"
    assert job.run() == 1
    assert job.failure.startswith("checkpoint 3 can't be validated: 0 of 600 rows are newer")


def test_without_the_channel_the_job_says_so(tmp_path):
    job = Job(tmp_path, "binary")
    told = json.dumps(
        {
            "model": "churn",
            "task": "binary",
            "features": [{"name": name, "type": kind} for name, kind in FEATURES.items()],
            "checkpoint": {**job.told, "sha256": "0" * 64},
        }
    )
    assert main([], {"SAGEMAKER_BASE_DIR": str(tmp_path), "SM_HPS": told}) == 1
    assert job.failure.startswith("channel online holds no checkpoint")


def test_a_naive_bayes_state_is_published_too(tmp_path):
    job = Job(tmp_path, "binary", Learner("GaussianNB"))
    assert job.run() == 0
    assert job.facts["estimator"] == "GaussianNB"
