"""What a model's state is made of: its versions, the open run, the shadow, the bake and the repoint that is due."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from evergreen.errors import UnknownVersionError

ADDED_LATER = {"added_later": True}
"""Marks a field that a release added to what older ones had stored: it is written only where it says something, so that
what an older release wrote is written again to the same bytes."""


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
    ancestors: tuple[int, ...] | None = field(default=None, metadata=ADDED_LATER)  # the versions that live on in it

    @property
    def seen_until(self) -> datetime:
        """The newest row that its training had; when it was registered, where that is not known or can't be."""
        return min(self.trained_until or self.registered_at, self.registered_at)


@dataclass(frozen=True, slots=True)
class Run:
    """The one open retraining."""

    decision_id: str
    trigger: str
    requested_at: datetime
    attempt: int = 0
    job_name: str | None = None
    since: datetime | None = None  # of its last step: the job's start, or the failure before this attempt
    checkpoint: dict[str, Any] = field(default_factory=dict)  # of a former release: what it publishes


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
    # Left in the bucket after the newest retraining; None: not known, or nothing was retrained yet.
    tokens: float | None = field(default=None, metadata=ADDED_LATER)
    refused_until: datetime | None = field(default=None, metadata=ADDED_LATER)  # newest row of a model the gate refused

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
    def newest_training(self) -> Version | None:
        """The version whose training had the newest rows, whatever became of it: what later data are compared with.

        Versions that read other features than requests bring can't be compared with.
        """
        comparable = [version for version in self.versions if self.reads_what_requests_bring(version)]
        return max(comparable, key=lambda version: (version.seen_until, version.number), default=None)

    @property
    def seen_until(self) -> datetime | None:
        """The newest row that any training had, also one whose model the gate refused; None: nothing was trained."""
        newest = self.newest_training
        times = [time for time in (None if newest is None else newest.seen_until, self.refused_until) if time]
        return max(times, default=None)

    @property
    def superseded_by_a_newer(self) -> tuple[Version, ...]:
        """The candidates, waiting or in shadow, whose place the next candidate takes.

        One that is proven and waits for a person's approval is not among them: a person is about to decide on it.
        """
        waiting = (VersionStatus.CANDIDATE, VersionStatus.SHADOW)
        proven = None if self.proposal is None else self.proposal.version
        return tuple(v for v in self.versions if v.status in waiting and v.number != proven)

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
