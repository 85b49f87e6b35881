"""What endpoints, configurations and models say of themselves: moto's records, which tell what really runs."""

from __future__ import annotations

import enum
import hashlib
import itertools
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.sagemaker.models import FakeEndpoint, FakeEndpointConfig, Model, SageMakerModelBackend

from local_cloud.kernel.clock import Entry
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.sagemaker.endpoints.container import ServedModel
from local_cloud.services.sagemaker.endpoints.fleet import Fleet, RunningVariant, fraction
from local_cloud.services.sagemaker.endpoints.requests import DeploymentPolicy, read_endpoint_config
from local_cloud.services.sagemaker.endpoints.routes import EndpointValidationError, Route

LOG_GROUP = "/aws/sagemaker/Endpoints"


class Status(enum.StrEnum):
    """EndpointStatus."""

    CREATING = "Creating"
    UPDATING = "Updating"
    ROLLING_BACK = "RollingBack"
    IN_SERVICE = "InService"
    FAILED = "Failed"
    DELETING = "Deleting"

    @property
    def answers(self) -> bool:
        """Whether requests are answered."""
        return self in (Status.IN_SERVICE, Status.UPDATING, Status.ROLLING_BACK)


class LocalModel(Model):
    """moto's record of a model, which remembers what it was created with."""

    def __init__(self, backend: SageMakerModelBackend, given: Mapping[str, Any], served: ServedModel, now: datetime):
        super().__init__(
            account_id=backend.account_id,
            region_name=backend.region_name,
            model_name=given["ModelName"],
            execution_role_arn=given.get("ExecutionRoleArn", ""),
            primary_container=given["PrimaryContainer"],
            vpc_config=given.get("VpcConfig") or {},
            tags=given.get("Tags") or [],
        )
        self.creation_time = naive(now)
        self.given = dict(given)
        self.served = served

    @property
    def response_object(self) -> dict[str, Any]:
        """What DescribeModel answers."""
        kept = {name: value for name, value in self.given.items() if name != "Tags"}
        return kept | {"ModelArn": self.arn, "CreationTime": self.creation_time}

    def summary(self) -> dict[str, Any]:
        """What ListModels says of it."""
        return {"ModelName": self.model_name, "ModelArn": self.arn, "CreationTime": self.creation_time}


class LocalEndpointConfig(FakeEndpointConfig):
    """moto's record of an endpoint configuration, with its shadow variants."""

    def __init__(self, backend: SageMakerModelBackend, given: Mapping[str, Any], now: datetime) -> None:
        name = given["EndpointConfigName"]
        self.given = dict(given)
        self.settings = read_endpoint_config(given)
        self.endpoint_config_name = name
        self.endpoint_config_arn = self.arn_formatter(name, backend.account_id, backend.region_name)
        self.arn = self.endpoint_config_arn  # type: ignore[assignment]  # moto has a tuple here
        self.production_variants = given["ProductionVariants"]
        self.data_capture_config = given.get("DataCaptureConfig") or {}
        self.tags = given.get("Tags") or []
        self.creation_time = naive(now)

    @property
    def response_object(self) -> dict[str, Any]:
        """What DescribeEndpointConfig answers."""
        kept = {name: value for name, value in self.given.items() if name != "Tags"}
        return kept | {"EndpointConfigArn": self.endpoint_config_arn, "CreationTime": self.creation_time}


@dataclass(slots=True)
class Deployment:
    """An update on its way: the new fleet, how much of the traffic it has, and what it is doing.

    Parameters
    ----------
    fleet, policy
        What is deployed, and how.
    capture
        The DataCaptureConfig it comes with.
    started
        When.
    asked
        The DeploymentConfig as it was asked for.
    share
        The share of requests that the new fleet answers, 0 to 1.
    status
        What each variant of it is doing, as DescribeEndpoint says it.
    entries
        What is due on the agenda for it.
    """

    fleet: Fleet
    policy: DeploymentPolicy
    capture: Mapping[str, Any]
    started: datetime
    asked: Mapping[str, Any] | None
    share: float = 0.0
    status: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def cancel(self) -> None:
        """Do none of what is still due."""
        for entry in self.entries:
            entry.cancel()

    def describe(self) -> dict[str, Any]:
        """Return DescribeEndpoint's PendingDeploymentSummary."""
        up = self.status["Status"] != "Creating"

        def summary(variant: RunningVariant) -> dict[str, Any]:
            return variant.describe(status=[self.status]) | ({} if up else {"CurrentInstanceCount": 0})

        shadow = self.fleet.shadow
        return {
            "EndpointConfigName": self.fleet.settings.name,
            "StartTime": naive(self.started),
            "ProductionVariants": [summary(variant) for variant in self.fleet.variants.values()],
            **({"ShadowProductionVariants": [summary(shadow)]} if shadow else {}),
        }


class LocalEndpoint(FakeEndpoint):
    """moto's record of an endpoint, which says what really runs and decides who answers."""

    def __init__(
        self, backend: SageMakerModelBackend, given: Mapping[str, Any], config: LocalEndpointConfig, now: datetime
    ) -> None:
        name = given["EndpointName"]
        self.endpoint_name = name
        self.arn = self.arn_formatter(name, backend.account_id, backend.region_name)
        self.endpoint_config_name = config.endpoint_config_name
        self.data_capture_config = config.data_capture_config
        self.tags = given.get("Tags") or []
        self.endpoint_status = Status.CREATING.value
        self.failure_reason = None
        self.creation_time = self.last_modified_time = naive(now)
        self.last_deployment_config: Mapping[str, Any] | None = None
        self.fleet: Fleet | None = None
        self.deployment: Deployment | None = None
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._salt = ""

    @property
    def status(self) -> Status:
        """The endpoint's status as a closed set."""
        return Status(self.endpoint_status)

    def enter(self, status: Status, now: datetime) -> None:
        """Change to another status."""
        self.endpoint_status = status.value
        self.last_modified_time = naive(now)

    def take(self, fleet: Fleet, salt: str) -> None:
        """Begin with a fleet; ``salt`` makes this endpoint's event ids its own."""
        self.fleet = fleet
        self._salt = salt

    def next_number(self) -> int:
        """Return the number of the next request."""
        return next(self._numbers)

    def event_id(self, number: int, variant: str) -> str:
        """Return the id of a request's event; a variant's and its shadow's differ, as they do on SageMaker."""
        digest = hashlib.sha256(f"{self._salt} {number} {variant}".encode()).digest()
        return str(uuid.UUID(bytes=digest[:16], version=4))

    def log_stream_arn(self, variant: str, config: str) -> str:
        """Return the ARN of the log stream of a variant's container."""
        stream = f"{LOG_GROUP}/{self.endpoint_name}:log-stream:{log_stream(variant, config)}"
        return here().arn("logs", f"log-group:{stream}")

    def fleets(self) -> list[Fleet]:
        """Return what runs: the fleet in service, and the one that is being deployed."""
        with self.lock:
            deployed = self.deployment.fleet if self.deployment is not None else None
            return [fleet for fleet in (self.fleet, deployed) if fleet is not None]

    def route(self, key: str, target: str | None) -> Route:
        """Choose who answers a request, and hold its fleet: release it once the answer is there.

        Raises
        ------
        EndpointValidationError
            When nobody can.
        """
        with self.lock:
            if self.fleet is None or not self.status.answers:
                raise EndpointValidationError(not_found(self.endpoint_name))
            deployment = self.deployment
            to_new = deployment is not None and fraction(key, "deployment") < deployment.share
            fleet = deployment.fleet if deployment is not None and to_new else self.fleet
            if target is None:
                variant = fleet.choose(key)
            elif target in fleet.variants:
                variant = fleet.variants[target]
            else:
                raise EndpointValidationError(
                    f"Variant {target} not found for endpoint {self.endpoint_name}; it has {', '.join(fleet.variants)}."
                )
            sharing = deployment is not None and deployment.share > 0
            fleet.hold()
            return Route(fleet, variant, sharing)

    @property
    def response_object(self) -> dict[str, Any]:
        """What DescribeEndpoint answers."""
        with self.lock:
            described: dict[str, Any] = {
                "EndpointName": self.endpoint_name,
                "EndpointArn": self.arn,
                "EndpointConfigName": self.endpoint_config_name,
                "EndpointStatus": self.endpoint_status,
                "CreationTime": self.creation_time,
                "LastModifiedTime": self.last_modified_time,
            }
            if self.fleet is not None and self.status not in (Status.CREATING, Status.FAILED):
                described |= self._variants(self.fleet)
            if self.data_capture_config:
                described["DataCaptureConfig"] = self._capture_summary()
            if self.failure_reason:
                described["FailureReason"] = self.failure_reason
            if self.last_deployment_config:
                described["LastDeploymentConfig"] = self.last_deployment_config
            if self.deployment is not None:
                described["PendingDeploymentSummary"] = self.deployment.describe()
            return described

    def _variants(self, fleet: Fleet) -> dict[str, Any]:
        described: dict[str, Any] = {"ProductionVariants": [one.describe() for one in fleet.variants.values()]}
        if fleet.shadow is not None:
            described["ShadowProductionVariants"] = [fleet.shadow.describe()]
        return described

    def _capture_summary(self) -> dict[str, Any]:
        config = self.data_capture_config
        enabled = bool(config.get("EnableCapture", True))
        return {
            "EnableCapture": enabled,
            "CaptureStatus": "Started" if enabled else "Stopped",
            "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
            "DestinationS3Uri": config["DestinationS3Uri"],
            "KmsKeyId": config.get("KmsKeyId", ""),
        }


def state_change_detail(endpoint: LocalEndpoint, status: str | None = None) -> dict[str, Any]:
    """Return the detail of an endpoint's state change events, with times as epoch milliseconds.

    Notes
    -----
    The shape is that of SageMaker's developer guide, page "automating-sagemaker-with-eventbridge".
    """
    described = endpoint.response_object
    detail: dict[str, Any] = epoch_ms({name: value for name, value in described.items() if name != "DataCaptureConfig"})
    detail["EndpointStatus"] = status or _EVENT_STATUS[endpoint.status]
    detail["Tags"] = {tag["Key"]: tag["Value"] for tag in endpoint.tags}
    return detail


_EVENT_STATUS = {
    Status.CREATING: "CREATING",
    Status.UPDATING: "UPDATING",
    Status.ROLLING_BACK: "ROLLING_BACK",
    Status.IN_SERVICE: "IN_SERVICE",
    Status.FAILED: "FAILED",
    Status.DELETING: "DELETING",
}


def epoch_ms(value: Any) -> Any:
    """Return a document with its times as epoch milliseconds.

    Examples
    --------
    >>> epoch_ms({"StartTime": datetime(1970, 1, 1, 0, 0, 1), "Variants": [{"Weight": 1.0}]})
    {'StartTime': 1000, 'Variants': [{'Weight': 1.0}]}
    """
    match value:
        case datetime():
            return int(value.replace(tzinfo=UTC).timestamp() * 1000)
        case Mapping():
            return {name: epoch_ms(item) for name, item in value.items()}
        case list():
            return [epoch_ms(item) for item in value]
        case _:
            return value


def naive(moment: datetime) -> datetime:
    """Return a time as moto keeps them: UTC without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def log_stream(variant: str, config: str) -> str:
    """Return the name of the log stream of a variant's container."""
    return f"{variant}/{config}"


def not_found(name: str) -> str:
    """Return what SageMaker says of an endpoint that cannot be invoked."""
    return f"Endpoint {name} of account {ACCOUNT} not found."
