"""Why a client's step or test fails here and is to fail: each reason once, with AWS's page where AWS is the reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


class Kind(StrEnum):
    """What stands behind a failure."""

    STRICTER = "AWS refuses it, and so do we"
    AWS = "AWS does otherwise than moto, and so do we"
    LACKING = "not in the local cloud"
    WORDS = "the same refusal in other words"


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason, and the tests that fail for it, as patterns of their names."""

    kind: Kind
    why: str
    tests: tuple[str, ...]
    page: str = ""


_AWS = "https://docs.aws.amazon.com"
_CLOUDWATCH = f"{_AWS}/AmazonCloudWatch/latest/APIReference"

REASONS: tuple[Reason, ...] = (
    Reason(
        Kind.STRICTER,
        "EventBridge may send to a queue only what the queue's policy lets in; the test's queue has none",
        (
            "*::test_send_to_sqs_fifo_queue",
            "*::test_send_to_sqs_queue",
            "*::test_send_to_sqs_queue_with_custom_event_bus",
            "*::test_send_to_sqs_queue_with_input_transformer",
            "*::test_send_to_sqs_queue_with_input_transformer_on_custom_event_bus",
        ),
        f"{_AWS}/eventbridge/latest/userguide/eb-use-resource-based.html",
    ),
    Reason(
        Kind.STRICTER,
        "Firehose writes by its role, and the test's role has no policy that lets it",
        ("*::test_put_record_batch_extended_s3_destination",),
        f"{_AWS}/firehose/latest/dev/controlling-access.html",
    ),
    Reason(
        Kind.STRICTER,
        "an alarm takes a Threshold or a ThresholdMetricId; the test's has neither",
        ("*::test_tag_resource_on_resource_without_tags",),
        f"{_CLOUDWATCH}/API_PutMetricAlarm.html",
    ),
    Reason(
        Kind.STRICTER,
        "tags are of schedule groups; a schedule's ARN is refused",
        ("*::test_schedule_tags",),
        f"{_AWS}/scheduler/latest/APIReference/API_ListTagsForResource.html",
    ),
    Reason(
        Kind.STRICTER,
        "the name of a partner's source begins with `aws.partner/`",
        ("*::test_create_partner_event_bus",),
        f"{_AWS}/eventbridge/latest/APIReference/API_CreatePartnerEventSource.html",
    ),
    Reason(
        Kind.STRICTER,
        "a stream is not called `?`, a role's ARN is not `foo`: refused before the error that the test waits for",
        (
            "*::test_create_delivery_stream_failures",
            "*::test_start_encryption_on_unknown_stream",
            "*::test_stop_encryption_on_unknown_stream",
        ),
        f"{_AWS}/firehose/latest/APIReference/API_CreateDeliveryStream.html",
    ),
    Reason(
        Kind.AWS,
        "each set of dimensions is a metric of its own: part of a set finds nothing",
        ("*::test_get_metric_data_for_dimensions", "*::test_get_metric_statistics_dimensions"),
        f"{_CLOUDWATCH}/API_GetMetricStatistics.html",
    ),
    Reason(
        Kind.AWS,
        "a metric is listed once, however many values it has",
        ("*::test_list_metrics", "*::test_list_metrics_paginated"),
        f"{_CLOUDWATCH}/API_ListMetrics.html",
    ),
    Reason(
        Kind.AWS,
        "a new alarm is in INSUFFICIENT_DATA; in moto it is OK",
        ("*::test_alarm_state", "*::test_put_metric_alarm", "*::test_put_metric_alarm_with_percentile"),
        f"{_CLOUDWATCH}/API_PutMetricAlarm.html",
    ),
    Reason(
        Kind.AWS,
        "the time of a log event is a whole number of milliseconds; the test wants a fraction",
        ("*::test_send_to_cw_log_group",),
        f"{_AWS}/AmazonCloudWatchLogs/latest/APIReference/API_FilteredLogEvent.html",
    ),
    Reason(Kind.LACKING, "alarms on anomaly detection", ("*::test_put_metric_alarm_with_anomaly_detection",)),
    Reason(Kind.LACKING, "Metrics Insights: `SELECT ...`", ("*::test_get_metric_data_with_expressive_expression",)),
    Reason(Kind.LACKING, "S3's daily storage metrics", ("*::test_cloudwatch_return_s3_metrics",)),
    Reason(Kind.LACKING, "two dimensions of one name in a metric", ("*::test_duplicate_put_metric_data",)),
    Reason(
        Kind.LACKING,
        "`AWS::Events::Archive` in templates (the API has archives)",
        (
            "*cloudformation.py::test_create_archive",
            "*cloudformation.py::test_delete_archive",
            "*cloudformation.py::test_update_archive",
        ),
    ),
    Reason(
        Kind.LACKING,
        "delivery streams to elsewhere than S3, or from elsewhere than what is put to them",
        (
            "*::test_create_elasticsearch_delivery_stream",
            "*::test_create_http_stream",
            "*::test_create_iceberg_delivery_stream",
            "*::test_create_redshift_delivery_stream",
            "*::test_create_snowflake_delivery_stream",
            "*::test_describe_delivery_stream",
            "*::test_list_delivery_streams",
            "*::test_put_record_batch_http_destination",
            "*::test_put_record_batch_redshift_destination",
            "*::test_put_record_batch_snowflake_destination",
            "*::test_put_record_http_destination",
            "*::test_put_record_redshift_destination",
            "*::test_put_record_snowflake_destination",
            "*::test_update_destination",
            "*::test_update_iceberg_delivery_stream",
            "*::test_update_s3_for_http_stream",
        ),
    ),
    Reason(
        Kind.WORDS,
        "how the value is shown in the sentence, or in which order the values that may be",
        (
            "*::test_create_archive_error_long_name",
            "*::test_list_replays_error_invalid_state",
            "*::test_put_events_error_too_many_entries",
            "*::test_tag_delivery_stream",
        ),
    ),
)


def reason_of(test: str, reasons: Iterable[Reason] = REASONS) -> Reason | None:
    """Return why a test is to fail; None when nobody knows.

    Examples
    --------
    >>> slow = Reason(Kind.LACKING, "it is slow", ("*::test_slow*",))
    >>> reason_of("tests/a.py::test_slow[1]", [slow]).why, reason_of("tests/a.py::test_fast", [slow])
    ('it is slow', None)
    """
    found = (reason for reason in reasons if any(fnmatchcase(test, _plain(pattern)) for pattern in reason.tests))
    return next(found, None)


def _plain(pattern: str) -> str:
    """Only ``*`` stands for anything: names of tests have brackets."""
    return pattern.replace("[", "[[]")


def table(reasons: Sequence[Reason] = REASONS) -> str:
    """Return the reasons as a table of Markdown, by kind."""
    rows = ["| why | tests | |", "|---|---|---|"]
    for kind in Kind:
        for reason in (one for one in reasons if one.kind is kind):
            names = ", ".join(f"`{pattern.rpartition('::')[2]}`" for pattern in reason.tests)
            page = f" ([AWS]({reason.page}))" if reason.page else ""
            rows.append(f"| {reason.why}{page} | {names} | {reason.kind} |")
    return "\n".join(rows)
