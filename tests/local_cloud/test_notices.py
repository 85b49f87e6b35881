"""Who looks on is told of calls, runs, schedules, alarms and jobs, and never what was asked or answered."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from local_stacks import MEMORY, client, deploy, pass_time, role, write_function

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.notices import Kind, Notice
from local_cloud.server.server import LocalServer

HELLO = Path(__file__).parent / "fixtures" / "hello"
CANARY = "c4n4ry"
TOPIC = "arn:aws:sns:us-east-1:123456789012:told"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@contextmanager
def watched(cloud: LocalCloud) -> Iterator[list[Notice]]:
    """What is told of the cloud meanwhile."""
    notices: list[Notice] = []
    cloud.core.listeners.append(notices.append)
    try:
        yield notices
    finally:
        cloud.core.listeners.remove(notices.append)


def told(notices: list[Notice]) -> list[str]:
    """The lines, without their times."""
    return [" ".join(notice.line[21:].split()) for notice in notices]


def ending_of(ask: Callable[[], Any]) -> str:
    try:
        return str(ask()["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return str(error.response["Error"]["Code"])


def until(check: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@given(st.sampled_from(Kind), st.text(), st.text(), st.text())
def test_whatever_things_are_called_a_notice_is_one_line_of_printable_ascii(
    kind: Kind, who: str, what: str, outcome: str
) -> None:
    line = Notice(NOON, kind, who, what, outcome).line
    assert line.isascii()
    assert line.isprintable()
    assert line.splitlines() == [line]


# -- in this process: before the server, for one cloud is open at a time ----------------------------------------------

SCHEDULED = """
    Events:
      Daily:
        Type: ScheduleV2
        Properties: {Name: daily, ScheduleExpression: rate(1 day), Input: '{}'}
"""
ALARM = """
Ran:
  Type: AWS::CloudWatch::Alarm
  Properties:
    AlarmName: ran
    Namespace: AWS/Lambda
    MetricName: Invocations
    Dimensions: [{Name: FunctionName, Value: !Ref Remember}]
    Statistic: Sum
    Period: 60
    EvaluationPeriods: 1
    Threshold: 1
    ComparisonOperator: GreaterThanOrEqualToThreshold
    TreatMissingData: notBreaching
    AlarmActions: [!GetAtt Remember.Arn]
"""


def test_schedules_alarms_and_their_actions_are_told_in_order(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY, also=SCHEDULED + ALARM) as cloud:
        pass_time(cloud, minutes=10)
        with watched(cloud) as notices:
            pass_time(cloud, days=1)
        function = cloud.resources["Remember"]
    action = f"arn:aws:lambda:us-east-1:123456789012:function:{function}"
    assert told(notices) == [
        "schedule daily fired",
        f"call scheduler lambda:InvokeFunction {function} delivered",
        f"run {function} done",
        "alarm ran OK -> ALARM",
        f"call lambda.alarms.cloudwatch.amazonaws.com lambda:InvokeFunction {function} NO_PERMISSIONS",
        f"alarm ran action {action} failed: NO_PERMISSIONS",
        "alarm ran ALARM -> OK",
    ]
    assert notices[0].time == cloud.clock.now.replace(minute=0)


def test_a_training_job_is_told_from_its_start_to_its_end(tmp_path: Path) -> None:
    also = "Data: {Type: AWS::S3::Bucket}\n" + role("training", "sagemaker", "s3:*")
    with deploy(tmp_path, also) as cloud, watched(cloud) as notices:
        cloud.client("sagemaker").create_training_job(
            TrainingJobName="fraud-1",
            RoleArn="arn:aws:iam::123456789012:role/training",
            AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
            HyperParameters={
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": f"s3://{cloud.resources['Data']}/{CANARY}.tar.gz",
            },
            OutputDataConfig={"S3OutputPath": f"s3://{cloud.resources['Data']}/models"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
        pass_time(cloud, hours=1)
    assert [line for line in told(notices) if line.startswith("job")] == [
        "job fraud-1 InProgress: Starting",
        "job fraud-1 InProgress: Downloading",
        "job fraud-1 Failed",
    ]


def test_a_start_tells_how_far_it_is(tmp_path: Path) -> None:
    write_function(tmp_path, "none", "")
    steps: list[tuple[str, int, int]] = []
    with LocalServer(
        HELLO / "template.yaml", port=0, stack_name="hello", on_progress=lambda *step: steps.append(step)
    ) as server:
        made = len(server.cloud.resources)
    assert steps[0] == ("deploying template.yaml", 0, 0)
    assert [number for _, number, _ in steps[1:]] == list(range(1, made + 1))
    assert {of for _, _, of in steps[1:]} == {made}


# -- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(HELLO / "template.yaml", port=0, stack_name="hello") as server:
        yield server


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "line"),
    [
        ("s3", "list_buckets", {}, "s3:ListBuckets 200"),
        ("s3", "get_object", {"Bucket": "nowhere", "Key": "für/1"}, r"s3:GetObject nowhere/f\xfcr/1 NoSuchBucket"),
        ("s3", "head_object", {"Bucket": "nowhere", "Key": "a"}, "s3:HeadObject nowhere/a 404"),
        ("dynamodb", "describe_table", {"TableName": "gone"}, "dynamodb:DescribeTable gone ResourceNotFoundException"),
        ("sqs", "get_queue_url", {"QueueName": "q"}, "sqs:GetQueueUrl q AWS.SimpleQueueService.NonExistentQueue"),
        ("sns", "publish", {"TopicArn": TOPIC, "Message": "m"}, "sns:Publish told NotFound"),
        ("lambda", "get_function", {"FunctionName": "gone"}, "lambda:GetFunction gone ResourceNotFoundException"),
        ("scheduler", "get_schedule", {"Name": "a"}, "scheduler:GetSchedule default/a ResourceNotFoundException"),
        (
            "cloudwatch",
            "set_alarm_state",
            {"AlarmName": "gone", "StateValue": "OK", "StateReason": "a drill"},
            "cloudwatch:SetAlarmState gone ResourceNotFound",
        ),
        ("sagemaker", "describe_endpoint", {"EndpointName": "e"}, "sagemaker:DescribeEndpoint e ValidationException"),
        ("cloudformation", "describe_stacks", {"StackName": "gone"}, "cloudformation:DescribeStacks ValidationError"),
    ],
)
def test_a_call_is_told_with_its_operation_its_resource_and_how_it_ended(
    server: LocalServer, service: str, operation: str, arguments: dict[str, Any], line: str
) -> None:
    with watched(server.cloud) as notices:
        ended = ending_of(lambda: getattr(client(server, service), operation)(**arguments))
    assert told(notices) == [f"call operator {line}"]
    assert line.endswith(f" {ended}"), "what is told is what the caller got"


def test_a_function_is_told_by_its_name_with_what_it_calls_and_who_woke_it(server: LocalServer) -> None:
    stack = client(server, "cloudformation").describe_stack_resources(StackName="hello")["StackResources"]
    names = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in stack}
    note, bucket = names["NoteFunction"], names["NotesBucket"]
    with watched(server.cloud) as notices:
        entry = {"Source": "hello", "DetailType": "Noted", "Detail": '{"word": "drift"}'}
        event = client(server, "events").put_events(Entries=[entry])["Entries"][0]["EventId"]
        until(lambda: any(line == f"run {note} done" for line in told(notices)))
    lines = told(notices)
    assert [line for line in lines if f"run {note}" not in line] == [
        "call operator events:PutEvents default 200",
        f"call events.amazonaws.com lambda:InvokeFunction {note} delivered",
        f"call {note} s3:PutObject {bucket}/notes/{event}.json 200",
    ]


def test_requests_of_an_api_are_told_by_route_and_a_failing_function_by_the_type_of_its_error(
    server: LocalServer,
) -> None:
    url = server.api_url()
    with watched(server.cloud) as notices:
        urllib.request.urlopen(f"{url}/greet/{CANARY}?{CANARY}=1", timeout=30).read()
        for path in ("greet/nobody", f"nothing/{CANARY}"):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{url}/{path}", timeout=30)
    lines = told(notices)
    assert [line for line in lines if line.startswith("http")] == [
        "http 127.0.0.1 GET /greet/{name} 200",
        "http 127.0.0.1 GET /greet/{name} 500",
        "http 127.0.0.1 GET (no route) 404",
    ]
    assert [line.split()[2:] for line in lines if line.startswith("run")] == [["done"], ["failed:", "ValueError"]]


def test_no_line_holds_what_was_asked_or_answered(server: LocalServer) -> None:
    def asks() -> Iterator[Callable[[], Any]]:
        s3, dynamodb, sqs = client(server, "s3"), client(server, "dynamodb"), client(server, "sqs")
        sns, events, cloudwatch = client(server, "sns"), client(server, "events"), client(server, "cloudwatch")
        key = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
        types = [{"AttributeName": "id", "AttributeType": "S"}]
        dynamodb.create_table(TableName="rows", AttributeDefinitions=types, **key)
        s3.create_bucket(Bucket="rows")
        queue, topic = sqs.create_queue(QueueName="rows")["QueueUrl"], sns.create_topic(Name="rows")["TopicArn"]
        item = {"id": {"S": CANARY}, "x": {"S": CANARY}}
        write = {"Put": {"TableName": "rows", "Item": item, "ConditionExpression": "attribute_not_exists(id)"}}
        yield lambda: dynamodb.put_item(TableName="rows", Item=item)
        yield lambda: dynamodb.get_item(TableName="rows", Key={"id": {"S": CANARY}})
        yield lambda: dynamodb.query(
            TableName="rows", KeyConditionExpression="id = :i", ExpressionAttributeValues={":i": {"S": CANARY}}
        )
        yield lambda: dynamodb.transact_write_items(TransactItems=[write])
        yield lambda: dynamodb.batch_write_item(RequestItems={"rows": [{"PutRequest": {"Item": item}}]})
        yield lambda: dynamodb.execute_statement(Statement=f"SELECT * FROM rows WHERE id = '{CANARY}'")
        yield lambda: s3.put_object(Bucket="rows", Key="k", Body=CANARY.encode(), Metadata={"m": CANARY})
        yield lambda: s3.put_object_tagging(Bucket="rows", Key="k", Tagging={"TagSet": [{"Key": "k", "Value": CANARY}]})
        yield lambda: s3.get_object(Bucket="rows", Key="k")
        yield lambda: sqs.send_message(QueueUrl=queue, MessageBody=CANARY)
        yield lambda: sqs.receive_message(QueueUrl=queue)
        yield lambda: sqs.delete_message(QueueUrl=queue, ReceiptHandle=CANARY)
        yield lambda: sns.publish(TopicArn=topic, Message=CANARY, Subject=CANARY)
        yield lambda: sns.publish(PhoneNumber=f"+1{CANARY}", Message=CANARY)
        yield lambda: events.put_events(Entries=[{"Source": CANARY, "DetailType": CANARY, "Detail": f'"{CANARY}"'}])
        yield lambda: cloudwatch.put_metric_data(Namespace=CANARY, MetricData=[{"MetricName": CANARY, "Value": 1}])
        yield lambda: client(server, "ssm").put_parameter(Name="p", Value=CANARY, Type="String")
        yield lambda: client(server, "secretsmanager").create_secret(Name="s", SecretString=CANARY)
        yield lambda: client(server, "lambda").invoke(FunctionName=CANARY * 20, Payload=json.dumps({"name": CANARY}))
        yield lambda: client(server, "scheduler").list_schedules(NamePrefix=CANARY, NextToken=CANARY)
        yield lambda: client(server, "kms").encrypt(KeyId="alias/gone", Plaintext=CANARY.encode())
        yield lambda: client(server, "sts").get_access_key_info(AccessKeyId=CANARY * 4)

    with watched(server.cloud) as notices:
        asked = 0
        for ask in asks():
            ending_of(ask)  # a refusal quotes what it refuses: its line must not
            asked += 1
        until(lambda: len(notices) >= asked)
    lines = [line for line in told(notices) if "lambda:Invoke" not in line]  # there the canary is the resource's name
    assert not [line for line in lines if CANARY in line]
    assert len(lines) > asked - 2


def test_a_request_that_nobody_signed_is_told_too(server: LocalServer) -> None:
    with watched(server.cloud) as notices, pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{server.url}/{CANARY}/{CANARY}", timeout=30)
    assert told(notices) == ["call anonymous GET (unsigned) 404"]
