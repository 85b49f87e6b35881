"""Files exactly as SageMaker writes them, the odd ones too: every row is joined, waits, or lies in quarantine."""

import base64
import json
from datetime import timedelta

import pytest

from evergreen.domain.catalog import CatalogKind
from evergreen.domain.shares import is_captured
from evergreen.formats import outcomes

HOUR, LATER = "2026/03/01/00", "2026/03/01/01"
SPEC = {"features": {"age": {"type": "number"}, "plan": {"type": "categorical"}, "spent": {"type": "number"}}}


def side(mode, data, encoding="CSV", kind="text/csv"):
    return {"observedContentType": kind, "mode": mode, "data": data, "encoding": encoding}


def record(event_id, given="50,gold,188.9\n", answer="0.9", *, inference_id=None):
    """A line of Data Capture, key by key as the documentation shows it."""
    metadata = {"eventId": event_id, "inferenceTime": "2026-03-01T00:20:06Z"}
    if inference_id:
        metadata["inferenceId"] = inference_id
    data = {
        "endpointInput": side("INPUT", given) if isinstance(given, str) else given,
        "endpointOutput": side("OUTPUT", answer, kind="text/csv; charset=utf-8") if isinstance(answer, str) else answer,
    }
    line = {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}
    return json.dumps(line, separators=(",", ":")).encode()


def label(event_id, data="1", encoding="CSV"):
    line = {
        "groundTruthData": {"data": data, "encoding": encoding},
        "eventMetadata": {"eventId": event_id},
        "eventVersion": "0",
    }
    return json.dumps(line).encode()


@pytest.fixture
def churn(cloud, now):
    """A model that answers by an endpoint of SageMaker's: its captures don't name the version."""
    cloud.applied(**SPEC)
    cloud.promoted(at=now - timedelta(days=2))
    return cloud


def captured(cloud, *lines, name="part-1", hour=HOUR):
    return cloud.call("profile_capture", cloud.arrived(f"captures/churn/production/{hour}/{name}.jsonl", *lines))


def labelled(cloud, *lines, name="labels-1", hour=LATER):
    return cloud.call("join_labels", cloud.arrived(f"ground-truth/churn/{hour}/{name}.jsonl", *lines))


def joined(cloud, now):
    """The joined rows by id: what was said and what was true."""
    rows = {}
    for entry in cloud.ports.catalog.between(
        "churn", CatalogKind.OUTCOMES, now - timedelta(days=1), now + timedelta(days=1)
    ):
        for row in outcomes.from_parquet(cloud.ports.data.get(entry.key)).to_pylist():
            rows[row["event_id"]] = row
    return rows


def counted(cloud, name):
    """The sum of a metric since it was last asked for."""
    return sum(metrics.get(name, 0) for _, metrics in cloud.counted())


def test_the_line_of_the_documentation_becomes_a_row_of_the_version_in_production(churn, now):
    assert captured(churn, record("aaaa")) == {"rows": 1, "quarantined": 0}
    assert labelled(churn, label("aaaa")) == {"joined": 1, "pending": 0, "quarantined": 0}
    row = joined(churn, now)["aaaa"]
    assert (row["feature.age"], row["feature.plan"], row["feature.spent"]) == (50.0, "gold", 188.9)
    assert (row["production_version"], row["prediction"], row["actual"]) == (1, "1", "1")
    assert row["probabilities"] == pytest.approx([0.1, 0.9])


def test_base64_beside_json_and_no_inference_id(churn, now):
    asked = side("INPUT", '{"age":50,"plan":"gold","spent":188.9}', "JSON", "application/json")
    said = side("OUTPUT", base64.b64encode(b"0.2").decode(), "BASE64", "text/html; charset=utf-8")
    lines = [record("aaaa", given=asked, answer=said), record("bbbb", inference_id="order-17")]
    assert captured(churn, *lines) == {"rows": 2, "quarantined": 0}
    assert labelled(churn, label("aaaa", "0"), label("order-17", "1")) == {"joined": 2, "pending": 0, "quarantined": 0}
    assert {name: row["prediction"] for name, row in joined(churn, now).items()} == {"aaaa": "0", "order-17": "1"}


def test_a_record_of_several_rows_meets_its_labels_row_by_row(churn, now):
    three = record("many", "50,gold,1\n31,,2\n,free,\n", "0.9\n0.2\n0.7\n")
    assert captured(churn, three) == {"rows": 3, "quarantined": 0}
    assert labelled(churn, label("many", "1\n1\n0\n")) == {"joined": 3, "pending": 0, "quarantined": 0}
    rows = joined(churn, now)
    assert [(rows[f"many/{i}"]["prediction"], rows[f"many/{i}"]["actual"]) for i in range(3)] == [
        ("1", "1"),
        ("0", "1"),
        ("1", "0"),
    ]
    assert rows["many/2"]["feature.age"] is None


def test_what_can_not_be_read_is_kept_aside_with_its_reason_and_stops_nothing(churn):
    lines = [
        record("good"),
        b"",
        b"   ",
        record("short", "50,gold"),
        record("word", "old,gold,1"),
        record("unsure", answer="0.9,0.3"),
        record("uneven", "50,gold,1\n31,free,2", "0.9\n0.2\n0.4\n"),
        record("cut")[:-40],  # the last line, as the instance's end left it
    ]
    assert captured(churn, *lines) == {"rows": 1, "quarantined": 5}
    reasons = [line["reason"] for line in churn.kept_aside()]
    for reason, says in zip(
        reasons, ["2 fields", "'old', not a number", "in none", "3 answers to 2 rows", "JSONDecodeError"], strict=True
    ):
        assert says in reason
    assert json.loads(churn.kept_aside()[0]["line"])["eventMetadata"]["eventId"] == "short"


def test_trailing_blank_lines_and_one_line_in_ten_twice_change_no_count(churn):
    lines = [record(f"id-{i}") for i in range(100)]
    lines += [*lines[::10], b"", b""]
    assert captured(churn, *lines) == {"rows": 100, "quarantined": 0}
    labels = [label(f"id-{i}", str(i % 2)) for i in range(90)]
    labels += [*labels[::10], label("nobody-1"), label("nobody-2"), b'{"groundTruthData"', b""]
    assert labelled(churn, *labels) == {"joined": 90, "pending": 2, "quarantined": 1}


def test_a_corrected_label_counts_and_a_late_one_still_finds_its_capture(churn, now):
    captured(churn, record("aaaa"), record("bbbb"))
    assert labelled(churn, label("aaaa", "1"), label("aaaa", "0"))["joined"] == 1, "the last of a file counts"
    assert joined(churn, now)["aaaa"]["actual"] == "0"
    labelled(churn, label("aaaa", "1"), name="labels-2", hour="2026/03/01/02")
    assert joined(churn, now)["aaaa"]["actual"] == "1", "and the last file"
    assert labelled(churn, label("bbbb"), name="late", hour="2026/03/01/20")["joined"] == 1


def test_labels_before_their_captures_wait_and_are_joined_by_reconcile(churn, now):
    assert labelled(churn, label("aaaa", "1.0"), label("never")) == {"joined": 0, "pending": 2, "quarantined": 0}
    captured(churn, record("aaaa"))
    churn.call("reconcile", "schedule_evaluate")
    assert joined(churn, now)["aaaa"]["actual"] == "1", "1.0 is the class 1"
    (waiting,) = churn.ports.catalog.between("churn", CatalogKind.PENDING_LABELS, now - timedelta(days=1), now)
    event = churn.event("schedule_evaluate") | {"time": f"{now + timedelta(days=4):%Y-%m-%dT%H:%M:%SZ}"}
    churn.call("reconcile", event)
    assert not churn.ports.catalog.between("churn", CatalogKind.PENDING_LABELS, now - timedelta(days=1), now), waiting
    lines = [line for key in churn.ports.data.keys("quarantine/") for line in churn.ports.data.get(key).splitlines()]
    assert [json.loads(line)["eventMetadata"]["eventId"] for line in lines] == ["never"]


def test_a_label_waits_for_its_capture_only_where_there_can_be_one(cloud, now):
    cloud.applied(**SPEC, capture={"sampling": 0.2})
    cloud.promoted(at=now - timedelta(days=2))
    names = [f"order-{number}" for number in range(50)]
    to_come = [name for name in names if is_captured(0.2, name)]
    assert captured(cloud, *(record(name) for name in to_come[:4])) == {"rows": 4, "quarantined": 0}
    wait = len(to_come) - 4
    assert labelled(cloud, *map(label, names)) == {"joined": 4, "pending": wait, "quarantined": 0}
    assert counted(cloud, "UnsampledLabels") == 50 - len(to_come)
    assert 4 < len(to_come) < 20


def test_labels_of_captures_that_are_no_longer_kept_wait_and_stop_nothing(churn):
    captured(churn, record("aaaa"))
    captured(churn, record("bbbb"), name="part-2", hour="2026/03/01/01")
    for key in list(churn.ports.data.keys("compact/churn/")):
        if "/00/" in key:
            churn.ports.data.delete(key)
    assert labelled(churn, label("aaaa"), label("bbbb")) == {"joined": 1, "pending": 1, "quarantined": 0}


def test_where_sagemaker_draws_what_it_captures_every_label_may_find_its_capture_yet(cloud):
    cloud.applied(**SPEC, capture={"sampling": 0.2}, endpoint={"kind": "sagemaker"})
    names = [f"order-{number}" for number in range(50)]
    assert labelled(cloud, *map(label, names)) == {"joined": 0, "pending": 50, "quarantined": 0}
    assert counted(cloud, "UnsampledLabels") == 0


def test_labels_in_json_and_base64_are_labels(churn, now):
    captured(churn, record("aaaa"), record("bbbb"), record("cccc"))
    lines = [label("aaaa", "1", "JSON"), label("bbbb", base64.b64encode(b"0").decode(), "BASE64"), label("cccc", 1)]
    assert labelled(churn, *lines) == {"joined": 3, "pending": 0, "quarantined": 0}
    assert {name: row["actual"] for name, row in joined(churn, now).items()} == {"aaaa": "1", "bbbb": "0", "cccc": "1"}


def test_captures_of_an_endpoint_that_had_no_version_in_production_are_kept_aside(cloud):
    cloud.applied(**SPEC)
    assert captured(cloud, record("aaaa")) == {"rows": 0, "quarantined": 1}
    assert "no version was in production" in cloud.kept_aside()[0]["reason"]
