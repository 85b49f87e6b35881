"""Bring what was there before: base data to train on, and a version that was trained elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.domain.catalog import CatalogEntry, CatalogKind
from evergreen.domain.model_events import AnyEvent, BakePassed, CandidateRegistered, PromotionApproved, VersionPromoted
from evergreen.domain.state import BakePhase, ModelState
from evergreen.formats.keys import artifact_key, base_data_key
from evergreen.ports import Ports
from evergreen.usecases.steps.recording import decide_and_record
from evergreen.usecases.steps.trained_artifacts import TrainedArtifact, candidate_event, read_artifact, store_reference

if TYPE_CHECKING:
    import pyarrow as pa


def add_base_data(model: str, table: pa.Table, *, now: datetime, ports: Ports) -> str:
    """Store labelled rows from before Evergreen (columns of `outcomes.outcome_schema`); a training may use them."""
    from evergreen.formats import outcomes

    body = outcomes.to_parquet(table)
    key = base_data_key(model, hashlib.sha256(body).hexdigest())
    etag = ports.data.put(key, body)
    newest: datetime = max(table["inference_time"].to_pylist())
    ports.catalog.add(CatalogEntry(model, CatalogKind.BASE_DATA, newest, key, table.num_rows, etag))
    return key


def register_version(model: str, artifact: bytes, reason: str, who: str, *, now: datetime, ports: Ports) -> int:
    """Register a model that was trained elsewhere, as a candidate; answers its version number."""
    name = f"{model}-{hashlib.sha256(artifact).hexdigest()[:16]}".replace("_", "-")
    key = artifact_key(model, name)
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


def adopt_version(
    model: str,
    artifact: str,
    facts: dict[str, Any],
    reference: dict[str, Any],
    who: str,
    *,
    now: datetime,
    ports: Ports,
) -> ModelState:
    """Put the model that answers already, wherever it came from, into the ledger as its first version.

    It is production and known to be good at once: it was found there. A model that has versions is left alone.

    Parameters
    ----------
    artifact
        What it is, for whoever is to point an endpoint at it again.
    facts, reference
        What it says of itself, as a training job would have written model.json and reference.json.
    """
    key = store_reference(ports, model, "adopted", TrainedArtifact("", artifact, "", facts, reference))
    because = f"{artifact} was in production when the model was brought here"

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if state.versions:
            return ()
        number = 1
        return (
            CandidateRegistered(
                time=now,
                actor=who,
                because=because,
                version=number,
                decision_id="",
                artifact=artifact,
                sha256="",
                fingerprint=state.fingerprint,
                rows_trained=0,
                trained_until=None,
                reference=key,
                gate={"passed": True, "because": because, "checks": []},
            ),
            PromotionApproved(
                time=now, actor=who, because=because, version=number, instead_of=None, evidence={"adopted": True}
            ),
            VersionPromoted(
                time=now, actor=who, because=because, version=number, replaced=None, endpoint={"adopted": True}
            ),
            BakePassed(
                time=now, actor=who, because=because, version=number, phase=BakePhase.OPS, evidence={"adopted": True}
            ),
        )

    state, _ = decide_and_record(ports.ledger, model, decide)
    return state
