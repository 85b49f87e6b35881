"""Captures and outcomes as Arrow tables: how they are stored, joined and read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evergreen.domain.catalog import Counts, DailySums
from evergreen.domain.pairs import Said, last_of_each, pair
from evergreen.domain.shadow import PairedOutcomes
from evergreen.formats.captures import Capture, GroundTruth
from evergreen.model.schema import FEATURE_PREFIX, FeatureSchema, Kind, Task
from evergreen.spec import ModelSpec
from evergreen.statistics.losses import absolute_error

_TIME = pa.timestamp("us", tz="UTC")
PLAIN = "plain_prediction"
"""What production would have answered as it was trained; null where no live state answered."""


def capture_schema(schema: FeatureSchema) -> pa.Schema:
    """Columns of a compacted capture file."""
    answer = pa.float64() if schema.task is Task.REGRESSION else pa.string()
    fields = [
        ("event_id", pa.string()),
        ("inference_time", _TIME),
        ("group", pa.string()),
        ("version", pa.int32()),
        ("state", pa.int32()),
        ("prediction", answer),
        ("probabilities", pa.list_(pa.float64())),
        (PLAIN, answer),
    ]
    return pa.schema(fields + _features(schema))


def outcome_schema(schema: FeatureSchema) -> pa.Schema:
    """Columns of an outcomes file: what was answered by both versions, what was true, and the features."""
    answer = pa.float64() if schema.task is Task.REGRESSION else pa.string()
    fields = [
        ("event_id", pa.string()),
        ("inference_time", _TIME),
        ("label_time", _TIME),
        ("group", pa.string()),
        ("production_version", pa.int32()),
        ("prediction", answer),
        ("probabilities", pa.list_(pa.float64())),
        (PLAIN, answer),
        ("shadow_version", pa.int32()),
        ("shadow_prediction", answer),
        ("shadow_probabilities", pa.list_(pa.float64())),
        ("actual", answer),
    ]
    return pa.schema(fields + _features(schema))


def _features(schema: FeatureSchema) -> list[tuple[str, pa.DataType]]:
    types = {Kind.NUMBER: pa.float64(), Kind.CATEGORICAL: pa.string()}
    return [(FEATURE_PREFIX + feature.name, types[feature.kind]) for feature in schema.features]


def captures_to_table(captures: Sequence[Capture], schema: FeatureSchema) -> pa.Table:
    """Compact captures; a feature that a request did not name is null."""
    columns: dict[str, list[Any]] = {
        "event_id": [c.event_id for c in captures],
        "inference_time": [c.time for c in captures],
        "group": [c.group for c in captures],
        "version": [c.version for c in captures],
        "state": [None if c.live is None else c.live.state for c in captures],
        "prediction": [c.prediction for c in captures],
        "probabilities": [_in_order(c.probabilities, schema.classes) for c in captures],
        PLAIN: [None if c.live is None else c.live.plain for c in captures],
    }
    for feature in schema.features:
        columns[FEATURE_PREFIX + feature.name] = [c.features.get(feature.name) for c in captures]
    return pa.table(columns, schema=capture_schema(schema))


def _in_order(probabilities: Mapping[str, float] | None, classes: Sequence[str] | None) -> list[float] | None:
    """Probabilities in the order of the spec's classes; a class that the version has never seen has none."""
    if probabilities is None or classes is None:
        return None
    return [probabilities.get(name, 0.0) for name in classes]


def to_parquet(table: pa.Table) -> bytes:
    """The table as Parquet (zstd); the same table gives the same bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(body: bytes, columns: list[str] | None = None) -> pa.Table:
    """Read Parquet bytes, only the named columns where given."""
    return pq.read_table(pa.BufferReader(body), columns=columns, use_threads=False)


def join(
    labels: Sequence[GroundTruth],
    label_time: datetime,
    production: pa.Table,
    shadow: pa.Table | None,
    schema: FeatureSchema,
) -> tuple[pa.Table, list[GroundTruth]]:
    """Join labels with the captures of both versions.

    Parameters
    ----------
    labels
        The last label of an id counts.
    label_time
        When the labels were collected.
    production, shadow
        Compacted captures (see :func:`capture_schema`).

    Returns
    -------
    tuple
        The outcomes, and the labels whose capture was not found.
    """
    last = [labels[row] for row in last_of_each([label.event_id for label in labels])]
    row_of = {event_id: row for row, event_id in enumerate(production["event_id"].to_pylist())}
    matched = [label for label in last if label.event_id in row_of]
    missing = [label for label in last if label.event_id not in row_of]
    found = [label.event_id for label in matched]
    table = production.take(pa.array([row_of[event_id] for event_id in found], pa.int64()))
    target = outcome_schema(schema)
    actual = [label.label for label in matched]
    columns: dict[str, Any] = {
        name: table[name] for name in ("event_id", "inference_time", "group", "prediction", "probabilities")
    }
    is_known = PLAIN in table.column_names  # captures that an earlier release compacted lack it
    columns[PLAIN] = table[PLAIN] if is_known else pa.nulls(len(found), target.field(PLAIN).type)
    columns["label_time"] = pa.array([label_time] * len(found), _TIME)
    columns["production_version"] = table["version"]
    columns["actual"] = [float(a) for a in actual] if schema.task is Task.REGRESSION else actual
    columns |= _shadow_columns(found, shadow, target)
    columns |= {name: table[name] for name in table.column_names if name.startswith(FEATURE_PREFIX)}
    return pa.table({name: columns[name] for name in target.names}, schema=target), missing


def states_said(*captures: pa.Table | None) -> dict[str, dict[int, int]]:
    """By the id of the request, the live state that each version says it answered by, as far as its captures say.

    Parameters
    ----------
    captures
        Compacted, production's and the shadow's.
    """
    found: dict[str, dict[int, int]] = {}
    for table in captures:
        if table is None or "state" not in table.column_names:  # compacted by an earlier release
            continue
        said = table.select(["event_id", "version", "state"]).filter(pc.is_valid(table["state"]))
        for row in said.to_pylist():
            found.setdefault(row["event_id"], {})[row["version"]] = row["state"]
    return found


def _shadow_columns(found: Sequence[str], shadow: pa.Table | None, target: pa.Schema) -> dict[str, Any]:
    names = {"version": "shadow_version", "prediction": "shadow_prediction", "probabilities": "shadow_probabilities"}
    if shadow is None or shadow.num_rows == 0:
        return {new: pa.nulls(len(found), target.field(new).type) for new in names.values()}
    row_of = {event_id: row for row, event_id in enumerate(shadow["event_id"].to_pylist())}
    rows = pa.array([row_of.get(event_id) for event_id in found], pa.int64())
    return {new: shadow[old].take(rows) for old, new in names.items()}


def concat(tables: Iterable[pa.Table], empty: pa.Schema) -> pa.Table:
    """All rows of the tables, or none."""
    parts = [table for table in tables if table.num_rows]
    # Files of an earlier release have no column for what it did not know yet.
    return pa.concat_tables(parts, promote_options="default").combine_chunks() if parts else empty.empty_table()


PAIR_COLUMNS = [
    "event_id",
    "inference_time",
    "label_time",
    "group",
    "production_version",
    "prediction",
    "probabilities",
    "shadow_version",
    "shadow_prediction",
    "shadow_probabilities",
    "actual",
]


def answered_by_both(table: pa.Table, production: int, shadow: int) -> pa.Table:
    """The rows that exactly these two versions answered."""
    return table.filter(
        pc.and_(pc.equal(table["production_version"], production), pc.equal(table["shadow_version"], shadow))
    )


def paired(table: pa.Table, spec: ModelSpec, *, production: int, shadow: int) -> PairedOutcomes:
    """The rows that exactly these two versions answered, each with both losses; an id counts once, its last label."""
    both = answered_by_both(table, production, shadow)
    both = both.take(pa.array(np.sort(last_of_each(both["event_id"].to_pylist()))))
    time = _micros(both["inference_time"])
    return pair(
        both["actual"].to_pylist(),
        _said(both, ""),
        _said(both, "shadow_"),
        spec,
        inference_time=time.to_numpy(),
        label_delay=pc.subtract(_micros(both["label_time"]), time).to_numpy(),
        group=both["group"].to_pylist(),
    )


def _micros(column: Any) -> Any:
    return column.cast(pa.int64())


def _said(table: pa.Table, side: str) -> Said:
    return Said(table[f"{side}prediction"].to_pylist(), table[f"{side}probabilities"].to_pylist)


def daily_sums(table: pa.Table, *, error_tolerance: float | None, answers: str = "prediction") -> DailySums:
    """Labelled and right answers by production version and day of the request.

    Parameters
    ----------
    table
        Outcomes (see :func:`outcome_schema`).
    error_tolerance
        A regression's answer is right when it is so near to the label; None for classes.
    answers
        The column of the answers; rows without one are not counted.
    """
    table = table.filter(pc.is_valid(table[answers]))
    if not table.num_rows:
        return DailySums()
    counts: dict[int, dict[str, Counts]] = {}
    if error_tolerance is None:
        right = pc.equal(table[answers], table["actual"]).to_pylist()
    else:
        errors = absolute_error(table[answers].to_pylist(), table["actual"].to_pylist())
        right = list(errors <= error_tolerance)
    days = pc.strftime(table["inference_time"].cast(pa.timestamp("us")), "%Y-%m-%d").to_pylist()
    for version, day, correct in zip(table["production_version"].to_pylist(), days, right, strict=True):
        by_day = counts.setdefault(version, {})
        n, right_before = by_day.get(day, (0, 0))
        by_day[day] = (n + 1, right_before + bool(correct))
    return DailySums(counts)


def feature_columns(table: pa.Table, schema: FeatureSchema) -> dict[str, NDArray[Any]]:
    """The features as the arrays that profiles and models take: float64 with NaN, object with None."""
    columns: dict[str, NDArray[Any]] = {}
    for feature in schema.features:
        column = table[FEATURE_PREFIX + feature.name]
        kind = np.float64 if feature.kind is Kind.NUMBER else object
        columns[feature.name] = np.array(column.to_pylist(), dtype=kind)
    return columns


def prediction_column(table: pa.Table, schema: FeatureSchema) -> Mapping[str, NDArray[Any]]:
    """What is profiled of the answers: the positive class's probability, the label, or the value."""
    if schema.task is Task.BINARY:
        second = [np.nan if row is None else row[1] for row in table["probabilities"].to_pylist()]
        return {"prediction": np.array(second, dtype=np.float64)}
    kind = np.float64 if schema.task is Task.REGRESSION else object
    return {"prediction": np.array(table["prediction"].to_pylist(), dtype=kind)}
