"""What an archive holds for a live state: the version answers as it was trained, and its ancestors live on in it."""

import hashlib

import numpy as np
import pytest

from evergreen.model.archive import ArtifactError, pack
from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import Artifact, ArtifactHashError
from evergreen.training import live_files
from evergreen.training.fit import train
from evergreen.training.job import TrainingJob
from evergreen.training.labelled_rows import Rows
from evergreen.training.live_version import LiveVersion

FEATURES = {"age": "number", "plan": "categorical"}
FOREST = {"n_estimators": 6, "max_depth": 5, "min_samples_leaf": 3}
ASKED = [{"age": float(age), "plan": "abc"[age % 3]} for age in range(18, 70)] + [{"age": None, "plan": None}]


def rows(task, seed=0, count=300):
    random = np.random.default_rng(seed)
    schema = FeatureSchema.of(task, FEATURES)
    given = [{"age": float(random.integers(18, 70)), "plan": "abc"[i % 3]} for i in range(count)]
    scores = [row["age"] / 10 + "abc".index(row["plan"]) + random.normal() for row in given]
    labels = {
        "binary": [str(int(score > 5)) for score in scores],
        "multiclass": [("low", "mid", "high")[int(score > 4) + int(score > 6)] for score in scores],
        "regression": scores,
    }[task]
    return Rows.of_json(schema, given, labels)


def trained(task="binary", estimator=None, archive=b"", production=0, params=None, **wanted):
    data = rows(task, seed=production)
    if estimator is None:
        estimator = "RandomForestRegressor" if task == "regression" else "RandomForestClassifier"
        params = FOREST
    job = TrainingJob(
        "churn", data.schema, estimator, params or {}, freshness=True, production_version=production, **wanted
    )
    return pack(train(job, data, archive=archive, report=lambda _: None).files)


def loaded(archive, number):
    return LiveVersion.from_tar(archive, hashlib.sha256(archive).hexdigest(), number)


def scorer(archive):
    return Artifact.from_trusted_tar(archive).scorer()


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("linear", [False, True])
def test_before_any_label_a_version_says_fresh_what_it_says_plain(task, linear):
    estimator = {False: None, True: "LinearRegression" if task == "regression" else "LogisticRegression"}[linear]
    archive = trained(task, estimator)
    version = loaded(archive, 4)
    state = version.first_state()
    said = state.answer(version.asked(ASKED, version.start.preparation))
    known = scorer(archive).score_rows(ASKED)
    expected = known.values[:, None] if task == "regression" else known.probabilities
    assert said.plain == pytest.approx(expected, abs=1e-5)
    assert version.numbers == (4,)
    assert state.linear.rows == 300, "the training rows taught the linear model"


def test_versions_live_on_in_the_next_ones_the_newest_four():
    archive = trained()
    plain = scorer(archive).score_rows(ASKED).probabilities
    for number in range(1, 7):
        archive = trained(archive=archive, production=number)
    version = loaded(archive, 7)
    assert version.numbers == (3, 4, 5, 6, 7)
    archive = trained(archive=trained(), production=1)
    assert loaded(archive, 2).numbers == (1, 2)
    assert plain.shape == (len(ASKED), 2)


def test_versions_that_follow_one_another_share_what_they_have_in_common():
    first = trained()
    one, other = loaded(first, 1), loaded(trained(archive=first, production=1), 2)
    assert other.first_state().members[0].table is one.first_state().members[0].table


def test_an_ancestor_says_what_it_said_as_a_version():
    first = trained()
    said = scorer(first).score_rows(ASKED).probabilities
    version = loaded(trained(archive=first, production=1), 2)
    asked = version.asked(ASKED, version.start.preparation)
    assert version.first_state().answer(asked).parts["plain 1"] == pytest.approx(said, abs=1e-5)


def test_an_estimator_without_leaves_lives_on_by_its_graph():
    first = trained(estimator="LogisticRegression")
    said = scorer(first).score_rows(ASKED).probabilities
    version = loaded(trained(archive=first, production=1), 2)
    asked = version.asked(ASKED, version.start.preparation)
    assert asked.own[1] == pytest.approx(said, abs=1e-5)
    assert list(asked.ids) == [2]


def test_a_version_of_other_features_or_classes_does_not_live_on():
    assert loaded(trained("multiclass", archive=trained(), production=1), 2).numbers == (2,)


def test_forests_of_too_many_leaves_are_left_out_the_oldest_first(monkeypatch):
    first = trained()
    second = trained(archive=first, production=1)
    leaves = sum(len(member.table.values) for member in loaded(first, 1).first_state().members)
    monkeypatch.setattr(live_files, "MOST_LEAVES", round(2.5 * leaves))
    assert loaded(trained(archive=second, production=2), 3).numbers == (2, 3)
    monkeypatch.setattr(live_files, "MOST_LEAVES", 3)
    version = loaded(trained(archive=second, production=2), 3)
    assert version.numbers == (3,)
    assert version.first_state().members[0].table is None, "it answers by its graph"


def test_the_same_rows_give_the_same_bytes():
    assert trained() == trained()


def test_who_knows_nothing_of_live_states_reads_the_archive_as_any_other():
    job = TrainingJob("churn", rows("binary").schema, "RandomForestClassifier", FOREST)
    plain = pack(train(job, rows("binary"), report=lambda _: None).files)
    assert loaded(plain, 1) is None
    assert scorer(trained()).score_rows(ASKED).labels


def test_bytes_that_are_not_those_recorded_are_not_loaded():
    archive = trained()
    with pytest.raises(ArtifactHashError):
        LiveVersion.from_tar(archive, "0" * 64, 1)


def test_a_part_that_is_damaged_is_named():
    files = {
        "model.json": b'{"task": "binary", "features": [{"name": "age", "type": "number"}], '
        b'"classes": ["0", "1"], "ancestors": []}'
    }
    archive = pack(files | {"members/start": b"nonsense", "members/own.onnx": b"-"})
    with pytest.raises(ArtifactError, match="live state that can't be read"):
        loaded(archive, 1)
