"""Binnings and profiles."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.statistics.checks import StatisticsInputError
from evergreen.statistics.profile import (
    MISSING,
    Binning,
    CategoryBins,
    CategoryColumn,
    NumberBins,
    NumberColumn,
    Profile,
    _decode_varints,
    _encode_varints,
)

numbers = st.one_of(st.none(), st.floats(width=64), st.integers(-5, 5).map(float))
words = st.one_of(st.none(), st.sampled_from(["Oslo", "Rome", "Bonn", "", "unheard of"]))
rows = st.lists(st.tuples(numbers, words), max_size=40)

BINNING = Binning(
    (NumberColumn("age", 40.0, 10.0), CategoryColumn("city", ("Bonn", "Oslo", "Rome"))),
)


def counted(pairs: list[tuple[float | None, str | None]]) -> Profile:
    return Profile.count({"age": [a for a, _ in pairs], "city": [c for _, c in pairs]}, BINNING)


# binnings


def test_a_binning_learns_kinds_centres_scales_and_categories() -> None:
    rng = np.random.default_rng(0)
    binning = Binning.fit(
        {
            "zone": np.array(["b", "a", "b"] * 1000),
            "load": rng.normal(7.0, 2.0, size=3000),
            "count": rng.integers(0, 9, size=3000),
            "flag": rng.random(3000) < 0.5,
            "mixed": ["x", None, 3] * 1000,
            "nothing": [None] * 3000,
        }
    )
    kinds = {c.name: c.kind for c in binning.columns}
    assert list(kinds) == ["count", "flag", "load", "mixed", "nothing", "zone"]
    assert [name for name, kind in kinds.items() if kind == "categorical"] == ["mixed", "zone"]
    load = binning.columns[binning.index("load")]
    assert isinstance(load, NumberColumn)
    assert load.centre == pytest.approx(7.0, abs=0.2)
    assert load.scale == pytest.approx(2.0, rel=0.1)
    assert binning.columns[binning.index("zone")] == CategoryColumn("zone", ("a", "b"))
    assert binning.columns[binning.index("mixed")] == CategoryColumn("mixed", ("3", "x"))
    assert Binning.from_json(json.loads(json.dumps(binning.to_json()))) == binning


def test_the_order_of_the_columns_does_not_matter() -> None:
    a, b = {"x": [1.0, 2.0], "y": ["q", "r"]}, {"y": ["q", "r"], "x": [1.0, 2.0]}
    assert Binning.fit(a) == Binning.fit(b)
    assert Profile.count(a, Binning.fit(a)).to_bytes() == Profile.count(b, Binning.fit(b)).to_bytes()


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([5.0] * 9, 1.0),
        ([0.0] * 99 + [1.0], math.sqrt(0.0099)),
        ([math.inf, math.nan], 1.0),
        ([1e308, -1e308] * 5, 1.0),
    ],
)
def test_a_scale_is_never_zero_nor_infinite(values: list[float], scale: float) -> None:
    column = Binning.fit({"x": values}).columns[0]
    assert isinstance(column, NumberColumn)
    assert column.scale == pytest.approx(scale)
    assert 0.0 < column.step < math.inf


def test_a_category_may_be_coded_in_numbers() -> None:
    binning = Binning.fit({"store": [12, 7, 12]}, {"store": "categorical"})
    assert binning.columns == (CategoryColumn("store", ("12", "7")),)
    assert Profile.count({"store": np.array([7, 12, 99])}, binning).column("store").tolist() == [0, 1, 1, 1]


def test_only_the_most_frequent_categories_get_bins() -> None:
    binning = Binning.fit({"id": ["a", "b", "b", "c", "c", "d"]}, max_categories=3)
    assert binning.columns == (CategoryColumn("id", ("a", "b", "c")),)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Binning.fit({"x": np.zeros((2, 2))}), "column 'x' is 'of shape"),
        (lambda: Binning.fit({"x": "abc"}), "column 'x'"),
        (lambda: Binning.fit({"x": np.zeros(2, dtype="datetime64[s]")}), "of type datetime64"),
        (lambda: Binning.fit({"x": [1.0]}, {"y": "number"}), "name one of the columns"),
        (lambda: Binning.fit({"x": [1.0]}, {"x": "ordinal"}), 'pass "number" or "categorical"'),  # type: ignore[dict-item]
        (lambda: Binning.from_json({"version": 9, "columns": []}), "version is 9"),
        (lambda: Binning.from_json({"version": 1, "columns": [{"name": "x", "kind": "?"}]}), "kind of 'x'"),
        (lambda: Binning((NumberColumn("x", 0.0, 0.0),)), "scale of column 'x' is 0.0"),
        (lambda: Binning((NumberColumn("y", 0.0, 1.0), NumberColumn("x", 0.0, 1.0))), "sorted by name"),
        (lambda: BINNING.index("town"), "column is 'town'; name one of"),
    ],
)
def test_bad_binnings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# counting


def test_missing_unseen_and_infinite_values_are_bins_of_their_own() -> None:
    profile = counted([(None, None), (math.nan, ""), (math.inf, "Atlantis"), (-math.inf, "Oslo"), (1e300, "Oslo")])
    ages = profile.column("age")
    assert profile.rows == 5
    assert ages[MISSING] == profile.missing("age") == 2
    assert ages[NumberBins.MINUS_INFINITY] == 1
    assert ages[NumberBins.PLUS_INFINITY] == 2  # 1e300 is beyond float32
    cities = profile.column("city")
    assert (cities[MISSING], cities[CategoryBins.UNSEEN]) == (2, 1)
    assert cities.tolist() == [2, 1, 0, 2, 0]


def test_bins_ascend_with_the_values_and_stand_for_them() -> None:
    values = np.sort(np.random.default_rng(1).standard_cauchy(2_000)) * 100 + 40.0
    places = []
    for value in values[::20]:
        bins, _ = Profile.count({"age": [value]}, BINNING).sparse_column("age")
        stands_for = NumberBins.VALUES[bins[0] - NumberBins.FIRST_FINITE] * 8.0 + 40.0
        assert stands_for - 40.0 == pytest.approx(value - 40.0, rel=1 / 16)
        places.append(int(bins[0]))
    assert places == sorted(places)
    assert np.all(np.diff(NumberBins.VALUES) >= 0)
    assert len(NumberBins.VALUES) + 3 == NumberBins.WIDTH


def test_whole_numbers_near_the_centre_are_exact() -> None:
    for whole in range(-24, 25):
        bins, _ = Profile.count({"age": [40.0 + whole]}, BINNING).sparse_column("age")
        assert NumberBins.VALUES[bins[0] - NumberBins.FIRST_FINITE] * 8.0 == whole


@given(rows)
@settings(max_examples=80)
def test_every_row_is_in_one_bin_of_each_column(pairs: list[tuple[float | None, str | None]]) -> None:
    profile = counted(pairs)
    assert profile.rows == len(pairs)
    assert profile.column("age").sum() == profile.column("city").sum() == len(pairs)
    assert np.all(profile.counts > 0)


@given(rows, st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=80)
def test_pieces_in_any_order_are_the_whole(
    pairs: list[tuple[float | None, str | None]], random: Random, pieces: int
) -> None:
    whole = counted(pairs)
    shuffled = list(pairs)
    random.shuffle(shuffled)
    parts = [counted(shuffled[i::pieces]) for i in range(pieces)]
    merged = Profile.empty(BINNING)
    for part in parts:
        merged = part.merge(merged)
    assert merged == whole == Profile.total(reversed(parts)) == sum(parts[1:], parts[0])
    assert merged.to_bytes() == whole.to_bytes()
    assert hash(merged) == hash(whole)


@given(rows)
@settings(max_examples=40)
def test_lists_masked_arrays_and_arrow_count_the_same(pairs: list[tuple[float | None, str | None]]) -> None:
    expected = counted(pairs)
    ages = np.array([0.0 if a is None else a for a, _ in pairs])
    absent = np.array([a is None for a, _ in pairs], dtype=bool)
    no_city = np.array([c is None for _, c in pairs], dtype=bool)
    masked = {
        "age": np.ma.MaskedArray(ages, mask=absent),
        "city": np.ma.MaskedArray(np.array([c or "" for _, c in pairs], dtype=str), mask=no_city),
    }
    assert Profile.count(masked, BINNING) == expected
    table = pa.table(
        {"age": pa.array([a for a, _ in pairs], pa.float64()), "city": pa.array([c for _, c in pairs], pa.string())}
    )
    assert Profile.count(table, BINNING) == expected
    dictionary = table.set_column(1, "city", table.column(1).dictionary_encode())
    assert Profile.count(dictionary, BINNING) == expected
    for batch in table.to_batches():
        assert Profile.count(batch, BINNING) == expected
    half = len(pairs) // 2
    chunked = pa.concat_tables([table.slice(0, half), table.slice(half)])
    assert Profile.count(chunked, BINNING) == expected
    assert Profile.count(table.slice(half), BINNING) == counted(pairs[half:])


@given(rows, st.randoms(use_true_random=False), st.integers(1, 7), st.booleans())
@settings(max_examples=60)
def test_record_batches_of_any_length_in_any_order_are_the_whole(
    pairs: list[tuple[float | None, str | None]], random: Random, length: int, encoded: bool
) -> None:
    table = pa.table(
        {"age": pa.array([a for a, _ in pairs], pa.float64()), "city": pa.array([c for _, c in pairs], pa.string())}
    )
    batches = table.to_batches(max_chunksize=length)
    random.shuffle(batches)
    if encoded:  # each batch with a dictionary of its own
        batches = [b.set_column(1, "city", b.column(1).dictionary_encode()) for b in batches]
    profiles = [Profile.count(batch, BINNING) for batch in batches]
    assert Profile.total([Profile.empty(BINNING), *profiles]) == counted(pairs)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([38, None, 44], pa.int8()),
        pa.array([38, None, 44], pa.uint64()),
        pa.array([38.0, None, 44.0], pa.float32()),
        pa.array([38, None, 44], pa.decimal128(9, 2)),
        pa.array(["38", None, "44"], pa.string()),
        pa.array([38.0, math.nan, 44.0]),
    ],
)
def test_any_arrow_number_is_a_number(array: pa.Array) -> None:
    batch = pa.RecordBatch.from_arrays([array, pa.nulls(3)], ["age", "city"])
    assert Profile.count(batch, BINNING) == counted([(38.0, None), (None, None), (44.0, None)])


def test_an_arrow_binning_is_the_binning_of_the_same_lists() -> None:
    columns = {"age": [31.0, None, 58.0], "city": ["Rome", "Oslo", None], "flag": [True, False, None]}
    assert Binning.fit(pa.table(columns)) == Binning.fit(columns)
    with pytest.raises(ValueError, match="column 'at' is 'of type timestamp"):
        Binning.fit(pa.table({"at": pa.array([0], pa.timestamp("s"))}))


def test_a_column_that_stopped_arriving_is_missing_in_every_row() -> None:
    profile = Profile.count({"age": [1.0, 2.0]}, BINNING)
    assert (profile.missing("age"), profile.missing("city")) == (0, 2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"town": ["Rome"]}, "column is 'town'; pass only the binning's columns"),
        ({"age": [1.0], "city": ["a", "b"]}, "pass columns of one length"),
        ({"age": [1.0, "old"]}, "column 'age', row 1 is 'old'; pass a number"),
        ({"age": [1.0, [2.0]]}, "column 'age', row 1"),
        ({"age": np.array([1 + 2j])}, "of type complex"),
        ({"age": np.zeros((2, 1))}, "of shape"),
        ({"city": [["a"], ["b"]]}, "column 'city' is 'of lists or dicts'"),
        ({1: [2.0]}, "name each column by a string"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, object], message: str) -> None:
    with pytest.raises(StatisticsInputError, match=message):
        Profile.count(columns, BINNING)


def test_numbers_written_as_text_are_numbers_and_empty_text_is_missing() -> None:
    assert counted([("44.5", "Oslo"), ("", "Oslo")]) == counted([(44.5, "Oslo"), (None, "Oslo")])  # type: ignore[list-item]


def test_counting_leaves_the_input_alone_and_the_counts_cannot_be_changed() -> None:
    ages = np.array([1.0, math.nan])
    profile = Profile.count({"age": ages}, BINNING)
    assert math.isnan(ages[1])
    with pytest.raises(ValueError, match="read-only"):
        profile.counts[0] = 9


def test_profiles_of_other_binnings_do_not_merge() -> None:
    ours = counted([(1.0, "Oslo")])
    moved = Binning((NumberColumn("age", 41.0, 10.0), BINNING.columns[1]))
    with pytest.raises(ValueError, match=r"another one for column 'age'.*count both profiles with one binning"):
        ours.merge(Profile.empty(moved))
    with pytest.raises(ValueError, match="of the columns"):
        ours + Profile.empty(Binning((BINNING.columns[0],)))
    with pytest.raises(ValueError, match="profiles is"):
        Profile.total([])


# bytes


@given(rows)
@settings(max_examples=60)
def test_bytes_come_back_as_the_profile(pairs: list[tuple[float | None, str | None]]) -> None:
    profile = counted(pairs)
    data = profile.to_bytes()
    back = Profile.from_bytes(data)
    assert back == profile
    assert back.to_bytes() == data
    assert pickle.loads(pickle.dumps(back)) == profile


@given(st.lists(st.integers(0, 2**63 - 1), max_size=30))
def test_varints_come_back(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    assert np.array_equal(_decode_varints(_encode_varints(array)), array)


def test_the_bytes_never_change() -> None:
    data = counted([(41.0, "Oslo"), (None, "Rome"), (39.0, "Atlantis")]).to_bytes()
    assert data[:7] == b"EVGPRF\x01"
    assert data.endswith(bytes.fromhex("00 b110 811f b210 02 01 010101010101"))


def test_damaged_bytes_are_refused() -> None:
    data = counted([(41.0, "Oslo"), (None, "Rome")]).to_bytes()
    with pytest.raises(ValueError, match="pass bytes of a profile"):
        Profile.from_bytes(b"PAR1" + data)
    with pytest.raises(ValueError, match="pass bytes of a profile"):
        Profile.from_bytes(b"")
    with pytest.raises(ValueError, match="profile version is 2"):
        Profile.from_bytes(data[:6] + b"\x02" + data[7:])
    for damaged in (data[:-1], data[:-1] + b"\x05", data + b"\x00"):
        with pytest.raises(ValueError, match="checksum"):
            Profile.from_bytes(damaged)


def test_merging_profiles_read_from_bytes_shares_one_binning() -> None:
    data = counted([(41.0, "Oslo")]).to_bytes()
    a, b = Profile.from_bytes(data), Profile.from_bytes(data)
    assert a.binning is b.binning
    assert (a + b).rows == 2


def test_the_decisions_load_neither_scipy_nor_pandas_nor_pyarrow() -> None:
    program = """
import sys
from evergreen.statistics import degradation, drift, profile, sequential
b = profile.Binning.fit({"x": [1.0, 2.0], "k": ["a", "b"]})
p = profile.Profile.count({"x": [1.0] * 200, "k": ["a"] * 200}, b)
drift.detect([p, p], p), drift.detect([p], p)
sequential.bake_health(3, 100, 5, 1000), sequential.shadow_verdict(5, 3, 9)
degradation.performance([(100, 90)], [(100, 90)])
print(sorted({m.split(".")[0] for m in sys.modules} & {"scipy", "pandas", "pyarrow", "boto3", "sklearn"}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
