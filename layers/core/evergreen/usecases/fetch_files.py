"""Fetch new captures and labels from where a model's users keep them already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.catalog import whole_hour
from evergreen.domain.uris import split_uri
from evergreen.formats import keys
from evergreen.formats.keys import hour_of
from evergreen.ports import Files, Ports

_HOUR = timedelta(hours=1)
LOOK_BACK = timedelta(hours=6)
"""Files appear in the hour they are named after, or soon after it; every tick looks at these hours again."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """How many files were copied."""

    captures: int = 0
    labels: int = 0


def fetch_files(model: str, *, now: datetime, ports: Ports, look_back: timedelta = LOOK_BACK) -> Fetched:
    """Copy the files of the last hours that are not here yet, each under its own name; nothing where no source is set.

    A copy is a new object like any other: it is profiled, or joined, because it arrived. Copying again changes nothing.
    """
    spec = spec_of(ports.ledger.read(model))
    hours = list(_hours(now - look_back, now))
    return Fetched(
        captures=_fetch(spec.capture.source, keys.captures_of(model, "production"), hours, ports),
        labels=_fetch(spec.labels.source, keys.ground_truth_of(model), hours, ports),
    )


def _fetch(source: str | None, target: str, hours: list[datetime], ports: Ports) -> int:
    if source is None:
        return 0
    bucket, prefix = split_uri(source)
    theirs = ports.bucket(bucket)
    return sum(_copy(theirs, hour_of(prefix, hour).lstrip("/"), hour_of(target, hour), ports) for hour in hours)


def _copy(theirs: Files, source: str, target: str, ports: Ports) -> int:
    """Copy what lies in one hour's folder, the folders below it too."""
    here: set[str] | None = None
    copied = 0
    for key in theirs.keys(source):
        if key.endswith("/"):
            continue
        name = key.removeprefix(source).replace("/", "-")
        here = set(ports.data.keys(target)) if here is None else here
        if target + name not in here:
            ports.data.put(target + name, theirs.get(key), content_type="application/jsonlines")
            copied += 1
    return copied


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    hour = whole_hour(start)
    while hour <= end:
        yield hour
        hour += _HOUR
