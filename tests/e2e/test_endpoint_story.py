"""A model of kind sagemaker on the template itself: promoted behind guardrails, rolled back, gone back by itself."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from small_artifact import small_artifact
from tipping_model import a_model

from evergreen import bootstrap
from evergreen.domain.catalog import CatalogKind
from evergreen.domain.state import VersionStatus
from evergreen.formats.keys import FileKey
from evergreen.model.archive import pack, unpack
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from evergreen.usecases.people.verify import verify_history
from local_cloud.cloud import LocalCloud

pytestmark = pytest.mark.slow  # each starts several fleets of containers, and every minute of a bake is a call
ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ALARM, SLOW_ALARM = "churn-eu-errors", "churn-eu-slow"
ROUNDS = 1_000_000  # about a second
AT_ENDPOINT = [{"Name": "EndpointName", "Value": "churn-eu"}, {"Name": "VariantName", "Value": "production"}]
SPEC = ModelSpec.parse(
    {
        "model": "churn",
        "task": "binary",
        "features": {"age": {"type": "number"}, "plan": {"type": "categorical"}},
        "labels": {"classes": ["0", "1"], "maturity": "1h"},
        "endpoint": {
            "kind": "sagemaker",
            "name": "churn-eu",
            "guardrails": {"traffic": "canary", "share": 0.2, "wait": "10m", "alarms": [ALARM]},
        },
        "triggers": {"data_drift": {"enabled": False}, "prediction_shift": {"enabled": False}},
        "deployment": {"ops_bake": "30m", "ops_bake_longest": "1h", "quality_bake": "1d", "latency_ms": 300},
    }
)


class Story:
    """The deployed stack, one model of it, and what the endpoint says of itself."""

    def __init__(self, cloud):
        self.cloud, self.ports = cloud, bootstrap.ports_for(cloud.outputs)
        self._sagemaker, self._runtime = cloud.client("sagemaker"), cloud.client("sagemaker-runtime")
        self._asked = 0

    @property
    def now(self):
        return self.cloud.clock.now

    @property
    def state(self):
        return self.ports.ledger.read("churn")

    def types(self):
        return [event["type"] for event in self.ports.ledger.history("churn").documents]

    def repaired(self):
        """What was found unlike the ledger: (what, found, expected)."""
        events = [
            event for event in self.ports.ledger.history("churn").documents if event["type"] == "DifferenceRepaired"
        ]
        return [(event["what"], event["found"], event["expected"]) for event in events]

    def passes(self, span):
        self.cloud.advance(self.now + span)

    def registered(self, name, graph=None):
        """A version that was trained elsewhere; with a graph, that one answers in place of what was trained."""
        artifact = small_artifact(name)
        if graph is not None:
            files = unpack(artifact, ("model.json", "reference.json"))
            artifact = pack(files | unpack(graph, ("model.onnx",)))
        return bring.register_version("churn", artifact, "a story", "ada", now=self.now, ports=self.ports)

    def promote(self, version):
        decide.force_promotion("churn", version, "a story", "ada", now=self.now, ports=self.ports)
        self.passes(MINUTE)

    def answers(self, requests=50):
        """How many requests each version answered, by its own words; all of them by the same variant."""
        return Counter(self.answered(20 + self._asked % 50) for _ in range(requests))

    def answered(self, age):
        """Which version answers a caller of this age, by its own words; or the status that is none."""
        self._asked += 1
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName="churn-eu",
                ContentType="application/json",
                Body=json.dumps({"instances": [{"age": age, "plan": "a"}]}),
                InferenceId=f"order-{self._asked}",
            )
        except ClientError as error:
            return error.response["OriginalStatusCode"]
        assert answer["InvokedProductionVariant"] == "production"
        return json.loads(answer["Body"].read())["version"]

    def target(self):
        """The endpoint's status and its real configuration: the artifacts of its variants' models."""
        found = self._sagemaker.describe_endpoint(EndpointName="churn-eu")
        config = self._sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
        variants = [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]
        loaded = {
            variant["VariantName"]: self._sagemaker.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]
            for variant in variants
        }
        of = {version.artifact: version.number for version in self.state.versions}
        versions = {name: of[container["ModelDataUrl"]] for name, container in loaded.items()}
        assert versions == {
            name: int(container["Environment"]["EVERGREEN_VERSION"]) for name, container in loaded.items()
        }
        return found["EndpointStatus"], versions

    def people_listen(self):
        """Whoever is told, by the stack's topic, from now on."""
        arn = "arn:aws:sqs:us-east-1:123456789012:people"
        statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": arn}]})
        queue = self.cloud.client("sqs").create_queue(QueueName="people", Attributes={"Policy": policy})["QueueUrl"]
        self.cloud.client("sns").subscribe(TopicArn=self.cloud.outputs["Notifications"], Protocol="sqs", Endpoint=arn)
        return queue

    def people_heard(self, queue):
        """The events that people were told of, and why: (type, because)."""
        found = self.cloud.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        mails = [json.loads(json.loads(message["Body"])["Message"]) for message in found]
        events = [mail["detail"] for mail in mails if "detail" in mail]
        return [(event["type"], json.loads(event["body"])["because"]) for event in events]

    def looks_at_once_when_slow(self):
        """An alarm of the endpoint's owners, whose action is the watch_deployment function."""
        function = self.cloud.client("lambda").get_function(FunctionName="evergreen-watch-deployment")
        self.cloud.client("cloudwatch").put_metric_alarm(
            AlarmName=SLOW_ALARM,
            Namespace="AWS/SageMaker",
            MetricName="ModelLatency",
            Dimensions=AT_ENDPOINT,
            ExtendedStatistic="p50",
            Period=60,
            EvaluationPeriods=1,
            Threshold=300_000,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
            AlarmActions=[function["Configuration"]["FunctionArn"]],
        )
        self.cloud.client("lambda").add_permission(
            FunctionName="evergreen-watch-deployment",
            StatementId="slow",
            Action="lambda:InvokeFunction",
            Principal="lambda.alarms.cloudwatch.amazonaws.com",
            SourceAccount="123456789012",
            SourceArn=f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{SLOW_ALARM}",
        )

    def alarm(self, state):
        self.cloud.client("cloudwatch").set_alarm_state(AlarmName=ALARM, StateValue=state, StateReason="a story")


@pytest.fixture
def story():
    parameters = {"EvaluationSchedule": "rate(7 days)", "OnlineSchedule": "rate(7 days)"}
    with LocalCloud.deploy(ROOT / "template.yaml", start=START, parameters=parameters) as cloud:
        cloud.client("cloudwatch").put_metric_alarm(
            AlarmName=ALARM,
            Namespace="AWS/SageMaker",
            MetricName="Invocation5XXErrors",
            Dimensions=AT_ENDPOINT,
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0.05,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
        )
        try:
            told = Story(cloud)
            apply.apply_model(SPEC, now=told.now, ports=told.ports)
            told.promote(told.registered("first"))
            yield told
            assert verify_history("churn", ports=told.ports)[1] == ()
            assert not cloud.error_counts, cloud.error_counts
        finally:
            bootstrap.reset()


def test_a_model_is_promoted_watched_as_a_canary_and_rolled_back_and_the_endpoint_follows(story):
    assert story.types()[-1] == "PromotionApproved", "an endpoint takes minutes"
    story.passes(10 * MINUTE)
    assert story.types()[-1] == "VersionPromoted"
    assert story.target() == ("InService", {"production": 1})
    assert story.answers() == {1: 50}
    story.passes(2 * HOUR)
    assert (story.types()[-1], story.state.version(1).status) == ("BakePassed", VersionStatus.GOOD)

    story.promote(story.registered("second"))
    story.passes(7 * MINUTE)
    assert story.state.production == 1, "until all requests are answered by the new version"
    assert story.target() == ("Updating", {"production": 1})
    shared = story.answers(200)
    assert set(shared) == {1, 2}
    assert 20 <= shared[2] <= 60, "a fifth of them"
    story.passes(20 * MINUTE)
    assert (story.types()[-1], story.state.production) == ("VersionPromoted", 2)
    assert story.target() == ("InService", {"production": 2})
    assert story.answers() == {2: 50}

    story.passes(2 * HOUR)
    assert (story.state.bake.phase, story.state.shadow.version) == ("quality", 1)
    story.passes(10 * MINUTE)
    assert story.target() == ("InService", {"production": 2, "shadow": 1})
    assert story.answers() == {2: 50}

    decide.force_rollback("churn", "it answers nonsense", "ada", now=story.now, ports=story.ports)
    story.passes(8 * MINUTE)
    assert (story.types()[-1], story.state.production) == ("VersionRolledBack", 1)
    story.passes(10 * MINUTE)
    assert story.target() == ("InService", {"production": 1})
    assert story.answers() == {1: 50}
    assert "DifferenceRepaired" not in story.types()
    captured_by_version(story)


def captured_by_version(story):
    """Each answer was captured once, and counts for the version that gave it, in shadow too."""
    story.cloud.drain()
    rows = Counter()
    for variant in ("production", "shadow"):
        for entry in story.ports.catalog.between("churn", CatalogKind.of_captures(variant), START, story.now + DAY):
            versions = read_versions(story, entry.key)
            rows += Counter({(variant, version): count for version, count in versions.items()})
    assert rows[("production", 1)] + rows[("production", 2)] == 50 + 200 + 50 + 50 + 50
    assert rows[("shadow", 1)] == 50, "while it watched"
    assert set(rows) == {("production", 1), ("production", 2), ("shadow", 1)}
    keys = [key for key in story.ports.data.keys("captures/churn/") if key.endswith(".jsonl")]
    assert {FileKey.parse(key).versions.production for key in keys} == {1, 2}


def read_versions(story, key):
    from evergreen.formats import outcomes

    return Counter(outcomes.from_parquet(story.ports.data.get(key), ["version"])["version"].to_pylist())


def test_a_promotion_that_sagemaker_takes_back_by_itself_is_found_out_and_never_tried_again(story):
    story.passes(2 * HOUR)
    story.promote(story.registered("second"))
    story.passes(7 * MINUTE)
    assert set(story.answers(100)) == {1, 2}
    story.alarm("ALARM")
    story.passes(5 * MINUTE)
    assert story.target() == ("InService", {"production": 1}), "SageMaker says that all is well"
    assert story.answers() == {1: 50}
    failed = story.ports.ledger.history("churn").documents[-1]
    assert (failed["type"], failed["version"], failed["cause"]) == ("RepointFailed", 2, None)
    assert (story.state.production, story.state.repoint) == (1, None)
    assert story.state.version(2).status is VersionStatus.ROLLED_BACK
    story.alarm("OK")
    story.passes(2 * HOUR)
    assert story.types()[-1] == "RepointFailed", "nothing was repaired, nothing was tried again"
    assert story.target() == ("InService", {"production": 1})

    story.promote(story.registered("third"))
    story.passes(HOUR)
    assert (story.state.production, story.target()) == (3, ("InService", {"production": 3}))


def test_a_version_that_begins_to_fail_once_sagemaker_looks_no_more_is_rolled_back_by_the_bake(story):
    story.passes(2 * HOUR)
    assert story.answers(100) == {1: 100}
    story.passes(MINUTE)
    story.promote(story.registered("second", a_model(40, oldest=60)))
    story.passes(30 * MINUTE)
    assert (story.types()[-1], story.target()) == ("VersionPromoted", ("InService", {"production": 2}))
    assert {story.answered(age) for age in range(20, 60)} == {2}
    assert {story.answered("old") for _ in range(30)} == {422}
    story.passes(3 * MINUTE)
    assert story.types()[-1] == "VersionPromoted", "it is watched, and what callers do wrong is not its fault"

    heard = story.people_listen()
    assert {story.answered(age) for age in range(61, 91)} == {500}
    story.passes(2 * MINUTE)
    decided = story.ports.ledger.history("churn").documents[-1]
    assert (decided["type"], decided["actor"], decided["cause"]) == ("RollbackDecided", "watch_deployment", "errors")
    assert (decided["version"], decided["to_version"]) == (2, 1)
    assert decided["because"].startswith("30 of 100 requests failed")
    assert (decided["evidence"]["requests"], decided["evidence"]["baseline_requests"]) == (100, 100)
    taken_back(story, heard, decided)


def test_a_version_that_becomes_slow_long_after_its_bake_is_rolled_back_at_an_alarm_of_the_endpoint(story):
    story.passes(2 * HOUR)
    story.promote(story.registered("second", a_model(40, rounds=ROUNDS, slow_above=60)))
    story.passes(2 * HOUR)
    assert (story.state.bake.phase, story.target()) == ("quality", ("InService", {"production": 2, "shadow": 1}))
    story.looks_at_once_when_slow()
    assert {story.answered(20 + number % 40) for number in range(100)} == {2}
    story.passes(HOUR)
    assert story.types()[-1] == "BakePassed", "nothing is wrong"

    heard = story.people_listen()
    assert {story.answered(age) for age in range(61, 71)} == {2}
    story.passes(2 * MINUTE)
    decided = story.ports.ledger.history("churn").documents[-1]
    assert (decided["type"], decided["actor"], decided["cause"]) == ("RollbackDecided", "watch_deployment", "latency")
    assert decided["because"].startswith("10 of 10 requests took over 300 ms")
    taken_back(story, heard, decided)


def taken_back(story, heard, decided):
    """The endpoint really has the version from before again, and people were told why."""
    story.passes(10 * MINUTE)
    assert (story.types()[-1], story.state.production) == ("VersionRolledBack", 1)
    assert story.state.version(2).status is VersionStatus.ROLLED_BACK
    assert {story.answered(age) for age in range(20, 90)} == {1}
    assert story.people_heard(heard)[0] == ("RollbackDecided", decided["because"])
    story.passes(20 * MINUTE)
    assert story.target() == ("InService", {"production": 1})
    assert [what for what, *_ in story.repaired() if not what.startswith("schedule ")] == []


def test_an_endpoint_that_others_point_elsewhere_is_pointed_back_and_it_is_told(story):
    story.passes(2 * HOUR)
    story.promote(story.registered("second"))
    story.passes(3 * HOUR)
    sagemaker = boto3.client("sagemaker")
    first = next(
        config["EndpointConfigName"]
        for config in sagemaker.list_endpoint_configs()["EndpointConfigs"]
        if "-p1-" in config["EndpointConfigName"]
    )
    sagemaker.update_endpoint(EndpointName="churn-eu", EndpointConfigName=first)
    story.passes(10 * MINUTE)
    assert story.answers() == {1: 50}
    story.passes(45 * MINUTE)
    assert story.repaired() == [("production alias", "version 1", "version 2")]
    assert story.target() == ("InService", {"production": 2, "shadow": 1})
    assert story.answers() == {2: 50}
