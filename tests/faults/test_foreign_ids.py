"""Labels by ids that do not say their hour: joined as if all captures were read, at the cost of those that matter."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from fault_injection import FAULTS, ProcessDiedError, Wire, tap_every_session, tapped
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cloud import SmallCloud, kept_clients, open_cloud

from evergreen.domain.catalog import CatalogKind, FileSums
from evergreen.formats import outcomes
from evergreen.formats.captures import Capture, GroundTruth, capture_line, ground_truth_line
from evergreen.formats.keys import FileKey
from evergreen.formats.request_ids import time_of, uuid7
from evergreen.usecases.join_labels import join_labels, join_pending
from evergreen.usecases.profile_capture import profile_capture

HOUR, BEGIN = timedelta(hours=1), datetime(2026, 3, 1, tzinfo=UTC)
SPAN = 30  # hours in which captures and labels come; labels take up to a day
IDS = [*(f"order-{n}" for n in range(4)), *(uuid7(BEGIN + n * 7 * HOUR, n) for n in range(3))]
COMPACT = (CatalogKind.COMPACT_PRODUCTION, CatalogKind.COMPACT_SHADOW)


class Labels(SmallCloud):
    """Files of captures and of labels, and what was made of them."""

    former = False
    """Whether nothing points to captures, as former releases left them: then all of a window is read."""

    def given(self, maturity="1d"):
        self.applied(labels={"classes": ["0", "1"], "maturity": maturity})
        return self

    def captured(self, name, hour, ids, variant="production"):
        """A file of captures; the ages say which row of which file it is. Our own ids lie in their hour or the next."""
        time = BEGIN + hour * HOUR
        told = [each for each in ids if (issued := time_of(each)) is None or issued <= time <= issued + HOUR]
        rows = [Capture(each, time, 1, {"age": 10.0 * name + n, "plan": "a"}, "1", None) for n, each in enumerate(told)]
        lines = [capture_line(row, model="churn", variant=variant) for row in rows]
        return self._put(f"captures/churn/{variant}/{time:%Y/%m/%d/%H}/{name:03}.jsonl", lines)

    def labelled(self, name, hour, ids):
        time = BEGIN + hour * HOUR
        lines = [ground_truth_line(GroundTruth(each, str(n % 2)), model="churn") for n, each in enumerate(ids)]
        return self._put(f"ground-truth/churn/{time:%Y/%m/%d/%H}/{name:03}.jsonl", lines)

    def _put(self, key, lines):
        self.ports.data.put(key, b"\n".join(lines))
        return key

    def deliver(self, key):
        """The event of a file, as its function takes it."""
        now = FileKey.parse(key).hour + HOUR
        if key.startswith("ground-truth/"):
            return join_labels(key, now=now, ports=self.ports)
        compacted = profile_capture(key, "etag", now=now, ports=self.ports)
        if self.former:
            self.unpoint()
        return compacted

    def unpoint(self):
        """Leave the catalog as a former release would have."""
        for item in self.dynamodb.scan(TableName="catalog")["Items"]:
            if "request" in item["pk"]["S"]:
                self.dynamodb.delete_item(TableName="catalog", Key={"pk": item["pk"], "sk": item["sk"]})
        for kind in COMPACT:
            for entry in self.catalogued(kind):
                self.ports.catalog.add(entry.__replace__(sums=FileSums()))

    def catalogued(self, kind):
        return self.ports.catalog.between("churn", kind, BEGIN - 90 * 24 * HOUR, BEGIN + 90 * 24 * HOUR)

    def reconciled(self, hour):
        for entry in self.catalogued(CatalogKind.PENDING_LABELS):
            join_pending(entry, now=BEGIN + hour * HOUR, ports=self.ports)

    def found(self):
        """All rows by their file, the labels that wait, and what was put aside."""
        files = self.ports.data
        rows = {
            e.key: outcomes.from_parquet(files.get(e.key)).to_pylist() for e in self.catalogued(CatalogKind.OUTCOMES)
        }
        waiting = {e.key: files.get(e.key) for e in self.catalogued(CatalogKind.PENDING_LABELS)}
        return rows, waiting, {key: files.get(key) for key in files.keys("quarantine/")}


_TAPPED = {}
"""Clients whose calls are counted: no other test is to have them."""


@contextlib.contextmanager
def world():
    tap_every_session()
    with kept_clients(_TAPPED), open_cloud(Labels) as cloud:
        yield cloud


hours = st.sampled_from([0, 1, 5, 7, 8, 12, 14, 15, 24, SPAN])
some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=4)
faults = st.none() | st.tuples(st.integers(0, 12), st.sampled_from(FAULTS))


@pytest.mark.slow
@given(
    captures=st.lists(st.tuples(hours, some_ids, st.sampled_from(["production", "production", "shadow"])), max_size=6),
    labels=st.lists(st.tuples(hours, some_ids), min_size=1, max_size=3),
    deliveries=st.lists(st.tuples(st.integers(0, 8), faults), max_size=10),
    reconciled_at=st.integers(0, 10),
)
@settings(max_examples=20, deadline=None)
def test_labels_are_joined_as_if_all_of_the_window_was_read(captures, labels, deliveries, reconciled_at):
    """Late, twice, out of order, killed at any call and delivered again."""

    def told(former):
        with world() as cloud:
            cloud.given().former = former
            files = [cloud.captured(name, *file) for name, file in enumerate(captures)]
            files += [cloud.labelled(name, *file) for name, file in enumerate(labels)]
            for step, (number, fault) in enumerate([*deliveries, *((n, None) for n in range(len(files)))]):
                with tapped(Wire()) as wire:
                    if fault is not None and not former:
                        wire.plan(*fault)
                    with contextlib.suppress(Exception, ProcessDiedError):
                        cloud.deliver(files[number % len(files)])
                cloud.deliver(files[number % len(files)])
                if step == reconciled_at:
                    cloud.reconciled(SPAN)
            cloud.reconciled(SPAN + 10)
            cloud.reconciled(SPAN + 50)
            return cloud.found()

    assert told(former=False) == told(former=True)


def costs_of_joins(hours):
    """What label files cost, by their ids, where each hour of the window has a file of captures."""
    with world() as cloud:
        cloud.given(f"{hours}h")
        for hour in range(-hours, 1):
            cloud.deliver(cloud.captured(abs(hour), hour, [f"order-{hour}", f"order-{hour}-b"]))
        cloud.deliver(cloud.labelled(0, 0, ["order-0"]))  # looks once whether something points to all captures
        costs = {}
        for name, ids in enumerate([("order--3",), ("nobody's",), ("order--3", "order--5-b")], start=1):
            with tapped(Wire()) as wire:
                joined = cloud.deliver(cloud.labelled(name, 0, ids)).joined
            costs[ids] = joined, sorted(wire.calls)
        return costs


def test_a_label_by_a_strangers_id_costs_the_same_whatever_the_window_holds():
    short, long = costs_of_joins(6), costs_of_joins(48)
    assert short == long
    assert [joined for joined, _ in short.values()] == [1, 0, 2]
    for joined, calls in short.values():
        assert calls.count("s3.GetObject") <= 1 + joined, "the labels, and the files that hold their captures"
        assert len(calls) <= 14


def test_an_id_that_names_a_year_far_away_costs_no_more_than_another():
    with world() as cloud:
        key = cloud.given().labelled(0, 0, [IDS[-1], uuid7(datetime(9000, 1, 1, tzinfo=UTC), 1), uuid7(BEGIN, 5)])
        with tapped(Wire()) as wire:
            cloud.deliver(key)
        assert len(wire.calls) <= 16


def test_captures_of_a_former_release_are_found_and_looked_for_until_there_are_none():
    with world() as cloud:
        cloud.given()
        cloud.deliver(cloud.captured(0, 2, ["order-0"]))
        cloud.unpoint()
        cloud.deliver(cloud.captured(1, 9, ["order-1"]))
        assert cloud.deliver(cloud.labelled(0, 10, ["order-0", "order-1"])).joined == 2
        assert cloud.ports.catalog.pointed_since("churn") is None
        cloud.deliver(cloud.labelled(2, -20, ["order-0"]))  # there is none in its own window, and there is one later
        assert cloud.ports.catalog.pointed_since("churn") is None
        assert cloud.deliver(cloud.labelled(1, 28, ["order-1"])).joined == 1
        assert cloud.ports.catalog.pointed_since("churn") == BEGIN + 3 * HOUR
