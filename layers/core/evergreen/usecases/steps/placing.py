"""Point an alias, or place a shadow, as the state says."""

from __future__ import annotations

from evergreen.domain.aliases import AliasRecord, alias_record
from evergreen.domain.state import ModelState
from evergreen.ports import Aliases, Ports
from evergreen.spec import ModelSpec


def aliases_of(state: ModelState, spec: ModelSpec, ports: Ports) -> Aliases:
    """What answers the model's requests, of the kind that its spec names.

    Guardrails are for promotions. A rollback is not spread over time, nor undone by the alarms that led to it; neither
    is the return of a version that others took out, nor a change of the shadow.
    """
    if spec.endpoint.kind == "lambda":
        return ports.aliases
    if state.repoint is not None and state.repoint.cause is None:
        return ports.endpoint(spec)
    return ports.endpoint(spec.model_copy(update={"endpoint": spec.endpoint.at_once}))


def point_alias(wanted: AliasRecord, aliases: Aliases, ports: Ports) -> AliasRecord:
    """Point the alias, unless a newer decision did; answers what is there now.

    A record of an epoch that the ledger has not reached is nobody's decision: whoever wrote it, it gives way.
    """
    found = aliases.repoint(wanted)
    if found.epoch > wanted.epoch and found.epoch > ports.ledger.read(wanted.model).epoch:
        found = aliases.replace(found, wanted)
    return found


def place_shadow(state: ModelState, spec: ModelSpec, ports: Ports) -> None:
    """Put who is in shadow behind the shadow alias, beside the version in production.

    Raises
    ------
    EndpointWentBackError
        SageMaker took the change and undid it.
    """
    aliases = aliases_of(state, spec, ports)
    shadow = AliasRecord.nowhere(state.model, "shadow", state.epoch)
    if state.shadow is not None:
        shadow = alias_record(state, spec, "shadow", state.shadow.version)
    if spec.endpoint.kind == "lambda" or state.production is None:
        aliases.repoint(shadow)
    else:
        # One configuration holds both: what was wanted last may be a promotion that failed.
        aliases.point_both(alias_record(state, spec, "production", state.production), shadow)
