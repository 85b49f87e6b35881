"""The template's policies as they are deployed: with its own defaults, and with everything that it can be given."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from grants import Asked, Grant, Names, decisive, pieces
from moto.cloudformation.models import cloudformation_backends

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.place import ACCOUNT, DEFAULT_REGION
from local_cloud.services.cloudformation.template import read_template
from local_cloud.services.iam import records
from local_cloud.services.iam.authority import Documents, policies_of
from local_cloud.services.iam.evaluation import Policies
from local_cloud.services.iam.policies import Policy

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
START = datetime(2026, 3, 1, tzinfo=UTC)
EVERYTHING = {
    "SourceBucket": "captures-of-before",
    "MlflowTrackingUri": f"arn:aws:sagemaker:{DEFAULT_REGION}:{ACCOUNT}:mlflow-tracking-server/evergreen",
    "MlflowArtifacts": "s3://artifacts-of-mlflow/runs",
    "MlflowSubnets": "subnet-0a",
    "MlflowSecurityGroups": "sg-0a",
    "TrainingInVpc": "true",
    "TrainingKmsKeyArn": f"arn:aws:kms:{DEFAULT_REGION}:{ACCOUNT}:key/11111111-1111-4111-8111-111111111111",
    "EndpointInVpc": "true",
    "EndpointKmsKeyArn": f"arn:aws:kms:{DEFAULT_REGION}:{ACCOUNT}:key/22222222-2222-4222-8222-222222222222",
}
_NAMES_IN_POLICIES = re.compile(r"(Arn|Uri|Bucket|Artifacts)$")
_OF_AN_ACCOUNT = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*"}
_KEY_OF_OTHERS = Policy.parse({"Version": "2012-10-17", "Statement": {**_OF_AN_ACCOUNT, "Resource": "*"}})
"""What AWS writes for a key that is made without a policy."""

_ARNS = {
    "AWS::KMS::Key": f"arn:aws:kms:{DEFAULT_REGION}:{ACCOUNT}:key/{{}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{DEFAULT_REGION}:{ACCOUNT}:function:{{}}",
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SNS::Topic": f"arn:aws:sns:{DEFAULT_REGION}:{ACCOUNT}:{{}}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{DEFAULT_REGION}:{ACCOUNT}:{{}}",
}
"""What of the template may have a policy of its own."""

_NAMED = {
    *_ARNS,
    "AWS::ApiGatewayV2::Api",
    "AWS::CloudWatch::Alarm",
    "AWS::DynamoDB::Table",
    "AWS::Events::Rule",
    "AWS::IAM::Role",
    "AWS::KinesisFirehose::DeliveryStream",
    "AWS::Lambda::Permission",
}
"""What policies and questions name."""


def names_of(cloud: LocalCloud) -> Names:
    """Return the names that a cloud gave to what the template names, and those that its parameters give."""
    (stack,) = cloud.client("cloudformation").describe_stacks(StackName=cloud.stack_name)["Stacks"]
    given = {p["ParameterKey"]: p["ParameterValue"].removeprefix("s3://") for p in stack.get("Parameters", ())}
    found = {name: value for name, value in given.items() if value and _NAMES_IN_POLICIES.search(name)}
    kinds = kinds_of(cloud)
    found |= {
        logical: re.split(r"[/:|]", physical)[-1]
        for logical, physical in cloud.resources.items()
        if kinds[logical] in _NAMED
    }
    for logical in [one for one, kind in kinds.items() if kind == "AWS::DynamoDB::Table"]:
        table = cloud.client("dynamodb").describe_table(TableName=found[logical])["Table"]
        if label := table.get("LatestStreamLabel"):
            found[f"{logical}.StreamLabel"] = label
    return Names(found, cloud.stack_name)


def kinds_of(cloud: LocalCloud) -> dict[str, str]:
    """Return the type of each resource, by the template's names."""
    made = cloudformation_backends[ACCOUNT][DEFAULT_REGION].get_stack(cloud.stack_name).resource_map
    return {logical: made._resource_json_map[logical]["Type"] for logical in cloud.resources}


@dataclass(frozen=True, slots=True)
class Stack:
    """The policies of one deployment, by the template's names.

    Parameters
    ----------
    identity
        Of each role: names and texts.
    trust, of_resource
        Who may take a role, and who may do what with a resource: texts.
    """

    names: Names
    identity: Mapping[str, Documents]
    trust: Mapping[str, str]
    of_resource: Mapping[str, str]

    def grants(self) -> Iterator[Grant]:
        """Yield every grant there is."""
        for role, documents in self.identity.items():
            for policy in policies_of("", "", documents, None, None).identity:
                yield from (piece.grant for piece in pieces(policy, role, self.names))
        for owner, text in [*self.trust.items(), *self.of_resource.items()]:
            yield from (piece.grant for piece in pieces(Policy.parse(text), owner, self.names))

    def policies(self, asked: Asked) -> Policies:
        """Return the policies that have a say in a question."""
        owner = self.names.owner(self.names.physical(asked.resource))
        text = (self.trust if asked.action == "sts:AssumeRole" else self.of_resource).get(owner)
        found = policies_of(asked.action, asked.resource, self.identity.get(asked.by, ()), text, None)
        if asked.action.startswith("kms:") and text is None:
            return Policies(found.identity, _KEY_OF_OTHERS, needs_trust=True)
        return found

    def decisive(self, asked: Asked) -> list[Grant]:
        """Return the grants without any one of which a question would be decided otherwise."""
        return decisive(asked.question(self.names), self.policies(asked), self.names)


@functools.cache
def stacks() -> tuple[Stack, Stack]:
    """Return the template's policies with its own defaults, and with everything that it can be given."""
    return _deployed({}), _deployed(EVERYTHING)


def _deployed(parameters: Mapping[str, str]) -> Stack:
    with LocalCloud.deploy(TEMPLATE, start=START, parameters=parameters) as cloud:
        return policies_in(cloud)


def policies_in(cloud: LocalCloud) -> Stack:
    """Read the policies of what a cloud has deployed."""
    names, roles, own = names_of(cloud), {}, {}
    trust = {}
    for logical, kind in kinds_of(cloud).items():
        name = names.physical(f"${{{logical}}}")
        if kind == "AWS::IAM::Role":
            arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
            found = cloud.authority.roles.policies_of(arn)
            roles[logical] = found.identity
            trust[logical] = cloud.authority.roles.trust_of(arn)
        elif kind in _ARNS and (text := records.resource_policy(_ARNS[kind].format(name))) is not None:
            own[logical] = text
    return Stack(names, roles, trust, own)


@functools.cache
def names_in_environments() -> dict[str, str]:
    """Return which variable of functions holds the name, or the ARN, of what of the template."""
    variables = read_template(TEMPLATE)["Globals"]["Function"]["Environment"]["Variables"]
    found = {}
    for name, value in variables.items():
        match value:
            case {"Ref": str(logical)} | {"Fn::GetAtt": [str(logical), "Arn"]}:
                found[name] = logical
    return found
