"""What is recorded of a model's online state and of its checkpoints, and of its versions' live states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class CheckpointStatus(StrEnum):
    """Where a checkpoint stands."""

    KEPT = "kept"  # to revert to; the newest one is judged when its turn comes
    ON_TRIAL = "on_trial"  # judged against production
    DROPPED = "dropped"  # not proven better; still there to revert to
    CANDIDATE = "candidate"  # proven better, and handed on to be published


Sums = tuple[int, int, int, float]
"""Rows, rows that were predicted first, of these right, and the sum of their losses."""


@dataclass(frozen=True, slots=True)
class OnlinePointer:
    """Which bytes are a model's online state now, and how its predictions went before it learned from them."""

    model: str
    fingerprint: str  # of features and learner: others start a state of their own
    version: int  # one more with each batch and each revert
    key: str  # in the artifact bucket
    sha256: str
    updates: int
    rows: int
    learned_until: datetime  # the newest row's
    total: Sums = (0, 0, 0, 0.0)
    days: Mapping[str, Sums] = field(default_factory=dict)  # the newest, by the day of the row


@dataclass(frozen=True, slots=True)
class LivePointer:
    """Which bytes are the live state of a version now."""

    model: str
    version: int
    number: int  # of the state: one more with each that follows
    key: str  # in the artifact bucket
    sha256: str
    since: datetime  # it answers
    rows: int  # labels learned
    learned_until: datetime | None  # the newest request of them


@dataclass(frozen=True, slots=True)
class OnlineCheckpoint:
    """A state as it was at a time: what a revert returns to, and what may become a version."""

    model: str
    number: int
    fingerprint: str
    state_version: int
    key: str  # in the artifact bucket
    sha256: str
    frozen_at: datetime
    learned_until: datetime
    updates: int
    rows: int
    status: CheckpointStatus = CheckpointStatus.KEPT
    revision: int = 0
    judged_until: datetime | None = None
    verdict: str = ""
    because: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    decision_id: str = ""  # of the run that publishes it
