"""EventBridge Pipes from a DynamoDB stream: filter, transform, hand on, and a dead-letter queue for what fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from moto.pipes.models import EventBridgePipesBackend, Pipe

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Courier, Parcel
from local_cloud.kernel.errors import DeliveryError
from local_cloud.kernel.input_templates import fill, look_up
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.times import event_time, moment
from local_cloud.services.dynamodb.streams import Reader, Streams
from local_cloud.services.eventbridge.buses import Events


class Pipes(Service):
    """The pipes of the cloud."""

    def __init__(self, core: Core, courier: Courier, streams: Streams, events: Events):
        self.core = core
        self.courier = courier
        self.streams = streams
        self.events = events

    def connect(self, pipe: Pipe) -> None:
        """Let a pipe run, unless it is meant to be stopped."""
        self.streams.detach(pipe.arn)
        if pipe.desired_state == "STOPPED":
            return
        source = (pipe.source_parameters or {}).get("DynamoDBStreamParameters", {})
        dead_letter_arn = (source.get("DeadLetterConfig") or {}).get("Arn")
        criteria = (pipe.source_parameters or {}).get("FilterCriteria") or {}
        self.streams.attach(
            Reader(
                name=pipe.arn,
                arn=pipe.arn,
                stream_arn=pipe.source,
                caller=_session(pipe),
                consume=lambda records: self._pass_on(pipe, records),
                dead_letter_arn=dead_letter_arn,
                batch_size=int(source.get("BatchSize", 100)),
                window=timedelta(seconds=int(source.get("MaximumBatchingWindowInSeconds", 0))),
                max_retries=int(source.get("MaximumRetryAttempts", -1)),
                patterns=tuple(item["Pattern"] for item in criteria.get("Filters", [])),
            )
        )

    def disconnect(self, pipe: Pipe) -> None:
        """Stop a pipe."""
        self.streams.detach(pipe.arn)

    def _pass_on(self, pipe: Pipe, records: Sequence[dict[str, Any]]) -> int:
        for done, record in enumerate(records):
            try:
                self._send(pipe, record)
            except (DeliveryError, ValueError):  # ValueError: the template's result is not JSON
                return done
        return len(records)

    def _send(self, pipe: Pipe, record: Mapping[str, Any]) -> None:
        parameters: Mapping[str, Any] = pipe.target_parameters or {}
        body = self._input(pipe, parameters, record)
        target = Arn.parse(pipe.target)
        if target.service == "events":
            self._send_to_bus(target.resource_name, parameters, record, body, pipe)
            return
        self.courier.deliver(
            Parcel(
                arn=pipe.target,
                body=body if target.service != "lambda" else f"[{body}]",
                sender=_session(pipe),
                source_arn=pipe.arn,
                target={"SqsParameters": parameters.get("SqsQueueParameters", {})},
            )
        )

    def _input(self, pipe: Pipe, parameters: Mapping[str, Any], record: Mapping[str, Any]) -> str:
        template = parameters.get("InputTemplate")
        if not template:
            return json.dumps(record)
        reserved: dict[str, Any] = {
            "aws.pipes.pipe-arn": pipe.arn,
            "aws.pipes.pipe-name": pipe.name,
            "aws.pipes.source-arn": pipe.source,
            "aws.pipes.target-arn": pipe.target,
            "aws.pipes.event.ingestion-time": event_time(self.core.clock.now),
            "aws.pipes.event": record,
            "aws.pipes.event.json": record,
        }
        return fill(template, lambda name: reserved[name] if name in reserved else look_up(name, record))

    def _send_to_bus(
        self, bus: str, parameters: Mapping[str, Any], record: Mapping[str, Any], body: str, pipe: Pipe
    ) -> None:
        given = parameters.get("EventBridgeEventBusParameters") or {}
        detail = json.loads(body)
        if not isinstance(detail, dict):
            raise DeliveryError("INVALID_JSON", f"Pipe {pipe.name} made no JSON object of a record: a detail is one.")
        source = str(_dynamic(given.get("Source"), record) or f"Pipe {pipe.name}")
        detail_type = str(_dynamic(given.get("DetailType"), record) or "Event from aws:dynamodb")
        known = {"events:source": source, "events:detail-type": detail_type}
        refusal = self.core.gate.refusal(_session(pipe), "events:PutEvents", pipe.target, known)
        if refusal is not None:
            raise DeliveryError("NO_PERMISSIONS", refusal)
        self.events.emit(
            source=source,
            detail_type=detail_type,
            detail=detail,
            resources=[str(_dynamic(item, record)) for item in given.get("Resources", [])],
            bus=bus,
            time=moment(_dynamic(given.get("Time"), record)),
        )


def _session(pipe: Pipe) -> Caller:
    return Caller.session(pipe.role_arn, pipe.name)


def _dynamic(given: str | None, record: Mapping[str, Any]) -> Any:
    """Return a parameter's value: a path into the record when it begins with ``$.``, else itself.

    Examples
    --------
    >>> _dynamic("$.dynamodb.NewImage.type.S", {"dynamodb": {"NewImage": {"type": {"S": "Promoted"}}}})
    'Promoted'
    >>> _dynamic("shop", {})
    'shop'
    """
    return look_up(given, record) if given is not None and given.startswith("$.") else given


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_create_pipe(pipes: Pipes, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventBridgePipesBackend.create_pipe`` and ``update_pipe``: the pipe runs."""

    def create_or_update(self: EventBridgePipesBackend, *args: Any, **kwargs: Any) -> Pipe:
        pipe: Pipe = original(self, *args, **kwargs)
        pipes.connect(pipe)
        return pipe

    return create_or_update


def patched_delete_pipe(pipes: Pipes, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventBridgePipesBackend.delete_pipe``: the pipe stops."""

    def delete_pipe(self: EventBridgePipesBackend, name: str) -> Pipe:
        pipe: Pipe = original(self, name)
        pipes.disconnect(pipe)
        return pipe

    return delete_pipe


PATCHES = (
    Patch("moto.pipes.models:EventBridgePipesBackend.create_pipe", patched_create_pipe),
    Patch("moto.pipes.models:EventBridgePipesBackend.delete_pipe", patched_delete_pipe),
    Patch("moto.pipes.models:EventBridgePipesBackend.update_pipe", patched_create_pipe),
)
