"""CloudWatch alarms: evaluated when their data or the lack of it can change their state, and at no other time."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import Alarm, CloudWatchBackend

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.callers import Caller
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Courier, Emit, Parcel
from local_cloud.kernel.errors import DeliveryError
from local_cloud.kernel.measures import MetricKey, Point
from local_cloud.kernel.notices import Kind
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.cloudwatch.history import (
    Change,
    History,
    action_ended,
    configuration_changed,
    configuration_of,
    describe_alarm_history,
    state_changed,
    why_not_told,
)
from local_cloud.services.cloudwatch.metrics import Metrics, Timed, evaluate_math, names_in, parse_math, statistic

PRINCIPAL = "lambda.alarms.cloudwatch.amazonaws.com"
TOPICS_PRINCIPAL = "cloudwatch.amazonaws.com"
EMITTED = frozenset({"AWS/ApiGateway", "AWS/Events", "AWS/Lambda", "AWS/SQS", "AWS/SageMaker"})
"""The namespaces of AWS's own that the local cloud fills; an alarm on another could never trip."""

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"

_BREACHES: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
_WORDS = {
    "GreaterThanOrEqualToThreshold": "greater than or equal to",
    "GreaterThanThreshold": "greater than",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "less than or equal to",
}


@dataclass(frozen=True, slots=True)
class Query:
    """One metric of an alarm."""

    id: str
    key: MetricKey
    stat: str
    period: int
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What an alarm watches for.

    Parameters
    ----------
    queries, expressions
        Its metrics, and its metric math by id in the order of the template.
    watched
        The id whose value is compared with the threshold.
    """

    queries: tuple[Query, ...]
    expressions: tuple[tuple[str, str], ...]
    watched: str
    period: int
    periods: int
    to_alarm: int
    threshold: float
    comparison: str
    missing: str

    def breaches(self, value: float) -> bool:
        """Whether a value is on the wrong side of the threshold."""
        return _BREACHES[self.comparison](value, self.threshold)


def decide_state(rule: Rule, values: Sequence[float | None], now: str) -> str:
    """Return the state that the last values, oldest first, call for.

    Parameters
    ----------
    values
        One for each evaluation period, None where there is no data.
    now
        The present state, which ``ignore`` keeps.

    Examples
    --------
    >>> rule = Rule((), (), "m", 60, 3, 2, 5.0, "GreaterThanThreshold", "missing")
    >>> decide_state(rule, [1, 9, 9], "OK"), decide_state(rule, [1, 9, 2], "ALARM")
    ('ALARM', 'OK')
    >>> decide_state(rule, [None, None, None], "OK")
    'INSUFFICIENT_DATA'
    """
    known = [value for value in values if value is not None]
    gaps = len(values) - len(known)
    bad = sum(rule.breaches(value) for value in known)
    match rule.missing:
        case "breaching":
            return ALARM if bad + gaps >= rule.to_alarm else OK
        case "notBreaching":
            return ALARM if bad >= rule.to_alarm else OK
        case "ignore" if not known:
            return now
        case _ if not known:
            return INSUFFICIENT
    return ALARM if bad >= min(rule.to_alarm, len(known)) else OK


@dataclass(slots=True)
class _Watched:
    alarm: Alarm
    rule: Rule
    planned: datetime | None = None
    settles: float = 0.0


class Alarms(Service):
    """The alarms of the cloud.

    Parameters
    ----------
    courier, emit
        How the actions of alarms, and the event bus, are told of a change.
    metrics
        What is watched.

    Attributes
    ----------
    history
        What happened to alarms, and what became of their actions.
    """

    def __init__(self, core: Core, courier: Courier, metrics: Metrics, emit: Emit):
        self.core = core
        self.courier = courier
        self.metrics = metrics
        self.emit = emit
        self.history = History()
        self.listeners: list[Callable[[Alarm], object]] = []  # told of each change of state
        self._watched: dict[str, _Watched] = {}
        self._by_metric: dict[MetricKey, list[str]] = {}

    def watch(self, alarm: Alarm) -> None:
        """Begin to evaluate an alarm."""
        self.forget(alarm.name)
        rule = read_rule(alarm)
        watched = self._watched[alarm.name] = _Watched(alarm, rule)
        for query in rule.queries:
            self._by_metric.setdefault(query.key, []).append(alarm.name)
        now = self.core.clock.now.timestamp()
        watched.settles = now + rule.period * rule.periods
        self._plan(watched, now)

    def forget(self, name: str) -> None:
        """Evaluate an alarm no longer."""
        if self._watched.pop(name, None) is not None:
            for names in self._by_metric.values():
                if name in names:
                    names.remove(name)

    def data_arrived(self, key: MetricKey, time: float) -> None:
        """A metric has a new value at ``time`` (seconds since the epoch)."""
        for name in self._by_metric.get(key, ()):
            watched = self._watched[name]
            end_of_period = (time // watched.rule.period + 1) * watched.rule.period
            watched.settles = max(watched.settles, end_of_period + watched.rule.period * watched.rule.periods)
            self._plan(watched, self.core.clock.now.timestamp())

    def is_watched(self, key: MetricKey) -> bool:
        """Whether some alarm looks at a metric."""
        return bool(self._by_metric.get(key))

    def set_state(self, alarm: Alarm, state: str, reason: str, reason_data: str | None) -> None:
        """Put an alarm into a state; a change runs its actions and tells the event bus."""
        before = {
            "value": alarm.state_value,
            "reason": alarm.state_reason,
            "reasonData": alarm.state_reason_data or "{}",
            "timestamp": alarm_time(alarm.state_updated_timestamp.replace(tzinfo=UTC)),
        }
        alarm.update_state(reason, reason_data or "{}", state)
        if before["value"] != state:
            self._announce(alarm, before)

    def note(self, change: Change, alarm: Alarm) -> None:
        """Note in the history what was done to an alarm's configuration."""
        configuration = configuration_of(alarm, _metrics(alarm) if alarm.metric_data_queries else (), alarm_time)
        self.history.add(alarm.name, self.core.clock.now, configuration_changed(change, alarm.name, configuration))

    def _plan(self, watched: _Watched, now: float) -> None:
        period = watched.rule.period
        when = datetime.fromtimestamp((math.floor(now / period) + 1) * period, UTC)
        if watched.planned is None or watched.planned > when:
            watched.planned = when
            self.core.agenda.at(when, lambda: self._evaluate(watched, when), f"alarm {watched.alarm.name}")

    def _evaluate(self, watched: _Watched, when: datetime) -> None:
        if watched.planned != when or self._watched.get(watched.alarm.name) is not watched:
            return
        watched.planned = None
        rule, alarm = watched.rule, watched.alarm
        end = when.timestamp()
        starts = [end - rule.period * n for n in range(rule.periods, 0, -1)]
        found = self._values(rule, starts[0], end, starts)
        values = [found.get(start) for start in starts]
        state = decide_state(rule, values, alarm.state_value)
        if state != alarm.state_value:
            self.set_state(alarm, state, _reason(rule, values, starts), _reason_data(rule, values, starts, when))
        if end < watched.settles:
            self._plan(watched, end)

    def _values(self, rule: Rule, start: float, end: float, starts: Sequence[float]) -> Timed:
        found: dict[str, Timed] = {
            query.id: self.metrics.values(query.key, query.stat, query.period, start, end, query.unit)
            for query in rule.queries
        }
        for name, expression in rule.expressions:
            found[name] = evaluate_math(expression, found, starts)
        return found[rule.watched]

    # -- telling -----------------------------------------------------------------------------------------------------

    def _announce(self, alarm: Alarm, before: Mapping[str, Any]) -> None:
        state = {
            "value": alarm.state_value,
            "reason": alarm.state_reason,
            "reasonData": alarm.state_reason_data,
            "timestamp": alarm_time(self.core.clock.now),
        }
        self.core.tell(Kind.ALARM, alarm.name, "", f"{before['value']} -> {alarm.state_value}")
        self.history.add(alarm.name, self.core.clock.now, state_changed(before, state))
        configuration = {"description": alarm.description, "metrics": _metrics(alarm)}
        told = {
            "alarmName": alarm.name,
            "state": state,
            "previousState": dict(before),
            "configuration": configuration,
        }
        self.emit(
            source="aws.cloudwatch",
            detail_type="CloudWatch Alarm State Change",
            detail=told,
            resources=[alarm.alarm_arn],
        )
        for listener in self.listeners:
            listener(alarm)
        if not alarm.actions_enabled:
            return
        actions = {OK: alarm.ok_actions, ALARM: alarm.alarm_actions, INSUFFICIENT: alarm.insufficient_data_actions}
        for arn in actions[alarm.state_value] or ():
            if Arn.parse(arn).service == "lambda":
                body = message = json.dumps(self._direct(alarm, told))
                parcel = Parcel(arn, body, Caller(PRINCIPAL), alarm.alarm_arn)
            else:
                body = json.dumps(self._notification(alarm, before))
                subject = f'{alarm.state_value}: "{alarm.name}" in {here().title}'
                message = json.dumps({"default": body, "sms": subject})
                parcel = Parcel(arn, body, Caller(TOPICS_PRINCIPAL), alarm.alarm_arn, target={"Subject": subject})
            self.courier.send(parcel, functools.partial(self._acted, alarm, parcel.arn, message, self.core.clock.now))

    def _acted(
        self, alarm: Alarm, target: str, message: str, changed_at: datetime, error: DeliveryError | None
    ) -> None:
        """Note what became of an action."""
        why = None if error is None else why_not_told(alarm.alarm_arn, target, error)
        self.history.add(alarm.name, self.core.clock.now, action_ended(target, message, changed_at, why))
        outcome = "succeeded" if error is None else f"failed: {error.code}"
        self.core.tell(Kind.ALARM, alarm.name, f"action {target}", outcome)

    def _direct(self, alarm: Alarm, told: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "source": "aws.cloudwatch",
            "alarmArn": alarm.alarm_arn,
            "accountId": ACCOUNT,
            "time": alarm_time(self.core.clock.now),
            "region": here().region,
            "alarmData": told,
        }

    def _notification(self, alarm: Alarm, before: Mapping[str, Any]) -> dict[str, Any]:
        changed = self.core.clock.now
        trigger: dict[str, Any] = {
            "Period": alarm.period,
            "EvaluationPeriods": alarm.evaluation_periods,
            "DatapointsToAlarm": alarm.datapoints_to_alarm,
            "ComparisonOperator": alarm.comparison_operator,
            "Threshold": alarm.threshold,
            "TreatMissingData": alarm.treat_missing_data or "missing",
        }
        if alarm.metric_data_queries:
            trigger["Metrics"] = _metrics(alarm)
        else:
            trigger |= {
                "MetricName": alarm.metric_name,
                "Namespace": alarm.namespace,
                "StatisticType": "ExtendedStatistic" if alarm.extended_statistic else "Statistic",
                "Statistic": (alarm.statistic or alarm.extended_statistic or "").upper(),
                "Dimensions": [{"name": d.name, "value": d.value} for d in alarm.dimensions],
            }
        return {
            "AlarmName": alarm.name,
            "AlarmDescription": alarm.description,
            "AWSAccountId": ACCOUNT,
            "AlarmConfigurationUpdatedTimestamp": alarm_time(alarm.configuration_updated_timestamp.replace(tzinfo=UTC)),
            "NewStateValue": alarm.state_value,
            "NewStateReason": alarm.state_reason,
            "StateChangeTime": alarm_time(changed),
            "Region": here().title,
            "AlarmArn": alarm.alarm_arn,
            "OldStateValue": before["value"],
            "OKActions": list(alarm.ok_actions or ()),
            "AlarmActions": list(alarm.alarm_actions or ()),
            "InsufficientDataActions": list(alarm.insufficient_data_actions or ()),
            "Trigger": trigger,
        }


def alarm_time(moment: datetime) -> str:
    """Return the time as CloudWatch writes it in what it sends.

    Examples
    --------
    >>> alarm_time(datetime(2023, 8, 4, 12, 36, 15, 490_000, tzinfo=UTC))
    '2023-08-04T12:36:15.490+0000'
    """
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


def read_rule(alarm: Alarm) -> Rule:
    """Read what an alarm watches for.

    Raises
    ------
    ValueError
        When it uses a statistic, comparison or expression that the local cloud cannot evaluate.
    """
    queries: list[Query] = []
    expressions: list[tuple[str, str]] = []
    watched = "m"
    if alarm.metric_data_queries:
        for given in alarm.metric_data_queries:
            if given.metric_stat is not None:
                metric = given.metric_stat.metric
                dimensions = {str(d.name): str(d.value) for d in metric.dimensions}
                key = MetricKey.of(metric.namespace, metric.metric_name, dimensions)
                stat = given.metric_stat
                queries.append(Query(given.id, key, stat.stat, int(stat.period), stat.unit))
            else:
                parse_math(str(given.expression))
                expressions.append((given.id, str(given.expression)))
            if _returned(given.return_data):
                watched = given.id
    else:
        dimensions = {str(d.name): str(d.value) for d in alarm.dimensions}
        key = MetricKey.of(alarm.namespace, alarm.metric_name, dimensions)
        name = alarm.statistic or alarm.extended_statistic or "Average"
        queries.append(Query("m", key, name, int(alarm.period), alarm.unit))
    if alarm.threshold is None:
        raise ValueError("Exactly one of the parameters Threshold and ThresholdMetricId must be given")
    if alarm.comparison_operator not in _BREACHES:
        raise ValueError(f"ComparisonOperator {alarm.comparison_operator} needs anomaly detection")
    for query in queries:
        if query.key.namespace.startswith("AWS/") and query.key.namespace not in EMITTED:
            raise ValueError(f"{query.key.namespace} {query.key.name} is a metric that nothing here emits")
        statistic(query.stat, [Point(0.0, 0.0, 1.0, 0.0, 0.0)])
    return Rule(
        queries=tuple(queries),
        expressions=_in_order(expressions, {q.id for q in queries}),
        watched=watched,
        period=max([query.period for query in queries], default=60),
        periods=int(alarm.evaluation_periods),
        to_alarm=int(alarm.datapoints_to_alarm or alarm.evaluation_periods),
        threshold=float(alarm.threshold),
        comparison=alarm.comparison_operator,
        missing=alarm.treat_missing_data or "missing",
    )


def _returned(given: Any) -> bool:
    return given is None or str(given).lower() == "true"


def _in_order(expressions: Sequence[tuple[str, str]], known: set[str]) -> tuple[tuple[str, str], ...]:
    """Order expressions so that each comes after those it names."""
    ordered: list[tuple[str, str]] = []
    waiting = list(expressions)
    while waiting:
        ready = [item for item in waiting if names_in(item[1]) <= known]
        if not ready:
            raise ValueError(f"expression {waiting[0][1]!r} names an id that the alarm does not have")
        ordered += ready
        known = known | {name for name, _ in ready}
        waiting = [item for item in waiting if item not in ready]
    return tuple(ordered)


def _metrics(alarm: Alarm) -> list[dict[str, Any]]:
    if not alarm.metric_data_queries:
        metric = {
            "namespace": alarm.namespace,
            "name": alarm.metric_name,
            "dimensions": {str(d.name): str(d.value) for d in alarm.dimensions},
        }
        stat = {"metric": metric, "period": int(alarm.period), "stat": alarm.statistic or alarm.extended_statistic}
        return [{"id": "m", "metricStat": stat, "returnData": True}]
    described: list[dict[str, Any]] = []
    for query in alarm.metric_data_queries:
        item: dict[str, Any] = {"id": query.id, "returnData": _returned(query.return_data)}
        if query.metric_stat is None:
            item["expression"] = query.expression
        else:
            of = query.metric_stat.metric
            dimensions = {str(d.name): str(d.value) for d in of.dimensions}
            metric = {"namespace": of.namespace, "name": of.metric_name, "dimensions": dimensions}
            item["metricStat"] = {
                "metric": metric,
                "period": int(query.metric_stat.period),
                "stat": query.metric_stat.stat,
            }
        if query.label:
            item["label"] = query.label
        described.append(item)
    return described


def _reason(rule: Rule, values: Sequence[float | None], starts: Sequence[float]) -> str:
    known = [
        f"{value} ({datetime.fromtimestamp(start, UTC):%d/%m/%y %H:%M:%S})"
        for value, start in zip(values, starts, strict=True)
        if value is not None
    ]
    if not known:
        return f"Insufficient Data: {rule.periods} datapoint{'s were' if rule.periods > 1 else ' was'} unknown."
    crossed = sum(rule.breaches(value) for value in values if value is not None)
    return (
        f"Threshold Crossed: {crossed} out of the last {rule.periods} datapoints [{', '.join(reversed(known))}] "
        f"was {_WORDS[rule.comparison]} the threshold ({rule.threshold}) "
        f"(minimum {rule.to_alarm} datapoint{'s' if rule.to_alarm > 1 else ''} for OK -> ALARM transition)."
    )


def _reason_data(rule: Rule, values: Sequence[float | None], starts: Sequence[float], when: datetime) -> str:
    known = [value for value in values if value is not None]
    return json.dumps(
        {
            "version": "1.0",
            "queryDate": alarm_time(when),
            "startDate": alarm_time(datetime.fromtimestamp(starts[0], UTC)),
            "period": rule.period,
            "recentDatapoints": known,
            "threshold": rule.threshold,
        }
    )


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_put_metric_alarm(alarms: Alarms, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudWatchBackend.put_metric_alarm``: evaluated from now on."""
    from moto.cloudwatch.exceptions import ValidationError

    def put_metric_alarm(self: CloudWatchBackend, *args: Any, **kwargs: Any) -> Alarm:
        name = kwargs.get("name") or args[0]
        existing = self.alarms.get(name)
        alarm: Alarm = original(self, *args, **kwargs)
        if alarm.rule is not None:
            return alarm
        if existing is None:
            alarm.state_value = INSUFFICIENT
        else:  # AWS: a change leaves the state as it was
            alarm.state_value, alarm.state_reason = existing.state_value, existing.state_reason
            alarm.state_reason_data = existing.state_reason_data
            alarm.state_updated_timestamp = existing.state_updated_timestamp
        try:
            alarms.watch(alarm)
        except ValueError as error:
            if existing is None:
                del self.alarms[name]
            else:
                self.alarms[name] = existing
            raise ValidationError(str(error)) from error
        alarms.note(Change.CREATE if existing is None else Change.UPDATE, alarm)
        return alarm

    return put_metric_alarm


def patched_delete_alarms(alarms: Alarms, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudWatchBackend.delete_alarms``: evaluated no longer."""

    def delete_alarms(self: CloudWatchBackend, alarm_names: list[str]) -> None:
        deleted = [self.alarms[name] for name in dict.fromkeys(alarm_names) if name in self.alarms]
        original(self, alarm_names)
        for name in alarm_names:
            alarms.forget(name)
        for alarm in deleted:
            if alarm.rule is None:
                alarms.note(Change.DELETE, alarm)

    return delete_alarms


def patched_set_alarm_state(alarms: Alarms, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudWatchBackend.set_alarm_state``: a change runs the actions."""
    from moto.cloudwatch.exceptions import InvalidFormat

    def set_alarm_state(
        self: CloudWatchBackend, alarm_name: str, reason: str, reason_data: str | None, state_value: str
    ) -> None:
        alarm = self.alarms.get(alarm_name)
        if alarm is None or alarm.rule is not None or state_value not in (OK, ALARM, INSUFFICIENT):
            original(self, alarm_name, reason, reason_data, state_value)
            return
        try:
            json.loads(reason_data or "{}")
        except ValueError as error:
            raise InvalidFormat("Data was not syntactically valid JSON") from error
        alarms.set_state(alarm, state_value, reason, reason_data)

    return set_alarm_state


def patched_alarm_history(alarms: Alarms, original: None) -> Callable[..., Any]:
    """``CloudWatchResponse.describe_alarm_history``, which moto lacks."""
    return describe_alarm_history(lambda: alarms.history)


PATCHES = (
    Patch("moto.cloudwatch.responses:CloudWatchResponse.describe_alarm_history", patched_alarm_history, adds=True),
    Patch("moto.cloudwatch.models:CloudWatchBackend.delete_alarms", patched_delete_alarms),
    Patch("moto.cloudwatch.models:CloudWatchBackend.put_metric_alarm", patched_put_metric_alarm),
    Patch("moto.cloudwatch.models:CloudWatchBackend.set_alarm_state", patched_set_alarm_state),
)
