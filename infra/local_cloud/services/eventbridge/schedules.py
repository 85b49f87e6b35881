"""Schedules: the rate, cron and at expressions of EventBridge rules and of EventBridge Scheduler, on the agenda."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from moto.events.exceptions import ValidationException as RuleValidationException
from moto.events.models import EventsBackend, Rule
from moto.scheduler.exceptions import ValidationException
from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule
from pyawscron import AWSCron

from local_cloud.kernel.callers import Caller
from local_cloud.kernel.clock import Entry
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Courier, Parcel, RetryPolicy
from local_cloud.kernel.errors import UnknownScheduleError
from local_cloud.kernel.notices import Kind
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.times import event_time, moment
from local_cloud.services.eventbridge.buses import Events

PRINCIPAL = "scheduler.amazonaws.com"
EARLIEST_START = timedelta(minutes=5)
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


class ScheduleExpressionError(ValueError):
    """A schedule expression that AWS would refuse."""

    def __init__(self, expression: str, why: str):
        super().__init__(f"Invalid schedule expression {expression!r}: {why}.")


@dataclass(frozen=True, slots=True)
class Rate:
    """Every so often, counted from an anchor."""

    every: timedelta
    anchor: datetime

    def next_after(self, now: datetime) -> datetime | None:
        """The first time later than ``now``."""
        return self.anchor + ((now - self.anchor) // self.every + 1) * self.every


@dataclass(frozen=True, slots=True)
class Once:
    """One moment."""

    when: datetime

    def next_after(self, now: datetime) -> datetime | None:
        """The moment, unless it has passed."""
        return self.when if self.when > now else None


@dataclass(frozen=True, slots=True)
class Cron:
    """AWS's six-field cron, in a time zone."""

    cron: AWSCron
    zone: ZoneInfo

    def next_after(self, now: datetime) -> datetime | None:
        """The first time later than ``now``, or None when the years have run out."""
        local = now.astimezone(self.zone).replace(tzinfo=UTC)
        for _ in range(3):  # a local time that the clocks skip or repeat can fall on or before now: take the next
            found = self.cron.occurrence(local).next()
            if found is None:
                return None
            when: datetime = found.replace(tzinfo=self.zone).astimezone(UTC)
            if when > now:
                return when
            local = found
        return None


Expression = Rate | Once | Cron


def parse_expression(text: str, *, anchor: datetime, zone: str = "UTC") -> Expression:
    """Read a schedule expression.

    Parameters
    ----------
    anchor
        From when a rate counts: the schedule's creation, or its start date.
    zone
        The IANA time zone in which a cron or at expression is meant.

    Raises
    ------
    ScheduleExpressionError
        When AWS would refuse it.

    Examples
    --------
    >>> start = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
    >>> parse_expression("rate(15 minutes)", anchor=start).next_after(start).isoformat()
    '2026-01-01T00:20:00+00:00'
    >>> parse_expression("cron(0 2 ? * SUN *)", anchor=start).next_after(start).isoformat()
    '2026-01-04T02:00:00+00:00'
    >>> parse_expression("at(2026-01-01T09:00:00)", anchor=start, zone="Europe/Berlin").next_after(start).isoformat()
    '2026-01-01T08:00:00+00:00'
    """
    match = re.fullmatch(r"(rate|cron|at)\((.+)\)", text.strip())
    if match is None:
        raise ScheduleExpressionError(text, "write rate(...), cron(...) or at(...)")
    kind, inner = match.groups()
    try:
        zone_info = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleExpressionError(text, f"there is no time zone {zone!r}") from error
    match kind:
        case "rate":
            return Rate(_rate(text, inner), anchor)
        case "at":
            try:
                local = datetime.fromisoformat(inner)
            except ValueError as error:
                raise ScheduleExpressionError(text, "write at(yyyy-mm-ddThh:mm:ss)") from error
            return Once(local.replace(tzinfo=zone_info).astimezone(UTC))
    return Cron(_cron(text, inner), zone_info)


def _rate(text: str, inner: str) -> timedelta:
    match = re.fullmatch(r"(\d+) (minute|hour|day)(s?)", inner)
    if match is None or int(match.group(1)) < 1:
        raise ScheduleExpressionError(text, "write rate(5 minutes), rate(1 hour) or rate(2 days)")
    value, unit, plural = int(match.group(1)), match.group(2), match.group(3)
    if (value == 1) == bool(plural):
        raise ScheduleExpressionError(text, "1 takes a singular unit, more take a plural one")
    return value * _UNITS[unit]


def _cron(text: str, inner: str) -> AWSCron:
    fields = inner.split()
    if len(fields) != 6:
        raise ScheduleExpressionError(
            text, f"cron takes 6 fields (minute hour day month weekday year), not {len(fields)}"
        )
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ScheduleExpressionError(text, "exactly one of day of month and day of week must be '?'")
    try:
        return AWSCron(" ".join(fields))
    except Exception as error:  # the library raises bare exceptions for fields it cannot read
        raise ScheduleExpressionError(text, str(error)) from error


def _same_rate(one: Expression, other: Expression) -> bool:
    return isinstance(one, Rate) and isinstance(other, Rate) and one.every == other.every


def _name_of(key: str) -> str:
    return key.rsplit("/", 1)[-1]


@dataclass(slots=True)
class _Planned:
    expression: Expression
    entry: Entry | None
    fire: Callable[[datetime], None]
    until: datetime | None
    last: Callable[[], None] | None


class Timetable(Service):
    """Every schedule that exists, each with its next time on the agenda.

    Parameters
    ----------
    next_id
        Gives a run of a schedule its id.
    """

    def __init__(self, core: Core, courier: Courier, events: Events, next_id: Callable[[], str]):
        self.core = core
        self.courier = courier
        self.events = events
        self._next_id = next_id
        self._planned: dict[str, _Planned] = {}

    def next_time(self) -> datetime | None:
        """When the next schedule fires, or None when none will."""
        times = [p.entry.when for p in self._planned.values() if p.entry is not None]
        return min(times, default=None)

    def times(self) -> dict[str, datetime | None]:
        """Return when each schedule fires next, by its name; None where it never will."""
        return {
            _name_of(key): None if planned.entry is None else planned.entry.when
            for key, planned in sorted(dict(self._planned).items())  # a copy: other threads plan
        }

    def fire(self, name: str) -> str:
        """Fire a schedule now, beside its own times, and return its whole name.

        Parameters
        ----------
        name
            A schedule's or a rule's name, or a part that no other one has.

        Raises
        ------
        UnknownScheduleError
            When there is none, or more than one.
        """
        names = {_name_of(key): planned for key, planned in self._planned.items()}
        found = [name] if name in names else [each for each in names if name.lower() in each.lower()]
        if len(found) != 1:
            raise UnknownScheduleError(name, sorted(found), sorted(names))
        self._fire(found[0], names[found[0]], self.core.clock.now)
        return found[0]

    def add_rule(self, rule: Rule) -> None:
        """Plan (or plan anew, or no longer plan) a rule with a schedule."""
        key = f"rule {rule.arn}"
        if not rule.scheduled_expression or rule.state == "DISABLED":
            self._drop(key)
            return
        existing = self._planned.get(key)
        expression = parse_expression(rule.scheduled_expression, anchor=self.core.clock.now)
        if existing is not None and _same_rate(existing.expression, expression):
            expression = existing.expression  # an update that leaves the rate alone does not start its count again
        self._plan(key, expression, self.core.clock.now, lambda when: self._fire_rule(rule, when))

    def drop_rule(self, arn: str) -> None:
        """Plan a rule no longer."""
        self._drop(f"rule {arn}")

    def add_schedule(self, schedule: Schedule, backend: EventBridgeSchedulerBackend) -> None:
        """Plan a schedule of EventBridge Scheduler, or plan it anew after a change."""
        now = self.core.clock.now
        start, end = moment(schedule.start_date), moment(schedule.end_date)
        expression = parse_expression(
            schedule.schedule_expression, anchor=start or now, zone=schedule.schedule_expression_timezone
        )
        if schedule.state == "DISABLED":
            self._drop(schedule.arn)
            return

        def delete_when_done() -> None:
            if schedule.action_after_completion == "DELETE":
                self._drop(schedule.arn)
                backend.schedule_groups[schedule.group_name].schedules.pop(schedule.name, None)

        after = now if start is None or start <= now else start - timedelta(microseconds=1)
        self._plan(
            schedule.arn,
            expression,
            after,
            lambda when: self._fire_schedule(schedule, when),
            until=end,
            last=delete_when_done,
        )

    def drop_schedule(self, arn: str) -> None:
        """Plan a schedule no longer."""
        self._drop(arn)

    def _plan(
        self,
        key: str,
        expression: Expression,
        after: datetime,
        fire: Callable[[datetime], None],
        *,
        until: datetime | None = None,
        last: Callable[[], None] | None = None,
    ) -> None:
        self._drop(key)
        planned = _Planned(expression, None, fire, until, last)
        self._planned[key] = planned
        self._enter(key, planned, after)

    def _enter(self, key: str, planned: _Planned, after: datetime) -> None:
        when = planned.expression.next_after(after)
        if when is None or (planned.until is not None and when > planned.until):
            planned.entry = None
            if planned.last is not None:
                at = max(self.core.clock.now, planned.until) if planned.until and when else self.core.clock.now
                self.core.agenda.at(at, planned.last, f"completed {key}")
            return
        planned.entry = self.core.agenda.at(when, lambda: self._run(key, planned, when), key)

    def _run(self, key: str, planned: _Planned, when: datetime) -> None:
        if self._planned.get(key) is not planned:
            return
        self._enter(key, planned, when)
        self._fire(_name_of(key), planned, when)

    def _fire(self, name: str, planned: _Planned, when: datetime) -> None:
        self.core.tell(Kind.SCHEDULE, name, "", "fired")
        planned.fire(when)

    def _drop(self, key: str) -> None:
        planned = self._planned.pop(key, None)
        if planned is not None and planned.entry is not None:
            planned.entry.cancel()

    def _fire_rule(self, rule: Rule, when: datetime) -> None:
        envelope = self.events.envelope("aws.events", "Scheduled Event", {}, [rule.arn], when)
        self.events.send_to_targets(rule, envelope)

    def _fire_schedule(self, schedule: Schedule, when: datetime) -> None:
        target = schedule.target
        self.courier.send(
            Parcel(
                arn=target["Arn"],
                body=self._schedule_input(schedule, when),
                sender=Caller.session(target["RoleArn"], "scheduler"),
                source_arn=schedule.arn,
                target=target,
                retry=RetryPolicy.parse(target.get("RetryPolicy")),
                dead_letter_arn=(target.get("DeadLetterConfig") or {}).get("Arn"),
                labels={"SCHEDULE_ARN": schedule.arn, "TARGET_ARN": target["Arn"]},
            )
        )

    def _schedule_input(self, schedule: Schedule, when: datetime) -> str:
        given: str | None = schedule.target.get("Input")
        execution_id = self._next_id()
        if given is None:
            event = self.events.envelope("aws.scheduler", "Scheduled Event", {}, [schedule.arn], when)
            return json.dumps({**event, "detail": "{}"})
        for name, value in (
            ("scheduled-time", event_time(when)),
            ("schedule-arn", schedule.arn),
            ("execution-id", execution_id),
            ("attempt-number", "1"),
        ):
            given = given.replace(f"<aws.scheduler.{name}>", value)
        return given


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_put_rule(timetable: Timetable, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventsBackend.put_rule``: the expression is checked, and the rule planned."""

    def put_rule(self: EventsBackend, *args: Any, **kwargs: Any) -> Rule:
        expression = kwargs.get("scheduled_expression")
        if expression:
            try:
                parse_expression(expression, anchor=timetable.core.clock.now)
            except ScheduleExpressionError as error:
                raise RuleValidationException(f"Parameter ScheduleExpression is not valid. {error}") from error
        rule: Rule = original(self, *args, **kwargs)
        timetable.add_rule(rule)
        return rule

    return put_rule


def patched_rule_change(timetable: Timetable, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventsBackend.enable_rule``, ``disable_rule`` and ``delete_rule``: the timetable follows."""

    def change(self: EventsBackend, name: str, event_bus_arn: str | None) -> Any:
        bus_name = (event_bus_arn or "default").split("/")[-1]
        bus = self.event_buses.get(bus_name)
        rule = bus.rules.get(name) if bus else None
        answer = original(self, name, event_bus_arn)
        if rule is not None:
            if bus is not None and bus.rules.get(name) is rule:
                timetable.add_rule(rule)
            else:
                timetable.drop_rule(rule.arn)
        return answer

    return change


def _check_schedule(timetable: Timetable, given: Mapping[str, Any]) -> None:
    try:
        parse_expression(
            given["schedule_expression"],
            anchor=timetable.core.clock.now,
            zone=given.get("schedule_expression_timezone") or "UTC",
        )
    except ScheduleExpressionError as error:
        raise ValidationException(message=str(error)) from error
    start = moment(given.get("start_date"))
    if start is not None and start < timetable.core.clock.now - EARLIEST_START:
        raise ValidationException(message="The StartDate you specify cannot be earlier than 5 minutes ago.")
    if timetable.core.gate.not_assumed(PRINCIPAL, given["target"]["RoleArn"]) is not None:
        raise ValidationException(
            message="The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
        )
    if not timetable.courier.takes(given["target"]["Arn"]):
        raise ValidationException(message=f"The local cloud cannot deliver to {given['target']['Arn']}.")


def patched_create_schedule(timetable: Timetable, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventBridgeSchedulerBackend.create_schedule``: checked, kept and planned."""

    def create_schedule(self: EventBridgeSchedulerBackend, **given: Any) -> Schedule:
        _check_schedule(timetable, given)
        self.get_schedule_group(given.get("group_name"))  # raises what AWS raises when there is none
        schedule: Schedule = original(self, **given)
        timetable.add_schedule(schedule, self)
        return schedule

    return create_schedule


def patched_update_schedule(timetable: Timetable, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventBridgeSchedulerBackend.update_schedule``: planned anew."""

    def update_schedule(self: EventBridgeSchedulerBackend, **given: Any) -> Schedule:
        _check_schedule(timetable, given)
        schedule: Schedule = original(self, **given)
        schedule.state = schedule.state or "ENABLED"
        timetable.add_schedule(schedule, self)
        return schedule

    return update_schedule


def patched_delete_schedule(timetable: Timetable, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventBridgeSchedulerBackend.delete_schedule``: no longer planned."""

    def delete_schedule(self: EventBridgeSchedulerBackend, group_name: str | None, name: str) -> None:
        arn = self.get_schedule(group_name, name).arn
        original(self, group_name, name)
        timetable.drop_schedule(arn)

    return delete_schedule


def patched_delete_schedule_group(timetable: Timetable, original: Callable[..., Any]) -> Callable[..., Any]:
    """``EventBridgeSchedulerBackend.delete_schedule_group``: its schedules go with it."""

    def delete_schedule_group(self: EventBridgeSchedulerBackend, name: str | None) -> None:
        group = self.get_schedule_group(name)
        original(self, name)
        for schedule in group.schedules.values():
            timetable.drop_schedule(schedule.arn)

    return delete_schedule_group


PATCHES = (
    Patch("moto.events.models:EventsBackend.delete_rule", patched_rule_change),
    Patch("moto.events.models:EventsBackend.disable_rule", patched_rule_change),
    Patch("moto.events.models:EventsBackend.enable_rule", patched_rule_change),
    Patch("moto.events.models:EventsBackend.put_rule", patched_put_rule),
    Patch("moto.scheduler.models:EventBridgeSchedulerBackend.create_schedule", patched_create_schedule),
    Patch("moto.scheduler.models:EventBridgeSchedulerBackend.delete_schedule", patched_delete_schedule),
    Patch("moto.scheduler.models:EventBridgeSchedulerBackend.delete_schedule_group", patched_delete_schedule_group),
    Patch("moto.scheduler.models:EventBridgeSchedulerBackend.update_schedule", patched_update_schedule),
)
