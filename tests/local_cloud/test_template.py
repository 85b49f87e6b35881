"""Stories about deploying: what is refused, what is updated, and that nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from local_stacks import MEMORY, START, deploy, pass_time, remembered, role, write_function, write_template
from moto import mock_aws

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.errors import CloudAlreadyOpenError, MotoChangedError, TemplateError, UnsupportedResourceError
from local_cloud.kernel.patching import Patch
from local_cloud.server import server
from local_cloud.services.cloudformation.resources import KINDS
from local_cloud.services.cloudformation.support import NAMES, wrong_name


def test_an_unsupported_property_fails_the_deploy_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedResourceError) as refused:
        deploy(tmp_path, MEMORY + "    SnapStart: {ApplyOn: PublishedVersions}\n")
    assert str(refused.value) == (
        "evergreen local: Remember (AWS::Lambda::Function) uses property SnapStart, which the local cloud does not "
        "support; remove it or deploy to AWS."
    )


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        ("Cluster: {Type: AWS::EKS::Cluster, Properties: {}}", "Cluster .* is of type AWS::EKS::Cluster"),
        (
            """
            Rule:
              Type: AWS::Events::Rule
              Properties:
                EventPattern: {source: [x]}
                Targets: [{Id: m, Arn: 'arn:aws:states:us-east-1:123456789012:stateMachine:m'}]
            """,
            "Rule .* targets arn:aws:states",
        ),
        (
            "Mail: {Type: AWS::SNS::Topic, Properties: {Subscription: [{Protocol: https, Endpoint: 'https://x'}]}}",
            "uses Protocol https",
        ),
    ],
)
def test_what_the_local_cloud_lacks_fails_the_deploy(tmp_path: Path, resource: str, why: str) -> None:
    with pytest.raises(UnsupportedResourceError, match=why):
        deploy(tmp_path, resource)


def test_all_that_is_lacking_is_told_in_one_message(tmp_path: Path) -> None:
    template = MEMORY + "    SnapStart: {ApplyOn: PublishedVersions}\n    FileSystemConfigs: []\n"
    with pytest.raises(UnsupportedResourceError) as refused:
        deploy(tmp_path, template + "Cluster: {Type: AWS::EKS::Cluster, Properties: {}}\n")
    told = str(refused.value).splitlines()
    assert len(told) == 3
    for what in ("uses property SnapStart", "uses property FileSystemConfigs", "is of type AWS::EKS::Cluster"):
        assert sum(what in line for line in told) == 1


@pytest.mark.parametrize("version", ["2012-10-17", "'2012-10-17'", '"2012-10-17"'])
def test_a_date_without_quotes_is_the_text_that_it_is_for_cloudformation(tmp_path: Path, version: str) -> None:
    role = f"""
        Reader:
          Type: AWS::IAM::Role
          Properties:
            Description: 2026-01-31T12:00:00Z
            AssumeRolePolicyDocument:
              Version: {version}
              Statement: [{{Effect: Allow, Principal: {{Service: lambda.amazonaws.com}}, Action: 'sts:AssumeRole'}}]
    """
    with deploy(tmp_path, role) as cloud:
        found = cloud.client("iam").get_role(RoleName=cloud.resources["Reader"])["Role"]
        assert found["AssumeRolePolicyDocument"]["Version"] == "2012-10-17"
        assert found["Description"] == "2026-01-31T12:00:00Z"


@given(st.text("ab-_./ é", min_size=1, max_size=90))
def test_a_name_is_refused_just_when_its_service_would(name: str) -> None:
    queue = bool(re.fullmatch("[A-Za-z0-9_-]+", name)) and len(name) <= 80
    assert (wrong_name("AWS::SQS::Queue", name) is None) is queue
    bus = bool(re.fullmatch(r"[A-Za-z0-9_./-]+", name))
    assert (wrong_name("AWS::Events::EventBus", name) is None) is bus


def test_a_name_that_a_stacks_own_makes_too_long_fails_the_deploy_and_says_what_it_may_be(tmp_path: Path) -> None:
    template = MEMORY + "    FunctionName: !Sub ${AWS::StackName}-" + "x" * 56 + "\n"
    with pytest.raises(TemplateError, match=r"Remember .*: its FunctionName .* \(66 characters\) must satisfy"):
        deploy(tmp_path, template)


def test_every_type_with_a_name_says_what_it_may_be() -> None:
    with LocalCloud(START) as cloud:
        own = {kind.type for part in cloud.parts for kind in part.kinds if kind.name_property}
    assert own | {kind.type for kind in KINDS if kind.name_property} == set(NAMES)


def test_a_resource_under_a_false_condition_is_neither_made_nor_refused(tmp_path: Path) -> None:
    resources = MEMORY + "Cluster: {Type: AWS::EKS::Cluster, Condition: Never, Properties: {}}\n"
    with deploy(tmp_path, resources, extra="Conditions: {Never: !Equals [a, b]}\n") as cloud:
        assert "Cluster" not in cloud.resources
    with pytest.raises(UnsupportedResourceError):
        deploy(tmp_path, resources, extra="Conditions: {Never: !Equals [a, a]}\n")


def test_parameters_mappings_conditions_and_outputs_resolve(tmp_path: Path) -> None:
    extra = """
Parameters: {Stage: {Type: String, Default: dev}, Delay: {Type: Number, Default: 3}}
Mappings: {Retention: {dev: {days: 1}, prod: {days: 90}}}
Conditions: {IsProd: !Equals [!Ref Stage, prod]}
"""
    resources = """
    Queue:
      Type: AWS::SQS::Queue
      Properties:
        DelaySeconds: !Ref Delay
        QueueName: !If [IsProd, important, !Ref AWS::NoValue]
        VisibilityTimeout: !FindInMap [Retention, !Ref Stage, days]
    """
    outputs = """
    QueueArn: {Value: !GetAtt Queue.Arn}
    Name: {Value: !Sub '${AWS::StackName}-${Stage}-${Queue.QueueName}'}
    OnlyProd: {Condition: IsProd, Value: 'yes'}
    """
    with deploy(tmp_path, resources, outputs, extra) as cloud:
        assert set(cloud.outputs) == {"QueueArn", "Name"}
        assert cloud.outputs["Name"].startswith("evergreen-dev-evergreen-Queue-")
    with deploy(tmp_path, resources, outputs, extra, parameters={"Stage": "prod", "Delay": "9"}) as cloud:
        assert cloud.outputs["Name"] == "evergreen-prod-important"
        attributes = cloud.client("sqs").get_queue_attributes(
            QueueUrl=cloud.resources["Queue"], AttributeNames=["All"]
        )["Attributes"]
        assert (attributes["DelaySeconds"], attributes["VisibilityTimeout"]) == ("9", "90")


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"Satge": "dev"}, "has no parameter Satge; it has: Delay, Name, Stage"),
        ({"Stage": "test"}, "Stage is 'test'; it must be one of dev, prod"),
        ({"Delay": "ten"}, "Delay is 'ten'; it must be a number"),
        ({"Delay": "10"}, "Delay is 10; it must be between 0 and 9"),
        ({"Name": "A B"}, r"Name is 'A B'; it must match \[a-z\]\+"),
    ],
)
def test_a_parameter_that_the_template_does_not_allow_is_refused(
    tmp_path: Path, parameters: dict[str, str], why: str
) -> None:
    extra = """
Parameters:
  Stage: {Type: String, Default: dev, AllowedValues: [dev, prod]}
  Delay: {Type: Number, Default: 3, MinValue: 0, MaxValue: 9}
  Name: {Type: String, Default: a, AllowedPattern: '[a-z]+'}
"""
    with pytest.raises(TemplateError, match=why):
        deploy(tmp_path, "Queue: {Type: AWS::SQS::Queue}\n", extra=extra, parameters=parameters)


def test_a_second_deploy_updates_the_stack(tmp_path: Path) -> None:
    schedule = """
    Events:
      Tick: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 hour), Input: '{"from": "first"}'}}
"""
    with deploy(tmp_path, MEMORY + schedule) as cloud:
        before = cloud.resources["Memory"]
        pass_time(cloud, hours=1)
        changed = MEMORY + schedule.replace("first", "second") + "Extra: {Type: AWS::SQS::Queue}\n"
        cloud.deploy_stack(write_template(tmp_path, changed), stack_name="evergreen")
        pass_time(cloud, hours=1)
        assert cloud.resources["Memory"] == before
        assert "Extra" in cloud.resources
        assert [event["from"] for event in remembered(cloud)] == ["first", "second"]
        cloud.deploy_stack(write_template(tmp_path, MEMORY), stack_name="evergreen")
        assert "Extra" not in cloud.resources
        assert cloud.next_schedule() is None


def test_changed_code_is_what_runs_after_a_second_deploy(tmp_path: Path) -> None:
    resources = "Say: {Type: AWS::Serverless::Function, Properties: {CodeUri: functions/say}}\n"
    write_function(tmp_path, "say", "def handler(event, context): return 'old'")
    with deploy(tmp_path, resources) as cloud:
        assert cloud.invoke("Say", {}) == "old"
        write_function(tmp_path, "say", "def handler(event, context): return 'new'")
        cloud.deploy_stack(write_template(tmp_path, resources), stack_name="evergreen")
        assert cloud.invoke("Say", {}) == "new"


def test_a_deleted_stack_is_gone(tmp_path: Path) -> None:
    schedule = "    Events: {Tick: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 hour)}}}\n"
    resources = (
        MEMORY + schedule + "Topic: {Type: AWS::SNS::Topic}\nTable:\n  Type: AWS::DynamoDB::Table\n  Properties:\n"
    )
    resources += "    KeySchema: [{AttributeName: a, KeyType: HASH}]\n"
    resources += "    AttributeDefinitions: [{AttributeName: a, AttributeType: S}]\n    BillingMode: PAY_PER_REQUEST\n"
    with deploy(tmp_path, resources) as cloud:
        cloud.client("cloudformation").delete_stack(StackName="evergreen")
        assert cloud.next_schedule() is None
        assert cloud.client("lambda").list_functions()["Functions"] == []
        assert cloud.client("dynamodb").list_tables()["TableNames"] == []
        assert cloud.client("sns").list_topics()["Topics"] == []


def test_the_api_deploys_the_same_way(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY) as cloud:
        cloudformation = cloud.client("cloudformation")
        body = json.dumps({"Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": {"Colour": "green"}}}})
        with pytest.raises(ClientError, match="uses property Colour"):
            cloudformation.create_stack(StackName="second", TemplateBody=body)
        body = json.dumps(
            {
                "Resources": {"Q": {"Type": "AWS::SQS::Queue"}},
                "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Q", "Arn"]}}},
            }
        )
        cloudformation.create_stack(StackName="third", TemplateBody=body)
        [stack] = cloudformation.describe_stacks(StackName="third")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        assert stack["Outputs"][0]["OutputValue"].startswith("arn:aws:sqs:")


def test_a_function_with_an_alias_is_called_through_it(tmp_path: Path) -> None:
    write_function(tmp_path, "say", "def handler(event, context): return context.function_version")
    resources = """
    Say:
      Type: AWS::Serverless::Function
      Properties: {CodeUri: functions/say, AutoPublishAlias: live}
    """
    with deploy(tmp_path, resources) as cloud:
        name = cloud.resources["Say"]
        answer = cloud.client("lambda").invoke(FunctionName=name, Qualifier="live", Payload="{}")
        assert json.loads(answer["Payload"].read()) == "1"


def test_broken_templates_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("Resources: [")
    with pytest.raises(TemplateError, match="Cannot read the template"):
        LocalCloud.deploy(path, start=START)
    with pytest.raises(TemplateError, match="there is no directory"):
        deploy(tmp_path, "F: {Type: AWS::Serverless::Function, Properties: {CodeUri: functions/nowhere}}\n")
    with pytest.raises(TemplateError, match="SAM refuses the template"):
        deploy(tmp_path, "F: {Type: AWS::Serverless::Function, Properties: {Nonsense: 1}}\n")


def test_a_resource_with_impossible_values_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"Queue \(AWS::SQS::Queue\) cannot be made"):
        deploy(tmp_path, "Queue: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: long}}\n")


def test_inline_code_runs(tmp_path: Path) -> None:
    resources = """
    Say:
      Type: AWS::Serverless::Function
      Properties: {Handler: index.handler, InlineCode: "def handler(event, context): return event['n'] + 1"}
    """
    with deploy(tmp_path, resources) as cloud:
        assert cloud.invoke("Say", {"n": 1}) == 2


def test_a_template_that_is_already_read_can_be_deployed() -> None:
    with LocalCloud.deploy({"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}, start=START) as cloud:
        [listed] = cloud.client("cloudformation").list_stack_resources(StackName="evergreen")["StackResourceSummaries"]
        assert (listed["LogicalResourceId"], listed["ResourceType"]) == ("Q", "AWS::SQS::Queue")


# -- the house rules -------------------------------------------------------------------------------------------------


def replaced() -> list[Patch]:
    """Every patch of a cloud."""
    with LocalCloud(START) as cloud:
        return [patch for part in cloud.parts for patch in part.patches]


def test_every_symbol_that_is_replaced_still_exists_in_moto_and_what_is_added_does_not() -> None:
    for patch in [*replaced(), *server.PATCHES]:
        owner, attribute = patch.owner()
        assert hasattr(owner, attribute) is not patch.adds
    assert len({patch.symbol for patch in replaced()}) == len(replaced())


def test_a_symbol_that_moto_moved_is_named() -> None:
    with pytest.raises(MotoChangedError, match=r"moto 5\.2\.\d+ changed moto\.events\.models:Rule\.gone"):
        Patch("moto.events.models:Rule.gone", lambda service, original: original).owner()
    with pytest.raises(MotoChangedError, match=r"moto\.events\.models:Rule\.put_targets"):
        Patch("moto.events.models:Rule.put_targets", lambda service, original: original, adds=True).owner()


def test_a_closed_cloud_leaves_moto_and_the_environment_as_they_were(tmp_path: Path) -> None:
    owners = {patch.symbol: patch.owner() for patch in replaced()}

    def symbols() -> dict[str, Any]:
        return {symbol: vars(owner).get(attribute, "inherited") for symbol, (owner, attribute) in owners.items()}

    before, environment = symbols(), dict(os.environ)
    cloud = deploy(tmp_path, MEMORY)
    work_dir = cloud.work_dir
    assert all(symbols()[name] is not before[name] for name in before)
    cloud.close()
    cloud.close()
    assert symbols() == before
    assert dict(os.environ) == environment
    assert not work_dir.exists()
    with mock_aws():
        assert boto3.client("s3", region_name="us-east-1").list_buckets()["Buckets"] == []


def test_there_is_one_cloud_at_a_time(tmp_path: Path) -> None:
    with deploy(tmp_path, MEMORY), pytest.raises(CloudAlreadyOpenError):
        deploy(tmp_path, MEMORY)


def test_a_failed_deploy_leaves_room_for_another(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedResourceError):
        deploy(tmp_path, "X: {Type: AWS::EKS::Cluster}\n")
    with deploy(tmp_path, MEMORY) as cloud:
        assert cloud.invoke("Remember", {}) == {"remembered": 1}


def test_the_same_run_is_the_same_run(tmp_path: Path) -> None:
    schedule = """
    Events:
      Tick: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(7 minutes)}}
      Made: {Type: EventBridgeRule, Properties: {Pattern: {source: [evergreen]}}}
"""

    def run(*, reads: int) -> str:
        with deploy(tmp_path, MEMORY + schedule) as cloud:
            for n in range(3):
                for _ in range(reads):  # looking on changes nothing
                    cloud.client("dynamodb").list_tables()
                    cloud.client("s3").list_buckets()
                entry = {"Source": "evergreen", "DetailType": "x", "Detail": json.dumps({"n": n, "do": "told to fail"})}
                cloud.client("events").put_events(Entries=[entry])
                pass_time(cloud, minutes=11)
            told = [dict(cloud.resources), remembered(cloud), [str(item) for item in cloud.invocations]]
            return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    assert run(reads=0) == run(reads=0) == run(reads=3)


def test_validating_a_template_tells_what_it_declares_and_what_it_asks_for(tmp_path: Path) -> None:
    parameters = (
        "Parameters:\n  Size: {Type: Number, Default: 3, Description: how many}\n  Key: {Type: String, NoEcho: true}\n"
    )
    named = write_template(tmp_path, role("worker", "lambda", "s3:GetObject"), extra=parameters).read_text()
    unnamed = re.sub(r" +RoleName: worker\n", "", named)
    plain = write_template(tmp_path, "Data: {Type: AWS::S3::Bucket}").read_text()
    with LocalCloud(START) as cloud:
        cloudformation = cloud.client("cloudformation")
        told = cloudformation.validate_template(TemplateBody=named)
        assert told["Parameters"] == [
            {"ParameterKey": "Size", "DefaultValue": "3", "NoEcho": False, "Description": "how many"},
            {"ParameterKey": "Key", "NoEcho": True},
        ]
        assert told["Capabilities"] == ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
        assert "AWS::IAM::Role" in told["CapabilitiesReason"]
        assert told["DeclaredTransforms"] == ["AWS::Serverless-2016-10-31"]
        assert "CAPABILITY_IAM" in cloudformation.validate_template(TemplateBody=unnamed)["Capabilities"]
        assert cloudformation.validate_template(TemplateBody=plain)["Capabilities"] == ["CAPABILITY_AUTO_EXPAND"]
