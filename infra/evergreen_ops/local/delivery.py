"""Handing a message to a target of any kind: with retries, and a dead-letter queue for what cannot be delivered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .arns import Arn
from .errors import DeliveryError
from .metrics import MetricKey

if TYPE_CHECKING:
    from .cloud import LocalCloud

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long a sender tries again.

    Examples
    --------
    >>> RetryPolicy.parse({"MaximumRetryAttempts": 2}).attempts
    2
    """

    attempts: int = 185
    max_age: timedelta = timedelta(hours=24)

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None) -> RetryPolicy:
        """Read AWS's ``RetryPolicy``; what it does not say keeps AWS's default."""
        given = given or {}
        return cls(
            attempts=int(given.get("MaximumRetryAttempts", 185)),
            max_age=timedelta(seconds=int(given.get("MaximumEventAgeInSeconds", 86_400))),
        )


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way to a target.

    Parameters
    ----------
    principal
        The service that delivers, ``events.amazonaws.com``: a function must permit it. None where a role is used.
    target
        The target's own settings, as the rule or schedule gives them (SqsParameters, EventBridgeParameters, ...).
    envelope
        The event itself when an event bus is the target of a rule: it is passed on whole.
    labels
        What a dead-letter queue is told about where the parcel came from (RULE_ARN, TARGET_ARN).
    """

    arn: str
    body: str
    principal: str | None = None
    target: Mapping[str, Any] = field(default_factory=dict)
    envelope: Mapping[str, Any] | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    dead_letter_arn: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class Courier:
    """Delivers parcels, now or later, once or again."""

    def __init__(self, cloud: LocalCloud):
        self.cloud = cloud
        self.undelivered: list[tuple[Parcel, DeliveryError]] = []

    def send(self, parcel: Parcel) -> None:
        """Deliver as soon as what is already due has run."""
        sent_at = self.cloud.clock.now
        self.cloud.agenda.soon(lambda: self._try(parcel, 0, sent_at), f"deliver to {parcel.arn}")

    def _try(self, parcel: Parcel, attempt: int, sent_at: datetime) -> None:
        try:
            self.deliver(parcel)
        except DeliveryError as error:
            now = self.cloud.clock.now
            delay = min(FIRST_RETRY * 2**attempt, LONGEST_RETRY)
            exhausted = ""
            if attempt >= parcel.retry.attempts:
                exhausted = "MaximumRetryAttempts"
            elif now + delay - sent_at > parcel.retry.max_age:
                exhausted = "MaximumEventAgeInSeconds"
            if error.retryable and not exhausted:
                self.cloud.agenda.after(delay, lambda: self._try(parcel, attempt + 1, sent_at), f"retry {parcel.arn}")
            else:
                self._give_up(parcel, error, attempt, exhausted)

    def _give_up(self, parcel: Parcel, error: DeliveryError, attempts: int, exhausted: str) -> None:
        rule = Arn.parse(parcel.labels.get("RULE_ARN", ""))
        if rule.resource:
            key = MetricKey.of("AWS/Events", "FailedInvocations", {"RuleName": rule.resource_name})
            self.cloud.metrics.put(key, [1.0], "Count")
        if parcel.dead_letter_arn is None:
            self.undelivered.append((parcel, error))
            return
        labels = {
            "ERROR_CODE": error.code,
            "ERROR_MESSAGE": error.message,
            "RETRY_ATTEMPTS": str(attempts),
            **({"EXHAUSTED_RETRY_CONDITION": exhausted} if exhausted else {}),
            **parcel.labels,
        }
        send_to_queue(Arn.parse(parcel.dead_letter_arn), parcel.body, attributes=labels)

    def deliver(self, parcel: Parcel) -> None:
        """Deliver now.

        Raises
        ------
        DeliveryError
            When the target does not exist, does not permit the sender, or is of a kind the local cloud lacks.
        """
        arn = Arn.parse(parcel.arn)
        to = _TARGETS.get(arn.service)
        if to is None:
            raise DeliveryError("UNSUPPORTED_TARGET", f"The local cloud cannot deliver to {parcel.arn}.")
        to(self.cloud, arn, parcel)


def target_is_supported(arn: str) -> bool:
    """Whether the local cloud can deliver to ``arn``.

    Examples
    --------
    >>> target_is_supported("arn:aws:sqs:us-east-1:123456789012:q")
    True
    >>> target_is_supported("arn:aws:states:us-east-1:123456789012:stateMachine:m")
    False
    """
    return Arn.parse(arn).service in _TARGETS


def send_to_queue(
    arn: Arn, body: str, *, attributes: Mapping[str, str] | None = None, group_id: str | None = None
) -> None:
    """Put ``body`` on an SQS queue.

    Raises
    ------
    DeliveryError
        When there is no such queue.
    """
    from moto.sqs.models import sqs_backends

    backend = sqs_backends[arn.account][arn.region]
    if arn.resource_name not in backend.queues:
        raise DeliveryError("NO_RESOURCE", f"There is no queue {arn.text}.")
    backend.send_message(
        queue_name=arn.resource_name,
        message_body=body,
        message_attributes={
            name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items() if value
        },
        group_id=group_id,
    )


def _to_lambda(cloud: LocalCloud, arn: Arn, parcel: Parcel) -> None:
    cloud.functions.invoke_async(arn.text, parcel.body.encode(), principal=parcel.principal)


def _to_sqs(cloud: LocalCloud, arn: Arn, parcel: Parcel) -> None:
    send_to_queue(arn, parcel.body, group_id=parcel.target.get("SqsParameters", {}).get("MessageGroupId"))


def _to_sns(cloud: LocalCloud, arn: Arn, parcel: Parcel) -> None:
    from moto.sns.models import sns_backends

    backend = sns_backends[arn.account][arn.region]
    if arn.text not in backend.topics:
        raise DeliveryError("NO_RESOURCE", f"There is no topic {arn.text}.")
    backend.publish(message=parcel.body, arn=arn.text, subject=parcel.target.get("Subject"))


def _to_events(cloud: LocalCloud, arn: Arn, parcel: Parcel) -> None:
    if not arn.resource.startswith("event-bus/"):
        raise DeliveryError("UNSUPPORTED_TARGET", f"The local cloud cannot deliver to {arn.text}.")
    if parcel.envelope is not None:
        cloud.events.publish(arn.resource_name, parcel.envelope)
        return
    given = parcel.target.get("EventBridgeParameters", {})
    cloud.events.emit(
        source=given.get("Source", "aws.scheduler"),
        detail_type=given.get("DetailType", "Scheduled Event"),
        detail=json.loads(parcel.body),
        bus=arn.resource_name,
    )


def _to_firehose(cloud: LocalCloud, arn: Arn, parcel: Parcel) -> None:
    cloud.firehose.put(arn.resource_name, [parcel.body.encode()])


def _to_logs(cloud: LocalCloud, arn: Arn, parcel: Parcel) -> None:
    from moto.core.utils import unix_time_millis
    from moto.logs.models import logs_backends

    backend = logs_backends[arn.account][arn.region]
    group = arn.resource.removeprefix("log-group:").removesuffix(":*")
    if group not in backend.groups:
        raise DeliveryError("NO_RESOURCE", f"There is no log group {group}.")
    stream = f"local-{len(backend.groups[group].streams)}"
    backend.create_log_stream(group, stream)
    backend.put_log_events(group, stream, [{"timestamp": int(unix_time_millis()), "message": parcel.body}])


_TARGETS: dict[str, Callable[[LocalCloud, Arn, Parcel], None]] = {
    "lambda": _to_lambda,
    "sqs": _to_sqs,
    "sns": _to_sns,
    "events": _to_events,
    "firehose": _to_firehose,
    "logs": _to_logs,
}
