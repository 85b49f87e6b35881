"""Captures and labels as lines: written and read the same, and a line that can't be read is kept with its reason."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.formats.captures import (
    Capture,
    GroundTruth,
    capture_line,
    format_time,
    ground_truth_line,
    quarantine_body,
    read_captures,
    read_ground_truth,
)
from evergreen.formats.keys import FileKey

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ONE = Capture("id-1", NOON, 3, {"age": 41.0, "plan": None}, "1", {"0": 0.25, "1": 0.75}, "shop-7")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CAPTURES = st.builds(
    Capture,
    event_id=NAMES,
    time=st.integers(0, 10**16).map(lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)),
    version=st.integers(1, 10_000),
    features=st.dictionaries(NAMES, st.one_of(st.none(), NUMBERS, TEXT), max_size=5),
    prediction=st.one_of(TEXT, NUMBERS),
    probabilities=st.one_of(st.none(), st.dictionaries(NAMES, st.floats(0, 1), max_size=3)),
    group=st.one_of(st.none(), NAMES),
)
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), NUMBERS, st.text(max_size=10)),
    lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(st.text(max_size=10), part, max_size=3)),
    max_leaves=8,
)


def records_like_ours():
    """Records whose every part may be anything at all."""
    payload = st.one_of(ANY_JSON, st.fixed_dictionaries({"data": st.one_of(ANY_JSON, ANY_JSON.map(json.dumps))}))
    return st.fixed_dictionaries(
        {
            "captureData": st.one_of(
                ANY_JSON, st.fixed_dictionaries({"endpointInput": payload, "endpointOutput": payload})
            ),
            "groundTruthData": payload,
            "eventMetadata": st.one_of(
                ANY_JSON,
                st.fixed_dictionaries(
                    {
                        "eventId": ANY_JSON,
                        "inferenceTime": st.one_of(ANY_JSON, st.just("2026-01-01T12:00:00Z")),
                        "modelVersion": st.one_of(ANY_JSON, st.just(3)),
                    }
                ),
            ),
        }
    )


@given(st.lists(CAPTURES, max_size=5))
def test_captures_come_back_as_they_were_written(captures):
    body = b"\n".join(capture_line(c, model="churn", variant="production") for c in captures)
    assert read_captures(body) == (captures, [])


@given(st.lists(st.builds(GroundTruth, event_id=NAMES, label=TEXT), max_size=5))
def test_labels_come_back_as_they_were_written(labels):
    body = b"\n".join(ground_truth_line(label, model="churn") for label in labels)
    assert read_ground_truth(body) == (labels, [])


@given(
    st.lists(st.one_of(st.binary(max_size=40), records_like_ours().map(lambda r: json.dumps(r).encode())), max_size=5)
)
def test_a_line_of_anything_is_read_or_kept_aside_and_never_lost(lines):
    body = b"\n".join(lines)
    written = [line for line in body.splitlines() if line.strip()]
    for read in (read_captures, read_ground_truth):
        found, malformed = read(body)
        assert len(found) + len(malformed) == len(written)
        assert all(isinstance(item.event_id, str) for item in found)
        quarantined = [json.loads(line) for line in quarantine_body(malformed).splitlines()]
        assert [row["reason"] for row in quarantined] == [line.reason for line in malformed]


def test_a_capture_is_laid_out_as_sagemakers_data_capture():
    record = json.loads(capture_line(ONE, model="churn", variant="production"))
    assert record == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "application/json",
                "mode": "INPUT",
                "data": '{"age":41.0,"plan":null}',
                "encoding": "JSON",
            },
            "endpointOutput": {
                "observedContentType": "application/json",
                "mode": "OUTPUT",
                "data": '{"prediction":"1","probabilities":{"0":0.25,"1":0.75}}',
                "encoding": "JSON",
            },
        },
        "eventMetadata": {
            "eventId": "id-1",
            "inferenceId": "id-1",
            "inferenceTime": "2026-01-01T12:00:00Z",
            "modelName": "churn",
            "modelVersion": 3,
            "variant": "production",
            "group": "shop-7",
        },
        "eventVersion": "0",
    }


def test_a_label_file_of_sagemakers_own_is_read():
    line = (
        b'{"groundTruthData":{"data":"1","encoding":"CSV"},"eventMetadata":{"eventId":"aaaa-bbbb"},"eventVersion":"0"}'
    )
    assert read_ground_truth(line)[0] == [GroundTruth("aaaa-bbbb", "1")]


def with_metadata(**changes):
    record = json.loads(capture_line(ONE, model="churn", variant="production"))
    record["eventMetadata"] |= changes
    return json.dumps(
        {**record, "eventMetadata": {k: v for k, v in record["eventMetadata"].items() if v is not None}}
    ).encode()


def test_the_callers_id_goes_before_sagemakers():
    captures, _ = read_captures(with_metadata(inferenceId="order-17"))
    assert captures[0].event_id == "order-17"
    captures, _ = read_captures(with_metadata(inferenceId=None))
    assert captures[0].event_id == "id-1"


def test_a_time_without_a_zone_is_utc():
    captures, _ = read_captures(with_metadata(inferenceTime="2026-01-01T12:00:00"))
    assert captures[0].time == NOON


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "JSONDecodeError"),
        (b"[]", "TypeError"),
        (b'"text"', "TypeError"),
        (b"{}", "no key 'captureData'"),
        (with_metadata(modelVersion=None), "no key 'modelVersion'"),
        (with_metadata(modelVersion="three"), "ValueError"),
        (with_metadata(inferenceTime="yesterday"), "ValueError"),
        (with_metadata(inferenceId=17), "17 is not a string"),
        (with_metadata(inferenceId="\ud800"), "surrogate"),
        pytest.param(b"[" * 200_000, "JSONDecodeError", id="nested too deeply"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_malformed_line_is_kept_with_its_number_and_reason(line, reason):
    body = capture_line(ONE, model="churn", variant="production") + b"\n\n" + line + b"\n"
    captures, malformed = read_captures(body)
    assert captures == [ONE]
    assert malformed[0].number == 3
    assert reason in malformed[0].reason


def test_times_are_written_in_utc_with_a_z():
    assert format_time(datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T12:00:00Z"
    assert format_time(NOON.replace(microsecond=250_000)) == "2026-01-01T12:00:00.250000Z"


@given(
    st.sampled_from(["captures", "ground-truth"]),
    st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    st.sampled_from(["production", "shadow", ""]),
    st.integers(0, 10**6).map(lambda hours: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hours)),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,19}", fullmatch=True),
)
def test_a_file_key_is_read_as_it_was_written(kind, model, variant, hour, stem):
    written = FileKey(kind, model, variant, hour, stem).beside(kind, "jsonl")
    assert FileKey.parse(written) == FileKey(kind, model, variant, hour, stem)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "captures/churn",
        "captures/churn/production/2026/13/01/00/a.jsonl",
        "captures/churn/a/b/c/d/2026/01/01/00/a.jsonl",
        "ground-truth/churn/a/b/2026/01/01/00/a.jsonl",
    ],
)
def test_a_key_that_is_laid_out_otherwise_is_refused(key):
    with pytest.raises(ValueError, match=r"."):
        FileKey.parse(key)
