"""Who may do what, here: every call of a function, a job, an endpoint or a service is decided by policies, as on AWS.

A decision is a pure function of texts: the caller, the action, the resource, what is known of the request, and the
documents that have a say. It is kept by all of these. So it is made once, and a policy that changes needs no
invalidation: its text is another key.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError
from moto.iam.access_control import PermissionResult

from local_cloud.kernel.callers import Caller, running
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.iam import records
from local_cloud.services.iam.conditions import Context
from local_cloud.services.iam.evaluation import Decision, Policies, Question, Verdict, decide
from local_cloud.services.iam.needs import Known, Need, Params, key_needs, leading_keys, needs_of
from local_cloud.services.iam.policies import Policy, action_fits
from local_cloud.services.iam.wire import OBJECT_READS, error_code, error_status, guarded

LOG = logging.getLogger("local_cloud.iam")
KEPT_REFUSALS = 1_000
KEPT_DECISIONS = 65_536


@dataclass(frozen=True, slots=True)
class Refusal:
    """A need that was refused.

    Parameters
    ----------
    caller
        Who asked.
    action, resource
        What for.
    decision
        By which policy, or for want of which.
    """

    caller: Caller
    action: str
    resource: str
    decision: Decision

    @property
    def message(self) -> str:
        """AWS's sentence.

        Examples
        --------
        >>> from local_cloud.services.iam.evaluation import Kind
        >>> predict = Caller.session("arn:aws:iam::123456789012:role/predict", "run")
        >>> want = Decision(Verdict.IMPLICITLY_DENIED, Kind.IDENTITY)
        >>> print(Refusal(predict, "sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:q", want).message)
        User: arn:aws:sts::123456789012:assumed-role/predict/run is not authorized to perform: sqs:SendMessage on \
resource: arn:aws:sqs:us-east-1:123456789012:q because no identity-based policy allows the sqs:SendMessage action
        """
        on = f'"{self.resource}"' if self.action.startswith("s3:") else self.resource
        return (
            f"User: {self.caller.arn} is not authorized to perform: {self.action} on resource: {on} "
            f"{self.decision.because(self.action)}"
        )

    @property
    def remedy(self) -> str:
        """The statement that is missing, or the one in the way."""
        if self.decision.verdict is Verdict.EXPLICITLY_DENIED:
            return f"statement {self.decision.by!r} of the {self.decision.kind} is in the way"
        if self.resource.startswith(records.OF_AWS):
            return f"nobody can change the policy of {self.resource}: encrypt by a key of your own, which lets it in"
        statement: dict[str, Any] = {"Effect": "Allow", "Action": self.action, "Resource": self.resource}
        if self.caller.is_service:
            statement = {"Principal": {"Service": self.caller.arn}, **statement}
            return f"the policy of {self.resource} lacks {json.dumps(statement)}"
        return f"role {self.caller.role_arn.rsplit('/', 1)[-1]} lacks {json.dumps(statement)}"


Listener = Callable[[Question, Policies, Decision], object]


class Authority(Service):
    """Decides, and keeps what it refused.

    Attributes
    ----------
    refusals
        The last of them, oldest first.
    used
        How often each role used each action.
    listeners
        Each is told every decision: the question, the policies that had a say, and what was decided.
    """

    def __init__(self, core: Core):
        records.backend.cache_clear()
        self.core = core
        self.roles = records.Roles()
        self.refusals: deque[Refusal] = deque(maxlen=KEPT_REFUSALS)
        self.used: Counter[tuple[str, str]] = Counter()
        self.listeners: list[Listener] = []
        self._told: set[tuple[str, str, str]] = set()
        core.gate.keep(self.refusal_of, lambda application: guarded(application, self.holder, self.refuse))

    def holder(self, access_key: str) -> Caller | None:
        """Return whose access key it is; None for the operator's."""
        return self.core.keyring.holder(access_key)

    def refusal_of(self, caller: Caller, action: str, resource: str, known: Known) -> str | None:
        """Return why somebody may not do this, in AWS's words; None when they may. A key may go by any of its names."""
        if action.startswith("kms:") and (key := records.key_of(resource)) is not None:
            resource = key.arn
        refusal = self._first_refusal(caller, [Need(action, resource, known)])
        return None if refusal is None else refusal.message

    def refuse(self, caller: Caller, service: str, operation: str, params: Params) -> Refusal | None:
        """Return why a call is refused; None when it may go on."""
        return self._first_refusal(caller, needs_of(service, operation, params), params)

    def may_list(self, caller: Caller, bucket: str, key: str) -> Refusal | None:
        """Return why a caller may not learn that an object is missing; None when it may."""
        return self._first_refusal(caller, [Need("s3:ListBucket", here().bucket_arn(bucket), {"s3:prefix": key})])

    def decision_on(self, caller: Caller, need: Need, params: Params | None = None) -> Decision:
        """Decide about one need."""
        if need.action == "sts:AssumeRole":
            return self._decision(caller, need, self.roles.trust_of(need.resource), {})
        of_resource = records.resource_policy(need.resource)
        return self._decision(caller, need, None if of_resource is records.MISSING else of_resource, params or {})

    def never_used(self) -> dict[str, list[str]]:
        """Return what each role is allowed and has not used so far: action patterns, by the role's ARN."""
        found: dict[str, list[str]] = {}
        for role in records.backend("iam").roles.values():
            of_role = self.roles.policies_of(role.arn) or records.RolePolicies()
            used = [action for who, action in self.used if who == role.arn]
            policies = [_parsed(text, name) for name, text in of_role.identity]
            allowed = {
                a for policy in policies for s in policy.statements if s.allows and not s.but_actions for a in s.actions
            }
            idle = [pattern for pattern in sorted(allowed) if not any(action_fits(pattern, action) for action in used)]
            if idle:
                found[role.arn] = idle
        return found

    def _decision(self, caller: Caller, need: Need, of_resource: str | None, params: Params) -> Decision:
        found = None if caller.is_service else self.roles.policies_of(caller.role_arn)
        of_role = found or records.RolePolicies()
        documents = (of_role.identity, of_resource, of_role.boundary)
        keys = mentioned(*documents)
        known = self._known(keys, need, caller, of_role.tags, params) if keys else ()
        decision = decided(caller, need.action, need.resource, known, *documents)
        if self.listeners:
            question = Question(caller, need.action, need.resource, dict(known))
            policies = policies_of(need.action, need.resource, *documents)
            for listener in self.listeners:
                listener(question, policies, decision)
        return decision

    def _known(
        self, keys: Iterable[str], need: Need, caller: Caller, tags: records.Tags, params: Params
    ) -> tuple[tuple[str, str | tuple[str, ...]], ...]:
        """Return what is known of a request under ``keys``, in their order."""
        given = {key.lower(): value for key, value in need.known.items()}
        found: dict[str, Any] = {}
        for key in keys:
            value = given.get(key)
            value = value() if callable(value) else value
            if value is None:
                value = _value_of(key, need, caller, tags, params, self.core.clock.now)
            if value is not None:
                found[key] = value
        return tuple(sorted(found.items()))

    def _first_refusal(self, caller: Caller, needs: Iterable[Need], params: Params | None = None) -> Refusal | None:
        for need in needs:
            if need.resource.startswith("arn:") and caller.is_service and self._is_missing(need):
                continue  # that there is no such target is for the target's service to say
            if refusal := self._refusal(caller, need, params):
                return refusal
            asked_for = need.known.get("s3:x-amz-server-side-encryption-aws-kms-key-id")
            name = records.encrypting_key(need.action, need.resource, asked_for if isinstance(asked_for, str) else None)
            if name and (refusal := self._refusal_by_key(caller, need, name)):
                return refusal
        return None

    def _is_missing(self, need: Need) -> bool:
        if need.action == "sts:AssumeRole":
            return self.roles.trust_of(need.resource) is None
        return records.resource_policy(need.resource) is records.MISSING

    def _refusal(self, caller: Caller, need: Need, params: Params | None) -> Refusal | None:
        decision = self.decision_on(caller, need, params)
        if decision.allowed:
            self.used[caller.role_arn or caller.arn, need.action] += 1
            return None
        return self._keep(Refusal(caller, need.action, need.resource, decision))

    def _refusal_by_key(self, caller: Caller, need: Need, name: str) -> Refusal | None:
        """A key of AWS's serves whoever may use its service within the account, and no other service."""
        key = records.key_of(name)
        if key is None:
            return None
        if key.of_aws and not caller.is_service:
            return None
        for asked in key_needs(need, key.arn):
            decision = self._decision(caller, asked, None if key.of_aws else key.policy, {})
            if not decision.allowed:
                return self._keep(Refusal(caller, asked.action, key.alias or asked.resource, decision))
        return None

    def _keep(self, refusal: Refusal) -> Refusal:
        self.refusals.append(refusal)
        what = (refusal.caller.role_arn or refusal.caller.arn, refusal.action, refusal.resource)
        if what not in self._told:
            self._told.add(what)
            LOG.warning("%s. To mend it: %s", refusal.message, refusal.remedy)
        return refusal


# -- decisions, kept -------------------------------------------------------------------------------------------------

Documents = tuple[tuple[str, str], ...]
"""The policies of a role: names and texts."""


@functools.lru_cache(maxsize=4096)
def _parsed(text: str, name: str = "") -> Policy:
    return Policy.parse(text, name=name)


@functools.lru_cache(maxsize=KEPT_DECISIONS)
def decided(
    caller: Caller,
    action: str,
    resource: str,
    known: tuple[tuple[str, str | tuple[str, ...]], ...],
    identity: Documents,
    of_resource: str | None,
    boundary: str | None,
) -> Decision:
    """Decide by the texts of policies; the same texts are decided once."""
    policies = policies_of(action, resource, identity, of_resource, boundary)
    return decide(Question(caller, action, resource, dict(known)), policies)


def policies_of(
    action: str, resource: str, identity: Documents, of_resource: str | None, boundary: str | None
) -> Policies:
    """Read every policy that has a say in whether ``action`` may be done to ``resource``."""
    return Policies(
        identity=[_parsed(text, name) for name, text in identity],
        resource=None if of_resource is None else _parsed(of_resource),
        boundary=None if boundary is None else _parsed(boundary),
        needs_trust=action.startswith("kms:") and ":key/" in resource,
    )


_VARIABLE = re.compile(r"\$\{([^,}]+)")


@functools.lru_cache(maxsize=4096)
def mentioned(identity: Documents, of_resource: str | None, boundary: str | None) -> frozenset[str]:
    """Return the condition keys that policies name, in small letters: those alone have to be known.

    Examples
    --------
    >>> own = {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::b/${aws:username}/*"}
    >>> own["Condition"] = {"StringLike": {"s3:prefix": "p/*"}}
    >>> narrow = json.dumps({"Version": "2012-10-17", "Statement": [own]})
    >>> sorted(mentioned((("p", narrow),), None, None))
    ['aws:username', 's3:prefix']
    """
    texts = [text for _, text in identity] + [text for text in (of_resource, boundary) if text is not None]
    found: set[str] = set()
    for text in texts:
        for statement in _parsed(text).statements:
            patterns = [*(statement.resources or ()), *(v for c in statement.conditions for v in c.values)]
            found |= {condition.key.lower() for condition in statement.conditions}
            found |= {
                part.partition("}")[0].partition(",")[0].strip().lower() for p in patterns for part in p.split("${")[1:]
            }
    return frozenset(found)


def _value_of(
    key: str, need: Need, caller: Caller, tags: records.Tags, params: Params, now: datetime
) -> str | tuple[str, ...] | None:
    """Return the value of a condition key that every request has, or that moto can be asked for."""
    if key.startswith("aws:principaltag/"):
        return {name.lower(): value for name, value in tags}.get(key.partition("/")[2])
    if key.startswith("aws:resourcetag/"):
        kept = records.resource_tags(need.resource) if need.resource.startswith("arn:") else {}
        return {name.lower(): value for name, value in kept.items()}.get(key.partition("/")[2])
    if key == "dynamodb:leadingkeys":
        attribute = records.partition_key(need.resource)
        return leading_keys(params, attribute) if attribute else None
    if key == "aws:requestedregion":
        return here().region
    if caller.is_service:
        return {"aws:principalisawsservice": "true", "aws:principalservicename": caller.arn, **_ALWAYS}.get(key)
    of_session: Context = {
        "aws:currenttime": now.isoformat(),
        "aws:principalaccount": caller.account,
        "aws:principalarn": caller.role_arn,
        "aws:principalisawsservice": "false",
        "aws:principaltype": "AssumedRole",
        "aws:sourceip": "127.0.0.1",
        "aws:userid": f"AROA:{caller.arn.rsplit('/', 1)[-1]}",
        **_ALWAYS,
    }
    return of_session.get(key)


_ALWAYS: Mapping[str, str] = {
    "aws:resourceaccount": ACCOUNT,
    "aws:securetransport": "true",  # a client of AWS uses TLS; that loopback has none is ours alone
    "aws:viaawsservice": "false",
    "s3:resourceaccount": ACCOUNT,
}


# -- what answers a refused call -------------------------------------------------------------------------------------

_NOT_FOUND = frozenset({"404", "NoSuchKey"})


def _caller_of(authority: Authority, client: Any) -> Caller | None:
    """Return who makes a call: whose code is running, else whose key the client holds."""
    caller = running()
    if caller is not None:
        return caller
    credentials = client._request_signer._credentials
    return authority.holder(credentials.access_key) if credentials is not None else None


def _denied(client: Any, service: str, operation: str, refusal: Refusal) -> ClientError:
    """Return the error that boto3 raises of AWS's answer."""
    protocol = client.meta.service_model.metadata.get("protocol", "")
    code, message = error_code(service, protocol), refusal.message
    if operation.startswith("Head"):
        code, message = "403", "Forbidden"  # an answer to HEAD has no body
    error_class = client.exceptions.from_code(code)
    status = error_status(protocol)
    told = {"RequestId": "LOCAL", "HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
    error: ClientError = error_class({"Error": {"Code": code, "Message": message}, "ResponseMetadata": told}, operation)
    return error


def patched_api_call(authority: Authority, original: Callable[..., Any]) -> Callable[..., Any]:
    """``BaseClient._make_api_call``: what a role may not do is not done; the operator may do everything.

    S3 tells of a missing object only those who may list its bucket.
    """

    def _make_api_call(self: Any, operation_name: str, api_params: Any) -> Any:
        caller = _caller_of(authority, self)
        if caller is None:
            return original(self, operation_name, api_params)
        service = self.meta.service_model.service_name
        refusal = authority.refuse(caller, service, operation_name, api_params)
        if refusal is not None:
            raise _denied(self, service, operation_name, refusal)
        try:
            return original(self, operation_name, api_params)
        except ClientError as error:
            if operation_name in OBJECT_READS and error.response["Error"]["Code"] in _NOT_FOUND:
                for bucket, key in _read_objects(operation_name, api_params):
                    if (refusal := authority.may_list(caller, bucket, key)) is not None:
                        raise _denied(self, service, operation_name, refusal) from error
            raise

    return _make_api_call


def _read_objects(operation: str, params: Params) -> Iterator[tuple[str, str]]:
    if operation != "CopyObject":
        yield params["Bucket"], params["Key"]
        return
    source = needs_of("s3", "CopyObject", params)[0].resource.removeprefix(here().bucket_arn(""))
    bucket, _, key = source.partition("/")
    yield bucket, key


def patched_get_permission(authority: Authority, original: Callable[..., Any]) -> Callable[..., Any]:
    """``FakeBucket.get_permission``: a bucket's policy with its conditions, for who has no role."""

    def get_permission(self: Any, action: str, resource: str) -> Any:
        if self.policy is None:
            return PermissionResult.NEUTRAL
        nobody = Caller(f"arn:{here().partition}:iam::{ACCOUNT}:root")
        decision = authority.decision_on(nobody, Need(action, resource))
        if decision.verdict is Verdict.EXPLICITLY_DENIED:
            return PermissionResult.DENIED
        return PermissionResult.PERMITTED if decision.allowed else PermissionResult.NEUTRAL

    return get_permission


PATCHES = (
    Patch("botocore.client:BaseClient._make_api_call", patched_api_call),
    Patch("moto.s3.models:FakeBucket.get_permission", patched_get_permission),
)
