"""IAM's policy simulator: what a role's policies, or those that are brought along, say to actions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from moto.core.responses import ActionResult
from moto.iam.exceptions import NotFoundException
from moto.iam.responses import IamResponse

from local_cloud.kernel.callers import Caller
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.iam.evaluation import Kind, Policies, Question, Verdict, decide
from local_cloud.services.iam.policies import Policy
from local_cloud.services.iam.records import Roles

Params = Mapping[str, Any]

_DECISIONS = {
    Verdict.ALLOWED: "allowed",
    Verdict.EXPLICITLY_DENIED: "explicitDeny",
    Verdict.IMPLICITLY_DENIED: "implicitDeny",
}
_RESULTS_A_PAGE = 100


def _somebody() -> Caller:
    """Who is asked about where nobody is named."""
    return Caller.session(f"arn:{here().partition}:iam::{ACCOUNT}:role/simulated", "simulation")


def simulate(params: Params, identity: Sequence[Policy], boundary: Policy | None, caller: Caller) -> dict[str, Any]:
    """Return a page of what policies say to each action on each resource.

    Parameters
    ----------
    params
        Those of SimulatePrincipalPolicy or SimulateCustomPolicy.
    identity, boundary
        The policies of who would call.
    caller
        Who would call.

    Examples
    --------
    >>> of_b = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/*"}
    >>> read = Policy.parse({"Version": "2012-10-17", "Statement": [of_b]}, name="read")
    >>> asked = {"ActionNames": ["s3:GetObject", "s3:PutObject"], "ResourceArns": ["arn:aws:s3:::b/k"]}
    >>> [one["EvalDecision"] for one in simulate(asked, [read], None, _somebody())["EvaluationResults"]]
    ['allowed', 'implicitDeny']

    Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
    """
    of_resource = params.get("ResourcePolicy")
    policies = Policies(
        identity=identity,
        resource=Policy.parse(of_resource, name="ResourcePolicy") if of_resource else None,
        boundary=boundary,
    )
    context = {
        entry["ContextKeyName"].lower(): tuple(entry["ContextKeyValues"])
        if str(entry["ContextKeyType"]).endswith("List")
        else entry["ContextKeyValues"][0]
        for entry in params.get("ContextEntries") or ()
    }
    results = [
        _told(Question(caller, action, resource, context), policies)
        for action in params["ActionNames"]
        for resource in params.get("ResourceArns") or ["*"]
    ]
    first = int(params.get("Marker") or 0)
    after = first + int(params.get("MaxItems") or _RESULTS_A_PAGE)
    page: dict[str, Any] = {"EvaluationResults": results[first:after], "IsTruncated": after < len(results)}
    return page | ({"Marker": str(after)} if after < len(results) else {})


def _told(question: Question, policies: Policies) -> dict[str, Any]:
    """Return one result, with the policies whose statements made it so; a boundary in the way has a word of its own."""
    decision = decide(question, policies)
    given = [*policies.identity, *(one for one in (policies.resource, policies.boundary) if one is not None)]
    told: dict[str, Any] = {
        "EvalActionName": question.action,
        "EvalResourceName": question.resource,
        "EvalDecision": _DECISIONS[decision.verdict],
        "MatchedStatements": [
            {"SourcePolicyId": policy.name} for policy in given if _says(policy, question, allows=decision.allowed)
        ],
        "MissingContextValues": [],
    }
    if decision.kind is Kind.BOUNDARY:
        told["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": False}
    return told


def _says(policy: Policy, question: Question, *, allows: bool) -> bool:
    return any(
        statement.allows is allows and statement.speaks_of(question.action, question.resource, question.context)
        for statement in policy.statements
    )


def _parsed(documents: Iterable[str], name: str) -> list[Policy]:
    return [Policy.parse(text, name=f"{name}.{number}") for number, text in enumerate(documents, start=1)]


def _boundary(params: Params, own: str | None) -> Policy | None:
    given = params.get("PermissionsBoundaryPolicyInputList") or ([own] if own else [])
    return Policy.parse(given[0], name="PermissionsBoundary") if given else None


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_simulate_principal_policy(service: object, original: None) -> Callable[[IamResponse], ActionResult]:
    """``IamResponse.simulate_principal_policy``, which moto lacks; of roles alone, as nobody else has policies here."""

    def simulate_principal_policy(self: IamResponse) -> ActionResult:
        params = self._get_params()
        arn = params["PolicySourceArn"]
        of_role = Roles().policies_of(arn)
        if of_role is None:
            raise NotFoundException(f"The role with name {arn.rsplit('/', 1)[-1]} cannot be found.")
        own = [Policy.parse(text, name=name) for name, text in of_role.identity]
        brought = _parsed(params.get("PolicyInputList") or (), "PolicyInputList")
        caller = Caller.session(arn, "simulation")
        return ActionResult(simulate(params, [*own, *brought], _boundary(params, of_role.boundary), caller))

    return simulate_principal_policy


def patched_simulate_custom_policy(service: object, original: None) -> Callable[[IamResponse], ActionResult]:
    """``IamResponse.simulate_custom_policy``, which moto lacks."""

    def simulate_custom_policy(self: IamResponse) -> ActionResult:
        params = self._get_params()
        brought = _parsed(params["PolicyInputList"], "PolicyInputList")
        return ActionResult(simulate(params, brought, _boundary(params, None), _somebody()))

    return simulate_custom_policy


PATCHES = (
    Patch("moto.iam.responses:IamResponse.simulate_custom_policy", patched_simulate_custom_policy, adds=True),
    Patch("moto.iam.responses:IamResponse.simulate_principal_policy", patched_simulate_principal_policy, adds=True),
)
