"""The local cloud as a server: what boto3, the HTTP API and ``sam deploy`` see of it."""

import io
import json
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError
from local_stacks import allow, client
from sam_cli import run_sam

from local_cloud.server.server import (
    TRACKING_BUCKET,
    LocalServer,
    ServerError,
    down,
    introduction,
    local_address,
    running_server,
    up,
)
from local_cloud.services.lambda_.invokers import InProcessInvoker

HELLO = Path(__file__).parent / "fixtures" / "hello"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(HELLO / "template.yaml", port=0, stack_name="hello") as server:
        yield server


def outputs(server: LocalServer, stack: str = "hello") -> dict[str, str]:
    told = client(server, "cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in told["Outputs"]}


def greet(server: LocalServer, name: str, stack: str = "hello") -> Any:
    function = outputs(server, stack)["GreetFunctionName"]
    answer = client(server, "lambda").invoke(FunctionName=function, Payload=json.dumps({"name": name}))
    return json.loads(answer["Payload"].read())


def eventually(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := check():
                return value
        except (ClientError, AssertionError):
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_functions_can_run_in_this_process_too() -> None:
    """It comes first: only one cloud can be open, and the other tests share theirs."""
    in_process = LocalServer(
        HELLO / "template.yaml", port=0, stack_name="hello", invoker=lambda url: InProcessInvoker()
    )
    with in_process as server:
        entries = [{"Source": "hello", "DetailType": "Noted", "Detail": json.dumps({"n": n})} for n in range(5)]
        answer = client(server, "events").put_events(Entries=entries)
        assert greet(server, "Ada") == {"greeting": "hello Ada"}
        s3, bucket = client(server, "s3"), outputs(server)["BucketName"]
        for entry in answer["Entries"]:
            key = f"notes/{entry['EventId']}.json"
            eventually(lambda key=key: s3.head_object(Bucket=bucket, Key=key))  # type: ignore[misc]


@pytest.mark.parametrize(("region", "partition"), [("eu-central-1", "aws"), ("us-gov-west-1", "aws-us-gov")])
def test_a_served_cloud_is_in_the_region_that_it_is_told(region: str, partition: str) -> None:
    with LocalServer(HELLO / "template.yaml", port=0, stack_name="hello", region=region) as server:
        assert greet(server, "Ada") == {"greeting": "hello Ada"}
        with urllib.request.urlopen(f"{outputs(server)['ApiUrl']}/greet/Ada", timeout=30) as answer:
            assert json.loads(answer.read()) == {"greeting": "hello Ada"}
        client(server, "events").put_events(Entries=[{"Source": "hello", "DetailType": "Noted", "Detail": "{}"}])
        s3, bucket = client(server, "s3"), outputs(server)["BucketName"]
        assert eventually(lambda: s3.list_objects_v2(Bucket=bucket, Prefix="notes/")["KeyCount"]) == 1
        function = client(server, "lambda").get_function(FunctionName=outputs(server)["GreetFunctionName"])
        assert function["Configuration"]["FunctionArn"].startswith(f"arn:{partition}:lambda:{region}:")
        assert f"  export AWS_DEFAULT_REGION={region}" in introduction(server)


def test_the_registry_of_a_served_cloud_is_in_its_region(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(
        "Parameters: {MlflowTrackingUri: {Type: String, Default: ''}}\nResources: {Kept: {Type: AWS::S3::Bucket}}\n"
    )
    with LocalServer(template, port=0, region="eu-central-1") as server:
        assert server.mlflow_url is not None
        where = client(server, "s3").get_bucket_location(Bucket=TRACKING_BUCKET)
        assert where["LocationConstraint"] == "eu-central-1"


def test_boto3_invokes_a_deployed_function_in_a_process_of_its_own(server: LocalServer) -> None:
    assert greet(server, "Ada") == {"greeting": "hello Ada"}


def test_a_failing_function_is_a_function_error(server: LocalServer) -> None:
    function = outputs(server)["GreetFunctionName"]
    answer = client(server, "lambda").invoke(FunctionName=function, Payload=b'{"name": "nobody"}')
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"].read())["errorMessage"] == "nobody is not a name"


def test_the_stacks_api_address_answers(server: LocalServer) -> None:
    url = outputs(server)["ApiUrl"]
    assert url.startswith(server.url)
    with urllib.request.urlopen(f"{url}/greet/Grace%20Hopper", timeout=30) as answer:
        assert json.loads(answer.read()) == {"greeting": "hello Grace Hopper"}
        assert answer.headers["content-type"] == "application/json"
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(f"{url}/nothing/here", timeout=30)
    assert missing.value.code == 404
    assert json.loads(missing.value.read()) == {"message": "Not Found"}


def test_an_event_reaches_a_function_that_calls_back_into_the_server(server: LocalServer) -> None:
    entry = {"Source": "hello", "DetailType": "Noted", "Detail": '{"word": "drift"}'}
    event_id = client(server, "events").put_events(Entries=[entry])["Entries"][0]["EventId"]
    s3 = client(server, "s3")
    bucket = outputs(server)["BucketName"]
    note = eventually(lambda: s3.get_object(Bucket=bucket, Key=f"notes/{event_id}.json"))
    assert json.loads(note["Body"].read()) == {"word": "drift"}


def test_many_clients_at_once_do_not_lock_each_other_out(server: LocalServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    events, bucket = client(server, "events"), outputs(server)["BucketName"]
    with ThreadPoolExecutor(4) as pool:
        greetings = list(pool.map(lambda n: greet(server, str(n)), range(8)))
        entries = [{"Source": "hello", "DetailType": "Noted", "Detail": json.dumps({"n": n})} for n in range(8)]
        ids = list(pool.map(lambda e: events.put_events(Entries=[e])["Entries"][0]["EventId"], entries))
    assert greetings == [{"greeting": f"hello {n}"} for n in range(8)]
    s3 = client(server, "s3")
    for event_id in ids:
        key = f"notes/{event_id}.json"
        eventually(lambda key=key: s3.head_object(Bucket=bucket, Key=key))  # type: ignore[misc]


def test_an_unknown_function_is_an_aws_error(server: LocalServer) -> None:
    with pytest.raises(ClientError) as refused:
        client(server, "lambda").invoke(FunctionName="nobody", Payload=b"{}")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("sagemaker", "delete_training_job", {"TrainingJobName": "x"}),
        ("cloudformation", "describe_type", {"TypeName": "AWS::Batch::JobQueue", "Type": "RESOURCE"}),
        ("lambda", "get_account_settings", {}),
        ("cloudwatch", "describe_anomaly_detectors", {}),
    ],
)
def test_what_is_not_implemented_is_an_aws_error_too(
    server: LocalServer, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(client(server, service), operation)(**arguments)
    assert refused.value.response["Error"]["Code"]
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 400


def test_a_training_job_ends_when_its_process_does(server: LocalServer) -> None:
    s3, sagemaker = client(server, "s3"), client(server, "sagemaker")
    bucket = outputs(server)["BucketName"]
    allow(server.cloud, "training", "s3:GetObject", "s3:PutObject")
    s3.put_object(Bucket=bucket, Key="source.tar.gz", Body=_source("print('accuracy=0.9')"))
    sagemaker.create_training_job(
        TrainingJobName="in-real-time",
        RoleArn="arn:aws:iam::123456789012:role/training",
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        HyperParameters={"sagemaker_program": "train.py", "sagemaker_submit_directory": f"s3://{bucket}/source.tar.gz"},
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/models"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )

    def ended() -> Any:
        job = sagemaker.describe_training_job(TrainingJobName="in-real-time")
        return job if job["TrainingJobStatus"] != "InProgress" else None

    assert eventually(ended)["TrainingJobStatus"] == "Completed"
    s3.head_object(Bucket=bucket, Key="models/in-real-time/output/model.tar.gz")


def test_a_template_that_cannot_be_honoured_is_refused(server: LocalServer) -> None:
    template = yaml.safe_dump({"Resources": {"Odd": {"Type": "AWS::Batch::JobQueue", "Properties": {}}}})
    with pytest.raises(ClientError) as refused:
        client(server, "cloudformation").create_stack(StackName="odd", TemplateBody=template)
    error = refused.value.response["Error"]
    assert error["Code"] == "ValidationError"
    assert "Odd (AWS::Batch::JobQueue)" in error["Message"]


def test_a_stack_whose_resource_fails_is_rolled_back(server: LocalServer) -> None:
    cloudformation, dynamodb = client(server, "cloudformation"), client(server, "dynamodb")
    key: dict[str, Any] = {
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    dynamodb.create_table(TableName="taken", **key)
    template = {
        "Resources": {
            "First": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "first"}},
            "Second": {"Type": "AWS::DynamoDB::Table", "Properties": {"TableName": "taken", **key}},
        }
    }
    made = cloudformation.create_change_set(
        StackName="half", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=json.dumps(template)
    )
    cloudformation.execute_change_set(ChangeSetName=made["Id"], StackName="half")
    stack = cloudformation.describe_stacks(StackName="half")["Stacks"][0]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    reasons = [event.get("ResourceStatusReason", "") for event in _events(cloudformation, "half")]
    assert any("Table already exists: taken" in reason for reason in reasons), reasons
    assert not client(server, "sqs").list_queues(QueueNamePrefix="first").get("QueueUrls")
    assert "taken" in dynamodb.list_tables()["TableNames"], "what was there before stays"


def test_an_update_that_fails_brings_the_old_stack_back(server: LocalServer) -> None:
    cloudformation, sqs = client(server, "cloudformation"), client(server, "sqs")
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "kept", "VisibilityTimeout": 30}}
    cloudformation.create_stack(StackName="kept", TemplateBody=json.dumps({"Resources": {"Queue": queue}}))
    changed = {
        "Queue": queue | {"Properties": {"QueueName": "kept", "VisibilityTimeout": 60}},
        "Odd": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {"FunctionName": "gone", "Action": "x", "Principal": "y"},
        },
    }
    made = cloudformation.create_change_set(
        StackName="kept",
        ChangeSetName="second",
        ChangeSetType="UPDATE",
        TemplateBody=json.dumps({"Resources": changed}),
    )
    cloudformation.execute_change_set(ChangeSetName=made["Id"], StackName="kept")
    assert cloudformation.describe_stacks(StackName="kept")["Stacks"][0]["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    url = sqs.get_queue_url(QueueName="kept")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    assert attributes == {"VisibilityTimeout": "30"}
    cloudformation.delete_stack(StackName="kept")


def test_a_stack_is_deleted_latest_first_and_says_what_it_could_not_delete(server: LocalServer) -> None:
    cloudformation, dynamodb = client(server, "cloudformation"), client(server, "dynamodb")
    schedule = {
        "GroupName": {"Ref": "Group"},
        "ScheduleExpression": "rate(1 day)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": {"Fn::GetAtt": ["Queue", "Arn"]}, "RoleArn": "arn:aws:iam::123456789012:role/scheduler"},
    }
    resources = {
        "Group": {"Type": "AWS::Scheduler::ScheduleGroup", "Properties": {"Name": "nightly"}},
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Schedule": {"Type": "AWS::Scheduler::Schedule", "Properties": schedule},
        "Guarded": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": "guarded",
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST",
                "DeletionProtectionEnabled": True,
            },
        },
    }
    cloudformation.create_stack(StackName="goes", TemplateBody=json.dumps({"Resources": resources}))
    cloudformation.delete_stack(StackName="goes")
    stack = cloudformation.describe_stacks(StackName="goes")["Stacks"][0]
    assert stack["StackStatus"] == "DELETE_FAILED"
    assert "Guarded: " in _events(cloudformation, "goes")[0]["ResourceStatusReason"]
    dynamodb.update_table(TableName="guarded", DeletionProtectionEnabled=False)
    cloudformation.delete_stack(StackName="goes")
    with pytest.raises(ClientError, match="does not exist"):
        cloudformation.describe_stacks(StackName="goes")
    groups = client(server, "scheduler").list_schedule_groups()["ScheduleGroups"]
    assert "nightly" not in [group["Name"] for group in groups]


def test_the_server_starts_on_a_free_port_only() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"Port {port} is taken"):
            LocalServer(port=port).start()


def test_addresses_of_apis_become_local() -> None:
    text = "https://a1b2.execute-api.eu-west-1.amazonaws.com/prod"
    assert local_address(text, "http://localhost:1") == "http://localhost:1/_api/a1b2/prod"
    assert local_address("https://example.com", "http://localhost:1") == "https://example.com"


def test_sam_deploys_changes_and_deletes_a_stack(server: LocalServer, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(HELLO, project)
    client(server, "s3").create_bucket(Bucket="deploy-bucket")
    deploy = ["deploy", "--stack-name", "by-sam", "--s3-bucket", "deploy-bucket", "--no-confirm-changeset"]
    deploy += ["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

    first = run_sam(server.url, project, tmp_path, *deploy)
    assert "Successfully created/updated stack - by-sam" in first
    assert "ApiUrl" in first, "sam prints the stack's outputs"
    assert greet(server, "Ada", "by-sam") == {"greeting": "hello Ada"}

    code = project / "greet" / "app.py"
    code.write_text(code.read_text().replace('{name}"}', '{name}!"}'))
    run_sam(server.url, project, tmp_path, *deploy, "--parameter-overrides", "Word=goodbye")
    assert greet(server, "Ada", "by-sam") == {"greeting": "goodbye Ada!"}
    with urllib.request.urlopen(f"{outputs(server, 'by-sam')['ApiUrl']}/greet/Ada", timeout=30) as answer:
        assert json.loads(answer.read()) == {"greeting": "goodbye Ada!"}

    assert "No changes to deploy" in run_sam(
        server.url, project, tmp_path, *deploy, "--parameter-overrides", "Word=goodbye", "--no-fail-on-empty-changeset"
    )

    run_sam(server.url, project, tmp_path, "delete", "--stack-name", "by-sam", "--no-prompts", "--region", "us-east-1")
    with pytest.raises(ClientError, match="does not exist"):
        outputs(server, "by-sam")
    functions = client(server, "lambda").list_functions()["Functions"]
    assert not [function for function in functions if "by-sam" in function["FunctionName"]]


def test_up_serves_until_down(tmp_path: Path) -> None:
    command = (
        "from pathlib import Path; from local_cloud.server.server import up;"
        f"up(Path({str(HELLO / 'template.yaml')!r}), port=0, state_dir=Path('.evergreen'),"
        " say=lambda line: print(line, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        running = eventually(lambda: running_server(tmp_path / ".evergreen"), seconds=60)
        assert running["pid"] == process.pid
        with pytest.raises(ServerError, match="already runs"):
            up(None, port=0, state_dir=tmp_path / ".evergreen")
        assert down(tmp_path / ".evergreen") is True
        said, _ = process.communicate(timeout=30)
        assert f"export AWS_ENDPOINT_URL={running['url']}" in said
        assert f"The HTTP API is at {running['url']}/_api/" in said
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
    assert down(tmp_path / ".evergreen") is False
    assert not (tmp_path / ".evergreen" / "local.json").exists()


def _source(code: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("train.py")
        member.size = len(code.encode())
        archive.addfile(member, io.BytesIO(code.encode()))
    return packed.getvalue()


def _events(cloudformation: Any, stack: str) -> list[dict[str, Any]]:
    return list(cloudformation.describe_stack_events(StackName=stack)["StackEvents"])
