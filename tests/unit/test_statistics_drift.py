"""Data drift."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import stdtrit
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from evergreen.statistics import drift as module
from evergreen.statistics.drift import ColumnDrift, Drift, DriftStatus, detect
from evergreen.statistics.profile import Binning, Profile

Columns = dict[str, np.ndarray]


def week(rng: np.random.Generator, rows: int = 500, columns: int = 4) -> Columns:
    made: Columns = {f"n{i}": rng.normal(size=rows) for i in range(columns)}
    return made | {"zone": rng.choice(["a", "b", "c"], p=[0.6, 0.3, 0.1], size=rows)}


def profiles(weeks: list[Columns], binning: Binning) -> list[Profile]:
    return [Profile.count(w, binning) for w in weeks]


def column(found: Drift, name: str) -> ColumnDrift:
    return next(c for c in found.columns if c.name == name)


@pytest.fixture
def weeks() -> list[Columns]:
    rng = np.random.default_rng(21)
    return [week(rng) for _ in range(6)]


@pytest.fixture
def binning(weeks: list[Columns]) -> Binning:
    return Binning.fit(weeks[0])


def test_the_same_distribution_has_not_drifted(weeks: list[Columns], binning: Binning) -> None:
    found = detect(profiles(weeks[:5], binning), Profile.count(weeks[5], binning))
    assert (found.status, found.drift, found.samples, found.cycles) == ("no_drift", False, 500, 5)
    assert found.share == 0.0
    assert {c.direction for c in found.columns} == {"higher_is_worse"}
    assert [c.kind for c in found.columns] == ["wasserstein"] * 4 + ["jensen_shannon"]


def test_one_column_that_moved_is_found_and_named(weeks: list[Columns], binning: Binning) -> None:
    moved = weeks[5] | {"n2": weeks[5]["n2"] + 0.6}
    found = detect(profiles(weeks[:5], binning), Profile.count(moved, binning))
    assert found.status is DriftStatus.DRIFT
    assert [c.name for c in found.columns if c.drifted] == ["n2"]
    assert column(found, "n2").score == pytest.approx(0.6, abs=0.1)


def test_scores_are_those_of_scipy(weeks: list[Columns], binning: Binning) -> None:
    reference, window = weeks[0], weeks[1] | {"n0": weeks[1]["n0"] * 1.5 + 0.2}
    found = detect(profiles([reference], binning), Profile.count(window, binning))
    for name in ("n0", "n1", "n2", "n3"):
        exact = wasserstein_distance(reference[name], window[name]) / reference[name].std()
        assert column(found, name).score == pytest.approx(exact, abs=0.01)
    shares = [[(values == k).mean() for k in "abc"] for values in (reference["zone"], window["zone"])]
    assert column(found, "zone").score == pytest.approx(jensenshannon(*shares), rel=1e-9)


def test_thresholds_are_the_formula(weeks: list[Columns], binning: Binning) -> None:
    cycles = profiles(weeks[:4], binning)
    found = detect(cycles, Profile.count(weeks[5], binning))
    squares: dict[str, float] = {}
    for name in ("n0", "n1", "n2", "n3"):
        spread = np.concatenate([w[name] for w in weeks[:4]]).std()
        each = [
            wasserstein_distance(weeks[k][name], np.concatenate([weeks[j][name] for j in range(4) if j != k])) / spread
            for k in range(4)
        ]
        squares[name] = float(np.mean(np.square(each)))
    each = []
    for k in range(4):
        others = np.concatenate([weeks[j]["zone"] for j in range(4) if j != k])
        each.append(jensenshannon(*[[(z == c).mean() for c in "abc"] for z in (weeks[k]["zone"], others)]))
    squares["zone"] = float(np.mean(np.square(each)))
    typical = np.mean(list(squares.values()))
    t = -float(stdtrit(8, 0.05 / (20 * 5)))
    for name, square in squares.items():
        assert column(found, name).threshold == pytest.approx(max(0.1, t * math.sqrt((square + typical) / 2)), rel=0.03)


def test_a_history_that_swings_raises_the_threshold() -> None:
    rng = np.random.default_rng(22)
    swinging = [{"x": rng.normal(size=400) + 0.5 * (-1) ** k} for k in range(8)]
    binning = Binning.fit({"x": np.concatenate([w["x"] for w in swinging])})
    window = Profile.count({"x": rng.normal(size=400) + 0.5}, binning)
    found = detect(profiles(swinging, binning), window)
    assert found.columns[0].score > 0.3
    assert found.columns[0].threshold > found.columns[0].score
    assert found.drift is False


def test_many_columns_that_moved_a_little_are_drift_by_their_share() -> None:
    rng = np.random.default_rng(23)
    history = [{f"c{i}": rng.normal(size=4_000) + 0.03 * (-1) ** k for i in range(10)} for k in range(4)]
    binning = Binning.fit(history[0])
    cycles = profiles(history, binning)
    window = {f"c{i}": rng.normal(size=4_000) + (0.17 if i < 4 else 0.0) for i in range(10)}
    found = detect(cycles, Profile.count(window, binning))
    assert found.share == 0.4
    assert not any(c.drifted for c in found.columns)
    assert found.drift is True
    assert detect(cycles, Profile.count(window, binning), drift_threshold=0.5).drift is False


def test_without_a_history_a_distance_must_be_significant_too() -> None:
    rng = np.random.default_rng(24)
    reference = {"x": rng.normal(size=300), "k": rng.choice(["a", "b"], size=300)}
    binning = Binning.fit(reference)
    small = {"x": rng.normal(size=120) + 0.15, "k": rng.choice(["a", "b"], size=120)}
    found = detect(profiles([reference], binning), Profile.count(small, binning))
    x = column(found, "x")
    assert x.score > x.threshold == 0.1
    assert x.p_value is not None
    assert x.p_value > 0.01
    assert found.drift is False
    moved = detect(profiles([reference], binning), Profile.count(small | {"x": small["x"] + 1.0}, binning))
    assert (moved.drift, moved.cycles) == (True, 1)


def test_p_values_are_those_of_scipy(weeks: list[Columns], binning: Binning) -> None:
    reference, window = weeks[0], weeks[1] | {"n0": weeks[1]["n0"] + 0.1}
    found = detect(profiles([reference], binning), Profile.count(window, binning))
    exact = ks_2samp(reference["n0"], window["n0"], method="asymp").pvalue
    assert column(found, "n0").p_value == pytest.approx(exact, rel=0.3)
    table = [[int((z == k).sum()) for k in "abc"] for z in (reference["zone"], window["zone"])]
    assert column(found, "zone").p_value == pytest.approx(chi2_contingency(table).pvalue, rel=1e-9)


@pytest.mark.parametrize("cycles", [1, 2, 5])
def test_a_column_that_goes_half_missing_has_drifted(weeks: list[Columns], binning: Binning, cycles: int) -> None:
    gone = weeks[5]["n1"].copy()
    gone[::2] = np.nan
    zones = weeks[5]["zone"].astype(object)
    zones[::2] = None
    reference = profiles(weeks[:5], binning)
    for name, values in (("n1", gone), ("zone", zones)):
        window = Profile.count(weeks[5] | {name: values}, binning)
        given_cycles = reference[:cycles] if cycles < 5 else reference
        found = detect(given_cycles, window)
        assert found.drift is True or cycles == 2  # t with 4 degrees of freedom is wide
        assert column(found, name).score >= 0.4
        assert column(found, name).shifted


def test_a_column_that_stopped_arriving_or_became_infinite_scores_one(weeks: list[Columns], binning: Binning) -> None:
    reference = profiles(weeks[:5], binning)
    without = {name: values for name, values in weeks[5].items() if name != "n3"}
    assert column(detect(reference, Profile.count(without, binning)), "n3").score == 1.0
    endless = Profile.count(weeks[5] | {"n3": np.full(500, np.inf)}, binning)
    found = detect(reference, endless)
    assert column(found, "n3").score == 1.0
    assert found.drift is True


def test_unseen_categories_are_seen(weeks: list[Columns], binning: Binning) -> None:
    strange = np.where(np.arange(500) % 2, "new", weeks[5]["zone"])
    found = detect(profiles(weeks[:5], binning), Profile.count(weeks[5] | {"zone": strange}, binning))
    assert [c.name for c in found.columns if c.drifted] == ["zone"]


@pytest.mark.parametrize("cycles", [1, 4])
def test_a_constant_column_drifts_when_its_value_changes_and_only_then(cycles: int) -> None:
    binning = Binning.fit({"x": [7.0] * 200})
    reference = [Profile.count({"x": [7.0] * 200}, binning)] * cycles
    same = detect(reference, Profile.count({"x": [7.0] * 150}, binning))
    assert (same.drift, same.columns[0].score) == (False, 0.0)
    half = detect(reference, Profile.count({"x": [7.0] * 100 + [7.5] * 100}, binning))
    assert (half.drift, half.columns[0].score) == (True, 0.5)


def test_columns_without_any_value_are_quiet() -> None:
    binning = Binning.fit({"x": [None, None], "k": ["a", None]}, {"x": "number"})
    empty = Profile.count({"x": [None] * 200, "k": [None] * 200}, binning)
    for reference in ([empty], [empty] * 3):
        found = detect(reference, empty)
        assert (found.drift, found.share) == (False, 0.0)


def test_too_few_rows_say_nothing(weeks: list[Columns], binning: Binning) -> None:
    some = {name: values[:99] for name, values in weeks[5].items()}
    enough = profiles(weeks[:2], binning)
    for reference, window in (
        (enough, Profile.count(some, binning)),
        ([], Profile.count(weeks[5], binning)),
        ([Profile.count(some, binning)], Profile.count(weeks[5], binning)),
    ):
        found = detect(reference, window)
        assert (found.status, found.drift, found.share, found.columns) == ("insufficient_data", None, None, ())


def test_cycles_of_a_few_rows_do_not_calibrate_but_count(weeks: list[Columns], binning: Binning) -> None:
    pieces = [{name: values[i : i + 50] for name, values in weeks[0].items()} for i in range(0, 500, 50)]
    found = detect(profiles(pieces, binning), Profile.count(weeks[5], binning))
    assert (found.status, found.cycles) == ("no_drift", 0)
    assert all(c.p_value is not None for c in found.columns)


@pytest.mark.parametrize("cycles", [1, 2, 5, 10])
def test_143_rows_of_the_same_distribution_are_no_drift(cycles: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        reference = week(rng, 5_000)
        binning = Binning.fit(reference)
        parts = [{name: values[i::cycles] for name, values in reference.items()} for i in range(cycles)]
        found = detect(profiles(parts, binning), Profile.count(week(rng, 143), binning))
        assert found.drift is False, (seed, found)


def test_a_weekly_cycle_with_day_effects_is_quiet_and_a_shift_in_one_column_is_found_within_days() -> None:
    rng = np.random.default_rng(25)
    names = [f"c{i:02d}" for i in range(20)]
    alarms, delays = 0, []
    for _ in range(2):
        swing = 0.3 * rng.normal(size=(20, 7))

        def day(at: int, shift: float = 0.0, swing: np.ndarray = swing) -> Columns:
            values = rng.normal(size=(20, 143)) + swing[:, at % 7, None] + 0.05 * rng.normal(size=(20, 1))
            values[3] += shift
            return dict(zip(names, values, strict=True))

        history = [day(d) for d in range(7 * 8 + 14)]
        binning = Binning.fit(history[0])
        counted = profiles(history, binning)
        reference = [Profile.total(counted[7 * k : 7 * k + 7]) for k in range(8)]
        alarms += any(detect(reference, Profile.total(counted[e - 7 : e])).drift for e in range(57, 71, 2))
        for later in range(1, 15):
            counted.append(Profile.count(day(69 + later, 0.5), binning))
            if detect(reference, Profile.total(counted[-7:])).drift:
                delays.append(later)
                break
    assert alarms == 0
    assert len(delays) == 2
    assert max(delays) <= 6


@given(st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_cycles_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(26)
    history = [week(rng, 200, 2) for _ in range(6)]
    binning = Binning.fit(history[0])
    cycles, window = profiles(history[:5], binning), Profile.count(history[5], binning)
    one, other = detect(cycles, window), detect([cycles[i] for i in order], window)
    assert [c.score for c in one.columns] == [c.score for c in other.columns]
    assert [c.threshold for c in one.columns] == pytest.approx([c.threshold for c in other.columns])


@given(st.floats(0.0, 3.0), st.floats(0.0, 3.0))
@settings(max_examples=20, deadline=None)
def test_a_larger_shift_scores_higher(a: float, b: float) -> None:
    rng = np.random.default_rng(27)
    values = rng.normal(size=1_000)
    binning = Binning.fit({"x": values})
    reference = [Profile.count({"x": values}, binning)]
    near, far = (detect(reference, Profile.count({"x": values + s}, binning)).columns[0].score for s in sorted((a, b)))
    assert near <= far + 0.01
    assert far == pytest.approx(max(a, b) / values.std(), abs=0.03)


def test_equal_tails_far_out_do_not_leak_into_the_distance() -> None:
    values = np.concatenate([np.random.default_rng(28).normal(size=999), [1e30]])
    binning = Binning.fit({"x": values})
    profile = Profile.count({"x": values}, binning)
    assert detect([profile], profile).columns[0].score == 0.0
    tripled = detect([profile], profile + profile + profile)
    assert tripled.columns[0].score == 0.0


@pytest.mark.parametrize("threshold", [0.0, 1.5, math.nan, "0.3"])
def test_a_share_out_of_range_is_refused(threshold: float, weeks: list[Columns], binning: Binning) -> None:
    with pytest.raises(ValueError, match="drift_threshold is"):
        detect(profiles(weeks[:2], binning), Profile.count(weeks[5], binning), drift_threshold=threshold)


def test_profiles_of_another_binning_are_refused(weeks: list[Columns], binning: Binning) -> None:
    other = Binning.fit({"x": [1.0, 2.0]})
    with pytest.raises(ValueError, match="count both profiles with one binning"):
        detect([Profile.empty(other)], Profile.count(weeks[5], binning))


def test_benjamini_and_hochberg_let_only_the_small_p_values_through() -> None:
    measured = [
        module._Measured(f"c{i}", "wasserstein", 0.2, 0.0, 0.0, 0.0, p) for i, p in enumerate([0.004, 0.2, 0.002, None])
    ]
    binning = Binning.fit({"x": [1.0]})
    judged = module._judge_by_tests(measured, Profile.count({"x": [1.0] * 200}, binning))
    assert [c.drifted for c in judged] == [True, False, True, False]


def mixed(rng: np.random.Generator, rows: int) -> Columns:
    return {
        **{f"normal{i}": rng.normal(i, 1 + i, size=rows) for i in range(5)},
        **{f"waiting{i}": rng.exponential(size=rows) for i in range(5)},
        **{f"count{i}": rng.poisson(3, size=rows) for i in range(5)},
        **{f"kind{i}": rng.integers(0, 8, size=rows).astype(str) for i in range(5)},
    }


NATURAL: dict[str, Callable[[np.random.Generator, int], Columns]] = {
    "normal": lambda rng, rows: {"x": rng.normal(size=rows)},
    "exponential": lambda rng, rows: {"x": rng.exponential(size=rows)},
    "integers": lambda rng, rows: {"x": rng.integers(0, 10, size=rows)},
    "many zeros": lambda rng, rows: {"x": np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(size=rows))},
    "some missing": lambda rng, rows: {"x": np.where(rng.random(rows) < 0.05, np.nan, rng.normal(size=rows))},
    "three categories": lambda rng, rows: {"x": rng.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2])},
    "500 categories": lambda rng, rows: {"x": rng.integers(0, 500, size=rows).astype(str)},
    "few common, many rare categories": lambda rng, rows: {
        "x": np.minimum(rng.zipf(1.5, size=rows), 10**9).astype(str)
    },
    "an id in each row": lambda rng, rows: {"x": rng.integers(0, 10**12, size=rows).astype(str)},
    "20 mixed columns": mixed,
}


@pytest.mark.parametrize("cycles", [1, 8])
@pytest.mark.parametrize("name", NATURAL)
def test_a_small_window_of_the_same_distribution_is_no_drift_in_20_of_20(name: str, cycles: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        reference = NATURAL[name](rng, 5_000)
        binning = Binning.fit(reference)
        parts = [{key: values[i::cycles] for key, values in reference.items()} for i in range(cycles)]
        for rows in (100, 143, 500):
            found = detect(profiles(parts, binning), Profile.count(NATURAL[name](rng, rows), binning))
            assert found.drift is False, (seed, rows, found)


def test_a_constant_column_owes_nothing_to_a_column_that_swings() -> None:
    rng = np.random.default_rng(3)
    history = [{"swings": rng.normal(week % 2 * 3.0, 1.0, size=500), "same": np.full(500, 7.0)} for week in range(6)]
    binning = Binning.fit(history[0] | {"swings": rng.normal(size=500)})
    window = {"swings": rng.normal(0.0, 1.0, size=500), "same": rng.normal(7.0, 1.0, size=500)}
    found = detect(profiles(history, binning), Profile.count(window, binning))
    assert [c.name for c in found.columns if c.drifted] == ["same"]


@pytest.mark.parametrize("kind", ["number", "category"])
def test_a_column_that_is_gone_has_drifted_whatever_swings_beside_it(kind: str) -> None:
    rng = np.random.default_rng(4)

    def a_week(at: int) -> Columns:
        values = rng.normal(size=500) if kind == "number" else rng.choice(["a", "b"], 500)
        return {"swings": rng.normal(at % 2 * 9.0, 1.0, size=500), "x": values}

    history = [a_week(at) for at in range(6)]
    binning = Binning.fit({name: np.concatenate([week[name] for week in history]) for name in history[0]})
    window = {"swings": a_week(0)["swings"]}
    found = detect(profiles(history, binning), Profile.count(window, binning))
    assert column(found, "x").drifted
    assert not column(found, "swings").drifted
