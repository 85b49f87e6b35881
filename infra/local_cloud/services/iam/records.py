"""What moto keeps and decisions rest on: policies of roles and resources, keys, tags, the keys of tables."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moto.backends import get_backend

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.place import ACCOUNT, here

Text = str
Tags = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RolePolicies:
    """The documents of a role's policies, as they are now."""

    identity: tuple[tuple[str, Text], ...] = ()
    boundary: Text | None = None
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class Key:
    """A KMS key; AWS manages the one of each service, and nobody can change its policy."""

    arn: str
    policy: Text
    alias: str
    of_aws: bool


@functools.cache
def backend(service: str) -> Any:
    """Return moto's backend of a service for the one account and region; the same one as long as a cloud is open."""
    find: Any = get_backend  # by a name that is only known here, not one of its overloads
    return find(service)[ACCOUNT][here().holder_of(service)]


class Roles:
    """Finds roles by ARN; moto keeps them by id."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def policies_of(self, role_arn: str) -> RolePolicies | None:
        """Return a role's policies; None when there is no such role."""
        role = self._find(role_arn)
        if role is None:
            return None
        documents = [
            *((name, _document(told) or "") for name, told in role.policies.items()),
            *((p.name, _newest(p)) for p in role.managed_policies.values()),
        ]
        return RolePolicies(tuple(documents), self._boundary(role), _tags(role.tags))

    def trust_of(self, role_arn: str) -> Text | None:
        """Return the policy that says who may take a role."""
        role = self._find(role_arn)
        return None if role is None else _document(role.assume_role_policy_document)

    def _find(self, role_arn: str) -> Any:
        roles = backend("iam").roles
        role = roles.get(self._ids.get(role_arn, ""))
        if role is None:
            for number, found in roles.items():
                self._ids[found.arn] = number
            role = roles.get(self._ids.get(role_arn, ""))
        return role

    def _boundary(self, role: Any) -> Text | None:
        if not role.permissions_boundary_arn:
            return None
        policy = backend("iam").managed_policies.get(role.permissions_boundary_arn)
        return None if policy is None else _newest(policy)


def _newest(policy: Any) -> Text:
    version = next(v for v in policy.versions if v.version_id == policy.default_version_id)
    return _document(version.document) or ""


def _tags(given: Any) -> Tags:
    if isinstance(given, Mapping):
        return tuple((str(t["Key"]), str(t["Value"])) for t in given.values()) if given else ()
    return tuple((str(t["Key"]), str(t["Value"])) for t in given or ())


def _document(given: Any) -> Text | None:
    if given is None or given == "":
        return None
    if isinstance(given, bytes):
        return given.decode()
    return given if isinstance(given, str) else json.dumps(given)


# -- policies of resources -------------------------------------------------------------------------------------------

MISSING = "missing"
"""In place of a policy: there is no such resource, and another answer than a refusal is due."""


def resource_policy(resource: str) -> Text | None:
    """Return the policy of a resource; None when it has none, ``MISSING`` when there is no such resource."""
    arn = Arn.parse(resource)
    look = _POLICIES.get(arn.service)
    return None if look is None else look(arn)


def _of_bucket(arn: Arn) -> Text | None:
    bucket = backend("s3").buckets.get(arn.resource.partition("/")[0])
    return MISSING if bucket is None else _document(bucket.policy)


def _of_queue(arn: Arn) -> Text | None:
    queue = backend("sqs").queues.get(arn.resource_name)
    return MISSING if queue is None else _document(queue.policy)


def _of_topic(arn: Arn) -> Text | None:
    topic = backend("sns").topics.get(arn.text)
    return MISSING if topic is None else _document(topic.policy)


def _of_function(arn: Arn) -> Text | None:
    name = arn.resource.split(":")[1] if ":" in arn.resource else ""
    if name not in backend("lambda")._lambdas._functions:
        return MISSING
    function = backend("lambda").get_function(name)
    statements = function.policy.statements
    return json.dumps({"Version": "2012-10-17", "Statement": statements}) if statements else None


def _of_key(arn: Arn) -> Text | None:
    key = key_of(arn.text)
    return MISSING if key is None else key.policy


def _of_bus(arn: Arn) -> Text | None:
    if not arn.resource.startswith("event-bus/"):
        return None
    bus = backend("events").event_buses.get(arn.resource_name)
    return MISSING if bus is None else _document(bus.policy)


_POLICIES: Mapping[str, Callable[[Arn], Text | None]] = {
    "events": _of_bus,
    "kms": _of_key,
    "lambda": _of_function,
    "s3": _of_bucket,
    "sns": _of_topic,
    "sqs": _of_queue,
}


OF_AWS = "alias/aws/"

# -- keys ------------------------------------------------------------------------------------------------------------


def key_of(name: str) -> Key | None:
    """Return a key by its id, ARN or alias; None when there is none. Those of AWS's services are always there."""
    keys = backend("kms")
    alias = keys.get_alias_name(name)
    by_alias = alias.startswith("alias/")
    if alias.startswith(OF_AWS):
        return Key(here().arn("kms", alias), "", alias, of_aws=True)
    key = keys.keys.get(keys.get_key_id_from_alias(alias) if by_alias else name.rsplit("/", 1)[-1])
    if key is None:
        return None
    of_aws = next((one for one in key.aliases if one.startswith(OF_AWS)), "")
    return Key(key.arn, _document(key.policy) or "", of_aws, bool(of_aws))


def encrypting_key(action: str, resource: str, asked_for: str | None = None) -> str | None:
    """Return the name of the key by which a resource is encrypted that the caller or AWS chose; None without one.

    Parameters
    ----------
    asked_for
        The key that a call to S3 names itself.
    """
    arn = Arn.parse(resource)
    look = _ENCRYPTED.get(arn.service)
    return None if look is None else look(action, arn, asked_for)


def _key_of_object(action: str, arn: Arn, asked_for: str | None) -> str | None:
    name, _, key = arn.resource.partition("/")
    bucket = backend("s3").buckets.get(name)
    if bucket is None or not key:
        return None
    if action.startswith("s3:Get"):
        found = bucket.keys.get(key)
        return getattr(found, "kms_key_id", None) or (
            "alias/aws/s3" if getattr(found, "encryption", None) == "aws:kms" else None
        )
    if asked_for:
        return asked_for
    rule = ((bucket.encryption or {}).get("Rule") or {}) if isinstance(bucket.encryption, Mapping) else {}
    rule = rule[0] if isinstance(rule, list) else rule
    default = rule.get("ApplyServerSideEncryptionByDefault") or {}
    return (default.get("KMSMasterKeyID") or "alias/aws/s3") if default.get("SSEAlgorithm") == "aws:kms" else None


def _key_of_queue(action: str, arn: Arn, asked_for: str | None) -> str | None:
    queue = backend("sqs").queues.get(arn.resource_name)
    return getattr(queue, "kms_master_key_id", None) or None


def _key_of_topic(action: str, arn: Arn, asked_for: str | None) -> str | None:
    topic = backend("sns").topics.get(arn.text)
    return getattr(topic, "kms_master_key_id", None) or None


def _key_of_table(action: str, arn: Arn, asked_for: str | None) -> str | None:
    table = backend("dynamodb").tables.get(arn.resource.split("/")[1]) if "/" in arn.resource else None
    given = (getattr(table, "sse_specification", None) or {}).get("KMSMasterKeyId")
    return None if given is None else str(given)


def _key_of_volumes(action: str, arn: Arn, asked_for: str | None) -> str | None:
    """Of an endpoint's instances: who starts an endpoint with a key lets SageMaker use it, by a grant."""
    kind, _, name = arn.resource.partition("/")
    kept = backend("sagemaker").endpoint_configs if kind == "endpoint-config" else {}
    config = next((one for known, one in kept.items() if known.lower() == name), None)
    return getattr(config, "given", {}).get("KmsKeyId")


_ENCRYPTED: Mapping[str, Callable[[str, Arn, str | None], str | None]] = {
    "dynamodb": _key_of_table,
    "s3": _key_of_object,
    "sagemaker": _key_of_volumes,
    "sns": _key_of_topic,
    "sqs": _key_of_queue,
}


# -- tags and tables -------------------------------------------------------------------------------------------------


def resource_tags(resource: str) -> Mapping[str, str]:
    """Return the tags of what SageMaker, DynamoDB or Lambda keeps under an ARN; none for the rest."""
    arn = Arn.parse(resource)
    match arn.service:
        case "sagemaker":
            return _sagemaker_tags(arn)
        case "dynamodb":
            table = backend("dynamodb").tables.get(arn.resource.split("/")[1])
            return dict(_tags(getattr(table, "tags", None)))
    return {}


def _sagemaker_tags(arn: Arn) -> Mapping[str, str]:
    kind, _, name = arn.resource.partition("/")
    kept = getattr(backend("sagemaker"), _SAGEMAKER_KINDS.get(kind, ""), None) or {}
    found = next((one for known, one in kept.items() if known.rsplit("/", 1)[-1].lower() == name), None)
    return dict(_tags(getattr(found, "tags", None)))


_SAGEMAKER_KINDS = {
    "endpoint": "endpoints",
    "endpoint-config": "endpoint_configs",
    "model": "_models",
    "training-job": "training_jobs",
}


def partition_key(resource: str) -> str | None:
    """Return the name of the partition key of a table, or of one of its indexes."""
    _, name, *rest = [*Arn.parse(resource).resource.split("/"), ""]
    table = backend("dynamodb").tables.get(name)
    if table is None:
        return None
    if "index" in rest:
        indexes = [*table.global_indexes, *table.indexes]
        schema = next((index.schema for index in indexes if index.name == rest[1]), ())
        return next((part["AttributeName"] for part in schema if part["KeyType"] == "HASH"), None)
    return str(table.hash_key_attr)
