"""A model's life as a state machine: what the state is, which events there are, and what each does to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from evergreen.domain.model_events import (
    AnyEvent,
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    DifferenceRepaired,
    Event,
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
from evergreen.domain.state import (
    Bake,
    BakePhase,
    HeldBack,
    ModelState,
    Proposal,
    Repoint,
    Run,
    Shadow,
    ShadowRole,
    Version,
    VersionStatus,
    Wish,
)
from evergreen.errors import IllegalTransitionError

# --- events -----------------------------------------------------------------------------------------------------------


_BUDGET_WINDOW = timedelta(days=31)
_KEPT_VERSIONS = 100  # the state is one item, written with each decision


def transition(state: ModelState, event: AnyEvent) -> ModelState:
    """The state after the event.

    Raises
    ------
    IllegalTransitionError
        The event can't happen in this state.
    UnknownVersionError
        The event is about a version that was never registered.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> t = datetime(2026, 1, 1, tzinfo=UTC)
    >>> state = transition(ModelState("churn"), ModelApplied(time=t, actor="ada", because="new model", spec={}))
    >>> wish = RetrainingRequested(time=t, actor="ada", because="first", decision_id="d1", trigger="business_event")
    >>> state = transition(state, wish)
    >>> state.epoch, state.run.decision_id
    (2, 'd1')
    """
    # A repair puts back what was so already: nothing follows from it that could still be under way.
    changed_at = state.changed_at if isinstance(event, DifferenceRepaired) else event.time
    return replace(_apply(state, event), epoch=state.epoch + 1, changed_at=changed_at)


def _apply(state: ModelState, event: AnyEvent) -> ModelState:
    refuse = _Refusal(state, event)
    match event:
        case ModelApplied():
            if event.fingerprint and any(v.fingerprint != event.fingerprint for v in _in_use(state)):
                refuse("the version in production reads other features")
            return replace(state, spec=event.spec, fingerprint=event.fingerprint or state.fingerprint)
        case ModelPaused():
            if state.paused:
                refuse("it is paused already")
            return replace(state, paused=True)
        case ModelResumed():
            if not state.paused:
                refuse("it is not paused")
            return replace(state, paused=False)
        case RetrainingRequested():
            if state.run is not None:
                refuse(f"retraining {state.run.decision_id} is still open")
            run = Run(event.decision_id, event.trigger, event.time, checkpoint=event.checkpoint)
            if event.checkpoint:
                # A former release published what it had learned: that took no wish, and none of cooldown and budget.
                return replace(state, run=run)
            recent = tuple(t for t in state.retrainings if event.time - t < _BUDGET_WINDOW)
            # A wish that is newer than the request (its tick came late) goes on waiting: the run knows nothing of it.
            wish = state.wish if state.wish is not None and state.wish.time > event.time else None
            recent = (*recent, event.time)
            left = None if event.tokens is None else max(0.0, round(event.tokens - 1.0, 4))  # force leaves no debt
            return replace(state, run=run, retrainings=recent, wish=wish, held_back=None, tokens=left)
        case RetrainingHeldBack():
            return replace(
                state,
                wish=newest_wish(state.wish, event.wish),
                held_back=HeldBack(event.would_have, event.rule),
            )
        case DifferenceRepaired() | OnlineStateReverted():
            return state
        case PromotionProposed():
            return _propose(state, event, refuse)
        case RollbackImpossible():
            if event.version != state.production:
                refuse(f"version {event.version} is not in production, {state.production} is")
            # Said once, loudly: the watch ends, and the version does not count as good, whatever it was before.
            sentinel = state.shadow is not None and state.shadow.role is ShadowRole.SENTINEL
            doubtful = _mark(state, event.version, VersionStatus.BAKING)
            return replace(doubtful, bake=None, shadow=None if sentinel else state.shadow)
        case TrainingStarted():
            run = _open_run(state, event.decision_id, refuse)
            started = replace(run, job_name=event.job_name, attempt=event.attempt, since=event.time)
            return replace(state, run=started)
        case TrainingFailed():
            run = _open_run(state, event.decision_id, refuse)
            if event.final:
                return replace(state, run=None)
            failed = replace(run, job_name=None, attempt=event.attempt + 1, since=event.time)
            return replace(state, run=failed)
        case CandidateRejected():
            _open_run(state, event.decision_id, refuse)
            seen = [time for time in (state.refused_until, event.trained_until) if time is not None]
            return replace(state, run=None, refused_until=max(seen, default=None))
        case CandidateRegistered():
            return _register(state, event, refuse)
        case ShadowStarted():
            if state.shadow is not None:
                refuse(f"version {state.shadow.version} is in shadow already")
            if event.judged_against != state.production:
                refuse(f"production is {state.production}, not {event.judged_against}")
            if (status := state.version(event.version).status) is not VersionStatus.CANDIDATE:
                refuse(f"version {event.version} is {status}, not a candidate")
            if state.bake is not None or state.repoint is not None:
                refuse("a deployment is under way")
            shadow = Shadow(event.version, ShadowRole.CHALLENGER, event.judged_against, event.time)
            return replace(_mark(state, event.version, VersionStatus.SHADOW), shadow=shadow)
        case PromotionApproved():
            if state.repoint is not None:
                refuse(f"a repoint to version {state.repoint.version} is under way")
            if event.instead_of != state.production:
                refuse(f"judged against version {event.instead_of}, production is {state.production}: compare again")
            if state.version(event.version).status is VersionStatus.ROLLED_BACK:
                refuse(f"version {event.version} was rolled back before")
            if event.version == state.production:
                refuse(f"version {event.version} is in production already")
            if state.version(event.version).status is VersionStatus.REJECTED:
                refuse(f"version {event.version} was rejected before")
            if state.fingerprint and not state.reads_what_requests_bring(state.version(event.version)):
                refuse(f"version {event.version} reads other features than the spec")
            approved = _mark(state, event.version, VersionStatus.APPROVED)
            others = None if _in_shadow(state, event.version) else state.shadow
            repoint = Repoint(event.version, event.instead_of, None)
            return replace(approved, shadow=others, repoint=repoint, proposal=None)
        case CandidateRetired():
            if (status := state.version(event.version).status) not in (VersionStatus.CANDIDATE, VersionStatus.SHADOW):
                refuse(f"version {event.version} is {status}, not a candidate")
            if event.superseded_by is not None:
                _require_newer(state, event.version, event.superseded_by, refuse)
            retired = _mark(state, event.version, VersionStatus.REJECTED)
            if not _in_shadow(state, event.version):
                return retired
            return replace(retired, shadow=None, proposal=None)
        case VersionPromoted():
            return _promote(state, event, refuse)
        case BakePassed():
            return _pass_bake(state, event, refuse)
        case RollbackDecided():
            if event.version != state.production:
                refuse(f"version {event.version} is not in production, {state.production} is")
            if state.repoint is not None:
                refuse(f"a repoint to version {state.repoint.version} is under way")
            if state.version(event.to_version).status is not VersionStatus.GOOD:
                refuse(f"version {event.to_version} is not known to be good")
            if not state.reads_what_requests_bring(state.version(event.to_version)):
                refuse(f"version {event.to_version} reads other features than the spec")
            if event.to_version == state.production:
                refuse(f"version {event.to_version} is in production already")
            return replace(state, repoint=Repoint(event.to_version, event.version, event.cause))
        case VersionRolledBack():
            if state.repoint is None or state.repoint.cause is None or state.repoint.version != event.to_version:
                refuse("no such rollback was decided")
            if event.version != state.production:
                refuse(f"version {event.version} is not in production, {state.production} is")
            marked = _mark(state, event.version, VersionStatus.ROLLED_BACK)
            if marked.shadow is not None and marked.shadow.role is ShadowRole.CHALLENGER:
                marked = _mark(marked, marked.shadow.version, VersionStatus.CANDIDATE)  # to be compared again
            settled = replace(marked, production=event.to_version, production_since=event.time)
            return replace(settled, repoint=None, bake=None, shadow=None, proposal=None)
        case RepointFailed():
            if state.repoint != Repoint(event.version, event.instead_of, event.cause):
                refuse("no such repoint is open")
            if event.cause is not None:
                return state  # the version in production is still bad: it is tried again, and told each time
            return replace(_mark(state, event.version, VersionStatus.ROLLED_BACK), repoint=None)
        case _:
            assert_never(event)


def newest_wish(one: Wish | None, other: Wish | None) -> Wish | None:
    """Return the newer of two wishes; the same of the two whichever is told first."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda wish: (wish.time, wish.actor, wish.reason))


class _Refusal:
    def __init__(self, state: ModelState, event: Event) -> None:
        self._model, self._event = state.model, type(event).__name__

    def __call__(self, because: str) -> None:
        raise IllegalTransitionError(self._model, self._event, because)


def _open_run(state: ModelState, decision_id: str, refuse: _Refusal) -> Run:
    if state.run is None or state.run.decision_id != decision_id:
        raise IllegalTransitionError(state.model, refuse._event, f"retraining {decision_id} is not open")
    return state.run


def _require_newer(state: ModelState, version: int, newer: int, refuse: _Refusal) -> None:
    """A candidate gives way to a newer one that waits, unless it is proven and a person is about to decide on it."""
    if state.proposal is not None and state.proposal.version == version:
        refuse(f"version {version} is proven and waits for approval")
    if newer <= version or state.version(newer).status is not VersionStatus.CANDIDATE:
        refuse(f"version {newer} is no newer candidate than version {version}")


def _in_use(state: ModelState) -> list[Version]:
    """The version that answers and the one that is about to."""
    used = (state.production, None if state.repoint is None else state.repoint.version)
    return [version for version in state.versions if version.number in used]


def _in_shadow(state: ModelState, version: int) -> bool:
    return state.shadow is not None and state.shadow.version == version


def _mark(state: ModelState, number: int, status: VersionStatus, promoted_at: datetime | None = None) -> ModelState:
    version = state.version(number)
    marked = replace(version, status=status, promoted_at=promoted_at or version.promoted_at)
    return replace(state, versions=tuple(marked if v.number == number else v for v in state.versions))


def _propose(state: ModelState, event: PromotionProposed, refuse: _Refusal) -> ModelState:
    if event.judged_against is None:
        return state
    shadow = state.shadow
    if shadow is None or shadow.version != event.version or shadow.role is not ShadowRole.CHALLENGER:
        refuse(f"version {event.version} is not in shadow")
    if event.judged_against != state.production:
        refuse(f"judged against version {event.judged_against}, production is {state.production}: compare again")
    if state.proposal is not None:
        refuse(f"version {state.proposal.version} is proposed already")
    return replace(state, proposal=Proposal(event.version, event.judged_against, event.time, event.evidence))


def _register(state: ModelState, event: CandidateRegistered, refuse: _Refusal) -> ModelState:
    expected = next_version(state)
    if event.version != expected:
        refuse(f"the next version is {expected}, not {event.version}")
    version = Version(
        number=event.version,
        status=VersionStatus.CANDIDATE,
        artifact=event.artifact,
        sha256=event.sha256,
        fingerprint=event.fingerprint,
        registered_at=event.time,
        decision_id=event.decision_id,
        rows_trained=event.rows_trained,
        trained_until=event.trained_until,
        reference=event.reference,
        ancestors=event.ancestors,
    )
    run = None if state.run is not None and state.run.decision_id == event.decision_id else state.run
    return replace(state, versions=_kept(state, (*state.versions, version)), run=run)


def _kept(state: ModelState, versions: tuple[Version, ...]) -> tuple[Version, ...]:
    """The newest versions, and older ones that still answer or that a rollback may go to."""
    newest, older = versions[-_KEPT_VERSIONS:], versions[:-_KEPT_VERSIONS]
    good = state.last_known_good()
    needed = {state.production, None if good is None else good.number}
    needed |= {part.version for part in (state.shadow, state.bake, state.repoint) if part is not None}
    needed |= {None if state.bake is None else state.bake.replaced}
    return (*(version for version in older if version.number in needed), *newest)


def gives_way(evidence: Mapping[str, Any]) -> bool:
    """Whether a candidate may be superseded: it was judged on a whole cycle at least, and the evidence is not for it.

    One that the evidence is for so far keeps its place until it is decided: to displace it would throw away the very
    rows that prove it, again and again where trainings follow one another faster than proofs.

    Examples
    --------
    >>> judged = {"from": "2026-03-01T00:00:00+00:00", "until": "2026-03-08T00:00:00+00:00"}
    >>> gives_way(judged | {"log_e_promote": -0.4}), gives_way(judged | {"log_e_promote": 1.2}), gives_way({})
    (True, False, False)
    """
    judged = str(evidence.get("until", "")) > str(evidence.get("from", ""))
    return judged and not evidence.get("log_e_promote", 0.0) > 0.0


def next_version(state: ModelState) -> int:
    """The number that the next registered version gets."""
    return state.versions[-1].number + 1 if state.versions else 1


def _promote(state: ModelState, event: VersionPromoted, refuse: _Refusal) -> ModelState:
    repoint = state.repoint
    if repoint is None or repoint.cause is not None or repoint.version != event.version:
        refuse("no such promotion was approved")
    if event.replaced != state.production:
        refuse(f"version {event.replaced} is not in production, {state.production} is")
    promoted = _mark(state, event.version, VersionStatus.BAKING, event.time)
    if event.replaced is not None and state.version(event.replaced).status is VersionStatus.BAKING:
        # Replaced before its own bake ended: it has not shown that it is good.
        promoted = _mark(promoted, event.replaced, VersionStatus.REJECTED)
    if promoted.shadow is not None and promoted.shadow.role is ShadowRole.CHALLENGER:
        promoted = _mark(promoted, promoted.shadow.version, VersionStatus.CANDIDATE)  # judged against an older one
    bake = Bake(event.version, event.replaced, BakePhase.OPS, event.time)
    taken_over = replace(promoted, production=event.version, production_since=event.time)
    return replace(taken_over, repoint=None, bake=bake, shadow=None, proposal=None)


def _pass_bake(state: ModelState, event: BakePassed, refuse: _Refusal) -> ModelState:
    bake = state.bake
    if bake is None or bake.version != event.version or bake.phase is not event.phase:
        raise IllegalTransitionError(
            state.model, BakePassed.__name__, f"version {event.version} is not in its {event.phase} bake"
        )
    # Not always the one that was replaced: that may have been replaced before it had shown that it is good itself.
    watcher = state.last_known_good()
    if event.phase is BakePhase.OPS and watcher is not None:
        sentinel = Shadow(watcher.number, ShadowRole.SENTINEL, bake.version, event.time)
        return replace(state, bake=replace(bake, phase=BakePhase.QUALITY, since=event.time), shadow=sentinel)
    watched = state.shadow is not None and state.shadow.role is ShadowRole.SENTINEL
    good = _mark(state, bake.version, VersionStatus.GOOD)
    return replace(good, bake=None, shadow=None if watched else state.shadow)
