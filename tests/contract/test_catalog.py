"""The catalog on DynamoDB: which files there are between two times, whatever months lie between."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.aws.catalog import DynamoCatalog
from evergreen.domain.catalog import CatalogEntry

HOUR = timedelta(hours=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def catalog(table):
    return DynamoCatalog(*table("pk", "sk"))


def a_file(time, name="a", model="churn", kind="outcomes", **more):
    return CatalogEntry(model, kind, time, f"{kind}/{model}/{time:%Y/%m/%d/%H}/{name}.parquet", 10, **more)


def added(catalog, *entries):
    for entry in entries:
        catalog.add(entry)
    return entries


def test_a_file_is_found_with_all_that_was_said_of_it(catalog):
    entry = a_file(NEW_YEAR, etag="abc", sums={"daily": {"2": {"2026-01-01": [10, 9]}}})
    added(catalog, entry)
    assert catalog.between("churn", "outcomes", NEW_YEAR, NEW_YEAR + HOUR) == [entry]


def test_the_start_counts_and_the_end_does_not(catalog):
    hours = added(catalog, *(a_file(NEW_YEAR + i * HOUR) for i in range(4)))
    assert catalog.between("churn", "outcomes", hours[1].time, hours[3].time) == [hours[1], hours[2]]
    assert catalog.between("churn", "outcomes", hours[1].time, hours[1].time) == []
    assert catalog.between("churn", "outcomes", hours[3].time, hours[1].time) == []


def test_a_window_over_months_and_years_is_in_order(catalog):
    times = [
        datetime(2025, 11, 30, 23, tzinfo=UTC),
        datetime(2025, 12, 1, tzinfo=UTC),
        NEW_YEAR,
        NEW_YEAR + 45 * 24 * HOUR,
    ]
    entries = [a_file(time) for time in times]
    added(catalog, *reversed(entries))
    assert catalog.between("churn", "outcomes", times[0], times[-1] + HOUR) == entries
    assert catalog.between("churn", "outcomes", times[1], NEW_YEAR) == entries[1:2]


def test_files_of_one_hour_are_in_order_of_their_keys(catalog):
    added(catalog, a_file(NEW_YEAR, "b"), a_file(NEW_YEAR, "a"))
    found = catalog.between("churn", "outcomes", NEW_YEAR, NEW_YEAR + HOUR)
    assert [entry.key[-9:] for entry in found] == ["a.parquet", "b.parquet"]


def test_a_time_within_an_hour_is_kept_to_the_second(catalog):
    entry = a_file(NEW_YEAR + timedelta(minutes=40))
    added(catalog, entry)
    assert catalog.between("churn", "outcomes", NEW_YEAR, NEW_YEAR + timedelta(minutes=40)) == []
    assert catalog.between("churn", "outcomes", NEW_YEAR + timedelta(minutes=40), NEW_YEAR + HOUR) == [entry]


def test_a_file_added_twice_is_one_file_with_the_newest_word_of_it(catalog):
    added(catalog, a_file(NEW_YEAR, etag="old"), a_file(NEW_YEAR, etag="new"))
    assert [entry.etag for entry in catalog.between("churn", "outcomes", NEW_YEAR, NEW_YEAR + HOUR)] == ["new"]


def test_a_removed_file_is_forgotten_and_removing_it_again_is_nothing(catalog):
    entry, other = added(catalog, a_file(NEW_YEAR, "a"), a_file(NEW_YEAR, "b"))
    catalog.remove(entry)
    catalog.remove(entry)
    assert catalog.between("churn", "outcomes", NEW_YEAR, NEW_YEAR + HOUR) == [other]


def test_models_and_kinds_are_apart(catalog):
    added(catalog, a_file(NEW_YEAR, model="other"), a_file(NEW_YEAR, kind="base-data"))
    assert catalog.between("churn", "outcomes", NEW_YEAR, NEW_YEAR + HOUR) == []


def test_times_are_compared_in_utc(catalog):
    entry = a_file(NEW_YEAR)
    added(catalog, entry)
    berlin = timezone(HOUR)
    start = datetime(2026, 1, 1, 1, tzinfo=berlin)
    assert catalog.between("churn", "outcomes", start, start + HOUR) == [entry]
    assert catalog.between("churn", "outcomes", start - HOUR, start) == []


NUMBER = itertools.count()
HOURS = st.integers(0, 100 * 24).map(lambda hours: datetime(2025, 11, 20, tzinfo=UTC) + hours * HOUR)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(HOURS, max_size=12, unique=True), HOURS, HOURS)
def test_exactly_the_files_of_the_window_are_found(catalog, times, start, end):
    model = f"model-{next(NUMBER)}"
    entries = added(catalog, *(a_file(time, model=model) for time in times))
    wanted = sorted((entry for entry in entries if start <= entry.time < end), key=lambda entry: entry.time)
    assert catalog.between(model, "outcomes", start, end) == wanted
