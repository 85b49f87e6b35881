"""The `evergreen` command on a small deployed stack of moto's."""

from datetime import UTC, datetime, timedelta

import pytest
from deployed import Deployed
from small_cloud import CHURN, SmallCloud, kept_clients, open_cloud

from evergreen.domain.model_events import (
    BakePassed,
    CandidateRegistered,
    CandidateRetired,
    PromotionApproved,
    PromotionProposed,
    ShadowStarted,
    VersionPromoted,
)
from evergreen.spec import ModelSpec

WHO = {"actor": "ada", "because": "a story"}
A_MONTH_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)


class DeployedStack(Deployed, SmallCloud):
    """A small cloud with a stack that tells of it, and a model's life told event by event."""

    def __init__(self):
        super().__init__()
        self.time = A_MONTH_AGO

    def tell(self, kind, **fields):
        """Record an event; an hour passes before it."""
        self.time += timedelta(hours=1)
        ledger = self.ports.ledger
        ledger.record(ledger.read("churn"), kind(time=self.time, **(WHO | fields)))
        return self

    def applied(self, **changes):
        super().applied(**changes)
        return self

    def registered(self, version, fingerprint=None):
        features = ModelSpec.parse(CHURN).fingerprint
        return self.tell(
            CandidateRegistered,
            version=version,
            decision_id="",
            artifact=f"s3://artifacts/models/churn/v{version}/output/model.tar.gz",
            sha256="1" * 64,
            fingerprint=fingerprint or features,
            rows_trained=5_000,
            trained_until=A_MONTH_AGO,
            reference="",
            gate={},
        )

    def promoted(self, version):
        """The version takes over and passes its bakes."""
        before = self.state.production
        self.tell(PromotionApproved, version=version, instead_of=before, evidence={})
        self.tell(VersionPromoted, version=version, replaced=before, endpoint={})
        while self.state.bake is not None:
            self.tell(BakePassed, version=version, phase=self.state.bake.phase, evidence={})
        return self

    def shadowed(self, version):
        return self.tell(ShadowStarted, version=version, judged_against=self.state.production)

    def proposed(self, version):
        against = self.state.production
        return self.tell(PromotionProposed, version=version, judged_against=against, evidence={"gain": 0.031})

    def retired(self, version):
        return self.tell(CandidateRetired, version=version, evidence={})

    @property
    def state(self):
        return self.ports.ledger.read("churn")

    def last(self):
        return self.ports.ledger.history("churn").documents[-1]


@pytest.fixture
def stack(_nobodys_credentials, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no local cloud runs here
    with kept_clients(), open_cloud(DeployedStack) as cloud:
        yield cloud.deployed()


@pytest.fixture
def settled(stack):
    """A model whose versions 1 and 2 are good; 2 is in production."""
    return stack.applied(training={"min_new_rows": 0}).registered(1).promoted(1).registered(2).promoted(2)
