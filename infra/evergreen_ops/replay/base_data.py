"""Labelled rows from before Evergreen: read from a user's file and handed to a model for its first training."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evergreen.errors import UsageError
from evergreen.spec import ModelSpec
from evergreen.usecases.people import bring
from evergreen_ops.replay import streams
from evergreen_ops.replay.driver import BASE_FILES, inference_ids, outcome_table
from evergreen_ops.replay.policies import labelled_rows
from evergreen_ops.replay.specs import check_spec
from evergreen_ops.replay.streams import Stream

if TYPE_CHECKING:
    from evergreen.ports import Ports


def read_base_data(file: Path, spec: ModelSpec, *, label: str, time: str, label_time: str) -> Stream:
    """Read labelled rows for the spec's features.

    Raises
    ------
    StreamError
        The file can't be read, or is not what the spec says.
    UsageError
        The file has no times: nobody could tell which rows a training may use.
    """
    task = streams.task_name(spec.task.value)
    stream = streams.load(file, label=label, time=time, label_time=label_time, task=task)
    if not stream.times_given:
        raise UsageError(f"{file} has no column {time!r}: name the column with the time of each row with --time")
    check_spec(spec, stream)
    return stream


def hand_over(stream: Stream, spec: ModelSpec, *, now: datetime, ports: Ports) -> int:
    """Store the rows that a training may use now; answers how many these are.

    They go into a few files, so that a later training window can leave the oldest out. The same rows make the same
    files: handing them over twice changes nothing.
    """
    rows = labelled_rows(stream, spec, np.arange(stream.rows), streams.as_instant(now))
    if not len(rows):
        newest = streams.as_datetime(stream.event_time[-1])
        raise UsageError(
            f"none of the {stream.rows:,} rows has a label and a time within training.window "
            f"({spec.to_json()['training']['window']}): the newest is of {newest:%Y-%m-%d %H:%M}"
        )
    for part in np.array_split(rows, min(BASE_FILES, max(1, len(rows) // 100))):
        until = streams.as_datetime(stream.event_time[part[-1]])
        table = outcome_table(stream, spec, part, inference_ids(0, part, until))
        bring.add_base_data(spec.model, table, now=now, ports=ports)
    return len(rows)
