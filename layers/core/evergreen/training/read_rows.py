"""The rows a training job learns from: Parquet files of outcomes in, typed columns in time order out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.model.schema import FEATURE_PREFIX, MISSING_CATEGORY, FeatureSchema, Kind
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.labelled_rows import Category, Rows

__all__ = ["Category", "Rows", "read_rows"]

_TIME = pa.timestamp("us", tz="UTC")


def read_rows(folder: Path, job: TrainingJob) -> Rows:
    """Read every labelled row below a folder, whatever its nesting, as the job asks for them.

    Rows without a label and rows outside [trained_from, trained_until] are left out, of rows with the same event
    id the one with the last label time stays, and of all the newest ``max_rows``.

    Raises
    ------
    TrainingError
        No Parquet file, no labelled row, a feature that no file has, or a column of the wrong type.
    """
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise TrainingError(f"channel training holds no Parquet file below {folder.name}; join labels first")
    wanted = _wanted(job.schema)
    seen: set[str] = set()
    tables = []
    for file in files:
        found = _opened(file)
        names = [name for name in wanted if name in found.schema_arrow.names]
        seen.update(names)
        if "actual" in names and "event_id" in names and "inference_time" in names:
            tables.append(_labelled(found.read(columns=names), wanted, job, file.name))
    for name in wanted:
        if name not in seen and name != "label_time":
            raise TrainingError(
                f"column {name!r} is in none of the {len(files)} files of channel training; "
                "take the feature out of the model spec or backfill it"
            )
    if not tables:
        raise TrainingError(
            f"none of the {len(files)} files of channel training has event_id, inference_time and actual; "
            "join labels first"
        )
    table = _newest(_last_label_wins(pa.concat_tables(tables)), job.max_rows)
    if not len(table):
        raise TrainingError(
            f"no row of the {len(files)} files of channel training is labelled and in the training window; "
            "wait for labels or widen training.window"
        )
    return _rows(table, job.schema)


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise TrainingError(f"{file.name} of channel training is no readable Parquet: {_one_line(error)}") from error


def _wanted(schema: FeatureSchema) -> dict[str, pa.DataType]:
    features = {
        FEATURE_PREFIX + feature.name: pa.float64() if feature.kind is Kind.NUMBER else pa.string()
        for feature in schema.features
    }
    actual = pa.string() if schema.task.is_classification else pa.float64()
    return {"event_id": pa.string(), "inference_time": _TIME, "label_time": _TIME, "actual": actual, **features}


def _labelled(table: pa.Table, wanted: dict[str, pa.DataType], job: TrainingJob, file: str) -> pa.Table:
    table = table.filter(pc.is_valid(table["actual"]))
    columns = []
    for name, kind in wanted.items():
        if name not in table.column_names:
            columns.append(pa.chunked_array([pa.nulls(len(table), kind)], kind))
            continue
        try:
            columns.append(_cast(table[name], kind))
        except pa.ArrowInvalid as error:
            raise TrainingError(
                f"column {name!r} of {file} is {table[name].type}, which does not read as {kind}: {_one_line(error)}"
            ) from error
    labelled = pa.table(dict(zip(wanted, columns, strict=True)))
    for limit, keep in ((job.trained_from, pc.greater_equal), (job.trained_until, pc.less_equal)):
        if limit is not None:
            labelled = labelled.filter(keep(labelled["inference_time"], pa.scalar(limit, _TIME)))
    for name in ("event_id", "inference_time"):
        if labelled[name].null_count:
            raise TrainingError(f"{labelled[name].null_count} labelled rows of {file} have no {name}; join them again")
    return labelled


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kind == pa.string() and pa.types.is_boolean(column.type):
        return pc.if_else(column, "True", "False").cast(kind)
    if kind == pa.string() and pa.types.is_floating(column.type):
        # 1.0 and 1 are one label; a float column is often only an integer one that once held a null.
        return column.cast(pa.int64()).cast(kind)
    if kind == _TIME and pa.types.is_timestamp(column.type) and column.type.tz is None:
        return column.cast(pa.timestamp("us"), safe=False).cast(kind)
    return column.cast(kind, safe=kind != _TIME and not pa.types.is_integer(column.type))


def _last_label_wins(table: pa.Table) -> pa.Table:
    order = [("event_id", "ascending"), ("label_time", "ascending"), ("actual", "ascending")]
    known = pc.fill_null(table["label_time"], pa.scalar(0, _TIME))  # a label without a time comes before any with one
    sortable = pa.table({"event_id": table["event_id"], "label_time": known, "actual": table["actual"]})
    table = table.take(pc.sort_indices(sortable, sort_keys=order))
    ids = table["event_id"].combine_chunks()
    last = pc.not_equal(ids[:-1], ids[1:]).to_numpy(zero_copy_only=False) if len(ids) > 1 else np.zeros(0, dtype=bool)
    return table.filter(pa.array(np.append(last, np.ones(min(1, len(ids)), dtype=bool))))


def _newest(table: pa.Table, max_rows: int | None) -> pa.Table:
    order = [("inference_time", "ascending"), ("event_id", "ascending")]
    table = table.take(pc.sort_indices(table, sort_keys=order))
    return table if max_rows is None else table.slice(max(0, len(table) - max_rows))


def _rows(table: pa.Table, schema: FeatureSchema) -> Rows:
    actual = table["actual"]
    labels = _category(actual).texts() if schema.task.is_classification else _float64(actual)
    return Rows(
        schema,
        np.array(table["inference_time"].cast(pa.int64()).combine_chunks(), dtype=np.int64),
        {name: _finite(_float64(table[FEATURE_PREFIX + name])) for name in schema.numbers},
        {name: _category(table[FEATURE_PREFIX + name]) for name in schema.categoricals},
        labels,
    )


def _float64(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    filled = pc.fill_null(column, float("nan")).combine_chunks()
    return np.array(filled, dtype=np.float64)


def _finite(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Take what no float32 can hold for missing: a request with such a number is refused, so none is to be learned."""
    finite: npt.NDArray[np.float64] = np.where(np.abs(values) <= np.finfo(np.float32).max, values, np.nan)
    return finite


def _category(column: pa.ChunkedArray) -> Category:
    encoded = pc.fill_null(column, MISSING_CATEGORY).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # no chunk at all
        return Category(np.zeros(0, dtype=np.int64), ())
    values: Sequence[str] = encoded.dictionary.to_pylist()
    order = np.argsort(np.array(values, dtype=object), kind="stable")
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    return Category(rank[np.array(encoded.indices, dtype=np.int64)], tuple(values[index] for index in order))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
