"""Train on a table as a training job would: under SageMaker's container contract, or as a job of a local cloud."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from evergreen.domain.training_jobs import TrainingRequest
from evergreen.domain.uris import split_uri, uri_of
from evergreen.errors import EvergreenError
from evergreen.formats.keys import ArtifactPrefix
from evergreen.model.archive import unpack
from evergreen.spec import ModelSpec
from evergreen.training.source import PROGRAM, pack_source
from evergreen.usecases.launch_training import recipe
from evergreen_ops.replay.driver import outcome_table
from evergreen_ops.replay.streams import Stream
from local_cloud.services.sagemaker.training import container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_cloud.cloud import LocalCloud

BUCKET = "evergreen-train"
ROWS_KEY, SOURCE_KEY, MANIFEST_KEY = "rows/rows.parquet", "sourcedir.tar.gz", "manifest.json"
LONGEST = timedelta(days=1)
ARCHIVE = "model.tar.gz"
MODEL_FILE, FACTS_FILE, REFERENCE_FILE = "model.onnx", "model.json", "reference.json"
_START = datetime(2000, 1, 1, tzinfo=UTC)
_LOGS = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/sagemaker/TrainingJobs*"
_STACK = {
    "Resources": {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}},
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Effect": "Allow",
                        "Principal": {"Service": "sagemaker.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    },
                },
                "Policies": [
                    {
                        "PolicyName": "rows-and-model",
                        "PolicyDocument": {
                            "Version": "2012-10-17",
                            "Statement": [
                                {
                                    "Effect": "Allow",
                                    "Action": ["s3:GetObject", "s3:PutObject"],
                                    "Resource": {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{BUCKET}/*"},
                                },
                                {
                                    "Effect": "Allow",
                                    "Action": "s3:ListBucket",
                                    "Resource": {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{BUCKET}"},
                                },
                                {
                                    "Effect": "Allow",
                                    "Action": [
                                        "logs:CreateLogGroup",
                                        "logs:CreateLogStream",
                                        "logs:DescribeLogStreams",
                                        "logs:PutLogEvents",
                                    ],
                                    "Resource": {"Fn::Sub": _LOGS},
                                },
                                {"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*"},
                            ],
                        },
                    }
                ],
            },
        },
    },
    "Outputs": {"RoleArn": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}}},
}
_TELLS = ("MLFLOW_TRACKING_URI",)
Say = Callable[[str], None]


class TrainingRunError(EvergreenError):
    """A training that failed, with the job's own reason."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is trained: a recipe, and the rows as a job finds them in its channel."""

    spec: ModelSpec
    rows: bytes  # Parquet

    @property
    def name(self) -> str:
        """The job's name."""
        return f"{self.spec.model}-by-hand".replace("_", "-")

    @property
    def hyperparameters(self) -> dict[str, str]:
        """As a job takes them."""
        return {name: json.dumps(value) for name, value in recipe(self.spec).items()}


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a training left.

    Parameters
    ----------
    artifact
        model.tar.gz.
    seconds
        How long the job took.
    """

    artifact: bytes
    seconds: float

    @property
    def sha256(self) -> str:
        """The artifact's hash, by which a version of it would be known."""
        return hashlib.sha256(self.artifact).hexdigest()

    @property
    def files(self) -> dict[str, bytes]:
        """The artifact's files: model.onnx, model.json and reference.json."""
        return unpack(self.artifact, (MODEL_FILE, FACTS_FILE, REFERENCE_FILE))

    @property
    def facts(self) -> dict[str, Any]:
        """What model.json says."""
        facts: dict[str, Any] = json.loads(self.files["model.json"])
        return facts

    def write(self, folder: Path) -> Path:
        """Write the artifact and its files into a folder; answers the artifact's path."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {**self.files, ARCHIVE: self.artifact}.items():
            (folder / name).write_bytes(content)
        return folder / ARCHIVE

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data."""
        facts = self.facts
        return {
            "model": facts["model"],
            "task": facts["task"],
            "estimator": facts["estimator"],
            "params": facts["params"],
            "rows_trained": facts["rows_trained"],
            "rows_validated": facts["rows_validated"],
            "trained_from": facts["trained_from"],
            "trained_until": facts["trained_until"],
            "metrics": {name: facts["metrics"][name] for name in ("validation", "baseline")},
            "leaks": facts["leaks"],
            "onnx_max_difference": facts["onnx_max_difference"],
            "sha256": self.sha256,
            "bytes": len(self.artifact),
            "seconds": round(self.seconds, 1),
        }


def trial(stream: Stream, training: Mapping[str, Any]) -> Trial:
    """Return the training of a stream's labelled rows.

    Parameters
    ----------
    stream
        Its rows and features; rows without a label are left out.
    training
        Keys of a spec's ``training`` section.

    Raises
    ------
    SpecError
        The section says what it can't.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from evergreen_ops.replay.streams import read_table
    >>> stream = read_table(pa.table({"x": range(40), "label": [0, 1] * 20}), name="tiny", fewest_rows=20)
    >>> trial(stream, {"estimator": "LogisticRegression", "params": {}}).name
    'tiny-by-hand'
    """
    spec = ModelSpec.parse(
        {
            "model": stream.name[:40],
            "task": stream.task,
            "features": {name: {"type": kind} for name, kind in stream.features.items()},
            "labels": {"classes": list(stream.classes) if stream.classes else None},
            "training": dict(training),
        }
    )
    labelled = np.flatnonzero(stream.labelled)
    width = len(str(stream.rows))
    table = outcome_table(stream, spec, labelled, [f"row-{row:0{width}d}" for row in labelled])
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return Trial(spec, sink.getvalue())


def train_here(given: Trial, say: Say) -> TrainedModel:
    """Train in a process of this machine that finds what a job finds in its container, and no cloud.

    Raises
    ------
    TrainingRunError
        The job's failure file, or how it ended.
    """
    store = _Given({ROWS_KEY: given.rows, SOURCE_KEY: pack_source()})
    request = container.TrainingRequest(
        name=given.name,
        hyperparameters={
            **given.hyperparameters,
            "sagemaker_program": PROGRAM,
            "sagemaker_submit_directory": uri_of(BUCKET, SOURCE_KEY),
        },
        channels=(container.Channel("training", container.S3DataType.PREFIX, uri_of(BUCKET, "rows/")),),
        environment=_environment(),
        max_runtime_seconds=LONGEST.total_seconds(),
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="evergreen-train-", ignore_cleanup_errors=True) as folder:
        job = container.Container(Path(folder), request)
        job.prepare(store)
        process = job.start(stop_grace_seconds=container.STOP_GRACE_SECONDS)
        try:
            ending = _followed(process, job, say)
        finally:
            process.kill()
        if ending.exit_code != 0:
            raise TrainingRunError(f"training failed: {job.failure_reason(ending.exit_code)}")
        return TrainedModel(container.tarball(job.model), time.perf_counter() - started)


def train_in_local_cloud(given: Trial, say: Say) -> TrainedModel:
    """Train by CreateTrainingJob of a local cloud, with the request that launch_training's adapter makes.

    Raises
    ------
    TrainingRunError
        The job's FailureReason.
    """
    from evergreen.aws.trainer import SageMakerTrainer

    started = time.perf_counter()
    with _bucket({ROWS_KEY: given.rows, SOURCE_KEY: pack_source(), MANIFEST_KEY: _manifest()}) as cloud:
        trainer = SageMakerTrainer(
            cloud.client("sagemaker"),
            stack=cloud.stack_name,
            role_arn=cloud.outputs["RoleArn"],
            image="local",
            mlflow_tracking_uri=_environment().get(_TELLS[0], ""),
        )
        training = given.spec.training
        trainer.start(
            TrainingRequest(
                job_name=given.name,
                model=given.spec.model,
                hyperparameters=given.hyperparameters,
                source=uri_of(BUCKET, SOURCE_KEY),
                manifest=uri_of(BUCKET, MANIFEST_KEY),
                production=None,
                output=uri_of(BUCKET, ArtifactPrefix.MODELS),
                instance_type=training.instance_type,
                instance_count=training.instance_count,
                volume_gb=training.volume_gb,
                max_runtime=LONGEST,
            )
        )
        say(f"job {given.name} runs in the local cloud")
        cloud.advance(cloud.clock.now + timedelta(seconds=cloud.options.training_seconds))
        for line in _log(cloud, given.name):
            say(line)
        status = trainer.status(given.name)
        if status is None or status.status != "Completed" or status.artifact is None:
            raise TrainingRunError(f"training failed: {status.reason if status else 'the job is gone'}")
        found = cloud.client("s3").get_object(Bucket=BUCKET, Key=split_uri(status.artifact)[1])
        return TrainedModel(found["Body"].read(), time.perf_counter() - started)


class _Given:
    """Objects in this process's memory."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._objects = objects

    def read(self, bucket: str, key: str) -> bytes:
        if bucket != BUCKET or key not in self._objects:
            raise container.DataDownloadError(f"there is no object {uri_of(bucket, key)}")
        return self._objects[key]

    def keys(self, bucket: str, prefix: str) -> list[str]:
        return sorted(key for key in self._objects if bucket == BUCKET and key.startswith(prefix))


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _TELLS if os.environ.get(name)}


def _followed(process: container.TrainingProcess, job: container.Container, say: Say) -> container.Ending:
    """Wait for the process and tell its lines as they come."""
    import threading

    ended = threading.Event()
    process.when_ended(ended.set)
    told = 0
    while True:
        over = ended.wait(0.2)
        lines = job.log_text().splitlines()
        for line in lines[told : None if over else max(told, len(lines) - 1)]:  # the last line may still be written
            if line != container.REQUIREMENTS_NOTE:
                say(line)
        told = max(told, len(lines) if over else len(lines) - 1)
        if over:
            return process.wait()


def _manifest() -> bytes:
    return json.dumps([{"prefix": uri_of(BUCKET, "")}, ROWS_KEY]).encode()


@contextmanager
def _bucket(objects: Mapping[str, bytes]) -> Iterator[LocalCloud]:
    from local_cloud.cloud import LocalCloud

    with LocalCloud(_START) as cloud:
        cloud.deploy_stack(_STACK, stack_name="train")
        for key, content in objects.items():
            cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)
        yield cloud


def _log(cloud: LocalCloud, name: str) -> list[str]:
    """What the job printed; nothing of one that could not be started."""
    from local_cloud.services.sagemaker.training.jobs import LOG_GROUP

    logs = cloud.client("logs")
    try:
        streams = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    events = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=streams[0]["logStreamName"])["events"]
    return [event["message"] for event in events if event["message"] != container.REQUIREMENTS_NOTE]
