"""Take what a training job left: judge the model at the gate, or try a failed job again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.gate import GateDecision, judge_candidate, unreadable
from evergreen.domain.model_events import (
    AnyEvent,
    CandidateRejected,
    PromotionApproved,
    TrainingFailed,
)
from evergreen.domain.state import ModelState
from evergreen.domain.training_jobs import JobEnd, job_name, retry_schedule_name
from evergreen.formats.keys import artifact_key
from evergreen.model.archive import ArtifactError
from evergreen.ports import Ports
from evergreen.usecases.steps.recording import decide_and_record
from evergreen.usecases.steps.trained_artifacts import (
    TrainedArtifact,
    candidate_event,
    read_artifact,
    store_reference,
    superseded_events,
)

ACTOR = "finish_training"
_ENDED_BADLY = ("Failed", "Stopped")


def finish_training(model: str, end: JobEnd, *, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    """Record what became of the job; nothing for a job that is not the open run's, or that still runs.

    A candidate that passes its gate gets a version number, and takes the place of those that wait for a verdict. The
    model's first one goes to production at once, since there is nothing to compare it with. What a job left that is no
    artifact, or not this job's, is rejected with the reason: trying again would read the same bytes.
    """
    state = ports.ledger.read(model)
    if _waits_to_try_again(state, end.job_name, ports):
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
    expected = ports.artifacts.uri(artifact_key(model, end.job_name))
    if end.artifact != expected:
        raise ArtifactError(f"the artifact of job {end.job_name} is {end.artifact}, expected {expected}")


def _register(
    model: str, decision_id: str, job_name: str, artifact: TrainedArtifact, now: datetime, ports: Ports
) -> Sequence[AnyEvent]:
    reference = store_reference(ports, model, job_name, artifact)

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        if state.run is None or state.run.decision_id != decision_id:
            return ()
        gate = judge_candidate(
            spec_of(state),
            artifact.model,
            production=state.production_version,
            decision_id=decision_id,
        )
        if not gate.passed:
            return (_rejected(decision_id, gate, now, artifact),)
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
            return registered, *superseded_events(state, registered, actor=ACTOR, ports=ports)
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


def _rejected(
    decision_id: str, gate: GateDecision, now: datetime, artifact: TrainedArtifact | None = None
) -> CandidateRejected:
    until = None if artifact is None or artifact.trained_until is None else min(artifact.trained_until, now)
    return CandidateRejected(
        time=now,
        actor=ACTOR,
        because=gate.because,
        decision_id=decision_id,
        gate=gate.to_json(),
        trained_until=until,
    )


def _failed(state: ModelState, end: JobEnd, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    spec = spec_of(state)

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
    if _waits_to_try_again(after, end.job_name, ports):
        _schedule_retry(after, now, ports)
    return events


def _waits_to_try_again(state: ModelState, job: str, ports: Ports) -> bool:
    """Whether the open run's last attempt was this job, and the next one has not begun."""
    run = state.run
    if run is None or run.job_name is not None or run.attempt == 0:
        return False
    return job_name(ports.stack, state.model, replace(run, attempt=run.attempt - 1)) == job


def _schedule_retry(state: ModelState, now: datetime, ports: Ports) -> None:
    assert state.run is not None, "a run that waits to be tried again is open"
    ports.schedules.once(
        retry_schedule_name(state.model, state.run),
        now + spec_of(state).training.retry_delay,
        function="launch-training",
        payload={"model": state.model, "decision_id": state.run.decision_id},
    )
