"""A decision, or a SageMaker endpoint that has changed: repoint the alias and record what it really is."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.domain.model_events import RepointFailed, VersionPromoted, VersionRolledBack
from evergreen.inbound.events import EndpointChange, LedgerEvent, correlation_id, is_endpoint_event
from evergreen.inbound.measures import Measures
from evergreen.usecases.repoint_alias import repoint_alias
from evergreen.usecases.steps.endpoints_of_models import models_of_endpoint

_COUNTED = {
    VersionPromoted: telemetry.PROMOTIONS,
    VersionRolledBack: telemetry.ROLLBACKS,
    RepointFailed: telemetry.REPOINTS_FAILED,
}

logger = Logger(service="repoint_alias")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Carry out the repoint that is open; a second delivery finds none."""
    logger.set_correlation_id(correlation_id(event))
    ports = bootstrap.ports()
    if is_endpoint_event(event):
        endpoint = EndpointChange.parse(event)
        models, now = models_of_endpoint(endpoint.endpoint, ports), endpoint.time
        if not models:
            return {"model": None, "recorded": []}  # somebody else's endpoint
        model = models[0]
    else:
        change = LedgerEvent.parse(event)
        model, now = change.model, change.time
    events = repoint_alias(model, now=now, ports=ports)
    recorded = [type(done).__name__ for done in events]
    metrics.add_dimension(telemetry.MODEL, model)
    for kind, metric in _COUNTED.items():
        telemetry.add(metrics, metric, recorded.count(kind.__name__))
    for done in events:
        logger.info("repointed", model=model, because=done.because)
    return {"model": model, "recorded": recorded}
