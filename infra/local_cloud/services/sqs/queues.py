"""SQS: messages put on queues, and who is told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Parcel
from local_cloud.kernel.errors import DeliveryError
from local_cloud.kernel.patching import Patch

Listener = Callable[[Any, float], object]
"""Takes a queue that has a message more, and the seconds until the message can be received."""


class Queues(Service):
    """The queues of the cloud."""

    def __init__(self, core: Core):
        self.core = core
        self._listeners: list[Listener] = []

    def on_message(self, *listeners: Listener) -> None:
        """Tell ``listeners``, in this order, of each message that is sent."""
        self._listeners += listeners

    def message_added(self, queue: Any, message: Any) -> None:
        """A queue of moto's has a message more."""
        delay = max(0.0, message.delayed_until / 1000 - self.core.clock.now.timestamp())
        for listener in self._listeners:
            listener(queue, delay)

    def deliver(self, arn: Arn, parcel: Parcel) -> None:
        """Put a parcel on a queue.

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
            message_body=parcel.body,
            message_attributes={
                name: {"DataType": "String", "StringValue": value} for name, value in parcel.attributes.items() if value
            },
            group_id=parcel.target.get("SqsParameters", {}).get("MessageGroupId"),
        )


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_add_message(queues: Queues, original: Callable[..., Any]) -> Callable[..., Any]:
    """``Queue.add_message``: the queue's mappings poll later."""

    def add_message(self: Any, message: Any) -> None:
        original(self, message)
        queues.message_added(self, message)

    return add_message


PATCHES = (Patch("moto.sqs.models:Queue.add_message", patched_add_message),)
