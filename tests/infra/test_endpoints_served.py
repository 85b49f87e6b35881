"""The local cloud's SageMaker endpoints over real HTTP: a caller's boto3 script, unchanged, in a process of its own."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError
from live_world import NOW, trained_archive
from local_stacks import client
from small_graph import SCHEMA, files

from evergreen.aws.live_states import DynamoLiveStates
from evergreen.domain.live_pointer import LivePointer
from evergreen.formats.captures import CaptureLayout, read_captures
from evergreen.model.archive import pack
from evergreen.model.scorer import Artifact
from evergreen.serving.source import LivePlace, container_environment, pack_source
from evergreen.training.live_stored import started
from evergreen.training.live_version import LiveVersion
from local_cloud.server.server import LocalServer

BUCKET = "served-bucket"
ROWS = [{"age": 75.0, "plan": "b"}, {"age": 20.0, "plan": "a"}, {"age": None, "plan": None}]
CALLERS_SCRIPT = """
import json, boto3
from concurrent.futures import ThreadPoolExecutor

runtime = boto3.client("sagemaker-runtime")

def ask(number):
    answer = runtime.invoke_endpoint(
        EndpointName="churn",
        ContentType="text/csv",
        Accept="application/json",
        Body="75,b\\n20,a\\n,\\n",
        InferenceId=f"order-{number}",
    )
    return [one["prediction"] for one in json.loads(answer["Body"].read())["predictions"]]

with ThreadPoolExecutor(4) as pool:
    answers = list(pool.map(ask, range(40)))
try:
    runtime.invoke_endpoint(EndpointName="churn", ContentType="text/csv", Body="old,b")
except runtime.exceptions.ModelError as error:
    refused = [error.response["OriginalStatusCode"], json.loads(error.response["OriginalMessage"])["problems"]]
print(json.dumps({"answers": answers, "refused": refused}))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(port=0) as server:
        client(server, "s3").create_bucket(Bucket=BUCKET)
        yield server


def given_model(server: LocalServer, name: str, environment: dict[str, str], artifact: bytes) -> None:
    key = f"models/{name}/model.tar.gz"
    client(server, "s3").put_object(Bucket=BUCKET, Key=key, Body=artifact)
    container = {"Image": "sklearn", "ModelDataUrl": f"s3://{BUCKET}/{key}", "Environment": environment}
    client(server, "sagemaker").create_model(ModelName=name, PrimaryContainer=container)


def given_endpoint(server: LocalServer, name: str, model: str) -> None:
    sagemaker = client(server, "sagemaker")
    variant = {
        "VariantName": "production",
        "ModelName": model,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant],
        DataCaptureConfig={
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{BUCKET}/captures/{name}",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {
                "CsvContentTypes": ["text/csv"],
                "JsonContentTypes": ["application/json"],
            },
        },
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def test_a_callers_script_works_unchanged_against_the_local_cloud(server: LocalServer) -> None:
    s3, sagemaker = client(server, "s3"), client(server, "sagemaker")
    s3.put_object(Bucket=BUCKET, Key="source.tar.gz", Body=pack_source())
    artifact = pack(files())
    sha256, source = hashlib.sha256(artifact).hexdigest(), f"s3://{BUCKET}/source.tar.gz"
    environment = container_environment("churn", 1, artifact=artifact, sha256=sha256, source_uri=source)
    given_model(server, "churn-1", environment, artifact)
    given_model(server, "tampered", environment, pack(files(job="somebody else's")))
    given_endpoint(server, "churn", "churn-1")
    given_endpoint(server, "refused", "tampered")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="churn", WaiterConfig={"Delay": 1})

    surroundings = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    script = subprocess.run(
        [sys.executable, "-c", CALLERS_SCRIPT],
        env={"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "us-east-1", **surroundings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode == 0, script.stderr
    told = json.loads(script.stdout)
    expected = Artifact.from_tar(artifact, sha256).scorer().score_rows(ROWS).predictions
    assert told["answers"] == [expected] * 40
    assert told["refused"] == [422, ["instances[0]: feature 'age' is 'old', not a number"]]

    failed = sagemaker.describe_endpoint(EndpointName="refused")
    assert failed["EndpointStatus"] == "Failed", "another model than the environment names is never served"
    sagemaker.delete_endpoint(EndpointName="churn")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="churn", WaiterConfig={"Delay": 1})
    ids, predictions = [], []
    for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="captures/churn/churn/production/")["Contents"]:
        body = s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
        captures, malformed = read_captures(body, CaptureLayout(SCHEMA, version=1))
        assert malformed == []
        ids += [capture.event_id for capture in captures]
        predictions += [capture.prediction for capture in captures]
    assert sorted(ids) == sorted(f"order-{number}/{row}" for number in range(40) for row in range(3))
    assert predictions == expected * 40


def test_a_container_reads_its_live_state_from_the_server(server: LocalServer) -> None:
    s3, dynamodb, runtime = (client(server, service) for service in ("s3", "dynamodb", "sagemaker-runtime"))
    dynamodb.create_table(
        TableName="online",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("model", "sk")],
        KeySchema=[{"AttributeName": "model", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    artifact = trained_archive("first")
    sha256 = hashlib.sha256(artifact).hexdigest()
    version = LiveVersion.from_tar(artifact, sha256, 1)
    assert version is not None
    body = started(version, 1, None, now=NOW, horizon=timedelta(days=1)).to_bytes()
    digest = hashlib.sha256(body).hexdigest()
    s3.put_object(Bucket=BUCKET, Key="live/churn/v000001/state", Body=body)
    pointer = LivePointer("churn", 1, 1, "live/churn/v000001/state", digest, NOW, 0, None)
    DynamoLiveStates(dynamodb, "online").advance(None, pointer)
    s3.put_object(Bucket=BUCKET, Key="source.tar.gz", Body=pack_source())
    environment = container_environment(
        "churn",
        1,
        artifact=artifact,
        sha256=sha256,
        source_uri=f"s3://{BUCKET}/source.tar.gz",
        live=LivePlace("online", BUCKET),
    )
    given_model(server, "fresh-1", environment, artifact)
    given_endpoint(server, "fresh", "fresh-1")
    client(server, "sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="fresh", WaiterConfig={"Delay": 1})

    def state() -> int | None:
        asked = runtime.invoke_endpoint(EndpointName="fresh", ContentType="text/csv", Body="41,a")
        told: int | None = json.loads(asked["Body"].read()).get("state")
        return told

    begun = time.monotonic()
    while state() is None and time.monotonic() < begun + 60:
        time.sleep(0.2)  # the first look is behind the first answers
    assert state() == 1


def test_what_cannot_be_asked_is_an_aws_error(server: LocalServer) -> None:
    runtime = client(server, "sagemaker-runtime")
    with pytest.raises(ClientError, match=r"\(ValidationError\).*Endpoint nobody of account"):
        runtime.invoke_endpoint(EndpointName="nobody", Body=b"\xff\x00")
    with pytest.raises(ClientError, match=r"\(413\).*HTTP content length exceeded 6291456 bytes"):
        runtime.invoke_endpoint(EndpointName="nobody", Body=b"1" * (6 * 1024 * 1024 + 1))
    with pytest.raises(ClientError, match=r"Could not find endpoint configuration"):
        client(server, "sagemaker").create_endpoint(EndpointName="x", EndpointConfigName="y")
