"""Which rows a candidate is trained on: a policy over the sums of what was answered, at the time of the decision."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.domain.catalog import CatalogEntry, CatalogKind, DailySums, FileSums
from evergreen.domain.training_rows import choose_rows, first_whole_day, new_rows, window_start
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


# --- rows that are new ------------------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)


def files_of(rows):
    """Outcome files as labels bring them, one an hour, of rows as (asked, labelled) times."""
    hours = defaultdict(list)
    for asked, labelled in rows:
        hours[labelled.replace(minute=0, second=0, microsecond=0)].append(asked)
    files = []
    for hour, asked in sorted(hours.items()):
        days = {day: (n, n) for day, n in Counter(f"{time:%Y-%m-%d}" for time in asked).items()}
        sums = FileSums(DailySums({1: days}))
        files.append(CatalogEntry("churn", CatalogKind.OUTCOMES, hour, f"{hour}", len(asked), sums=sums))
    return files


def counted(rows, *, seen_until, maturity, now, requested=None):
    known = [(asked, labelled) for asked, labelled in rows if labelled <= now]
    return new_rows(files_of(known), [], seen_until=seen_until, requested=requested, maturity=maturity, now=now)


def test_rows_of_whole_days_behind_the_training_are_new_once_they_have_matured():
    rows = [(NOW + h * HOUR, NOW + h * HOUR) for h in range(24 * 5)]
    known = {"seen_until": NOW + 6 * HOUR, "maturity": DAY, "requested": NOW + 30 * HOUR}
    assert counted(rows, now=NOW + 30 * HOUR, **known) == 0, "nothing came since"
    assert counted(rows, now=NOW + 4 * DAY - HOUR, **known) == 48
    assert counted(rows, now=NOW + 5 * DAY - HOUR, **known) == 72


def test_in_a_day_that_is_not_over_labels_count_by_the_hour_in_which_they_came():
    rows = [(NOW + m * HOUR / 60, NOW + m * HOUR / 60) for m in range(60 * 10)]
    known = {"seen_until": NOW + 2 * HOUR, "maturity": HOUR / 2, "requested": NOW + 3 * HOUR}
    assert counted(rows, now=NOW + 10 * HOUR, **known) == 60 * 6


def test_rows_from_before_evergreen_count_by_their_newest():
    def base(hours):
        return CatalogEntry("churn", CatalogKind.BASE_DATA, NOW + hours * HOUR, "base", 700)

    known = {"seen_until": NOW, "maturity": HOUR, "now": NOW + 10 * HOUR}
    assert new_rows([], [base(-1), base(0), base(5)], **known) == 700
    assert new_rows([], [base(10)], **known) == 0, "not matured yet"


def test_a_file_without_sums_counts_by_its_hour():
    file = CatalogEntry("churn", CatalogKind.OUTCOMES, NOW + 5 * HOUR, "old", 80)
    known = {"maturity": HOUR, "now": NOW + DAY}
    assert new_rows([file], [], seen_until=NOW + 2 * HOUR, **known) == 80
    assert new_rows([file], [], seen_until=NOW + 4 * HOUR, **known) == 0


ROWS = st.lists(st.tuples(st.integers(0, 24 * 12), st.integers(0, 24 * 4)), max_size=60).map(
    lambda hours: [(NOW + asked * HOUR, NOW + (asked + late) * HOUR) for asked, late in hours]
)


@given(ROWS, st.integers(0, 24 * 12), st.integers(0, 72), st.integers(0, 10))
def test_never_more_rows_count_as_new_than_a_training_would_really_gain(
    rows, requested_hour, maturity_hours, days_later
):
    """Whatever the delays: a training is never repeated on the rows that it had."""
    maturity, requested = maturity_hours * HOUR, NOW + requested_hour * HOUR

    def trainable(at):
        return {i for i, (asked, labelled) in enumerate(rows) if asked <= at - maturity and labelled <= at}

    had = trainable(requested)
    if not had:
        return
    seen_until = max(rows[i][0] for i in had)
    end_of_day = (requested + days_later * DAY).replace(hour=23)  # in a day that is not over some have not matured
    now = end_of_day + maturity
    new = counted(rows, seen_until=seen_until, requested=requested, maturity=maturity, now=now)
    assert new <= len(trainable(now) - had)


@pytest.mark.parametrize("after", [NOW, NOW + timedelta(microseconds=1), NOW + 23 * HOUR])
def test_the_first_whole_day_begins_after_the_last_row(after):
    assert first_whole_day(after) == "2026-04-12", "a row at midnight is one of that day"
