"""The history of alarms: what changed them, and which of their actions were done."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.cloudwatch.models import Alarm

from local_cloud.kernel.core import Core
from local_cloud.kernel.errors import DeliveryError
from local_cloud.kernel.times import moment

KEPT_ITEMS = 10_000
_ITEMS_A_PAGE = 100


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happened to an alarm: a ConfigurationUpdate, StateUpdate or Action."""

    alarm: str
    kind: str
    when: datetime
    summary: str
    data: Mapping[str, Any]


class AlarmHistory:
    """What happened to the alarms of a cloud, oldest first."""

    def __init__(self, core: Core):
        self.core = core
        self.items: deque[Item] = deque(maxlen=KEPT_ITEMS)

    def configured(self, alarm: Alarm, what: str) -> None:
        """Note that an alarm was created, updated or deleted."""
        self._note(alarm, "ConfigurationUpdate", f'Alarm "{alarm.name}" {what}', {"type": what.capitalize()})

    def changed(self, alarm: Alarm, before: Mapping[str, Any]) -> None:
        """Note that an alarm went into another state."""
        old = {"stateValue": before["value"], "stateReason": before["reason"]}
        new = {"stateValue": alarm.state_value, "stateReason": alarm.state_reason}
        summary = f"Alarm updated from {before['value']} to {alarm.state_value}"
        self._note(alarm, "StateUpdate", summary, {"oldState": old, "newState": new})

    def acted(self, alarm: Alarm, arn: str, error: DeliveryError | None) -> None:
        """Note that an action was done, or could not be."""
        done = "Successfully executed" if error is None else "Failed to execute"
        data = {"actionState": "Succeeded" if error is None else "Failed", "notificationResource": arn}
        self._note(alarm, "Action", f"{done} action {arn}", data if error is None else {**data, "error": error.message})

    def _note(self, alarm: Alarm, kind: str, summary: str, data: Mapping[str, Any]) -> None:
        self.items.append(Item(str(alarm.name), kind, self.core.clock.now, summary, {"version": "1.0", **data}))

    def page(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of DescribeAlarmHistory, the newest first unless it is asked for the other way round.

        Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
        """
        start, end = moment(params.get("StartDate")), moment(params.get("EndDate"))
        kept = [
            item
            for item in self.items
            if params.get("AlarmName") in (None, item.alarm)
            and params.get("HistoryItemType") in (None, item.kind)
            and (start is None or start <= item.when)
            and (end is None or item.when <= end)
        ]
        if params.get("ScanBy") != "TimestampAscending":
            kept.reverse()
        first = int(params.get("NextToken") or 0)
        after = first + int(params.get("MaxRecords") or _ITEMS_A_PAGE)
        told = [
            {
                "AlarmName": item.alarm,
                "AlarmType": "MetricAlarm",
                "Timestamp": item.when,
                "HistoryItemType": item.kind,
                "HistorySummary": item.summary,
                "HistoryData": json.dumps(item.data),
            }
            for item in kept[first:after]
        ]
        return {"AlarmHistoryItems": told} | ({"NextToken": str(after)} if after < len(kept) else {})
