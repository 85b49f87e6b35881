"""How a model's online state stands, for people, and how it is taken back to a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogKind
from evergreen.domain.checkpoints import OnlineCheckpoint, OnlinePointer, Sums
from evergreen.domain.state import ModelState
from evergreen.durations import format_duration
from evergreen.model.schema import Task
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.steps.online_states import load_state, state_fingerprint

LATELY = timedelta(days=7)
_DAY = timedelta(days=1)


def read_online_status(model: str, *, now: datetime, ports: Ports) -> dict[str, Any]:
    """Read how the online state stands: what it has learned, how it predicts, its checkpoints and their verdicts.

    Raises
    ------
    UnknownModelError
        No spec was ever applied under the name.
    OnlineStateError
        The stored state is not the one that was recorded.
    """
    state = ports.ledger.read(model)
    spec = spec_of(state)
    pointer = ports.online.read(model, state_fingerprint(spec))
    checkpoints = ports.online.checkpoints(model)
    further: list[str] = []
    if pointer is not None:
        classes = load_state(ports, pointer).schema.classes or ()
        further = sorted(set(classes) - set(spec.labels.classes or ()))
    return {
        "model": model,
        "enabled": spec.online.enabled,
        "labels": spec.online.labels,
        "estimator": spec.online.estimator or ("SGDRegressor" if spec.task is Task.REGRESSION else "SGDClassifier"),
        "checkpoint_every": format_duration(spec.online.checkpoint),
        "state": None if pointer is None else _pointer(pointer, spec, now),
        "further_classes": further,
        "production": _production(state, now, ports),
        "checkpoints": [_checkpoint(each) for each in checkpoints],
    }


def _pointer(pointer: OnlinePointer, spec: ModelSpec, now: datetime) -> dict[str, Any]:
    first = f"{now - LATELY:%Y-%m-%d}"
    lately = _total(sums for day, sums in pointer.days.items() if day >= first)
    return {
        "version": pointer.version,
        "sha256": pointer.sha256,
        "updates": pointer.updates,
        "rows": pointer.rows,
        "learned_until": pointer.learned_until.isoformat(),
        "lately": _prequential(lately, spec),
        "over_all": _prequential(pointer.total, spec),
    }


def _total(days: Iterable[Sums]) -> Sums:
    rows = scored = correct = 0
    loss = 0.0
    for each in days:
        rows, scored, correct, loss = rows + each[0], scored + each[1], correct + each[2], loss + each[3]
    return rows, scored, correct, loss


def _prequential(sums: Sums, spec: ModelSpec) -> dict[str, Any]:
    """What was predicted before it was learned."""
    rows, scored, correct, loss = sums
    accuracy = None if spec.task is Task.REGRESSION or not scored else round(correct / scored, 6)
    return {
        "rows": rows,
        "predicted": scored,
        "accuracy": accuracy,
        "loss": round(loss / scored, 6) if scored else None,
    }


def _production(state: ModelState, now: datetime, ports: Ports) -> dict[str, Any] | None:
    """How production answered requests of the same days, as far as labels have come."""
    if state.production is None:
        return None
    first = f"{now - LATELY:%Y-%m-%d}"
    entries = ports.catalog.between(state.model, CatalogKind.OUTCOMES, now - LATELY - _DAY, now + _DAY)
    answered = correct = 0
    for sums in (entry.sums.daily for entry in entries if entry.sums.daily is not None):
        for day, (n, right) in sums.of_version(state.production).items():
            if day >= first:
                answered, correct = answered + n, correct + right
    share = round(correct / answered, 6) if answered else None
    return {"version": state.production, "labelled": answered, "right": share}


def _checkpoint(checkpoint: OnlineCheckpoint) -> dict[str, Any]:
    return {
        "number": checkpoint.number,
        "status": checkpoint.status.value,
        "frozen_at": checkpoint.frozen_at.isoformat(),
        "updates": checkpoint.updates,
        "rows": checkpoint.rows,
        "sha256": checkpoint.sha256,
        "verdict": checkpoint.verdict,
        "because": checkpoint.because,
        "evidence": dict(checkpoint.evidence),
        "decision_id": checkpoint.decision_id,
    }
