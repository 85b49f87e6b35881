"""PromotionApproved or RollbackDecided: repoint the endpoint's alias and record what it really is."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap
from evergreen.inbound import LedgerEvent, correlation_id
from evergreen.usecases.repoint_alias import repoint_alias

_COUNTED = {"VersionPromoted": "Promotions", "VersionRolledBack": "Rollbacks"}

logger = Logger(service="repoint_alias")
metrics = Metrics(namespace="Evergreen")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Carry out the repoint that is open; a second delivery finds none."""
    logger.set_correlation_id(correlation_id(event))
    change = LedgerEvent.parse(event)
    events = repoint_alias(change.model, now=change.time, ports=bootstrap.ports())
    recorded = [type(done).__name__ for done in events]
    metrics.add_dimension("Model", change.model)
    for kind, name in _COUNTED.items():
        metrics.add_metric(name, MetricUnit.Count, recorded.count(kind))
    for done in events:
        logger.info("repointed", model=change.model, because=done.because)
    return {"model": change.model, "recorded": recorded}
