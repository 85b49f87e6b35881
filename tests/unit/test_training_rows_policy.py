"""Which rows a candidate is trained on: a policy over the sums of what was answered, at the time of the decision."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evergreen.domain.catalog import DailySums
from evergreen.domain.training_rows import choose_rows, window_start
from evergreen.spec import TrainingSpec

NOW = datetime(2026, 4, 11, tzinfo=UTC)
DAY = timedelta(days=1)


def days(count=100, *, changed=None, rows=100, rates=(0.1, 0.4)):
    """Sums as outcome files have them, of the days before the decision; worse from day ``changed`` on."""
    random = np.random.default_rng(4)
    sums = []
    for day in range(count):
        rate = rates[1] if changed is not None and day >= changed else rates[0]
        name = (NOW - (count - day) * DAY).strftime("%Y-%m-%d")
        sums.append(DailySums({1 if day < 50 else 2: {name: (rows, rows - int(random.binomial(rows, rate)))}}))
    return sums


def chosen(sums, **training):
    spec = TrainingSpec.model_validate({"rows": "since_change", **training})
    return choose_rows(spec, sums, maturity=DAY, decided_at=NOW)


def test_a_sliding_window_asks_nobody():
    choice = chosen(days(changed=70), rows="sliding", window="30d")
    assert (choice.start, choice.exact, choice.because) == (NOW - 30 * DAY, False, "")


def test_everything_reaches_further_back_than_the_window():
    choice = chosen([], rows="everything", window="30d")
    assert NOW - choice.start == timedelta(days=3_650)
    assert window_start(TrainingSpec(rows="everything", window=timedelta(days=8_000)), NOW) < choice.start


def test_after_a_change_only_what_came_since_is_trained_on_whichever_version_answered():
    choice = chosen(days(changed=70), rows_since_change=1_000)
    assert choice.exact
    assert abs((choice.start - (NOW - 30 * DAY)).days) <= 1
    assert choice.because.startswith(f"since {choice.start:%Y-%m-%d}, when the share of wrong answers rose from 0.1")


def test_without_a_change_it_is_the_window():
    choice = chosen(days(), window="60d")
    assert (choice.start, choice.exact) == (NOW - 60 * DAY, False)
    assert choice.because == "no change for the worse in 99 days of answers"


def test_a_young_model_has_too_few_days_to_tell():
    assert chosen(days(5)).because == "4 days of answers, 8 are needed to see a change"


def test_with_too_few_rows_since_the_change_it_reaches_further_back():
    choice = chosen(days(changed=95), rows_since_change=2_000)
    assert choice.start == NOW - 21 * DAY, "20 matured days of 100 rows"
    assert "for 2,000 rows; fewer are since 2026-04-06" in choice.because


def test_with_too_few_rows_at_all_it_is_the_window():
    choice = chosen(days(changed=95), rows_since_change=50_000)
    assert (choice.start, choice.exact) == (NOW - 180 * DAY, False)
    assert "fewer than 50,000 rows since" in choice.because


def test_it_never_asks_for_more_rows_than_are_kept():
    assert chosen(days(changed=70), rows_since_change=50_000, max_rows=1_000).exact


def test_labels_that_came_early_are_no_change():
    """Of the last day only the positives are labelled yet: all wrong, and not believed."""
    last = DailySums({2: {NOW.strftime("%Y-%m-%d"): (500, 0), (NOW - DAY).strftime("%Y-%m-%d"): (500, 0)}})
    assert chosen([*days(), last]).because.startswith("no change for the worse")


def test_the_same_sums_give_the_same_answer_in_whatever_order_and_files_they_come():
    sums = days(changed=70)
    halves = [DailySums({1: {day: (n // 2, right // 2)}}) for file in sums for day, (n, right) in file.days()]
    assert chosen(sums) == chosen(sums[::-1])
    assert chosen(halves + halves).start == chosen(sums).start


@pytest.mark.parametrize("window", ["1d", "9000000d"])
def test_no_window_is_too_long_for_the_calendar(window):
    assert window_start(TrainingSpec.model_validate({"window": window}), NOW).tzinfo is UTC
