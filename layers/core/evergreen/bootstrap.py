"""The one place that builds clients: each at first use, kept while the settings are the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from evergreen.settings import Settings

if TYPE_CHECKING:
    from evergreen import ports as p
    from evergreen.domain.retention import Retention
    from evergreen.spec import ModelSpec


class AwsPorts:
    """All ports on AWS. An adapter's module is imported when the port is first used: no handler pays for another's."""

    def __init__(self, settings: Settings, connection: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self._connection = dict(connection or {})

    def _client(self, service: str, *, attempts: int = 4, connect_timeout: float = 3, read_timeout: float = 20) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        # The stubs type each service by a literal; here the name is data.
        region = self.settings.region
        return boto3.client(service, region_name=region, config=config, **self._connection)  # type: ignore[call-overload]

    @cached_property
    def _s3(self) -> Any:
        return self._client("s3")

    @cached_property
    def _dynamodb(self) -> Any:
        return self._client("dynamodb")

    @cached_property
    def ledger(self) -> p.Ledger:
        from evergreen.aws.ledger import DynamoLedger

        return DynamoLedger(self._dynamodb, self.settings.ledger_table)

    @cached_property
    def data(self) -> p.Files:
        from evergreen.aws.files import S3Files

        return S3Files(self._s3, self.settings.data_bucket)

    @cached_property
    def artifacts(self) -> p.Files:
        from evergreen.aws.files import S3Files

        return S3Files(self._s3, self.settings.artifact_bucket)

    @cached_property
    def kept_artifacts(self) -> p.Artifacts:
        import tempfile
        from pathlib import Path

        from evergreen.aws.kept_artifacts import KeptArtifacts

        folder = Path(tempfile.gettempdir()) / "evergreen-artifacts"
        return KeptArtifacts(self.artifacts, folder, self.settings.artifact_cache_mb * 1_000_000)

    def bucket(self, name: str) -> p.Files:
        from evergreen.aws.files import S3Files

        return S3Files(self._s3, name)

    @cached_property
    def catalog(self) -> p.Catalog:
        from evergreen.aws.catalog import DynamoCatalog

        days = self.settings.capture_retention_days
        return DynamoCatalog(self._dynamodb, self.settings.catalog_table, kept=timedelta(days=days) if days else None)

    @cached_property
    def aliases(self) -> p.Aliases:
        from evergreen.aws.lambda_aliases import DynamoAliases

        return DynamoAliases(self._dynamodb, self.settings.alias_table)

    def endpoint(self, spec: ModelSpec) -> p.Aliases:
        from evergreen.aws.sagemaker_aliases import EndpointAliases
        from evergreen.aws.sagemaker_requests import EndpointPlan
        from evergreen.formats.keys import captures_of

        plan = EndpointPlan(
            model=spec.model,
            endpoint=spec.endpoint_name or "",
            spec=spec.endpoint,
            stack=self.stack,
            role_arn=self.settings.endpoint_role_arn,
            image=self.settings.endpoint_image,
            captures=self.data.uri(captures_of(spec.model)),
            sampling=spec.capture.sampling,
            live_table=self.settings.online_table,
        )
        return EndpointAliases(
            self._sagemaker, self._dynamodb, table=self.settings.alias_table, plan=plan, artifacts=self.artifacts
        )

    @cached_property
    def _sagemaker(self) -> Any:
        return self._client("sagemaker")

    @property
    def stack(self) -> str:
        """The stack's name: those of its functions begin with it, and a hyphen."""
        return self.settings.function_arn_prefix.rpartition(":")[2].removesuffix("-")

    @cached_property
    def trainer(self) -> p.Trainer:
        from evergreen.aws.trainer import SageMakerTrainer

        return SageMakerTrainer(
            self._sagemaker,
            stack=self.stack,
            role_arn=self.settings.training_role_arn,
            image=self.settings.training_image,
            mlflow_tracking_uri=self.settings.mlflow_tracking_uri,
            git_commit=self.settings.git_commit,
        )

    @cached_property
    def schedules(self) -> p.Schedules:
        from evergreen.aws.schedules import EventBridgeSchedules

        return EventBridgeSchedules(
            self._client("scheduler"),
            group=self.settings.schedule_group,
            role_arn=self.settings.scheduler_role_arn,
            dlq_arn=self.settings.schedule_dlq_arn,
            function_arn_prefix=self.settings.function_arn_prefix,
        )

    @cached_property
    def captures(self) -> p.LineStream:
        from evergreen.aws.senders import FirehoseLines

        # A caller waits for its answer meanwhile, and an answer is worth more than its capture: all waits together are
        # shorter than what makes an answer slow (deployment.latency_ms), or a busy stream would undo a promotion.
        client = self._client("firehose", attempts=1, connect_timeout=0.5, read_timeout=1)
        return FirehoseLines(client, self.settings.capture_stream, patience_seconds=0.7)

    @cached_property
    def labels(self) -> p.LineStream:
        from evergreen.aws.senders import FirehoseLines

        return FirehoseLines(self._client("firehose"), self.settings.label_stream, patience_seconds=10)

    @cached_property
    def live(self) -> p.LiveStates:
        from evergreen.aws.live_states import DynamoLiveStates

        return DynamoLiveStates(self._dynamodb, self.settings.online_table)

    @cached_property
    def traffic(self) -> p.TrafficMetrics:
        from evergreen.aws.traffic import CloudWatchTraffic
        from evergreen.telemetry import namespace_of

        return CloudWatchTraffic(self._cloudwatch, f"{self.stack}-predict", namespace_of(self.stack))

    def endpoint_traffic(self, spec: ModelSpec) -> p.TrafficMetrics:
        from evergreen.aws.traffic import EndpointTraffic

        endpoint, latency_ms = spec.endpoint_name or "", spec.deployment.latency_ms
        return EndpointTraffic(self._cloudwatch, self._sagemaker, endpoint, latency_ms)

    @cached_property
    def _cloudwatch(self) -> Any:
        return self._client("cloudwatch")

    @cached_property
    def registry(self) -> p.Registry | None:
        if not self.settings.mlflow_tracking_uri:
            return None
        from evergreen.aws.registry import MlflowRegistry

        settings = self.settings
        return MlflowRegistry(settings.mlflow_tracking_uri, stack=self.stack, prefix=settings.mlflow_model_prefix)

    @property
    def retention(self) -> Retention:
        from evergreen.domain.retention import Retention

        return Retention.of_days(self.settings.capture_retention_days, self.settings.outcome_retention_days)


@lru_cache(maxsize=8)
def _ports(settings: Settings) -> AwsPorts:
    return AwsPorts(settings)


def ports(environment: Mapping[str, str] | None = None) -> AwsPorts:
    """The ports for an environment (the process's own by default)."""
    return _ports(Settings.from_environment(os.environ if environment is None else environment))


def ports_for(outputs: Mapping[str, str], connection: Mapping[str, str] | None = None) -> AwsPorts:
    """The ports for a deployed stack's outputs: what an engineer's command works with.

    ``connection`` says where, and as whom, if not as the environment does: endpoint_url, aws_access_key_id, ...
    """
    environment = {_variable(name): value for name, value in outputs.items()}
    return AwsPorts(Settings.from_environment(environment), connection) if connection else ports(environment)


def _variable(output: str) -> str:
    """DataBucket -> DATA_BUCKET."""
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(output)).upper()


def reset() -> None:
    """Forget every client; for when the cloud behind them is gone (a closed local cloud)."""
    _ports.cache_clear()
