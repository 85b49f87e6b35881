"""The history of alarms, in CloudWatch's own JSON: their configuration, their states, and what became of their actions.

What items hold is as CloudWatch writes it
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_AlarmHistoryItem.html; its examples are those of
https://docs.aws.amazon.com/cli/latest/reference/cloudwatch/describe-alarm-history.html). No mail is sent here, so a
published message has no text for one.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterValue
from moto.cloudwatch.models import Alarm
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

from local_cloud.kernel.errors import DeliveryError
from local_cloud.kernel.times import moment

KEPT_FOR = timedelta(days=30)
"""Whether the alarm is deleted or not: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms.html."""
LONGEST_SUMMARY, LONGEST_DATA = 255, 4_095
MOST_ITEMS = 100
_LONG_PARTS = frozenset({"metrics", "publishedMessage", "stateReasonData"})


class ItemType(StrEnum):
    """What an item is about."""

    CONFIGURATION = "ConfigurationUpdate"
    STATE = "StateUpdate"
    ACTION = "Action"


class Change(StrEnum):
    """What was done to an alarm's configuration."""

    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"


@dataclass(frozen=True, slots=True)
class Told:
    """What an item says: to people, and to programs."""

    type: ItemType
    summary: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One entry; its number is its place in the history of all alarms."""

    number: int
    alarm: str
    time: datetime
    told: Told

    @property
    def answer(self) -> dict[str, Any]:
        """The item as an answer of DescribeAlarmHistory holds it."""
        return {
            "AlarmName": self.alarm,
            "AlarmType": "MetricAlarm",
            "Timestamp": self.time,
            "HistoryItemType": self.told.type.value,
            "HistorySummary": self.told.summary[:LONGEST_SUMMARY],
            "HistoryData": _fitting(self.told.data),
        }


def state_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Told:
    """Return what a change of state says; ``before`` and ``after`` are the states of the event that tells of it.

    Examples
    --------
    >>> before = {"value": "OK", "reason": "All well.", "reasonData": "{}"}
    >>> told = state_changed(before, {"value": "ALARM", "reason": "A drill.", "reasonData": "{}"})
    >>> told.summary
    'Alarm updated from OK to ALARM'
    >>> told.data["newState"]
    {'stateValue': 'ALARM', 'stateReason': 'A drill.'}
    """
    data = {"version": "1.0", "oldState": _state(before), "newState": _state(after)}
    return Told(ItemType.STATE, f"Alarm updated from {before['value']} to {after['value']}", data)


def _state(state: Mapping[str, Any]) -> dict[str, Any]:
    data = json.loads(state["reasonData"] or "{}")
    told = {"stateValue": state["value"], "stateReason": state["reason"]}
    return {**told, "stateReasonData": data} if data else told


def configuration_changed(change: Change, name: str, configuration: Mapping[str, Any]) -> Told:
    """Return what a change of an alarm's configuration says.

    Examples
    --------
    >>> told = configuration_changed(Change.CREATE, "errors", {"alarmName": "errors"})
    >>> told.summary
    'Alarm "errors" created'
    >>> dict(told.data)
    {'version': '1.0', 'type': 'Create', 'createdAlarm': {'alarmName': 'errors'}}
    """
    done = f"{change.lower()}d"
    data = {"version": "1.0", "type": change.value, f"{done}Alarm": configuration}
    return Told(ItemType.CONFIGURATION, f'Alarm "{name}" {done}', data)


def action_ended(target: str, message: str, changed_at: datetime, error: str | None) -> Told:
    """Return what became of an action.

    Parameters
    ----------
    target
        The ARN of what the alarm tells.
    message
        What it is told.
    changed_at
        When the alarm's state changed.
    error
        Why the target was not told; None where it was.

    Examples
    --------
    >>> told = action_ended("arn:aws:sns:us-east-1:1:told", "{}", datetime(2026, 1, 1, tzinfo=UTC), "It is gone.")
    >>> told.summary
    'Failed to execute action arn:aws:sns:us-east-1:1:told. Received error: "It is gone."'
    >>> told.data["actionState"], told.data["stateUpdateTimestamp"]
    ('Failed', 1767225600000)
    """
    failed = f'Failed to execute action {target}. Received error: "{error}"'
    data = {
        "actionState": "Succeeded" if error is None else "Failed",
        "stateUpdateTimestamp": int(changed_at.timestamp() * 1000),
        "notificationResource": target,
        "publishedMessage": message,
        "error": error,
    }
    return Told(ItemType.ACTION, f"Successfully executed action {target}" if error is None else failed, data)


def why_not_told(alarm_arn: str, target: str, error: DeliveryError) -> str:
    """Return CloudWatch's sentence about a target that it could not tell.

    Examples
    --------
    >>> refused = DeliveryError("NO_PERMISSIONS", "... because no resource-based policy allows the sns:Publish action")
    >>> why_not_told("arn:aws:cloudwatch:us-east-1:1:alarm:a", "arn:aws:sns:us-east-1:1:t", refused)
    'Resource: arn:aws:cloudwatch:us-east-1:1:alarm:a is not authorized to perform: SNS:Publish on resource: \
arn:aws:sns:us-east-1:1:t'
    """
    if ":sns:" not in target or error.code != "NO_PERMISSIONS":
        return error.message
    if "kms:" in error.message:
        return "CloudWatch Alarms does not have authorization to access the SNS topic encryption key."
    return f"Resource: {alarm_arn} is not authorized to perform: SNS:Publish on resource: {target}"


def _fitting(data: Mapping[str, Any]) -> str:
    """The data as JSON, without its long parts where these would make it longer than CloudWatch's longest."""
    text = _compact(data)
    return text if len(text) <= LONGEST_DATA else _compact(_shortened(data))


def _compact(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def _shortened(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _shortened(value) if isinstance(value, Mapping) else value
        for name, value in data.items()
        if name not in _LONG_PARTS
    }


class History:
    """The history of all alarms; it outlives the alarms.

    Examples
    --------
    >>> history, start = History(), datetime(2026, 1, 1, tzinfo=UTC)
    >>> for number in range(3):
    ...     history.add("errors", start + timedelta(days=20 * number), Told(ItemType.STATE, f"change {number}", {}))
    >>> [item.told.summary for item in history.items]
    ['change 1', 'change 2']
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def items(self) -> Sequence[Item]:
        """What is kept, oldest first."""
        with self._lock:
            return tuple(self._items)

    def add(self, alarm: str, time: datetime, told: Told) -> None:
        """Note what happened to an alarm, and forget what is too old."""
        with self._lock:
            self._items.append(Item(next(self._numbers), alarm, time, told))
            while self._items[0].time < time - KEPT_FOR:
                self._items.popleft()

    def page(
        self, wanted: Callable[[Item], bool], *, newest_first: bool, most: int, after: int | None
    ) -> tuple[Sequence[Item], int | None]:
        """Return the items that are wanted, ``most`` of them, and the number of the last where more follow.

        Parameters
        ----------
        after
            The number of the last item of the page before.
        """
        ordered = self.items[::-1] if newest_first else self.items
        left = [item for item in ordered if wanted(item) and _follows(item.number, after, newest_first=newest_first)]
        return left[:most], left[most - 1].number if len(left) > most else None


def _follows(number: int, after: int | None, *, newest_first: bool) -> bool:
    return after is None or (number < after if newest_first else number > after)


def configuration_of(
    alarm: Alarm, metrics: Sequence[Mapping[str, Any]], time: Callable[[datetime], str]
) -> dict[str, Any]:
    """Return an alarm's configuration as its history tells it.

    Parameters
    ----------
    metrics
        Its metrics where it has metric math.
    time
        Writes a time.
    """
    told: dict[str, Any] = {
        "alarmName": alarm.name,
        "alarmDescription": alarm.description,
        "alarmArn": alarm.alarm_arn,
        "alarmConfigurationUpdatedTimestamp": time(alarm.configuration_updated_timestamp.replace(tzinfo=UTC)),
    }
    if metrics:
        told["metrics"] = list(metrics)
    else:
        told |= {
            "namespace": alarm.namespace,
            "metricName": alarm.metric_name,
            "statistic": alarm.statistic,
            "extendedStatistic": alarm.extended_statistic,
            "period": alarm.period,
            "dimensions": [{"value": d.value, "name": d.name} for d in alarm.dimensions],
        }
    told |= {
        "threshold": alarm.threshold,
        "comparisonOperator": alarm.comparison_operator,
        "evaluationPeriods": alarm.evaluation_periods,
        "datapointsToAlarm": alarm.datapoints_to_alarm,
        "treatMissingData": alarm.treat_missing_data,
        "stateValue": alarm.state_value,
        "stateUpdatedTimestamp": time(alarm.state_updated_timestamp.replace(tzinfo=UTC)),
        "actionsEnabled": alarm.actions_enabled,
        "alarmActions": list(alarm.alarm_actions or ()),
        "insufficientDataActions": list(alarm.insufficient_data_actions or ()),
        "okactions": list(alarm.ok_actions or ()),
    }
    return {name: value for name, value in told.items() if value is not None}


# -- what moto lacks -------------------------------------------------------------------------------------------------


def describe_alarm_history(history: Callable[[], History]) -> Callable[[CloudWatchResponse], ActionResult]:
    """``CloudWatchResponse.describe_alarm_history``: of metric alarms, newest first unless asked otherwise."""

    def describe(self: CloudWatchResponse) -> ActionResult:
        name, kind = self._get_param("AlarmName"), self._get_param("HistoryItemType")
        start, end = moment(self._get_param("StartDate")), moment(self._get_param("EndDate"))
        types, token = self._get_param("AlarmTypes") or ["MetricAlarm"], self._get_param("NextToken")
        if token is not None and not str(token).isdecimal():
            raise InvalidParameterValue("Invalid NextToken")

        def wanted(item: Item) -> bool:
            return (
                "MetricAlarm" in types
                and name in (None, item.alarm)
                and kind in (None, item.told.type.value)
                and (start is None or item.time >= start)
                and (end is None or item.time <= end)
            )

        items, last = history().page(
            wanted,
            newest_first=self._get_param("ScanBy") != "TimestampAscending",
            most=int(self._get_param("MaxRecords") or MOST_ITEMS),
            after=None if token is None else int(token),
        )
        following = {} if last is None else {"NextToken": str(last)}
        return ActionResult({"AlarmHistoryItems": [item.answer for item in items], **following})

    return describe
