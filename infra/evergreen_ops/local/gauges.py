"""What queues report of themselves to CloudWatch: each minute, while they are active and an alarm is looking."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .metrics import MetricKey

if TYPE_CHECKING:
    from .cloud import LocalCloud

NAMESPACE = "AWS/SQS"
ACTIVE_FOR = timedelta(hours=6)
"""How long after its last message a queue goes on reporting, as on AWS."""

_GAUGES = (
    "ApproximateNumberOfMessagesVisible",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateAgeOfOldestMessage",
)


class QueueGauges:
    """The metrics of queues."""

    def __init__(self, cloud: LocalCloud):
        self.cloud = cloud
        self._active_until: dict[str, datetime] = {}

    def message_sent(self, queue: Any) -> None:
        """A queue has a message more."""
        key = MetricKey.of(NAMESPACE, "NumberOfMessagesSent", {"QueueName": queue.name})
        self.cloud.metrics.put(key, [1.0], "Count")
        reporting = queue.name in self._active_until
        self._active_until[queue.name] = self.cloud.clock.now + ACTIVE_FOR
        if not reporting and any(self.cloud.alarms.is_watched(self._key(queue, name)) for name in _GAUGES):
            self._report(queue)
        elif not reporting:
            del self._active_until[queue.name]

    def _report(self, queue: Any) -> None:
        if self.cloud.clock.now > self._active_until[queue.name]:
            del self._active_until[queue.name]
            return
        waiting = [message for message in queue._messages if not message.delayed]
        now = self.cloud.clock.now.timestamp()
        oldest = min((message.sent_timestamp / 1000 for message in waiting), default=now)
        visible = sum(message.visible for message in waiting)
        values = (visible, len(waiting) - visible, len(queue._messages) - len(waiting), now - oldest)
        for name, value in zip(_GAUGES, values, strict=True):
            self.cloud.metrics.put(self._key(queue, name), [float(value)])
        next_minute = datetime.fromtimestamp((math.floor(now / 60) + 1) * 60, UTC)
        self.cloud.agenda.at(next_minute, lambda: self._report(queue), f"gauges of {queue.name}")

    @staticmethod
    def _key(queue: Any, name: str) -> MetricKey:
        return MetricKey.of(NAMESPACE, name, {"QueueName": queue.name})
