"""Take what a training job left: judge the model at the gate, or try a failed job again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from evergreen.domain.gate import GateDecision, judge_candidate, unreadable
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
from evergreen.schema import FeatureSchema, SchemaError
from evergreen.spec import ModelSpec
from evergreen.training.artifact import ArtifactError, unpack
from evergreen.usecases.launch_training import job_name
from evergreen.usecases.recording import decide_and_record

ACTOR = "finish_training"
_ENDED_BADLY = ("Failed", "Stopped")
_FILES = ("model.onnx", "model.json", "reference.json")
_PROFILE = b"EVGPRF"  # how a stored profile begins


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
    there is nothing to compare it with. What a job left that is no artifact, or not this job's, is rejected with the
    reason: trying again would read the same bytes.
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
    decision_id = state.run.decision_id
    try:
        _require_own(model, end, ports)
        artifact = read_artifact(ports, end.artifact)
    except (ArtifactError, FileNotFoundError) as error:  # a bucket that can't be read raises: the event comes again
        return _reject(model, decision_id, unreadable(str(error)), now, ports)
    return _register(model, decision_id, end.job_name, artifact, now, ports)


def _require_own(model: str, end: JobEnd, ports: Ports) -> None:
    """Refuse an artifact that lies where this job does not write."""
    expected = ports.artifacts.uri(f"models/{model}/{end.job_name}/output/model.tar.gz")
    if end.artifact != expected:
        raise ArtifactError(f"the artifact of job {end.job_name} is {end.artifact}, expected {expected}")


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
    """Read model.json and reference.json out of an artifact and hash the very bytes that were read.

    Raises
    ------
    ArtifactError
        It is no archive of a model: damaged, too large, a file is missing or does not say what it has to.
    FileNotFoundError
        There is no such object.
    """
    key = uri.removeprefix("s3://").split("/", 1)[1]
    body = ports.artifacts.get(key)
    files = unpack(body, _FILES)
    for name in _FILES:
        if not files.get(name):
            raise ArtifactError(f"the artifact has no {name}: an own image has to write {', '.join(_FILES)}")
    facts, reference = _document(files, "model.json"), _document(files, "reference.json")
    _require_facts(facts)
    _require_reference(reference)
    return TrainedArtifact(key, uri, hashlib.sha256(body).hexdigest(), facts, reference)


def _document(files: dict[str, bytes], name: str) -> dict[str, Any]:
    try:
        document = json.loads(files[name])
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} of the artifact is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ArtifactError(f"{name} of the artifact is a {type(document).__name__}, not an object")
    return document


def _require_facts(facts: dict[str, Any]) -> None:
    """What the ledger and the evaluations take from model.json; the gate judges the rest."""
    rows, until = facts.get("rows_trained"), facts.get("trained_until")
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
        raise ArtifactError(f"rows_trained of model.json is {rows!r}: write the number of rows")
    try:
        FeatureSchema.from_json(facts).with_classes(None)
        timed = until is None or datetime.fromisoformat(until).tzinfo is not None
    except (SchemaError, ValueError, TypeError) as error:
        raise ArtifactError(f"model.json of the artifact can't be read: {error}") from error
    if not timed:
        raise ArtifactError(f"trained_until of model.json is {until!r}, a time without its offset: add it")
    for name in ("error_tolerance", "loss_scale"):
        value = facts.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            raise ArtifactError(f"{name} of model.json is {value!r}: write a number of 0 or more, or null")


def _require_reference(reference: dict[str, Any]) -> None:
    """What each evaluation reads of reference.json: one that it can't read would fail every one of them."""
    try:
        profiles = [cycle["profile"] for cycle in reference["cycles"]]
        profiles += [] if reference.get("prediction") is None else [reference["prediction"]]
        binned = isinstance(reference["binning"], dict)
        days = [(int(rows), int(right)) for rows, right in reference["daily"]]
        whole = all(base64.b64decode(profile, validate=True).startswith(_PROFILE) for profile in profiles)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ArtifactError(f"reference.json can't be read ({type(error).__name__}: {error})") from error
    if not (binned and whole and all(0 <= right <= rows for rows, right in days)):
        raise ArtifactError("reference.json can't be read: write what evergreen.training.reference makes")


def reference_key(model: str, job_name: str, document: bytes) -> str:
    """Where a version's reference lies, in the artifact bucket: the key names the hash that its reader checks."""
    return f"references/{model}/{job_name}.{hashlib.sha256(document).hexdigest()}.json"


def store_reference(ports: Ports, model: str, job_name: str, artifact: TrainedArtifact) -> str:
    """Put the version's reference where evaluations read it; answers its key, which the ledger keeps."""
    document = json.dumps({"model": artifact.model, "reference": artifact.reference}).encode()
    key = reference_key(model, job_name, document)
    ports.artifacts.put(key, document, content_type="application/json")
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
        gate = judge_candidate(
            ModelSpec.parse(state.spec),
            artifact.model,
            production=state.production_version,
            decision_id=decision_id,
        )
        if not gate.passed:
            return (_rejected(decision_id, gate, now),)
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


def _reject(model: str, decision_id: str, gate: GateDecision, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if state.run is None or state.run.decision_id != decision_id:
            return ()
        return (_rejected(decision_id, gate, now),)

    _, events = decide_and_record(ports.ledger, model, decide)
    return events


def _rejected(decision_id: str, gate: GateDecision, now: datetime) -> CandidateRejected:
    return CandidateRejected(time=now, actor=ACTOR, because=gate.because, decision_id=decision_id, gate=gate.to_json())


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
