"""Find where reality differs from the ledger, and repair it: lost events, changed aliases, missing schedules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from evergreen.domain.lifecycle import BakePhase, DifferenceRepaired, ModelState
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.compare_shadow import start_shadow
from evergreen.usecases.finish_training import JobEnd, finish_training
from evergreen.usecases.join_labels import join_pending
from evergreen.usecases.launch_training import launch_training
from evergreen.usecases.recording import decide_and_record
from evergreen.usecases.repoint_alias import alias_record, repoint_alias
from evergreen.usecases.watch_deployment import start_watch

ACTOR = "reconcile"
# Younger work is simply under way; its own event will finish it.
_PATIENCE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Repair:
    """One difference that was found and repaired."""

    what: str
    found: str
    expected: str


def reconcile(model: str, *, now: datetime, ports: Ports) -> tuple[Repair, ...]:
    """Compare the ledger with the endpoint, the training job and the schedules; every repair is in the history."""
    state = ports.ledger.read(model)
    repairs = [*_run(state, now, ports), *_repoint(state, now, ports), *_alias(state, ports)]
    if state.bake is not None and state.bake.phase is BakePhase.OPS:
        start_watch(model, now=now, ports=ports)
    start_shadow(model, now=now, ports=ports)
    _pending_labels(model, now, ports)
    for repair in repairs:
        _record(model, repair, now, ports)
    return tuple(repairs)


def _run(state: ModelState, now: datetime, ports: Ports) -> list[Repair]:
    """A retraining whose job was never started, or whose end was never heard of."""
    run = state.run
    if run is None or now - run.requested_at < _PATIENCE:
        return []
    if run.job_name is None:
        started = launch_training(state.model, run.decision_id, now=now, ports=ports)
        return [Repair("training job", "none", started)] if started else []
    status = ports.trainer.status(run.job_name)
    if status is None or status.status in ("InProgress", "Stopping"):
        return []
    end = JobEnd(run.job_name, status.status, status.artifact, status.reason)
    if not finish_training(state.model, end, now=now, ports=ports):
        return []
    return [Repair(f"end of {run.job_name}", "not recorded", status.status)]


def _repoint(state: ModelState, now: datetime, ports: Ports) -> list[Repair]:
    """A repoint that was decided and not carried out; a fresh one is still under way and does no harm twice."""
    if state.repoint is None or not repoint_alias(state.model, now=now, ports=ports):
        return []
    return [Repair("repoint", "not carried out", f"version {state.repoint.version}")]


def _alias(state: ModelState, ports: Ports) -> list[Repair]:
    """An endpoint that answers with another version than the ledger says."""
    if state.production is None or state.repoint is not None:
        return []
    found = ports.aliases.read(state.model, "production")
    if found is not None and found.version == state.production:
        return []
    spec = ModelSpec.parse(state.spec)
    ports.aliases.repoint(alias_record(state, spec, "production", state.production))
    was = "nothing" if found is None else f"version {found.version}"
    return [Repair("production alias", was, f"version {state.production}")]


def _pending_labels(model: str, now: datetime, ports: Ports) -> None:
    window = timedelta(days=62)
    for entry in ports.catalog.between(model, "pending-labels", now - window, now + timedelta(hours=1)):
        join_pending(entry, now=now, ports=ports)


def _record(model: str, repair: Repair, now: datetime, ports: Ports) -> None:
    repaired = DifferenceRepaired(
        time=now,
        actor=ACTOR,
        because=f"{repair.what}: found {repair.found}, expected {repair.expected}",
        what=repair.what,
        found=repair.found,
        expected=repair.expected,
    )
    decide_and_record(ports.ledger, model, lambda _: (repaired,))
