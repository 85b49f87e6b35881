"""Stories about Firehose on the local cloud: buffers, partitions, and what is set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_stacks import START, deploy, pass_time, role

from local_cloud.cloud import LocalCloud
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
