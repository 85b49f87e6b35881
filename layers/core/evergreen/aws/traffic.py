"""What versions answered, from the metrics that the predict function writes, or SageMaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef
    from mypy_boto3_sagemaker import SageMakerClient

_METRICS = (telemetry.REQUESTS.name, telemetry.ERRORS.name, telemetry.SLOW_REQUESTS.name)
_MINUTE = timedelta(minutes=1)
_UNREAD = ("InternalError", "Forbidden")


class CloudWatchTraffic:
    """See :class:`evergreen.ports.TrafficMetrics`."""

    def __init__(self, client: CloudWatchClient, predict_function: str) -> None:
        self._client = client
        self._predict_function = predict_function

    def traffic(self, model: str, version: int, start: datetime, end: datetime) -> Traffic:
        dimensions = {telemetry.MODEL: model, telemetry.VERSION: str(version)}
        requests, errors, slow = self._sums(telemetry.NAMESPACE, _METRICS, dimensions, start, end)
        return Traffic(requests, errors, slow)

    def crashes(self, start: datetime, end: datetime) -> int:
        (crashes,) = self._sums("AWS/Lambda", ("Errors",), {"FunctionName": self._predict_function}, start, end)
        return crashes

    def _sums(
        self, namespace: str, names: Sequence[str], dimensions: Mapping[str, str], start: datetime, end: datetime
    ) -> list[int]:
        return _totals(self._client, namespace, [(name, "Sum") for name in names], dimensions, start, end)


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

    def traffic(self, model: str, version: int, start: datetime, end: datetime) -> Traffic:  # noqa: ARG002 - see the port
        start, end = _next_minute(start), _next_minute(end)
        if start >= end:
            return Traffic(0, 0, 0)
        dimensions = {"EndpointName": self._endpoint, "VariantName": self._variant}
        metrics = [
            ("Invocations", "Sum"),
            ("InvocationModelErrors", "Sum"),
            ("Invocation4XXErrors", "Sum"),
            ("Invocation5XXErrors", "Sum"),
            ("ModelLatency", self._slow),
        ]
        asked, unanswered, callers, failed, slow = _totals(
            self._client, "AWS/SageMaker", metrics, dimensions, start, end
        )
        return Traffic(asked, min(asked, max(failed, unanswered - callers)), min(asked, slow))

    def crashes(self, start: datetime, end: datetime) -> int:  # noqa: ARG002 - each is an error of its request too
        return 0

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


def _totals(
    client: CloudWatchClient,
    namespace: str,
    metrics: Sequence[tuple[str, str]],
    dimensions: Mapping[str, str],
    start: datetime,
    end: datetime,
) -> list[int]:
    """The sum of a statistic's minutes, of each metric."""
    queries: list[MetricDataQueryTypeDef] = [
        {
            "Id": name.lower(),
            "MetricStat": {
                "Metric": {
                    "Namespace": namespace,
                    "MetricName": name,
                    "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
                },
                "Period": 60,
                "Stat": statistic,
            },
        }
        for name, statistic in metrics
    ]
    totals = dict.fromkeys((name.lower() for name, _ in metrics), 0.0)
    for page in client.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=start, EndTime=end
    ):
        for result in page["MetricDataResults"]:
            if result["StatusCode"] in _UNREAD:
                raise UnreadMetricsError(result["Label"], result["StatusCode"])
            totals[result["Id"]] += sum(result["Values"])
    return [round(total) for total in totals.values()]
