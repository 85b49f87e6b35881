"""IAM's decision: may this caller do this to that? A pure function of policies and one question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from local_cloud.kernel.callers import Caller
from local_cloud.services.iam.conditions import Context
from local_cloud.services.iam.policies import Match, Policy, Statement


class Verdict(StrEnum):
    """How a question was decided."""

    ALLOWED = "allowed"
    IMPLICITLY_DENIED = "implicitly denied"
    EXPLICITLY_DENIED = "explicitly denied"


class Kind(StrEnum):
    """Which kind of policy decided, in AWS's words."""

    IDENTITY = "identity-based policy"
    RESOURCE = "resource-based policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"


@dataclass(frozen=True, slots=True)
class Question:
    """One action on one resource, by a caller.

    Parameters
    ----------
    context
        What is known of the request, by condition key in small letters.
    """

    caller: Caller
    action: str
    resource: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policies:
    """Every policy that has a say.

    Parameters
    ----------
    identity
        Of the caller's role.
    resource
        Of what is acted on; None where it has none.
    boundary, session
        What else must allow it; None where there is none.
    needs_trust
        Whether the policy of the resource must name the account before the account's own policies count, as that of a
        KMS key must.
    """

    identity: Sequence[Policy] = ()
    resource: Policy | None = None
    boundary: Policy | None = None
    session: Policy | None = None
    needs_trust: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, by which kind of policy, and by which statement.

    ``by`` is empty when it was no statement but the want of one.
    """

    verdict: Verdict
    kind: Kind
    by: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the call may go on."""
        return self.verdict is Verdict.ALLOWED

    def because(self, action: str) -> str:
        """Return the end of AWS's sentence about a refusal.

        Examples
        --------
        >>> Decision(Verdict.IMPLICITLY_DENIED, Kind.IDENTITY).because("s3:GetObject")
        'because no identity-based policy allows the s3:GetObject action'
        >>> Decision(Verdict.EXPLICITLY_DENIED, Kind.RESOURCE, "OnlyTls").because("s3:GetObject")
        'with an explicit deny in a resource-based policy'
        """
        if self.verdict is Verdict.EXPLICITLY_DENIED:
            return f"with an explicit deny in {'an' if self.kind is Kind.IDENTITY else 'a'} {self.kind}"
        return f"because no {self.kind} allows the {action} action"


def decide(question: Question, policies: Policies) -> Decision:
    """Decide as AWS does within one account: a deny anywhere is final, else somebody has to allow it.

    The role's policies allow it within its boundary, or the policy of the resource does. A service has no policies of
    its own. What a resource's policy grants to a session by name is not narrowed by the role's boundary.

    Examples
    --------
    >>> predict = Caller.session("arn:aws:iam::123456789012:role/predict", "predict")
    >>> of_b = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
    >>> read = Policy.parse({"Statement": [of_b]})
    >>> decide(Question(predict, "s3:GetObject", "arn:aws:s3:::b/k"), Policies(identity=[read])).verdict
    <Verdict.ALLOWED: 'allowed'>
    >>> decide(Question(predict, "s3:PutObject", "arn:aws:s3:::b/k"), Policies(identity=[read])).verdict
    <Verdict.IMPLICITLY_DENIED: 'implicitly denied'>

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
    """
    of_caller: Sequence[Policy] = () if question.caller.is_service else policies.identity
    kinds: Mapping[Kind, Sequence[Policy]] = {
        Kind.RESOURCE: [policies.resource] if policies.resource else [],
        Kind.IDENTITY: of_caller,
        Kind.BOUNDARY: [policies.boundary] if policies.boundary else [],
        Kind.SESSION: [policies.session] if policies.session else [],
    }
    fitting = {kind: list(_fitting(question, group)) for kind, group in kinds.items()}
    for kind, found in fitting.items():
        for statement, _ in found:
            if not statement.allows:
                return Decision(Verdict.EXPLICITLY_DENIED, kind, statement.name)
    granted = {match: statement for statement, match in fitting[Kind.RESOURCE]}
    if question.caller.is_service:
        return _allowed(Kind.RESOURCE, granted.get(Match.EXACT)) or _want_of(Kind.RESOURCE)
    if found_for_session := _allowed(Kind.RESOURCE, granted.get(Match.EXACT)):
        return found_for_session
    trusted = not policies.needs_trust or Match.ACCOUNT in granted
    of_role = next((statement for statement, _ in fitting[Kind.IDENTITY]), None) if trusted else None
    core = _allowed(Kind.RESOURCE, granted.get(Match.ROLE)) or _allowed(Kind.IDENTITY, of_role)
    if core is None:
        return _want_of(Kind.IDENTITY if trusted else Kind.RESOURCE)
    for kind, policy in ((Kind.BOUNDARY, policies.boundary), (Kind.SESSION, policies.session)):
        if policy is not None and not fitting[kind]:
            return _want_of(kind)
    return core


def _fitting(question: Question, policies: Iterable[Policy]) -> Iterable[tuple[Statement, Match]]:
    """Yield the statements that speak of a question, and how closely they name who asks."""
    for policy in policies:
        for statement in policy.statements:
            match = statement.match(question.caller)
            if match is not Match.NONE and statement.speaks_of(question.action, question.resource, question.context):
                yield statement, match


def _allowed(kind: Kind, statement: Statement | None) -> Decision | None:
    return None if statement is None else Decision(Verdict.ALLOWED, kind, statement.name)


def _want_of(kind: Kind) -> Decision:
    return Decision(Verdict.IMPLICITLY_DENIED, kind)
