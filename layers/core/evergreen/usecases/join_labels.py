"""Join a ground-truth file with the captures of both versions to outcomes, once, on arrival."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

import pyarrow as pa

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import CatalogEntry, CatalogKind, FileSums, whole_hour
from evergreen.domain.shares import is_captured
from evergreen.domain.state import ModelState
from evergreen.formats import outcome_lines, outcomes, request_ids
from evergreen.formats.captures import (
    GroundTruth,
    MalformedLine,
    ground_truth_line,
    quarantine_body,
    read_ground_truth,
)
from evergreen.formats.keys import FileKey, Quarantined
from evergreen.formats.payloads import class_of
from evergreen.model.schema import FeatureSchema, Task
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.steps.kept import Kept
from evergreen.usecases.steps.references import load_reference

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_LONGEST_WAY = timedelta(days=15)  # of an event: a queue keeps it for two weeks
_FILES_AN_HOUR = 12  # with more ids than files to look into, the files are read instead

States = Mapping[str, Mapping[int, int]]
"""By the id of the request, the live state that each version answered by."""
_LAST_RETRY = timedelta(hours=7)  # Lambda tries an event again for six hours, and a file is of the hour before


@dataclass(frozen=True, slots=True)
class JoinedLabels:
    """What became of one ground-truth file."""

    model: str
    joined: int
    pending: int
    quarantined: int
    unsampled: int = 0  # labels of answers that were not to be captured


def join_labels(key: str, *, now: datetime, ports: Ports) -> JoinedLabels:
    """Join one ground-truth file.

    A file is joined once: when its outcomes are in the catalog, a second delivery changes nothing. Labels whose capture
    is not there yet are kept as pending, and joined by reconcile until they are past their maturity.
    """
    file = FileKey.parse(key)
    state = ports.ledger.read(file.model)
    spec = spec_of(state)
    labels, malformed = read_ground_truth(ports.data.get(key))
    labels, refused = _fitting(labels, spec)
    malformed = [*malformed, *refused]
    if malformed:
        ports.data.put(file.quarantined(Quarantined.GROUND_TRUTH), quarantine_body(malformed))
    done = _joined_before(file, ports)
    if done is not None:
        return JoinedLabels(file.model, done.rows, done.sums.pending, len(malformed))
    table, without_capture, states = _matched(labels, file, spec, now, ports)
    missing = [label for label in without_capture if _may_be_captured(label, spec)]
    if missing:
        _keep_pending(missing, file, ports)
    _store(table, states, file, state, ports, pending=len(missing))
    unsampled = len(without_capture) - len(missing)
    return JoinedLabels(file.model, table.num_rows, len(missing), len(malformed), unsampled)


def _may_be_captured(label: GroundTruth, spec: ModelSpec) -> bool:
    """Whether its capture can be waited for: where SageMaker draws the requests that it captures, each one may be."""
    by_id = spec.endpoint.kind == "lambda" and spec.capture.source is None
    return not by_id or is_captured(spec.capture.sampling, label.event_id)


def _joined_before(file: FileKey, ports: Ports) -> CatalogEntry | None:
    """The entry of the file's own outcomes: the last thing that a join writes."""
    entries = ports.catalog.between(file.model, CatalogKind.OUTCOMES, file.hour, file.hour + _HOUR)
    return next((entry for entry in entries if entry.key == file.outcomes), None)


def _fitting(labels: Sequence[GroundTruth], spec: ModelSpec) -> tuple[list[GroundTruth], list[MalformedLine]]:
    """Name classes as the spec does (1.0 is 1), and split off labels of a regression that are no finite numbers."""
    if spec.task is not Task.REGRESSION:
        schema = spec.feature_schema()
        return [replace(label, label=class_of(label.label, schema) or label.label) for label in labels], []
    kept, refused = [], []
    for number, label in enumerate(labels, start=1):
        if _is_finite(label.label):
            kept.append(label)
        else:
            line = ground_truth_line(label, model=spec.model).decode()
            refused.append(MalformedLine(number, line, f"label {label.label!r} is not a finite number"))
    return kept, refused


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def join_pending(entry: CatalogEntry, *, now: datetime, ports: Ports) -> JoinedLabels:
    """Join labels that came before their capture; past maturity the rest is put into quarantine and counted.

    Nothing is joined of a file whose own join may still be tried again: that would find the same labels.
    """
    file = FileKey.parse(entry.key)
    state = ports.ledger.read(file.model)
    spec = spec_of(state)
    if _joined_before(file, ports) is None and now - file.hour < _LAST_RETRY:
        return JoinedLabels(file.model, 0, entry.rows, 0)
    labels, _ = read_ground_truth(ports.data.get(entry.key))
    table, missing, states = _matched(labels, file, spec, now, ports)
    joined = table.num_rows
    if joined:
        _store(table, states, file.late, state, ports)
    overdue = now - file.hour > spec.labels.maturity + timedelta(days=1)
    if missing and overdue:
        lines = b"".join(ground_truth_line(label, model=file.model) + b"\n" for label in missing)
        ports.data.put(file.quarantined(Quarantined.LABELS_WITHOUT_CAPTURE), lines)
    if not missing or overdue:
        ports.catalog.remove(entry)
        return JoinedLabels(file.model, joined, 0, len(missing))
    return JoinedLabels(file.model, joined, len(missing), 0)


def _keep_pending(missing: Sequence[GroundTruth], file: FileKey, ports: Ports) -> None:
    lines = b"".join(ground_truth_line(label, model=file.model) + b"\n" for label in missing)
    key = file.pending_labels
    ports.data.put(key, lines)
    ports.catalog.add(CatalogEntry(file.model, CatalogKind.PENDING_LABELS, file.hour, key, len(missing)))


def _matched(
    labels: Sequence[GroundTruth], file: FileKey, spec: ModelSpec, now: datetime, ports: Ports
) -> tuple[pa.Table, list[GroundTruth], States]:
    """The outcomes of the labels whose capture is there, the other labels, and which live states answered."""
    schema = spec.feature_schema()
    if not labels:
        return outcomes.outcome_schema(schema).empty_table(), [], {}
    hours = _hours(labels, file, spec.labels.maturity, now, ports)
    production = _captures(file.model, CatalogKind.COMPACT_PRODUCTION, hours, schema, ports)
    shadow = _captures(file.model, CatalogKind.COMPACT_SHADOW, hours, schema, ports)
    states = outcomes.states_said(production, shadow) if spec.freshness.enabled else {}
    return *outcomes.join(labels, now, production, shadow, schema), states


def _store(
    table: pa.Table, states: States, file: FileKey, state: ModelState, ports: Ports, *, pending: int = 0
) -> None:
    key = file.outcomes
    etag = ports.data.put(key, outcomes.to_parquet(table))
    tolerance = _error_tolerance(state, ports)
    daily = outcomes.daily_sums(table, error_tolerance=tolerance)
    plain = outcomes.daily_sums(table, error_tolerance=tolerance, answers=outcomes.PLAIN)
    spec = spec_of(state)
    if table.num_rows and spec.freshness.enabled:
        _store_online_rows(table, states, file, ports)
    sums = FileSums(daily=daily, plain=plain, pending=pending)
    ports.catalog.add(CatalogEntry(file.model, CatalogKind.OUTCOMES, file.hour, key, table.num_rows, etag, sums))


def _store_online_rows(table: pa.Table, states: States, file: FileKey, ports: Ports) -> None:
    """The same rows for learn_live, with the time of the newest request: a file is done when all have matured."""
    key = file.online_rows
    etag = ports.data.put(key, outcome_lines.to_json_lines(table, states))
    sums = FileSums(newest=max(table["inference_time"].to_pylist()))
    ports.catalog.add(CatalogEntry(file.model, CatalogKind.ONLINE_ROWS, file.hour, key, table.num_rows, etag, sums))


def _error_tolerance(state: ModelState, ports: Ports) -> float | None:
    version = state.production_version
    if version is None or not version.reference:
        return None
    return load_reference(ports, version.reference).error_tolerance


def _hours(
    labels: Iterable[GroundTruth], file: FileKey, maturity: timedelta, now: datetime, ports: Ports
) -> list[datetime]:
    """The hours whose captures may hold the labels' requests.

    A UUIDv7 names its hour (the file may be the next one's: streams buffer). The catalog points from any other id to
    the hours of its captures; they count in the maturity window before the label.
    """
    hours: set[datetime] = set()
    others: set[str] = set()
    for label in labels:
        time = request_ids.time_of(label.event_id)
        if time is None:
            others.add(label.event_id)
        else:
            hours.update((whole_hour(time), whole_hour(time) + _HOUR))
    window = [file.hour - i * _HOUR for i in range(int(maturity / _HOUR) + 1, -2, -1)]
    if len(others) > _FILES_AN_HOUR * len(window):
        hours.update(window)
    elif others:
        hours.update(_not_pointed_to(file.model, window, now, ports))
        for each in sorted(others):
            hours.update(ports.catalog.hours_of(file.model, each, window[0], window[-1] + _HOUR))
    return sorted(hours)


def _not_pointed_to(model: str, window: Sequence[datetime], now: datetime, ports: Ports) -> set[datetime]:
    """The hours of a window that hold captures to which nothing points, as former releases left them.

    It is looked for from the window on until there is none, neither in it nor later, and then never again.
    """
    since = ports.catalog.pointed_since(model)
    if since is not None and since <= window[0]:
        return set()
    kinds = (CatalogKind.COMPACT_PRODUCTION, CatalogKind.COMPACT_SHADOW)
    entries = [entry for kind in kinds for entry in ports.catalog.between(model, kind, window[0], now + _LONGEST_WAY)]
    found = {entry.time for entry in entries if not entry.sums.pointed}
    if not found:
        ports.catalog.all_pointed(model, window[0])
    return found.intersection(window)


def _captures(
    model: str, kind: CatalogKind, hours: Sequence[datetime], schema: FeatureSchema, ports: Ports
) -> pa.Table:
    wanted = set(hours)
    tables = []
    for first, last in _spans(hours):
        for entry in ports.catalog.between(model, kind, first, last + _HOUR):
            if entry.time in wanted:
                with suppress(FileNotFoundError):  # no longer kept: its labels have no capture
                    tables.append(_read(entry, ports))
    return outcomes.concat(tables, outcomes.capture_schema(schema))


def _spans(hours: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """The first and the last of hours that are no more than a day from the next: each is one question to the catalog.

    Examples
    --------
    >>> [(first.day, last.day) for first, last in _spans([datetime(2026, 1, day) for day in (1, 2, 9, 10)])]
    [(1, 2), (9, 10)]
    """
    spans: list[tuple[datetime, datetime]] = []
    for hour in hours:
        if spans and hour - spans[-1][1] <= _DAY:
            spans[-1] = (spans[-1][0], hour)
        else:
            spans.append((hour, hour))
    return spans


def _read(entry: CatalogEntry, ports: Ports) -> pa.Table:
    """Read a compacted file once: the labels of one hour come in several files."""
    return _kept_captures(ports).get((entry.key, entry.etag), lambda: outcomes.from_parquet(ports.data.get(entry.key)))


@lru_cache(maxsize=2)
def _kept_captures(ports: Ports) -> Kept[tuple[str, str], pa.Table]:
    return Kept(lambda table: table.nbytes)
