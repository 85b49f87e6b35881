"""A cloud in which training jobs run: its bucket, its scripts, and a queue that hears of every change of a job."""

from __future__ import annotations

import io
import json
import tarfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from local_stacks import opened, role
from samtranslator.yaml_helper import yaml_parse

from local_cloud.cloud import LocalCloud

START = datetime(2013, 1, 1, tzinfo=UTC)
BUCKET = "training-bucket"
QUEUE = "job-events"
ROLE = "arn:aws:iam::123456789012:role/training"

TIDIES_UP = """
import os, pathlib, signal, sys, time
def stop(*_):
    pathlib.Path(os.environ["SM_MODEL_DIR"], "partial.txt").write_text("so far")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(300)
"""

TEMPLATE = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Resources": {
        "Events": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": QUEUE}},
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}},
        "Rule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "EventPattern": {
                    "source": ["aws.sagemaker"],
                    "detail-type": ["SageMaker Training Job State Change"],
                },
                "Targets": [{"Id": "queue", "Arn": {"Fn::GetAtt": ["Events", "Arn"]}}],
            },
        },
        **yaml_parse(opened("Events", "events")),
        **yaml_parse(role("training", "sagemaker", "s3:GetObject", "s3:ListBucket", "s3:PutObject", "logs:*")),
    },
}


@dataclass
class World:
    """A cloud with a bucket, and a queue that hears of every change of a job."""

    cloud: LocalCloud
    names: list[str] = field(default_factory=list)

    def given_script(self, code: str) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            member = tarfile.TarInfo("train.py")
            member.size = len(code.encode())
            archive.addfile(member, io.BytesIO(code.encode()))
        self.put("source/sourcedir.tar.gz", packed.getvalue())

    def given_rows(self, *names: str) -> None:
        for name in names:
            self.put(f"rows/{name}", name.encode())

    def put(self, key: str, body: bytes) -> None:
        self.cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        body: bytes = self.cloud.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def when_started(self, name: str = "fraud-1", **changes: Any) -> None:
        request: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "accuracy", "Regex": "accuracy=([0-9.]+)"}],
            },
            "HyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": f"s3://{BUCKET}/source/sourcedir.tar.gz",
            },
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/models"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            **changes,
        }
        self.cloud.client("sagemaker").create_training_job(**request)

    def when_it_ends(self) -> None:
        self.cloud.advance(self.cloud.clock.now + timedelta(hours=1))

    def job(self, name: str = "fraud-1") -> Any:
        return self.cloud.client("sagemaker").describe_training_job(TrainingJobName=name)

    def model(self, name: str = "fraud-1") -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(self.get(f"models/{name}/output/model.tar.gz"))) as archive:
            return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]

    def events(self) -> list[dict[str, Any]]:
        sqs = self.cloud.client("sqs")
        url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        heard = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            heard += [json.loads(message["Body"]) for message in messages]
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return heard

    def log(self, name: str = "fraud-1") -> list[str]:
        logs = self.cloud.client("logs")
        group = "/aws/sagemaker/TrainingJobs"
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
        found = logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"])
        return [event["message"] for event in found["events"]]


def wait_for_output(world: World, words: str = "") -> str:
    """Wait until the running script has printed, so that what follows does not depend on how fast it started."""
    (run,) = world.cloud.training_jobs._runs.values()
    for _ in range(400):
        if (text := run.container.log_text()) and words in text:
            return text
        time.sleep(0.025)
    raise AssertionError(f"the script never printed {words!r}")
