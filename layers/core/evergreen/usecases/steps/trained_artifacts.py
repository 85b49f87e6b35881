"""What a training job left: read it, hold it to what evaluations need, and make a candidate of it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen.domain.model_events import CandidateRegistered, CandidateRetired
from evergreen.domain.state import ModelState
from evergreen.domain.transitions import gives_way, next_version
from evergreen.domain.uris import split_uri
from evergreen.formats.keys import reference_key
from evergreen.model.archive import ANCESTORS, ArtifactError, unpack
from evergreen.model.schema import FeatureSchema, SchemaError
from evergreen.ports import Ports
from evergreen.usecases.steps.notes import newest_notes

_FILES = ("model.onnx", "model.json", "reference.json")


_PROFILE = b"EVGPRF"  # how a stored profile begins
_NOT_EVIDENCE = frozenset({"model", "epoch", "type", "time", "verdict", "because"})  # of a comparison's note


@dataclass(frozen=True, slots=True)
class TrainedArtifact:
    """What a job's model.tar.gz says of itself."""

    key: str  # in the artifact bucket
    uri: str
    sha256: str
    model: dict[str, Any]
    reference: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Of the features a version reads: its classes may differ, since a window need not hold every class."""
        return FeatureSchema.from_json(self.model).with_classes(None).fingerprint

    @property
    def trained_until(self) -> datetime | None:
        """The newest row that it was trained on, where it says so."""
        until = self.model.get("trained_until")
        return None if until is None else datetime.fromisoformat(until)

    @property
    def ancestors(self) -> tuple[int, ...]:
        """The versions that live on in it."""
        return tuple(self.model.get(ANCESTORS) or ())


def read_artifact(ports: Ports, uri: str) -> TrainedArtifact:
    """Read model.json and reference.json out of an artifact and hash the very bytes that were read.

    Raises
    ------
    ArtifactError
        It is no archive of a model: damaged, too large, a file is missing or does not say what it has to.
    FileNotFoundError
        There is no such object.
    """
    _, key = split_uri(uri)
    body = ports.artifacts.get(key)
    files = unpack(body, _FILES)
    for name in _FILES:
        if not files.get(name):
            raise ArtifactError(f"the artifact has no {name}: an own image has to write {', '.join(_FILES)}")
    facts, reference = _document(files, "model.json"), _document(files, "reference.json")
    _require_facts(facts)
    _require_reference(reference)
    return TrainedArtifact(key, uri, hashlib.sha256(body).hexdigest(), facts, reference)


def _document(files: dict[str, bytes], name: str) -> dict[str, Any]:
    try:
        document = json.loads(files[name])
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} of the artifact is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ArtifactError(f"{name} of the artifact is a {type(document).__name__}, not an object")
    return document


def _require_facts(facts: dict[str, Any]) -> None:
    """What the ledger and the evaluations take from model.json; the gate judges the rest."""
    rows, until = facts.get("rows_trained"), facts.get("trained_until")
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
        raise ArtifactError(f"rows_trained of model.json is {rows!r}: write the number of rows")
    try:
        FeatureSchema.from_json(facts).with_classes(None)
        timed = until is None or datetime.fromisoformat(until).tzinfo is not None
    except (SchemaError, ValueError, TypeError) as error:
        raise ArtifactError(f"model.json of the artifact can't be read: {error}") from error
    if not timed:
        raise ArtifactError(f"trained_until of model.json is {until!r}, a time without its offset: add it")
    ancestors = facts.get(ANCESTORS) or []
    if not isinstance(ancestors, list) or not all(type(number) is int for number in ancestors):
        raise ArtifactError(f"{ANCESTORS} of model.json is {ancestors!r}: write a list of version numbers")
    for name in ("error_tolerance", "loss_scale"):
        value = facts.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            raise ArtifactError(f"{name} of model.json is {value!r}: write a number of 0 or more, or null")


def _require_reference(reference: dict[str, Any]) -> None:
    """What each evaluation reads of reference.json: one that it can't read would fail every one of them."""
    try:
        profiles = [cycle["profile"] for cycle in reference["cycles"]]
        profiles += [] if reference.get("prediction") is None else [reference["prediction"]]
        binned = isinstance(reference["binning"], dict)
        days = [(int(rows), int(right)) for rows, right in reference["daily"]]
        whole = all(base64.b64decode(profile, validate=True).startswith(_PROFILE) for profile in profiles)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ArtifactError(f"reference.json can't be read ({type(error).__name__}: {error})") from error
    if not (binned and whole and all(0 <= right <= rows for rows, right in days)):
        raise ArtifactError("reference.json can't be read: write what evergreen.training.reference makes")


def store_reference(ports: Ports, model: str, job_name: str, artifact: TrainedArtifact) -> str:
    """Put the version's reference where evaluations read it; answers its key, which the ledger keeps."""
    document = json.dumps({"model": artifact.model, "reference": artifact.reference}).encode()
    key = reference_key(model, job_name, hashlib.sha256(document).hexdigest())
    ports.artifacts.put(key, document, content_type="application/json")
    return key


def superseded_events(
    state: ModelState, newer: CandidateRegistered, *, actor: str, ports: Ports
) -> tuple[CandidateRetired, ...]:
    """The events by which a newly trained candidate takes the place of those that wait or are in shadow.

    They end with what was found of them last; see :func:`evergreen.domain.transitions.gives_way` for who is in shadow.
    """
    in_shadow = None if state.shadow is None else state.shadow.version
    found = {} if in_shadow is None else _last_evidence(state, in_shadow, newer.time, ports)
    leaving = [v for v in state.superseded_by_a_newer if v.number != in_shadow or gives_way(found)]
    return tuple(
        CandidateRetired(
            time=newer.time,
            actor=actor,
            because=f"superseded by version {newer.version}",
            version=older.number,
            evidence=found if older.number == in_shadow else {},
            superseded_by=newer.version,
        )
        for older in leaving
    )


def _last_evidence(state: ModelState, version: int, now: datetime, ports: Ports) -> dict[str, Any]:
    """What the newest comparison of a version in shadow found; nothing where it was not compared yet."""
    shadow = state.shadow
    if shadow is None or shadow.version != version:
        return {}
    for note in newest_notes(state.model, "shadow", now, ports=ports):
        compared = (note.get("version"), note.get("judged_against"))
        if compared == (version, shadow.judged_against) and datetime.fromisoformat(note["time"]) >= shadow.since:
            return {name: value for name, value in note.items() if name not in _NOT_EVIDENCE}
    return {}


def candidate_event(
    state: ModelState,
    artifact: TrainedArtifact,
    *,
    reference: str,
    decision_id: str,
    gate: dict[str, Any],
    because: str,
    actor: str,
    now: datetime,
) -> CandidateRegistered:
    """The event that gives the artifact the model's next version number."""
    return CandidateRegistered(
        time=now,
        actor=actor,
        because=because,
        version=next_version(state),
        decision_id=decision_id,
        artifact=artifact.uri,
        sha256=artifact.sha256,
        fingerprint=artifact.fingerprint,
        rows_trained=int(artifact.model["rows_trained"]),
        trained_until=artifact.trained_until,
        reference=reference,
        gate=gate,
        ancestors=artifact.ancestors or None,
    )
