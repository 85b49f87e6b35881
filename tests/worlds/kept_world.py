"""A cloud in which anything may have happened, everything that it answers, and the same in another process."""

from __future__ import annotations

import io
import json
import multiprocessing
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local_cloud.cloud import LocalCloud
from local_cloud.server.saved import load, save

START = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/r0"
Step = tuple[str, int, int]
"""What is done, to which of a few resources of its kind, and with which of a few values."""

CODE = """
import boto3, json
def handler(event, context):
    boto3.client("dynamodb").put_item(TableName="t0", Item={"id": {"S": context.aws_request_id}})
    print(json.dumps(event)[:100])
    if event.get("fail"):
        raise RuntimeError("it was to fail")
"""
TEMPLATE = {
    "Resources": {
        "Dead": {"Type": "AWS::SQS::Queue"},
        "Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 2}
            },
        },
        "Topic": {
            "Type": "AWS::SNS::Topic",
            "Properties": {"Subscription": [{"Protocol": "sqs", "Endpoint": {"Fn::GetAtt": ["Queue", "Arn"]}}]},
        },
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "Hourly": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "ScheduleExpression": "rate(1 hour)",
                "Targets": [{"Id": "queue", "Arn": {"Fn::GetAtt": ["Queue", "Arn"]}}],
            },
        },
        "Open": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "Queue"}],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}],
                },
            },
        },
    },
    "Outputs": {"QueueUrl": {"Value": {"Ref": "Queue"}}},
}


def _zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("app.py"), CODE)
    return content.getvalue()


class Kept:
    """A cloud, and the things that can be done to it."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.client = cloud.client

    def do(self, step: Step) -> None:
        """Do one thing; what AWS would refuse is refused here too, and changes nothing."""
        what, which, value = step
        with suppress(ClientError, BotoCoreError):
            getattr(self, what)(which, value)

    # -- what may happen ----------------------------------------------------------------------------------------------

    def pass_time(self, which: int, value: int) -> None:
        self.cloud.advance(self.cloud.clock.now + timedelta(minutes=[1, 7, 61, 180][value % 4]))

    def make_bucket(self, which: int, value: int) -> None:
        s3 = self.client("s3")
        s3.create_bucket(Bucket=f"bucket-{which}")
        s3.put_bucket_versioning(
            Bucket=f"bucket-{which}", VersioningConfiguration={"Status": ["Enabled", "Suspended"][value % 2]}
        )

    def put_object(self, which: int, value: int) -> None:
        self.client("s3").put_object(
            Bucket=f"bucket-{which}",
            Key=f"ü/{value % 3}",
            Body=b"x" * value,
            Metadata={"value": str(value)},
            Tagging=f"a={value}",
        )

    def delete_object(self, which: int, value: int) -> None:
        self.client("s3").delete_object(Bucket=f"bucket-{which}", Key=f"ü/{value % 3}")

    def begin_upload(self, which: int, value: int) -> None:
        upload = self.client("s3").create_multipart_upload(Bucket=f"bucket-{which}", Key="big")["UploadId"]
        self.client("s3").upload_part(
            Bucket=f"bucket-{which}", Key="big", UploadId=upload, PartNumber=1, Body=b"part" * value
        )

    def make_table(self, which: int, value: int) -> None:
        self.client("dynamodb").create_table(
            TableName=f"t{which}",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )

    def put_item(self, which: int, value: int) -> None:
        item = {"id": {"S": str(value % 4)}, "n": {"N": str(value)}, "s": {"SS": ["a", str(value)]}}
        self.client("dynamodb").put_item(TableName=f"t{which}", Item=item)

    def update_item(self, which: int, value: int) -> None:
        self.client("dynamodb").update_item(
            TableName=f"t{which}",
            Key={"id": {"S": str(value % 4)}},
            UpdateExpression="ADD n :n",
            ExpressionAttributeValues={":n": {"N": "1"}},
        )

    def delete_item(self, which: int, value: int) -> None:
        self.client("dynamodb").delete_item(TableName=f"t{which}", Key={"id": {"S": str(value % 4)}})

    def make_queue(self, which: int, value: int) -> None:
        self.client("sqs").create_queue(
            QueueName=f"q{which}", Attributes={"VisibilityTimeout": str(30 + value % 2 * 3600)}
        )

    def send(self, which: int, value: int) -> None:
        self.client("sqs").send_message(
            QueueUrl=self._queue(which),
            MessageBody=f"message {value}",
            DelaySeconds=value % 3 * 90,
            MessageAttributes={"n": {"DataType": "Number", "StringValue": str(value)}},
        )

    def receive(self, which: int, value: int) -> None:
        taken = self.client("sqs").receive_message(QueueUrl=self._queue(which), MaxNumberOfMessages=1 + value % 2)
        for message in taken.get("Messages", []) if value % 3 == 0 else ():
            self.client("sqs").delete_message(QueueUrl=self._queue(which), ReceiptHandle=message["ReceiptHandle"])

    def _queue(self, which: int) -> str:
        return str(self.client("sqs").get_queue_url(QueueName=f"q{which}")["QueueUrl"])

    def make_topic(self, which: int, value: int) -> None:
        topic = self.client("sns").create_topic(Name=f"topic{which}")["TopicArn"]
        self.client("sns").subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:q{which}",
            Attributes={"FilterPolicy": json.dumps({"n": [value]})} if value % 2 else {},
        )

    def publish(self, which: int, value: int) -> None:
        self.client("sns").publish(TopicArn=f"arn:aws:sns:us-east-1:{ACCOUNT}:topic{which}", Message=f"told {value}")

    def make_role(self, which: int, value: int) -> None:
        statement = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.client("iam").create_role(RoleName=f"r{which}", AssumeRolePolicyDocument=trust)
        allowed = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allowed][: value % 4]})
        self.client("iam").put_role_policy(RoleName=f"r{which}", PolicyName="p", PolicyDocument=document)

    def make_function(self, which: int, value: int) -> None:
        self.client("lambda").create_function(
            FunctionName=f"f{which}",
            Runtime="python3.13",
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": _zipped()},
            Timeout=10,
            Environment={"Variables": {"VALUE": str(value)}},
        )

    def publish_version(self, which: int, value: int) -> None:
        version = self.client("lambda").publish_version(FunctionName=f"f{which}")["Version"]
        self.client("lambda").create_alias(FunctionName=f"f{which}", Name=f"a{value}", FunctionVersion=version)

    def map_queue(self, which: int, value: int) -> None:
        self.client("lambda").create_event_source_mapping(
            FunctionName=f"f{which}", EventSourceArn=f"arn:aws:sqs:us-east-1:{ACCOUNT}:q{value % 3}", BatchSize=3
        )

    def call(self, which: int, value: int) -> None:
        kind = ["RequestResponse", "Event"][value % 2]
        payload = json.dumps({"n": value, "fail": value % 3 == 0})
        self.client("lambda").invoke(FunctionName=f"f{which}", InvocationType=kind, Payload=payload)

    def make_rule(self, which: int, value: int) -> None:
        events = self.client("events")
        how = [{"ScheduleExpression": "rate(30 minutes)"}, {"EventPattern": '{"source": ["shop"]}'}][value % 2]
        events.put_rule(Name=f"rule{which}", **how)
        function = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f{which}"
        events.put_targets(Rule=f"rule{which}", Targets=[{"Id": "f", "Arn": function}])
        self.client("lambda").add_permission(
            FunctionName=f"f{which}",
            StatementId=f"s{value}",
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
        )

    def put_event(self, which: int, value: int) -> None:
        entry = {"Source": "shop", "DetailType": "Sold", "Detail": json.dumps({"n": value})}
        self.client("events").put_events(Entries=[entry])

    def make_schedule(self, which: int, value: int) -> None:
        expression = ["rate(10 minutes)", "cron(0 2 * * ? *)", "at(2026-01-01T03:00:00)"][value % 3]
        self.client("scheduler").create_schedule(
            Name=f"s{which}",
            ScheduleExpression=expression,
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion=["NONE", "DELETE"][value % 2],
            Target={"Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:q{which}", "RoleArn": ROLE, "Input": f"tick {value}"},
        )

    def make_alarm(self, which: int, value: int) -> None:
        self.client("cloudwatch").put_metric_alarm(
            AlarmName=f"alarm{which}",
            Namespace="Shop",
            MetricName="Sold",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1 + value % 2,
            Threshold=value,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData=["notBreaching", "missing"][value % 2],
            AlarmActions=[f"arn:aws:sns:us-east-1:{ACCOUNT}:topic{which}"],
        )

    def measure(self, which: int, value: int) -> None:
        self.client("cloudwatch").put_metric_data(
            Namespace="Shop", MetricData=[{"MetricName": "Sold", "Value": value, "Unit": "Count"}]
        )

    def make_stream(self, which: int, value: int) -> None:
        self.client("firehose").create_delivery_stream(
            DeliveryStreamName=f"d{which}",
            ExtendedS3DestinationConfiguration={
                "RoleARN": ROLE,
                "BucketARN": f"arn:aws:s3:::bucket-{which}",
                "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 300},
            },
        )

    def record(self, which: int, value: int) -> None:
        self.client("firehose").put_record(DeliveryStreamName=f"d{which}", Record={"Data": b"row %d\n" % value})

    def make_key(self, which: int, value: int) -> None:
        spec = ["SYMMETRIC_DEFAULT", "RSA_2048", "ECC_NIST_P256"][value % 3]
        usage = "ENCRYPT_DECRYPT" if value % 3 == 0 else "SIGN_VERIFY"
        key = self.client("kms").create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
        self.client("kms").create_alias(AliasName=f"alias/k{which}", TargetKeyId=key)

    def keep_secret(self, which: int, value: int) -> None:
        self.client("ssm").put_parameter(Name=f"/p/{which}", Value=str(value), Type="String", Overwrite=True)
        self.client("secretsmanager").create_secret(Name=f"secret{which}", SecretString=str(value))

    def log(self, which: int, value: int) -> None:
        logs, at = self.client("logs"), int(self.cloud.clock.now.timestamp() * 1000)
        with suppress(ClientError):
            logs.create_log_group(logGroupName=f"g{which}")
            logs.create_log_stream(logGroupName=f"g{which}", logStreamName="s")
        logs.put_log_events(
            logGroupName=f"g{which}", logStreamName="s", logEvents=[{"timestamp": at, "message": str(value)}]
        )

    def train(self, which: int, value: int) -> None:
        self.client("sagemaker").create_training_job(
            TrainingJobName=f"job-{which}",
            RoleArn=ROLE,
            AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
            HyperParameters={"sagemaker_program": "a.py", "sagemaker_submit_directory": "s3://bucket-0/none.tar.gz"},
            OutputDataConfig={"S3OutputPath": "s3://bucket-0/models"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
            Tags=[{"Key": "n", "Value": str(value)}],
        )
        self.pass_time(0, 2)  # a job's process is not kept: those that run are started anew

    def make_model(self, which: int, value: int) -> None:
        variables = {"SAGEMAKER_PROGRAM": "a.py", "SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket-0/a.tar.gz"}
        self.client("s3").put_object(Bucket="bucket-0", Key="a.tar.gz", Body=b"")
        self.client("sagemaker").create_model(
            ModelName=f"m{which}",
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": "i", "ModelDataUrl": "s3://bucket-0/a.tar.gz", "Environment": variables},
        )
        variant = {"VariantName": "v", "ModelName": f"m{which}", "InstanceType": "ml.m5.large"}
        self.client("sagemaker").create_endpoint_config(
            EndpointConfigName=f"c{which}", ProductionVariants=[{**variant, "InitialInstanceCount": 1 + value % 2}]
        )

    def make_pipe(self, which: int, value: int) -> None:
        stream = self.client("dynamodb").describe_table(TableName=f"t{which}")["Table"]["LatestStreamArn"]
        self.client("pipes").create_pipe(
            Name=f"pipe{which}",
            RoleArn=ROLE,
            Source=stream,
            Target=f"arn:aws:sqs:us-east-1:{ACCOUNT}:q{value % 3}",
            SourceParameters={"DynamoDBStreamParameters": {"StartingPosition": "LATEST", "BatchSize": 1}},
        )

    def make_stack(self, which: int, value: int) -> None:
        self.client("cloudformation").create_stack(StackName=f"stack{which}", TemplateBody=json.dumps(TEMPLATE))

    def change_stack(self, which: int, value: int) -> None:
        parts = dict(list(TEMPLATE["Resources"].items()))
        del parts["Bucket"]
        changed = json.dumps({**TEMPLATE, "Resources": parts})
        self.client("cloudformation").update_stack(StackName=f"stack{which}", TemplateBody=changed)

    def delete_stack(self, which: int, value: int) -> None:
        self.client("cloudformation").delete_stack(StackName=f"stack{which}")


STEPS = sorted(name for name in vars(Kept) if not name.startswith("_") and name != "do")

# -- what a cloud answers ----------------------------------------------------------------------------------------------

_TOLD_ONE_BY_ONE = (
    ("events", "list_rules", "Rules", "list_targets_by_rule", "Rule", "Name"),
    ("scheduler", "list_schedules", "Schedules", "get_schedule", "Name", "Name"),
    ("firehose", "list_delivery_streams", "DeliveryStreamNames", "describe_delivery_stream", "DeliveryStreamName", ""),
    ("secretsmanager", "list_secrets", "SecretList", "get_secret_value", "SecretId", "Name"),
    ("ssm", "describe_parameters", "Parameters", "get_parameter", "Name", "Name"),
    ("logs", "describe_log_groups", "logGroups", "filter_log_events", "logGroupName", "logGroupName"),
    ("pipes", "list_pipes", "Pipes", "describe_pipe", "Name", "Name"),
    ("cloudformation", "describe_stacks", "Stacks", "describe_stack_resources", "StackName", "StackName"),
    ("cloudformation", "describe_stacks", "Stacks", "get_template", "StackName", "StackName"),
    *(
        ("sagemaker", f"list_{kind}s", answered, f"describe_{kind}", name, name)
        for kind, answered, name in (
            ("training_job", "TrainingJobSummaries", "TrainingJobName"),
            ("model", "Models", "ModelName"),
            ("endpoint_config", "EndpointConfigs", "EndpointConfigName"),
        )
    ),
)
"""Service, what lists and under which key, what tells of one, by which parameter, and where its name is in the list."""

_LISTS: Sequence[tuple[str, str]] = (
    ("cloudformation", "describe_stacks"),
    ("cloudwatch", "describe_alarm_history"),
    ("cloudwatch", "describe_alarms"),
    ("cloudwatch", "list_metrics"),
    ("dynamodb", "list_tables"),
    ("dynamodbstreams", "list_streams"),
    ("events", "list_event_buses"),
    ("events", "list_rules"),
    ("firehose", "list_delivery_streams"),
    ("iam", "list_roles"),
    ("kms", "list_aliases"),
    ("kms", "list_keys"),
    ("lambda", "list_event_source_mappings"),
    ("lambda", "list_functions"),
    ("logs", "describe_log_groups"),
    ("pipes", "list_pipes"),
    ("s3", "list_buckets"),
    ("sagemaker", "list_endpoint_configs"),
    ("sagemaker", "list_models"),
    ("sagemaker", "list_training_jobs"),
    ("scheduler", "list_schedules"),
    ("secretsmanager", "list_secrets"),
    ("sns", "list_subscriptions"),
    ("sns", "list_topics"),
    ("sqs", "list_queues"),
    ("ssm", "describe_parameters"),
)


def answers(cloud: LocalCloud) -> dict[str, Any]:
    """Everything that the cloud answers about what it holds."""
    found: dict[str, Any] = {"now": cloud.clock.now, "due": [str(when) for when in sorted(_due(cloud))]}

    def ask(service: str, operation: str, **asked: Any) -> Any:
        told = getattr(cloud.client(service), operation)(**asked)
        del told["ResponseMetadata"]
        if "Body" in told:
            told["Body"] = told["Body"].read()
        found[f"{service}.{operation} {asked}"] = told
        return told

    for service, operation in _LISTS:
        ask(service, operation)
    for bucket in ask("s3", "list_buckets")["Buckets"]:
        of = {"Bucket": bucket["Name"]}
        ask("s3", "get_bucket_versioning", **of)
        ask("s3", "list_multipart_uploads", **of)
        for version in ask("s3", "list_object_versions", **of).get("Versions", []):
            ask("s3", "get_object", **of, Key=version["Key"], VersionId=version["VersionId"])
            ask("s3", "get_object_tagging", **of, Key=version["Key"], VersionId=version["VersionId"])
    for table in ask("dynamodb", "list_tables")["TableNames"]:
        ask("dynamodb", "describe_table", TableName=table)
        ask("dynamodb", "scan", TableName=table)
    for url in ask("sqs", "list_queues").get("QueueUrls", []):
        ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"])
    for role in ask("iam", "list_roles")["Roles"]:
        ask("iam", "list_role_policies", RoleName=role["RoleName"])
        for policy in ask("iam", "list_role_policies", RoleName=role["RoleName"])["PolicyNames"]:
            ask("iam", "get_role_policy", RoleName=role["RoleName"], PolicyName=policy)
    for function in ask("lambda", "list_functions")["Functions"]:
        ask("lambda", "list_aliases", FunctionName=function["FunctionName"])
        ask("lambda", "list_versions_by_function", FunctionName=function["FunctionName"])
        with suppress(ClientError):  # there may be no policy
            ask("lambda", "get_policy", FunctionName=function["FunctionName"])
    for key in ask("kms", "list_keys")["Keys"]:
        if ask("kms", "describe_key", KeyId=key["KeyId"])["KeyMetadata"]["KeySpec"] != "SYMMETRIC_DEFAULT":
            ask("kms", "get_public_key", KeyId=key["KeyId"])
    for service, listing, answered, telling, named, name in _TOLD_ONE_BY_ONE:
        for each in ask(service, listing)[answered]:
            ask(service, telling, **{named: each[name] if name else each})
    ask(
        "cloudwatch",
        "get_metric_statistics",
        Namespace="Shop",
        MetricName="Sold",
        StartTime=START,
        EndTime=START + timedelta(days=60),
        Period=3600,
        Statistics=["Sum", "SampleCount"],
    )
    return found


def _due(cloud: LocalCloud) -> Iterator[tuple[datetime, str]]:
    for entry in cloud.agenda._heap:
        if not entry.cancelled:
            yield entry.when, entry.name


# -- in processes of their own -----------------------------------------------------------------------------------------


def lived(steps: Sequence[Step], later: Sequence[Step]) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """The state of a cloud after some steps, what it answers then, and after some more."""
    with LocalCloud(START) as cloud:
        kept = Kept(cloud)
        for step in steps:
            kept.do(step)
        state, then = save(cloud), answers(cloud)
        for step in later:
            kept.do(step)
        return state, then, answers(cloud)


def came_back(state: bytes, later: Sequence[Step]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a cloud answers that comes back from a state, then and after some more steps."""
    with LocalCloud(datetime(2020, 1, 1, tzinfo=UTC)) as cloud:
        load(cloud, state)
        then = answers(cloud)
        kept = Kept(cloud)
        for step in later:
            kept.do(step)
        return then, answers(cloud)


def elsewhere(call: Callable[..., Any], *given: Any) -> Any:
    """The answer of a function that runs in a process in which no cloud was ever open."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["local_cloud.cloud", "local_cloud.server.saved", "moto.backends"])
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_answer, args=(theirs, call, *given))
    process.start()
    theirs.close()
    try:
        told = ours.recv()
    finally:
        process.join()
    if isinstance(told, BaseException):
        raise told
    return told


def _answer(pipe: Any, call: Callable[..., Any], *given: Any) -> None:
    try:
        pipe.send(call(*given))
    except BaseException as error:  # it is raised where it was asked for
        import traceback

        pipe.send(AssertionError("".join(traceback.format_exception(error))))
