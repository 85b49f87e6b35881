"""What an engineer does by hand: apply a spec, give it data from before, ask, promote, roll back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.domain.bake import roll_back
from evergreen.domain.errors import EvergreenError, UnknownModelError
from evergreen.domain.lifecycle import (
    AnyEvent,
    CandidateRegistered,
    ModelApplied,
    ModelState,
    PromotionApproved,
    RollbackCause,
)
from evergreen.domain.triggers import FORCED, RetrainDecision
from evergreen.ports import CatalogEntry, Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.evaluate_triggers import request_retraining
from evergreen.usecases.finish_training import candidate_event, read_artifact, store_reference
from evergreen.usecases.recording import decide_and_record

if TYPE_CHECKING:
    import pyarrow as pa


class NotAppliedError(EvergreenError):
    """A change that the model's life does not allow."""


def apply_model(spec: ModelSpec, *, now: datetime, ports: Ports, actor: str = "operator") -> ModelState:
    """Make a model known, or change its spec; applying the same spec again changes nothing.

    Raises
    ------
    NotAppliedError
        The features or the task differ from the versions' that exist: that is another model.
    """
    try:
        state = ports.ledger.read(spec.model)
    except UnknownModelError:
        state = ModelState(spec.model)
    document = spec.to_json()
    if state.spec == document:
        return state
    if state.versions and ModelSpec.parse(state.spec).feature_schema().fingerprint != spec.feature_schema().fingerprint:
        raise NotAppliedError(
            f"the features, the task or the classes of {spec.model!r} differ from those of its versions: "
            "apply the spec under another model name"
        )
    because = "the spec was changed" if state.epoch else "the model is new"
    return ports.ledger.record(state, ModelApplied(time=now, actor=actor, because=because, spec=document))


def add_base_data(model: str, table: pa.Table, *, now: datetime, ports: Ports) -> str:
    """Store labelled rows from before Evergreen (columns of `outcomes.outcome_schema`); a training may use them."""
    from evergreen import outcomes

    body = outcomes.to_parquet(table)
    key = f"base-data/{model}/{hashlib.sha256(body).hexdigest()[:16]}.parquet"
    etag = ports.data.put(key, body)
    newest: datetime = max(table["inference_time"].to_pylist())
    ports.catalog.add(CatalogEntry(model, "base-data", newest, key, table.num_rows, etag))
    return key


def request_training(
    model: str, reason: str, who: str, *, now: datetime, ports: Ports, force: bool = False
) -> RetrainDecision:
    """Ask for a retraining now; by force, the cooldown and the budget do not hold it back."""
    waived = FORCED if force else frozenset()
    return request_retraining(model, reason=reason, actor=who, now=now, ports=ports, waived=waived)


def register_version(model: str, artifact: bytes, reason: str, who: str, *, now: datetime, ports: Ports) -> int:
    """Register a model that was trained elsewhere, as a candidate; answers its version number."""
    name = f"{model}-{hashlib.sha256(artifact).hexdigest()[:16]}".replace("_", "-")
    key = f"models/{model}/{name}/output/model.tar.gz"
    ports.artifacts.put(key, artifact)
    trained = read_artifact(ports, ports.artifacts.uri(key))
    reference = store_reference(ports, model, name, trained)

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        gate = {"passed": True, "because": f"registered by hand: {reason}", "checks": []}
        event = candidate_event(
            state, trained, reference=reference, decision_id="", gate=gate, because=reason, actor=who, now=now
        )
        return (event,)

    _, events = decide_and_record(ports.ledger, model, decide)
    registered = events[0]
    assert isinstance(registered, CandidateRegistered)
    return registered.version


def force_promotion(model: str, version: int, reason: str, who: str, *, now: datetime, ports: Ports) -> ModelState:
    """Promote a version because a person says so; it is watched like any other."""

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if state.production == version:
            return ()
        evidence: dict[str, Any] = {"forced": True}
        approved = PromotionApproved(
            time=now, actor=who, because=reason, version=version, instead_of=state.production, evidence=evidence
        )
        return (approved,)

    state, _ = decide_and_record(ports.ledger, model, decide)
    return state


def force_rollback(model: str, reason: str, who: str, *, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    """Roll back to the last known good version because a person says so."""

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if state.production is None:
            raise NotAppliedError(f"no version of {model!r} is in production: there is nothing to roll back")
        return (roll_back(state, RollbackCause.MANUAL, reason, {}, actor=who, now=now),)

    _, events = decide_and_record(ports.ledger, model, decide)
    return events


def history(model: str, *, ports: Ports) -> list[dict[str, Any]]:
    """Every event of the model, oldest first."""
    return ports.ledger.history(model)
