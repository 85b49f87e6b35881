"""Training jobs on SageMaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.ports import TrainingRequest, TrainingStatus

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_NOT_TO_BE_FOUND = ("ValidationException", "ResourceNotFound")


class SageMakerTrainer:
    """See :class:`evergreen.ports.Trainer`."""

    def __init__(self, client: SageMakerClient, *, role_arn: str, image: str, mlflow_tracking_uri: str) -> None:
        self._client = client
        self._role_arn = role_arn
        self._image = image
        self._mlflow_tracking_uri = mlflow_tracking_uri

    def start(self, request: TrainingRequest) -> None:
        try:
            self._client.create_training_job(**self.job(request))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUse":
                raise  # a job of that name is this job: the name says which decision and attempt it is for

    def job(self, request: TrainingRequest) -> Any:
        """The CreateTrainingJob request."""
        channels = [_channel("training", request.manifest, "ManifestFile")]
        if request.production is not None:
            channels.append(_channel("production", request.production, "S3Prefix"))
        environment = {"MLFLOW_TRACKING_URI": self._mlflow_tracking_uri} if self._mlflow_tracking_uri else {}
        return {
            "TrainingJobName": request.job_name,
            "HyperParameters": {
                **request.hyperparameters,
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": request.source,
            },
            "AlgorithmSpecification": {
                "TrainingImage": self._image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [
                    {"Name": name, "Regex": rf"{name}=([-+0-9.eE]+);"}
                    for name in ("validation_accuracy", "validation_auc", "validation_mae", "rows_trained")
                ],
            },
            "RoleArn": self._role_arn,
            "InputDataConfig": channels,
            "OutputDataConfig": {"S3OutputPath": request.output},
            "ResourceConfig": {
                "InstanceType": request.instance_type,
                "InstanceCount": request.instance_count,
                "VolumeSizeInGB": request.volume_gb,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": round(request.max_runtime.total_seconds())},
            "Environment": environment,
            "Tags": [
                {"Key": "evergreen:model", "Value": request.model},
                {"Key": "evergreen:job", "Value": request.job_name},
            ],
        }

    def status(self, job_name: str) -> TrainingStatus | None:
        try:
            job = self._client.describe_training_job(TrainingJobName=job_name)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_TO_BE_FOUND:
                return None
            raise
        artifact = job.get("ModelArtifacts", {}).get("S3ModelArtifacts")
        return TrainingStatus(job["TrainingJobStatus"], artifact, job.get("FailureReason", ""))

    def stop(self, job_name: str) -> None:
        try:
            self._client.stop_training_job(TrainingJobName=job_name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NOT_TO_BE_FOUND:
                raise  # a job that is over, or unknown, is refused with a ValidationException


def _channel(name: str, uri: str, kind: str) -> dict[str, Any]:
    source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}
