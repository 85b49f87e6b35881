"""What CreateModel, CreateEndpointConfig, CreateEndpoint and UpdateEndpoint ask for: checked as AWS does, then read.

Shapes (names, lengths, ranges, choices) come from botocore's own model of SageMaker. What the local cloud cannot do
is refused by name, never ignored.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import botocore.session
from botocore.model import ListShape, ServiceModel, Shape, StringShape, StructureShape
from moto.sagemaker.exceptions import AWSValidationException

from local_cloud.services.sagemaker.endpoints.container import ServedModel

_HARMLESS: Mapping[str, frozenset[str]] = {
    "CreateModel": frozenset(
        {"ModelName", "PrimaryContainer", "ExecutionRoleArn", "Tags", "VpcConfig", "EnableNetworkIsolation"}
    ),
    "PrimaryContainer": frozenset(
        {"Image", "ModelDataUrl", "Environment", "ContainerHostname", "Mode", "ImageConfig", "ContainerMetricsConfig"}
    ),
    "CreateEndpointConfig": frozenset(
        {
            "EndpointConfigName",
            "ProductionVariants",
            "ShadowProductionVariants",
            "DataCaptureConfig",
            "Tags",
            "KmsKeyId",
            "ExecutionRoleArn",
            "VpcConfig",
            "EnableNetworkIsolation",
        }
    ),
    "ProductionVariants": frozenset(
        {
            "VariantName",
            "ModelName",
            "InitialInstanceCount",
            "InstanceType",
            "InitialVariantWeight",
            "VolumeSizeInGB",
            "ModelDataDownloadTimeoutInSeconds",
            "ContainerStartupHealthCheckTimeoutInSeconds",
            "VariantInstanceProvisionTimeoutInSeconds",
            "RoutingConfig",
            "EnableSSMAccess",
            "InferenceAmiVersion",
        }
    ),
    "CreateEndpoint": frozenset({"EndpointName", "EndpointConfigName", "DeploymentConfig", "Tags"}),
    "UpdateEndpoint": frozenset(
        {
            "EndpointName",
            "EndpointConfigName",
            "RetainAllVariantProperties",
            "ExcludeRetainedVariantProperties",
            "DeploymentConfig",
            "RetainDeploymentConfig",
        }
    ),
    "DeploymentConfig": frozenset({"BlueGreenUpdatePolicy", "AutoRollbackConfiguration"}),
}
"""Parameters that take effect here, or change nothing that a caller of the endpoint can see."""

LARGEST_BODY = 6 * 1024 * 1024


def refused(message: str) -> AWSValidationException:
    """Return AWS's validation error with a sentence."""
    return AWSValidationException(message if message.endswith((".", '"')) else f"{message}.")


# -- shapes ----------------------------------------------------------------------------------------------------------


@functools.cache
def _service() -> ServiceModel:
    return botocore.session.get_session().get_service_model("sagemaker")


def check_request(operation: str, given: Mapping[str, Any]) -> None:
    """Check a request's parameters by the shape of its operation, and refuse what the local cloud does not do.

    Parameters
    ----------
    operation
        Its name, ``CreateEndpoint``.
    given
        The parameters, as they came.

    Raises
    ------
    AWSValidationException
        Naming every parameter that AWS would refuse, or the first that the local cloud does not support.

    Examples
    --------
    >>> check_request("CreateEndpoint", {"EndpointName": "a b", "EndpointConfigName": "c"})
    Traceback (most recent call last):
    ...
    moto.sagemaker.exceptions.AWSValidationException: ValidationException: 1 validation error detected: Value 'a b' \
at 'endpointName' failed to satisfy constraint: Member must satisfy regular expression pattern: \
[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}
    """
    shape = _service().operation_model(operation).input_shape
    problems = list(_violations(given, shape, "")) if shape is not None else []
    if problems:
        plural = "s" if len(problems) > 1 else ""
        raise AWSValidationException(f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}")
    if operation in _HARMLESS:
        _refuse_unsupported(operation, given, operation)


def _refuse_unsupported(what: str, given: Mapping[str, Any], harmless: str) -> None:
    unsupported = sorted(name for name, value in given.items() if value and name not in _HARMLESS[harmless])
    if unsupported:
        raise refused(f"{what}'s parameter {unsupported[0]} is not supported by the local cloud; remove it")


def _violations(value: Any, shape: Shape, path: str) -> Iterator[str]:
    match shape:
        case StructureShape():
            if not isinstance(value, Mapping):
                yield _violation(value, path, "Member must be a structure")
                return
            for name in shape.required_members:
                if value.get(name) is None:
                    yield _violation(None, _below(path, name), "Member must not be null")
            for name, member in shape.members.items():
                if value.get(name) is not None:
                    yield from _violations(value[name], member, _below(path, name))
        case ListShape():
            if not isinstance(value, Sequence) or isinstance(value, str):
                yield _violation(value, path, "Member must be a list")
                return
            yield from _length_violations(value, shape, path)
            for number, item in enumerate(value, start=1):
                yield from _violations(item, shape.member, f"{path}.{number}.member")
        case StringShape():
            yield from _text_violations(value, shape, path)
        case _ if shape.type_name in ("integer", "long", "float", "double"):
            yield from _number_violations(value, shape, path)
        case _ if shape.type_name == "boolean" and not isinstance(value, bool):
            yield _violation(value, path, "Member must be true or false")


def _text_violations(value: Any, shape: StringShape, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield _violation(value, path, "Member must be a string")
        return
    yield from _length_violations(value, shape, path)
    pattern = shape.metadata.get("pattern", "")
    if pattern and "\\p{" not in pattern and not re.fullmatch(pattern, value, re.DOTALL):
        yield _violation(value, path, f"Member must satisfy regular expression pattern: {pattern}")
    if shape.enum and value not in shape.enum:
        yield _violation(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")


def _length_violations(value: Sequence[Any], shape: Shape, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and len(value) < low:
        yield _violation(value, path, f"Member must have length greater than or equal to {low}")
    if high is not None and len(value) > high:
        yield _violation(value, path, f"Member must have length less than or equal to {high}")


def _number_violations(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield _violation(value, path, "Member must be a number")
        return
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and value < low:
        yield _violation(value, path, f"Member must have value greater than or equal to {low}")
    if high is not None and value > high:
        yield _violation(value, path, f"Member must have value less than or equal to {high}")


def _violation(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _below(path: str, name: str) -> str:
    member = name[0].lower() + name[1:]
    return f"{path}.{member}" if path else member


# -- models ----------------------------------------------------------------------------------------------------------


def read_model(given: Mapping[str, Any], region: str) -> ServedModel:
    """Read CreateModel's parameters.

    Raises
    ------
    AWSValidationException
        When AWS would refuse them, or the local cloud cannot run such a container.
    """
    check_request("CreateModel", given)
    container = given.get("PrimaryContainer")
    if not container:
        raise refused("PrimaryContainer is missing: the local cloud serves models of one container; set it")
    _refuse_unsupported("PrimaryContainer", container, "PrimaryContainer")
    if container.get("Mode", "SingleModel") != "SingleModel":
        raise refused(f"PrimaryContainer.Mode is {container['Mode']}; the local cloud takes SingleModel")
    if not container.get("Image"):
        raise refused("PrimaryContainer.Image is missing; name the image that runs the script")
    environment = {str(name): str(value) for name, value in (container.get("Environment") or {}).items()}
    if not environment.get("SAGEMAKER_PROGRAM", "").endswith(".py"):
        raise refused(
            "PrimaryContainer.Environment.SAGEMAKER_PROGRAM names no .py file: the local cloud runs containers in "
            "script mode, with this machine's packages; set it to the script in SAGEMAKER_SUBMIT_DIRECTORY"
        )
    model = ServedModel(
        name=given["ModelName"],
        image=container["Image"],
        data_uri=container.get("ModelDataUrl") or "",
        role=given.get("ExecutionRoleArn") or "",
        network=given.get("VpcConfig"),
        environment=environment,
        region=region,
        isolated=bool(given.get("EnableNetworkIsolation")),
    )
    if not model.submit_directory.startswith(("s3://", "/opt/ml/model/code")):
        raise refused(
            f"PrimaryContainer.Environment.SAGEMAKER_SUBMIT_DIRECTORY is {model.submit_directory}; it must be an s3:// "
            "URI or /opt/ml/model/code"
        )
    return model


# -- endpoint configurations -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of an endpoint configuration, as far as it changes what runs."""

    name: str
    model_name: str
    instances: int
    weight: float
    startup_seconds: float | None


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What of the requests and answers is recorded, and where.

    Parameters
    ----------
    share
        The share of requests, 0 to 1.
    uri
        The S3 prefix, without a slash at its end.
    input, output
        Whether requests and answers are recorded.
    csv_types, json_types
        The content types that are recorded as they are; any other is recorded as BASE64.
    key
        The key of KMS by which the files are encrypted; empty for the bucket's own encryption.
    """

    share: float
    uri: str
    input: bool
    output: bool
    csv_types: frozenset[str]
    json_types: frozenset[str]
    key: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """An endpoint configuration, read."""

    name: str
    variants: tuple[Variant, ...]
    shadow: Variant | None
    capture: CaptureSettings | None

    @property
    def instances(self) -> int:
        """How many instances the production variants start with, together."""
        return sum(variant.instances for variant in self.variants)

    @property
    def shadow_share(self) -> float:
        """The share of requests that the shadow gets a copy of: its weight beside the production variant's."""
        if self.shadow is None:
            return 0.0
        weight = self.variants[0].weight
        return min(1.0, self.shadow.weight / weight) if weight else 1.0


def read_endpoint_config(given: Mapping[str, Any]) -> EndpointSettings:
    """Read CreateEndpointConfig's parameters.

    Raises
    ------
    AWSValidationException
        When AWS would refuse them, or the local cloud cannot serve such an endpoint.
    """
    check_request("CreateEndpointConfig", given)
    variants = tuple(_read_variant(variant) for variant in given["ProductionVariants"])
    shadows = tuple(_read_variant(variant) for variant in given.get("ShadowProductionVariants") or ())
    if shadows and (len(shadows), len(variants)) != (1, 1):
        raise refused(
            f"There are {len(variants)} ProductionVariants and {len(shadows)} ShadowProductionVariants: with a shadow, "
            "specify one variant for each"
        )
    names = [variant.name for variant in (*variants, *shadows)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise refused(f"The variant name {twice[0]} appears more than once: variant names must be unique")
    if not sum(variant.weight for variant in variants):
        raise refused("The weights of the ProductionVariants are all 0: give one of them more")
    return EndpointSettings(
        name=given["EndpointConfigName"],
        variants=variants,
        shadow=shadows[0] if shadows else None,
        capture=read_capture(given.get("DataCaptureConfig")),
    )


def _read_variant(given: Mapping[str, Any]) -> Variant:
    name = given["VariantName"]
    _refuse_unsupported(f"Variant {name}", given, "ProductionVariants")
    for parameter in ("ModelName", "InstanceType", "InitialInstanceCount"):
        if not given.get(parameter):
            raise refused(f"Variant {name} has no {parameter}: the local cloud serves models on instances; set it")
    startup = given.get("ContainerStartupHealthCheckTimeoutInSeconds")
    return Variant(
        name=name,
        model_name=given["ModelName"],
        instances=int(given["InitialInstanceCount"]),
        weight=float(given.get("InitialVariantWeight", 1.0)),
        startup_seconds=None if startup is None else float(startup),
    )


def read_capture(given: Mapping[str, Any] | None) -> CaptureSettings | None:
    """Read a DataCaptureConfig; None when nothing is captured.

    Examples
    --------
    >>> capture = read_capture({"InitialSamplingPercentage": 20, "DestinationS3Uri": "s3://b/captures/",
    ...     "CaptureOptions": [{"CaptureMode": "Input"}]})
    >>> capture.share, capture.uri, capture.output
    (0.2, 's3://b/captures', False)
    """
    if not given or not given.get("EnableCapture", True):
        return None
    if not given["DestinationS3Uri"].startswith("s3://"):
        raise refused(f"DataCaptureConfig.DestinationS3Uri is {given['DestinationS3Uri']}; it must be an s3:// URI")
    modes = {option["CaptureMode"] for option in given["CaptureOptions"]}
    types = given.get("CaptureContentTypeHeader") or {}
    return CaptureSettings(
        share=given["InitialSamplingPercentage"] / 100,
        uri=given["DestinationS3Uri"].rstrip("/"),
        input=bool(modes & {"Input", "InputAndOutput"}),
        output=bool(modes & {"Output", "InputAndOutput"}),
        csv_types=frozenset(name.lower() for name in types.get("CsvContentTypes") or ()),
        json_types=frozenset(name.lower() for name in types.get("JsonContentTypes") or ()),
        key=given.get("KmsKeyId") or "",
    )


# -- deployments -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a deployment: so much of the traffic goes to the new fleet, and is watched for so long.

    Parameters
    ----------
    share
        0 to 1.
    wait
        How long until the next step.
    waiting_for
        The parameter that says so.
    kind
        What the new fleet's part is called, ``canary``, ``linear step`` or ``full``.
    """

    share: float
    wait: timedelta
    waiting_for: str
    kind: str


@dataclass(frozen=True, slots=True)
class DeploymentPolicy:
    """How an update shifts traffic, and what stops it."""

    steps: tuple[Step, ...]
    timeout: timedelta | None
    alarms: tuple[str, ...]


def read_deployment(given: Mapping[str, Any] | None, instances: int) -> DeploymentPolicy:
    """Read a DeploymentConfig.

    Parameters
    ----------
    given
        As UpdateEndpoint has it; None is all at once.
    instances
        How many the new fleet has; the size of a step may be given in instances.

    Raises
    ------
    AWSValidationException
        When a size is missing or too large, the timeout too short, or the policy one that the local cloud lacks.

    Examples
    --------
    >>> canary = {"Type": "CANARY", "WaitIntervalInSeconds": 600,
    ...     "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10}}
    >>> policy = read_deployment({"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": canary}}, instances=1)
    >>> [(step.share, step.wait.total_seconds()) for step in policy.steps]
    [(0.1, 600.0), (1.0, 0.0)]
    """
    config = given or {}
    _refuse_unsupported("DeploymentConfig", config, "DeploymentConfig")
    blue_green = config.get("BlueGreenUpdatePolicy") or {}
    routing = blue_green.get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    termination = timedelta(seconds=blue_green.get("TerminationWaitInSeconds", 0))
    last = Step(1.0, termination, "TerminationWaitInSeconds", "full")
    wait = timedelta(seconds=routing["WaitIntervalInSeconds"])
    match routing["Type"]:
        case "ALL_AT_ONCE":
            steps = [last]
        case "CANARY":
            share = _share(routing.get("CanarySize"), "CanarySize", instances, lowest=0.0)
            steps = [Step(share, wait, "WaitIntervalInSeconds", "canary"), last]
        case "LINEAR":
            share = _share(routing.get("LinearStepSize"), "LinearStepSize", instances, lowest=0.1)
            shares = [share * number for number in range(1, int(1 / share) + 1) if share * number < 1 - 1e-9]
            steps = [*(Step(part, wait, "WaitIntervalInSeconds", "linear step") for part in shares), last]
        case other:
            raise refused(f"TrafficRoutingConfiguration.Type is {other}; it must be ALL_AT_ONCE, CANARY or LINEAR")
    timeout = blue_green.get("MaximumExecutionTimeoutInSeconds")
    waits = sum((step.wait for step in steps), timedelta())
    if timeout is not None and timedelta(seconds=timeout) <= waits:
        raise refused(
            f"MaximumExecutionTimeoutInSeconds is {timeout}, and the deployment waits for {waits.total_seconds():.0f} "
            "seconds in all; the timeout must be larger"
        )
    alarms = (config.get("AutoRollbackConfiguration") or {}).get("Alarms") or ()
    return DeploymentPolicy(
        steps=tuple(steps),
        timeout=None if timeout is None else timedelta(seconds=timeout),
        alarms=tuple(alarm["AlarmName"] for alarm in alarms if alarm.get("AlarmName")),
    )


def _share(size: Mapping[str, Any] | None, name: str, instances: int, *, lowest: float) -> float:
    if size is None:
        raise refused(f"TrafficRoutingConfiguration.{name} is missing; set its Type and Value")
    share = size["Value"] / (100 if size["Type"] == "CAPACITY_PERCENT" else instances)
    if not lowest <= share <= 0.5:
        limits = "at most 50" if not lowest else "10 to 50"
        raise refused(
            f"{name} is {size['Value']} ({size['Type']}): it must be {limits} % of the {instances} instance(s)"
        )
    return float(share)
