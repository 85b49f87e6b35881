"""SageMaker's Data Capture and ground-truth JSON Lines: written and read exactly.

Formats: AWS documentation, model-monitor-data-capture-endpoint and model-monitor-model-quality-merge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson


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


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """One label."""

    event_id: str
    label: str


@dataclass(frozen=True, slots=True)
class FileKey:
    """Where a capture or ground-truth file lies: ``captures/{model}/{variant}/yyyy/mm/dd/hh/{name}``.

    Examples
    --------
    >>> key = FileKey.parse("captures/churn/production/2026/01/31/23/part-1.jsonl")
    >>> key.model, key.variant, key.hour.isoformat(), key.stem
    ('churn', 'production', '2026-01-31T23:00:00+00:00', 'part-1')
    >>> key.beside("compact", "parquet")
    'compact/churn/production/2026/01/31/23/part-1.parquet'
    """

    kind: str
    model: str
    variant: str  # empty for ground truth
    hour: datetime
    stem: str

    @classmethod
    def parse(cls, key: str) -> FileKey:
        """Read a key; raises ValueError for one that is not laid out so."""
        kind, model, *variant, year, month, day, hour, name = key.split("/")
        time = datetime(int(year), int(month), int(day), int(hour), tzinfo=UTC)
        if len(variant) > 1:
            raise ValueError(f"key {key!r} has {len(variant)} folders between model and year: at most one is expected")
        return cls(kind, model, variant[0] if variant else "", time, name.rsplit(".", 1)[0])

    def beside(self, kind: str, ending: str, *, variant: str | None = None, stem: str | None = None) -> str:
        """The key of the same hour and name under another kind."""
        parts = [kind, self.model, self.variant if variant is None else variant, f"{self.hour:%Y/%m/%d/%H}"]
        return "/".join(part for part in parts if part) + f"/{stem or self.stem}.{ending}"


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
    metadata: dict[str, Any] = {
        "eventId": capture.event_id,
        "inferenceId": capture.event_id,
        "inferenceTime": format_time(capture.time),
        "modelName": model,
        "modelVersion": capture.version,
        "variant": variant,
    }
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


def read_captures(body: bytes) -> tuple[list[Capture], list[MalformedLine]]:
    """Every capture of a file and every line that is none."""
    captures, malformed = [], []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            captures.append(_read_capture(orjson.loads(line)))
        except _UNREADABLE as error:
            malformed.append(_malformed(number, line, error))
    return captures, malformed


def _read_capture(record: Mapping[str, Any]) -> Capture:
    data, metadata = record["captureData"], record["eventMetadata"]
    features = orjson.loads(data["endpointInput"]["data"])
    output = orjson.loads(data["endpointOutput"]["data"])
    if not isinstance(features, dict):
        raise TypeError("endpointInput.data is not a JSON object of features")
    time = datetime.fromisoformat(metadata["inferenceTime"])
    return Capture(
        event_id=_text(metadata.get("inferenceId") or metadata["eventId"]),
        time=time if time.tzinfo is not None else time.replace(tzinfo=UTC),
        version=int(metadata["modelVersion"]),
        features=features,
        prediction=output["prediction"],
        probabilities=output.get("probabilities"),
        group=metadata.get("group"),
    )


def ground_truth_line(label: GroundTruth, *, model: str) -> bytes:
    """A label as one line, without the newline."""
    record = {
        "groundTruthData": {"data": label.label, "encoding": "CSV"},
        "eventMetadata": {"eventId": label.event_id, "modelName": model},
        "eventVersion": "0",
    }
    return orjson.dumps(record)


def read_ground_truth(body: bytes) -> tuple[list[GroundTruth], list[MalformedLine]]:
    """Every label of a file and every line that is none."""
    labels, malformed = [], []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
            data = record["groundTruthData"]["data"]
            labels.append(GroundTruth(_text(record["eventMetadata"]["eventId"]), _text(str(data))))
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
