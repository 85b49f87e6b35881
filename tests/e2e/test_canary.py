"""Promoted, a canary, rolled back: what the alias really points to and who answers, through template.yaml."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_artifact import small_artifact
from small_cloud import CHURN
from tipping_model import a_model

from evergreen import bootstrap
from evergreen.model.archive import pack, unpack
from evergreen.spec import ModelSpec
from evergreen.usecases.people import apply, bring, decide
from local_cloud.cloud import LocalCloud

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SHARE = 0.25
A_MINUTE = 16  # requests


def that_fails(artifact):
    """The same version with a graph that is loaded and answers no single row."""
    files = unpack(artifact, ("model.json", "reference.json"))
    return pack(files | unpack(a_model(40, rows=7), ("model.onnx",)))


class Endpoint:
    """The deployed API and the alias behind it."""

    def __init__(self, cloud):
        self.cloud, self.ports = cloud, bootstrap.ports_for(cloud.outputs)
        spec = CHURN | {"deployment": {"canary_share": SHARE, "ops_bake_longest": "1h"}}
        apply.apply_model(ModelSpec.parse(spec), now=self.now, ports=self.ports)

    @property
    def now(self):
        return self.cloud.clock.now

    def promoted(self, artifact):
        """A version that was trained elsewhere, promoted by hand."""
        number = bring.register_version("churn", artifact, "a story", "ada", now=self.now, ports=self.ports)
        decide.force_promotion("churn", number, "a story", "ada", now=self.now, ports=self.ports)
        self.cloud.advance(self.now + 10 * timedelta(seconds=1))
        return number

    def alias(self):
        """The version that it points to, and the one that answers beside it."""
        record = self.ports.aliases.read("churn", "production")
        return record.version, None if record.canary is None else (record.canary.share, record.canary.version)

    def asked(self, minutes):
        """The share of the answers of each version, or of each status that is no answer."""
        told = Counter()
        for _ in range(minutes):
            for number in range(A_MINUTE):
                body = json.dumps({"instances": [{"age": 20 + number, "plan": "a"}]})
                answer = self.cloud.http(
                    "POST", "/models/churn/predict", body=body, headers={"content-type": "application/json"}
                )
                told[answer.json()["version"] if answer.status == 200 else answer.status] += 1
            self.cloud.advance(self.now + MINUTE)
        return {key: count / told.total() for key, count in told.items()}

    def history(self):
        return [event["type"] for event in self.ports.ledger.history("churn").documents]


@pytest.fixture
def endpoint():
    seldom = dict.fromkeys(("EvaluationSchedule", "ReconcileSchedule", "OnlineSchedule"), "rate(1 day)")
    with LocalCloud.deploy(ROOT / "template.yaml", start=START, parameters=seldom) as cloud:
        try:
            yield Endpoint(cloud)
        finally:
            bootstrap.reset()


@pytest.mark.slow
def test_a_version_is_a_canary_until_it_has_shown_that_it_answers_and_a_bad_one_is_taken_back(endpoint):
    first = endpoint.promoted(small_artifact("first"))
    assert endpoint.alias() == (first, None)
    assert endpoint.asked(minutes=35) == {first: 1.0}
    assert endpoint.history()[-1] == "BakePassed"

    second = endpoint.promoted(small_artifact("second"))
    assert endpoint.alias() == (second, (SHARE, first))
    assert endpoint.history()[-1] == "VersionPromoted"
    answered = endpoint.asked(minutes=20)
    assert set(answered) == {first, second}
    assert answered[second] == pytest.approx(SHARE, abs=0.08)
    assert endpoint.alias() == (second, (SHARE, first)), "it is still watched"

    endpoint.asked(minutes=12)
    assert endpoint.history()[-1] == "BakePassed"
    assert endpoint.alias() == (second, None)
    assert endpoint.asked(minutes=2) == {second: 1.0}

    bad = endpoint.promoted(that_fails(small_artifact("bad")))
    assert endpoint.alias() == (bad, (SHARE, first)), "labels have not shown yet that the second is good"
    answered = endpoint.asked(minutes=10)
    assert set(answered) == {first, 500}
    assert answered[500] < SHARE, "most callers never met it, and then nobody did"
    assert endpoint.alias() == (first, None)
    assert endpoint.history()[-1] == "VersionRolledBack"
    assert endpoint.asked(minutes=2) == {first: 1.0}
