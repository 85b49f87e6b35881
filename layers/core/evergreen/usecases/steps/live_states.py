"""Where a version's live state lies, how its bytes are read, and what answered a request at its time."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from evergreen.domain.live_pointer import LivePointer
from evergreen.errors import EvergreenError
from evergreen.formats.keys import live_state_key, live_state_number, live_state_version, live_states_of
from evergreen.ports import Files, Ports

if TYPE_CHECKING:
    from evergreen.formats.captures import Capture
    from evergreen.spec import ModelSpec
    from evergreen.training.live_state import Answered
    from evergreen.training.live_stored import Earlier, StoredState
    from evergreen.training.live_version import LiveVersion

KEPT_BYTES = 32_000_000
SWEPT_EVERY = 24
"""To list what a bucket holds costs as much as to write a state; what is there too long costs next to nothing."""
LATE = timedelta(days=2)
"""A label file is joined again this long after its labels' maturity."""


class LiveStateGoneError(EvergreenError, FileNotFoundError):
    """The bytes that were pointed to are gone: somebody has moved the state on in between. Read the pointer again."""


def horizon_of(spec: ModelSpec) -> timedelta:
    """How long ago a row may have been asked that is still learned: twice the maturity, and what is joined late."""
    return 2 * spec.labels.maturity + LATE


class LiveStateReader:
    """Reads states, and keeps those that were read or written lately: what has a hash never changes.

    Parameters
    ----------
    artifacts
        Where their bytes come from.
    limit
        Bytes of states that are kept; of more, those go that were not used longest. With a version that is let go of
        go its states.
    """

    def __init__(self, artifacts: Files, limit: int = KEPT_BYTES) -> None:
        self._artifacts, self._limit = artifacts, limit
        self._ready: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, sha256: str, version: LiveVersion) -> StoredState:
        """Read a state.

        Raises
        ------
        FileNotFoundError
            It is gone.
        LiveStateError
            Its bytes are not those that were recorded, or can't be read.
        """
        from evergreen.training.live_stored import StoredState

        with self._lock:
            known = self._ready.get(sha256)
            if known is not None and known.version() is version:
                self._ready.move_to_end(sha256)
                return known.state
        body = self._artifacts.get(key)
        state = StoredState.from_bytes(body, sha256, version)
        self.keep(sha256, version, state, len(body))
        return state

    def keep(self, sha256: str, version: LiveVersion, state: StoredState, size: int) -> None:
        """Remember a state whose bytes have this hash and size."""
        with self._lock:
            for old in [name for name, each in self._ready.items() if each.version() is None]:
                del self._ready[old]
            self._ready[sha256] = _Known(weakref.ref(version), state, size)
            while sum(each.size for each in self._ready.values()) > self._limit:
                self._ready.popitem(last=False)

    def pointed_to(self, pointer: LivePointer, version: LiveVersion) -> StoredState:
        """Read the state that is pointed to.

        Raises
        ------
        LiveStateError
            Its bytes are not those that were recorded, or can't be read.
        LiveStateGoneError
            Somebody has moved the state on.
        """
        try:
            return self.get(pointer.key, pointer.sha256, version)
        except FileNotFoundError as error:
            raise LiveStateGoneError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Known:
    version: weakref.ref[LiveVersion]  # whose leaves the state has; its graphs are not kept loaded for it
    state: StoredState
    size: int


@lru_cache(maxsize=2)
def kept_live_states(ports: Ports) -> LiveStateReader:
    """One reader for each set of ports."""
    return LiveStateReader(ports.artifacts)


def put_live_state(
    ports: Ports, before: LivePointer | None, state: StoredState, model: str, version: LiveVersion
) -> LivePointer:
    """Write a version's state where nobody else's can be, and point to it; raises ConflictingWriteError."""
    body = state.to_bytes()
    digest = hashlib.sha256(body).hexdigest()
    pointer = LivePointer(
        model=model,
        version=state.version,
        number=state.number,
        key=live_state_key(model, state.version, state.number, digest),
        sha256=digest,
        since=state.since,
        rows=state.state.rows,
        learned_until=state.learned_until,
    )
    ports.artifacts.put(pointer.key, body)
    ports.live.advance(before, pointer)
    kept_live_states(ports).keep(digest, version, state, len(body))
    return pointer


def is_swept_at(number: int) -> bool:
    """Whether the bucket is looked through once a state of this number is written: at every 24th."""
    return number % SWEPT_EVERY == 0


def sweep_live_states(ports: Ports, pointer: LivePointer, before: StoredState | None, state: StoredState) -> None:
    """Delete states that answered no row that may still be learned; at times those of who lost a race, or died here.

    A write that is still under way is of a newer state, or will lose.
    """
    kept = {pointer.key} | {_key(pointer, each) for each in state.earlier}
    for gone in () if before is None else before.earlier:
        if _key(pointer, gone) not in kept:
            ports.artifacts.delete(_key(pointer, gone))
    if not is_swept_at(pointer.number):
        return
    for key in list(ports.artifacts.keys(live_states_of(pointer.model, pointer.version))):
        if key not in kept and live_state_number(key) <= pointer.number:
            ports.artifacts.delete(key)


def _key(pointer: LivePointer, earlier: Earlier) -> str:
    return live_state_key(pointer.model, pointer.version, earlier.number, earlier.sha256)


def sweep_the_others(ports: Ports, model: str, living: Collection[int]) -> None:
    """Of versions that learn no more keep the last state alone: it goes on if one of them answers again."""
    by_version: dict[int, list[str]] = {}
    for key in ports.artifacts.keys(live_states_of(model)):
        by_version.setdefault(live_state_version(key), []).append(key)
    for version, keys in by_version.items():
        pointer = None if version in living or len(keys) < 2 else ports.live.read(model, version)
        for key in keys if pointer is not None else ():
            if pointer is not None and key != pointer.key:
                ports.artifacts.delete(key)


@dataclass(frozen=True, eq=False)
class LiveHistory:
    """A version with its state now, and the earlier ones as they are asked for.

    Parameters
    ----------
    states
        Reads the earlier ones.
    model
        Its name.
    version
        Ready to be asked.
    now
        Its state.
    """

    states: LiveStateReader
    model: str
    version: LiveVersion
    now: StoredState

    def load(self, earlier: Earlier) -> StoredState | None:
        """An earlier state; None where it is gone, or no longer what it was."""
        from evergreen.training.live_stored import LiveStateError

        key = live_state_key(self.model, self.now.version, earlier.number, earlier.sha256)
        try:
            return self.states.get(key, earlier.sha256, self.version)
        except (FileNotFoundError, LiveStateError):
            return None

    def of_now(self, rows: Sequence[Mapping[str, Any]]) -> Answered:
        """What the version says to rows that are asked now."""
        return self.now.state.answer(self.version.asked(rows, self.now.preparation))

    def answers(self, captures: Sequence[Capture], within: float | None = None) -> list[Answered]:
        """What the version says to each request as its state was then, one after the other's time.

        Requests from before its first state are answered by that.
        """
        found: list[Answered] = []
        for place, some in groupby(captures, key=lambda capture: self._place(capture.time)):
            state = self.now if place is None else self.load(place) or self.now
            asked = self.version.asked([capture.features for capture in some], state.preparation, within)
            found.append(state.state.answer(asked))
        return found

    def _place(self, time: datetime) -> Earlier | None:
        place = self.now.of_time(time)
        if isinstance(place, int):
            return None
        return place if place is not None else next(iter(self.now.earlier), None)
