"""What versions answered, from the metrics that the predict function writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from evergreen.domain.bake import Traffic

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

NAMESPACE = "Evergreen"
_METRICS = ("Requests", "Errors", "SlowRequests")


class CloudWatchTraffic:
    """See :class:`evergreen.ports.TrafficMetrics`."""

    def __init__(self, client: CloudWatchClient, predict_function: str) -> None:
        self._client = client
        self._predict_function = predict_function

    def traffic(self, model: str, version: int, start: datetime, end: datetime) -> Traffic:
        dimensions = {"Model": model, "Version": str(version)}
        requests, errors, slow = self._sums(NAMESPACE, _METRICS, dimensions, start, end)
        return Traffic(requests, errors, slow)

    def crashes(self, start: datetime, end: datetime) -> int:
        (crashes,) = self._sums("AWS/Lambda", ("Errors",), {"FunctionName": self._predict_function}, start, end)
        return crashes

    def _sums(
        self, namespace: str, names: Sequence[str], dimensions: Mapping[str, str], start: datetime, end: datetime
    ) -> list[int]:
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
                    "Stat": "Sum",
                },
            }
            for name in names
        ]
        sums = dict.fromkeys((name.lower() for name in names), 0.0)
        for page in self._client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=start, EndTime=end
        ):
            for result in page["MetricDataResults"]:
                sums[result["Id"]] += sum(result["Values"])
        return [round(total) for total in sums.values()]
