"""The `evergreen` command on a small deployed stack of moto's."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from small_cloud import CHURN, SmallCloud, open_cloud
from typer.testing import CliRunner

from evergreen.domain.lifecycle import (
    BakePassed,
    CandidateRegistered,
    CandidateRetired,
    PromotionApproved,
    PromotionProposed,
    ShadowStarted,
    VersionPromoted,
)
from evergreen.spec import ModelSpec
from evergreen_ops.cli import app

WHO = {"actor": "ada", "because": "a story"}
A_MONTH_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)


class DeployedStack(SmallCloud):
    """A small cloud with a stack that tells of it, and a model's life told event by event."""

    def __init__(self):
        super().__init__()
        self.time = A_MONTH_AGO

    def deployed(self, name="evergreen", without=()):
        """Make the stack known to CloudFormation."""
        told = {"AWS_REGION": "us-east-1"} | self.environment()
        outputs = {
            "".join(part.title() for part in key.split("_")): {"Value": value}
            for key, value in told.items()
            if key not in without
        }
        template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}, "Outputs": outputs}
        boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
        return self

    def evergreen(self, *arguments, code=0, answer=None):
        """What the command prints to stdout."""
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        self.said = result.stderr
        return result.stdout

    def asked(self, *arguments, code=0):
        """What the command prints as JSON."""
        return json.loads(self.evergreen(*arguments, "--json", code=code))

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
        return self.ports.ledger.history("churn")[-1]


@pytest.fixture
def stack(_nobodys_credentials, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no local cloud runs here
    with open_cloud(DeployedStack) as cloud:
        yield cloud.deployed()


@pytest.fixture
def settled(stack):
    """A model whose versions 1 and 2 are good; 2 is in production."""
    return stack.applied().registered(1).promoted(1).registered(2).promoted(2)
