"""The `evergreen tune` command from outside: what it refuses in one line, and small tunings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from evergreen.spec import ModelSpec
from evergreen_ops import cli

ROWS = 2_000
SMALL = ("--every", "500,never", "--max-rows", "2000", "--estimators", "linear")


def evergreen(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command as the console does and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["evergreen", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def turning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four days of requests; what they mean turns around on the second, so that trainings are worth it."""
    random = np.random.default_rng(11)
    a, b = random.normal(size=(2, ROWS))
    label = np.where(np.arange(ROWS) < 800, a + b, b - 2 * a) + 0.3 * random.normal(size=ROWS) > 0
    asked = np.datetime64("2024-01-01", "us") + np.arange(ROWS) * np.timedelta64(173, "s")
    columns = {"a": a, "b": b, "label": label, "event_time": asked, "label_time": asked + np.timedelta64(1, "m")}
    path = tmp_path_factory.mktemp("stream") / "turning.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--every", "often"), "--every names 'often': give numbers of rows from 100 up, or never"),
        (("--max-rows", "7"), "--max-rows names '7'"),
        (("--estimators", "Boosting"), "--estimators names 'Boosting': choose from RandomForest, ExtraTrees, linear"),
        (("--measure", "mae"), "--measure is mae, but the task is binary: use accuracy, kappa, brier"),
        (("--spec", "no.yaml"), "no.yaml can't be read"),
        (("--step", "soon"), "--step is 'soon'"),
        (("--template", "no.yaml"), "no.yaml does not exist"),
        (("--label", "churned"), "no column 'churned'"),
    ],
)
def test_wrong_use_is_exit_2_and_one_line(
    turning: Path,
    options: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evergreen(monkeypatch, "tune", turning, *options) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert says in told.err
    assert len(told.err.strip().splitlines()) == 1


def test_a_file_that_is_too_short_to_choose_by_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pyarrow.parquet.write_table(pa.table({"x": range(1_000), "label": [0, 1] * 500}), tmp_path / "short.parquet")
    assert evergreen(monkeypatch, "tune", tmp_path / "short.parquet") == 2
    assert "300 labelled rows to choose by" in capsys.readouterr().err


def test_the_help_shows_examples(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert evergreen(monkeypatch, "tune", "--help") == 0
    assert "evergreen tune traffic.parquet --label churned" in capsys.readouterr().out


def tuned(
    stream: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: object
) -> dict[str, Any]:
    capsys.readouterr()
    assert evergreen(monkeypatch, "tune", stream, *SMALL, "--out", out, "--json", *options) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)  # nothing else is on stdout
    return found


def test_a_tuning_recommends_a_spec_and_says_how_sure_it_is(
    turning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tuned(turning, tmp_path, monkeypatch, capsys, "--confirm", "0", "--jobs", "1")
    assert found == json.loads((tmp_path / "tune.json").read_text())
    tried = {(each["policy"], each["estimator"]) for each in found["policies"]}
    assert {(name, "RandomForestClassifier") for name in ("never", "every:500", "fresh:500", "fresh:never")} <= tried
    assert "LogisticRegression" in {estimator for _, estimator in tried}
    assert found["rows"] == 0.8 * ROWS - 500
    assert found["recommended"]["policy"] != "never"
    assert found["sure"]["sure_of_never"] > 0.99
    spec = ModelSpec.from_yaml((tmp_path / "spec.yaml").read_text())
    assert (spec.freshness.enabled, spec.training.estimator) == (
        found["recommended"]["fresh"],
        found["recommended"]["estimator"],
    )
    recommended, *_, never = found["confirmed"]
    assert recommended["rows"] == never["rows"] == 0.2 * ROWS
    assert recommended["offline"]["accuracy"] > never["offline"]["accuracy"] + 0.1
    assert recommended["replayed"] is None
    page = (tmp_path / "tune.html").read_text()
    assert page.count('class="point chosen"') == 2  # for a phone and for a wide window
    assert found["recommended"]["policy"] in page


def test_without_json_it_is_a_table_and_sentences(
    turning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--every", "500", "--estimators", "none", "--freshness", "off", "--measure", "kappa", "--price", "36")
    assert evergreen(monkeypatch, "tune", turning, *options, "--confirm", "0", "--jobs", "1", "--out", tmp_path) == 0
    told = capsys.readouterr().out
    words = told.split()
    assert words.index("kappa") < words.index("accuracy") < words.index("Brier")
    assert words.index("every:500") < words.index("never")
    assert "recommended: every:500 on" in told
    assert "at $36 an hour" in told
    assert "fresh" not in told
    assert f"spec: {tmp_path / 'spec.yaml'}" in told


@pytest.mark.slow
def test_what_was_found_offline_is_confirmed_by_a_full_replay(
    turning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tuned(turning, tmp_path, monkeypatch, capsys, "--confirm", "1", "--jobs", "2", "--step", "6h")
    recommended, other, *_ = found["confirmed"]
    assert other["replayed"] is None
    assert abs(recommended["replayed"]["accuracy"] - recommended["offline"]["accuracy"]) < 0.15
    alone = tuned(turning, tmp_path, monkeypatch, capsys, "--confirm", "0", "--jobs", "1")
    assert alone["policies"] == found["policies"]  # whichever process ran them
