"""Keep the model registry in step with the ledger: versions, aliases and tags; find and repair what others changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from evergreen.domain.lifecycle import ModelState, Version
from evergreen.ports import Ports, Registry, RegistryView
from evergreen.usecases.launch_training import job_name_of
from evergreen.usecases.repairs import Difference, Repair, is_under_way, repair_all

ACTOR = "update_registry"


def update_registry(model: str, *, ports: Ports) -> int:
    """Project the model's state onto the registry; answers how many versions it has, 0 where no registry is set up.

    The whole state is projected, whatever the event was, so a lost or late event is made good by the next one.
    """
    registry = ports.registry
    if registry is None:
        return 0
    state = ports.ledger.read(model)
    for version in state.versions:
        registry.register(model, version.number, artifact=version.artifact, tags=tags_of(version))
    for alias, number in aliases_of(state).items():
        registry.point(model, alias, number)
    return len(state.versions)


def reconcile_registry(model: str, *, now: datetime, ports: Ports) -> tuple[Repair, ...]:
    """Compare the registry with the ledger and repair what differs: versions, our tags, our aliases.

    What others add beside them - versions, tags, aliases of other names - is theirs and is left alone. What the newest
    event may still bring about by itself is left alone too. Every repair is in the history, once.
    """
    registry = ports.registry
    if registry is None:
        return ()
    state = ports.ledger.read(model)
    if is_under_way(state, now):
        return ()
    view = registry.view(model)
    found = [*_versions(state, view, registry), *_aliases(state, view, registry)]
    if ports.ledger.read(model).epoch != state.epoch:
        return ()  # somebody decided while we looked: what was seen may be older than what is compared with
    return repair_all(state, "registry", found, actor=ACTOR, now=now, ports=ports)


def tags_of(version: Version) -> Mapping[str, str]:
    """What the registry is told of a version."""
    return {
        "evergreen.job": job_name_of(version.artifact),
        "evergreen.decision_id": version.decision_id,
        "evergreen.sha256": version.sha256,
        "evergreen.status": version.status.value,
    }


def aliases_of(state: ModelState) -> dict[str, int | None]:
    """Where each alias points in this state.

    Examples
    --------
    >>> aliases_of(ModelState("churn"))
    {'production': None, 'shadow': None, 'previous': None}
    """
    good = state.last_known_good()
    return {
        "production": state.production,
        "shadow": None if state.shadow is None else state.shadow.version,
        "previous": None if good is None else good.number,
    }


def _versions(state: ModelState, view: RegistryView, registry: Registry) -> list[Difference]:
    found: list[Difference] = []
    for version in state.versions:
        tags = tags_of(version)
        put = partial(registry.register, state.model, version.number, artifact=version.artifact, tags=tags)
        there = view.tags.get(version.number)
        if there is None:
            found.append(Difference(f"version {version.number} in the registry", "none", "registered", put))
            continue
        found += [
            Difference(f"tag {name} of version {version.number} in the registry", repr(there.get(name)), repr(tag), put)
            for name, tag in tags.items()
            if there.get(name) != tag
        ]
    return found


def _aliases(state: ModelState, view: RegistryView, registry: Registry) -> list[Difference]:
    found: list[Difference] = []
    for alias, number in aliases_of(state).items():
        expected = "nothing" if number is None else f"version {number}"
        there = _told(view, alias)
        if there != expected:
            point = partial(registry.point, state.model, alias, number)
            found.append(Difference(f"alias {alias} in the registry", there, expected, point))
    return found


def _told(view: RegistryView, alias: str) -> str:
    if alias not in view.aliases:
        return "nothing"
    number = view.aliases[alias]
    return "a version of somebody else's" if number is None else f"version {number}"
