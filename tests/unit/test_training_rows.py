"""Which rows a job learns from: labelled, in the window, once each, oldest first, whatever the files look like."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.model.schema import FeatureSchema
from evergreen.training.job import TrainingError, TrainingJob
from evergreen.training.read_rows import read_rows

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = FeatureSchema.of("binary", {"x": "number", "plan": "categorical"})


def hour(index):
    return START + timedelta(hours=index)


def write(path, rows, **types):
    """Write rows as (event_id, hour, label, x, plan[, label_hour]); ``types`` change a column's Arrow type."""
    columns = {
        "event_id": pa.array([row[0] for row in rows]),
        "inference_time": pa.array([hour(row[1]) for row in rows], pa.timestamp("us", tz="UTC")),
        "label_time": pa.array([hour(row[5]) if len(row) > 5 else None for row in rows], pa.timestamp("us", tz="UTC")),
        "actual": pa.array([row[2] for row in rows], types.get("actual")),
        "feature.x": pa.array([row[3] for row in rows], types.get("x")),
        "feature.plan": pa.array([row[4] for row in rows], types.get("plan")),
        "probabilities": pa.array([[0.5, 0.5]] * len(rows)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({name: column for name, column in columns.items() if name not in types.get("drop", ())}), path
    )


def read(folder, schema=SCHEMA, **changes):
    return read_rows(folder, TrainingJob("churn", schema, "RandomForestClassifier", min_rows=1, **changes))


def xs(rows):
    return rows.numbers["x"].tolist()


def test_files_of_any_nesting_are_read_in_time_order(tmp_path):
    write(tmp_path / "outcomes/2026/01/01/05/b.parquet", [("b", 5, "1", 2.0, "gold")])
    write(tmp_path / "base/a.parquet", [("c", 9, "0", 3.0, None), ("a", 1, "0", 1.0, "basic")])
    rows = read(tmp_path)
    assert xs(rows) == [1.0, 2.0, 3.0]
    assert rows.actual.tolist() == ["0", "1", "0"]
    assert rows.categories["plan"].texts().tolist() == ["basic", "gold", ""]
    assert rows.raw_columns()["plan"].tolist() == ["basic", "gold", None]
    assert [rows.time(index) for index in range(3)] == [hour(1), hour(5), hour(9)]


def test_rows_of_the_same_time_are_ordered_by_id_however_the_files_split_them(tmp_path):
    several = [(name, 3, "1", float(index), "a") for index, name in enumerate("dbca")]
    write(tmp_path / "one/all.parquet", several)
    for index, row in enumerate(several):
        write(tmp_path / f"four/{index}.parquet", [row])
    assert xs(read(tmp_path / "one")) == xs(read(tmp_path / "four")) == [3.0, 1.0, 2.0, 0.0]


def test_rows_without_a_label_are_left_out(tmp_path):
    write(tmp_path / "a.parquet", [("a", 1, None, 1.0, "a"), ("b", 2, "1", 2.0, "a")])
    assert xs(read(tmp_path)) == [2.0]


def test_of_one_event_the_last_label_wins(tmp_path):
    write(tmp_path / "a.parquet", [("a", 1, "0", 1.0, "p", 20), ("a", 1, "1", 1.0, "p", 30), ("b", 2, "1", 2.0, "p")])
    write(tmp_path / "b.parquet", [("a", 1, "0", 1.0, "p", 10), ("b", 2, "0", 2.0, "p", 5)])
    assert read(tmp_path).actual.tolist() == ["1", "0"]


def test_rows_outside_the_training_window_are_left_out(tmp_path):
    write(tmp_path / "a.parquet", [(f"e{index}", index, "1", float(index), "p") for index in range(6)])
    assert xs(read(tmp_path, trained_from=hour(1), trained_until=hour(4))) == [1.0, 2.0, 3.0, 4.0]


def test_the_newest_rows_are_kept(tmp_path):
    write(tmp_path / "a.parquet", [(f"e{index}", index, "1", float(index), "p") for index in range(6)])
    assert xs(read(tmp_path, max_rows=2)) == [4.0, 5.0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1], ["0", "1"]), ([0.0, 1.0], ["0", "1"]), ([False, True], ["False", "True"]), (["x", "y"], ["x", "y"])],
)
def test_labels_are_strings_whatever_type_they_are_stored_in(tmp_path, labels, expected):
    write(tmp_path / "a.parquet", [("a", 1, labels[0], 1.0, "p"), ("b", 2, labels[1], 2.0, "p")])
    assert read(tmp_path).actual.tolist() == expected


def test_files_whose_types_differ_go_together(tmp_path):
    write(tmp_path / "a.parquet", [("a", 1, "0", 1, "p")], x=pa.int32())
    write(tmp_path / "b.parquet", [("b", 2, "1", None, None)], x=pa.null(), plan=pa.null())
    write(tmp_path / "c.parquet", [("c", 3, "1", True, "q")], x=pa.bool_(), plan=pa.dictionary(pa.int8(), pa.string()))
    write(tmp_path / "d.parquet", [("d", 4, "1", 2.0, 7)], plan=pa.int64())
    write(tmp_path / "e.parquet", [("e", 5, "1", 2.0, "p")], drop=("feature.plan", "label_time"))
    rows = read(tmp_path)
    np.testing.assert_array_equal(rows.numbers["x"], [1.0, np.nan, 1.0, 2.0, 2.0])
    assert rows.categories["plan"].texts().tolist() == ["p", "", "q", "7", ""]


def test_numbers_that_no_float32_holds_are_missing(tmp_path):
    write(
        tmp_path / "a.parquet", [("a", 1, "0", float("inf"), "p"), ("b", 2, "1", -1e300, "p"), ("c", 3, "1", 1e38, "p")]
    )
    np.testing.assert_array_equal(read(tmp_path).numbers["x"], [np.nan, np.nan, 1e38])


def test_training_and_request_rows_are_encoded_alike(tmp_path):
    write(tmp_path / "a.parquet", [("a", 1, "0", 0.1, "p"), ("b", 2, "1", None, None)])
    ours, theirs = read(tmp_path).columns(), SCHEMA.columns([{"x": 0.1, "plan": "p"}, {"x": None, "plan": None}])
    for name in SCHEMA.names:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize(
    ("prepare", "named"),
    [
        (lambda folder: None, "holds no Parquet file"),
        (lambda folder: (folder / "a.parquet").write_bytes(b"PAR0"), "a.parquet of channel training is no readable"),
        (
            lambda folder: write(folder / "a.parquet", [("a", 1, "0", 1.0, "p")], drop=("feature.x",)),
            "column 'feature.x' is in none of the 1 files",
        ),
        (
            lambda folder: write(folder / "a.parquet", [("a", 1, "0", "far", "p")]),
            "column 'feature.x' of a.parquet is string, which does not read as double",
        ),
        (
            lambda folder: write(folder / "a.parquet", [("a", 1, 0.5, 1.0, "p")]),
            "column 'actual' of a.parquet is double",
        ),
        (
            lambda folder: write(folder / "a.parquet", [("a", 1, None, 1.0, "p")], actual=pa.string()),
            "is labelled and in",
        ),
        (
            lambda folder: write(folder / "a.parquet", [(None, 1, "0", 1.0, "p")]),
            "1 labelled rows of a.parquet have no event_id",
        ),
    ],
)
def test_rows_that_can_not_be_read_fail_with_the_file_and_the_column(tmp_path, prepare, named):
    prepare(tmp_path)
    with pytest.raises(TrainingError) as failed:
        read(tmp_path)
    assert named in str(failed.value)
    assert "\n" not in str(failed.value)
