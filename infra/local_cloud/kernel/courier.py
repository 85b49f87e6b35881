"""Handing a message to a target of any kind: with retries, and a dead-letter queue for what cannot be delivered.

The courier knows no service. Each says which kind of target it takes messages for (:meth:`Courier.accept`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from local_cloud.kernel.arns import ACCOUNT, Arn
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Core
from local_cloud.kernel.errors import DeliveryError
from local_cloud.kernel.measures import MetricKey, Record

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(minutes=10)
_RULES = Caller("events.amazonaws.com")


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
    sender
        Who delivers: a service, which the target's policy must let in, or a session of the role that a service uses.
        None is not asked about.
    source_arn
        What the sender delivers for: a rule, a topic, a bucket.
    target
        The target's own settings, as the rule or schedule gives them (SqsParameters, EventBridgeParameters, ...).
    envelope
        The event itself when an event bus is the target of a rule: it is passed on whole.
    attributes
        Message attributes, where the target is a queue.
    labels
        What a dead-letter queue is told about where the parcel came from (RULE_ARN, TARGET_ARN).
    ended
        Called once it is delivered, with None, or given up, with the reason.
    """

    arn: str
    body: str
    sender: Caller | None = None
    source_arn: str = ""
    target: Mapping[str, Any] = field(default_factory=dict)
    envelope: Mapping[str, Any] | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    dead_letter_arn: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ended: Callable[[DeliveryError | None], object] = lambda _: None

    @property
    def known(self) -> Mapping[str, str]:
        """What policies may ask about it.

        Of a rule neither topics nor their keys are told anything: a policy that asks for ``aws:SourceAccount`` or
        ``aws:SourceArn`` keeps it out (SNS developer guide, "Key management", on encrypted topics).
        """
        if self.sender == _RULES and Arn.parse(self.arn).service == "sns":
            return {}
        return known_of_source(self.source_arn)


def known_of_source(arn: str) -> Mapping[str, str]:
    """Return what is known of a call that a service makes for a resource of this account.

    Examples
    --------
    >>> known_of_source("arn:aws:s3:::data")["aws:SourceAccount"]
    '123456789012'
    """
    if not arn:
        return {}
    known = {"aws:SourceArn": arn, "aws:SourceAccount": ACCOUNT}
    return {**known, "aws:SourceOwner": ACCOUNT} if ":cloudwatch:" in arn else known  # a topic's own policy asks for it


Deliver = Callable[[Arn, Parcel], object]
"""Takes a parcel for a target, or raises a DeliveryError."""


class Emit(Protocol):
    """Puts an event on a bus, as a service of AWS does; returns the event's id."""

    def __call__(
        self,
        *,
        source: str,
        detail_type: str,
        detail: Mapping[str, Any],
        resources: Sequence[str] = (),
        bus: str = "default",
        time: datetime | None = None,
    ) -> str:
        """Put it there."""


class Courier:
    """Delivers parcels, now or later, once or again.

    Parameters
    ----------
    record
        Where it is counted what could not be delivered for a rule.
    """

    def __init__(self, core: Core, record: Record):
        self.core = core
        self.undelivered: list[tuple[Parcel, DeliveryError]] = []
        self._record = record
        self._takers: dict[str, tuple[Deliver, str]] = {}

    def accept(self, kind: str, deliver: Deliver, action: str) -> None:
        """Let ``deliver`` take parcels for a kind of targets, the service in their ARNs; ``action`` is what it does."""
        self._takers[kind] = (deliver, action)

    def takes(self, arn: str) -> bool:
        """Whether parcels can be delivered to ``arn``."""
        return Arn.parse(arn).service in self._takers

    def send(self, parcel: Parcel) -> None:
        """Deliver as soon as what is already due has run."""
        sent_at = self.core.clock.now
        self.core.agenda.soon(lambda: self._try(parcel, 0, sent_at), f"deliver to {parcel.arn}")

    def _try(self, parcel: Parcel, attempt: int, sent_at: datetime) -> None:
        try:
            self.deliver(parcel)
        except DeliveryError as error:
            now = self.core.clock.now
            delay = min(FIRST_RETRY * 2**attempt, LONGEST_RETRY)
            exhausted = ""
            if attempt >= parcel.retry.attempts:
                exhausted = "MaximumRetryAttempts"
            elif now + delay - sent_at > parcel.retry.max_age:
                exhausted = "MaximumEventAgeInSeconds"
            if error.retryable and not exhausted:
                self.core.agenda.after(delay, lambda: self._try(parcel, attempt + 1, sent_at), f"retry {parcel.arn}")
            else:
                parcel.ended(error)
                self._give_up(parcel, error, attempt, exhausted)
        else:
            parcel.ended(None)

    def _give_up(self, parcel: Parcel, error: DeliveryError, attempts: int, exhausted: str) -> None:
        rule = Arn.parse(parcel.labels.get("RULE_ARN", ""))
        if rule.resource:
            key = MetricKey.of("AWS/Events", "FailedInvocations", {"RuleName": rule.resource_name})
            self._record(key, [1.0], "Count")
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
        dead = Parcel(parcel.dead_letter_arn, parcel.body, parcel.sender, parcel.source_arn, attributes=labels)
        try:
            self.deliver(dead)
        except DeliveryError as refused:
            self.undelivered.append((dead, refused))

    def deliver(self, parcel: Parcel) -> None:
        """Deliver now.

        Raises
        ------
        DeliveryError
            When the target does not exist, does not permit the sender, or is of a kind the local cloud lacks.
        """
        arn = Arn.parse(parcel.arn)
        if arn.service not in self._takers:
            raise DeliveryError("UNSUPPORTED_TARGET", f"The local cloud cannot deliver to {parcel.arn}.")
        deliver, action = self._takers[arn.service]
        if parcel.sender is not None:
            refusal = self.core.gate.refusal(parcel.sender, action, arn.text, parcel.known)
            if refusal is not None:
                raise DeliveryError("NO_PERMISSIONS", refusal)
        deliver(arn, parcel)
