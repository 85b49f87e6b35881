"""Which labels are learned when: a request waits until those that are known at its age are like all of them."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.training.delays import Delays

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def took(hours, count):
    return np.full(count, hours * 3_600.0)


def learned(*labels):
    """Labels as (hours, label less plain answer), of two classes, in an order that mixes them."""
    seconds = np.array([3_600.0 * hours for hours, _ in labels])
    missed = np.array([[-missed, missed] for _, missed in labels])
    order = np.random.default_rng(0).permutation(len(labels))
    return Delays().seen(seconds).compared(seconds[order], missed[order])


# --- before answers were compared -------------------------------------------------------------------------------------


def test_labels_are_waited_for_as_long_as_all_but_one_in_a_thousand_take():
    delays = Delays().seen(took(3, 5_000)).seen(took(40, 2))
    assert 3 * HOUR <= delays.matured_after(7 * DAY) < 3.4 * HOUR
    slow = Delays().seen(took(3, 5_000)).seen(took(40, 20))
    assert 40 * HOUR <= slow.matured_after(7 * DAY) < 46 * HOUR


def test_nothing_is_waited_for_longer_than_the_spec_says():
    assert Delays().seen(took(300, 5_000)).matured_after(7 * DAY) == 7 * DAY
    assert Delays().seen(took(3, 900)).matured_after(7 * DAY) == 7 * DAY, "too few to say"


def test_labels_that_come_to_take_longer_are_waited_for_soon():
    assert Delays().seen(took(3, 5_000)).seen(took(30, 100)).matured_after(7 * DAY) >= 30 * HOUR


@given(st.floats(-1e6, 1e9))
def test_no_delay_is_too_short_or_too_long_to_be_counted(seconds):
    delays = Delays().seen(np.array([seconds])).compared(np.array([seconds]), np.array([[-1.0, 1.0]]))
    assert delays.counts.sum() == delays.compared_with.sum() == delays.missed[:, 1].sum() == 1


# --- early labels and late ones ---------------------------------------------------------------------------------------


def test_who_churns_is_known_in_an_hour_and_who_stays_after_a_month_so_a_month_is_waited_for():
    churned, stayed = [(1, 0.75)] * 500, [(30 * 24, -0.25)] * 1_500
    assert 30 * DAY <= learned(*churned, *stayed).matured_after(60 * DAY) < 34 * DAY


def test_where_early_labels_are_like_late_ones_nobody_waits():
    early, late = [(1, 0.8), (1, -0.2)] * 500, [(200, 0.8), (200, -0.2)] * 500
    # a fifth of the labels is class 1 among those that take an hour, and among those that take a week
    assert learned(*early, *late).matured_after(60 * DAY) == timedelta(minutes=1)


def test_a_difference_that_the_answers_know_of_is_none():
    """Long flights are late more often and take longer: the plain answers say so, and miss by nothing on average."""
    short, long = [(2, 0.9), *[(2, -0.1)] * 9] * 100, [(12, 0.5), (12, -0.5)] * 500
    assert learned(*short, *long).matured_after(7 * DAY) == timedelta(minutes=1)


def test_late_flights_land_later_so_each_request_waits_for_most_of_them():
    rng = np.random.default_rng(1)
    late = rng.random(20_000) < 0.2
    hours = rng.uniform(1, 6, 20_000) + np.where(late, rng.exponential(1.5, 20_000), 0)
    waits = learned(*zip(hours, late - 0.2, strict=True)).matured_after(7 * DAY)
    known = hours <= waits / HOUR
    assert waits < 10 * HOUR, "the longest takes 18"
    assert abs(late[known].mean() - late.mean()) < 0.021


def test_a_request_waits_no_longer_than_the_slowest_label_of_its_kind_took():
    """Where labels come on the hour a bin that ends at a quarter past would cost an hour."""
    churned, stayed = [(1, 0.75)] * 500, [(12, -0.25)] * 1_500
    assert learned(*churned, *stayed).matured_after(7 * DAY) == 12 * HOUR
    assert Delays().seen(took(12, 5_000)).matured_after(7 * DAY) == 12 * HOUR


def test_too_few_compared_labels_say_nothing():
    hours = took(5, 2_000)
    few = Delays().seen(hours).compared(hours[:900], np.zeros((900, 2)))
    assert few.matured_after(7 * DAY) >= 5 * HOUR


def test_a_value_that_comes_late_where_it_is_large_is_waited_for():
    seconds = np.concatenate([took(1, 1_000), took(24, 1_000)])
    missed = np.concatenate([np.full((1_000, 1), -0.3), np.full((1_000, 1), 0.3)])
    assert Delays().seen(seconds).compared(seconds, missed).matured_after(7 * DAY) >= DAY


@given(st.data())
def test_at_no_age_beyond_the_wait_are_known_labels_unlike_all(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    kinds = data.draw(st.lists(st.tuples(st.floats(0.1, 500), st.floats(-1, 1)), min_size=1, max_size=6))
    chosen = np.array(kinds)[rng.integers(0, len(kinds), 2_000)]
    hours, missed = chosen[:, 0], chosen[:, 1]
    wait = learned(*chosen).matured_after(1_000 * DAY) / HOUR
    for age in sorted({wait, *hours[hours > wait]}):
        known = missed[hours <= age]
        # float32 sums; a bin's end may lie an eighth beyond its first delay
        later = missed[hours <= age * 1.125]
        if len(known) > 0 and len(later) == len(known):
            assert abs(known.mean() - missed.mean()) <= 0.02 + 1e-4


@pytest.mark.parametrize("columns", [1, 3])
def test_another_number_of_classes_starts_the_comparison_anew(columns):
    hours = took(5, 2_000)
    two = Delays().seen(hours).compared(hours, np.zeros((2_000, 2)))
    again = two.compared(hours, np.zeros((2_000, columns)))
    assert again.missed.shape == (160, columns)
    assert again.compared_with.sum() == 2_000, "what nothing was summed of counts for nothing"
