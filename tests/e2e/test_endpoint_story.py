"""A model of kind sagemaker on the template itself: promoted behind guardrails, rolled back, gone back by itself."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from small_artifact import small_artifact

from evergreen import bootstrap
from evergreen.domain.lifecycle import VersionStatus
from evergreen.formats import FileKey
from evergreen.spec import ModelSpec
from evergreen.usecases import operate
from evergreen.usecases.verify_history import verify_history
from evergreen_ops.local.cloud import LocalCloud

pytestmark = pytest.mark.slow  # each starts several fleets of containers, and every minute of a bake is a call
ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ALARM = "churn-eu-errors"
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
        "deployment": {"ops_bake": "30m", "ops_bake_longest": "1h", "quality_bake": "1d"},
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
        return [event["type"] for event in self.ports.ledger.history("churn")]

    def passes(self, span):
        self.cloud.advance(self.now + span)

    def registered(self, name):
        return operate.register_version("churn", small_artifact(name), "a story", "ada", now=self.now, ports=self.ports)

    def promote(self, version):
        operate.force_promotion("churn", version, "a story", "ada", now=self.now, ports=self.ports)
        self.passes(MINUTE)

    def answers(self, requests=50):
        """How many requests each version answered, by its own words; all of them by the same variant."""
        counted = Counter()
        for _ in range(requests):
            self._asked += 1
            answer = self._runtime.invoke_endpoint(
                EndpointName="churn-eu",
                ContentType="application/json",
                Body=json.dumps({"instances": [{"age": 20 + self._asked % 50, "plan": "a"}]}),
                InferenceId=f"order-{self._asked}",
            )
            assert answer["InvokedProductionVariant"] == "production"
            counted[json.loads(answer["Body"].read())["version"]] += 1
        return counted

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
            Dimensions=[
                {"Name": "EndpointName", "Value": "churn-eu"},
                {"Name": "VariantName", "Value": "production"},
            ],
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0.05,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
        )
        try:
            told = Story(cloud)
            operate.apply_model(SPEC, now=told.now, ports=told.ports)
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

    operate.force_rollback("churn", "it answers nonsense", "ada", now=story.now, ports=story.ports)
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
        for entry in story.ports.catalog.between("churn", f"compact-{variant}", START, story.now + DAY):
            versions = read_versions(story, entry.key)
            rows += Counter({(variant, version): count for version, count in versions.items()})
    assert rows[("production", 1)] + rows[("production", 2)] == 50 + 200 + 50 + 50 + 50
    assert rows[("shadow", 1)] == 50, "while it watched"
    assert set(rows) == {("production", 1), ("production", 2), ("shadow", 1)}
    keys = [key for key in story.ports.data.keys("captures/churn/") if key.endswith(".jsonl")]
    assert {FileKey.parse(key).versions.production for key in keys} == {1, 2}


def read_versions(story, key):
    from evergreen import outcomes

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
    failed = story.ports.ledger.history("churn")[-1]
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
    repaired = [event for event in story.ports.ledger.history("churn") if event["type"] == "DifferenceRepaired"]
    assert [(event["what"], event["found"], event["expected"]) for event in repaired] == [
        ("production alias", "version 1", "version 2")
    ]
    assert story.target() == ("InService", {"production": 2, "shadow": 1})
    assert story.answers() == {2: 50}
