"""How a model stands and what comes next, for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.invariants import violations
from evergreen.domain.state import BakePhase, ModelState, Shadow, ShadowRole, VersionStatus
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.steps.notes import newest_notes


def read_status(model: str, *, now: datetime, ports: Ports) -> dict[str, Any]:
    """Read how the model stands.

    Raises
    ------
    UnknownModelError
        No spec was ever applied under the name.
    """
    state = ports.ledger.read(model)
    found = {kind: newest_notes(model, kind, now, ports=ports) for kind in ("retraining", "shadow")}
    notes = {kind: notes[0] for kind, notes in found.items() if notes}
    return describe(state, notes)


def describe(state: ModelState, notes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Tell a state as plain data: what is in production since when, what is under way, what was found last.

    ``notes`` are the newest of the kinds `retraining` and `shadow`, where there are any.
    """
    spec = spec_of(state)
    good = state.last_known_good()
    production = state.production_version
    waiting = [v.number for v in state.versions if v.status is VersionStatus.CANDIDATE]
    return {
        "model": state.model,
        "epoch": state.epoch,
        "paused": state.paused,
        "strategy": spec.strategy.value,
        "approval": spec.deployment.approval,
        "production": None
        if production is None
        else {
            "version": production.number,
            "since": _iso(state.production_since or production.promoted_at),
            "status": production.status.value,
            "proven_bad": state.proven_bad,
            "rows_trained": production.rows_trained,
            "trained_until": _iso(production.trained_until),
        },
        "newest_training": _newest_training(state),
        "last_known_good": None if good is None else good.number,
        "shadow": _shadow(state.shadow),
        "proposal": _proposal(state),
        "bake": None
        if state.bake is None
        else {"version": state.bake.version, "phase": state.bake.phase.value, "since": _iso(state.bake.since)},
        "repoint": None
        if state.repoint is None
        else {"to": state.repoint.version, "from": state.repoint.instead_of, "cause": state.repoint.cause},
        "run": None
        if state.run is None
        else {
            "decision_id": state.run.decision_id,
            "trigger": state.run.trigger,
            "since": _iso(state.run.requested_at),
            "attempt": state.run.attempt,
            "job": state.run.job_name,
        },
        "waiting": waiting,
        "wish": None
        if state.wish is None
        else {"reason": state.wish.reason, "actor": state.wish.actor, "time": _iso(state.wish.time)},
        "held_back": None
        if state.held_back is None
        else {"would_have": state.held_back.would_have, "rule": state.held_back.rule},
        "last_evaluation": _note(notes.get("retraining"), "retrain"),
        "last_comparison": _note(notes.get("shadow"), "verdict"),
        "next": next_step(state, spec),
        "violations": list(violations(state)),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _newest_training(state: ModelState) -> dict[str, Any] | None:
    """What age and drift are measured from."""
    newest = state.newest_training
    return None if newest is None else {"version": newest.number, "trained_until": _iso(state.seen_until)}


def _shadow(shadow: Shadow | None) -> dict[str, Any] | None:
    if shadow is None:
        return None
    about = {"version": shadow.version, "role": shadow.role.value, "judged_against": shadow.judged_against}
    return about | {"since": _iso(shadow.since)}


def _proposal(state: ModelState) -> dict[str, Any] | None:
    proposal = state.proposal
    if proposal is None:
        return None
    about = {"version": proposal.version, "judged_against": proposal.judged_against, "time": _iso(proposal.time)}
    return about | {"evidence": proposal.evidence}


def _note(note: Mapping[str, Any] | None, decided: str) -> dict[str, Any] | None:
    if note is None:
        return None
    told = {"time": note["time"], decided: note[decided], "because": note["because"]}
    return told | {name: note[name] for name in ("checks", "new_rows", "tokens") if name in note}


def next_step(state: ModelState, spec: ModelSpec) -> str:
    """Say in a sentence what happens next, or what a person has to do.

    Examples
    --------
    >>> spec = ModelSpec.parse({"model": "churn", "task": "regression", "features": {"age": {"type": "number"}}})
    >>> next_step(ModelState("churn"), spec)
    'ask for the first training: evergreen trigger churn --reason ...'
    """
    if state.repoint is not None:
        return f"the endpoint is pointed to version {state.repoint.version}"
    if state.proposal is not None:
        return f"a person approves: evergreen approve {state.model} {state.proposal.version} --reason ..."
    if state.bake is not None:
        return _of_bake(state, spec)
    if state.shadow is not None and state.shadow.role is ShadowRole.CHALLENGER:
        latest = state.shadow.since + spec.shadow.max_time + spec.labels.maturity
        held = "; promotion is paused" if state.paused else ""
        until = f"until {latest:%Y-%m-%d %H:%M}, or longer by as long as no requests come"
        return f"version {state.shadow.version} is judged each day, {until}{held}"
    if state.run is not None:
        job = state.run.job_name
        return "the training job is started" if job is None else f"training job {job} ends"
    if state.paused:
        return f"nothing by itself, it is paused: evergreen resume {state.model} --reason ..."
    if state.waiting_candidate is not None and state.production is not None:
        return f"version {state.waiting_candidate.number} goes into shadow"
    if state.production is None:
        return f"ask for the first training: evergreen trigger {state.model} --reason ..."
    return f"the triggers are evaluated again; the strategy is {spec.strategy}"


def _of_bake(state: ModelState, spec: ModelSpec) -> str:
    bake = state.bake
    assert bake is not None
    match bake.phase:
        case BakePhase.OPS:
            until = bake.since + spec.deployment.ops_bake
            return f"errors and latency of version {bake.version} are watched, until {until:%Y-%m-%d %H:%M} at least"
        case BakePhase.QUALITY:
            until = bake.since + spec.deployment.quality_bake
            watcher = "" if state.shadow is None else f" beside version {state.shadow.version}"
            return f"the quality of version {bake.version} is watched{watcher}, until {until:%Y-%m-%d %H:%M}"
