"""A training job: its name, what it is asked for, the data it is given, and how it ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from evergreen.domain.catalog import CatalogEntry
from evergreen.domain.made_names import head_of
from evergreen.domain.state import Run


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The labelled rows that a job is trained on: object keys, ETags, row counts, and one hash of it all."""

    files: tuple[dict[str, Any], ...]
    rows: int
    sha256: str
    trained_from: str = ""  # rows from before it are in the files, and are not trained on; empty: all are
    policy: str = ""
    because: str = ""  # these rows
    source: str = ""  # sha256 of the source that trains on them

    @classmethod
    def of(cls, entries: Sequence[CatalogEntry], *, trained_from: str = "", **told: str) -> Snapshot:
        """The snapshot of these files."""
        files = tuple({"key": e.key, "etag": e.etag, "rows": e.rows} for e in entries)
        rows = sum(e.rows for e in entries)
        return cls(files, rows, snapshot_sha256(files, trained_from), trained_from, **told)

    @classmethod
    def read(cls, document: bytes) -> Snapshot:
        """The snapshot that an earlier delivery of the same attempt stored."""
        stored = json.loads(document)
        return cls(**{**stored, "files": tuple(stored["files"])})


def snapshot_sha256(files: Sequence[Mapping[str, Any]], trained_from: str = "") -> str:
    """The hash of a snapshot: of its files, and of the time before which their rows are left out.

    Examples
    --------
    >>> file = {"key": "outcomes/churn/a.parquet", "etag": "1", "rows": 10}
    >>> snapshot_sha256([file]) == snapshot_sha256([file], "2026-01-01T00:00:00Z")
    False
    """
    listed = [dict(file) for file in files]
    content = [listed, trained_from] if trained_from else listed
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def job_name(stack: str, model: str, run: Run) -> str:
    """The name of a run's job: at most 63 characters, never the same for two attempts of an account's stacks.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> run = Run("20130301020000-7", "data_drift", datetime(2013, 3, 1, tzinfo=UTC))
    >>> job_name("evergreen", "late_flights", run)
    'evergreen-late-flights-20130301020000-7-0'
    """
    return f"{head_of(stack, model)}-{run.decision_id}-{run.attempt}"


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a training job ended, from its state-change event or from describing it."""

    job_name: str
    status: str
    artifact: str | None
    reason: str


def retry_schedule_name(model: str, run: Run) -> str:
    """The name of the schedule that starts a run's next attempt."""
    return f"{model}.retry.{run.decision_id}.{run.attempt}"


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """A training job, by a name that says what it is for."""

    job_name: str
    model: str
    hyperparameters: Mapping[str, str]
    source: str  # s3 uri of sourcedir.tar.gz
    manifest: str  # s3 uri of the ManifestFile channel
    production: str | None  # s3 uri of production's artifact
    output: str  # s3 prefix
    instance_type: str
    instance_count: int
    volume_gb: int
    max_runtime: timedelta
    program: str = "train.py"  # in the source
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None  # None: the stack's
    checkpoints: str | None = None  # s3 prefix that attempts share
    spot_wait: timedelta | None = None  # on spare capacity, and how long it may take with all waiting; None: not so
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    kms_key: str | None = None
    network_isolation: bool = False


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """A training job as it really is."""

    status: str  # InProgress, Completed, Failed, Stopping, Stopped
    artifact: str | None
    reason: str


_STOPS = {
    "Stopped": "somebody stopped it",
    "MaxRuntimeExceeded": "it ran longer than training.max_runtime: raise it, or choose a larger instance",
    "MaxWaitTimeExceeded": "it waited for spare capacity longer than training.max_wait: raise it, or turn spot off",
    "Interrupted": "its spare capacity was taken away",
}


def why_stopped(secondary_status: str) -> str:
    """Why a training job without a FailureReason ended: SageMaker says it in its secondary status alone.

    Examples
    --------
    >>> why_stopped("MaxRuntimeExceeded")
    'it ran longer than training.max_runtime: raise it, or choose a larger instance'
    """
    return _STOPS.get(secondary_status, "")
