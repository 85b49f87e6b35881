"""Specs for streams: the bundled one holds together, inferred ones fit the pace of what they are for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evergreen.spec import ModelSpec, SpecError
from evergreen_ops.console import read_spec
from evergreen_ops.replay.specs import (
    base_of,
    bundled_spec,
    check_spec,
    default_step,
    for_replay,
    infer_spec,
)
from evergreen_ops.replay.streams import Stream, StreamError, read_table


def paced(rows: int, every: timedelta | None) -> Stream:
    columns = {"x": np.arange(rows) % 17, "label": np.arange(rows) % 2}
    if every is not None:
        columns["event_time"] = np.datetime64("2000-01-01", "us") + np.arange(rows) * np.timedelta64(every)
    return read_table(pa.table(columns), name="traffic")


@pytest.mark.parametrize(
    ("rows", "every", "cycle"),
    [
        (20_000, None, timedelta(days=1)),  # no times: 500 rows a day, and no week is real
        (20_000, timedelta(minutes=30), timedelta(weeks=1)),
        (17_000, timedelta(hours=1), timedelta(weeks=2)),
        (18_000, timedelta(days=1), timedelta(weeks=52)),
        (20_000, timedelta(seconds=1), timedelta(minutes=15)),
        (2_300, timedelta(hours=1), timedelta(weeks=1)),  # 13 days would hold enough rows, and too few would fit in
        (1_200, None, timedelta(hours=6)),
    ],
)
def test_a_cycle_holds_enough_rows_and_the_rest_follows(rows: int, every: timedelta | None, cycle: timedelta) -> None:
    stream = paced(rows, every)
    spec = infer_spec(stream)
    assert spec.triggers.cycle == spec.shadow.cycle == cycle
    assert spec.shadow.max_time >= 3 * cycle
    assert spec.training.window >= 4 * cycle
    assert 200 <= stream.span / default_step(stream) <= 3_000


@pytest.mark.parametrize("rows", [1_000, 1_200, 2_300, 6_000, 18_000, 80_000])
@pytest.mark.parametrize(
    "every", [None, timedelta(seconds=2), timedelta(minutes=5), timedelta(hours=1), timedelta(hours=65)]
)
def test_every_inferred_period_can_come_to_its_end_within_the_stream(rows: int, every: timedelta | None) -> None:
    """A file of 104 days is of no use to a model that rests for 13 weeks after each training."""
    stream = paced(rows, every)
    spec, span = infer_spec(stream), stream.span
    rules, tokens = spec.triggers, spec.triggers.tokens
    assert rules.cooldown <= span / 15
    assert rules.cycle <= span / 7.5
    assert tokens.refill_every <= span / 3.75
    assert rules.schedule.longest_age is not None
    assert rules.schedule.longest_age <= span / 3.75
    assert spec.shadow.max_time <= span / 2.5
    assert spec.deployment.quality_bake <= span / 3.5
    assert tokens.refill_rows is not None
    assert tokens.refill_rows <= max(rows / 4, 500)
    assert spec.training.min_new_rows <= tokens.refill_rows
    assert rules.monthly_budget >= tokens.burst + timedelta(days=30) / span * rows / tokens.refill_rows


def test_a_long_stream_is_retrained_about_once_in_five_thousand_labelled_rows() -> None:
    spec = infer_spec(paced(80_000, timedelta(minutes=5)))
    assert (spec.triggers.tokens.burst, spec.triggers.tokens.refill_rows) == (2, 5_000)


def test_an_inferred_spec_survives_being_written_and_read(tmp_path: Path) -> None:
    stream = paced(5_000, None)
    path = tmp_path / "spec.yaml"
    path.write_text(infer_spec(stream).to_yaml())
    assert read_spec(path) == infer_spec(stream)
    check_spec(read_spec(path), stream)


def test_the_bundled_spec_asks_only_what_is_known_at_departure() -> None:
    spec = bundled_spec()
    assert not {"month", "day", "dep_time", "dep_delay", "air_time", "arr_time"} & set(spec.features)
    assert spec.estimator == "RandomForestClassifier"
    assert spec.labels.maturity == timedelta(days=2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": {"y": {"type": "number"}}}, "features y are not in the stream"),
        ({"features": {"x": {"type": "categorical"}}}, "x is categorical, in the stream it is number"),
        ({"labels": {"classes": ["0", "2"]}}, "label 1 is not in the spec's labels.classes"),
        ({"task": "regression", "labels": {}, "shadow": {}}, "the spec's task is regression"),
    ],
)
def test_a_spec_that_is_not_the_streams_is_refused(change: dict[str, object], says: str) -> None:
    stream = paced(5_000, None)
    with pytest.raises(StreamError, match=says):
        check_spec(ModelSpec.parse({**infer_spec(stream).to_json(), **change}), stream)


def test_what_names_places_in_aws_is_set_aside() -> None:
    spec = bundled_spec()
    capture = {"source": "s3://theirs/captures", "sampling": 0.5}
    elsewhere = {"endpoint": {"kind": "sagemaker"}, "capture": capture, "freshness": {"enabled": False}}
    here, aside = for_replay(ModelSpec.parse(spec.to_json() | elsewhere))
    assert aside == ("endpoint", "capture.source")
    assert (here.endpoint, here.capture.source, here.capture.sampling) == (spec.endpoint, None, 0.5)
    assert for_replay(spec) == (spec, ())


def test_a_broken_spec_names_its_keys(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("model: Churn\nfeatures: {}\n")
    with pytest.raises(SpecError, match=r"model.*features"):
        read_spec(tmp_path / "spec.yaml")


@pytest.mark.parametrize(("rows", "base"), [(2_000, 500), (20_000, 2_000), (80_000, 5_000)])
def test_the_base_is_a_tenth_within_limits(rows: int, base: int) -> None:
    assert base_of(paced(rows, None)).rows == base
