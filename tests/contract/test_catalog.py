"""The catalog on DynamoDB: which files there are between two times, whatever months lie between."""

import itertools
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.aws.catalog import DynamoCatalog
from evergreen.domain.catalog import CatalogEntry, CatalogKind, DailySums, FileSums

HOUR = timedelta(hours=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def catalog(table):
    return DynamoCatalog(*table("pk", "sk"))


def a_file(time, name="a", model="churn", kind=CatalogKind.OUTCOMES, **more):
    return CatalogEntry(model, kind, time, f"{kind}/{model}/{time:%Y/%m/%d/%H}/{name}.parquet", 10, **more)


def added(catalog, *entries):
    for entry in entries:
        catalog.add(entry)
    return entries


def test_a_file_is_found_with_all_that_was_said_of_it(catalog):
    days, plain = DailySums({2: {"2026-01-01": (10, 9)}}), DailySums({2: {"2026-01-01": (8, 4)}})
    entry = a_file(NEW_YEAR, etag="abc", sums=FileSums(days, plain, pending=1))
    added(catalog, entry)
    assert catalog.between("churn", CatalogKind.OUTCOMES, NEW_YEAR, NEW_YEAR + HOUR) == [entry]


def test_profiles_are_found_by_their_version(catalog):
    third, _ = added(catalog, *(a_file(NEW_YEAR, kind=CatalogKind.PROFILE, version=number) for number in (3, 4)))
    assert catalog.between("churn", CatalogKind.PROFILE, NEW_YEAR, NEW_YEAR + HOUR, version=3) == [third]
    assert catalog.between("churn", CatalogKind.PROFILE_DAY, NEW_YEAR, NEW_YEAR + HOUR, version=3) == []


def test_an_entry_is_stored_as_it_has_always_been(table):
    client, name = table("pk", "sk")
    catalog = DynamoCatalog(client, name)
    daily = DailySums({2: {"2026-01-01": (10, 9)}})
    newest = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    added(
        catalog,
        a_file(NEW_YEAR, etag="abc", sums=FileSums(daily, pending=1)),
        a_file(NEW_YEAR, kind=CatalogKind.ONLINE_ROWS, sums=FileSums(newest=newest)),
        a_file(NEW_YEAR, kind=CatalogKind.PROFILE_DAY, version=3),
    )
    stored = {item["pk"]["S"]: item for item in client.scan(TableName=name)["Items"]}
    assert {partition: item["sums"]["S"] for partition, item in stored.items()} == {
        "churn#outcomes#2026-01": '{"daily":{"2":{"2026-01-01":[10,9]}},"pending":1}',
        "churn#online-rows#2026-01": '{"newest":"2026-01-01T00:30:00+00:00"}',
        "churn#profile-day-v3#2026-01": "{}",
    }
    assert stored["churn#outcomes#2026-01"] == {
        "pk": {"S": "churn#outcomes#2026-01"},
        "sk": {"S": "01/00/outcomes/churn/2026/01/01/00/a.parquet"},
        "time": {"S": "2026-01-01T00:00:00+00:00"},
        "key": {"S": "outcomes/churn/2026/01/01/00/a.parquet"},
        "rows": {"N": "10"},
        "etag": {"S": "abc"},
        "sums": {"S": '{"daily":{"2":{"2026-01-01":[10,9]}},"pending":1}'},
    }


def test_the_start_counts_and_the_end_does_not(catalog):
    hours = added(catalog, *(a_file(NEW_YEAR + i * HOUR) for i in range(4)))
    assert catalog.between("churn", CatalogKind.OUTCOMES, hours[1].time, hours[3].time) == [hours[1], hours[2]]
    assert catalog.between("churn", CatalogKind.OUTCOMES, hours[1].time, hours[1].time) == []
    assert catalog.between("churn", CatalogKind.OUTCOMES, hours[3].time, hours[1].time) == []


def test_a_window_over_months_and_years_is_in_order(catalog):
    times = [
        datetime(2025, 11, 30, 23, tzinfo=UTC),
        datetime(2025, 12, 1, tzinfo=UTC),
        NEW_YEAR,
        NEW_YEAR + 45 * 24 * HOUR,
    ]
    entries = [a_file(time) for time in times]
    added(catalog, *reversed(entries))
    assert catalog.between("churn", CatalogKind.OUTCOMES, times[0], times[-1] + HOUR) == entries
    assert catalog.between("churn", CatalogKind.OUTCOMES, times[1], NEW_YEAR) == entries[1:2]


def test_files_of_one_hour_are_in_order_of_their_keys(catalog):
    added(catalog, a_file(NEW_YEAR, "b"), a_file(NEW_YEAR, "a"))
    found = catalog.between("churn", CatalogKind.OUTCOMES, NEW_YEAR, NEW_YEAR + HOUR)
    assert [entry.key[-9:] for entry in found] == ["a.parquet", "b.parquet"]


def test_a_time_within_an_hour_is_kept_to_the_second(catalog):
    entry = a_file(NEW_YEAR + timedelta(minutes=40))
    added(catalog, entry)
    assert catalog.between("churn", CatalogKind.OUTCOMES, NEW_YEAR, NEW_YEAR + timedelta(minutes=40)) == []
    assert catalog.between("churn", CatalogKind.OUTCOMES, NEW_YEAR + timedelta(minutes=40), NEW_YEAR + HOUR) == [entry]


def test_a_file_added_twice_is_one_file_with_the_newest_word_of_it(catalog):
    added(catalog, a_file(NEW_YEAR, etag="old"), a_file(NEW_YEAR, etag="new"))
    assert [entry.etag for entry in catalog.between("churn", CatalogKind.OUTCOMES, NEW_YEAR, NEW_YEAR + HOUR)] == [
        "new"
    ]


def test_a_removed_file_is_forgotten_and_removing_it_again_is_nothing(catalog):
    entry, other = added(catalog, a_file(NEW_YEAR, "a"), a_file(NEW_YEAR, "b"))
    catalog.remove(entry)
    catalog.remove(entry)
    assert catalog.between("churn", CatalogKind.OUTCOMES, NEW_YEAR, NEW_YEAR + HOUR) == [other]


def test_models_and_kinds_are_apart(catalog):
    added(catalog, a_file(NEW_YEAR, model="other"), a_file(NEW_YEAR, kind=CatalogKind.BASE_DATA))
    assert catalog.between("churn", CatalogKind.OUTCOMES, NEW_YEAR, NEW_YEAR + HOUR) == []


def test_times_are_compared_in_utc(catalog):
    entry = a_file(NEW_YEAR)
    added(catalog, entry)
    berlin = timezone(HOUR)
    start = datetime(2026, 1, 1, 1, tzinfo=berlin)
    assert catalog.between("churn", CatalogKind.OUTCOMES, start, start + HOUR) == [entry]
    assert catalog.between("churn", CatalogKind.OUTCOMES, start - HOUR, start) == []


NUMBER = itertools.count()
HOURS = st.integers(0, 100 * 24).map(lambda hours: datetime(2025, 11, 20, tzinfo=UTC) + hours * HOUR)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(HOURS, max_size=12, unique=True), HOURS, HOURS)
def test_exactly_the_files_of_the_window_are_found(catalog, times, start, end):
    model = f"model-{next(NUMBER)}"
    entries = added(catalog, *(a_file(time, model=model) for time in times))
    wanted = sorted((entry for entry in entries if start <= entry.time < end), key=lambda entry: entry.time)
    assert catalog.between(model, CatalogKind.OUTCOMES, start, end) == wanted


# --- requests whose ids do not say their hour -------------------------------------------------------------------------

ids, model_names = (
    st.sampled_from(["order-1", "order-2", "", "café#1", "x" * 3_000]),
    st.sampled_from(["churn", "chur"]),
)
noted = st.tuples(model_names, st.lists(ids, max_size=4), st.integers(0, 9))


@given(st.lists(noted, max_size=8), st.integers(0, 10), st.integers(0, 10))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_hours_of_a_request_are_those_that_were_noted_however_often(catalog, notes, first, last):
    year = next(years)
    at = [datetime(year, 1, 1, tzinfo=UTC) + hour * HOUR for hour in range(12)]
    for model, some, hour in [*notes, *notes[::-1]]:
        catalog.point(model, some, at[hour])
    for model in ("churn", "chur"):
        for request_id in ("order-1", "order-2", "", "café#1", "x" * 3_000):
            expected = {h for name, some, h in notes if name == model and request_id in some and first <= h < last}
            found = catalog.hours_of(model, request_id, at[first], at[last])
            assert found == [at[hour] for hour in sorted(expected)]


years = itertools.count(1990)


def test_what_points_to_captures_expires_with_them(table):
    client, name = table("pk", "sk")
    DynamoCatalog(client, name, kept=timedelta(days=10)).point("churn", ["order-1"], NEW_YEAR)
    (item,) = client.scan(TableName=name)["Items"]
    assert int(item["expires"]["N"]) == (NEW_YEAR + timedelta(days=10)).timestamp()


@pytest.mark.parametrize("refusals", [1, 3])
def test_what_a_busy_table_did_not_take_is_written_again(table, refusals):
    client, name = table("pk", "sk")
    refused = itertools.count(1)

    def busy(params, **_):
        """A table that takes all but the first two items of a batch, at first."""
        batch = json.loads(params["body"])["RequestItems"][name]
        if next(refused) > refusals:
            return None
        for each in batch[2:]:
            client.put_item(TableName=name, Item=each["PutRequest"]["Item"])
        return AWSResponse("", 200, {}, None), {"UnprocessedItems": {name: batch[:2]}}

    client.meta.events.register("before-call.dynamodb.BatchWriteItem", busy)
    wanted = [f"order-{n}" for n in range(30)]
    try:
        DynamoCatalog(client, name).point("churn", wanted, NEW_YEAR)
    finally:
        client.meta.events.unregister("before-call.dynamodb.BatchWriteItem", busy)
    catalog = DynamoCatalog(client, name)
    assert all(catalog.hours_of("churn", each, NEW_YEAR, NEW_YEAR + HOUR) == [NEW_YEAR] for each in wanted)


def test_all_that_is_pointed_to_is_known_from_the_earliest_note(catalog):
    assert catalog.pointed_since("churn") is None
    for hours in (5, 2, 9):
        catalog.all_pointed("churn", NEW_YEAR + hours * HOUR)
    assert catalog.pointed_since("churn") == NEW_YEAR + 2 * HOUR
    assert catalog.pointed_since("chur") is None
