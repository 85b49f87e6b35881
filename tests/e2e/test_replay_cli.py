"""The `evergreen replay` command from outside: what it refuses in one line, and a whole small replay."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

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


def test_a_replay_of_a_file_retrains_by_a_trigger_and_writes_what_it_found(
    turning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = replayed(turning, tmp_path / "out", monkeypatch, capsys)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "decisions.jsonl",
        "events.jsonl",
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
