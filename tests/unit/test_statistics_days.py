"""Days that differ by more than chance: rows of such days count for less, and independent rows for what they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.statistics.checks import StatisticsInputError
from evergreen.statistics.days import overdispersion_of_days
from evergreen.statistics.sequential import LossSums, shadow_verdict_from_losses


def some_days(days, rows, spread=0.0, swing=0.0, seed=0):
    """Differences of a coin, with each day's own mean, and a swing that repeats each week."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), rows)
    mean = rng.normal(0.0, spread, days) + swing * np.sin(2 * np.pi * np.arange(days) / 7)
    return rng.normal(size=days * rows) + mean[day], day


def test_independent_rows_lose_nothing_in_nineteen_of_twenty_looks():
    found = [overdispersion_of_days(*some_days(14, 200, seed=seed)) for seed in range(400)]
    assert np.mean([phi > 1.0 for phi in found]) == pytest.approx(0.05, abs=0.03)


def test_days_of_their_own_show_in_how_much():
    found = [overdispersion_of_days(*some_days(28, 500, spread=0.2, seed=seed)) for seed in range(60)]
    assert np.median(found) == pytest.approx(1 + 500 * 0.2**2, rel=0.15)  # 1 + rows * variance of the days


def test_a_weekly_swing_is_no_surprise_once_two_weeks_show_it():
    assert overdispersion_of_days(*some_days(7, 1_000, swing=0.5)) > 10
    assert overdispersion_of_days(*some_days(14, 1_000, swing=0.5)) == 1.0


@pytest.mark.parametrize(
    ("values", "days"), [([], []), ([0.5], [0]), ([0.5, 0.1], [3, 3]), ([0.0] * 6, [0, 0, 1, 1, 2, 2])]
)
def test_nothing_to_compare_is_no_difference(values, days):
    assert overdispersion_of_days(np.array(values), np.array(days, dtype=np.int64)) == 1.0


@given(st.integers(0, 1_000), st.integers(0, 400))
@settings(max_examples=20)
def test_what_the_days_are_called_and_how_rows_lie_changes_nothing(seed, first):
    values, day = some_days(10, 60, spread=0.3, seed=seed)
    order = np.random.default_rng(seed).permutation(len(values))
    expected = overdispersion_of_days(values, day)
    assert overdispersion_of_days(values[order], day[order] + first) == pytest.approx(expected)


@given(st.floats(1.0, 50.0))
@settings(max_examples=20)
def test_evidence_of_fewer_rows_is_weaker_and_the_gain_is_the_same(overdispersion):
    sums = LossSums.count(np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 3_000, p=[0.05, 0.85, 0.1]))
    whole, fewer = sums.verdict(), sums.verdict(overdispersion=overdispersion)
    assert fewer.gain == whole.gain
    assert fewer.log_e_promote <= whole.log_e_promote
    assert fewer.interval[0] <= whole.interval[0] + 1e-9
    assert fewer.interval[1] >= whole.interval[1] - 1e-9


def test_evidence_divided_by_ten_is_that_of_a_tenth_of_the_rows():
    few = np.array([1.0] * 20 + [-1.0] * 5 + [0.0] * 75)
    one, ten = shadow_verdict_from_losses(few), shadow_verdict_from_losses(np.tile(few, 10), overdispersion=10.0)
    assert ten.log_e_promote == pytest.approx(one.log_e_promote)
    assert ten.interval == pytest.approx(one.interval, abs=1e-6)


@pytest.mark.parametrize("wrong", [0.5, float("nan"), -1])
def test_less_than_one_is_refused(wrong):
    with pytest.raises(StatisticsInputError, match="overdispersion is"):
        shadow_verdict_from_losses([0.1], overdispersion=wrong)


def test_days_must_be_numbered():
    with pytest.raises(StatisticsInputError, match="days is"):
        overdispersion_of_days([0.1, 0.2], [0.5, 1.5])
