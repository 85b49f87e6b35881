"""What queues report of themselves to CloudWatch: each minute, while they are active and an alarm is looking."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from local_cloud.kernel.core import Core
from local_cloud.kernel.measures import MetricKey, Record
from local_cloud.services.cloudwatch.alarms import Alarms

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

    def __init__(self, core: Core, record: Record, alarms: Alarms):
        self.core = core
        self.record = record
        self.alarms = alarms
        self._active_until: dict[str, datetime] = {}

    def message_sent(self, queue: Any, delay_seconds: float = 0.0) -> None:  # noqa: ARG002
        """A queue has a message more."""
        key = MetricKey.of(NAMESPACE, "NumberOfMessagesSent", {"QueueName": queue.name})
        self.record(key, [1.0], "Count")
        reporting = queue.name in self._active_until
        self._active_until[queue.name] = self.core.clock.now + ACTIVE_FOR
        if not reporting and any(self.alarms.is_watched(self._key(queue, name)) for name in _GAUGES):
            self._report(queue)
        elif not reporting:
            del self._active_until[queue.name]

    def _report(self, queue: Any) -> None:
        if self.core.clock.now > self._active_until[queue.name]:
            del self._active_until[queue.name]
            return
        waiting = [message for message in queue._messages if not message.delayed]
        now = self.core.clock.now.timestamp()
        oldest = min((message.sent_timestamp / 1000 for message in waiting), default=now)
        visible = sum(message.visible for message in waiting)
        values = (visible, len(waiting) - visible, len(queue._messages) - len(waiting), now - oldest)
        for name, value in zip(_GAUGES, values, strict=True):
            self.record(self._key(queue, name), [float(value)])
        next_minute = datetime.fromtimestamp((math.floor(now / 60) + 1) * 60, UTC)
        self.core.agenda.at(next_minute, lambda: self._report(queue), f"gauges of {queue.name}")

    @staticmethod
    def _key(queue: Any, name: str) -> MetricKey:
        return MetricKey.of(NAMESPACE, name, {"QueueName": queue.name})
