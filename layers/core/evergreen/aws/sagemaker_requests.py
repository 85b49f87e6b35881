"""What SageMaker is asked for when an endpoint is made or changed: pure, so that it can be checked without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evergreen.domain.aliases import AliasRecord
from evergreen.domain.made_names import STACK_TAG, head_of
from evergreen.formats.endpoint_names import config_name, model_name
from evergreen.spec import EndpointSpec

PRODUCTION, SHADOW = "production", "shadow"
"""Names of variants: the same in every configuration, or SageMaker can't move traffic from one to the next."""

_INSTANCE_TYPE, _INSTANCE_COUNT = "ml.m5.large", 1  # of an endpoint that is made anew
_CAPTURED_AS_TEXT = {
    "CsvContentTypes": ["text/csv"],
    "JsonContentTypes": ["application/json", "application/jsonlines"],
}


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """A model's endpoint as its spec and the stack want it."""

    model: str
    endpoint: str
    spec: EndpointSpec
    stack: str
    role_arn: str
    image: str
    captures: str  # s3 uri of the model's captures
    sampling: float  # share of requests that are captured
    live_table: str = ""  # points to live states; empty: containers answer as their versions were trained

    @property
    def head(self) -> str:
        """How names of SageMaker models and configurations begin."""
        return head_of(self.stack, self.model)

    def model_name(self, record: AliasRecord) -> str:
        """The SageMaker model that a record's version is."""
        return model_name(self.head, record.version, record.artifact, record.sha256)

    def config_name(self, production: AliasRecord, shadow: AliasRecord | None, epoch: int) -> str:
        """The configuration with which these answer."""
        return config_name(self.head, production.version, None if shadow is None else shadow.version, epoch)

    @property
    def tags(self) -> list[dict[str, str]]:
        """On everything that is made; what the stack's functions may change is told by them."""
        return [{"Key": STACK_TAG, "Value": self.stack}, {"Key": "evergreen:model", "Value": self.model}]


@dataclass(frozen=True, slots=True)
class Instances:
    """What each variant runs on, and what the variant that answers is called."""

    kind: str = _INSTANCE_TYPE
    count: int = _INSTANCE_COUNT
    variant: str = PRODUCTION


def model_request(plan: EndpointPlan, name: str, uri: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """CreateModel for an artifact of ours."""
    container = {"Image": plan.spec.image or plan.image, "ModelDataUrl": uri, "Environment": dict(environment)}
    request: dict[str, Any] = {
        "ModelName": name,
        "PrimaryContainer": container,
        "ExecutionRoleArn": plan.role_arn,
        "Tags": plan.tags,
    }
    if plan.spec.subnets:
        request["VpcConfig"] = {
            "Subnets": list(plan.spec.subnets),
            "SecurityGroupIds": list(plan.spec.security_groups),
        }
    return request


def config_request(plan: EndpointPlan, name: str, production: str, shadow: str | None, on: Instances) -> dict[str, Any]:
    """CreateEndpointConfig: one production variant, at most one shadow beside it, everything captured under its name.

    Each configuration captures below a prefix of its own: while two fleets share the traffic of a deployment, the
    prefix alone tells whose answers a file holds.
    """
    kms = {} if plan.spec.kms_key is None else {"KmsKeyId": plan.spec.kms_key}
    request: dict[str, Any] = {
        "EndpointConfigName": name,
        "ProductionVariants": [_variant(plan, on.variant, production, on)],
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": round(100 * plan.sampling),  # whole percents: the spec takes no others
            "DestinationS3Uri": f"{plan.captures}/{name}",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": _CAPTURED_AS_TEXT,
            **kms,
        },
        "Tags": plan.tags,
        **kms,
    }
    if shadow is not None:
        request["ShadowProductionVariants"] = [_variant(plan, SHADOW, shadow, on)]
    return request


def _variant(plan: EndpointPlan, name: str, model: str, on: Instances) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InstanceType": plan.spec.instance_type or on.kind,
        "InitialInstanceCount": plan.spec.instance_count or on.count,
        "InitialVariantWeight": 1.0,
    }


def deployment_request(spec: EndpointSpec) -> dict[str, Any]:
    """DeploymentConfig of UpdateEndpoint, from the guardrails.

    Examples
    --------
    >>> config = deployment_request(EndpointSpec(kind="sagemaker"))
    >>> config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["CanarySize"]
    {'Type': 'CAPACITY_PERCENT', 'Value': 10}
    """
    rules = spec.guardrails
    size = {"Type": "CAPACITY_PERCENT", "Value": rules.percent}
    wait = round(rules.wait.total_seconds())
    match rules.traffic:
        case "all_at_once":
            routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
        case "canary":
            routing = {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": wait}
        case "linear":
            routing = {"Type": "LINEAR", "LinearStepSize": size, "WaitIntervalInSeconds": wait}
    request: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": round(rules.terminate_after.total_seconds()),
            "MaximumExecutionTimeoutInSeconds": round(rules.max_time.total_seconds()),
        }
    }
    if rules.alarms:
        request["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in rules.alarms]}
    return request
