"""What versions answered, from the metrics that the predict function writes, or SageMaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from evergreen import telemetry
from evergreen.aws.sagemaker_requests import PRODUCTION
from evergreen.domain.bake import Traffic
from evergreen.errors import UnreadMetricsError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import DimensionTypeDef, MetricDataQueryTypeDef, MetricTypeDef
    from mypy_boto3_sagemaker import SageMakerClient

_METRICS = (telemetry.REQUESTS.name, telemetry.ERRORS.name, telemetry.SLOW_REQUESTS.name)
_MINUTE = timedelta(minutes=1)
_UNREAD = ("InternalError", "Forbidden")


class CloudWatchTraffic:
    """See :class:`evergreen.ports.TrafficMetrics`."""

    def __init__(self, client: CloudWatchClient, predict_function: str, namespace: str) -> None:
        self._client = client
        self._predict_function = predict_function
        self._namespace = namespace

    def traffic(
        self, model: str, version: int, start: datetime, end: datetime, *, with_crashes: bool = False
    ) -> Traffic:
        ours = {telemetry.MODEL: model, telemetry.VERSION: str(version)}
        metrics = [_Metric(name.lower(), self._namespace, name, "Sum", ours) for name in _METRICS]
        if with_crashes:
            metrics.append(_Metric("crashes", "AWS/Lambda", "Errors", "Sum", {"FunctionName": self._predict_function}))
        requests, errors, slow, *rest = _totals(self._client, metrics, start, end)
        crashes = sum(rest)
        return Traffic(requests + crashes, errors + crashes, slow)


class EndpointTraffic:
    """See :class:`evergreen.ports.TrafficMetrics`; of one SageMaker endpoint's production variant.

    Failed is what the container did not answer with a 2xx or a 4xx: a 5xx, an answer that can't be read, none in time.
    A caller's mistake (4xx) is not the version's failure. Slow is what the container alone took too long for.
    The metrics know whole minutes and no versions: a minute in which one span ends and the next begins is the first's.
    """

    def __init__(self, client: CloudWatchClient, sagemaker: SageMakerClient, endpoint: str, latency_ms: float) -> None:
        self._client = client
        self._sagemaker = sagemaker
        self._endpoint = endpoint
        self._slow = f"TC({round(1_000 * latency_ms)}:)"  # microseconds; how many values are above

    def traffic(
        self,
        model: str,  # noqa: ARG002 - see the port
        version: int,  # noqa: ARG002
        start: datetime,
        end: datetime,
        *,
        with_crashes: bool = False,  # noqa: ARG002 - each is an error of its request already
    ) -> Traffic:
        start, end = _next_minute(start), _next_minute(end)
        if start >= end:
            return Traffic(0, 0, 0)
        dimensions = {"EndpointName": self._endpoint, "VariantName": self._variant}
        counts = ("Invocations", "InvocationModelErrors", "Invocation4XXErrors", "Invocation5XXErrors")
        metrics = [_Metric(name.lower(), "AWS/SageMaker", name, "Sum", dimensions) for name in counts]
        metrics.append(_Metric("modellatency", "AWS/SageMaker", "ModelLatency", self._slow, dimensions))
        asked, unanswered, callers, failed, slow = _totals(self._client, metrics, start, end)
        return Traffic(asked, min(asked, max(failed, unanswered - callers)), min(asked, slow))

    @cached_property
    def _variant(self) -> str:
        """The variant that answers, whatever whoever made the endpoint called it.

        An endpoint that is gone, or that is still being made, has none: the next one is made by us.
        """
        try:
            endpoint = self._sagemaker.describe_endpoint(EndpointName=self._endpoint)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise
            return PRODUCTION
        variants = endpoint.get("ProductionVariants", [])
        return variants[0]["VariantName"] if variants else PRODUCTION


def _next_minute(time: datetime) -> datetime:
    """The time itself where it is a whole minute."""
    minute = time.replace(second=0, microsecond=0)
    return minute if minute == time else minute + _MINUTE


@dataclass(frozen=True, slots=True)
class _Metric:
    id: str
    namespace: str
    name: str
    statistic: str
    dimensions: Mapping[str, str]

    def query(self) -> MetricDataQueryTypeDef:
        named: list[DimensionTypeDef] = [{"Name": key, "Value": value} for key, value in self.dimensions.items()]
        metric: MetricTypeDef = {"Namespace": self.namespace, "MetricName": self.name, "Dimensions": named}
        return {"Id": self.id, "MetricStat": {"Metric": metric, "Period": 60, "Stat": self.statistic}}


def _totals(client: CloudWatchClient, metrics: Sequence[_Metric], start: datetime, end: datetime) -> list[int]:
    """The sum of a statistic's minutes, of each metric; one call for all, as each costs money and time."""
    queries = [metric.query() for metric in metrics]
    totals = {metric.id: 0.0 for metric in metrics}
    for page in client.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=start, EndTime=end
    ):
        for result in page["MetricDataResults"]:
            if result["StatusCode"] in _UNREAD:
                raise UnreadMetricsError(result["Label"], result["StatusCode"])
            totals[result["Id"]] += sum(result["Values"])
    return [round(total) for total in totals.values()]
