"""Compact a capture file to Parquet and profile it, once, on arrival."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.domain.aliases import IMPORTED, NOWHERE
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogEntry, CatalogKind, FileSums
from evergreen.domain.state import ModelState
from evergreen.errors import UnknownVersionError
from evergreen.formats import outcomes, request_ids
from evergreen.formats.captures import Capture, MalformedLine, layout_of, quarantine_body, read_captures
from evergreen.formats.keys import FileKey, Quarantined
from evergreen.model.archive import ArtifactError
from evergreen.model.schema import FeatureSchema
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.statistics.profile import Profile
from evergreen.usecases.steps.references import load_reference


@dataclass(frozen=True, slots=True)
class CompactedCapture:
    """What became of one capture file."""

    model: str
    variant: str
    rows: int
    quarantined: int
    profiled: int


# What a capture raises whose values are not of the schema's kinds.
_UNFIT = (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError, AttributeError)


def profile_capture(key: str, etag: str, *, now: datetime, ports: Ports) -> CompactedCapture:
    """Compact one capture file and, for production, count its profile.

    The result depends on the file alone, so a second delivery writes the same again; a version that was trained
    meanwhile adds a profile of its own. Malformed lines are kept in
    quarantine with the reason for each.
    """
    file = FileKey.parse(key)
    state = ports.ledger.read(file.model)
    spec = spec_of(state)
    schema = spec.feature_schema()
    captures, malformed = read_captures(ports.data.get(key), layout_of(spec, _answers(file, spec, state)))
    captures = _once(captures)
    try:
        table = outcomes.captures_to_table(captures, schema)
    except _UNFIT:
        captures, refused = _keep_readable(captures, schema)
        malformed = [*malformed, *refused]
        table = outcomes.captures_to_table(captures, schema)
    if malformed:
        ports.data.put(file.quarantined(Quarantined.CAPTURES), quarantine_body(malformed))
    target = file.compacted
    target_etag = ports.data.put(target, outcomes.to_parquet(table))
    kind = CatalogKind.of_captures(file.variant)
    if kind is not None:
        ids: list[str] = table["event_id"].to_pylist()
        ports.catalog.point(file.model, (each for each in ids if request_ids.time_of(each) is None), file.hour)
        sums = FileSums(pointed=True)
        ports.catalog.add(CatalogEntry(file.model, kind, file.hour, target, table.num_rows, target_etag, sums))
    profiled = _profile(file, table, state, ports) if file.variant == "production" else 0
    return CompactedCapture(file.model, file.variant, table.num_rows, len(malformed), profiled)


def _answers(file: FileKey, spec: ModelSpec, state: ModelState) -> int | None:
    """The version behind a variant, for lines that don't name theirs; NOWHERE where it may have been another.

    Rows of nobody's are kept: they are traffic, and train. But no comparison counts them.
    """
    if file.versions is not None:
        answered = file.versions.shadow if file.variant == "shadow" else file.versions.production
        return NOWHERE if answered is None else answered
    if spec.endpoint.kind == "sagemaker" and (file.variant == "shadow" or _may_be_another(state, file.hour)):
        return NOWHERE
    if file.variant == "shadow":
        return None if state.shadow is None else state.shadow.version
    return state.production


def _may_be_another(state: ModelState, hour: datetime) -> bool:
    """Whether another than the version in production may have answered in an hour, by a configuration that isn't ours.

    Versions answer by configurations of ours, all but the one that was there before Evergreen.
    """
    production = state.production_version
    if production is not None and not production.artifact.startswith(IMPORTED):
        return True
    others = any(v.promoted_at is not None and v.number != state.production for v in state.versions)
    since = state.production_since
    return state.repoint is not None or (others and since is not None and hour < since)


def _once(captures: list[Capture]) -> list[Capture]:
    """Streams deliver at least once: of the captures of one id the first counts."""
    first: dict[str, Capture] = {}
    for capture in captures:
        first.setdefault(capture.event_id, capture)
    return list(first.values())


def _keep_readable(captures: list[Capture], schema: FeatureSchema) -> tuple[list[Capture], list[MalformedLine]]:
    """Split captures into those that fit the schema and those that do not."""
    kept, refused = [], []
    for number, capture in enumerate(captures, start=1):
        try:
            outcomes.captures_to_table([capture], schema)
            kept.append(capture)
        except _UNFIT as error:
            line = json.dumps({"eventId": capture.event_id})
            refused.append(MalformedLine(number, line, f"does not fit the feature schema: {error}"))
    return kept, refused


def _profile(file: FileKey, table: pa.Table, state: ModelState, ports: Ports) -> int:
    """Profile the rows of each version in that version's own bins, so that they add up with its reference."""
    schema = spec_of(state).feature_schema()
    profiled = 0
    for number in sorted(set(table["version"].to_pylist())):
        try:
            version = state.version(number)
        except UnknownVersionError:
            continue
        if not version.reference:
            continue
        reference = load_reference(ports, version.reference)
        rows = table.filter(pc.equal(table["version"], number))
        document = {"features": _encode(Profile.count(outcomes.feature_columns(rows, schema), reference.binning))}
        if reference.prediction_binning is not None:
            answers = dict(outcomes.prediction_column(rows, schema))
            document["prediction"] = _encode(Profile.count(answers, reference.prediction_binning))
        _store(file, number, document, rows.num_rows, ports)
        profiled += rows.num_rows
    _profile_for_newest(file, table, state, ports)
    return profiled


def _profile_for_newest(file: FileKey, table: pa.Table, state: ModelState, ports: Ports) -> None:
    """Count the inputs in the bins of the newest training too, where another version answered them.

    Drift is measured from what the newest training saw. A reference that is gone is no trouble of production's.
    """
    newest, answered = state.newest_training, set(table["version"].to_pylist())
    known = sorted(answered & {version.number for version in state.versions})  # nobody's inputs are no version's
    if newest is None or not newest.reference or newest.number in answered or not known:
        return
    try:
        binning = load_reference(ports, newest.reference).binning
    except (FileNotFoundError, ArtifactError):
        return
    rows = table.filter(pc.is_in(table["version"], pa.array(known, table["version"].type)))
    columns = outcomes.feature_columns(rows, spec_of(state).feature_schema())
    _store(file, newest.number, {"features": _encode(Profile.count(columns, binning))}, rows.num_rows, ports)


def _store(file: FileKey, version: int, document: dict[str, str], rows: int, ports: Ports) -> None:
    key = file.profile(version)
    etag = ports.data.put(key, json.dumps(document).encode(), content_type="application/json")
    ports.catalog.add(CatalogEntry(file.model, CatalogKind.PROFILE, file.hour, key, rows, etag, version=version))


def _encode(profile: Profile) -> str:
    return base64.b64encode(profile.to_bytes()).decode()
