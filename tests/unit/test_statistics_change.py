"""Where answers became worse: no change is found where there is none, and one close to where it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.statistics.change import FEWEST_DAYS, last_rise
from evergreen.statistics.checks import StatisticsInputError


def wrong(seed, rates, rows, *, unrest=0.0):
    """Wrong answers of days whose own rates differ by so much."""
    random = np.random.default_rng(seed)
    own = np.clip(rates + unrest * random.normal(size=len(rates)), 0.001, 0.999)
    return random.binomial(rows, own).tolist()


@given(
    seed=st.integers(0, 10_000),
    days=st.integers(FEWEST_DAYS, 120),
    rate=st.floats(0.05, 0.5),
    rows=st.integers(20, 2_000),
    unrest=st.sampled_from([0.0, 0.02]),
)
def test_a_steady_world_has_hardly_ever_changed(seed, days, rate, rows, unrest):
    counts = [rows] * days
    found = last_rise(counts, wrong(seed, np.full(days, rate), rows, unrest=unrest))
    assert found is None or found.after > found.before


@pytest.mark.parametrize("unrest", [0.0, 0.03])
def test_false_changes_are_rare(unrest):
    rows = [200] * 90
    found = [last_rise(rows, wrong(seed, np.full(90, 0.2), 200, unrest=unrest)) for seed in range(200)]
    assert sum(change is not None for change in found) <= 2


@given(seed=st.integers(0, 10_000), change=st.integers(15, 75), step=st.floats(0.15, 0.4), rows=st.integers(100, 1_000))
def test_a_change_is_found_close_to_where_it_was(seed, change, step, rows):
    rates = np.where(np.arange(90) < change, 0.15, 0.15 + step)
    found = last_rise([rows] * 90, wrong(seed, rates, rows))
    assert found is not None
    assert abs(found.first - change) <= 2
    assert found.after - found.before == pytest.approx(step, abs=0.1)


def test_the_last_rise_counts_and_a_better_version_is_no_change():
    rates = np.repeat([0.1, 0.4, 0.1, 0.3, 0.05], 20)
    found = last_rise([300] * 100, wrong(1, rates, 300))
    assert abs(found.first - 60) <= 1, "the fall at day 80 is a better version"


def test_a_weekly_rhythm_is_no_change():
    days = np.arange(91)
    rates = np.where(days % 7 >= 5, 0.3, 0.2)
    assert last_rise([5_000] * 91, wrong(2, rates, 5_000)) is None


@given(seed=st.integers(0, 1_000), empty=st.lists(st.integers(0, 59), max_size=20))
def test_days_without_answers_change_nothing_but_the_number_of_the_day(seed, empty):
    rates = np.where(np.arange(60) < 40, 0.1, 0.5)
    errors = wrong(seed, rates, 200)
    rows = [0 if day in empty else 200 for day in range(60)]
    errors = [0 if day in empty else k for day, k in enumerate(errors)]
    found = last_rise(rows, errors)
    if len(set(empty)) < 20 and len(set(range(40, 60)) - set(empty)) >= 5:
        assert found is not None
        assert rows[found.first] == 200
        gap = [day for day in range(38, found.first + 1) if day not in empty]
        assert len(gap) <= 6


def test_few_days_tell_nothing():
    assert last_rise([100] * (FEWEST_DAYS - 1), [0, 0, 0, 0, 90, 90, 90]) is None
    assert last_rise([], []) is None


def test_a_long_series_is_added_up_and_its_change_is_still_found():
    rates = np.where(np.arange(3_000) < 2_000, 0.2, 0.35)
    found = last_rise([50] * 3_000, wrong(3, rates, 50))
    assert abs(found.first - 2_000) <= 24


@pytest.mark.parametrize(
    ("rows", "errors", "says"),
    [([1, 2], [1], "pass as many as rows has, 2"), ([5] * 9, [6] * 9, "wrong is 6; pass 0 to 5")],
)
def test_counts_that_can_not_be_are_refused(rows, errors, says):
    with pytest.raises(StatisticsInputError, match=says):
        last_rise(rows, errors)
