"""What an engineer does by hand: apply a spec, give data from before, ask, approve, promote, roll back, pause."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.domain.bake import roll_back
from evergreen.domain.errors import (
    ChangedMeanwhileError,
    EvergreenError,
    NothingToApproveError,
    UnknownModelError,
)
from evergreen.domain.lifecycle import (
    AnyEvent,
    BakePassed,
    BakePhase,
    CandidateRegistered,
    ModelApplied,
    ModelPaused,
    ModelResumed,
    ModelState,
    PromotionApproved,
    RollbackCause,
    VersionPromoted,
)
from evergreen.domain.triggers import FORCED, RetrainDecision
from evergreen.ports import CatalogEntry, Ports
from evergreen.schema import Task
from evergreen.spec import ModelSpec
from evergreen.usecases.evaluate_triggers import request_retraining
from evergreen.usecases.finish_training import TrainedArtifact, candidate_event, read_artifact, store_reference
from evergreen.usecases.recording import decide_and_record

if TYPE_CHECKING:
    import pyarrow as pa


LARGEST_SPEC_BYTES = 100_000  # the state holds the spec, and an item of the ledger holds 400 KB
_MOST_CHANGES_TOLD = 8


class NotAppliedError(EvergreenError):
    """A change that the model's life does not allow."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a person was shown before they decided; when it is not so any more, nothing is done."""

    production: int | None
    epoch: int

    @classmethod
    def of(cls, state: ModelState) -> Expected:
        """What is expected by whoever was shown this state."""
        return cls(state.production, state.epoch)

    def check(self, state: ModelState) -> None:
        """Raise ChangedMeanwhileError when the state is another than the one shown."""
        shown, found = (self.production, self.epoch), (state.production, state.epoch)
        if shown != found:
            raise ChangedMeanwhileError(state.model, shown=shown, found=found)


@dataclass(frozen=True, slots=True)
class SpecChange:
    """One key of a spec, before and after; None where it is not there."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key} {_value(self.before)} -> {_value(self.after)}"


def _value(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def spec_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[SpecChange, ...]:
    """Tell two specs apart key by key, in the order of the newer one.

    Examples
    --------
    >>> changes = spec_changes({"triggers": {"cooldown": "1w"}}, {"triggers": {"cooldown": "3d"}})
    >>> [str(change) for change in changes]
    ['triggers.cooldown 1w -> 3d']
    """
    old, new = _flat(before), _flat(after)
    keys = [*new, *(key for key in old if key not in new)]
    return tuple(SpecChange(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key))


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def apply_model(spec: ModelSpec, *, now: datetime, ports: Ports, actor: str = "operator") -> ModelState:
    """Make a model known, or change its spec; applying the same spec again changes nothing.

    Raises
    ------
    NotAppliedError
        The features or the task differ from the versions' that exist, or a class is missing: that is another model. Or
        the spec is too large, or its online estimator can't learn online. Or its endpoint is another than the one that
        answers, or another model's.
    """
    try:
        state = ports.ledger.read(spec.model)
    except UnknownModelError:
        state = ModelState(spec.model)
    document = spec.to_json()
    if state.spec == document:
        return state
    if state.versions and _is_another_model(ModelSpec.parse(state.spec), spec):
        raise NotAppliedError(
            f"the features, the task or the classes of {spec.model!r} differ from those of its versions: "
            "apply the spec under another model name"
        )
    _endpoint_fits(spec, state, ports)
    size = len(json.dumps(document))
    if size > LARGEST_SPEC_BYTES:
        raise NotAppliedError(
            f"the spec of {spec.model!r} is {size:,} bytes of JSON, {LARGEST_SPEC_BYTES:,} is the limit: "
            "name fewer features"
        )
    if spec.online.enabled and (spec.online.estimator or spec.online.params):
        _try_online_estimator(spec)
    because = _told(spec_changes(state.spec, document)) if state.epoch else "the model is new"
    applied = ModelApplied(time=now, actor=actor, because=because, spec=document, fingerprint=spec.fingerprint)
    return ports.ledger.record(state, applied)


def _endpoint_fits(spec: ModelSpec, state: ModelState, ports: Ports) -> None:
    """Refuse to leave the endpoint that answers, and to take another model's."""
    before, wanted = ModelSpec.parse(state.spec).endpoint_name if state.spec else None, spec.endpoint_name
    if state.spec and before != wanted and (state.production is not None or state.repoint is not None):
        raise NotAppliedError(
            f"{spec.model!r} answers by {_place(before)} and would answer by {_place(wanted)}: apply the spec under "
            "another model name, and move the callers to it"
        )
    if wanted is None or wanted == before:
        return
    for other in ports.ledger.models():
        if other != spec.model and ModelSpec.parse(ports.ledger.read(other).spec).endpoint_name == wanted:
            raise NotAppliedError(f"endpoint {wanted!r} is model {other!r}'s: set endpoint.name to another")


def _place(endpoint: str | None) -> str:
    return "the predict function" if endpoint is None else f"the SageMaker endpoint {endpoint!r}"


def _is_another_model(before: ModelSpec, after: ModelSpec) -> bool:
    """Whether versions of one spec can't stand in for the other's; a multiclass model may get further classes."""
    if before.fingerprint != after.fingerprint:
        return True
    old, new = set(before.labels.classes or ()), set(after.labels.classes or ())
    return not old <= new if after.task is Task.MULTICLASS else old != new


def _try_online_estimator(spec: ModelSpec) -> None:
    """A spec can't ask scikit-learn; whoever applies it has it at hand."""
    from evergreen.training.job import TrainingJob
    from evergreen.training.online import OnlineStateError
    from evergreen.training.publish import check_publishable
    from evergreen.usecases.online_state import learner_of

    learner = learner_of(spec)
    try:
        check_publishable(learner, TrainingJob(spec.model, spec.feature_schema(), learner.estimator))
    except OnlineStateError as error:
        raise NotAppliedError(str(error)) from error


def _told(changes: Sequence[SpecChange]) -> str:
    """The change in a sentence, not in a page."""
    told = "; ".join(map(str, changes[:_MOST_CHANGES_TOLD]))
    more = len(changes) - _MOST_CHANGES_TOLD
    return f"the spec was changed: {told}" + (f"; and {more} more" if more > 0 else "")


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


def approve(
    model: str,
    version: int | None,
    reason: str,
    who: str,
    *,
    now: datetime,
    ports: Ports,
    expected: Expected | None = None,
) -> ModelState:
    """Approve the promotion that waits for it, with the evidence it was proposed on.

    A proposal never outlives the production it was judged against, so what is approved is what was proven.

    Raises
    ------
    NothingToApproveError
        No proposal waits, or it is about another version.
    ChangedMeanwhileError
        The model is not as ``expected`` any more.
    """

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if expected is not None:
            expected.check(state)
        proposal = state.proposal
        if proposal is None or version not in (None, proposal.version):
            raise NothingToApproveError(model, version, None if proposal is None else proposal.version)
        approved = PromotionApproved(
            time=now,
            actor=who,
            because=reason,
            version=proposal.version,
            instead_of=proposal.judged_against,
            evidence={**proposal.evidence, "proposed_at": proposal.time.isoformat()},
        )
        return (approved,)

    state, _ = decide_and_record(ports.ledger, model, decide)
    return state


def forced(state: ModelState, version: int, reason: str, who: str, now: datetime) -> PromotionApproved:
    """The event of a promotion that no verdict stands behind."""
    return PromotionApproved(
        time=now,
        actor=who,
        because=reason,
        version=version,
        instead_of=state.production,
        evidence={"forced": True},
    )


def force_promotion(
    model: str,
    version: int,
    reason: str,
    who: str,
    *,
    now: datetime,
    ports: Ports,
    expected: Expected | None = None,
) -> ModelState:
    """Promote a version because a person says so; it is watched like any other.

    Raises
    ------
    IllegalTransitionError
        The version was rolled back or rejected, or reads other features than the spec.
    ChangedMeanwhileError
        The model is not as ``expected`` any more.
    """

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if expected is not None:
            expected.check(state)
        return () if state.production == version else (forced(state, version, reason, who, now),)

    state, _ = decide_and_record(ports.ledger, model, decide)
    return state


def force_rollback(
    model: str, reason: str, who: str, *, now: datetime, ports: Ports, expected: Expected | None = None
) -> Sequence[AnyEvent]:
    """Roll back to the last known good version because a person says so."""

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if expected is not None:
            expected.check(state)
        if state.production is None:
            raise NotAppliedError(f"no version of {model!r} is in production: there is nothing to roll back")
        return (roll_back(state, RollbackCause.MANUAL, reason, {}, actor=who, now=now),)

    _, events = decide_and_record(ports.ledger, model, decide)
    return events


def pause(model: str, reason: str, who: str, *, now: datetime, ports: Ports) -> ModelState:
    """Stop the model from being retrained and promoted by itself; pausing it twice changes nothing.

    A rollback is never paused, nor is what people ask for by hand: a promotion, an approval.
    """

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        return () if state.paused else (ModelPaused(time=now, actor=who, because=reason),)

    state, _ = decide_and_record(ports.ledger, model, decide)
    return state


def resume(model: str, reason: str, who: str, *, now: datetime, ports: Ports) -> ModelState:
    """Let the model be retrained and promoted by itself again.

    A first version that was trained meanwhile has nothing to be compared with: it goes to production now.
    """

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if not state.paused:
            return ()
        resumed = ModelResumed(time=now, actor=who, because=reason)
        first = state.waiting_candidate
        if first is None or state.production is not None or state.repoint is not None:
            return (resumed,)
        because = "the first version: there is nothing to compare it with"
        promoted = PromotionApproved(
            time=now, actor=who, because=because, version=first.number, instead_of=None, evidence={}
        )
        return resumed, promoted

    state, _ = decide_and_record(ports.ledger, model, decide)
    return state


def history(model: str, *, ports: Ports) -> list[dict[str, Any]]:
    """Every event of the model, oldest first."""
    return ports.ledger.history(model)
