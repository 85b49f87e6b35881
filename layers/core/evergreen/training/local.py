"""Train on any table, outside any cloud, under the same contract as a training job.

``python -m evergreen.training --data flights.parquet --label late --time departed --out model/``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.training.artifact import pack
from evergreen.training.job import TrainingError
from evergreen.training.rows import FEATURE_PREFIX
from evergreen.training.train import main as run_job

__all__ = ["guess_features", "main", "to_outcomes"]

_TIME = pa.timestamp("us", tz="UTC")
_HOUR = 3_600_000_000
_MOST_LABELS = 20
ARCHIVE = "model.tar.gz"


def to_outcomes(table: pa.Table, *, label: str, time: str | None, ignore: Sequence[str] = ()) -> pa.Table:
    """Turn a plain table into outcome rows, whose features are its other columns.

    Parameters
    ----------
    table
        Rows in time order, or with a time column.
    label
        The column to predict.
    time
        When each row's request came; without one, rows are taken to come an hour apart.
    ignore
        Columns that are neither.

    Returns
    -------
    pyarrow.Table
        event_id, inference_time, label_time, actual and ``feature.*``; the id is the row's number.

    Raises
    ------
    TrainingError
        A column is not there, or the time column holds no times.
    """
    for name in [label, *ignore] + ([time] if time else []):
        if name not in table.column_names:
            raise TrainingError(f"column {name!r} is not in the table, which has {', '.join(table.column_names)}")
    if time is None:
        times = pa.array([row * _HOUR for row in range(len(table))]).cast(_TIME)
    elif pa.types.is_timestamp(table[time].type) or pa.types.is_date(table[time].type):
        times = table[time].cast(pa.timestamp("us"), safe=False).cast(_TIME)
    else:
        raise TrainingError(f"column {time!r} is {table[time].type}, which is no time; store it as a timestamp")
    width = len(str(len(table)))
    columns: dict[str, Any] = {
        "event_id": pa.array([f"row-{row:0{width}d}" for row in range(len(table))]),
        "inference_time": times,
        "label_time": times,
        "actual": table[label],
    }
    for name in table.column_names:
        if name not in (label, time, *ignore):
            columns[FEATURE_PREFIX + name] = _feature(table[name])
    return pa.table(columns)


def guess_features(outcomes: pa.Table) -> list[dict[str, str]]:
    """Name the features of outcome rows and their types: text is categorical, everything else a number."""
    return [
        {
            "name": field.name[len(FEATURE_PREFIX) :],
            "type": "categorical" if pa.types.is_string(field.type) else "number",
        }
        for field in outcomes.schema
        if field.name.startswith(FEATURE_PREFIX)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on one Parquet file and leave the artifact, also packed as model.tar.gz, in a folder."""
    given = _parser().parse_args(arguments)
    try:
        outcomes, hyperparameters = _prepared(given)
    except (TrainingError, OSError, pa.ArrowInvalid, json.JSONDecodeError) as error:
        print(f"training failed: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    out = Path(given.out)
    with tempfile.TemporaryDirectory() as base:
        channel = Path(base) / "input" / "data" / "training"
        channel.mkdir(parents=True)
        pq.write_table(outcomes, channel / "rows.parquet")
        environment = {
            "SAGEMAKER_BASE_DIR": base,
            "SM_MODEL_DIR": str(out),
            "SM_OUTPUT_DATA_DIR": str(out / "output"),
            "SM_HPS": json.dumps(hyperparameters),
            **{name: os.environ[name] for name in ("MLFLOW_TRACKING_URI", "TRAINING_JOB_NAME") if name in os.environ},
        }
        failed = run_job([], environment)
    if failed:
        return failed
    packed = pack({file.name: file.read_bytes() for file in out.iterdir() if file.suffix in (".onnx", ".json")})
    (out / ARCHIVE).write_bytes(packed)
    print(f"{out / ARCHIVE}: {len(packed):,} bytes, sha256 {hashlib.sha256(packed).hexdigest()}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evergreen.training", description="Train on a table, outside any cloud, as a training job would."
    )
    parser.add_argument("--data", required=True, help="a Parquet file, rows in time order or with --time")
    parser.add_argument("--label", required=True, help="the column to predict")
    parser.add_argument(
        "--out", required=True, help="the folder for model.onnx, model.json, reference.json, model.tar.gz"
    )
    parser.add_argument("--time", help="the column with the time of each row's request")
    parser.add_argument("--ignore", nargs="*", default=[], help="columns that are no features")
    parser.add_argument("--task", choices=("binary", "multiclass", "regression"), help="guessed from the label")
    parser.add_argument("--model", default="model", help="the model's name")
    parser.add_argument(
        "--estimator", default="", help="a scikit-learn class name (RandomForestClassifier, ...Regressor)"
    )
    parser.add_argument("--params", default="{}", help="its keyword arguments, JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation-fraction", type=float, default=0.2)
    parser.add_argument("--max-rows", type=int, default=0, help="use only the newest so many rows (0: all)")
    parser.add_argument("--min-rows", type=int, default=100)
    parser.add_argument("--cycle-days", type=float, default=7.0)
    return parser


def _prepared(given: argparse.Namespace) -> tuple[pa.Table, dict[str, Any]]:
    table = pq.read_table(given.data)
    outcomes = to_outcomes(table, label=given.label, time=given.time, ignore=given.ignore)
    params = json.loads(given.params)
    return outcomes, {
        "model": given.model,
        "task": given.task or _guess_task(outcomes["actual"]),
        "features": guess_features(outcomes),
        "estimator": given.estimator,
        "params": params,
        "seed": given.seed,
        "validation_fraction": given.validation_fraction,
        "max_rows": given.max_rows,
        "min_rows": given.min_rows,
        "cycle_days": given.cycle_days,
    }


def _guess_task(label: pa.ChunkedArray) -> str:
    distinct = int(pc.count_distinct(label).as_py())
    if distinct == 2:
        return "binary"
    few = distinct <= _MOST_LABELS and not pa.types.is_floating(label.type)
    return "multiclass" if few or pa.types.is_string(label.type) or pa.types.is_dictionary(label.type) else "regression"


def _feature(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    if pa.types.is_temporal(column.type):
        return column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).cast(pa.float64())
    return column.cast(pa.float64(), safe=False)
