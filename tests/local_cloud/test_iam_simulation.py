"""IAM's policy simulator: what it tells of a role is what happens to the role's calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from local_stacks import START

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.callers import Caller, acting_as

ARN = "arn:aws:iam::123456789012:role/worker"
QUEUES = ("orders", "orders-dead", "letters")
ACTIONS = ("sqs:SendMessage", "sqs:PurgeQueue", "sqs:GetQueueAttributes")
CALLS = {
    "sqs:SendMessage": lambda sqs, url: sqs.send_message(QueueUrl=url, MessageBody="one"),
    "sqs:PurgeQueue": lambda sqs, url: sqs.purge_queue(QueueUrl=url),
    "sqs:GetQueueAttributes": lambda sqs, url: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]),
}


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(START) as cloud:
        yield cloud


def queue_arn(name: str) -> str:
    return f"arn:aws:sqs:us-east-1:123456789012:{name}"


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def given_role(cloud: LocalCloud, *statements: dict[str, Any], **more: Any) -> None:
    iam = cloud.client("iam")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=document(), **more)
    iam.put_role_policy(RoleName="worker", PolicyName="work", PolicyDocument=document(*statements))


def simulated(cloud: LocalCloud, *actions: str, **more: Any) -> dict[str, str]:
    told = cloud.client("iam").simulate_principal_policy(PolicySourceArn=ARN, ActionNames=list(actions), **more)
    return {
        f"{one['EvalActionName']} {one['EvalResourceName']}": one["EvalDecision"] for one in told["EvaluationResults"]
    }


PATTERNS = st.sampled_from(["*", "sqs:*", "sqs:S*", *ACTIONS])
RESOURCES = st.sampled_from(["*", queue_arn("*"), queue_arn("orders*"), *map(queue_arn, QUEUES)])
STATEMENTS = st.builds(
    lambda effect, action, resource: {"Effect": effect, "Action": action, "Resource": resource},
    st.sampled_from(["Allow", "Allow", "Deny"]),
    PATTERNS,
    RESOURCES,
)


@given(st.lists(STATEMENTS, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_what_is_simulated_is_what_happens(statements: list[dict[str, Any]]) -> None:
    with LocalCloud(START) as cloud:
        urls = {name: cloud.client("sqs").create_queue(QueueName=name)["QueueUrl"] for name in QUEUES}
        given_role(cloud, *statements)
        told = simulated(cloud, *ACTIONS, ResourceArns=[queue_arn(name) for name in QUEUES])
        assert len(told) == len(ACTIONS) * len(QUEUES)
        sqs = boto3.client("sqs", region_name="us-east-1")
        for action, act in CALLS.items():
            for name, url in urls.items():
                with acting_as(Caller.session(ARN, "run")):
                    try:
                        act(sqs, url)
                        happened = "allowed"
                    except ClientError as error:
                        explicitly = "explicit deny" in error.response["Error"]["Message"]
                        happened = "explicitDeny" if explicitly else "implicitDeny"
                assert told[f"{action} {queue_arn(name)}"] == happened


def test_a_role_that_may_everything_within_a_boundary_may_what_the_boundary_says(cloud: LocalCloud) -> None:
    iam = cloud.client("iam")
    boundary = iam.create_policy(PolicyName="edge", PolicyDocument=document(allow("s3:*")))["Policy"]["Arn"]
    given_role(cloud, allow("*"), PermissionsBoundary=boundary)
    [of_s3, of_sqs] = iam.simulate_principal_policy(
        PolicySourceArn=ARN, ActionNames=["s3:GetObject", "sqs:SendMessage"]
    )["EvaluationResults"]
    assert (of_s3["EvalDecision"], of_s3["MatchedStatements"]) == (
        "allowed",
        [{"SourcePolicyId": "work"}, {"SourcePolicyId": "PermissionsBoundary"}],
    )
    assert (of_sqs["EvalDecision"], of_sqs["PermissionsBoundaryDecisionDetail"]) == (
        "implicitDeny",
        {"AllowedByPermissionsBoundary": False},
    )


def test_a_condition_holds_by_what_the_question_brings(cloud: LocalCloud) -> None:
    given_role(cloud, allow("s3:ListBucket", Condition={"StringEquals": {"s3:prefix": ["in/", "out/"]}}))
    entry = {"ContextKeyName": "s3:prefix", "ContextKeyType": "string"}
    for prefix, decision in (("in/", "allowed"), ("other/", "implicitDeny")):
        told = simulated(cloud, "s3:ListBucket", ContextEntries=[{**entry, "ContextKeyValues": [prefix]}])
        assert told == {"s3:ListBucket *": decision}


def test_policies_that_no_role_has_can_be_tried_and_results_come_in_pages(cloud: LocalCloud) -> None:
    iam = cloud.client("iam")
    tried = {
        "PolicyInputList": [document(allow("s3:Get*"))],
        "ActionNames": ["s3:GetObject", "s3:PutObject", "s3:GetBucketAcl"],
    }
    first = iam.simulate_custom_policy(**tried, MaxItems=2)
    rest = iam.simulate_custom_policy(**tried, Marker=first["Marker"])
    decisions = [one["EvalDecision"] for page in (first, rest) for one in page["EvaluationResults"]]
    assert decisions == ["allowed", "implicitDeny", "allowed"]
    assert (first["IsTruncated"], rest["IsTruncated"]) == (True, False)


def test_who_is_not_there_cannot_be_simulated(cloud: LocalCloud) -> None:
    with pytest.raises(ClientError, match="NoSuchEntity"):
        simulated(cloud, "s3:GetObject")
