"""A model's life as a state machine: what the state is, which events there are, and what each does to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from evergreen.domain.errors import IllegalTransitionError, UnknownVersionError


class VersionStatus(StrEnum):
    """Where a version stands."""

    CANDIDATE = "candidate"  # passed its gate
    SHADOW = "shadow"  # answers the same requests, unseen
    APPROVED = "approved"  # proven (or forced), not yet in production
    BAKING = "baking"  # in production, watched
    GOOD = "good"  # survived its bakes: fit to roll back to
    REJECTED = "rejected"  # lost in shadow
    ROLLED_BACK = "rolled_back"  # was bad in production: never again


class ShadowRole(StrEnum):
    """Why a version runs in shadow."""

    CHALLENGER = "challenger"  # a candidate that wants production's place
    SENTINEL = "sentinel"  # the replaced version, watching over the new one during the quality bake


class BakePhase(StrEnum):
    """What is watched after a repoint."""

    OPS = "ops"  # errors and latency, minutes
    QUALITY = "quality"  # labels, days


class RollbackCause(StrEnum):
    """Why a version is taken out of production."""

    ERRORS = "errors"
    LATENCY = "latency"
    QUALITY = "quality"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Version:
    """A trained model that passed its gate."""

    number: int
    status: VersionStatus
    artifact: str  # s3 uri of model.tar.gz
    sha256: str
    fingerprint: str  # of the feature schema
    registered_at: datetime
    decision_id: str = ""
    rows_trained: int = 0
    trained_until: datetime | None = None
    reference: str = ""  # s3 key of reference.json
    promoted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The one open retraining."""

    decision_id: str
    trigger: str
    requested_at: datetime
    attempt: int = 0
    job_name: str | None = None
    since: datetime | None = None  # of its last step: the job's start, or the failure before this attempt
    checkpoint: dict[str, Any] = field(default_factory=dict)  # the online state that it publishes; empty: it trains


@dataclass(frozen=True, slots=True)
class Shadow:
    """Who runs in shadow, against whom, since when."""

    version: int
    role: ShadowRole
    judged_against: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Bake:
    """The watch over the newest production version."""

    version: int
    replaced: int | None
    phase: BakePhase
    since: datetime  # of this phase


@dataclass(frozen=True, slots=True)
class Repoint:
    """A repoint that is decided and not yet done."""

    version: int
    instead_of: int | None
    cause: RollbackCause | None  # None: a promotion


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate that is proven and waits for a person's approval."""

    version: int
    judged_against: int
    time: datetime
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """A retraining that somebody asked for."""

    reason: str
    actor: str
    time: datetime


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What would have been done, and the rule that said no."""

    would_have: str  # a trigger
    rule: str


@dataclass(frozen=True, slots=True)
class ModelState:
    """Everything that is true of a model now; ``epoch`` counts the events that made it so."""

    model: str
    epoch: int = 0
    spec: dict[str, Any] = field(default_factory=dict)
    paused: bool = False
    production: int | None = None
    shadow: Shadow | None = None
    bake: Bake | None = None
    run: Run | None = None
    repoint: Repoint | None = None
    versions: tuple[Version, ...] = ()
    retrainings: tuple[datetime, ...] = ()  # when retrainings were requested, the last 31 days
    last_hash: str = ""  # of the newest history item
    changed_at: datetime | None = None  # the time of the newest event that was no repair
    production_since: datetime | None = None  # when the production version took over
    wish: Wish | None = None  # the newest that no retraining has answered yet
    held_back: HeldBack | None = None  # the last one told since a retraining was requested
    proposal: Proposal | None = None
    fingerprint: str = ""  # of the features of the spec; empty in states from before it was kept

    def version(self, number: int) -> Version:
        """The version of that number.

        Raises
        ------
        UnknownVersionError
        """
        for version in self.versions:
            if version.number == number:
                return version
        raise UnknownVersionError(self.model, number, tuple(v.number for v in self.versions))

    @property
    def production_version(self) -> Version | None:
        """The version that answers, or None before the first promotion."""
        return None if self.production is None else self.version(self.production)

    @property
    def waiting_candidate(self) -> Version | None:
        """The newest candidate that has not been in shadow yet."""
        waiting = [v for v in self.versions if v.status is VersionStatus.CANDIDATE]
        return waiting[-1] if waiting else None

    @property
    def proven_bad(self) -> bool:
        """Whether the production version was found to be bad while there was nothing good to return to."""
        version = self.production_version
        return version is not None and version.status is VersionStatus.BAKING and self.bake is None

    def last_known_good(self) -> Version | None:
        """Where a rollback goes: the newest version that survived its bakes and reads the features of the spec."""
        good = [v for v in self.versions if v.number != self.production and self.can_return_to(v)]
        return max(good, key=lambda v: (v.promoted_at is not None, v.promoted_at, v.number)) if good else None

    def can_return_to(self, version: Version) -> bool:
        """Whether the version survived its bakes, was never rolled back since, and reads what requests bring."""
        return version.status is VersionStatus.GOOD and self.reads_what_requests_bring(version)

    def beside_canary(self, number: int) -> Version | None:
        """The good version that may answer beside a version while that is in its ops bake, or on the way into it.

        It is the one that was replaced or, where that had not shown to be good, the one that a rollback leads to. None
        where there is none, and for a version that is past its ops bake or known to be good.
        """
        repoint, bake = self.repoint, self.bake
        if repoint is not None and repoint.version == number and repoint.cause is None:
            replaced = repoint.instead_of
        elif repoint is None and bake is not None and bake.version == number and bake.phase is BakePhase.OPS:
            replaced = bake.replaced
        else:
            return None
        if replaced is None:
            return None
        there = self.version(replaced)
        beside = there if self.can_return_to(there) else self.last_known_good()
        # Of states that don't know the features of the spec: both answer the same requests.
        return beside if beside is not None and beside.fingerprint == self.version(number).fingerprint else None

    def reads_what_requests_bring(self, version: Version) -> bool:
        """Whether the version reads the features of the spec; of production, where the spec's are not known."""
        production = self.production_version
        answers = version if production is None else production
        return version.fingerprint == (self.fingerprint or answers.fingerprint)


# --- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a model: when, who or what did it, and why."""

    time: datetime
    actor: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelApplied(Event):
    """A spec was applied."""

    spec: dict[str, Any]
    fingerprint: str = ""  # of its features, as versions carry it


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPaused(Event):
    """Nothing is retrained or promoted by itself any more; rollbacks, and what people do by hand, go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResumed(Event):
    """The model is retrained and promoted by itself again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingRequested(Event):
    """A retraining was decided."""

    decision_id: str
    trigger: str
    checks: tuple[dict[str, Any], ...] = ()
    checkpoint: dict[str, Any] = field(default_factory=dict)  # the online state to publish; empty: train a version


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingHeldBack(Event):
    """A trigger fired and governance said no: what would have been done, and the wish that now waits."""

    would_have: str
    rule: str = ""
    wish: Wish | None = None
    checks: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStarted(Event):
    """A training job runs."""

    decision_id: str
    job_name: str
    attempt: int
    rows: int
    snapshot: str  # sha256 of the data manifest
    source: str = ""  # sha256 of the packed source; empty in events from before it was kept


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFailed(Event):
    """A training job ended without a model; ``final`` when it is not tried again."""

    decision_id: str
    job_name: str
    attempt: int
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRegistered(Event):
    """A trained version passed its gate."""

    version: int
    decision_id: str
    artifact: str
    sha256: str
    fingerprint: str
    rows_trained: int
    trained_until: datetime | None
    reference: str
    gate: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRejected(Event):
    """A trained model failed its gate; it gets no version number."""

    decision_id: str
    gate: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowStarted(Event):
    """A candidate answers the production requests, unseen."""

    version: int
    judged_against: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionProposed(Event):
    """A candidate is proven; a person has to approve. Told once for a candidate and what it was judged against."""

    version: int
    evidence: dict[str, Any]
    judged_against: int | None = None  # None in events from before it was kept: nothing waited for these


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionApproved(Event):
    """A version is to take production's place, judged against ``instead_of``."""

    version: int
    instead_of: int | None
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRetired(Event):
    """A candidate did not earn production's place."""

    version: int
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPromoted(Event):
    """The endpoint answers with the version; ``endpoint`` is its configuration as read back."""

    version: int
    replaced: int | None
    endpoint: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BakePassed(Event):
    """A phase of the watch ended well."""

    version: int
    phase: BakePhase
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackDecided(Event):
    """The production version is bad and is to be replaced by a good one."""

    version: int
    to_version: int
    cause: RollbackCause
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackImpossible(Event):
    """The production version is bad and there is no known good one: production is left as it is."""

    version: int
    cause: RollbackCause
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRolledBack(Event):
    """The endpoint answers with the known good version again."""

    version: int
    to_version: int
    cause: RollbackCause
    endpoint: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepointFailed(Event):
    """The endpoint did not become what was decided, and answers as before; a rollback is tried again."""

    version: int  # that was to take over
    instead_of: int | None
    cause: RollbackCause | None  # None: a promotion, which is over; the version counts as rolled back
    endpoint: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceRepaired(Event):
    """Reconcile found reality unlike the ledger and repaired it."""

    what: str
    found: str
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineStateReverted(Event):
    """A person took the online state back to a checkpoint; versions stay as they are."""

    checkpoint: int
    sha256: str  # of the state that is learned on from


AnyEvent = (
    ModelApplied
    | ModelPaused
    | ModelResumed
    | RetrainingRequested
    | RetrainingHeldBack
    | TrainingStarted
    | TrainingFailed
    | CandidateRegistered
    | CandidateRejected
    | ShadowStarted
    | PromotionProposed
    | PromotionApproved
    | CandidateRetired
    | VersionPromoted
    | BakePassed
    | RollbackDecided
    | RollbackImpossible
    | VersionRolledBack
    | RepointFailed
    | DifferenceRepaired
    | OnlineStateReverted
)

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
                # Nothing is trained: no wish is answered, and neither cooldown nor budget knows of it.
                return replace(state, run=run)
            recent = tuple(t for t in state.retrainings if event.time - t < _BUDGET_WINDOW)
            # A wish that is newer than the request (its tick came late) goes on waiting: the run knows nothing of it.
            wish = state.wish if state.wish is not None and state.wish.time > event.time else None
            return replace(state, run=run, retrainings=(*recent, event.time), wish=wish, held_back=None)
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
            return replace(state, run=None)
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
            state.model, "BakePassed", f"version {event.version} is not in its {event.phase} bake"
        )
    # Not always the one that was replaced: that may have been replaced before it had shown that it is good itself.
    watcher = state.last_known_good()
    if event.phase is BakePhase.OPS and watcher is not None:
        sentinel = Shadow(watcher.number, ShadowRole.SENTINEL, bake.version, event.time)
        return replace(state, bake=replace(bake, phase=BakePhase.QUALITY, since=event.time), shadow=sentinel)
    watched = state.shadow is not None and state.shadow.role is ShadowRole.SENTINEL
    good = _mark(state, bake.version, VersionStatus.GOOD)
    return replace(good, bake=None, shadow=None if watched else state.shadow)
