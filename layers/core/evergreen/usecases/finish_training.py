"""Take what a training job left: judge the model at the gate, or try a failed job again."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from evergreen.domain.gate import judge_candidate
from evergreen.domain.lifecycle import (
    AnyEvent,
    CandidateRegistered,
    CandidateRejected,
    ModelState,
    PromotionApproved,
    Run,
    TrainingFailed,
    next_version,
)
from evergreen.ports import Ports
from evergreen.schema import FeatureSchema
from evergreen.spec import ModelSpec
from evergreen.usecases.launch_training import job_name
from evergreen.usecases.recording import decide_and_record

ACTOR = "finish_training"
_ENDED_BADLY = ("Failed", "Stopped")


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a training job ended, from its state-change event or from describing it."""

    job_name: str
    status: str
    artifact: str | None
    reason: str


def finish_training(model: str, end: JobEnd, *, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    """Record what became of the job; nothing for a job that is not the open run's, or that still runs.

    A candidate that passes its gate gets a version number; the model's first one goes to production at once, since
    there is nothing to compare it with.
    """
    state = ports.ledger.read(model)
    if _waits_to_try_again(state, end.job_name):
        _schedule_retry(state, now, ports)  # an earlier delivery may have died when the failure was recorded
    if state.run is None or state.run.job_name != end.job_name:
        return ()
    if end.status in _ENDED_BADLY:
        return _failed(state, end, now, ports)
    if end.status != "Completed" or end.artifact is None:
        return ()
    artifact = read_artifact(ports, end.artifact)
    return _register(model, state.run.decision_id, end.job_name, artifact, now, ports)


@dataclass(frozen=True, slots=True)
class TrainedArtifact:
    """What a job's model.tar.gz says of itself."""

    key: str  # in the artifact bucket
    uri: str
    sha256: str
    model: dict[str, Any]
    reference: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Of the features a version reads: its classes may differ, since a window need not hold every class."""
        return FeatureSchema.from_json(self.model).with_classes(None).fingerprint


def read_artifact(ports: Ports, uri: str) -> TrainedArtifact:
    """Read model.json and reference.json out of an artifact and hash it."""
    key = uri.removeprefix("s3://").split("/", 1)[1]
    body = ports.artifacts.get(key)
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        documents = {name: _member(archive, name) for name in ("model.json", "reference.json")}
    sha256 = hashlib.sha256(body).hexdigest()
    return TrainedArtifact(key, uri, sha256, documents["model.json"], documents["reference.json"])


def _member(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    file = archive.extractfile(name)
    if file is None:
        raise FileNotFoundError(f"{name} is not in the artifact: the training job did not end as it should")
    document: dict[str, Any] = json.loads(file.read())
    return document


def reference_key(model: str, job_name: str) -> str:
    """Where finish_training puts a version's reference, in the artifact bucket."""
    return f"references/{model}/{job_name}.json"


def store_reference(ports: Ports, model: str, job_name: str, artifact: TrainedArtifact) -> str:
    """Put the version's reference where evaluations read it."""
    key = reference_key(model, job_name)
    document = {"model": artifact.model, "reference": artifact.reference}
    ports.artifacts.put(key, json.dumps(document).encode(), content_type="application/json")
    return key


def candidate_event(
    state: ModelState,
    artifact: TrainedArtifact,
    *,
    reference: str,
    decision_id: str,
    gate: dict[str, Any],
    because: str,
    actor: str,
    now: datetime,
) -> CandidateRegistered:
    """The event that gives the artifact the model's next version number."""
    until = artifact.model.get("trained_until")
    return CandidateRegistered(
        time=now,
        actor=actor,
        because=because,
        version=next_version(state),
        decision_id=decision_id,
        artifact=artifact.uri,
        sha256=artifact.sha256,
        fingerprint=artifact.fingerprint,
        rows_trained=int(artifact.model["rows_trained"]),
        trained_until=None if until is None else datetime.fromisoformat(until),
        reference=reference,
        gate=gate,
    )


def _register(
    model: str, decision_id: str, job_name: str, artifact: TrainedArtifact, now: datetime, ports: Ports
) -> Sequence[AnyEvent]:
    reference = store_reference(ports, model, job_name, artifact)

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if state.run is None or state.run.decision_id != decision_id:
            return ()
        gate = judge_candidate(ModelSpec.parse(state.spec), artifact.model)
        if not gate.passed:
            rejected = CandidateRejected(
                time=now, actor=ACTOR, because=gate.because, decision_id=decision_id, gate=gate.to_json()
            )
            return (rejected,)
        registered = candidate_event(
            state,
            artifact,
            reference=reference,
            decision_id=decision_id,
            gate=gate.to_json(),
            because=gate.because,
            actor=ACTOR,
            now=now,
        )
        if state.production is not None or state.repoint is not None or state.paused:
            return (registered,)
        first = PromotionApproved(
            time=now,
            actor=ACTOR,
            because="the first version: there is nothing to compare it with",
            version=registered.version,
            instead_of=None,
            evidence={},
        )
        return registered, first

    _, events = decide_and_record(ports.ledger, model, decide)
    return events


def retry_schedule_name(model: str, run: Run) -> str:
    """The name of the schedule that starts a run's next attempt."""
    return f"{model}.retry.{run.decision_id}.{run.attempt}"


def _failed(state: ModelState, end: JobEnd, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    spec = ModelSpec.parse(state.spec)

    def decide(current: ModelState) -> Sequence[AnyEvent]:
        run = current.run
        if run is None or run.job_name != end.job_name:
            return ()
        failed = TrainingFailed(
            time=now,
            actor=ACTOR,
            because=f"job {end.job_name} {end.status.lower()}: {end.reason or 'no reason given'}",
            decision_id=run.decision_id,
            job_name=end.job_name,
            attempt=run.attempt,
            final=run.attempt >= spec.training.retries,
        )
        return (failed,)

    after, events = decide_and_record(ports.ledger, state.model, decide)
    if _waits_to_try_again(after, end.job_name):
        _schedule_retry(after, now, ports)
    return events


def _waits_to_try_again(state: ModelState, job: str) -> bool:
    """Whether the open run's last attempt was this job, and the next one has not begun."""
    run = state.run
    if run is None or run.job_name is not None or run.attempt == 0:
        return False
    return job_name(state.model, replace(run, attempt=run.attempt - 1)) == job


def _schedule_retry(state: ModelState, now: datetime, ports: Ports) -> None:
    assert state.run is not None, "a run that waits to be tried again is open"
    ports.schedules.once(
        retry_schedule_name(state.model, state.run),
        now + ModelSpec.parse(state.spec).training.retry_delay,
        function="launch-training",
        payload={"model": state.model, "decision_id": state.run.decision_id},
    )
