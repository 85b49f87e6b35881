"""SageMaker endpoints that really answer: fleets of containers, deployments with guardrails, shadows, captures."""

import base64
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_stacks import opened, role
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse
from samtranslator.yaml_helper import yaml_parse

from local_cloud.cloud import LocalCloud
from local_cloud.services.sagemaker.endpoints.container import Limits
from local_cloud.services.sagemaker.endpoints.mirror import Copy, Mirror
from local_cloud.services.sagemaker.training.container import pack

START = datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
BUCKET = "endpoints-bucket"
QUEUE = "endpoint-events"
ROLE = "arn:aws:iam::123456789012:role/endpoint"

SCRIPT = """
import json, os, pathlib, sys, time

def model_fn(model_dir):
    name = pathlib.Path(model_dir, "name").read_text()
    if name == "broken":
        raise ValueError("this model cannot be loaded")
    if name == "slow to start":
        time.sleep(60)
    return name

def input_fn(body, content_type):
    return body

def predict_fn(asked, model):
    if model == "throws":
        raise ValueError("no answer")
    if model == "hangs":
        time.sleep(60)
    if model == "dies" or asked in ("die", b"die"):
        os._exit(3)
    return model, asked

def output_fn(prediction, accept):
    model, asked = prediction
    if accept == "text/csv":
        return f"{model},{os.getpid()}", "text/csv; charset=utf-8"
    if accept == "text/html":
        return "<b>" + model + "</b>", "text/html"
    if accept == "application/octet-stream":
        return asked if isinstance(asked, bytes) else asked.encode(), accept
    return json.dumps({"model": model}), "application/json"
"""
ONLY_A_MODEL = """
class Sum:
    def predict(self, rows):
        return rows.sum(axis=1)

def model_fn(model_dir):
    return Sum()
"""
WATCHES = """
import json, os, threading, time

class Watcher:
    looks = 0
    seen = None

    def watch(self):
        import boto3
        s3 = boto3.client("s3", region_name=os.environ["AWS_REGION"])
        while True:
            try:
                self.seen = s3.get_object(Bucket="endpoints-bucket", Key="notice")["Body"].read().decode()
            except Exception as error:
                self.seen = type(error).__name__
            self.looks += 1
            time.sleep(30)

def model_fn(model_dir):
    watcher = Watcher()
    threading.Thread(target=watcher.watch, daemon=True).start()
    return watcher

def transform_fn(watcher, content, content_type, accept):
    time.sleep(0.01)
    return json.dumps({"model": watcher.seen, "looks": watcher.looks}), "application/json"
"""
TEMPLATE = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Resources": {
        "Events": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": QUEUE}},
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "BucketName": BUCKET,
                "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
            },
        },
        "Rule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "EventPattern": {"source": ["aws.sagemaker", "aws.s3"]},
                "Targets": [{"Id": "queue", "Arn": {"Fn::GetAtt": ["Events", "Arn"]}}],
            },
        },
        **yaml_parse(opened("Events", "events")),
        **yaml_parse(role("endpoint", "sagemaker", "s3:GetObject", "s3:PutObject", "dynamodb:GetItem", "logs:*")),
    },
}
JSON_AND_CSV = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}


@dataclass
class World:
    """A cloud with a bucket, models that say their names, and a queue that hears of every change."""

    cloud: LocalCloud
    heard: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sagemaker(self) -> Any:
        return self.cloud.client("sagemaker")

    def put(self, key: str, body: bytes) -> str:
        self.cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def given_model(self, name: str, says: str | None = None, script: str = SCRIPT) -> None:
        data = self.put(f"models/{name}/model.tar.gz", pack({"name": (says or name).encode()}))
        source = self.put(f"source/{name}/sourcedir.tar.gz", pack({"inference.py": script.encode()}))
        self.create_model(name, data, {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": source})

    def create_model(self, name: str, data: str, environment: dict[str, str]) -> None:
        container = {"Image": "sklearn:1.4-2", "ModelDataUrl": data, "Environment": environment}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)

    def given_config(
        self, name: str, *variants: dict[str, Any], shadow: dict[str, Any] | None = None, **more: Any
    ) -> None:
        shadows = {} if shadow is None else {"ShadowProductionVariants": [shadow]}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=list(variants or [variant(name)]), **shadows, **more
        )

    def given_endpoint(self, config: str = "a", *, shadow: str | None = None, **more: Any) -> None:
        """An endpoint in service with one model of the configuration's name, and its shadow's."""
        for model in (config, shadow):
            if model is not None:
                self.given_model(model, says=model.replace("-", " "))
        beside = None if shadow is None else variant(shadow, name="shadow")
        self.given_config(config, shadow=beside, **more)
        self.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName=config)
        self.when_passed(minutes=5)

    def when_updated(self, config: str, deployment: dict[str, Any] | None = None, **more: Any) -> None:
        if config not in [
            one["EndpointConfigName"] for one in self.sagemaker.list_endpoint_configs()["EndpointConfigs"]
        ]:
            self.given_model(config)
            self.given_config(config)
        guarded = {} if deployment is None else {"DeploymentConfig": deployment}
        self.sagemaker.update_endpoint(EndpointName="churn", EndpointConfigName=config, **guarded, **more)

    def when_passed(self, **amount: float) -> None:
        self.cloud.advance(self.cloud.clock.now + timedelta(**amount))

    def asked(self, body: bytes | str = "50,1", **more: Any) -> Any:
        given = {"ContentType": "text/csv", **more}
        return self.cloud.client("sagemaker-runtime").invoke_endpoint(EndpointName="churn", Body=body, **given)

    def said(self, body: bytes | str = "50,1", **more: Any) -> str:
        model: str = json.loads(self.asked(body, **more)["Body"].read())["model"]
        return model

    def shares(self, requests: int = 100) -> dict[str, int]:
        return dict(Counter(self.said() for _ in range(requests)))

    def endpoint(self) -> Any:
        return self.sagemaker.describe_endpoint(EndpointName="churn")

    def state(self) -> tuple[str, str]:
        now = self.endpoint()
        return now["EndpointStatus"], now["EndpointConfigName"]

    def events(self, detail_type: str = "SageMaker Endpoint State Change") -> list[dict[str, Any]]:
        self.cloud.drain()
        sqs = self.cloud.client("sqs")
        url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            self.heard += [json.loads(message["Body"]) for message in messages]
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [event for event in self.heard if event["detail-type"] == detail_type]

    def captured(self, name: str = "production") -> list[dict[str, Any]]:
        self.cloud.drain()
        s3 = self.cloud.client("s3")
        found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"captures/churn/{name}/").get("Contents", [])
        bodies = [s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in found]
        return [json.loads(line) for body in bodies for line in body.splitlines()]

    def metric(self, name: str, statistic: str, **dimensions: str) -> float | None:
        found = self.cloud.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=START - timedelta(hours=1),
            EndTime=START + timedelta(hours=23),
            Period=86_400,
            Statistics=[statistic],
        )["Datapoints"]
        return found[0][statistic] if found else None

    def log(self, config: str) -> list[str]:
        found = self.cloud.client("logs").get_log_events(
            logGroupName="/aws/sagemaker/Endpoints/churn", logStreamName=f"production/{config}", startFromHead=True
        )
        return [event["message"] for event in found["events"]]

    def given_alarm(self, name: str) -> None:
        self.cloud.client("cloudwatch").put_metric_alarm(
            AlarmName=name,
            Namespace="AWS/SageMaker",
            MetricName="InvocationModelErrors",
            Dimensions=[{"Name": "EndpointName", "Value": "churn"}, {"Name": "VariantName", "Value": "production"}],
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0.1,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
        )

    def when_alarm_trips(self, name: str) -> None:
        self.cloud.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")


def variant(model: str, *, name: str = "production", weight: float = 1.0, count: int = 1) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InitialInstanceCount": count,
        "InstanceType": "ml.m7i.large",
        "InitialVariantWeight": weight,
    }


def capture(share: int = 100, modes: tuple[str, ...] = ("Input", "Output"), **more: Any) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": share,
        "DestinationS3Uri": f"s3://{BUCKET}/captures",
        "CaptureOptions": [{"CaptureMode": mode} for mode in modes],
        "CaptureContentTypeHeader": JSON_AND_CSV,
        **more,
    }


def canary(percent: int = 30, *, wait: int = 600, terminate_after: int = 300, **more: Any) -> dict[str, Any]:
    routing = {
        "Type": "CANARY",
        "WaitIntervalInSeconds": wait,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": percent},
    }
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": terminate_after}
    return {"BlueGreenUpdatePolicy": policy, **more}


def watched_by(*alarms: str) -> dict[str, Any]:
    return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}


def refusal(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(*args, **kwargs)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    return str(refused.value.response["Error"]["Message"])


@pytest.fixture
def world() -> Iterator[World]:
    with LocalCloud(START) as cloud:
        cloud.deploy_stack(TEMPLATE, stack_name="endpoints")
        yield World(cloud)


# -- creating --------------------------------------------------------------------------------------------------------


def test_an_endpoint_comes_up_and_its_model_answers(world: World) -> None:
    world.given_model("a")
    world.given_config("a")
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="a", Tags=[{"Key": "k", "Value": "v"}])
    assert world.state() == ("Creating", "a")
    with pytest.raises(ClientError, match="Endpoint churn of account 123456789012 not found"):
        world.asked()
    world.when_passed(minutes=5)
    assert world.state() == ("InService", "a")
    answer = world.asked()
    assert json.loads(answer["Body"].read()) == {"model": "a"}
    assert (answer["InvokedProductionVariant"], answer["ContentType"]) == ("production", "application/json")
    (told,) = world.endpoint()["ProductionVariants"]
    assert told["DeployedImages"][0]["SpecifiedImage"] == "sklearn:1.4-2"
    assert (told["CurrentWeight"], told["DesiredWeight"], told["CurrentInstanceCount"]) == (1.0, 1.0, 1)
    created, in_service = world.events()
    assert (created["detail"]["EndpointStatus"], in_service["detail"]["EndpointStatus"]) == ("CREATING", "IN_SERVICE")
    assert in_service["resources"] == [world.endpoint()["EndpointArn"]]
    assert in_service["detail"]["Tags"] == {"k": "v"}
    assert in_service["detail"]["CreationTime"] == int(START.timestamp() * 1000)


def test_a_fleet_takes_its_time_on_the_virtual_clock(world: World) -> None:
    world.cloud.options.endpoint_seconds = 90
    world.given_model("a")
    world.given_config("a")
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="a")
    world.when_passed(seconds=89)
    assert world.state()[0] == "Creating"
    world.when_passed(seconds=1)
    assert world.state()[0] == "InService"


def test_a_model_that_cannot_be_loaded_fails_the_endpoint_and_its_log_says_why(world: World) -> None:
    world.given_endpoint("broken")
    endpoint = world.endpoint()
    assert endpoint["EndpointStatus"] == "Failed"
    assert endpoint["FailureReason"] == (
        "The primary container for production variant production did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )
    assert world.log("broken")[-1] == "ValueError: this model cannot be loaded"
    assert "DeleteEndpoint is all that can be done" in refusal(world.when_updated, "b")
    with pytest.raises(ClientError, match="not found"):
        world.asked()
    world.sagemaker.delete_endpoint(EndpointName="churn")
    world.cloud.drain()
    assert world.sagemaker.list_endpoints()["Endpoints"] == []


def test_a_container_that_does_not_answer_pings_in_time_fails_the_endpoint(world: World) -> None:
    world.cloud.endpoints.limits = Limits(startup_seconds=0.3)
    world.given_endpoint("slow-to-start")
    assert world.state()[0] == "Failed"


def test_model_data_that_has_gone_fails_the_endpoint(world: World) -> None:
    world.given_model("a")
    world.given_config("a")
    world.cloud.client("s3").delete_object(Bucket=BUCKET, Key="models/a/model.tar.gz")
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="a")
    world.when_passed(minutes=5)
    assert world.endpoint()["FailureReason"].startswith('Failed to download model data for container "container_1"')


def test_what_sagemaker_refuses_is_refused(world: World) -> None:
    world.given_endpoint("a")
    sagemaker, arn = world.sagemaker, "arn:aws:sagemaker:us-east-1:123456789012"
    assert refusal(sagemaker.create_endpoint, EndpointName="churn", EndpointConfigName="a") == (
        f'Cannot create already existing endpoint "{arn}:endpoint/churn".'
    )
    assert refusal(world.given_config, "a") == (
        f'Cannot create already existing endpoint configuration "{arn}:endpoint-config/a".'
    )
    assert refusal(world.given_model, "a") == f'Cannot create already existing model "{arn}:model/a".'
    assert refusal(sagemaker.create_endpoint, EndpointName="x", EndpointConfigName="nobody") == (
        f'Could not find endpoint configuration "{arn}:endpoint-config/nobody".'
    )
    assert refusal(world.given_config, "c", variant("nobody")) == f'Could not find model "{arn}:model/nobody".'
    assert refusal(sagemaker.update_endpoint, EndpointName="x", EndpointConfigName="a") == (
        f'Could not find endpoint "{arn}:endpoint/x".'
    )
    assert refusal(sagemaker.delete_endpoint, EndpointName="x") == f'Could not find endpoint "{arn}:endpoint/x".'
    assert "Value 'no_name' at 'endpointName' failed to satisfy constraint: Member must satisfy regular" in refusal(
        sagemaker.create_endpoint, EndpointName="no_name", EndpointConfigName="a"
    )
    wrong_type = variant("a") | {"InstanceType": "ml.huge"}
    assert "'productionVariants.1.member.instanceType' failed to satisfy" in refusal(
        world.given_config, "c", wrong_type
    )
    assert "appears more than once" in refusal(world.given_config, "c", variant("a"), variant("a"))
    assert "all 0" in refusal(world.given_config, "c", variant("a", weight=0))
    two = (variant("a"), variant("a", name="other"))
    assert "specify one variant for each" in refusal(world.given_config, "c", *two, shadow=variant("a", name="shadow"))
    assert "Could not find model data at s3://endpoints-bucket/nothing" in refusal(
        world.create_model,
        "c",
        f"s3://{BUCKET}/nothing",
        {"SAGEMAKER_PROGRAM": "inference.py"},
    )


def test_what_the_local_cloud_cannot_do_is_refused_by_name(world: World) -> None:
    world.given_model("a")
    serverless = {
        "VariantName": "production",
        "ModelName": "a",
        "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5},
    }
    assert "parameter ServerlessConfig is not supported" in refusal(world.given_config, "c", serverless)
    asynchronous = {"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/out"}}
    assert "AsyncInferenceConfig is not supported" in refusal(
        world.given_config, "c", variant("a"), AsyncInferenceConfig=asynchronous
    )
    no_script = refusal(world.create_model, "c", f"s3://{BUCKET}/models/a/model.tar.gz", {})
    assert "SAGEMAKER_PROGRAM names no .py file" in no_script
    with pytest.raises(ClientError, match="parameter TargetModel is not supported by the local cloud"):
        world.asked(TargetModel="model.tar.gz")
    with pytest.raises(ClientError, match="'inferenceId' failed to satisfy constraint"):
        world.asked(InferenceId="x" * 65)
    runtime = world.cloud.client("sagemaker-runtime")
    assert "no asynchronous inference" in refusal(
        runtime.invoke_endpoint_async, EndpointName="churn", InputLocation=f"s3://{BUCKET}/in"
    )


def test_models_configurations_and_endpoints_are_described_and_listed(world: World) -> None:
    world.given_endpoint("a", shadow="b", DataCaptureConfig=capture(20))
    sagemaker = world.sagemaker
    model = sagemaker.describe_model(ModelName="a")
    assert model["PrimaryContainer"]["Environment"]["SAGEMAKER_PROGRAM"] == "inference.py"
    config = sagemaker.describe_endpoint_config(EndpointConfigName="a")
    assert [one["ModelName"] for one in config["ShadowProductionVariants"]] == ["b"]
    assert config["DataCaptureConfig"] == capture(20)
    endpoint = world.endpoint()
    assert [one["VariantName"] for one in endpoint["ShadowProductionVariants"]] == ["shadow"]
    assert endpoint["DataCaptureConfig"]["CurrentSamplingPercentage"] == 20
    assert endpoint["DataCaptureConfig"]["CaptureStatus"] == "Started"
    page = sagemaker.list_models(SortBy="Name", SortOrder="Ascending", MaxResults=1)
    rest = sagemaker.list_models(SortBy="Name", SortOrder="Ascending", NextToken=page["NextToken"])
    assert [one["ModelName"] for one in page["Models"] + rest["Models"]] == ["a", "b"]
    assert sagemaker.list_endpoints(StatusEquals="Failed")["Endpoints"] == []
    assert sagemaker.list_endpoints(NameContains="chu", CreationTimeBefore=START)["Endpoints"] == []
    assert len(sagemaker.list_endpoints(NameContains="chu", CreationTimeAfter=START - timedelta(1))["Endpoints"]) == 1
    sagemaker.add_tags(ResourceArn=endpoint["EndpointArn"], Tags=[{"Key": "epoch", "Value": "7"}])
    assert sagemaker.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"] == [{"Key": "epoch", "Value": "7"}]
    sagemaker.delete_model(ModelName="b")
    sagemaker.delete_endpoint_config(EndpointConfigName="a")
    assert world.said() == "a", "what runs goes on without its model's and configuration's records"


# -- answering -------------------------------------------------------------------------------------------------------


def test_requests_are_shared_by_weight_and_can_name_their_variant(world: World) -> None:
    world.given_model("a")
    world.given_model("b")
    world.given_config("both", variant("a", weight=3), variant("b", name="other", weight=1))
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="both")
    world.when_passed(minutes=5)
    shares = world.shares(200)
    assert 120 <= shares["a"] <= 180
    assert world.asked(TargetVariant="other")["InvokedProductionVariant"] == "other"
    assert len({world.said(InferenceId="order-17") for _ in range(5)}) == 1, "the same request meets the same variant"
    with pytest.raises(ClientError, match="Variant nobody not found for endpoint churn; it has production, other"):
        world.asked(TargetVariant="nobody")
    world.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="churn", DesiredWeightsAndCapacities=[{"VariantName": "production", "DesiredWeight": 0}]
    )
    assert world.state()[0] == "Updating"
    world.when_passed(minutes=5)
    assert world.state()[0] == "InService"
    assert world.shares(20) == {"b": 20}


def test_the_answer_is_as_the_caller_accepts_it_and_bodies_need_not_be_text(world: World) -> None:
    world.given_endpoint("a")
    assert world.asked(Accept="text/csv")["ContentType"] == "text/csv; charset=utf-8"
    everything = bytes(range(256))
    answer = world.asked(everything, ContentType="application/x-anything", Accept="application/octet-stream")
    assert answer["Body"].read() == everything


def test_a_script_that_only_loads_its_model_is_served_as_the_image_serves_it(world: World) -> None:
    world.given_model("sum", script=ONLY_A_MODEL)
    world.given_config("sum")
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="sum")
    world.when_passed(minutes=5)
    answer = world.asked("[[1, 2], [3, 4]]", ContentType="application/json")
    assert json.loads(answer["Body"].read()) == [3.0, 7.0]
    with pytest.raises(ClientError) as refused:
        world.asked("<row/>", ContentType="text/xml")
    assert refused.value.response["OriginalStatusCode"] == 415


def test_a_model_that_throws_is_a_model_error_and_its_words_are_told(world: World) -> None:
    world.given_endpoint("throws")
    with pytest.raises(ClientError) as failed:
        world.asked()
    told = failed.value.response
    assert (told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"]) == ("ModelError", 424)
    assert (told["OriginalStatusCode"], told["OriginalMessage"]) == (500, "ValueError: no answer")
    assert 'Received server error (500) from primary with message "ValueError: no answer"' in told["Error"]["Message"]
    assert world.log("throws")[-1] == "ValueError: no answer", "its traceback is where the message sends people"
    of = {"EndpointName": "churn", "VariantName": "production"}
    assert world.metric("Invocation5XXErrors", "Average", **of) == 1.0
    assert world.metric("InvocationModelErrors", "Sum", **of) == 1.0


def test_an_answer_is_waited_for_so_long_and_no_longer(world: World) -> None:
    world.cloud.endpoints.limits = Limits(invocation_seconds=0.3)
    world.given_endpoint("hangs")
    with pytest.raises(ClientError) as failed:
        world.asked()
    assert failed.value.response["OriginalStatusCode"] == 0
    assert "timed out while waiting for a response from container primary" in failed.value.response["OriginalMessage"]


def test_a_container_that_dies_fails_one_request_and_is_started_again(world: World) -> None:
    world.given_endpoint("a")
    assert world.said() == "a"
    with pytest.raises(ClientError, match="The container closed the connection"):
        world.asked("die")
    assert world.said() == "a"


def test_a_body_above_6_mb_is_413(world: World) -> None:
    world.given_endpoint("a")
    with pytest.raises(ClientError) as refused:
        world.asked(b"1" * (6 * 1024 * 1024 + 1))
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert world.said(b"1" * (6 * 1024 * 1024)) == "a"


def test_every_request_is_measured_as_sagemaker_measures_it(world: World) -> None:
    world.given_endpoint("a")
    for _ in range(5):
        world.asked()
    of = {"EndpointName": "churn", "VariantName": "production"}
    assert world.metric("Invocations", "Sum", **of) == 5.0
    assert world.metric("Invocation4XXErrors", "Average", **of) == 0.0
    assert world.metric("Invocation4XXErrors", "SampleCount", **of) == 5.0
    latency = world.metric("ModelLatency", "Minimum", **of)
    assert latency is not None
    assert 10 < latency < 60e6, "in microseconds"
    assert world.metric("OverheadLatency", "SampleCount", **of) == 5.0
    assert world.metric("Invocations", "Sum", EndpointConfigName="a", **of) is None, "only while two fleets share it"


# -- updating --------------------------------------------------------------------------------------------------------


def test_an_update_without_guardrails_goes_over_all_at_once(world: World) -> None:
    world.given_endpoint("a")
    world.when_updated("b")
    assert world.state() == ("Updating", "a")
    assert world.shares(10) == {"a": 10}, "the old fleet answers until the new one is up"
    assert "Cannot update in-progress endpoint" in refusal(world.when_updated, "b")
    assert "Cannot update in-progress endpoint" in refusal(world.sagemaker.delete_endpoint, EndpointName="churn")
    world.when_passed(minutes=5)
    assert world.state() == ("InService", "b")
    assert world.shares(10) == {"b": 10}
    assert "PendingDeploymentSummary" not in world.endpoint()


def test_a_canary_gets_its_share_bakes_and_then_gets_everything(world: World) -> None:
    world.given_endpoint("a")
    world.when_updated("b", canary(30, wait=600, terminate_after=300))
    pending = world.endpoint()["PendingDeploymentSummary"]
    assert (pending["EndpointConfigName"], pending["ProductionVariants"][0]["CurrentInstanceCount"]) == ("b", 0)
    assert world.shares(20) == {"a": 20}
    world.when_passed(minutes=5)
    shares = world.shares(200)
    assert 40 <= shares["b"] <= 80
    assert world.endpoint()["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0] == {
        "Status": "Baking",
        "StatusMessage": "Baking for 600 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of "
        "1 instance(s).",
        "StartTime": START + timedelta(minutes=10),
    }
    of = {"EndpointName": "churn", "VariantName": "production"}
    assert world.metric("Invocations", "Sum", EndpointConfigName="b", **of) == shares["b"]
    assert world.metric("Invocations", "Sum", EndpointConfigName="a", **of) == shares["a"]
    world.when_passed(minutes=10)
    assert world.shares(20) == {"b": 20}
    assert world.state() == ("Updating", "a"), "the old fleet is kept for TerminationWaitInSeconds"
    world.when_passed(minutes=5)
    assert world.state() == ("InService", "b")
    assert world.endpoint()["LastDeploymentConfig"] == canary(30, wait=600, terminate_after=300)
    told = [
        event["detail"]["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0]["Status"]
        for event in world.events("SageMaker Endpoint Deployment State Change")
    ]
    assert told == ["Creating", "ActivatingTraffic", "Baking", "ActivatingTraffic", "Baking"]
    assert [event["detail"]["EndpointStatus"] for event in world.events()][-2:] == ["UPDATING", "IN_SERVICE"]


def test_linear_traffic_grows_step_by_step(world: World) -> None:
    world.given_endpoint("a")
    routing = {
        "Type": "LINEAR",
        "WaitIntervalInSeconds": 60,
        "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 40},
    }
    world.when_updated("b", {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}})
    world.when_passed(minutes=5)
    seen = []
    for _ in range(3):
        seen.append(world.shares(100).get("b", 0))
        world.when_passed(minutes=1)
    assert 25 <= seen[0] <= 55
    assert 65 <= seen[1] <= 95
    assert seen[2] == 100
    assert world.state() == ("InService", "b")


def test_an_alarm_while_the_canary_bakes_rolls_back_silently(world: World) -> None:
    world.given_endpoint("a")
    world.given_alarm("errors")
    world.when_updated("throws", canary(50, **watched_by("errors")))
    world.when_passed(minutes=5)
    failures = 0
    for _ in range(40):
        try:
            assert world.said() == "a"
        except ClientError:
            failures += 1
    assert 8 <= failures <= 32
    world.when_passed(minutes=1)
    assert world.state() == ("RollingBack", "a"), "the alarm was evaluated on the endpoint's own metrics"
    assert world.shares(20) == {"a": 20}
    world.when_passed(minutes=1)
    endpoint = world.endpoint()
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", "a")
    assert "FailureReason" not in endpoint
    assert "PendingDeploymentSummary" not in endpoint
    assert endpoint["LastDeploymentConfig"]["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "errors"}]}
    assert [event["detail"]["EndpointStatus"] for event in world.events()] == [
        "CREATING",
        "IN_SERVICE",
        "UPDATING",
        "ROLLING_BACK",
        "IN_SERVICE",
    ]
    world.when_passed(hours=2)
    assert world.state() == ("InService", "a"), "nothing of the deployment is left on the agenda"


def test_an_alarm_counts_until_the_old_fleet_is_gone_and_no_longer(world: World) -> None:
    world.given_endpoint("a")
    world.given_alarm("errors")
    world.when_updated("b", canary(10, wait=60, terminate_after=300, **watched_by("errors")))
    world.when_passed(minutes=7)
    assert world.shares(10) == {"b": 10}
    world.when_alarm_trips("errors")
    assert world.state() == ("RollingBack", "a")
    assert world.shares(10) == {"a": 10}
    world.when_passed(minutes=1)
    world.when_updated("b", canary(10, wait=60, terminate_after=300, **watched_by("errors")))
    world.when_passed(minutes=12)
    assert world.state() == ("InService", "b"), "the alarm is quiet again: its metric has no errors"
    world.when_alarm_trips("errors")
    world.when_passed(minutes=2)
    assert world.state() == ("InService", "b"), "after the deployment it is somebody else's"


def test_a_fleet_that_does_not_come_up_leaves_the_old_one_in_service(world: World) -> None:
    world.given_endpoint("a")
    world.when_updated("broken")
    world.when_passed(minutes=5)
    assert world.state() == ("RollingBack", "a")
    world.when_passed(minutes=1)
    assert world.state() == ("InService", "a")
    assert world.shares(5) == {"a": 5}


def test_guardrails_are_checked_as_sagemaker_checks_them(world: World) -> None:
    world.given_endpoint("a")
    world.given_model("b")
    world.given_config("b")
    world.given_config("renamed", variant("b", name="other"))
    assert "CanarySize is 51 (CAPACITY_PERCENT): it must be at most 50 %" in refusal(
        world.when_updated, "b", canary(51)
    )
    assert "Could not find the alarm nobody" in refusal(world.when_updated, "b", canary(**watched_by("nobody")))
    assert "both must have the same variant names" in refusal(world.when_updated, "renamed", canary())
    short = canary(wait=600, terminate_after=300)
    short["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 600
    assert "the timeout must be larger" in refusal(world.when_updated, "b", short)
    size = {"Type": "INSTANCE_COUNT", "Value": 1}
    rolling = {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": 60}}
    assert "RollingUpdatePolicy is not supported" in refusal(world.when_updated, "b", rolling)
    eleven = watched_by(*[f"alarm-{number}" for number in range(11)])
    assert "Member must have length less than or equal to 10" in refusal(world.when_updated, "b", canary(**eleven))
    assert world.state() == ("InService", "a")


def test_a_deployment_that_takes_too_long_is_rolled_back(world: World) -> None:
    world.given_endpoint("a")
    world.cloud.options.endpoint_seconds = 3_600
    slow = canary(wait=60, terminate_after=0)
    slow["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 600
    world.when_updated("b", slow)
    world.when_passed(minutes=10)
    assert world.state() == ("RollingBack", "a")
    world.when_passed(hours=2)
    assert world.state() == ("InService", "a")


def test_an_update_can_keep_what_the_variants_have_now(world: World) -> None:
    world.given_endpoint("a", DataCaptureConfig=capture(50))
    world.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="churn", DesiredWeightsAndCapacities=[{"VariantName": "production", "DesiredInstanceCount": 3}]
    )
    world.when_passed(minutes=5)
    world.when_updated("b", RetainAllVariantProperties=True)
    world.when_passed(minutes=5)
    endpoint = world.endpoint()
    assert endpoint["ProductionVariants"][0]["CurrentInstanceCount"] == 3
    assert endpoint["DataCaptureConfig"]["CurrentSamplingPercentage"] == 50


# -- the shadow ------------------------------------------------------------------------------------------------------


def test_the_shadow_answers_a_copy_of_each_request_under_its_own_name(world: World) -> None:
    world.given_endpoint("a", shadow="b", DataCaptureConfig=capture())
    for number in range(20):
        answer = world.asked(f"{number},1", InferenceId=f"order-{number}")
        assert answer["InvokedProductionVariant"] == "production"
    production, shadow = world.captured(), world.captured("shadow")
    assert {json.loads(one["captureData"]["endpointOutput"]["data"])["model"] for one in shadow} == {"b"}

    def by_inference_id(records: list[dict[str, Any]]) -> dict[str, str]:
        return {one["eventMetadata"]["inferenceId"]: one["captureData"]["endpointInput"]["data"] for one in records}

    assert by_inference_id(production) == by_inference_id(shadow)
    assert len(shadow) == 20
    ids = [one["eventMetadata"]["eventId"] for one in production + shadow]
    assert len(set(ids)) == 40, "an event is one variant's: only the inferenceId joins the two"
    of = {"EndpointName": "churn", "VariantName": "shadow"}
    assert world.metric("Invocations", "Sum", **of) == 20.0
    with pytest.raises(ClientError, match="Variant shadow not found"):
        world.asked(TargetVariant="shadow")


def test_a_shadows_weight_is_its_share_of_the_copies(world: World) -> None:
    world.given_model("a")
    world.given_model("b")
    world.given_config("c", variant("a"), shadow=variant("b", name="shadow", weight=0.25))
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="c")
    world.when_passed(minutes=5)
    assert world.shares(200) == {"a": 200}
    world.cloud.drain()
    copies = world.metric("Invocations", "Sum", EndpointName="churn", VariantName="shadow")
    assert copies is not None
    assert 30 <= copies <= 70


@pytest.mark.parametrize("shadow", ["throws", "dies"])
def test_a_shadow_that_throws_or_dies_touches_no_answer(world: World, shadow: str) -> None:
    world.given_endpoint("a", shadow=shadow, DataCaptureConfig=capture())
    assert world.shares(10) == {"a": 10}
    assert (len(world.captured()), len(world.captured("shadow"))) == (10, 0)
    of = {"EndpointName": "churn", "VariantName": "shadow"}
    assert world.metric("InvocationModelErrors", "Sum", **of) == 10.0, "its failures are its own"
    assert world.metric("InvocationModelErrors", "Sum", EndpointName="churn", VariantName="production") == 0.0


def test_no_answer_waits_for_a_shadow_that_hangs(world: World) -> None:
    world.given_endpoint("a", shadow="hangs", DataCaptureConfig=capture())
    assert world.shares(30) == {"a": 30}
    assert world.metric("Invocations", "Sum", EndpointName="churn", VariantName="shadow") is None, "it hangs still"
    world.cloud.endpoints.limits = Limits(invocation_seconds=0.1)
    assert (len(world.captured()), len(world.captured("shadow"))) == (30, 0), "nor does what was captured"


def test_a_mirror_drops_what_does_not_fit_and_counts_it() -> None:
    mirror = Mirror(most_copies=3, most_bytes=100, workers=1)
    held = [mirror.offer(Copy(lambda: time.sleep(0.5), size=1))]
    time.sleep(0.1)  # the first is being answered and waits no more
    held += [mirror.offer(Copy(lambda: None, size=size)) for size in (40, 70, 40, 1, 1)]
    assert held == [True, True, False, True, True, False]
    assert mirror.dropped == 2
    assert mirror.wait(seconds=5.0)
    mirror.close()


# -- captures --------------------------------------------------------------------------------------------------------


def test_a_capture_is_sagemakers_record_to_the_letter(world: World) -> None:
    world.given_endpoint("a", DataCaptureConfig=capture())
    world.asked("50,0,188.9\n", Accept="text/csv", InferenceId="order-1")
    world.asked('{"age": 50}', ContentType="application/json", Accept="text/html")
    first, second = world.captured()
    pid = first["captureData"]["endpointOutput"]["data"].split(",")[1]
    assert first == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": "50,0,188.9\n",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "text/csv; charset=utf-8",
                "mode": "OUTPUT",
                "data": f"a,{pid}",
                "encoding": "CSV",
            },
        },
        "eventMetadata": {
            "eventId": first["eventMetadata"]["eventId"],
            "inferenceId": "order-1",
            "inferenceTime": "2026-01-01T12:35:15Z",
        },
        "eventVersion": "0",
    }
    assert second["captureData"]["endpointInput"]["encoding"] == "JSON"
    assert second["captureData"]["endpointOutput"] == {
        "observedContentType": "text/html",
        "mode": "OUTPUT",
        "data": base64.b64encode(b"<b>a</b>").decode(),
        "encoding": "BASE64",
    }
    assert "inferenceId" not in second["eventMetadata"]


def test_a_file_is_written_each_minute_and_s3_tells_of_it(world: World) -> None:
    world.given_endpoint("a", DataCaptureConfig=capture())
    world.asked()
    world.when_passed(seconds=30)
    world.asked()
    assert world.cloud.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="captures/").get("KeyCount") == 0
    world.when_passed(seconds=30)
    (written,) = world.cloud.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="captures/")["Contents"]
    folder, name = written["Key"].rsplit("/", 1)
    assert folder == "captures/churn/production/2026/01/01/12"
    assert name.startswith("35-15-250-")
    assert name.endswith(".jsonl")
    created = [event["detail"]["object"]["key"] for event in world.events("Object Created")]
    assert written["Key"] in created


def test_only_what_is_asked_for_is_captured(world: World) -> None:
    world.given_endpoint("a", DataCaptureConfig=capture(25, ("Input",), CaptureContentTypeHeader={}))
    world.shares(200)
    records = world.captured()
    assert 30 <= len(records) <= 70
    assert {tuple(one["captureData"]) for one in records} == {("endpointInput",)}
    assert {one["captureData"]["endpointInput"]["encoding"] for one in records} == {"BASE64"}, "no type was named"


def test_a_failed_answer_is_not_captured(world: World) -> None:
    world.given_endpoint("throws", DataCaptureConfig=capture())
    with pytest.raises(ClientError):
        world.asked()
    assert world.captured() == []


# -- what a container does by itself ---------------------------------------------------------------------------------


def test_a_containers_own_thread_reaches_the_cloud_and_sleeps_by_the_clouds_clock(world: World) -> None:
    world.put("notice", b"the first")
    world.given_model("a", script=WATCHES)
    world.given_config("a", shadow=variant("a", name="shadow"), DataCaptureConfig=capture())
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="a")
    world.when_passed(minutes=5)
    assert json.loads(world.asked()["Body"].read())["model"] == "the first"
    world.when_passed(seconds=1)
    world.put("notice", b"the second")
    for seconds, seen in ((28, "the first"), (1, "the second"), (0, "the second")):
        world.when_passed(seconds=seconds)
        assert world.said() == seen
    world.when_passed(hours=3)
    world.put("notice", b"the third")
    looks = [json.loads(world.asked()["Body"].read())["looks"] for _ in range(2)]
    assert looks[0] == looks[1] <= 4, "who slept for hours looks once"
    for name in ("production", "shadow"):
        answers = [json.loads(one["captureData"]["endpointOutput"]["data"])["model"] for one in world.captured(name)]
        assert answers == ["the first", "the first", "the second", "the second", "the third", "the third"]


def test_an_isolated_container_reaches_nobody(world: World) -> None:
    data = world.put("models/a/model.tar.gz", pack({"name": b"a"}))
    source = world.put("source/a/sourcedir.tar.gz", pack({"inference.py": WATCHES.encode()}))
    variables = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": source}
    container = {"Image": "sklearn:1.4-2", "ModelDataUrl": data, "Environment": variables}
    world.sagemaker.create_model(
        ModelName="a", ExecutionRoleArn=ROLE, PrimaryContainer=container, EnableNetworkIsolation=True
    )
    world.given_config("a")
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="a")
    world.when_passed(minutes=5)
    assert world.said() == "NoCredentialsError"


# -- ending ----------------------------------------------------------------------------------------------------------


def test_a_deleted_endpoint_writes_what_it_captured_and_is_gone(world: World) -> None:
    world.given_endpoint("a", DataCaptureConfig=capture())
    pid = int(world.asked(Accept="text/csv")["Body"].read().split(b",")[1])
    world.sagemaker.delete_endpoint(EndpointName="churn")
    assert world.state()[0] == "Deleting"
    world.when_passed(seconds=1)
    assert "Could not find endpoint" in refusal(world.endpoint)
    assert world.cloud.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="captures/").get("KeyCount") == 1
    assert gone(pid)
    world.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="a")
    world.when_passed(minutes=5)
    assert world.said() == "a", "the name is free again"


def test_a_cloud_that_closes_takes_its_containers_with_it_and_gives_moto_back() -> None:
    with LocalCloud(START) as cloud:
        cloud.deploy_stack(TEMPLATE, stack_name="endpoints")
        world = World(cloud)
        world.given_endpoint("a", shadow="b")
        pid = int(world.asked(Accept="text/csv")["Body"].read().split(b",")[1])
    assert gone(pid)
    assert "local_cloud" not in SageMakerRuntimeResponse.invoke_endpoint.__module__
    assert "local_cloud" not in SageMakerResponse.create_endpoint.__module__
    assert not hasattr(SageMakerResponse, "update_endpoint")
    assert SageMakerRuntimeResponse.use_raw_body is False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
def test_a_cloud_that_is_killed_leaves_no_container_behind() -> None:
    program = (
        "import os, signal, sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_endpoints import START, TEMPLATE, LocalCloud, World\n"
        "cloud = LocalCloud(START); cloud.deploy_stack(TEMPLATE, stack_name='endpoints'); world = World(cloud)\n"
        "world.given_endpoint('a')\n"
        "print(world.asked(Accept='text/csv')['Body'].read().decode(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = Path(__file__).parent
    places = [str(here), str(here.parent / "worlds")]
    killed = subprocess.run([sys.executable, "-c", program, *places], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert gone(int(killed.stdout.split(",")[1]))
