"""A served cloud that keeps its state in a folder: it comes back from an end, a kill, and with what ran."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_stacks import allow, client, client_at

from local_cloud.server import data_folder
from local_cloud.server.data_folder import DataFolder, DataFolderError, Saved
from local_cloud.server.running import running_server
from local_cloud.server.server import LocalServer, introduction

HELLO = Path(__file__).parent / "fixtures" / "hello"
TRAINS = "import time; time.sleep({seconds}); print('accuracy=0.9')"
SAYS = """
import pathlib
def model_fn(model_dir):
    return pathlib.Path(model_dir, "name").read_text()
def transform_fn(model, content, content_type, accept):
    return model, "text/plain"
"""


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def until(check: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 120
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def packed(**files: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("_py", ".py"))
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def url_of(server: LocalServer) -> str:
    told = client(server, "cloudformation").describe_stacks(StackName="hello")["Stacks"][0]
    return next(output["OutputValue"] for output in told["Outputs"] if output["OutputKey"] == "GreetFunctionName")


def test_a_stack_comes_back_and_answers_and_its_clock_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with LocalServer(HELLO / "template.yaml", port=0, stack_name="hello", data=data) as server:
        function = url_of(server)
        client(server, "lambda").invoke(FunctionName=function, Payload=b'{"name": "Ada"}')
        queue = client(server, "sqs").create_queue(QueueName="later")["QueueUrl"]
        server.advance(timedelta(days=1))
        client(server, "sqs").send_message(QueueUrl=queue, MessageBody="kept", DelaySeconds=900)
        now = server.cloud.clock.now
    with LocalServer(port=0, stack_name="hello", data=data) as server:
        assert 0 <= (server.cloud.clock.now - now).total_seconds() < 600, "it stood still meanwhile"
        answer = client(server, "lambda").invoke(FunctionName=function, Payload=b'{"name": "Grace"}')
        assert json.loads(answer["Payload"].read()) == {"greeting": "hello Grace"}
        queue = client(server, "sqs").get_queue_url(QueueName="later")["QueueUrl"]
        told = client(server, "sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        assert told["ApproximateNumberOfMessagesDelayed"] == "1"
        assert server.api_url() is not None
        assert "It came back with the stack hello; no template was deployed again." in introduction(server)


def test_a_cloud_comes_back_in_the_region_that_it_was_in_and_in_no_other(tmp_path: Path) -> None:
    with LocalServer(port=0, data=tmp_path, region="eu-central-1") as server:
        queue = server.cloud.client("sqs").create_queue(QueueName="kept")["QueueUrl"]
    with pytest.raises(DataFolderError, match="was kept in eu-central-1, not in us-gov-west-1: leave --region out"):
        LocalServer(port=0, data=tmp_path, region="us-gov-west-1").__enter__()
    with LocalServer(port=0, data=tmp_path) as server:
        assert server.cloud.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"] == queue
        assert server.cloud.place.region == "eu-central-1"


def test_a_job_under_way_is_started_anew_and_an_endpoint_answers_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with LocalServer(port=0, data=data) as server:
        s3, sagemaker = client(server, "s3"), client(server, "sagemaker")
        allow(server.cloud, "worker", "s3:GetObject", "s3:PutObject")
        role = "arn:aws:iam::123456789012:role/worker"
        s3.create_bucket(Bucket="models")
        s3.put_object(Bucket="models", Key="source.tar.gz", Body=packed(train_py=TRAINS.format(seconds=6)))
        s3.put_object(Bucket="models", Key="code.tar.gz", Body=packed(serve_py=SAYS))
        s3.put_object(Bucket="models", Key="model.tar.gz", Body=packed(name="first"))
        variables = {"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": "s3://models/code.tar.gz"}
        container = {"Image": "image", "ModelDataUrl": "s3://models/model.tar.gz", "Environment": variables}
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer=container)
        variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        until(lambda: sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService")
        sagemaker.create_training_job(
            TrainingJobName="long",
            RoleArn=role,
            AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
            HyperParameters={
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": "s3://models/source.tar.gz",
            },
            OutputDataConfig={"S3OutputPath": "s3://models/trained"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
            StoppingCondition={"MaxRuntimeInSeconds": 600},
        )
        assert sagemaker.describe_training_job(TrainingJobName="long")["TrainingJobStatus"] == "InProgress"
    with LocalServer(port=0, data=data) as server:
        asked = client(server, "sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"")
        assert asked["Body"].read() == b"first"
        sagemaker = client(server, "sagemaker")
        job = until(lambda: _ended(sagemaker.describe_training_job(TrainingJobName="long")))
        assert job["TrainingJobStatus"] == "Completed"
        steps = [step["Status"] for step in job["SecondaryStatusTransitions"]]
        assert steps.count("Starting") == 2
        assert steps[-1] == "Completed"


def _ended(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if job["TrainingJobStatus"] != "InProgress" else None


def test_a_killed_cloud_comes_back_as_it_was_kept_last(tmp_path: Path) -> None:
    command = (
        "from pathlib import Path; from local_cloud.server import server;"
        "server.SAVE_EVERY_SECONDS = 0.2;"
        "server.up(None, port=0, state_dir=Path('.evergreen'), data=Path('data'))"
    )
    process = subprocess.Popen([sys.executable, "-c", command], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        url = until(lambda: running_server(tmp_path / ".evergreen"))["url"]
        s3 = client_at(url, "s3")
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="k", Body=b"v")
        written = _stamp(tmp_path)
        until(lambda: _stamp(tmp_path) > written)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with LocalServer(port=0, data=tmp_path / "data") as server:
        assert client(server, "s3").get_object(Bucket="kept", Key="k")["Body"].read() == b"v"


def _stamp(tmp_path: Path) -> int:
    return (tmp_path / "data" / "state").stat().st_mtime_ns


# -- the folder itself -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder(tmp_path / "data") as folder:
        yield folder


def test_a_folder_gives_back_what_was_kept_last(folder: DataFolder) -> None:
    assert folder.read() is None
    for state in (b"one", b"two\n\0"):
        folder.write(Saved(state, {"port": 1}))
        assert folder.read() == Saved(state, {"port": 1})


def test_a_state_that_was_being_written_when_its_process_ended_is_not_read(folder: DataFolder) -> None:
    folder.write(Saved(b"whole", {}))
    (folder.path / "state.new").write_bytes(b"hal")
    found = folder.read()
    assert found is not None
    assert found.state == b"whole"


def test_a_folder_in_use_is_refused_until_it_is_let_go(folder: DataFolder) -> None:
    with pytest.raises(DataFolderError, match="in use by another local cloud"):
        DataFolder(folder.path)
    folder.close()
    DataFolder(folder.path).close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_state_in_which_any_byte_was_changed_is_refused(folder: DataFolder, where: float, change: int) -> None:
    folder.write(Saved(b"state " * 10, {"port": 1}))
    written = bytearray((folder.path / "state").read_bytes())
    written[int(where * len(written))] ^= change
    (folder.path / "state").write_bytes(written)
    with pytest.raises(DataFolderError):
        folder.read()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_what_is_no_state_is_refused(folder: DataFolder, content: bytes) -> None:
    (folder.path / "state").write_bytes(content)
    with pytest.raises(DataFolderError):
        folder.read()


def test_a_folder_that_somebody_else_wrote_is_refused(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(Saved(b"state", {}))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another home"))
    with pytest.raises(DataFolderError, match="was not written by this user on this machine"):
        folder.read()


@pytest.mark.parametrize("package", sorted(data_folder.versions_here()))
def test_a_folder_of_another_version_is_refused_by_name(
    folder: DataFolder, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(Saved(b"state", {}))
    here = data_folder.versions_here()
    monkeypatch.setattr(data_folder, "versions_here", lambda: here | {package: "0.0.1"})
    with pytest.raises(DataFolderError, match=rf"another version: {package} .* \(here: 0\.0\.1\)\. Start that version"):
        folder.read()


def test_the_key_is_the_users_alone(folder: DataFolder) -> None:
    folder.write(Saved(b"state", {}))
    key = data_folder.key_path()
    assert key.stat().st_mode & 0o077 == 0
    assert folder.path not in key.parents
    assert (folder.path / "state").stat().st_mode & 0o077 == 0
