"""Small stacks for the stories about the local cloud: write functions and a template into a folder, deploy them."""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.place import DEFAULT_REGION
from local_cloud.server.server import LocalServer

START = datetime(2026, 1, 1, 0, 0, tzinfo=UTC)

REMEMBER = """
    import json, os, boto3

    def handler(event, context):
        s3 = boto3.client("s3")
        count = len(s3.list_objects_v2(Bucket=os.environ["MEMORY"]).get("Contents", []))
        s3.put_object(Bucket=os.environ["MEMORY"], Key=f"{count:04d}.json", Body=json.dumps(event))
        if "told to fail" in json.dumps(event):
            raise ValueError("told to fail")
        return {"remembered": count + 1}
"""
"""A function that keeps each event it sees, and fails when an event says so."""

MEMORY = """
Memory:
  Type: AWS::S3::Bucket
Remember:
  Type: AWS::Serverless::Function
  Properties:
    CodeUri: functions/remember
    Environment: {Variables: {MEMORY: !Ref Memory}}
    Policies: [{S3CrudPolicy: {BucketName: !Ref Memory}}]
"""
"""A bucket, and the function that remembers in it: add ``Events`` and more below it, indented by four."""


def role(name: str, service: str, *actions: str) -> str:
    """Return a role of a service that may do ``actions`` to anything, as YAML; its ARN ends in ``role/NAME``."""
    return f"""
{name.capitalize()}Role:
  Type: AWS::IAM::Role
  Properties:
    RoleName: {name}
    AssumeRolePolicyDocument:
      Version: '2012-10-17'
      Statement: [{{Effect: Allow, Principal: {{Service: {service}.amazonaws.com}}, Action: sts:AssumeRole}}]
    Policies:
      - PolicyName: work
        PolicyDocument:
          Version: '2012-10-17'
          Statement: [{{Effect: Allow, Action: [{", ".join(repr(action) for action in actions)}], Resource: '*'}}]
"""


def opened(queue: str, *services: str) -> str:
    """Return the policy of a queue that lets services in, as YAML."""
    principals = ", ".join(f"{service}.amazonaws.com" for service in services)
    return f"""
{queue}Policy:
  Type: AWS::SQS::QueuePolicy
  Properties:
    Queues: [!Ref {queue}]
    PolicyDocument:
      Version: '2012-10-17'
      Statement:
        - Effect: Allow
          Principal: {{Service: [{principals}]}}
          Action: sqs:SendMessage
          Resource: !GetAtt {queue}.Arn
          Condition: {{StringEquals: {{aws:SourceAccount: !Ref AWS::AccountId}}}}
"""


def allow(cloud: LocalCloud, name: str, *actions: str) -> None:
    """Make a role of SageMaker or the Scheduler that may do ``actions`` to anything; its ARN ends in ``role/NAME``."""
    iam, services = cloud.client("iam"), ["sagemaker.amazonaws.com", "scheduler.amazonaws.com"]
    trust = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))
    work = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    iam.put_role_policy(RoleName=name, PolicyName="work", PolicyDocument=_policy(work))


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def write_function(folder: Path, name: str, source: str) -> Path:
    """Write ``functions/<name>/app.py`` under ``folder``."""
    directory = folder / "functions" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "app.py").write_text(textwrap.dedent(source))
    return directory


def write_template(folder: Path, resources: str, outputs: str = "", extra: str = "") -> Path:
    """Write a SAM template with the given resources and outputs (YAML, not indented)."""
    text = (
        "AWSTemplateFormatVersion: '2010-09-09'\n"
        "Transform: AWS::Serverless-2016-10-31\n"
        "Globals:\n"
        "  Function: {Runtime: python3.13, Handler: app.handler, Timeout: 10}\n"
        + textwrap.dedent(extra)
        + "Resources:\n"
        + textwrap.indent(textwrap.dedent(resources), "  ")
    )
    if outputs:
        text += "\nOutputs:\n" + textwrap.indent(textwrap.dedent(outputs), "  ")
    path = folder / "template.yaml"
    path.write_text(text)
    return path


def deploy(
    folder: Path, resources: str, outputs: str = "", extra: str = "", also: str = "", **options: Any
) -> LocalCloud:
    """Write a template beside the functions and deploy it at midnight of 1 January 2026."""
    resources = textwrap.dedent(resources) + also
    if "functions/remember" in resources:
        write_function(folder, "remember", REMEMBER)
    return LocalCloud.deploy(write_template(folder, resources, outputs, extra), start=START, **options)


def remembered(cloud: LocalCloud) -> list[Any]:
    """What the remembering function has seen, oldest first."""
    s3, bucket = cloud.client("s3"), cloud.resources["Memory"]
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return [json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in sorted(keys)]


def messages(cloud: LocalCloud, queue: str) -> list[dict[str, Any]]:
    """What waits in a queue (its logical id), without taking it."""
    found = cloud.client("sqs").receive_message(
        QueueUrl=cloud.resources[queue], MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"]
    )
    waiting: list[dict[str, Any]] = found.get("Messages", [])
    return waiting


def pass_time(cloud: LocalCloud, **amount: float) -> None:
    """Let time pass."""
    cloud.advance(cloud.clock.now + timedelta(**amount))


def client(server: LocalServer, service: str) -> Any:
    """A client as any caller of a served cloud has one; a call that fails is not tried again."""
    return client_at(server.url, service, server.cloud.place.region)


def client_at(url: str, service: str, region: str = DEFAULT_REGION) -> Any:
    """A client of a cloud that another process serves."""
    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]
        endpoint_url=url,
        region_name=region,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, proxies={}, read_timeout=120),
    )
