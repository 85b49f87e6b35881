"""CloudWatch metrics: from EMF lines and invocations, indexed by metric, with AWS's statistics and metric math."""

from __future__ import annotations

import ast
import json
import math
import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue, ValidationError
from moto.cloudwatch.models import CloudWatchBackend, MetricDatum

from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.measures import MetricKey, Point
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.times import moment
from local_cloud.services.lambda_.invokers import DeployedFunction, InvocationResult

NO_UNIT = "None"
"""CloudWatch's word for the unit of what was recorded without one."""


def statistic(name: str, points: Sequence[Point]) -> float:
    """Return a CloudWatch statistic over ``points``.

    Parameters
    ----------
    name
        ``Sum``, ``Average``, ``Minimum``, ``Maximum``, ``SampleCount``, a percentile such as ``p95`` or ``p99.9``, or
        a trimmed count such as ``TC(250:)`` or ``TC(:1000)``: how many values lie above one bound and up to another.
    points
        At least one.

    Raises
    ------
    ValueError
        For any other statistic.

    Examples
    --------
    >>> points = [Point(0, v, 1, v, v) for v in (1.0, 2.0, 3.0, 10.0)]
    >>> statistic("Average", points), statistic("p50", points), statistic("p100", points)
    (4.0, 2.5, 10.0)
    >>> statistic("TC(2:)", points), statistic("TC(1:3)", points)
    (2.0, 2.0)
    """
    match name:
        case "Sum":
            return math.fsum(p.total for p in points)
        case "SampleCount":
            return math.fsum(p.weight for p in points)
        case "Average":
            return math.fsum(p.total for p in points) / math.fsum(p.weight for p in points)
        case "Minimum":
            return min(p.low for p in points)
        case "Maximum":
            return max(p.high for p in points)
    counted = re.fullmatch(r"TC\((\d+(?:\.\d+)?)?:(\d+(?:\.\d+)?)?\)", name)
    if counted is not None:
        low, high = float(counted[1] or "-inf"), float(counted[2] or "inf")
        return math.fsum(p.weight for p in points if p.weight and low < p.total / p.weight <= high)
    match = re.fullmatch(r"p(\d{1,3}(?:\.\d+)?)", name)
    if match is None:
        raise ValueError(f"statistic {name!r} is not one of Sum, Average, Minimum, Maximum, SampleCount, pNN, TC(x:y)")
    return _percentile(float(match.group(1)) / 100, points)


def _percentile(share: float, points: Sequence[Point]) -> float:
    values = sorted((p.total / p.weight, p.weight) for p in points if p.weight)
    expanded = [value for value, count in values for _ in range(max(1, round(count)))]
    rank = share * (len(expanded) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(expanded) - 1)
    return expanded[below] + (expanded[above] - expanded[below]) * (rank - below)


@dataclass(slots=True)
class Series:
    """The points of one metric, in order of time."""

    points: list[Point] = field(default_factory=list)
    unit: str | None = None

    def add(self, point: Point) -> None:
        """Insert a point; the usual one is the latest."""
        if not self.points or point.time >= self.points[-1].time:
            self.points.append(point)
        else:
            insort(self.points, point, key=lambda p: p.time)

    def between(self, start: float, end: float) -> Sequence[Point]:
        """The points of ``[start, end)``."""
        return self.points[bisect_left(self.points, start, key=_time) : bisect_left(self.points, end, key=_time)]

    def by_period(self, start: float, end: float, period: int, unit: str | None = None) -> dict[float, list[Point]]:
        """The points of ``[start, end)`` by the start of their period; those of one unit alone where one is given.

        Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricStat.html
        """
        periods: dict[float, list[Point]] = {}
        for point in self.between(start, end):
            if unit is None or unit == (point.unit or NO_UNIT):
                periods.setdefault(point.time // period * period, []).append(point)
        return periods


def _time(point: Point) -> float:
    return point.time


class Metrics(Service):
    """All metrics of the cloud."""

    def __init__(self, core: Core):
        self.core = core
        self.series: dict[MetricKey, Series] = {}
        self._listeners: list[Callable[[MetricKey, float], object]] = []

    def on_data(self, listener: Callable[[MetricKey, float], object]) -> None:
        """Tell ``listener`` of each value that is recorded: which metric, and its time in seconds since the epoch."""
        self._listeners.append(listener)

    def put(self, key: MetricKey, values: Iterable[float], unit: str | None = None, at: datetime | None = None) -> None:
        """Record values of a metric, at the clock's now unless a time is given."""
        time = (at or self.core.clock.now).timestamp()
        series = self.series.setdefault(key, Series())
        series.unit = unit or series.unit
        for value in values:
            series.add(Point(time, value, 1.0, value, value, unit))
        self._tell(key, time)

    def put_point(self, key: MetricKey, point: Point) -> None:
        """Record values that are already summed up."""
        series = self.series.setdefault(key, Series())
        series.unit = point.unit or series.unit
        series.add(point)
        self._tell(key, point.time)

    def _tell(self, key: MetricKey, time: float) -> None:
        for listener in self._listeners:
            listener(key, time)

    def record_run(self, function: DeployedFunction, result: InvocationResult, took_ms: float) -> None:
        """Record a run of a function: what Lambda records itself, and the metrics that the function printed."""
        self.record_invocation(function, failed=result.error is not None, took_ms=took_ms)
        self.record_output(result.stdout)

    def record_invocation(self, function: DeployedFunction, *, failed: bool, took_ms: float) -> None:
        """Record what Lambda itself records of a run."""
        qualifier = function.arn.split(":")[7:]
        dimension_sets: list[dict[str, str]] = [{"FunctionName": function.name}]
        if qualifier:
            resource = f"{function.name}:{qualifier[0]}"
            dimension_sets.append({"FunctionName": function.name, "Resource": resource})
        for dimensions in dimension_sets:
            self.put(MetricKey.of("AWS/Lambda", "Invocations", dimensions), [1.0], "Count")
            self.put(MetricKey.of("AWS/Lambda", "Errors", dimensions), [1.0 if failed else 0.0], "Count")
            self.put(MetricKey.of("AWS/Lambda", "Duration", dimensions), [took_ms], "Milliseconds")

    def record_output(self, stdout: str) -> None:
        """Record the metrics in the embedded metric format that a function printed."""
        if '"_aws"' not in stdout:
            return
        for line in stdout.splitlines():
            if '"_aws"' in line:
                for key, values, unit in parse_embedded_metrics(line):
                    self.put(key, values, unit)

    def values(
        self, key: MetricKey, stat: str, period: int, start: float, end: float, unit: str | None = None
    ) -> dict[float, float]:
        """Return a statistic for each period of ``[start, end)`` that has data (of a unit), by the period's start."""
        series = self.series.get(key)
        if series is None:
            return {}
        periods = series.by_period(start, end, period, unit)
        return {begin: statistic(stat, points) for begin, points in periods.items()}


def parse_embedded_metrics(line: str) -> list[tuple[MetricKey, list[float], str | None]]:
    """Read one line of CloudWatch's embedded metric format; a line that is not one gives nothing.

    Examples
    --------
    >>> metric = {"Namespace": "Shop", "Dimensions": [["till"]], "Metrics": [{"Name": "Rows", "Unit": "Count"}]}
    >>> line = json.dumps({"_aws": {"Timestamp": 0, "CloudWatchMetrics": [metric]}, "till": "north", "Rows": [3, 4]})
    >>> parse_embedded_metrics(line)
    [(MetricKey(namespace='Shop', name='Rows', dimensions=(('till', 'north'),)), [3.0, 4.0], 'Count')]
    """
    try:
        document = json.loads(line)
        directives = document["_aws"]["CloudWatchMetrics"]
    except (ValueError, TypeError, KeyError):
        return []
    found: list[tuple[MetricKey, list[float], str | None]] = []
    for directive in directives:
        for names in directive.get("Dimensions") or [[]]:
            dimensions = {name: str(document.get(name, "")) for name in names}
            for metric in directive.get("Metrics", []):
                value = document.get(metric["Name"])
                if value is None:
                    continue
                values = [float(v) for v in (value if isinstance(value, list) else [value])]
                found.append(
                    (MetricKey.of(directive["Namespace"], metric["Name"], dimensions), values, metric.get("Unit"))
                )
    return found


# -- metric math -----------------------------------------------------------------------------------------------------

Timed = dict[float, float]
"""A value for each period that has one."""


class MetricMathError(ValueError):
    """An expression beyond what the local cloud evaluates."""

    def __init__(self, expression: str, why: str):
        super().__init__(
            f"metric math {expression!r} {why}; use + - * /, comparisons, AND, OR, NOT, IF, FILL, ABS, MIN, MAX or SUM"
        )


def evaluate_math(expression: str, series: Mapping[str, Timed], periods: Sequence[float]) -> Timed:
    """Evaluate a metric math expression period by period.

    Parameters
    ----------
    expression
        For example ``IF(FILL(requests, 0) > 0, errors / requests, 0)``.
    series
        The values of each id the expression may name.
    periods
        The starts of the periods to evaluate.

    Returns
    -------
    dict
        The value of each period in which all that is needed is known. A division by zero is missing.

    Examples
    --------
    >>> series = {"errors": {0: 1, 60: 2}, "requests": {0: 4}}
    >>> evaluate_math("100 * errors / FILL(requests, 1)", series, [0, 60, 120])
    {0: 25.0, 60: 200.0}
    >>> evaluate_math("IF(n >= 10, s / n, 0)", {"n": {0: 5, 60: 20}, "s": {0: 5, 60: 10}}, [0, 60])
    {0: 0.0, 60: 0.5}
    """
    tree = parse_math(expression)
    found: Timed = {}
    for period in periods:
        value = _Math(expression, series, period).value(tree.body)
        if value is not None:
            found[period] = float(value)
    return found


def parse_math(expression: str) -> ast.Expression:
    """Parse a metric math expression.

    Raises
    ------
    MetricMathError
        When it is not one, or uses a function that is not here.
    """
    text = re.sub(r"(?<![<>=!])=(?!=)", "==", expression.replace("&&", " and ").replace("||", " or "))
    text = re.sub(r"\b(AND|OR|NOT)\b", lambda m: m.group(1).lower(), text)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise MetricMathError(expression, "cannot be read") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS):
            raise MetricMathError(expression, "uses a function the local cloud lacks")
        if not isinstance(node, _ALLOWED):
            raise MetricMathError(expression, f"uses {type(node).__name__}")
    return tree


_FUNCTIONS = {"IF", "FILL", "ABS", "MIN", "MAX", "SUM"}
_ALLOWED = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Name, ast.Constant, ast.Load,
    ast.List, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or,
    ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq,
)  # fmt: skip
_COMPARE: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}


@dataclass(frozen=True, slots=True)
class _Math:
    expression: str
    series: Mapping[str, Timed]
    period: float

    def value(self, node: ast.AST) -> float | None:
        match node:
            case ast.Constant(value=value) if isinstance(value, int | float):
                return float(value)
            case ast.Name(id=name):
                if name not in self.series:
                    raise MetricMathError(self.expression, f"names {name}, which is no id of the alarm or query")
                return self.series[name].get(self.period)
            case ast.UnaryOp(op=op, operand=operand):
                return self._unary(op, self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=nodes):
                truths = [bool(self.value(item)) for item in nodes]
                return float(all(truths) if isinstance(op, ast.And) else any(truths))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                a, b = self.value(left), self.value(right)
                return None if a is None or b is None else float(_COMPARE[type(op)](a, b))
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, args)
        raise MetricMathError(self.expression, f"uses {type(node).__name__}")

    def _unary(self, op: ast.unaryop, value: float | None) -> float | None:
        if value is None:
            return None
        match op:
            case ast.USub():
                return -value
            case ast.Not():
                return float(not value)
        return value

    def _binary(self, op: ast.operator, a: float | None, b: float | None) -> float | None:
        if a is None or b is None:
            return None
        match op:
            case ast.Add():
                return a + b
            case ast.Sub():
                return a - b
            case ast.Mult():
                return a * b
        return None if b == 0 else a / b

    def _call(self, name: str, args: Sequence[ast.expr]) -> float | None:
        match name, args:
            case "IF", [condition, then]:
                return self.value(then) if self.value(condition) else None
            case "IF", [condition, then, otherwise]:
                return self.value(then) if self.value(condition) else self.value(otherwise)
            case "FILL", [of, ast.Name(id="REPEAT")]:
                return self._repeat(of)
            case "FILL", [of, instead]:
                value = self.value(of)
                return self.value(instead) if value is None else value
            case "ABS", [of]:
                value = self.value(of)
                return None if value is None else abs(value)
        items = args[0].elts if len(args) == 1 and isinstance(args[0], ast.List) else args
        values = [v for v in (self.value(item) for item in items) if v is not None]
        if not values:
            return None
        match name:
            case "MIN":
                return min(values)
            case "MAX":
                return max(values)
        return math.fsum(values)

    def _repeat(self, of: ast.expr) -> float | None:
        earlier = sorted({t for s in self.series.values() for t in s if t <= self.period}, reverse=True)
        for period in earlier:
            value = _Math(self.expression, self.series, period).value(of)
            if value is not None:
                return value
        return None


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_put_metric_data(metrics: Metrics, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudWatchBackend.put_metric_data``: into the index."""

    def put_metric_data(self: CloudWatchBackend, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        for number, datum in enumerate(metric_data, start=1):
            self._validate_parameters_put_metric_data(datum, number)
        for datum in metric_data:
            dimensions = {d["Name"]: d["Value"] for d in datum.get("Dimensions") or ()}
            key = MetricKey.of(namespace, datum["MetricName"], dimensions)
            time = (moment(datum.get("Timestamp")) or metrics.core.clock.now).timestamp()
            for point in _points(datum, time):
                metrics.put_point(key, point)

    return put_metric_data


def _points(datum: Mapping[str, Any], time: float) -> list[Point]:
    unit = datum.get("Unit")
    if datum.get("StatisticValues"):
        s = {name: float(value) for name, value in datum["StatisticValues"].items()}
        return [Point(time, s["Sum"], s["SampleCount"], s["Minimum"], s["Maximum"], unit)]
    if datum.get("Values"):
        values = [float(v) for v in datum["Values"]]
        counts = [float(c) for c in datum.get("Counts") or [1.0] * len(values)]
        return [Point(time, v * c, c, v, v, unit) for v, c in zip(values, counts, strict=True)]
    value = float(datum.get("Value", 0))
    return [Point(time, value, 1.0, value, value, unit)]


def patched_get_metric_data(metrics: Metrics, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudWatchBackend.get_metric_data``: from the index, with percentiles and metric math."""

    def get_metric_data(
        self: CloudWatchBackend,
        queries: list[dict[str, Any]],
        start_time: datetime,
        end_time: datetime,
        scan_by: str = "TimestampAscending",
    ) -> list[dict[str, Any]]:
        start, end = _seconds(start_time), _seconds(end_time)
        if start >= end:
            raise ValidationError(
                "The parameter StartTime must not equal parameter EndTime."
                if start == end
                else "The parameter EndTime must be greater than StartTime."
            )
        try:
            found = _answer_queries(metrics, queries, start, end)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        results = []
        for query in queries:
            if query.get("ReturnData", True) is False:
                continue
            timed = sorted(found[query["Id"]].items(), reverse=scan_by == "TimestampDescending")
            results.append(
                {
                    "id": query["Id"],
                    "label": query.get("Label") or _label(query),
                    "values": [value for _, value in timed],
                    "timestamps": [_naive(time) for time, _ in timed],
                    "status_code": "Complete",
                }
            )
        return results

    return get_metric_data


def _answer_queries(
    metrics: Metrics, queries: Sequence[Mapping[str, Any]], start: float, end: float
) -> dict[str, Timed]:
    found: dict[str, Timed] = {}
    shortest = 60
    for query in queries:
        stat = query.get("MetricStat")
        if stat is None:
            continue
        metric = stat["Metric"]
        dimensions = {d["Name"]: d["Value"] for d in metric.get("Dimensions") or ()}
        key = MetricKey.of(metric["Namespace"], metric["MetricName"], dimensions)
        period = int(stat["Period"])
        shortest = min(shortest, period) if found else period
        found[query["Id"]] = metrics.values(key, stat["Stat"], period, start // period * period, end, stat.get("Unit"))
    waiting = [query for query in queries if "MetricStat" not in query]
    while waiting:
        ready = [q for q in waiting if names_in(q["Expression"]) <= set(found)]
        if not ready:
            raise MetricMathError(waiting[0]["Expression"], "names an id that no query has")
        for query in ready:
            periods = _periods(found, start, end, int(query.get("Period") or shortest))
            found[query["Id"]] = evaluate_math(query["Expression"], found, periods)
        waiting = [query for query in waiting if query not in ready]
    return found


def names_in(expression: str) -> set[str]:
    """Return the ids that a metric math expression names.

    Examples
    --------
    >>> sorted(names_in("IF(FILL(n, REPEAT) > 0, s / n, 0)"))
    ['n', 's']
    """
    called = _FUNCTIONS | {"REPEAT"}
    return {n.id for n in ast.walk(parse_math(expression)) if isinstance(n, ast.Name)} - called


def _periods(found: Mapping[str, Timed], start: float, end: float, period: int) -> list[float]:
    first, last = start // period * period, end
    if (last - first) / period > 1_000_000:
        return sorted({time for timed in found.values() for time in timed})
    return [first + n * period for n in range(math.ceil((last - first) / period))]


def _label(query: Mapping[str, Any]) -> str:
    stat = query.get("MetricStat")
    return f"{stat['Metric']['MetricName']} {stat['Stat']}" if stat else str(query["Id"])


def patched_get_metric_statistics(metrics: Metrics, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudWatchResponse.get_metric_statistics``: from the index, extended statistics included."""
    from moto.core.responses import ActionResult

    def get_metric_statistics(self: Any) -> ActionResult:
        start, end = _seconds(self._get_param("StartTime")), _seconds(self._get_param("EndTime"))
        if start >= end:
            raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
        period = self._get_int_param("Period")
        plain, extended = self._get_param("Statistics", []), self._get_param("ExtendedStatistics", [])
        if not plain and not extended:
            raise InvalidParameterCombination("Must specify either Statistics or ExtendedStatistics")
        dimensions = {d["Name"]: d["Value"] for d in self._get_param("Dimensions", [])}
        name = self._get_param("MetricName")
        series = metrics.series.get(MetricKey.of(self._get_param("Namespace"), name, dimensions), Series())
        datapoints = []
        unit = self._get_param("Unit")
        for begin, points in sorted(series.by_period(start, end, period, unit).items()):
            datapoint: dict[str, Any] = {"Timestamp": _naive(begin), "Unit": unit or series.unit or NO_UNIT}
            datapoint |= {stat: statistic(stat, points) for stat in plain or []}
            if extended:
                datapoint["ExtendedStatistics"] = {stat: statistic(stat, points) for stat in extended}
            datapoints.append(datapoint)
        return ActionResult({"Label": name, "Datapoints": datapoints})

    return get_metric_statistics


def patched_get_filtered_metrics(metrics: Metrics, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudWatchBackend.get_filtered_metrics``: what list_metrics lists."""

    def get_filtered_metrics(
        self: CloudWatchBackend, metric_name: str, namespace: str, dimensions: list[dict[str, str]]
    ) -> list[MetricDatum]:
        listed = []
        for key in metrics.series:
            own = dict(key.dimensions)
            if (namespace and key.namespace != namespace) or (metric_name and key.name != metric_name):
                continue
            if any(d["Name"] not in own or d.get("Value") not in (None, own[d["Name"]]) for d in dimensions or []):
                continue
            pairs = [{"Name": n, "Value": v} for n, v in key.dimensions]
            listed.append(MetricDatum(key.namespace, key.name, 0.0, pairs, None))
        return listed

    return get_filtered_metrics


def _seconds(given: datetime) -> float:
    return float(math.floor((moment(given) or given).timestamp()))


def _naive(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


PATCHES = (
    Patch("moto.cloudwatch.models:CloudWatchBackend.get_filtered_metrics", patched_get_filtered_metrics),
    Patch("moto.cloudwatch.models:CloudWatchBackend.get_metric_data", patched_get_metric_data),
    Patch("moto.cloudwatch.models:CloudWatchBackend.put_metric_data", patched_put_metric_data),
    Patch("moto.cloudwatch.responses:CloudWatchResponse.get_metric_statistics", patched_get_metric_statistics),
)
