"""Reading histories: what becomes a feature, when a label is known, and what is refused in one sentence."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from evergreen_ops.replay import streams
from evergreen_ops.replay.streams import StreamError, flights_stream, load, read_table

ROWS = 1_200


def table(**columns: Any) -> pa.Table:
    usual = {"x": np.arange(ROWS) % 7 + 0.5, "label": np.arange(ROWS) % 2}
    return pa.table({**usual, **columns})


def stored(folder: Path, content: pa.Table) -> Path:
    path = folder / "traffic.parquet"
    pyarrow.parquet.write_table(content, path)
    return path


def test_rows_without_times_are_spread_evenly_and_labels_come_five_hundred_rows_later() -> None:
    stream = read_table(table(), name="traffic")
    assert stream.event_time[500] - stream.event_time[0] == np.timedelta64(1, "D")
    late = read_table(pa.table({"x": range(60_000), "label": [0, 1] * 30_000}), name="long")
    assert np.all(late.label_time - late.event_time == np.timedelta64(1, "D"))
    assert np.searchsorted(late.event_time, late.label_time[0]) == 500
    assert not stream.times_given


def test_a_short_stream_does_not_wait_a_day_for_a_label() -> None:
    times = np.datetime64("2024-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "s")
    stream = read_table(table(event_time=times), name="burst")
    assert stream.label_time[0] - stream.event_time[0] < np.timedelta64(30, "s")


def test_numbers_stay_numbers_and_text_becomes_categories() -> None:
    stream = read_table(
        table(
            few=np.arange(ROWS) % 3,
            flag=np.arange(ROWS) % 5 == 0,
            city=pa.array(["a", "b", None] * 400).dictionary_encode(),
        ),
        name="traffic",
    )
    assert dict(stream.features) == {"x": "number", "few": "number", "flag": "number", "city": "categorical"}
    assert stream.instances(slice(2, 3)) == [{"x": 2.5, "few": 2.0, "flag": 0.0, "city": None}]


def test_columns_that_tell_nothing_are_left_out_with_a_note() -> None:
    stream = read_table(
        table(
            same=[1] * ROWS,
            request_id=[f"r{i}" for i in range(ROWS)],
            seen=np.datetime64("2024-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "h"),
            user=[f"u{i % 1_100}" for i in range(ROWS)],
            t=np.arange(ROWS),
        ),
        name="traffic",
    )
    assert list(stream.features) == ["x"]
    told = " ".join(stream.notes)
    assert all(f"'{name}' is left out" in told for name in ("same", "request_id", "seen", "user"))
    assert "'t'" not in told  # an order index is known for what it is


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (["no", "yes"] * 600, "binary", ("no", "yes")),
        ([True, False] * 600, "binary", ("False", "True")),
        ([2.0, 7.0, 3.0] * 400, "multiclass", ("2", "3", "7")),
        (list(range(ROWS)), "regression", None),
        ([0.5, 1.5] * 600, "regression", None),
    ],
)
def test_the_task_is_told_from_the_label(labels: list[Any], task: str, classes: tuple[str, ...] | None) -> None:
    stream = read_table(table(label=labels), name="traffic")
    assert (stream.task, stream.classes) == (task, classes)


def test_a_label_that_is_missing_is_never_known() -> None:
    stream = read_table(table(label=pa.array([0, 1, None] * 400)), name="traffic")
    assert stream.label[:3].tolist() == ["0", "1", None]
    assert stream.labelled.sum() == 800


def test_unsorted_rows_are_sorted_and_ties_keep_their_order() -> None:
    minutes = np.array([2, 1, 1, *range(3, ROWS)])
    stream = read_table(
        table(event_time=np.datetime64("2024-01-01", "us") + minutes * np.timedelta64(1, "m"), x=np.arange(ROWS)),
        name="traffic",
    )
    assert stream.columns["x"][:3].tolist() == [1, 2, 0]
    assert "have been sorted" in stream.notes[-1]


def test_a_csv_file_reads_like_its_parquet_twin(tmp_path: Path) -> None:
    content = table(event_time=[f"2024-01-{1 + i // 100:02}T{i % 24:02}:00:00Z" for i in range(ROWS)])
    pyarrow.csv.write_csv(content, tmp_path / "traffic.csv")
    csv, parquet = load(tmp_path / "traffic.csv"), load(stored(tmp_path, content))
    assert np.array_equal(csv.event_time, parquet.event_time)
    assert np.array_equal(csv.label, parquet.label)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table().drop_columns(["label"]), "no column 'label'"),
        (table().slice(0, 0), "has no rows"),
        (table().slice(0, 50), "has 50 rows"),
        (table(label=[1] * ROWS), "is always 1"),
        (table(label=pa.nulls(ROWS, pa.int64())), "no known value"),
        (table(event_time=np.arange(ROWS)), "not a time"),
        (table(event_time=["yesterday"] * ROWS), "can't be read as times"),
        (table(x=[1] * ROWS), "no usable feature"),
        (table(event_time=[datetime(2024, 1, 1)] * ROWS), "same 'event_time' in every row"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_replayed_is_refused_in_one_line(content: pa.Table, says: str, tmp_path: Path) -> None:
    with pytest.raises(StreamError, match=says) as refused:
        load(stored(tmp_path, content))
    assert "\n" not in str(refused.value)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "text.parquet").write_text("hello")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    for name, says in (
        ("empty", "0 bytes"),
        ("text", "neither Parquet"),
        ("broken", "can't be read"),
        ("no", "not exist"),
    ):
        with pytest.raises(StreamError, match=says):
            load(tmp_path / f"{name}.parquet")


def test_a_label_before_its_request_is_refused() -> None:
    times = np.datetime64("2024-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "h")
    with pytest.raises(StreamError, match="before their request"):
        read_table(table(event_time=times, label_time=times - np.timedelta64(1, "h")), name="traffic")


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    """A late one to Los Angeles, one to Puerto Rico in summer, one past midnight, a cancelled one."""
    return pa.table(
        {
            "year": [2013] * 4,
            "month": [1, 7, 1, 1],
            "day": [1, 1, 1, 2],
            "hour": [6, 6, 23, 6],
            "minute": [0, 30, 0, 0],
            "time_hour": [
                "2013-01-01T11:00:00Z",
                "2013-07-01T10:00:00Z",
                "2013-01-02T04:00:00Z",
                "2013-01-02T11:00:00Z",
            ],
            "dep_time": [620.0, 630.0, 2330.0, None],
            "dep_delay": [20.0, 0.0, 30.0, None],
            "arr_time": [930.0, 1015.0, 245.0, None],
            "arr_delay": [16.0, 15.0, 30.0, None],
            "air_time": [340.0, 190.0, 160.0, None],
            "carrier": ["UA", "B6", "UA", "UA"],
            "origin": ["EWR", "JFK", "EWR", "EWR"],
            "dest": ["LAX", "SJU", "MIA", "LAX"],
            "distance": [2454, 1598, 1085, 2454],
        }
    )


def test_flights_are_joined_with_the_weather_and_labelled_at_the_gate(flights: pa.Table) -> None:
    weather = pa.table(
        {
            "origin": ["EWR", "JFK"],
            "time_hour": ["2013-01-01T11:00:00Z", "2013-07-01T11:00:00Z"],
            **{name: [1.0, 2.0] for name in streams.WEATHER},
        }
    )
    airports = pa.table({"faa": ["LAX", "MIA"], "tz": [-8, -5], "dst": ["A", "A"]})
    stream = flights_stream(flights, weather, airports)
    assert stream.label.tolist() == ["1", "1", None, "0"]
    assert stream.columns["dest"].tolist() == ["LAX", "MIA", "LAX", "SJU"]
    assert [str(time)[:16] for time in stream.label_time] == [
        "2013-01-01T17:30",  # 09:30 in Los Angeles
        "2013-01-02T07:45",  # 02:45 in Miami, the next day
        "NaT",
        "2013-07-01T14:15",  # 10:15 in San Juan, which is New York's time in summer
    ]
    assert stream.columns["temp"][0] == 1.0
    assert np.isnan(stream.columns["temp"][3])  # the station has no reading for that hour
    assert "month" not in stream.features
