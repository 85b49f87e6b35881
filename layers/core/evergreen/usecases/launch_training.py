"""Start the training job of a decided retraining, on data it can name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogEntry, CatalogKind, whole_hour
from evergreen.domain.model_events import TrainingFailed, TrainingStarted
from evergreen.domain.retention import reading_takes
from evergreen.domain.state import ModelState, Run, Version
from evergreen.domain.training_jobs import Snapshot, TrainingRequest, job_name, snapshot_sha256
from evergreen.domain.training_rows import RowsChoice, choose_rows, window_start
from evergreen.domain.uris import is_uri, split_uri
from evergreen.errors import ConflictingWriteError, TrainingRefusedError
from evergreen.formats.captures import format_time
from evergreen.formats.keys import ArtifactPrefix, artifacts_of, checkpoints_of, manifest_key, snapshot_key, source_key
from evergreen.ports import Ports
from evergreen.spec import LONGEST_HYPERPARAMETER, ModelSpec
from evergreen.training.source import PROGRAM, pack_source
from evergreen.usecases.steps.recording import decide_and_record

ACTOR = "launch_training"
_LONGEST_REASON = 200  # characters, each up to 12 as JSON: it has to fit into one hyperparameter


def launch_training(model: str, decision_id: str, *, now: datetime, ports: Ports) -> str | None:
    """Start the job of the open retraining; the job's name, or None where there is no job to start.

    The job's name is the decision and the attempt, so a second delivery starts no second job. A job that the service
    will never take, or that has too few rows, ends the retraining with the reason.
    """
    state = ports.ledger.read(model)
    run = state.run
    if run is None or run.decision_id != decision_id:
        return None
    if run.job_name is not None:
        return run.job_name
    spec = spec_of(state)
    try:
        _require_a_training(model, run)
        snapshot = _stored(_snapshot(model, run, spec, _source(spec, ports), ports), model, run, ports)
        _require_enough(snapshot, spec)
        request = training_request(state, run, spec, snapshot, ports)
        ports.trainer.start(request)
    except TrainingRefusedError as error:
        _give_up(state, run, error.reason, now, ports)
        return None

    def decide(current: ModelState) -> Sequence[TrainingStarted]:
        open_run = current.run
        if open_run is None or open_run.decision_id != decision_id or open_run.job_name is not None:
            return ()
        rows = f"{snapshot.rows:,} labelled rows in {len(snapshot.files)} files"
        started = TrainingStarted(
            time=now,
            actor=ACTOR,
            because=f"{run.trigger}: {rows}" + (f"; {snapshot.because}" if snapshot.because else ""),
            decision_id=decision_id,
            job_name=request.job_name,
            attempt=run.attempt,
            rows=snapshot.rows,
            snapshot=snapshot.sha256,
            source=snapshot.source,
        )
        return (started,)

    decide_and_record(ports.ledger, model, decide)
    return request.job_name


def recipe(spec: ModelSpec) -> dict[str, Any]:
    """The hyperparameters that say what is trained, as plain data: a job takes each as JSON.

    Examples
    --------
    >>> spec = ModelSpec.parse({"model": "rent", "task": "regression", "features": {"area": {"type": "number"}}})
    >>> recipe(spec)["estimator"], recipe(spec)["features"]
    ('RandomForestRegressor', [{'name': 'area', 'type': 'number'}])
    """
    training = spec.training
    return {
        "model": spec.model,
        "task": spec.task.value,
        **_in_parts("features", [{"name": name, "type": feature.type} for name, feature in spec.features.items()]),
        **({} if spec.labels.classes is None else _in_parts("classes", spec.labels.classes)),
        "estimator": spec.estimator,
        "params": training.params,
        "seed": training.seed,
        "validation_fraction": training.validation_fraction,
        "max_rows": training.max_rows,
        "min_rows": training.min_rows,
        "cycle_days": spec.triggers.cycle.total_seconds() / 86_400,
        **({"freshness": 1} if spec.freshness.enabled else {}),
        **({"other_labels": "leave_out"} if spec.leaves_out_other_labels else {}),
    }


# --- what it trains on, and with --------------------------------------------------------------------------------------


def _require_a_training(model: str, run: Run) -> None:
    """A former release asked for checkpoints of an online state to be published: one that still waits is let go."""
    if run.checkpoint:
        because = "checkpoints of an online state are no longer published: the live state answers with what it learns"
        raise TrainingRefusedError(model, because)


def _require_enough(snapshot: Snapshot, spec: ModelSpec) -> None:
    if snapshot.rows < spec.training.min_rows:
        too_few = f"{snapshot.rows} labelled rows, training.min_rows is {spec.training.min_rows}"
        raise TrainingRefusedError(spec.model, too_few)


def _source(spec: ModelSpec, ports: Ports) -> str:
    """Put the source where the job reads it, under its own hash; answers that hash."""
    given = spec.training.source_dir
    source = pack_source() if given is None else _own_source(given, spec, ports)
    sha256 = hashlib.sha256(source).hexdigest()
    ports.artifacts.put(source_key(sha256), source)
    return sha256


def _own_source(uri: str, spec: ModelSpec, ports: Ports) -> bytes:
    folder = ports.artifacts.uri(f"{ArtifactPrefix.SOURCE}/")
    if not uri.startswith(folder):
        raise TrainingRefusedError(
            spec.model, f"training.source_dir is {uri}: put it under {folder}, where jobs may read"
        )
    try:
        return ports.artifacts.get(split_uri(uri)[1])
    except FileNotFoundError as error:
        raise TrainingRefusedError(
            spec.model, f"training.source_dir is {uri}, which does not exist: upload it"
        ) from error


def _snapshot(model: str, run: Run, spec: ModelSpec, source: str, ports: Ports) -> Snapshot:
    """The newest files that the policy allows and that are kept, back to the one in which max_rows is reached.

    It depends on the time of the decision, not of the call: a second attempt trains on the same rows.
    """
    start = window_start(spec.training, run.requested_at)
    kept = ports.retention.outcomes_since(run.requested_at, read_within=reading_takes(spec.training))
    outcomes = ports.catalog.between(model, CatalogKind.OUTCOMES, max(start, kept), run.requested_at)
    entries = ports.catalog.between(model, CatalogKind.BASE_DATA, start, run.requested_at) + outcomes
    sums = [entry.sums.daily for entry in outcomes if entry.sums.daily is not None]
    choice = choose_rows(spec.training, sums, maturity=spec.labels.maturity, decided_at=run.requested_at)
    told = {"policy": spec.training.rows.value, "because": _because(choice, spec, ports), "source": source}
    return Snapshot.of(_newest(entries, choice, spec.training.max_rows), trained_from=_trained_from(choice), **told)


def _because(choice: RowsChoice, spec: ModelSpec, ports: Ports) -> str:
    shortened = ports.retention.shortens(spec.training)
    return "; ".join(filter(None, (choice.because, shortened)))


def _trained_from(choice: RowsChoice) -> str:
    return format_time(choice.start) if choice.exact else ""


def _newest(entries: Sequence[CatalogEntry], choice: RowsChoice, max_rows: int) -> list[CatalogEntry]:
    chosen: list[CatalogEntry] = []
    rows = 0
    for entry in sorted(entries, key=lambda e: (e.time, e.key), reverse=True):
        if rows >= max_rows or entry.time < whole_hour(choice.start):
            break
        if entry.rows:
            chosen.append(entry)
            rows += entry.rows
    return chosen[::-1]


def _stored(snapshot: Snapshot, model: str, run: Run, ports: Ports) -> Snapshot:
    """Store the attempt's snapshot, once: a delivery that died may have started the job on the one it stored."""
    key = snapshot_key(model, run.decision_id, run.attempt)
    try:
        ports.artifacts.put_if(key, json.dumps(asdict(snapshot), indent=1).encode(), etag=None)
    except ConflictingWriteError:
        return _unchanged(Snapshot.read(ports.artifacts.get(key)), key, model)
    return snapshot


def _unchanged(snapshot: Snapshot, key: str, model: str) -> Snapshot:
    if snapshot_sha256(snapshot.files, snapshot.trained_from) != snapshot.sha256:
        raise TrainingRefusedError(model, f"{key} does not have the hash that it names: somebody changed it")
    return snapshot


def training_request(state: ModelState, run: Run, spec: ModelSpec, snapshot: Snapshot, ports: Ports) -> TrainingRequest:
    """The job of a run on a snapshot, whose manifest is put where the job reads it."""
    manifest_place = manifest_key(state.model, run.decision_id, run.attempt)
    manifest = [{"prefix": ports.data.uri("")}, *(file["key"] for file in snapshot.files)]
    ports.artifacts.put(manifest_place, json.dumps(manifest).encode())
    production, training = _comparable(state), spec.training
    hyperparameters = {
        **recipe(spec),
        "trained_until": format_time(run.requested_at - spec.labels.maturity),
        "production_sha256": "" if production is None else production.sha256,
        **({"production_version": production.number} if spec.freshness.enabled and production else {}),
        "decision_id": run.decision_id,
        "trigger": run.trigger,
        "because": _reason(state.model, run, ports)[:_LONGEST_REASON],
        "snapshot": snapshot.sha256,
        "snapshot_rows": snapshot.rows,
        "manifest": ports.artifacts.uri(manifest_place),
        "source_sha256": snapshot.source,
    }
    if snapshot.trained_from:
        hyperparameters["trained_from"] = snapshot.trained_from
    return TrainingRequest(
        job_name=job_name(ports.stack, state.model, run),
        model=state.model,
        hyperparameters={name: json.dumps(value) for name, value in hyperparameters.items()},
        source=ports.artifacts.uri(source_key(snapshot.source)),
        program=training.entry_point or PROGRAM,
        manifest=ports.artifacts.uri(manifest_place),
        production=None if production is None else production.artifact,
        output=ports.artifacts.uri(artifacts_of(state.model)),
        checkpoints=ports.artifacts.uri(checkpoints_of(state.model, run.decision_id)),
        image=training.image,
        instance_type=training.instance_type,
        instance_count=training.instance_count,
        volume_gb=training.volume_gb,
        max_runtime=training.max_runtime,
        spot_wait=training.longest_wait if training.spot else None,
        subnets=training.subnets,
        security_groups=training.security_groups,
        kms_key=training.kms_key,
        network_isolation=training.network_isolation,
    )


def _comparable(state: ModelState) -> Version | None:
    """Production, where it is an artifact that a job can score: an imported endpoint's model is none."""
    production = state.production_version
    return production if production is not None and is_uri(production.artifact) else None


def _reason(model: str, run: Run, ports: Ports) -> str:
    """Why the retraining was requested: for whoever looks at the job, or at its run in the registry."""
    asked = ports.ledger.history(model).requested(run.decision_id)
    return "" if asked is None else asked.because


def _in_parts(name: str, entries: Sequence[Any]) -> dict[str, list[Any]]:
    """A list as `name`, `name_1`, `name_2`, ...: as many hyperparameters as it takes for each to be short enough."""
    parts: list[list[Any]] = [[]]
    for entry in entries:
        if len(json.dumps([*parts[-1], entry])) > LONGEST_HYPERPARAMETER:
            parts.append([])
        parts[-1].append(entry)
    return {f"{name}_{i}" if i else name: part for i, part in enumerate(parts)}


def _give_up(state: ModelState, run: Run, because: str, now: datetime, ports: Ports) -> None:
    def decide(current: ModelState) -> Sequence[TrainingFailed]:
        if current.run is None or current.run.decision_id != run.decision_id or current.run.job_name is not None:
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
