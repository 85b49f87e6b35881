"""A capture file has arrived: compact it to Parquet and profile it, once."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evergreen import bootstrap, telemetry
from evergreen.inbound.events import ObjectCreated, correlation_id
from evergreen.inbound.measures import Measures
from evergreen.usecases.profile_capture import profile_capture

logger = Logger(service="profile_capture")
metrics = Measures()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Compact and profile one file; malformed lines are kept in quarantine and counted."""
    logger.set_correlation_id(correlation_id(event))
    created = ObjectCreated.parse(event)
    compacted = profile_capture(created.key, created.etag, now=created.time, ports=bootstrap.ports())
    metrics.add_dimension(telemetry.MODEL, compacted.model)
    telemetry.add(metrics, telemetry.CAPTURED_ROWS, compacted.rows)
    telemetry.add(metrics, telemetry.QUARANTINED_LINES, compacted.quarantined)
    logger.info("compacted", key=created.key, rows=compacted.rows, quarantined=compacted.quarantined)
    return {"rows": compacted.rows, "quarantined": compacted.quarantined}
