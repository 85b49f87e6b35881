"""What SageMaker does by an execution role besides moving objects: images, logs, measures, interfaces, keys.

Nothing of it has an effect here but being allowed or refused. The lists are those of the developer guide, page
"sagemaker-roles", for CreateTrainingJob and CreateModel.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from local_cloud.kernel.callers import Caller
from local_cloud.kernel.gate import Gate, Known
from local_cloud.kernel.place import here

PRINCIPAL = "sagemaker.amazonaws.com"
Wanted = tuple[str, str, Known]
"""An action, a resource, and what is known besides."""

_REGISTRY = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[\w-]+)\.amazonaws\.com(?:\.cn)?/(?P<name>[^:@]+)")
_OF_IMAGES = ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")
_OF_NETWORKS = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")


def session_of(role_arn: str) -> Caller:
    """Return the session in which SageMaker acts by a role.

    Examples
    --------
    >>> session_of("arn:aws:iam::123456789012:role/training").arn
    'arn:aws:sts::123456789012:assumed-role/training/SageMaker'
    """
    return Caller.session(role_arn, "SageMaker")


def first_refusal(gate: Gate, role_arn: str, wanted: Iterable[Wanted]) -> str | None:
    """Return the first reason why SageMaker may not do what it wants by a role; None when it may do all of it."""
    caller = session_of(role_arn)
    return next((why for each in wanted if (why := gate.refusal(caller, *each)) is not None), None)


def not_assumed(gate: Gate, role_arn: str) -> str | None:
    """Return what SageMaker answers when a role does not let it in; None when it does."""
    if gate.not_assumed(PRINCIPAL, role_arn) is None:
        return None
    return (
        f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal '{PRINCIPAL}' to "
        "assume the role."
    )


def of_an_image(image: str) -> Iterator[Wanted]:
    """Yield what the pull of an image takes; nothing where it lies in no registry of ECR.

    Examples
    --------
    >>> [action for action, _, _ in of_an_image("683313688378.dkr.ecr.us-east-1.amazonaws.com/scikit-learn:1")]
    ['ecr:GetAuthorizationToken', 'ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer']
    """
    found = _REGISTRY.match(image)
    if found is None:
        return
    repository = f"arn:{here().partition}:ecr:{found['region']}:{found['account']}:repository/{found['name']}"
    yield "ecr:GetAuthorizationToken", "*", {}
    yield from ((f"ecr:{action}", repository, {}) for action in _OF_IMAGES)


def of_a_log(group: str, stream: str, groups: Container[str]) -> Iterator[Wanted]:
    """Yield what it takes to write a stream of a log group, which has to be made where it is not among ``groups``."""
    arn = here().arn("logs", f"log-group:{group}")
    if group not in groups:
        yield "logs:CreateLogGroup", arn, {}
    yield "logs:DescribeLogStreams", arn, {}
    yield "logs:CreateLogStream", f"{arn}:log-stream:{stream}", {}
    yield "logs:PutLogEvents", f"{arn}:log-stream:{stream}", {}


def of_measures(namespace: str) -> Iterator[Wanted]:
    """Yield what it takes to record how busy the instances are."""
    yield "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": namespace}


def of_a_network(vpc: Mapping[str, Any] | None) -> Iterator[Wanted]:
    """Yield what it takes to make interfaces in subnets, to lend them to SageMaker, and to remove them again.

    Examples
    --------
    >>> sorted({action for action, _, _ in of_a_network({"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]})})[:2]
    ['ec2:CreateNetworkInterface', 'ec2:CreateNetworkInterfacePermission']
    """
    if not vpc:
        return
    arn = here().arn("ec2", "")
    yield from ((f"ec2:Describe{kind}", "*", {}) for kind in _OF_NETWORKS)
    for subnet in vpc["Subnets"]:
        interface = f"{arn}network-interface/eni-{subnet.removeprefix('subnet-')}"
        yield "ec2:CreateNetworkInterface", interface, {}
        yield "ec2:CreateNetworkInterface", f"{arn}subnet/{subnet}", {}
        for group in vpc["SecurityGroupIds"]:
            yield "ec2:CreateNetworkInterface", f"{arn}security-group/{group}", {}
        yield "ec2:CreateNetworkInterfacePermission", interface, {}
        yield "ec2:DeleteNetworkInterfacePermission", interface, {}
        yield "ec2:DeleteNetworkInterface", interface, {}


def of_a_volume(key: str | None) -> Iterator[Wanted]:
    """Yield what it takes to encrypt the instances' volumes with a key."""
    if key:
        yield "kms:CreateGrant", key, {"kms:GrantIsForAWSResource": "true"}


def of_an_output(key: str | None) -> Iterator[Wanted]:
    """Yield what it takes to encrypt what a job leaves with a key, besides what S3 asks of it."""
    if key:
        yield "kms:Encrypt", key, {}
