"""The versions that answer: alias records for seconds, models for as long as they fit into memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from evergreen.domain.aliases import AliasRecord
from evergreen.model.archive import ANCESTORS
from evergreen.model.scorer import Artifact, ArtifactError, Scorer
from evergreen.ports import Artifacts, Ports
from evergreen.usecases.steps.live_states import LiveHistory, kept_live_states

if TYPE_CHECKING:
    from evergreen.training.live_stored import StoredState
    from evergreen.training.live_version import LiveVersion

ALIAS_CACHE = timedelta(seconds=5)
REFUSAL_CACHE = timedelta(seconds=30)
CAPTURE_PAUSE = timedelta(seconds=10)
MOST_ALIASES = 1_000
GRAPH_BYTES = 150_000_000
"""Bytes of ONNX graphs that are kept loaded: a session takes about six times as much (200 trees: 30 and 170 MB)."""


@dataclass(frozen=True, slots=True)
class Model:
    """A version's bytes, by where they lie and what they have to be."""

    version: int
    artifact: str
    sha256: str


def models_of(record: AliasRecord) -> tuple[Model, ...]:
    """The versions that an alias answers with: one, or two while a canary runs.

    Examples
    --------
    >>> models_of(AliasRecord("churn", "production", 3, "models/churn/v3.tar.gz", "ab", epoch=9))
    (Model(version=3, artifact='models/churn/v3.tar.gz', sha256='ab'),)
    """
    first = Model(record.version, record.artifact, record.sha256)
    beside = record.canary
    return (first,) if beside is None else (first, Model(beside.version, beside.artifact, beside.sha256))


@dataclass(frozen=True, slots=True)
class _Loaded:
    scorer: Scorer
    live: LiveVersion | None  # what its live state answers by
    size: int  # bytes of its graphs


class LoadedModels:
    """Models that are ready to answer, by their hashes; of too many, those that were not asked for longest go.

    Parameters
    ----------
    artifacts
        Where their bytes come from.
    limit
        Bytes of graphs; the newest model is kept whatever its size.
    """

    def __init__(self, artifacts: Artifacts, limit: int = GRAPH_BYTES) -> None:
        self._artifacts = artifacts
        self._limit = limit
        self._ready: OrderedDict[Model, _Loaded] = OrderedDict()
        self._coming: dict[Model, threading.Thread] = {}
        self._lock = threading.Lock()

    def __contains__(self, model: Model) -> bool:
        return model in self._ready

    def get(self, model: Model) -> _Loaded:
        """The model, loaded now if it is not there yet.

        Raises
        ------
        ArtifactError, FileNotFoundError
            Its bytes are not those recorded, are no model, or are gone.
        """
        coming = self._coming.pop(model, None)
        if coming is not None:
            coming.join()
        with self._lock:
            if model in self._ready:
                self._ready.move_to_end(model)
                return self._ready[model]
        return self._load(model)

    def load_behind(self, models: Iterable[Model]) -> None:
        """Begin to load models while others go on answering."""
        self._coming = {model: thread for model, thread in self._coming.items() if thread.is_alive()}
        for model in models:
            if model not in self and model not in self._coming:
                self._coming[model] = threading.Thread(target=self._try_to_load, args=(model,), daemon=True)
                self._coming[model].start()

    def _try_to_load(self, model: Model) -> None:
        with suppress(Exception):  # whoever asks for the model loads it again, and is told why it can't be
            self._load(model)

    def _load(self, model: Model) -> _Loaded:
        content = self._artifacts.get(model.artifact, model.sha256)
        artifact = Artifact.from_tar(content, model.sha256)
        size = len(artifact.onnx)
        self._make_room(size)
        live = None
        if ANCESTORS in artifact.facts:
            from evergreen.training.live_version import LiveVersion  # no other model needs it

            live = LiveVersion.from_tar(content, model.sha256, model.version)
        loaded = _Loaded(artifact.scorer(), live, size + (0 if live is None else live.size))
        with self._lock:
            self._ready[model] = loaded
        return loaded

    def _make_room(self, size: int) -> None:
        """Let go of models before another is loaded: while it is, its memory is needed twice."""
        with self._lock:
            total = sum(loaded.size for loaded in self._ready.values())
            while self._ready and total + size > self._limit:
                _, gone = self._ready.popitem(last=False)
                total -= gone.size


@dataclass(frozen=True, slots=True)
class _Seen:
    at: datetime
    record: AliasRecord | None
    awaits: bool = False  # a newer record's models are being loaded


@dataclass(frozen=True, slots=True)
class _SeenState:
    at: datetime
    sha256: str  # of the state that was pointed to; empty: there is none
    state: StoredState | None
    refused: Exception | None
    refused_at: datetime


class Serving:
    """What answers: aliases for seconds, and the models behind them."""

    def __init__(self, ports: Ports, limit: int = GRAPH_BYTES) -> None:
        self._ports = ports
        self._models = LoadedModels(ports.kept_artifacts, limit)
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()
        self._refused: OrderedDict[Model, tuple[datetime, Exception]] = OrderedDict()
        self._live: OrderedDict[Hashable, _SeenState] = OrderedDict()
        self._uncaptured_at: datetime | None = None

    def alias(self, model: str, alias: str, now: datetime) -> AliasRecord | None:
        """What the alias points to, at most :data:`ALIAS_CACHE` old.

        Where its models are not loaded yet, what was there before goes on answering while they are: once, and for as
        long again. A model that is loaded, as the one that a rollback leads to mostly is, answers at once.
        """
        seen = self._seen.get((model, alias))
        if seen is not None and timedelta(0) <= now - seen.at < ALIAS_CACHE:
            return seen.record
        found = self._ports.aliases.read(model, alias)
        new = _Seen(now, found)
        if seen is not None and found is not None and self._may_go_on(seen, now):
            missing = [one for one in models_of(found) if one not in self._models]
            if missing:
                self._models.load_behind(missing)
                new = _Seen(seen.at + ALIAS_CACHE, seen.record, awaits=True)
        self._seen[model, alias] = new
        _forget_oldest(self._seen)
        return new.record

    def _may_go_on(self, seen: _Seen, now: datetime) -> bool:
        """Whether what was seen may answer a little longer: it is not old, it waits for the first time, and it can."""
        if seen.record is None or seen.awaits or not timedelta(0) <= now - seen.at < 2 * ALIAS_CACHE:
            return False
        return all(one in self._models for one in models_of(seen.record))

    def scorer(self, model: Model, now: datetime) -> Scorer:
        """The version's model, hash-checked when it is loaded; raises what :meth:`_loaded` raises."""
        return self._loaded(model, now).scorer

    def live_version(self, model: Model, now: datetime) -> LiveVersion | None:
        """What the version's live state answers by, if it has one; raises what :meth:`_loaded` raises."""
        return self._loaded(model, now).live

    def live_state(self, name: str, model: Model, now: datetime) -> LiveHistory | None:
        """The version with its live state, at most :data:`ALIAS_CACHE` old; None: it answers as it was trained.

        Raises
        ------
        LiveStateError, FileNotFoundError
            Its bytes are not those recorded, or gone; not read again for :data:`REFUSAL_CACHE`.
        """
        version = self.live_version(model, now)
        if version is None:
            return None
        seen = self._live.get((name, model.version))
        if seen is None or not timedelta(0) <= now - seen.at < ALIAS_CACHE:
            seen = self._look(name, model.version, seen, version, now)
            self._live[name, model.version] = seen
            _forget_oldest(self._live)
        if seen.refused is not None:
            raise seen.refused.with_traceback(None)
        return None if seen.state is None else LiveHistory(kept_live_states(self._ports), name, version, seen.state)

    def _look(self, name: str, number: int, seen: _SeenState | None, version: LiveVersion, now: datetime) -> _SeenState:
        from evergreen.training.live_stored import LiveStateError

        try:
            pointer = self._ports.live.recent(name, number)
        except Exception as error:  # the table does not answer: not each request is to wait for it
            return _SeenState(now, "", None, error, now) if seen is None else replace(seen, at=now)
        sha256 = "" if pointer is None else pointer.sha256
        known = seen is not None and seen.sha256 == sha256
        if seen is not None and known and (seen.refused is None or now - seen.refused_at < REFUSAL_CACHE):
            return replace(seen, at=now)
        try:
            state = None if pointer is None else kept_live_states(self._ports).pointed_to(pointer, version)
        except (LiveStateError, FileNotFoundError) as error:
            return _SeenState(now, sha256, None, error, now)
        return _SeenState(now, sha256, state, None, now)

    def _loaded(self, model: Model, now: datetime) -> _Loaded:
        """The version's model, hash-checked when it is loaded.

        One that was refused is not read again for :data:`REFUSAL_CACHE`: each request would fetch all of it.

        Raises
        ------
        ArtifactError, FileNotFoundError
            Its bytes are not those recorded, are no model, or are gone.
        """
        since, refusal = self._refused.get(model, (now, None))
        if refusal is not None and timedelta(0) <= now - since < REFUSAL_CACHE:
            raise refusal.with_traceback(None)
        self._refused.pop(model, None)
        try:
            return self._models.get(model)
        except (ArtifactError, FileNotFoundError) as error:
            self._refused[model] = (now, error)
            _forget_oldest(self._refused)
            raise

    def capture(self, lines: list[bytes], now: datetime) -> Sequence[int]:
        """Hand captures over; answers the places of those that were not taken.

        A stream that does not answer is left alone for :data:`CAPTURE_PAUSE`: every answer would wait for it.
        """
        if self._uncaptured_at is not None and timedelta(0) <= now - self._uncaptured_at < CAPTURE_PAUSE:
            return range(len(lines))
        try:
            self._uncaptured_at = None
            return self._ports.captures.put(lines)
        except Exception:  # a failing capture never fails an answer; the caller counts it
            self._uncaptured_at = now
            return range(len(lines))


def _forget_oldest[K, V](remembered: OrderedDict[K, V]) -> None:
    while len(remembered) > MOST_ALIASES:
        remembered.popitem(last=False)


@lru_cache(maxsize=2)
def serving(ports: Ports) -> Serving:
    """One cache for each set of ports."""
    return Serving(ports)
