"""SageMaker training jobs that really train: each is a process under the container contract.

They stand in place of moto's, which are complete the moment they are made and produce nothing. On a virtual clock the
process starts when the job is created and the job ends `Options.training_seconds` later; the agenda then waits for the
process. On the real clock the job ends when its process does.
"""

from __future__ import annotations

import enum
import functools
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from moto.core.responses import ActionResult
from moto.logs.models import logs_backends
from moto.s3.exceptions import MissingBucket
from moto.s3.models import s3_backends
from moto.sagemaker.exceptions import AWSValidationException, ResourceInUseException
from moto.sagemaker.models import FakeTrainingJob, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from local_cloud.kernel.callers import Caller, acting_as
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.courier import Emit
from local_cloud.kernel.gate import Gate
from local_cloud.kernel.measures import MetricKey, Record
from local_cloud.kernel.notices import Kind
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import here
from local_cloud.services.sagemaker.by_role import (
    first_refusal,
    not_assumed,
    of_a_log,
    of_a_network,
    of_a_volume,
    of_an_image,
    of_an_output,
    of_measures,
    session_of,
)
from local_cloud.services.sagemaker.training.container import (
    STOP_GRACE_SECONDS,
    Cause,
    Channel,
    Container,
    DataDownloadError,
    Ending,
    MetricDefinition,
    S3DataType,
    TrainingProcess,
    TrainingRequest,
    metrics_in,
    split_uri,
    tarball,
)

LOG_GROUP = METRICS = "/aws/sagemaker/TrainingJobs"
"""The group of the jobs' logs; their metrics' namespace is called the same."""

_HARMLESS = {
    "TrainingJobName",
    "AlgorithmSpecification",
    "RoleArn",
    "HyperParameters",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "CheckpointConfig",
    "Environment",
    "Tags",
    "VpcConfig",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "ExperimentConfig",
    "ProfilerConfig",
    "DebugHookConfig",
}
"""Parameters of CreateTrainingJob that take effect here, or that change nothing a job can see."""


class Status(enum.StrEnum):
    """TrainingJobStatus."""

    IN_PROGRESS = "InProgress"
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"

    @property
    def is_final(self) -> bool:
        """Whether a job in this status never changes again."""
        return self in (Status.COMPLETED, Status.FAILED, Status.STOPPED)


class LocalTrainingJob(FakeTrainingJob):
    """moto's record of a job, which says what really happened."""

    def __init__(self, *, account_id: str, region_name: str, request: Mapping[str, Any], now: datetime) -> None:
        algorithm = dict(request["AlgorithmSpecification"])
        super().__init__(
            account_id=account_id,
            region_name=region_name,
            training_job_name=request["TrainingJobName"],
            hyper_parameters=request.get("HyperParameters") or {},
            algorithm_specification=dict(algorithm),
            role_arn=request["RoleArn"],
            input_data_config=request.get("InputDataConfig") or [],
            output_data_config=request["OutputDataConfig"],
            resource_config=request["ResourceConfig"],
            vpc_config=request.get("VpcConfig"),  # type: ignore[arg-type]
            stopping_condition=request.get("StoppingCondition") or {},
            tags=request.get("Tags") or [],
            enable_network_isolation=bool(request.get("EnableNetworkIsolation")),
            enable_inter_container_traffic_encryption=bool(request.get("EnableInterContainerTrafficEncryption")),
            enable_managed_spot_training=bool(request.get("EnableManagedSpotTraining")),
            checkpoint_config=request.get("CheckpointConfig"),  # type: ignore[arg-type]
            debug_hook_config=None,  # type: ignore[arg-type]
            debug_rule_configurations=None,  # type: ignore[arg-type]
            tensor_board_output_config=None,  # type: ignore[arg-type]
            experiment_config=request.get("ExperimentConfig"),  # type: ignore[arg-type]
        )
        self.algorithm_specification = algorithm  # moto puts a metric of its own into it
        self.environment: dict[str, str] = dict(request.get("Environment") or {})
        uri = f"{self.output_data_config['S3OutputPath'].rstrip('/')}/{self.training_job_name}/output/model.tar.gz"
        self.artifact_uri = uri
        self.model_artifacts = None  # type: ignore[assignment]
        self.final_metric_data_list: list[dict[str, Any]] = []
        self.failure_reason: str | None = None
        self.billable_time_in_seconds: int | None = None
        self.training_time_in_seconds: int | None = None
        self.creation_time = self.last_modified_time = _naive(now)
        self.training_start_time: datetime | None = None  # type: ignore[assignment]
        self.training_end_time: datetime | None = None  # type: ignore[assignment]
        self.secondary_status_transitions: list[dict[str, Any]] = []

    @property
    def status(self) -> Status:
        """The job's status as a closed set."""
        return Status(self.training_job_status)

    @property
    def response_object(self) -> dict[str, Any]:
        """What DescribeTrainingJob answers."""
        return {name: value for name, value in super().response_object.items() if name != "ArtifactUri"}

    def enter(self, status: Status, secondary: str, now: datetime, *, message: str = "") -> None:
        """Change to another status, and end the step that was in progress."""
        moment = _naive(now)
        self.training_job_status = status.value
        self.secondary_status = secondary
        self.last_modified_time = moment
        if self.secondary_status_transitions:
            self.secondary_status_transitions[-1].setdefault("EndTime", moment)
        step = {"Status": secondary, "StartTime": moment, "StatusMessage": message or _STEP_MESSAGES[secondary]}
        if status.is_final:
            step["EndTime"] = moment
            self.training_end_time = moment
        self.secondary_status_transitions.append(step)


_STEP_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading the training image and the input data",
    "Training": "Training in-progress.",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}


@dataclass(slots=True)
class _Run:
    """What runs behind a job that has not ended."""

    job: LocalTrainingJob
    container: Container
    process: TrainingProcess | None
    download_error: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _interrupted, (self.job, self.container.request)


def _interrupted(job: LocalTrainingJob, request: TrainingRequest) -> _Run:
    """Return the run of a job whose process has gone with the one that saved it."""
    return _Run(job, Container(Path(tempfile.mkdtemp(prefix="local-cloud-interrupted-")), request), None)


class TrainingJobs(Service):
    """The training jobs of one local cloud.

    Parameters
    ----------
    emit
        How the event bus is told of changes.
    record
        How CloudWatch is told of what the metrics of a job were.
    client
        Returns the cloud's client of a service of AWS.

    Attributes
    ----------
    stop_grace_seconds
        Real seconds between SIGTERM and SIGKILL when a job is stopped.
    """

    volatile = frozenset({"_scratch"})

    def __init__(self, core: Core, emit: Emit, record: Record, client: Callable[[str], Any]) -> None:
        self.core = core
        self.emit = emit
        self.record = record
        self.client = client
        self.stop_grace_seconds = STOP_GRACE_SECONDS
        self._runs: dict[str, _Run] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="local-cloud-training-", ignore_cleanup_errors=True)

    def create(self, backend: SageMakerModelBackend, given: Mapping[str, Any]) -> LocalTrainingJob:
        """Make a job and start its process.

        Parameters
        ----------
        backend
            Where the job is kept.
        given
            The parameters of CreateTrainingJob.

        Raises
        ------
        ResourceInUseException
            When a job of this name exists, or ever existed.
        AWSValidationException
            When AWS would refuse the request, or the local cloud cannot run it faithfully.
        """
        request = parse_request(given, backend.region_name)
        if request.name in backend.training_jobs:
            raise ResourceInUseException(
                "Training job names must be unique within an AWS account and region, and a training job with this "
                f"name already exists ({backend.training_jobs[request.name].arn})"
            )
        if (why := not_assumed(self.core.gate, given["RoleArn"])) is not None:
            raise AWSValidationException(why)
        now = self.core.clock.now
        job = LocalTrainingJob(account_id=backend.account_id, region_name=backend.region_name, request=given, now=now)
        backend.training_jobs[request.name] = job
        self._start(job, request)
        return job

    def stop(self, backend: SageMakerModelBackend, name: str) -> None:
        """Ask a job to stop; it is Stopping until its process has ended.

        Raises
        ------
        AWSValidationException
            When there is no such job, or it has ended.
        """
        job = backend.training_jobs.get(name)
        if not isinstance(job, LocalTrainingJob):
            raise AWSValidationException("Requested resource not found.")
        if job.status.is_final:
            raise AWSValidationException(
                f"The request was rejected because the training job is in status {job.status.value}."
            )
        if job.status is Status.STOPPING:
            return
        self._enter(job, Status.STOPPING, "Stopping")
        run = self._runs[job.arn]
        if run.process is not None:
            run.process.stop()
        if not self._real_time or run.process is None:
            self.core.agenda.soon(lambda: self._finish(run), f"stop {name}")

    def resume(self) -> None:
        """Start jobs anew that were under way, as after an interruption; those that were to stop have stopped."""
        for run in list(self._runs.values()):
            if run.job.status is Status.STOPPING:
                self.core.agenda.soon(functools.partial(self._finish, run), f"stop {run.job.training_job_name}")
            else:
                run.container.remove()
                self._start(run.job, run.container.request)

    def close(self) -> None:
        """Kill every process that still runs, and delete what the jobs wrote on this machine."""
        for run in list(self._runs.values()):
            if run.process is not None:
                run.process.kill()
        self._runs.clear()
        self._scratch.cleanup()

    @property
    def _real_time(self) -> bool:
        return self.core.options.real_time

    def _start(self, job: LocalTrainingJob, request: TrainingRequest) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._scratch.name))
        run = _Run(job, Container(folder, replace(request, arn=job.arn)), None)
        self._runs[job.arn] = run
        self._enter(job, Status.IN_PROGRESS, "Starting")
        self._enter(job, Status.IN_PROGRESS, "Downloading")
        finish = functools.partial(self._finish, run)
        name = f"finish {request.name}"
        try:
            self._prepare(job)
            run.container.prepare(MotoObjects(_account_of(job), self.core.gate, session_of(job.role_arn)))
        except DataDownloadError as error:
            run.download_error = str(error)
        else:
            job.training_start_time = _naive(self.core.clock.now)
            self._enter(job, Status.IN_PROGRESS, "Training")
            run.process = run.container.start(stop_grace_seconds=self.stop_grace_seconds)
        if not self._real_time:
            self.core.agenda.after(timedelta(seconds=self.core.options.training_seconds), finish, name)
        elif run.process is None:
            self.core.agenda.soon(finish, name)
        else:
            run.process.when_ended(lambda: self.core.agenda.soon(finish, name))

    def _prepare(self, job: LocalTrainingJob) -> None:
        """Do by the job's role what comes before its data: the image, the network, the keys."""
        wanted = (
            *of_an_image(str(job.algorithm_specification.get("TrainingImage") or "")),
            *of_a_network(job.vpc_config),
            *of_a_volume(job.resource_config.get("VolumeKmsKeyId")),
            *of_an_output(job.output_data_config.get("KmsKeyId")),
        )
        first_refusal(self.core.gate, job.role_arn, of_measures(LOG_GROUP))  # without it nobody measures, as on AWS
        if (why := first_refusal(self.core.gate, job.role_arn, wanted)) is not None:
            raise DataDownloadError(f"ClientError: {why}")

    def _finish(self, run: _Run) -> None:
        """Wait for the process, keep what it left, and say how the job ended."""
        if self._runs.get(run.job.arn) is not run:
            return  # it was stopped before, or started anew
        del self._runs[run.job.arn]
        ending = run.process.wait() if run.process is not None else None
        try:
            self._settle(run, ending)
        finally:
            run.container.remove()

    def _settle(self, run: _Run, ending: Ending | None) -> None:
        job, container = run.job, run.container
        self._keep_log(job, container)
        self._keep_times_and_metrics(job, container)
        if ending is None and job.status is not Status.STOPPING:
            self._fail(job, run.download_error or "ClientError: The job never started.")
        elif ending is None:
            self._enter(job, Status.STOPPED, "Stopped")
        elif ending.cause is Cause.BY_ITSELF and ending.exit_code != 0 and job.status is not Status.STOPPING:
            self._upload_output(job, container)
            self._fail(job, container.failure_reason(ending.exit_code))
        else:
            stopping = job.status is Status.STOPPING
            self._enter(job, job.status, "Uploading")
            try:
                self._upload_model(job, container)
                self._upload_output(job, container)
            except ClientError as error:
                self._fail(job, f"ClientError: Artifact upload failed: {error.response['Error']['Message']}")
                return
            if ending.cause is Cause.MAX_RUNTIME_EXCEEDED:
                self._enter(job, Status.STOPPED, "MaxRuntimeExceeded")
            elif stopping:
                self._enter(job, Status.STOPPED, "Stopped")
            else:
                self._enter(job, Status.COMPLETED, "Completed")

    def _fail(self, job: LocalTrainingJob, reason: str) -> None:
        job.failure_reason = reason
        self._enter(job, Status.FAILED, "Failed", message=reason)

    def _enter(self, job: LocalTrainingJob, status: Status, secondary: str, *, message: str = "") -> None:
        job.enter(status, secondary, self.core.clock.now, message=message)
        self.core.tell(Kind.JOB, job.training_job_name, "", status if status == secondary else f"{status}: {secondary}")
        self.emit(
            source="aws.sagemaker",
            detail_type="SageMaker Training Job State Change",
            detail=state_change_detail(job),
            resources=[job.arn],
        )

    def _upload_model(self, job: LocalTrainingJob, container: Container) -> None:
        if not container.model.is_dir():
            return
        self._put(job, job.artifact_uri, tarball(container.model))
        job.model_artifacts = {"S3ModelArtifacts": job.artifact_uri}

    def _upload_output(self, job: LocalTrainingJob, container: Container) -> None:
        if names := container.output_files():
            data = [name.removeprefix("data/") for name in names]
            uri = job.artifact_uri.removesuffix("model.tar.gz") + "output.tar.gz"
            self._put(job, uri, tarball(container.output / "data", data))
        if checkpoints := container.request.checkpoint_uri:
            for name, content in container.checkpoint_files().items():
                self._put(job, f"{checkpoints.rstrip('/')}/{name}", content)

    def _put(self, job: LocalTrainingJob, uri: str, content: bytes) -> None:
        bucket, key = split_uri(uri)
        encrypted = {}
        if kms_key := job.output_data_config.get("KmsKeyId"):
            encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
        with acting_as(session_of(job.role_arn)):
            self.client("s3").put_object(Bucket=bucket, Key=key, Body=content, **encrypted)

    def _keep_times_and_metrics(self, job: LocalTrainingJob, container: Container) -> None:
        now = self.core.clock.now
        series = metrics_in(container.request.metric_definitions, container.log_text())
        job.final_metric_data_list = [
            {"MetricName": name, "Value": values[-1], "Timestamp": now.timestamp()} for name, values in series.items()
        ]
        for name, values in series.items():
            key = MetricKey.of(METRICS, name, {"TrainingJobName": job.training_job_name})
            self.record(key, values)
        if job.training_start_time is not None:
            seconds = math.ceil((_naive(now) - job.training_start_time).total_seconds())
            job.training_time_in_seconds = job.billable_time_in_seconds = seconds

    def _keep_log(self, job: LocalTrainingJob, container: Container) -> None:
        """Keep the script's output in CloudWatch Logs, at the job's own time (moto's API refuses old events)."""
        lines = [line for line in container.log_text().splitlines() if line.strip()]
        if not lines:
            return
        account, region = _account_of(job), job.arn.split(":")[3]
        backend = logs_backends[account][region]
        created = int(job.creation_time.replace(tzinfo=UTC).timestamp())
        stream = f"{job.training_job_name}/algo-1-{created}"
        if first_refusal(self.core.gate, job.role_arn, of_a_log(LOG_GROUP, stream, backend.groups)) is not None:
            return  # as on AWS: what the role may not write is lost
        if LOG_GROUP not in backend.groups:
            backend.create_log_group(LOG_GROUP, {})
        backend.create_log_stream(LOG_GROUP, stream)
        at = int(self.core.clock.now.timestamp() * 1000)
        backend.groups[LOG_GROUP].put_log_events(stream, [{"timestamp": at, "message": line} for line in lines])


class MotoObjects:
    """moto's buckets, read without a request for each object: a job may have thousands of inputs.

    Parameters
    ----------
    account
        Whose buckets.
    gate, caller
        Asked whether the caller may read what it reads; without a caller it may.
    """

    def __init__(self, account: str, gate: Gate | None = None, caller: Caller | None = None) -> None:
        self._account = account
        self._backend = s3_backends[account][here().partition]
        self._gate = gate
        self._caller = caller

    def by_role(self, role_arn: str) -> MotoObjects:
        """Return what SageMaker can read by a role."""
        return MotoObjects(self._account, self._gate, session_of(role_arn)) if role_arn else self

    def _check(self, action: str, resource: str) -> None:
        if self._gate is None or self._caller is None:
            return
        refusal = self._gate.refusal(self._caller, action, resource)
        if refusal is not None:
            raise DataDownloadError(f"ClientError: Data download failed: AccessDenied (403): {refusal}.")

    def read(self, bucket: str, key: str) -> bytes:
        """Return an object's bytes."""
        self._check("s3:GetObject", here().bucket_arn(f"{bucket}/{key}"))
        try:
            found = self._backend.get_object(bucket, key)
        except MissingBucket as error:
            raise DataDownloadError(
                f"ClientError: Data download failed: NoSuchBucket (404): There is no bucket {bucket}."
            ) from error
        if found is None:
            raise DataDownloadError(
                f"ClientError: Data download failed: NoSuchKey (404): There is no object s3://{bucket}/{key}."
            )
        content: bytes = found.value
        return content

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys under a prefix, sorted; none for a bucket that does not exist."""
        self._check("s3:ListBucket", here().bucket_arn(bucket))
        try:
            found, *_ = self._backend.list_objects(self._backend.get_bucket(bucket), prefix, None, None, None)
        except MissingBucket:
            return []
        return sorted(key.name for key in found)


def parse_request(given: Mapping[str, Any], region: str) -> TrainingRequest:
    """Check the parameters of CreateTrainingJob, and keep those that change what runs.

    Parameters
    ----------
    given
        The parameters, as boto3 sends them.
    region
        The job's region.

    Raises
    ------
    AWSValidationException
        With AWS's limits, and for what the local cloud does not do.

    Examples
    --------
    >>> request = parse_request({
    ...     "TrainingJobName": "fraud-1", "RoleArn": "arn:aws:iam::123456789012:role/training",
    ...     "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    ...     "HyperParameters": {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://b/source.tar.gz"},
    ...     "OutputDataConfig": {"S3OutputPath": "s3://b/models"}, "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    ...     "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}}, "us-east-1")
    >>> request.program, request.max_runtime_seconds
    ('train.py', 60.0)
    """
    unsupported = sorted(name for name, value in given.items() if value and name not in _HARMLESS)
    if unsupported:
        raise _refused(f"CreateTrainingJob's parameter {unsupported[0]} is not supported by the local cloud; remove it")
    name = given["TrainingJobName"]
    hyperparameters = dict(given.get("HyperParameters") or {})
    environment = dict(given.get("Environment") or {})
    algorithm = given["AlgorithmSpecification"]
    entrypoint = _entrypoint(algorithm)
    if not entrypoint:
        _check_script_mode(hyperparameters)
    _check_surroundings(given)
    checkpoint_config = given.get("CheckpointConfig") or {}
    return TrainingRequest(
        name=name,
        hyperparameters=hyperparameters,
        channels=tuple(_channel(config) for config in given.get("InputDataConfig") or ()),
        environment=environment,
        metric_definitions=tuple(
            MetricDefinition(definition["Name"], definition["Regex"])
            for definition in algorithm.get("MetricDefinitions") or ()
        ),
        max_runtime_seconds=float((given.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds", 86_400)),
        region=region,
        checkpoint_uri=checkpoint_config.get("S3Uri"),
        entrypoint=entrypoint,
        instance_type=given["ResourceConfig"].get("InstanceType", "ml.m5.large"),
    )


def state_change_detail(job: LocalTrainingJob) -> dict[str, Any]:
    """Return the detail of a ``SageMaker Training Job State Change`` event, with times as epoch-ms strings.

    Notes
    -----
    The shape is that of SageMaker's developer guide, page "automating-sagemaker-with-eventbridge".
    """
    detail: dict[str, Any] = {
        "TrainingJobName": job.training_job_name,
        "TrainingJobArn": job.arn,
        "TrainingJobStatus": job.training_job_status,
        "SecondaryStatus": job.secondary_status,
        "HyperParameters": dict(job.hyper_parameters),
        "AlgorithmSpecification": job.algorithm_specification,
        "RoleArn": job.role_arn,
        "InputDataConfig": job.input_data_config,
        "OutputDataConfig": job.output_data_config,
        "ResourceConfig": job.resource_config,
        "StoppingCondition": job.stopping_condition,
        "CreationTime": _epoch_ms(job.creation_time),
        "LastModifiedTime": _epoch_ms(job.last_modified_time),
        "SecondaryStatusTransitions": [
            {name: value if isinstance(value, str) else _epoch_ms(value) for name, value in step.items()}
            for step in job.secondary_status_transitions
        ],
        "Tags": {tag["Key"]: tag["Value"] for tag in job.tags},
    }
    if job.failure_reason:
        detail["FailureReason"] = job.failure_reason
    if job.model_artifacts:
        detail["ModelArtifacts"] = dict(job.model_artifacts)
    if job.training_start_time is not None:
        detail["TrainingStartTime"] = _epoch_ms(job.training_start_time)
    if job.training_end_time is not None:
        detail["TrainingEndTime"] = _epoch_ms(job.training_end_time)
    return detail


def summaries(jobs: Iterable[FakeTrainingJob], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of ListTrainingJobs: filtered, then sorted, then cut (moto cuts first).

    Parameters
    ----------
    jobs
        All jobs of the region.
    given
        The parameters of ListTrainingJobs.
    """
    kept = [job for job in jobs if _is_asked_for(job, given)]
    order: dict[str, Callable[[FakeTrainingJob], Any]] = {
        "CreationTime": lambda job: (job.creation_time, job.training_job_name),
        "Name": lambda job: job.training_job_name,
        "Status": lambda job: (job.training_job_status, job.training_job_name),
    }
    kept.sort(key=order[given.get("SortBy") or "CreationTime"], reverse=given.get("SortOrder") == "Descending")
    first = int(given.get("NextToken") or 0)
    after = first + int(given.get("MaxResults") or 10)
    page = [
        {
            "TrainingJobName": job.training_job_name,
            "TrainingJobArn": job.arn,
            "CreationTime": job.creation_time,
            "LastModifiedTime": job.last_modified_time,
            "TrainingJobStatus": job.training_job_status,
            "SecondaryStatus": job.secondary_status,
            **({"TrainingEndTime": job.training_end_time} if job.training_end_time else {}),
        }
        for job in kept[first:after]
    ]
    return {"TrainingJobSummaries": page} | ({"NextToken": str(after)} if after < len(kept) else {})


def _is_asked_for(job: FakeTrainingJob, given: Mapping[str, Any]) -> bool:
    bounds = (
        ("CreationTimeAfter", job.creation_time, 1),
        ("CreationTimeBefore", job.creation_time, -1),
        ("LastModifiedTimeAfter", job.last_modified_time, 1),
        ("LastModifiedTimeBefore", job.last_modified_time, -1),
    )
    for name, moment, direction in bounds:
        if (bound := given.get(name)) is not None and direction * (_naive(moment) - _naive(bound)) <= timedelta(0):
            return False
    status = given.get("StatusEquals")
    return (given.get("NameContains") or "") in job.training_job_name and status in (None, job.training_job_status)


def _entrypoint(algorithm: Mapping[str, Any]) -> tuple[str, ...]:
    own, arguments = algorithm.get("ContainerEntrypoint") or (), algorithm.get("ContainerArguments") or ()
    if arguments and not own:
        raise _refused("ContainerArguments without ContainerEntrypoint are the image's, and no image runs here")
    return (*own, *arguments)


def _check_script_mode(hyperparameters: Mapping[str, str]) -> None:
    for name in ("sagemaker_program", "sagemaker_submit_directory"):
        if name not in hyperparameters:
            raise _refused(
                f"hyperParameters.{name} is missing: the local cloud runs jobs in script mode; set it, or "
                "AlgorithmSpecification.ContainerEntrypoint"
            )
    program = hyperparameters["sagemaker_program"].strip('"')
    if not program.endswith(".py"):
        raise _refused(f"hyperParameters.sagemaker_program is {program}; the local cloud runs .py files only")
    source = hyperparameters["sagemaker_submit_directory"].strip('"')
    if not source.startswith(("s3://", "/opt/ml/input/data/")):
        raise _refused(
            f"hyperParameters.sagemaker_submit_directory is {source}; it must be an s3:// URI or in a channel"
        )


def _check_surroundings(given: Mapping[str, Any]) -> None:
    instances = given["ResourceConfig"].get("InstanceCount", 1)
    if instances != 1:
        raise _refused(f"ResourceConfig.InstanceCount is {instances}; the local cloud runs one instance")
    if given["OutputDataConfig"].get("CompressionType", "GZIP") != "GZIP":
        raise _refused("OutputDataConfig.CompressionType must be GZIP on the local cloud")
    local_path = (given.get("CheckpointConfig") or {}).get("LocalPath", "/opt/ml/checkpoints")
    if local_path.rstrip("/") != "/opt/ml/checkpoints":
        raise _refused(f"CheckpointConfig.LocalPath is {local_path}; the local cloud takes /opt/ml/checkpoints only")


def _channel(config: Mapping[str, Any]) -> Channel:
    name = config["ChannelName"]
    source = config["DataSource"].get("S3DataSource")
    if source is None:
        raise _refused(f"Channel {name} has no S3DataSource; the local cloud takes no other source")
    kinds = {kind.value: kind for kind in S3DataType}
    if source["S3DataType"] not in kinds:
        raise _refused(f"Channel {name} has S3DataType {source['S3DataType']}; the local cloud takes {sorted(kinds)}")
    allowed = {
        "CompressionType": ("None",),
        "RecordWrapperType": ("None",),
        "InputMode": ("File", "FastFile"),
    }
    for key, values in allowed.items():
        if config.get(key) not in (None, *values):
            raise _refused(f"Channel {name} has {key} {config[key]}; the local cloud takes {' or '.join(values)}")
    return Channel(name, kinds[source["S3DataType"]], source["S3Uri"], config.get("ContentType"))


def _refused(message: str) -> AWSValidationException:
    return AWSValidationException(message if message.endswith(".") else f"{message}.")


def _account_of(job: FakeTrainingJob) -> str:
    return str(job.arn.split(":")[4])


def _naive(moment: datetime | float | str) -> datetime:
    """Return a time as moto keeps them: UTC without saying so."""
    match moment:
        case datetime():
            return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        case str():
            return _naive(datetime.fromisoformat(moment))
        case _:
            return datetime.fromtimestamp(float(moment), UTC).replace(tzinfo=None)


def _epoch_ms(moment: datetime) -> str:
    return str(int(_naive(moment).replace(tzinfo=UTC).timestamp() * 1000))


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_create_training_job(jobs: TrainingJobs, original: Any) -> Callable[[SageMakerResponse], ActionResult]:
    """``SageMakerResponse.create_training_job``."""

    def create_training_job(self: SageMakerResponse) -> ActionResult:
        return ActionResult({"TrainingJobArn": jobs.create(self.sagemaker_backend, self._get_params()).arn})

    return create_training_job


def patched_stop_training_job(jobs: TrainingJobs, original: None) -> Callable[[SageMakerResponse], ActionResult]:
    """``SageMakerResponse.stop_training_job``, which moto lacks."""

    def stop_training_job(self: SageMakerResponse) -> ActionResult:
        jobs.stop(self.sagemaker_backend, self._get_param("TrainingJobName"))
        return ActionResult({})

    return stop_training_job


def patched_list_training_jobs(jobs: TrainingJobs, original: Any) -> Callable[[SageMakerResponse], ActionResult]:
    """``SageMakerResponse.list_training_jobs``."""

    def list_training_jobs(self: SageMakerResponse) -> ActionResult:
        return ActionResult(summaries(self.sagemaker_backend.training_jobs.values(), self._get_params()))

    return list_training_jobs


_SAGEMAKER = "moto.sagemaker.responses:SageMakerResponse"

PATCHES = (
    Patch(f"{_SAGEMAKER}.create_training_job", patched_create_training_job),
    Patch(f"{_SAGEMAKER}.stop_training_job", patched_stop_training_job, adds=True),
    Patch(f"{_SAGEMAKER}.list_training_jobs", patched_list_training_jobs),
)
