"""IAM's decision, told by the story: who asks, what the policies say, what comes of it."""

import pytest

from local_cloud.kernel.callers import Caller
from local_cloud.services.iam.evaluation import Kind, Policies, Question, Verdict, decide
from local_cloud.services.iam.policies import Policy, PolicyError

ACCOUNT = "123456789012"
PREDICT = Caller.session(f"arn:aws:iam::{ACCOUNT}:role/predict", "run")
RULES = Caller("events.amazonaws.com")
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:told"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"
OBJECT = "arn:aws:s3:::models/fraud/1"


def policy(*statements, version="2012-10-17"):
    return Policy.parse({"Version": version, "Statement": list(statements)})


def allow(action, resource, **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource, **more):
    return {**allow(action, resource, **more), "Effect": "Deny"}


def asked(caller, action, on, context=None, **policies):
    return decide(Question(caller, action, on, context or {}), Policies(**policies))


def test_what_nobody_allows_is_denied():
    decision = asked(PREDICT, "s3:GetObject", OBJECT)
    assert decision.verdict is Verdict.IMPLICITLY_DENIED
    assert decision.because("s3:GetObject") == "because no identity-based policy allows the s3:GetObject action"


def test_a_deny_is_final_wherever_it_stands():
    of_role = policy(allow("s3:*", "*"))
    of_bucket = policy(
        deny("s3:*", "*", Principal="*", Sid="OnlyTls", Condition={"Bool": {"aws:SecureTransport": "false"}})
    )
    told = {"identity": [of_role], "resource": of_bucket}
    assert asked(PREDICT, "s3:GetObject", OBJECT, {"aws:securetransport": "true"}, **told).allowed
    refused = asked(PREDICT, "s3:GetObject", OBJECT, {"aws:securetransport": "false"}, **told)
    assert (refused.verdict, refused.kind, refused.by) == (Verdict.EXPLICITLY_DENIED, Kind.RESOURCE, "OnlyTls")


def test_the_policy_of_a_bucket_is_enough_within_an_account():
    of_bucket = policy(allow("s3:GetObject", "arn:aws:s3:::models/*", Principal={"AWS": PREDICT.role_arn}))
    assert asked(PREDICT, "s3:GetObject", OBJECT, resource=of_bucket).kind is Kind.RESOURCE


def test_a_bucket_that_trusts_the_account_leaves_it_to_the_role():
    of_bucket = policy(allow("s3:GetObject", "arn:aws:s3:::models/*", Principal={"AWS": ACCOUNT}))
    assert not asked(PREDICT, "s3:GetObject", OBJECT, resource=of_bucket).allowed


def test_a_service_is_let_in_by_the_resource_alone():
    of_topic = policy(
        allow(
            "sns:Publish",
            TOPIC,
            Principal={"Service": ["events.amazonaws.com", "cloudwatch.amazonaws.com"]},
            Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT}},
        )
    )
    everything = [policy(allow("*", "*"))]
    ours, theirs = {"aws:sourceaccount": ACCOUNT}, {"aws:sourceaccount": "999999999999"}
    assert asked(RULES, "sns:Publish", TOPIC, ours, resource=of_topic).allowed
    assert not asked(RULES, "sns:Publish", TOPIC, theirs, resource=of_topic).allowed
    assert not asked(Caller("s3.amazonaws.com"), "sns:Publish", TOPIC, ours, resource=of_topic).allowed
    assert not asked(RULES, "sns:Publish", TOPIC, ours, identity=everything).allowed


def test_a_key_must_leave_it_to_the_account_before_a_role_counts():
    of_role = [policy(allow("kms:Decrypt", KEY))]
    alone = policy(allow("kms:*", "*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/admin"}))
    delegating = policy(allow("kms:*", "*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}))
    assert not asked(PREDICT, "kms:Decrypt", KEY, identity=of_role, resource=alone, needs_trust=True).allowed
    assert asked(PREDICT, "kms:Decrypt", KEY, identity=of_role, resource=delegating, needs_trust=True).allowed
    assert not asked(PREDICT, "kms:Decrypt", KEY, resource=delegating, needs_trust=True).allowed


def test_a_boundary_narrows_what_the_role_may():
    of_role, boundary = [policy(allow("s3:*", "*"))], policy(allow("s3:Get*", "*"))
    assert asked(PREDICT, "s3:GetObject", OBJECT, identity=of_role, boundary=boundary).allowed
    refused = asked(PREDICT, "s3:PutObject", OBJECT, identity=of_role, boundary=boundary)
    assert refused.because("s3:PutObject") == "because no permissions boundary allows the s3:PutObject action"


def test_a_session_policy_narrows_it_too():
    of_role, of_session = [policy(allow("s3:*", "*"))], policy(allow("s3:PutObject", "*"))
    assert not asked(PREDICT, "s3:GetObject", OBJECT, identity=of_role, session=of_session).allowed


@pytest.mark.parametrize(("version", "allowed"), [("2012-10-17", True), ("2008-10-17", False)])
def test_variables_are_known_since_2012(version, allowed):
    own = policy(allow("s3:GetObject", "arn:aws:s3:::models/${aws:username}/*"), version=version)
    assert asked(PREDICT, "s3:GetObject", OBJECT, {"aws:username": "fraud"}, identity=[own]).allowed is allowed


def test_columns_are_held_to_a_list():
    condition = {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["model", "sk"]},
        "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
    }
    of_role = [policy(allow("dynamodb:GetItem", "*", Condition=condition))]
    table = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/states"
    few, many = {"dynamodb:attributes": ("model",)}, {"dynamodb:attributes": ("model", "secret")}
    assert asked(PREDICT, "dynamodb:GetItem", table, few, identity=of_role).allowed
    assert not asked(PREDICT, "dynamodb:GetItem", table, many, identity=of_role).allowed
    every = {**few, "dynamodb:select": "ALL_ATTRIBUTES"}
    assert not asked(PREDICT, "dynamodb:GetItem", table, every, identity=of_role).allowed


def test_what_is_no_policy_is_told_so():
    with pytest.raises(PolicyError, match="'p' can't be read"):
        Policy.parse('{"Version": "2012-10-17"}', name="p")
