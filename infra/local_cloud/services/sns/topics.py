"""SNS: what topics deliver, none of it to anywhere outside this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Courier, Parcel, known_of_source
from local_cloud.kernel.errors import DeliveryError
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.times import milliseconds

PRINCIPAL = "sns.amazonaws.com"


class Topics(Service):
    """The topics of the cloud."""

    def __init__(self, core: Core, courier: Courier):
        self.core = core
        self.courier = courier

    def deliver(self, arn: Arn, parcel: Parcel) -> None:
        """Publish a parcel on a topic.

        Raises
        ------
        DeliveryError
            When there is no such topic.
        """
        from moto.sns.models import sns_backends

        backend = sns_backends[arn.account][arn.region]
        if arn.text not in backend.topics:
            raise DeliveryError("NO_RESOURCE", f"There is no topic {arn.text}.")
        backend.publish(message=parcel.body, arn=arn.text, subject=parcel.target.get("Subject"))


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_subscription_publish(topics: Topics, original: Callable[..., Any]) -> Callable[..., Any]:
    """``Subscription.publish``: functions are called asynchronously, and nothing leaves this machine."""

    def publish(self: Any, message: str, message_id: str, subject: str | None = None, **others: Any) -> None:
        if self.protocol in ("http", "https"):
            return  # a real request would leave the machine; a deploy refuses such subscriptions
        if self.protocol == "sqs":
            known = known_of_source(self.topic.arn)
            if topics.core.gate.refusal(Caller(PRINCIPAL), "sqs:SendMessage", self.endpoint, known) is not None:
                return  # as on AWS: who published is told nothing
        if self.protocol != "lambda":
            original(self, message, message_id, subject=subject, **others)
            return
        matcher = self._filter_policy_matcher
        if matcher is not None and not matcher.matches(others.get("message_attributes"), message):
            return
        notification = {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": self.topic.arn,
            "Subject": subject,
            "Message": message,
            "Timestamp": milliseconds(topics.core.clock.now),
            "MessageAttributes": others.get("message_attributes") or {},
        }
        record = {
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": self.arn,
            "Sns": notification,
        }
        body = json.dumps({"Records": [record]})
        topics.courier.send(Parcel(self.endpoint, body, Caller(PRINCIPAL), self.topic.arn))

    return publish


PATCHES = (Patch("moto.sns.models:Subscription.publish", patched_subscription_publish),)
