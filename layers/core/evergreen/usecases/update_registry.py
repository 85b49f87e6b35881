"""Keep the model registry in step with the ledger: versions, aliases and tags."""

from __future__ import annotations

from evergreen.domain.lifecycle import ModelState
from evergreen.ports import Ports
from evergreen.usecases.launch_training import job_name_of


def update_registry(model: str, *, ports: Ports) -> int:
    """Project the model's state onto the registry; answers how many versions it has, 0 where no registry is set up.

    The whole state is projected, whatever the event was, so a lost or late event is made good by the next one.
    """
    registry = ports.registry
    if registry is None:
        return 0
    state = ports.ledger.read(model)
    for version in state.versions:
        tags = {
            "evergreen.job": job_name_of(version.artifact),
            "evergreen.decision_id": version.decision_id,
            "evergreen.sha256": version.sha256,
            "evergreen.status": version.status.value,
        }
        registry.register(model, version.number, artifact=version.artifact, tags=tags)
    for alias, number in aliases_of(state).items():
        registry.point(model, alias, number)
    return len(state.versions)


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
