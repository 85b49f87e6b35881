"""Training jobs that really train: processes under SageMaker's container contract, on the cloud's clock."""

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.sagemaker.models import SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse
from training_world import BUCKET, START, TEMPLATE, TIDIES_UP, World, wait_for_output

from local_cloud.cloud import LocalCloud
from local_cloud.services.sagemaker.training.container import (
    Channel,
    DataDownloadError,
    S3DataType,
    TrainingRequest,
    download_channel,
    tarball,
)

TRAINS = """
import argparse, json, os, pathlib
arguments = argparse.ArgumentParser()
arguments.add_argument("--trees", type=int)
arguments.add_argument("--label")
given = arguments.parse_args()
rows = sorted(path.name for path in pathlib.Path(os.environ["SM_CHANNEL_TRAINING"]).rglob("*") if path.is_file())
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
(model / "model.json").write_text(json.dumps({"rows": rows, "trees": given.trees, "label": given.label}))
print("accuracy=0.50")
print("accuracy=0.75")
"""
FAILS_WITH_WORDS = """
import os, pathlib, sys
failure = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "output", "failure")
failure.write_text("only 3 rows; 100 are needed" + "." * 2000)
sys.exit(1)
"""
EXITS = "import sys; print('about to go'); sys.exit(7)"
SLEEPS = "import time; print('asleep', flush=True); time.sleep(300)"
WILL_NOT_STOP = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('no', flush=True); time.sleep(300)"
)
TELLS_ENVIRONMENT = """
import json, os, pathlib, sys
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
told = {"environment": dict(os.environ), "path": sys.path, "arguments": sys.argv[1:]}
for name in ("hyperparameters", "inputdataconfig", "resourceconfig"):
    told[name] = json.loads((base / "input" / "config" / f"{name}.json").read_text())
pathlib.Path(os.environ["SM_MODEL_DIR"], "told.json").write_text(json.dumps(told))
"""
KEEPS_A_CHECKPOINT = """
import os, pathlib
counter = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints", "epoch.txt")
counter.write_text(str(int(counter.read_text()) + 1 if counter.exists() else 1))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "curve.csv").write_text("1,2")
"""


@pytest.fixture
def world() -> Iterator[World]:
    with LocalCloud(START) as cloud:
        cloud.deploy_stack(TEMPLATE, stack_name="training")
        yield World(cloud)


def rows_channel(kind: str = "S3Prefix", uri: str = f"s3://{BUCKET}/rows/") -> list[dict[str, Any]]:
    source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return [{"ChannelName": "training", "DataSource": {"S3DataSource": source}, "CompressionType": "None"}]


def script(**hyperparameters: str) -> dict[str, str]:
    own = {"sagemaker_program": "train.py", "sagemaker_submit_directory": f"s3://{BUCKET}/source/sourcedir.tar.gz"}
    return own | hyperparameters


def test_a_job_trains_and_leaves_a_model(world: World) -> None:
    world.given_script(TRAINS)
    world.given_rows("a.csv", "b.csv")
    world.when_started(InputDataConfig=rows_channel(), HyperParameters=script(trees="200", label='"late"'))
    assert world.job()["TrainingJobStatus"] == "InProgress"
    world.when_it_ends()
    job = world.job()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/models/fraud-1/output/model.tar.gz"
    assert json.loads(world.model()["model.json"]) == {"rows": ["a.csv", "b.csv"], "trees": 200, "label": "late"}
    assert job["FinalMetricDataList"][0]["MetricName"] == "accuracy"
    assert job["FinalMetricDataList"][0]["Value"] == 0.75, "the last value counts"
    assert world.log() == ["accuracy=0.50", "accuracy=0.75"]


def test_a_job_takes_its_time_on_the_virtual_clock(world: World) -> None:
    world.given_script("pass")
    world.when_started()
    world.cloud.advance(START + timedelta(seconds=599))
    assert world.job()["TrainingJobStatus"] == "InProgress"
    world.cloud.advance(START + timedelta(seconds=600))
    job = world.job()
    assert job["TrainingJobStatus"] == "Completed"
    assert job["CreationTime"] == START
    assert job["TrainingEndTime"] == START + timedelta(seconds=600)
    assert job["TrainingTimeInSeconds"] == 600


def test_every_change_is_told_on_the_bus(world: World) -> None:
    world.given_script("pass")
    world.when_started(Tags=[{"Key": "evergreen:model", "Value": "fraud"}])
    world.when_it_ends()
    events = world.events()
    told = [(event["detail"]["TrainingJobStatus"], event["detail"]["SecondaryStatus"]) for event in events]
    assert told == [
        ("InProgress", "Starting"),
        ("InProgress", "Downloading"),
        ("InProgress", "Training"),
        ("InProgress", "Uploading"),
        ("Completed", "Completed"),
    ]
    last = events[-1]
    assert (last["source"], last["time"]) == ("aws.sagemaker", "2013-01-01T00:10:00Z")
    assert last["resources"] == [last["detail"]["TrainingJobArn"]]
    assert last["detail"]["CreationTime"] == str(int(START.timestamp() * 1000))
    assert last["detail"]["TrainingEndTime"] == str(int((START + timedelta(minutes=10)).timestamp() * 1000))
    assert last["detail"]["Tags"] == {"evergreen:model": "fraud"}
    artifact = f"s3://{BUCKET}/models/fraud-1/output/model.tar.gz"
    assert last["detail"]["ModelArtifacts"] == {"S3ModelArtifacts": artifact}


def test_the_words_a_script_leaves_are_why_it_failed(world: World) -> None:
    world.given_script(FAILS_WITH_WORDS)
    world.when_started()
    world.when_it_ends()
    job = world.job()
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("only 3 rows; 100 are needed")
    assert len(job["FailureReason"]) == 1024
    assert world.events()[-1]["detail"]["FailureReason"] == job["FailureReason"]
    assert "ModelArtifacts" not in job


def test_a_script_that_only_exits_is_quoted(world: World) -> None:
    world.given_script(EXITS)
    world.when_started()
    world.when_it_ends()
    assert world.job()["FailureReason"] == "AlgorithmError: about to go, exit code: 7"


def test_a_job_can_be_stopped_and_keeps_what_it_has(world: World) -> None:
    world.given_script(TIDIES_UP)
    world.when_started()
    wait_for_output(world, "ready")
    world.cloud.client("sagemaker").stop_training_job(TrainingJobName="fraud-1")
    assert world.job()["TrainingJobStatus"] == "Stopping"
    world.when_it_ends()
    assert world.job()["TrainingJobStatus"] == "Stopped"
    assert world.model() == {"partial.txt": b"so far"}
    statuses = [event["detail"]["TrainingJobStatus"] for event in world.events()]
    assert statuses[-1] == "Stopped"
    assert statuses.count("Stopped") == 1
    assert "Completed" not in statuses
    with pytest.raises(ClientError, match="in status Stopped"):
        world.cloud.client("sagemaker").stop_training_job(TrainingJobName="fraud-1")


def test_a_script_that_will_not_stop_is_killed(world: World) -> None:
    world.cloud.training_jobs.stop_grace_seconds = 0.3
    world.given_script(WILL_NOT_STOP)
    world.when_started()
    wait_for_output(world, "no")
    world.cloud.client("sagemaker").stop_training_job(TrainingJobName="fraud-1")
    world.when_it_ends()
    assert world.job()["TrainingJobStatus"] == "Stopped"


def test_a_job_that_runs_too_long_is_stopped_in_real_time(world: World) -> None:
    world.given_script(SLEEPS)
    started = time.monotonic()
    world.when_started(StoppingCondition={"MaxRuntimeInSeconds": 1})
    world.when_it_ends()
    assert time.monotonic() - started < 30
    job = world.job()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_manifest_names_its_objects(world: World) -> None:
    world.given_script(TRAINS)
    world.given_rows("a.csv", "b.csv", "deep/c.csv")
    manifest = [{"prefix": f"s3://{BUCKET}/rows/"}, "a.csv", "deep/c.csv"]
    world.put("manifest.json", json.dumps(manifest).encode())
    world.when_started(InputDataConfig=rows_channel("ManifestFile", f"s3://{BUCKET}/manifest.json"))
    world.when_it_ends()
    assert json.loads(world.model()["model.json"])["rows"] == ["a.csv", "c.csv"]


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ([{"prefix": f"s3://{BUCKET}/rows/"}, "gone.csv"], f"There is no object s3://{BUCKET}/rows/gone.csv"),
        ([{"prefix": f"s3://{BUCKET}/"}, "../../../escaped"], "There is no object"),
        ({"prefix": "x"}, "is malformed"),
    ],
)
def test_a_bad_manifest_fails_the_job(world: World, manifest: object, reason: str) -> None:
    world.given_script(TRAINS)
    world.put("manifest.json", json.dumps(manifest).encode())
    world.when_started(InputDataConfig=rows_channel("ManifestFile", f"s3://{BUCKET}/manifest.json"))
    world.when_it_ends()
    job = world.job()
    assert job["TrainingJobStatus"] == "Failed"
    assert reason in job["FailureReason"]


def test_an_empty_prefix_fails_the_job_as_on_aws(world: World) -> None:
    world.given_script(TRAINS)
    world.when_started(InputDataConfig=rows_channel())
    world.when_it_ends()
    assert "No S3 objects found under S3 URL" in world.job()["FailureReason"]


def test_a_script_sees_the_contract_and_no_credentials(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the real one")
    monkeypatch.setenv("DEPLOY_TOKEN", "secret")
    world.given_script(TELLS_ENVIRONMENT)
    world.given_rows("a.csv")
    world.when_started(
        InputDataConfig=rows_channel(),
        HyperParameters=script(trees="200"),
        Environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001"},
    )
    world.when_it_ends()
    told = json.loads(world.model()["told.json"])
    environment = told["environment"]
    assert environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5001"
    assert environment["TRAINING_JOB_NAME"] == "fraud-1"
    assert environment["TRAINING_JOB_ARN"] == world.job()["TrainingJobArn"]
    assert json.loads(environment["SM_HPS"]) == {"trees": 200}
    assert environment["SM_CHANNEL_TRAINING"].endswith("/input/data/training")
    assert not {"AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "DEPLOY_TOKEN"} & set(environment)
    assert told["arguments"] == ["--trees", "200"]
    assert told["hyperparameters"] == script(trees="200")
    assert told["inputdataconfig"]["training"]["TrainingInputMode"] == "File"
    assert told["resourceconfig"]["hosts"] == ["algo-1"]
    assert not [entry for entry in told["path"] if entry.endswith(("layers/core", "/infra"))]


def test_an_isolated_job_takes_its_code_from_a_channel(world: World) -> None:
    world.given_script(TRAINS)
    world.given_rows("a.csv")
    code = rows_channel(uri=f"s3://{BUCKET}/source/sourcedir.tar.gz")[0] | {"ChannelName": "code"}
    where = {"sagemaker_submit_directory": "/opt/ml/input/data/code/sourcedir.tar.gz"}
    world.when_started(
        InputDataConfig=[*rows_channel(), code], HyperParameters=script() | where, EnableNetworkIsolation=True
    )
    world.when_it_ends()
    assert json.loads(world.model()["model.json"])["rows"] == ["a.csv"]


def test_code_that_is_in_no_channel_fails_the_job(world: World) -> None:
    world.when_started(HyperParameters=script() | {"sagemaker_submit_directory": "/opt/ml/input/data/code/x.tar.gz"})
    world.when_it_ends()
    assert "is in none of the channels" in world.job()["FailureReason"]


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        (
            {
                "AlgorithmSpecification": {
                    "TrainingImage": "683313688378.dkr.ecr.us-east-1.amazonaws.com/scikit-learn:1",
                    "TrainingInputMode": "File",
                }
            },
            "ecr:GetAuthorizationToken",
        ),
        ({"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}, "ec2:DescribeDhcpOptions"),
    ],
    ids=["an image", "a network"],
)
def test_what_the_role_may_not_prepare_fails_the_job(world: World, changes: dict[str, Any], action: str) -> None:
    world.given_script("print('never printed')")
    world.when_started(**changes)
    world.when_it_ends()
    assert world.job()["TrainingJobStatus"] == "Failed"
    assert f"not authorized to perform: {action} on resource" in world.job()["FailureReason"]


def test_a_key_is_used_by_the_role_whichever_of_its_names_is_given(world: World) -> None:
    kms, iam = world.cloud.client("kms"), world.cloud.client("iam")
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/rows", TargetKeyId=key["KeyId"])
    world.given_script("print('never printed')")
    encrypted = {
        "InstanceType": "ml.m5.large",
        "InstanceCount": 1,
        "VolumeSizeInGB": 10,
        "VolumeKmsKeyId": "alias/rows",
    }
    world.when_started("refused", ResourceConfig=encrypted)
    world.when_it_ends()
    assert "not authorized to perform: kms:CreateGrant" in world.job("refused")["FailureReason"]

    of_the_key = {"Effect": "Allow", "Action": "kms:CreateGrant", "Resource": key["Arn"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [of_the_key]})
    iam.put_role_policy(RoleName="training", PolicyName="encrypted", PolicyDocument=policy)
    world.when_started("allowed", ResourceConfig=encrypted)
    world.when_it_ends()
    assert world.job("allowed")["TrainingJobStatus"] == "Completed"


def test_a_role_that_does_not_let_sagemaker_in_is_refused(world: World) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    world.cloud.client("iam").update_assume_role_policy(RoleName="training", PolicyDocument=policy)
    world.given_script("print('never printed')")
    with pytest.raises(ClientError, match="Could not assume role"):
        world.when_started()


def test_a_job_without_checkpoints_has_no_folder_for_them(world: World) -> None:
    world.given_script(
        "import os, pathlib; print(pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'], 'checkpoints').exists())"
    )
    world.when_started()
    world.when_it_ends()
    assert world.log() == ["False"]


def test_checkpoints_and_other_output_go_back_to_s3(world: World) -> None:
    world.given_script(KEEPS_A_CHECKPOINT)
    for name in ("fraud-1", "fraud-2"):
        world.when_started(name, CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/"})
        world.when_it_ends()
    assert world.get("checkpoints/epoch.txt") == b"2"
    with tarfile.open(fileobj=io.BytesIO(world.get("models/fraud-2/output/output.tar.gz"))) as archive:
        assert archive.getnames() == ["curve.csv"]


def test_the_same_job_gives_the_same_bytes(world: World) -> None:
    world.given_script(TRAINS)
    world.given_rows("a.csv")
    for name in ("fraud-1", "fraud-2"):
        world.when_started(name, InputDataConfig=rows_channel())
        world.when_it_ends()
        time.sleep(0.01)
    assert world.get("models/fraud-1/output/model.tar.gz") == world.get("models/fraud-2/output/model.tar.gz")


def test_a_name_is_never_freed(world: World) -> None:
    world.given_script("pass")
    world.when_started()
    with pytest.raises(ClientError) as refused:
        world.when_started()
    error = refused.value.response["Error"]
    assert error["Code"] == "ResourceInUse"
    assert "a training job with this name already exists (arn:aws:sagemaker:" in error["Message"]
    world.when_it_ends()
    with pytest.raises(ClientError, match="already exists"):
        world.when_started()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"RetryStrategy": {"MaximumRetryAttempts": 2}}, "RetryStrategy is not supported"),
        ({"HyperParameters": {}}, "sagemaker_program is missing"),
        ({"HyperParameters": script(long="x" * 2501)}, "less than or equal to 2500"),
        ({"Environment": {"LONG": "x" * 513}}, "less than or equal to 512"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}}, "one instance"),
        ({"InputDataConfig": rows_channel("AugmentedManifestFile")}, "AugmentedManifestFile"),
    ],
)
def test_what_cannot_be_run_is_refused(world: World, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ClientError, match="ValidationException") as refused:
        world.when_started(**changes)
    assert reason in refused.value.response["Error"]["Message"]


def test_jobs_are_listed_filtered_then_cut(world: World) -> None:
    world.given_script("pass")
    for name in ("fraud-1", "churn-1", "fraud-2"):
        world.when_started(name)
        world.when_it_ends()
    world.when_started("fraud-3")
    sagemaker = world.cloud.client("sagemaker")
    page = sagemaker.list_training_jobs(NameContains="fraud", StatusEquals="Completed", MaxResults=1)
    assert [job["TrainingJobName"] for job in page["TrainingJobSummaries"]] == ["fraud-1"]
    rest = sagemaker.list_training_jobs(NameContains="fraud", StatusEquals="Completed", NextToken=page["NextToken"])
    assert [job["TrainingJobName"] for job in rest["TrainingJobSummaries"]] == ["fraud-2"]
    newest = sagemaker.list_training_jobs(SortBy="CreationTime", SortOrder="Descending", MaxResults=1)
    assert newest["TrainingJobSummaries"][0]["TrainingJobName"] == "fraud-3"
    late = sagemaker.list_training_jobs(CreationTimeAfter=START + timedelta(minutes=90))
    assert [job["TrainingJobName"] for job in late["TrainingJobSummaries"]] == ["fraud-2", "fraud-3"]


def test_a_cloud_that_closes_takes_its_jobs_with_it_and_gives_moto_back() -> None:
    with LocalCloud(START) as cloud:
        cloud.deploy_stack(TEMPLATE, stack_name="training")
        world = World(cloud)
        world.given_script("import os, time; print(os.getpid(), flush=True); time.sleep(300)")
        world.when_started()
        pid = int(wait_for_output(world))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "local_cloud" not in SageMakerResponse.create_training_job.__module__
    assert not hasattr(SageMakerResponse, "stop_training_job")


def test_what_is_replaced_is_still_there_in_moto() -> None:
    for owner, name in (
        (SageMakerResponse, "create_training_job"),
        (SageMakerResponse, "describe_training_job"),
        (SageMakerResponse, "list_training_jobs"),
        (SageMakerModelBackend, "describe_training_job"),
    ):
        assert callable(getattr(owner, name, None)), f"moto changed {owner.__name__}.{name}"


def test_a_channel_stays_in_its_directory(tmp_path: Path) -> None:
    class Everything:
        def read(self, bucket: str, key: str) -> bytes:
            return b'[{"prefix": "s3://b/"}, "../escaped"]'

        def keys(self, bucket: str, prefix: str) -> list[str]:
            return []

    channel = Channel("training", S3DataType.MANIFEST, "s3://b/manifest.json")
    with pytest.raises(DataDownloadError, match="would leave the channel's directory"):
        download_channel(channel, tmp_path / "training", Everything())
    assert not (tmp_path / "escaped").exists()


def test_an_archive_knows_nothing_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.txt").write_text("a")
    packed = tarball(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames() == ["a/a.txt", "b.txt"]
        assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in archive} == {
            (0, 0, 0, "", 0o644)
        }
    assert packed[4:8] == b"\0\0\0\0", "gzip keeps no time"


def test_hyperparameters_are_decoded_and_in_order() -> None:
    request = TrainingRequest("fraud-1", script(z="1", a='"x"', flag="true"))
    assert list(request.user_hyperparameters.items()) == [("a", "x"), ("flag", True), ("z", 1)]


# --- a command of the job's own ---------------------------------------------------------------------------------------

BRINGS_A_COMMAND = """
#!/bin/bash
set -e
python3 /opt/ml/input/data/drivers/driver.py "$(cat /opt/ml/input/data/training/a.csv)"
if [ -f /opt/ml/input/data/training/b.csv ]; then echo "two files" > /opt/ml/output/failure; exit 3; fi
"""
DRIVER = """
import json, pathlib, sys
hosts = json.loads(pathlib.Path("/opt/ml/input/config/resourceconfig.json").read_text())
pathlib.Path("/opt/ml/model/told.json").write_text(json.dumps({"row": sys.argv[1], "runs on": hosts}))
"""
ENTRYPOINT = {
    "ContainerEntrypoint": ["/bin/bash"],
    "ContainerArguments": ["-c", "chmod +x /opt/ml/input/data/drivers/run.sh && /opt/ml/input/data/drivers/run.sh"],
}


def given_drivers(world: World) -> list[dict[str, Any]]:
    world.put("drivers/run.sh", BRINGS_A_COMMAND.encode())
    world.put("drivers/driver.py", DRIVER.encode())
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/drivers/"}
    return [{"ChannelName": "drivers", "DataSource": {"S3DataSource": source}}, *rows_channel()]


def algorithm(**more: Any) -> dict[str, Any]:
    return {"TrainingImage": "image", "TrainingInputMode": "File", **more}


def test_a_job_runs_a_command_of_its_own_from_a_channel_of_its_own(world: World) -> None:
    """As the SageMaker Python SDK's ModelTrainer does: its drivers name /opt/ml, which is elsewhere here."""
    world.given_rows("a.csv")
    channels = given_drivers(world)
    world.when_started(AlgorithmSpecification=algorithm(**ENTRYPOINT), HyperParameters={}, InputDataConfig=channels)
    world.when_it_ends()
    assert world.job()["TrainingJobStatus"] == "Completed", world.job().get("FailureReason")
    told = json.loads(world.model()["told.json"])
    assert told["row"] == "a.csv"
    assert told["runs on"]["current_instance_type"] == "ml.m5.large"
    assert told["runs on"]["instance_groups"] == [
        {"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.large", "hosts": ["algo-1"]}
    ]


def test_what_the_command_writes_about_its_failure_is_the_jobs_reason(world: World) -> None:
    world.given_rows("a.csv", "b.csv")
    channels = given_drivers(world)
    world.when_started(AlgorithmSpecification=algorithm(**ENTRYPOINT), HyperParameters={}, InputDataConfig=channels)
    world.when_it_ends()
    assert (world.job()["TrainingJobStatus"], world.job()["FailureReason"].strip()) == ("Failed", "two files")


def test_arguments_for_an_image_that_does_not_run_here_are_refused(world: World) -> None:
    with pytest.raises(ClientError, match="no image runs here"):
        world.when_started(AlgorithmSpecification=algorithm(ContainerArguments=["train"]))


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_what_a_job_printed_of_its_metrics_is_in_cloudwatch(world: World) -> None:
    world.given_script("for n in (0.25, 0.5, 0.75): print(f'accuracy={n}')")
    world.when_started()
    world.when_it_ends()
    [point] = world.cloud.client("cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs",
        MetricName="accuracy",
        Dimensions=[{"Name": "TrainingJobName", "Value": "fraud-1"}],
        StartTime=START,
        EndTime=START + timedelta(hours=1),
        Period=3600,
        Statistics=["Average", "SampleCount"],
    )["Datapoints"]
    assert (point["Average"], point["SampleCount"]) == (0.5, 3)
