"""Roles and policies as a template writes them; nothing enforces them."""

from __future__ import annotations

import json
from typing import Any

from local_cloud.kernel.resource_kinds import Context, Kind, Properties, create_in_moto, keep


def _create_role(context: Context[object], name: str, properties: Properties) -> Any:
    return create_in_moto(context, name, {k: v for k, v in properties.items() if k != "ManagedPolicyArns"})


def _update_role(context: Context[object], role: Any, name: str, properties: Properties) -> Any:
    for policy in properties.get("Policies", []):
        role.policies[policy["PolicyName"]] = json.dumps(policy["PolicyDocument"])
    role.assume_role_policy_document = properties["AssumeRolePolicyDocument"]
    return role


KINDS: tuple[Kind[object], ...] = (
    Kind("AWS::IAM::ManagedPolicy", "ManagedPolicyName", create_in_moto, keep),
    Kind("AWS::IAM::Policy", "PolicyName", create_in_moto, keep),
    Kind("AWS::IAM::Role", "RoleName", _create_role, _update_role),
)
