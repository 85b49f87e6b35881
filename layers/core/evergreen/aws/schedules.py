"""Schedules on EventBridge Scheduler that exist only while a bake, a shadow or a retry is pending."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_scheduler import EventBridgeSchedulerClient

_LONGEST_NAME = 64


class EventBridgeSchedules:
    """See :class:`evergreen.ports.Schedules`."""

    def __init__(
        self, client: EventBridgeSchedulerClient, *, group: str, role_arn: str, dlq_arn: str, function_arn_prefix: str
    ) -> None:
        self._client = client
        self._group = group
        self._role_arn = role_arn
        self._dlq_arn = dlq_arn
        self._function_arn_prefix = function_arn_prefix

    def every(
        self, name: str, period: timedelta, *, start: datetime, end: datetime, function: str, payload: Mapping[str, Any]
    ) -> None:
        minutes = max(1, round(period / timedelta(minutes=1)))
        unit = "minute" if minutes == 1 else "minutes"
        self._create(
            name,
            f"rate({minutes} {unit})",
            function,
            payload,
            StartDate=start.astimezone(UTC),
            EndDate=end.astimezone(UTC),
        )

    def once(self, name: str, at: datetime, *, function: str, payload: Mapping[str, Any]) -> None:
        self._create(name, f"at({at.astimezone(UTC):%Y-%m-%dT%H:%M:%S})", function, payload)

    def _create(self, name: str, expression: str, function: str, payload: Mapping[str, Any], **dates: datetime) -> None:
        try:
            self._client.create_schedule(
                Name=_fitting(name),
                GroupName=self._group,
                ScheduleExpression=expression,
                ScheduleExpressionTimezone="UTC",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": f"{self._function_arn_prefix}{function}",
                    "RoleArn": self._role_arn,
                    "Input": json.dumps({**payload, "time": "<aws.scheduler.scheduled-time>"}),
                    "DeadLetterConfig": {"Arn": self._dlq_arn},
                },
                **dates,  # type: ignore[arg-type]
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConflictException":
                raise  # a schedule of that name is this schedule: names say what they are for

    def remove(self, name: str) -> None:
        try:
            self._client.delete_schedule(Name=_fitting(name), GroupName=self._group)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise

    def names(self, prefix: str) -> frozenset[str]:
        pages = self._client.get_paginator("list_schedules").paginate(GroupName=self._group, NamePrefix=prefix)
        return frozenset(schedule["Name"] for page in pages for schedule in page["Schedules"])

    def name_of(self, name: str) -> str:
        return _fitting(name)


def _fitting(name: str) -> str:
    """The name, or where it is too long its beginning and a hash of it all."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 13]}.{hashlib.sha256(name.encode()).hexdigest()[:12]}"
