"""Carry out a decided repoint: point the endpoint's alias, read it back, record what it really is.

A canary is no state of its own: while a version is in its ops bake, the alias holds the share that it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from evergreen.domain.aliases import AliasRecord, alias_record, answers_with
from evergreen.domain.applied_spec import spec_of
from evergreen.domain.model_events import (
    AnyEvent,
    CandidateRetired,
    RepointFailed,
    VersionPromoted,
    VersionRolledBack,
)
from evergreen.domain.state import ModelState, Repoint, ShadowRole
from evergreen.errors import EndpointWentBackError, EvergreenError
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.usecases.steps.placing import aliases_of, place_shadow, point_alias
from evergreen.usecases.steps.recording import decide_and_record
from evergreen.usecases.steps.repairs import PATIENCE

ACTOR = "repoint_alias"


class EndpointNotRepointedError(EvergreenError):
    """The endpoint answers with another version than it was told to: a newer decision is in place."""

    def __init__(self, wanted: AliasRecord, found: AliasRecord) -> None:
        super().__init__(
            f"alias {wanted.alias} of {wanted.model} is version {found.version} (epoch {found.epoch}), "
            f"not {wanted.version} (epoch {wanted.epoch})"
        )


def repoint_alias(model: str, *, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    """Carry out the model's decided repoint.

    Where none is open (it was carried out already), the alias is made what the ledger says it is now: a version that
    has passed its ops bake answers every request.
    """
    state = ports.ledger.read(model)
    repoint = state.repoint
    spec = spec_of(state)
    if repoint is None:
        return _keep(state, spec, now, ports)
    aliases = aliases_of(state, spec, ports)
    wanted = alias_record(state, spec, "production", repoint.version)
    try:
        found = point_alias(wanted, aliases, ports)
    except EndpointWentBackError as error:
        return _went_back(state, repoint, error, now, ports)
    if aliases.is_changing(model):
        return ()  # SageMaker tells when it is there, or has gone back
    if found.version != wanted.version:
        raise EndpointNotRepointedError(wanted, found)
    # Whoever was in shadow was judged against the version that has just left.
    aliases.clear(model, "shadow", state.epoch)

    def done(current: ModelState) -> Sequence[AnyEvent]:
        return (_event(repoint, found, now),) if current.repoint == repoint else ()

    _, events = decide_and_record(ports.ledger, model, done)
    return events


def _went_back(
    state: ModelState, repoint: Repoint, error: EndpointWentBackError, now: datetime, ports: Ports
) -> Sequence[AnyEvent]:
    """Tell that the endpoint answers as before, once an attempt.

    What was refused before SageMaker heard of it (a damaged artifact) goes by one name however often it is tried: it is
    told again as long as it is so, no more often than reconcile comes.
    """
    what = "promoted" if repoint.cause is None else "rolled back to"

    def failed(current: ModelState) -> Sequence[AnyEvent]:
        if current.repoint != repoint:
            return ()
        told = ports.ledger.history(state.model).of(RepointFailed)
        times = [event.time for event in told if event.endpoint.get("config") == error.config]
        if times and (error.asked or now - max(times) < PATIENCE):
            return ()
        event = RepointFailed(
            time=now,
            actor=ACTOR,
            because=f"version {repoint.version} could not be {what}: {error.reason}",
            version=repoint.version,
            instead_of=repoint.instead_of,
            cause=repoint.cause,
            endpoint={"endpoint": error.endpoint, "config": error.config},
        )
        return (event,)

    after, events = decide_and_record(ports.ledger, state.model, failed)
    if after.repoint is None and after.production is not None:
        place_shadow(after, spec_of(after), ports)  # what failed is wanted no more
    return events


def _keep(state: ModelState, spec: ModelSpec, now: datetime, ports: Ports) -> Sequence[AnyEvent]:
    """Make the endpoint what the ledger says, as far as that needs no telling."""
    if spec.endpoint.kind == "lambda":
        _keep_alias(state, ports)
        return ()
    if state.production is None:
        return ()
    aliases = aliases_of(state, spec, ports)
    wanted = alias_record(state, spec, "production", state.production)
    if not answers_with(aliases.read(state.model, "production"), wanted):
        return ()
    try:
        place_shadow(state, spec, ports)
    except EndpointWentBackError as error:
        return _shadow_went_back(state, error, now, ports)
    aliases.tidy(state.model, _needed(state))
    return ()


def _shadow_went_back(
    state: ModelState, error: EndpointWentBackError, now: datetime, ports: Ports
) -> Sequence[AnyEvent]:
    """A challenger that SageMaker can't run loses; that a sentinel can't is an error that somebody has to look at."""
    shadow = state.shadow
    if shadow is None or shadow.role is not ShadowRole.CHALLENGER:
        raise error

    def retire(current: ModelState) -> Sequence[AnyEvent]:
        if current.shadow != shadow:
            return ()
        retired = CandidateRetired(
            time=now,
            actor=ACTOR,
            because=f"version {shadow.version} could not run in shadow: {error.reason}",
            version=shadow.version,
            evidence={"endpoint": error.endpoint, "config": error.config},
        )
        return (retired,)

    after, events = decide_and_record(ports.ledger, state.model, retire)
    if after.shadow is None and after.repoint is None:
        place_shadow(after, spec_of(after), ports)
    return events


def _needed(state: ModelState) -> frozenset[int]:
    """The versions that answer, or that the model may have to return to."""
    good = state.last_known_good()
    needed = {state.production, None if good is None else good.number}
    needed |= {part.version for part in (state.shadow, state.bake, state.repoint) if part is not None}
    needed |= {None if state.bake is None else state.bake.replaced}
    return frozenset(number for number in needed if number is not None)


def _keep_alias(state: ModelState, ports: Ports) -> None:
    """Make the settings of the production alias what the state says.

    An alias that points elsewhere is left for reconcile, which tells of it; so is one of a newer decision.
    """
    if state.production is None:
        return
    wanted = alias_record(state, spec_of(state), "production", state.production)
    there = ports.aliases.read(state.model, "production")
    if there is not None and there.target == wanted.target and there.settings != wanted.settings:
        ports.aliases.repoint(wanted)


def _event(repoint: Repoint, found: AliasRecord, now: datetime) -> AnyEvent:
    endpoint = asdict(found)
    if repoint.cause is None:
        replaced = "" if repoint.instead_of is None else f" instead of version {repoint.instead_of}"
        canary = found.canary
        part = "" if canary is None else f", for {canary.share:.1%} of the requests; version {canary.version} the rest"
        return VersionPromoted(
            time=now,
            actor=ACTOR,
            because=f"the endpoint answers with version {repoint.version}{replaced}{part}",
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
