"""What versions answered, from the metrics that the predict function writes."""

from __future__ import annotations

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

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client

    def traffic(self, model: str, version: int, start: datetime, end: datetime) -> Traffic:
        queries: list[MetricDataQueryTypeDef] = [
            {
                "Id": name.lower(),
                "MetricStat": {
                    "Metric": {
                        "Namespace": NAMESPACE,
                        "MetricName": name,
                        "Dimensions": [{"Name": "Model", "Value": model}, {"Name": "Version", "Value": str(version)}],
                    },
                    "Period": 60,
                    "Stat": "Sum",
                },
            }
            for name in _METRICS
        ]
        sums = dict.fromkeys((name.lower() for name in _METRICS), 0.0)
        for page in self._client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=start, EndTime=end
        ):
            for result in page["MetricDataResults"]:
                sums[result["Id"]] += sum(result["Values"])
        return Traffic(round(sums["requests"]), round(sums["errors"]), round(sums["slowrequests"]))
