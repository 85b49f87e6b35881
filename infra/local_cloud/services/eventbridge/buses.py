"""EventBridge: rules that deliver to any target, with AWS's input transformations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from moto.events.exceptions import ResourceNotFoundException, ValidationException
from moto.events.models import EventsBackend, Rule, events_backends
from moto.events.responses import EventsHandler

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Courier, Deliver, Parcel, RetryPolicy
from local_cloud.kernel.errors import DeliveryError
from local_cloud.kernel.input_templates import fill, look_up
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.patterns import matches
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.kernel.times import event_time, moment

PRINCIPAL = "events.amazonaws.com"
ENTRIES_PER_CALL = 10


class Events(Service):
    """The event buses of the cloud."""

    def __init__(self, core: Core, courier: Courier):
        self.core = core
        self.courier = courier
        self.archive: Deliver | None = None  # takes what a bus archives

    def emit(
        self,
        *,
        source: str,
        detail_type: str,
        detail: Mapping[str, Any],
        resources: Sequence[str] = (),
        bus: str = "default",
        time: datetime | None = None,
    ) -> str:
        """Put one event on ``bus`` as a service would; return its id.

        Parameters
        ----------
        detail
            A JSON object.
        time
            When it happened; the clock's now unless given.
        """
        envelope = self.envelope(source, detail_type, detail, resources, time)
        self.publish(bus, envelope)
        return str(envelope["id"])

    def envelope(
        self,
        source: str,
        detail_type: str,
        detail: Mapping[str, Any],
        resources: Sequence[str] = (),
        time: datetime | None = None,
    ) -> dict[str, Any]:
        """Wrap ``detail`` in AWS's envelope."""
        return {
            "version": "0",
            "id": self.core.identities.uuid("event"),
            "detail-type": detail_type,
            "source": source,
            "account": ACCOUNT,
            "time": event_time(time or self.core.clock.now),
            "region": here().region,
            "resources": list(resources),
            "detail": detail,
        }

    def publish(self, bus: str, envelope: Mapping[str, Any]) -> None:
        """Send ``envelope`` to every target of every rule of ``bus`` that it fits."""
        try:
            event_bus = events_backends[ACCOUNT][here().region].describe_event_bus(bus)
        except ResourceNotFoundException:
            return  # AWS drops events for a bus that is gone
        for rule in list(event_bus.rules.values()):
            pattern = rule.event_pattern.dump()
            if rule.state != "DISABLED" and pattern and matches(pattern, envelope):
                self.send_to_targets(rule, envelope)

    def send_to_targets(self, rule: Rule, envelope: Mapping[str, Any]) -> None:
        """Send ``envelope`` to the targets of ``rule``, each with its own input."""
        for target in rule.targets:
            self.courier.send(
                Parcel(
                    arn=target["Arn"],
                    body=target_input(target, envelope, ingestion_time=event_time(self.core.clock.now)),
                    sender=_sender(target),
                    source_arn=rule.arn,
                    target=target,
                    envelope=envelope,
                    retry=RetryPolicy.parse(target.get("RetryPolicy")),
                    dead_letter_arn=(target.get("DeadLetterConfig") or {}).get("Arn"),
                    labels={"RULE_ARN": rule.arn, "TARGET_ARN": target["Arn"]},
                )
            )

    def deliver(self, arn: Arn, parcel: Parcel) -> None:
        """Put a parcel on a bus: an event as it is, anything else as the detail of one.

        Raises
        ------
        DeliveryError
            When the target is neither a bus nor an archive.
        """
        if _is_archive(arn) and self.archive is not None:
            self.archive(arn, parcel)
            return
        if not arn.resource.startswith("event-bus/"):
            raise DeliveryError("UNSUPPORTED_TARGET", f"The local cloud cannot deliver to {arn.text}.")
        if parcel.envelope is not None:
            self.publish(arn.resource_name, parcel.envelope)
            return
        given = parcel.target.get("EventBridgeParameters", {})
        self.emit(
            source=given.get("Source", "aws.scheduler"),
            detail_type=given.get("DetailType", "Scheduled Event"),
            detail=json.loads(parcel.body),
            bus=arn.resource_name,
        )


def _is_archive(arn: Arn) -> bool:
    """Whether it is the target of the rules by which EventBridge archives: it names no resource."""
    return arn.service == "events" and not arn.resource.strip(":")


def _sender(target: Mapping[str, Any]) -> Caller | None:
    """Who delivers to a target: the role that the target names, or EventBridge, let in by the target's own policy."""
    role = target.get("RoleArn")
    if role:
        return Caller.session(role, "events")
    arn = Arn.parse(target["Arn"])
    if arn.service == "logs":
        return None  # by a policy of CloudWatch Logs, which templates here do not have
    if _is_archive(arn):
        return None  # EventBridge's own
    return Caller(PRINCIPAL)


def target_input(target: Mapping[str, Any], event: Mapping[str, Any], *, ingestion_time: str) -> str:
    """Return what a target is sent: the event, or what the target makes of it.

    Examples
    --------
    >>> event = {"detail": {"model": "fraud", "n": 3}}
    >>> target_input({"InputPath": "$.detail.model"}, event, ingestion_time="")
    '"fraud"'
    >>> paths = {"m": "$.detail.model", "n": "$.detail.n"}
    >>> transformer = {"InputPathsMap": paths, "InputTemplate": '{"model": <m>, "n": <n>}'}
    >>> target_input({"InputTransformer": transformer}, event, ingestion_time="")
    '{"model": "fraud", "n": 3}'
    """
    if target.get("Input") is not None:
        return str(target["Input"])
    if target.get("InputPath") is not None:
        return json.dumps(look_up(target["InputPath"], event))
    transformer = target.get("InputTransformer")
    if not transformer:
        return json.dumps(event)
    paths = transformer.get("InputPathsMap", {})
    reserved: dict[str, Any] = {
        "aws.events.event.json": event,
        "aws.events.event": {k: v for k, v in event.items() if k != "detail"},
        "aws.events.event.ingestion-time": ingestion_time,
    }

    def value(name: str) -> Any:
        if name in reserved:
            return reserved[name]
        return look_up(paths[name], event) if name in paths else None

    return fill(transformer["InputTemplate"], value)


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_put_events(buses: Events, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventsBackend.put_events``: validated as AWS does, delivered on the agenda."""

    def put_events(self: EventsBackend, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(events) > ENTRIES_PER_CALL:
            raise ValidationException(
                "1 validation error detected: Value '[PutEventsRequestEntry]' at 'entries' failed to satisfy "
                "constraint: Member must have length less than or equal to 10"
            )
        for entry in events:
            self.describe_event_bus(_bus_name(entry))  # raises for a bus that is not there, rather than lose its events
        return [_put_entry(buses, entry) for entry in events]

    return put_events


def _put_entry(buses: Events, entry: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            message = f"Parameter {name} is not valid. Reason: {name} is a required argument."
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}
    try:
        detail = json.loads(entry["Detail"])
    except ValueError:
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    event_id = buses.emit(
        source=entry["Source"],
        detail_type=entry["DetailType"],
        detail=detail,
        resources=entry.get("Resources") or (),
        bus=_bus_name(entry),
        time=moment(entry.get("Time")),
    )
    return {"EventId": event_id}


def _bus_name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("EventBusName") or "default").split("/")[-1]


def patched_rule_send(buses: Events, original: Callable[..., Any]) -> Callable[..., Any]:
    """``Rule.send_to_targets``: the way in for moto's own services."""

    def send_to_targets(self: Rule, original_event: Mapping[str, Any], transform_input: bool = True) -> None:
        event = {k: v for k, v in original_event.items() if k != "ingestion-time"}
        event["time"] = event_time(moment(event.get("time")) or buses.core.clock.now)
        pattern = self.event_pattern.dump()
        if self.state != "DISABLED" and pattern and matches(pattern, event):
            buses.send_to_targets(self, event)

    return send_to_targets


def patched_test_event_pattern(buses: Events, original: Callable[..., Any]) -> Callable[[EventsHandler], str]:
    """``EventsHandler.test_event_pattern``, which in moto answers nothing."""

    def test_event_pattern(self: EventsHandler) -> str:
        try:
            event = json.loads(self._get_param("Event"))
        except ValueError:
            raise ValidationException("Parameter Event is not valid.") from None
        if lacking := sorted(_FIELDS - event.keys()):
            raise ValidationException(f"Parameter Event is not valid. Reason: it lacks {', '.join(lacking)}.")
        return json.dumps({"Result": matches(self._get_param("EventPattern"), event)})

    return test_event_pattern


_FIELDS = frozenset({"account", "detail-type", "id", "region", "resources", "source", "time"})
"""What an event must have for TestEventPattern.

Source: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_TestEventPattern.html
"""

PATCHES = (
    Patch("moto.events.responses:EventsHandler.test_event_pattern", patched_test_event_pattern),
    Patch("moto.events.models:EventsBackend.put_events", patched_put_events),
    Patch("moto.events.models:Rule.send_to_targets", patched_rule_send),
)
