"""The events of a model's history: what happened, when, by whom and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from evergreen.domain.state import ADDED_LATER, BakePhase, RollbackCause, Wish


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
    checkpoint: dict[str, Any] = field(default_factory=dict)  # of a former release: what to publish, not train
    tokens: float | None = field(default=None, metadata=ADDED_LATER)  # that were there; it takes one
    new_rows: int | None = field(default=None, metadata=ADDED_LATER)  # labelled, since the newest training


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
    ancestors: tuple[int, ...] | None = field(default=None, metadata=ADDED_LATER)  # versions that live on in it


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRejected(Event):
    """A trained model failed its gate; it gets no version number."""

    decision_id: str
    gate: dict[str, Any]
    trained_until: datetime | None = field(default=None, metadata=ADDED_LATER)  # its newest row, where it says it


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
    """A candidate did not earn production's place, or a newer one took its own."""

    version: int
    evidence: dict[str, Any]
    superseded_by: int | None = field(default=None, metadata=ADDED_LATER)


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
    """A person took a live state back to an earlier one, whose number `checkpoint` is; versions stay."""

    checkpoint: int
    sha256: str  # of the state that is learned on from
    version: int | None = field(default=None, metadata=ADDED_LATER)  # whose live state it is


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
