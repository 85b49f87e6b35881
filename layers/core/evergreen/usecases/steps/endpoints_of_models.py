"""A SageMaker endpoint has changed its state: carry on with what its models wait for."""

from __future__ import annotations

from evergreen.domain.applied_spec import spec_of
from evergreen.ports import Ports


def models_of_endpoint(endpoint: str, ports: Ports) -> tuple[str, ...]:
    """The models that an endpoint answers for: one, or none where it is somebody else's."""
    return tuple(model for model in ports.ledger.models() if endpoint_of(model, ports) == endpoint)


def endpoint_of(model: str, ports: Ports) -> str | None:
    """The SageMaker endpoint that answers for a model; None for kind lambda."""
    return spec_of(ports.ledger.read(model)).endpoint_name
