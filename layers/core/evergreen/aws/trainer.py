"""Training jobs on SageMaker."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.domain.made_names import STACK_TAG
from evergreen.domain.training_jobs import TrainingRequest, TrainingStatus, why_stopped
from evergreen.errors import TrainingRefusedError
from evergreen.training.source import METRIC_DEFINITIONS

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_NOT_TO_BE_FOUND = ("ValidationException", "ResourceNotFound")


class SageMakerTrainer:
    """See :class:`evergreen.ports.Trainer`."""

    def __init__(
        self,
        client: SageMakerClient,
        *,
        stack: str,
        role_arn: str,
        image: str,
        mlflow_tracking_uri: str,
        git_commit: str = "",
    ) -> None:
        self._client = client
        self._stack = stack
        self._role_arn = role_arn
        self._image = image
        self._environment = {"MLFLOW_TRACKING_URI": mlflow_tracking_uri, "GIT_COMMIT": git_commit}

    def start(self, request: TrainingRequest) -> None:
        try:
            self._client.create_training_job(**self.job(request))
        except ClientError as error:
            match error.response["Error"]["Code"]:
                case "ResourceInUse":
                    return  # a job of that name is this job: the name says which decision and attempt it is for
                case "ValidationException":
                    raise TrainingRefusedError(request.job_name, error.response["Error"]["Message"]) from error
            raise

    def job(self, request: TrainingRequest) -> Any:
        """The CreateTrainingJob request."""
        channels = [_channel("training", request.manifest, "ManifestFile")]
        if request.production is not None:
            channels.append(_channel("production", request.production, "S3Prefix"))
        source = request.source
        if request.network_isolation:  # then the container can't fetch its source: it comes as an input does
            channels.append(_channel("code", request.source, "S3Prefix"))
            source = f"/opt/ml/input/data/code/{request.source.rpartition('/')[2]}"
        encrypted = {} if request.kms_key is None else {"KmsKeyId": request.kms_key}
        job: dict[str, Any] = {
            "TrainingJobName": request.job_name,
            "HyperParameters": {
                **request.hyperparameters,
                "sagemaker_program": request.program,
                "sagemaker_submit_directory": source,
            },
            "AlgorithmSpecification": {
                "TrainingImage": request.image or self._image,
                "TrainingInputMode": "File",
                "MetricDefinitions": list(METRIC_DEFINITIONS),
            },
            "RoleArn": self._role_arn,
            "InputDataConfig": channels,
            "OutputDataConfig": {"S3OutputPath": request.output, **encrypted},
            "ResourceConfig": {
                "InstanceType": request.instance_type,
                "InstanceCount": request.instance_count,
                "VolumeSizeInGB": request.volume_gb,
                **({} if request.kms_key is None else {"VolumeKmsKeyId": request.kms_key}),
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": _seconds(request.max_runtime)},
            "EnableNetworkIsolation": request.network_isolation,
            "EnableManagedSpotTraining": request.spot_wait is not None,
            "Environment": self._variables(request),
            "Tags": [
                {"Key": STACK_TAG, "Value": self._stack},
                {"Key": "evergreen:model", "Value": request.model},
                {"Key": "evergreen:job", "Value": request.job_name},
            ],
        }
        if request.spot_wait is not None:
            job["StoppingCondition"]["MaxWaitTimeInSeconds"] = _seconds(request.spot_wait)
        if request.checkpoints is not None:
            job["CheckpointConfig"] = {"S3Uri": request.checkpoints, "LocalPath": "/opt/ml/checkpoints"}
        if request.subnets:
            job["VpcConfig"] = {"Subnets": list(request.subnets), "SecurityGroupIds": list(request.security_groups)}
        return job

    def _variables(self, request: TrainingRequest) -> dict[str, str]:
        told = {**request.environment, **self._environment}
        if request.network_isolation:
            told.pop("MLFLOW_TRACKING_URI")  # nobody could be reached; the registry hears of the version all the same
        return {name: value for name, value in told.items() if value}

    def status(self, job_name: str) -> TrainingStatus | None:
        try:
            job = self._client.describe_training_job(TrainingJobName=job_name)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_TO_BE_FOUND:
                return None
            raise
        artifact = job.get("ModelArtifacts", {}).get("S3ModelArtifacts")
        reason = job.get("FailureReason") or why_stopped(job.get("SecondaryStatus", ""))
        return TrainingStatus(job["TrainingJobStatus"], artifact, reason)

    def stop(self, job_name: str) -> None:
        try:
            self._client.stop_training_job(TrainingJobName=job_name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NOT_TO_BE_FOUND:
                raise  # a job that is over, or unknown, is refused with a ValidationException


def _seconds(span: timedelta) -> int:
    return round(span.total_seconds())


def _channel(name: str, uri: str, kind: str) -> dict[str, Any]:
    source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}
