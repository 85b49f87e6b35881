"""Grants: each action on each resource that a statement allows, and which of them a call could not do without."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from local_cloud.kernel.arns import ACCOUNT
from local_cloud.kernel.callers import Caller
from local_cloud.services.iam.evaluation import Policies, Question, decide
from local_cloud.services.iam.policies import Match, Policy, Statement

OF_THE_RESOURCE = "its own policy"
WHOLE = "*"
_NAME = re.compile(r"\$\{([\w:.]+)\}")
_UNNAMED = re.compile(r"statement \d+")


class Grant(NamedTuple):
    """What one statement says of one action and one pattern of resources, by the template's own names.

    Parameters
    ----------
    holder
        The role, or the resource, whose policy it is.
    policy
        The policy's name; ``its own policy`` for that of a resource.
    sid
        The statement's Sid; empty where it has none.
    action, resource
        As the statement has them; both ``*`` for a policy that AWS wrote: it is attached whole or not at all.
    """

    holder: str
    policy: str
    sid: str
    action: str
    resource: str


class Names:
    """The names that a deployment gave to what the template names.

    Examples
    --------
    >>> names = Names({"DataBucket": "evergreen-databucket-1x"}, stack="evergreen")
    >>> names.logical("arn:aws:s3:::evergreen-databucket-1x/captures/evergreen/1")
    'arn:aws:s3:::${DataBucket}/captures/evergreen/1'
    >>> names.logical("arn:aws:sagemaker:us-east-1:1:model/evergreen-churn")
    'arn:aws:sagemaker:us-east-1:1:model/${AWS::StackName}-churn'
    >>> names.physical("arn:aws:s3:::${DataBucket}/captures/1")
    'arn:aws:s3:::evergreen-databucket-1x/captures/1'
    """

    def __init__(self, physical: Mapping[str, str], stack: str) -> None:
        self._physical = {**physical, "AWS::StackName": stack}
        known = {name: logical for logical, name in physical.items() if name != stack}
        self._logical = known
        longest_first = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
        self._pattern = re.compile(longest_first or r"(?!)")
        self._stack = re.compile(rf"(?<=[:/]){re.escape(stack)}(?=-|/|$)")

    def logical(self, text: str) -> str:
        """Return a text with the template's names in it."""
        named = self._pattern.sub(lambda found: f"${{{self._logical[found[0]]}}}", text)
        if named.startswith("arn:aws:s3:"):
            return named
        return self._stack.sub("${AWS::StackName}", named)

    def physical(self, text: str) -> str:
        """Return a text with the deployment's names in it."""
        return _NAME.sub(lambda found: self._physical.get(found[1], found[0]), text)

    def holder(self, question: Question) -> str:
        """Return whose policies decide beside the resource's own."""
        return self.owner(f":role/{question.caller.role_arn.rsplit('/', 1)[-1]}")

    def owner(self, arn: str) -> str:
        """Return what of the template an ARN names; nothing where it is none of it."""
        found = _NAME.search(self.logical(arn))
        return "" if found is None else found[1]


@dataclass(frozen=True, slots=True)
class Piece:
    """A grant as a statement of its own."""

    grant: Grant
    statement: Statement


def pieces(policy: Policy, holder: str, names: Names) -> Iterator[Piece]:
    """Take a policy to pieces: one for each action on each resource; those that AWS wrote stay whole."""
    for statement, action, resource, single in _singles(policy):
        if policy.name.startswith("AWS"):
            yield Piece(Grant(holder, policy.name, "", WHOLE, WHOLE), statement)
        else:
            sid = "" if _UNNAMED.fullmatch(statement.name) else names.logical(statement.name)
            name = policy.name or OF_THE_RESOURCE
            yield Piece(Grant(holder, name, sid, action, names.logical(resource)), single)


@functools.lru_cache(maxsize=4096)
def _singles(policy: Policy) -> tuple[tuple[Statement, str, str, Statement], ...]:
    return tuple(
        (statement, action, resource, replace(statement, actions=(action,), resources=resources))
        for statement in policy.statements
        for action in statement.actions
        for resource, resources in [(r, (r,)) for r in statement.resources or ()] or [("", None)]
    )


def decisive(question: Question, policies: Policies, names: Names) -> list[Grant]:
    """Return the grants without any one of which a question would be decided otherwise.

    Examples
    --------
    >>> predict = Caller.session("arn:aws:iam::123456789012:role/predict-1x", "predict")
    >>> read = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::b/*"}
    >>> asked = Question(predict, "s3:GetObject", "arn:aws:s3:::b/k")
    >>> names = Names({"PredictRole": "predict-1x"}, stack="evergreen")
    >>> [grant.action for grant in decisive(asked, Policies([Policy.parse({"Statement": [read]}, name="p")]), names)]
    ['s3:GetObject']
    >>> decisive(asked, Policies([Policy.parse({"Statement": [read, read]}, name="p")]), names)
    []
    """
    groups = {
        "identity": [(policy, names.holder(question)) for policy in policies.identity],
        "resource": [(policies.resource, names.owner(question.resource))] if policies.resource else [],
    }
    fitting = {
        kind: [piece for policy, holder in group for piece in pieces(policy, holder, names) if _fits(piece, question)]
        for kind, group in groups.items()
    }
    answer = decide(question, _without(None, fitting, policies)).allowed
    found = Counter(piece.grant for group in fitting.values() for piece in group if piece.grant.holder)
    once = [grant for grant, times in found.items() if times == 1 or grant.action == WHOLE]  # said twice is not needed
    return [grant for grant in once if decide(question, _without(grant, fitting, policies)).allowed is not answer]


def _fits(piece: Piece, question: Question) -> bool:
    statement = piece.statement
    return statement.match(question.caller) is not Match.NONE and statement.speaks_of(
        question.action, question.resource, question.context
    )


def _without(grant: Grant | None, fitting: Mapping[str, Iterable[Piece]], policies: Policies) -> Policies:
    left = {
        kind: Policy("", tuple(piece.statement for piece in group if piece.grant != grant))
        for kind, group in fitting.items()
    }
    return replace(policies, identity=[left["identity"]], resource=left["resource"] if policies.resource else None)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question by the template's own names.

    Parameters
    ----------
    by
        The role that asked, or the service.
    known
        What was known of the request, as far as policies ask for it.
    """

    by: str
    action: str
    resource: str
    known: Mapping[str, Any]

    @classmethod
    def of(cls, question: Question, names: Names) -> Asked:
        """Put a question into the template's names."""
        caller = question.caller
        by = caller.arn if caller.is_service else names.holder(question)
        known = {key: _each(value, names.logical) for key, value in question.context.items()}
        return cls(by, question.action, names.logical(question.resource), known)

    def question(self, names: Names) -> Question:
        """Ask again in a deployment."""
        role = names.physical(f"${{{self.by}}}")
        caller = Caller(self.by) if "." in self.by else Caller.session(f"arn:aws:iam::{ACCOUNT}:role/{role}", "again")
        known = {key: _each(value, names.physical) for key, value in self.known.items()}
        return Question(caller, self.action, names.physical(self.resource), known)

    def told(self) -> str:
        """As a text."""
        return json.dumps([self.by, self.action, self.resource, self.known], sort_keys=True)

    @classmethod
    def read(cls, told: str) -> Asked:
        """Read what :meth:`told` wrote.

        Examples
        --------
        >>> asked = Asked("PredictRole", "s3:GetObject", "arn:aws:s3:::${DataBucket}/k", {"s3:prefix": "k"})
        >>> Asked.read(asked.told()) == asked
        True
        """
        return cls(*json.loads(told))


def _each(value: Any, change: Any) -> Any:
    return tuple(change(one) for one in value) if isinstance(value, list | tuple) else change(value)
