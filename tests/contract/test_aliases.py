"""Aliases of both kinds: an older decision never overwrites a newer one, and what is there is read back."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from small_artifact import small_artifact

from evergreen.aws.files import S3Files
from evergreen.aws.lambda_aliases import DynamoAliases
from evergreen.aws.sagemaker_aliases import EndpointAliases
from evergreen.aws.sagemaker_attempts import Attempts
from evergreen.aws.sagemaker_requests import EndpointPlan
from evergreen.domain.aliases import AliasRecord, Canary
from evergreen.errors import EndpointRefusedError, EndpointWentBackError
from evergreen.spec import EndpointSpec
from local_cloud.cloud import LocalCloud

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
ROLE = "arn:aws:iam::123456789012:role/endpoint"


def version(number, epoch, alias="production"):
    """A record of a version whose artifact was really trained."""
    body = small_artifact(f"churn-{number}")
    key, sha256 = f"models/churn/churn-{number}/output/model.tar.gz", hashlib.sha256(body).hexdigest()
    return AliasRecord("churn", alias, number, key, sha256, epoch, latency_ms=250.5)


FIRST, SECOND, THIRD = version(1, 10), version(2, 20), version(3, 30)


class Table:
    """Aliases of kind lambda: one write is all there is."""

    def __init__(self, client, name):
        self._client, self._name = client, name

    def of(self, model):
        return DynamoAliases(self._client, self._name)

    def passes(self):
        pass


TEMPLATE = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Resources": {
        "EndpointRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": ROLE.rsplit("/", 1)[-1],
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Effect": "Allow",
                        "Principal": {"Service": "sagemaker.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    },
                },
                "Policies": [
                    {
                        "PolicyName": "serve",
                        "PolicyDocument": {
                            "Version": "2012-10-17",
                            "Statement": {
                                "Effect": "Allow",
                                "Action": ["s3:GetObject", "s3:PutObject"],
                                "Resource": "*",
                            },
                        },
                    }
                ],
            },
        },
        "Aliases": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": "table",
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("model", "alias")],
                "KeySchema": [
                    {"AttributeName": "model", "KeyType": "HASH"},
                    {"AttributeName": "alias", "KeyType": "RANGE"},
                ],
            },
        },
        "Data": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "data"}},
        "Artifacts": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "artifacts"}},
    },
}


class Endpoint:
    """Aliases of kind sagemaker, on a local cloud whose endpoints really answer."""

    def __init__(self, cloud):
        self.cloud, self.sagemaker = cloud, cloud.client("sagemaker")
        self.artifacts = S3Files(cloud.client("s3"), "artifacts")
        for record in (FIRST, SECOND, THIRD):
            self.artifacts.put(record.artifact, small_artifact(f"churn-{record.version}"))
        self.spec = EndpointSpec(kind="sagemaker", guardrails={"traffic": "all_at_once"})

    def of(self, model):
        plan = EndpointPlan(
            model=model,
            endpoint=model,
            spec=self.spec,
            stack="evergreen",
            role_arn=ROLE,
            image="sklearn:1.4-2",
            captures=f"s3://data/captures/{model}",
            sampling=1.0,
        )
        return EndpointAliases(
            self.sagemaker, self.cloud.client("dynamodb"), table="table", plan=plan, artifacts=self.artifacts
        )

    def passes(self, minutes=15):
        self.cloud.advance(self.cloud.clock.now + timedelta(minutes=minutes))

    def described(self):
        return self.sagemaker.describe_endpoint(EndpointName="churn")

    def asked(self):
        """Which version answers, by its own words."""
        runtime = self.cloud.client("sagemaker-runtime")
        body = json.dumps({"instances": [{"age": 41, "plan": "a"}]})
        answer = runtime.invoke_endpoint(EndpointName="churn", ContentType="application/json", Body=body)
        return answer["InvokedProductionVariant"], json.loads(answer["Body"].read())["version"]

    def configs(self):
        return sorted(c["EndpointConfigName"] for c in self.sagemaker.list_endpoint_configs()["EndpointConfigs"])

    def models(self):
        return sorted(m["ModelName"] for m in self.sagemaker.list_models()["Models"])


class Pointed:
    """Aliases of one kind, whose changes are waited for."""

    def __init__(self, kind):
        self.kind = kind

    def repoint(self, record):
        self.kind.of(record.model).repoint(record)
        self.kind.passes()
        return self.kind.of(record.model).repoint(record)

    def replace(self, found, record):
        self.kind.of(record.model).replace(found, record)
        self.kind.passes()
        return self.kind.of(record.model).repoint(record)

    def clear(self, model, alias, epoch):
        self.kind.of(model).clear(model, alias, epoch)
        self.kind.passes()

    def read(self, model, alias):
        return self.kind.of(model).read(model, alias)


@pytest.fixture
def endpoint():
    with LocalCloud.deploy(TEMPLATE, start=START) as cloud:
        yield Endpoint(cloud)


@pytest.fixture(params=["lambda", "sagemaker"])
def aliases(request):
    if request.param == "lambda":
        return Pointed(Table(*request.getfixturevalue("table")("model", "alias")))
    return Pointed(request.getfixturevalue("endpoint"))


# --- what both kinds hold ---------------------------------------------------------------------------------------------


def test_an_alias_nobody_pointed_points_nowhere(aliases):
    assert aliases.read("churn", "production") is None


def test_a_newer_decision_takes_over_and_a_late_one_loses_and_is_told_what_is_there(aliases):
    assert aliases.repoint(SECOND) == SECOND
    assert aliases.read("churn", "production") == SECOND
    assert aliases.repoint(SECOND) == SECOND
    assert aliases.repoint(THIRD) == THIRD
    assert aliases.repoint(SECOND) == THIRD
    assert aliases.read("churn", "production") == THIRD


def test_a_cleared_shadow_points_nowhere_and_stays_guarded(aliases):
    aliases.repoint(FIRST)
    shadow = replace(SECOND, alias="shadow")
    assert aliases.repoint(shadow) == shadow
    assert aliases.read("churn", "production") == FIRST
    aliases.clear("churn", "shadow", epoch=19)
    assert aliases.read("churn", "shadow") == shadow
    aliases.clear("churn", "shadow", epoch=25)
    assert aliases.read("churn", "shadow") is None
    assert aliases.repoint(shadow) == AliasRecord.nowhere("churn", "shadow", 25)
    assert aliases.read("churn", "shadow") is None


def test_what_was_found_is_replaced_whatever_its_epoch_and_nothing_else_is(aliases):
    aliases.repoint(THIRD)
    assert aliases.replace(replace(THIRD, epoch=29), replace(SECOND, epoch=29)) == THIRD
    assert aliases.replace(THIRD, SECOND) == SECOND
    assert aliases.read("churn", "production") == SECOND


def test_models_are_apart(aliases):
    aliases.repoint(SECOND)
    aliases.repoint(replace(THIRD, model="other"))
    assert aliases.read("churn", "production") == SECOND
    assert aliases.read("other", "production").version == 3


# --- kind lambda ------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(table):
    return DynamoAliases(*table("model", "alias"))


def test_a_production_alias_is_cleared_and_stays_guarded(written):
    written.repoint(SECOND)
    written.clear("churn", "production", epoch=25)
    assert written.repoint(SECOND) == AliasRecord.nowhere("churn", "production", 25)
    assert written.repoint(THIRD) == THIRD
    written.clear("churn", "production", epoch=29)
    assert written.read("churn", "production") == THIRD


@pytest.mark.parametrize("found", [replace(THIRD, epoch=29), replace(THIRD, version=7), SECOND])
def test_what_is_not_there_any_more_is_not_replaced(written, found):
    written.repoint(THIRD)
    assert written.replace(found, replace(SECOND, epoch=99)) == THIRD


def test_a_canary_and_the_share_of_captures_are_read_as_they_were_written(written):
    beside = Canary(0.25, 1, FIRST.artifact, FIRST.sha256)
    record = replace(SECOND, sampling=0.5, canary=beside)
    assert written.repoint(record) == record
    assert written.read("churn", "production") == record


def test_an_item_from_before_there_were_canaries_answers_all_requests(table):
    client, name = table("model", "alias")
    DynamoAliases(client, name).repoint(SECOND)
    client.update_item(
        TableName=name,
        Key={"model": {"S": "churn"}, "alias": {"S": "production"}},
        UpdateExpression="REMOVE sampling, canary",
    )
    assert DynamoAliases(client, name).read("churn", "production") == SECOND


# --- kind sagemaker ---------------------------------------------------------------------------------------------------


def test_production_and_its_shadow_are_one_configuration_that_says_who_answers(endpoint):
    aliases = endpoint.of("churn")
    aliases.repoint(FIRST)
    assert aliases.is_changing("churn")
    assert aliases.read("churn", "production") is None, "nobody answers before it is there"
    endpoint.passes()
    assert not aliases.is_changing("churn")
    assert endpoint.asked() == ("production", 1)
    aliases.repoint(replace(SECOND, alias="shadow"))
    aliases.repoint(replace(SECOND, alias="shadow"))  # while it changes nothing else is asked
    assert aliases.read("churn", "shadow") is None
    endpoint.passes()
    found = endpoint.described()
    assert found["EndpointConfigName"] == "evergreen-churn-p1-s2-e20"
    assert [v["VariantName"] for v in found["ShadowProductionVariants"]] == ["shadow"]
    assert found["DataCaptureConfig"]["DestinationS3Uri"] == "s3://data/captures/churn/evergreen-churn-p1-s2-e20"
    assert endpoint.asked() == ("production", 1)
    tags = {t["Key"]: t["Value"] for t in endpoint.sagemaker.list_tags(ResourceArn=found["EndpointArn"])["Tags"]}
    assert tags == {"evergreen:stack": "evergreen", "evergreen:model": "churn"}


def test_a_version_that_takes_over_leaves_the_shadow_of_the_other_behind_in_one_change(endpoint):
    aliases = endpoint.of("churn")
    aliases.repoint(FIRST)
    endpoint.passes()
    aliases.repoint(replace(SECOND, alias="shadow"))
    endpoint.passes()
    aliases.repoint(replace(SECOND, epoch=25))
    endpoint.passes()
    aliases.clear("churn", "shadow", 25)
    assert endpoint.described()["EndpointConfigName"] == "evergreen-churn-p2-s0-e25"
    assert endpoint.asked() == ("production", 2)
    assert not aliases.is_changing("churn")


def test_what_somebody_else_put_there_is_seen_and_put_back(endpoint):
    aliases = endpoint.of("churn")
    for record in (FIRST, SECOND):
        aliases.repoint(record)
        endpoint.passes()
        aliases.repoint(record)
    endpoint.sagemaker.update_endpoint(EndpointName="churn", EndpointConfigName="evergreen-churn-p1-s0-e10")
    endpoint.passes()
    assert aliases.read("churn", "production").version == 1
    aliases.repoint(replace(SECOND, epoch=40))
    endpoint.passes()
    assert aliases.read("churn", "production") == replace(SECOND, epoch=40)
    assert endpoint.asked() == ("production", 2)


def broken(endpoint, record):
    """The version's artifact is what the ledger records, and no model."""
    body = b"no model"
    endpoint.artifacts.put(record.artifact, body)
    return replace(record, sha256=hashlib.sha256(body).hexdigest())


def test_a_version_that_cannot_be_read_is_refused_before_sagemaker_hears_of_it(endpoint):
    with pytest.raises(EndpointWentBackError, match="'churn' did not become 'evergreen-churn-v2-"):
        endpoint.of("churn").repoint(broken(endpoint, SECOND))
    assert endpoint.models() == []


def alarm(endpoint, state):
    endpoint.cloud.client("cloudwatch").put_metric_alarm(
        AlarmName="too-many-errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0.5,
        ComparisonOperator="GreaterThanThreshold",
    )
    endpoint.cloud.client("cloudwatch").set_alarm_state(
        AlarmName="too-many-errors", StateValue=state, StateReason="a story"
    )


@pytest.mark.parametrize("noted", [True, False], ids=["it was noted", "whoever asked died before noting it"])
def test_an_endpoint_that_went_back_by_itself_is_told_from_one_that_was_never_asked(endpoint, noted):
    endpoint.of("churn").repoint(FIRST)
    endpoint.passes()
    alarm(endpoint, "OK")
    guarded = {"traffic": "canary", "alarms": ["too-many-errors"]}
    endpoint.spec = EndpointSpec(kind="sagemaker", guardrails=guarded)
    aliases = endpoint.of("churn")
    aliases.repoint(SECOND)
    if not noted:
        attempts = Attempts(endpoint.cloud.client("dynamodb"), "table")
        attempts.write("churn", replace(attempts.read("churn"), accepted=False))
    endpoint.passes(minutes=7)
    aliases.repoint(SECOND)  # somebody looks meanwhile
    alarm(endpoint, "ALARM")
    endpoint.passes()
    assert endpoint.described()["EndpointConfigName"] == "evergreen-churn-p1-s0-e10"
    for _ in range(2):
        with pytest.raises(EndpointWentBackError, match="did not become 'evergreen-churn-p2-s0-e20'"):
            aliases.repoint(SECOND)
    assert not aliases.is_changing("churn"), "it is not asked again and again"
    assert endpoint.asked() == ("production", 1)
    alarm(endpoint, "OK")
    aliases.try_again("churn")
    aliases.repoint(replace(SECOND, epoch=22))
    endpoint.passes(minutes=60)
    assert endpoint.described()["EndpointConfigName"] == "evergreen-churn-p2-s0-e22"


def test_configurations_and_models_that_nobody_needs_are_deleted(endpoint):
    aliases = endpoint.of("churn")
    for record in (FIRST, SECOND, THIRD):
        aliases.repoint(record)
        endpoint.passes()
        aliases.repoint(record)
    aliases.tidy("churn", frozenset({2, 3}))
    assert endpoint.configs() == ["evergreen-churn-p2-s0-e20", "evergreen-churn-p3-s0-e30"]
    assert [name[:18] for name in endpoint.models()] == ["evergreen-churn-v2", "evergreen-churn-v3"]
    assert aliases.folders("churn")[-1] == "evergreen-churn-p3-s0-e30/churn/shadow"
    before = endpoint.configs()
    aliases.tidy("churn", frozenset({2, 3}))
    assert endpoint.configs() == before


def test_an_endpoint_that_was_there_before_keeps_its_variants_name_and_its_model(endpoint):
    made = endpoint.of("churn")
    made.repoint(FIRST)
    endpoint.passes()
    name = endpoint.models()[0]
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.c5.large", "InitialInstanceCount": 2}
    capture = {"EnableCapture": False, "InitialSamplingPercentage": 5, "DestinationS3Uri": "s3://theirs/captures"}
    capture["CaptureOptions"] = [{"CaptureMode": "Input"}]
    endpoint.sagemaker.create_endpoint_config(
        EndpointConfigName="theirs", ProductionVariants=[variant], DataCaptureConfig=capture
    )
    endpoint.sagemaker.create_endpoint(EndpointName="old", EndpointConfigName="theirs")
    endpoint.passes()
    plan = replace(made._plan, model="old_churn", endpoint="old")
    brought = EndpointAliases(
        endpoint.sagemaker,
        endpoint.cloud.client("dynamodb"),
        table="table",
        plan=plan,
        artifacts=endpoint.artifacts,
    )
    assert brought.read("old_churn", "production").artifact == f"sagemaker-model:{name}"
    theirs = AliasRecord("old_churn", "production", 1, f"sagemaker-model:{name}", "", 5)
    assert brought.repoint(theirs) == theirs, "it is there already"
    assert not brought.is_changing("old_churn")
    brought.repoint(replace(SECOND, model="old_churn", alias="shadow"))
    endpoint.passes()
    found = endpoint.sagemaker.describe_endpoint_config(EndpointConfigName="evergreen-old-churn-p1-s2-e20")
    (kept,) = found["ProductionVariants"]
    assert (kept["VariantName"], kept["ModelName"]) == ("AllTraffic", name)
    assert (kept["InstanceType"], kept["InitialInstanceCount"]) == ("ml.c5.large", 2)
    captured = found["DataCaptureConfig"]
    assert (captured["EnableCapture"], captured["InitialSamplingPercentage"]) == (True, 100)
    assert captured["DestinationS3Uri"] == f"{plan.captures}/evergreen-old-churn-p1-s2-e20"
    assert [option["CaptureMode"] for option in captured["CaptureOptions"]] == ["Input", "Output"]
    assert brought.read("old_churn", "production") == theirs


def test_an_endpoint_of_several_variants_is_left_as_it_is(endpoint):
    endpoint.of("churn").repoint(FIRST)
    endpoint.passes()
    name = endpoint.models()[0]
    variants = [
        {"VariantName": variant, "ModelName": name, "InstanceType": "ml.c5.large", "InitialInstanceCount": 1}
        for variant in ("one", "two")
    ]
    endpoint.sagemaker.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=variants)
    endpoint.sagemaker.create_endpoint(EndpointName="other", EndpointConfigName="theirs")
    endpoint.passes()
    with pytest.raises(EndpointRefusedError, match="it has 2 production variants"):
        endpoint.of("other").repoint(replace(SECOND, model="other"))


def test_an_endpoint_that_the_stack_may_not_change_is_left_and_the_tag_is_named(endpoint):
    """As AWS answers whoever asks for an endpoint without the stack's tag: the local cloud knows no permissions."""
    aliases = endpoint.of("churn")
    aliases.repoint(FIRST)
    endpoint.passes()
    aliases.repoint(FIRST)
    denied = {
        "Error": {"Code": "AccessDeniedException", "Message": "not authorized to perform sagemaker:UpdateEndpoint"}
    }

    def deny(**_):
        raise ClientError(denied, "UpdateEndpoint")

    events = endpoint.sagemaker.meta.events
    events.register("before-call.sagemaker.UpdateEndpoint", deny)
    says = "the stack may not change it: give it the tag evergreen:stack with value evergreen"
    for _ in range(2):
        with pytest.raises(EndpointRefusedError, match=says):
            aliases.repoint(SECOND)
    assert endpoint.asked() == ("production", 1)
    events.unregister("before-call.sagemaker.UpdateEndpoint", deny)
    aliases.repoint(SECOND)
    endpoint.passes()
    assert aliases.read("churn", "production") == SECOND, "as soon as it has the tag"
