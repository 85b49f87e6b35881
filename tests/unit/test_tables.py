"""Tables in files: one reading for Parquet, CSV and JSON Lines, and one sentence for what is no table."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from evergreen_ops import tables
from evergreen_ops.tables import TableError, batches, column_names, instants, read

ROWS = [
    {"km": 3.5, "city": "Oslo", "night": True},
    {"km": None, "city": "Sao, Paulo", "night": False},
    {"km": 12.0, "city": None, "night": None},
]
CSV = 'km,city,night\n3.5,Oslo,true\n,"Sao, Paulo",false\n12,,\n'


def stored(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def gzipped(content: bytes) -> bytes:
    """Without the time: it is part of a test's name."""
    return gzip.compress(content, mtime=0)


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(folder: Path, table: pa.Table, name: str = "rides.parquet") -> Path:
    pyarrow.parquet.write_table(table, folder / name)
    return folder / name


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text counts as long from a few bytes on, so that it is streamed."""
    monkeypatch.setattr(tables, "BYTES_AT_ONCE", 64)


# what reads


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rides.csv", CSV),
        ("rides.CSV", CSV.replace("\n", "\r\n")),
        ("rides.csv", "\ufeff" + CSV),
        ("rides.csv", CSV.replace('"Sao, Paulo"', "@").replace(",", ";").replace("@", '"Sao, Paulo"')),
        ("rides.tsv", CSV.replace('"Sao, Paulo"', "@").replace(",", "\t").replace("@", "Sao, Paulo")),
        ("rides.csv.gz", gzipped(CSV.encode())),
        ("rides.csv", gzipped(b"\xef\xbb\xbf" + CSV.encode())),
        ("rides.csv", CSV.replace("\n", "\n\n")),
        ("rides.jsonl", json_lines(ROWS)),
        ("rides.ndjson", "\ufeff" + json_lines(ROWS).replace("\n", "\r\n")),
        ("rides.json", json_lines(ROWS).rstrip("\n")),
        ("rides", json_lines(ROWS)),
        ("rides.jsonl.gz", gzipped(json_lines(ROWS).encode())),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_one_table_in_many_clothes(
    name: str, content: bytes | str, streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed:
        monkeypatch.setattr(tables, "BYTES_AT_ONCE", 64)
    path = stored(tmp_path, name, content)
    assert read(path).to_pylist() == ROWS
    assert [row for batch in batches(path) for row in batch.to_pylist()] == ROWS
    assert column_names(path) == ["km", "city", "night"]


def test_parquet_is_told_from_its_first_bytes(tmp_path: Path) -> None:
    path = parquet(tmp_path, pa.Table.from_pylist(ROWS), "rides.csv")
    assert read(path).to_pylist() == ROWS


@pytest.mark.parametrize("name", ["rides.parquet", "rides.csv", "rides.jsonl"])
def test_columns_come_alone_and_in_the_order_asked_for(name: str, tmp_path: Path) -> None:
    content = {"rides.csv": CSV, "rides.jsonl": json_lines(ROWS)}
    path = stored(tmp_path, name, content[name]) if name in content else parquet(tmp_path, pa.Table.from_pylist(ROWS))
    assert read(path, ["night", "km"]).column_names == ["night", "km"]
    assert next(batches(path, ["city"])).to_pydict() == {"city": ["Oslo", "Sao, Paulo", None]}


def test_a_quoted_value_may_hold_a_line_end(tmp_path: Path) -> None:
    path = stored(tmp_path, "notes.csv", 'id,note\n1,"two\nlines"\n2,one\n')
    assert read(path)["note"].to_pylist() == ["two\nlines", "one"]


def test_values_that_spreadsheets_write_for_nothing_are_missing(tmp_path: Path) -> None:
    path = stored(tmp_path, "x.csv", "x,k\n1,a\nNA,NA\nnan,null\n")
    assert read(path).to_pydict() == {"x": [1, None, None], "k": ["a", None, None]}


def test_a_header_alone_is_a_table_of_no_rows(tmp_path: Path) -> None:
    path = stored(tmp_path, "x.csv", "x,k\n")
    assert (read(path).num_rows, column_names(path)) == (0, ["x", "k"])


@pytest.mark.usefixtures("small_pieces")
def test_a_type_that_shows_late_in_a_long_csv_file_is_found_before_the_first_batch(tmp_path: Path) -> None:
    many = 300_000  # more than one block
    lines = ["a,b,c,d", *["1,,2024-01-01,7"] * many, "2.5,x,soon,8"]
    path = stored(tmp_path, "late.csv", "\n".join(lines))
    types = {batch.schema for batch in batches(path)}
    assert [str(field.type) for field in types.pop()] == ["double", "string", "string", "int64"]
    assert not types
    assert read(path).slice(many).to_pylist() == [{"a": 2.5, "b": "x", "c": "soon", "d": 8}]


@pytest.mark.usefixtures("small_pieces")
def test_columns_and_types_that_show_late_in_a_long_jsonl_file_are_found_before_the_first_batch(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "at": "2024-01-01T00:00:00"}] * 40 + [{"a": 2.5, "at": "soon", "b": "x"}]
    path = stored(tmp_path, "late.jsonl", json_lines(rows))
    assert column_names(path) == ["a", "at", "b"]
    assert read(path).slice(39).to_pylist() == [
        {"a": 1.0, "at": "2024-01-01T00:00:00", "b": None},
        {"a": 2.5, "at": "soon", "b": "x"},
    ]


# what is refused


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("e.csv", "", r"e\.csv is empty \(0 bytes\)"),
        ("e.parquet", "", "is empty"),
        ("e.jsonl", "\n\n", "is empty"),
        ("e.csv", gzipped(b""), "is empty"),
        ("e.parquet", "hello", "neither Parquet"),
        ("e.txt.zip", b"PK\x03\x04", "neither Parquet"),
        ("e.csv", b"\x7fELF\x00\x00", "is no text"),
        ("e.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("e.csv", b"a,b\n1,\xff\n", "column 'b' is not UTF-8"),
        ("e.csv", "a,b\n1,2\n\n3\n", r"e\.csv, line 4: 1 value where the header names 2 columns"),
        ("e.csv", 'a,b\n"1\n1",2\n3,4,5\n', r"line 4: 3 values"),
        ("e.csv", "a,b,a\n1,2,3\n", "column 'a' twice"),
        ("e.jsonl", '{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("e.jsonl", '{"a": 1}\n\n[1]\n', "line 3 is no JSON object"),
        ("e.jsonl", '{"a": 1}\n{"a": "x"}\n', "line 2: column 'a' is text, and a number above"),
        ("e.json", '[{"a": 1}]', "is one JSON array"),
        ("e.jsonl.gz", gzipped(b'{"a": 1}\n' * 9_999)[:-20], "cut off"),
        ("e.parquet", b"PAR1 and then nothing", "cut off or damaged"),
        ("e.parquet.gz", gzipped(b"PAR1"), "gzipped Parquet"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_no_table_is_refused_in_one_line(
    name: str, content: bytes | str, says: str, streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed:
        monkeypatch.setattr(tables, "BYTES_AT_ONCE", 8)
    with pytest.raises(TableError, match=says) as refused:
        read(stored(tmp_path, name, content))
    assert "\n" not in str(refused.value)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, pa.table({"x": np.arange(10_000)}))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TableError, match=r"rides\.parquet can't be read: it is cut off"):
        read(path)


def test_missing_files_folders_and_columns_are_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, "x.csv", CSV)
    with pytest.raises(TableError, match="does not exist"):
        read(tmp_path / "no.csv")
    with pytest.raises(TableError, match="is not a file"):
        read(tmp_path)
    with pytest.raises(TableError, match="has no column 'miles': name one of km, city, night"):
        read(path, ["miles"])
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(TableError, match="column 'a' twice"):
        read(parquet(tmp_path, twice))


# instants

NOON = datetime(2024, 3, 1, 12)  # noqa: DTZ001


@pytest.mark.parametrize(
    "values",
    [
        pa.array([NOON, None], pa.timestamp("s")),
        pa.array([NOON.replace(tzinfo=UTC), None], pa.timestamp("ns", tz="Europe/Oslo")),
        pa.array(
            [datetime(2024, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))), None], pa.timestamp("ms", tz="+02:00")
        ),
        pa.array(["2024-03-01T12:00:00Z", None]),
        pa.array(["2024-03-01 12:00:00", ""]),
        pa.array(["2024-03-01T12:00:00.000000000+00:00", None]),
        pa.array(["2024-03-01T14:00:00+02:00", None]).dictionary_encode(),
        pa.array(["2024-03-01T07:00:00.000-0500", None], pa.large_string()),
        *(pa.array([1_709_294_400 * 1_000**power, None]) for power in range(4)),
        pa.array([1_709_294_400.0, float("nan")]),
    ],
)
def test_instants_are_read_however_they_are_written(values: pa.Array) -> None:
    assert instants(values, "at").tolist() == [NOON, None]
    assert instants(pa.chunked_array([values[:1], values[1:]]), "at").dtype == "datetime64[us]"


def test_offsets_may_differ_from_row_to_row() -> None:
    values = pa.chunked_array([["2024-03-01T12:00:00"], ["2024-03-01T13:00:00+01:00", "2024-03-01T12:00:00Z"]])
    assert instants(values, "at").tolist() == [NOON] * 3


def test_days_are_their_midnights() -> None:
    midnight = NOON.replace(hour=0)
    assert instants(pa.array([date(2024, 3, 1)]), "at").tolist() == [midnight]
    assert instants(pa.array(["2024-03-01"]), "at").tolist() == [midnight]


def test_a_column_without_values_has_no_instants() -> None:
    for values in (pa.nulls(2), pa.nulls(2, pa.int64()), pa.nulls(2, pa.string())):
        assert np.isnat(instants(values, "at")).tolist() == [True, True]
    assert len(instants(pa.chunked_array([], pa.int64()), "at")) == 0


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["yesterday"], r"column 'at' can't be read as times \(first value 'yesterday'\)"),
        ([0, 45_311], "column 'at' goes up to 45,311, which is no time"),
        ([True], "column 'at' is bool, not a time"),
        ([1e300], "which is no time"),
    ],
)
def test_what_is_no_instant_is_refused(values: list[Any], says: str) -> None:
    with pytest.raises(TableError, match=says):
        instants(pa.chunked_array([values]), "at")
