"""EventBridge Pipes from a DynamoDB stream: filter, transform, hand on, and a dead-letter queue for what fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from moto.pipes.models import EventBridgePipesBackend, Pipe

from .arns import Arn
from .delivery import Parcel
from .errors import DeliveryError
from .streams import Reader
from .templates import fill, look_up
from .times import event_time, moment

if TYPE_CHECKING:
    from .cloud import LocalCloud


class Pipes:
    """The pipes of the cloud."""

    def __init__(self, cloud: LocalCloud):
        self.cloud = cloud

    def connect(self, pipe: Pipe) -> None:
        """Let a pipe run, unless it is meant to be stopped."""
        self.cloud.streams.detach(pipe.arn)
        if pipe.desired_state == "STOPPED":
            return
        source = (pipe.source_parameters or {}).get("DynamoDBStreamParameters", {})
        dead_letter_arn = (source.get("DeadLetterConfig") or {}).get("Arn")
        criteria = (pipe.source_parameters or {}).get("FilterCriteria") or {}

        def give_up(records: Sequence[dict[str, Any]], tries: int) -> None:
            if dead_letter_arn:
                self.report_failure(dead_letter_arn, pipe.arn, pipe.source, records, tries)

        self.cloud.streams.attach(
            Reader(
                name=pipe.arn,
                stream_arn=pipe.source,
                consume=lambda records: self._pass_on(pipe, records),
                give_up=give_up,
                batch_size=int(source.get("BatchSize", 100)),
                window=timedelta(seconds=int(source.get("MaximumBatchingWindowInSeconds", 0))),
                max_retries=int(source.get("MaximumRetryAttempts", -1)),
                patterns=tuple(item["Pattern"] for item in criteria.get("Filters", [])),
            )
        )

    def disconnect(self, pipe: Pipe) -> None:
        """Stop a pipe."""
        self.cloud.streams.detach(pipe.arn)

    def report_failure(
        self, destination: str, reader_arn: str, stream_arn: str, records: Sequence[Mapping[str, Any]], tries: int
    ) -> None:
        """Tell a dead-letter queue which records were not handed on, as AWS does: the batch's place, not its data."""
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        times = [record["dynamodb"]["ApproximateCreationDateTime"] for record in records]
        body = {
            "context": {
                "partnerResourceArn": reader_arn,
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": tries,
            },
            "version": "1.0",
            "timestamp": event_time(self.cloud.clock.now),
            "DDBStreamBatchInfo": {
                "shardId": "shardId-00000001541626099285-f35f62ef",
                "startSequenceNumber": numbers[0],
                "endSequenceNumber": numbers[-1],
                "approximateArrivalOfFirstRecord": event_time(moment(times[0]) or self.cloud.clock.now),
                "approximateArrivalOfLastRecord": event_time(moment(times[-1]) or self.cloud.clock.now),
                "batchSize": len(records),
                "streamArn": stream_arn,
            },
        }
        self.cloud.courier.send(Parcel(destination, json.dumps(body)))

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
        self.cloud.courier.deliver(
            Parcel(
                arn=pipe.target,
                body=body if target.service != "lambda" else f"[{body}]",
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
            "aws.pipes.event.ingestion-time": event_time(self.cloud.clock.now),
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
        self.cloud.events.emit(
            source=str(_dynamic(given.get("Source"), record) or f"Pipe {pipe.name}"),
            detail_type=str(_dynamic(given.get("DetailType"), record) or "Event from aws:dynamodb"),
            detail=detail,
            resources=[str(_dynamic(item, record)) for item in given.get("Resources", [])],
            bus=bus,
            time=moment(_dynamic(given.get("Time"), record)),
        )


def _dynamic(given: str | None, record: Mapping[str, Any]) -> Any:
    """Return a parameter's value: a path into the record when it begins with ``$.``, else itself.

    Examples
    --------
    >>> _dynamic("$.dynamodb.NewImage.type.S", {"dynamodb": {"NewImage": {"type": {"S": "Promoted"}}}})
    'Promoted'
    >>> _dynamic("evergreen", {})
    'evergreen'
    """
    return look_up(given, record) if given is not None and given.startswith("$.") else given


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_create_pipe(cloud: LocalCloud, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventBridgePipesBackend.create_pipe`` and ``update_pipe``: the pipe runs."""

    def create_or_update(self: EventBridgePipesBackend, *args: Any, **kwargs: Any) -> Pipe:
        pipe: Pipe = original(self, *args, **kwargs)
        cloud.pipes.connect(pipe)
        return pipe

    return create_or_update


def patched_delete_pipe(cloud: LocalCloud, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventBridgePipesBackend.delete_pipe``: the pipe stops."""

    def delete_pipe(self: EventBridgePipesBackend, name: str) -> Pipe:
        pipe: Pipe = original(self, name)
        cloud.pipes.disconnect(pipe)
        return pipe

    return delete_pipe
