"""Carry out a decided repoint: point the endpoint's alias, read it back, record what it really is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from evergreen.domain.lifecycle import AnyEvent, ModelState, Repoint, VersionPromoted, VersionRolledBack
from evergreen.ports import AliasRecord, Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.recording import decide_and_record

ACTOR = "repoint_alias"


class EndpointNotRepointedError(Exception):
    """The endpoint answers with another version than it was told to: a newer decision is in place."""

    def __init__(self, wanted: AliasRecord, found: AliasRecord) -> None:
        super().__init__(
            f"alias {wanted.alias} of {wanted.model} is version {found.version} (epoch {found.epoch}), "
            f"not {wanted.version} (epoch {wanted.epoch})"
        )


def alias_record(state: ModelState, spec: ModelSpec, alias: str, number: int) -> AliasRecord:
    """What an alias that points to the version holds."""
    version = state.version(number)
    return AliasRecord(
        model=state.model,
        alias=alias,
        version=number,
        artifact=version.artifact.removeprefix("s3://").split("/", 1)[1],
        sha256=version.sha256,
        epoch=state.epoch,
        latency_ms=spec.deployment.latency_ms,
    )


def point_alias(wanted: AliasRecord, ports: Ports) -> AliasRecord:
    """Point the alias, unless a newer decision did; answers what is there now.

    A record of an epoch that the ledger has not reached is nobody's decision: whoever wrote it, it gives way.
    """
    found = ports.aliases.repoint(wanted)
    if found.epoch > wanted.epoch and found.epoch > ports.ledger.read(wanted.model).epoch:
        found = ports.aliases.replace(found, wanted)
    return found


def repoint_alias(model: str, *, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    """Carry out the model's decided repoint; nothing where none is open (it was carried out already)."""
    state = ports.ledger.read(model)
    repoint = state.repoint
    if repoint is None:
        return ()
    spec = ModelSpec.parse(state.spec)
    wanted = alias_record(state, spec, "production", repoint.version)
    found = point_alias(wanted, ports)
    if found.version != wanted.version:
        raise EndpointNotRepointedError(wanted, found)
    # Whoever was in shadow was judged against the version that has just left.
    ports.aliases.clear(model, "shadow", state.epoch)

    def done(current: ModelState) -> Sequence[AnyEvent]:
        return (_event(repoint, asdict(found), now),) if current.repoint == repoint else ()

    _, events = decide_and_record(ports.ledger, model, done)
    return events


def _event(repoint: Repoint, endpoint: dict[str, Any], now: datetime) -> AnyEvent:
    if repoint.cause is None:
        replaced = "" if repoint.instead_of is None else f" instead of version {repoint.instead_of}"
        return VersionPromoted(
            time=now,
            actor=ACTOR,
            because=f"the endpoint answers with version {repoint.version}{replaced}",
            version=repoint.version,
            replaced=repoint.instead_of,
            endpoint=endpoint,
        )
    assert repoint.instead_of is not None, "a rollback leaves a version"
    return VersionRolledBack(
        time=now,
        actor=ACTOR,
        because=f"the endpoint answers with version {repoint.version} again, version {repoint.instead_of} is out",
        version=repoint.instead_of,
        to_version=repoint.version,
        cause=repoint.cause,
        endpoint=endpoint,
    )
