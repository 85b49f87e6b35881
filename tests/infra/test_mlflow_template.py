"""The MLflow server in infra/deploy, for those who want their own: valid, private, encrypted, no more than it must."""

import json
from pathlib import Path

from cfnlint.api import lint_file
from samtranslator.yaml_helper import yaml_parse

FILE = Path(__file__).parents[2] / "infra" / "deploy" / "mlflow.yaml"
TEMPLATE = yaml_parse(FILE.read_text())
RESOURCES = TEMPLATE["Resources"]


def of_type(kind):
    return {name: found["Properties"] for name, found in RESOURCES.items() if found["Type"] == kind}


def statements():
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def test_cloudformation_would_take_it():
    assert [str(problem) for problem in lint_file(FILE)] == []


def test_nothing_of_it_has_a_public_address():
    (balancer,) = of_type("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    (service,) = of_type("AWS::ECS::Service").values()
    (database,) = of_type("AWS::RDS::DBInstance").values()
    (bucket,) = of_type("AWS::S3::Bucket").values()
    assert balancer["Scheme"] == "internal"
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    assert database["PubliclyAccessible"] is False
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}


def test_each_may_be_reached_only_by_the_one_before_it():
    let_in = {
        name: [rule.get("SourceSecurityGroupId") for rule in group.get("SecurityGroupIngress", [])]
        for name, group in of_type("AWS::EC2::SecurityGroup").items()
    }
    assert let_in == {
        "ClientGroup": [],
        "BalancerGroup": [{"Ref": "ClientGroup"}],
        "ServerGroup": [{"Ref": "BalancerGroup"}],
        "DatabaseGroup": [{"Ref": "ServerGroup"}],
    }


def test_what_it_keeps_is_encrypted_on_its_way_and_where_it_lies():
    (database,) = of_type("AWS::RDS::DBInstance").values()
    (settings,) = of_type("AWS::RDS::DBParameterGroup").values()
    (bucket,) = of_type("AWS::S3::Bucket").values()
    (listener,) = of_type("AWS::ElasticLoadBalancingV2::Listener").values()
    assert database["StorageEncrypted"] is True
    assert settings["Parameters"] == {"rds.force_ssl": "1"}
    assert bucket["BucketEncryption"]
    assert listener["Protocol"] == "HTTPS"
    assert "sslmode=require" in _container()["Command"][0]


def test_a_key_of_ones_own_is_for_all_that_it_keeps():
    own = {"Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    (bucket,) = of_type("AWS::S3::Bucket").values()
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == own
    for kind in ("AWS::SecretsManager::Secret", "AWS::RDS::DBInstance", "AWS::Logs::LogGroup"):
        (kept,) = of_type(kind).values()
        assert kept["KmsKeyId"] == own
    assert RESOURCES["KeyPolicy"]["Condition"] == "HasKey"
    assert RESOURCES["KeyPolicy"]["Properties"]["Roles"] == [{"Ref": "StartRole"}, {"Ref": "ServerRole"}]


def test_the_server_is_no_root_and_has_no_more_memory_than_its_task():
    (task,) = of_type("AWS::ECS::TaskDefinition").values()
    dockerfile = (FILE.parent / "mlflow_image" / "Dockerfile").read_text()
    assert f"USER {_container()['User']}\n" in dockerfile
    assert str(_container()["Memory"]) == task["Memory"]


def test_the_password_is_in_no_definition():
    assert [secret["Name"] for secret in _container()["Secrets"]] == ["DATABASE_PASSWORD"]
    assert "resolve:secretsmanager" not in json.dumps(_container())


def test_its_roles_may_do_what_they_must_and_no_more():
    for role, statement in statements():
        if statement["Resource"] == "*":
            assert (role, statement["Action"]) == ("StartRole", "ecr:GetAuthorizationToken")
        assert "*" not in json.dumps(statement["Action"])
    server = [action for role, statement in statements() if role == "ServerRole" for action in [statement["Action"]]]
    assert "iam" not in json.dumps(server)
    assert "secretsmanager" not in json.dumps(server)


def test_what_people_would_miss_outlives_the_stack():
    assert RESOURCES["Artifacts"]["DeletionPolicy"] == "Retain"
    assert RESOURCES["Database"]["DeletionPolicy"] == "Snapshot"


def test_the_server_tells_nobody():
    told = {entry["Name"]: entry["Value"] for entry in _container()["Environment"]}
    assert (told["MLFLOW_DISABLE_TELEMETRY"], told["DO_NOT_TRACK"]) == ("true", "true")


def test_its_outputs_are_parameters_of_evergreen_s_template():
    evergreen = yaml_parse((FILE.parents[2] / "template.yaml").read_text())["Parameters"]
    assert set(TEMPLATE["Outputs"]) - {"Artifacts"} <= set(evergreen)


def _container():
    (task,) = of_type("AWS::ECS::TaskDefinition").values()
    (container,) = task["ContainerDefinitions"]
    return container
