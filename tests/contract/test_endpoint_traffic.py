"""What a SageMaker endpoint answered, from CloudWatch: failures, slow answers, and whose minute is whose."""

from datetime import UTC, datetime, timedelta

import pytest
from botocore.stub import Stubber

from evergreen.aws.traffic import EndpointTraffic
from evergreen.domain.bake import Traffic
from evergreen.errors import UnreadMetricsError
from local_cloud.cloud import LocalCloud

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
OBJECTIVE = 250.0  # ms
NOTHING = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {}}


class Metrics:
    """CloudWatch of the local cloud, which counts trimmed values as AWS does, and endpoints as SageMaker lists them."""

    def __init__(self, cloud):
        self.cloudwatch, self.sagemaker = cloud.client("cloudwatch"), cloud.client("sagemaker")
        self.described = Stubber(self.sagemaker)

    def endpoint(self, name="churn", variant="production", status="InService"):
        """What is read of this endpoint; without a variant it is still being made."""
        self.described.add_response(
            "describe_endpoint",
            {
                "EndpointName": name,
                "EndpointArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}",
                "EndpointConfigName": "config",
                "EndpointStatus": status,
                "CreationTime": NOON,
                "LastModifiedTime": NOON,
                **({} if variant is None else {"ProductionVariants": [{"VariantName": variant}]}),
            },
            {"EndpointName": name},
        )
        self.described.activate()
        return EndpointTraffic(self.cloudwatch, self.sagemaker, name, OBJECTIVE)

    def refused(self, code, message="Could not find endpoint"):
        self.described.add_client_error("describe_endpoint", code, message)
        self.described.activate()
        return EndpointTraffic(self.cloudwatch, self.sagemaker, "churn", OBJECTIVE)

    def counted(self, time, *, endpoint="churn", variant="production", latencies_ms=(), dimensions=None, **counts):
        """A minute of an endpoint, as SageMaker writes it; latencies in microseconds."""
        about = {"EndpointName": endpoint, "VariantName": variant} | (dimensions or {})
        named = [{"Name": key, "Value": value} for key, value in about.items()]
        data = [{"MetricName": name, "Value": value, "Unit": "None"} for name, value in counts.items()]
        data += [{"MetricName": "ModelLatency", "Value": 1_000 * each, "Unit": "Microseconds"} for each in latencies_ms]
        self.cloudwatch.put_metric_data(
            Namespace="AWS/SageMaker", MetricData=[one | {"Dimensions": named, "Timestamp": time} for one in data]
        )


@pytest.fixture(scope="module")
def cloud():
    with LocalCloud.deploy(NOTHING, start=NOON) as cloud:
        yield cloud


@pytest.fixture
def metrics(cloud):
    cloud.metrics.series.clear()
    made = Metrics(cloud)
    yield made
    made.described.deactivate()


def noon(traffic, minutes=1):
    return traffic.traffic("churn", 2, NOON, NOON + minutes * MINUTE)


# --- what is a failure ------------------------------------------------------------------------------------------------


def test_no_requests_are_no_traffic(metrics):
    assert noon(metrics.endpoint()) == Traffic(0, 0, 0)


def test_minutes_add_up(metrics):
    for minute in range(3):
        metrics.counted(NOON + minute * MINUTE, Invocations=10, Invocation5XXErrors=1, latencies_ms=(20, 900))
    assert noon(metrics.endpoint(), minutes=3) == Traffic(30, 3, 3)


@pytest.mark.parametrize(
    ("counts", "failed"),
    [
        ({"Invocation5XXErrors": 4}, 4),
        ({"Invocation4XXErrors": 4, "InvocationModelErrors": 4}, 0),
        ({"Invocation4XXErrors": 4}, 0),
        ({"Invocation4XXErrors": 3, "Invocation5XXErrors": 4, "InvocationModelErrors": 7}, 4),
        ({"InvocationModelErrors": 6}, 6),
        ({"Invocation4XXErrors": 1, "Invocation5XXErrors": 2, "InvocationModelErrors": 6}, 5),
        ({"Invocation5XXErrors": 25, "InvocationModelErrors": 25}, 20),
    ],
    ids=[
        "a 5xx",
        "a 4xx is the caller's",
        "a 4xx that SageMaker itself gave",
        "both",
        "an answer that can't be read, or none in time",
        "a 4xx, a 5xx and no answer",
        "never more than were asked",
    ],
)
def test_what_the_container_owed_and_did_not_give_is_a_failure(metrics, counts, failed):
    metrics.counted(NOON, Invocations=20, **counts)
    assert noon(metrics.endpoint()) == Traffic(20, failed, 0)


def test_a_request_is_counted_once_and_no_crash_comes_on_top(metrics):
    metrics.counted(NOON, Invocations=20, Invocation5XXErrors=20, InvocationModelErrors=20)
    traffic = metrics.endpoint()
    assert noon(traffic).errors == 20
    assert traffic.traffic("churn", 2, NOON, NOON + MINUTE, with_crashes=True).errors == 20


def test_slow_is_what_took_longer_than_the_objectives_milliseconds_in_sagemakers_microseconds(metrics):
    metrics.counted(NOON, Invocations=5, latencies_ms=(0.25, 249.999, 250, 250.001, 60_000))
    assert noon(metrics.endpoint()).slow == 2


def test_sagemakers_own_overhead_is_not_the_versions(metrics):
    metrics.counted(NOON, Invocations=2, OverheadLatency=900_000, latencies_ms=(20, 30))
    assert noon(metrics.endpoint()) == Traffic(2, 0, 0)


# --- whose answers ----------------------------------------------------------------------------------------------------


def test_two_endpoints_and_two_variants_beside_each_other_are_apart(metrics):
    metrics.counted(NOON, Invocations=10, Invocation5XXErrors=1, latencies_ms=(300,))
    metrics.counted(NOON, variant="shadow", Invocations=10, Invocation5XXErrors=10, latencies_ms=(900,) * 10)
    metrics.counted(NOON, endpoint="churn-eu", Invocations=7, Invocation5XXErrors=7)
    assert noon(metrics.endpoint()) == Traffic(10, 1, 1)
    assert noon(metrics.endpoint("churn-eu")) == Traffic(7, 7, 0)


def test_an_endpoint_that_was_brought_is_counted_by_what_its_variant_is_called(metrics):
    metrics.counted(NOON, variant="AllTraffic", Invocations=10, Invocation5XXErrors=2)
    assert noon(metrics.endpoint(variant="AllTraffic")) == Traffic(10, 2, 0)


def test_the_same_requests_by_configuration_are_not_counted_again(metrics):
    for config in ("evergreen-churn-p1-s0-e10", "evergreen-churn-p2-s0-e20"):
        metrics.counted(NOON, Invocations=5, dimensions={"EndpointConfigName": config})
    metrics.counted(NOON, Invocations=10)
    assert noon(metrics.endpoint()).requests == 10


@pytest.mark.parametrize("status", ["Creating", "gone"])
def test_an_endpoint_that_is_gone_or_still_being_made_is_counted_as_the_one_that_we_make(metrics, status):
    metrics.counted(NOON, Invocations=10)
    made = metrics.refused("ValidationException") if status == "gone" else metrics.endpoint(variant=None, status=status)
    assert noon(made).requests == 10


def test_an_endpoint_that_may_not_be_read_is_not_an_endpoint_without_errors(metrics):
    with pytest.raises(metrics.sagemaker.exceptions.ClientError, match="AccessDeniedException"):
        noon(metrics.refused("AccessDeniedException", "no"))


# --- whose minute -----------------------------------------------------------------------------------------------------


def test_a_span_of_whole_minutes_begins_with_the_first_and_ends_before_the_last(metrics):
    for minute, requests in ((-1, 1), (0, 10), (1, 100), (2, 1_000)):
        metrics.counted(NOON + minute * MINUTE, Invocations=requests)
    assert noon(metrics.endpoint(), minutes=2).requests == 110


def test_the_minute_of_a_change_is_the_old_versions_and_is_counted_once(metrics):
    for minute, requests in ((0, 1), (1, 10), (2, 100), (3, 1_000)):
        metrics.counted(NOON + minute * MINUTE, Invocations=requests)
    change = NOON + MINUTE + 20 * SECOND
    traffic = metrics.endpoint()
    assert traffic.traffic("churn", 1, NOON, change).requests == 11
    assert traffic.traffic("churn", 2, change, NOON + 3 * MINUTE).requests == 100
    assert traffic.traffic("churn", 2, change, NOON + 3 * MINUTE + SECOND).requests == 1_100, "as far as it has come"


@pytest.mark.parametrize("seconds", [0, 1, 39], ids="{} seconds".format)
def test_a_span_within_one_minute_has_nothing_of_its_own(metrics, seconds):
    metrics.counted(NOON, Invocations=10)
    start = NOON + 20 * SECOND
    assert metrics.endpoint().traffic("churn", 2, start, start + seconds * SECOND) == Traffic(0, 0, 0)


# --- what CloudWatch answers ------------------------------------------------------------------------------------------


def a_page(status="Complete", token=None, **counts):
    """A page of results, of the metrics by their names; an empty one where a metric has no more."""
    found = [
        {"Id": name.lower(), "Label": name, "Values": values, "Timestamps": [NOON] * len(values), "StatusCode": status}
        for name, values in counts.items()
    ]
    return {"MetricDataResults": found} | ({} if token is None else {"NextToken": token})


def told(metrics, *pages):
    """The traffic that CloudWatch tells of in these pages."""
    with Stubber(metrics.cloudwatch) as stubber:
        for page in pages:
            stubber.add_response("get_metric_data", page)
        found = noon(metrics.endpoint(), minutes=10_080)
        stubber.assert_no_pending_responses()
    return found


def test_every_page_is_read_and_a_metric_may_be_on_several(metrics):
    first = a_page("PartialData", "more", Invocations=[40.0, 50.0], Invocation5XXErrors=[1.0])
    second = a_page("PartialData", "and more", Invocations=[10.0], ModelLatency=[4.0, 2.0])
    last = a_page(Invocation5XXErrors=[2.0], InvocationModelErrors=[], Invocation4XXErrors=[], ModelLatency=[1.0])
    assert told(metrics, first, second, last) == Traffic(100, 3, 7)


@pytest.mark.parametrize("status", ["InternalError", "Forbidden"])
def test_metrics_that_could_not_be_read_are_no_silence(metrics, status):
    page = a_page(Invocations=[100.0])
    page["MetricDataResults"] += a_page(status, Invocation5XXErrors=[])["MetricDataResults"]
    with pytest.raises(UnreadMetricsError, match=f"'Invocation5XXErrors' could not be read from CloudWatch .{status}"):
        told(metrics, page)
