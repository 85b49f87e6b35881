"""`evergreen drift`: two files in, an answer with its evidence out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from evergreen_ops.cli import app
from evergreen_ops.questions.drift import DriftError
from evergreen_ops.tables import TableError

Columns = dict[str, Any]
HOUR = np.timedelta64(1, "h")
MONDAY = np.datetime64("2024-01-01", "us")


def stored(path: Path, columns: Columns) -> Path:
    table = pa.table(columns)
    match path.suffix:
        case ".csv":
            pyarrow.csv.write_csv(table, path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))
        case _:
            pyarrow.parquet.write_table(table, path)
    return path


def traffic(seed: int, rows: int, *, weeks: int = 0, start: np.datetime64 = MONDAY) -> Columns:
    """Rides: distance, a busy day in the week, zones, now and then no age; in order of time where there are weeks."""
    rng = np.random.default_rng(seed)
    times = start + (np.arange(rows) * (weeks * 7 * 24 * 3_600e6 / rows)).astype("timedelta64[us]")
    busy = (times.astype("datetime64[D]").astype(int) % 7 == 3) if weeks else np.zeros(rows, dtype=bool)
    ages = rng.normal(40, 12, size=rows)
    columns: Columns = {
        "km": rng.exponential(5.0, size=rows) + 3.0 * busy,
        "age": pa.array(ages, mask=rng.random(rows) < 0.03),
        "zone": rng.choice(["north", "south", "east"], rows, p=[0.5, 0.3, 0.2]),
        "night": rng.random(rows) < 0.2,
    }
    return columns | ({"event_time": times} if weeks else {})


def drift(*arguments: str | Path, code: int = 0) -> str:
    answer = CliRunner().invoke(app, ["drift", *map(str, arguments)])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == code, answer.output
    return answer.stdout


def drift_json(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(drift(*arguments, "--json", code=code))
    return found


def column(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(column for column in found["columns"] if column["column"] == name)


# the answer


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("weeks", [0, 8])
def test_a_file_does_not_differ_from_itself(suffix: str, weeks: int, tmp_path: Path) -> None:
    path = stored(tmp_path / f"rides.{suffix}", traffic(0, 2_000, weeks=weeks))
    found = drift_json(path, path)
    assert (found["status"], found["drift"], found["drifted"]) == ("no_drift", False, [])
    assert all(column["score"] == 0.0 or weeks for column in found["columns"])
    assert drift(path, path).startswith("no drift: none of 4 columns drifted\n")


@pytest.mark.parametrize("rows", [100, 143, 500])
@pytest.mark.parametrize("weeks", [0, 8])
def test_a_few_rows_of_the_same_traffic_are_no_drift_in_20_of_20(rows: int, weeks: int, tmp_path: Path) -> None:
    for seed in range(20):
        reference = stored(tmp_path / "reference.parquet", traffic(seed, 5_000, weeks=weeks))
        later = MONDAY + 8 * 7 * 24 * HOUR
        current = stored(tmp_path / "current.parquet", traffic(seed + 100, rows, weeks=weeks and 1, start=later))
        found = drift_json(reference, current)
        assert found["drift"] is False, found
        assert found["cycles"] == weeks


def test_the_drifted_column_is_named_with_what_moved(tmp_path: Path) -> None:
    reference = stored(tmp_path / "reference.csv", traffic(1, 5_000))
    moved = traffic(2, 800)
    moved["zone"] = np.where(np.random.default_rng(0).random(800) < 0.4, "east", moved["zone"])
    moved["km"] = moved["km"] + 4.0
    current = stored(tmp_path / "current.jsonl", moved)
    found = drift_json(reference, current)
    assert sorted(found["drifted"]) == ["km", "zone"]
    assert column(found, "km")["how"].startswith("mean moved from 5")
    assert column(found, "zone")["how"].startswith("'east' from 19.9 % to 5")
    assert column(found, "km")["direction"] == "higher_is_worse"
    assert column(found, "km")["p_value"] < 0.01
    shown = drift(reference, current)
    assert shown.startswith("drift: 2 of 4 columns drifted (")
    assert "rows: 5,000 in REFERENCE, 800 in CURRENT" in shown


def test_few_rows_are_insufficient_data(tmp_path: Path) -> None:
    reference, current = (stored(tmp_path / f"{n}.csv", traffic(3, n)) for n in (5_000, 99))
    assert drift(reference, current).startswith("insufficient data: CURRENT has 99 rows, and 100 are needed\n")
    found = drift_json(current, reference)
    assert (found["status"], found["drift"], found["columns"]) == ("insufficient_data", None, [])


def test_fail_on_drift_is_for_pipelines(tmp_path: Path) -> None:
    one, other = (stored(tmp_path / f"{km}.parquet", {"km": np.arange(300) % 7 + km}) for km in (0, 9))
    drift(one, other)
    drift(one, other, "--fail-on-drift", code=1)
    drift(one, one, "--fail-on-drift")


# times


def test_a_weekly_swing_calibrates_the_threshold_and_the_odd_days_are_said(tmp_path: Path) -> None:
    reference = stored(tmp_path / "reference.parquet", traffic(4, 6_000, weeks=8) | {"label_time": ["x"] * 6_000})
    current = stored(tmp_path / "current.parquet", traffic(5, 700, weeks=1, start=MONDAY + 56 * 24 * HOUR))
    found = drift_json(reference, current)
    assert (found["time"], found["cycles"], found["cycle_days"]) == ("event_time", 8, 7.0)
    assert found["drift"] is False
    assert found["left_out"] == {"event_time": "it holds times", "label_time": "it holds times"}
    shorter = drift_json(reference, current, "--cycle", "3d")
    assert shorter["cycles"] == 18
    assert any("its other" in note for note in shorter["notes"])
    without = drift_json(reference, current, "--time", "none")
    assert (without["time"], without["cycles"]) == (None, 0)


def test_rows_need_not_be_in_order_of_time(tmp_path: Path) -> None:
    rides = traffic(6, 3_000, weeks=6)
    order = np.random.default_rng(0).permutation(3_000)
    shuffled = {name: pa.array(values).take(pa.array(order)) for name, values in rides.items()}
    current = stored(tmp_path / "current.parquet", traffic(7, 500, weeks=1))
    sorted_, mixed = (
        drift_json(stored(tmp_path / f"{name}.parquet", rows), current)
        for name, rows in (("sorted", rides), ("shuffled", shuffled))
    )
    assert sorted_["columns"] == [
        pytest.approx(column) if isinstance(column, float) else column for column in mixed["columns"]
    ] or [c["score"] for c in sorted_["columns"]] == pytest.approx([c["score"] for c in mixed["columns"]])


def test_a_column_called_time_that_counts_from_anywhere_is_no_time(tmp_path: Path) -> None:
    path = stored(tmp_path / "x.parquet", {"time": np.arange(2_000) % 500 * 1.5, "x": np.arange(2_000) % 7})
    found = drift_json(path, path)
    assert found["time"] is None
    assert {column["column"] for column in found["columns"]} == {"time", "x"}
    with pytest.raises(TableError, match="column 'time' goes up to"):
        drift(path, path, "--time", "time")


# columns


def test_row_numbers_ids_and_lists_are_left_out_and_the_output_says_so(tmp_path: Path) -> None:
    rows = 400
    columns = {
        "t": np.arange(rows),
        "pandas_index": np.arange(rows) * 1.0,
        "order_id": [f"2024-{i:06}" for i in range(rows)],
        "uuid": [f"{(i * 7_919) % 10_007:05}" for i in range(rows)],
        "seen": [f"2024-01-{1 + i % 28:02} 10:00" for i in range(rows)],
        "tags": [[1]] * rows,
        "km": np.arange(rows) % 9,
    }
    path = stored(tmp_path / "rides.parquet", columns)
    found = drift_json(path, path)
    assert [column["column"] for column in found["columns"]] == ["km"]
    for name in ("t", "pandas_index", "order_id"):
        assert "rise with every row" in found["left_out"][name]
    assert "different in every row" in found["left_out"]["uuid"]
    assert found["left_out"]["seen"] == "it holds times"
    assert "neither number nor text" in found["left_out"]["tags"]
    assert "not judged: t, pandas_index, order_id (its values rise" in " ".join(drift(path, path).split())
    assert [column["column"] for column in drift_json(path, path, "--columns", "t,km")["columns"]] == ["km", "t"]


def test_columns_of_one_file_alone_are_named(tmp_path: Path) -> None:
    rides = traffic(8, 2_000)
    reference = stored(tmp_path / "reference.parquet", rides)
    current = {name: values for name, values in traffic(9, 500).items() if name != "km"}
    found = drift_json(reference, stored(tmp_path / "current.parquet", current | {"extra": [1] * 500}))
    assert found["drifted"] == ["km"]
    assert (column(found, "km")["score"], column(found, "km")["missing_current"]) == (1.0, 1.0)
    assert column(found, "km")["how"] == "it is not in CURRENT: missing in every row"
    assert found["left_out"] == {"extra": "it is only in CURRENT"}


def test_columns_are_chosen_and_codes_are_categories(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.choice([10, 20, 30], 1_000)
    path = stored(tmp_path / "a.parquet", {"store": codes, "x": rng.normal(size=1_000)})
    other = stored(tmp_path / "b.parquet", {"store": codes * 1.0, "x": rng.normal(size=1_000)})
    assert [c["column"] for c in drift_json(path, path, "--columns", "x")["columns"]] == ["x"]
    assert [c["column"] for c in drift_json(path, path, "--exclude", "x")["columns"]] == ["store"]
    store = column(drift_json(path, other, "--categorical", "store"), "store")
    assert (store["kind"], store["score"]) == ("jensen_shannon", 0.0)


def test_columns_of_unusual_types_are_judged_or_left_out_but_never_break_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    letters = rng.choice(["a", "b"], 300).tolist()
    usual = {
        "unsigned": rng.integers(0, 9, 300).astype("uint64"),
        "half": rng.normal(size=300).astype("float16"),
        "codes": pa.array(rng.integers(0, 4, 300)).dictionary_encode(),
        "encoded": pa.array(letters).dictionary_encode(),
        "view": pa.array(letters, pa.string_view()),
        "[b]bracketed": rng.normal(size=300),
        "": rng.normal(size=300),
    }
    odd = {"day": pa.array([0] * 300, pa.date32()), "blob": [b"x"] * 300}
    path = stored(tmp_path / "odd.parquet", usual | odd)
    found = drift_json(path, path)
    assert {column["column"] for column in found["columns"]} == set(usual)
    assert set(found["left_out"]) == set(odd)
    assert "[b]bracketed" in drift(path, path)


def test_a_number_that_became_text_is_judged_by_what_can_be_read(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(10, 2, size=1_000)
    reference = stored(tmp_path / "reference.csv", {"x": numbers, "code": np.arange(1_000) % 3})
    texts = [f"{number:.3f}" for number in numbers[:995]] + ["broken"] * 5
    current = stored(tmp_path / "current.csv", {"x": texts, "code": ["a", "b", "c", "d"] * 250})
    found = drift_json(reference, current)
    assert column(found, "x")["kind"] == "wasserstein"
    assert (column(found, "x")["drifted"], column(found, "x")["missing_current"]) == (False, 0.005)
    assert (column(found, "code")["kind"], column(found, "code")["drifted"]) == ("jensen_shannon", True)
    told = " ".join(found["notes"])
    assert "'x' is text in CURRENT and a number in REFERENCE: judged as a number" in told
    assert "'code' is text in CURRENT and a number in REFERENCE: judged as categories" in told


# what is refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--columns", "miles"], "neither file has a column 'miles'"),
        (["--time", "at"], "no column 'at' for --time"),
        (["--exclude", "km,age,zone,night"], "no column is left to judge"),
        (["--columns", "event_time"], "'event_time': it holds times"),
        (["--cycle", "1m"], "over 1,000: give a longer one"),
        (["--cycle", "week"], "--cycle is 'week'"),
        (["--threshold", "0"], "drift_threshold is 0"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(options: list[str], says: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "rides.parquet", traffic(10, 500, weeks=2))
    with pytest.raises(ValueError, match=says) as refused:
        drift(path, path, *options)
    assert "\n" not in str(refused.value)


def test_a_column_that_only_the_current_file_has_cannot_be_asked_for(tmp_path: Path) -> None:
    one, both = stored(tmp_path / "a.csv", {"x": [1]}), stored(tmp_path / "b.csv", {"x": [1], "y": [2]})
    with pytest.raises(DriftError, match="there is nothing to compare it with"):
        drift(one, both, "--columns", "y")


# the page


@pytest.mark.parametrize("weeks", [0, 6])
def test_the_page_is_one_file_with_a_chart_for_each_column(weeks: int, tmp_path: Path) -> None:
    reference = stored(tmp_path / "reference.parquet", traffic(11, 3_000, weeks=weeks))
    moved = traffic(12, 1_500, weeks=weeks and 3)
    moved["km"] = moved["km"] + 9.0
    current = stored(tmp_path / "<current>.parquet", moved)
    drift(reference, current, "--plot", tmp_path / "drift.html")
    page = (tmp_path / "drift.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Drift: 1 of 4 columns drifted (km)" in page
    assert page.count("<figure") == page.count("<svg") == 4
    assert "&lt;current&gt;.parquet" in page
    assert "<script" not in page
    assert "http" not in page
    assert ('class="heat"' in page) == bool(weeks)


def test_a_page_of_columns_without_any_value_is_still_a_page(tmp_path: Path) -> None:
    nothing = {"x": pa.nulls(200, pa.float64()), "k": pa.nulls(200, pa.string()), "n": pa.nulls(200), "c": [7] * 200}
    path = stored(tmp_path / "nothing.parquet", nothing)
    drift(path, path, "--plot", tmp_path / "drift.html")
    assert "No drift" in (tmp_path / "drift.html").read_text()


# the process


def in_a_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evergreen_ops", "drift", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_runs_as_a_process(tmp_path: Path) -> None:
    path = stored(tmp_path / "rides.csv", traffic(13, 300))
    answer = in_a_process(path, path, "--json")
    assert (answer.returncode, json.loads(answer.stdout)["status"], answer.stderr) == (0, "no_drift", "")
    missing = in_a_process(path, tmp_path / "no.csv")
    assert missing.returncode == 2
    assert missing.stderr == (
        f"evergreen: {tmp_path / 'no.csv'} does not exist: give the path of a Parquet, CSV or JSON Lines file\n"
    )


def test_neither_pandas_nor_scipy_is_loaded(tmp_path: Path) -> None:
    path = stored(tmp_path / "rides.parquet", traffic(14, 3_000, weeks=4))
    program = (
        "import sys; from evergreen_ops.cli import app\n"
        f"app(['drift', {str(path)!r}, {str(path)!r}, '--plot', {str(tmp_path / 'd.html')!r}], standalone_mode=False)\n"
        "heavy = {'pandas', 'scipy', 'sklearn', 'boto3', 'mlflow', 'moto'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, capture_output=True)
