"""Schedules on EventBridge Scheduler: made once, called with the time they are for, gone when they are over."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from evergreen.aws.schedules import EventBridgeSchedules

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)  # the service refuses schedules of the past
DAY = timedelta(days=1)
NAME = "churn.ops-bake.v2.1772330405"
LONG = "m" * 40 + ".retry.20260301020000-1234.2"


@pytest.fixture
def scheduler(aws):
    client = aws("scheduler")
    client.create_schedule_group(Name="evergreen")
    return client


@pytest.fixture
def schedules(scheduler):
    return EventBridgeSchedules(
        scheduler,
        group="evergreen",
        role_arn="arn:aws:iam::123456789012:role/scheduler",
        dlq_arn="arn:aws:sqs:us-east-1:123456789012:dead-letters",
        function_arn_prefix="arn:aws:lambda:us-east-1:123456789012:function:evergreen-",
    )


def every_day(schedules, name=NAME, **payload):
    schedules.every(
        name, DAY, start=SOON, end=SOON + 28 * DAY, function="compare-shadow", payload={"model": "churn", **payload}
    )


def names(scheduler):
    return [schedule["Name"] for schedule in scheduler.list_schedules(GroupName="evergreen")["Schedules"]]


def test_a_schedule_calls_its_function_and_says_for_which_time(schedules, scheduler):
    every_day(schedules, version=2)
    made = scheduler.get_schedule(Name=NAME, GroupName="evergreen")
    assert made["ScheduleExpression"] == "rate(1440 minutes)"
    assert made["Target"]["Arn"] == "arn:aws:lambda:us-east-1:123456789012:function:evergreen-compare-shadow"
    assert json.loads(made["Target"]["Input"]) == {
        "model": "churn",
        "version": 2,
        "time": "<aws.scheduler.scheduled-time>",
    }
    assert made["Target"]["RoleArn"] == "arn:aws:iam::123456789012:role/scheduler"
    assert made["Target"]["DeadLetterConfig"] == {"Arn": "arn:aws:sqs:us-east-1:123456789012:dead-letters"}


def test_a_schedule_has_an_end_and_is_gone_after_it(schedules, scheduler):
    every_day(schedules)
    made = scheduler.get_schedule(Name=NAME, GroupName="evergreen")
    assert (made["StartDate"], made["EndDate"]) == (SOON, SOON + 28 * DAY)
    assert made["ActionAfterCompletion"] == "DELETE"


def test_ensuring_a_schedule_twice_leaves_the_first(schedules, scheduler):
    every_day(schedules, version=2)
    every_day(schedules, version=3)
    assert names(scheduler) == [NAME]
    made = scheduler.get_schedule(Name=NAME, GroupName="evergreen")
    assert json.loads(made["Target"]["Input"])["version"] == 2


@pytest.mark.parametrize(
    ("period", "expression"),
    [
        (timedelta(seconds=5), "rate(1 minute)"),
        (timedelta(minutes=1), "rate(1 minute)"),
        (timedelta(hours=2), "rate(120 minutes)"),
    ],
)
def test_a_period_is_a_rate_of_whole_minutes(schedules, scheduler, period, expression):
    schedules.every(NAME, period, start=SOON, end=SOON + DAY, function="watch-deployment", payload={})
    assert scheduler.get_schedule(Name=NAME, GroupName="evergreen")["ScheduleExpression"] == expression


def test_a_single_call_is_at_its_time_in_utc(schedules, scheduler):
    schedules.once(NAME, SOON, function="launch-training", payload={"decision_id": "d1"})
    made = scheduler.get_schedule(Name=NAME, GroupName="evergreen")
    assert made["ScheduleExpression"] == f"at({SOON:%Y-%m-%dT%H:%M:%S})"
    assert made["ScheduleExpressionTimezone"] == "UTC"


def test_a_removed_schedule_is_gone_and_removing_it_again_is_nothing(schedules, scheduler):
    every_day(schedules)
    schedules.remove(NAME)
    schedules.remove(NAME)
    assert names(scheduler) == []


def test_a_name_longer_than_the_service_takes_is_cut_and_still_its_own(schedules, scheduler):
    limits = scheduler.meta.service_model.operation_model("CreateSchedule").input_shape.members["Name"].metadata
    every_day(schedules, LONG)
    every_day(schedules, LONG)
    every_day(schedules, LONG + "0")
    assert len(names(scheduler)) == 2
    assert all(len(name) <= limits["max"] for name in names(scheduler))
    schedules.remove(LONG)
    assert len(names(scheduler)) == 1


def test_the_schedules_of_a_model_are_found_by_their_prefix(schedules):
    for name in (NAME, "churn.challenger.v3.2", "churn2.challenger.v3.2"):
        every_day(schedules, name)
    assert schedules.names("churn.") == {NAME, "churn.challenger.v3.2"}
    assert schedules.names("nobody.") == frozenset()


def test_a_name_that_is_too_long_is_found_under_the_one_it_was_given(schedules):
    every_day(schedules, LONG)
    assert schedules.names("m" * 40 + ".") == {schedules.name_of(LONG)}
    assert schedules.name_of(NAME) == NAME
