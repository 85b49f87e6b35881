"""Policy documents, read once: their statements, and which of these speak of an action, a resource and a caller."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from local_cloud.kernel.callers import Caller
from local_cloud.services.iam.conditions import Condition, Context, has_unknown, pattern_of, split_arn

VARIABLES_SINCE = "2012-10-17"


class PolicyError(ValueError):
    """A document is no policy."""


class Match(StrEnum):
    """How closely a statement of a resource policy names a caller."""

    NONE = "none"
    ACCOUNT = "account"  # whoever the account's own policies allow
    ROLE = "role"
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Principals:
    """The Principal of a statement: everybody, or names by kind."""

    everybody: bool = False
    aws: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, given: Any) -> Principals:
        """Read a Principal element."""
        if given == "*":
            return cls(everybody=True)
        if not isinstance(given, Mapping):
            raise PolicyError(f"{given!r} is no Principal: it is '*' or an object.")
        aws = frozenset(_texts(given.get("AWS", ())))
        return cls("*" in aws, aws, frozenset(_texts(given.get("Service", ()))))

    def match(self, caller: Caller) -> Match:
        """Return how closely ``caller`` is named."""
        if self.everybody:
            return Match.EXACT
        if caller.is_service:
            return Match.EXACT if caller.arn in self.services else Match.NONE
        if caller.arn in self.aws:
            return Match.EXACT
        if caller.role_arn in self.aws:
            return Match.ROLE
        account = caller.account
        return Match.ACCOUNT if self.aws & {account, f"arn:{caller.partition}:iam::{account}:root"} else Match.NONE


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy.

    Parameters
    ----------
    name
        Its Sid, or its place in the policy.
    actions, resources
        Patterns; ``None`` for resources of a trust policy, which has none.
    but_actions, but_resources
        Whether it is NotAction or NotResource: all but these.
    principals
        Whom it is about; None in a policy of an identity.
    """

    name: str
    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...] | None
    conditions: tuple[Condition, ...] = ()
    principals: Principals | None = None
    but_actions: bool = False
    but_resources: bool = False
    but_principals: bool = False

    def speaks_of(self, action: str, resource: str, context: Context) -> bool:
        """Whether action, resource and conditions fit; the principal is another question."""
        return (
            any(action_fits(pattern, action) for pattern in self.actions) is not self.but_actions
            and self._fits_resource(resource, context)
            and all(condition.holds(context) for condition in self.conditions)
        )

    def match(self, caller: Caller) -> Match:
        """Return how closely the statement names ``caller``."""
        if self.principals is None:
            return Match.EXACT
        found = self.principals.match(caller)
        if self.but_principals:
            return Match.EXACT if found is Match.NONE else Match.NONE
        return found

    def _fits_resource(self, resource: str, context: Context) -> bool:
        if self.resources is None:
            return True
        if self.but_resources and any(has_unknown(pattern, context) for pattern in self.resources):
            return False  # "all but nobody knows what" is nothing
        return any(resource_fits(pattern, resource, context) for pattern in self.resources) is not self.but_resources


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document.

    Examples
    --------
    >>> read = Policy.parse('{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:Get*", '
    ...                     '"Resource": "arn:aws:s3:::b/*"}}', name="read")
    >>> read.statements[0].speaks_of("s3:GetObject", "arn:aws:s3:::b/k", {})
    True
    """

    name: str
    statements: tuple[Statement, ...]

    @classmethod
    def parse(cls, document: str | Mapping[str, Any], *, name: str = "") -> Policy:
        """Read a document: JSON, or what JSON says.

        Raises
        ------
        PolicyError
            When it is no policy.
        """
        try:
            told = json.loads(document) if isinstance(document, str) else document
            given = told["Statement"]
            statements = given if isinstance(given, Sequence) else [given]
            if str(told.get("Version", "")) < VARIABLES_SINCE:
                statements = [_without_variables(one) for one in statements]
            return cls(name, tuple(_statement(one, at) for at, one in enumerate(statements, 1)))
        except (KeyError, TypeError, AttributeError) as error:
            raise PolicyError(f"Policy {name!r} can't be read: {type(error).__name__}: {error}.") from error


def _without_variables(given: Any) -> Any:
    """Return what a document of before variables says, in the words of one that has them: ``$`` is ``${$}``."""
    match given:
        case str():
            return given.replace("${", "${$}{")
        case Mapping():
            return {name: _without_variables(value) for name, value in given.items()}
        case list() | tuple():
            return [_without_variables(one) for one in given]
    return given


def _statement(given: Mapping[str, Any], at: int) -> Statement:
    but_actions, but_resources, but_principals = (f"Not{name}" in given for name in ("Action", "Resource", "Principal"))
    resources = given.get("NotResource" if but_resources else "Resource")
    principal = given.get("NotPrincipal" if but_principals else "Principal")
    return Statement(
        name=str(given.get("Sid") or f"statement {at}"),
        allows={"Allow": True, "Deny": False}[given["Effect"]],
        actions=_texts(given["NotAction" if but_actions else "Action"]),
        resources=None if resources is None else _texts(resources),
        conditions=tuple(
            Condition(operator, key, _texts(values))
            for operator, block in (given.get("Condition") or {}).items()
            for key, values in block.items()
        ),
        principals=None if principal is None else Principals.parse(principal),
        but_actions=but_actions,
        but_resources=but_resources,
        but_principals=but_principals,
    )


def _texts(given: Any) -> tuple[str, ...]:
    several = given if isinstance(given, list | tuple) else [given]
    return tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in several)


@lru_cache(maxsize=16_384)
def action_fits(pattern: str, action: str) -> bool:
    """Whether an action fits a pattern, whatever the case of its letters.

    Examples
    --------
    >>> action_fits("s3:get*", "s3:GetObject"), action_fits("*", "s3:GetObject"), action_fits("s3:Get", "s3:GetObject")
    (True, True, False)
    """
    return pattern_of(pattern, {}, ignore_case=True).fullmatch(action) is not None


def resource_fits(pattern: str, resource: str, context: Context) -> bool:
    """Whether a resource fits a pattern; one that breaks off before its sixth part goes on in ``*``.

    Examples
    --------
    >>> resource_fits("arn:aws:s3:::b/*", "arn:aws:s3:::b/k/l", {}), resource_fits("arn:aws:s3:::b", "*", {})
    (True, False)
    >>> resource_fits("arn:aws:sns:*", "arn:aws:sns:us-east-1:123456789012:told", {})
    True
    """
    if pattern == "*":
        return True
    wanted, given = split_arn(pattern), resource.split(":", 5)
    if len(given) < 6:
        return False
    wanted += ["*"] * (6 - len(wanted))
    return all(pattern_of(part, context).fullmatch(one) for part, one in zip(wanted, given, strict=True))
