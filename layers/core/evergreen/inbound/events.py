"""AWS's events as typed values: the shapes that reach the functions, and the answers that HTTP callers get.

Shapes: EventBridge envelope, EventBridge Scheduler input, S3 "Object Created", SageMaker "Training Job State Change",
CloudWatch alarms (three shapes), API Gateway HTTP API payload 2.0, SQS batches.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evergreen import telemetry
from evergreen.domain.model_events import Event
from evergreen.domain.training_jobs import why_stopped
from evergreen.model.schema import MODEL_NAME

_EventType = type[Event]
_ENDPOINTS = ("AWS/SageMaker", "/aws/sagemaker/Endpoints")  # of requests and of instances


def correlation_id(event: Mapping[str, Any]) -> str:
    """What ties the log lines of one cause together, in whichever function they are written.

    A ledger event's model and epoch, a schedule's name or what it is about, a job's name, an object's key, an alarm's
    name and time, the id of an HTTP request, or else the event's own id.

    Examples
    --------
    >>> correlation_id({"source": "evergreen", "detail": {"model": "churn", "epoch": 12, "body": "{}"}})
    'churn#12'
    >>> correlation_id({"model": "churn", "schedule": "churn.challenger.v2.1", "time": "2026-03-01T02:01:00Z"})
    'churn.challenger.v2.1 2026-03-01T02:01:00Z'
    """
    match event:
        case {"source": "evergreen", "detail": {"model": model, "epoch": epoch}}:
            return f"{model}#{epoch}"
        case {"detail": {"object": {"key": key}}}:
            return str(key)
        case {"detail": {"TrainingJobName": job_name}}:
            return str(job_name)
        case {"detail": {"EndpointName": endpoint}}:
            return str(endpoint)
        case {"requestContext": {"requestId": request_id}}:
            return str(request_id)
        case {"Records": [{"Sns": _}, *_]} | {"alarmData": _} | {"detail": {"alarmName": _}}:
            alarm = AlarmChange.parse(event)
            return "" if alarm is None else f"{alarm.name} {alarm.time.isoformat()}"
        case {"id": event_id}:
            return str(event_id)
    about = (event.get("schedule") or event.get("decision_id"), event.get("time"))
    return " ".join(str(part) for part in about if part)


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

    def tells_of(self, kind: _EventType) -> bool:
        """Whether it is an event of that type."""
        return self.type == kind.__name__


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
    model: str | None  # None: not one of our jobs; the ledger knows which of them the model waits for
    status: str
    artifact: str | None
    reason: str
    time: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> TrainingJobChange:
        """Read SageMaker's "Training Job State Change" event."""
        detail = event["detail"]
        name = detail["TrainingJobName"]
        return cls(
            job_name=name,
            model=_model_of_job(detail.get("HyperParameters") or {}),
            status=detail["TrainingJobStatus"],
            artifact=(detail.get("ModelArtifacts") or {}).get("S3ModelArtifacts"),
            reason=detail.get("FailureReason") or why_stopped(detail.get("SecondaryStatus") or ""),
            time=parse_time(event["time"]),
        )


def _model_of_job(hyperparameters: Mapping[str, Any]) -> str | None:
    """The model that a job trains, among its hyperparameters: whatever other teams call so is no model's name."""
    try:
        model = json.loads(hyperparameters["model"])
    except (KeyError, TypeError, ValueError):
        return None
    return model if isinstance(model, str) and re.fullmatch(MODEL_NAME, model) else None


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """A SageMaker endpoint's state change."""

    endpoint: str
    status: str  # as in the event: IN_SERVICE, FAILED, ...
    time: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> EndpointChange:
        """Read SageMaker's "SageMaker Endpoint State Change" event."""
        detail = event["detail"]
        return cls(detail["EndpointName"], detail["EndpointStatus"], parse_time(event["time"]))


def is_endpoint_event(event: Mapping[str, Any]) -> bool:
    """Whether a SageMaker endpoint tells that it has changed."""
    return event.get("detail-type") == "SageMaker Endpoint State Change"


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm's change of state, whichever way it came."""

    name: str
    state: str  # OK, ALARM, INSUFFICIENT_DATA
    time: datetime
    model: str | None = None  # that its metrics' dimensions name; None: it may be about any
    version: int | None = None
    endpoint: str | None = None  # of SageMaker's, that they name
    stack: str | None = None  # whose metrics of ours they are

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> AlarmChange | None:
        """Read an alarm that called the function itself, came over EventBridge or through SNS; None for others."""
        if "alarmData" in event:
            data = event["alarmData"]
            about = _about(_configured(data))
            return cls(data["alarmName"], data["state"]["value"], parse_time(event["time"]), *about)
        if event.get("detail-type") == "CloudWatch Alarm State Change":
            detail = event["detail"]
            about = _about(_configured(detail))
            return cls(detail["alarmName"], detail["state"]["value"], parse_time(event["time"]), *about)
        records = event.get("Records") or [{}]
        if "Sns" in records[0]:
            message = json.loads(records[0]["Sns"]["Message"])
            about = _about(_triggered(message.get("Trigger") or {}))
            return cls(message["AlarmName"], message["NewStateValue"], parse_time(message["StateChangeTime"]), *about)
        return None


def _configured(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Namespace and dimensions of each metric; a composite alarm has none."""
    for metric in (data.get("configuration") or {}).get("metrics") or []:
        if "metricStat" in metric:
            about = metric["metricStat"]["metric"]
            yield about.get("namespace", ""), about.get("dimensions") or {}


def _triggered(trigger: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The same of a mail's trigger: one metric, or several of metric math."""
    if "Dimensions" in trigger:
        yield trigger.get("Namespace", ""), _named(trigger["Dimensions"])
    for metric in trigger.get("Metrics") or []:
        if "MetricStat" in metric:
            about = metric["MetricStat"]["Metric"]
            yield about.get("Namespace", ""), _named(about.get("Dimensions") or [])


def _named(dimensions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {dimension["name"]: dimension["value"] for dimension in dimensions}


def _about(
    metrics: Iterable[tuple[str, Mapping[str, str]]],
) -> tuple[str | None, int | None, str | None, str | None]:
    """The one model, and the one version of it, that our metrics name; SageMaker's endpoint; whose metrics ours are."""
    metrics = list(metrics)
    endpoints = {d["EndpointName"] for namespace, d in metrics if namespace in _ENDPOINTS and "EndpointName" in d}
    stacks = {stack for namespace, _ in metrics if (stack := telemetry.stack_of(namespace)) is not None}
    ours = [dimensions for namespace, dimensions in metrics if telemetry.stack_of(namespace) is not None]
    models = {dimensions[telemetry.MODEL] for dimensions in ours if telemetry.MODEL in dimensions}
    versions = {dimensions[telemetry.VERSION] for dimensions in ours if telemetry.VERSION in dimensions}
    model = _only(models)
    version = _only(versions) if model is not None else None
    number = int(version) if version is not None and version.isdecimal() else None
    return model, number, _only(endpoints), _only(stacks)


def _only(found: set[str]) -> str | None:
    return found.pop() if len(found) == 1 else None


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
    """Read the wish: ``detail`` names the model and the reason.

    Its time is the event's, to the second, and the event's id in the microseconds: a wish is known by its time, so a
    second delivery is the same wish, and another one of the same second is not.
    """
    detail, time = event["detail"], parse_time(event["time"])
    digest = hashlib.sha256(event["id"].encode()).digest()
    time = time.replace(microsecond=int.from_bytes(digest[:8]) % 1_000_000)
    return BusinessEvent(detail["model"], detail["reason"], event["source"], time)
