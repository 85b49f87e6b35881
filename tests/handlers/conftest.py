"""Functions as Lambda calls them, on the small cloud."""

import json
from collections import Counter

import pytest
from small_cloud import NOW, SmallCloud, kept_clients, open_cloud

from evergreen import telemetry
from evergreen.domain.model_events import CandidateRegistered, PromotionApproved, VersionPromoted


class Cloud(SmallCloud):
    """What the functions talk to, what they left there, and what they wrote to their logs."""

    def __init__(self, capsys):
        super().__init__()
        self._capsys = capsys

    def arrived(self, key, *lines):
        """An event that tells of a new file with these lines."""
        self.ports.data.put(key, b"\n".join(lines))
        event = self.event("s3_object_created")
        event["detail"]["object"]["key"] = key
        return event

    def kept_aside(self):
        """The lines that lie in quarantine."""
        keys = list(self.ports.data.keys("quarantine/"))
        return [json.loads(line) for key in keys for line in self.ports.data.get(key).splitlines()]

    def promoted(self, at):
        """Put version 1 of the model `churn` into production."""
        who = {"time": at, "actor": "ada", "because": "a story"}
        registered = CandidateRegistered(
            **who,
            version=1,
            decision_id="",
            artifact="s3://artifacts/models/churn/v1/output/model.tar.gz",
            sha256="1" * 64,
            fingerprint=self.ports.ledger.read("churn").fingerprint,
            rows_trained=500,
            trained_until=None,
            reference="",
            gate={},
        )
        approved = PromotionApproved(**who, version=1, instead_of=None, evidence={})
        done = VersionPromoted(**who, version=1, replaced=None, endpoint={})
        self.ports.ledger.record(self.ports.ledger.read("churn"), registered, approved, done)

    def counted(self):
        """The metrics written since the last look: (dimensions, {name: value}) of each line."""
        found = []
        for line in self._capsys.readouterr().out.splitlines():
            document = json.loads(line)
            for metrics in document.get("_aws", {}).get("CloudWatchMetrics", []):
                assert metrics["Namespace"] == telemetry.namespace_of("evergreen")
                names = [metric["Name"] for metric in metrics["Metrics"]]
                (dimensions,) = metrics["Dimensions"]
                written = {telemetry.Metric(m["Name"], m["Unit"], tuple(dimensions)) for m in metrics["Metrics"]}
                assert written <= set(telemetry.METRICS), "a metric, its unit and its dimensions stand in telemetry"
                values = Counter(  # what is not counted is nothing
                    {name: document[name][0] if isinstance(document[name], list) else document[name] for name in names}
                )
                found.append(({name: document[name] for name in dimensions}, values))
        return found


@pytest.fixture
def now():
    """The time of the events in tests/events."""
    return NOW


@pytest.fixture
def cloud(capsys, _nobodys_credentials):
    with kept_clients(), open_cloud(lambda: Cloud(capsys)) as made:
        yield made
