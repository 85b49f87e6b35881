"""The `evergreen replay` command from outside: what it refuses in one line, and a whole small replay."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from evergreen_ops import cli

ROWS = 3_000


def evergreen(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command as the console does and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["evergreen", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def stored(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def turning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six days of requests; what they mean turns around on the second."""
    random = np.random.default_rng(11)
    a, b = random.normal(size=(2, ROWS))
    city = np.array(["north", "south"])[random.integers(0, 2, ROWS)]
    early = np.arange(ROWS) < 1_000
    label = np.where(early, a + b, b - 2 * a) + 0.3 * random.normal(size=ROWS) > 0
    drifted = np.where(early, 0.0, 2.0)
    asked = np.datetime64("2024-01-01", "us") + np.arange(ROWS) * np.timedelta64(173, "s")
    return stored(
        tmp_path_factory.mktemp("stream") / "turning.parquet",
        a=a,
        b=b,
        city=city,
        load=drifted + a**2,
        label=label,
        event_time=asked,
        label_time=asked + np.timedelta64(1, "m"),
    )


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"x": np.arange(2_000.0)}, (), "no column 'label'"),
        ({"x": np.arange(2_000.0), "label": np.ones(2_000)}, (), "always 1"),
        ({"x": np.arange(10.0), "label": np.arange(10) % 2}, (), "has 10 rows"),
        ({"x": np.arange(2_000.0), "label": np.arange(2_000) % 2}, ("--compare", "sometimes"), "'sometimes'"),
        ({"x": np.arange(2_000.0), "label": np.arange(2_000) % 2}, ("--step", "soon"), "--step is 'soon'"),
        ({"x": np.arange(2_000.0), "label": np.arange(2_000) % 2}, ("--spec", "no.yaml"), "no.yaml can't be read"),
        ({"x": np.arange(2_000.0), "label": np.arange(2_000) % 2}, ("--template", "no.yaml"), "no.yaml does not exist"),
    ],
)
def test_wrong_use_is_exit_2_and_one_line(
    columns: dict[str, Any],
    options: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evergreen(monkeypatch, "replay", stored(tmp_path / "traffic.parquet", **columns), *options) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert says in told.err
    assert len(told.err.strip().splitlines()) == 1


@pytest.mark.parametrize(("content", "says"), [(b"", "0 bytes"), (b"hello", "neither Parquet")])
def test_a_file_that_is_no_table_is_exit_2_and_one_line(
    content: bytes,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "traffic.parquet").write_bytes(content)
    assert evergreen(monkeypatch, "replay", tmp_path / "traffic.parquet") == 2
    assert says in capsys.readouterr().err


def test_the_help_imports_nothing_heavy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert evergreen(monkeypatch, "replay", "--help") == 0
    assert "evergreen replay --drill --json" in capsys.readouterr().out


def replayed(
    stream: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: object
) -> dict[str, Any]:
    capsys.readouterr()
    assert evergreen(monkeypatch, "replay", stream, "--out", out, "--json", "--step", "6h", *options) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)  # nothing else is on stdout
    return summary


@pytest.mark.slow
def test_a_replay_of_a_file_retrains_by_a_trigger_and_writes_what_it_found(
    turning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = replayed(turning, tmp_path / "out", monkeypatch, capsys, "--explain")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "decisions.jsonl",
        "events.jsonl",
        "mlflow",
        "report.html",
        "spec.yaml",
        "summary.json",
    ]
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["trainings"] >= 1
    assert sum(summary["triggers"].values()) == summary["trainings"]
    assert summary["failed_functions"] == {}
    assert summary["failed_requests"] == 0
    assert summary["scored"] == summary["rows"] == 2_500
    assert summary["accuracy"] > 0.4
    assert set(summary["compare"]) == {"never", "every:500", "tutorial"}
    assert_explained(summary)
    assert_mlflow_shows(tmp_path / "out", summary)


def assert_explained(summary: dict[str, Any]) -> None:
    """Each promotion is there, and the versions that were trained again say what was served."""
    told = summary["explained"]
    promotions = [change for change in told["changes"] if change["what"] == "promotion"]
    assert len(promotions) == summary["promotions"]
    assert len(told["changes"]) >= summary["trainings"]
    assert told["trained_again"]["alike"] > 0.9
    assert all(change["training"]["because"] for change in promotions)


def asked(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/2.0/mlflow/{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def assert_mlflow_shows(out: Path, summary: dict[str, Any]) -> None:
    """The replay's cloud is gone; the very server that `evergreen mlflow ui` opens tells of runs, versions, aliases."""
    command = [sys.executable, "-m", "evergreen_ops", "mlflow", "ui", str(out), "--port", "0", "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ui:
        assert ui.stdout is not None
        try:
            url = json.loads(ui.stdout.readline())["url"]
            name = yaml.safe_load((out / "spec.yaml").read_text())["model"]
            registered = asked(url, f"registered-models/get?name={name}")["registered_model"]
            aliases = {alias["alias"]: int(alias["version"]) for alias in registered["aliases"]}
            assert aliases["production"] == summary["production_version"]
            experiment = asked(url, f"experiments/get-by-name?experiment_name=evergreen/{name}")["experiment"]
            runs = asked(url, "runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
            versions = asked(url, f"model-versions/search?filter=name='{name}'")["model_versions"]
            assert {version["run_id"] for version in versions} <= {run["info"]["run_id"] for run in runs}
            assert all(run["info"]["status"] == "FINISHED" for run in runs)
            production = asked(url, f"registered-models/alias?name={name}&alias=production")["model_version"]
            run = next(run for run in runs if run["info"]["run_id"] == production["run_id"])
            tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
            assert tags["evergreen.because"]
            assert tags["evergreen.job_arn"].endswith(f":training-job/{tags['evergreen.job']}")
            assert run["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == tags["evergreen.snapshot"][:36]
            loaded = asked(url, f"logged-models/{production['source'].removeprefix('models:/')}")["model"]
            assert loaded["info"]["status"] == "LOGGED_MODEL_READY"
            (kept,) = (out / "mlflow" / "artifacts").glob(f"**/{loaded['info']['model_id']}/**/MLmodel")
            assert "python_function" in kept.read_text()
        finally:
            ui.send_signal(signal.SIGINT)
            assert ui.wait(60) == 0
