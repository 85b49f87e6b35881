"""The template as it is deployed: nothing is lost, nothing may do more than it must, all of it is used."""

import json
import os
import re
from pathlib import Path
from unittest import mock

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from evergreen import telemetry
from evergreen.domain.event_json import EVENT_TYPES, NOTE_TYPES
from evergreen.formats.keys import ArtifactPrefix, DataPrefix, Quarantined, captures_of, ground_truth_of
from evergreen.inbound import openapi
from evergreen.serving.live_pointers import READ_OF_A_POINTER
from evergreen.settings import Settings, SettingsError
from local_cloud.kernel.patterns import matches

ROOT = Path(__file__).parents[2]
SOURCE = yaml_parse((ROOT / "template.yaml").read_text())
RESOURCES = SOURCE["Resources"]
# Actions that AWS lets nobody narrow to a resource.
FOR_ANY_RESOURCE = {
    "cloudwatch:GetMetricData",
    "cloudwatch:PutMetricData",
    "dynamodb:ListStreams",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ecr:GetAuthorizationToken",
}
DATA_FLOW = {
    "predict",
    "score_shadow",
    "profile_capture",
    "collect_feedback",
    "join_labels",
    "learn_live",
    "evaluate_triggers",
    "launch_training",
    "finish_training",
    "compare_shadow",
    "repoint_alias",
    "watch_deployment",
    "update_registry",
    "reconcile",
}


class _ManagedPolicies:
    def load(self):
        service_role = "arn:aws:iam::aws:policy/service-role"
        return {
            "AWSLambdaBasicExecutionRole": f"{service_role}/AWSLambdaBasicExecutionRole",
            "AWSLambdaVPCAccessExecutionRole": f"{service_role}/AWSLambdaVPCAccessExecutionRole",
            "AWSXRayDaemonWriteAccess": "arn:aws:iam::aws:policy/AWSXRayDaemonWriteAccess",
            "AWSXrayWriteOnlyAccess": "arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess",
        }


def _transformed():
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = {"Bucket": "code", "Key": resource["Properties"][name]}
    with mock.patch.dict(os.environ, {"AWS_DEFAULT_REGION": "us-east-1"}):
        return transform(template, {}, _ManagedPolicies())["Resources"]


DEPLOYED = _transformed()


def of_type(kind, resources=DEPLOYED):
    return {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == kind}


FUNCTIONS = of_type("AWS::Lambda::Function")
SAM_FUNCTIONS = of_type("AWS::Serverless::Function", RESOURCES)
RULES = of_type("AWS::Events::Rule")
ROLES = of_type("AWS::IAM::Role")
ALARMS = of_type("AWS::CloudWatch::Alarm")
SCHEDULES = of_type("AWS::Scheduler::Schedule")


def as_list(value):
    return value if isinstance(value, list) else [value]


def points_to(value, logical_id):
    """Whether a reference names the resource, as Ref or GetAtt."""
    return value in ({"Ref": logical_id}, {"Fn::GetAtt": [logical_id, "Arn"]})


def events_of(kind):
    return {
        f"{name}.{label}": event["Properties"]
        for name, properties in SAM_FUNCTIONS.items()
        for label, event in properties.get("Events", {}).items()
        if event["Type"] == kind
    }


def statements():
    for name, role in ROLES.items():
        for policy in role.get("Policies", []):
            for statement in _written(policy):
                yield name, statement
    for policy in of_type("AWS::IAM::Policy").values():
        for role in policy["Roles"]:
            for statement in _written(policy):
                yield role["Ref"], statement


def _written(policy):
    """The statements of a policy, also those that are there under a condition only."""
    for statement in as_list(policy["PolicyDocument"]["Statement"]):
        branches = statement["Fn::If"][1:] if "Fn::If" in statement else [statement]
        yield from (branch for branch in branches if branch != {"Ref": "AWS::NoValue"})


# --- functions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_can_not_do_is_kept_and_not_forgotten(name):
    assert points_to(FUNCTIONS[name]["DeadLetterConfig"]["TargetArn"], "DeadLetters")
    (retries,) = [
        config
        for config in of_type("AWS::Lambda::EventInvokeConfig").values()
        if config["FunctionName"] == {"Ref": name}
    ]
    assert retries["MaximumRetryAttempts"] == 2
    assert 0 < retries["MaximumEventAgeInSeconds"] <= 21_600


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_traced_and_its_logs_end_some_day(name):
    function = FUNCTIONS[name]
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    group = DEPLOYED[function["LoggingConfig"]["LogGroup"]["Ref"]]
    assert group["Type"] == "AWS::Logs::LogGroup"
    assert group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert group["Properties"]["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/{function['FunctionName']['Fn::Sub']}"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_runs_python_3_13_on_the_core_layer_as_its_folder_says(name):
    function = FUNCTIONS[name]
    assert (function["Runtime"], function["Handler"]) == ("python3.13", "app.handler")
    assert function["Description"]
    folder = Path(SAM_FUNCTIONS[name]["CodeUri"]).name
    assert function["FunctionName"] == {"Fn::Sub": f"${{AWS::StackName}}-{folder.replace('_', '-')}"}
    layers = [layer["Ref"] for layer in function["Layers"]]
    assert layers[0].startswith("CoreLayer")
    assert all(DEPLOYED[layer]["Type"] == "AWS::Lambda::LayerVersion" for layer in layers)


def values(variables):
    """A value for each: days are numbers."""
    return {name: "1" if name.endswith("_DAYS") else "value" for name in variables}


def test_a_function_is_told_all_that_its_settings_need():
    variables = values(SOURCE["Globals"]["Function"]["Environment"]["Variables"])
    settings = Settings.from_environment(variables | {"AWS_REGION": "us-east-1"})
    assert settings.ledger_table == "value"
    with pytest.raises(SettingsError, match="LEDGER_TABLE is not set: the template sets it"):
        Settings.from_environment({k: v for k, v in variables.items() if k != "LEDGER_TABLE"} | {"AWS_REGION": "r"})


def test_every_function_folder_is_deployed_and_every_function_has_one():
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}
    deployed = {Path(properties["CodeUri"]).name for properties in SAM_FUNCTIONS.values()}
    assert folders == deployed
    assert deployed >= DATA_FLOW


def test_a_region_has_an_image_or_the_deployment_says_what_to_set():
    accounts = SOURCE["Mappings"]["ScikitLearnImages"]
    (assertion,) = SOURCE["Rules"]["ImagesNeedAKnownRegion"]["Assertions"]
    regions, here = assertion["Assert"]["Fn::Contains"]
    assert here == {"Ref": "AWS::Region"}
    assert sorted(accounts) == sorted(regions)
    assert {"eu-central-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1"} <= set(regions)
    assert all(re.fullmatch(r"\d{12}", found["Account"]) for found in accounts.values())
    assert len({found["Account"] for found in accounts.values()}) == len(accounts)
    assert "set TrainingImage and EndpointImage" in assertion["AssertDescription"]


@pytest.mark.parametrize("name", ["TrainingImage", "EndpointImage"])
def test_an_image_of_ones_own_takes_the_place_of_aws_s(name):
    chosen = SOURCE["Outputs"][name]["Value"]["Fn::If"]
    assert chosen[:2] == [f"Has{name}", {"Ref": name}]
    image, accounts = chosen[2]["Fn::Sub"]
    assert image == "${Account}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/sagemaker-scikit-learn:1.4-2-cpu-py3"
    assert accounts == {"Account": {"Fn::FindInMap": ["ScikitLearnImages", {"Ref": "AWS::Region"}, "Account"]}}


def test_layers_are_published_with_the_code_that_is_in_them():
    layers = of_type("AWS::Serverless::LayerVersion", RESOURCES)
    assert set(layers) == {"CoreLayer"}
    for layer in layers.values():
        assert layer["PublishLambdaVersion"] is True
        assert layer["CompatibleRuntimes"] == ["python3.13"]
        assert (ROOT / layer["ContentUri"]).is_dir()


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_can_not_be_delivered_is_kept(name):
    target = SCHEDULES[name]["Target"]
    assert points_to(target["DeadLetterConfig"]["Arn"], "DeadLetters")
    assert target["RetryPolicy"]["MaximumRetryAttempts"] >= 1


@pytest.mark.parametrize("name", RULES)
def test_an_event_that_can_not_be_delivered_is_kept(name):
    for target in RULES[name]["Targets"]:
        assert points_to(target["DeadLetterConfig"]["Arn"], "DeadLetters")


def test_every_schedule_and_every_rule_of_a_function_is_among_them():
    assert len(SCHEDULES) == len(events_of("ScheduleV2")) > 0
    assert len(RULES) == len(events_of("EventBridgeRule")) + len(of_type("AWS::Events::Rule", RESOURCES)) > 0


@pytest.mark.parametrize("name", events_of("ScheduleV2"))
def test_a_schedule_says_for_which_time_it_calls(name):
    assert json.loads(events_of("ScheduleV2")[name]["Input"])["time"] == "<aws.scheduler.scheduled-time>"


@pytest.mark.parametrize(
    "name", [n for n, rule in RULES.items() if "evergreen" in rule["EventPattern"].get("source", [])]
)
def test_a_rule_waits_for_events_that_there_are(name):
    assert RULES[name]["EventBusName"] == {"Ref": "Bus"}
    assert set(RULES[name]["EventPattern"]["detail-type"]) <= set(EVENT_TYPES)


def test_the_outbox_delivers_every_new_event_and_note_of_the_ledger():
    (pipe,) = of_type("AWS::Pipes::Pipe").values()
    source = pipe["SourceParameters"]
    (pattern,) = source["FilterCriteria"]["Filters"]
    assert json.loads(pattern["Pattern"]) == {
        "eventName": ["INSERT"],
        "dynamodb": {"Keys": {"sk": {"S": [{"prefix": "event#"}, {"prefix": "note#"}]}}},
    }
    stream = source["DynamoDBStreamParameters"]
    assert stream["StartingPosition"] == "TRIM_HORIZON"
    assert points_to(stream["DeadLetterConfig"]["Arn"], "DeadLetters")
    assert pipe["TargetParameters"]["EventBridgeEventBusParameters"]["Source"] == "evergreen"


def test_what_is_noted_starts_nothing():
    on_the_bus = {name: rule for name, rule in RULES.items() if rule.get("EventBusName") == {"Ref": "Bus"}}
    assert on_the_bus
    for name, rule in on_the_bus.items():
        for kind in set(NOTE_TYPES.values()):
            note = {"source": "evergreen", "detail-type": kind, "detail": {"model": "churn", "type": kind}}
            assert not matches(json.dumps(rule["EventPattern"]), note), name


def test_notes_expire_and_the_history_does_not():
    (ledger,) = [t for t in of_type("AWS::DynamoDB::Table").values() if "StreamSpecification" in t]
    assert ledger["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}


def test_somebody_is_told_when_something_is_kept():
    (alarm,) = [a for a in ALARMS.values() if a.get("MetricName") == "ApproximateNumberOfMessagesVisible"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["DeadLetters", "QueueName"]}}]
    assert {"Ref": "Notifications"} in alarm["AlarmActions"]


def metrics_of(alarm):
    """(namespace, name, dimensions) of what an alarm watches, by metric math or not."""
    watched = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    for metric in watched or [alarm]:
        dimensions = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}
        yield metric["Namespace"], metric["MetricName"], dimensions


def test_somebody_is_told_when_a_function_fails_again_and_again():
    watched = [
        dimensions["FunctionName"]["Ref"]
        for alarm in ALARMS.values()
        for namespace, name, dimensions in metrics_of(alarm)
        if (namespace, name) == ("AWS/Lambda", "Errors")
    ]
    assert sorted(watched) == sorted(FUNCTIONS)


@pytest.mark.parametrize("metric", ["RollbacksImpossible", "Repairs", "UncapturedRows"])
def test_somebody_is_told_when_nothing_good_is_left_and_when_reality_keeps_differing_or_is_not_captured(metric):
    (alarm,) = [a for a in ALARMS.values() if a.get("MetricName") == metric]
    assert alarm["AlarmActions"] == [{"Ref": "Notifications"}]
    assert "Dimensions" not in alarm, "it is about every model"


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_waits_for_a_metric_that_a_function_writes(name):
    written = {(metric.name, metric.dimensions) for metric in telemetry.METRICS}
    for namespace, metric, dimensions in metrics_of(ALARMS[name]):
        if namespace == {"Fn::Sub": telemetry.namespace_of("${AWS::StackName}")}:
            assert (metric, tuple(dimensions)) in written
        else:
            assert namespace.startswith("AWS/")


def test_the_registry_is_compared_only_where_there_is_one():
    (schedule,) = [s for n, s in SCHEDULES.items() if n.startswith("UpdateRegistry")]
    assert schedule["State"] == {"Fn::If": ["HasMlflow", "ENABLED", "DISABLED"]}


@pytest.mark.parametrize("name", [name for name in of_type("AWS::IAM::Policy") if "Mlflow" in name])
def test_what_is_allowed_of_mlflow_is_for_exactly_the_server_that_is_named(name):
    policy, condition = of_type("AWS::IAM::Policy")[name], DEPLOYED[name]["Condition"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    if condition == "HasManagedMlflow":
        assert statement["Resource"] == {"Ref": "MlflowTrackingUri"}
    else:
        assert condition == "HasMlflowArtifacts"
        place = statement["Resource"]["Fn::Sub"][1]["Place"]
        assert place == {"Fn::Select": [1, {"Fn::Split": ["s3://", {"Ref": "MlflowArtifacts"}]}]}


def test_training_jobs_may_write_runs_and_no_models_aliases():
    allowed = {a for role, s in statements() if role == "TrainingRole" for a in as_list(s["Action"])}
    assert "sagemaker-mlflow:CreateRun" in allowed
    assert not {action for action in allowed if "Registered" in action or "ModelVersion" in action}


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("TrainingVpcPolicy", "TrainsInVpc"),
        ("TrainingKmsPolicy", "HasTrainingKmsKey"),
        ("EncryptedArtifactsPolicy", "HasTrainingKmsKey"),
        ("EndpointVpcPolicy", "EndpointsInVpc"),
        ("EndpointKmsPolicy", "HasEndpointKmsKey"),
        ("EncryptedVolumesPolicy", "HasEndpointKmsKey"),
        ("EncryptedCapturesPolicy", "HasEndpointKmsKey"),
    ],
)
def test_networks_and_keys_are_allowed_only_where_the_stack_has_them(name, condition):
    assert DEPLOYED[name]["Condition"] == condition
    statements_of_it = DEPLOYED[name]["Properties"]["PolicyDocument"]["Statement"]
    if condition.endswith("KmsKey"):
        of_it = condition.removeprefix("Has") + "Arn"
        assert {json.dumps(s["Resource"]) for s in statements_of_it} == {f'{{"Ref": "{of_it}"}}'}


def readers_of(place):
    return {
        role
        for role, s in statements()
        for resource in as_list(s["Resource"])
        if "s3:GetObject" in as_list(s["Action"]) and place in json.dumps(resource)
    }


def test_whoever_reads_models_may_decrypt_them():
    decrypting = {role["Ref"] for role in DEPLOYED["EncryptedArtifactsPolicy"]["Properties"]["Roles"]}
    assert decrypting == readers_of("${ArtifactBucket.Arn}/models/") - {"TrainingRole"}


def test_whoever_reads_captures_may_decrypt_those_of_endpoints():
    decrypting = {role["Ref"] for role in DEPLOYED["EncryptedCapturesPolicy"]["Properties"]["Roles"]}
    assert decrypting == readers_of("${DataBucket.Arn}/captures/") - {"ScoreShadowRole"}, (
        "endpoints have their own shadow"
    )


def test_only_the_registry_s_function_is_put_beside_a_private_server():
    placed = {name: function["VpcConfig"] for name, function in FUNCTIONS.items() if "VpcConfig" in function}
    assert placed.keys() == {"UpdateRegistry"}
    assert placed["UpdateRegistry"]["Fn::If"][0] == "HasMlflowNetwork"


# --- permissions ------------------------------------------------------------------------------------------------------


def test_no_permission_is_for_any_resource_where_it_could_be_for_one():
    for role, statement in statements():
        if "*" in as_list(statement["Resource"]):
            assert set(as_list(statement["Action"])) <= FOR_ANY_RESOURCE, (role, statement)


def test_a_permission_for_any_resource_says_why():
    lines = (ROOT / "template.yaml").read_text().splitlines()
    for line in lines:
        if re.search(r"\bResource: [\"']?\*", line):
            assert "# has no resource-level permission" in line or "# this key" in line


def test_no_permission_is_for_any_action():
    for role, statement in statements():
        for action in as_list(statement["Action"]):
            assert "*" not in action, (role, action)


LOOKS_FOR_WHAT_MAY_BE_GONE = {
    "EvaluateTriggersRole": {"DataBucket", "ArtifactBucket"},
    "FinishTrainingRole": {"ArtifactBucket"},
    "JoinLabelsRole": {"DataBucket"},
    "LaunchTrainingRole": {"ArtifactBucket"},
    "LearnLiveRole": {"DataBucket", "ArtifactBucket"},
    "PredictRole": {"ArtifactBucket"},
    "ProfileCaptureRole": {"ArtifactBucket"},
    "ReconcileRole": {"DataBucket", "ArtifactBucket"},
    "RepointAliasRole": {"ArtifactBucket"},
    "ScoreShadowRole": {"ArtifactBucket"},
    "UpdateRegistryRole": {"ArtifactBucket"},
}
"""The roles of functions that go on without a file, and the buckets in which it may be missing."""


def test_who_looks_for_what_may_not_be_there_is_told_so():
    listed = {}
    for role, statement in statements():
        if "s3:ListBucket" not in as_list(statement["Action"]) or role.removesuffix("Role") not in FUNCTIONS:
            continue
        buckets = {r["Fn::GetAtt"][0] for r in as_list(statement["Resource"]) if "Fn::GetAtt" in r}
        if buckets:  # not the bucket of somebody else's captures
            listed.setdefault(role, set()).update(buckets)
            assert "Condition" not in statement, "S3 answers 403 unless the bucket may be listed without a prefix"
    assert listed == LOOKS_FOR_WHAT_MAY_BE_GONE


def test_only_the_listing_of_schedules_is_for_every_group():
    """EventBridge Scheduler checks ListSchedules against every group, whichever one is asked for."""
    for role, statement in statements():
        for resource in as_list(statement["Resource"]):
            if ":schedule/" in json.dumps(resource) and "${ScheduleGroup}" not in json.dumps(resource):
                assert (role, as_list(statement["Action"])) == ("ReconcileRole", ["scheduler:ListSchedules"])


def test_a_role_is_passed_only_to_the_service_it_is_for():
    passed = [(role, s) for role, s in statements() if "iam:PassRole" in as_list(s["Action"])]
    assert passed
    for role, statement in passed:
        assert statement["Condition"]["StringEquals"]["iam:PassedToService"], role


@pytest.mark.parametrize("name", SAM_FUNCTIONS)
def test_a_function_may_call_what_it_is_given_permission_for_and_keep_its_failures(name):
    role = ROLES[f"{name}Role"]
    policies = json.dumps(role["Policies"])
    assert "sqs:SendMessage" in policies, "Lambda writes the dead letters as the function"
    assert not any("FullAccess" in json.dumps(arn) for arn in role["ManagedPolicyArns"])


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_may_call_the_function_it_calls(name):
    called = [action["Fn::GetAtt"][0] for action in ALARMS[name]["AlarmActions"] if "Fn::GetAtt" in action]
    for function in called:
        (permission,) = [
            permission
            for permission in of_type("AWS::Lambda::Permission").values()
            if permission.get("SourceArn") == {"Fn::GetAtt": [name, "Arn"]}
        ]
        assert permission["Principal"] == "lambda.alarms.cloudwatch.amazonaws.com"
        assert permission["FunctionName"] == {"Ref": function}
        assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}


def test_who_tells_people_may_use_the_key_of_the_topic():
    """Rules and alarms can't use alias/aws/sns, and nobody can let them: AWS alone writes the policies of such keys."""
    condition, own, of_the_stack = of_type("AWS::SNS::Topic")["Notifications"]["KmsMasterKeyId"]["Fn::If"]
    assert (condition, own) == ("HasDataKey", {"Ref": "DataKmsKeyArn"})
    key = of_the_stack["Fn::GetAtt"][0]
    assert DEPLOYED[key]["Condition"] == "HasNoDataKey"
    topic = of_type("AWS::SNS::TopicPolicy")["NotificationsPolicy"]["PolicyDocument"]["Statement"]
    allowed = of_type("AWS::KMS::Key")[key]["KeyPolicy"]["Statement"]
    users = {user["Principal"]["Service"]: user for user in allowed if "Service" in user["Principal"]}
    assert users.keys() == {sender["Principal"]["Service"] for sender in topic}
    assert all(set(user["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey"} for user in users.values())


def test_no_condition_keeps_rules_from_telling_people():
    """EventBridge says to a topic and its key neither on whose account nor for which rule it comes."""
    topic = of_type("AWS::SNS::TopicPolicy")["NotificationsPolicy"]["PolicyDocument"]["Statement"]
    key = of_type("AWS::KMS::Key")["NotificationsKey"]["KeyPolicy"]["Statement"]
    of_rules = [one for one in (*topic, *key) if one["Principal"].get("Service") == "events.amazonaws.com"]
    assert len(of_rules) == 2
    assert not any("Condition" in statement for statement in of_rules)


def test_alarms_call_the_watch():
    called = {
        action["Fn::GetAtt"][0]
        for alarm in ALARMS.values()
        for action in alarm["AlarmActions"]
        if "Fn::GetAtt" in action
    }
    assert called == {"WatchDeployment"}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_says_what_missing_data_means(name):
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"


USES = ("Predict", "Feedback")


def test_the_api_answers_nobody_unknown():
    """Every route wants a signed request or, where an issuer is named, its token: never neither."""
    routes = of_type("AWS::ApiGatewayV2::Route")
    assert {route["RouteKey"] for route in routes.values()} == {
        "POST /models/{model}/predict",
        "POST /models/{model}/feedback",
        "GET /models/{model}",
        "GET /openapi.json",
    }
    for route in routes.values():
        assert route["AuthorizationType"] == {"Fn::If": ["HasJwt", "JWT", "AWS_IAM"]}
        assert route["AuthorizerId"] == {"Fn::If": ["HasJwt", {"Ref": "ApiTokens"}, {"Ref": "AWS::NoValue"}]}
    assert SOURCE["Parameters"]["JwtIssuer"]["Default"] == ""
    assert SOURCE["Conditions"]["HasJwt"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "JwtIssuer"}, ""]}]}
    scopes = {route["RouteKey"]: route.get("AuthorizationScopes") for route in routes.values()}
    for_predict, for_feedback = (
        {"Fn::If": [f"Has{use}Scope", [{"Ref": f"{use}Scope"}], {"Ref": "AWS::NoValue"}]} for use in USES
    )
    assert scopes == {
        "POST /models/{model}/predict": for_predict,
        "GET /models/{model}": for_predict,
        "POST /models/{model}/feedback": for_feedback,
        "GET /openapi.json": None,  # the document is of nobody's data
    }
    for use in USES:
        assert SOURCE["Conditions"][f"Has{use}Scope"]["Fn::And"][0] == {"Condition": "HasJwt"}, "others have no scopes"
    (tokens,) = of_type("AWS::ApiGatewayV2::Authorizer").values()
    assert tokens["JwtConfiguration"] == {"Issuer": {"Ref": "JwtIssuer"}, "Audience": {"Ref": "JwtAudience"}}


def test_the_api_takes_so_many_requests_and_tells_of_each_who_asked_and_nothing_of_what():
    (stage,) = of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": {"Ref": "ApiRateLimit"},
        "ThrottlingBurstLimit": {"Ref": "ApiBurstLimit"},
    }
    logged = stage["AccessLogSettings"]
    assert points_to(logged["DestinationArn"], "ApiLogs")
    told = set(json.loads(logged["Format"]).values())
    assert told >= {"$context.identity.userArn", "$context.authorizer.claims.sub", "$context.status"}
    assert all(re.fullmatch(r"\$context\.[\w.]+", each) for each in told), "it knows no body, header or query"


def test_predict_and_those_that_could_starve_it_have_a_concurrency_of_their_own():
    wanted = {
        "Predict": "Predict",
        **dict.fromkeys(("ScoreShadow", "ProfileCapture", "JoinLabels", "LearnLive"), "Batch"),
    }
    given = {n: f["ReservedConcurrentExecutions"] for n, f in FUNCTIONS.items() if "ReservedConcurrentExecutions" in f}
    assert given == {
        name: {"Fn::If": [f"Has{which}Concurrency", {"Ref": f"{which}Concurrency"}, {"Ref": "AWS::NoValue"}]}
        for name, which in wanted.items()
    }
    assert all(SOURCE["Parameters"][f"{which}Concurrency"]["Default"] == 0 for which in wanted.values())


@pytest.mark.parametrize(
    ("allowed", "source", "taken"),
    [
        ("*", "shop.pricing", True),
        ("shop.*", "shop.pricing", True),
        ("shop.*", "shopping", False),
        ("shop.*", "game", False),
    ],
)
def test_a_business_event_counts_when_it_is_of_this_account_and_of_a_source_that_may_ask(allowed, source, taken):
    pattern = json.dumps(RULES["EvaluateTriggersWish"]["EventPattern"])
    pattern = pattern.replace('{"Ref": "AWS::AccountId"}', '"1"').replace(
        '{"Ref": "BusinessEventSource"}', json.dumps(allowed)
    )
    event = {"account": "1", "source": source, "detail-type": "Retraining Wanted", "detail": {}}
    assert matches(pattern, event) is taken
    assert not matches(pattern, event | {"account": "2"})


def test_the_document_of_the_api_has_the_routes_that_are_deployed():
    deployed = {route["RouteKey"] for route in of_type("AWS::ApiGatewayV2::Route").values()}
    paths = openapi.document()["paths"]
    assert deployed == {f"{m.upper()} {path}" for path, item in paths.items() for m in item if m != "parameters"}


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_type("AWS::S3::Bucket"))
def test_a_bucket_is_private_encrypted_and_outlives_the_stack(name):
    bucket = DEPLOYED[name]
    assert bucket["Properties"]["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    assert bucket["Properties"]["BucketEncryption"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    (policy,) = [p for p in of_type("AWS::S3::BucketPolicy").values() if p["Bucket"] == {"Ref": name}]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_a_table_can_be_restored_and_outlives_the_stack(name):
    table = DEPLOYED[name]
    assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["Properties"]["SSESpecification"]["SSEEnabled"] is True
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_a_table_is_deleted_by_nobody_unless_the_stack_says_so(name):
    assert DEPLOYED[name]["Properties"]["DeletionProtectionEnabled"] == {"Fn::If": ["ProtectsTables", True, False]}
    assert SOURCE["Parameters"]["DeletionProtection"]["Default"] == "true"


@pytest.mark.parametrize("name", of_type("AWS::S3::Bucket"))
def test_a_bucket_keeps_what_was_replaced_for_a_while_and_tells_who_came_where_that_is_wanted(name):
    bucket = of_type("AWS::S3::Bucket")[name]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert all(
        0 < r["NoncurrentVersionExpiration"]["NoncurrentDays"] <= 30
        for r in rules
        if "NoncurrentVersionExpiration" in r
    )
    condition, wanted, otherwise = bucket["LoggingConfiguration"]["Fn::If"]
    assert (condition, otherwise) == ("HasAccessLogs", {"Ref": "AWS::NoValue"})
    assert wanted["DestinationBucketName"] == {"Ref": "AccessLogBucket"}


def test_what_was_replaced_or_deleted_of_the_data_is_gone_after_a_month():
    (rule,) = [
        rule
        for rule in of_type("AWS::S3::Bucket")["DataBucket"]["LifecycleConfiguration"]["Rules"]
        if not rule["Prefix"]
    ]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert (rule["Status"], rule["ExpiredObjectDeleteMarker"]) == ("Enabled", True)


# What keeps anything, and where it names the key. A store of another type has to be added here.
STORES = {
    "AWS::DynamoDB::Table": ("SSESpecification", "KMSMasterKeyId"),
    "AWS::KinesisFirehose::DeliveryStream": ("DeliveryStreamEncryptionConfigurationInput", "Fn::If", 1, "KeyARN"),
    "AWS::Lambda::Function": ("KmsKeyArn",),
    "AWS::Logs::LogGroup": ("KmsKeyId",),
    "AWS::S3::Bucket": (
        *("BucketEncryption", "ServerSideEncryptionConfiguration", 0),
        *("ServerSideEncryptionByDefault", "KMSMasterKeyID"),
    ),
    "AWS::SNS::Topic": ("KmsMasterKeyId",),
    "AWS::SQS::Queue": ("KmsMasterKeyId",),
}
KEEPS_NOTHING = re.compile(
    r"AWS::(ApiGatewayV2|CloudWatch|Events|IAM|KMS|Pipes|Scheduler)::|AWS::Lambda::(EventInvokeConfig|LayerVersion|"
    r"Permission)|::(BucketPolicy|QueuePolicy|TopicPolicy)$"
)


@pytest.mark.parametrize("name", [n for n, r in DEPLOYED.items() if not KEEPS_NOTHING.search(r["Type"])])
def test_all_that_keeps_something_is_encrypted_by_a_key_of_ones_own_where_there_is_one(name):
    found = DEPLOYED[name]["Properties"]
    for step in STORES[DEPLOYED[name]["Type"]]:
        found = found[step]
    chosen = found["Fn::If"][:2] if "Fn::If" in found else ["HasDataKey", found]
    assert chosen == ["HasDataKey", {"Ref": "DataKmsKeyArn"}]


def test_whoever_may_do_anything_may_use_the_key_of_ones_own():
    policy = DEPLOYED["DataKeyPolicy"]
    assert policy["Condition"] == "HasDataKey"
    assert sorted(role["Ref"] for role in policy["Properties"]["Roles"]) == sorted(
        name for name in ROLES if name in TOUCHED or name.removesuffix("Role") in FUNCTIONS or name in SENDERS
    )
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Resource"] == {"Ref": "DataKmsKeyArn"}


def test_the_key_of_infra_deploy_lets_in_whom_aws_asks_the_key_about():
    key = yaml_parse((ROOT / "infra/deploy/data_key.yaml").read_text())["Resources"]["Key"]
    policy = key["Properties"]["KeyPolicy"]["Statement"]
    services = {json.dumps(s["Principal"]["Service"]): s for s in policy if "Service" in s["Principal"]}
    of_the_stack = of_type("AWS::KMS::Key")["NotificationsKey"]["KeyPolicy"]["Statement"]
    as_for_the_topic = {json.dumps(s["Principal"]["Service"]): s for s in of_the_stack if "Service" in s["Principal"]}
    for_logs = services.pop('{"Fn::Sub": "logs.${AWS::Region}.amazonaws.com"}')
    assert services == as_for_the_topic
    assert for_logs["Condition"]["ArnLike"].keys() == {"kms:EncryptionContext:aws:logs:arn"}
    assert key["DeletionPolicy"] == "Retain"


def test_an_endpoints_container_may_read_which_state_is_newest_and_no_more():
    (policy,) = of_type("AWS::IAM::Role")["EndpointRole"]["Policies"]
    (table,) = [s for s in policy["PolicyDocument"]["Statement"] if "dynamodb" in json.dumps(s["Action"])]
    assert (table["Action"], table["Resource"]) == ("dynamodb:GetItem", {"Fn::GetAtt": ["OnlineTable", "Arn"]})
    assert table["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["model", "sk", *READ_OF_A_POINTER]},
        "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
    }


@pytest.mark.parametrize("name", of_type("AWS::SQS::Queue"))
def test_a_queue_is_encrypted_and_keeps_for_two_weeks(name):
    queue = of_type("AWS::SQS::Queue")[name]
    assert queue["SqsManagedSseEnabled"] == {"Fn::If": ["HasDataKey", False, True]}
    assert queue["MessageRetentionPeriod"] == 1_209_600


def test_captures_and_labels_land_where_their_readers_look():
    streams = of_type("AWS::KinesisFirehose::DeliveryStream")
    places = {name: s["ExtendedS3DestinationConfiguration"] for name, s in streams.items()}
    model, variant = "!{partitionKeyFromQuery:model}", "!{partitionKeyFromQuery:variant}"
    hour, error = "!{timestamp:yyyy/MM/dd/HH}/", "!{firehose:error-output-type}"
    assert {name: place["Prefix"] for name, place in places.items()} == {
        "CaptureStream": f"{captures_of(model, variant)}/{hour}",
        "LabelStream": f"{ground_truth_of(model)}/{hour}",
    }
    assert {name: place["ErrorOutputPrefix"] for name, place in places.items()} == {
        "CaptureStream": f"{DataPrefix.QUARANTINE}/{Quarantined.CAPTURE_STREAM}/{error}/{hour}",
        "LabelStream": f"{DataPrefix.QUARANTINE}/{Quarantined.LABEL_STREAM}/{error}/{hour}",
    }
    for stream in streams.values():
        processors = stream["ExtendedS3DestinationConfiguration"]["ProcessingConfiguration"]["Processors"]
        assert "AppendDelimiterToRecord" in [processor["Type"] for processor in processors]


# --- where files lie --------------------------------------------------------------------------------------------------

BUCKETS = {"DataBucket": DataPrefix, "ArtifactBucket": ArtifactPrefix}
READ, WRITE, DELETE = "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
D, A = DataPrefix, ArtifactPrefix
# What each function, and each service for it, does with files: by the prefix, and in the order of a model's life.
TOUCHED = {
    "StreamRole": {WRITE: {D.CAPTURES, D.GROUND_TRUTH, D.QUARANTINE}},
    "EndpointRole": {READ: {A.MODELS, A.SOURCE, A.LIVE}, WRITE: {D.CAPTURES}},
    "PredictRole": {READ: {A.MODELS, A.LIVE}},
    "ScoreShadowRole": {READ: {D.CAPTURES, A.MODELS, A.LIVE}, WRITE: {D.CAPTURES}},
    "ProfileCaptureRole": {READ: {D.CAPTURES, A.REFERENCES}, WRITE: {D.COMPACT, D.PROFILES, D.QUARANTINE}},
    "JoinLabelsRole": {
        READ: {D.GROUND_TRUTH, D.COMPACT, A.REFERENCES},
        WRITE: {D.OUTCOMES, D.ONLINE_ROWS, D.PENDING_LABELS, D.QUARANTINE},
    },
    "LearnLiveRole": {READ: {D.ONLINE_ROWS, A.MODELS, A.LIVE}, WRITE: {A.LIVE}, DELETE: {A.LIVE}},
    "EvaluateTriggersRole": {READ: {D.PROFILES, A.REFERENCES}, WRITE: {D.PROFILES, D.DECISIONS}},
    "LaunchTrainingRole": {READ: {A.SOURCE, A.SNAPSHOTS}, WRITE: {A.SOURCE, A.SNAPSHOTS}},
    "TrainingRole": {
        READ: {D.OUTCOMES, D.BASE_DATA, A.SOURCE, A.SNAPSHOTS, A.MODELS, A.CHECKPOINTS},
        WRITE: {A.MODELS, A.CHECKPOINTS},
    },
    "FinishTrainingRole": {READ: {A.MODELS}, WRITE: {A.REFERENCES}},
    "CompareShadowRole": {READ: {D.OUTCOMES, A.REFERENCES}, WRITE: {D.DECISIONS}},
    "RepointAliasRole": {READ: {A.MODELS}, WRITE: {A.SOURCE}},
    "UpdateRegistryRole": {READ: {A.MODELS}},
    "ReconcileRole": {
        READ: {D.CAPTURES, D.COMPACT, D.GROUND_TRUTH, D.PENDING_LABELS, A.MODELS, A.REFERENCES, A.SNAPSHOTS, A.SOURCE},
        WRITE: {
            *(D.CAPTURES, D.GROUND_TRUTH, D.COMPACT, D.PROFILES),
            *(D.OUTCOMES, D.ONLINE_ROWS, D.PENDING_LABELS, D.QUARANTINE),
            *(A.REFERENCES, A.SNAPSHOTS, A.SOURCE),
        },
    },
}


def granted():
    """(role, action, bucket, prefix) of what may be done with files; the prefix is empty for all of a bucket."""
    for role, statement in statements():
        for resource in map(json.dumps, as_list(statement["Resource"])):
            for bucket in BUCKETS:
                for below in re.findall(rf"\$\{{{bucket}\.Arn\}}/([^\"*]*)\*", resource):
                    for action in as_list(statement["Action"]):
                        yield role, action, bucket, below


def named():
    """(bucket, prefix) of all else of the template that names one: rules, retention, streams, listings."""
    for name, bucket in of_type("AWS::S3::Bucket").items():
        for rule in bucket["LifecycleConfiguration"]["Rules"]:
            if rule["Prefix"]:  # without one it is for the whole bucket
                yield name, rule["Prefix"]
    for rule in RULES.values():
        for each in rule["EventPattern"].get("detail", {}).get("object", {}).get("key", ()):
            yield rule["EventPattern"]["detail"]["bucket"]["name"][0]["Ref"], each["prefix"]
    for stream in of_type("AWS::KinesisFirehose::DeliveryStream").values():
        place = stream["ExtendedS3DestinationConfiguration"]
        for prefix in (place["Prefix"], place["ErrorOutputPrefix"]):
            yield place["BucketARN"]["Fn::GetAtt"][0], prefix
    for _, statement in statements():
        listed = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", ())
        for prefix in as_list(listed) if listed else ():
            yield statement["Resource"]["Fn::GetAtt"][0], prefix


def test_the_template_names_no_prefix_that_files_do_not_have():
    found = {(bucket, below) for _, _, bucket, below in granted() if below} | set(named())
    assert {bucket for bucket, _ in found} == set(BUCKETS)
    for bucket, prefix in found:
        assert prefix.partition("/")[:2] in {(str(each), "/") for each in BUCKETS[bucket]}, (bucket, prefix)


@pytest.mark.parametrize("role", TOUCHED)
def test_who_reads_or_writes_files_may_do_so(role):
    may = {(action, bucket, below) for each, action, bucket, below in granted() if each == role}
    for action, prefixes in TOUCHED[role].items():
        for prefix in prefixes:
            bucket = "DataBucket" if isinstance(prefix, DataPrefix) else "ArtifactBucket"
            assert {(action, bucket, f"{prefix}/"), (action, bucket, "")} & may, f"{role} may not {action} {prefix}"


SENDERS = {"OutboxRole", "SchedulerRole"}
"""Roles that touch no file: they read the ledger's stream, and write dead letters."""


def test_every_role_that_may_touch_files_is_among_them():
    assert {role for role, *_ in granted()} == set(TOUCHED)


FORMER = {A.ONLINE}
"""What former releases wrote and nobody reads: it is kept, and a rule clears what was replaced there."""


@pytest.mark.parametrize("prefix", [each for each in (*DataPrefix, *ArtifactPrefix) if each not in FORMER])
def test_files_of_every_prefix_are_written_or_read_by_the_stack(prefix):
    assert any(prefix in prefixes for touched in TOUCHED.values() for prefixes in touched.values())


KEPT_FOR_GOOD = {D.BASE_DATA, D.DECISIONS}
"""What a person brought, and what was decided on: rows of requests are in neither but by a person's will."""


def test_all_that_is_told_of_requests_is_deleted_when_the_parameters_say():
    rules = of_type("AWS::S3::Bucket")["DataBucket"]["LifecycleConfiguration"]["Rules"]
    lives = {
        rule["Prefix"].removesuffix("/"): rule["ExpirationInDays"]["Ref"]
        for rule in rules
        if "ExpirationInDays" in rule
    }
    decided_on = {D.OUTCOMES, D.PROFILES}
    assert lives == dict.fromkeys(set(D) - decided_on - KEPT_FOR_GOOD, "CaptureRetentionDays") | dict.fromkeys(
        decided_on, "OutcomeRetentionDays"
    )


def test_only_the_arrival_of_captures_and_of_labels_starts_something():
    arrivals = {rule: p for rule, p in RULES.items() if "object" in p["EventPattern"].get("detail", {})}
    assert {
        name.removesuffix("Arrived"): each["EventPattern"]["detail"]["object"]["key"] for name, each in arrivals.items()
    } == {
        "ScoreShadowCapture": [{"prefix": f"{DataPrefix.CAPTURES}/"}],
        "ProfileCaptureCapture": [{"prefix": f"{DataPrefix.CAPTURES}/"}],
        "JoinLabelsLabels": [{"prefix": f"{DataPrefix.GROUND_TRUTH}/"}],
    }


# --- an engineer's way in ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCE["Parameters"])
def test_a_parameter_has_a_default_and_says_what_it_is(name):
    assert "Default" in SOURCE["Parameters"][name]
    assert SOURCE["Parameters"][name]["Description"].endswith(".") or ";" in SOURCE["Parameters"][name]["Description"]


def test_every_parameter_is_used():
    used = json.dumps({name: SOURCE[name] for name in ("Globals", "Resources", "Outputs", "Conditions")})
    for name in SOURCE["Parameters"]:
        assert f'"Ref": "{name}"' in used or f"${{{name}}}" in used, name


def test_the_outputs_are_all_that_an_engineers_command_needs():
    variables = {
        "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper() for name in SOURCE["Outputs"]
    }
    Settings.from_environment(values(variables))
