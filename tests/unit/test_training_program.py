"""The program of a training job, under SageMaker's container contract: folders, arguments, failure file, signals."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.scoring import Artifact
from evergreen.training import local, source
from evergreen.training.artifact import pack
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.train import main

FEATURES = [{"name": "x", "type": "number"}, {"name": "plan", "type": "categorical"}]
HYPERPARAMETERS = {
    "model": "churn",
    "task": "binary",
    "features": json.dumps(FEATURES),
    "estimator": "RandomForestClassifier",
    "params": '{"n_estimators": 5, "max_depth": 4}',
    "seed": "0",
    "decision_id": "20260101",
    "trained_until": "2026-12-31T00:00:00Z",
}


def outcomes(count=300):
    random = np.random.default_rng(0)
    x = random.normal(size=count)
    times = (np.arange(count) * 3_600_000_000).astype("datetime64[us]")
    return pa.table(
        {
            "event_id": [f"e{index:04d}" for index in range(count)],
            "inference_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "label_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "group": pa.nulls(count, pa.string()),
            "production_version": pa.nulls(count, pa.int32()),
            "actual": np.where(x + random.normal(scale=0.3, size=count) > 0, "1", "0").tolist(),
            "feature.x": x,
            "feature.plan": random.choice(["basic", "gold"], count).tolist(),
        }
    )


@pytest.fixture
def container(tmp_path):
    """A container's folders with one channel of rows, and the variables that point at them."""
    channel = tmp_path / "input" / "data" / "training" / "2026" / "01"
    channel.mkdir(parents=True)
    (tmp_path / "output").mkdir()
    pq.write_table(outcomes(), channel / "rows.parquet")
    return tmp_path


def variables(container, **more):
    return {"SAGEMAKER_BASE_DIR": str(container), **more}


def arguments(**changes):
    return [part for name, value in {**HYPERPARAMETERS, **changes}.items() for part in (f"--{name}", value)]


def test_a_job_leaves_an_artifact_metrics_and_no_failure(container, capsys):
    assert main(arguments(), variables(container)) == 0
    assert sorted(path.name for path in (container / "model").iterdir()) == [
        "model.json",
        "model.onnx",
        "reference.json",
    ]
    assert sorted(path.name for path in (container / "output/data").iterdir()) == ["metrics.json", "model.skops"]
    assert not (container / "output/failure").exists()
    facts = json.loads((container / "model/model.json").read_text())
    assert facts["decision_id"] == "20260101"
    log = capsys.readouterr().out
    found = {
        definition["Name"]: float(match.group(1))
        for definition in source.METRIC_DEFINITIONS
        if (match := re.search(definition["Regex"], log))
    }
    assert found == {f"validation_{name}": value for name, value in facts["metrics"]["validation"].items()}


def test_hyperparameters_the_toolkit_decoded_win_over_mangled_arguments(container):
    decoded = {**HYPERPARAMETERS, "features": FEATURES, "params": {"n_estimators": 3}, "seed": 7}
    environment = variables(container, SM_HPS=json.dumps(decoded))
    assert main(["--features", str(FEATURES), "--params", "n_estimators=3"], environment) == 0
    facts = json.loads((container / "model/model.json").read_text())
    assert (facts["params"], facts["seed"]) == ({"max_depth": 20, "n_estimators": 3}, 7)


def test_the_production_channel_is_scored_beside_it(container, capsys):
    ten_days = arguments(trained_until="1970-01-10T23:00:00Z")
    assert main(ten_days, variables(container)) == 0
    channel = container / "input/data/production"
    channel.mkdir()
    model = {path.name: path.read_bytes() for path in (container / "model").iterdir()}
    (channel / "model.tar.gz").write_bytes(pack(model))
    assert main(arguments(seed="1"), variables(container)) == 0
    facts = json.loads((container / "model/model.json").read_text())
    assert facts["metrics"]["production"]["accuracy"] > 0.8
    assert f"production_accuracy={facts['metrics']['production']['accuracy']};" in capsys.readouterr().out


def test_a_production_artifact_that_is_broken_costs_only_the_comparison(container, capsys):
    channel = container / "input/data/production"
    channel.mkdir()
    (channel / "model.tar.gz").write_bytes(b"nonsense")
    assert main(arguments(), variables(container)) == 0
    assert "warning: production is not scored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"min_rows": "1000"},
            "300 labelled rows are fewer than min_rows 1000; wait for labels or lower training.min_rows",
        ),
        ({"task": "ranking"}, "the task is 'ranking'; choose one of binary, multiclass, regression"),
        ({"features": "x"}, "hyperparameter features is 'x'; pass a JSON list of {name, type}"),
        (
            {"features": '[{"name": "x", "type": "date"}]'},
            "feature 'x' has type 'date'; choose one of number, categorical",
        ),
        ({"params": "5"}, "hyperparameter params is '5'; pass a JSON object of keyword arguments"),
        ({"seed": "one"}, "hyperparameter seed is 'one'; pass a number"),
        ({"max_rows": "1.5"}, "hyperparameter max_rows is '1.5'; pass a whole number"),
        ({"trained_until": "soon"}, "hyperparameter trained_until is 'soon'; pass an ISO 8601 time"),
        ({"validation_fraction": "1"}, "validation_fraction is 1.0, which leaves no rows on one side"),
        ({"max_rows": "50"}, "max_rows is 50, below min_rows 100"),
        ({"cycle_days": "0"}, "cycle_days is 0; choose a number above 0"),
        ({"model": ""}, "hyperparameter model is missing"),
        ({"classes": '["0", "2"]'}, "labels are none of the model's classes, the first '1'"),
    ],
)
def test_a_failure_is_one_line_in_the_failure_file(container, capsys, changes, reason):
    assert main(arguments(**changes), variables(container)) == 1
    written = (container / "output/failure").read_text()
    assert reason in written
    assert "\n" not in written
    assert len(written) <= 1024
    assert written in capsys.readouterr().err
    assert not (container / "model").exists()


def test_a_bug_is_named_in_the_failure_file_too(container, monkeypatch):
    def broken(*_arguments, **_keywords):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("evergreen.training.train.train", broken)
    with pytest.raises(ZeroDivisionError):
        main(arguments(), variables(container))
    assert (container / "output/failure").read_text() == "unexpected ZeroDivisionError: division by zero"


def test_digits_and_null_are_names_where_a_name_is_due():
    job = TrainingJob.from_hyperparameters({**HYPERPARAMETERS, "model": "null", "decision_id": "0042"})
    assert (job.model, job.decision_id) == ("null", "0042")
    with pytest.raises(TrainingError):
        TrainingJob.from_hyperparameters({})


def test_null_is_the_default_everywhere_else():
    nulls = dict.fromkeys(("params", "max_rows", "min_rows", "classes", "trained_from", "cycle_days"), "null")
    job = TrainingJob.from_hyperparameters({**HYPERPARAMETERS, **nulls})
    assert (job.max_rows, job.min_rows, job.trained_from, job.cycle_days) == (None, 100, None, 7.0)
    assert job.params == {"n_estimators": 200, "max_depth": 20}


def test_every_hyperparameter_may_come_json_encoded():
    values = {**HYPERPARAMETERS, "seed": 3, "cycle_days": 0.5, "classes": ["0", "1"], "features": FEATURES}
    encoded = TrainingJob.from_hyperparameters({name: json.dumps(value) for name, value in values.items()})
    assert encoded == TrainingJob.from_hyperparameters(values)
    assert (encoded.model, encoded.seed, encoded.cycle_days, encoded.schema.classes) == ("churn", 3, 0.5, ("0", "1"))


def test_the_packed_source_trains_alone_and_gives_the_same_bytes_each_time(container, tmp_path):
    """As the container does it: unpack sourcedir.tar.gz, run train.py there, nothing else of Evergreen to import."""
    content = source.pack_source()
    assert content == source.pack_source()
    assert source.source_key(content) == f"source/{hashlib.sha256(content).hexdigest()}/sourcedir.tar.gz"
    code = tmp_path / "code"
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        archive.extractall(code, filter="data")
    assert (code / "train.py").is_file()
    made = []
    for attempt in ("1", "2"):
        environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": attempt, **variables(container)}
        subprocess.run([sys.executable, "train.py", *arguments()], cwd=code, env=environment, check=True)
        made.append({path.name: path.read_bytes() for path in (container / "model").iterdir()})
    assert made[0] == made[1]


def test_the_source_holds_no_module_that_only_a_function_needs():
    with tarfile.open(fileobj=io.BytesIO(source.pack_source()), mode="r:gz") as archive:
        names = archive.getnames()
    assert {"train.py", "requirements.txt", "evergreen/__init__.py", "evergreen/schema.py"} <= set(names)
    assert not [name for name in names if "/aws/" in name or "/spec.py" in name or "bootstrap" in name]


def test_packing_the_source_needs_the_standard_library_only():
    program = (
        "import sys, evergreen.training.source as s; s.pack_source(); print(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "sklearn", "pyarrow", "onnx", "boto3"} & set(loaded)


def test_sigterm_ends_a_job_at_once_without_half_an_artifact(container):
    (container / "checkpoints").mkdir()
    program = (
        "import sys, time, evergreen.training.train as t\n"
        "t.train = lambda *a, **k: (print('fitting', flush=True), time.sleep(60))\n"
        "sys.exit(t.main())"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", program, *arguments()],
        env={**os.environ, **variables(container)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout.readline() == "fitting\n"
    started = time.monotonic()
    job.send_signal(signal.SIGTERM)
    out, _ = job.communicate(timeout=20)
    assert time.monotonic() - started < 10
    assert job.returncode == 143
    assert "stopped on request" in out
    assert json.loads((container / "checkpoints/stopped.json").read_text())["stopped"] is True
    assert not (container / "model").exists()


def test_any_table_is_trained_on_outside_a_cloud(tmp_path, capsys):
    plain = outcomes().rename_columns([name.removeprefix("feature.") for name in outcomes().column_names])
    pq.write_table(
        plain.drop_columns(["event_id", "label_time", "group", "production_version"]), tmp_path / "t.parquet"
    )
    command = ["--data", str(tmp_path / "t.parquet"), "--label", "actual", "--time", "inference_time"]
    command += ["--out", str(tmp_path / "out"), "--params", '{"n_estimators": 5}']
    assert local.main(command) == 0
    content = (tmp_path / "out/model.tar.gz").read_bytes()
    artifact = Artifact.from_tar(content, hashlib.sha256(content).hexdigest())
    assert artifact.schema.classes == ("0", "1")
    assert artifact.scorer().score_rows([{"x": 3.0, "plan": "gold"}]).labels == ["1"]
    assert hashlib.sha256(content).hexdigest() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("label", "task"),
    [
        ([0, 1] * 50, "binary"),
        ([0, 1, 2, 3] * 25, "multiclass"),
        (["a", "b"] * 50, "binary"),
        ([float(index) for index in range(100)], "regression"),
        (list(range(100)), "regression"),
    ],
)
def test_the_task_is_guessed_from_the_label(tmp_path, label, task):
    random = np.random.default_rng(0)
    pq.write_table(pa.table({"x": random.normal(size=100), "label": label}), tmp_path / "t.parquet")
    command = ["--data", str(tmp_path / "t.parquet"), "--label", "label", "--out", str(tmp_path / "out")]
    assert local.main([*command, "--params", '{"n_estimators": 2}']) == 0
    assert json.loads(Path(tmp_path / "out/model.json").read_text())["task"] == task


def test_a_wrong_column_is_a_sentence_and_no_traceback(tmp_path, capsys):
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "t.parquet")
    assert local.main(["--data", str(tmp_path / "t.parquet"), "--label", "y", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "training failed: column 'y' is not in the table, which has x\n"
    assert local.main(["--data", str(tmp_path / "none.parquet"), "--label", "y", "--out", str(tmp_path)]) == 1
