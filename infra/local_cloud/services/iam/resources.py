"""Roles and policies as a template writes them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, iam_backends

from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import here
from local_cloud.kernel.resource_kinds import (
    Context,
    Kind,
    Properties,
    create_in_moto,
    keep,
    update_in_moto,
)

OF_AWS = ":iam::aws:policy/"


def _create_role(context: Context[object], name: str, properties: Properties) -> Any:
    role = create_in_moto(context, name, {k: v for k, v in properties.items() if k != "ManagedPolicyArns"})
    _attach(context, role, properties.get("ManagedPolicyArns", []))
    return _with_texts(role)


def _with_texts(role: Any) -> Any:
    """Keep a role's policies as the texts that IAM keeps: moto's CloudFormation puts objects there."""
    for name, document in role.policies.items():
        if not isinstance(document, str):
            role.policies[name] = json.dumps(document)
    return role


def _create_policy(context: Context[object], name: str, properties: Properties) -> Any:
    # Its name is one among its role's; moto takes it for one among all of the account's.
    policy = create_in_moto(context, "-".join([*properties.get("Roles", []), name]), properties)
    for role in context.backend("iam").roles.values():
        _with_texts(role)
    return policy


def _update_policy(context: Context[object], policy: Any, name: str, properties: Properties) -> Any:
    updated = update_in_moto(context, policy, name, properties)
    for role in context.backend("iam").roles.values():
        _with_texts(role)
    return updated


def _update_role(context: Context[object], role: Any, name: str, properties: Properties) -> Any:
    of_template = {
        policy["PolicyName"]: json.dumps(policy["PolicyDocument"]) for policy in properties.get("Policies", [])
    }
    role.policies.update(of_template)
    role.assume_role_policy_document = properties["AssumeRolePolicyDocument"]
    role.permissions_boundary_arn = properties.get("PermissionsBoundary")
    role.managed_policies.clear()
    _attach(context, role, properties.get("ManagedPolicyArns", []))
    return role


def _attach(context: Context[object], role: Any, arns: list[str]) -> None:
    backend = context.backend("iam")
    for arn in arns:
        if OF_AWS in arn and arn not in backend.managed_policies:
            backend.managed_policies[arn] = _policy_of_aws(context, arn)
        if arn not in backend.managed_policies:
            raise context.refuse(f"uses the managed policy {arn}", "use one that AWS or the template has")
        role.managed_policies[arn] = backend.managed_policies[arn]


def _policy_of_aws(context: Context[object], arn: str) -> Any:
    name = arn.rsplit("/", 1)[-1]
    if name not in _policies_of_aws():
        raise context.refuse(f"uses the managed policy {arn}", "use one that AWS or the template has")
    return AWSManagedPolicy.from_data(name, context.account, context.region, _policies_of_aws()[name])


@functools.cache
def _policies_of_aws() -> dict[str, Any]:
    policies: dict[str, Any] = json.loads(aws_managed_policies_data)
    return policies


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_delete_role(authority: object, original: Callable[..., None]) -> Callable[..., None]:
    """``Role.delete_from_cloudformation_json``: CloudFormation detaches a role's policies before it deletes it."""

    def delete(cls: Any, name: str, document: Any, account_id: str, region_name: str) -> None:
        for role in iam_backends[account_id][here().partition].roles.values():
            if role.name == name:
                role.managed_policies.clear()
        original(cls, name, document, account_id, region_name)

    return delete


PATCHES = (Patch("moto.iam.models:Role.delete_from_cloudformation_json", patched_delete_role),)

KINDS: tuple[Kind[object], ...] = (
    Kind("AWS::IAM::ManagedPolicy", "ManagedPolicyName", create_in_moto, keep),
    Kind("AWS::IAM::Policy", "PolicyName", _create_policy, _update_policy),
    Kind("AWS::IAM::Role", "RoleName", _create_role, _update_role),
)
