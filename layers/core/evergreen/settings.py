"""The environment as frozen settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evergreen.errors import EvergreenError


class SettingsError(EvergreenError, ValueError):
    """A variable that is needed is not set."""

    def __init__(self, name: str) -> None:
        super().__init__(f"environment variable {name} is not set: the template sets it for every function")
        self.name = name


@dataclass(frozen=True, slots=True)
class Settings:
    """Names of what the stack deployed."""

    region: str
    data_bucket: str
    artifact_bucket: str
    ledger_table: str
    alias_table: str
    catalog_table: str
    online_table: str
    capture_stream: str
    label_stream: str
    training_role_arn: str
    training_image: str
    scheduler_role_arn: str
    schedule_group: str
    schedule_dlq_arn: str
    function_arn_prefix: str
    mlflow_tracking_uri: str
    mlflow_model_prefix: str = ""
    git_commit: str = ""
    artifact_cache_mb: int = 0  # of the function's own disk; 0: artifacts are not kept there
    endpoint_role_arn: str = ""
    endpoint_image: str = ""
    capture_retention_days: int = 0  # 0: the stack of a former release, which does not say
    outcome_retention_days: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the variables that template.yaml sets.

        Raises
        ------
        SettingsError
            A variable is missing.
        """

        def read(name: str) -> str:
            if name not in environment:
                raise SettingsError(name)
            return environment[name]

        return cls(
            region=read("AWS_REGION"),
            data_bucket=read("DATA_BUCKET"),
            artifact_bucket=read("ARTIFACT_BUCKET"),
            ledger_table=read("LEDGER_TABLE"),
            alias_table=read("ALIAS_TABLE"),
            catalog_table=read("CATALOG_TABLE"),
            online_table=read("ONLINE_TABLE"),
            capture_stream=read("CAPTURE_STREAM"),
            label_stream=read("LABEL_STREAM"),
            training_role_arn=read("TRAINING_ROLE_ARN"),
            training_image=read("TRAINING_IMAGE"),
            scheduler_role_arn=read("SCHEDULER_ROLE_ARN"),
            schedule_group=read("SCHEDULE_GROUP"),
            schedule_dlq_arn=read("SCHEDULE_DLQ_ARN"),
            function_arn_prefix=read("FUNCTION_ARN_PREFIX"),
            mlflow_tracking_uri=environment.get("MLFLOW_TRACKING_URI", ""),
            mlflow_model_prefix=environment.get("MLFLOW_MODEL_PREFIX", ""),
            artifact_cache_mb=int(environment.get("ARTIFACT_CACHE_MB", "0")),
            git_commit=environment.get("GIT_COMMIT", ""),
            endpoint_role_arn=environment.get("ENDPOINT_ROLE_ARN", ""),
            endpoint_image=environment.get("ENDPOINT_IMAGE", ""),
            capture_retention_days=int(environment.get("CAPTURE_RETENTION_DAYS", "0")),
            outcome_retention_days=int(environment.get("OUTCOME_RETENTION_DAYS", "0")),
        )
