"""Start the training job of a decided retraining, on data it can name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from evergreen.domain.lifecycle import ModelState, Run, TrainingFailed, TrainingStarted
from evergreen.formats import format_time
from evergreen.ports import CatalogEntry, Ports, TrainingRequest
from evergreen.spec import ModelSpec
from evergreen.training.source import pack_source
from evergreen.usecases.recording import decide_and_record

ACTOR = "launch_training"
_LONGEST_HYPERPARAMETER = 2_500  # SageMaker's limit


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The labelled rows that a job is trained on: object keys, ETags, row counts, and one hash of it all."""

    files: tuple[dict[str, Any], ...]
    rows: int
    sha256: str

    @classmethod
    def of(cls, entries: Sequence[CatalogEntry]) -> Snapshot:
        """The snapshot of these files."""
        files = tuple({"key": e.key, "etag": e.etag, "rows": e.rows} for e in entries)
        digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        return cls(files, sum(e.rows for e in entries), digest)


def launch_training(model: str, decision_id: str, *, now: datetime, ports: Ports) -> str | None:
    """Start the job of the open retraining; the job's name, or None where the retraining is not open any more.

    The job's name is the decision and the attempt, so a second delivery starts no second job.
    """
    state = ports.ledger.read(model)
    run = state.run
    if run is None or run.decision_id != decision_id:
        return None
    if run.job_name is not None:
        return run.job_name
    spec = ModelSpec.parse(state.spec)
    snapshot = _snapshot(model, run, spec, ports)
    if snapshot.rows < spec.training.min_rows:
        _give_up(
            state, run, f"{snapshot.rows} labelled rows, training.min_rows is {spec.training.min_rows}", now, ports
        )
        return None
    request = _request(state, run, spec, snapshot, ports)
    ports.trainer.start(request)

    def decide(current: ModelState) -> Sequence[TrainingStarted]:
        open_run = current.run
        if open_run is None or open_run.decision_id != decision_id or open_run.job_name is not None:
            return ()
        started = TrainingStarted(
            time=now,
            actor=ACTOR,
            because=f"{run.trigger}: {snapshot.rows:,} labelled rows in {len(snapshot.files)} files",
            decision_id=decision_id,
            job_name=request.job_name,
            attempt=run.attempt,
            rows=snapshot.rows,
            snapshot=snapshot.sha256,
        )
        return (started,)

    decide_and_record(ports.ledger, model, decide)
    return request.job_name


def job_name(model: str, run: Run) -> str:
    """The name of a run's job: at most 63 characters, never the same for two attempts.

    Examples
    --------
    >>> from datetime import UTC
    >>> job_name("late_flights", Run("20130301020000-7", "data_drift", datetime(2013, 3, 1, tzinfo=UTC)))
    'late-flights-20130301020000-7-0'
    """
    return f"{model}-{run.decision_id}-{run.attempt}".replace("_", "-").replace("--", "-")


def job_name_of(artifact: str) -> str:
    """The job that wrote an artifact: ``.../{job}/output/model.tar.gz``.

    Examples
    --------
    >>> job_name_of("s3://bucket/models/churn/churn-1-0/output/model.tar.gz")
    'churn-1-0'
    """
    return artifact.split("/")[-3]


def _snapshot(model: str, run: Run, spec: ModelSpec, ports: Ports) -> Snapshot:
    """The newest files of the window, back to the one in which max_rows is reached.

    It depends on the time of the decision, not of the call: a second attempt trains on the same rows.
    """
    start = run.requested_at - spec.training.window
    entries = ports.catalog.between(model, "base-data", start, run.requested_at)
    entries += ports.catalog.between(model, "outcomes", start, run.requested_at)
    chosen: list[CatalogEntry] = []
    rows = 0
    for entry in sorted(entries, key=lambda e: (e.time, e.key), reverse=True):
        if rows >= spec.training.max_rows:
            break
        if entry.rows:
            chosen.append(entry)
            rows += entry.rows
    return Snapshot.of(chosen[::-1])


def _request(state: ModelState, run: Run, spec: ModelSpec, snapshot: Snapshot, ports: Ports) -> TrainingRequest:
    folder = f"snapshots/{state.model}/{run.decision_id}"
    manifest = [{"prefix": ports.data.uri("")}, *(file["key"] for file in snapshot.files)]
    ports.artifacts.put(f"{folder}/snapshot.json", json.dumps(asdict(snapshot), indent=1).encode())
    ports.artifacts.put(f"{folder}/manifest.json", json.dumps(manifest).encode())
    source = pack_source()
    source_key = f"source/{hashlib.sha256(source).hexdigest()}/sourcedir.tar.gz"
    ports.artifacts.put(source_key, source)
    production = state.production_version
    training = spec.training
    hyperparameters = {
        "model": spec.model,
        "task": spec.task.value,
        **_in_parts("features", [{"name": name, "type": feature.type} for name, feature in spec.features.items()]),
        "classes": spec.labels.classes,
        "estimator": spec.estimator,
        "params": training.params,
        "seed": training.seed,
        "validation_fraction": training.validation_fraction,
        "max_rows": training.max_rows,
        "min_rows": training.min_rows,
        "decision_id": run.decision_id,
        "trained_until": format_time(run.requested_at - spec.labels.maturity),
        "cycle_days": spec.triggers.cycle.total_seconds() / 86_400,
    }
    return TrainingRequest(
        job_name=job_name(state.model, run),
        model=state.model,
        hyperparameters={name: json.dumps(value) for name, value in hyperparameters.items()},
        source=ports.artifacts.uri(source_key),
        manifest=ports.artifacts.uri(f"{folder}/manifest.json"),
        production=None if production is None else production.artifact.removesuffix("/model.tar.gz"),
        output=ports.artifacts.uri(f"models/{state.model}"),
        instance_type=training.instance_type,
        instance_count=training.instance_count,
        volume_gb=training.volume_gb,
        max_runtime=training.max_runtime,
    )


def _in_parts(name: str, entries: Sequence[Any]) -> dict[str, list[Any]]:
    """A list as `name`, `name_1`, `name_2`, ...: as many hyperparameters as it takes for each to be short enough."""
    parts: list[list[Any]] = [[]]
    for entry in entries:
        if len(json.dumps([*parts[-1], entry])) > _LONGEST_HYPERPARAMETER:
            parts.append([])
        parts[-1].append(entry)
    return {f"{name}_{i}" if i else name: part for i, part in enumerate(parts)}


def _give_up(state: ModelState, run: Run, because: str, now: datetime, ports: Ports) -> None:
    def decide(current: ModelState) -> Sequence[TrainingFailed]:
        if current.run is None or current.run.decision_id != run.decision_id:
            return ()
        failed = TrainingFailed(
            time=now,
            actor=ACTOR,
            because=because,
            decision_id=run.decision_id,
            job_name="",
            attempt=run.attempt,
            final=True,
        )
        return (failed,)

    decide_and_record(ports.ledger, state.model, decide)
