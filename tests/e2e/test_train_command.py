"""The command `evergreen train`: a table here and in a local cloud, and what it refuses in one line."""

import hashlib
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.model.scorer import Artifact
from evergreen_ops import cli

ROWS = 400
SMALL = ("--params", '{"n_estimators": 5, "max_depth": 4}')


def evergreen(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["evergreen", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def table(label=None, **columns):
    random = np.random.default_rng(3)
    x = random.normal(size=ROWS)
    asked = np.datetime64("2026-01-01", "us") + np.arange(ROWS) * np.timedelta64(3_600, "s")
    late = np.where(x + 0.5 * random.normal(size=ROWS) > 0.5, "late", "on time").tolist() if label is None else label
    return pa.table({"x": x, "plan": random.choice(["a", "b"], ROWS).tolist(), "asked": asked, "late": late, **columns})


@pytest.fixture
def flights(tmp_path):
    pq.write_table(table(), tmp_path / "flights.parquet")
    return tmp_path / "flights.parquet"


@pytest.mark.slow
def test_a_table_is_trained_on_here_and_by_a_local_clouds_job_with_the_same_figures_and_bytes(
    monkeypatch, capsys, flights, tmp_path
):
    told = {}
    for folder, how in (("here", ()), ("cloud", ("--local-cloud",))):
        asked = ("train", flights, "--label", "late", "--time", "asked", "--out", tmp_path / folder, "--json", *SMALL)
        assert evergreen(monkeypatch, *asked, *how) == 0
        told[folder] = json.loads(capsys.readouterr().out)
    own = ("seconds", "artifact", "local_cloud")
    figures = [{key: value for key, value in one.items() if key not in own} for one in told.values()]
    assert figures[0] == figures[1]
    assert figures[0]["metrics"]["validation"]["accuracy"] > figures[0]["metrics"]["baseline"]["accuracy"]
    content = (tmp_path / "here/model.tar.gz").read_bytes()
    assert content == (tmp_path / "cloud/model.tar.gz").read_bytes()
    assert told["here"]["sha256"] == hashlib.sha256(content).hexdigest()
    answered = Artifact.from_tar(content, told["here"]["sha256"]).scorer().score_rows([{"x": 3.0, "plan": "a"}])
    assert answered.labels == ["late"]


def test_the_figures_are_shown_beside_those_of_a_model_that_always_says_the_same(
    monkeypatch, capsys, flights, tmp_path
):
    assert evergreen(monkeypatch, "train", flights, "--label", "late", "--out", tmp_path / "m", *SMALL) == 0
    shown = capsys.readouterr()
    assert "always the most frequent" in shown.out
    assert "validating on the newest 80" in shown.err
    written = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert written == ["model.json", "model.onnx", "model.tar.gz", "reference.json"]
    assert hashlib.sha256((tmp_path / "m/model.tar.gz").read_bytes()).hexdigest() in shown.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "task"),
    [
        ([0, 1, 2, 3] * (ROWS // 4), "multiclass"),
        ([float(row) for row in range(ROWS)], "regression"),
    ],
)
def test_the_task_is_told_from_the_label(monkeypatch, capsys, tmp_path, label, task):
    pq.write_table(table(label), tmp_path / "t.parquet")
    asked = ("train", tmp_path / "t.parquet", "--label", "late", "--out", tmp_path / "m", "--json", *SMALL)
    assert evergreen(monkeypatch, *asked) == 0
    assert json.loads(capsys.readouterr().out)["task"] == task


@pytest.mark.slow
def test_an_estimator_by_name_starts_from_its_own_defaults_and_columns_can_be_left_out(
    monkeypatch, capsys, flights, tmp_path
):
    asked = ("train", flights, "--label", "late", "--exclude", "plan,asked", "--estimator", "LogisticRegression")
    assert evergreen(monkeypatch, *asked, "--out", tmp_path / "m", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["estimator"], told["params"]) == ("LogisticRegression", {})
    facts = json.loads((tmp_path / "m/model.json").read_text())
    assert [feature["name"] for feature in facts["features"]] == ["x"]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--label", "lost"), 2, "no column 'lost'"),
        (("--label", "late", "--task", "ranking"), 2, "--task is 'ranking'"),
        (("--label", "late", "--params", "{"), 2, "--params is '{', which is no JSON"),
        (("--label", "late", "--params", "[1]"), 2, "--params is '[1]': write a JSON object"),
        (("--label", "late", "--exclude", "nobody"), 2, "--exclude names 'nobody'"),
        (("--label", "late", "--min-rows", "100000", "--max-rows", "200"), 2, "above training.max_rows 200"),
        (("--label", "late", "--estimator", "Nobody"), 1, "estimator 'Nobody' is none of scikit-learn's"),
        (("--label", "late", "--min-rows", "1000"), 1, "400 labelled rows are fewer than min_rows 1000"),
    ],
)
def test_what_can_not_be_trained_is_said_in_one_line(monkeypatch, capsys, flights, tmp_path, options, code, says):
    assert evergreen(monkeypatch, "train", flights, "--out", tmp_path / "m", *options) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("evergreen: ")
    assert says in last


@pytest.mark.slow
def test_a_failure_in_the_local_cloud_has_the_same_reason(monkeypatch, capsys, flights, tmp_path):
    said = []
    for how in ((), ("--local-cloud",)):
        asked = ("train", flights, "--label", "late", "--out", tmp_path / "m", "--min-rows", "1000", *how)
        assert evergreen(monkeypatch, *asked) == 1
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert said[0] == said[1]
