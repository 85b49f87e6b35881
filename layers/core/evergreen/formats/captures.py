"""SageMaker's Data Capture and ground-truth JSON Lines: written and read exactly.

Formats: AWS documentation, model-monitor-data-capture-endpoint and model-monitor-model-quality-merge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from evergreen.formats.payloads import (
    Answer,
    AnswerLayout,
    PayloadError,
    label_field,
    read_answers,
    read_labels,
    read_plain,
    read_rows,
)
from evergreen.model.schema import FeatureSchema

if TYPE_CHECKING:
    from evergreen.spec import ModelSpec  # pydantic, which answering does without


@dataclass(frozen=True, slots=True)
class Capture:
    """One answered request."""

    event_id: str
    time: datetime
    version: int
    features: Mapping[str, Any]
    prediction: str | float
    probabilities: Mapping[str, float] | None  # by class label
    group: str | None = None
    live: LiveAnswer | None = None  # None: the version answered as it was trained


@dataclass(frozen=True, slots=True)
class LiveAnswer:
    """Which live state answered, and what the version would have answered as it was trained."""

    state: int
    plain: str | float
    plain_probabilities: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class CaptureLayout:
    """What a SageMaker endpoint's captures leave unsaid: the features' names, where an answer lies, who answered."""

    schema: FeatureSchema
    answers: AnswerLayout = field(default_factory=AnswerLayout)
    version: int | None = None  # of lines that name none


def layout_of(spec: ModelSpec, version: int | None) -> CaptureLayout:
    """How captures of a spec's endpoint are read that name neither features nor the version that answered."""
    given = spec.capture
    where = AnswerLayout(given.inference_attribute, given.probability_attribute, given.probability_threshold)
    return CaptureLayout(spec.feature_schema(), where, version)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """One label."""

    event_id: str
    label: str


# What a line of somebody else's making can raise when it is read as ours.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class MalformedLine:
    """A line that could not be read: kept aside, never dropped."""

    number: int
    line: str
    reason: str


def format_time(time: datetime) -> str:
    """ISO 8601 in UTC with Z, as AWS writes it; microseconds only where there are any."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def capture_line(capture: Capture, *, model: str, variant: str) -> bytes:
    """A capture as one line, without the newline (Firehose adds it).

    Examples
    --------
    >>> capture = Capture("id-1", datetime(2026, 1, 1, tzinfo=UTC), 3, {"age": 41.0}, "1", {"0": 0.2, "1": 0.8})
    >>> line = capture_line(capture, model="churn", variant="production")
    >>> read_captures(line)[0][0].prediction
    '1'
    """
    output: dict[str, Any] = {"prediction": capture.prediction, "probabilities": capture.probabilities}
    if capture.live is not None:
        output["plain"] = {"prediction": capture.live.plain, "probabilities": capture.live.plain_probabilities}
    metadata: dict[str, Any] = {
        "eventId": capture.event_id,
        "inferenceId": capture.event_id,
        "inferenceTime": format_time(capture.time),
        "modelName": model,
        "modelVersion": capture.version,
        "variant": variant,
    }
    if capture.live is not None:
        metadata["liveState"] = capture.live.state
    if capture.group:
        metadata["group"] = capture.group
    record = {
        "captureData": {
            "endpointInput": _payload("INPUT", capture.features),
            "endpointOutput": _payload("OUTPUT", output),
        },
        "eventMetadata": metadata,
        "eventVersion": "0",
    }
    return orjson.dumps(record)


def _payload(mode: str, data: Mapping[str, Any]) -> dict[str, str]:
    try:
        text = orjson.dumps(data).decode()
    except TypeError:  # an integer of more than 64 bits: float32 reaches further
        text = json.dumps(data, separators=(",", ":"))
    return {"observedContentType": "application/json", "mode": mode, "data": text, "encoding": "JSON"}


def read_captures(body: bytes, layout: CaptureLayout | None = None) -> tuple[list[Capture], list[MalformedLine]]:
    """Every capture of a file and every line that is none.

    Parameters
    ----------
    body
        JSON Lines, ours or SageMaker's own.
    layout
        How lines of SageMaker's own are read, which name neither features nor version; None: only ours are read.

    Returns
    -------
    tuple
        The captures, one a row: the rows of a record that holds several have the ids ``{id}/0``, ``{id}/1``, ...; and
        the lines that could not be read, each with its reason.
    """
    captures: list[Capture] = []
    malformed: list[MalformedLine] = []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            captures += _read_record(orjson.loads(line), layout)
        except _UNREADABLE as error:
            malformed.append(_malformed(number, line, error))
    return captures, malformed


def _read_record(record: Mapping[str, Any], layout: CaptureLayout | None) -> list[Capture]:
    data, metadata = record["captureData"], record["eventMetadata"]
    event_id = _text(metadata.get("inferenceId") or metadata["eventId"])
    time = datetime.fromisoformat(metadata["inferenceTime"])
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    group = metadata.get("group")
    if "modelVersion" in metadata or layout is None:
        version, state = int(metadata["modelVersion"]), metadata.get("liveState")
        return [_read_ours(data, event_id, time, version, group, None if state is None else int(state))]
    if layout.version is None:
        raise PayloadError("the record names no modelVersion, and no version was in production then")
    rows = read_rows(data["endpointInput"], layout.schema)
    answers = read_answers(data["endpointOutput"], layout.schema, layout.answers, len(rows))
    ids = row_ids(event_id, len(rows))
    told = read_plain(data["endpointOutput"], layout.schema, len(rows))
    live = [None] * len(rows) if told is None else [_live(told[0], one) for one in told[1]]
    return [
        Capture(row_id, time, layout.version, row, answer.prediction, answer.probabilities, group, beside)
        for row_id, row, answer, beside in zip(ids, rows, answers, live, strict=True)
    ]


def _live(state: int, plain: Answer) -> LiveAnswer:
    return LiveAnswer(state, plain.prediction, plain.probabilities)


def _read_ours(
    data: Mapping[str, Any], event_id: str, time: datetime, version: int, group: str | None, state: int | None
) -> Capture:
    features = orjson.loads(data["endpointInput"]["data"])
    output = orjson.loads(data["endpointOutput"]["data"])
    if not isinstance(features, dict):
        raise TypeError("endpointInput.data is not a JSON object of features")
    plain = None if state is None else output["plain"]
    live = None if plain is None else LiveAnswer(state or 0, plain["prediction"], plain.get("probabilities"))
    return Capture(event_id, time, version, features, output["prediction"], output.get("probabilities"), group, live)


def row_ids(event_id: str, rows: int) -> list[str]:
    """The ids of a record's rows, the same for a request and its labels.

    Examples
    --------
    >>> row_ids("a-1", 1), row_ids("a-1", 2)
    (['a-1'], ['a-1/0', 'a-1/1'])
    """
    return [event_id] if rows == 1 else [f"{event_id}/{row}" for row in range(rows)]


def ground_truth_line(label: GroundTruth, *, model: str) -> bytes:
    """A label as one line, without the newline."""
    record = {
        "groundTruthData": {"data": label_field(label.label), "encoding": "CSV"},
        "eventMetadata": {"eventId": label.event_id, "modelName": model},
        "eventVersion": "0",
    }
    return orjson.dumps(record)


def read_ground_truth(body: bytes) -> tuple[list[GroundTruth], list[MalformedLine]]:
    """Every label of a file, one a row of the record it belongs to, and every line that is none."""
    labels: list[GroundTruth] = []
    malformed: list[MalformedLine] = []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
            found = [_text(label) for label in read_labels(record["groundTruthData"])]
            ids = row_ids(_text(record["eventMetadata"]["eventId"]), len(found))
            labels += map(GroundTruth, ids, found)
        except _UNREADABLE as error:
            malformed.append(_malformed(number, line, error))
    return labels, malformed


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    value.encode()  # half a surrogate pair is valid JSON and can't be stored
    return value


def _malformed(number: int, line: bytes, error: Exception) -> MalformedLine:
    reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
    return MalformedLine(number, line.decode(errors="replace"), f"{type(error).__name__}: {reason}")


def quarantine_body(malformed: list[MalformedLine]) -> bytes:
    """Malformed lines with the reason for each, as JSON Lines."""
    rows = ({"number": m.number, "reason": m.reason, "line": m.line} for m in malformed)
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)
