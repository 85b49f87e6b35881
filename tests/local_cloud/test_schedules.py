"""Stories about schedules: rules and EventBridge Scheduler, on a clock that is moved by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from local_stacks import MEMORY, START, allow, deploy, messages, pass_time, remembered, role

from local_cloud.services.eventbridge.schedules import ScheduleExpressionError, parse_expression


def times(expression: str, *, zone: str = "UTC", after: datetime = START, count: int = 3) -> list[str]:
    parsed = parse_expression(expression, anchor=after, zone=zone)
    found: list[str] = []
    when: datetime | None = after
    for _ in range(count):
        assert when is not None
        when = parsed.next_after(when)
        if when is None:
            break
        found.append(when.isoformat())
    return found


def test_awss_six_field_cron() -> None:
    assert times("cron(0 2 ? * SUN *)") == [f"2026-01-{day:02d}T02:00:00+00:00" for day in (4, 11, 18)]
    assert times("cron(0 9 L * ? *)", count=2) == ["2026-01-31T09:00:00+00:00", "2026-02-28T09:00:00+00:00"]
    assert times("cron(0/20 0 1 1 ? 2026)", count=5) == ["2026-01-01T00:20:00+00:00", "2026-01-01T00:40:00+00:00"]


def test_a_local_time_keeps_its_hour_when_the_clocks_change() -> None:
    found = times("cron(0 9 * * ? *)", zone="Europe/Berlin", after=datetime(2026, 3, 28, 12, tzinfo=UTC), count=2)
    assert found == ["2026-03-29T07:00:00+00:00", "2026-03-30T07:00:00+00:00"]
    assert times("cron(0 9 * * ? *)", zone="Europe/Berlin", count=1) == ["2026-01-01T08:00:00+00:00"]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("every hour", "write rate"),
        ("rate(1 hours)", "singular"),
        ("rate(0 minutes)", "write rate"),
        ("cron(0 2 * * SUN *)", "exactly one of day of month and day of week"),
        ("cron(0 2 * * ?)", "takes 6 fields"),
        ("at(tomorrow)", "write at"),
    ],
)
def test_an_expression_that_aws_would_refuse_is_refused(expression: str, why: str) -> None:
    with pytest.raises(ScheduleExpressionError, match=why):
        parse_expression(expression, anchor=START)


@given(minutes=st.integers(2, 100_000), past=st.integers(0, 10_000_000))
def test_a_rate_is_counted_from_its_anchor(minutes: int, past: int) -> None:
    now = START + timedelta(seconds=past)
    when = parse_expression(f"rate({minutes} minutes)", anchor=START).next_after(now)
    assert when is not None
    assert now < when <= now + timedelta(minutes=minutes)
    assert (when - START) % timedelta(minutes=minutes) == timedelta(0)


def test_a_rule_fires_with_the_time_it_was_due(tmp_path: Path) -> None:
    resources = (
        MEMORY
        + """
    Events:
      Daily: {Type: Schedule, Properties: {Schedule: 'cron(30 6 * * ? *)'}}
"""
    )
    with deploy(tmp_path, resources) as cloud:
        assert cloud.next_schedule() == START + timedelta(hours=6, minutes=30)
        pass_time(cloud, days=2)
        first, second = remembered(cloud)
        assert first["detail-type"] == "Scheduled Event"
        assert (first["time"], second["time"]) == ("2026-01-01T06:30:00Z", "2026-01-02T06:30:00Z")
        assert cloud.clock.now == START + timedelta(days=2)


SCHEDULED = (
    MEMORY
    + """
    Events:
      Tick:
        Type: ScheduleV2
        Properties:
          ScheduleExpression: rate(15 minutes)
          Input: '{"at": "<aws.scheduler.scheduled-time>", "by": "<aws.scheduler.schedule-arn>"}'
"""
)


def test_a_schedules_input_has_its_placeholders_filled_in(tmp_path: Path) -> None:
    with deploy(tmp_path, SCHEDULED) as cloud:
        pass_time(cloud, minutes=30)
        assert [event["at"] for event in remembered(cloud)] == ["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]
        assert remembered(cloud)[0]["by"].endswith("schedule/default/RememberTick")


def create(cloud: Any, name: str, expression: str, **options: Any) -> None:
    arn = cloud.client("lambda").get_function(FunctionName=cloud.resources["Remember"])["Configuration"]["FunctionArn"]
    cloud.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression=expression,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": arn, "RoleArn": "arn:aws:iam::123456789012:role/x", "Input": json.dumps({"name": name})},
        **options,
    )


def test_a_schedule_made_at_run_time_lives_between_its_dates(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        allow(cloud, "x", "lambda:InvokeFunction")
        create(
            cloud,
            "bake",
            "rate(1 minute)",
            StartDate=START + timedelta(minutes=10),
            EndDate=START + timedelta(minutes=12),
            ActionAfterCompletion="DELETE",
        )
        pass_time(cloud, minutes=9)
        assert remembered(cloud) == []
        pass_time(cloud, hours=1)
        assert [event["name"] for event in remembered(cloud)] == ["bake"] * 3
        assert cloud.client("scheduler").list_schedules()["Schedules"] == []
        assert cloud.next_schedule() is None


def test_a_one_time_schedule_fires_once_and_can_be_deleted_or_moved(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        allow(cloud, "x", "lambda:InvokeFunction")
        scheduler = cloud.client("scheduler")
        create(cloud, "once", "at(2026-01-01T01:00:00)")
        create(cloud, "never", "at(2026-01-01T01:00:00)")
        create(cloud, "moved", "at(2026-01-01T01:00:00)")
        scheduler.delete_schedule(Name="never")
        moved = scheduler.get_schedule(Name="moved")
        scheduler.update_schedule(
            Name="moved",
            ScheduleExpression="at(2026-01-01T05:00:00)",
            FlexibleTimeWindow=moved["FlexibleTimeWindow"],
            Target=moved["Target"],
        )
        pass_time(cloud, hours=2)
        assert [event["name"] for event in remembered(cloud)] == ["once"]
        pass_time(cloud, hours=10)
        assert [event["name"] for event in remembered(cloud)] == ["once", "moved"]


def test_a_disabled_schedule_waits(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        create(cloud, "off", "rate(1 hour)", State="DISABLED")
        pass_time(cloud, days=1)
        assert remembered(cloud) == []
        assert cloud.next_schedule() is None


def test_bad_schedules_are_refused_with_awss_error(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        with pytest.raises(ClientError, match=r"ValidationException.*takes 6 fields"):
            create(cloud, "bad", "cron(0 2 * * ?)")
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            create(cloud, "lost", "rate(1 hour)", GroupName="nowhere")


def test_a_schedule_whose_target_is_gone_writes_to_its_dead_letter_queue(tmp_path: Path) -> None:
    resources = """
    Dead: {Type: AWS::SQS::Queue}
    Lost:
      Type: AWS::Scheduler::Schedule
      Properties:
        ScheduleExpression: rate(1 hour)
        FlexibleTimeWindow: {Mode: 'OFF'}
        Target:
          Arn: arn:aws:sqs:us-east-1:123456789012:gone
          RoleArn: arn:aws:iam::123456789012:role/x
          Input: '{"n": 1}'
          DeadLetterConfig: {Arn: !GetAtt Dead.Arn}
    """
    with deploy(tmp_path, resources, also=role("x", "scheduler", "sqs:SendMessage")) as cloud:
        pass_time(cloud, hours=1)
        [letter] = messages(cloud, "Dead")
        assert json.loads(letter["Body"]) == {"n": 1}
        assert letter["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_RESOURCE"


def test_a_templates_schedule_may_have_dates_and_a_zone(tmp_path: Path) -> None:
    resources = (
        MEMORY
        + """
    Events:
      Morning:
        Type: ScheduleV2
        Properties:
          ScheduleExpression: cron(0 9 * * ? *)
          ScheduleExpressionTimezone: America/New_York
          StartDate: '2026-01-03T00:00:00Z'
          EndDate: '2026-01-05T00:00:00Z'
          Input: '{"at": "<aws.scheduler.scheduled-time>"}'
"""
    )
    with deploy(tmp_path, resources) as cloud:
        pass_time(cloud, days=10)
        assert [event["at"] for event in remembered(cloud)] == ["2026-01-03T14:00:00Z", "2026-01-04T14:00:00Z"]


def test_an_idle_year_costs_nothing(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        assert cloud.agenda.run(START + timedelta(days=365)) < 5
