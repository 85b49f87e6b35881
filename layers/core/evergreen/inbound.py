"""AWS's events as typed values: the shapes that reach the functions, and the answers that HTTP callers get.

Shapes: EventBridge envelope, EventBridge Scheduler input, S3 "Object Created", SageMaker "Training Job State Change",
CloudWatch alarms (three shapes), API Gateway HTTP API payload 2.0, SQS batches.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from evergreen.domain.errors import BadRequestError


def parse_time(text: str) -> datetime:
    """A time as AWS writes it (Z, +0000 or none of both, which is UTC).

    Examples
    --------
    >>> parse_time("2023-08-04T12:36:15.490+0000").isoformat()
    '2023-08-04T12:36:15.490000+00:00'
    >>> parse_time("2026-01-01T00:00:00Z") == parse_time("2026-01-01T00:00:00")
    True
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """An event of the ledger, from the bus."""

    model: str
    epoch: int
    type: str
    data: Mapping[str, Any]
    time: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> LedgerEvent:
        """Read the EventBridge envelope that the pipe writes."""
        detail = event["detail"]
        data = json.loads(detail["body"])
        return cls(detail["model"], int(detail["epoch"]), detail["type"], data, parse_time(event["time"]))


@dataclass(frozen=True, slots=True)
class Tick:
    """A schedule's call: the time it is for, and what it is about."""

    time: datetime
    model: str | None
    version: int | None
    schedule: str
    decision_id: str

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> Tick:
        """Read the Input that our schedules send."""
        version = event.get("version")
        return cls(
            time=parse_time(event["time"]),
            model=event.get("model"),
            version=None if version is None else int(version),
            schedule=event.get("schedule", ""),
            decision_id=event.get("decision_id", ""),
        )


def is_ledger_event(event: Mapping[str, Any]) -> bool:
    """Whether the event came from the bus rather than from a schedule."""
    return event.get("source") == "evergreen"


@dataclass(frozen=True, slots=True)
class ObjectCreated:
    """A new object in the data bucket."""

    key: str
    etag: str
    time: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> ObjectCreated:
        """Read S3's "Object Created" event; its keys are not URL-encoded."""
        item = event["detail"]["object"]
        return cls(item["key"], item.get("etag", ""), parse_time(event["time"]))


@dataclass(frozen=True, slots=True)
class TrainingJobChange:
    """A training job's state change."""

    job_name: str
    model: str | None  # None: not one of our jobs
    status: str
    artifact: str | None
    reason: str
    time: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> TrainingJobChange:
        """Read SageMaker's "Training Job State Change" event."""
        detail = event["detail"]
        model = (detail.get("HyperParameters") or {}).get("model")
        return cls(
            job_name=detail["TrainingJobName"],
            model=None if model is None else json.loads(model),
            status=detail["TrainingJobStatus"],
            artifact=(detail.get("ModelArtifacts") or {}).get("S3ModelArtifacts"),
            reason=detail.get("FailureReason") or "",
            time=parse_time(event["time"]),
        )


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm's change of state, whichever way it came."""

    name: str
    state: str  # OK, ALARM, INSUFFICIENT_DATA
    time: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> AlarmChange | None:
        """Read an alarm that called the function itself, came over EventBridge or through SNS; None for others."""
        if "alarmData" in event:
            data = event["alarmData"]
            return cls(data["alarmName"], data["state"]["value"], parse_time(event["time"]))
        if event.get("detail-type") == "CloudWatch Alarm State Change":
            detail = event["detail"]
            return cls(detail["alarmName"], detail["state"]["value"], parse_time(event["time"]))
        records = event.get("Records") or [{}]
        if "Sns" in records[0]:
            message = json.loads(records[0]["Sns"]["Message"])
            return cls(message["AlarmName"], message["NewStateValue"], parse_time(message["StateChangeTime"]))
        return None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to the HTTP API."""

    path: Mapping[str, str]
    content_type: str
    body: str
    time: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> HttpRequest:
        """Read payload format 2.0."""
        body = event.get("body") or ""
        if event.get("isBase64Encoded"):
            try:
                body = base64.b64decode(body).decode()
            except UnicodeDecodeError as error:
                raise BadRequestError(("the body is not UTF-8 text",)) from error
        milliseconds = event["requestContext"]["timeEpoch"]
        return cls(
            path=event.get("pathParameters") or {},
            content_type=(event.get("headers") or {}).get("content-type", ""),
            body=body,
            time=datetime.fromtimestamp(milliseconds / 1000, UTC),
        )


def parse_json(body: str) -> Any:
    """The document in a request's body.

    Raises
    ------
    BadRequestError
        It is not JSON (NaN is not), is nested too deeply, or holds half a surrogate pair, which no file can hold.

    Examples
    --------
    >>> parse_json('{"a": 1}')
    {'a': 1}
    """
    try:
        return orjson.loads(body)
    except ValueError:
        return _parse_json_patiently(body)


def _parse_json_patiently(body: str) -> Any:
    """Find out what is wrong with a body, in words that say what to send instead."""
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRequestError((f"the body holds {error.object[error.start]!r}, which is no character",)) from error
    except ValueError as error:
        raise BadRequestError((f"the body is not JSON: {error}",)) from error
    except RecursionError as error:
        raise BadRequestError(("the body is nested too deeply",)) from error
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON: send null for a missing value")


def http_answer(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON answer."""
    headers = {"content-type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": orjson.dumps(body).decode()}


def http_problem(status: int, title: str, problems: Sequence[str]) -> dict[str, Any]:
    """A problem document (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": "; ".join(problems),
        "problems": problems,
    }
    return {"statusCode": status, "headers": {"content-type": "application/problem+json"}, "body": json.dumps(body)}


@dataclass(frozen=True, slots=True)
class FeedbackMessage:
    """One labelled row on the feedback queue."""

    message_id: str
    model: str
    inference_id: str
    label: str
    features: Mapping[str, Any]
    time: datetime


def parse_feedback(event: Mapping[str, Any]) -> tuple[list[FeedbackMessage], list[str]]:
    """Read an SQS batch; the ids of messages that can't be read come second."""
    messages, unreadable = [], []
    for record in event["Records"]:
        try:
            body = json.loads(record["body"])
            message = FeedbackMessage(
                record["messageId"],
                body["model"],
                body["inference_id"],
                body["label"],
                body["features"],
                parse_time(body["time"]),
            )
            messages.append(message)
        except (ValueError, KeyError, TypeError):
            unreadable.append(record["messageId"])
    return messages, unreadable


@dataclass(frozen=True, slots=True)
class BusinessEvent:
    """A wish for a retraining: from another system over the bus."""

    model: str
    reason: str
    source: str
    time: datetime


def is_business_event(event: Mapping[str, Any]) -> bool:
    """Whether somebody asks for a retraining (detail-type "Retraining Wanted")."""
    return event.get("detail-type") == "Retraining Wanted"


def parse_business_event(event: Mapping[str, Any]) -> BusinessEvent:
    """Read the wish: ``detail`` names the model and the reason."""
    detail = event["detail"]
    return BusinessEvent(detail["model"], detail["reason"], event["source"], parse_time(event["time"]))
