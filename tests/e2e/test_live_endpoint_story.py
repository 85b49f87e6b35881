"""A SageMaker endpoint on the template itself: its answers follow the labels, and a version goes on from there."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from live_world import FOREST, people, trained_archive

from evergreen import bootstrap
from evergreen.domain.catalog import CatalogKind
from evergreen.formats.captures import CaptureLayout, read_captures
from evergreen.formats.keys import FileKey
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from evergreen.usecases.people.live import revert_live_state, verify_live_states
from evergreen.usecases.people.verify import verify_history
from local_cloud.cloud import LocalCloud

pytestmark = pytest.mark.slow  # weeks of requests, and several fleets of containers
ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
REQUESTS_A_DAY, ROWS = 4, 60
SPEC = ModelSpec.parse(
    {
        "model": "churn",
        "task": "binary",
        "features": {"age": {"type": "number"}, "plan": {"type": "categorical"}},
        "labels": {"classes": ["0", "1"], "maturity": "12h"},
        "endpoint": {"kind": "sagemaker", "name": "churn-eu", "guardrails": {"traffic": "all_at_once"}},
        "freshness": {"enabled": True},
        "training": {"estimator": "RandomForestClassifier", "params": FOREST, "min_rows": 100, "max_rows": 700},
        "shadow": {"metric": "brier", "cycle": "1d"},
        "deployment": {"ops_bake": "30m", "ops_bake_longest": "1h", "quality_bake": "1d"},
    }
)


class Story:
    """Whoever is older than forty leaves; so says version 1, and so it is until the relation inverts."""

    def __init__(self, cloud):
        self.cloud, self.ports = cloud, bootstrap.ports_for(cloud.outputs)
        self._runtime, self._s3 = cloud.client("sagemaker-runtime"), cloud.client("s3")
        self._random, self._asked = np.random.default_rng(0), 0

    @property
    def now(self):
        return self.cloud.clock.now

    @property
    def state(self):
        return self.ports.ledger.read("churn")

    def history(self):
        return self.ports.ledger.history("churn").documents

    def told(self, kind):
        """The newest event of a kind."""
        return next(event for event in reversed(self.history()) if event["type"] == kind)

    def types(self):
        return [event["type"] for event in self.history()]

    def passes(self, span):
        self.cloud.advance(self.now + span)

    def asks(self, rows, accept="application/json"):
        """What the endpoint answers, and the InferenceId that it was asked by."""
        self._asked += 1
        answer = self._runtime.invoke_endpoint(
            EndpointName="churn-eu",
            ContentType="application/json",
            Accept=accept,
            Body=json.dumps({"instances": rows}),
            InferenceId=f"order-{self._asked}",
        )
        return answer["Body"].read().decode(), f"order-{self._asked}"

    def day(self, *, turned=True):
        """Requests all day long, and their labels an hour after each; the share that was right, and the states."""
        right, states = [], set()
        for _ in range(REQUESTS_A_DAY):
            rows, ages = people(self._random, ROWS)
            body, name = self.asks(rows)
            told = json.loads(body)
            said = [one["prediction"] for one in told["predictions"]]
            states.add((told["version"], told.get("state")))
            truth = [str(int(left)) for left in (ages > 40.0) ^ (self._random.random(ROWS) < 0.05) ^ turned]
            right += [one == label for one, label in zip(said, truth, strict=True)]
            self.passes(HOUR)
            self.labels(name, truth)
            self.passes(DAY / REQUESTS_A_DAY - HOUR)
        return sum(right) / len(right), states

    def labels(self, name, truth):
        """A file of ground truth in SageMaker's own format: the labels of a request, one a row."""
        line = {
            "groundTruthData": {"data": "\n".join(truth), "encoding": "CSV"},
            "eventMetadata": {"eventId": name},
            "eventVersion": "0",
        }
        bucket, key = self.cloud.outputs["DataBucket"], f"ground-truth/churn/{self.now:%Y/%m/%d/%H}/{name}.jsonl"
        self._s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(line).encode())

    def captured(self, variant="production"):
        """The captures of a variant, by the version that answered."""
        found = {}
        keys = [key for key in self.ports.data.keys("captures/churn/") if f"/{variant}/" in key]
        for key in sorted(keys):
            file = FileKey.parse(key)
            version = file.versions.shadow if variant == "shadow" else file.versions.production
            captures, malformed = read_captures(
                self.ports.data.get(key), CaptureLayout(SPEC.feature_schema(), version=version)
            )
            assert malformed == []
            found.setdefault(version, []).extend(captures)
        return found

    def pointer(self, version):
        return self.ports.live.read("churn", version)


@pytest.fixture
def story():
    parameters = {
        "EvaluationSchedule": "rate(30 days)",
        "OnlineSchedule": "rate(6 hours)",
        "ReconcileSchedule": "rate(6 hours)",
    }
    with LocalCloud.deploy(ROOT / "template.yaml", start=START, parameters=parameters) as cloud:
        try:
            told = Story(cloud)
            apply.apply_model(SPEC, now=told.now, ports=told.ports)
            archive = trained_archive("first")
            bring.register_version("churn", archive, "a story", "ada", now=told.now, ports=told.ports)
            decide.force_promotion("churn", 1, "a story", "ada", now=told.now, ports=told.ports)
            told.passes(3 * HOUR)
            assert told.types()[-1] == "BakePassed"
            yield told
            assert verify_history("churn", ports=told.ports)[1] == ()
            assert not cloud.error_counts, cloud.error_counts
        finally:
            bootstrap.reset()


def test_the_answers_follow_the_labels_and_a_version_that_goes_on_from_them_is_promoted_and_taken_back(story):
    # The world is as it was: nothing is lost.
    assert story.day(turned=False)[0] > 0.85

    # The relation inverts, and the answers follow with no training.
    right = [story.day() for _ in range(4)]
    assert right[0][0] < 0.6, "version 1 was trained in another world"
    assert right[-1][0] > 0.85
    assert right[-1][1] <= {(1, number) for number in range(1, story.pointer(1).number + 1)}
    assert "TrainingStarted" not in story.types()

    # Whoever takes CSV gets the fresh answers too, in the shape of old.
    body, _ = story.asks([{"age": 22.0, "plan": "a"}], "text/csv")
    assert body.startswith('1,"[')
    story.passes(HOUR)
    story.cloud.drain()
    captures = story.captured()[1]
    without = [capture for capture in captures if capture.live is None]
    assert len(without) < 2 * ROWS, "before the first state, and the one that CSV does not tell of"
    young = [capture for capture in captures[-2 * ROWS :] if capture.live and capture.features["age"] < 35]
    assert {capture.live.plain for capture in young} == {"0"}
    assert np.mean([capture.prediction == "1" for capture in young]) > 0.9

    # A version is trained that production lives on in; its shadow answers by its own state, and it is promoted.
    decide.request_training("churn", "a story", "ada", now=story.now, ports=story.ports)
    story.passes(HOUR)
    assert story.told("CandidateRegistered")["ancestors"] == [1]
    assert story.types()[-1] == "ShadowStarted"
    for _ in range(4):
        if story.told("PromotionApproved")["version"] == 1:
            story.day()
    approved = story.told("PromotionApproved")
    assert approved["version"] == 2, story.types()
    assert approved["because"].startswith("production lives on in it, ")
    assert "it answered 100.0% of the requests" in approved["because"]
    shadowed = story.captured("shadow")[2]
    by_state = [capture for capture in shadowed if capture.live is not None]
    assert len(by_state) > ROWS * REQUESTS_A_DAY / 2, "the candidate's container has found the candidate's state"
    story.passes(HOUR)
    assert story.state.production == 2

    # The replaced version watches as the shadow, by its own state; both go on learning.
    before = story.pointer(1).rows, story.pointer(2).rows
    share, states = story.day()
    assert share > 0.85
    assert {version for version, _ in states} == {2}
    assert all(state is not None for _, state in states)
    watched = story.captured("shadow")[1]
    assert len([capture for capture in watched if capture.live]) > ROWS * REQUESTS_A_DAY / 2
    assert story.pointer(1).rows > before[0]
    assert story.pointer(2).rows > before[1]

    # It is taken back: version 1 answers by its own state, which knows what came meanwhile.
    decide.force_rollback("churn", "it answers nonsense", "ada", now=story.now, ports=story.ports)
    story.passes(HOUR)
    assert (story.types()[-1], story.state.production) == ("VersionRolledBack", 1)
    share, states = story.day()
    assert share > 0.85
    assert {version for version, _ in states} == {1}
    assert min(state for _, state in states) >= story.pointer(1).number - 6

    # What was learned follows from the stored rows, and a person can take it back: the container follows.
    steps = verify_live_states("churn", now=story.now, ports=story.ports)
    assert {step.found for step in steps} == {"same", "unknown"}, "the first of those that are kept is taken as it is"
    reverted = revert_live_state("churn", None, "those labels were wrong", "ada", now=story.now, ports=story.ports)
    story.passes(MINUTE)
    assert json.loads(story.asks([{"age": 22.0, "plan": "a"}])[0])["state"] == reverted.number


def test_a_version_without_members_answers_as_ever_and_labels_change_nothing():
    parameters = {"EvaluationSchedule": "rate(30 days)", "OnlineSchedule": "rate(6 hours)"}
    with LocalCloud.deploy(ROOT / "template.yaml", start=START, parameters=parameters) as cloud:
        try:
            story = Story(cloud)
            apply.apply_model(SPEC, now=story.now, ports=story.ports)
            archive = trained_archive("first", freshness=False)
            bring.register_version("churn", archive, "a story", "ada", now=story.now, ports=story.ports)
            decide.force_promotion("churn", 1, "a story", "ada", now=story.now, ports=story.ports)
            story.passes(3 * HOUR)
            share, states = story.day()
            assert (share < 0.6, states) == (True, {(1, None)})
            assert story.pointer(1) is None
            assert list(story.ports.catalog.between("churn", CatalogKind.ONLINE_ROWS, START, story.now + DAY))
            assert not cloud.error_counts
        finally:
            bootstrap.reset()
