"""A ground-truth file has arrived: join it with the captures to outcomes."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.inbound.events import ObjectCreated, correlation_id
from evergreen.inbound.measures import Measures
from evergreen.usecases.join_labels import join_labels

logger = Logger(service="join_labels")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Join one file; what has no capture yet is kept, what can't be read is quarantined, both are counted."""
    logger.set_correlation_id(correlation_id(event))
    created = ObjectCreated.parse(event)
    labels = join_labels(created.key, now=created.time, ports=bootstrap.ports())
    metrics.add_dimension(telemetry.MODEL, labels.model)
    telemetry.add(metrics, telemetry.JOINED_LABELS, labels.joined)
    telemetry.add(metrics, telemetry.PENDING_LABELS, labels.pending)
    telemetry.add(metrics, telemetry.QUARANTINED_LABELS, labels.quarantined)
    telemetry.add(metrics, telemetry.UNSAMPLED_LABELS, labels.unsampled)
    logger.info("joined", key=created.key, joined=labels.joined, pending=labels.pending)
    return {"joined": labels.joined, "pending": labels.pending, "quarantined": labels.quarantined}
