"""What an engineer does by hand: apply a spec, give data from before, ask, approve, promote, roll back, pause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evergreen.domain.bake import roll_back
from evergreen.domain.history import History
from evergreen.domain.model_events import (
    AnyEvent,
    ModelPaused,
    ModelResumed,
    PromotionApproved,
)
from evergreen.domain.state import ModelState, RollbackCause
from evergreen.domain.triggers.arbiter import RetrainDecision
from evergreen.domain.triggers.governance import FORCED
from evergreen.errors import ChangedMeanwhileError, NotAppliedError, NothingToApproveError
from evergreen.ports import Ports
from evergreen.usecases.steps.recording import decide_and_record
from evergreen.usecases.steps.retraining import request_retraining


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


def request_training(
    model: str, reason: str, who: str, *, now: datetime, ports: Ports, force: bool = False
) -> RetrainDecision:
    """Ask for a retraining now; by force, neither cooldown, tokens, budget nor a want of new rows hold it back."""
    waived = FORCED if force else frozenset()
    return request_retraining(model, reason=reason, actor=who, now=now, ports=ports, waived=waived)


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


def history(model: str, *, ports: Ports) -> History:
    """Every event of the model, oldest first."""
    return ports.ledger.history(model)
