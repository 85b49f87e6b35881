"""Write a small life with every type of event as this release stores it: `python tests/histories/make.py`.

A release's file is written once, before it is published, and never again: it is what later releases have to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from moto import mock_aws

from evergreen import __version__
from evergreen.aws.ledger import DynamoLedger
from evergreen.domain.model_events import (
    AnyEvent,
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    DifferenceRepaired,
    ModelApplied,
    ModelPaused,
    ModelResumed,
    OnlineStateReverted,
    PromotionApproved,
    PromotionProposed,
    RepointFailed,
    RetrainingHeldBack,
    RetrainingRequested,
    RollbackDecided,
    RollbackImpossible,
    ShadowStarted,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import BakePhase, ModelState, RollbackCause, Wish
from evergreen.spec import ModelSpec

FOLDER = Path(__file__).parent
START = datetime(2026, 3, 1, 9, 30, 0, 123456, tzinfo=UTC)
SPEC = ModelSpec.parse(
    {
        "model": "churn",
        "task": "binary",
        "features": {"age": {"type": "number"}, "größe": {"type": "categorical"}},
        "labels": {"classes": ["0", "1"]},
    }
)
CHECK = {
    "trigger": "data_drift",
    "outcome": "fired",
    "score": 0.1 + 0.2,
    "threshold": 0.12,
    "direction": "higher_is_worse",
    "samples": 12_345,
    "because": "W1/sd of 'größe' is 0.31, above 0.12 (8 reference weeks)",
    "details": [{"feature": "größe", "score": None}],
}
EVIDENCE = {
    "version": 2,
    "judged_against": 1,
    "rows": 4_000,
    "gain": 0.041,
    "interval": [-1e-9, 0.08],
    "verdict": "promote",
}
ENDPOINT = {"model": "churn", "alias": "production", "version": 1, "canary": None}
CHECKPOINT = {"number": 3, "key": "online/churn/3.json", "sha256": "c" * 64, "updates": 7, "rows": 350}


def life() -> Iterator[AnyEvent]:
    """A model's life; an hour passes before each event."""
    time = START

    def at(actor: str, because: str) -> dict[str, Any]:
        nonlocal time
        time += timedelta(hours=1)
        return {"time": time, "actor": actor, "because": because}

    def started(decision_id: str, attempt: int = 0) -> TrainingStarted:
        about = at("launch_training", "5,000 labelled rows")
        job = f"churn-{decision_id}-{attempt}"
        return TrainingStarted(
            **about,
            decision_id=decision_id,
            job_name=job,
            attempt=attempt,
            rows=5_000,
            snapshot="d" * 64,
            source="e" * 64,
        )

    def registered(version: int, decision_id: str, because: str) -> CandidateRegistered:
        return CandidateRegistered(
            **at("finish_training" if decision_id else "ada", because),
            version=version,
            decision_id=decision_id,
            artifact=f"s3://artifacts/models/churn/churn-{decision_id or 'by-hand'}-{version}/output/model.tar.gz",
            sha256=f"{version}" * 64,
            fingerprint=SPEC.fingerprint,
            rows_trained=5_000 if decision_id else 0,
            trained_until=time - timedelta(days=7) if decision_id else None,
            reference=f"references/churn/{version}.json" if decision_id else "",
            gate={"passed": True, "because": because, "scores": {"accuracy": 0.91}} if decision_id else {},
        )

    def takes_over(version: int, instead_of: int | None, because: str, evidence: dict[str, Any]) -> Iterator[AnyEvent]:
        yield PromotionApproved(**at("ada", because), version=version, instead_of=instead_of, evidence=evidence)
        read_back = ENDPOINT | {"version": version}
        yield VersionPromoted(
            **at("repoint_alias", "the endpoint answers with it"),
            version=version,
            replaced=instead_of,
            endpoint=read_back,
        )

    yield ModelApplied(**at("ada", "the model is new"), spec=SPEC.to_json(), fingerprint=SPEC.fingerprint)
    asked = at("shop.pricing", "held back: promotion is paused")
    wish = Wish("prices changed — “all of them”", "shop.pricing", asked["time"])
    yield RetrainingHeldBack(**asked, would_have="business_event", rule="paused", wish=wish, checks=(CHECK,))
    yield ModelPaused(**at("ada", "a freeze\nuntil Monday"))
    yield ModelResumed(**at("ada", "Monday"))
    yield RetrainingRequested(**at("ada", "the first model"), decision_id="d1", trigger="business_event")
    yield started("d1")
    failed = at("finish_training", "AlgorithmError: out of memory")
    yield TrainingFailed(**failed, decision_id="d1", job_name="churn-d1-0", attempt=0, final=False)
    yield started("d1", 1)
    gate = {"passed": False, "because": "accuracy 0.41, below 0.5"}
    yield CandidateRejected(**at("finish_training", "accuracy 0.41, below 0.5"), decision_id="d1", gate=gate)
    yield RetrainingRequested(
        **at("evaluate_triggers", CHECK["because"]), decision_id="d2", trigger="data_drift", checks=(CHECK,)
    )
    yield started("d2")
    yield registered(1, "d2", "accuracy 0.91")
    yield from takes_over(1, None, "the first version: there is nothing to compare it with", {})
    traffic = {"requests": 1_000, "errors": 0, "slow": 3}
    yield BakePassed(**at("watch_deployment", "all is well"), version=1, phase=BakePhase.OPS, evidence=traffic)
    yield RetrainingRequested(
        **at("tend_online", "checkpoint 3 is better"), decision_id="d3", trigger="online", checkpoint=CHECKPOINT
    )
    yield started("d3")
    yield registered(2, "d3", "accuracy 0.93, production 0.91")
    yield ShadowStarted(**at("compare_shadow", "a candidate waits"), version=2, judged_against=1)
    yield PromotionProposed(**at("compare_shadow", "gain 0.041"), version=2, evidence=EVIDENCE, judged_against=1)
    yield from takes_over(2, 1, "checked with sales", EVIDENCE | {"proposed_at": START.isoformat()})
    yield BakePassed(**at("watch_deployment", "all is well"), version=2, phase=BakePhase.OPS, evidence=traffic)
    worse = at("compare_shadow", "version 1 is better by 0.07")
    yield RollbackDecided(**worse, version=2, to_version=1, cause=RollbackCause.QUALITY, evidence=EVIDENCE)
    config = {"endpoint": "churn", "config": "churn-1-2"}
    yield RepointFailed(
        **at("repoint_alias", "no capacity"), version=1, instead_of=2, cause=RollbackCause.QUALITY, endpoint=config
    )
    yield VersionRolledBack(
        **at("repoint_alias", "it answers"), version=2, to_version=1, cause=RollbackCause.QUALITY, endpoint=ENDPOINT
    )
    yield registered(3, "", "from a notebook")
    yield ShadowStarted(**at("compare_shadow", "a candidate waits"), version=3, judged_against=1)
    yield CandidateRetired(
        **at("compare_shadow", "no better by 28 days"), version=3, evidence=EVIDENCE | {"version": 3}
    )
    repaired = at("reconcile", "production alias: found version 7, expected version 1")
    yield DifferenceRepaired(**repaired, what="production alias", found="version 7", expected="version 1")
    yield OnlineStateReverted(**at("ada", "labels were flipped"), checkpoint=2, sha256="f" * 64)
    yield RollbackImpossible(
        **at("watch_deployment", "5 of 5 requests failed"), version=1, cause=RollbackCause.ERRORS, evidence=traffic
    )


def stored() -> str:
    """The items that the life leaves, as JSON Lines: the state, then each event."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        keys = {"model": "HASH", "sk": "RANGE"}
        client.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],  # type: ignore[typeddict-item]
        )
        ledger = DynamoLedger(client, "ledger")
        state = ModelState(SPEC.model)
        for event in life():
            state = ledger.record(state, event)
        newest, history = ledger.stored(SPEC.model)
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in (newest, *history))


if __name__ == "__main__":
    path = FOLDER / f"{__version__}.jsonl"
    with path.open("x", encoding="utf-8") as file:
        file.write(stored())
