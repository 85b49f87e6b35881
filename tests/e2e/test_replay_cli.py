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
import yaml

from evergreen_ops import cli
from evergreen_ops.replay.run import TEMPLATE

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
    return stored(
        tmp_path_factory.mktemp("stream") / "turning.parquet", a=a, b=b, city=city, load=drifted + a**2, label=label
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


def test_a_replay_retrains_by_a_trigger_and_does_the_same_twice(
    turning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = replayed(turning, tmp_path / "first", monkeypatch, capsys)
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == [
        "events.jsonl",
        "report.html",
        "spec.yaml",
        "summary.json",
    ]
    assert summary == json.loads((tmp_path / "first" / "summary.json").read_text())
    assert summary["trainings"] >= 1
    assert sum(summary["triggers"].values()) == summary["trainings"]
    assert summary["failed_functions"] == {}
    assert summary["failed_requests"] == 0
    assert summary["scored"] == summary["rows"] == 2_500
    assert summary["accuracy"] > 0.4
    replayed(turning, tmp_path / "second", monkeypatch, capsys, "--compare", "none")
    first, second = ((tmp_path / name / "events.jsonl").read_bytes() for name in ("first", "second"))
    assert first == second


def test_without_its_schedule_in_the_template_nothing_is_ever_retrained(
    turning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("functions", "layers", "infra"):
        (folder / name).symlink_to(TEMPLATE.parent / name)
    text = TEMPLATE.read_text()
    (folder / "template.yaml").write_text(without_schedule(text, "EvaluateTriggers"))
    summary = replayed(
        turning, tmp_path / "out", monkeypatch, capsys, "--template", folder / "template.yaml", "--compare", "none"
    )
    assert (summary["trainings"], summary["triggers"]) == (0, {})
    assert summary["scored"] == 2_500  # everything else goes on


class _Tagged:
    """A CloudFormation short form (!Ref, !Sub, ...), kept as it is."""

    def __init__(self, tag: str, value: Any) -> None:
        self.tag, self.value = tag, value


class _Loader(yaml.SafeLoader):
    pass


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _construct(loader: _Loader, suffix: str, node: yaml.Node) -> _Tagged:
    if isinstance(node, yaml.ScalarNode):
        return _Tagged(f"!{suffix}", loader.construct_scalar(node))
    if isinstance(node, yaml.SequenceNode):
        return _Tagged(f"!{suffix}", loader.construct_sequence(node, deep=True))
    assert isinstance(node, yaml.MappingNode)
    return _Tagged(f"!{suffix}", loader.construct_mapping(node, deep=True))


def _represent(dumper: _Dumper, data: _Tagged) -> yaml.Node:
    match data.value:
        case list():
            return dumper.represent_sequence(data.tag, data.value)
        case dict():
            return dumper.represent_mapping(data.tag, data.value)
        case _:
            return dumper.represent_scalar(data.tag, data.value)


_Loader.add_multi_constructor("!", _construct)
_Dumper.add_representer(_Tagged, _represent)


def without_schedule(text: str, logical_id: str) -> str:
    """Return the template with a function's schedules taken away."""
    document = yaml.load(text, _Loader)
    events = document["Resources"][logical_id]["Properties"]["Events"]
    schedules = [name for name, event in events.items() if event["Type"].startswith("Schedule")]
    assert schedules, f"{logical_id} has no schedule to take away"
    for name in schedules:
        del events[name]
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)
