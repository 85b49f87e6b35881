"""Stories about Firehose on the local cloud: buffers, partitions, and what is set aside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from local_stacks import START, deploy, pass_time, role

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.core import FirehoseQuota
from local_cloud.kernel.errors import UnsupportedResourceError

STREAM = """
Data: {Type: AWS::S3::Bucket}
Stream:
  Type: AWS::KinesisFirehose::DeliveryStream
  Properties:
    DeliveryStreamName: captures
    ExtendedS3DestinationConfiguration:
      BucketARN: !GetAtt Data.Arn
      RoleARN: arn:aws:iam::123456789012:role/firehose
      BufferingHints: {IntervalInSeconds: 300, SizeInMBs: 1}
      FileExtension: .jsonl
      Prefix: "captures/!{partitionKeyFromQuery:model}/!{partitionKeyFromQuery:variant}/!{timestamp:yyyy/MM/dd/HH}/"
      ErrorOutputPrefix: "quarantine/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/"
      DynamicPartitioningConfiguration: {Enabled: true}
      ProcessingConfiguration:
        Enabled: true
        Processors:
          - Type: MetadataExtraction
            Parameters:
              - {ParameterName: MetadataExtractionQuery, ParameterValue: "{model:.m.name,variant:.m.variant}"}
              - {ParameterName: JsonParsingEngine, ParameterValue: JQ-1.6}
          - Type: AppendDelimiterToRecord
            Parameters: [{ParameterName: Delimiter, ParameterValue: "\\\\n"}]
"""
STREAM += role("firehose", "firehose", "s3:PutObject")


def put(cloud: Any, *records: Any) -> None:
    data = [{"Data": json.dumps(r).encode() if not isinstance(r, bytes) else r} for r in records]
    answer = cloud.client("firehose").put_record_batch(DeliveryStreamName="captures", Records=data)
    assert answer["FailedPutCount"] == 0
    assert len(answer["RequestResponses"]) == len(records)


def objects(cloud: Any) -> dict[str, list[str]]:
    s3, bucket = cloud.client("s3"), cloud.resources["Data"]
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines() for key in keys}


def row(model: str, n: int, variant: str = "production") -> dict[str, Any]:
    return {"m": {"name": model, "variant": variant}, "n": n}


def test_records_are_written_by_partition_when_the_buffer_is_old_enough(tmp_path: Path) -> None:
    with deploy(tmp_path, STREAM) as cloud:
        pass_time(cloud, hours=9, minutes=58)
        put(cloud, row("fraud", 1), row("churn", 2))
        pass_time(cloud, seconds=200)
        put(cloud, row("fraud", 3), row("fraud", 4, "shadow"))
        assert objects(cloud) == {}
        pass_time(cloud, seconds=100)
        found = objects(cloud)
        assert [key.rsplit("/", 1)[0] for key in found] == [
            "captures/churn/production/2026/01/01/09",
            "captures/fraud/production/2026/01/01/09",  # the hour in which the buffer was opened
        ]
        [key] = [key for key in found if "fraud" in key]
        assert [json.loads(line)["n"] for line in found[key]] == [1, 3]
        assert key.rsplit("/", 1)[1].startswith("captures-1-2026-01-01-10-03-00-")
        assert key.endswith(".jsonl")
        pass_time(cloud, seconds=300)
        assert any("/fraud/shadow/2026/01/01/10/" in key for key in objects(cloud))


def test_a_full_buffer_is_written_at_once(tmp_path: Path) -> None:
    with deploy(tmp_path, STREAM) as cloud:
        for n in range(4):
            put(cloud, {**row("fraud", n), "filler": "x" * 300_000})
        assert [len(lines) for lines in objects(cloud).values()] == [4]


def test_drain_writes_what_is_left(tmp_path: Path) -> None:
    with deploy(tmp_path, STREAM) as cloud:
        put(cloud, row("fraud", 1))
        cloud.drain()
        assert len(objects(cloud)) == 1
        pass_time(cloud, hours=1)
        assert len(objects(cloud)) == 1


def test_a_record_without_its_partition_key_is_set_aside(tmp_path: Path) -> None:
    with deploy(tmp_path, STREAM) as cloud:
        put(cloud, {"m": {"name": "fraud"}}, b"not json", row("fraud", 1))
        cloud.drain()
        found = objects(cloud)
        [key] = [key for key in found if key.startswith("quarantine/metadata-extraction-failed/2026/01/01/00/")]
        reasons = [json.loads(line)["errorMessage"] for line in found[key]]
        assert reasons == ["partition key variant was not found in the record", "the record is not JSON"]


def test_more_jq_than_plain_paths_is_refused_at_deploy(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedResourceError, match=r"Stream \(AWS::KinesisFirehose::DeliveryStream\).*plain paths"):
        deploy(tmp_path, STREAM.replace(".m.variant", ".m.variant|ascii_downcase"))


def test_a_stream_to_elsewhere_than_s3_is_refused_when_it_is_made_not_when_it_is_used() -> None:
    role_arn = "arn:aws:iam::123456789012:role/firehose"
    to_s3 = {"RoleARN": role_arn, "BucketARN": "arn:aws:s3:::data"}
    elsewhere = {"EndpointConfiguration": {"Url": "https://example.org"}, "S3Configuration": to_s3}
    with LocalCloud(START) as cloud:
        firehose = cloud.client("firehose")
        with pytest.raises(ClientError, match="deliver to S3 alone") as refused:
            firehose.create_delivery_stream(
                DeliveryStreamName="captures", HttpEndpointDestinationConfiguration=elsewhere
            )
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        with pytest.raises(ClientError, match="not KinesisStreamAsSource"):
            firehose.create_delivery_stream(
                DeliveryStreamName="captures",
                DeliveryStreamType="KinesisStreamAsSource",
                ExtendedS3DestinationConfiguration=to_s3,
            )
        assert firehose.list_delivery_streams()["DeliveryStreamNames"] == []
        firehose.create_delivery_stream(DeliveryStreamName="captures", ExtendedS3DestinationConfiguration=to_s3)


@pytest.fixture(scope="module")
def throttled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cloud with the stream, and a client that tries nothing again by itself."""
    with deploy(tmp_path_factory.mktemp("stream"), STREAM) as cloud:
        yield cloud, boto3.client("firehose", "us-east-1", config=Config(retries={"total_max_attempts": 1}))


@given(
    calls=st.lists(
        st.tuples(st.integers(0, 1_500), st.lists(st.integers(2, 400), min_size=1, max_size=12)), max_size=20
    ),
    quota=st.builds(FirehoseQuota, st.integers(100, 900), st.integers(1, 12), st.integers(1, 3)),
)
@settings(max_examples=40, deadline=None)
def test_a_stream_takes_no_more_a_second_than_its_quota_and_says_what_it_refused(
    throttled: Any, calls: list[tuple[int, list[int]]], quota: FirehoseQuota
) -> None:
    cloud, firehose = throttled
    cloud.options.firehose_quota = quota
    cloud.advance(cloud.clock.now + timedelta(seconds=2))
    taken: dict[int, list[int]] = {}
    asked: Counter[int] = Counter()
    for milliseconds, sizes in calls:
        cloud.advance(cloud.clock.now + timedelta(milliseconds=milliseconds))
        second = int(cloud.clock.now.timestamp())
        records = [{"Data": b"1" * size} for size in sizes]
        try:
            answer = firehose.put_record_batch(DeliveryStreamName="captures", Records=records)
        except firehose.exceptions.ServiceUnavailableException:
            assert asked[second] == quota.calls
            continue
        asked[second] += 1
        refused = ["ErrorCode" in each for each in answer["RequestResponses"]]
        assert (len(refused), answer["FailedPutCount"]) == (len(sizes), refused.count(True))
        taken.setdefault(second, []).extend(size for size, no in zip(sizes, refused, strict=True) if not no)
        room = quota.size_bytes - sum(taken[second])
        full = len(taken[second]) == quota.records
        assert all(full or size > room for size, no in zip(sizes, refused, strict=True) if no)
    for sizes in taken.values():
        assert sum(sizes) <= quota.size_bytes
        assert len(sizes) <= quota.records
    assert max(asked.values(), default=0) <= quota.calls


def test_no_quota_is_enforced_unless_it_is_asked_for(throttled: Any) -> None:
    cloud, firehose = throttled
    cloud.options.firehose_quota = None
    for _ in range(3):
        answer = firehose.put_record_batch(DeliveryStreamName="captures", Records=[{"Data": b"1" * 900_000}] * 4)
        assert answer["FailedPutCount"] == 0
