"""Learn matured labels for every version that answers, or may answer soon: their answers follow the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogEntry, CatalogKind, whole_hour
from evergreen.domain.live_pointer import LivePointer
from evergreen.domain.state import ModelState, Version, VersionStatus
from evergreen.domain.uris import split_uri
from evergreen.errors import ConflictingWriteError
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.training.live_stored import LiveFile, StoredState, learned, started
from evergreen.training.live_version import LiveVersion
from evergreen.usecases.steps.live_rows import kept_rows
from evergreen.usecases.steps.live_states import (
    LATE,
    LiveHistory,
    horizon_of,
    is_swept_at,
    kept_live_states,
    put_live_state,
    sweep_live_states,
    sweep_the_others,
)
from evergreen.usecases.steps.loaded_models import Model, serving

_HOUR = timedelta(hours=1)
_MOST_ROWS = 20_000
"""Learned by a version in one tick; the rest waits for the next one."""


@dataclass(frozen=True, slots=True)
class LearnedLive:
    """What became of one version's live state."""

    version: int
    number: int  # of the state
    rows: int  # learned now
    ignored: int = 0  # that can't be learned: features or label do not fit
    lost_a_race: bool = False  # somebody else learned meanwhile: nothing is lost
    held_back: bool = False  # proven worse than the version as it was trained, which answers meanwhile


def learn_live(model: str, *, now: datetime, ports: Ports) -> list[LearnedLive]:
    """Learn what has matured since the last time, once for each version that answers or may answer soon.

    Called twice, or by two at once, one write wins; whoever died left nothing but a file that the next one sweeps.

    Raises
    ------
    LiveStateError
        A state's bytes are not those that were recorded.
    """
    state = ports.ledger.read(model)
    spec = spec_of(state)
    if not spec.freshness.enabled:
        return []
    done = []
    versions, tick = living(state), _Tick(spec, now, ports)
    for version in versions:
        found = _learn(version, state, tick)
        if found is not None:
            done.append(found)
    if any(is_swept_at(each.number) and each.rows for each in done):
        sweep_the_others(ports, model, {version.number for version in versions})
    return done


def living(state: ModelState) -> list[Version]:
    """The versions whose answers are to be fresh: production, a candidate, and where a rollback leads; oldest first."""
    numbers = {state.production, None if state.shadow is None else state.shadow.version}
    for version in (state.waiting_candidate, state.last_known_good()):
        numbers.add(None if version is None else version.number)
    if state.bake is not None:
        numbers.add(state.bake.replaced)
    if state.repoint is not None:
        numbers |= {state.repoint.version, state.repoint.instead_of}
    approved = {version.number for version in state.versions if version.status is VersionStatus.APPROVED}
    return [version for version in state.versions if version.number in numbers | approved]


@dataclass(frozen=True)
class _Tick:
    """What all versions look at, read once for all of them."""

    spec: ModelSpec
    now: datetime
    ports: Ports
    _asked: dict[datetime, float] = field(default_factory=dict)

    @cached_property
    def entries(self) -> Sequence[CatalogEntry]:
        """The files whose rows may still be learned."""
        start = self.now - 2 * self.spec.labels.maturity - LATE
        return self.ports.catalog.between(self.spec.model, CatalogKind.ONLINE_ROWS, start, self.now + _HOUR)

    def asked_since(self, time: datetime) -> float:
        """How many requests were captured after a time, by the hour."""
        first = whole_hour(time) + _HOUR
        if first not in self._asked:
            entries = self.ports.catalog.between(
                self.spec.model, CatalogKind.COMPACT_PRODUCTION, first, self.now + _HOUR
            )
            self._asked[first] = float(sum(entry.rows for entry in entries))
        return self._asked[first]


def _learn(version: Version, state: ModelState, tick: _Tick) -> LearnedLive | None:
    spec, now, ports = tick.spec, tick.now, tick.ports
    ready = _ready(version, now, ports)
    if ready is None:
        return None
    pointer = ports.live.read(spec.model, version.number)
    if pointer is None:
        return _start(version, ready, state, spec, now, ports)
    states = kept_live_states(ports)
    before = states.pointed_to(pointer, ready)
    matured = now - before.delays.matured_after(spec.labels.maturity)
    files, ignored = _files(before, matured, tick)
    if not files or now <= before.since:
        return LearnedLive(version.number, before.number, 0, ignored, held_back=before.state.is_held_back)
    history = LiveHistory(states, spec.model, ready, before)
    late = tick.asked_since(before.learned_until or before.since)
    after = learned(
        before, pointer.sha256, files, version=ready, load=history.load, late=late, matured=matured, now=now
    )
    return _kept(pointer, before, after, ready, ignored, spec.model, ports)


def _kept(
    pointer: LivePointer | None,
    before: StoredState | None,
    after: StoredState,
    ready: LiveVersion,
    ignored: int,
    model: str,
    ports: Ports,
) -> LearnedLive:
    rows = after.state.rows - (0 if before is None else before.state.rows)
    try:
        written = put_live_state(ports, pointer, after, model, ready)
    except ConflictingWriteError:
        return LearnedLive(after.version, after.number, 0, lost_a_race=True)
    sweep_live_states(ports, written, before, after)
    return LearnedLive(after.version, after.number, rows, ignored, held_back=after.state.is_held_back)


def _ready(version: Version, now: datetime, ports: Ports) -> LiveVersion | None:
    """The version, ready to be asked; None for one whose archive holds nothing for a live state."""
    key = split_uri(version.artifact)[1]
    return serving(ports).live_version(Model(version.number, key, version.sha256), now)


def _start(
    version: Version, ready: LiveVersion, state: ModelState, spec: ModelSpec, now: datetime, ports: Ports
) -> LearnedLive:
    """A version's first state: it answers from now on, and learns from the next time on."""
    parent = None
    production = state.production_version
    if production is not None and production.number in ready.numbers[:-1]:
        pointer, theirs = ports.live.read(spec.model, production.number), _ready(production, now, ports)
        if pointer is not None and theirs is not None:
            parent = kept_live_states(ports).pointed_to(pointer, theirs)
    first = started(ready, version.number, parent, now=now, horizon=horizon_of(spec))
    found = _kept(None, None, first, ready, 0, spec.model, ports)
    return LearnedLive(found.version, found.number, 0, lost_a_race=found.lost_a_race)


# --- rows -------------------------------------------------------------------------------------------------------------


def _files(before: StoredState, matured: datetime, tick: _Tick) -> tuple[list[LiveFile], int]:
    """The files to learn of, in the order of the hours, and how many of their rows can't be learned.

    A file stays open until all of its rows were asked longer ago than labels take.
    """
    schema = tick.spec.feature_schema()
    files: list[LiveFile] = []
    rows = ignored = 0
    for entry in tick.entries:
        if rows >= _MOST_ROWS:
            break
        if before.knows_file(_name(entry)):
            continue
        fitting, others = kept_rows(entry.key, entry.etag, schema, tick.ports) or ((), 0)
        file = LiveFile(_name(entry), fitting)
        if before.gains_by(file, matured):
            files.append(file)
            rows += len(fitting)
            ignored += others if file.has_matured(matured) else 0
    return files, ignored


def _name(entry: CatalogEntry) -> str:
    return f"{entry.key} {entry.etag}"
