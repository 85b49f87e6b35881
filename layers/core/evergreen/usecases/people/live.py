"""How the live states of a model's versions stand, whether they follow from their rows, and back to an earlier one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Literal

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.live_pointer import LivePointer
from evergreen.domain.model_events import AnyEvent, OnlineStateReverted
from evergreen.domain.state import ModelState, Version
from evergreen.domain.uris import split_uri
from evergreen.errors import ConflictingWriteError, OnlineRevertError
from evergreen.formats.keys import live_state_key
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.training.live_state import LiveState
from evergreen.training.live_stored import Day, Earlier, LiveFile, StoredState, learned, reverted
from evergreen.training.live_version import LiveVersion
from evergreen.usecases.steps.live_rows import rows_that_fit
from evergreen.usecases.steps.live_states import LiveHistory, LiveStateReader, put_live_state
from evergreen.usecases.steps.loaded_models import Model, serving
from evergreen.usecases.steps.recording import decide_and_record

LATELY = timedelta(days=7)
_TRIES = 8


def read_live_status(model: str, *, now: datetime, ports: Ports) -> list[dict[str, Any]]:
    """Read what each version has learned since it was trained, and what that is worth; none without a live state.

    Raises
    ------
    UnknownModelError
        No spec was ever applied under the name.
    LiveStateError
        A stored state is not the one that was recorded.
    """
    state = ports.ledger.read(model)
    if not spec_of(state).freshness.enabled:
        return []
    histories = [_history(model, version, now, ports) for version in state.versions]
    return [_told(history, now) for history in histories if history is not None]


def _history(model: str, version: Version, now: datetime, ports: Ports) -> LiveHistory | None:
    pointer = ports.live.read(model, version.number)
    ready = None if pointer is None else _ready(version, now, ports)
    if pointer is None or ready is None:
        return None
    states = LiveStateReader(ports.artifacts)  # a new one: people want to know what is stored now
    return LiveHistory(states, model, ready, states.pointed_to(pointer, ready))


def _ready(version: Version, now: datetime, ports: Ports) -> LiveVersion | None:
    key = split_uri(version.artifact)[1]
    return serving(ports).live_version(Model(version.number, key, version.sha256), now)


def _told(history: LiveHistory, now: datetime) -> dict[str, Any]:
    stored = history.now
    first = f"{now - LATELY:%Y-%m-%d}"
    lately = [day for name, day in stored.days.items() if name >= first]
    return {
        "version": stored.version,
        "state": stored.number,
        "since": stored.since.isoformat(),
        "rows": stored.state.rows,
        "learned_until": None if stored.learned_until is None else stored.learned_until.isoformat(),
        "goes_on_from": stored.parent or None,
        "earlier": [each.number for each in stored.earlier],
        "members": _members(stored.state),
        "trust": round(stored.state.guard.weight, 4),
        "held_back": stored.state.is_held_back,
        "labels_late": round(stored.state.delay, 1),
        "may_cost": round(stored.state.guard.bound(max(1, stored.state.rows)), 2),
        "lately": _worth(lately, stored.state),
        "over_all": _worth(list(stored.days.values()), stored.state),
    }


def _members(state: LiveState) -> dict[str, float]:
    """How the versions that live on in this one are weighed, by what their refreshed leaves have cost."""
    numbers = [member.number for member in state.members]
    weights = state.weights(tuple(f"quick {number}" for number in numbers), "blend")
    return {str(number): round(float(weight), 4) for number, weight in zip(numbers, weights, strict=True)}


def _worth(days: Sequence[Day], state: LiveState) -> dict[str, Any]:
    """What was said to labelled requests, fresh and plain, and what came of it."""
    total = reduce(Day.__add__, days, Day())
    if not total.rows:
        return {"rows": 0}
    told: dict[str, Any] = {
        "rows": total.rows,
        "fresh_loss": round(total.fresh_loss / total.rows, 6),
        "plain_loss": round(total.plain_loss / total.rows, 6),
    }
    if state.classes:
        told |= {
            "fresh_accuracy": round(total.fresh_right / total.rows, 6),
            "plain_accuracy": round(total.plain_right / total.rows, 6),
        }
    return told


# --- verify -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One state, and what became of computing it again from the one before and the stored rows."""

    version: int
    state: int
    rows: int
    found: Literal["same", "differs", "unknown"]
    because: str = ""


def verify_live_states(model: str, *, now: datetime, ports: Ports) -> list[Step]:
    """Compute each state again from the one before it and the rows it learned, as far as both are kept.

    Raises
    ------
    UnknownModelError
        No spec was ever applied under the name.
    LiveStateError
        The state that is pointed to is not the one that was recorded.
    """
    state = ports.ledger.read(model)
    spec = spec_of(state)
    steps: list[Step] = []
    for version in state.versions:
        history = _history(model, version, now, ports)
        if history is not None:
            steps += _verified(history, spec, ports)
    return steps


def _verified(history: LiveHistory, spec: ModelSpec, ports: Ports) -> list[Step]:
    stored = history.now
    pointer = ports.live.read(history.model, stored.version)
    sha256 = "" if pointer is None else pointer.sha256
    steps = []
    for earlier in reversed(stored.earlier):
        before = history.load(earlier)
        if before is None:
            gone = f"state {earlier.number} is gone, or not what was recorded"
            steps.append(Step(stored.version, stored.number, stored.state.rows, "unknown", gone))
            break
        found = _computed_again(history, before, earlier, stored, spec, ports)
        steps.append(_compared(stored, found, sha256))
        stored, sha256 = before, earlier.sha256
    return steps[::-1]


def _compared(stored: StoredState, found: StoredState | None, sha256: str) -> Step:
    version, number, rows = stored.version, stored.number, stored.state.rows
    if found is None:
        gone = "rows it learned, or states that had answered them, are no longer kept"
        return Step(version, number, rows, "unknown", gone)
    actual = hashlib.sha256(found.to_bytes()).hexdigest()
    if actual == sha256:
        return Step(version, number, rows, "same")
    return Step(version, number, rows, "differs", f"the rows give {actual[:12]}, {sha256[:12]} is recorded")


def _computed_again(
    history: LiveHistory, before: StoredState, place: Earlier, after: StoredState, spec: ModelSpec, ports: Ports
) -> StoredState | None:
    known = replace(history, now=before)
    gone: list[Earlier] = []

    def load(earlier: Earlier) -> StoredState | None:
        found = known.load(earlier)
        gone.extend([] if found is not None else [earlier])
        return found

    if after.reverted_to:
        target = next((each for each in before.earlier if each.number == after.reverted_to), None)
        to = None if target is None else known.load(target)
        return None if to is None else reverted(before, place.sha256, to, now=after.since)
    files = []
    for name in after.files:
        rows = rows_that_fit(name.rpartition(" ")[0], spec.feature_schema(), ports)
        if rows is None:
            return None
        files.append(LiveFile(name, rows[0]))
    found = learned(
        before,
        place.sha256,
        files,
        version=history.version,
        load=load,
        late=after.late,
        matured=after.matured or after.since,
        now=after.since,
    )
    return None if gone else found


# --- revert -----------------------------------------------------------------------------------------------------------


def revert_live_state(
    model: str, to: int | None, reason: str, who: str, *, now: datetime, ports: Ports, version: int | None = None
) -> LivePointer:
    """Take a version's live state back to an earlier one; it goes on from there.

    What was learned since is forgotten and not learned again. The version itself stays as it is.

    Parameters
    ----------
    to
        The number of the state; the one before unless given.
    version
        Production's unless given.

    Raises
    ------
    OnlineRevertError
        There is no such state, or the state kept changing.
    LiveStateError
        A state is not the one that was recorded.
    """
    state = ports.ledger.read(model)
    for _ in range(_TRIES):
        history, place = choose_live_state(state, to, version, now=now, ports=ports)
        pointer = ports.live.read(model, history.now.version)
        target = history.load(place)
        if target is None or pointer is None:
            key = live_state_key(model, history.now.version, place.number, place.sha256)
            raise OnlineRevertError(f"state {place.number} of {model!r} is gone, or not what was recorded: {key}")
        after = reverted(history.now, pointer.sha256, target, now=max(now, history.now.since))
        try:
            written = put_live_state(ports, pointer, after, model, history.version)
            break
        except ConflictingWriteError:
            continue
    else:
        raise OnlineRevertError(f"the live state of {model!r} kept changing: revert it again")

    def decide(current: ModelState) -> Sequence[AnyEvent]:
        return (
            OnlineStateReverted(
                time=now,
                actor=who,
                because=reason,
                checkpoint=place.number,
                sha256=written.sha256,
                version=written.version,
            ),
        )

    decide_and_record(ports.ledger, model, decide)
    return written


def choose_live_state(
    state: ModelState, to: int | None, version: int | None, *, now: datetime, ports: Ports
) -> tuple[LiveHistory, Earlier]:
    """The version's live state and the earlier one that it would go back to; raises OnlineRevertError."""
    number = state.production if version is None else version
    history = None if number is None else _history(state.model, state.version(number), now, ports)
    if history is None:
        which = "no version is in production" if number is None else f"version {number} has no live state"
        raise OnlineRevertError(f"model {state.model!r}: {which}; see `evergreen online status {state.model}`")
    earlier = {each.number: each for each in history.now.earlier}
    if not earlier:
        raise OnlineRevertError(f"state {history.now.number} of version {number} is the only one that is kept")
    if to is None:
        return history, history.now.earlier[-1]
    if to not in earlier:
        raise OnlineRevertError(f"version {number} keeps no state {to}: it keeps {', '.join(map(str, earlier))}")
    return history, earlier[to]
