"""What versions answered, from CloudWatch: the sums of one version within a span."""

from datetime import UTC, datetime, timedelta

import pytest

from evergreen.aws.traffic import CloudWatchTraffic
from evergreen.domain.bake import Traffic

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def cloudwatch(aws):
    return aws("cloudwatch")


def counted(cloudwatch, time, *, version=2, model="churn", **metrics):
    dimensions = [{"Name": "Model", "Value": model}, {"Name": "Version", "Value": str(version)}]
    data = [
        {"MetricName": name, "Dimensions": dimensions, "Timestamp": time, "Value": value, "Unit": "Count"}
        for name, value in metrics.items()
    ]
    cloudwatch.put_metric_data(Namespace="Evergreen/evergreen", MetricData=data)


def test_no_requests_are_no_traffic(cloudwatch):
    assert CloudWatchTraffic(cloudwatch, "evergreen-predict", "Evergreen/evergreen").traffic(
        "churn", 2, NOON, NOON + MINUTE
    ) == Traffic(0, 0, 0)


def test_requests_of_one_version_add_up(cloudwatch):
    for minute in range(3):
        counted(cloudwatch, NOON + minute * MINUTE, Requests=10, Errors=1, SlowRequests=2)
    assert CloudWatchTraffic(cloudwatch, "evergreen-predict", "Evergreen/evergreen").traffic(
        "churn", 2, NOON, NOON + 3 * MINUTE
    ) == Traffic(30, 3, 6)


def test_other_versions_and_models_do_not_count(cloudwatch):
    counted(cloudwatch, NOON, version=1, Requests=10)
    counted(cloudwatch, NOON, model="other", Requests=10)
    assert (
        CloudWatchTraffic(cloudwatch, "evergreen-predict", "Evergreen/evergreen")
        .traffic("churn", 2, NOON, NOON + MINUTE)
        .requests
        == 0
    )


def test_the_end_of_the_span_does_not_count(cloudwatch):
    counted(cloudwatch, NOON - MINUTE, Requests=1)
    counted(cloudwatch, NOON, Requests=10)
    counted(cloudwatch, NOON + MINUTE, Requests=100)
    assert (
        CloudWatchTraffic(cloudwatch, "evergreen-predict", "Evergreen/evergreen")
        .traffic("churn", 2, NOON, NOON + MINUTE)
        .requests
        == 10
    )


def test_what_the_predict_function_died_of_is_counted_whatever_the_version(cloudwatch):
    for function, value in (("evergreen-predict", 3), ("evergreen-predict", 2), ("evergreen-score-shadow", 7)):
        data = {"MetricName": "Errors", "Timestamp": NOON, "Value": value, "Unit": "Count"}
        data["Dimensions"] = [{"Name": "FunctionName", "Value": function}]
        cloudwatch.put_metric_data(Namespace="AWS/Lambda", MetricData=[data])
    traffic = CloudWatchTraffic(cloudwatch, "evergreen-predict", "Evergreen/evergreen")
    counted(cloudwatch, NOON, version=2, Requests=10, Errors=1)
    assert traffic.traffic("churn", 2, NOON, NOON + MINUTE, with_crashes=True) == Traffic(15, 6, 0)
    assert traffic.traffic("churn", 2, NOON, NOON + MINUTE) == Traffic(10, 1, 0)
    assert traffic.traffic("churn", 2, NOON + MINUTE, NOON + 2 * MINUTE, with_crashes=True) == Traffic(0, 0, 0)
