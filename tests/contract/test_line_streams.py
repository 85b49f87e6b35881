"""Captures and labels on their way into a Firehose stream that takes only so much a second."""

import itertools
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from local_stacks import START

from evergreen.aws.senders import FirehoseLines
from evergreen.formats.captures import Capture, capture_line
from evergreen.formats.request_ids import uuid7
from local_cloud.cloud import LocalCloud
from local_cloud.kernel.core import FirehoseQuota

ROLE = {
    "AssumeRolePolicyDocument": {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "firehose.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    },
    "Policies": [
        {
            "PolicyName": "write",
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}],
            },
        }
    ],
}
NEWLINES = {"Type": "AppendDelimiterToRecord", "Parameters": [{"ParameterName": "Delimiter", "ParameterValue": "\\n"}]}
DESTINATION = {
    "BucketARN": {"Fn::GetAtt": ["Data", "Arn"]},
    "RoleARN": {"Fn::GetAtt": ["Role", "Arn"]},
    "BufferingHints": {"IntervalInSeconds": 60, "SizeInMBs": 64},
    "ProcessingConfiguration": {"Enabled": True, "Processors": [NEWLINES]},
}
TEMPLATE = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Resources": {
        "Data": {"Type": "AWS::S3::Bucket"},
        "Role": {"Type": "AWS::IAM::Role", "Properties": ROLE},
        "Stream": {
            "Type": "AWS::KinesisFirehose::DeliveryStream",
            "Properties": {"DeliveryStreamName": "lines", "ExtendedS3DestinationConfiguration": DESTINATION},
        },
    },
}
numbers = itertools.count()


class Stream:
    """A stream of the local cloud, and what it has delivered; a sender's waits pass on the cloud's clock."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.client = boto3.client("firehose", "us-east-1", config=Config(retries={"total_max_attempts": 1}))
        self.waited = 0.0

    def sender(self, patience_seconds):
        return FirehoseLines(self.client, "lines", patience_seconds=patience_seconds, sleep=self._wait)

    def _wait(self, seconds):
        self.waited += seconds
        self.cloud.advance(self.cloud.clock.now + timedelta(seconds=seconds))

    def quiet(self, quota):
        """A second in which nothing was sent yet."""
        self.cloud.options.firehose_quota = quota
        self.waited = 0.0
        self._wait(2)
        self.waited = 0.0

    def delivered(self):
        self.cloud.drain()
        s3, bucket = self.cloud.client("s3"), self.cloud.resources["Data"]
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        found = Counter(b"".join(s3.get_object(Bucket=bucket, Key=k)["Body"].read() for k in keys).splitlines())
        for key in keys:
            s3.delete_object(Bucket=bucket, Key=key)
        return found


@pytest.fixture(scope="module")
def stream():
    with LocalCloud(START) as cloud:
        cloud.deploy_stack(TEMPLATE, stack_name="lines")
        yield Stream(cloud)


def lines(sizes):
    """Lines of these sizes, no two alike."""
    return [f"{next(numbers):08}".encode().ljust(size, b".") for size in sizes]


quotas = st.builds(FirehoseQuota, st.integers(2_000, 20_000), st.integers(1, 60), st.integers(1, 4))


@given(st.lists(st.integers(8, 1_500), min_size=1, max_size=60), quotas, st.floats(0, 3))
@settings(max_examples=30, deadline=None)
def test_each_line_is_delivered_once_or_named_as_refused(stream, sizes, quota, patience_seconds):
    stream.quiet(quota)
    given_lines = lines(sizes)
    refused = set(stream.sender(patience_seconds).put(given_lines))
    assert stream.delivered() == Counter(line for place, line in enumerate(given_lines) if place not in refused)
    assert stream.waited <= patience_seconds + 1e-6
    if refused:
        assert stream.waited > patience_seconds - 1e-6, "all its patience was used"


def test_a_burst_of_three_seconds_worth_is_taken_by_who_has_ten_seconds(stream):
    stream.quiet(FirehoseQuota(size_bytes=10_000))
    burst = lines([1_000] * 30)
    assert stream.sender(10).put(burst) == []
    assert stream.delivered() == Counter(burst)
    assert 1 < stream.waited < 5


def test_what_no_record_can_hold_is_refused_at_once(stream):
    stream.quiet(None)
    long, short = lines([1_100_000, 10])
    assert stream.sender(10).put([long, short]) == [0]
    assert stream.waited == 0
    assert stream.delivered() == Counter([short])


def test_any_other_error_than_too_much_is_the_callers(stream):
    with pytest.raises(stream.client.exceptions.ResourceNotFoundException):
        FirehoseLines(stream.client, "nobodys", patience_seconds=1, sleep=stream._wait).put([b"1"])


@pytest.mark.parametrize(("region", "mebibytes"), [("us-east-1", 5), ("eu-central-1", 1)])
def test_the_rows_a_second_that_are_said_are_those_that_a_stream_takes(region, mebibytes):
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    (row,) = re.findall(rf"^\| [^|]*{region}[^|]* \| {mebibytes} MiB[^|]* \|(.*)\|$", page, re.M)
    told = [int(figure.replace(",", "")) for figure in row.split("|")]
    time = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    for features, rows in zip((5, 20, 100), told, strict=True):
        named = {f"feature_{n:02}": 10 + n / 7 for n in range(features)}
        row_of = {name: round(value, 4) for name, value in named.items()}
        capture = Capture(uuid7(time, 5), time, 12, row_of, "1", {"0": 0.2731, "1": 0.7269})
        takes = mebibytes * 1_048_576 / len(capture_line(capture, model="late_flights", variant="production"))
        assert 0.8 * takes < rows <= takes
