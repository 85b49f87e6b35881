"""How a model's online state stands, for people, and how it is taken back to a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from evergreen.domain.checkpoints import CheckpointStatus, OnlineCheckpoint, OnlinePointer, Sums
from evergreen.domain.errors import ConflictingWriteError, OnlineRevertError
from evergreen.domain.lifecycle import AnyEvent, ModelState, OnlineStateReverted
from evergreen.ports import Ports
from evergreen.schema import Task
from evergreen.spec import ModelSpec, format_duration
from evergreen.usecases.online_state import load_checkpoint, load_state, put_state, state_fingerprint
from evergreen.usecases.recording import decide_and_record

LATELY = timedelta(days=7)
_TRIES = 8
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
    spec = ModelSpec.parse(state.spec)
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
    entries = ports.catalog.between(state.model, "outcomes", now - LATELY - _DAY, now + _DAY)
    answered = correct = 0
    for entry in entries:
        for day, (n, right) in entry.sums["daily"].get(str(state.production), {}).items():
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


def revert_online(
    model: str, to: int | None, reason: str, who: str, *, now: datetime, ports: Ports
) -> OnlineCheckpoint:
    """Take the online state back to a checkpoint, and drop the newer ones; learners go on from there.

    What was learned since is forgotten and not learned again: its rows stay remembered. Versions are not touched.

    Parameters
    ----------
    to
        The checkpoint's number; the newest one older than the state unless given.

    Raises
    ------
    OnlineRevertError
        There is no such checkpoint, or the state kept changing.
    OnlineStateError
        The checkpoint is not the one that was recorded.
    """
    target = choose_checkpoint(model, to, ports=ports)
    fingerprint = target.fingerprint
    known = [each for each in ports.online.checkpoints(model) if each.fingerprint == fingerprint]
    body = load_checkpoint(ports, target).to_bytes()
    for _ in range(_TRIES):
        before = ports.online.read(model, fingerprint)
        assert before is not None, "a checkpoint is one of a state"
        after = replace(before, version=before.version + 1, updates=target.updates, rows=target.rows)
        try:
            ports.online.advance(before, put_state(ports, after, body), (), expires=now)
            break
        except ConflictingWriteError:
            continue
    else:
        raise OnlineRevertError(f"the online state of {model!r} kept changing: revert it again")
    _drop_newer(target, known, who, reason, ports)

    def decide(state: ModelState) -> Sequence[AnyEvent]:
        return (
            OnlineStateReverted(time=now, actor=who, because=reason, checkpoint=target.number, sha256=target.sha256),
        )

    decide_and_record(ports.ledger, model, decide)
    return target


def choose_checkpoint(model: str, to: int | None, *, ports: Ports) -> OnlineCheckpoint:
    """The checkpoint of that number, or the newest one that is not the state itself; raises OnlineRevertError."""
    fingerprint = state_fingerprint(ModelSpec.parse(ports.ledger.read(model).spec))
    pointer = ports.online.read(model, fingerprint)
    known = [each for each in ports.online.checkpoints(model) if each.fingerprint == fingerprint]
    by_number: Mapping[int, OnlineCheckpoint] = {each.number: each for each in known}
    if pointer is None or not known:
        raise OnlineRevertError(
            f"model {model!r} has no checkpoint to revert to: see `evergreen online status {model}`"
        )
    if to is None:
        older = [each for each in known if each.sha256 != pointer.sha256]
        if not older:
            raise OnlineRevertError(f"the online state of {model!r} is its only checkpoint: nothing is older")
        return older[-1]
    if to not in by_number:
        raise OnlineRevertError(f"model {model!r} has no checkpoint {to}: it has {', '.join(map(str, by_number))}")
    return by_number[to]


def _drop_newer(
    target: OnlineCheckpoint, known: Sequence[OnlineCheckpoint], who: str, reason: str, ports: Ports
) -> None:
    """A newer checkpoint holds what was taken back: it is never judged, nor reverted to unless by its number."""
    for each in known:
        if each.number > target.number and each.status in (CheckpointStatus.KEPT, CheckpointStatus.ON_TRIAL):
            because = f"reverted to checkpoint {target.number} by {who}: {reason}"
            ports.online.change(replace(each, status=CheckpointStatus.DROPPED, because=because))
