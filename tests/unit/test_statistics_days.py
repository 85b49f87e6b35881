"""Days that differ by more than chance: rows of such days count for less, and independent rows for what they are."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import halfnorm, nct
from scipy.stats import t as student

from evergreen.statistics.checks import StatisticsInputError
from evergreen.statistics.days import EFFECTS, DailyMeans, Days, log_e_of_t
from evergreen.statistics.sequential import LossSums, shadow_verdict_from_losses


def some_days(days, rows, spread=0.0, swing=0.0, shift=0.0, seed=0):
    """Differences of a coin, with each day's own mean, a swing that repeats each week, and a shift in the midst."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), rows)
    mean = rng.normal(0.0, spread, days) + swing * np.sin(2 * np.pi * np.arange(days) / 7)
    mean[days // 2 :] += shift
    return rng.normal(size=days * rows) + mean[day], day


def dispersion(*args, **kwargs):
    return Days.of(*some_days(*args, **kwargs)).dispersion()


def test_days_that_are_alike_are_hardly_ever_found_to_differ():
    found = [dispersion(14, 200, seed=seed) for seed in range(300)]
    assert np.mean([each.shown > 1.0 for each in found]) < 0.05
    assert np.median([each.used for each in found]) < 2.0


def test_days_of_their_own_show_in_how_much():
    found = [dispersion(28, 500, spread=0.2, seed=seed).shown for seed in range(60)]
    assert np.median(found) == pytest.approx(1 + 500 * 0.2**2, rel=0.3)  # 1 + rows * variance of the days


def test_the_more_days_are_alike_the_more_a_row_counts():
    found = [np.mean([dispersion(days, 500, seed=seed).used for seed in range(40)]) for days in (3, 7, 14, 28)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 1.5


def test_a_weekly_swing_is_no_surprise_once_some_weeks_show_it():
    assert dispersion(7, 1_000, swing=0.5).used > 10
    assert dispersion(28, 1_000, swing=0.5).used < 2


def test_a_shift_in_the_midst_is_not_taken_for_days_that_differ():
    assert dispersion(28, 1_000, shift=0.1).used < 4
    values, day = some_days(28, 1_000, shift=0.1)
    assert Days.of(values, day).sums.var() / Days.of(values, day).noise.mean() > 3  # what all days about their mean say


@pytest.mark.parametrize(
    ("values", "days"), [([], []), ([0.0] * 6, [0, 0, 1, 1, 2, 2]), ([0.5], [0])], ids=["none", "no variance", "one"]
)
def test_nothing_to_compare_is_no_difference(values, days):
    found = Days.of(np.array(values), np.array(days, dtype=np.int64))
    assert found.dispersion().used == 1.0
    assert found.means().log_e_above(0.0) == 0.0


def test_where_nothing_is_known_of_days_a_row_is_a_row():
    assert Days.of(*some_days(14, 500, spread=1.0)).dispersion(shares=(0.0,)).used == 1.0


def test_means_of_many_rows_vary_less_than_means_of_few_and_it_is_nothing_of_the_days():
    """Large groups on the first days, single rows on the others."""
    rng, shown = np.random.default_rng(4), 0
    for _ in range(100):
        sizes = np.repeat([50, 1], 1_400)
        day = np.concatenate([rng.integers(0, 3, 1_400), rng.integers(3, 28, 1_400)])
        values = rng.normal(size=2_800) / np.sqrt(sizes)
        shown += Days.of(values, day, sizes).dispersion().shown > 1.0
    assert shown <= 5


@given(st.integers(0, 1_000), st.integers(0, 400))
@settings(max_examples=20)
def test_what_the_days_are_called_and_how_rows_lie_changes_nothing(seed, first):
    values, day = some_days(10, 60, spread=0.3, seed=seed)
    order = np.random.default_rng(seed).permutation(len(values))
    expected, found = Days.of(values, day), Days.of(values[order], day[order] + first)
    assert found.dispersion().used == pytest.approx(expected.dispersion().used)
    assert found.means().error == pytest.approx(expected.means().error)


# --- the daily means --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [3, 6, 14, 28])
@pytest.mark.parametrize("t", [-5.0, -1.0, 0.0, 1.0, 4.0, 7.0])
def test_the_e_value_is_the_ratio_of_the_likelihoods_of_t(days, t):
    """Integrated numerically over the effects; the null's and the alternatives' densities are scipy's."""

    def likelihood(width):
        def at(effect):
            return nct.pdf(t, days - 1, effect * math.sqrt(days)) * halfnorm.pdf(effect, scale=width)

        return quad(at, 0.0, 10.0 * width, limit=200)[0]

    expected = np.mean([likelihood(width) for width in EFFECTS]) / student.pdf(t, days - 1)
    assert log_e_of_t(t, days) == pytest.approx(math.log(expected), abs=1e-5)


def test_days_of_equal_traffic_are_an_ordinary_sample():
    values, day = some_days(9, 40, spread=0.5)
    found, means = Days.of(values, day).means(), values.reshape(9, 40).mean(axis=1)
    assert (found.days, found.gain) == (pytest.approx(9), pytest.approx(means.mean()))
    assert found.error == pytest.approx(means.std(ddof=1) / 3)


def test_days_with_hardly_any_traffic_are_hardly_days():
    values, day = some_days(9, 40)
    assert Days.of(values[:121], day[:121]).means().days == pytest.approx(3.05, abs=0.01)


def test_two_days_have_no_say():
    assert DailyMeans(2.0, 0.5, 0.001).log_e_above(0.0) == 0.0
    assert DailyMeans(3.0, 0.5, 0.001).log_e_above(0.0) > 0.0


@given(st.floats(-0.9, 0.9), st.floats(0.001, 0.5), st.floats(3.0, 60.0))
def test_the_further_the_margin_the_weaker_the_evidence(gain, error, days):
    means = DailyMeans(days, gain, error)
    found = [means.log_e_above(margin) for margin in np.linspace(-1.0, 1.0, 21)]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(found))
    assert means.log_e_below(gain + 0.1) == pytest.approx(means.log_e_above(gain - 0.1))


def test_a_verdict_with_days_is_the_mean_of_both_e_values():
    values, day = some_days(14, 100, seed=3)
    values = np.clip(values / 4 + 0.03, -1.0, 1.0)
    sums, means = LossSums.count(values), Days.of(values, day).means()
    rows, both = sums.verdict(), sums.verdict(days=means)
    mean = (math.exp(rows.log_e_promote) + math.exp(means.log_e_above(0.0))) / 2
    assert both.log_e_promote == pytest.approx(math.log(mean))
    assert both.interval[0] < both.gain < both.interval[1]


@given(st.integers(0, 200), st.floats(-0.05, 0.05))
@settings(max_examples=30, deadline=None)
def test_the_interval_passes_the_margin_when_the_verdict_is_promote(seed, gain):
    values, day = some_days(14, 100, seed=seed)
    values = np.clip(values / 4 + gain, -1.0, 1.0)
    found = shadow_verdict_from_losses(values, overdispersion=1.5, days=Days.of(values, day).means())
    assert (found.verdict == "promote") == (found.interval[0] > found.margin)


# --- evidence of fewer rows -------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("days", "sizes", "named"), [([0.5, 1.5], None, "days"), ([0, 1], [0, 1], "sizes"), ([0, 1], [1], "sizes")]
)
def test_days_must_be_numbered_and_sizes_be_counts(days, sizes, named):
    with pytest.raises(StatisticsInputError, match=f"{named} is"):
        Days.of([0.1, 0.2], days, sizes)


def test_a_cycle_has_a_day_at_least():
    with pytest.raises(StatisticsInputError, match="cycle is"):
        Days.of(*some_days(14, 10)).dispersion(cycle=0)
