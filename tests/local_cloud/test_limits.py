"""What AWS refuses whoever asks: values that its models rule out, and what is larger than its quotas."""

from __future__ import annotations

import io
import json
import re
import string
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from botocore.exceptions import ClientError
from botocore.model import OperationModel, StringShape, StructureShape
from hypothesis import given
from hypothesis import strategies as st
from local_stacks import MEMORY, START, client, deploy, write_function
from moto.core.utils import get_service_model

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.errors import TemplateError
from local_cloud.server.server import LocalServer
from local_cloud.services.limits.constraints import compiled, violations
from local_cloud.services.limits.keeper import refused
from local_cloud.services.limits.quotas import QUOTAS, size

README = Path(__file__).parents[2] / "infra" / "local_cloud" / "README.md"
HELLO = Path(__file__).parent / "fixtures" / "hello"
MIB = 1_048_576
SERVICES = ("cloudwatch", "dynamodb", "events", "firehose", "lambda", "logs", "pipes", "sagemaker", "scheduler")


# --- what models rule out ---------------------------------------------------------------------------------------------


def constrained_texts() -> list[tuple[str, str, str]]:
    """Each text at the top of a call whose length or pattern a model limits: service, operation, member."""
    found = []
    for service in SERVICES:
        model = get_service_model(service)
        for operation in model.operation_names:
            shape = model.operation_model(operation).input_shape
            for name, member in shape.members.items() if isinstance(shape, StructureShape) else ():
                if isinstance(member, StringShape) and ("max" in member.metadata or "pattern" in member.metadata):
                    found.append((service, operation, name))
    return found


TEXTS = constrained_texts()


def model_of(service: str, operation: str) -> OperationModel:
    return get_service_model(service).operation_model(operation)


@given(st.sampled_from(TEXTS), st.text(string.printable, max_size=80), st.integers(0, 3))
def test_a_text_is_refused_just_when_its_model_rules_it_out(
    which: tuple[str, str, str], text: str, times_too_long: int
) -> None:
    service, operation, name = which
    told = model_of(service, operation).input_shape.members[name]
    most, least = told.metadata.get("max", 10_000), told.metadata.get("min", 0)
    text = (text or "x") * (1 + times_too_long * (1 + most // max(1, len(text)))) if most < 3_000 else text
    pattern = compiled(told.metadata["pattern"]) if "pattern" in told.metadata else None
    fits = least <= len(text) <= most
    fits = fits and (pattern is None or pattern.fullmatch(text) is not None) and (not told.enum or text in told.enum)
    assert (violations(model_of(service, operation), {name: text}) == []) is fits


def test_every_wrong_value_is_named_by_its_place() -> None:
    params = {
        "TrainingJobName": "-odd",
        "HyperParameters": {"long": "x" * 2_501},
        "Tags": [{"Key": "fine", "Value": ""}, {"Key": "k" * 129, "Value": "v"}],
        "StoppingCondition": {"MaxRuntimeInSeconds": 0},
    }
    told = refused("sagemaker", "CreateTrainingJob", params)
    assert told is not None
    assert told.code == "ValidationException"
    assert told.message.startswith("4 validation errors detected: Value '-odd' at 'trainingJobName' failed to satisfy")
    assert re.findall(r" at '([^']+)'", told.message) == [
        "trainingJobName",
        "hyperParameters.long.member",
        "stoppingCondition.maxRuntimeInSeconds",
        "tags.2.member.key",
    ]


def test_what_a_value_is_not_shown_whole_or_at_all() -> None:
    long, blob = (
        refused("events", "PutRule", {"Name": "n" * 500}),
        refused("firehose", "PutRecord", {"DeliveryStreamName": "captures", "Record": {"Data": b"secret" * 200_000}}),
    )
    assert long is not None
    assert blob is not None
    assert "n" * 101 not in long.message
    assert "secret" not in blob.message


# --- quotas -----------------------------------------------------------------------------------------------------------

OF_QUOTAS: dict[tuple[str, str, int], Any] = {
    ("lambda", "Invoke", 6_291_456): lambda n: {"FunctionName": "f", "Payload": b"x" * n},
    ("lambda", "Invoke", MIB): lambda n: {"FunctionName": "f", "Payload": b"x" * n, "InvocationType": "Event"},
    ("lambda", "CreateFunction", 4_096): lambda n: {"Environment": {"Variables": {"LONG": "x" * (n - 11)}}},
    ("lambda", "UpdateFunctionConfiguration", 4_096): lambda n: {
        "FunctionName": "f",
        "Environment": {"Variables": {"LONG": "x" * (n - 11)}},
    },
    ("events", "PutEvents", MIB): lambda n: {"Entries": [{"Source": "s", "DetailType": "d", "Detail": "x" * (n - 2)}]},
    ("sqs", "SendMessage", MIB): lambda n: {"QueueUrl": "u", "MessageBody": "x" * n},
    ("sqs", "SendMessageBatch", MIB): lambda n: {
        "QueueUrl": "u",
        "Entries": [{"Id": "1", "MessageBody": "x" * 1_000}, {"Id": "2", "MessageBody": "x" * (n - 1_000)}],
    },
    ("sns", "Publish", 256 * 1_024): lambda n: {"TopicArn": "t", "Message": "x" * n},
    ("firehose", "PutRecordBatch", 4 * MIB): lambda n: {
        "DeliveryStreamName": "s",
        "Records": [{"Data": b"x" * (n // 8)}] * 7 + [{"Data": b"x" * (n - 7 * (n // 8))}],
    },
    ("dynamodb", "TransactWriteItems", 4 * MIB): lambda n: {
        "TransactItems": [{"Put": {"TableName": "table", "Item": {"pk": {"S": "x" * (n - 20)}}}}]
    },
    ("cloudwatch", "PutMetricData", 1_000): lambda n: {"Namespace": "N", "MetricData": [{"MetricName": "M"}] * n},
}


@pytest.mark.parametrize("quota", QUOTAS, ids=lambda quota: f"{quota.service}-{quota.operation}-{quota.most}")
def test_the_most_of_a_quota_may_be_and_one_more_may_not(quota: Any) -> None:
    params = OF_QUOTAS[quota.service, quota.operation, quota.most]
    most = next(n for n in range(quota.most + 40, 0, -1) if quota.counted(params(n)) == quota.most)
    assert refused(quota.service, quota.operation, params(most)) is None
    told = refused(quota.service, quota.operation, params(most + 1))
    assert told is not None
    assert (told.code, told.message, told.status) == (quota.code, quota.message, quota.status)


def test_the_table_of_the_readme_has_each_quota() -> None:
    table = README.read_text().partition("## What AWS refuses whoever asks")[2].partition("\n## ")[0]
    for quota in QUOTAS:
        call = f"`{quota.service}:{quota.operation}`"
        rows = [line for line in table.splitlines() if call in line and f" {quota.most:,} " in line]
        assert rows, f"{call} has no row with {quota.most:,}"
        assert all("https://docs.aws.amazon.com/" in row for row in rows)


@given(st.one_of(st.text(), st.binary()))
def test_a_size_is_that_of_what_is_sent(content: str | bytes) -> None:
    body = content.encode() if isinstance(content, str) else content
    stream = io.BytesIO(body)
    stream.seek(len(body) // 2)
    assert size(content) == len(body)
    assert size(stream) == len(body) - len(body) // 2
    assert stream.tell() == len(body) // 2


# --- in a cloud -------------------------------------------------------------------------------------------------------

LARGE = """
    def handler(event, context):
        return "x" * event["size"]
"""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    write_function(tmp_path, "large", LARGE)
    function = "Large:\n  Type: AWS::Serverless::Function\n  Properties: {CodeUri: functions/large}\n"
    with deploy(tmp_path, function) as cloud:
        yield cloud


def test_a_function_may_answer_six_megabytes_and_no_more(cloud: LocalCloud) -> None:
    function = cloud.resources["Large"]
    invoke = cloud.client("lambda").invoke
    whole = invoke(FunctionName=function, Payload=json.dumps({"size": 6_291_554}))
    assert "FunctionError" not in whole
    over = invoke(FunctionName=function, Payload=json.dumps({"size": 6_291_555}))
    assert over["FunctionError"] == "Unhandled"
    assert json.loads(over["Payload"].read())["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_client_is_told_in_process_what_it_is_told_by_aws(cloud: LocalCloud) -> None:
    with pytest.raises(ClientError, match="Member must have length less than or equal to 64") as told:
        cloud.client("events").put_rule(Name="n" * 65, ScheduleExpression="rate(1 day)")
    assert told.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(cloud.client("lambda").exceptions.RequestTooLargeException):
        cloud.client("lambda").invoke(FunctionName=cloud.resources["Large"], Payload=b"1" * 6_291_457)


def test_a_template_with_too_long_an_environment_is_refused_with_the_size_and_what_to_do(tmp_path: Path) -> None:
    template = MEMORY.replace("{MEMORY: !Ref Memory}", "{MEMORY: !Ref Memory, LONG: " + "x" * 4_096 + "}")
    with pytest.raises(
        TemplateError, match=r"Remember: its environment variables take 4,1\d\d bytes.*put what is long"
    ):
        deploy(tmp_path, template)


def test_the_server_answers_as_aws_does() -> None:
    with LocalServer(HELLO / "template.yaml", port=0, stack_name="hello") as server:
        with pytest.raises(ClientError, match="1 validation error detected: Value 'a b' at 'name'"):
            client(server, "scheduler").get_schedule(Name="a b")
        with pytest.raises(ClientError, match="Total size of the entries in the request is over the limit"):
            client(server, "events").put_events(
                Entries=[{"Source": "s", "DetailType": "d", "Detail": json.dumps("x" * MIB)}]
            )
        queue = client(server, "sqs").create_queue(QueueName="queue")["QueueUrl"]
        with pytest.raises(ClientError, match=f"Message must be shorter than {MIB} bytes"):
            client(server, "sqs").send_message(QueueUrl=queue, MessageBody="x" * (MIB + 1))
        client(server, "sqs").send_message(QueueUrl=queue, MessageBody="x" * MIB)
        signed = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=s"
        for scope, target in (("nosuchservice", "Some.Thing"), ("dynamodb", "DynamoDB_20120810.PutItem")):
            headers = {
                "Authorization": signed.format(scope),
                "X-Amz-Target": target,
                "Content-Type": "application/json",
            }
            with pytest.raises(HTTPError) as odd:
                build_opener(ProxyHandler({})).open(Request(server.url, b"{not json", headers))
            assert odd.value.code < 600
        with pytest.raises(HTTPError, match="501"):
            build_opener(ProxyHandler({})).open(f"{server.url}/moto-api/reset", data=b"")


def test_a_schedule_does_not_start_in_the_past(cloud: LocalCloud) -> None:
    target = {"Arn": "arn:aws:sqs:us-east-1:123456789012:q", "RoleArn": "arn:aws:iam::123456789012:role/r"}
    with pytest.raises(ClientError, match="StartDate you specify cannot be earlier than 5 minutes ago"):
        cloud.client("scheduler").create_schedule(
            Name="late",
            ScheduleExpression="rate(1 hour)",
            StartDate=START.replace(year=2025),
            FlexibleTimeWindow={"Mode": "OFF"},
            Target=target,
        )


# --- nothing stands behind it -----------------------------------------------------------------------------------------

PLACE = {"S3OutputPath": "s3://bucket/out"}
ROLE = "arn:aws:iam::123456789012:role/trains"
CLUSTER = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
LACKING: list[tuple[str, str, dict[str, Any]]] = [
    (
        "sagemaker",
        "create_transform_job",
        {
            "TransformJobName": "t",
            "ModelName": "m",
            "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in"}}},
            "TransformOutput": PLACE,
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        },
    ),
    (
        "sagemaker",
        "create_processing_job",
        {
            "ProcessingJobName": "p",
            "ProcessingResources": {"ClusterConfig": CLUSTER},
            "AppSpecification": {"ImageUri": "image"},
            "RoleArn": ROLE,
        },
    ),
    ("sagemaker", "create_pipeline", {"PipelineName": "p", "ClientRequestToken": "x" * 32, "RoleArn": ROLE}),
    (
        "sagemaker",
        "create_monitoring_schedule",
        {
            "MonitoringScheduleName": "m",
            "MonitoringScheduleConfig": {"MonitoringJobDefinitionName": "d", "MonitoringType": "DataQuality"},
        },
    ),
    (
        "lambda",
        "create_function",
        {"FunctionName": "f", "Runtime": "nodejs22.x", "Handler": "a.b", "Role": ROLE, "Code": {"ZipFile": b"x"}},
    ),
    (
        "cloudwatch",
        "put_metric_alarm",
        {
            "AlarmName": "a",
            "EvaluationPeriods": 1,
            "ComparisonOperator": "GreaterThanUpperThreshold",
            "ThresholdMetricId": "band",
        },
    ),
]


@pytest.mark.parametrize(("service", "operation", "params"), LACKING, ids=[operation for _, operation, _ in LACKING])
def test_a_call_that_nothing_stands_behind_is_refused_and_never_completed(
    cloud: LocalCloud, service: str, operation: str, params: dict[str, Any]
) -> None:
    with pytest.raises(ClientError, match=r"local cloud (runs|has|does not run)") as told:
        getattr(cloud.client(service), operation)(**params)
    assert told.value.response["Error"]["Code"] == "NotImplemented"
    assert told.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_an_alarm_without_a_threshold_is_refused_and_the_one_before_it_stays(cloud: LocalCloud) -> None:
    rule: dict[str, Any] = {
        "AlarmName": "errors",
        "Namespace": "N",
        "MetricName": "Errors",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    cloudwatch = cloud.client("cloudwatch")
    cloudwatch.put_metric_alarm(**rule, Threshold=3.0)
    with pytest.raises(ClientError, match="Threshold"):
        cloudwatch.put_metric_alarm(**rule)
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["errors"])["MetricAlarms"]
    assert alarm["Threshold"] == 3.0
    cloud.advance(cloud.clock.now + timedelta(minutes=5))
    assert cloudwatch.describe_alarms(AlarmNames=["errors"])["MetricAlarms"][0]["StateValue"] == "INSUFFICIENT_DATA"


def test_a_message_is_received_with_attributes_that_only_messages_have() -> None:
    """The model lists a queue's attributes for AttributeNames; SQS takes a message's, and old scripts ask for them."""
    names = ["ApproximateReceiveCount", "MessageGroupId", "SentTimestamp"]
    with LocalCloud(START) as cloud:
        sqs = cloud.client("sqs")
        url = sqs.create_queue(QueueName="orders")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="one")
        [message] = sqs.receive_message(QueueUrl=url, AttributeNames=names)["Messages"]
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
        with pytest.raises(ClientError, match=r"at 'attributeNames\.1\.member'"):
            sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["SentTimestamp"])
