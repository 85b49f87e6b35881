"""Two stacks side by side in one account and region, and strangers among them: nobody touches another's."""

import io
import json
import re
import tarfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from small_artifact import small_artifact
from turning import SPEC, START, turning_stream

from evergreen import bootstrap
from evergreen.domain.model_events import RollbackDecided
from evergreen.domain.state import VersionStatus
from evergreen.domain.uris import split_uri
from evergreen.model.archive import pack
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from evergreen.usecases.people.verify import verify_history
from evergreen_ops.replay import driver
from evergreen_ops.replay.drill import GRAPH, failing_graph
from local_cloud.cloud import LocalCloud
from local_cloud.services.mlflow.server import MlflowServer

pytestmark = pytest.mark.slow
TEMPLATE = Path(__file__).parents[2] / "template.yaml"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BASE_DAYS = 4
MODEL = "turning"  # in both stacks
ENDPOINTS = {"evergreen": "two_sign", "evergreen-two": "sign"}
"""A model behind an endpoint for each stack: with hyphens for underscores, stack and model read alike."""
OTHER = "strangers"
CODE = {"train.py": b"print('trained')", "inference.py": b"def model_fn(folder):\n    return folder\n"}
TEAM = "arn:aws:iam::123456789012:role/team"
SERVICES = ["sagemaker.amazonaws.com", "scheduler.amazonaws.com"]


class Tenant:
    """One of the stacks, and whoever sends it requests and labels."""

    def __init__(self, cloud, stack, seed, **parameters):
        self.cloud, self.stack, self.seed = cloud, stack, seed
        given = {"EvaluationSchedule": "rate(1 day)", "ReconcileSchedule": "rate(6 hours)", **parameters}
        cloud.deploy_stack(TEMPLATE, stack_name=stack, parameters=given)
        self.outputs, self.resources = cloud.outputs, cloud.resources
        self.ports = bootstrap.ports_for(self.outputs)
        self.api = re.match(r"https://(\w+)\.", self.outputs["ApiUrl"])[1]
        self.stream = turning_stream(days=18)
        self.ids = np.empty(self.stream.rows, dtype=object)
        self.asked = self.told = self.rows_until(BASE_DAYS * DAY)

    def rows_until(self, passed):
        return int(np.searchsorted(self.stream.event_time - self.stream.event_time[0], np.timedelta64(passed)))

    def state(self, model=MODEL):
        return self.ports.ledger.read(model)

    def types(self, model=MODEL):
        return Counter(event["type"] for event in self.ports.ledger.history(model).documents)

    def post(self, model, action, document):
        body = json.dumps(document)
        return self.cloud.http("POST", f"/models/{model}/{action}", body=body, api_id=self.api)

    def wants_first_models(self):
        """The same model in both stacks, and another one behind an endpoint, at the same time."""
        now = self.cloud.clock.now
        apply.apply_model(SPEC, now=now, ports=self.ports)
        base = np.arange(self.asked)
        table = driver.outcome_table(self.stream, SPEC, base, driver.inference_ids(self.seed, base, now))
        bring.add_base_data(MODEL, table, now=now, ports=self.ports)
        decide.request_training(MODEL, "the first model", "ada", now=now, ports=self.ports)
        served = SPEC.model_dump(mode="json") | {
            "model": ENDPOINTS[self.stack],
            "endpoint": {"kind": "sagemaker", "name": f"{self.stack}-endpoint"},
        }
        spec = ModelSpec.parse(served)
        apply.apply_model(spec, now=now, ports=self.ports)
        bring.add_base_data(spec.model, table, now=now, ports=self.ports)
        decide.request_training(spec.model, "the first model", "ada", now=now, ports=self.ports)

    def lives(self, until):
        """Whatever is asked until then, and the labels of what was asked two hours before."""
        rows = np.arange(self.asked, self.rows_until(until - START))
        self.ids[rows] = driver.inference_ids(self.seed, rows, self.cloud.clock.now)
        for some in np.array_split(rows, max(1, len(rows) // 500)):
            if len(some):
                instances = self.stream.instances(slice(int(some[0]), int(some[-1]) + 1))
                self.post(MODEL, "predict", {"instances": instances, "inference_ids": self.ids[some].tolist()})
        self.asked = self.rows_until(until - START)
        known = np.arange(self.told, self.rows_until(until - START - 2 * HOUR))
        labels = [{"inference_id": self.ids[row], "label": str(self.stream.label[row])} for row in known]
        if labels:
            assert self.post(MODEL, "feedback", {"labels": labels}).status < 300
            self.told = int(known[-1]) + 1

    def promotes(self, change=dict):
        """A copy of production with other files, by force."""
        now, production = self.cloud.clock.now, self.state().production_version
        files = files_of(self.ports.artifacts.get(split_uri(production.artifact)[1]))
        artifact = pack({**files, **change(files)})
        version = bring.register_version(MODEL, artifact, "by hand", "ada", now=now, ports=self.ports)
        decide.force_promotion(MODEL, version, "by hand", "ada", now=now, ports=self.ports)
        return version

    def is_calm(self):
        state = self.state()
        good = state.production_version is not None and state.production_version.status is VersionStatus.GOOD
        return good and state.bake is None and state.repoint is None


def files_of(archive):
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        return {member.name: opened.extractfile(member).read() for member in opened if member.isreg()}


def that_fails(files):
    return {GRAPH: failing_graph(files[GRAPH])}


class Strangers:
    """What other teams have in the account: named like ours, and told of in events that ours hear, too."""

    def __init__(self, cloud):
        self.sagemaker, self.scheduler = cloud.client("sagemaker"), cloud.client("scheduler")
        self.cloudwatch, self.s3 = cloud.client("cloudwatch"), cloud.client("s3")
        self.s3.create_bucket(Bucket=OTHER)
        trust = {"Effect": "Allow", "Principal": {"Service": SERVICES}, "Action": "sts:AssumeRole"}
        may = {"Effect": "Allow", "Action": ["s3:*", "logs:*", "ecr:*", "cloudwatch:PutMetricData"], "Resource": "*"}
        iam = cloud.client("iam")
        iam.create_role(RoleName="team", AssumeRolePolicyDocument=json.dumps(_policy(trust)))
        iam.put_role_policy(RoleName="team", PolicyName="all", PolicyDocument=json.dumps(_policy(may)))
        self.s3.put_object(Bucket=OTHER, Key="rows/part.csv", Body=b"x,label\n1,1\n")
        self.s3.put_object(Bucket=OTHER, Key="code.tar.gz", Body=pack(CODE))
        self.s3.put_object(Bucket=OTHER, Key="model.tar.gz", Body=small_artifact("strangers-1"))
        self.jobs = []
        self.scheduler.create_schedule_group(Name="team")
        for group in ("team", "default"):
            self.scheduler.create_schedule(
                Name=f"{MODEL}.ops-bake.v1.1",
                GroupName=group,
                ScheduleExpression="rate(1 day)",
                FlexibleTimeWindow={"Mode": "OFF"},
                State="DISABLED",
                Target={"Arn": "arn:aws:lambda:us-east-1:123456789012:function:team", "RoleArn": TEAM},
            )
        self.cloudwatch.put_metric_alarm(
            AlarmName=f"{MODEL}-fails",
            Namespace="Evergreen/team",
            MetricName="Errors",
            Dimensions=[{"Name": "Model", "Value": MODEL}],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
        )
        self.serve()

    def serve(self):
        """An endpoint, made as anybody makes one; its changes are told on the account's bus."""
        image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3"
        container = {"Image": image, "ModelDataUrl": f"s3://{OTHER}/model.tar.gz", "Environment": _own_code()}
        name = f"evergreen-{MODEL}-v1-00000000"
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=TEAM)
        variant = {"VariantName": "production", "ModelName": name, "InstanceType": "ml.m5.large"}
        variant |= {"InitialInstanceCount": 1}
        config = f"evergreen-{MODEL}-p1-s0-e1"
        self.sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])
        self.sagemaker.create_endpoint(EndpointName=MODEL, EndpointConfigName=config)

    def train(self, name):
        """A job whose hyperparameters speak of a model of the same name."""
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            HyperParameters={
                "model": json.dumps(MODEL),
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": f"s3://{OTHER}/code.tar.gz",
            },
            AlgorithmSpecification={"TrainingImage": "theirs", "TrainingInputMode": "File"},
            RoleArn=TEAM,
            InputDataConfig=[
                {
                    "ChannelName": "training",
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": f"s3://{OTHER}/rows/",
                            "S3DataDistributionType": "FullyReplicated",
                        }
                    },
                }
            ],
            OutputDataConfig={"S3OutputPath": f"s3://{OTHER}/out"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 3_600},
        )
        self.jobs.append(name)

    def belongings(self):
        """All of it as AWS describes it, but for times and request ids."""
        models = [f"evergreen-{MODEL}-v1-00000000"]
        told = [self.sagemaker.describe_model(ModelName=name) for name in models]
        told.append(self.sagemaker.describe_endpoint_config(EndpointConfigName=f"evergreen-{MODEL}-p1-s0-e1"))
        told.append(self.sagemaker.describe_endpoint(EndpointName=MODEL))
        told += [self.sagemaker.describe_training_job(TrainingJobName=name) for name in self.jobs]
        told += [
            self.scheduler.get_schedule(Name=f"{MODEL}.ops-bake.v1.1", GroupName=group) for group in ("team", "default")
        ]
        told += self.cloudwatch.describe_alarms(AlarmNames=[f"{MODEL}-fails"])["MetricAlarms"]
        found = [{key: value for key, value in each.items() if key != "ResponseMetadata"} for each in told]
        return json.dumps([found, self.s3.list_objects_v2(Bucket=OTHER)["Contents"]], default=str, sort_keys=True)


def _policy(statement):
    return {"Version": "2012-10-17", "Statement": statement}


def _own_code():
    return {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{OTHER}/code.tar.gz"}


class Account:
    """Everything that happened, and what each role did to what."""

    def __init__(self, cloud, mlflow_url):
        self.cloud, self.calls = cloud, set()
        self.strangers = Strangers(cloud)
        self.tenants = [
            Tenant(cloud, "evergreen", 0, MlflowTrackingUri=mlflow_url),
            Tenant(cloud, "evergreen-two", 1, MlflowTrackingUri=mlflow_url, MlflowModelPrefix="two."),
        ]
        self.bad, self.sound = {}, {}
        decision_on = cloud.authority.decision_on

        def listening(caller, need, params=None):
            decision = decision_on(caller, need, params)
            self.calls.add((caller.role_arn or caller.arn, need.action, need.resource))
            return decision

        cloud.authority.decision_on = listening

    def passes(self, span, *, steps=1):
        """Time passes, and both stacks are asked and told of labels at each step."""
        for _ in range(steps):
            now = self.cloud.clock.now + span / steps
            self.cloud.advance(now)
            for tenant in self.tenants:
                tenant.lives(now)

    def fails_in(self, stack):
        """Both stacks take over a version of the same number: in one it fails, in the other it is as good as before."""
        now = self.cloud.clock.now
        for tenant in self.tenants:
            if tenant.stack == stack:
                self.bad[stack] = tenant.promotes(that_fails)
            else:
                self.sound[tenant.stack] = tenant.promotes()
        for minute in range(1, 91):
            self.cloud.advance(now + timedelta(minutes=minute))
            for tenant in self.tenants:
                for _ in range(4):
                    tenant.post(MODEL, "predict", {"instances": [{"x": 1.0, "y": 0.0, "plan": "a"}]})

    def until_calm(self, days):
        for _ in range(4 * days):
            if all(tenant.is_calm() for tenant in self.tenants):
                return
            self.passes(6 * HOUR)
        raise AssertionError([tenant.state() for tenant in self.tenants])


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """Two weeks of two stacks."""
    folder = tmp_path_factory.mktemp("account")
    with MlflowServer(folder / "mlflow") as mlflow, LocalCloud(START + BASE_DAYS * DAY) as cloud:
        mlflow.wait_ready(180)
        try:
            lived = Account(cloud, mlflow.url)
            lived.strangers.train(f"{MODEL}-{START:%Y%m%d}000000-1-0")
            cloud.advance(cloud.clock.now + HOUR)
            lived.before = lived.strangers.belongings()
            for tenant in lived.tenants:
                tenant.wants_first_models()
            lived.passes(2 * HOUR, steps=2)
            lived.passes(6 * DAY, steps=24)
            lived.until_calm(6)
            lived.fails_in("evergreen-two")
            lived.until_calm(4)
            lived.fails_in("evergreen")
            lived.passes(DAY, steps=4)
            yield lived
        finally:
            bootstrap.reset()


def test_each_goes_through_a_whole_loop(account):
    whole = {
        "TrainingStarted",
        "CandidateRegistered",
        "ShadowStarted",
        "VersionPromoted",
        "BakePassed",
        "VersionRolledBack",
    }
    for tenant in account.tenants:
        assert whole <= set(tenant.types()), tenant.types()
        assert verify_history(MODEL, ports=tenant.ports)[1] == ()
        assert tenant.state(ENDPOINTS[tenant.stack]).production == 1
    assert not account.cloud.error_counts


def test_a_version_is_rolled_back_where_it_fails_and_nowhere_else(account):
    for tenant in account.tenants:
        history = tenant.ports.ledger.history(MODEL)
        assert [(each.version, each.cause) for each in history.of(RollbackDecided)] == [
            (account.bad[tenant.stack], "errors")
        ]
        assert tenant.state().version(account.sound[tenant.stack]).status is not VersionStatus.ROLLED_BACK


def test_nobody_is_refused_anything_or_touches_what_is_anothers(account):
    assert [refusal.message for refusal in account.cloud.authority.refusals] == []
    roles = {f"role/{tenant.resources[name]}": tenant.stack for tenant in account.tenants for name in tenant.resources}
    owners = {name: tenant.stack for tenant in account.tenants for name in names_of(tenant)}
    owners |= {name.lower(): OTHER for name in (OTHER, MODEL, f"{MODEL}-fails", "team", *account.strangers.jobs)}
    touched = Counter()
    for who, action, resource in account.calls:
        stack = next((stack for role, stack in roles.items() if who.endswith(f":{role}")), None)
        owner = owner_of(resource, owners)
        if stack is not None and owner is not None:
            touched[stack, owner] += 1
            assert stack == owner, (who, action, resource)
    assert set(touched) == {(tenant.stack, tenant.stack) for tenant in account.tenants}


def names_of(tenant):
    """What a stack made, and what its functions made since: by the names under which the account knows it."""
    sagemaker = tenant.cloud.client("sagemaker")
    names = (name for logical, name in tenant.resources.items() if name not in (logical, "$default"))
    yield from (name.rsplit("/", 1)[-1].lower() for name in names)  # schedules and stages: a group, an API has them
    for operation, kind, name in (
        ("list_training_jobs", "TrainingJobSummaries", "TrainingJob"),
        ("list_models", "Models", "Model"),
        ("list_endpoint_configs", "EndpointConfigs", "EndpointConfig"),
        ("list_endpoints", "Endpoints", "Endpoint"),
    ):
        for made in getattr(sagemaker, operation)(MaxResults=100)[kind]:
            tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=made[f"{name}Arn"])["Tags"]}
            if tags.get("evergreen:stack") == tenant.stack:
                yield made[f"{name}Name"].lower()


def owner_of(resource, owners):
    """Whose a resource is: one of the parts of its ARN is its name."""
    return next((owners[part] for part in re.split(r"[:/]", resource.lower()) if part in owners), None)


def test_what_each_made_bears_its_name_and_nobody_elses(account):
    made = {tenant.stack: set(names_of(tenant)) for tenant in account.tenants}
    assert made["evergreen"].isdisjoint(made["evergreen-two"])
    for tenant in account.tenants:
        groups = tenant.cloud.client("scheduler").list_schedules(GroupName=tenant.stack)["Schedules"]
        assert {schedule["Name"] for schedule in groups}
        jobs = [name for name in made[tenant.stack] if re.search(r"-\d{14}-\d+-\d+$", name)]
        started = sum(tenant.types(model)["TrainingStarted"] for model in (MODEL, ENDPOINTS[tenant.stack]))
        assert len(jobs) == started


def test_the_registry_has_a_model_for_each(account):
    for tenant in account.tenants:
        view = tenant.ports.registry.view(MODEL)
        assert view.aliases["production"] == tenant.state().production
        assert set(view.tags) == {version.number for version in tenant.state().versions}


def test_strangers_find_everything_as_it_was(account):
    assert account.strangers.belongings() == account.before
