"""Go back to an earlier checkpoint of what a model learned online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.checkpoints import CheckpointStatus, OnlineCheckpoint
from evergreen.domain.model_events import AnyEvent, OnlineStateReverted
from evergreen.domain.state import ModelState
from evergreen.errors import ConflictingWriteError, OnlineRevertError
from evergreen.ports import Ports
from evergreen.usecases.steps.online_states import load_checkpoint, put_state, state_fingerprint
from evergreen.usecases.steps.recording import decide_and_record

_TRIES = 8


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
    fingerprint = state_fingerprint(spec_of(ports.ledger.read(model)))
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
