"""Where a version comes from and what became of it; and which versions came of an object of data.

Put together from what was recorded: the history, the snapshots beside it and the notes of verdicts. The state is not
asked: it keeps the newest versions only, the history all of them.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

from evergreen.domain import event_json
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogKind
from evergreen.domain.history import Entry, History
from evergreen.domain.model_events import (
    AnyEvent,
    BakePassed,
    CandidateRegistered,
    CandidateRejected,
    CandidateRetired,
    PromotionApproved,
    PromotionProposed,
    RepointFailed,
    RollbackDecided,
    RollbackImpossible,
    ShadowStarted,
    TrainingFailed,
    TrainingStarted,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import ModelState
from evergreen.domain.training_jobs import snapshot_sha256
from evergreen.domain.uris import is_uri, split_uri
from evergreen.errors import EvergreenError
from evergreen.formats.keys import (
    DataPrefix,
    FileKey,
    job_name_of,
    reference_sha256,
    snapshot_key,
    snapshot_of_decision,
)
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.people.verify import verify_history

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_NOTES_SINCE = timedelta(days=401)  # a note is kept for 400 days
_MOST_FILES_FOLLOWED = 100


class NoLineageError(EvergreenError):
    """A question that the history can't answer."""


class Found(StrEnum):
    """What lies now where something was recorded."""

    AS_RECORDED = "as recorded"
    CHANGED = "changed since"
    GONE = "gone"
    NOT_LOOKED_AT = "not looked at"


@dataclass(frozen=True, slots=True)
class Step:
    """One event or note: what, when, by whom, why."""

    what: str
    time: datetime
    by: str
    because: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Entry[Any]) -> Step:
        """The step that an event tells of."""
        return cls(entry.kind, entry.time, entry.fields.get("actor", ""), entry.because, _beside(entry.fields))

    @classmethod
    def of_note(cls, note: Mapping[str, Any], about: Mapping[str, Any]) -> Step:
        """The step that a note tells of, and what was so then."""
        time = datetime.fromisoformat(note["time"])
        return cls(event_json.note_name(note), time, note.get("actor", ""), note["because"], _beside({**note, **about}))

    @property
    def event(self) -> AnyEvent | None:
        """The event again; None for a note."""
        about = {"time": self.time.isoformat(), "actor": self.by, "because": self.because}
        return event_json.event_of(self.what, {**about, **self.fields})


_ABOUT = frozenset({"model", "epoch", "type", "time", "actor", "because", "hash"})


def _beside(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in _ABOUT}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that a job was trained on, and what lies there now."""

    key: str
    etag: str
    rows: int
    found: Found


@dataclass(frozen=True, slots=True)
class Data:
    """The rows of a job: its snapshot, and whether that is still the one of the history."""

    snapshot: str  # sha256, as the history has it
    place: str  # of snapshot.json
    found: Found
    rows: int
    start: datetime | None
    end: datetime | None
    files: tuple[DataFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One training job, and how it ended."""

    job: str
    attempt: int
    started: Step
    ended: str


@dataclass(frozen=True, slots=True)
class Run:
    """The run that a tracking server knows."""

    run_id: str
    url: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """A version from its data to its deployments."""

    model: str
    version: int
    status: str  # where it stands; `rejected`, `good`, ... as the history leaves it
    in_production: bool
    registered: Step
    artifact: Found
    reference: Found
    decision: Step | None  # None: registered by hand
    attempts: tuple[Attempt, ...]
    data: Data | None
    run: Run | None
    shadow: tuple[Step, ...]
    deployments: tuple[Step, ...]
    flaws: tuple[str, ...]  # what is not as it was recorded

    def to_json(self) -> dict[str, Any]:
        """The lineage as plain data."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


@dataclass(frozen=True, slots=True)
class Use:
    """A training that read the object, and what came of it."""

    decision_id: str
    job: str
    time: datetime
    key: str
    rows: int
    version: int | None
    became: str
    found: Found


@dataclass(frozen=True, slots=True)
class DataLineage:
    """What came of an object of data."""

    model: str
    asked: str
    said: str
    keys: tuple[str, ...]  # of training data that the object is, or became
    uses: tuple[Use, ...]

    def to_json(self) -> dict[str, Any]:
        """The lineage as plain data."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


# --- from a version ---------------------------------------------------------------------------------------------------


def trace_version(model: str, version: int | None, *, now: datetime, ports: Ports, verify: bool = False) -> Lineage:
    """Trace a version, by default the one in production, back to its data and on to its deployments.

    The snapshot's hash and the ETags of its files are always compared with what lies there now; with ``verify`` also
    the bytes of the artifact and of the reference, and the chain of the history.

    Raises
    ------
    UnknownModelError, UnknownVersionError
        There is no such model or version.
    NoLineageError
        No version is named, and none is in production.
    """
    state = ports.ledger.read(model)
    history = ports.ledger.history(model)
    number = state.production if version is None else version
    if number is None:
        raise NoLineageError(f"no version of {model!r} is in production: name one (evergreen lineage {model} VERSION)")
    notes = ports.ledger.notes(model, "shadow", now - _NOTES_SINCE, now + _DAY)
    lineage = assemble(model, number, history, notes)
    data = None if lineage.data is None else _looked_up(model, lineage, ports)
    flaws = [] if data is None else _flaws_of(data)
    artifact = reference = Found.NOT_LOOKED_AT
    if verify:
        artifact, reference = _bytes_found(history.registration(number).event, ports)
        flaws += [
            f"the {what} of version {number} is {found}"
            for what, found in (("artifact", artifact), ("reference", reference))
            if found in (Found.CHANGED, Found.GONE)
        ]
        flaws += [f"the history: {flaw}" for flaw in verify_history(model, ports=ports)[1]]
    run = _run(model, number, ports)
    return replace(lineage, data=data, artifact=artifact, reference=reference, run=run, flaws=tuple(flaws))


def assemble(model: str, version: int, history: History, notes: Iterable[Mapping[str, Any]]) -> Lineage:
    """Put a version's lineage together from events and notes alone; nothing is looked up.

    Parameters
    ----------
    model
    version
    history
        The model's, all of it.
    notes
        Comparisons as the ledger tells them.
    """
    registered = history.registration(version)
    decision_id = registered.event.decision_id
    requested = history.requested(decision_id) if decision_id else None
    attempts = _attempts(history, decision_id) if decision_id else ()
    made = job_name_of(registered.event.artifact) if attempts else ""
    trained = next((attempt for attempt in reversed(attempts) if attempt.job == made), None)
    standing, states = _standing(history)
    return Lineage(
        model=model,
        version=version,
        status=standing.statuses[version],
        in_production=standing.state.production == version,
        registered=Step.of(registered),
        artifact=Found.NOT_LOOKED_AT,
        reference=Found.NOT_LOOKED_AT,
        decision=None if requested is None else Step.of(requested),
        attempts=attempts,
        data=None if trained is None else _recorded_data(model, decision_id, trained),
        run=None,
        shadow=tuple(_evidence(version, history, notes, states)),
        deployments=tuple(Step.of(entry) for entry in history if _is_deployment(entry.event, version)),
        flaws=(),
    )


def _attempts(history: History, decision_id: str) -> tuple[Attempt, ...]:
    """The jobs of one retraining, in words."""
    jobs = history.attempts(decision_id)
    starts = [(job.started.event, job) for job in jobs]
    return tuple(Attempt(s.job_name, s.attempt, Step.of(job.started), _ended(job.ended)) for s, job in starts)


def _ended(end: TrainingFailed | CandidateRejected | CandidateRegistered | None) -> str:
    match end:
        case TrainingFailed():
            return f"failed: {end.because}"
        case CandidateRejected():
            return f"its model failed the gate: {end.because}"
        case CandidateRegistered():
            return f"made version {end.version}"
        case None:
            return "runs"


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where every version stands at the end of a history, also those that the state keeps no more."""

    state: ModelState
    statuses: Mapping[int, str]


def _standing(history: History) -> tuple[_Standing, Mapping[int, ModelState]]:
    state = ModelState(history.model)
    statuses: dict[int, str] = {}
    states: dict[int, ModelState] = {}
    for _, state in history.states():
        states[state.epoch] = state
        statuses |= {version.number: version.status.value for version in state.versions}
    return _Standing(state, statuses), states


def _evidence(
    version: int,
    history: History,
    notes: Iterable[Mapping[str, Any]],
    states: Mapping[int, ModelState],
) -> Iterator[Step]:
    """The version's times in shadow, and every verdict on it, in order of time."""
    told = [Step.of(entry) for entry in history.entries_of(*_OF_SHADOW) if entry.event.version == version]
    for note in notes:
        state = states.get(note["epoch"])
        if state is not None and state.shadow is not None and state.shadow.version == version:
            about = {"role": state.shadow.role.value, "judged_against": state.shadow.judged_against}
            told.append(Step.of_note(note, about))
    yield from sorted(told, key=lambda step: step.time)


_OF_SHADOW: tuple[type[ShadowStarted | CandidateRetired], ...] = (ShadowStarted, CandidateRetired)


def _is_deployment(event: AnyEvent | None, version: int) -> bool:
    """Whether it put the version into production, judged it there, or took it out."""
    match event:
        case PromotionProposed() | PromotionApproved() | BakePassed() | RollbackImpossible() | RepointFailed():
            return version == event.version
        case VersionPromoted():
            return version in (event.version, event.replaced)
        case RollbackDecided() | VersionRolledBack():
            return version in (event.version, event.to_version)
        case _:
            return False


def _recorded_data(model: str, decision_id: str, attempt: Attempt) -> Data:
    recorded = attempt.started.fields
    place = snapshot_key(model, decision_id, attempt.attempt)
    return Data(recorded["snapshot"], place, Found.NOT_LOOKED_AT, recorded["rows"], None, None)


def _run(model: str, version: int, ports: Ports) -> Run | None:
    """The run of a tracking server that is known and answers; lineage does not depend on it."""
    registry = ports.registry
    if registry is None:
        return None
    try:
        found = registry.run(model, version)
    except Exception:  # the server is away: what is recorded is told all the same
        return None
    return None if found is None else Run(found.run_id, found.url)


def _bytes_found(registered: CandidateRegistered, ports: Ports) -> tuple[Found, Found]:
    if not is_uri(registered.artifact):
        return Found.NOT_LOOKED_AT, Found.NOT_LOOKED_AT  # a model that only SageMaker holds
    artifact = _hash_found(ports, split_uri(registered.artifact)[1], registered.sha256)
    reference = registered.reference
    if not reference:
        return artifact, Found.NOT_LOOKED_AT
    return artifact, _hash_found(ports, reference, reference_sha256(reference))


def _hash_found(ports: Ports, key: str, sha256: str) -> Found:
    found = ports.artifacts.get_with_etag(key)
    if found is None:
        return Found.GONE
    return Found.AS_RECORDED if hashlib.sha256(found[0]).hexdigest() == sha256 else Found.CHANGED


# --- the data of a training -------------------------------------------------------------------------------------------


def _looked_up(model: str, lineage: Lineage, ports: Ports) -> Data:
    """The data with its files as they are now."""
    data = lineage.data
    assert data is not None, "a training has data"
    place, snapshot = _snapshot(model, data, ports)
    if snapshot is None:
        return Data(data.snapshot, place, Found.GONE, data.rows, None, None)
    if not _is_recorded(snapshot, data.snapshot):
        return Data(data.snapshot, place, Found.CHANGED, data.rows, None, None)
    there = _etags(ports, [file["key"] for file in snapshot["files"]])
    files = tuple(
        DataFile(file["key"], file["etag"], file["rows"], _etag_found(there.get(file["key"]), file["etag"]))
        for file in snapshot["files"]
    )
    times = sorted(time for file in snapshot["files"] if (time := _time_of(file)) is not None)
    start, end = (times[0], times[-1]) if times else (None, None)
    return Data(data.snapshot, place, Found.AS_RECORDED, data.rows, start, end, files)


def _snapshot(model: str, data: Data, ports: Ports) -> tuple[str, dict[str, Any] | None]:
    """The snapshot of the attempt; of trainings from before each attempt had its own, that of the decision."""
    for place in (data.place, snapshot_of_decision(data.place)):
        found = ports.artifacts.get_with_etag(place)
        if found is not None:
            return place, _read_snapshot(found[0])
    return data.place, None


def _read_snapshot(body: bytes) -> dict[str, Any]:
    """The document; nothing of it where it can't be read, which no hash in the history matches."""
    try:
        document = json.loads(body)
        files = [{**file, "key": str(file["key"]), "rows": int(file["rows"])} for file in document["files"]]
    except (ValueError, KeyError, TypeError):
        return {"files": []}
    return {**document, "files": files}


def _is_recorded(snapshot: Mapping[str, Any], sha256: str) -> bool:
    return snapshot_sha256(snapshot["files"], snapshot.get("trained_from") or "") == sha256


def _time_of(file: Mapping[str, Any]) -> datetime | None:
    """The hour that a file's key names; base data is of no one hour."""
    try:
        return FileKey.parse(file["key"]).hour
    except ValueError:
        return None


def _etags(ports: Ports, keys: Sequence[str]) -> dict[str, str]:
    """What lies at the keys now: one listing a month of files, not one request a file."""
    there: dict[str, str] = {}
    for _, group in groupby(sorted(keys), key=_month):
        names = list(group)
        first, last = names[0], names[-1]
        shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        there |= dict(ports.data.etags(first[:shared]))
    return there


def _month(key: str) -> str:
    """kind/model/yyyy/mm of a file of an hour; kind/model of others."""
    return "/".join(key.split("/")[:4]) if key.count("/") > 4 else "/".join(key.split("/")[:2])


def _etag_found(there: str | None, recorded: str) -> Found:
    if there is None:
        return Found.GONE
    return Found.AS_RECORDED if there == recorded else Found.CHANGED


def _flaws_of(data: Data) -> list[str]:
    """What was changed; what is gone was deleted by its retention, as a rule, and is told where it was."""
    if data.found is Found.CHANGED:
        return [f"{data.place} is not the snapshot of the history ({data.snapshot[:12]})"]
    changed = [file.key for file in data.files if file.found is Found.CHANGED]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return [f"changed since they were trained on: {', '.join(changed[:3])}{more}"] if changed else []


# --- from an object of data -------------------------------------------------------------------------------------------


def trace_data(model: str, asked: str, *, ports: Ports) -> DataLineage:
    """Trace an object of data, by key or s3 uri, or all below a prefix, to the versions that were trained on it.

    A capture is followed by its event ids and a ground-truth file by its name, to the outcomes that came of them.

    Raises
    ------
    UnknownModelError
        There is no such model.
    NoLineageError
        The object is in another bucket, or is none that a training reads or comes of.
    """
    state = ports.ledger.read(model)
    key = _key_of(asked, ports)
    keys, said = _training_keys(model, key, spec_of(state), ports)
    history = ports.ledger.history(model)
    standing, _ = _standing(history)
    trainings = history.of(TrainingStarted)
    uses = [use for started in trainings for use in _uses(started, key, keys, history, standing, ports)]
    return DataLineage(model, asked, said, keys, tuple(uses))


def _key_of(asked: str, ports: Ports) -> str:
    root = ports.data.uri("")
    if not is_uri(asked):
        return asked.removeprefix("/")
    if not asked.startswith(root):
        raise NoLineageError(f"{asked} is not in the data bucket: give an object below {root}, or its key")
    return asked.removeprefix(root)


def _training_keys(model: str, key: str, spec: ModelSpec, ports: Ports) -> tuple[tuple[str, ...], str]:
    """The keys of training data that an object is or became, and how that is known."""
    kind = key.split("/", 1)[0]
    if kind in (DataPrefix.OUTCOMES, DataPrefix.BASE_DATA):
        return (key,), "training data itself"
    if kind not in (DataPrefix.CAPTURES, DataPrefix.COMPACT, DataPrefix.GROUND_TRUTH):
        raise NoLineageError(
            f"{key!r} is no training data and becomes none: give an object below {DataPrefix.OUTCOMES}/, "
            f"{DataPrefix.BASE_DATA}/, {DataPrefix.CAPTURES}/ or {DataPrefix.GROUND_TRUTH}/, or one of these prefixes"
        )
    files = [found for found in _files(key, ports) if found.model == model][:_MOST_FILES_FOLLOWED]
    if not files:
        raise NoLineageError(f"nothing of model {model!r} lies at {key!r}: an older file may have been deleted since")
    if kind == DataPrefix.GROUND_TRUTH:
        became = {name for file in files for name in (file.outcomes, file.late.outcomes)}
        return tuple(sorted(became)), f"labels of {len(files)} files, joined to outcomes of the same name"
    asked_ids = {event_id for file in files for event_id in _event_ids(ports, file.compacted)}
    span = (min(file.hour for file in files), max(file.hour for file in files) + spec.labels.maturity + 2 * _DAY)
    entries = ports.catalog.between(model, CatalogKind.OUTCOMES, *span)
    became = {entry.key for entry in entries if not asked_ids.isdisjoint(_event_ids(ports, entry.key))}
    until = f"{span[1]:%Y-%m-%d %H:%M}"
    return tuple(sorted(became)), f"{len(asked_ids):,} captured requests, found by id in the outcomes up to {until}"


def _files(key: str, ports: Ports) -> Iterator[FileKey]:
    """The files at a key or below a prefix; a key whose file is gone still names its hour."""
    found = list(ports.data.keys(key)) or [key]
    for each in found:
        try:
            yield FileKey.parse(each)
        except ValueError:
            continue


def _event_ids(ports: Ports, key: str) -> frozenset[str]:
    import pyarrow.parquet as pq

    found = ports.data.get_with_etag(key)
    if found is None:
        return frozenset()
    return frozenset(pq.read_table(io.BytesIO(found[0]), columns=["event_id"])["event_id"].to_pylist())


def _uses(
    started: TrainingStarted,
    asked: str,
    keys: Sequence[str],
    history: History,
    standing: _Standing,
    ports: Ports,
) -> Iterator[Use]:
    """What of the object one training read."""
    model, decision_id = history.model, started.decision_id
    attempt = next(each for each in _attempts(history, decision_id) if each.job == started.job_name)
    recorded = _recorded_data(model, decision_id, attempt)
    _, snapshot = _snapshot(model, recorded, ports)
    if snapshot is None:
        return
    known = Found.AS_RECORDED if _is_recorded(snapshot, recorded.snapshot) else Found.CHANGED
    wanted = frozenset(keys)
    made = [event.version for event in history.of(CandidateRegistered) if event.decision_id == decision_id]
    version = made[0] if made and attempt.ended == f"made version {made[0]}" else None
    became = attempt.ended if version is None else f"version {version}, {_stands(standing, version)}"
    for file in snapshot["files"]:
        if file["key"] in wanted or (asked in wanted and file["key"].startswith(asked)):
            yield Use(decision_id, attempt.job, started.time, file["key"], file["rows"], version, became, known)


def _stands(standing: _Standing, version: int) -> str:
    if standing.state.production == version:
        return f"in production ({standing.statuses[version]})"
    return standing.statuses[version].replace("_", " ")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime) else value
